//! Why a request has no whole reply.

use std::fmt::Display;
use std::io::{self, ErrorKind};

use crate::os::deadline::WaitError;
use crate::text::shown;

/// The start of each of rustls' errors about a certificate (`Display` in its src/error.rs).
const BAD_CERTIFICATE: &str = "invalid peer certificate: ";

/// Why there is no whole reply. It has no `Debug`, since `body` may contain a token.
pub struct HttpError {
    /// Sanitized, since it may quote names from the server's certificate.
    pub text: String,
    pub fault: Fault,
    /// The part of the body that came, if the status says that the request succeeded.
    pub body: Vec<u8>,
}

/// What went wrong. This decides whether to try again, and which hints the user gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection broke, the deadline or a signal ended the wait, or the reply is incomplete, too long or not HTTP.
    /// Only in this case may the server have the request.
    NoReply,
    /// No connection could be made.
    Unreachable,
    /// No connection to Google's metadata server could be made. Most machines have none, so it is not tried again.
    Absent,
    /// The proxy refused with a 4xx status, so it would refuse again.
    ProxyRefused,
    /// The server's certificate is not trusted.
    Certificate,
}

impl HttpError {
    pub fn new(fault: Fault, text: impl Into<String>) -> HttpError {
        HttpError { text: text.into(), fault, body: vec![] }
    }

    /// Nothing came in reply, or nothing like HTTP.
    pub fn no_reply() -> HttpError {
        HttpError::new(Fault::NoReply, "it gave no HTTP reply")
    }

    /// The connection was closed, or a bound was reached, before the reply was complete.
    pub fn cut_off() -> HttpError {
        HttpError::new(Fault::NoReply, "no complete reply came")
    }

    /// The reply breaks the rules of HTTP.
    pub fn malformed(how: &impl Display) -> HttpError {
        HttpError::new(Fault::NoReply, format!("its reply is not proper HTTP: {}", shown(&how.to_string())))
    }

    /// The reply is longer than this.
    pub fn too_long(bytes: usize) -> HttpError {
        HttpError::new(Fault::NoReply, format!("its reply is longer than {} KiB", bytes / 1024))
    }

    /// Adds the part of the body that came, if the status says that the request succeeded.
    pub fn with_partial_body(self, status: u16, body: Vec<u8>) -> HttpError {
        if (200..300).contains(&status) { HttpError { body, ..self } } else { self }
    }

    /// True if another attempt may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self.fault, Fault::NoReply | Fault::Unreachable)
    }
}

impl From<WaitError> for HttpError {
    fn from(ended: WaitError) -> HttpError {
        HttpError::new(Fault::NoReply, format!("no whole answer: {ended}"))
    }
}

impl From<minreq::Error> for HttpError {
    fn from(error: minreq::Error) -> HttpError {
        match error {
            minreq::Error::IoError(error) => error.into(),
            minreq::Error::RustlsCreateConnection(error) => io::Error::new(ErrorKind::InvalidData, error).into(),
            other => HttpError::malformed(&other),
        }
    }
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> HttpError {
        let text = shown(&error.to_string());
        if let Some(complaint) = text.strip_prefix(BAD_CERTIFICATE) {
            let complaint =
                if complaint == "UnknownIssuer" { "it is of an unknown certificate authority" } else { complaint };
            return HttpError::new(Fault::Certificate, format!("its certificate is not trusted: {complaint}"));
        }
        match error.kind() {
            // rustls' own text refers to its manual.
            ErrorKind::UnexpectedEof => HttpError::cut_off(),
            ErrorKind::InvalidData => HttpError::new(Fault::NoReply, format!("no secure connection: {text}")),
            // minreq wraps malformed chunks in this kind, and network errors between chunks.
            ErrorKind::Other => match error.downcast::<minreq::Error>() {
                Ok(wrapped) => wrapped.into(),
                Err(other) => HttpError::malformed(&other),
            },
            _ => HttpError::new(Fault::NoReply, format!("network trouble: {text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ends_too_soon_is_reported_in_our_words() {
        let eof = || {
            io::Error::new(
                ErrorKind::UnexpectedEof,
                "peer closed connection without sending TLS close_notify: https://x",
            )
        };
        for error in [eof(), io::Error::other(minreq::Error::IoError(eof()))] {
            assert_eq!(HttpError::from(error).text, "no complete reply came");
        }
    }

    #[test]
    fn a_reset_between_two_chunks_is_blamed_on_the_network() {
        let reset = || io::Error::from(ErrorKind::ConnectionReset);
        for error in [reset(), io::Error::other(minreq::Error::IoError(reset()))] {
            assert!(HttpError::from(error).text.starts_with("network trouble: "));
        }
        let chunk = HttpError::from(io::Error::other(minreq::Error::MalformedChunkEnd));
        assert!(chunk.text.starts_with("its reply is not proper HTTP: "));
    }
}
