//! The index's endpoints: which audience it expects, the exchange of an ID token for an API token, and the API token's
//! revocation.
//!
//! `GET /_/oidc/audience`, `POST /_/oidc/mint-token` and `POST /_/oidc/burn-token` (PyPI Docs, "Using a publisher";
//! pypi/warehouse, `warehouse/oidc/views.py`, the last one since pull request 20197, in no user page yet). A refusal is
//! 422 with a list of errors.

use crate::error::{Kind, Result};
use crate::index::Index;
use crate::json::{self, Object};
use crate::net::http::{Http, HttpResult, Reply};
use crate::net::http_error::HttpError;
use crate::net::url::Url;
use crate::requests::{Endpoint, Request};
use crate::secret::{ApiToken, IdToken, UnusableToken, redact, redact_tokens};
use crate::time::LATEST_UNIX_SECS;

const AUDIENCE_PATH: &str = "/_/oidc/audience";
const MINT_PATH: &str = "/_/oidc/mint-token";
const BURN_PATH: &str = "/_/oidc/burn-token";

/// The request for the audience.
const AUDIENCE: Endpoint = Endpoint {
    asking: "asking the index for its audience",
    refusal: (Kind::Refused, "does not say which audience it expects"),
    hint: |status, _| match status {
        403 => Some("trusted publishing is switched off on this index. Its operators can switch it on"),
        404 => Some(NO_TRUSTED_PUBLISHING),
        _ => None,
    },
    hint_without_reply: None,
    nonsense: "a package index with trusted publishing answers in another form: is this a web page, or another service? Check --index",
    mints: false,
};

/// The request for an API token.
pub const MINT: Endpoint = Endpoint {
    asking: "asking the index for an API token",
    refusal: (Kind::Refused, "refused to mint an API token"),
    hint: |status, _| (status == 404).then_some(NO_TRUSTED_PUBLISHING),
    mints: true,
    ..AUDIENCE
};

/// The request to revoke an API token.
pub const REVOKE: Endpoint = Endpoint {
    asking: "asking the index to revoke the API token",
    refusal: (Kind::Refused, "refused to revoke the API token"),
    hint: |_, is_refusal| {
        Some(match is_refusal {
            true => {
                "the API token may still be valid. Did this index mint it (--index)? PyPI itself accepts every request to revoke"
            }
            false => STILL_VALID,
        })
    },
    hint_without_reply: Some(STILL_VALID),
    ..AUDIENCE
};

const NO_TRUSTED_PUBLISHING: &str =
    "that server has no trusted publishing: it may be an older index, another kind of index, or none. Check --index";
const STILL_VALID: &str = "the API token was not revoked: it stays valid until it expires (PyPI's, 15 minutes after they were \
                           minted). Try again";

/// The most tokens of an unusable reply that are revoked. Usually there is one.
const MAX_UNUSABLE: usize = 4;

/// What a successful exchange gives.
pub struct Minted {
    pub token: ApiToken,
    /// When it expires, in Unix seconds. An older index does not say.
    pub expires_unix_secs: Option<u64>,
    /// The reply has a time of expiry that is none, or is after the year 9999.
    pub has_bad_expiry: bool,
}

/// The result of a request to mint. A token is valid as soon as the index has made it, so the tokens
/// that can be found in an unusable reply are here, too.
pub struct MintReply {
    /// API tokens in a reply that can't be used, [`MAX_UNUSABLE`] at most.
    pub unusable: Vec<UnusableToken>,
    /// The token that can be used.
    pub minted: Result<Minted>,
}

/// The audience that an ID token for this index has to have. It takes a request, except for PyPI and TestPyPI.
pub fn audience(index: &Index, http: &Http) -> Result<String> {
    match index.known_audience() {
        Some(audience) => Ok(audience),
        None => read_audience(index, &http.get(&index.at(AUDIENCE_PATH), &[])),
    }
}

/// Reads the reply to that.
pub fn read_audience(index: &Index, result: &HttpResult) -> Result<String> {
    let request = request(index, &AUDIENCE);
    let audience = request.member(result, "audience", redact_tokens)?;
    if !is_audience(&audience) {
        return Err(request.nonsense("the audience in its reply is empty, or has a control character"));
    }
    Ok(audience)
}

/// Exchanges an ID token for an API token. The ID token is used up, even if the reply is lost.
pub fn mint(index: &Index, id_token: &IdToken, http: &Http) -> MintReply {
    read_minted(index, &post_token(&index.at(MINT_PATH), id_token.reveal(), http), id_token)
}

/// Reads the reply to that.
pub fn read_minted(index: &Index, result: &HttpResult, id_token: &IdToken) -> MintReply {
    let request = request(index, &MINT);
    let token = request.member(result, "token", |text| id_token.redact(text));
    let token = token.and_then(|token| request.usable(ApiToken::new(token)));
    let body = match result {
        Ok(Reply { status: 200..=299, body, .. }) | Err(HttpError { body, .. }) => body,
        Ok(_) => &vec![],
    };
    let found = if token.is_err() { json::strings_after("token", body) } else { vec![] };
    let unusable = found.into_iter().filter(|token| !token.is_empty() && token != id_token.reveal());
    // A token with a bad time of expiry is valid all the same. One after the year 9999 is a mistake.
    let object = Object::read(body).ok();
    let expires = object.as_ref().and_then(|object| object.json("expires")).filter(|json| *json != "null");
    let expires_unix_secs = expires.and_then(|json| json.parse().ok()).filter(|secs| *secs <= LATEST_UNIX_SECS);
    MintReply {
        unusable: unusable.take(MAX_UNUSABLE).map(UnusableToken::new).collect(),
        minted: token.map(|token| Minted {
            token,
            expires_unix_secs,
            has_bad_expiry: expires.is_some() && expires_unix_secs.is_none(),
        }),
    }
}

/// Asks the index to revoke an API token. True if the index accepted the request; PyPI says no more. False if it has no
/// such endpoint, like older ones.
pub fn revoke(index: &Index, token: &str, http: &Http) -> Result<bool> {
    read_revoked(index, &post_token(&index.at(BURN_PATH), token, http), token)
}

/// Reads the reply to that.
pub fn read_revoked(index: &Index, result: &HttpResult, token: &str) -> Result<bool> {
    let request = request(index, &REVOKE);
    Ok(request.accepted(result, &[202, 404], |text| redact(text, token))?.status == 202)
}

fn post_token(url: &Url, token: &str, http: &Http) -> HttpResult {
    http.post_json(url, &[], format!("{{\"token\":{}}}", json::quoted(token)))
}

fn request(index: &Index, endpoint: &'static Endpoint) -> Request {
    Request { endpoint, server: index.origin().to_owned(), name: index.to_string() }
}

/// True for text that can be passed on as an audience. A program's argument can't contain a zero byte.
pub fn is_audience(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}
