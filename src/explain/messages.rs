//! The message for each failure: what happened, what it means, what to do, and the kind of failure. The messages about
//! a request are in `src/requests.rs` and in the `Endpoint`s beside each provider, the causes of a refusal in
//! `causes.rs`.
//!
//! Rules for messages: plain words, no blame, no apology, and never a step that makes the project less safe. A hint is
//! one thing to know or to try.

use std::fmt::Display;
use std::io;

use crate::error::{Error, Kind};
use crate::explain::Explanation;
use crate::explain::spelling::did_you_mean;

pub const AGAIN: &str = "nothing was handed over. Such a failure often passes: run the job again";
const NOT_MINTED: &str = "nothing was minted";
const CONTAINER: &str = "with `docker run`, pass these on: -e GITHUB_ACTIONS -e ACTIONS_ID_TOKEN_REQUEST_URL -e \
                         ACTIONS_ID_TOKEN_REQUEST_TOKEN";
pub const PERMISSION: &str = "\
give the job that publishes this permission, in the workflow's file:

    jobs:
      publish:
        permissions:
          id-token: write  # lets the job prove to PyPI who it is
          contents: read   # naming one permission drops the others, and checkout needs this one
";

/// Whose certificates this build trusts.
pub const AUTHORITIES: &str = if cfg!(not(feature = "system-roots")) {
    "this build trusts the certificate authorities that Mozilla's Firefox trusts, and none of the system's. If a proxy of your \
     organisation opens TLS connections, use a build of token-mint with `--no-default-features --features system-roots`"
} else if cfg!(any(windows, target_os = "macos")) {
    "this build trusts the certificate authorities that the system trusts, and no others: add yours to them"
} else {
    "this build trusts the system's certificate authorities. SSL_CERT_FILE or SSL_CERT_DIR names others"
};

/// There is no metadata server of Google.
pub const METADATA: &str = "only machines of Google Cloud have Google's metadata server, and a machine without a service account \
                        has no identity. Is GOOGLE_SERVICE_ACCOUNT_NAME set by mistake?";

// Usage and configuration

/// There is no such option. `name` is `None` if the message may not repeat it.
pub fn no_option(position: usize, name: Option<&str>, meant: Option<&str>) -> Error {
    let fact = match name {
        Some(name) => format!("there is no option {name}"),
        None => format!("argument {position} is not an option of token-mint"),
    };
    let see_help = "token-mint --help lists the options and what they take".to_owned();
    Error::usage(fact, meant.map_or(see_help, did_you_mean))
}

/// There is no such command. `word` is `None` if the message may not repeat it.
pub fn no_command(position: usize, word: Option<&str>, meant: Option<&str>) -> Error {
    let fact = match word {
        Some(word) => format!("there is no command {word} in token-mint"),
        None => format!("argument {position} is neither a command nor an option"),
    };
    let program = word.unwrap_or("COMMAND");
    let put_before = format!(
        "to run an upload tool, put -- before it: token-mint -- {program} … (token-mint's own commands are burn, check and \
         claims; without a command, it mints an API token and hands it over)"
    );
    Error::usage(fact, meant.map_or(put_before, did_you_mean))
}

/// An option or a variable has a value that can't be used.
pub fn bad_setting(place: &str, fault: impl Display) -> Error {
    Error::usage(format!("{place}: {fault}"), "correct this value, or leave it out")
}

/// `--index` is not an index. `meant` is a name that is almost the same.
pub fn no_index(place: &str, meant: Option<&str>) -> Error {
    let write = "write pypi or testpypi in lower case, or a whole URL such as https://example.org";
    let fact = format!("{place}: pypi, testpypi or the URL of an index is expected");
    Error::usage(fact, meant.map_or(write.to_owned(), did_you_mean))
}

/// `--index` is the URL that installers read from.
pub fn installer_url(place: &str) -> Error {
    let fact =
        format!("{place}: a URL that ends in /simple/ is for installers such as pip; nothing can be uploaded there");
    let hint = "give the URL that upload tools use, or only scheme and host: https://example.org";
    Error::usage(fact, hint)
}

/// A variable that an upload client reads names another index than the one to mint at.
pub fn other_index(variable: &str, index: &impl Display) -> Error {
    Error::usage(
        format!("{variable}: it names another index than {index}"),
        format!(
            "{NOT_MINTED}. Which of the two is meant? Correct --index, or unset the variable: token-mint tells the upload tool \
         where to upload"
        ),
    )
}

/// A proxy variable's value can't be used.
pub fn bad_proxy(variable: &str, error: &str) -> Error {
    Error::usage(
        format!("{variable}: this proxy can't be used: {error}"),
        "the variable is used as curl uses it: http://USER:PASSWORD@HOST:PORT. To go without a proxy, unset it",
    )
}

/// The program after `--` was not found.
pub fn no_program(name: &str) -> Error {
    Error::usage(
        format!("there is no program {name} that could be run"),
        format!(
            "{NOT_MINTED}. After -- come the program and its arguments as separate words, not one quoted string. No shell runs \
         them; for pipes and the like: `-- sh -c '…'`"
        ),
    )
}

/// The program after `--` was found, but it can't be run.
pub fn unfit_program(path: &str, why: &str) -> Error {
    Error::usage(
        format!("{path} can't be run: {why}"),
        format!("{NOT_MINTED}. Install it, or its interpreter, so that this user may run it"),
    )
}

/// `burn` got no API token.
pub fn no_api_token() -> Error {
    let fact = "no API token was given: TOKEN_MINT_API_TOKEN is not set, and stdin is empty or does not end";
    Error::usage(fact, "pipe the API token in, or set TOKEN_MINT_API_TOKEN in the environment of this one command")
}

/// `burn` got a token of PyPI for TestPyPI, or a token of TestPyPI for PyPI. `name` is the right value of `--index`.
pub fn token_of_other_index(index: &impl Display, other: &impl Display, name: &str) -> Error {
    Error::usage(
        format!("the API token is for {other}, so {index} can't revoke it"),
        format!("nothing was sent. Name the index that minted the token: --index {name}"),
    )
}

// The identity

/// This is not a CI job.
pub fn no_ci_job() -> Error {
    Error::new(Kind::NoIdentity, "this is not a CI job, so there is no identity to exchange")
        .hint("upload with an API token instead, which you create in your account on the index")
}

/// This is a job of an unknown CI system.
pub fn no_identity() -> Error {
    Error::new(Kind::NoIdentity, "this is not a job of a CI system that token-mint knows")
        .hint(
            "a CI system is recognised by a variable: GitHub by GITHUB_ACTIONS=true, GitLab by GITLAB_CI=true, Buildkite by \
             BUILDKITE=true, CircleCI by CIRCLECI=true, Google Cloud by GOOGLE_SERVICE_ACCOUNT_NAME, or by the machine's maker",
        )
        .hint(
            "if this system gives the job an ID token, and the index accepts its issuer, name the variable that holds the ID \
             token: --id-token-env NAME",
        )
        .hint(CONTAINER)
}

/// These variables, which a GitHub job needs to request an ID token, are not set.
pub fn no_permission(missing: &[&str], is_from_fork: bool) -> Error {
    let verb = if missing.len() == 1 { "is" } else { "are" };
    let fact = format!("this job may not ask GitHub for an ID token: {} {verb} not set", missing.join(" and "));
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
        .hint("if this workflow is called by another one, the calling job needs the permission, too")
        .hint("a pull request from a fork never gets it: publish from a push, a tag or a release instead")
        .hint(CONTAINER)
}

/// A GitLab job that declares no ID token for this audience.
pub fn no_gitlab_token(variable: &str, audience: &str) -> Error {
    let fact = format!("this GitLab job has no ID token for the audience {audience}: {variable} is not set");
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
        "--id-token-env (TOKEN_MINT_ID_TOKEN_ENV) names the variable that holds the ID token. Without it, the CI system is \
         asked",
    )
}

/// The variable for the ID token contains something else.
pub fn bad_id_token(variable: &str, error: impl Display) -> Error {
    Error::usage(
        format!("{variable}: {error}"),
        "this variable has to contain the ID token, which is three parts joined by dots, and nothing else",
    )
}

pub const OWN_PROGRAM: &str = "that program is the CI system's own, and the only way to its ID tokens. A container needs the program and the job's \
     environment. Or let the job get the ID token, and name its variable with --id-token-env";
pub const PROGRAM_SAID: &str = "the text after the colon is the program's own. The CI system's documentation on OIDC says which jobs get ID tokens";
pub const OTHER_PROVIDER: &str =
    "this CI system issues ID tokens in another form: is something else answering in its place?";

/// `claims` got a token without claims.
pub fn no_claims() -> Error {
    Error::new(Kind::Trouble, "the ID token is not a JSON Web Token with claims in it").hint(OTHER_PROVIDER)
}

// The hand-over

/// A GitHub job without a file for the step outputs.
pub fn no_step_output() -> Error {
    Error::new(Kind::NoHandOver, "there is no file for the step's outputs: GITHUB_OUTPUT is not set").hint(STEP_OUTPUT)
}

/// The file for the step outputs can't be opened. Nothing was minted.
pub fn step_output_not_opened(path: &str, error: &io::Error) -> Error {
    Error::new(Kind::NoHandOver, format!("the step output can't be written to {path}: {error}")).hint(STEP_OUTPUT)
}

const STEP_OUTPUT: &str = "GitHub's runner sets GITHUB_OUTPUT to a file for each step. In a container, that file has to be \
                           there, too. To have the API token on stdout instead, use --format token";

/// The API token was minted, and `what` happened to the hand-over. By the time that this is shown, the token was sent
/// for revocation.
pub fn lost(what: impl Display, error: &io::Error) -> Error {
    Error::new(Kind::NoHandOver, format!("{what}: {error}"))
        .hint("an API token was minted, and was sent for revocation. If the index did not revoke it, it is valid until it expires")
}

/// Nobody can read stdout. Nothing was minted.
pub fn no_stdout() -> Error {
    let fact = "the API token would be lost: stdout is closed, not open for writing, or /dev/null";
    Error::new(Kind::NoHandOver, fact).hint(format!("{NOT_MINTED}. Capture stdout: token=$(token-mint --format token)"))
}

/// A text without a token could not be written to stdout.
pub fn not_printed(error: &io::Error) -> Error {
    Error::new(Kind::NoHandOver, format!("stdout can't be written to: {error}"))
        .hint("is the disk full, or has the reading program ended?")
}

/// The runner does not get the masks, so no token was handed over.
pub fn no_masks(why: impl Display) -> Error {
    Error::new(Kind::NoHandOver, format!("the lines that hide tokens in the log would be lost: {why}")).hint(
        "nothing was handed over. Let stderr go to the job's log, which hides the tokens then. For less output, use --quiet, \
         not 2>/dev/null",
    )
}

/// The program after `--` failed. `how` says how it ended.
pub fn upload_failed(how: &str, is_revoked: bool) -> Explanation {
    let token = if is_revoked { "was sent for revocation" } else { "stays valid until it expires" };
    let hint = format!(
        "the API token {token}. For another attempt, run the job again. The index keeps the files that it has received; an option \
         of the upload tool skips them, such as `twine upload --skip-existing`"
    );
    Explanation { fact: format!("the upload failed: {how}"), hints: vec![hint], ..Explanation::default() }
}

#[cfg(test)]
mod tests {
    /// No text tells anybody to do what weakens them.
    #[test]
    fn no_advice_makes_a_project_less_safe() {
        let sources = [
            include_str!("messages.rs"),
            include_str!("../requests.rs"),
            include_str!("../index_api.rs"),
            include_str!("../identity/google.rs"),
            include_str!("causes.rs"),
            include_str!("workflow.rs"),
            include_str!("id_token.rs"),
            include_str!("evidence.rs"),
        ];
        for source in sources {
            let words = source.split("mod tests").next().unwrap().to_lowercase();
            for bad in ["remove the environment", "long-lived", "password instead", "secrets."] {
                assert!(!words.contains(bad), "{bad}");
            }
        }
    }
}
