//! URLs, compared with how browsers read them, and proxies.
//!
//! An input is up to four texts with a zero byte between them: a URL, a parameter, a proxy, a list of hosts without
//! proxy.

use url::Url as Other;

use crate::env::Env;
use crate::index::Index;
use crate::net::proxy::Proxies;
use crate::net::url::{Url, percent_encode};

pub fn fuzz(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut texts = text.split('\0');
    let mut next = || texts.next().unwrap_or_default();
    let (url, parameter, proxy, no_proxy) = (next(), next(), next(), next());
    if let Ok(parsed) = Url::parse(url) {
        check_url(url, &parsed);
        check_parameter(&parsed, parameter);
        check_index(url, &parsed);
    }
    check_proxies(proxy, no_proxy, Url::parse(url).ok());
}

fn check_url(text: &str, parsed: &Url) {
    let printed = parsed.to_string();
    assert!(printed.bytes().all(|b| b.is_ascii_graphic()), "{printed:?}");
    assert_eq!(Url::parse(&printed).as_ref(), Ok(parsed));
    assert!(parsed.is_https() || parsed.is_loopback());
    assert!(printed.starts_with(&format!("{}{}", parsed.origin(), parsed.path())));
    // What the other one reads as a disguise of Unicode need not be a proper one.
    if parsed.host().split('.').any(|label| label.starts_with("xn--")) {
        return;
    }
    for text in [text, &printed] {
        let other = Other::parse(text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        assert_eq!(other.scheme(), if parsed.is_https() { "https" } else { "http" });
        assert_eq!(other.host_str(), Some(parsed.host()), "{text:?}");
        assert_eq!(other.port_or_known_default(), Some(parsed.port()), "{text:?}");
        assert!(other.username().is_empty() && other.password().is_none() && other.fragment().is_none(), "{text:?}");
    }
}

fn check_parameter(parsed: &Url, value: &str) {
    let url = parsed.with_parameter("audience", value).to_string();
    assert!(url.starts_with(parsed.origin()) && url.bytes().all(|b| b.is_ascii_graphic()), "{url:?}");
    let (_, query) = url.split_once('?').unwrap();
    let last = url::form_urlencoded::parse(query.as_bytes()).last();
    assert_eq!(last, Some(("audience".into(), value.into())));
    let path = format!("/_/x/{}", percent_encode(value));
    let elsewhere = parsed.with_path(&path);
    assert_eq!((elsewhere.origin(), elsewhere.to_string()), (parsed.origin(), format!("{}{path}", parsed.origin())));
}

fn check_index(text: &str, parsed: &Url) {
    let index = Index::parse(text).unwrap();
    assert!(index.is_same_as(&index) && index.origin() == parsed.origin());
    let audience = match (parsed.is_https(), parsed.port(), parsed.host()) {
        (true, 443, "pypi.org" | "upload.pypi.org") => Some("pypi"),
        (true, 443, "test.pypi.org") => Some("testpypi"),
        _ => None,
    };
    assert_eq!(index.known_audience().as_deref(), audience);
    let upload_url = Url::parse(&index.upload_url()).unwrap();
    assert!(upload_url.path() != "/" && Index::parse(&index.upload_url()).unwrap().is_same_as(&index));
}

fn check_proxies(proxy: &str, no_proxy: &str, url: Option<Url>) {
    let variables = [("https_proxy".into(), proxy.into()), ("no_proxy".into(), no_proxy.into())];
    let Ok(proxies) = Proxies::of(&Env::from_iter(variables)) else {
        assert!(!proxy.is_empty());
        return;
    };
    let this_machine = ["http://localhost/", "https://localhost:8443/", "http://127.0.0.1:1/", "https://127.9.9.9/"];
    for url in this_machine.into_iter().map(|url| Url::parse(url).unwrap()).chain([Url::google_metadata()]) {
        assert!(proxies.for_url(&url).is_none(), "{url}");
    }
    let url = url.unwrap_or_else(|| Url::parse("https://index.example/").unwrap());
    let Some(chosen) = proxies.for_url(&url) else { return };
    assert!(!proxy.is_empty() && url.is_https() && !url.is_loopback());
    assert!(chosen.port != 0 && !chosen.host.is_empty());
    assert!(chosen.host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b)), "{:?}", chosen.host);
    let credentials = chosen.credentials.as_deref().unwrap_or_default();
    assert!(!credentials.chars().any(char::is_control), "{credentials:?}");
    // The other one reads numbers as addresses, takes the usual port of http, and a backslash, as in `DOMAIN\user`, for
    // a slash.
    if let Ok(other) = Other::parse(proxy)
        && !proxy.contains('\\')
        && let Some(host) = other.host_str().filter(|_| other.scheme() == "http")
    {
        let host = host.trim_matches(['[', ']']);
        let is_number = host.bytes().all(|b| b.is_ascii_digit() || b == b'.') || host.contains(':');
        assert!(is_number || host.eq_ignore_ascii_case(&chosen.host), "{proxy:?}");
        assert!(other.port().is_none_or(|port| port == chosen.port), "{proxy:?}");
    }
}
