//! A URL that a request may be sent to, checked before any library sees it.
//!
//! minreq 3.0.0 (`src/http_url.rs`) checks little: a port that does not parse becomes 443, one over
//! 65535 is truncated, user info becomes part of the host's name, and CR or LF get into the request. So a
//! URL is refused here unless each part has its plain form.

use std::fmt;
use std::net::Ipv4Addr;

const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;

/// An absolute `https` URL, or an `http` one whose host is this very machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Scheme, host and port in one spelling, so that they can be compared: lower case, no default port, no slash at the end,
    /// for example `https://example.org:8443`.
    origin: String,
    /// Begins with `/`, and includes the query.
    path_and_query: String,
}

/// Why a URL is refused. It contains no part that could be a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// No `://` in it.
    NotAbsolute,
    /// A scheme other than `https` and `http`.
    Scheme,
    /// Plain `http` to another machine: anyone between could read the tokens.
    PlainHttp,
    /// `user@` or `user:password@`.
    UserInfo,
    /// A host that is missing, or that is neither a host name nor an IPv4 address.
    Host,
    /// An IPv6 address in brackets, which minreq can't parse.
    Ipv6,
    /// Not a number from 1 to 65535.
    Port,
    /// A space, a control character or a character outside ASCII.
    Character,
    /// `#…`: it is never sent.
    Fragment,
}

impl Url {
    /// Takes a URL apart and checks each part.
    ///
    /// # Errors
    /// The first rule of [`UrlError`] that the text breaks.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(UrlError::Character);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NotAbsolute)?;
        let scheme = scheme.to_ascii_lowercase();
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        if authority.starts_with('[') {
            return Err(UrlError::Ipv6);
        }
        if path_and_query.contains('#') {
            return Err(UrlError::Fragment);
        }
        let authority = authority.to_ascii_lowercase();
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(parse_port(port).ok_or(UrlError::Port)?)),
            None => (&*authority, None),
        };
        if !is_host(host) {
            return Err(UrlError::Host);
        }
        let usual_port = match scheme.as_str() {
            "https" => HTTPS_PORT,
            "http" if is_loopback(host) => HTTP_PORT,
            "http" => return Err(UrlError::PlainHttp),
            _ => return Err(UrlError::Scheme),
        };
        let port = port.filter(|port| *port != usual_port).map(|port| format!(":{port}")).unwrap_or_default();
        // minreq would send `GET ?query` for a URL without a path.
        let slash = if path_and_query.starts_with('/') { "" } else { "/" };
        Ok(Url { origin: format!("{scheme}://{host}{port}"), path_and_query: format!("{slash}{path_and_query}") })
    }

    /// Google's metadata server, which speaks only http and is on the machine's own network.
    pub fn google_metadata() -> Url {
        Url { origin: "http://metadata.google.internal".to_owned(), path_and_query: "/".to_owned() }
    }

    /// Scheme and authority: `https://example.org`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// True for `https`.
    pub fn is_https(&self) -> bool {
        self.origin.starts_with("https:")
    }

    /// A name in lower case, or an IPv4 address.
    pub fn host(&self) -> &str {
        self.authority().split(':').next().unwrap_or_default()
    }

    /// The port, given or the default.
    pub fn port(&self) -> u16 {
        let usual = if self.is_https() { HTTPS_PORT } else { HTTP_PORT };
        self.authority().split_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(usual)
    }

    /// True if the host is this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }

    fn authority(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, authority)| authority)
    }

    /// The same server, another path. `path` begins with `/` and is ours, so it needs no check.
    pub fn with_path(&self, path: &str) -> Url {
        Url { path_and_query: path.to_owned(), ..self.clone() }
    }

    /// The same URL with one more parameter. `name` is ours; `value` may be any text.
    pub fn with_parameter(&self, name: &str, value: &str) -> Url {
        let separator = match self.path_and_query.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        let path_and_query = format!("{}{separator}{name}={}", self.path_and_query, percent_encode(value));
        Url { path_and_query, ..self.clone() }
    }

    /// Scheme, authority and path without the query, for log lines.
    pub fn without_query(&self) -> String {
        format!("{}{}", self.origin, self.path())
    }

    /// The path, without the query. It begins with `/`.
    pub fn path(&self) -> &str {
        self.path_and_query.split('?').next().unwrap_or_default()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path_and_query)
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UrlError::NotAbsolute => "it is not a URL (a URL begins with https://)",
            UrlError::Scheme => "the URL has to begin with https://",
            UrlError::PlainHttp => {
                "the URL is http://, so anyone on the way could read the tokens; use https:// (http:// is for this \
                 machine itself: localhost, 127.x.x.x)"
            }
            UrlError::UserInfo => "the URL names a user (the part before @); take it out",
            UrlError::Host => "the URL's host is missing, or is no host name",
            UrlError::Ipv6 => "the URL's host is an IPv6 address, which is not supported; use a host name",
            UrlError::Port => "the URL's port is not a number from 1 to 65535",
            UrlError::Character => "the URL has a blank, a line break or another character that no URL has",
            UrlError::Fragment => "the URL has a # in it; take it out, with all that follows it",
        })
    }
}

/// True for an IPv4 address or a host name. rustls accepts nothing else. A last label that is a number could be another form of
/// an address (`127.1`, `0x7f000001`).
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = host.len() <= 253
        && host.split('.').all(is_label)
        && host.rsplit('.').next().is_some_and(|last| !is_number(last));
    is_name || host.parse::<Ipv4Addr>().is_ok()
}

/// True for what resolvers and browsers may read as a number: only digits, or `0x` and hexadecimal digits.
fn is_number(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_digit())
        || label.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A number from 1 to 65535, with digits only.
pub fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// True for `localhost`, and for 127.0.0.0/8 in four plain numbers. Other forms do not count as loopback.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// Percent-encodes everything but the unreserved characters of RFC 3986, section 2.3.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_url_is_reduced_to_scheme_and_authority() {
        for (text, origin) in [
            ("https://example.org/legacy/", "https://example.org"),
            ("https://Example.ORG:8443/legacy/?x=1", "https://example.org:8443"),
            ("HTTPS://example.org", "https://example.org"),
            ("https://example.org?x", "https://example.org"),
            ("http://127.0.0.1:8080/legacy/", "http://127.0.0.1:8080"),
            ("http://127.9.8.7", "http://127.9.8.7"),
            ("http://LOCALHOST:1/", "http://localhost:1"),
            ("https://a_b.c-d.e1/", "https://a_b.c-d.e1"),
            ("https://1.2.3.4/", "https://1.2.3.4"),
            ("https://Example.org:443/legacy/", "https://example.org"),
            ("https://example.org:0443", "https://example.org"),
            ("https://example.org:08443", "https://example.org:8443"),
            ("http://127.0.0.1:80/legacy/", "http://127.0.0.1"),
            ("https://example.org:80", "https://example.org:80"),
            ("http://127.0.0.1:443", "http://127.0.0.1:443"),
        ] {
            assert_eq!(Url::parse(text).unwrap().origin(), origin, "{text}");
        }
    }

    #[test]
    fn a_url_that_is_not_plainly_what_it_seems_is_refused() {
        use UrlError::*;
        for (text, reason) in [
            ("", NotAbsolute),
            ("pypi", NotAbsolute),
            ("https:/example.org", NotAbsolute),
            ("ftp://example.org", Scheme),
            ("://example.org", Scheme),
            ("http://example.org", PlainHttp),
            ("http://127.0.0.1.example.org", PlainHttp),
            ("http://localhost.example.org", PlainHttp),
            ("http://127.1/", Host),
            ("http://2130706433/", Host),
            ("https://0x7f000001/", Host),
            ("https://a.0X/", Host),
            ("https://1.2.3.256/", Host),
            ("https://a..b/", Host),
            ("https://a.b./", Host),
            ("https://-a.b/", Host),
            ("https://a-/", Host),
            (&format!("https://{}.b/", "a".repeat(64)), Host),
            (&format!("https://{}b/", "a.".repeat(127)), Host),
            ("http://0x7f.0.0.1/", Host),
            ("http://0.0.0.0/", PlainHttp),
            ("https://user@example.org", UserInfo),
            ("https://user:secret@example.org/", UserInfo),
            ("http://localhost:80@example.org/", UserInfo),
            ("https://[::1]:443/", Ipv6),
            ("https://", Host),
            ("https:///path", Host),
            ("https://:443/", Host),
            ("https://exam%70le.org", Host),
            ("https://example.org\\.evil.example/", Host),
            ("https://example.org:", Port),
            ("https://example.org:0", Port),
            ("https://example.org:65536", Port),
            ("https://example.org:4294967739", Port),
            ("https://example.org:+443", Port),
            ("https://example.org:443:443", Port),
            ("https://example.org/\r\nX: y", Character),
            ("https://example.org/a b", Character),
            ("https://exämple.org/", Character),
            (" https://example.org/", Character),
            ("https://example.org/#x", Fragment),
            ("https://example.org#@evil.example", Fragment),
        ] {
            assert_eq!(Url::parse(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn a_parameter_is_encoded_and_joined_to_whatever_is_there() {
        for (text, joined) in [
            ("https://h", "https://h/?audience=a%20b%26c%2F%C3%A4~"),
            ("https://h/p", "https://h/p?audience=a%20b%26c%2F%C3%A4~"),
            ("https://h?x=1", "https://h/?x=1&audience=a%20b%26c%2F%C3%A4~"),
            ("https://h/p?api-version=2.0", "https://h/p?api-version=2.0&audience=a%20b%26c%2F%C3%A4~"),
            ("https://h/p?", "https://h/p?audience=a%20b%26c%2F%C3%A4~"),
            ("https://h/p?x?", "https://h/p?x?&audience=a%20b%26c%2F%C3%A4~"),
            ("https://h/p?x&", "https://h/p?x&audience=a%20b%26c%2F%C3%A4~"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.with_parameter("audience", "a b&c/ä~").to_string(), joined);
        }
    }

    #[test]
    fn host_and_port_are_told_apart() {
        for (text, host, port) in [
            ("https://Example.org/x", "example.org", 443),
            ("https://example.org:8443", "example.org", 8443),
            ("https://example.org:443", "example.org", 443),
            ("http://127.0.0.1", "127.0.0.1", 80),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.host(), url.port()), (host, port));
        }
        let metadata = Url::google_metadata();
        assert_eq!((metadata.host(), metadata.port()), ("metadata.google.internal", 80));
        assert_eq!(Url::parse(metadata.origin()), Err(UrlError::PlainHttp), "nobody else may name it");
    }

    #[test]
    fn a_log_line_gets_no_query() {
        let url = Url::parse("https://h/p?secret=1").unwrap();
        assert_eq!(url.without_query(), "https://h/p");
    }
}
