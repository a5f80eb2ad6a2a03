//! A failure as data: its kind, which decides the exit status; its explanation; and whether to try again. Most texts
//! are in `explain/messages.rs`.

use std::fmt;
use std::time::Duration;

use crate::net::deadline::Deadline;
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
    /// A byte of the request left for the server.
    pub may_have_reached_server: bool,
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
    /// The API token could not be handed over.
    NoHandOver,
    /// This signal came.
    Signal(i32),
}

/// The explanation of a failure, or of an identity. Text from outside in it stays on one line: see `os/log.rs`.
#[derive(Debug, Default)]
pub struct Explanation {
    /// What happened.
    pub fact: String,
    /// The same in a few words, for a heading.
    pub finding: Option<String>,
    /// The index's own words.
    pub reasons: Vec<Reason>,
    /// This job's values for the publisher form: names and values.
    pub form: Vec<(String, String)>,
    /// What else the index compares, and the form does not ask for.
    pub context: Vec<(String, String)>,
    /// The causes, likeliest first.
    pub causes: Vec<Cause>,
    /// What to know or to try.
    pub hints: Vec<String>,
    /// Where to go.
    pub link: Option<Link>,
}

/// A reason that the index gives for a refusal.
#[derive(Debug)]
pub struct Reason {
    /// A word such as `invalid-publisher`. Other characters than a code's were removed.
    pub code: String,
    /// A sentence. It may be empty.
    pub description: String,
}

/// The cause of a refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct Cause {
    pub weight: Weight,
    /// One line.
    pub text: String,
    /// It is fixed in the publisher form.
    pub needs_form: bool,
}

/// How sure a cause is. Surer ones are shown first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The claims or the index's words prove it.
    Proof,
    /// Something visible points to it.
    Evidence,
    /// It is possible.
    Guess,
}

/// An address, and a description of the page.
#[derive(Debug)]
pub struct Link {
    pub what: String,
    pub address: String,
}

impl Cause {
    /// A proved cause.
    pub fn certain(text: impl Into<String>) -> Cause {
        Cause { weight: Weight::Proof, text: text.into(), needs_form: false }
    }

    /// A cause that something points to, which the text names. It is fixed in the publisher form.
    pub fn evidence(text: impl Into<String>) -> Cause {
        Cause { weight: Weight::Evidence, ..Cause::certain(text).in_form() }
    }

    /// One of several possible causes.
    pub fn possible(text: impl Into<String>) -> Cause {
        Cause { weight: Weight::Guess, ..Cause::certain(text) }
    }

    /// The same cause, which is fixed in the publisher form.
    pub fn in_form(self) -> Cause {
        Cause { needs_form: true, ..self }
    }

    /// The word that is shown before it.
    pub fn word(&self) -> &'static str {
        match self.weight {
            Weight::Proof => "cause",
            Weight::Evidence => "evidence",
            Weight::Guess => "possible cause",
        }
    }
}

impl Error {
    /// A failure that is final and says no more than this.
    pub fn new(kind: Kind, fact: impl Into<String>) -> Error {
        let explanation = Box::new(Explanation { fact: fact.into(), ..Explanation::default() });
        Error { kind, explanation, is_transient: false, may_have_reached_server: true, retry_after: None }
    }

    pub fn usage(fact: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::new(Kind::Usage, fact).hint(hint)
    }

    /// The same failure with one more hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.explanation.hints.push(hint.into());
        self
    }

    /// This signal came before an API token was handed over, or before `burn` revoked one.
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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = if self.code.is_empty() { "no code" } else { &self.code };
        write!(f, "{code}: {}", self.description)
    }
}
