//! GitHub's text formats: workflow commands and step outputs, and text from outside made harmless.
//!
//! The runner takes any line of a step's output that begins with `::name` (after blanks, in any case) for a
//! command, `##[name]` anywhere in a line too, and ends a line at a lone CR (actions/runner 258d6c8,
//! `src/Runner.Common/ActionCommand.cs` and `src/Runner.Worker`). A step output is a line `name=value` in the
//! file `$GITHUB_OUTPUT` (GitHub Docs, "Workflow commands for GitHub Actions").

use crate::secret::redact_tokens;

/// A line that the runner obeys.
pub struct Command(String);

impl Command {
    /// The line, without its line break.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Has the runner hide `secret` in all later log lines. `secret` holds no line break, by its type.
pub fn mask(secret: &str) -> Command {
    Command(format!("::add-mask::{secret}"))
}

/// A step output's line. `value` holds no line break: it is a number or a checked token.
pub fn output(name: &str, value: &str) -> String {
    format!("{name}={value}\n")
}

/// An annotation, which the runner shows on the job's page. `kind` is `error` or `warning`; title and message may hold
/// any text, which is made harmless (the escapes are those of actions/toolkit, `packages/core/src/command.ts`).
pub fn annotation(kind: &str, title: &str, message: &str) -> Command {
    let escape = |text: &str| harmless(text).replace('%', "%25").replace('\n', "%0A");
    Command(format!("::{kind} title={}::{}", escape(title).replace(':', "%3A").replace(',', "%2C"), escape(message)))
}

/// Text as Markdown that shows it as it is, on one line: every punctuation mark is escaped (CommonMark, section 2.4), so it
/// can start no link, image, table cell, HTML tag or code. It is made harmless first: a token with backslashes in it would not
/// be known for one.
pub fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for c in harmless(text).chars() {
        match c {
            c if c.is_control() => escaped.push(' '),
            c if c.is_ascii_punctuation() => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The same for a sentence of ours, in which what is between a pair of backticks is shown as code. Where text from outside brings
/// in more of them, other pieces may be shown so, but nothing between them means anything: code is shown as it is (section 6.1).
pub fn prose(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // Of an odd number, or of two in a row, it can't be told which make a pair.
    if parts.len().is_multiple_of(2) || text.contains("``") {
        return markdown(text);
    }
    let code = |part: &str| format!("`{}`", harmless(part).replace('\n', " "));
    parts.iter().enumerate().map(|(n, part)| if n % 2 == 0 { markdown(part) } else { code(part) }).collect()
}

/// JSON that means the same, on one line, with no workflow command in it and no character that moves the cursor or hides text.
/// All that is escaped here can only stand in a string, where an escape means the same (RFC 8259, section 7); the blanks that are
/// replaced can only stand between strings.
pub fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => escaped.push(' '),
            c if is_plain(c) => escaped.push(c),
            c => escaped.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    escaped.replace("::", ":\\u003a").replace("##[", "#\\u0023[")
}

/// Text from outside, made fit for a place in a line: harmless, on one line, and at most `max_chars` characters of it.
pub fn sanitize(text: &str, max_chars: usize) -> String {
    let mut line: String = text.trim().chars().take(max_chars).map(|c| if c == '\n' { ' ' } else { c }).collect();
    if text.trim().chars().nth(max_chars).is_some() {
        line.push_str(" […]");
    }
    harmless(&line)
}

/// Text without anything that looks like a token, without workflow commands, and without characters that move the cursor, end a
/// line (but for its line feeds), reorder the text or show nothing.
pub fn harmless(text: &str) -> String {
    let plain = |c| match c {
        '\n' => '\n',
        '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        c if is_plain(c) => c,
        _ => '\u{fffd}',
    };
    let plain: String = redact_tokens(text).chars().map(plain).collect();
    // Of three colons or more, the first time leaves pairs.
    plain.replace("::", ":\u{b7}:").replace("::", ":\u{b7}:").replace("##[", "#\u{b7}#[")
}

fn is_plain(c: char) -> bool {
    !c.is_control() && !is_invisible(c)
}

/// Characters that show nothing, or change how others show: soft hyphen, zero-width, bidirectional controls,
/// variation selectors, tags, and the line breaks beside the usual.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_can_start_no_workflow_command() {
        for (text, harmless) in [
            ("plain: text, https://example.org/", "plain: text, https://example.org/"),
            ("::add-mask::x", ":\u{b7}:add-mask:\u{b7}:x"),
            ("a\n::error::b", "a :\u{b7}:error:\u{b7}:b"),
            ("a\r  ::Error::b", "a   :\u{b7}:Error:\u{b7}:b"),
            (":::set-output", ":\u{b7}:\u{b7}:set-output"),
            ("::::::", ":\u{b7}:\u{b7}:\u{b7}:\u{b7}:\u{b7}:"),
            ("a ##[error]b", "a #\u{b7}#[error]b"),
            ("###[error]b", "##\u{b7}#[error]b"),
        ] {
            let line = sanitize(text, 100);
            assert_eq!(line, harmless, "{text:?}");
            assert!(!line.contains("::") && !line.contains("##["), "{line}");
        }
    }

    #[test]
    fn text_from_outside_can_not_move_the_cursor_or_hide() {
        let hostile = "\x1b[2K\x07a\u{9b}b\u{202e}c\u{200b}d\0e\u{2028}f\u{feff}\u{e0041}\x7f";
        let line = sanitize(hostile, 100);
        assert_eq!(line, "\u{fffd}[2K\u{fffd}a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e f\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn text_from_outside_is_shortened_by_characters() {
        assert_eq!(sanitize("äöü", 3), "äöü");
        assert_eq!(sanitize("äöüß", 3), "äöü […]");
        assert_eq!(sanitize(&"A".repeat(1_000_000), 10), "AAAAAAAAAA […]");
        assert_eq!(sanitize("  \n a \n", 10), "a");
    }

    #[test]
    fn an_annotation_is_one_line_whatever_is_in_it() {
        let line = annotation("error", "a: b, c", "100 %\r\nx::y");
        assert_eq!(line.as_str(), "::error title=a%3A b%2C c::100 %25 %0Ax:\u{b7}:y");
    }

    #[test]
    fn markdown_shows_text_as_it_is() {
        assert_eq!(markdown("a [b](c) <i>|`\\\n# ä"), "a \\[b\\]\\(c\\) \\<i\\>\\|\\`\\\\ \\# ä");
        assert_eq!(markdown("https://www.example.org/"), "https\\:\\/\\/www\\.example\\.org\\/");
    }

    #[test]
    fn what_is_code_in_a_sentence_of_ours_is_code_in_markdown() {
        for (text, shown) in [
            ("add `environment: <x>` to *it*", "add `environment: <x>` to \\*it\\*"),
            ("`a\n::b\u{202e}`", "`a :\u{b7}:b\u{fffd}`"),
            ("`a`<img>`b`", "`a`\\<img\\>`b`"),
            ("a `<img> b", "a \\`\\<img\\> b"),
            ("``<img>``", "\\`\\`\\<img\\>\\`\\`"),
            ("`a``<img>`", "\\`a\\`\\`\\<img\\>\\`"),
        ] {
            assert_eq!(prose(text), shown);
        }
    }

    #[test]
    fn a_mask_and_an_output_are_a_line_each() {
        assert_eq!(mask("pypi-x").as_str(), "::add-mask::pypi-x");
        assert_eq!(output("api-token", "pypi-x"), "api-token=pypi-x\n");
    }
}
