//! What is true of every text that a person or the runner reads, whatever went in.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::error::Error;
use crate::explain::report;
use crate::explain::{Explanation, Link};
use crate::os::log;

/// An explanation is for reading. The longest by far is one in which each of many claims, or reasons, is as long as may
/// be.
const MAX_TEXT_CHARS: usize = 100_000;

/// Checks all texts that are made of an error; `secrets` may be in none of them.
pub fn check_error(error: &Error, secrets: &[&str]) {
    assert!((2..=6).contains(&error.exit_status()));
    check_explanation(&error.explanation, secrets);
}

/// Checks the lines on stderr, the annotation and the summary page.
pub fn check_explanation(explanation: &Explanation, secrets: &[&str]) {
    let lines: String = report::messages(explanation, "error: ").iter().map(|message| log::rendered(message)).collect();
    let page = report::page(explanation);
    let annotation = report::annotation(explanation);
    check_lines(&lines);
    let link = explanation.link.as_ref().map_or(0, |link| link.address.len());
    // Markdown has a backslash in front of each punctuation mark.
    for (text, bound) in [(&lines, MAX_TEXT_CHARS), (&page, 2 * MAX_TEXT_CHARS), (&annotation, 2000)] {
        assert!(text.chars().count() <= bound + link, "{} characters", text.chars().count());
        assert!(text.chars().all(|c| c == '\n' || is_plain(c)), "{text:?}");
        for secret in secrets {
            assert!(!text.contains(secret), "a secret is in {text:?}");
        }
    }
    if let Some(Link { address, .. }) = &explanation.link {
        assert!(address.starts_with("https://") && address.bytes().all(|b| b.is_ascii_graphic()), "{address:?}");
        assert!(!address.contains(['(', ')', '<', '>', '"', '\\']), "it would end a Markdown link: {address:?}");
    }
}

/// The core of a secret that is planted: another one for each input, else the fuzzer finds it out and plants it, too.
pub fn unguessable(input: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    format!("{:016X}{:016X}", hasher.finish(), hasher.finish().rotate_left(32))
}

/// Checks that the runner takes none of these lines for a command.
pub fn check_lines(text: &str) {
    assert!(!text.contains("::"), "a command, if it were put first: {text:?}");
    for line in text.split(['\n', '\r']) {
        assert!(!line.trim_start().starts_with("::"), "a command: {line:?}");
    }
    assert!(!text.contains("##["), "a command: {text:?}");
}

/// False for a character that moves the cursor, breaks a line, or reorders or hides text.
pub fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}
