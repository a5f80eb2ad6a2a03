//! GitHub Actions: the endpoint is `$ACTIONS_ID_TOKEN_REQUEST_URL`. A GET request with the parameter `audience` and the
//! bearer token `$ACTIONS_ID_TOKEN_REQUEST_TOKEN` gets the reply `{"value": "<ID token>"}` (GitHub Docs, "OpenID
//! Connect reference"). Both variables are unset in a job without the permission `id-token: write`.

use super::{Source, text};
use crate::env::{Env, REQUEST_TOKEN, REQUEST_URL};
use crate::error::{Kind, Result};
use crate::explain::fork;
use crate::explain::messages;
use crate::net::http::{Http, HttpResult};
use crate::net::url::Url;
use crate::requests::{Endpoint, Request};
use crate::secret::{IdToken, RequestToken};

/// The name in messages.
pub const NAME: &str = "GitHub";

pub const ENDPOINT: Endpoint = Endpoint {
    asking: "asking GitHub for an ID token",
    refusal: (Kind::NoIdentity, "refused to issue an ID token"),
    hint: |_, is_refusal| is_refusal.then_some(messages::PERMISSION),
    hint_without_reply: None,
    nonsense: "GitHub's endpoint answers in another form: is ACTIONS_ID_TOKEN_REQUEST_URL as the runner set it?",
    mints: false,
};

/// Recognises GitHub also by the endpoint's variables alone: a container that a job starts may have no other variable.
pub fn find(env: &Env) -> Result<Option<Source>> {
    let (url, request_token) = match (text(env, REQUEST_URL)?, text(env, REQUEST_TOKEN)?) {
        (Some(url), Some(request_token)) => (url, request_token),
        (None, None) if !env.on_github() => return Ok(None),
        _ => {
            let missing = [REQUEST_URL, REQUEST_TOKEN].into_iter().filter(|name| env.get(name).is_none());
            let is_from_fork = fork::is_pull_request_from_fork(env) == Some(true);
            return Err(messages::no_permission(&missing.collect::<Vec<_>>(), is_from_fork));
        }
    };
    let url = Url::parse(url).map_err(|error| messages::bad_setting(REQUEST_URL, error))?;
    let request_token = RequestToken::new(request_token);
    let request_token = request_token.map_err(|error| messages::bad_setting(REQUEST_TOKEN, error))?;
    Ok(Some(Source::GitHub(url, request_token)))
}

/// An ID token for `audience`.
pub fn id_token(url: &Url, request_token: &RequestToken, audience: &str, http: &Http) -> Result<IdToken> {
    let url = url.with_parameter("audience", audience);
    let authorization = format!("bearer {}", request_token.reveal());
    read_id_token(&http.get(&url, &[("Authorization", authorization)]), &url, request_token)
}

/// Reads the endpoint's reply.
pub fn read_id_token(replied: &HttpResult, url: &Url, request_token: &RequestToken) -> Result<IdToken> {
    let request = Request { endpoint: &ENDPOINT, server: url.origin().to_owned(), name: NAME.to_owned() };
    request.usable(IdToken::new(request.member(replied, "value", |text| request_token.redact(text))?))
}
