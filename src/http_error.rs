//! Why a request has no whole reply.

use std::fmt;
use std::io;

use crate::deadline::Ended;
use crate::secret::redact_tokens;
use crate::workflow::neutralise;

/// The most that is shown of what a server or a library says.
pub const MAX_TEXT_CHARS: usize = 300;

/// How rustls begins each of its complaints about a certificate (`Display` in its src/error.rs).
const BAD_CERTIFICATE: &str = "invalid peer certificate: ";

/// Why there is no whole reply. Text in it is neutralised: a certificate's names are the server's.
#[derive(Debug)]
pub enum HttpError {
    /// The deadline passed; the seconds that were given for everything.
    TimedOut(u64),
    /// This one request took too long; the seconds that it had.
    Late(u64),
    /// This signal came.
    Signal(i32),
    /// No connection could be made.
    Unreachable(String),
    /// Nobody listens at a server that is next door, or there is none.
    Absent(String),
    /// The connection broke.
    Network(String),
    /// The server's certificate is not one that we trust.
    Certificate(String),
    /// TLS failed in another way.
    Tls(String),
    /// The connection was closed with nothing, or nothing like HTTP, in reply.
    NoReply,
    /// The reply breaks HTTP's rules.
    Malformed(String),
    /// The connection was closed in the middle of the reply.
    CutOff,
    /// The same, within the body: bytes that came, bytes that were announced.
    Short(usize, usize),
    /// The reply is longer than this many bytes.
    TooLong(usize),
    /// The proxy can't be reached, or does not connect us.
    Proxy(String),
    /// The proxy does not connect us, and says that this is our fault.
    ProxyRefused(String),
    /// The proxy wants credentials, or others.
    ProxyCredentials,
}

impl HttpError {
    /// True if another attempt may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            HttpError::TimedOut(_) | HttpError::Signal(_) => false,
            HttpError::Absent(_) | HttpError::Certificate(_) => false,
            HttpError::ProxyRefused(_) | HttpError::ProxyCredentials => false,
            HttpError::Late(_) | HttpError::Unreachable(_) | HttpError::Network(_) | HttpError::Tls(_) => true,
            HttpError::NoReply | HttpError::Malformed(_) | HttpError::CutOff | HttpError::Short(..) => true,
            HttpError::TooLong(_) | HttpError::Proxy(_) => true,
        }
    }

    /// False if no byte of the request left for the server.
    pub fn may_have_reached_server(&self) -> bool {
        use HttpError::{Absent, Proxy, ProxyCredentials, ProxyRefused, Unreachable};
        !matches!(self, Unreachable(_) | Absent(_) | Proxy(_) | ProxyRefused(_) | ProxyCredentials)
    }

    /// What is shown of a library's or a server's text.
    pub fn text(error: &impl fmt::Display) -> String {
        neutralise(&redact_tokens(&error.to_string()), MAX_TEXT_CHARS)
    }
}

impl From<Ended> for HttpError {
    fn from(ended: Ended) -> HttpError {
        match ended {
            Ended::TimedOut(secs) => HttpError::Late(secs),
            Ended::Signal(signal) => HttpError::Signal(signal),
        }
    }
}

impl From<minreq::Error> for HttpError {
    fn from(error: minreq::Error) -> HttpError {
        match error {
            minreq::Error::IoError(error) => error.into(),
            minreq::Error::RustlsCreateConnection(error) => HttpError::Tls(HttpError::text(&error)),
            other => HttpError::Malformed(HttpError::text(&other)),
        }
    }
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> HttpError {
        let text = HttpError::text(&error);
        match (error.kind(), text.strip_prefix(BAD_CERTIFICATE)) {
            (_, Some(complaint)) => HttpError::Certificate(complaint.to_owned()),
            (io::ErrorKind::InvalidData, None) => HttpError::Tls(text),
            (io::ErrorKind::UnexpectedEof, None) => HttpError::CutOff,
            // minreq wraps what it finds wrong with a chunk in an error of this kind, and what the network did there.
            (io::ErrorKind::Other, None) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(minreq::Error::IoError(_)) => HttpError::Network(text),
                _ => HttpError::Malformed(text),
            },
            _ => HttpError::Network(text),
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::TimedOut(1) => f.write_str("no whole answer within the timeout of 1 second"),
            HttpError::TimedOut(secs) => write!(f, "no whole answer within the timeout of {secs} seconds"),
            HttpError::Late(secs) => write!(f, "no whole answer within {secs} seconds"),
            HttpError::Signal(signal) => write!(f, "no whole answer before {}", crate::signals::name(*signal)),
            HttpError::Network(text) | HttpError::Unreachable(text) | HttpError::Absent(text) => {
                write!(f, "network trouble: {text}")
            }
            HttpError::Certificate(text) => write!(f, "its certificate is not trusted: {text}"),
            HttpError::Tls(text) => write!(f, "no secure connection: {text}"),
            HttpError::NoReply => f.write_str("it closed the connection without an HTTP reply"),
            HttpError::Malformed(text) => write!(f, "its reply is not proper HTTP: {text}"),
            HttpError::CutOff => f.write_str("it closed the connection before its reply was whole"),
            HttpError::Short(came, announced) => {
                write!(f, "its reply was cut off: {came} of {announced} bytes came")
            }
            HttpError::TooLong(bytes) => write!(f, "its reply is longer than {} KiB", bytes / 1024),
            HttpError::Proxy(text) | HttpError::ProxyRefused(text) => write!(f, "the proxy can't be used: {text}"),
            HttpError::ProxyCredentials => f.write_str("the proxy asks for a user and a password, or for others"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_between_two_chunks_is_blamed_on_the_network() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        for error in [reset(), io::Error::other(minreq::Error::IoError(reset()))] {
            assert!(matches!(HttpError::from(error), HttpError::Network(_)));
        }
        let chunk = io::Error::other(minreq::Error::MalformedChunkEnd);
        assert!(matches!(HttpError::from(chunk), HttpError::Malformed(_)));
    }
}
