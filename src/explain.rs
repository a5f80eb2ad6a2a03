//! Explanations: the causes of a refusal, this job's values for the publisher form, and where people read them.

pub mod causes;
pub mod evidence;
pub mod expiry;
pub mod fork;
#[cfg(test)] // it stands beside the texts that it compares, and needs what is private here
#[path = "../tests/it/golden.rs"]
mod golden;
pub mod help;
pub mod id_token;
pub mod job;
pub mod messages;
pub mod published;
pub mod publisher_form;
pub mod pyproject;
pub mod reader;
pub mod report;
pub mod spelling;
pub mod workflow;

use std::fmt;

/// The explanation of a failure or of an identity. Text from outside is on one line in it: see `os/log.rs`.
#[derive(Debug, Default)]
pub struct Explanation {
    /// What happened.
    pub fact: String,
    /// The same in a few words, for a heading.
    pub heading: Option<String>,
    /// The index's own words.
    pub reasons: Vec<Reason>,
    /// This job's values for the publisher form: names and values.
    pub form: Vec<(String, String)>,
    /// Claims that the index compares, and for which the form has no field.
    pub context: Vec<(String, String)>,
    /// The causes, likeliest first.
    pub causes: Vec<Cause>,
    /// Things to know or to try.
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
    pub certainty: Certainty,
    /// One line.
    pub text: String,
    /// It is fixed in the publisher form.
    pub needs_form: bool,
}

/// How certain a cause is. The causes are shown in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// The claims or the index's words prove it.
    Certain,
    /// There is evidence of it.
    Evidence,
    /// Nothing speaks for it or against it.
    Possible,
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
        Cause { certainty: Certainty::Certain, text: text.into(), needs_form: false }
    }

    /// A cause that something points to, which the text names. It is fixed in the publisher form.
    pub fn evidence(text: impl Into<String>) -> Cause {
        Cause { certainty: Certainty::Evidence, ..Cause::certain(text).in_form() }
    }

    /// One of several possible causes.
    pub fn possible(text: impl Into<String>) -> Cause {
        Cause { certainty: Certainty::Possible, ..Cause::certain(text) }
    }

    /// The same cause, which is fixed in the publisher form.
    pub fn in_form(self) -> Cause {
        Cause { needs_form: true, ..self }
    }

    /// The word that is shown before it.
    pub fn word(&self) -> &'static str {
        match self.certainty {
            Certainty::Certain => "cause",
            Certainty::Evidence => "evidence",
            Certainty::Possible => "possible cause",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = if self.code.is_empty() { "no code" } else { &self.code };
        write!(f, "{code}: {}", self.description)
    }
}
