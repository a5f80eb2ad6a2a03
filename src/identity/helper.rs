//! Buildkite and CircleCI: the CI system's own program prints an ID token. It has to end before the deadline, and its
//! output is bounded.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::explain::messages;
use crate::json;
use crate::os::deadline::{Background, Deadline, WaitError};
use crate::os::signals;
use crate::secret::{IdToken, redact_tokens};
use crate::text::{self, MAX_MESSAGE_CHARS};

/// The most that is kept of each stream. An ID token has about 2000 bytes.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;
/// How long to wait for the rest of the output after the program has ended. The streams end then, unless a descendant
/// keeps them open.
const REST_TIMEOUT: Duration = Duration::from_millis(500);

/// Buildkite Docs, "OIDC in Buildkite Pipelines".
pub fn buildkite(audience: &str, deadline: Deadline) -> Result<IdToken> {
    id_token("Buildkite", "buildkite-agent", &["oidc", "request-token", "--audience", audience], deadline)
}

/// CircleCI Docs, "Using OpenID Connect tokens in jobs".
pub fn circleci(audience: &str, deadline: Deadline) -> Result<IdToken> {
    let claims = format!("{{\"aud\": {}}}", json::quoted(audience));
    id_token("CircleCI", "circleci", &["run", "oidc", "get", "--root-issuer", "--claims", &claims], deadline)
}

/// The ID token that a program prints. If the program does not end in time, it is killed with its descendants.
fn id_token(provider: &str, program: &str, arguments: &[&str], deadline: Deadline) -> Result<IdToken> {
    let failed = |kind, how: String, hint: &str| {
        Error::new(kind, format!("{provider} gave no ID token: {program} {how}")).hint(hint)
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = signals::spawn_group(&mut command)
        .map_err(|error| failed(Kind::NoIdentity, format!("can't be run: {error}"), messages::OWN_PROGRAM))?;
    let (stdout, stderr) = (Output::of(child.process.stdout.take()), Output::of(child.process.stderr.take()));
    let status = deadline.wait(|| child.process.try_wait().ok().flatten()).map_err(|ended| {
        child.kill();
        match ended {
            WaitError::Signal(signal) => Error::signal(signal),
            late => failed(Kind::Trouble, format!("did not end: {late}"), messages::AGAIN),
        }
    })?;
    let rest = deadline.within(REST_TIMEOUT);
    if !status.success() {
        let how = format!("failed ({status}): {}", last_words(&stderr.until(rest)));
        return Err(failed(Kind::NoIdentity, how, messages::PROGRAM_SAID));
    }
    let id_token = IdToken::new(String::from_utf8_lossy(&stdout.until(rest)).trim().to_owned());
    id_token.map_err(|fault| failed(Kind::Trouble, format!("printed no ID token: {fault}"), messages::OTHER_PROVIDER))
}

/// The end of the program's stderr, which is the most useful part, on one line. Tokens are redacted before the text is
/// cut: half a token would not be recognised.
fn last_words(bytes: &[u8]) -> String {
    let text = redact_tokens(&String::from_utf8_lossy(bytes));
    let start = text.chars().count().saturating_sub(MAX_MESSAGE_CHARS);
    text::message(&text.chars().skip(start).collect::<String>())
}

/// The first part of a stream, read in its own thread.
struct Output {
    kept: Arc<Mutex<Vec<u8>>>,
    reading: Background<()>,
}

impl Output {
    fn of(stream: Option<impl Read + Send + 'static>) -> Output {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let into = kept.clone();
        let read = move || {
            let Some(mut stream) = stream else { return };
            let mut piece = vec![0; 4096]; // on the heap, where it is wiped
            // The rest is read, too: the program would block on a full pipe.
            while let Ok(length @ 1..) = stream.read(&mut piece) {
                let Ok(mut kept) = into.lock() else { return };
                let room = MAX_OUTPUT_BYTES - kept.len();
                kept.extend(piece.iter().take(length.min(room)));
            }
        };
        Output { kept, reading: Background::spawn(read) }
    }

    /// The output until the stream ended or the deadline came.
    fn until(self, deadline: Deadline) -> Vec<u8> {
        let _ = deadline.result_of(self.reading);
        self.kept.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_bounded_and_hold_no_part_of_a_token() {
        let said = format!("{} got eyJhbGci.eyJzdWIi.{} and failed: \u{e4}\n", "x".repeat(900), "c2ln".repeat(160));
        let words = last_words(said.as_bytes());
        assert!(words.ends_with("x got *** and failed: \u{e4}"), "{words}");
        assert_eq!((words.chars().count() <= MAX_MESSAGE_CHARS, words.contains("c2ln")), (true, false));
        assert_eq!(last_words(b"\xff"), "\u{fffd}");
    }
}
