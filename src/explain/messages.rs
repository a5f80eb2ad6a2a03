//! What is said of a failure: what it means and what to do. All of the program's prose for that is here.
//!
//! Rules of speech: the fact comes from `error.rs`; what is behind it is said outright where it is known, and called
//! a guess where it is one; each hint is one thing to know or to try. Plain words, no blame, no apology, and never a
//! step that makes the project less safe.

use crate::claims::Claims;
use crate::cli::SEE_HELP;
use crate::env::{REQUEST_TOKEN, REQUEST_URL};
use crate::error::{Error, HelperFlaw, Leg, SettingFlaw, Subject};
use crate::explain::causes::{self, Cause, Finding, Job};
use crate::explain::publisher_form::{ENVIRONMENT_NAME, Form, Provider};
use crate::identity::{self, GITHUB, GOOGLE};
use crate::index::Index;
use crate::net::http_error::HttpError;
use crate::net::url::UrlError;
use crate::text::neutralise;
use crate::time;

/// The most that is shown of one claim. Branch names may be long.
const MAX_CLAIM_CHARS: usize = 200;
/// Far more claims than an issuer ever made.
const MAX_CLAIMS: usize = 60;

const PERMISSION: &str = "\
give the job that publishes this permission, in the workflow's file:

    jobs:
      publish:
        permissions:
          id-token: write  # lets the job prove to PyPI who it is
          contents: read   # naming one permission drops the others, and checkout needs this one
";
const CALLED_WORKFLOW: &str = "in a workflow that another one calls, the calling job needs the permission, too";
const FORK: &str = "a pull request from a fork never gets it: publish from a push, a tag or a release instead";
const IS_FORK: &str = "this run is for a pull request from a fork, and such a run never gets an ID token, whatever its \
                       permissions are: anybody could publish by opening one. Publish from a push, a tag or a release \
                       of the repository itself, and leave this step out of pull requests: \
                       `if: github.event_name != 'pull_request'`";
const CONTAINER: &str = "with `docker run`, pass these on: -e GITHUB_ACTIONS -e ACTIONS_ID_TOKEN_REQUEST_URL -e \
                         ACTIONS_ID_TOKEN_REQUEST_TOKEN";
const OTHER_SYSTEM: &str = "that is not how this CI system issues an ID token: does the job run where it seems to?";
const METADATA: &str = "Google's metadata server is on every machine of Google Cloud, and nowhere else. With no service \
                        account attached, such a machine has no identity. Is GOOGLE_SERVICE_ACCOUNT_NAME set elsewhere by \
                        mistake?";
const SERVICE_ACCOUNT: &str = "the account that the job runs as needs the role Service Account Token Creator for the account \
                               that GOOGLE_SERVICE_ACCOUNT_NAME names, and the project needs the IAM Service Account \
                               Credentials API";
const HELPER_MISSING: &str = "that program is the CI system's own, and is the only way to its ID tokens. In a container, put \
                              it in and pass the job's environment on; or have the job get the ID token, and name the \
                              variable with --id-token-env";
const HELPER_FAILED: &str = "what follows it are the program's own words. The CI system's documentation on OIDC says which jobs \
                             get ID tokens";
const ID_TOKEN_ENV: &str = "--id-token-env (TOKEN_MINT_ID_TOKEN_ENV) names the variable that the ID token is in. Where it is \
                            left out, the CI system is recognised";
const PROGRAM: &str = "nothing was minted. What follows -- is the program and its arguments, each by itself and not in quotes \
                       together; it is run without a shell. For pipes and the like: `-- sh -c '…'`";
const UNFIT_PROGRAM: &str =
    "nothing was minted. Have it, or its interpreter, installed in this job so that this user may run it";
const OTHER_INDEX: &str = "nothing was minted. Which of the two is meant? Correct --index, or unset the variable: token-mint \
                           tells the upload tool where to upload";
const PROXY: &str =
    "the variable is used as curl uses it: http://USER:PASSWORD@HOST:PORT. To go without a proxy, unset it";
const PROXY_CREDENTIALS: &str = "in https_proxy, they go in front of the host, percent-encoded: \
                                 http://USER:PASSWORD@HOST:PORT";
const PROXY_REFUSED: &str = "the proxy does not let this job connect to that server: ask whoever runs it, or put the server into \
                             no_proxy";
const BURN: &str = "pipe the API token in, or set TOKEN_MINT_API_TOKEN in the environment of this one command";
const STILL_VALID: &str = "the API token was not revoked: it stays valid until it expires (PyPI's, 15 minutes after they were \
                           minted). Try again";
const NOT_REVOKED: &str =
    "the API token may still be valid. Is it of this index (--index)? PyPI itself takes every request to revoke";
const NOT_ENABLED: &str = "trusted publishing is switched off on this index. Its operators can switch it on";
const NO_TRUSTED_PUBLISHING: &str = "what answers there knows no trusted publishing: an older or another kind of package \
                                     index, or none at all. Check --index; its operators know whether it could";
const NOT_AN_INDEX: &str = "that is not how a package index with trusted publishing answers: a web page, or another \
                            service? Check --index";
const AGAIN: &str = "nothing was handed over. This often passes: run the job again";
const CERTIFICATE: &str = "this build trusts the certificate authorities that Mozilla's Firefox trusts, and none of \
                           the system's. If a proxy of your organisation opens TLS connections, use a build of \
                           token-mint with `--no-default-features --features system-roots`";
const CERTIFICATE_SYSTEM: &str = "this build trusts the system's certificate authorities. SSL_CERT_FILE or \
                                  SSL_CERT_DIR names others";
const CLOCK: &str = "a clock that is wrong makes a good certificate look bad: check this machine's date";
const REDIRECT: &str = "redirects are not followed, so that no token reaches a server that was not named. Use the \
                        address that it redirects to, if you trust it";
const STEP_OUTPUT: &str = "GitHub's runner sets GITHUB_OUTPUT to a file for each step. In a container, that file has \
                           to be there, too. To have the API token on stdout instead, use --format token";
const ENDPOINT: &str = "that is not how GitHub's endpoint answers: is ACTIONS_ID_TOKEN_REQUEST_URL as the runner set \
                        it?";
const INDEX_NAME: &str = "write pypi or testpypi in lower case, or a whole URL such as https://example.org";
const UPLOAD_URL: &str = "name the URL that upload tools send to, or scheme and host alone: https://example.org";
const OTHER_REASON: &str = "the index's own documentation says what its reasons mean";
const ONE_VARIABLE: &str = "the other variable is there, so it was lost on the way to this process: pass both on";
const RENEWED: &str = "the repository was moved, or the owner's account was made anew, since the publisher was added. A \
                       stray blank in one of the publisher's fields looks the same. For both: delete the publisher and \
                       add it again";
const MASKS: &str = "nothing was handed over. In a GitHub job, leave stderr to the log, and it hides the tokens: for less of it, use \
                     --quiet, not 2>/dev/null";
const LOST: &str = "an API token was minted, but it could not be handed over. It was not used";

/// Everything that is said of a failure, or of an identity. Text from outside in it stays on one line: see `os/log.rs`.
#[derive(Debug, Default)]
pub struct Explanation {
    /// What happened.
    pub fact: String,
    /// What follows the fact line by line: the reasons that the index gives.
    pub reasons: Vec<String>,
    /// The job in the words of the index's form: names and values.
    pub identity: Vec<(String, String)>,
    /// What is behind it; false: a guess, likeliest first.
    pub causes: Vec<(bool, String)>,
    /// What to know or to try.
    pub hints: Vec<String>,
    /// Where to go: what for, and the address.
    pub link: Option<(String, String)>,
}

/// The explanation of an error.
pub fn explain(error: &Error) -> Explanation {
    let mut explanation = Explanation {
        fact: error.to_string(),
        hints: hints(error).into_iter().map(str::to_owned).collect(),
        ..Explanation::default()
    };
    match error {
        Error::NoGitLabToken { variable, audience } => explanation.hints.push(gitlab_job(variable, audience)),
        Error::Usage(error) => explanation.hints.push(error.hint.clone()),
        Error::NoIdentity => explanation.hints.insert(0, known_systems()),
        Error::TokenOfOtherIndex { other, .. } => explanation.hints.push(right_index(other)),
        _ => {}
    }
    if let Error::Refused { refusal, .. } = error {
        explanation.reasons = refusal.reasons();
    }
    if let Error::Refused { index, leg: Leg::Mint, refusal, subject } = error {
        if let Some(Subject { claims, audience, project, now_unix_secs }) = subject.as_deref() {
            let job = Job { claims, index, audience: audience.as_deref(), now_unix_secs: *now_unix_secs };
            let findings = causes::of_refusal(refusal, &job);
            explanation.identity = identity(claims, index);
            explanation.link = link(&findings, &job, project.as_deref());
            explanation.causes = causes(&findings, &job);
        }
        if !explanation.causes.is_empty() {
            explanation.hints.clear(); // each cause says what to do
        }
    }
    explanation
}

/// The explanation of an identity, before anything is asked of the index: `token-mint claims`.
pub fn explain_claims(job: &Job, project: Option<&str>) -> Explanation {
    let findings = causes::of_claims(job);
    let name = job.index.name();
    // A called file can be registered; whatever else the claims prove, the index refuses.
    let fact = match findings.iter().all(|finding| matches!(finding.cause, Cause::CalledFile { .. })) {
        true => format!("a publisher with these values lets this job publish to {name}"),
        false => format!("{name} would refuse this job"),
    };
    let all = Finding { certain: false, cause: Cause::NotRegistered };
    let mut hints = vec![];
    if Form::of(job.claims).provider == Provider::GitHub {
        hints.push(matching(job));
    }
    hints.push(format!("nothing was asked of {name}: whether such a publisher is registered there was not looked up"));
    Explanation {
        fact,
        identity: identity(job.claims, job.index),
        causes: causes(&findings, job),
        hints,
        link: link(&[findings, vec![all]].concat(), job, project),
        ..Explanation::default()
    }
}

/// How PyPI matches a GitHub job, for whoever fills in the form.
fn matching(job: &Job) -> String {
    let environment = match job.claims.text("environment") {
        Some(_) => "A publisher that names no environment takes any job of that file, so naming one is safer",
        None => "A publisher that names an environment would not match: the job has none",
    };
    format!(
        "{} compares owner, repository and environment whatever their case, the workflow's file name letter by letter, \
         and the owner's number. {environment}",
        job.index.name()
    )
}

fn hints(error: &Error) -> Vec<&'static str> {
    match error {
        Error::Setting { flaw: SettingFlaw::Index(UrlError::UserInfo), .. } => {
            vec!["trusted publishing needs no user and no password"]
        }
        Error::Setting { flaw: SettingFlaw::Index(UrlError::NotAbsolute), .. } => vec![INDEX_NAME],
        Error::Setting { flaw: SettingFlaw::InstallerUrl, .. } => vec![UPLOAD_URL],
        Error::Setting { flaw: SettingFlaw::OtherIndex { .. }, .. } => vec![OTHER_INDEX],
        Error::Setting { flaw: SettingFlaw::Proxy(_), .. } => vec![PROXY],
        Error::Setting { .. } => vec![SEE_HELP],
        Error::NoIdentity => vec![CONTAINER],
        Error::NoIdTokenIn { .. } => vec![ID_TOKEN_ENV],
        Error::NoProgram { .. } => vec![PROGRAM],
        Error::UnfitProgram { .. } => vec![UNFIT_PROGRAM],
        Error::NoApiToken => vec![BURN],
        Error::Helper { flaw: HelperFlaw::Start(_), .. } => vec![HELPER_MISSING],
        Error::Helper { flaw: HelperFlaw::Failed { .. }, .. } => vec![HELPER_FAILED],
        Error::Helper { flaw: HelperFlaw::TimedOut(_), .. } => vec![AGAIN],
        Error::Helper { flaw: HelperFlaw::Token(_), .. } => vec![OTHER_SYSTEM],
        Error::NoPermission { fork: true, .. } => vec![IS_FORK],
        Error::NoPermission { missing: REQUEST_URL | REQUEST_TOKEN, .. } => vec![ONE_VARIABLE, CONTAINER, PERMISSION],
        Error::NoPermission { .. } => vec![PERMISSION, CALLED_WORKFLOW, FORK, CONTAINER],
        Error::IdentityRefused { system: GITHUB, .. } => vec![PERMISSION],
        Error::IdentityRefused { system: GOOGLE, .. } => vec![SERVICE_ACCOUNT],
        Error::IdentityRefused { .. } => vec![OTHER_SYSTEM],
        Error::Refused { leg: Leg::Burn, .. } => vec![NOT_REVOKED],
        Error::Refused { leg: Leg::Mint, refusal, .. } if !refusal.reasons.is_empty() => vec![OTHER_REASON],
        Error::Refused { leg: Leg::Audience, refusal, .. } if refusal.status == 403 => vec![NOT_ENABLED],
        Error::Refused { refusal, .. } if refusal.status == 404 => vec![NO_TRUSTED_PUBLISHING],
        Error::Refused { .. } => vec![NOT_AN_INDEX],
        Error::Exchange { error: HttpError::Certificate(_), .. } => {
            vec![if cfg!(feature = "system-roots") { CERTIFICATE_SYSTEM } else { CERTIFICATE }, CLOCK]
        }
        Error::Exchange { leg: Leg::Burn, .. } | Error::Status { leg: Leg::Burn, .. } => vec![STILL_VALID],
        Error::Exchange { error: HttpError::ProxyCredentials, .. } => vec![PROXY_CREDENTIALS],
        Error::Exchange { error: HttpError::ProxyRefused(_), .. } => vec![PROXY_REFUSED],
        // The metadata server is the one without TLS.
        Error::Exchange { leg: Leg::IdToken(GOOGLE), server, .. } if server.starts_with("http:") => {
            vec![METADATA, AGAIN]
        }
        Error::Status { leg: Leg::IdToken(GOOGLE), server, status: 404, .. } => {
            vec![if server.starts_with("http:") { METADATA } else { SERVICE_ACCOUNT }]
        }
        Error::Status { status: 301 | 302 | 303 | 307 | 308, .. } => vec![REDIRECT],
        Error::Status { status: 408 | 429 | 500..=599, .. } | Error::Exchange { .. } => vec![AGAIN],
        Error::Status { leg: Leg::IdToken(GITHUB), .. } => vec![ENDPOINT],
        Error::Status { leg: Leg::IdToken(_), .. } | Error::Claims => vec![OTHER_SYSTEM],
        Error::Status { .. } => vec![NOT_AN_INDEX],
        Error::Reply { leg: Leg::IdToken(GITHUB), .. } => vec![ENDPOINT, AGAIN],
        Error::Reply { leg: Leg::IdToken(_), .. } => vec![OTHER_SYSTEM, AGAIN],
        Error::Reply { .. } => vec![NOT_AN_INDEX, AGAIN],
        Error::NoStepOutputFile | Error::OpenStepOutput { .. } => vec![STEP_OUTPUT],
        Error::StepOutput { .. } | Error::Stdout(_) | Error::StartProgram { .. } => vec![LOST],
        Error::NoStderr | Error::Mask(_) => vec![MASKS],
        Error::NoGitLabToken { .. } | Error::TokenOfOtherIndex { .. } | Error::Usage(_) => vec![],
        Error::NoStdout | Error::Print(_) | Error::Signal(_) => vec![],
    }
}

fn known_systems() -> String {
    format!(
        "run it in a CI job: on a machine of your own there is no identity to show. A CI system is recognised by a variable: \
         {}. Where another system gives the job an ID token, and the index takes \
         it, put it in a variable and name that with --id-token-env",
        identity::known_systems()
    )
}

fn right_index(index: &Index) -> String {
    let name = index.known_audience().unwrap_or_default();
    format!("nothing was sent. Name the index that minted it: --index {name}; in the action, index: {name}")
}

fn gitlab_job(variable: &str, audience: &str) -> String {
    format!(
        "declare it in the job that publishes, in .gitlab-ci.yml:

    publish:
      id_tokens:
        {variable}:
          aud: {audience}
"
    )
}

/// The job in the words of the form, and what counts beside it.
fn identity(claims: &Claims, index: &Index) -> Vec<(String, String)> {
    let form = Form::of(claims);
    let shown = |text: &str| neutralise(text, MAX_CLAIM_CHARS);
    let mut rows: Vec<(String, String)> = Vec::new();
    for field in &form.fields {
        let value = match (&field.value, field.name) {
            (Some(value), _) => shown(value),
            (None, ENVIRONMENT_NAME) => "(none: leave it empty)".to_owned(),
            (None, _) => "(not in the ID token)".to_owned(),
        };
        rows.push((field.name.to_owned(), value));
    }
    match form.provider {
        Provider::GitHub => {
            let number = claims.text("repository_owner_id").unwrap_or_default();
            rows.push(("the owner's number".to_owned(), shown(&number)));
        }
        Provider::Other => {
            let claims = claims.iter().filter(|(name, _)| *name != "jti").take(MAX_CLAIMS);
            rows.extend(claims.map(|(name, value)| (shown(name), shown(value))));
        }
        Provider::GitLab | Provider::Google => {}
    }
    if form.provider != Provider::Other {
        rows.push(("issuer".to_owned(), shown(&claims.text("iss").unwrap_or_default())));
    }
    rows.push(("index".to_owned(), index.to_string()));
    rows
}

fn causes(findings: &[Finding], job: &Job) -> Vec<(bool, String)> {
    findings.iter().map(|Finding { certain, cause }| (*certain, cause_text(cause, job))).collect()
}

fn cause_text(cause: &Cause, job: &Job) -> String {
    let index = job.index.name();
    let shown = |text: &str| neutralise(text, MAX_CLAIM_CHARS);
    match cause {
        Cause::PullRequestTarget => format!(
            "the workflow was started by pull_request_target, and {index} takes no job that was: anybody who opens a \
             pull request can steer it. Publish from a workflow that starts on a push of a tag, on a release, or by \
             workflow_dispatch"
        ),
        Cause::CalledElsewhere { called } => format!(
            "the job runs in a reusable workflow of another repository, {}, and {index} can't match such a job to a \
             publisher. Call that workflow to build, if you like, but put the job that mints and uploads into a workflow \
             file of your own repository, and register that file",
            shown(called)
        ),
        Cause::CalledFile { called, caller } => {
            let (called, caller) = (shown(called), shown(caller));
            format!(
                "the job runs in {called}, a reusable workflow that {caller} calls, and the called file is the one \
                 that counts: Workflow name has to be {called}. Or put the job that mints and uploads into {caller} \
                 itself and register that. It is the safer way: attestations name {caller}, so an upload from {called} may \
                 still be refused"
            )
        }
        Cause::Claim { name, missing } if name == "sub" && !missing => format!(
            "a publisher was found, and only the claim sub is not what {index} expects: `{}`. Your organisation or repository \
             has a customised subject for its ID tokens. Have its administrators set it back to GitHub's default \
             (GitHub's documentation: \"Customizing the token claims\")",
            shown(&job.claims.text("sub").unwrap_or_default())
        ),
        Cause::Claim { name, missing } => format!(
            "a publisher was found, and only the claim {} is {}. Nothing else has to be changed",
            shown(name),
            match (missing, job.claims.text(name)) {
                (true, _) => "missing from the ID token".to_owned(),
                (false, Some(value)) => format!("not what {index} expects: `{}`", shown(&value)),
                (false, None) => format!("not what {index} expects"),
            }
        ),
        Cause::WorkflowRef { expected, got } => format!(
            "a publisher was found, and only the workflow's file does not come from where the job does: {index} expects \
             {}, and the job's is {}. Call the workflow by its path (`uses: ./.github/workflows/…`), so that both come \
             from one commit, or put the job into the calling file",
            shown(expected),
            shown(got)
        ),
        Cause::FieldDiffers => field_differs(job),
        Cause::NotRegistered if job.index.is_testpypi() => "nothing is registered for this job on TestPyPI, which has \
             accounts and publishers of its own: a publisher on PyPI does not count here. Register it on TestPyPI, too"
            .to_owned(),
        Cause::NotRegistered => format!(
            "no publisher is registered for this job on {index}. It was never added, or it was added on another index \
             (TestPyPI has publishers of its own), or it was a pending one, which is gone once it was used or refused. \
             Add it"
        ),
        Cause::OwnerId => format!(
            "a publisher was found, and only the owner's number that was stored with it is another one than {}: {RENEWED}",
            shown(&job.claims.text("repository_owner_id").unwrap_or_else(|| "the job has".to_owned()))
        ),
        Cause::ProjectExists => format!(
            "the publisher is a pending one, which is to create a project, and that project exists by now. {index} has \
             deleted it with this refusal, so trying again will say that there is none. Add a publisher on the \
             project's own page. If the project is not yours, choose another name"
        ),
        Cause::Spent => {
            "an ID token can be exchanged once, and this one was. Run the job again: it gets a new one. If a \
             copy of the ID token was used elsewhere, find out by whom"
                .to_owned()
        }
        Cause::Expired => format!(
            "the ID token has expired: it was valid until {}. Run the job again: it gets a new one. If that does not \
             help, a clock is wrong",
            time::utc(job.claims.unix_secs("exp").unwrap_or_default())
        ),
        Cause::Audience { expected } => format!(
            "the ID token is for the audience {}, and {index} takes `{}` only. Leave --audience (the action's \
             input audience) out, or correct --index",
            job.claims.iter().find(|(name, _)| *name == "aud").map_or_else(|| "none".to_owned(), |(_, aud)| shown(aud)),
            shown(expected)
        ),
        Cause::Issuer { issuer } => format!(
            "{index} takes no ID tokens that were issued by {}. PyPI takes those of GitHub.com, GitLab.com, Google Cloud \
             and ActiveState; a GitHub Enterprise Server, or an enterprise with an issuer of its own, is none of them. \
             Publish from a CI system that the index takes",
            shown(issuer)
        ),
        Cause::Signature => format!(
            "{index} could not verify the ID token, though its audience and its time look right from here. It is not \
             for this index, or was changed on its way. Run the job again; if that does not help, check --index and \
             --audience"
        ),
        Cause::SwitchedOff => format!(
            "{index} has switched trusted publishing off, for now or for this CI system. Nothing in your project is wrong. \
             Its status page or its operators know more; run the job again later"
        ),
    }
}

/// The first line says it all; the others are a field each.
fn field_differs(job: &Job) -> String {
    let form = Form::of(job.claims);
    let mut text = format!(
        "one of the publisher's fields on {} differs from this job. Compare them letter by letter{}",
        job.index.name(),
        if form.provider == Provider::GitHub { ":" } else { " with the list above" }
    );
    if form.provider != Provider::GitHub {
        return text;
    }
    for field in form.fields {
        let value = field.value.map(|value| neutralise(&value, MAX_CLAIM_CHARS));
        let line = match (field.name, value) {
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
    if let Some(number) = job.claims.text("repository_owner_id") {
        let number = neutralise(&number, MAX_CLAIM_CHARS);
        text.push_str(&format!(
            "\nIf every field agrees, what differs is the owner's number, here {number}: {RENEWED}"
        ));
    }
    text
}

/// Where the publisher is registered, on the indexes whose pages are known; nothing where that would not help.
fn link(findings: &[Finding], job: &Job, project: Option<&str>) -> Option<(String, String)> {
    let origin = job.index.site()?;
    let form = Form::of(job.claims);
    let helps = |finding: &Finding| {
        matches!(
            finding.cause,
            Cause::FieldDiffers
                | Cause::NotRegistered
                | Cause::OwnerId
                | Cause::ProjectExists
                | Cause::CalledFile { .. }
        )
    };
    if form.provider == Provider::Other || !findings.iter().any(helps) {
        return None;
    }
    let exists = findings.iter().any(|finding| finding.cause == Cause::ProjectExists);
    Some(match project {
        None if exists => (
            "your projects; the page of this one has a page Publishing".to_owned(),
            format!("{origin}/manage/projects/"),
        ),
        Some(project) => (
            format!("the page of {project} with the form filled in (it adds a publisher; check what is there first)"),
            form.address(origin, project)?,
        ),
        None => (
            "for a project that does not exist yet; for one that does, its page Manage → Publishing (with --project \
             NAME, or TOKEN_MINT_PROJECT, you get a link with the form filled in)"
                .to_owned(),
            format!("{origin}/manage/account/publishing/"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Reason, Refusal};

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
        let reasons = reasons.iter().map(reason).collect();
        let refusal = Refusal { status: 422, words: None, reasons, unshown_reasons: 0 };
        let index = Index::parse(index).unwrap();
        let subject = Subject {
            claims,
            audience: index.known_audience(),
            project: project.map(str::to_owned),
            now_unix_secs: NOW,
        };
        explain(&Error::Refused {
            index: Box::new(index),
            leg: Leg::Mint,
            refusal: Box::new(refusal),
            subject: Some(Box::new(subject)),
        })
    }

    /// The causes that PyPI's refusal leads to: `!` before what is certain, `?` before a guess.
    fn causes(changes: &[&str], code: &str, description: &str) -> Vec<String> {
        marked(refused_by("pypi", claims(changes), code, description).causes)
    }

    fn marked(causes: Vec<(bool, String)>) -> Vec<String> {
        causes.iter().map(|(certain, cause)| format!("{}{cause}", if *certain { '!' } else { '?' })).collect()
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
            "number, here 65432100: the repository was moved",
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
        let row = explanation.identity.iter().find(|(name, _)| name == "Environment name").unwrap();
        assert_eq!(row.1, "(none: leave it empty)");
    }

    #[test]
    fn a_first_run_and_testpypi_are_most_likely_not_registered() {
        let first = causes(&["run_number=\"1\""], "invalid-publisher", NOT_FOUND);
        assert_causes(&first, &["?no publisher is registered", "?differs"]);
        let claims = claims(&["aud=\"testpypi\""]);
        let testpypi = refused_by("testpypi", claims, "invalid-publisher", NOT_FOUND);
        let (what, address) = testpypi.link.unwrap();
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
                "!only the owner's number that was stored with it is another one than 65432100",
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
        assert_eq!(explanation.identity[0], ("Owner".to_owned(), "octo-org".to_owned()));
        let another = r#"iss="https://token.actions.githubusercontent.com.evil.example""#;
        let explanation =
            refused_by("pypi", claims(&[another]), "invalid-payload", "unknown trusted publishing issuer");
        assert_ne!(explanation.identity[0].0, "Owner");
    }

    #[test]
    fn of_absurdly_many_claims_some_are_shown() {
        let many: Vec<String> = (0..1000).map(|n| format!("\"claim{n}\": {n}")).collect();
        let claims = Claims::from(&format!("{{{}}}", many.join(","))[..]);
        assert!(refused_by("pypi", claims, "invalid-publisher", NOT_FOUND).identity.len() <= MAX_CLAIMS + 1);
    }

    #[test]
    fn of_a_code_that_is_not_known_nothing_is_claimed() {
        for (code, description) in [("brand-new", "who knows"), ("invalid-payload", "token: Field required"), ("", "")]
        {
            let explanation = refused_by("pypi", claims(&[]), code, description);
            assert_eq!(explanation.causes, []);
            assert_eq!(explanation.hints, [OTHER_REASON]);
            assert_eq!(explanation.link, None);
            assert_eq!(
                explanation.reasons,
                [format!("{}: {description}", if code.is_empty() { "no code" } else { code })]
            );
        }
    }

    #[test]
    fn the_form_is_one_click_away_and_filled_in() {
        let link = |claims| refused_by("pypi", claims, "invalid-publisher", NOT_FOUND).link.unwrap().1;
        assert_eq!(
            link(claims(&["environment=\"a b&c\""])),
            "https://pypi.org/manage/project/sampleproject/settings/publishing/?provider=github&owner=octo-org\
             &repository=octo-repo&workflow_filename=release.yml&environment=a%20b%26c"
        );
        assert!(!link(claims(&["environment"])).contains("environment"));
        assert_eq!(refused_by("https://example.org", claims(&[]), "invalid-publisher", NOT_FOUND).link, None);
        let elsewhere = r#"job_workflow_ref="other/shared/.github/workflows/publish.yml@refs/heads/main""#;
        assert_eq!(refused_by("pypi", claims(&[elsewhere]), "invalid-publisher", NOT_FOUND).link, None);
    }

    #[test]
    fn without_the_projects_name_the_link_leads_to_the_page_that_helps() {
        let link = |code: &str, description: &str| refused("pypi", claims(&[]), None, code, description).link.unwrap();
        let (what, address) = link("invalid-publisher", NOT_FOUND);
        assert_eq!(address, "https://pypi.org/manage/account/publishing/");
        assert!(what.contains("does not exist yet") && what.contains("--project"), "{what}");
        let (_, address) = link("invalid-pending-publisher", "valid token, but project already exists");
        assert_eq!(address, "https://pypi.org/manage/projects/");
    }

    #[test]
    fn a_field_that_the_id_token_lacks_is_not_to_be_left_empty() {
        let no_file = r#"job_workflow_ref="octo-org/octo-repo/dynamic/x@refs/heads/main""#;
        let rows = refused_by("pypi", claims(&[no_file, "repository_owner"]), "invalid-publisher", NOT_FOUND).identity;
        for name in ["Owner", "Workflow name"] {
            assert!(rows.contains(&(name.to_owned(), "(not in the ID token)".to_owned())), "{rows:?}");
        }
    }

    #[test]
    fn gitlab_google_and_others_are_shown_in_their_own_words() {
        let gitlab = r#"{"iss":"https://gitlab.com","aud":"pypi","project_path":"group/sub/project",
            "ci_config_ref_uri":"gitlab.com/group/sub/project//ci/release.yml@refs/heads/main","sub":"x"}"#;
        let explanation = refused_by("pypi", Claims::from(gitlab), "invalid-publisher", NOT_FOUND);
        let rows: Vec<String> = explanation.identity.iter().map(|(name, value)| format!("{name}={value}")).collect();
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
            explanation.link.unwrap().1,
            "https://pypi.org/manage/project/sampleproject/settings/publishing/?provider=gitlab&namespace=group%2Fsub\
             &project=project&workflow_filepath=ci%2Frelease.yml"
        );
        assert_causes(&marked(explanation.causes), &["?differs from this job", "?no publisher"]);

        let google = r#"{"iss":"https://accounts.google.com","email":"a@b.iam.gserviceaccount.com","sub":"123"}"#;
        let rows = refused_by("pypi", Claims::from(google), "invalid-publisher", NOT_FOUND).identity;
        assert_eq!(rows[0], ("Email".to_owned(), "a@b.iam.gserviceaccount.com".to_owned()));
        assert_eq!(rows[1], ("Subject".to_owned(), "123".to_owned()));

        let other = r#"{"iss":"https://agent.buildkite.com","jti":"secretish","n":1,"o":{"a":[true]}}"#;
        let rows = refused_by("pypi", Claims::from(other), "invalid-publisher", NOT_FOUND).identity;
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
            explain_claims(
                &Job { claims, index: &index, audience: Some("pypi"), now_unix_secs: NOW },
                Some("sampleproject"),
            )
        };
        let fine = explained(&claims(&[]));
        assert!(fine.fact.contains("lets this job publish to PyPI") && fine.causes.is_empty(), "{fine:?}");
        assert!(fine.link.unwrap().1.contains("workflow_filename=release.yml"));
        let called = r#"job_workflow_ref="octo-org/octo-repo/.github/workflows/called.yml@refs/heads/main""#;
        let target = r#"event_name="pull_request_target""#;
        let called_only = explained(&claims(&[called]));
        assert!(called_only.fact.contains("lets this job publish"), "{called_only:?}");
        assert_causes(&marked(called_only.causes), &["!has to be called.yml"]);
        let refused = explained(&claims(&[called, target]));
        assert!(refused.fact.contains("PyPI would refuse this job"), "{refused:?}");
        assert_causes(&marked(refused.causes), &["!pull_request_target", "!has to be called.yml"]);
    }

    /// No text tells anybody to do what weakens them.
    #[test]
    fn no_advice_makes_a_project_less_safe() {
        let source = include_str!("messages.rs").split("mod tests").next().unwrap().to_lowercase();
        for bad in ["remove the environment", "long-lived", "password instead", "secrets."] {
            assert!(!source.contains(bad), "{bad}");
        }
    }
}
