//! Where people look: an explanation as lines on stderr, and in a GitHub job also as an annotation and on the job's
//! summary page.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::env::{Env, STEP_SUMMARY};
use crate::explain::messages::Explanation;
use crate::os::file;
use crate::os::log;
use crate::text::{self, harmless, markdown};

/// The runner drops a step's whole summary when it is longer (GitHub Docs, "Adding a job summary").
const MAX_SUMMARY_BYTES: u64 = 1024 * 1024;
/// An annotation that is longer is cut by GitHub's pages (4 KiB were seen to fit).
const MAX_ANNOTATION_CHARS: usize = 2000;

/// Says what is behind a failure, wherever people look. What can't be written is left out: the exit status says it.
pub fn failure(explanation: &Explanation, env: &Env) {
    messages(explanation, "error: ").iter().for_each(|message| log::say(message));
    if env.on_github() {
        let _ = log::command(&text::annotation("error", "token-mint", &annotation(explanation)));
        let _ = summary(explanation, env);
    }
}

/// Says what went wrong after all else went well, quiet or not.
pub fn warning(text: &str, env: &Env) {
    log::say(&format!("warning: {text}"));
    if env.on_github() {
        let _ = log::command(&text::annotation("warning", "token-mint", text));
    }
}

/// Says what an identity is, on stderr and in a GitHub job on its summary page.
pub fn identity(explanation: &Explanation, env: &Env) {
    messages(explanation, "").iter().for_each(|message| log::say(message));
    if env.on_github() {
        let _ = summary(explanation, env);
    }
}

/// The messages on stderr; `kind` is what the first one begins with.
pub fn messages(explanation: &Explanation, kind: &str) -> Vec<String> {
    let Explanation { fact, reasons, identity, causes, hints, link } = explanation;
    let reasons = reasons.iter().map(|reason| format!("\n    {reason}"));
    let mut messages = vec![format!("{kind}{fact}{}", reasons.collect::<String>())];
    if !identity.is_empty() {
        let width = identity.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let rows = identity.iter().map(|(name, value)| format!("\n    {name:width$}  {value}"));
        let rows: String = rows.collect();
        messages
            .push(format!("the job, in the words of the index's form (from its ID token, not verified here):{rows}"));
    }
    messages.extend(causes.iter().map(|(certain, cause)| format!("{}: {cause}", cause_word(*certain))));
    messages.extend(hints.iter().map(|hint| format!("hint: {hint}")));
    messages.extend(link.iter().map(|(what, address)| format!("form: {what}:\n    {address}")));
    messages
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
    let Some(path) = env.get(STEP_SUMMARY).map(PathBuf::from) else { return Ok(()) };
    let (page, mut file) = (page(explanation), file::open_to_append(&path)?);
    match file.metadata()?.len() + page.len() as u64 {
        0..=MAX_SUMMARY_BYTES => file.write_all(page.as_bytes()),
        _ => Ok(()),
    }
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
    harmless(&page) // what is code or an address, too
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Claims;
    use crate::cli::UsageError;
    use crate::error::{Error, HelperFlaw, Leg, Reason, Refusal, Subject};
    use crate::explain::causes::Job;
    use crate::explain::messages::{explain, explain_claims};
    use crate::index::Index;
    use crate::net::http_error::HttpError;

    const HOSTILE: &str = "x\n::error::a\n  ::Warning::b\r::add-mask::c\ntoken-mint: form: d\n ##[group]e\x1b[2K\u{202e}\u{85}\u{2028} \
                           pypi-AgEIcHlwaS5vcmcCJDAw,eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl ::::##[f";

    /// Whatever is put into an error by whoever makes it, in spite of the rule that it be harmless.
    fn hostile_errors() -> Vec<Error> {
        let text = || HOSTILE.to_owned();
        let io = || io::Error::other(HOSTILE);
        let json = serde_json::json!({
            "iss": "https://token.actions.githubusercontent.com", "aud": HOSTILE, "exp": 1, "repository": HOSTILE,
            "environment": HOSTILE, "repository_owner": HOSTILE, "repository_owner_id": HOSTILE, "sub": HOSTILE,
            "job_workflow_ref": format!("{HOSTILE}/{HOSTILE}.yml@x"), "workflow_ref": HOSTILE,
        });
        let refused = |code: &str, description: &str, claims: &serde_json::Value| Error::Refused {
            index: Box::new(Index::parse("pypi").unwrap()),
            leg: Leg::Mint,
            refusal: Box::new(Refusal {
                status: 422,
                words: Some(text()),
                reasons: vec![Reason { code: code.to_owned(), description: description.to_owned() }],
                unshown_reasons: 0,
            }),
            subject: Some(Box::new(Subject {
                claims: Claims::from(claims.to_string().as_str()),
                audience: Some(text()),
                project: Some(text()),
                now_unix_secs: 2,
            })),
        };
        let missing = format!("Missing claim '{HOSTILE}'");
        let other = serde_json::json!({"iss": "https://example.org", "aud": HOSTILE, HOSTILE: {"a": HOSTILE}});
        vec![
            Error::Usage(UsageError { fact: text(), hint: text() }),
            Error::Setting { place: text().into(), flaw: crate::error::SettingFlaw::OtherIndex { wanted: text() } },
            Error::NoGitLabToken { variable: text(), audience: text() },
            Error::NoIdTokenIn { variable: text() },
            Error::Helper { system: "x", program: "y", flaw: HelperFlaw::Failed { status: text(), words: text() } },
            Error::IdentityRefused { system: "x", status: 403, words: Some(text()) },
            refused("invalid-publisher", HOSTILE, &json),
            refused("invalid-publisher", &missing, &json),
            refused("invalid-token", HOSTILE, &json),
            refused("invalid-payload", "unknown trusted publishing issuer", &other),
            refused(HOSTILE, HOSTILE, &other),
            Error::Exchange { leg: Leg::Mint, server: text(), error: HttpError::Proxy(text()) },
            Error::Exchange { leg: Leg::Burn, server: text(), error: HttpError::Certificate(text()) },
            Error::Status { leg: Leg::Mint, server: text(), status: 500, words: Some(text()), retry_after: None },
            Error::OpenStepOutput { path: text(), error: io() },
            Error::StartProgram { name: text(), error: io() },
            Error::Stdout(io()),
        ]
    }

    #[test]
    fn hostile_text_is_harmless_in_each_place_wherever_it_came_from() {
        let mut explanations: Vec<_> = hostile_errors().iter().map(explain).collect();
        for error in hostile_errors() {
            let Error::Refused { index, subject: Some(subject), .. } = error else { continue };
            let Subject { claims, audience, project, .. } = *subject;
            let job = Job { claims: &claims, index: &index, audience: audience.as_deref(), now_unix_secs: 2 };
            explanations.push(explain_claims(&job, project.as_deref()));
        }
        for explanation in explanations {
            let said: String = messages(&explanation, "error: ").iter().map(|message| log::rendered(message)).collect();
            let annotated = text::annotation("error", HOSTILE, &annotation(&explanation));
            let annotated = annotated.as_str().strip_prefix("::error title=").unwrap().split_once("::").unwrap();
            let page = page(&explanation);
            assert!(said.contains('x'), "{said}");
            for line in said.lines() {
                let ours = ["error: ", "the job, in ", "cause: ", "perhaps (a guess): ", "hint: ", "form: "];
                let ours = line
                    .strip_prefix("token-mint: ")
                    .is_some_and(|rest| ours.iter().any(|start| rest.starts_with(start)));
                assert!(ours || line.is_empty() || line.starts_with("    "), "{line:?} in {said}");
            }
            assert_eq!(said.matches("\ntoken-mint: form: ").count(), usize::from(explanation.link.is_some()), "{said}");
            for text in [&said, annotated.0, annotated.1, &page] {
                for bad in [
                    "::",
                    "##[",
                    "\r",
                    "\x1b",
                    "\u{202e}",
                    "\u{85}",
                    "\u{2028}",
                    "AgEIcHlwaS5vcmcCJDAw",
                    "c2lnbmF0dXJl",
                ] {
                    assert!(!text.contains(bad), "{bad:?} in {text}");
                }
            }
        }
    }

    #[test]
    fn what_is_ours_is_shown_as_it_is() {
        for error in [
            Error::NoPermission { missing: "ACTIONS_ID_TOKEN_REQUEST_URL", fork: false },
            Error::NoGitLabToken { variable: "PYPI_ID_TOKEN".to_owned(), audience: "pypi".to_owned() },
            Error::NoIdentity,
            Error::Stdout(io::ErrorKind::TimedOut.into()),
        ] {
            let explanation = explain(&error);
            for message in messages(&explanation, "error: ") {
                assert_eq!(log::rendered(&message), format!("token-mint: {}\n", message.trim_end_matches('\n')));
            }
        }
        let link = "https://pypi.org/manage/project/a/settings/publishing/?provider=github&environment=a%3A%3Ab";
        let explanation = Explanation { link: Some(("x".to_owned(), link.to_owned())), ..Explanation::default() };
        assert_eq!(log::rendered(&messages(&explanation, "")[1]), format!("token-mint: form: x:\n    {link}\n"));
        assert!(page(&explanation).contains(&format!("[Open the form]({link}): x\n")));
    }

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
