//! GitHub Actions: `GET $ACTIONS_ID_TOKEN_REQUEST_URL` with the parameter `audience` and the bearer token
//! `$ACTIONS_ID_TOKEN_REQUEST_TOKEN` answers `{"value": "<ID token>"}` (GitHub Docs, "OpenID Connect reference").
//! Both variables are unset in a job without the permission `id-token: write`.

use super::{Found, Source, System, flawed, text};
use crate::env::{Env, REQUEST_TOKEN, REQUEST_URL};
use crate::error::{Error, Leg, ReplyFlaw, Result, SettingFlaw};
use crate::identity::fork;
use crate::json::Object;
use crate::net::http::{Http, Reply};
use crate::net::url::Url;
use crate::secret::{IdToken, RequestToken};

/// What it is called.
pub const NAME: &str = "GitHub";

/// Recognised by the endpoint's variables alone, too: that is all that a container has that a job starts by itself.
pub const SYSTEM: System = System {
    name: NAME,
    sign: "GITHUB_ACTIONS=true",
    find,
    variables: |_| [REQUEST_URL, REQUEST_TOKEN].map(str::to_owned).to_vec(),
};

const BOTH_VARIABLES: &str = "ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// Where and as whom to ask for an ID token.
struct GitHub {
    url: Url,
    request_token: RequestToken,
}

fn find(env: &Env) -> Found {
    let missing = |missing| Error::NoPermission { missing, fork: fork::is_pull_request_from_fork(env) };
    let (url, request_token) = match (text(env, REQUEST_URL)?, text(env, REQUEST_TOKEN)?) {
        (Some(url), Some(request_token)) => (url, request_token),
        (None, None) if env.on_github() => return Err(missing(BOTH_VARIABLES)),
        (None, None) => return Ok(None),
        (None, Some(_)) => return Err(missing(REQUEST_URL)),
        (Some(_), None) => return Err(missing(REQUEST_TOKEN)),
    };
    Ok(Some(Box::new(GitHub {
        url: Url::parse(url).map_err(|flaw| flawed(REQUEST_URL, SettingFlaw::Url(flaw)))?,
        request_token: RequestToken::new(request_token)
            .map_err(|flaw| flawed(REQUEST_TOKEN, SettingFlaw::Secret(flaw)))?,
    })))
}

impl Source for GitHub {
    fn id_token(&self, audience: &str, _: &Env, http: &Http) -> Result<IdToken> {
        let url = self.url.with_parameter("audience", audience);
        let server = self.url.origin();
        let authorization = format!("bearer {}", self.request_token.reveal());
        let reply = http.get(&url, &[("Authorization", authorization)]).map_err(|error| Error::Exchange {
            leg: Leg::IdToken(NAME),
            server: server.to_owned(),
            error,
        })?;
        read_id_token(&reply, server, &self.request_token)
    }
}

/// What the endpoint at `server` answers.
pub fn read_id_token(reply: &Reply, server: &str, request_token: &RequestToken) -> Result<IdToken> {
    let (leg, server) = (Leg::IdToken(NAME), server.to_owned());
    let words = || reply.words(|text| request_token.redact(text));
    match reply.status {
        200 => read(reply).map_err(|flaw| Error::Reply { leg, server, flaw }),
        status @ (401 | 403) => Err(Error::IdentityRefused { system: NAME, status, words: words() }),
        status => Err(Error::Status { leg, server, status, words: words(), retry_after: reply.retry_after }),
    }
}

fn read(reply: &Reply) -> std::result::Result<IdToken, ReplyFlaw> {
    let value = Object::read(&reply.body).and_then(|object| object.get("value")).map_err(ReplyFlaw::Json)?;
    IdToken::new(value).map_err(ReplyFlaw::Token)
}
