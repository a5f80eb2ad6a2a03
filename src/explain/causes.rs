//! Why the index said no: what its words and the ID token's claims prove, and what they leave to guess.
//!
//! How the index matches, and what it says when it does not: pypi/warehouse, `warehouse/oidc/models/_core.py` and
//! `github.py`. It looks a publisher up by owner, owner id, repository, workflow file and environment; only what it has
//! found it checks claim by claim, and then it names the claim.

use crate::claims::Claims;
use crate::error::{Reason, Refusal};
use crate::explain::publisher_form::{workflow_file, workflow_repository};
use crate::index::Index;

/// A cause of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// False: it is a guess, and findings stand in the order of their likelihood.
    pub certain: bool,
    pub cause: Cause,
}

/// What there is to say of a refusal, or of a job that would be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The job was started by `pull_request_target`.
    PullRequestTarget,
    /// The job runs in a reusable workflow of another repository.
    CalledElsewhere { called: String },
    /// The job runs in a reusable workflow of the same repository: the called file counts.
    CalledFile { called: String, caller: String },
    /// A publisher was found, and this claim alone is at fault.
    Claim { name: String, missing: bool },
    /// A publisher was found, and the workflow's file is not where it has to be.
    WorkflowRef { expected: String, got: String },
    /// One of the publisher's fields differs from the job, or the owner's number that was stored with them.
    FieldDiffers,
    /// No publisher is registered on this index, or no more.
    NotRegistered,
    /// A publisher was found, and has the number of an earlier owner.
    OwnerId,
    /// A pending publisher names a project that exists.
    ProjectExists,
    /// The ID token was exchanged before.
    Spent,
    /// The ID token's time is up.
    Expired,
    /// The ID token is for another audience.
    Audience { expected: String },
    /// The index takes no ID tokens of this issuer.
    Issuer { issuer: String },
    /// The ID token's claims give no reason, so what is left is its signature, or the index's settings.
    Signature,
    /// Trusted publishing is switched off, wholly or for this CI system.
    SwitchedOff,
}

/// The job whose ID token was refused.
pub struct Job<'a> {
    pub claims: &'a Claims,
    pub index: &'a Index,
    /// The audience that the index takes, as far as it is known.
    pub audience: Option<&'a str>,
    pub now_unix_secs: u64,
}

/// What is behind a refusal; nothing, where the index's reasons are not known.
pub fn of_refusal(refusal: &Refusal, job: &Job) -> Vec<Finding> {
    let mut findings = Vec::new();
    for reason in &refusal.reasons {
        for finding in of_reason(reason, job) {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings.sort_by_key(|finding| !finding.certain);
    findings
}

/// What the claims alone prove, before the index is asked: what it would refuse, whatever is registered there.
pub fn of_claims(job: &Job) -> Vec<Finding> {
    [of_token(job), of_workflow(job)].concat()
}

fn of_reason(Reason { code, description }: &Reason, job: &Job) -> Vec<Finding> {
    match code.as_str() {
        "invalid-publisher" => no_publisher(description, job),
        "invalid-pending-publisher" => vec![certain(Cause::ProjectExists)],
        "invalid-reuse-token" => vec![certain(Cause::Spent)],
        "invalid-token" => match of_token(job) {
            findings if findings.is_empty() => vec![Finding { certain: false, cause: Cause::Signature }],
            findings => findings,
        },
        "invalid-payload" if description.contains("unknown trusted publishing issuer") => {
            let issuer = job.claims.text("iss").unwrap_or_default();
            vec![certain(Cause::Issuer { issuer })]
        }
        "not-enabled" => vec![certain(Cause::SwitchedOff)],
        _ => vec![],
    }
}

fn no_publisher(description: &str, job: &Job) -> Vec<Finding> {
    if description.contains("pull_request_target") {
        return vec![certain(Cause::PullRequestTarget)];
    }
    // A publisher was found: one claim is at fault, and nothing else is.
    if let Some((expected, got)) = mismatched_workflow_ref(description) {
        return match workflow_repository(&expected) == workflow_repository(&got) {
            true => vec![certain(Cause::WorkflowRef { expected, got })],
            false => vec![certain(Cause::CalledElsewhere { called: got })],
        };
    }
    let missing = quoted_after(description, "Missing claim ");
    let failed = quoted_after(description, "Check failed for required claim ")
        .or_else(|| quoted_after(description, "Check failed for optional claim "));
    match (missing, failed) {
        (Some(name), _) => return vec![certain(Cause::Claim { name, missing: true })],
        (None, Some(name)) if name == "repository_owner_id" => return vec![certain(Cause::OwnerId)],
        (None, Some(name)) if name == "job_workflow_ref" && !of_workflow(job).is_empty() => return of_workflow(job),
        (None, Some(name)) => return vec![certain(Cause::Claim { name, missing: false })],
        (None, None) => {}
    }
    let mut findings = of_workflow(job);
    // A called workflow elsewhere can't be matched, so nothing is left to guess.
    if !findings.iter().any(|finding| matches!(finding.cause, Cause::CalledElsewhere { .. })) {
        findings.extend(guesses(job).into_iter().map(|cause| Finding { certain: false, cause }));
    }
    findings
}

/// What may be the reason that nothing matched, likeliest first.
fn guesses(job: &Job) -> Vec<Cause> {
    // The first run of a workflow, as GitHub counts them: nothing was registered yet, more often than not. TestPyPI's
    // publishers are other than PyPI's, and few know.
    let first_run = job.claims.text("run_number").as_deref() == Some("1");
    match first_run || job.index.is_testpypi() {
        true => vec![Cause::NotRegistered, Cause::FieldDiffers],
        false => vec![Cause::FieldDiffers, Cause::NotRegistered],
    }
}

/// What is wrong with the ID token, whatever is registered.
fn of_token(job: &Job) -> Vec<Finding> {
    let mut findings = Vec::new();
    if job.claims.unix_secs("exp").is_some_and(|expires| expires < job.now_unix_secs) {
        findings.push(certain(Cause::Expired));
    }
    if let Some(expected) = job.audience.filter(|audience| !job.claims.has_audience(audience)) {
        findings.push(certain(Cause::Audience { expected: expected.to_owned() }));
    }
    findings
}

/// What is wrong with the workflow, whatever is registered.
fn of_workflow(job: &Job) -> Vec<Finding> {
    let claims = job.claims;
    let mut findings = Vec::new();
    if claims.text("event_name").as_deref() == Some("pull_request_target") {
        findings.push(certain(Cause::PullRequestTarget));
    }
    let (Some(called), Some(repository)) = (claims.text("job_workflow_ref"), claims.text("repository")) else {
        return findings;
    };
    if !workflow_repository(&called).is_some_and(|of| of.eq_ignore_ascii_case(&repository)) {
        findings.push(certain(Cause::CalledElsewhere { called }));
    } else if let (Some(called), Some(caller)) =
        (workflow_file(claims, "job_workflow_ref"), workflow_file(claims, "workflow_ref"))
        && called != caller
    {
        findings.push(certain(Cause::CalledFile { called, caller }));
    }
    findings
}

fn certain(cause: Cause) -> Finding {
    Finding { certain: true, cause }
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
