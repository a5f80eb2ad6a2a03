//! The messages about a request that failed: to a CI system's endpoint for an ID token, and to the index's endpoints.

use std::fmt::Display;

use crate::error::{self, Error, Kind, Reason};
use crate::explain::messages::{AGAIN, OTHER_PROVIDER, PERMISSION};
use crate::json::Object;
use crate::net::http::{Replied, Reply};
use crate::net::http_error::{Fault, HttpError};
use crate::text::message;

/// Far more reasons than any index gives.
const MAX_REASONS: usize = 20;

/// The endpoint of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// GitHub's, for an ID token.
    GitHub,
    /// Google's metadata server, for an ID token or an access token.
    GoogleMetadata,
    /// Google's IAM, for an ID token.
    GoogleIam,
    /// The index's, for its audience.
    Audience,
    /// The index's, for an API token.
    Mint,
    /// The index's, to revoke an API token.
    Burn,
}

/// A request, for messages about it.
pub struct Request {
    pub endpoint: Endpoint,
    /// Scheme and authority.
    pub server: String,
    /// The CI system's or the index's name for people.
    pub name: String,
}

const METADATA: &str = "only machines of Google Cloud have Google's metadata server, and a machine without a service account \
                        has no identity. Is GOOGLE_SERVICE_ACCOUNT_NAME set by mistake?";
const SERVICE_ACCOUNT: &str = "the account that the job runs as needs the role Service Account Token Creator for the account \
                               that GOOGLE_SERVICE_ACCOUNT_NAME names, and the project needs the IAM Service Account \
                               Credentials API";

impl Request {
    /// The reply, if it has one of these statuses. `redact` removes secrets that the server sends back.
    pub fn accepted<'a>(
        &self,
        replied: &'a Replied,
        statuses: &[u16],
        redact: impl Fn(&str) -> String,
    ) -> error::Result<&'a Reply> {
        match replied {
            Ok(reply) if statuses.contains(&reply.status) => Ok(reply),
            Ok(reply) => Err(self.unexpected(reply, redact)),
            Err(error) => Err(self.no_reply(error)),
        }
    }

    /// A text in the JSON object that was asked for. `redact` is as for [`Request::accepted`].
    pub fn member(&self, replied: &Replied, key: &str, redact: impl Fn(&str) -> String) -> error::Result<String> {
        let reply = self.accepted(replied, &[200], redact)?;
        let member = Object::read(&reply.body).and_then(|object| object.get(key));
        member.map_err(|error| match self.endpoint {
            // It is probably incomplete.
            Endpoint::Mint if !reply.is_surely_whole && error.is_malformed => self.no_reply(&HttpError::cut_off()),
            // After half a text or a web page, another attempt may help. A request to mint is not repeated: it may have made a token.
            endpoint => Error {
                is_transient: error.is_malformed && endpoint != Endpoint::Mint,
                ..self.nonsense(format!("its reply is not what was asked for: {}", error.fault))
            },
        })
    }

    /// The token in a reply, if it has the right form.
    pub fn usable<T>(&self, token: Result<T, &str>) -> error::Result<T> {
        token.map_err(|error| self.nonsense(format!("the token in its reply is unusable: {error}")))
    }

    /// A reply with the right status that the protocol does not know.
    pub fn nonsense(&self, what: impl Display) -> Error {
        self.failed(what).hint(self.nonsense_hint()).hint(AGAIN)
    }

    fn nonsense_hint(&self) -> &'static str {
        match self.endpoint {
            Endpoint::GitHub => {
                "GitHub's endpoint answers in another form: is ACTIONS_ID_TOKEN_REQUEST_URL as the runner set it?"
            }
            Endpoint::GoogleMetadata | Endpoint::GoogleIam => OTHER_PROVIDER,
            Endpoint::Audience | Endpoint::Mint | Endpoint::Burn => {
                "a package index with trusted publishing answers in another form: is this a web page, or another service? \
                 Check --index"
            }
        }
    }

    fn failed(&self, how: impl Display) -> Error {
        let asking = match self.endpoint {
            Endpoint::Audience => "asking the index for its audience",
            Endpoint::Mint => "asking the index for an API token",
            Endpoint::Burn => "asking the index to revoke the API token",
            _ => &format!("asking {} for an ID token", self.name),
        };
        Error::new(Kind::Trouble, format!("{asking} ({}): {how}", self.server))
    }

    /// There was no whole reply.
    pub fn no_reply(&self, error: &HttpError) -> Error {
        // Where there is no metadata server, there will be none.
        let is_absent = (error.fault, self.endpoint) == (Fault::Unreachable, Endpoint::GoogleMetadata);
        let failure = Error {
            is_transient: error.is_transient() && !is_absent,
            may_have_reached_server: error.fault == Fault::Broken,
            ..self.failed(&error.text)
        };
        match (error.fault, self.endpoint) {
            (Fault::Certificate, _) => failure
                .hint(if cfg!(not(feature = "system-roots")) {
                    "this build trusts the certificate authorities that Mozilla's Firefox trusts, and none of the system's. If \
                     a proxy of your organisation opens TLS connections, use a build of token-mint with \
                     `--no-default-features --features system-roots`"
                } else if cfg!(any(windows, target_os = "macos")) {
                    "this build trusts the certificate authorities that the system trusts, and no others: add yours to them"
                } else {
                    "this build trusts the system's certificate authorities. SSL_CERT_FILE or SSL_CERT_DIR names others"
                })
                .hint("a clock that is wrong makes a good certificate look bad: check this machine's date"),
            (_, Endpoint::Burn) => failure.hint(STILL_VALID),
            (Fault::ProxyRefused, _) => failure.hint(
                "the proxy does not let this job connect to that server: ask whoever runs the proxy, or name the server in no_proxy",
            ),
            (_, Endpoint::GoogleMetadata) => failure.hint(METADATA).hint(AGAIN),
            _ => failure.hint(AGAIN),
        }
    }

    /// A reply with an unexpected status. `redact` removes secrets that the server sends back.
    pub fn unexpected(&self, reply: &Reply, redact: impl Fn(&str) -> String) -> Error {
        use Endpoint::{Audience, Burn, GitHub, GoogleIam, GoogleMetadata, Mint};
        let said = reply.message(&redact).map_or_else(String::new, |message| format!(": {message}"));
        let (status, name) = (reply.status, &self.name);
        let is_transient = matches!(status, 408 | 429 | 500..=599);
        let pause = match reply.retry_after.map(|pause| pause.as_secs()) {
            None => String::new(),
            Some(secs @ 0..=86_400) => format!(" and asks for a pause of {secs} s"),
            Some(_) => " and asks for a pause of more than a day".to_owned(),
        };
        let refused = |kind, what| Error::new(kind, format!("{name} {what} (status {status}){said}"));
        let mut failure = match (self.endpoint, status) {
            (GitHub | GoogleMetadata | GoogleIam, 401 | 403) => {
                refused(Kind::NoIdentity, "refused to issue an ID token")
            }
            (Audience, 400..=499) if !is_transient => refused(Kind::Refused, "does not say which audience it expects"),
            (Mint, 400..=499) if !is_transient => refused(Kind::Refused, "refused to mint an API token"),
            (Burn, 400..=499) if !is_transient => refused(Kind::Refused, "refused to revoke the API token"),
            _ => self.failed(format!("it answered with status {status}{pause}{said}")),
        };
        let is_refusal = failure.kind == Kind::Refused;
        if is_refusal {
            failure.explanation.reasons = reasons(reply, redact);
        }
        let hint = match (self.endpoint, status) {
            (GitHub, 401 | 403) => PERMISSION,
            (GoogleMetadata, 404) => METADATA,
            (GoogleMetadata | GoogleIam, 401 | 403) | (GoogleIam, 404) => SERVICE_ACCOUNT,
            (Burn, _) if is_refusal => {
                "the API token may still be valid. Did this index mint it (--index)? PyPI itself accepts every request to revoke"
            }
            (Burn, _) => STILL_VALID,
            (Mint, _) if !failure.explanation.reasons.is_empty() => {
                "the index's own documentation says what its reasons mean"
            }
            (Audience, 403) => "trusted publishing is switched off on this index. Its operators can switch it on",
            (Audience | Mint, 404) => {
                "that server has no trusted publishing: it may be an older index, another kind of index, or none. Check --index"
            }
            (_, 301 | 302 | 303 | 307 | 308) => {
                "redirects are not followed, so that no token reaches a server that was not named. Use the address that it \
                 redirects to, if you trust it"
            }
            _ if is_transient => AGAIN,
            _ => self.nonsense_hint(),
        };
        Error { is_transient, retry_after: reply.retry_after, ..failure }.hint(hint)
    }
}

const STILL_VALID: &str = "the API token was not revoked: it stays valid until it expires (PyPI's, 15 minutes after they were \
                           minted). Try again";

/// The index's own words in a refusal.
fn reasons(reply: &Reply, redact: impl Fn(&str) -> String) -> Vec<Reason> {
    let given = Object::read(&reply.body).map(|object| object.objects("errors")).unwrap_or_default();
    let without_tokens = |reason: &Object, key| redact(&reason.get::<String>(key).unwrap_or_default());
    let is_code_char = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
    let shown = given.iter().take(MAX_REASONS).map(|reason| Reason {
        code: without_tokens(reason, "code").chars().filter(is_code_char).take(40).collect(),
        description: message(&without_tokens(reason, "description")),
    });
    let unshown = given.len().saturating_sub(MAX_REASONS);
    let more = Reason { code: "more".to_owned(), description: format!("{unshown} that are not shown") };
    shown.chain((unshown > 0).then_some(more)).collect()
}

/// The time of expiry in a reply is unusable.
pub const BAD_EXPIRY: &str = "the time in the index's reply at which the token expires makes no sense";
