//! The advice: for each error, what it means and what to do. All of the program's prose for failures is here.
//!
//! Rules of speech: `token-mint: error:` states the fact (`error.rs`), each `token-mint: hint:` is one thing to
//! know or to try. Plain words, no blame, no apology, and never a step that makes the project less safe.

use crate::env::{REQUEST_TOKEN, REQUEST_URL};
use crate::error::{Error, Leg, Refusal, SettingFlaw};
use crate::http::HttpError;
use crate::url::UrlError;

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
const CONTAINER: &str = "with `docker run`, pass these on: -e GITHUB_ACTIONS -e ACTIONS_ID_TOKEN_REQUEST_URL -e \
                         ACTIONS_ID_TOKEN_REQUEST_TOKEN";
const KNOWN_SYSTEMS: &str = "GitHub Actions is recognised by GITHUB_ACTIONS=true. Elsewhere there is no identity that \
                             could be exchanged for an API token";
const PUBLISHER: &str = "the index knows the project's trusted publishers by four things: owner, repository, workflow \
                         file name and environment. One of them differs from this job, or no publisher is registered \
                         on this index. Compare them letter by letter with the page \"Publishing\" of the project \
                         (release.yml is not release.yaml; TestPyPI keeps a list of its own)";
const CALLED_FILE: &str = "if this job runs in a reusable workflow, the file that counts is the called one, and it has \
                           to be in the same repository";
const PENDING: &str = "the project exists by now, so a pending publisher can't create it: add the publisher on the \
                       project's own page \"Publishing\"";
const USED: &str = "an ID token can be exchanged once. Run the job again: it gets a new one";
const INVALID: &str = "the index could not verify the ID token: it is for another audience, or expired, or this index \
                       does not trust the CI system that issued it. Check --index and --audience";
const NOT_ENABLED: &str = "trusted publishing is switched off on this index. Its operators can switch it on";
const NOT_AN_INDEX: &str = "check --index: is it the address of a package index with trusted publishing?";
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
const OTHER_REASON: &str = "the index's own documentation says what its reasons mean";
const OPTIONS: &str = "token-mint --help lists the options and what they take";
const ONE_VARIABLE: &str = "the other variable is there, so it was lost on the way to this process: pass both on";
const LOST: &str = "an API token was minted, but it could not be handed over. It expires by itself";

/// The whole message for an error: the fact, then the hints, each line begun as the rules say.
pub fn explain(error: &Error) -> String {
    let hints = hints(error).iter().map(|hint| format!("token-mint: hint: {hint}\n")).collect::<String>();
    format!("token-mint: error: {error}\n{hints}")
}

fn hints(error: &Error) -> Vec<&'static str> {
    match error {
        Error::Setting { flaw: SettingFlaw::Index(UrlError::UserInfo), .. } => {
            vec!["trusted publishing needs no user and no password"]
        }
        Error::Setting { flaw: SettingFlaw::Index(UrlError::NotAbsolute), .. } => vec![INDEX_NAME],
        Error::Usage(_) | Error::Setting { .. } => vec![OPTIONS],
        Error::NoIdentity => vec![KNOWN_SYSTEMS, CONTAINER],
        Error::NoPermission { missing: REQUEST_URL | REQUEST_TOKEN } => vec![ONE_VARIABLE, CONTAINER, PERMISSION],
        Error::NoPermission { .. } => vec![PERMISSION, CALLED_WORKFLOW, FORK, CONTAINER],
        Error::IdentityRefused { .. } => vec![PERMISSION],
        Error::Refused { leg: Leg::Audience, refusal: Refusal { status: 403, .. }, .. } => vec![NOT_ENABLED],
        Error::Refused { leg: Leg::Audience, .. } => vec![NOT_AN_INDEX],
        Error::Refused { refusal, .. } => refusal_hints(refusal),
        Error::Exchange { error: HttpError::Certificate(_), .. } => {
            vec![if cfg!(feature = "system-roots") { CERTIFICATE_SYSTEM } else { CERTIFICATE }, CLOCK]
        }
        Error::Status { status: 301 | 302 | 303 | 307 | 308, .. } => vec![REDIRECT],
        Error::Status { status: 408 | 429 | 500..=599, .. } | Error::Exchange { .. } => vec![AGAIN],
        Error::Status { leg: Leg::IdToken, .. } => vec![ENDPOINT],
        Error::Status { .. } => vec![NOT_AN_INDEX],
        Error::Reply { leg: Leg::IdToken, .. } => vec![ENDPOINT, AGAIN],
        Error::Reply { .. } => vec![NOT_AN_INDEX, AGAIN],
        Error::NoStepOutputFile | Error::OpenStepOutput { .. } => vec![STEP_OUTPUT],
        Error::StepOutput { .. } | Error::Stdout(_) => vec![LOST],
        Error::NoStdout | Error::Print(_) | Error::Mask(_) => vec![],
    }
}

fn refusal_hints(refusal: &Refusal) -> Vec<&'static str> {
    let has = |code: &str| refusal.reasons.iter().any(|reason| reason.code == code);
    let by_code = [
        ("invalid-publisher", PUBLISHER),
        ("invalid-publisher", CALLED_FILE),
        ("invalid-pending-publisher", PENDING),
        ("invalid-reuse-token", USED),
        ("invalid-token", INVALID),
        ("invalid-payload", INVALID),
        ("not-enabled", NOT_ENABLED),
    ];
    let mut hints: Vec<&str> = by_code.iter().filter(|(code, _)| has(code)).map(|(_, hint)| *hint).collect();
    hints.dedup();
    match (hints.is_empty(), refusal.reasons.is_empty()) {
        (true, true) => vec![NOT_AN_INDEX],
        (true, false) => vec![OTHER_REASON],
        (false, _) => hints,
    }
}
