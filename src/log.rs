//! What a person reads while the program runs: short lines on stderr. stdout is for the API token alone.

use std::io::{self, Write};

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Who we are, which index, until when.
    #[default]
    Normal,
    /// Each request, too.
    Verbose,
}

/// Says lines of up to its verbosity.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    verbosity: Verbosity,
}

impl Log {
    /// A log on stderr.
    pub fn new(verbosity: Verbosity) -> Log {
        Log { verbosity }
    }

    /// A line for everyone who did not ask for quiet.
    pub fn line(&self, text: &str) {
        self.say(Verbosity::Normal, text);
    }

    /// A line for those who asked for more.
    pub fn detail(&self, text: &str) {
        self.say(Verbosity::Verbose, text);
    }

    fn say(&self, level: Verbosity, text: &str) {
        if self.verbosity >= level {
            // A line that can't be shown is no reason to lose a token (`eprintln!` would panic).
            let _ = to_stderr(&format!("token-mint: {text}\n"));
        }
    }
}

/// Writes `text` to stderr in one piece.
///
/// # Errors
/// Whatever the operating system says.
pub fn to_stderr(text: &str) -> io::Result<()> {
    io::stderr().write_all(text.as_bytes())
}
