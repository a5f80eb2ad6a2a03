//! The index's endpoints: which audience it expects, the exchange of an ID token for an API token, and the API token's revocation.
//!
//! `GET /_/oidc/audience`, `POST /_/oidc/mint-token` and `POST /_/oidc/burn-token` (PyPI Docs, "Using a publisher"; pypi/warehouse,
//! `warehouse/oidc/views.py`, the last one since pull request 20197, in no user page yet). A refusal is 422 with a list of errors.

use crate::error::Result;
use crate::explain::requests::{Endpoint, Request};
use crate::index::Index;
use crate::json::{self, JsonError, Object};
use crate::net::http::{Http, Reply};
use crate::net::http_error::HttpError;
use crate::secret::{ApiToken, IdToken, Secret, redact, redact_tokens};
use crate::time::LATEST_UNIX_SECS;

const AUDIENCE_PATH: &str = "/_/oidc/audience";
const MINT_PATH: &str = "/_/oidc/mint-token";
const BURN_PATH: &str = "/_/oidc/burn-token";

/// The most tokens of an unusable reply that are revoked. Usually there is one.
const MAX_UNUSABLE: usize = 4;

/// What a successful exchange gives.
#[derive(Debug)]
pub struct Minted {
    pub token: ApiToken,
    /// When it expires, in Unix seconds. An older index does not say.
    pub expires_unix_secs: Option<u64>,
}

/// The result of a request to mint. A token is valid as soon as the index has made it, so every token that can be found in the
/// reply is here.
pub struct MintReply {
    /// API tokens in a reply that can't be used.
    pub unusable: Vec<Secret>,
    /// The token that can be used.
    pub minted: Result<Minted>,
    /// Its time of expiry makes no sense.
    pub has_bad_expiry: bool,
}

impl Index {
    /// The audience that an ID token for this index has to have. It takes a request, except for PyPI and TestPyPI.
    pub fn audience(&self, http: &Http) -> Result<String> {
        if let Some(audience) = self.known_audience() {
            return Ok(audience);
        }
        let reply = http.get(&self.at(AUDIENCE_PATH), &[]);
        self.read_audience(&reply.map_err(|error| self.request(Endpoint::Audience).no_reply(&error))?)
    }

    /// Reads the reply to that.
    pub fn read_audience(&self, reply: &Reply) -> Result<String> {
        let request = self.request(Endpoint::Audience);
        if reply.status != 200 {
            return Err(request.unexpected(reply, redact_tokens));
        }
        let audience = Object::read(&reply.body).and_then(|object| object.get::<String>("audience"));
        let audience = audience.map_err(|error| request.bad_json(&error))?;
        if is_audience(&audience) { Ok(audience) } else { Err(request.bad_audience()) }
    }

    /// Begins to connect to the index, for the request to mint that comes after the ID token's.
    pub fn connect_early(&self, http: &Http) {
        http.connect_early(&self.at(MINT_PATH));
    }

    /// Exchanges an ID token for an API token. The ID token is used up, even if the reply is lost.
    ///
    /// # Errors
    /// If there is no reply. What is wrong with a reply is part of the result.
    pub fn mint(&self, id_token: &IdToken, http: &Http) -> Result<MintReply> {
        // An ID token has no character that has to be escaped in JSON: its type ensures that.
        let json = format!("{{\"token\":\"{}\"}}", id_token.reveal());
        let reply = http.post_json_for_any_part(&self.at(MINT_PATH), &[], json);
        Ok(self.read_minted(reply.map_err(|error| self.request(Endpoint::Mint).no_reply(&error))?, id_token))
    }

    /// Reads the reply to a request to mint, which may be incomplete.
    pub fn read_minted(&self, mut reply: Reply, id_token: &IdToken) -> MintReply {
        let request = self.request(Endpoint::Mint);
        let object = Object::read(&reply.body);
        let token = match (reply.error.take(), &object) {
            (Some(error), _) => Err(request.no_reply(&error)),
            (None, _) if reply.status != 200 => Err(request.unexpected(&reply, |text| id_token.redact(text))),
            // It is probably incomplete.
            (None, Err(JsonError::Malformed(_))) if !reply.is_surely_whole => {
                Err(request.no_reply(&HttpError::cut_off()))
            }
            (None, Err(error)) => Err(request.bad_json(error)),
            (None, Ok(object)) => object.get("token").map_err(|error| request.bad_json(&error)),
        };
        let token = token.and_then(|token| ApiToken::new(token).map_err(|error| request.bad_token(error)));
        let unusable = match token {
            Err(_) if (200..300).contains(&reply.status) => json::strings_after("token", &reply.body),
            _ => vec![],
        };
        let unusable = unusable.into_iter().filter(|token| !token.is_empty() && token != id_token.reveal());
        // A token with a bad time of expiry is valid all the same. One after the year 9999 is a mistake.
        let expires = object.as_ref().ok().filter(|object| !matches!(object.json("expires"), None | Some("null")));
        let expires = expires.map(|object| object.get("expires").ok().filter(|secs| *secs <= LATEST_UNIX_SECS));
        MintReply {
            unusable: unusable.take(MAX_UNUSABLE).map(Secret::new).collect(),
            minted: token.map(|token| Minted { token, expires_unix_secs: expires.flatten() }),
            has_bad_expiry: expires == Some(None),
        }
    }

    /// Asks the index to revoke an API token. True if the index accepted the request; PyPI says no more. False if it has no such
    /// endpoint, like older ones.
    pub fn burn(&self, token: &str, http: &Http) -> Result<bool> {
        let json = format!("{{\"token\":{}}}", json::quoted(token));
        let reply = http.post_json(&self.at(BURN_PATH), &[], json);
        self.read_burnt(&reply.map_err(|error| self.request(Endpoint::Burn).no_reply(&error))?, token)
    }

    /// Reads the reply to that.
    pub fn read_burnt(&self, reply: &Reply, token: &str) -> Result<bool> {
        match reply.status {
            202 => Ok(true),
            404 => Ok(false),
            _ => Err(self.request(Endpoint::Burn).unexpected(reply, |text| redact(text, token))),
        }
    }

    fn request(&self, endpoint: Endpoint) -> Request {
        Request { endpoint, server: self.origin().to_owned(), name: self.to_string() }
    }
}

/// True for text that can be passed on as an audience. A program's argument can't contain a zero byte.
pub fn is_audience(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}
