//! Why a request has no whole reply.

use std::fmt::Display;
use std::io::{self, ErrorKind};

use crate::os::deadline::WaitError;
use crate::text::shown;

/// How rustls begins each of its complaints about a certificate (`Display` in its src/error.rs).
const BAD_CERTIFICATE: &str = "invalid peer certificate: ";

/// Why there is no whole reply. It has no `Debug`: there may be a token in it.
pub struct HttpError {
    /// Sanitized: a certificate's names are the server's.
    pub text: String,
    pub fault: Fault,
    /// What came of the body where the status says that the request succeeded.
    pub body: Vec<u8>,
}

/// What went wrong: that decides whether to try again, and what there is to do about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection broke, or the reply is late, not complete or not HTTP. Only here may the server have the request.
    NoReply,
    /// No connection could be made.
    Unreachable,
    /// No connection to Google's metadata server could be made. Most machines have none, so it is not tried again.
    Absent,
    /// The proxy refused with a 4xx status: the fault is in the request.
    ProxyRefused,
    /// The server's certificate is not one that we trust.
    Certificate,
}

impl HttpError {
    pub fn new(fault: Fault, text: impl Into<String>) -> HttpError {
        HttpError { text: text.into(), fault, body: vec![] }
    }

    /// Nothing, or nothing like HTTP, came in reply.
    pub fn no_reply() -> HttpError {
        HttpError::new(Fault::NoReply, "it gave no HTTP reply")
    }

    /// The connection was closed, or a bound was reached, before the reply was complete.
    pub fn cut_off() -> HttpError {
        HttpError::new(Fault::NoReply, "no complete reply came")
    }

    /// The reply breaks HTTP's rules.
    pub fn malformed(how: &impl Display) -> HttpError {
        HttpError::new(Fault::NoReply, format!("its reply is not proper HTTP: {}", shown(&how.to_string())))
    }

    /// The reply is longer than this.
    pub fn too_long(bytes: usize) -> HttpError {
        HttpError::new(Fault::NoReply, format!("its reply is longer than {} KiB", bytes / 1024))
    }

    /// The same with what came of a reply.
    pub fn with_part(self, status: u16, body: Vec<u8>) -> HttpError {
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
            let unknown = complaint == "UnknownIssuer";
            let complaint = if unknown { "it is of an unknown certificate authority" } else { complaint };
            return HttpError::new(Fault::Certificate, format!("its certificate is not trusted: {complaint}"));
        }
        let what = match error.kind() {
            ErrorKind::UnexpectedEof => return HttpError::cut_off(), // rustls refers to its manual here
            ErrorKind::InvalidData => "no secure connection",
            // In this kind of error, minreq wraps malformed chunks and network errors between them.
            ErrorKind::Other => {
                let wrapped = error.downcast::<minreq::Error>();
                return wrapped.map_or_else(|other| HttpError::malformed(&other), HttpError::from);
            }
            _ => "network trouble",
        };
        HttpError::new(Fault::NoReply, format!("{what}: {text}"))
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
