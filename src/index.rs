//! The index, and its three endpoints: which audience it expects, the exchange of an ID token for an API token, and the
//! API token's revocation.
//!
//! `GET /_/oidc/audience`, `POST /_/oidc/mint-token` and `POST /_/oidc/burn-token` (PyPI Docs, "Trusted Publishers: Internals
//! and technical details"; pypi/warehouse, `warehouse/oidc/views.py`, the last one since pull request 20197). A refusal is 422
//! with a list of errors.

use std::fmt;

use crate::error::{Error, Leg, Reason, Refusal, ReplyFlaw, Result};
use crate::json::{self, Object};
use crate::net::http::{Http, Reply};
use crate::net::http_error::HttpError;
use crate::net::url::{Url, UrlError};
use crate::secret::{ApiToken, IdToken, UnusableToken, redact, redact_tokens};
use crate::text::neutralise;

const AUDIENCE_PATH: &str = "/_/oidc/audience";
const UPLOAD_PATH: &str = "/legacy/";
const MINT_PATH: &str = "/_/oidc/mint-token";
const BURN_PATH: &str = "/_/oidc/burn-token";

/// The year 10000. An expiry from there on is a mistake, and no date that a person could read.
const YEAR_10000_UNIX_SECS: u64 = 253_402_300_800;
/// The most tokens in an unusable reply that are revoked. One is usual.
const MAX_UNUSABLE: usize = 4;
/// Far more reasons than an index ever gave.
const MAX_REASONS: usize = 20;
const MAX_CODE_CHARS: usize = 40;
const MAX_DESCRIPTION_CHARS: usize = 1000;

/// The indexes whose audience has been fixed for years and needs no asking.
struct WellKnown {
    name: &'static str,
    /// What `--index` calls it, too.
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

/// What came of a request to mint. A token is live as soon as the index has made it, so none that can be made out gets lost.
pub struct MintReply {
    /// API tokens in a reply that can't be used.
    pub unusable: Vec<UnusableToken>,
    /// The one that can be used, and what is wrong with the time at which it expires. If there is none: [`Error::Refused`],
    /// [`Error::Exchange`], [`Error::Status`] or [`Error::Reply`] of this leg.
    pub minted: Result<(Minted, Option<ReplyFlaw>)>,
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

    /// PyPI or TestPyPI, if an API token that names this host is for that one and this index is the other. Of any other index
    /// nobody knows what its tokens say.
    pub fn other_with_tokens_of(&self, host: &str) -> Option<Index> {
        let other = Index::parse(&format!("https://{host}")).ok()?;
        let both_known = self.well_known.is_some() && other.well_known.is_some();
        (both_known && !other.is_same_as(self)).then_some(other)
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
        let read = Object::read(&reply.body).and_then(|object| object.get("audience"));
        let audience: String = read.map_err(ReplyFlaw::Json).map_err(self.flawed(leg))?;
        if is_audience(&audience) { Ok(audience) } else { Err(self.flawed(leg)(ReplyFlaw::Audience)) }
    }

    /// Begins to connect to the index, for the request to mint that comes after the ID token's.
    pub fn connect_early(&self, http: &Http) {
        http.connect_early(&self.url);
    }

    /// Exchanges an ID token for an API token. The ID token is spent by it, even when the reply is lost.
    ///
    /// # Errors
    /// [`Error::Exchange`] where nothing came.
    pub fn mint(&self, id_token: &IdToken, http: &Http) -> Result<MintReply> {
        // An ID token has no character that JSON would want escaped: its type sees to that.
        let json = format!("{{\"token\":\"{}\"}}", id_token.reveal());
        let url = self.url.with_path(MINT_PATH);
        let reply = http.post_json_for_any_part(&url, &[], json).map_err(self.no_reply(Leg::Mint))?;
        Ok(self.read_minted(reply, id_token))
    }

    /// Reads what came of a request to mint: perhaps a part of the reply.
    pub fn read_minted(&self, mut reply: Reply, id_token: &IdToken) -> MintReply {
        let leg = Leg::Mint;
        let minted = match reply.flaw.take() {
            Some(flaw) => Err(self.no_reply(leg)(flaw)),
            None if reply.status == 200 => read_token(&reply.body).map_err(|flaw| match flaw {
                // As far as can be told, it is not whole.
                ReplyFlaw::Json(flaw) if !reply.is_surely_whole && !flaw.is_well_formed() => {
                    self.no_reply(leg)(HttpError::cut_off())
                }
                flaw => self.flawed(leg)(flaw),
            }),
            None => Err(self.refusal_or_trouble(leg, &reply, |text| id_token.redact(text))),
        };
        let unusable = match minted {
            Err(_) if (200..300).contains(&reply.status) => json::strings_after("token", &reply.body),
            _ => vec![],
        };
        let unusable = unusable.into_iter().filter(|token| !token.is_empty() && token != id_token.reveal());
        MintReply { unusable: unusable.take(MAX_UNUSABLE).map(UnusableToken::new).collect(), minted }
    }

    /// Asks the index to revoke an API token. True if the index took the request, which is all that PyPI says of it; false if it
    /// has no such endpoint, as older ones.
    ///
    /// # Errors
    /// As for [`Index::audience`], of this leg.
    pub fn burn(&self, token: &str, http: &Http) -> Result<bool> {
        let leg = Leg::Burn;
        let json = format!("{{\"token\":{}}}", json::quoted(token));
        let reply = http.post_json(&self.url.with_path(BURN_PATH), &[], json).map_err(self.no_reply(leg))?;
        self.read_burnt(&reply, token)
    }

    /// # Errors
    /// As for [`Index::burn`].
    pub fn read_burnt(&self, reply: &Reply, token: &str) -> Result<bool> {
        match reply.status {
            202 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refusal_or_trouble(Leg::Burn, reply, |text| redact(text, token))),
        }
    }

    fn no_reply(&self, leg: Leg) -> impl Fn(HttpError) -> Error {
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
        let reasons = Object::read(&reply.body).map(|object| object.objects("errors")).unwrap_or_default();
        let unshown_reasons = reasons.len().saturating_sub(MAX_REASONS);
        let without_tokens = |reason: &Object, key| redact(&reason.get::<String>(key).unwrap_or_default());
        let reasons = reasons.iter().take(MAX_REASONS).map(|reason| Reason {
            code: without_tokens(reason, "code").chars().filter(is_code_char).take(MAX_CODE_CHARS).collect(),
            description: neutralise(&without_tokens(reason, "description"), MAX_DESCRIPTION_CHARS),
        });
        let refusal = Refusal { status, words, reasons: reasons.collect(), unshown_reasons };
        Error::Refused { index: Box::new(self.clone()), leg, refusal: Box::new(refusal), subject: None }
    }
}

/// The API token in a sound reply. When it expires is read by itself: nothing that is wrong there makes the token less valid.
fn read_token(body: &[u8]) -> std::result::Result<(Minted, Option<ReplyFlaw>), ReplyFlaw> {
    let reply = Object::read(body).map_err(ReplyFlaw::Json)?;
    let token = ApiToken::new(reply.get("token").map_err(ReplyFlaw::Json)?).map_err(ReplyFlaw::Token)?;
    let (expires_unix_secs, expires_flaw) = match (reply.json("expires"), reply.get("expires")) {
        (None | Some("null"), _) => (None, None),
        (_, Ok(secs @ 0..YEAR_10000_UNIX_SECS)) => (Some(secs), None),
        _ => (None, Some(ReplyFlaw::Expires)),
    };
    Ok((Minted { token, expires_unix_secs }, expires_flaw))
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
        for text in ["pypi", "https://pypi.org", "https://upload.pypi.org:443/legacy/", "https://PyPI.org/"] {
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
    fn a_token_of_the_other_known_index_is_noticed_by_its_host() {
        let other = |index: &str, host: &str| {
            Index::parse(index).unwrap().other_with_tokens_of(host).map(|index| index.name().to_owned())
        };
        for index in ["pypi", "https://upload.pypi.org/legacy/"] {
            assert_eq!(other(index, "test.pypi.org").as_deref(), Some("TestPyPI"));
        }
        assert_eq!(other("testpypi", "pypi.org").as_deref(), Some("PyPI"));
        for (index, host) in [
            ("pypi", "pypi.org"),
            ("https://upload.pypi.org/legacy/", "pypi.org"),
            ("testpypi", "test.pypi.org"),
            ("https://example.org", "pypi.org"),
            ("pypi", "example.org"),
            ("pypi", "..."),
        ] {
            assert_eq!(other(index, host), None, "{index}, {host}");
        }
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
