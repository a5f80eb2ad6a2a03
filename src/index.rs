//! The index, and its three endpoints: which audience it expects, the exchange of an ID token for an API token, and the
//! API token's revocation.
//!
//! `GET /_/oidc/audience`, `POST /_/oidc/mint-token` and `POST /_/oidc/burn-token` (PyPI Docs, "Trusted Publishers: Internals
//! and technical details"; pypi/warehouse, `warehouse/oidc/views.py`, the last one since pull request 20197). A refusal is 422
//! with a list of errors.

use std::fmt;

use nanoserde::DeJson;

use crate::error::{Error, Leg, Reason, Refusal, ReplyFlaw, Result};
use crate::http::{Http, Reply};
use crate::json;
use crate::secret::{ApiToken, IdToken, redact_tokens};
use crate::url::{Url, UrlError};
use crate::workflow::neutralise;

const AUDIENCE_PATH: &str = "/_/oidc/audience";
const UPLOAD_PATH: &str = "/legacy/";
const MINT_PATH: &str = "/_/oidc/mint-token";
const BURN_PATH: &str = "/_/oidc/burn-token";

/// The year 10000. An expiry from there on is a mistake, and no date that a person could read.
const YEAR_10000_UNIX_SECS: u64 = 253_402_300_800;
/// Far more reasons than an index ever gave.
const MAX_REASONS: usize = 20;
const MAX_CODE_CHARS: usize = 40;
const MAX_DESCRIPTION_CHARS: usize = 1000;

/// The indexes whose audience has been fixed for years and needs no asking.
struct WellKnown {
    name: &'static str,
    audience: &'static str,
    origin: &'static str,
    upload_origin: &'static str,
}

static PYPI: WellKnown =
    WellKnown { name: "PyPI", audience: "pypi", origin: "https://pypi.org", upload_origin: "https://upload.pypi.org" };

static TESTPYPI: WellKnown = WellKnown {
    name: "TestPyPI",
    audience: "testpypi",
    origin: "https://test.pypi.org",
    upload_origin: "https://test.pypi.org",
};

/// A package index with trusted publishing.
#[derive(Clone)]
pub struct Index {
    url: Url,
    well_known: Option<&'static WellKnown>,
}

/// What a successful exchange gives.
#[derive(Debug)]
pub struct Minted {
    /// The API token.
    pub token: ApiToken,
    /// When it expires, in Unix seconds. An older index does not say.
    pub expires_unix_secs: Option<u64>,
}

#[derive(DeJson)]
struct AudienceReply {
    audience: String,
}

#[derive(DeJson)]
struct MintReply {
    token: String,
}

#[derive(DeJson)]
struct Expiry {
    #[nserde(default)]
    expires: Option<u64>,
}

#[derive(DeJson)]
struct RefusalReply {
    #[nserde(default)]
    errors: Option<Vec<RefusalReason>>,
}

#[derive(DeJson)]
struct RefusalReason {
    #[nserde(default)]
    code: Option<String>,
    #[nserde(default)]
    description: Option<String>,
}

impl Index {
    /// `pypi`, `testpypi`, or a URL. Of a URL the scheme and authority count, so an upload URL will do.
    ///
    /// # Errors
    /// [`UrlError`]
    pub fn parse(text: &str) -> std::result::Result<Index, UrlError> {
        let url = match text {
            "pypi" => Url::parse(PYPI.origin)?,
            "testpypi" => Url::parse(TESTPYPI.origin)?,
            url => Url::parse(url)?,
        };
        let is_at = |known: &&WellKnown| [known.origin, known.upload_origin].contains(&url.origin());
        let well_known = [&PYPI, &TESTPYPI].into_iter().find(is_at);
        Ok(Index { url, well_known })
    }

    /// Scheme and authority: `https://example.org`.
    pub fn origin(&self) -> &str {
        self.url.origin()
    }

    /// Where upload clients send files: what was given, where it has a path; else the path that PyPI uses.
    pub fn upload_url(&self) -> String {
        match self.well_known {
            Some(known) => format!("{}{UPLOAD_PATH}", known.upload_origin),
            None if self.url.has_path() => self.url.to_string(),
            None => self.url.with_path(UPLOAD_PATH).to_string(),
        }
    }

    /// True if both are one index, by whatever address.
    pub fn is_same_as(&self, other: &Index) -> bool {
        self.origin() == other.origin() || self.well_known.is_some() && self.site() == other.site()
    }

    /// True for PyPI itself.
    pub fn is_pypi(&self) -> bool {
        self.well_known.is_some_and(|known| known.name == PYPI.name)
    }

    /// True for TestPyPI.
    pub fn is_testpypi(&self) -> bool {
        self.well_known.is_some_and(|known| known.name == TESTPYPI.name)
    }

    /// `PyPI`, `TestPyPI`, or the address.
    pub fn name(&self) -> &str {
        self.well_known.map_or(self.origin(), |known| known.name)
    }

    /// Where the index's own pages are, for PyPI and TestPyPI.
    pub fn site(&self) -> Option<&'static str> {
        self.well_known.map(|known| known.origin)
    }

    /// The audience, where it needs no asking.
    pub fn known_audience(&self) -> Option<String> {
        self.well_known.map(|known| known.audience.to_owned())
    }

    /// The audience that an ID token for this index has to have. Costs a request, but for PyPI and TestPyPI.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Exchange`], [`Error::Status`] or [`Error::Reply`] of this leg.
    pub fn audience(&self, http: &Http) -> Result<String> {
        if let Some(audience) = self.known_audience() {
            return Ok(audience);
        }
        let leg = Leg::Audience;
        let reply = http.get(&self.url.with_path(AUDIENCE_PATH), &[]).map_err(self.no_reply(leg))?;
        self.read_audience(&reply)
    }

    /// # Errors
    /// As for [`Index::audience`].
    pub fn read_audience(&self, reply: &Reply) -> Result<String> {
        let leg = Leg::Audience;
        if reply.status != 200 {
            return Err(self.refusal_or_trouble(leg, reply, redact_tokens));
        }
        let read = json::decode(&reply.body, &["audience"]).map_err(ReplyFlaw::Json);
        let audience = read.map(|reply: AudienceReply| reply.audience).map_err(self.flawed(leg))?;
        if is_audience(&audience) { Ok(audience) } else { Err(self.flawed(leg)(ReplyFlaw::Audience)) }
    }

    /// Exchanges an ID token for an API token. The ID token is spent by it, even when the reply is lost. `discard` gets an API
    /// token that nobody will use.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Exchange`], [`Error::Status`] or [`Error::Reply`] of this leg.
    pub fn mint(&self, id_token: &IdToken, http: &Http, discard: impl FnOnce(&Minted)) -> Result<Minted> {
        let leg = Leg::Mint;
        // An ID token has no character that JSON would want escaped: its type sees to that.
        let json = format!("{{\"token\":\"{}\"}}", id_token.reveal());
        let reply = http.post_json(&self.url.with_path(MINT_PATH), &[], json).map_err(self.no_reply(leg))?;
        self.read_minted(&reply, id_token, discard)
    }

    /// # Errors
    /// As for [`Index::mint`].
    pub fn read_minted(&self, reply: &Reply, id_token: &IdToken, discard: impl FnOnce(&Minted)) -> Result<Minted> {
        let leg = Leg::Mint;
        if reply.status != 200 {
            return Err(self.refusal_or_trouble(leg, reply, |text| id_token.redact(text)));
        }
        let read = json::decode(&reply.body, &["token"]).map_err(ReplyFlaw::Json);
        let token = read.and_then(|MintReply { token }| ApiToken::new(token).map_err(ReplyFlaw::Token));
        let token = token.map_err(self.flawed(leg))?;
        // The rest by itself: a token that was made shall not be lost to us because of it.
        let read = json::decode(&reply.body, &["expires"]).map_err(ReplyFlaw::Json);
        let expires = read.and_then(|Expiry { expires }| match expires {
            Some(YEAR_10000_UNIX_SECS..) => Err(ReplyFlaw::Expires),
            expires => Ok(expires),
        });
        let (expires, flaw) = match expires {
            Ok(expires) => (expires, None),
            Err(flaw) => (None, Some(flaw)),
        };
        let minted = Minted { token, expires_unix_secs: expires };
        match flaw {
            None => Ok(minted),
            Some(flaw) => {
                discard(&minted);
                Err(self.flawed(leg)(flaw))
            }
        }
    }

    /// Revokes an API token at once. True if the index did; false if it has no such endpoint, as older ones.
    ///
    /// # Errors
    /// As for [`Index::mint`], of this leg.
    pub fn burn(&self, token: &ApiToken, http: &Http) -> Result<bool> {
        let leg = Leg::Burn;
        // Nor has an API token a character that JSON would want escaped.
        let json = format!("{{\"token\":\"{}\"}}", token.reveal());
        let reply = http.post_json(&self.url.with_path(BURN_PATH), &[], json).map_err(self.no_reply(leg))?;
        self.read_burnt(&reply, token)
    }

    /// # Errors
    /// As for [`Index::burn`].
    pub fn read_burnt(&self, reply: &Reply, token: &ApiToken) -> Result<bool> {
        match reply.status {
            202 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refusal_or_trouble(Leg::Burn, reply, |text| token.redact(text))),
        }
    }

    fn no_reply(&self, leg: Leg) -> impl Fn(crate::http::HttpError) -> Error {
        let server = self.origin().to_owned();
        move |error| Error::Exchange { leg, server: server.clone(), error }
    }

    fn flawed(&self, leg: Leg) -> impl Fn(ReplyFlaw) -> Error {
        let server = self.origin().to_owned();
        move |flaw| Error::Reply { leg, server: server.clone(), flaw }
    }

    /// A status other than 200: a 4xx is the index's no, except for "too slow" and "too often".
    fn refusal_or_trouble(&self, leg: Leg, reply: &Reply, redact: impl Fn(&str) -> String) -> Error {
        let status = reply.status;
        let words = reply.words(&redact);
        if !(400..=499).contains(&status) || status == 408 || status == 429 {
            return Error::Status {
                leg,
                server: self.origin().to_owned(),
                status,
                words,
                retry_after: reply.retry_after,
            };
        }
        let refusal: Option<RefusalReply> = json::decode(&reply.body, &["errors"]).ok();
        let reasons = refusal.and_then(|refusal| refusal.errors).unwrap_or_default();
        let unshown_reasons = reasons.len().saturating_sub(MAX_REASONS);
        let without_tokens = |text: &Option<String>| redact(text.as_deref().unwrap_or_default());
        let reasons = reasons.iter().take(MAX_REASONS).map(|RefusalReason { code, description }| Reason {
            code: without_tokens(code).chars().filter(is_code_char).take(MAX_CODE_CHARS).collect(),
            description: neutralise(&without_tokens(description), MAX_DESCRIPTION_CHARS),
        });
        let refusal = Refusal { status, words, reasons: reasons.collect(), unshown_reasons };
        Error::Refused { index: Box::new(self.clone()), leg, refusal: Box::new(refusal), subject: None }
    }
}

/// True for what can be passed on as an audience, be it to a program, which takes no zero byte.
pub fn is_audience(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

/// Codes are words such as `invalid-publisher`; nothing else of one is shown.
fn is_code_char(c: &char) -> bool {
    c.is_ascii_alphanumeric() || *c == '-' || *c == '_'
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.well_known {
            Some(known) => write!(f, "{} ({})", known.name, self.origin()),
            None => f.write_str(self.origin()),
        }
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known_audience(text: &str) -> Option<&'static str> {
        Index::parse(text).unwrap().well_known.map(|known| known.audience)
    }

    #[test]
    fn pypi_and_testpypi_are_known_by_name_and_by_url() {
        for text in ["pypi", "https://pypi.org", "https://upload.pypi.org/legacy/", "https://PyPI.org/"] {
            assert_eq!(known_audience(text), Some("pypi"), "{text}");
        }
        for text in ["testpypi", "https://test.pypi.org/legacy/"] {
            assert_eq!(known_audience(text), Some("testpypi"), "{text}");
        }
        for text in [
            "https://pypi.org.example.org",
            "https://mypypi.org",
            "https://example.org/pypi.org",
            "https://pypi.org:444",
        ] {
            assert_eq!(known_audience(text), None, "{text}");
        }
        assert!(Index::parse("PYPI").is_err());
    }

    #[test]
    fn the_upload_url_is_the_one_given_or_the_usual_one() {
        for (text, upload_url) in [
            ("pypi", "https://upload.pypi.org/legacy/"),
            ("https://upload.pypi.org/legacy/", "https://upload.pypi.org/legacy/"),
            ("testpypi", "https://test.pypi.org/legacy/"),
            ("https://example.org", "https://example.org/legacy/"),
            ("https://example.org/", "https://example.org/legacy/"),
            ("https://example.org/a/upload?x=1", "https://example.org/a/upload?x=1"),
        ] {
            assert_eq!(Index::parse(text).unwrap().upload_url(), upload_url, "{text}");
        }
    }
}
