//! Where people look: an explanation as lines on stderr, and in a GitHub job also as an annotation and on the job's
//! summary page.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::env::{Env, STEP_SUMMARY};
use crate::explain::Explanation;
use crate::log;
use crate::workflow::{self, markdown};

/// The runner drops a step's whole summary when it is longer (GitHub Docs, "Adding a job summary").
const MAX_SUMMARY_BYTES: u64 = 1024 * 1024;
/// An annotation that is longer is cut by GitHub's pages (4 KiB were seen to fit).
const MAX_ANNOTATION_CHARS: usize = 2000;

/// Says what is behind a failure, wherever people look. What can't be written is left out: the exit status says it.
pub fn failure(explanation: &Explanation, env: &Env) {
    let mut text = lines(explanation, "error: ");
    if env.on_github() {
        text.push_str(&workflow::annotation("error", "token-mint", &annotation(explanation)));
        let _ = summary(explanation, env);
    }
    let _ = log::to_stderr(&text);
}

/// Says what went wrong after all else went well, quiet or not.
pub fn warning(text: &str, env: &Env) {
    let mut lines = format!("token-mint: warning: {text}\n");
    if env.on_github() {
        lines.push_str(&workflow::annotation("warning", "token-mint", text));
    }
    let _ = log::to_stderr(&lines);
}

/// Says what an identity is, on stderr and in a GitHub job on its summary page.
pub fn identity(explanation: &Explanation, env: &Env) {
    if env.on_github() {
        let _ = summary(explanation, env);
    }
    let _ = log::to_stderr(&lines(explanation, ""));
}

/// The lines on stderr; `kind` is what the first one begins with.
pub fn lines(explanation: &Explanation, kind: &str) -> String {
    let Explanation { fact, reasons, identity, causes, hints, link } = explanation;
    let mut text = format!("token-mint: {kind}{fact}\n");
    for reason in reasons {
        text.push_str(&format!("    {reason}\n"));
    }
    if !identity.is_empty() {
        text.push_str(
            "token-mint: the job, in the words of the index's form (from its ID token, not verified here):\n",
        );
        let width = identity.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in identity {
            text.push_str(&format!("    {name:width$}  {value}\n"));
        }
    }
    for (certain, cause) in causes {
        let cause = cause.replace('\n', "\n    ");
        text.push_str(&format!("token-mint: {}: {cause}\n", cause_word(*certain)));
    }
    for hint in hints {
        text.push_str(&format!("token-mint: hint: {hint}\n"));
    }
    if let Some((what, address)) = link {
        text.push_str(&format!("token-mint: form: {what}:\n    {address}\n"));
    }
    text
}

fn cause_word(certain: bool) -> &'static str {
    if certain { "cause" } else { "perhaps (a guess)" }
}

/// The fact and the first thing that helps.
pub fn annotation(explanation: &Explanation) -> String {
    let Explanation { fact, causes, hints, .. } = explanation;
    let first = causes.first().map(|(certain, cause)| format!("{}: {cause}", cause_word(*certain)));
    let first = first.or_else(|| hints.first().cloned()).unwrap_or_default();
    format!("{fact}\n{first}").trim_end().chars().take(MAX_ANNOTATION_CHARS).collect()
}

/// Appends the explanation to the job's summary page.
fn summary(explanation: &Explanation, env: &Env) -> io::Result<()> {
    let Some(path) = env.get(STEP_SUMMARY).map(Path::new) else { return Ok(()) };
    let page = page(explanation);
    // Opening a pipe or a device could wait for ever.
    let there = fs::metadata(path).map_or(0, |data| if data.is_file() { data.len() } else { MAX_SUMMARY_BYTES });
    if there + page.len() as u64 > MAX_SUMMARY_BYTES {
        return Ok(());
    }
    OpenOptions::new().append(true).create(true).open(path)?.write_all(page.as_bytes())
}

/// The Markdown for the summary page.
pub fn page(explanation: &Explanation) -> String {
    let Explanation { fact, reasons, identity, causes, hints, link } = explanation;
    let mut page = format!("\n### token-mint: {}\n\n", markdown(fact));
    for reason in reasons {
        page.push_str(&format!("> {}\n>\n", markdown(reason)));
    }
    if !identity.is_empty() {
        page.push_str("\n| the index's form | this job (from its ID token, not verified) |\n|---|---|\n");
        for (name, value) in identity {
            page.push_str(&format!("| {} | {} |\n", markdown(name), markdown(value)));
        }
    }
    page.push('\n');
    for (certain, cause) in causes {
        let word = if *certain { "Cause" } else { "Perhaps (a guess)" };
        let mut lines = cause.lines();
        page.push_str(&format!("- **{word}:** {}\n", markdown(lines.next().unwrap_or_default())));
        lines.for_each(|line| page.push_str(&format!("  - {}\n", markdown(line))));
    }
    for hint in hints {
        // Only our own hints have lines of code in them.
        match hint.split_once("\n\n") {
            Some((words, code)) => {
                page.push_str(&format!("- {}\n\n  ```yaml\n{}\n  ```\n", markdown(words), code.trim_end_matches('\n')));
            }
            None => page.push_str(&format!("- {}\n", markdown(hint))),
        }
    }
    if let Some((what, address)) = link {
        page.push_str(&format!("\n[Open the form]({address}): {}\n", markdown(what)));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_bounded_and_has_the_first_cause_or_hint() {
        let explanation = Explanation {
            fact: "fact".to_owned(),
            causes: vec![(true, "one".to_owned()), (false, "two".to_owned())],
            hints: vec!["hint".to_owned()],
            ..Explanation::default()
        };
        assert_eq!(annotation(&explanation), "fact\ncause: one");
        assert_eq!(annotation(&Explanation { causes: vec![], ..explanation }), "fact\nhint");
        let long = Explanation { fact: "ä".repeat(10_000), ..Explanation::default() };
        assert_eq!(annotation(&long).chars().count(), MAX_ANNOTATION_CHARS);
    }
}
