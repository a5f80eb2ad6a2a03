//! Text from outside, made harmless: for a line, for an annotation, for Markdown, for JSON; and a token's lines.
//!
//! The first byte of an input is the most characters that may be shown; the rest is the text.

use super::shown::{check_lines, is_plain};
use crate::json;
use crate::secret::{ApiToken, redact_tokens};
use crate::workflow::{annotation, markdown, mask, neutralise, output};

pub fn fuzz(input: &[u8]) {
    let [max_chars, text @ ..] = input else { return };
    let text = String::from_utf8_lossy(text);
    check_line(&text, usize::from(*max_chars));
    check_annotation(&text);
    check_markdown(&text);
    assert_eq!(serde_json::from_str::<String>(&json::quoted(&text)).unwrap(), text);
    check_redacted(&redact_tokens(&text));
    if let Ok(token) = ApiToken::new(text.into_owned()) {
        let token = token.reveal();
        assert_eq!((mask(token).lines().count(), output("api-token", token).lines().count()), (1, 1));
        assert!(!token.contains([' ', ':', '\'', '"', '%', '$', '\\', '#']) && token.is_ascii());
    }
}

fn check_line(text: &str, max_chars: usize) {
    let line = neutralise(text, max_chars);
    check_lines(&line);
    assert!(!line.contains("::"), "a command, if it were put first: {line:?}");
    assert!(line.chars().all(is_plain), "{line:?}");
    // A mark that it was cut, and a dot in each pair of colons.
    assert!(line.chars().count() <= 2 * max_chars + 4);
    assert_eq!(neutralise(&line, usize::MAX), line.trim());
    let whole = neutralise(text, usize::MAX);
    assert!(text.trim().chars().count() > max_chars || line == whole);
}

/// It is one line, and the runner reads from it what was put in (actions/runner, `ActionCommand.TryParseV2`).
fn check_annotation(text: &str) {
    let line = annotation("error", text, text);
    let line = line.strip_suffix('\n').unwrap();
    assert!(!line.contains(['\n', '\r']), "{line:?}");
    let (command, message) = line.strip_prefix("::").unwrap().split_once("::").unwrap();
    let title = command.strip_prefix("error title=").unwrap();
    assert!(!title.contains([',', ':']), "{title:?}");
    let read = |text: &str| text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%");
    assert_eq!(read(message), text);
    assert_eq!(read(&title.replace("%3A", ":").replace("%2C", ",")), text);
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
    assert!(read.chars().eq(text.chars().map(|c| if c.is_control() { ' ' } else { c })));
}

fn check_redacted(text: &str) {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
    for word in words.filter(|word| word.len() > 8) {
        assert!(!word.contains("pypi-Ag") && !word.contains(".eyJ") && !word.starts_with("eyJ"), "{word:?}");
    }
    assert_eq!(redact_tokens(text), text);
}
