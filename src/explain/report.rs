//! Shows explanations: as lines on stderr, and in a GitHub job also as an annotation and on the job's summary page.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

use crate::env::Env;
use crate::explain::{Explanation, Link};
use crate::os::file;
use crate::os::log;
use crate::text::{harmless, markdown, prose};

/// The runner drops a step's whole summary when it is longer (GitHub Docs, "Adding a job summary").
const MAX_SUMMARY_BYTES: u64 = 1024 * 1024;
/// An annotation that is longer is cut by GitHub's pages (4 KiB were seen to fit).
const MAX_ANNOTATION_CHARS: usize = 2000;

/// Shows a failure on stderr, as an annotation and on the summary page. Errors of writing are ignored: the exit status
/// tells of the failure, too.
pub fn failure(explanation: &Explanation, env: &Env) {
    messages(explanation, "error: ").iter().for_each(|message| log::say(message));
    annotate("error", &annotation(explanation), env);
    summarise(&page(explanation), env);
}

/// Shows an identity on stderr and on the summary page.
pub fn identity(explanation: &Explanation, env: &Env) {
    messages(explanation, "").iter().for_each(|message| log::say(message));
    summarise(&page(explanation), env);
}

/// Shows a success on the summary page.
pub fn success(fact: &str, how: &str, env: &Env) {
    summarise(&harmless(&format!("\n### token-mint: {}\n\n{}\n", markdown(fact), markdown(how))), env);
}

/// Shows a warning on stderr, even with `--quiet`, and as an annotation.
pub fn warning(text: &str, env: &Env) {
    log::say(&format!("warning: {text}"));
    annotate("warning", text, env);
}

/// Makes an annotation of a GitHub job.
fn annotate(kind: &str, text: &str, env: &Env) {
    if env.on_github() {
        log::annotate(kind, text);
    }
}

/// Appends Markdown to the summary page of a GitHub job, if it fits.
fn summarise(page: &str, env: &Env) {
    let append = |path: &OsStr| {
        let mut file = file::open_to_append(Path::new(path))?;
        let is_too_long = file.metadata()?.len() + page.len() as u64 > MAX_SUMMARY_BYTES;
        if is_too_long { Ok(()) } else { file.write_all(page.as_bytes()) }
    };
    let _: Option<io::Result<()>> = env.get("GITHUB_STEP_SUMMARY").filter(|_| env.on_github()).map(append);
}

/// The messages on stderr; `kind` is what the first one begins with.
pub fn messages(explanation: &Explanation, kind: &str) -> Vec<String> {
    let Explanation { fact, reasons, form, context, causes, hints, link, .. } = explanation;
    let reasons = reasons.iter().map(|reason| format!("\n    {reason}"));
    let mut messages = vec![format!("{kind}{fact}{}", reasons.collect::<String>())];
    let rows: Vec<_> = form.iter().chain(context).collect();
    if let Some(width) = rows.iter().map(|(name, _)| name.chars().count()).max() {
        let rows: String = rows.iter().map(|(name, value)| format!("\n    {name:width$}  {value}")).collect();
        messages
            .push(format!("this job's values for the publisher form (from its ID token, not verified here):{rows}"));
    }
    messages.extend(causes.iter().map(|cause| format!("{}: {}", cause.word(), cause.text)));
    messages.extend(hints.iter().map(|hint| format!("hint: {hint}")));
    messages.extend(link.iter().map(|Link { what, address }| format!("form: {what}:\n    {address}")));
    messages
}

/// The fact, the code of the index's reason, and the first thing that helps; the job's summary has all of it.
pub fn annotation(explanation: &Explanation) -> String {
    let Explanation { fact, reasons, causes, hints, .. } = explanation;
    let code = reasons.first().filter(|reason| !reason.code.is_empty());
    let code = code.map(|reason| format!(" ({})", reason.code)).unwrap_or_default();
    let (first, see) = match (causes.first(), hints.first()) {
        (Some(cause), _) => (format!("{}: {}", cause.word(), cause.text), "\nsee the job's summary"),
        (None, hint) => (hint.cloned().unwrap_or_default(), ""),
    };
    let room = MAX_ANNOTATION_CHARS - see.len();
    format!("{fact}{code}\n{first}").trim_end().chars().take(room).chain(see.chars()).collect()
}

/// The Markdown for the summary page: what it is, what is behind it, and where to go; then the rest.
pub fn page(explanation: &Explanation) -> String {
    let Explanation { fact, heading, reasons, form, context, causes, hints, link } = explanation;
    let mut page = match heading {
        Some(heading) => format!("\n### {}\n\n{}\n\n", markdown(heading), markdown(fact)),
        None => format!("\n### token-mint: {}\n\n", markdown(fact)),
    };
    for reason in reasons {
        page += &format!("> {}\n>\n", markdown(&reason.to_string()));
    }
    page += "\n";
    for cause in causes {
        let (first, rest) = cause.word().split_at(1);
        page += &format!("- **{}{rest}:** {}\n", first.to_uppercase(), prose(&cause.text));
    }
    if let Some(Link { what, address }) = link {
        page += &format!("\n[Open the form]({address}): {}\n", prose(what));
    }
    page += "\n";
    for hint in hints {
        // Only our own hints have lines of code in them. An audience in one is on one line.
        let (words, code) = hint.split_once("\n\n").unwrap_or((hint, ""));
        page += &format!("- {}\n", prose(words));
        if !code.is_empty() {
            page += &format!("\n  ```yaml\n{}\n  ```\n", code.trim_end_matches('\n'));
        }
    }
    if !form.is_empty() {
        page += "\n| the index's form | this job (from its ID token, not verified) |\n|---|---|\n";
    }
    for (name, value) in form {
        page += &format!("| {} | {} |\n", markdown(name), markdown(value));
    }
    if !context.is_empty() {
        page += "\nNot in the form:\n\n";
    }
    for (name, value) in context {
        page += &format!("- {}: {}\n", markdown(name), markdown(value));
    }
    harmless(&page) // what is code or an address, too
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Claims;
    use crate::error::{Error, Kind};
    use crate::explain::causes::{explain_claims, explain_refusal};
    use crate::explain::job::Job;
    use crate::explain::messages;
    use crate::explain::published::{self, Published, Release};
    use crate::explain::{Cause, Reason};
    use crate::identity::github;
    use crate::index::Index;
    use crate::index_api::{MINT, REVOKE};
    use crate::net::http::Reply;
    use crate::net::http_error::{Fault, HttpError};
    use crate::requests::Request;

    const HOSTILE: &str = "x\n::error::a\n  ::Warning::b\r::add-mask::c\ntoken-mint: form: d\n ##[group]e\x1b[2K\u{202e}\u{85}\u{2028} \
                           pypi-AgEIcHlwaS5vcmcCJDAw,eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl ::::##[f";

    /// Whatever is put into a message by whoever makes it, in spite of the rule that it be harmless.
    fn hostile_explanations() -> Vec<Explanation> {
        let text = || HOSTILE.to_owned();
        let io = || io::Error::other(HOSTILE);
        let request = |endpoint| Request { endpoint, server: text(), name: text() };
        let reply = |status| Reply { status, body: text().into(), retry_after: None, is_surely_whole: true };
        let errors: Vec<Error> = vec![
            Error::usage(text(), text()),
            messages::bad_setting(HOSTILE, HOSTILE),
            messages::other_index(HOSTILE, &HOSTILE),
            messages::no_gitlab_token(HOSTILE, HOSTILE),
            messages::no_id_token_in(HOSTILE),
            Error::new(Kind::NoIdentity, HOSTILE).hint(HOSTILE),
            request(&github::ENDPOINT).unexpected(&reply(403), str::to_owned),
            request(&MINT).unexpected(&reply(500), str::to_owned),
            request(&MINT).no_reply(&HttpError::new(Fault::Unreachable, text())),
            request(&REVOKE).no_reply(&HttpError::new(Fault::Certificate, text())),
            messages::step_output_not_opened(HOSTILE, &io()),
            messages::lost(HOSTILE, &io()),
            messages::no_masks(io()),
        ];
        let mut explanations: Vec<Explanation> = errors.into_iter().map(|error| *error.explanation).collect();

        let json = serde_json::json!({
            "iss": "https://token.actions.githubusercontent.com", "aud": HOSTILE, "exp": 1, "repository": HOSTILE,
            "environment": HOSTILE, "repository_owner": HOSTILE, "repository_owner_id": HOSTILE, "sub": HOSTILE,
            "job_workflow_ref": format!("{HOSTILE}/{HOSTILE}.yml@x"), "workflow_ref": HOSTILE,
        });
        let repository = format!("{HOSTILE}/{HOSTILE}");
        let own = serde_json::json!({
            "iss": "https://token.actions.githubusercontent.com", "aud": HOSTILE, "repository": repository,
            "repository_owner": HOSTILE, "job_workflow_ref": format!("{repository}/{HOSTILE}.yml@x"),
            "workflow_ref": format!("{repository}/{HOSTILE}-other.yml@x"),
        });
        let other = serde_json::json!({"iss": "https://example.org", "aud": HOSTILE, HOSTILE: {"a": HOSTILE}});
        let missing = format!("Missing claim '{HOSTILE}'");
        let index = Index::parse("pypi").unwrap();
        for (code, description, claims) in [
            ("invalid-publisher", HOSTILE, &json),
            ("invalid-publisher", HOSTILE, &own),
            ("invalid-publisher", &missing, &json),
            ("invalid-token", HOSTILE, &json),
            ("invalid-payload", "unknown trusted publishing issuer", &other),
            (HOSTILE, HOSTILE, &other),
        ] {
            let env = Env::from([("GITHUB_WORKSPACE", "/nonexistent")]);
            let job = || {
                let job = Job::of(Claims::from(claims.to_string().as_str()), &index, &env);
                Job {
                    audience: Some(text()),
                    id_token_env: Some(text()),
                    projects: vec![text()],
                    now_unix_secs: 40,
                    ..job
                }
            };
            let reasons = vec![Reason { code: code.to_owned(), description: description.to_owned() }];
            let mut refused = Explanation { fact: text(), reasons, hints: vec![text()], ..Explanation::default() };
            explain_refusal(&mut refused, job(), |_| Published::NoProject);
            explanations.push(refused);
            for repository in [format!("{HOSTILE}/{HOSTILE}"), "a/b".to_owned(), String::new()] {
                let explained = explain_claims(job(), |_| hostile_release(&repository));
                explanations.push(explained.unwrap_or_else(|error| *error.explanation));
            }
        }
        explanations
    }

    /// One with a publisher for this repository; none for an empty one.
    fn hostile_release(repository: &str) -> Published {
        let json = serde_json::json!({
            "info": {"version": HOSTILE, "project_urls": {HOSTILE: format!("https://github.com/{HOSTILE}/x")}},
            "ownership": {"roles": [{"role": "Owner", "user": HOSTILE}]},
        });
        let (release, _) = Release::read(json.to_string().as_bytes()).unwrap();
        let publisher = serde_json::json!({"kind": "GitHub", "repository": repository, "environment": HOSTILE,
            "workflow": HOSTILE});
        let bundles = serde_json::json!({"attestation_bundles": [{ "publisher": publisher }]}).to_string();
        let publisher = published::publisher(bundles.as_bytes()).filter(|_| !repository.is_empty());
        Published::Release(Release { publisher, ..release })
    }

    #[test]
    fn hostile_text_is_harmless_in_each_place_wherever_it_came_from() {
        for explanation in hostile_explanations() {
            let said: String = messages(&explanation, "error: ").iter().map(|message| log::rendered(message)).collect();
            let annotated = crate::text::annotation("error", &annotation(&explanation));
            let annotated = annotated.strip_prefix("::error title=token-mint::").unwrap();
            let page = page(&explanation);
            assert!(said.contains('x'), "{said}");
            for line in said.lines() {
                let ours =
                    ["error: ", "this job's values ", "cause: ", "evidence: ", "possible cause: ", "hint: ", "form: "];
                let ours = line
                    .strip_prefix("token-mint: ")
                    .is_some_and(|rest| ours.iter().any(|start| rest.starts_with(start)));
                assert!(ours || line.is_empty() || line.starts_with("    "), "{line:?} in {said}");
            }
            assert_eq!(said.matches("\ntoken-mint: form: ").count(), usize::from(explanation.link.is_some()), "{said}");
            for text in [&said, annotated, &page] {
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
            messages::no_permission(&["ACTIONS_ID_TOKEN_REQUEST_URL"], false),
            messages::no_gitlab_token("PYPI_ID_TOKEN", "pypi"),
            messages::no_identity(),
            messages::lost("the API token can't be written to stdout", &io::ErrorKind::TimedOut.into()),
        ] {
            let explanation = error.explanation;
            for message in messages(&explanation, "error: ") {
                assert_eq!(log::rendered(&message), format!("token-mint: {}\n", message.trim_end_matches('\n')));
            }
        }
        let link = "https://pypi.org/manage/project/a/settings/publishing/?provider=github&environment=a%3A%3Ab";
        let to_link = Link { what: "x".to_owned(), address: link.to_owned() };
        let explanation = Explanation { link: Some(to_link), ..Explanation::default() };
        assert_eq!(log::rendered(&messages(&explanation, "")[1]), format!("token-mint: form: x:\n    {link}\n"));
        assert!(page(&explanation).contains(&format!("[Open the form]({link}): x\n")));
    }

    #[test]
    fn an_annotation_is_bounded_and_has_the_first_cause_or_hint() {
        let explanation = Explanation {
            fact: "fact".to_owned(),
            reasons: vec![Reason { code: "a-code".to_owned(), description: "words".to_owned() }],
            causes: vec![Cause::certain("one"), Cause::possible("two")],
            hints: vec!["hint".to_owned()],
            ..Explanation::default()
        };
        assert_eq!(annotation(&explanation), "fact (a-code)\ncause: one\nsee the job's summary");
        assert_eq!(annotation(&Explanation { causes: vec![], ..explanation }), "fact (a-code)\nhint");
        let long = Explanation { fact: "ä".repeat(10_000), ..Explanation::default() };
        assert_eq!(annotation(&long).chars().count(), MAX_ANNOTATION_CHARS);
    }
}
