//! What a person reads while the program runs: short lines on stderr. stdout is for the API token alone.
//!
//! This is the one place that writes to stderr, and whatever was put into a message, from wherever it came, what is
//! written keeps these rules:
//! - each line is harmless: no workflow command, no character that moves the cursor or hides text, nothing that looks
//!   like an API token or an ID token ([`harmless`]). A name that looks like one is hidden, too.
//! - only the first line of a message begins at the margin, with `token-mint: `; the others are indented. So no text
//!   from outside can look like a message of ours.
//! - only a mask and an annotation are commands. They begin a line, else the runner would not see them.
//! - a stderr that nobody reads holds the program for a second in all.
//!
//! What only the source can do is done there: to cut a text from outside to a length, to keep it on one line, and to
//! take out a secret that looks like any other word.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::os::deadline::Deadline;
use crate::os::stdio;
use crate::text::{self, harmless};

/// How long a line is waited for.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// False where stderr may be in the middle of a line: after whoever wrote before us, or a line of ours that was cut.
static AT_LINE_START: AtomicBool = AtomicBool::new(false);
/// True once nobody read a line in time.
static NOBODY_READS: AtomicBool = AtomicBool::new(false);

/// What is said: lines up to this one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Log {
    /// Errors only.
    Quiet,
    /// Who we are, which index, until when.
    Normal,
    /// Each request, too.
    Verbose,
}

impl Log {
    /// A line for everyone who did not ask for quiet.
    pub fn line(self, text: &str) {
        if self >= Log::Normal {
            say(text);
        }
    }

    /// A line for those who asked for more.
    pub fn detail(self, text: &str) {
        if self >= Log::Verbose {
            say(text);
        }
    }
}

/// Says a message of one line or more. What can't be shown is no reason to lose a token, so that is no error.
pub fn say(message: &str) {
    let _ = write(&rendered(message));
}

/// Makes the runner hide `secret` in all later log lines. The types of secrets allow no line break.
///
/// # Errors
/// Whatever the operating system says; `TimedOut` where nobody reads stderr.
pub fn mask(secret: &str) -> io::Result<()> {
    command(&format!("::add-mask::{secret}"))
}

/// Shows an annotation: [`text::annotation`].
pub fn annotate(kind: &str, message: &str) {
    let _ = command(&text::annotation(kind, message));
}

/// Gives the runner a command.
fn command(command: &str) -> io::Result<()> {
    let start = if AT_LINE_START.load(Ordering::SeqCst) { "" } else { "\n" };
    write(&format!("{start}{command}\n"))
}

/// A message as it is shown.
pub fn rendered(message: &str) -> String {
    let mut text = String::new();
    for (number, line) in message.trim_end_matches('\n').split('\n').enumerate() {
        let margin = match number {
            0 => "token-mint: ",
            _ if line.is_empty() || line.starts_with("    ") => "",
            _ => "    ",
        };
        text.extend([margin, &harmless(line), "\n"]);
    }
    text
}

fn write(text: &str) -> io::Result<()> {
    let timeout = if NOBODY_READS.load(Ordering::SeqCst) { Duration::ZERO } else { WRITE_TIMEOUT };
    let written = stdio::write(io::stderr(), text, Deadline::after(timeout).ignoring_signals());
    AT_LINE_START.store(written.is_ok(), Ordering::SeqCst);
    if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
        NOBODY_READS.store(true, Ordering::SeqCst);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_of_a_message_is_at_the_margin() {
        let message = "hint: so:\n\n    publish:\n      x: 1\ntoken-mint: form: y\n token-mint: z\n::error::\n";
        assert_eq!(
            rendered(message),
            "token-mint: hint: so:\n\n    publish:\n      x: 1\n    token-mint: form: y\n     token-mint: z\n    \
             :\u{b7}:error:\u{b7}:\n"
        );
        assert_eq!(rendered(""), "token-mint: \n");
    }
}
