//! What is said of each failure: the fact, what it means and what to do stand side by side, with the exit status. Only the causes
//! of a refusal are elsewhere, in `explain/causes.rs`.
//!
//! Rules of speech: plain words, no blame, no apology, and never a step that makes the project less safe. A hint is one thing to
//! know or to try.

use std::fmt::{self, Display};
use std::io;

use crate::cli::{SEE_HELP, UsageError};
use crate::error::{Error, Kind, Reason};
use crate::json::{JsonError, Object};
use crate::net::http::Reply;
use crate::net::http_error::HttpError;
use crate::net::proxy::ProxyError;
use crate::net::url::UrlError;
use crate::secret::SecretError;
use crate::text::sanitize;

/// Far more reasons than an index ever gave.
const MAX_REASONS: usize = 20;
const MAX_CODE_CHARS: usize = 40;
const MAX_DESCRIPTION_CHARS: usize = 1000;

const AGAIN: &str = "nothing was handed over. This often passes: run the job again";
const NOT_MINTED: &str = "nothing was minted";
const LOST: &str = "an API token was minted, but it could not be handed over. It was not used";
const CONTAINER: &str = "with `docker run`, pass these on: -e GITHUB_ACTIONS -e ACTIONS_ID_TOKEN_REQUEST_URL -e \
                         ACTIONS_ID_TOKEN_REQUEST_TOKEN";
const PERMISSION: &str = "\
give the job that publishes this permission, in the workflow's file:

    jobs:
      publish:
        permissions:
          id-token: write  # lets the job prove to PyPI who it is
          contents: read   # naming one permission drops the others, and checkout needs this one
";

// Usage and configuration

/// The command line makes no sense.
pub fn usage(error: &UsageError) -> Error {
    Error::new(Kind::Usage, &error.fact).hint(&error.hint)
}

/// An option or a variable has a value that can't be used.
pub fn bad_setting(place: &str, error: impl Display) -> Error {
    Error::new(Kind::Usage, format!("{place}: {error}")).hint(SEE_HELP)
}

/// `--index` names no index.
pub fn bad_index(place: &str, error: &UrlError) -> Error {
    let fact = format!("{place}: pypi, testpypi or the URL of an index is expected: {error}");
    Error::new(Kind::Usage, fact).hint(match error {
        UrlError::UserInfo => "trusted publishing needs no user and no password",
        UrlError::NotAbsolute => "write pypi or testpypi in lower case, or a whole URL such as https://example.org",
        _ => SEE_HELP,
    })
}

/// `--index` is almost the name of an index.
pub fn misspelt_index(place: &str, meant: &str) -> Error {
    let fact = format!("{place}: pypi, testpypi or the URL of an index is expected: did you mean {meant}?");
    Error::new(Kind::Usage, fact)
        .hint("write pypi or testpypi in lower case, or a whole URL such as https://example.org")
}

/// `--index` names what installers read.
pub fn installer_url(place: &str) -> Error {
    let fact = format!("{place}: installers read from a URL that ends in /simple/; nothing can be uploaded there");
    let hint = "name the URL that upload tools send to, or scheme and host alone: https://example.org";
    Error::new(Kind::Usage, fact).hint(hint)
}

/// A variable that an upload client reads names another index than the one to mint at.
pub fn other_index(variable: &str, index: &impl Display) -> Error {
    Error::new(Kind::Usage, format!("{variable}: it names another index than {index}")).hint(format!(
        "{NOT_MINTED}. Which of the two is meant? Correct --index, or unset the variable: token-mint tells the upload tool \
         where to upload"
    ))
}

/// A proxy variable names no proxy that can be used.
pub fn bad_proxy(variable: &str, error: &ProxyError) -> Error {
    Error::new(Kind::Usage, format!("{variable}: this proxy can't be used: {error}"))
        .hint("the variable is used as curl uses it: http://USER:PASSWORD@HOST:PORT. To go without a proxy, unset it")
}

/// The program after `--` is nowhere.
pub fn no_program(name: &str) -> Error {
    Error::new(Kind::Usage, format!("there is no program {name} that could be run")).hint(format!(
        "{NOT_MINTED}. What follows -- is the program and its arguments, each by itself and not in quotes together; it is run \
         without a shell. For pipes and the like: `-- sh -c '…'`"
    ))
}

/// The program after `--` is there, and can't be run: `why`.
pub fn unfit_program(path: &str, why: &str) -> Error {
    Error::new(Kind::Usage, format!("{path} can't be run: {why}"))
        .hint(format!("{NOT_MINTED}. Have it, or its interpreter, installed in this job so that this user may run it"))
}

/// `burn` was given nothing.
pub fn no_api_token() -> Error {
    let fact = "no API token was given: TOKEN_MINT_API_TOKEN is not set, and stdin is empty or does not end";
    Error::new(Kind::Usage, fact)
        .hint("pipe the API token in, or set TOKEN_MINT_API_TOKEN in the environment of this one command")
}

/// `burn` was given an API token that says that it is for the other one of PyPI and TestPyPI, which `--index` calls `name`.
pub fn token_of_other_index(index: &impl Display, other: &impl Display, name: &str) -> Error {
    Error::new(Kind::Usage, format!("the API token is for {other}, so {index} can't revoke it"))
        .hint(format!("nothing was sent. Name the index that minted it: --index {name}; in the action, index: {name}"))
}

// The identity

/// No CI system is recognised; `known`: each with what it is detected by.
pub fn no_identity(known: &str) -> Error {
    Error::new(Kind::NoIdentity, "this is not a job of a CI system that token-mint knows")
        .hint(format!(
            "run it in a CI job: on a machine of your own there is no identity to show. A CI system is recognised by a \
             variable: {known}. Where another system gives the job an ID token, and the index takes it, put it in a variable \
             and name that with --id-token-env"
        ))
        .hint(CONTAINER)
}

/// A job on GitHub without the permission to ask for an ID token: these variables are not set.
pub fn no_permission(missing: &[&str], is_from_fork: bool) -> Error {
    let fact = format!("this job may not ask GitHub for an ID token: not set: {}", missing.join(", "));
    let failure = Error::new(Kind::NoIdentity, fact);
    if is_from_fork {
        return failure.hint(
            "this run is for a pull request from a fork, and such a run never gets an ID token, whatever its permissions are: \
             anybody could publish by opening one. Publish from a push, a tag or a release of the repository itself, and \
             leave this step out of pull requests: `if: github.event_name != 'pull_request'`",
        );
    }
    if missing.len() == 1 {
        return failure
            .hint("the other variable is there, so it was lost on the way to this process: pass both on")
            .hint(CONTAINER)
            .hint(PERMISSION);
    }
    failure
        .hint(PERMISSION)
        .hint("in a workflow that another one calls, the calling job needs the permission, too")
        .hint("a pull request from a fork never gets it: publish from a push, a tag or a release instead")
        .hint(CONTAINER)
}

/// A job on GitLab that declares no ID token for this audience.
pub fn no_gitlab_token(variable: &str, audience: &str) -> Error {
    let fact = format!("this GitLab job has no ID token for the audience {audience}: not set: {variable}");
    Error::new(Kind::NoIdentity, fact).hint(format!(
        "declare it in the job that publishes, in .gitlab-ci.yml:

    publish:
      id_tokens:
        {variable}:
          aud: {audience}
"
    ))
}

/// The variable that `--id-token-env` names is not set.
pub fn no_id_token_in(variable: &str) -> Error {
    Error::new(Kind::NoIdentity, format!("there is no ID token in the variable {variable}: it is not set")).hint(
        "--id-token-env (TOKEN_MINT_ID_TOKEN_ENV) names the variable that the ID token is in. Where it is left out, the CI \
         system is recognised",
    )
}

/// The CI system's own program, which alone has its ID tokens, gave none.
pub struct Helper {
    pub provider: &'static str,
    pub program: &'static str,
}

impl Helper {
    fn failed(&self, kind: Kind, how: impl Display) -> Error {
        Error::new(kind, format!("{} gave no ID token: {} {how}", self.provider, self.program))
    }

    /// It could not be started.
    pub fn not_started(&self, error: &io::Error) -> Error {
        self.failed(Kind::NoIdentity, format!("can't be run: {error}")).hint(
            "that program is the CI system's own, and is the only way to its ID tokens. In a container, put it in and pass the \
             job's environment on; or have the job get the ID token, and name the variable with --id-token-env",
        )
    }

    /// It ended so, and said this.
    pub fn ended_badly(&self, status: &impl Display, said: &str) -> Error {
        self.failed(Kind::NoIdentity, format!("failed ({status}): {said}")).hint(
            "what follows it are the program's own words. The CI system's documentation on OIDC says which jobs get ID tokens",
        )
    }

    /// It did not end in time.
    pub fn timed_out(&self, secs: u64) -> Error {
        self.failed(Kind::Trouble, format!("did not end within the timeout of {secs} seconds")).hint(AGAIN)
    }

    /// It printed something else.
    pub fn printed_no_token(&self, error: SecretError) -> Error {
        self.failed(Kind::Trouble, format!("printed something else: {error}")).hint(OTHER_PROVIDER)
    }
}

const OTHER_PROVIDER: &str = "that is not how this CI system issues an ID token: does the job run where it seems to?";

/// `claims` got an ID token that is none.
pub fn no_claims() -> Error {
    Error::new(Kind::Trouble, "the ID token is no JSON Web Token with claims in it").hint(OTHER_PROVIDER)
}

// Requests

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// GitHub's, for an ID token.
    GitHub,
    /// Google's metadata server, for an ID token or an access token.
    GoogleMetadata,
    /// Google's IAM, for an ID token.
    GoogleIam,
    /// The index's, for its audience.
    Audience,
    /// The index's, for an API token.
    Mint,
    /// The index's, to revoke an API token.
    Burn,
}

impl Endpoint {
    fn provider(self) -> Option<&'static str> {
        match self {
            Endpoint::GitHub => Some("GitHub"),
            Endpoint::GoogleMetadata | Endpoint::GoogleIam => Some("Google Cloud"),
            Endpoint::Audience | Endpoint::Mint | Endpoint::Burn => None,
        }
    }

    /// What to know where the reply is another one than the protocol has.
    fn nonsense(self) -> &'static str {
        match self {
            Endpoint::GitHub => {
                "that is not how GitHub's endpoint answers: is ACTIONS_ID_TOKEN_REQUEST_URL as the runner set it?"
            }
            Endpoint::GoogleMetadata | Endpoint::GoogleIam => OTHER_PROVIDER,
            Endpoint::Audience | Endpoint::Mint | Endpoint::Burn => {
                "that is not how a package index with trusted publishing answers: a web page, or another service? Check --index"
            }
        }
    }
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.provider(), self) {
            (Some(provider), _) => write!(f, "asking {provider} for an ID token"),
            (None, Endpoint::Audience) => f.write_str("asking the index for its audience"),
            (None, Endpoint::Burn) => f.write_str("asking the index to revoke the API token"),
            (None, _) => f.write_str("asking the index for an API token"),
        }
    }
}

/// A request, for messages about it.
#[derive(Clone)]
pub struct Request {
    pub endpoint: Endpoint,
    /// Scheme and authority.
    pub server: String,
    /// What the server is called.
    pub name: String,
}

const METADATA: &str = "Google's metadata server is on every machine of Google Cloud, and nowhere else. With no service account \
                        attached, such a machine has no identity. Is GOOGLE_SERVICE_ACCOUNT_NAME set elsewhere by mistake?";
const SERVICE_ACCOUNT: &str = "the account that the job runs as needs the role Service Account Token Creator for the account \
                               that GOOGLE_SERVICE_ACCOUNT_NAME names, and the project needs the IAM Service Account \
                               Credentials API";

impl Request {
    fn failed(&self, how: impl Display) -> Error {
        Error::new(Kind::Trouble, format!("{} ({}): {how}", self.endpoint, self.server))
    }

    /// No whole reply came.
    pub fn no_reply(&self, error: &HttpError) -> Error {
        let failure = Error {
            is_transient: error.is_transient(),
            may_have_reached_server: error.may_have_reached_server(),
            ..self.failed(error)
        };
        match (error, self.endpoint) {
            (HttpError::Certificate(_), _) => failure
                .hint(if cfg!(not(feature = "system-roots")) {
                    "this build trusts the certificate authorities that Mozilla's Firefox trusts, and none of the system's. If \
                     a proxy of your organisation opens TLS connections, use a build of token-mint with \
                     `--no-default-features --features system-roots`"
                } else if cfg!(any(windows, target_os = "macos")) {
                    "this build trusts the certificate authorities that the system trusts, and no others: add yours to them"
                } else {
                    "this build trusts the system's certificate authorities. SSL_CERT_FILE or SSL_CERT_DIR names others"
                })
                .hint("a clock that is wrong makes a good certificate look bad: check this machine's date"),
            (_, Endpoint::Burn) => failure.hint(STILL_VALID),
            (HttpError::ProxyCredentials, _) => failure.hint(
                "in https_proxy, they go in front of the host, percent-encoded: http://USER:PASSWORD@HOST:PORT",
            ),
            (HttpError::ProxyRefused(_), _) => failure.hint(
                "the proxy does not let this job connect to that server: ask whoever runs it, or put the server into no_proxy",
            ),
            (_, Endpoint::GoogleMetadata) => failure.hint(METADATA).hint(AGAIN),
            _ => failure.hint(AGAIN),
        }
    }

    /// A reply with a status other than the one that was due. `redact` takes secrets out, should they be sent back.
    pub fn unexpected(&self, reply: &Reply, redact: impl Fn(&str) -> String) -> Error {
        let said = reply.message(&redact).map_or_else(String::new, |message| format!(": {message}"));
        let (status, name) = (reply.status, &self.name);
        let is_transient = matches!(status, 408 | 429 | 500..=599);
        match (status, self.endpoint.provider()) {
            (401 | 403, Some(provider)) => {
                let fact = format!("{provider} refused to issue an ID token (status {status}){said}");
                return Error::new(Kind::NoIdentity, fact).hint(match self.endpoint {
                    Endpoint::GitHub => PERMISSION,
                    _ => SERVICE_ACCOUNT,
                });
            }
            (400..=499, None) if !is_transient => {
                let what = match self.endpoint {
                    Endpoint::Audience => "does not say which audience it expects",
                    Endpoint::Burn => "refused to revoke the API token",
                    _ => "refused to mint an API token",
                };
                let mut failure = Error::new(Kind::Refused, format!("{name} {what} (status {status}){said}"));
                failure.explanation.reasons = reasons(reply, redact);
                let has_reasons = !failure.explanation.reasons.is_empty();
                return failure.hint(match (self.endpoint, status) {
                    (Endpoint::Burn, _) => {
                        "the API token may still be valid. Is it of this index (--index)? PyPI itself takes every request to \
                         revoke"
                    }
                    (Endpoint::Mint, _) if has_reasons => "the index's own documentation says what its reasons mean",
                    (Endpoint::Audience, 403) => {
                        "trusted publishing is switched off on this index. Its operators can switch it on"
                    }
                    (_, 404) => {
                        "what answers there knows no trusted publishing: an older or another kind of package index, or none at \
                         all. Check --index; its operators know whether it could"
                    }
                    (endpoint, _) => endpoint.nonsense(),
                });
            }
            _ => {}
        }
        let pause = match reply.retry_after.map(|pause| pause.as_secs()) {
            None => String::new(),
            Some(secs @ 0..=86_400) => format!(" and asks for a pause of {secs} s"),
            Some(_) => " and asks for a pause of more than a day".to_owned(),
        };
        let failure = self.failed(format!("it answered with status {status}{pause}{said}"));
        let failure = Error { is_transient, retry_after: reply.retry_after, ..failure };
        failure.hint(match (self.endpoint, status) {
            (Endpoint::Burn, _) => STILL_VALID,
            (Endpoint::GoogleMetadata, 404) => METADATA,
            (Endpoint::GoogleIam, 404) => SERVICE_ACCOUNT,
            (_, 301 | 302 | 303 | 307 | 308) => {
                "redirects are not followed, so that no token reaches a server that was not named. Use the address that it \
                 redirects to, if you trust it"
            }
            _ if is_transient => AGAIN,
            (endpoint, _) => endpoint.nonsense(),
        })
    }

    /// A reply with the right status, which is not the JSON that was due. Half a text or a web page may be better next time; not so
    /// a reply to a request to mint, which may have made a token.
    pub fn bad_json(&self, error: &JsonError) -> Error {
        let is_transient = !error.is_well_formed() && self.endpoint != Endpoint::Mint;
        Error { is_transient, ..self.nonsense(format!("its reply is not what was asked for: {error}")) }
    }

    /// The token in the reply can't be one.
    pub fn bad_token(&self, error: SecretError) -> Error {
        self.nonsense(format!("the token in its reply is unusable: {error}"))
    }

    /// The audience in the reply can't be one.
    pub fn bad_audience(&self) -> Error {
        self.nonsense("the audience in its reply is empty, or has a control character")
    }

    fn nonsense(&self, what: impl Display) -> Error {
        self.failed(what).hint(self.endpoint.nonsense()).hint(AGAIN)
    }
}

const STILL_VALID: &str = "the API token was not revoked: it stays valid until it expires (PyPI's, 15 minutes after they were \
                           minted). Try again";

/// The index's own words in a refusal.
fn reasons(reply: &Reply, redact: impl Fn(&str) -> String) -> Vec<Reason> {
    let given = Object::read(&reply.body).map(|object| object.objects("errors")).unwrap_or_default();
    let without_tokens = |reason: &Object, key| redact(&reason.get::<String>(key).unwrap_or_default());
    let is_code_char = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
    let shown = given.iter().take(MAX_REASONS).map(|reason| Reason {
        code: without_tokens(reason, "code").chars().filter(is_code_char).take(MAX_CODE_CHARS).collect(),
        description: sanitize(&without_tokens(reason, "description"), MAX_DESCRIPTION_CHARS),
    });
    let unshown = given.len().saturating_sub(MAX_REASONS);
    let more = Reason { code: "more".to_owned(), description: format!("{unshown} that are not shown") };
    shown.chain((unshown > 0).then_some(more)).collect()
}

/// The time at which an API token expires is no time.
pub const BAD_EXPIRY: &str = "the time in the index's reply at which the token expires makes no sense";

// The hand-over

/// A job on GitHub without a file for the step's outputs.
pub fn no_step_output() -> Error {
    Error::new(Kind::NoHandOver, "there is no file for the step's outputs: GITHUB_OUTPUT is not set").hint(STEP_OUTPUT)
}

/// The file for the step's outputs can't be opened; nothing was minted.
pub fn step_output_not_opened(path: &str, error: &io::Error) -> Error {
    Error::new(Kind::NoHandOver, format!("the step output can't be written to {path}: {error}")).hint(STEP_OUTPUT)
}

const STEP_OUTPUT: &str = "GitHub's runner sets GITHUB_OUTPUT to a file for each step. In a container, that file has to be \
                           there, too. To have the API token on stdout instead, use --format token";

/// The API token was minted, and the file for the step's outputs does not take it.
pub fn step_output_not_written(path: &str, error: &io::Error) -> Error {
    Error::new(Kind::NoHandOver, format!("the step output can't be written to {path}: {error}")).hint(LOST)
}

/// stdout leads nowhere; nothing was minted.
pub fn no_stdout() -> Error {
    let fact = "the API token would be lost: stdout is closed, not open for writing, or /dev/null";
    Error::new(Kind::NoHandOver, fact)
}

/// The API token was minted, and stdout does not take it.
pub fn stdout_not_written(error: &io::Error) -> Error {
    Error::new(Kind::NoHandOver, format!("the API token can't be written to stdout: {error}")).hint(LOST)
}

/// What was asked for, and is no token, could not be written to stdout.
pub fn not_printed(error: &io::Error) -> Error {
    Error::new(Kind::NoHandOver, format!("stdout can't be written to: {error}"))
}

/// Masks are due, and stderr leads nowhere; nothing was asked for.
pub fn no_stderr() -> Error {
    let fact =
        "the lines that hide tokens in the log would be lost: stderr is closed, not open for writing, or /dev/null";
    Error::new(Kind::NoHandOver, fact).hint(MASKS)
}

/// A mask could not be written, so no token was handed over.
pub fn not_masked(error: &io::Error) -> Error {
    Error::new(Kind::NoHandOver, format!("a line that hides tokens in the log can't be written: {error}")).hint(MASKS)
}

const MASKS: &str = "nothing was handed over. In a GitHub job, leave stderr to the log, and it hides the tokens: for less of it, \
                     use --quiet, not 2>/dev/null";

/// The program after `--` was found, and could not be started, or not be waited for.
pub fn program_not_run(name: &str, error: &io::Error) -> Error {
    Error::new(Kind::NoHandOver, format!("{name} can't be run: {error}")).hint(LOST)
}

#[cfg(test)]
mod tests {
    /// No text tells anybody to do what weakens them.
    #[test]
    fn no_advice_makes_a_project_less_safe() {
        let sources = [include_str!("messages.rs"), include_str!("explain/causes.rs")];
        for source in sources {
            let words = source.split("mod tests").next().unwrap().to_lowercase();
            for bad in ["remove the environment", "long-lived", "password instead", "secrets."] {
                assert!(!words.contains(bad), "{bad}");
            }
        }
    }
}
