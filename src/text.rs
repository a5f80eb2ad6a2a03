//! Makes text from outside harmless, also in an annotation and in Markdown. (`os/log.rs` writes masks and annotations.)
//!
//! The runner takes a line of a step's output for a command if the line begins with `::name` (after spaces, in upper or
//! lower case), or if it contains `##[name]`. A lone CR ends a line (actions/runner 258d6c8,
//! `src/Runner.Common/ActionCommand.cs` and `src/Runner.Worker`).

use std::ffi::OsStr;

use crate::secret::redact_tokens;

/// The most that is shown of a name, a path or a claim. Branch names may be long.
const MAX_SHOWN_CHARS: usize = 300;
/// The most that is shown of a message of a server or a program.
pub const MAX_MESSAGE_CHARS: usize = 1000;

/// The workflow command for an annotation, which the runner shows on the job's page. `kind` is `error` or `warning`.
/// The message may be any text and is made harmless. The escapes are those of actions/toolkit
/// (`packages/core/src/command.ts`).
pub fn annotation(kind: &str, message: &str) -> String {
    let message = harmless(message).replace('%', "%25").replace('\n', "%0A");
    format!("::{kind} title=token-mint::{message}")
}

/// Markdown that shows the text literally, on one line. Every punctuation mark is escaped (CommonMark, section 2.4), so
/// the text can't start a link, image, table cell, HTML tag or code. The text is made harmless before it is escaped: a
/// token with backslashes in it would not be recognised.
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

/// The same for a sentence of ours: text between a pair of backticks is shown as code. A backtick in text from outside
/// can move the pairs. That is harmless, because code is shown literally (section 6.1).
pub fn prose(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // If backticks are unbalanced or doubled, none is taken for markup.
    if parts.len().is_multiple_of(2) || text.contains("``") {
        return markdown(text);
    }
    let code = |part: &str| format!("`{}`", harmless(part).replace('\n', " "));
    parts.iter().enumerate().map(|(n, part)| if n % 2 == 0 { markdown(part) } else { code(part) }).collect()
}

/// Equivalent JSON on one line, without workflow commands and without characters that move the cursor or hide text. The
/// characters that are escaped can only be in strings, where an escape means the same (RFC 8259, section 7). The
/// whitespace that is replaced can only be outside strings.
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

/// A name, a path, a claim or the like from outside, for use in a line.
pub fn shown(text: &(impl AsRef<OsStr> + ?Sized)) -> String {
    sanitize(&text.as_ref().to_string_lossy(), MAX_SHOWN_CHARS)
}

/// The message of a server or a program, for use in a line.
pub fn message(text: &str) -> String {
    sanitize(text, MAX_MESSAGE_CHARS)
}

/// Text from outside for use in a line: harmless, without line breaks, and at most `max_chars` characters.
pub fn sanitize(text: &str, max_chars: usize) -> String {
    let text = harmless(text.trim()).replace('\n', " "); // before it is cut: half a token would not be recognised
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{} […]", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Text without anything that looks like a token, without workflow commands, and without characters that are invisible,
/// move the cursor or reorder text. Line feeds stay; other line breaks don't.
pub fn harmless(text: &str) -> String {
    let plain = |c| match c {
        '\n' => '\n',
        '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        c if is_plain(c) => c,
        _ => '\u{fffd}',
    };
    let plain: String = redact_tokens(text).chars().map(plain).collect();
    // The second pass handles `:::`.
    plain.replace("::", ":\u{b7}:").replace("::", ":\u{b7}:").replace("##[", "#\u{b7}#[")
}

/// False for a control character, and for a character that is invisible or changes how others look: soft hyphen,
/// zero-width characters, bidirectional controls, variation selectors, tags, unusual line breaks.
fn is_plain(c: char) -> bool {
    let is_invisible = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !is_invisible
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
        let line = annotation("error", "100 %\r\nx::y");
        assert_eq!(line, "::error title=token-mint::100 %25 %0Ax:\u{b7}:y");
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
}
