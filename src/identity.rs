//! The CI system that issues this job's ID token, and how to get the token. Each CI system has a file below; Buildkite
//! and CircleCI share `helper.rs`.

pub mod github;
mod gitlab;
pub mod google;
mod helper;

use crate::env::{Env, REQUEST_TOKEN, REQUEST_URL};
use crate::error::Result;
use crate::explain::messages;
use crate::net::http::Http;
use crate::net::url::Url;
use crate::secret::{IdToken, RequestToken};

/// The source of a job's ID tokens.
pub enum Source {
    /// The URL of GitHub's endpoint, and the bearer token for it.
    GitHub(Url, RequestToken),
    GitLab,
    Buildkite,
    CircleCi,
    /// The service account, if it is not the machine's own.
    Google(Option<String>),
    /// A variable that the user named.
    Variable(String),
}

/// Recognises the CI system, unless the user named a variable that holds the ID token. Nothing is sent.
///
/// # Errors
/// No CI system is recognised; or it is, but a variable that it needs is missing or wrong.
pub fn recognise(id_token_env: Option<&str>, env: &Env) -> Result<Source> {
    if let Some(variable) = id_token_env {
        text(env, variable)?.ok_or_else(|| messages::no_id_token_in(variable))?;
        return Ok(Source::Variable(variable.to_owned()));
    }
    if let Some(github) = github::find(env)? {
        return Ok(github);
    }
    let systems = [("GITLAB_CI", Source::GitLab), ("BUILDKITE", Source::Buildkite), ("CIRCLECI", Source::CircleCi)];
    if let Some((_, source)) = systems.into_iter().find(|(variable, _)| env.is_true(variable)) {
        return Ok(source);
    }
    // Google comes last: the runner of another CI system may be a virtual machine of Google Cloud.
    let none = || if env.get("CI").is_none() { messages::no_ci_job() } else { messages::no_identity() };
    google::find(env)?.ok_or_else(none)
}

/// The variables through which a program could get an ID token for `audience`. (Google needs none: its metadata server
/// answers every program on the machine.)
pub fn variables(id_token_env: Option<&str>, audience: &str) -> Vec<String> {
    let fixed =
        [REQUEST_URL, REQUEST_TOKEN, "BUILDKITE_AGENT_ACCESS_TOKEN", "CIRCLE_OIDC_TOKEN", "CIRCLE_OIDC_TOKEN_V2"];
    let fixed = fixed.into_iter().chain(id_token_env).map(str::to_owned);
    fixed.chain([gitlab::variable(audience)]).collect()
}

impl Source {
    /// The request for the ID token in words, for the log.
    pub fn description(&self) -> String {
        let system = match self {
            Source::GitHub(..) => github::NAME,
            Source::GitLab => "GitLab",
            Source::Buildkite => "Buildkite",
            Source::CircleCi => "CircleCI",
            Source::Google(_) => google::NAME,
            Source::Variable(name) => return format!("taking the ID token from the variable {name}"),
        };
        format!("asking {system} for an ID token")
    }

    /// An ID token for `audience`. It can be exchanged once.
    pub fn id_token(&self, audience: &str, env: &Env, http: &Http) -> Result<IdToken> {
        match self {
            Source::GitHub(url, request_token) => github::id_token(url, request_token, audience, http),
            Source::GitLab => gitlab::id_token(audience, env),
            Source::Buildkite => helper::buildkite(audience, http.deadline),
            Source::CircleCi => helper::circleci(audience, http.deadline),
            Source::Google(account) => google::id_token(account.as_deref(), audience, http),
            Source::Variable(name) => id_token_in(env, name)?.ok_or_else(|| messages::no_id_token_in(name)),
        }
    }

    /// True if each request gives a new ID token; false if the job has only one.
    pub fn can_reissue(&self) -> bool {
        !matches!(self, Source::GitLab | Source::Variable(_))
    }
}

fn text<'a>(env: &'a Env, variable: &str) -> Result<Option<&'a str>> {
    env.text(variable).map_err(|error| messages::bad_setting(variable, error))
}

fn id_token_in(env: &Env, variable: &str) -> Result<Option<IdToken>> {
    let id_token = text(env, variable)?.map(|id_token| IdToken::new(id_token.trim().to_owned()));
    id_token.transpose().map_err(|error| messages::bad_id_token(variable, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: (&str, &str) = (REQUEST_URL, "https://example.org/?x=1");
    const TOKEN: (&str, &str) = (REQUEST_TOKEN, "t");

    fn recognised(env: Env) -> Result<String> {
        let description = recognise(None, &env)?.description();
        Ok(description.split("asking ").nth(1).unwrap().split(" for").next().unwrap().to_owned())
    }

    #[test]
    fn each_system_is_recognised_by_its_sign() {
        for (env, name) in [
            (Env::from([("GITHUB_ACTIONS", "true"), URL, TOKEN]), "GitHub"),
            (Env::from([URL, TOKEN]), "GitHub"),
            (Env::from([("GITLAB_CI", "true")]), "GitLab"),
            (Env::from([("BUILDKITE", "true")]), "Buildkite"),
            (Env::from([("CIRCLECI", "true")]), "CircleCI"),
            (Env::from([("GOOGLE_SERVICE_ACCOUNT_NAME", "a@b.iam.gserviceaccount.com")]), "Google Cloud"),
        ] {
            assert_eq!(recognised(env).unwrap(), name);
        }
    }

    /// In the order of docs/other-ci.md.
    #[test]
    fn of_several_signs_the_first_in_the_order_counts() {
        let google = ("GOOGLE_SERVICE_ACCOUNT_NAME", "a@b");
        for name in ["GITLAB_CI", "BUILDKITE", "CIRCLECI"] {
            assert_ne!(recognised(Env::from([(name, "true"), google])).unwrap(), "Google Cloud", "{name}");
        }
        let all = Env::from([("GITLAB_CI", "true"), ("BUILDKITE", "true"), ("CIRCLECI", "true"), google]);
        assert_eq!(recognised(all).unwrap(), "GitLab");
    }

    #[test]
    fn a_missing_variable_of_github_is_a_missing_permission_and_no_other_system_is_tried() {
        let gitlab = ("GITLAB_CI", "true");
        for env in [
            Env::from([("GITHUB_ACTIONS", "true"), gitlab]),
            Env::from([("GITHUB_ACTIONS", "true"), URL]),
            Env::from([("GITHUB_ACTIONS", "true"), TOKEN]),
            Env::from([("GITHUB_ACTIONS", "true"), (REQUEST_URL, ""), TOKEN]),
            Env::from([URL]),
            Env::from([TOKEN, gitlab]),
        ] {
            assert!(
                recognised(env).unwrap_err().to_string().starts_with("this job may not ask GitHub for an ID token")
            );
        }
    }

    #[test]
    fn without_a_sign_there_is_no_identity() {
        for name in ["GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI"] {
            let error = recognised(Env::from([(name, "false")])).unwrap_err();
            assert_eq!(
                (error.exit_status(), &*error.to_string()),
                (3, "this is not a CI job, so there is no identity to exchange")
            );
        }
        let unknown = recognised(Env::from([("CI", "true")])).unwrap_err();
        assert!(unknown.to_string().starts_with("this is not a job of a CI system"));
    }

    #[test]
    fn the_variables_of_every_system_are_known_as_such() {
        let variables = variables(Some("MY_TOKEN"), "testpypi");
        for name in ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "TESTPYPI_ID_TOKEN", "MY_TOKEN"]
        {
            assert!(variables.iter().any(|variable| variable == name), "{name}");
        }
    }

    #[test]
    fn a_variable_that_the_user_names_comes_before_any_system() {
        let env = Env::from([("MY_TOKEN", "a.b.c"), ("GITHUB_ACTIONS", "true")]);
        assert!(recognise(Some("MY_TOKEN"), &env).is_ok());
        let missing = recognise(Some("OTHER"), &env).err().unwrap();
        assert!(missing.to_string().contains("no ID token in the variable OTHER"));
    }
}
