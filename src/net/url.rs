//! A URL that a request may be sent to. It is checked before any library sees it.
//!
//! minreq 3.0.0 (`src/http_url.rs`) checks little. It reads a malformed port as 443, truncates a port over 65535, takes
//! user info as part of the host's name, and lets CR and LF into the request. So a URL is refused here unless each part
//! has its plain form.

use std::fmt;
use std::net::Ipv4Addr;

const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;
const BAD_PORT: &str = "the URL's port is not a number from 1 to 65535";
const NO_TLS: &str = "the URL is http://, so anyone on the way could read the tokens; use https:// (http:// is for \
                      this machine itself: localhost, 127.x.x.x)";

/// An absolute `https` URL, or an `http` URL whose host is this machine itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Scheme, host and port in one spelling, so that they can be compared: lower case, without a default port or a
    /// slash at the end. Example: `https://example.org:8443`.
    origin: String,
    /// It begins with `/`.
    path_and_query: String,
}

impl Url {
    /// Takes a URL apart and checks each part.
    ///
    /// # Errors
    /// The fault. No part of the URL is quoted, since it could be a password.
    pub fn parse(text: &str) -> Result<Url, &'static str> {
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err("the URL has a blank, a line break or another character that no URL has");
        }
        let (scheme, rest) = text.split_once("://").ok_or("it is not a URL (a URL begins with https://)")?;
        let scheme = scheme.to_ascii_lowercase();
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("the URL names a user (the part before @); take it out: trusted publishing needs none");
        }
        if authority.starts_with('[') {
            // minreq can't parse such a URL.
            return Err("the URL's host is an IPv6 address, which is not supported; use a host name");
        }
        if path_and_query.contains('#') {
            return Err("the URL has a # in it; take it out, with all that follows it");
        }
        let authority = authority.to_ascii_lowercase();
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(parse_port(port).ok_or(BAD_PORT)?)),
            None => (&*authority, None),
        };
        if !is_host(host) {
            return Err("the URL's host is missing, or is no host name");
        }
        let usual_port = match scheme.as_str() {
            "https" => HTTPS_PORT,
            "http" if is_loopback(host) => HTTP_PORT,
            "http" => return Err(NO_TLS),
            _ => return Err("the URL has to begin with https://"),
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

    pub fn is_https(&self) -> bool {
        self.origin.starts_with("https:")
    }

    /// A name in lower case, or an IPv4 address.
    pub fn host(&self) -> &str {
        self.authority().split(':').next().unwrap_or_default()
    }

    /// The port that is given, or else the scheme's default.
    pub fn port(&self) -> u16 {
        let usual = if self.is_https() { HTTPS_PORT } else { HTTP_PORT };
        self.authority().split_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(usual)
    }

    pub fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }

    fn authority(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, authority)| authority)
    }

    /// The same server with another path. `path` begins with `/`. It is not checked, since it is our own.
    pub fn with_path(&self, path: &str) -> Url {
        Url { path_and_query: path.to_owned(), ..self.clone() }
    }

    /// The same URL with one more parameter. `name` is our own; `value` may be any text.
    pub fn with_parameter(&self, name: &str, value: &str) -> Url {
        let separator = match self.path_and_query.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        let path_and_query = format!("{}{separator}{name}={}", self.path_and_query, percent_encode(value));
        Url { path_and_query, ..self.clone() }
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

/// True for an IPv4 address or a host name: rustls accepts nothing else. The last label of a name can't be a number,
/// since that could be another form of an address (`127.1`, `0x7f000001`).
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

/// True if resolvers and browsers may read this label as a number: only digits, or `0x` and hexadecimal digits.
fn is_number(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_digit())
        || label.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A number from 1 to 65535, of digits only. (`parse` would allow a plus sign.)
pub fn parse_port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port != 0)
}

/// True for `localhost`, and for an address of 127.0.0.0/8 in four plain numbers. Other forms do not count.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// Percent-encodes all characters except the unreserved ones (RFC 3986, section 2.3).
pub fn percent_encode(text: &str) -> String {
    let encoded = |byte: u8| match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
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
        for (text, fault) in [
            ("", "not a URL"),
            ("pypi", "not a URL"),
            ("https:/example.org", "not a URL"),
            ("ftp://example.org", "has to begin"),
            ("://example.org", "has to begin"),
            ("http://example.org", "is http://"),
            ("http://127.0.0.1.example.org", "is http://"),
            ("http://localhost.example.org", "is http://"),
            ("http://127.1/", "is no host name"),
            ("http://2130706433/", "is no host name"),
            ("https://0x7f000001/", "is no host name"),
            ("https://a.0X/", "is no host name"),
            ("https://1.2.3.256/", "is no host name"),
            ("https://a..b/", "is no host name"),
            ("https://a.b./", "is no host name"),
            ("https://-a.b/", "is no host name"),
            ("https://a-/", "is no host name"),
            (&format!("https://{}.b/", "a".repeat(64)), "is no host name"),
            (&format!("https://{}b/", "a.".repeat(127)), "is no host name"),
            ("http://0x7f.0.0.1/", "is no host name"),
            ("http://0.0.0.0/", "is http://"),
            ("https://user@example.org", "names a user"),
            ("https://user:secret@example.org/", "names a user"),
            ("http://localhost:80@example.org/", "names a user"),
            ("https://[::1]:443/", "IPv6"),
            ("https://", "is no host name"),
            ("https:///path", "is no host name"),
            ("https://:443/", "is no host name"),
            ("https://exam%70le.org", "is no host name"),
            ("https://example.org\\.evil.example/", "is no host name"),
            ("https://example.org:", "port is not"),
            ("https://example.org:0", "port is not"),
            ("https://example.org:65536", "port is not"),
            ("https://example.org:4294967739", "port is not"),
            ("https://example.org:+443", "port is not"),
            ("https://example.org:443:443", "port is not"),
            ("https://example.org/\r\nX: y", "a blank"),
            ("https://example.org/a b", "a blank"),
            ("https://exämple.org/", "a blank"),
            (" https://example.org/", "a blank"),
            ("https://example.org/#x", "has a #"),
            ("https://example.org#@evil.example", "has a #"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(error.contains(fault), "{text}: {error}");
        }
    }

    #[test]
    fn a_parameter_is_encoded_and_added_to_any_query() {
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
        assert!(Url::parse(metadata.origin()).is_err(), "nobody else may name it");
    }

    #[test]
    fn a_path_is_without_its_query() {
        assert_eq!(Url::parse("https://h/p?secret=1").unwrap().path(), "/p");
    }
}
