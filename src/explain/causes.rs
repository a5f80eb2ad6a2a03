//! Why the index said no: what its words and the ID token's claims prove, what they leave possible, and where to mend it.
//!
//! How PyPI matches, and what it says when it does not: pypi/warehouse, `warehouse/oidc/models/_core.py` and `github.py`. It looks a
//! publisher up by owner, owner ID, repository, workflow file and environment; only what it has found it checks claim by claim, and
//! then it names the claim.

use crate::claims::Claims;
use crate::error::{Cause, Explanation, Link, Reason};
use crate::explain::publisher_form::{ENVIRONMENT_NAME, Form, Provider, workflow_file, workflow_repository};
use crate::index::Index;
use crate::text::neutralise;
use crate::time;

/// The most that is shown of one claim. Branch names may be long.
const MAX_CLAIM_CHARS: usize = 200;
/// Far more claims than an issuer ever made.
const MAX_CLAIMS: usize = 60;

const RENEWED: &str = "the repository was moved, or the owner's account was made anew, since the publisher was added. A stray \
                       space in one of the publisher's fields looks the same. For both: delete the publisher and add it again";

/// The job whose ID token was refused, or would be.
pub struct Job<'a> {
    pub claims: &'a Claims,
    pub index: &'a Index,
    /// The audience that the index takes, as far as it is known.
    pub audience: Option<&'a str>,
    /// The project that it is to publish, as far as it is known.
    pub project: Option<&'a str>,
    pub now_unix_secs: u64,
}

/// Adds to what is said of a refusal what is behind it; nothing, where the index's reasons are not known.
pub fn explain_refusal(explanation: &mut Explanation, job: &Job) {
    let mut causes: Vec<Cause> = vec![];
    for cause in explanation.reasons.iter().flat_map(|reason| job.causes_of(reason)) {
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    causes.sort_by_key(|cause| !cause.is_certain);
    let project_exists = explanation.reasons.iter().any(|reason| reason.code == PROJECT_EXISTS);
    explanation.job = job.rows();
    explanation.link = job.link(&causes, project_exists);
    if !causes.is_empty() {
        explanation.hints.clear(); // each cause says what to do
    }
    explanation.causes = causes;
}

/// What is to be said of an identity before anything is asked of the index: `token-mint claims`.
pub fn explain_claims(job: &Job) -> Explanation {
    let name = job.index.name();
    let (refused, called_file) = (job.causes_in_token(), job.called_file());
    let causes: Vec<Cause> = refused.into_iter().chain(job.causes_in_workflow()).collect();
    let is_refused = !causes.is_empty();
    let fact = match is_refused {
        false => format!("a publisher with these values lets this job publish to {name}"),
        true => format!("{name} would refuse this job"),
    };
    let causes: Vec<Cause> = causes.into_iter().chain(called_file).collect();
    let mut hints = vec![];
    if Form::of(job.claims).provider == Provider::GitHub {
        hints.push(job.matching());
    }
    hints.push(format!("nothing was asked of {name}: whether such a publisher is registered there was not looked up"));
    let link = job.link(&[possible(String::new()).in_form()], false);
    Explanation { fact, job: job.rows(), causes, hints, link, ..Explanation::default() }
}

/// A pending publisher names a project that exists.
const PROJECT_EXISTS: &str = "invalid-pending-publisher";

impl Job<'_> {
    fn causes_of(&self, Reason { code, description }: &Reason) -> Vec<Cause> {
        let index = self.index.name();
        match code.as_str() {
            "invalid-publisher" => self.no_publisher(description),
            PROJECT_EXISTS => vec![
                certain(format!(
                    "the publisher is a pending one, which is to create a project, and that project exists by now. {index} has \
                     deleted it with this refusal, so trying again will say that there is none. Add a publisher on the \
                     project's own page. If the project is not yours, choose another name"
                ))
                .in_form(),
            ],
            "invalid-reuse-token" => vec![certain(
                "an ID token can be exchanged once, and this one was. Run the job again: it gets a new one. If a copy of the ID \
                 token was used elsewhere, find out by whom",
            )],
            "invalid-token" => match self.causes_in_token() {
                causes if causes.is_empty() => vec![possible(format!(
                    "{index} could not verify the ID token, though its audience and its time look right from here. It is not \
                     for this index, or was changed on its way. Run the job again; if that does not help, check --index and \
                     --audience"
                ))],
                causes => causes,
            },
            "invalid-payload" if description.contains("unknown trusted publishing issuer") => vec![certain(format!(
                "{index} takes no ID tokens that were issued by {}. PyPI takes those of GitHub.com, GitLab.com, Google Cloud \
                 and ActiveState; a GitHub Enterprise Server, or an enterprise with an issuer of its own, is none of them. \
                 Publish from a CI system that the index takes",
                self.shown("iss")
            ))],
            "not-enabled" => vec![certain(format!(
                "{index} has switched trusted publishing off, for now or for this CI system. Nothing in your project is wrong. \
                 Its status page or its operators know more; run the job again later"
            ))],
            _ => vec![],
        }
    }

    fn no_publisher(&self, description: &str) -> Vec<Cause> {
        if description.contains("pull_request_target") {
            return vec![self.pull_request_target()];
        }
        // A publisher was found: one claim is at fault, and nothing else is.
        if let Some((expected, got)) = mismatched_workflow_ref(description) {
            return vec![match workflow_repository(&expected) == workflow_repository(&got) {
                true => self.other_ref(&expected, &got),
                false => self.called_elsewhere(&got),
            }];
        }
        let missing = quoted_after(description, "Missing claim ");
        let failed = quoted_after(description, "Check failed for required claim ")
            .or_else(|| quoted_after(description, "Check failed for optional claim "));
        match (missing, failed.as_deref()) {
            (Some(name), _) => return vec![self.claim(&name, true)],
            (None, Some("repository_owner_id")) => return vec![self.owner_id()],
            (None, Some("job_workflow_ref")) if !self.workflow().is_empty() => return self.workflow(),
            (None, Some(name)) => return vec![self.claim(name, false)],
            (None, None) => {}
        }
        let mut causes = self.workflow();
        if self.runs_elsewhere().is_none() {
            causes.extend(self.guesses()); // else nothing is left to guess: such a job can't be matched
        }
        causes
    }

    /// What may be the reason that nothing matched, likeliest first.
    fn guesses(&self) -> [Cause; 2] {
        // The first run of a workflow, as GitHub counts them: nothing was registered yet, more often than not. TestPyPI's
        // publishers are other than PyPI's, and few know.
        let is_first_run = self.claims.text("run_number").as_deref() == Some("1");
        let (differs, missing) = (possible(self.field_differs()).in_form(), possible(self.not_registered()).in_form());
        if is_first_run || self.index.is_testpypi() { [missing, differs] } else { [differs, missing] }
    }

    /// What is wrong with the ID token, whatever is registered.
    fn causes_in_token(&self) -> Vec<Cause> {
        let mut causes = vec![];
        if let Some(expires) = self.claims.unix_secs("exp").filter(|expires| *expires < self.now_unix_secs) {
            causes.push(certain(format!(
                "the ID token has expired: it was valid until {}. Run the job again: it gets a new one. If that does not help, \
                 a clock is wrong",
                time::utc(expires)
            )));
        }
        if let Some(expected) = self.audience.filter(|audience| !self.claims.has_audience(audience)) {
            let aud = self.claims.iter().find(|(name, _)| *name == "aud").map_or("none", |(_, aud)| aud);
            causes.push(certain(format!(
                "the ID token is for the audience {}, and {} takes `{}` only. Leave --audience (the action's input audience) \
                 out, or correct --index",
                shown(aud),
                self.index.name(),
                shown(expected)
            )));
        }
        causes
    }

    /// What is wrong with the workflow, whatever is registered.
    fn causes_in_workflow(&self) -> Vec<Cause> {
        let is_target = self.claims.text("event_name").as_deref() == Some("pull_request_target");
        let target = is_target.then(|| self.pull_request_target());
        target.into_iter().chain(self.runs_elsewhere().map(|called| self.called_elsewhere(&called))).collect()
    }

    /// The same, and a called file, which has to be the one that is registered.
    fn workflow(&self) -> Vec<Cause> {
        self.causes_in_workflow().into_iter().chain(self.called_file()).collect()
    }

    /// The workflow that the job runs in, if that is another repository's.
    fn runs_elsewhere(&self) -> Option<String> {
        let (called, repository) = (self.claims.text("job_workflow_ref")?, self.claims.text("repository")?);
        let is_own = workflow_repository(&called).is_some_and(|of| of.eq_ignore_ascii_case(&repository));
        (!is_own).then_some(called)
    }

    fn pull_request_target(&self) -> Cause {
        let index = self.index.name();
        certain(format!(
            "the workflow was started by pull_request_target, and {index} takes no job that was: anybody who opens a pull \
             request can steer it. Publish from a workflow that starts on a push of a tag, on a release, or by \
             workflow_dispatch"
        ))
    }

    fn called_elsewhere(&self, called: &str) -> Cause {
        certain(format!(
            "the job runs in a reusable workflow of another repository, {}, and {} can't match such a job to a publisher. Call \
             that workflow to build, if you like, but put the job that mints and uploads into a workflow file of your own \
             repository, and register that file",
            shown(called),
            self.index.name()
        ))
    }

    fn called_file(&self) -> Option<Cause> {
        let file = |claim| workflow_file(self.claims, claim).map(|file| shown(&file));
        let (called, caller) = (file("job_workflow_ref")?, file("workflow_ref")?);
        self.claims.text("repository").filter(|_| called != caller && self.runs_elsewhere().is_none())?;
        let text = format!(
            "the job runs in {called}, a reusable workflow that {caller} calls, and the called file is the one that counts: \
             Workflow name has to be {called}. Or put the job that mints and uploads into {caller} itself and register that. It \
             is the safer way: attestations name {caller}, so an upload from {called} may still be refused"
        );
        Some(certain(text).in_form())
    }

    fn claim(&self, name: &str, is_missing: bool) -> Cause {
        let index = self.index.name();
        if name == "sub" && !is_missing {
            return certain(format!(
                "a publisher was found, and only the claim sub is not what {index} expects: `{}`. Your organisation or \
                 repository has a customised subject for its ID tokens. Have its administrators set it back to GitHub's default \
                 (GitHub's documentation: \"Customizing the token claims\")",
                self.shown("sub")
            ));
        }
        let what = match (is_missing, self.claims.text(name)) {
            (true, _) => "missing from the ID token".to_owned(),
            (false, Some(value)) => format!("not what {index} expects: `{}`", shown(&value)),
            (false, None) => format!("not what {index} expects"),
        };
        let name = shown(name);
        certain(format!("a publisher was found, and only the claim {name} is {what}. Nothing else has to be changed"))
    }

    fn other_ref(&self, expected: &str, got: &str) -> Cause {
        certain(format!(
            "a publisher was found, and only the workflow's file does not come from where the job does: {} expects {}, and the \
             job's is {}. Call the workflow by its path (`uses: ./.github/workflows/…`), so that both come from one commit, or \
             put the job into the calling file",
            self.index.name(),
            shown(expected),
            shown(got)
        ))
    }

    fn owner_id(&self) -> Cause {
        let id = self.claims.text("repository_owner_id").unwrap_or_else(|| "the job has".to_owned());
        certain(format!(
            "a publisher was found, and only the owner ID that was stored with it is another one than {}: {RENEWED}",
            shown(&id)
        ))
        .in_form()
    }

    fn not_registered(&self) -> String {
        if self.index.is_testpypi() {
            return "nothing is registered for this job on TestPyPI, which has accounts and publishers of its own: a publisher on \
                    PyPI does not count here. Register it on TestPyPI, too"
                .to_owned();
        }
        format!(
            "no publisher is registered for this job on {}. It was never added, or it was added on another index (TestPyPI has \
             publishers of its own), or it was a pending one, which is gone once it was used or refused. Add it",
            self.index.name()
        )
    }

    /// The first line says it all; the others are a field each.
    fn field_differs(&self) -> String {
        let form = Form::of(self.claims);
        let mut text = format!(
            "one of the publisher's fields on {} differs from this job. Compare them letter by letter{}",
            self.index.name(),
            if form.provider == Provider::GitHub { ":" } else { " with the list above" }
        );
        if form.provider != Provider::GitHub {
            return text;
        }
        for field in form.fields {
            let line = match (field.name, field.value.map(|value| shown(&value))) {
                ("Workflow name", Some(value)) => {
                    format!("{value}, the file's name alone; .yml is not .yaml. Was the file renamed?")
                }
                (ENVIRONMENT_NAME, Some(value)) => {
                    format!("{value}, if the publisher names one. One that names none matches this job, too")
                }
                (ENVIRONMENT_NAME, None) => {
                    "the job has no environment. If the publisher names one, add `environment:` with \
                                             that name to the job"
                        .to_owned()
                }
                (_, Some(value)) => format!("{value}. Was it renamed, or the repository moved?"),
                (_, None) => continue,
            };
            text.push_str(&format!("\n{}: {line}", field.name));
        }
        if let Some(id) = self.claims.text("repository_owner_id") {
            text.push_str(&format!(
                "\nIf every field agrees, what differs is the owner ID, here {}: {RENEWED}",
                shown(&id)
            ));
        }
        text
    }

    /// How PyPI matches a GitHub job, for whoever fills in the form.
    fn matching(&self) -> String {
        let environment = match self.claims.text("environment") {
            Some(_) => "A publisher that names no environment takes any job of that file, so naming one is safer",
            None => "A publisher that names an environment would not match: the job has none",
        };
        format!(
            "{} compares owner, repository and environment whatever their case, the workflow's file name letter by letter, and \
             the owner ID. {environment}",
            self.index.name()
        )
    }

    /// This job's values for the publisher form, and what counts beside them.
    fn rows(&self) -> Vec<(String, String)> {
        let form = Form::of(self.claims);
        let mut rows: Vec<(String, String)> = vec![];
        for field in &form.fields {
            let value = match (&field.value, field.name) {
                (Some(value), _) => shown(value),
                (None, ENVIRONMENT_NAME) => "(none: leave it empty)".to_owned(),
                (None, _) => "(not in the ID token)".to_owned(),
            };
            rows.push((field.name.to_owned(), value));
        }
        match form.provider {
            Provider::GitHub => rows.push(("owner ID".to_owned(), self.shown("repository_owner_id"))),
            Provider::GitLab | Provider::Google => {}
            Provider::Other => {
                let claims = self.claims.iter().filter(|(name, _)| *name != "jti").take(MAX_CLAIMS);
                rows.extend(claims.map(|(name, value)| (shown(name), shown(value))));
            }
        }
        if form.provider != Provider::Other {
            rows.push(("issuer".to_owned(), self.shown("iss")));
        }
        rows.push(("index".to_owned(), self.index.to_string()));
        rows
    }

    /// Where the publisher is registered, on the indexes whose pages are known; nothing where that would not help.
    fn link(&self, causes: &[Cause], project_exists: bool) -> Option<Link> {
        let origin = self.index.site()?;
        let form = Form::of(self.claims);
        if form.provider == Provider::Other || !causes.iter().any(|cause| cause.needs_form) {
            return None;
        }
        let (what, address) = match self.project {
            None if project_exists => (
                "your projects; the page of this one has a page Publishing".to_owned(),
                format!("{origin}/manage/projects/"),
            ),
            Some(project) => (
                format!("the page of {project} with the form filled in (it adds a publisher; check what is there first)"),
                form.address(origin, project)?,
            ),
            None => (
                "for a project that does not exist yet; for one that does, its page Manage → Publishing (with --project NAME, \
                 or TOKEN_MINT_PROJECT, you get a link with the form filled in)"
                    .to_owned(),
                format!("{origin}/manage/account/publishing/"),
            ),
        };
        Some(Link { what, address })
    }

    /// A claim, fit to be shown.
    fn shown(&self, name: &str) -> String {
        shown(&self.claims.text(name).unwrap_or_default())
    }
}

impl Cause {
    fn in_form(self) -> Cause {
        Cause { needs_form: true, ..self }
    }
}

fn certain(text: impl Into<String>) -> Cause {
    Cause { is_certain: true, text: text.into(), needs_form: false }
}

fn possible(text: impl Into<String>) -> Cause {
    Cause { is_certain: false, ..certain(text) }
}

fn shown(text: &str) -> String {
    neutralise(text, MAX_CLAIM_CHARS)
}

/// `The job_workflow_ref claim does not match, expecting one of ['…', '…'], got '…'`
fn mismatched_workflow_ref(description: &str) -> Option<(String, String)> {
    let rest = description.split_once("job_workflow_ref claim does not match, expecting one of ")?.1;
    let (expected, got) = rest.split_once(", got ")?;
    Some((quoted(expected)?, quoted(got)?))
}

fn quoted_after(text: &str, words: &str) -> Option<String> {
    quoted(text.split_once(words)?.1)
}

/// What stands between the first two quotation marks.
fn quoted(text: &str) -> Option<String> {
    text.split('\'').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let audience = index.known_audience();
        let job = Job { claims: &claims, index: &index, audience: audience.as_deref(), project, now_unix_secs: NOW };
        let reasons = reasons.iter().map(reason).collect();
        let hints = vec!["unknown".to_owned()];
        let mut explanation = Explanation { reasons, hints, ..Explanation::default() };
        explain_refusal(&mut explanation, &job);
        explanation
    }

    /// The causes that PyPI's refusal leads to: `!` before what is certain, `?` before a guess.
    fn causes(changes: &[&str], code: &str, description: &str) -> Vec<String> {
        marked(refused_by("pypi", claims(changes), code, description).causes)
    }

    fn marked(causes: Vec<Cause>) -> Vec<String> {
        causes.iter().map(|cause| format!("{}{}", if cause.is_certain { '!' } else { '?' }, cause.text)).collect()
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

    #[test]
    fn a_called_file_of_the_same_repository_comes_before_the_guesses() {
        let called = r#"job_workflow_ref="Octo-Org/octo-repo/.github/workflows/_publish.yaml@refs/heads/x.yml@y""#;
        let causes = causes(&[called], "invalid-publisher", NOT_FOUND);
        assert_causes(&causes, &["!Workflow name has to be _publish.yaml", "?differs", "?no publisher"]);
        assert!(causes[0].contains("release.yml") && causes[1].contains("Workflow name: _publish.yaml"), "{causes:#?}");
    }

    #[test]
    fn where_nothing_is_proven_the_fields_come_first_and_are_named() {
        let causes = causes(&[], "invalid-publisher", NOT_FOUND);
        assert_causes(&causes, &["?differs from this job", "?no publisher is registered"]);
        for piece in [
            "Owner: octo-org",
            "Repository name: octo-repo",
            "Workflow name: release.yml,",
            "name: pypi, if",
            "owner ID, here 65432100: the repository was moved",
        ] {
            assert!(causes[0].contains(piece), "{piece}: {causes:#?}");
        }
        let older = "valid token, but no corresponding publisher (All lookup strategies exhausted)";
        assert_eq!(self::causes(&[], "invalid-publisher", older), causes);
    }

    #[test]
    fn a_job_without_an_environment_is_told_what_it_may_lack() {
        let causes = causes(&["environment"], "invalid-publisher", NOT_FOUND);
        assert!(
            causes[0].contains("the job has no environment. If the publisher names one, add `environment:`"),
            "{causes:#?}"
        );
        let explanation = refused_by("pypi", claims(&["environment"]), "invalid-publisher", NOT_FOUND);
        let row = explanation.job.iter().find(|(name, _)| name == "Environment name").unwrap();
        assert_eq!(row.1, "(none: leave it empty)");
    }

    #[test]
    fn a_first_run_and_testpypi_are_most_likely_not_registered() {
        let first = causes(&["run_number=\"1\""], "invalid-publisher", NOT_FOUND);
        assert_causes(&first, &["?no publisher is registered", "?differs"]);
        let claims = claims(&["aud=\"testpypi\""]);
        let testpypi = refused_by("testpypi", claims, "invalid-publisher", NOT_FOUND);
        let Link { what, address } = testpypi.link.unwrap();
        assert!(
            what.contains("sampleproject") && address.starts_with("https://test.pypi.org/manage/project/"),
            "{address}"
        );
        assert_causes(&marked(testpypi.causes), &["?a publisher on PyPI does not count here", "?differs"]);
    }

    #[test]
    fn a_claim_that_the_index_names_is_the_only_cause() {
        let why = |why: &str| format!("valid token, but no corresponding publisher ({why})");
        let sub = why("Check failed for required claim 'sub'");
        assert_causes(
            &causes(&["sub=\"org-custom:x\"", "environment"], "invalid-publisher", &sub),
            &["!customised subject"],
        );
        for (words, piece) in [
            ("Missing claim 'job_workflow_ref'", "!job_workflow_ref is missing"),
            (
                "Check failed for required claim 'event_name'",
                "!only the claim event_name is not what PyPI expects: `push`",
            ),
            (
                "Check failed for optional claim 'environment'",
                "!only the claim environment is not what PyPI expects: `pypi`",
            ),
            (
                "Check failed for required claim 'repository_owner_id'",
                "!only the owner ID that was stored with it is another one than 65432100",
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
        assert_causes(&causes(&[], "invalid-publisher", &claim), &["!only the claim job_workflow_ref is not what"]);
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
    fn pull_request_target_is_a_cause_whatever_else_is() {
        let causes = causes(&["event_name=\"pull_request_target\""], "invalid-publisher", NOT_FOUND);
        assert_causes(&causes, &["!started by pull_request_target", "?differs", "?no publisher"]);
    }

    #[test]
    fn a_token_that_could_not_be_verified_is_looked_at() {
        let words = "malformed or invalid token";
        assert_causes(&causes(&["exp=1789999999"], "invalid-token", words), &["!valid until 2026-09-21 14:13:19 UTC"]);
        assert_causes(
            &causes(&["aud=\"testpypi\""], "invalid-token", words),
            &["!for the audience \"testpypi\", and PyPI takes `pypi`"],
        );
        assert_causes(&causes(&[], "invalid-token", words), &["?could not verify the ID token"]);
        let elsewhere = refused_by("https://example.org", claims(&["aud=\"x\""]), "invalid-token", words);
        assert_causes(&marked(elsewhere.causes), &["?https://example.org could not verify"]);
    }

    #[test]
    fn the_other_codes_have_a_cause_each() {
        let issuer = r#"iss="https://token.actions.githubusercontent.com/big-corp""#;
        for (changes, code, description, piece) in [
            (
                &[][..],
                "invalid-pending-publisher",
                "valid token, but project already exists",
                "!that project exists by now",
            ),
            (&[], "invalid-reuse-token", "invalid token: already used", "!can be exchanged once"),
            (
                &[issuer],
                "invalid-payload",
                "unknown trusted publishing issuer",
                "!githubusercontent.com/big-corp. PyPI takes",
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
        assert_causes(&causes, &["!switched trusted publishing off", "?differs", "?no publisher"]);
    }

    #[test]
    fn an_enterprises_own_issuer_is_still_github() {
        let issuer = r#"iss="https://token.actions.githubusercontent.com/big-corp""#;
        let explanation = refused_by("pypi", claims(&[issuer]), "invalid-payload", "unknown trusted publishing issuer");
        assert_eq!(explanation.job[0], ("Owner".to_owned(), "octo-org".to_owned()));
        let another = r#"iss="https://token.actions.githubusercontent.com.evil.example""#;
        let explanation =
            refused_by("pypi", claims(&[another]), "invalid-payload", "unknown trusted publishing issuer");
        assert_ne!(explanation.job[0].0, "Owner");
    }

    #[test]
    fn of_absurdly_many_claims_some_are_shown() {
        let many: Vec<String> = (0..1000).map(|n| format!("\"claim{n}\": {n}")).collect();
        let claims = Claims::from(&format!("{{{}}}", many.join(","))[..]);
        assert!(refused_by("pypi", claims, "invalid-publisher", NOT_FOUND).job.len() <= MAX_CLAIMS + 1);
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
        let rows = refused_by("pypi", claims(&[no_file, "repository_owner"]), "invalid-publisher", NOT_FOUND).job;
        for name in ["Owner", "Workflow name"] {
            assert!(rows.contains(&(name.to_owned(), "(not in the ID token)".to_owned())), "{rows:?}");
        }
    }

    #[test]
    fn gitlab_google_and_others_are_shown_in_their_own_words() {
        let gitlab = r#"{"iss":"https://gitlab.com","aud":"pypi","project_path":"group/sub/project",
            "ci_config_ref_uri":"gitlab.com/group/sub/project//ci/release.yml@refs/heads/main","sub":"x"}"#;
        let explanation = refused_by("pypi", Claims::from(gitlab), "invalid-publisher", NOT_FOUND);
        let rows: Vec<String> = explanation.job.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            rows[..4],
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
        assert_causes(&marked(explanation.causes), &["?differs from this job", "?no publisher"]);

        let google = r#"{"iss":"https://accounts.google.com","email":"a@b.iam.gserviceaccount.com","sub":"123"}"#;
        let rows = refused_by("pypi", Claims::from(google), "invalid-publisher", NOT_FOUND).job;
        assert_eq!(rows[0], ("Email".to_owned(), "a@b.iam.gserviceaccount.com".to_owned()));
        assert_eq!(rows[1], ("Subject".to_owned(), "123".to_owned()));

        let other = r#"{"iss":"https://agent.buildkite.com","jti":"secretish","n":1,"o":{"a":[true]}}"#;
        let rows = refused_by("pypi", Claims::from(other), "invalid-publisher", NOT_FOUND).job;
        let rows: Vec<String> = rows.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            rows,
            ["iss=\"https://agent.buildkite.com\"", "n=1", "o={\"a\":[true]}", "index=PyPI (https://pypi.org)"]
        );
    }

    #[test]
    fn claims_are_explained_before_anything_is_asked() {
        let index = Index::parse("pypi").unwrap();
        let explained = |claims: &Claims| {
            let project = Some("sampleproject");
            explain_claims(&Job { claims, index: &index, audience: Some("pypi"), project, now_unix_secs: NOW })
        };
        let fine = explained(&claims(&[]));
        assert!(fine.fact.contains("lets this job publish to PyPI") && fine.causes.is_empty(), "{fine:?}");
        assert!(fine.link.unwrap().address.contains("workflow_filename=release.yml"));
        let called = r#"job_workflow_ref="octo-org/octo-repo/.github/workflows/called.yml@refs/heads/main""#;
        let target = r#"event_name="pull_request_target""#;
        let called_only = explained(&claims(&[called]));
        assert!(called_only.fact.contains("lets this job publish"), "{called_only:?}");
        assert_causes(&marked(called_only.causes), &["!has to be called.yml"]);
        let refused = explained(&claims(&[called, target]));
        assert!(refused.fact.contains("PyPI would refuse this job"), "{refused:?}");
        assert_causes(&marked(refused.causes), &["!pull_request_target", "!has to be called.yml"]);
    }
}
