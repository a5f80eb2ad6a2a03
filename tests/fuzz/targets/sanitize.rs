//! Text from outside, made harmless: for a line, for a message, for an annotation, for Markdown, for JSON; and an API
//! token.
//!
//! The first byte of an input is the most characters that may be shown; the rest is the text.

use super::shown::{check_lines, is_plain};
use crate::json;
use crate::os::log;
use crate::secret::{ApiToken, redact_tokens};
use crate::text::{self, annotation, harmless, markdown, sanitize};

pub fn fuzz(input: &[u8]) {
    let [max_chars, text @ ..] = input else { return };
    let text = String::from_utf8_lossy(text);
    check_line(&text, usize::from(*max_chars));
    check_message(&text);
    check_annotation(&text);
    check_json(&text);
    check_markdown(&text);
    assert_eq!(serde_json::from_str::<String>(&json::quoted(&text)).unwrap(), text);
    check_redacted(&redact_tokens(&text));
    if let Ok(token) = ApiToken::new(text.into_owned()) {
        let token = token.reveal();
        assert!(!token.contains(['\n', '\r', ' ', ':', '\'', '"', '%', '$', '\\', '#']) && token.is_ascii());
    }
}

fn check_line(text: &str, max_chars: usize) {
    let line = sanitize(text, max_chars);
    check_lines(&line);
    assert!(line.chars().all(is_plain), "{line:?}");
    // A mark that it was cut.
    assert!(line.chars().count() <= max_chars + 4);
    assert_eq!(sanitize(&line, usize::MAX), line.trim());
    let whole = sanitize(text, usize::MAX);
    assert!(whole.chars().count() > max_chars || line == whole);
}

/// One line at the margin, which is ours.
fn check_message(text: &str) {
    let message = log::rendered(text);
    check_lines(&message);
    assert!(message.chars().all(|c| c == '\n' || is_plain(c)), "{message:?}");
    check_redacted(&message);
    let margin = |line: &&str| !line.is_empty() && !line.starts_with("    ");
    assert!(message.starts_with("token-mint: ") && message.lines().filter(margin).count() == 1, "{message:?}");
}

/// JSON means the same, and holds no command.
fn check_json(text: &str) {
    let json = text::json(&json::quoted(text));
    check_lines(&json);
    assert!(json.chars().all(is_plain), "{json:?}");
    assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
}

/// It is one line, and the runner reads from it what was put in, made harmless (actions/runner,
/// `ActionCommand.TryParseV2`).
fn check_annotation(text: &str) {
    let line = annotation("error", text);
    assert!(!line.contains(['\n', '\r']), "{line:?}");
    let message = line.strip_prefix("::error title=token-mint::").unwrap();
    let read = |text: &str| text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%");
    assert_eq!(read(message), harmless(text));
}

/// It is one line, and no punctuation mark in it means anything.
fn check_markdown(text: &str) {
    let escaped = markdown(text);
    assert!(!escaped.chars().any(char::is_control));
    let mut read = String::new();
    let mut chars = escaped.chars();
    while let Some(c) = chars.next() {
        assert!(c == '\\' || !c.is_ascii_punctuation(), "{escaped:?}");
        read.push(if c == '\\' { chars.next().unwrap() } else { c });
    }
    assert_eq!(read, harmless(text).replace('\n', " "));
}

fn check_redacted(text: &str) {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
    for word in words.filter(|word| word.len() > 8) {
        assert!(!word.contains("pypi-Ag") && !word.contains(".eyJ") && !word.starts_with("eyJ"), "{word:?}");
    }
    assert_eq!(redact_tokens(text), text);
}
