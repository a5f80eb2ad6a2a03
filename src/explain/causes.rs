//! Why the index said no: the causes that its words and the ID token's claims prove or leave possible, and what to do
//! about each.
//!
//! How PyPI matches, and what it says when it does not: pypi/warehouse, `warehouse/oidc/models/_core.py`, `github.py`
//! and `gitlab.py`. It checks that the ID token has all claims that it needs. Then it looks a publisher up by owner,
//! owner ID, repository, workflow file and environment. It checks a publisher that it has found claim by claim, and
//! names the claim that does not match.

use crate::error::{Error, Kind, Result};
use crate::explain::job::Job;
use crate::explain::published::Published;
use crate::explain::publisher_form::{Provider, workflow_repository};
use crate::explain::{Cause, Certainty, Explanation, Reason};
use crate::text::shown;

/// The code of a refusal because a pending publisher names a project that exists.
const PROJECT_EXISTS: &str = "invalid-pending-publisher";

/// PyPI's words about the name of the project that a pending publisher is to create, and their meaning.
const BAD_NAMES: [(&str, &str); 5] = [
    ("is too similar to an existing project", "a project has a name that is too much like it"),
    ("conflict with Python Standard Library module name", "a module of Python's standard library has that name"),
    ("isn't allowed", "PyPI allows nobody to use that name"),
    ("conflicts with an existing project", "a project has that name, but for case, dots, hyphens and underscores"),
    ("is invalid", "it is not a name as projects have them"),
];

/// Adds the causes of a refusal to its explanation. Without a known reason of the index, there are none. If they are
/// only guesses about the publisher, `ask` is asked what the index publishes of the project.
pub fn explain_refusal(explanation: &mut Explanation, mut job: Job, ask: impl FnOnce(&str) -> Published) {
    let mut causes: Vec<Cause> = vec![];
    for cause in explanation.reasons.iter().flat_map(|reason| job.causes_of(reason)) {
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    if !causes.is_empty() {
        explanation.hints.clear(); // each cause says what to do
    }
    if causes.iter().any(|cause| cause.certainty == Certainty::Possible && cause.needs_form) {
        job.published = job.project().map_or(Published::NotAsked, ask);
        causes = job.with_evidence(causes);
        explanation.hints.extend(job.owners().into_iter().chain(job.several_projects()));
    }
    causes.sort_by_key(|cause| cause.certainty);
    let project_exists = explanation.reasons.iter().any(|reason| reason.code == PROJECT_EXISTS);
    let has_project = job.published.has_project().or(project_exists.then_some(true));
    let needs_form = causes.iter().any(|cause| cause.needs_form);
    explanation.link = job.link(has_project).filter(|_| needs_form);
    explanation.heading = explanation.reasons.first().and_then(|reason| job.heading(reason));
    (explanation.form, explanation.context) = job.rows();
    explanation.causes = causes;
}

/// Explains an identity before the index is asked for a token, for `token-mint claims`. `ask` is asked what the index
/// publishes of the project.
///
/// # Errors
/// The index would refuse the identity for certain.
pub fn explain_claims(mut job: Job, ask: impl FnOnce(&str) -> Published) -> Result<Explanation> {
    let index = job.index.name();
    let refused = job.causes_in_token().into_iter().chain(job.cause_in_issuer()).chain(job.causes_in_workflow());
    let mut causes: Vec<Cause> = refused.collect();
    let mut hints: Vec<String> = job.matching().into_iter().collect();
    if !causes.is_empty() {
        causes.extend(job.called_file());
        let fact = format!("{index} would refuse this job");
        let explanation = Box::new(job.identity(fact, causes, hints));
        return Err(Error { explanation, ..Error::new(Kind::Refused, "") });
    }
    job.published = job.project().map_or(Published::NotAsked, ask);
    if job.matches_last_publisher() {
        let from = format!("(from {index}'s Integrity API)");
        hints.push(format!("the last release came from a publisher that this job matches {from}"));
    } else {
        causes = job.with_evidence(job.called_file().into_iter().collect());
    }
    Ok(job.identity(format!("a publisher with these values lets this job publish to {index}"), causes, hints))
}

// The index's words, and what they mean

impl Job<'_> {
    /// The refusal in a few words.
    fn heading(&self, Reason { code, description }: &Reason) -> Option<String> {
        let what = match code.as_str() {
            "invalid-publisher" => "no matching trusted publisher",
            PROJECT_EXISTS => "the pending publisher's project exists already",
            "invalid-reuse-token" => "the ID token was used before",
            "invalid-token" => "the ID token could not be verified",
            "invalid-payload" if description.contains("issuer") => "it takes no ID tokens of this issuer",
            "not-enabled" => "trusted publishing is switched off",
            _ => return None,
        };
        Some(format!("{} refused this job: {what}", self.index.name()))
    }

    /// The causes behind a reason; none if the reason is unknown.
    fn causes_of(&self, Reason { code, description }: &Reason) -> Vec<Cause> {
        let index = self.index.name();
        let says = |words: &str| description.contains(words);
        let certain = |text: String| vec![Cause::certain(text)];
        let kept = "a pending publisher matched this job, and was kept";
        match code.as_str() {
            "invalid-publisher" => self.no_publisher(description),
            PROJECT_EXISTS => vec![
                Cause::certain(format!(
                    "a pending publisher matched this job, and the project that it is to create exists by now. {index} has deleted \
                     that pending publisher. Run the job again once: it succeeds if the project has a publisher for this job, too. If \
                     that says that there is none, add one on the project's own page. If the project is not yours, choose another name"
                ))
                .in_form(),
            ],
            "invalid-reuse-token" => vec![Cause::certain(
                "an ID token can be exchanged once, and this one was. Run the job again: it gets a new one. If a copy of the ID \
                 token was used elsewhere, find out by whom",
            )],
            "invalid-token" => {
                let causes = self.causes_in_token();
                if causes.is_empty() { vec![self.not_verified()] } else { causes }
            }
            "invalid-payload" if says("unknown trusted publishing issuer") => vec![self.unknown_issuer()],
            "invalid-payload" if says("malformed JWT") => certain(format!(
                "what was sent is no JSON Web Token that {index} can read. Is it the CI system's ID token, unchanged? More on \
                 that: https://docs.pypi.org/trusted-publishers/troubleshooting/"
            )),
            "invalid-payload" if says("New project registration temporarily disabled") => {
                certain(format!("{kept}, but {index} lets nobody create projects for now. Run the job again later"))
            }
            "invalid-payload" => BAD_NAMES.into_iter().find(|(words, _)| says(words)).map_or(vec![], |(_, why)| {
                certain(format!(
                    "{kept}, but {index} can't create a project with the name that it gives: {why}. Choose another name, and add \
                     a pending publisher for that"
                ))
            }),
            "not-enabled" => certain(format!(
                "{index} has switched trusted publishing off, for now or for this CI system. Nothing in your project is wrong. \
                 Its status page or its operators know more; run the job again later"
            )),
            _ => vec![],
        }
    }

    /// The causes behind the code `invalid-publisher`: there is no publisher, or the index found one, and it does not
    /// take the job.
    fn no_publisher(&self, description: &str) -> Vec<Cause> {
        let (index, issuer) = (self.index.name(), self.issuer());
        let says = |words: &str| description.contains(words);
        if says("pull_request_target") {
            return vec![self.pull_request_target()];
        }
        if says(" claim does not match") {
            return vec![self.other_file(description)];
        }
        // ActiveState has other words for its subject.
        let claim = quoted_after("claim ", description).or(says("'subject' claim").then_some("sub"));
        let text = if says(" and sha claims are empty") {
            // The other claim is `ref` or `ref_path`.
            format!("{index} found a publisher, but the ID token names neither the job's branch or tag nor its commit")
        } else if says("job_workflow_ref claim is empty") {
            format!(
                "{index} found a publisher, but the ID token names no workflow file: its claim job_workflow_ref is empty"
            )
        } else if says("extract workflow filename") {
            let file = self.claims.text("job_workflow_ref").or_else(|| self.claims.text("ci_config_ref_uri"));
            format!(
                "{index} finds no workflow file's name in the ID token, so it did not look for a publisher. The name has to \
                 end in .yml or .yaml, and the claim is `{}`",
                shown(&file.unwrap_or_default())
            )
        } else if says("JWT issuer ") {
            format!(
                "{index} knows {issuer} as an organisation's own issuer, but for a CI system of this kind it takes ID tokens of {} \
                 only. It did not look for a publisher, and none could match",
                shown(quoted_after("expected issuer ", description).unwrap_or_default())
            )
        } else if let Some(name) = claim.filter(|_| says("Missing claim '")) {
            format!(
                "the ID token has no claim {}, and {index} wants it before it looks for any publisher, so this says nothing of \
                 your publishers. Such a token is not as {issuer} issues them for a job: where does it come from?",
                shown(name)
            )
        } else {
            return match claim {
                None => self.workflow().into_iter().chain(self.guess()).collect(),
                Some("job_workflow_ref") if !self.workflow().is_empty() => self.workflow(),
                Some(name) => vec![self.other_claim(name)],
            };
        };
        vec![Cause::certain(text)]
    }

    /// The index found a publisher, and one of the job's workflow files is another one.
    fn other_file(&self, description: &str) -> Cause {
        let says = |words: &str| description.contains(words);
        let expected = quoted_after("expecting one of [", description).unwrap_or_default();
        let got = quoted_after(", got ", description).unwrap_or_default();
        let files = [
            (" job_workflow_ref claim", "workflow's file"),
            (" ci_config_ref_uri claim", "pipeline's file"),
            (" workflow_ref claim", "calling workflow's file"),
        ];
        let what = files.into_iter().find(|(words, _)| says(words)).map_or("", |(_, what)| what);
        let index = self.index.name();
        if what.is_empty() || expected.is_empty() || got.is_empty() {
            return Cause::certain(format!("{index} found a publisher, but it does not take this job's claims"));
        }
        if says(" job_workflow_ref claim") && workflow_repository(expected) != workflow_repository(got) {
            return self.called_elsewhere(got);
        }
        let advice = match self.form.provider {
            Provider::GitHub => {
                ". Call the workflow by its path (`uses: ./.github/workflows/…`), so that both come from one commit, or put \
                 the job into the calling file"
            }
            _ => "",
        };
        let (expected, got) = (shown(expected), shown(got));
        Cause::certain(format!(
            "a publisher was found, but the {what} is another one, or not of the job's own commit: {index} expects \
             {expected}, and the job's is {got}{advice}"
        ))
    }

    /// The index found a publisher, and this claim is not what it expects.
    fn other_claim(&self, name: &str) -> Cause {
        let index = self.index.name();
        let value = self.claims.text(name);
        match name {
            "repository_owner_id" => {
                let id = value.unwrap_or_else(|| "the job has".to_owned());
                let text = format!(
                    "a publisher was found, but the owner ID that was stored with it is another one than {}: the repository was \
                     moved, or the owner's account was made anew, since the publisher was added. Delete the publisher and add it \
                     again",
                    shown(&id)
                );
                Cause::certain(text).in_form()
            }
            "environment" => {
                let what = match value {
                    Some(name) => {
                        format!("another environment than this job's `{}`: change one of the two", shown(&name))
                    }
                    None => {
                        "an environment, and this job has none: add `environment:` with that name to the job".to_owned()
                    }
                };
                Cause::certain(format!("{index} found your publisher, but it names {what}")).in_form()
            }
            _ => {
                let value = value.map_or(String::new(), |value| format!(": `{}`", shown(&value)));
                let advice = match (name, self.form.provider) {
                    ("sub", Provider::GitLab) => {
                        ". The GitLab project makes its ID tokens' subject in a way of its own \
                         (`ci_id_token_sub_claim_components`): set it back to the default"
                    }
                    _ => "",
                };
                let name = shown(name);
                let fact = format!("{index} found a publisher, but the job's claim {name} is not what it expects");
                Cause::certain(format!("{fact}{value}{advice}"))
            }
        }
    }

    /// The possible reasons that nothing matched, likeliest first. `None` if no publisher can match the job at all.
    fn guess(&self) -> Option<Cause> {
        let index = self.index.name();
        let mut differs = format!(
            "one of the publisher's fields on {index} differs from this job: compare them letter by letter with this job's values"
        );
        if self.form.provider == Provider::GitHub {
            let environment = match self.form.environment() {
                Some(_) => "A publisher that names no environment matches this job, too",
                None => {
                    "The job has no environment: if the publisher names one, add `environment:` with that name to the job"
                }
            };
            differs.push_str(&format!(
                " (.yml is not .yaml; was the repository or the workflow's file renamed? {environment}). If every field agrees, the \
                 owner ID may be another one (the repository was moved, or the account made anew), a field may have a stray space, \
                 or the environment was stored with capitals: delete the publisher and add it again"
            ));
        }
        let missing = match self.index.is_testpypi() {
            true => {
                "nothing is registered for this job on TestPyPI, which has accounts and publishers of its own: a publisher on \
                 PyPI does not count here. Register it on TestPyPI, too"
                    .to_owned()
            }
            false => format!(
                "no publisher is registered for this job on {index}: it was never added, or on another index (TestPyPI has \
                 publishers of its own), or it was a pending one, which is gone after 30 days, or once it was used or refused"
            ),
        };
        // At the first run of a workflow, there is mostly no publisher yet. And few know that TestPyPI has publishers
        // of its own.
        let is_new = self.claims.text("run_number").as_deref() == Some("1") || self.index.is_testpypi();
        let texts = if is_new { [missing, differs] } else { [differs, missing] };
        self.runs_elsewhere().is_none().then(|| Cause::possible(texts.join(". Or ")).in_form())
    }
}

// The claims

impl Job<'_> {
    fn several_projects(&self) -> Option<String> {
        let [first, second, ..] = &self.projects[..] else { return None };
        Some(format!(
            "dist/ has files of several projects, among them {} and {}: name the one that this is about with --project \
             (TOKEN_MINT_PROJECT) to get more",
            shown(first),
            shown(second)
        ))
    }

    /// The explanation of this identity.
    fn identity(&self, fact: String, causes: Vec<Cause>, mut hints: Vec<String>) -> Explanation {
        let index = self.index.name();
        hints.extend(self.owners().into_iter().chain(self.several_projects()));
        hints.push(match self.published {
            Published::NotAsked => format!(
                "nothing was asked of {index}: whether a publisher for this job is registered there was not looked up"
            ),
            _ => format!(
                "{index} does not publish which publishers are registered, so whether one for this job is could not be looked up"
            ),
        });
        let (form, context) = self.rows();
        let link = self.link(self.published.has_project());
        Explanation { fact, form, context, causes, hints, link, ..Explanation::default() }
    }

    /// How PyPI matches such a job: this helps to fill in the form.
    fn matching(&self) -> Option<String> {
        let how = match self.form.provider {
            Provider::GitHub => {
                "compares owner, repository and the workflow's file name letter by letter, the environment in any case, \
                 and the owner ID"
            }
            Provider::GitLab => {
                "compares namespace and project in any case, the pipeline's file and the environment letter by letter"
            }
            Provider::Google | Provider::Other => return None,
        };
        let environment = match self.form.environment() {
            Some(_) => "A publisher that names no environment takes any job of that file, so naming one is safer",
            None => "A publisher that names an environment would not match: the job has none",
        };
        Some(format!("{} {how}. {environment}", self.index.name()))
    }
}

/// The text in quotation marks that follows these words. Python writes it in double ones if it has a single one in it.
fn quoted_after<'a>(words: &str, text: &'a str) -> Option<&'a str> {
    text.match_indices(words).find_map(|(at, _)| {
        let rest = text.get(at + words.len()..)?;
        let quote = ['\'', '"'].into_iter().find(|quote| rest.starts_with(*quote))?;
        Some(rest.get(1..)?.split_once(quote)?.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Claims;
    use crate::env::Env;
    use crate::explain::Link;
    use crate::explain::job::MAX_CLAIMS;
    use crate::index::Index;

    const NOT_FOUND: &str =
        "valid token, but no corresponding publisher (Publisher with matching claims was not found)";
    const NOW: u64 = 1_790_000_000;

    /// GitHub's claims of a job that matches, with some of them changed: `name=JSON`, or `name` to leave one out.
    fn claims(changes: &[&str]) -> Claims {
        let mut claims = serde_json::json!({
            "iss": "https://token.actions.githubusercontent.com", "aud": "pypi", "exp": NOW + 300,
            "sub": "repo:octo-org/octo-repo:environment:pypi", "event_name": "push", "run_number": "7",
            "repository": "octo-org/octo-repo", "repository_owner": "octo-org", "repository_owner_id": "65432100",
            "job_workflow_ref": "octo-org/octo-repo/.github/workflows/release.yml@refs/tags/v1",
            "workflow_ref": "octo-org/octo-repo/.github/workflows/release.yml@refs/tags/v1",
            "environment": "pypi", "ref": "refs/tags/v1", "sha": "0123",
        });
        for change in changes {
            match change.split_once('=') {
                Some((name, value)) => claims[name] = serde_json::from_str(value).unwrap(),
                None => drop(claims.as_object_mut().unwrap().remove(*change)),
            }
        }
        Claims::from(claims.to_string().as_str())
    }

    fn refused_by(index: &str, claims: Claims, code: &str, description: &str) -> Explanation {
        refused(index, claims, Some("sampleproject"), code, description)
    }

    fn refused(index: &str, claims: Claims, project: Option<&str>, code: &str, description: &str) -> Explanation {
        refused_for(index, claims, project, &[(code, description)])
    }

    fn refused_for(index: &str, claims: Claims, project: Option<&str>, reasons: &[(&str, &str)]) -> Explanation {
        let reason = |(code, description): &(&str, &str)| Reason {
            code: (*code).to_owned(),
            description: (*description).to_owned(),
        };
        let index = Index::parse(index).unwrap();
        let job = Job { projects: named(project), audience: index.known_audience(), ..job_of(claims, &index) };
        let reasons = reasons.iter().map(reason).collect();
        let hints = vec!["unknown".to_owned()];
        let mut explanation = Explanation { reasons, hints, ..Explanation::default() };
        explain_refusal(&mut explanation, job, |_| Published::Unknown);
        explanation
    }

    fn job_of(claims: Claims, index: &Index) -> Job<'_> {
        let job = Job::of(claims, index, &Env::from([("GITHUB_WORKSPACE", "/nonexistent")]));
        Job { audience: Some("pypi".to_owned()), now_unix_secs: NOW, ..job }
    }

    fn named(project: Option<&str>) -> Vec<String> {
        project.map(str::to_owned).into_iter().collect()
    }

    fn explained(job: Job) -> Explanation {
        explain_claims(job, |_| Published::NotAsked).unwrap_or_else(|error| *error.explanation)
    }

    /// The causes that PyPI's refusal leads to: `!` before a proof, `~` before evidence, `?` before a guess.
    fn causes(changes: &[&str], code: &str, description: &str) -> Vec<String> {
        marked(refused_by("pypi", claims(changes), code, description).causes)
    }

    fn marked(causes: Vec<Cause>) -> Vec<String> {
        let mark = |certainty| match certainty {
            Certainty::Certain => '!',
            Certainty::Evidence => '~',
            Certainty::Possible => '?',
        };
        causes.iter().map(|cause| format!("{}{}", mark(cause.certainty), cause.text)).collect()
    }

    /// As many causes as pieces, each with its piece, and the first is marked so.
    #[track_caller]
    fn assert_causes(causes: &[String], pieces: &[&str]) {
        assert_eq!(causes.len(), pieces.len(), "{causes:#?}");
        for (cause, piece) in causes.iter().zip(pieces) {
            let (mark, piece) = piece.split_at(1);
            assert!(cause.starts_with(mark) && cause.contains(piece), "{mark}{piece}: {causes:#?}");
        }
    }

    #[test]
    fn what_the_claims_prove_is_said_outright_and_alone() {
        let elsewhere = r#"job_workflow_ref="other/shared/.github/workflows/publish.yml@refs/heads/main""#;
        let causes = causes(&[elsewhere], "invalid-publisher", NOT_FOUND);
        assert_causes(&causes, &["!reusable workflow of another repository, other/shared/"]);
    }

    /// Python writes a text with a single quotation mark in double ones.
    #[test]
    fn a_quotation_mark_in_a_branch_leads_to_no_other_cause() {
        let refused = |expected: &str| {
            let other = "invalid-publisher: job_workflow_ref claim does not match, expecting one of";
            let got = "'octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main'";
            causes(&[], "invalid-publisher", &format!("{other} [{expected}, 'x@abc'], got {got}"))
        };
        let found = refused("\"octo-org/octo-repo/.github/workflows/release.yml@refs/heads/it's\"");
        assert_causes(&found, &["!the workflow's file is another one, or not of the job's own commit"]);
        assert!(found[0].contains("@refs/heads/it's, and the job's is"), "{found:?}");
        assert_causes(&refused("it's"), &["!found a publisher, but it does not take this job's claims"]);
    }

    #[test]
    fn a_called_file_of_the_same_repository_comes_before_the_guesses() {
        let called = r#"job_workflow_ref="Octo-Org/octo-repo/.github/workflows/_publish.yaml@refs/heads/x.yml@y""#;
        let causes = causes(&[called], "invalid-publisher", NOT_FOUND);
        assert_causes(&causes, &["~Workflow name has to be _publish.yaml", "?differs"]);
        assert!(causes[0].contains("release.yml"), "{causes:#?}");
    }

    #[test]
    fn that_a_project_is_new_says_less_than_a_called_file() {
        let called = r#"job_workflow_ref="octo-org/octo-repo/.github/workflows/_publish.yml@refs/heads/main""#;
        let (claims, index) = (claims(&[called]), Index::parse("pypi").unwrap());
        let job = Job { projects: named(Some("sampleproject")), ..job_of(claims, &index) };
        let reason = Reason { code: "invalid-publisher".to_owned(), description: NOT_FOUND.to_owned() };
        let mut explanation = Explanation { reasons: vec![reason], ..Explanation::default() };
        explain_refusal(&mut explanation, job, |_| Published::NoProject);
        assert_causes(&marked(explanation.causes), &["~Workflow name has to be", "~PyPI project name", "?differs"]);
    }

    #[test]
    fn where_nothing_is_proven_the_fields_come_first_and_are_named() {
        let causes = causes(&[], "invalid-publisher", NOT_FOUND);
        assert_causes(&causes, &["?differs from this job"]);
        let place = |piece: &str| causes[0].find(piece).unwrap_or_else(|| panic!("{piece}: {causes:#?}"));
        assert!(
            place("differs") < place("the owner ID may be") && place("stored with capitals") < place("no publisher is")
        );
        assert!(place("after 30 days") > 0 && !causes[0].contains('\n'));
        let older = "valid token, but no corresponding publisher (All lookup strategies exhausted)";
        assert_eq!(self::causes(&[], "invalid-publisher", older), causes);
    }

    #[test]
    fn a_job_without_an_environment_is_told_what_it_may_lack() {
        let causes = causes(&["environment"], "invalid-publisher", NOT_FOUND);
        assert!(causes[0].contains("The job has no environment: if the publisher names one, add"), "{causes:#?}");
        let explanation = refused_by("pypi", claims(&["environment"]), "invalid-publisher", NOT_FOUND);
        let row = explanation.form.iter().find(|(name, _)| name == "Environment name").unwrap();
        assert_eq!(row.1, "(none: leave it empty)");
    }

    #[test]
    fn a_first_run_and_testpypi_are_most_likely_not_registered() {
        let first = causes(&["run_number=\"1\""], "invalid-publisher", NOT_FOUND);
        assert!(first[0].starts_with("?no publisher is registered") && first[0].contains("differs"), "{first:#?}");
        let claims = claims(&["aud=\"testpypi\""]);
        let testpypi = refused_by("testpypi", claims, "invalid-publisher", NOT_FOUND);
        let Link { what, address } = testpypi.link.unwrap();
        assert!(
            what.contains("sampleproject") && address.starts_with("https://test.pypi.org/manage/project/"),
            "{address}"
        );
        assert_causes(&marked(testpypi.causes), &["?a publisher on PyPI does not count here"]);
    }

    #[test]
    fn a_claim_that_the_index_names_is_the_only_cause() {
        let why = |why: &str| format!("valid token, but no corresponding publisher ({why})");
        for (words, piece) in [
            (
                "Missing claim 'job_workflow_ref'",
                "!no claim job_workflow_ref, and PyPI wants it before it looks for any publisher",
            ),
            (
                "Check failed for required claim 'event_name'",
                "!the job's claim event_name is not what it expects: `push`",
            ),
            ("Invalid 'subject' claim. Wrong format", "!the job's claim sub is not what it expects: `repo:octo-org"),
            (
                "Check failed for optional claim 'environment'",
                "!PyPI found your publisher, but it names another environment than this job's `pypi`: change one",
            ),
            (
                "Check failed for required claim 'repository_owner_id'",
                "!the owner ID that was stored with it is another one than 65432100",
            ),
            (
                "Publishing from a workflow invoked via 'pull_request_target' is not supported.",
                "!started by pull_request_target",
            ),
        ] {
            assert_causes(&causes(&[], "invalid-publisher", &why(words)), &[piece]);
        }
        let claim = why("Check failed for required claim 'job_workflow_ref'");
        let elsewhere = r#"job_workflow_ref="other/shared/.github/workflows/release.yml@refs/heads/main""#;
        assert_causes(&causes(&[elsewhere], "invalid-publisher", &claim), &["!another repository, other/shared/"]);
        assert_causes(&causes(&[], "invalid-publisher", &claim), &["!claim job_workflow_ref is not what"]);
        let expecting = |got: &str| {
            why(&format!(
                "The job_workflow_ref claim does not match, expecting one of \
                 ['octo-org/octo-repo/.github/workflows/release.yml@0123', \
                 'octo-org/octo-repo/.github/workflows/release.yml@refs/tags/v1'], got '{got}'"
            ))
        };
        let other_ref = expecting("octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main");
        assert_causes(&causes(&[], "invalid-publisher", &other_ref), &["!release.yml@refs/heads/main"]);
        let elsewhere = expecting("other/shared/.github/workflows/release.yml@refs/heads/main");
        assert_causes(&causes(&[], "invalid-publisher", &elsewhere), &["!another repository, other/shared/"]);
    }

    #[test]
    fn what_the_index_says_of_the_claims_is_understood() {
        let why = |why: &str| format!("valid token, but no corresponding publisher ({why})");
        let refs = |claim: &str| {
            format!(
                "The {claim} claim does not match, expecting one of ['g/p//a.yml@0123', 'g/p//a.yml@main'], got 'g/p//a.yml@b'"
            )
        };
        for (words, piece) in [
            ("The ref_path and sha claims are empty", "!names neither the job's branch or tag nor its commit"),
            ("The ref and sha claims are empty", "!names neither the job's branch or tag nor its commit"),
            ("The job_workflow_ref claim is empty", "!its claim job_workflow_ref is empty"),
            ("Could not job extract workflow filename from OIDC claims", "!so it did not look for a publisher"),
            (
                "JWT issuer 'https://a' does not match expected issuer 'https://b'",
                "!takes ID tokens of https://b only. It did not look for a publisher",
            ),
            (&refs("ci_config_ref_uri"), "!the pipeline's file is another one"),
            (&refs("workflow_ref"), "!the calling workflow's file is another one"),
            (&refs("job_workflow_ref"), "!the workflow's file is another one"),
        ] {
            assert_causes(&causes(&[], "invalid-publisher", &why(words)), &[piece]);
        }
        let none = causes(&["environment"], "invalid-publisher", &why("Check failed for optional claim 'environment'"));
        assert_causes(&none, &["!this job has none: add `environment:`"]);
    }

    #[test]
    fn the_subject_is_gitlabs_to_set_back_and_no_advice_for_github() {
        let words = "valid token, but no corresponding publisher (Check failed for required claim 'sub')";
        assert!(!causes(&[], "invalid-publisher", words)[0].contains("set it back"));
        let gitlab = r#"{"iss":"https://gitlab.com","project_path":"g/p","sub":"x"}"#;
        let refused = refused_by("pypi", Claims::from(gitlab), "invalid-publisher", words);
        assert_causes(&marked(refused.causes), &["!`ci_id_token_sub_claim_components`"]);
    }

    #[test]
    fn a_pending_publisher_whose_project_can_not_be_made_was_found_and_kept() {
        for (words, piece) in [
            ("The name 'x' isn't allowed. See https://pypi.org/help/#project-name", "!PyPI allows nobody"),
            ("The name 'x' is too similar to an existing project.", "!too much like it"),
            (
                "The name 'x' isn't allowed (conflict with Python Standard Library module name).",
                "!a module of Python's standard library",
            ),
            ("The name 'x' conflicts with an existing project.", "!but for case"),
            ("The name 'x' is invalid.", "!not a name as projects have them"),
            ("New project registration temporarily disabled.", "!lets nobody create projects for now"),
        ] {
            let causes = causes(&[], "invalid-payload", words);
            assert_causes(&causes, &[piece]);
            assert!(causes[0].contains("a pending publisher matched this job, and was kept"), "{causes:#?}");
        }
        assert_causes(
            &causes(&[], "invalid-payload", "malformed JWT"),
            &["!https://docs.pypi.org/trusted-publishers/"],
        );
    }

    #[test]
    fn an_issuer_that_pypi_does_not_take_is_no_match_before_anything_is_asked() {
        let explained = |issuer: &str| {
            let (index, claims) = (Index::parse("pypi").unwrap(), claims(&[&format!("iss=\"{issuer}\"")]));
            self::explained(job_of(claims, &index))
        };
        for issuer in ["https://ghes.example.org/_services/token", "https://oidc.circleci.com/org/1"] {
            let explanation = explained(issuer);
            assert_eq!(explanation.fact, "PyPI would refuse this job");
            assert_causes(&marked(explanation.causes), &["!When this version of token-mint was made"]);
        }
        assert!(explained("https://token.actions.githubusercontent.com").causes.is_empty());
        let own = r#"{"iss":"https://gitlab.example.org","aud":"pypi","project_path":"g/p",
            "ci_config_ref_uri":"gitlab.example.org/g/p//a.yml@b.yaml@refs/tags/pkg@1.0"}"#;
        let own = refused_by("pypi", Claims::from(own), "invalid-publisher", NOT_FOUND).link.unwrap().address;
        assert!(own.contains("provider=gitlab&") && own.contains("workflow_filepath=a.yml%40b.yaml&"), "{own}");
        assert!(own.ends_with("&issuer_url=https%3A%2F%2Fgitlab.example.org"), "{own}");
    }

    #[test]
    fn a_name_that_the_form_refuses_is_said_beside_the_link() {
        let what =
            |change: &str| refused_by("pypi", claims(&[change]), "invalid-publisher", NOT_FOUND).link.unwrap().what;
        assert!(what("environment=\"a, b\"").contains("The form refuses this environment's name"));
        assert!(!what("environment=\"a b\"").contains("refuses"));
    }

    #[test]
    fn pull_request_target_is_a_cause_whatever_else_is() {
        let causes = causes(&["event_name=\"pull_request_target\""], "invalid-publisher", NOT_FOUND);
        assert_causes(&causes, &["!started by pull_request_target", "?differs"]);
    }

    #[test]
    fn a_token_that_could_not_be_verified_is_looked_at() {
        let words = "malformed or invalid token";
        assert_causes(
            &causes(&["exp=1789999970"], "invalid-token", words),
            &["!valid until Mon, 21 Sep 2026 14:12:50 GMT"],
        );
        assert_causes(
            &causes(&["aud=\"testpypi\""], "invalid-token", words),
            &["!for the audience \"testpypi\", and PyPI takes `pypi`"],
        );
        for (change, piece) in [
            (r#"aud=["pypi"]"#, "!audience is a list, [\"pypi\"], and PyPI takes a text only"),
            ("nbf=1790000031", "!not valid yet by this machine's clock: its claim nbf is Mon, 21 Sep 2026 14:13:51"),
            ("iat=1790000031", "!its claim iat is"),
            ("nbf=1790000030", "?its audience and its time look right"),
            ("exp=1789999971", "?its audience and its time look right"),
        ] {
            assert_causes(&causes(&[change], "invalid-token", words), &[piece]);
        }
        let elsewhere = refused_by("https://example.org", claims(&["aud=\"x\""]), "invalid-token", words);
        assert_causes(&marked(elsewhere.causes), &["?which audience the index takes was not asked"]);
    }

    #[test]
    fn the_other_codes_have_a_cause_each() {
        let issuer = r#"iss="https://token.actions.githubusercontent.com/big-corp""#;
        for (changes, code, description, piece) in [
            (
                &[][..],
                "invalid-pending-publisher",
                "valid token, but project already exists",
                "!Run the job again once",
            ),
            (&[], "invalid-reuse-token", "invalid token: already used", "!can be exchanged once"),
            (
                &[issuer],
                "invalid-payload",
                "unknown trusted publishing issuer",
                "!githubusercontent.com/big-corp. When this version",
            ),
            (
                &[],
                "not-enabled",
                "GitHub trusted publishing functionality not enabled",
                "!switched trusted publishing off",
            ),
        ] {
            assert_causes(&causes(changes, code, description), &[piece]);
        }
    }

    #[test]
    fn of_several_reasons_what_is_certain_comes_first_and_nothing_twice() {
        let reasons = [("invalid-publisher", NOT_FOUND), ("invalid-publisher", NOT_FOUND), ("not-enabled", "GitHub")];
        let causes = marked(refused_for("pypi", claims(&[]), None, &reasons).causes);
        assert_causes(&causes, &["!switched trusted publishing off", "?differs"]);
    }

    #[test]
    fn an_enterprises_own_issuer_is_still_github() {
        let issuer = r#"iss="https://token.actions.githubusercontent.com/big-corp""#;
        let explanation = refused_by("pypi", claims(&[issuer]), "invalid-payload", "unknown trusted publishing issuer");
        assert_eq!(explanation.form[0], ("Owner".to_owned(), "octo-org".to_owned()));
        let another = r#"iss="https://token.actions.githubusercontent.com.evil.example""#;
        let explanation =
            refused_by("pypi", claims(&[another]), "invalid-payload", "unknown trusted publishing issuer");
        assert_eq!(explanation.form, []);
    }

    #[test]
    fn of_absurdly_many_claims_some_are_shown() {
        let many: Vec<String> = (0..1000).map(|n| format!("\"claim{n}\": {n}")).collect();
        let claims = Claims::from(&format!("{{{}}}", many.join(","))[..]);
        assert!(refused_by("pypi", claims, "invalid-publisher", NOT_FOUND).context.len() <= MAX_CLAIMS + 1);
    }

    #[test]
    fn of_a_code_that_is_not_known_nothing_is_claimed() {
        for (code, description) in [("brand-new", "who knows"), ("invalid-payload", "token: Field required"), ("", "")]
        {
            let explanation = refused_by("pypi", claims(&[]), code, description);
            assert_eq!(explanation.causes, []);
            assert_eq!(explanation.hints, ["unknown"]);
            assert!(explanation.link.is_none());
        }
    }

    #[test]
    fn the_form_is_one_click_away_and_filled_in() {
        let link = |claims| refused_by("pypi", claims, "invalid-publisher", NOT_FOUND).link.unwrap().address;
        assert_eq!(
            link(claims(&["environment=\"a b&c\""])),
            "https://pypi.org/manage/project/sampleproject/settings/publishing/?provider=github&owner=octo-org\
             &repository=octo-repo&workflow_filename=release.yml&environment=a%20b%26c"
        );
        assert!(!link(claims(&["environment"])).contains("environment"));
        assert!(refused_by("https://example.org", claims(&[]), "invalid-publisher", NOT_FOUND).link.is_none());
        let elsewhere = r#"job_workflow_ref="other/shared/.github/workflows/publish.yml@refs/heads/main""#;
        assert!(refused_by("pypi", claims(&[elsewhere]), "invalid-publisher", NOT_FOUND).link.is_none());
    }

    #[test]
    fn without_the_projects_name_the_link_leads_to_the_page_that_helps() {
        let link = |code: &str, description: &str| refused("pypi", claims(&[]), None, code, description).link.unwrap();
        let Link { what, address } = link("invalid-publisher", NOT_FOUND);
        assert_eq!(address, "https://pypi.org/manage/account/publishing/");
        assert!(what.contains("does not exist yet") && what.contains("--project"), "{what}");
        let Link { address, .. } = link("invalid-pending-publisher", "valid token, but project already exists");
        assert_eq!(address, "https://pypi.org/manage/projects/");
    }

    #[test]
    fn a_field_that_the_id_token_lacks_is_not_to_be_left_empty() {
        let no_file = r#"job_workflow_ref="octo-org/octo-repo/dynamic/x@refs/heads/main""#;
        let rows = refused_by("pypi", claims(&[no_file, "repository_owner"]), "invalid-publisher", NOT_FOUND).form;
        for name in ["Owner", "Workflow name"] {
            assert!(rows.contains(&(name.to_owned(), "(not in the ID token)".to_owned())), "{rows:?}");
        }
    }

    #[test]
    fn gitlab_google_and_others_are_shown_in_their_own_words() {
        let gitlab = r#"{"iss":"https://gitlab.com","aud":"pypi","project_path":"group/sub/project",
            "ci_config_ref_uri":"gitlab.com/group/sub/project//ci/release.yml@refs/heads/main","sub":"x"}"#;
        let explanation = refused_by("pypi", Claims::from(gitlab), "invalid-publisher", NOT_FOUND);
        let rows: Vec<String> = explanation.form.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            rows,
            [
                "Namespace=group/sub",
                "Project name=project",
                "Top-level pipeline file path=ci/release.yml",
                "Environment name=(none: leave it empty)"
            ]
        );
        assert_eq!(
            explanation.link.unwrap().address,
            "https://pypi.org/manage/project/sampleproject/settings/publishing/?provider=gitlab&namespace=group%2Fsub\
             &project=project&workflow_filepath=ci%2Frelease.yml"
        );
        assert_causes(&marked(explanation.causes), &["?differs from this job"]);

        let google = r#"{"iss":"https://accounts.google.com","email":"a@b.iam.gserviceaccount.com","sub":"123"}"#;
        let rows = refused_by("pypi", Claims::from(google), "invalid-publisher", NOT_FOUND).form;
        assert_eq!(rows[0], ("Email".to_owned(), "a@b.iam.gserviceaccount.com".to_owned()));
        assert_eq!(rows[1], ("Subject".to_owned(), "123".to_owned()));

        let other = r#"{"iss":"https://agent.buildkite.com","jti":"secretish","n":1,"o":{"a":[true]}}"#;
        let rows = refused_by("pypi", Claims::from(other), "invalid-publisher", NOT_FOUND).context;
        let rows: Vec<String> = rows.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            rows,
            ["iss=\"https://agent.buildkite.com\"", "n=1", "o={\"a\":[true]}", "index=PyPI (https://pypi.org)"]
        );
    }

    #[test]
    fn claims_are_explained_before_anything_is_asked() {
        let index = Index::parse("pypi").unwrap();
        let explained =
            |claims: Claims| self::explained(Job { projects: named(Some("sampleproject")), ..job_of(claims, &index) });
        let fine = explained(claims(&[]));
        assert!(fine.fact.contains("lets this job publish to PyPI") && fine.causes.is_empty(), "{fine:?}");
        assert!(fine.link.unwrap().address.contains("workflow_filename=release.yml"));
        let called = r#"job_workflow_ref="octo-org/octo-repo/.github/workflows/called.yml@refs/heads/main""#;
        let target = r#"event_name="pull_request_target""#;
        let called_only = explained(claims(&[called]));
        assert!(called_only.fact.contains("lets this job publish"), "{called_only:?}");
        assert_causes(&marked(called_only.causes), &["~has to be called.yml"]);
        let refused = explained(claims(&[called, target]));
        assert!(refused.fact.contains("PyPI would refuse this job"), "{refused:?}");
        assert_causes(&marked(refused.causes), &["!pull_request_target", "~has to be called.yml"]);
    }
}
