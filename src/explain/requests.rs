//! The messages about a request that failed: to a CI system's endpoint for an ID token, and to the index's endpoints.

use std::fmt::{self, Display};

use crate::error::{Error, Kind, Reason};
use crate::explain::messages::{AGAIN, OTHER_PROVIDER, PERMISSION};
use crate::json::{JsonError, Object};
use crate::net::http::Reply;
use crate::net::http_error::HttpError;
use crate::text::message;

/// Far more reasons than any index gives.
const MAX_REASONS: usize = 20;

/// The endpoint of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Endpoint {
    fn provider(self) -> Option<&'static str> {
        match self {
            Endpoint::GitHub => Some("GitHub"),
            Endpoint::GoogleMetadata | Endpoint::GoogleIam => Some("Google Cloud"),
            Endpoint::Audience | Endpoint::Mint | Endpoint::Burn => None,
        }
    }

    /// The hint for a reply that is not the protocol's.
    fn nonsense(self) -> &'static str {
        match self {
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
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.provider(), self) {
            (Some(provider), _) => write!(f, "asking {provider} for an ID token"),
            (None, Endpoint::Audience) => f.write_str("asking the index for its audience"),
            (None, Endpoint::Burn) => f.write_str("asking the index to revoke the API token"),
            (None, _) => f.write_str("asking the index for an API token"),
        }
    }
}

/// A request, for messages about it.
#[derive(Clone)]
pub struct Request {
    pub endpoint: Endpoint,
    /// Scheme and authority.
    pub server: String,
    /// The server's name for people.
    pub name: String,
}

const METADATA: &str = "only machines of Google Cloud have Google's metadata server, and a machine without a service account \
                        has no identity. Is GOOGLE_SERVICE_ACCOUNT_NAME set by mistake?";
const SERVICE_ACCOUNT: &str = "the account that the job runs as needs the role Service Account Token Creator for the account \
                               that GOOGLE_SERVICE_ACCOUNT_NAME names, and the project needs the IAM Service Account \
                               Credentials API";

impl Request {
    fn failed(&self, how: impl Display) -> Error {
        Error::new(Kind::Trouble, format!("{} ({}): {how}", self.endpoint, self.server))
    }

    /// There was no complete reply.
    pub fn no_reply(&self, error: &HttpError) -> Error {
        let failure = Error {
            is_transient: error.is_transient(),
            may_have_reached_server: error.may_have_reached_server(),
            ..self.failed(error)
        };
        match (error, self.endpoint) {
            (HttpError::Certificate(_), _) => failure
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
            (HttpError::ProxyCredentials(variable), _) => failure.hint(format!(
                "in {variable}, they stand before the host, percent-encoded: http://USER:PASSWORD@HOST:PORT"
            )),
            (HttpError::ProxyRefused(_), _) => failure.hint(
                "the proxy does not let this job connect to that server: ask whoever runs the proxy, or name the server in no_proxy",
            ),
            (_, Endpoint::GoogleMetadata) => failure.hint(METADATA).hint(AGAIN),
            _ => failure.hint(AGAIN),
        }
    }

    /// A reply with an unexpected status. `redact` removes secrets that the server sends back.
    pub fn unexpected(&self, reply: &Reply, redact: impl Fn(&str) -> String) -> Error {
        let said = reply.message(&redact).map_or_else(String::new, |message| format!(": {message}"));
        let (status, name) = (reply.status, &self.name);
        let is_transient = matches!(status, 408 | 429 | 500..=599);
        match (status, self.endpoint.provider()) {
            (401 | 403, Some(provider)) => {
                let fact = format!("{provider} refused to issue an ID token (status {status}){said}");
                return Error::new(Kind::NoIdentity, fact).hint(match self.endpoint {
                    Endpoint::GitHub => PERMISSION,
                    _ => SERVICE_ACCOUNT,
                });
            }
            (400..=499, None) if !is_transient => {
                let what = match self.endpoint {
                    Endpoint::Audience => "does not say which audience it expects",
                    Endpoint::Burn => "refused to revoke the API token",
                    _ => "refused to mint an API token",
                };
                let mut failure = Error::new(Kind::Refused, format!("{name} {what} (status {status}){said}"));
                failure.explanation.reasons = reasons(reply, redact);
                let has_reasons = !failure.explanation.reasons.is_empty();
                return failure.hint(match (self.endpoint, status) {
                    (Endpoint::Burn, _) => {
                        "the API token may still be valid. Did this index mint it (--index)? PyPI itself accepts every request \
                         to revoke"
                    }
                    (Endpoint::Mint, _) if has_reasons => "the index's own documentation says what its reasons mean",
                    (Endpoint::Audience, 403) => {
                        "trusted publishing is switched off on this index. Its operators can switch it on"
                    }
                    (_, 404) => {
                        "that server has no trusted publishing: it may be an older index, another kind of index, or none. Check \
                         --index"
                    }
                    (endpoint, _) => endpoint.nonsense(),
                });
            }
            _ => {}
        }
        let pause = match reply.retry_after.map(|pause| pause.as_secs()) {
            None => String::new(),
            Some(secs @ 0..=86_400) => format!(" and asks for a pause of {secs} s"),
            Some(_) => " and asks for a pause of more than a day".to_owned(),
        };
        let failure = self.failed(format!("it answered with status {status}{pause}{said}"));
        let failure = Error { is_transient, retry_after: reply.retry_after, ..failure };
        failure.hint(match (self.endpoint, status) {
            (Endpoint::Burn, _) => STILL_VALID,
            (Endpoint::GoogleMetadata, 404) => METADATA,
            (Endpoint::GoogleIam, 404) => SERVICE_ACCOUNT,
            (_, 301 | 302 | 303 | 307 | 308) => {
                "redirects are not followed, so that no token reaches a server that was not named. Use the address that it \
                 redirects to, if you trust it"
            }
            _ if is_transient => AGAIN,
            (endpoint, _) => endpoint.nonsense(),
        })
    }

    /// A reply with the right status that is not the expected JSON. After half a text or a web page, another attempt may help. A
    /// request to mint is not repeated: it may have made a token.
    pub fn bad_json(&self, error: &JsonError) -> Error {
        let is_transient = matches!(error, JsonError::Malformed(_)) && self.endpoint != Endpoint::Mint;
        Error { is_transient, ..self.nonsense(format!("its reply is not what was asked for: {error}")) }
    }

    /// The token in the reply has the wrong form.
    pub fn bad_token(&self, error: &str) -> Error {
        self.nonsense(format!("the token in its reply is unusable: {error}"))
    }

    /// The audience in the reply has the wrong form.
    pub fn bad_audience(&self) -> Error {
        self.nonsense("the audience in its reply is empty, or has a control character")
    }

    fn nonsense(&self, what: impl Display) -> Error {
        self.failed(what).hint(self.endpoint.nonsense()).hint(AGAIN)
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
