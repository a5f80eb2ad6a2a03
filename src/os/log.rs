//! The messages for a person while the program runs: short lines on stderr. stdout is for the API token alone.
//!
//! Nothing else writes to stderr. Every message keeps these rules:
//! - Each line is harmless: it has no workflow command, no character that moves the cursor or hides text, and nothing
//!   that looks like an API token or an ID token ([`harmless`]). A name that looks like a token is hidden, too.
//! - Only the first line of a message begins at the margin, with `token-mint: `; the others are indented. So no text
//!   from outside can look like a message of ours.
//! - Only a mask and an annotation are commands. They begin a line, or the runner would not see them.
//! - If nobody reads stderr, the program waits one second in all.
//!
//! The caller has to: shorten text from outside, join its lines, redact secrets that look like plain words.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::os::deadline::Deadline;
use crate::os::stdio;
use crate::text::{self, harmless};

/// How long to wait until a line is written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// False if stderr may be in the middle of a line: another program wrote before us, or a line of ours was cut.
static AT_LINE_START: AtomicBool = AtomicBool::new(false);
/// True after a line was not read in time.
static NOBODY_READS: AtomicBool = AtomicBool::new(false);

/// Verbosity: a message is shown if its level is at most this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Log {
    /// Errors only.
    Quiet,
    /// Each step, too.
    Normal,
    /// Each request, too.
    Verbose,
}

impl Log {
    /// Shows a line of the level `Normal`.
    pub fn line(self, text: &str) {
        if self >= Log::Normal {
            say(text);
        }
    }

    /// Shows a line of the level `Verbose`.
    pub fn detail(self, text: &str) {
        if self >= Log::Verbose {
            say(text);
        }
    }
}

/// Shows a message of one or more lines. A failure is ignored: a message that can't be shown is no reason to lose a
/// token.
pub fn say(message: &str) {
    let _ = write(&rendered(message));
}

/// Makes the runner hide `secret` in all later log lines. A secret's type allows no line break.
///
/// # Errors
/// The operating system's error; `TimedOut` if nobody reads stderr.
pub fn mask(secret: &str) -> io::Result<()> {
    command(&format!("::add-mask::{secret}"))
}

/// Shows an annotation: [`text::annotation`].
pub fn annotate(kind: &str, message: &str) {
    let _ = command(&text::annotation(kind, message));
}

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
