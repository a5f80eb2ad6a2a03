//! Which CI system vouches for this job, and how its ID token is had.
//!
//! GitHub Actions: `GET $ACTIONS_ID_TOKEN_REQUEST_URL` with the parameter `audience` and the bearer token
//! `$ACTIONS_ID_TOKEN_REQUEST_TOKEN` answers `{"value": "<ID token>"}` (GitHub Docs, "OpenID Connect reference").
//! Both variables are unset in a job without the permission `id-token: write`.

use nanoserde::DeJson;

use crate::env::{Env, NotUtf8, REQUEST_TOKEN, REQUEST_URL};
use crate::error::{Error, Leg, ReplyFlaw, Result, SettingFlaw};
use crate::http::{Http, Reply};
use crate::json;
use crate::secret::{IdToken, RequestToken};
use crate::url::Url;

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

/// Finds the CI system that this process runs in. Nothing is sent.
///
/// GitHub is recognised by `GITHUB_ACTIONS=true`, and by its endpoint's variables alone, which is all that a
/// container has that a job starts by itself.
///
/// # Errors
/// [`Error::NoIdentity`], [`Error::NoPermission`], or [`Error::Setting`] for a variable that can't be used.
pub fn recognise(env: &Env) -> Result<GitHub> {
    let variable = |place| env.text(place).map_err(|NotUtf8| Error::Setting { place, flaw: SettingFlaw::NotUtf8 });
    let (url, request_token) = match (variable(REQUEST_URL)?, variable(REQUEST_TOKEN)?) {
        (Some(url), Some(request_token)) => (url, request_token),
        (None, None) if !env.on_github() => return Err(Error::NoIdentity),
        (None, None) => return Err(Error::NoPermission { missing: BOTH_VARIABLES }),
        (None, Some(_)) => return Err(Error::NoPermission { missing: REQUEST_URL }),
        (Some(_), None) => return Err(Error::NoPermission { missing: REQUEST_TOKEN }),
    };
    Ok(GitHub {
        url: Url::parse(url).map_err(|flaw| Error::Setting { place: REQUEST_URL, flaw: SettingFlaw::Url(flaw) })?,
        request_token: RequestToken::new(request_token)
            .map_err(|flaw| Error::Setting { place: REQUEST_TOKEN, flaw: SettingFlaw::Secret(flaw) })?,
    })
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
}
