//! Which CI system vouches for this job, and how its ID token is had.
//!
//! GitHub Actions: `GET $ACTIONS_ID_TOKEN_REQUEST_URL` with the parameter `audience` and the bearer token
//! `$ACTIONS_ID_TOKEN_REQUEST_TOKEN` answers `{"value": "<ID token>"}` (GitHub Docs, "OpenID Connect reference").
//! Both variables are unset in a job without the permission `id-token: write`.
//!
//! GitLab CI/CD: the job declares an ID token under `id_tokens:`, and it is in a variable.

use nanoserde::DeJson;

use crate::env::{Env, GITLAB_CI, NotUtf8, REQUEST_TOKEN, REQUEST_URL};
use crate::error::{Error, Leg, ReplyFlaw, Result, SettingFlaw};
use crate::event;
use crate::http::{Http, Reply};
use crate::json;
use crate::secret::{IdToken, RequestToken};
use crate::url::Url;
use crate::workflow::neutralise;

const BOTH_VARIABLES: &str = "ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// Where and as whom to ask GitHub for an ID token.
#[derive(Debug)]
pub struct GitHub {
    url: Url,
    request_token: RequestToken,
}

#[derive(DeJson)]
struct IdTokenReply {
    value: String,
}

/// The CI system that vouches for this job.
#[derive(Debug)]
pub enum Identity {
    GitHub(GitHub),
    /// The job declares its ID tokens, and they are in its environment.
    GitLab,
}

/// Finds the CI system that this process runs in. Nothing is sent.
///
/// GitHub is recognised by `GITHUB_ACTIONS=true`, and by its endpoint's variables alone, which is all that a
/// container has that a job starts by itself; GitLab by `GITLAB_CI=true`, after GitHub.
///
/// # Errors
/// [`Error::NoIdentity`], [`Error::NoPermission`], or [`Error::Setting`] for a variable that can't be used.
pub fn recognise(env: &Env) -> Result<Identity> {
    let (url, request_token) = match (variable(env, REQUEST_URL)?, variable(env, REQUEST_TOKEN)?) {
        (Some(url), Some(request_token)) => (url, request_token),
        (None, None) if env.on_github() => return Err(no_permission(BOTH_VARIABLES, env)),
        (None, None) if env.get(GITLAB_CI).is_some_and(|value| value == "true") => return Ok(Identity::GitLab),
        (None, None) => return Err(Error::NoIdentity),
        (None, Some(_)) => return Err(no_permission(REQUEST_URL, env)),
        (Some(_), None) => return Err(no_permission(REQUEST_TOKEN, env)),
    };
    Ok(Identity::GitHub(GitHub {
        url: Url::parse(url)
            .map_err(|flaw| Error::Setting { place: REQUEST_URL.into(), flaw: SettingFlaw::Url(flaw) })?,
        request_token: RequestToken::new(request_token)
            .map_err(|flaw| Error::Setting { place: REQUEST_TOKEN.into(), flaw: SettingFlaw::Secret(flaw) })?,
    }))
}

fn variable<'a>(env: &'a Env, place: &str) -> Result<Option<&'a str>> {
    env.text(place).map_err(|NotUtf8| Error::Setting { place: place.to_owned().into(), flaw: SettingFlaw::NotUtf8 })
}

fn no_permission(missing: &'static str, env: &Env) -> Error {
    Error::NoPermission { missing, fork: event::is_pull_request_from_fork(env) }
}

impl Identity {
    /// An ID token for `audience`.
    ///
    /// # Errors
    /// [`Error::NoGitLabToken`], [`Error::Setting`]; on GitHub those of [`GitHub::request_id_token`].
    pub fn id_token(&self, audience: &str, env: &Env, http: &Http) -> Result<IdToken> {
        match self {
            Identity::GitHub(github) => github.request_id_token(audience, http),
            Identity::GitLab => gitlab_id_token(audience, env),
        }
    }

    /// What the CI system is called.
    pub fn name(&self) -> &'static str {
        match self {
            Identity::GitHub(_) => "GitHub",
            Identity::GitLab => "GitLab",
        }
    }
}

fn gitlab_id_token(audience: &str, env: &Env) -> Result<IdToken> {
    let name = gitlab_variable(audience);
    let Some(id_token) = variable(env, &name)? else {
        return Err(Error::NoGitLabToken { variable: name, audience: neutralise(audience, 100) });
    };
    IdToken::new(id_token.to_owned())
        .map_err(|flaw| Error::Setting { place: name.into(), flaw: SettingFlaw::Secret(flaw) })
}

/// The variable that a GitLab job has to declare: `pypi` makes `PYPI_ID_TOKEN` (PyPI Docs, "Publishing with a Trusted
/// Publisher", GitLab CI/CD).
fn gitlab_variable(audience: &str) -> String {
    let mut name = audience.to_ascii_uppercase();
    name = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.replace_range(..1, "_");
    }
    format!("{name}_ID_TOKEN")
}

impl GitHub {
    /// Asks for an ID token for `audience`. Each call gives a fresh one, which can be exchanged once.
    ///
    /// # Errors
    /// [`Error::IdentityRefused`], or [`Error::Exchange`], [`Error::Status`], [`Error::Reply`] of this leg.
    pub fn request_id_token(&self, audience: &str, http: &Http) -> Result<IdToken> {
        let url = self.url.with_parameter("audience", audience);
        let server = || self.url.origin().to_owned();
        let leg = Leg::IdToken;
        let authorization = format!("bearer {}", self.request_token.reveal());
        let reply = http.get(&url, &[("Authorization", authorization)]).map_err(|error| Error::Exchange {
            leg,
            server: server(),
            error,
        })?;
        match reply.status {
            200 => read_id_token(&reply).map_err(|flaw| Error::Reply { leg, server: server(), flaw }),
            status @ (401 | 403) => Err(Error::IdentityRefused { status, words: self.words(&reply) }),
            status => Err(Error::Status { leg, server: server(), status, words: self.words(&reply) }),
        }
    }

    fn words(&self, reply: &Reply) -> Option<String> {
        reply.words(|text| self.request_token.redact(text))
    }
}

fn read_id_token(reply: &Reply) -> std::result::Result<IdToken, ReplyFlaw> {
    let reply: IdTokenReply = json::decode(&reply.body).map_err(ReplyFlaw::Json)?;
    IdToken::new(reply.value).map_err(ReplyFlaw::Token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn github_is_recognised_by_its_name_or_by_its_endpoint() {
        let (url, token) = ((REQUEST_URL, "https://example.org/?x=1"), (REQUEST_TOKEN, "t"));
        assert!(recognise(&Env::from([("GITHUB_ACTIONS", "true"), url, token])).is_ok());
        assert!(recognise(&Env::from([url, token])).is_ok());
    }

    #[test]
    fn a_missing_variable_is_a_missing_permission_and_no_variable_no_identity() {
        let (url, token) = ((REQUEST_URL, "https://example.org/?x=1"), (REQUEST_TOKEN, "t"));
        for env in [
            Env::from([("GITHUB_ACTIONS", "true")]),
            Env::from([("GITHUB_ACTIONS", "true"), url]),
            Env::from([("GITHUB_ACTIONS", "true"), token]),
            Env::from([("GITHUB_ACTIONS", "true"), (REQUEST_URL, ""), token]),
            Env::from([url]),
            Env::from([token]),
        ] {
            assert!(matches!(recognise(&env), Err(Error::NoPermission { .. })));
        }
        for env in [Env::from([]), Env::from([("GITHUB_ACTIONS", "false")]), Env::from([("CI", "true")])] {
            assert!(matches!(recognise(&env), Err(Error::NoIdentity)));
        }
    }

    #[test]
    fn gitlab_is_recognised_where_github_is_not() {
        let gitlab = ("GITLAB_CI", "true");
        assert!(matches!(recognise(&Env::from([gitlab])), Ok(Identity::GitLab)));
        assert!(matches!(recognise(&Env::from([gitlab, ("GITHUB_ACTIONS", "true")])), Err(Error::NoPermission { .. })));
        assert!(matches!(recognise(&Env::from([("GITLAB_CI", "false")])), Err(Error::NoIdentity)));
    }

    #[test]
    fn gitlabs_variable_is_named_after_the_audience() {
        for (audience, name) in [
            ("pypi", "PYPI_ID_TOKEN"),
            ("testpypi", "TESTPYPI_ID_TOKEN"),
            ("https://example.org", "HTTPS___EXAMPLE_ORG_ID_TOKEN"),
            ("3x", "_X_ID_TOKEN"),
            ("\u{e4}_1", "__1_ID_TOKEN"),
        ] {
            assert_eq!(gitlab_variable(audience), name);
        }
    }
}
