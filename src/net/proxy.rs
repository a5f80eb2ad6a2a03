//! Which proxy a request goes through, if any. `https_proxy`, `all_proxy` and `no_proxy` are read as curl reads them
//! (curl's manual page, "ENVIRONMENT", and `lib/noproxy.c`). If the proxy can't be used, that is an error: no direct
//! connection replaces it.

use crate::env::Env;
use crate::net::url::{Url, parse_port};

/// The first one that is set counts. curl reads the lower-case ones first, too.
const PROXY_VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const NO_PROXY_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// curl's default port for a proxy.
const DEFAULT_PORT: u16 = 1080;
const NOT_HOST_PORT: &str = "it is not http://HOST:PORT";

/// The proxy settings from the environment.
#[derive(Clone)]
pub struct Proxies {
    proxy: Option<Proxy>,
    no_proxy: String,
}

/// A proxy for CONNECT.
#[derive(Clone)]
pub struct Proxy {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// `user:password`, decoded.
    pub credentials: Option<String>,
    /// The variable that names it.
    pub variable: &'static str,
}

impl Proxies {
    /// Reads the variables.
    ///
    /// # Errors
    /// The variable and its fault. The value is not quoted, since it may contain a password.
    pub fn of(env: &Env) -> Result<Proxies, (&'static str, &'static str)> {
        let first = |names: &[&'static str]| names.iter().find_map(|name| Some((*name, env.get(name)?)));
        let proxy = first(&PROXY_VARIABLES).map(|(name, value)| {
            let value = value.to_str().ok_or((name, NOT_HOST_PORT))?;
            Proxy::parse(name, value).map_err(|error| (name, error))
        });
        let no_proxy = first(&NO_PROXY_VARIABLES).map(|(_, value)| value.to_string_lossy().into_owned());
        Ok(Proxies { proxy: proxy.transpose()?, no_proxy: no_proxy.unwrap_or_default() })
    }

    /// The proxy for a URL. A URL without https is on this machine or its own network, and needs none.
    pub fn for_url(&self, url: &Url) -> Option<&Proxy> {
        let direct = !url.is_https() || url.is_loopback() || is_exempt(url.host(), url.port(), &self.no_proxy);
        if direct { None } else { self.proxy.as_ref() }
    }
}

impl Proxy {
    /// `[http://][user[:password]@]host[:port][/]`
    fn parse(variable: &'static str, text: &str) -> Result<Proxy, &'static str> {
        const CREDENTIALS: &str = "its user or password is not properly percent-encoded";
        let authority = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err("only a proxy that is spoken to in plain HTTP is supported: http://HOST:PORT"),
            None => text,
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (credentials, address) = match authority.rsplit_once('@') {
            // curl ends the host at the first of these characters, so it would use another host.
            Some((credentials, _)) if credentials.contains(['/', '?', '#']) => return Err(CREDENTIALS),
            Some((credentials, address)) => (Some(decode(credentials).ok_or(CREDENTIALS)?), address),
            None => (None, authority),
        };
        let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, port),
            Some(_) => return Err(NOT_HOST_PORT),
            None => address.split_at(address.find(':').unwrap_or(address.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => parse_port(port).ok_or("its port is not a number from 1 to 65535")?,
            None if port.is_empty() => DEFAULT_PORT,
            None => return Err(NOT_HOST_PORT),
        };
        let in_host = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        if host.is_empty() || !host.bytes().all(in_host) {
            return Err(NOT_HOST_PORT);
        }
        Ok(Proxy { host: host.to_owned(), port, credentials, variable })
    }
}

/// Decodes percent-encoded text (RFC 3986, section 2.1). `None` if it is malformed, or has a control character: that
/// could end a header line.
fn decode(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let digits = piece.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(piece.bytes().skip(2));
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

/// True if a list such as `example.org, .example.net:8443` contains the host or a domain above it. An entry with a port
/// counts for that port only. `*` matches every host.
fn is_exempt(host: &str, port: u16, list: &str) -> bool {
    let is_address = host.parse::<std::net::Ipv4Addr>().is_ok();
    list.split([',', ' ', '\t']).any(|entry| {
        if entry == "*" || is_address {
            return entry == "*" || entry == host; // an address has no domain, and its entry has no port
        }
        let (name, its_port) = entry.split_once(':').map_or((entry, None), |(name, port)| (name, Some(port)));
        let name = name.strip_prefix('.').unwrap_or(name);
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_domain_of_host = host.strip_suffix(&name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        !name.is_empty() && is_domain_of_host && its_port.is_none_or(|its_port| its_port.parse() == Ok(port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_and_a_port_and_perhaps_credentials() {
        let parsed = |text| {
            Proxy::parse("https_proxy", text).map(|Proxy { host, port, credentials, .. }| (host, port, credentials))
        };
        let proxy =
            |host: &str, port, credentials: Option<&str>| Ok((host.to_owned(), port, credentials.map(str::to_owned)));
        assert_eq!(parsed("proxy.example:3128"), proxy("proxy.example", 3128, None));
        assert_eq!(parsed("HTTP://proxy.example/"), proxy("proxy.example", 1080, None));
        assert_eq!(parsed("http://10.0.0.1:80"), proxy("10.0.0.1", 80, None));
        assert_eq!(parsed("http://[::1]:80"), proxy("::1", 80, None));
        assert_eq!(parsed("http://[::1]"), proxy("::1", 1080, None));
        assert_eq!(parsed("http://me:p%40s%3as%C3%A4@p:1"), proxy("p", 1, Some("me:p@s:sä")));
        assert_eq!(parsed("http://me@here:x@p:1"), proxy("p", 1, Some("me@here:x")));
        assert_eq!(parsed("me@p"), proxy("p", 1080, Some("me")));
        for (text, fault) in [
            ("https://p:1", "plain HTTP"),
            ("socks5://p:1", "plain HTTP"),
            ("http://", "it is not http://"),
            ("http://:80", "it is not http://"),
            ("http://p/path", "it is not http://"),
            ("http://p q", "it is not http://"),
            ("http://[::1]80", "it is not http://"),
            ("http://[::g]:80", "it is not http://"),
            ("http://p\r\nX: y:80", "its port"),
            ("http://p:0", "its port"),
            ("http://p:65536", "its port"),
            ("http://p:80/path", "its port"),
            ("http://a%0d%0ab@p", "percent-encoded"),
            ("http://a%4@p", "percent-encoded"),
            ("http://p.example/@q.example:80", "percent-encoded"),
            ("http://me:a#b@p:80", "percent-encoded"),
            ("http://a%zz@p", "percent-encoded"),
            ("http://a%ff@p", "percent-encoded"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(fault), "{text}: {error}");
        }
    }

    #[test]
    #[cfg_attr(windows, ignore = "there, they are the same variable")]
    fn the_lower_case_variable_counts_before_the_others() {
        let host = |env| Proxies::of(&env).unwrap().proxy.map(|proxy| proxy.host);
        assert_eq!(host(Env::from([("https_proxy", "a"), ("HTTPS_PROXY", "b")])).as_deref(), Some("a"));
        assert_eq!(host(Env::from([("https_proxy", ""), ("HTTPS_PROXY", "b")])).as_deref(), Some("b"));
        assert_eq!(host(Env::from([("HTTPS_PROXY", "b"), ("all_proxy", "c")])).as_deref(), Some("b"));
        assert_eq!(host(Env::from([("ALL_PROXY", "c")])).as_deref(), Some("c"));
        assert_eq!(host(Env::from([("http_proxy", "d"), ("no_proxy", "e")])), None);
        let bad = Proxies::of(&Env::from([("HTTPS_PROXY", "ftp://x")])).err().unwrap();
        assert!(bad.0 == "HTTPS_PROXY" && bad.1.contains("plain HTTP"), "{bad:?}");
    }

    #[test]
    fn this_machine_and_the_metadata_server_are_reached_directly() {
        let proxies = Proxies::of(&Env::from([("https_proxy", "p")])).unwrap();
        let proxied = |url: Url| proxies.for_url(&url).is_some();
        assert!(proxied(Url::parse("https://example.org").unwrap()));
        for url in ["https://localhost:1/", "https://127.1.2.3/", "http://127.0.0.1/"] {
            assert!(!proxied(Url::parse(url).unwrap()), "{url}");
        }
        assert!(!proxied(Url::google_metadata()));
    }

    #[test]
    fn no_proxy_is_read_as_curl_reads_it() {
        for list in [
            "*",
            "example.org",
            "EXAMPLE.ORG.",
            ".example.org",
            "org",
            "x,example.org",
            "x example.org",
            " , \tpypi.example.org",
            "pypi.example.org:443",
            ".org:443",
            "x,*",
        ] {
            assert!(is_exempt("pypi.example.org", 443, list), "{list}");
        }
        for list in [
            "",
            "ample.org",
            "example",
            "example.org:80",
            "x.pypi.example.org",
            "*.org",
            ".",
            ":443",
            ",",
            "example.org:x",
        ] {
            assert!(!is_exempt("pypi.example.org", 443, list), "{list}");
        }
        assert!(is_exempt("10.0.0.1", 443, "x, 10.0.0.1") && is_exempt("10.0.0.1", 443, "*"));
        for list in ["0.0.1", ".10.0.0.1", "10.0.0.1:443", "10.0.0.1."] {
            assert!(!is_exempt("10.0.0.1", 443, list), "{list}");
        }
    }
}
