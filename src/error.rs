//! A failure as data: its kind, which decides the exit status; its explanation; and whether to try again. Most texts
//! are in `explain/messages.rs`. Which kind a reply's status is stands in `requests.rs`.

use std::fmt;
use std::time::Duration;

use crate::explain::Explanation;
use crate::os::deadline::Deadline;
use crate::os::signals;

/// The result of whatever a run attempts.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a run failed.
#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub explanation: Box<Explanation>,
    /// Another attempt may succeed.
    pub is_transient: bool,
    /// No byte of the request has left for the server.
    pub nothing_was_sent: bool,
    /// The pause that the server asks for.
    pub retry_after: Option<Duration>,
}

/// The kinds of failure. Each has an exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Wrong usage or configuration; no token was minted.
    Usage,
    /// No ID token: no known CI system, no permission, or a fork.
    NoIdentity,
    /// The index refused.
    Refused,
    /// Network or server trouble.
    Trouble,
    /// The API token, or another output, could not be handed over.
    NoHandOver,
    /// This signal came.
    Signal(i32),
}

impl Error {
    /// A failure that is final and says no more than this.
    pub fn new(kind: Kind, fact: impl Into<String>) -> Error {
        let explanation = Box::new(Explanation { fact: fact.into(), ..Explanation::default() });
        Error { kind, explanation, is_transient: false, nothing_was_sent: false, retry_after: None }
    }

    pub fn usage(fact: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::new(Kind::Usage, fact).hint(hint)
    }

    /// The same failure with one more hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.explanation.hints.push(hint.into());
        self
    }

    /// This signal came before the command's work was done.
    pub fn signal(signal: i32) -> Error {
        let fact = format!("{} asked token-mint to end, so this is not done", signals::name(signal));
        Error::new(Kind::Signal(signal), fact)
    }

    /// Ends what is under way, if a signal asked for that.
    pub fn if_signal_came(deadline: Deadline) -> Result<()> {
        deadline.signal().map_or(Ok(()), |signal| Err(Error::signal(signal)))
    }

    pub fn exit_status(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::NoIdentity => 3,
            Kind::Refused => 4,
            Kind::Trouble => 5,
            Kind::NoHandOver => 6,
            Kind::Signal(signal) => signals::status(signal),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explanation.fact)
    }
}
