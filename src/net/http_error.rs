//! Why a request has no whole reply.

use std::fmt;
use std::io::{self, ErrorKind};

use crate::net::deadline::Ended;
use crate::os::signals;
use crate::secret::redact_tokens;
use crate::text::shown;

/// How rustls begins each of its complaints about a certificate (`Display` in its src/error.rs).
const BAD_CERTIFICATE: &str = "invalid peer certificate: ";

/// Why there is no whole reply. Text in it is sanitized: a certificate's names are the server's.
#[derive(Debug)]
pub enum HttpError {
    /// The deadline passed; the seconds that were given for everything.
    TimedOut(u64),
    /// This one request took too long; the seconds that it had.
    RequestTimeout(u64),
    /// This signal came.
    Signal(i32),
    /// No connection could be made.
    Unreachable(String),
    /// Google's metadata server is not there.
    Absent(String),
    /// The proxy can't be reached, or does not connect us.
    Proxy(String),
    /// The proxy refused with a 4xx status: the fault is in the request.
    ProxyRefused(String),
    /// The proxy wants credentials, or others than those in this variable.
    ProxyCredentials(&'static str),
    /// The server's certificate is not one that we trust.
    Certificate(String),
    /// The connection broke, or the reply is not complete or not HTTP. The text says how.
    Broken(String),
}

impl HttpError {
    /// The connection was closed with nothing, or nothing like HTTP, in reply.
    pub fn no_reply() -> HttpError {
        HttpError::Broken("it closed the connection without an HTTP reply".to_owned())
    }

    /// The connection was closed in the middle of the reply.
    pub fn cut_off() -> HttpError {
        HttpError::Broken("the server closed the connection in the middle of its reply".to_owned())
    }

    /// The reply breaks HTTP's rules.
    pub fn malformed(how: &impl fmt::Display) -> HttpError {
        HttpError::Broken(format!("its reply is not proper HTTP: {}", HttpError::text(how)))
    }

    /// The reply is longer than this.
    pub fn too_long(bytes: usize) -> HttpError {
        HttpError::Broken(format!("its reply is longer than {} KiB", bytes / 1024))
    }

    /// True if another attempt may succeed.
    pub fn is_transient(&self) -> bool {
        use HttpError::{Broken, Proxy, RequestTimeout, Unreachable};
        matches!(self, RequestTimeout(_) | Unreachable(_) | Proxy(_) | Broken(_))
    }

    /// False if no byte of the request left for the server.
    pub fn may_have_reached_server(&self) -> bool {
        use HttpError::{Absent, Proxy, ProxyCredentials, ProxyRefused, Unreachable};
        !matches!(self, Unreachable(_) | Absent(_) | Proxy(_) | ProxyRefused(_) | ProxyCredentials(_))
    }

    /// What is shown of a library's or a server's text.
    pub fn text(error: &impl fmt::Display) -> String {
        shown(&redact_tokens(&error.to_string()))
    }
}

impl From<Ended> for HttpError {
    fn from(ended: Ended) -> HttpError {
        match ended {
            Ended::TimedOut(secs) => HttpError::RequestTimeout(secs),
            Ended::Signal(signal) => HttpError::Signal(signal),
        }
    }
}

impl From<minreq::Error> for HttpError {
    fn from(error: minreq::Error) -> HttpError {
        match error {
            minreq::Error::IoError(error) => error.into(),
            minreq::Error::RustlsCreateConnection(error) => no_tls(&error),
            other => HttpError::malformed(&other),
        }
    }
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> HttpError {
        let text = HttpError::text(&error);
        match (error.kind(), text.strip_prefix(BAD_CERTIFICATE)) {
            (_, Some("UnknownIssuer")) => {
                HttpError::Certificate("it is of an unknown certificate authority".to_owned())
            }
            (_, Some(complaint)) => HttpError::Certificate(complaint.to_owned()),
            (ErrorKind::InvalidData, None) => no_tls(&error),
            // In this kind of error, minreq wraps malformed chunks and network errors between them.
            (ErrorKind::Other, None) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(minreq::Error::IoError(error)) => network_trouble(error),
                _ => HttpError::malformed(&error),
            },
            _ => network_trouble(&error),
        }
    }
}

fn no_tls(error: &impl fmt::Display) -> HttpError {
    HttpError::Broken(format!("no secure connection: {}", HttpError::text(error)))
}

fn network_trouble(error: &io::Error) -> HttpError {
    if error.kind() == ErrorKind::UnexpectedEof {
        return HttpError::cut_off(); // rustls refers to its manual here
    }
    HttpError::Broken(format!("network trouble: {}", HttpError::text(error)))
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::TimedOut(1) => f.write_str("no whole answer within the timeout of 1 second"),
            HttpError::TimedOut(secs) => write!(f, "no whole answer within the timeout of {secs} seconds"),
            HttpError::RequestTimeout(secs) => write!(f, "no whole answer within {secs} seconds"),
            HttpError::Signal(signal) => write!(f, "no whole answer before {}", signals::name(*signal)),
            HttpError::Unreachable(text) | HttpError::Absent(text) => write!(f, "network trouble: {text}"),
            HttpError::Proxy(text) | HttpError::ProxyRefused(text) => write!(f, "the proxy can't be used: {text}"),
            HttpError::ProxyCredentials(variable) => {
                write!(f, "the proxy asks for a user and a password, or for others than {variable} has")
            }
            HttpError::Certificate(text) => write!(f, "its certificate is not trusted: {text}"),
            HttpError::Broken(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ends_too_soon_is_said_to_in_our_words() {
        let eof = || {
            io::Error::new(
                ErrorKind::UnexpectedEof,
                "peer closed connection without sending TLS close_notify: https://x",
            )
        };
        for error in [eof(), io::Error::other(minreq::Error::IoError(eof()))] {
            assert_eq!(
                HttpError::from(error).to_string(),
                "the server closed the connection in the middle of its reply"
            );
        }
    }

    #[test]
    fn a_reset_between_two_chunks_is_blamed_on_the_network() {
        let reset = || io::Error::from(ErrorKind::ConnectionReset);
        for error in [reset(), io::Error::other(minreq::Error::IoError(reset()))] {
            assert!(HttpError::from(error).to_string().starts_with("network trouble: "));
        }
        let chunk = HttpError::from(io::Error::other(minreq::Error::MalformedChunkEnd));
        assert!(chunk.to_string().starts_with("its reply is not proper HTTP: "));
    }
}
