//! A CI system's own program that prints an ID token: run under the deadline, its output bounded.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::Source;
use crate::deadline::Deadline;
use crate::env::Env;
use crate::error::{Error, HelperFlaw, Result};
use crate::http::Http;
use crate::secret::{IdToken, redact_tokens};
use crate::workflow::neutralise;

/// The most that is kept of each stream. An ID token has some two thousand bytes.
const MAX_OUTPUT_BYTES: u64 = 64 * 1024;
/// The most that is shown of what it says on stderr; the end tells most.
const MAX_WORDS_CHARS: usize = 600;

/// A program that prints an ID token.
pub struct Helper {
    pub system: &'static str,
    pub program: &'static str,
    /// Its arguments for an audience.
    pub arguments: fn(&str) -> Vec<String>,
}

impl Source for Helper {
    fn id_token(&self, audience: &str, _: &Env, http: &Http) -> Result<IdToken> {
        let Helper { system, program, arguments, .. } = self;
        output(program, &arguments(audience), http.deadline())
            .and_then(|text| IdToken::new(text.trim().to_owned()).map_err(HelperFlaw::Token))
            .map_err(|flaw| Error::Helper { system, program, flaw })
    }
}

/// What a program prints, if it ends well and in time.
fn output(program: &str, arguments: &[String], deadline: Deadline) -> std::result::Result<String, HelperFlaw> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(HelperFlaw::Start)?;
    let (stdout, stderr) = (collected(child.stdout.take()), collected(child.stderr.take()));
    // A grandchild may hold the streams open, so each wait ends at the deadline.
    let result = wait(&mut child, deadline).and_then(|status| Some((status, received(&stdout, deadline)?)));
    let Some((status, stdout)) = result else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(HelperFlaw::TimedOut(deadline.timeout_secs()));
    };
    if !status.success() {
        let words = received(&stderr, deadline).unwrap_or_default();
        return Err(HelperFlaw::Failed { status: status.to_string(), words: last_words(&words) });
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// The end of what it said, fit for a line. Tokens are taken out first: half a one would not be recognised.
fn last_words(bytes: &[u8]) -> String {
    let text = redact_tokens(&String::from_utf8_lossy(bytes));
    let start = text.chars().count().saturating_sub(MAX_WORDS_CHARS);
    neutralise(&text.chars().skip(start).collect::<String>(), MAX_WORDS_CHARS)
}

/// How it ended; `None` if it did not, or can't be waited for.
fn wait(child: &mut Child, deadline: Deadline) -> Option<ExitStatus> {
    deadline.wait(|| child.try_wait().transpose()).ok()?.ok()
}

/// Reads a stream to its end in a thread of its own, and keeps its first part.
fn collected(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    // Without a thread, nothing comes.
    let _ = thread::Builder::new().spawn(move || {
        let mut stream = stream?;
        let mut bytes = Vec::new();
        stream.by_ref().take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes).ok()?;
        // Read on, else it would wait for us.
        io::copy(&mut stream, &mut io::sink()).ok()?;
        sender.send(bytes).ok()
    });
    receiver
}

fn received(stream: &Receiver<Vec<u8>>, deadline: Deadline) -> Option<Vec<u8>> {
    deadline.receive(stream).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_bounded_and_hold_no_part_of_a_token() {
        let said = format!("{} got eyJhbGci.eyJzdWIi.{} and failed: \u{e4}\n", "x".repeat(900), "c2ln".repeat(160));
        let words = last_words(said.as_bytes());
        assert!(words.ends_with("x got *** and failed: \u{e4}"), "{words}");
        assert_eq!((words.chars().count() <= MAX_WORDS_CHARS, words.contains("c2ln")), (true, false));
        assert_eq!(last_words(b"\xff"), "\u{fffd}");
    }
}
