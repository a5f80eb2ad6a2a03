//! Turns a reply, or its absence, into a value or an error: which status is accepted, what may be tried again, and the
//! messages. What is special about one endpoint is an [`Endpoint`], beside the code that asks there.

use std::fmt::Display;

use crate::error::{self, Error, Kind};
use crate::explain::Reason;
use crate::explain::messages::{AGAIN, AUTHORITIES, METADATA};
use crate::json::Object;
use crate::net::http::{HttpResult, Reply};
use crate::net::http_error::{Fault, HttpError};
use crate::text::message;

/// Far more reasons than any index gives.
const MAX_REASONS: usize = 20;

/// What is known of an endpoint.
pub struct Endpoint {
    /// `asking GitHub for an ID token`
    pub asking: &'static str,
    /// The kind of its refusal, and the refusal in words: `refused to issue an ID token`. A CI system refuses
    /// ([`Kind::NoIdentity`]) by 401 and 403, an index ([`Kind::Refused`]) by each 4xx that does not mean "later".
    pub refusal: (Kind, &'static str),
    /// What to do about a status, if that is special to this endpoint. It gets the status, and whether that is a
    /// refusal.
    pub hint: fn(u16, bool) -> Option<&'static str>,
    /// What to do if no reply came, where it is not only to run the job again.
    pub hint_without_reply: Option<&'static str>,
    /// What to do about a reply that is not the protocol's.
    pub nonsense: &'static str,
    /// It makes API tokens, so a whole reply with status 200 that can't be read is not asked for again.
    pub mints: bool,
}

/// A request to an endpoint.
pub struct Request {
    pub endpoint: &'static Endpoint,
    /// Scheme and authority.
    pub server: String,
    /// The CI system's or the index's name for people.
    pub name: String,
}

impl Request {
    /// The reply, if it has one of these statuses. `redact` removes secrets that the server sends back.
    pub fn accepted<'a>(
        &self,
        replied: &'a HttpResult,
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
    pub fn member(&self, replied: &HttpResult, key: &str, redact: impl Fn(&str) -> String) -> error::Result<String> {
        let reply = self.accepted(replied, &[200], redact)?;
        let member = Object::read(&reply.body).and_then(|object| object.get(key));
        member.map_err(|error| {
            let mints = self.endpoint.mints;
            if mints && error.is_malformed && !reply.is_surely_whole {
                return self.no_reply(&HttpError::cut_off()); // probably
            }
            // After half a text or a web page, another attempt may help.
            let is_transient = error.is_malformed && !mints;
            let how = format!("its reply is not what was asked for: {}", error.fault);
            Error { is_transient, ..self.nonsense(how) }
        })
    }

    /// The token in a reply, if it has the right form.
    pub fn usable<T>(&self, token: Result<T, &str>) -> error::Result<T> {
        token.map_err(|error| self.nonsense(format!("the token in its reply is unusable: {error}")))
    }

    /// A reply with the right status that the protocol does not know.
    pub fn nonsense(&self, what: impl Display) -> Error {
        self.failed(what).hint(self.endpoint.nonsense).hint(AGAIN)
    }

    fn failed(&self, how: impl Display) -> Error {
        Error::new(Kind::Trouble, format!("{} ({}): {how}", self.endpoint.asking, self.server))
    }

    /// There was no whole reply.
    pub fn no_reply(&self, error: &HttpError) -> Error {
        let failure = Error {
            is_transient: error.is_transient(),
            nothing_was_sent: error.fault != Fault::NoReply,
            ..self.failed(&error.text)
        };
        let of_fault: &[&str] = match error.fault {
            Fault::Certificate => {
                &[AUTHORITIES, "a clock that is wrong makes a good certificate look bad: check this machine's date"]
            }
            Fault::ProxyRefused => {
                &["ask whoever runs the proxy, or name the server in no_proxy to connect without it"]
            }
            Fault::Absent => &[METADATA],
            Fault::Unreachable | Fault::NoReply => &[],
        };
        let last = self.endpoint.hint_without_reply.or(error.is_transient().then_some(AGAIN));
        of_fault.iter().copied().chain(last).fold(failure, Error::hint)
    }

    /// A reply with an unexpected status. `redact` removes secrets that the server sends back.
    pub fn unexpected(&self, reply: &Reply, redact: impl Fn(&str) -> String) -> Error {
        let said = reply.message(&redact).map_or_else(String::new, |message| format!(": {message}"));
        let Reply { status, retry_after, .. } = *reply;
        let is_transient = matches!(status, 408 | 429 | 500..=599);
        let (kind, refused) = self.endpoint.refusal;
        let is_refusal = match kind {
            Kind::NoIdentity => matches!(status, 401 | 403),
            _ => (400..=499).contains(&status) && !is_transient,
        };
        let mut failure = if is_refusal {
            Error::new(kind, format!("{} {refused} (status {status}){said}", self.name))
        } else {
            let pause = match retry_after.map(|pause| pause.as_secs()) {
                None => String::new(),
                Some(secs @ 0..=86_400) => format!(" and asks for a pause of {secs} s"),
                Some(_) => " and asks for a pause of more than a day".to_owned(),
            };
            self.failed(format!("it answered with status {status}{pause}{said}"))
        };
        if failure.kind == Kind::Refused {
            failure.explanation.reasons = reasons(reply, redact);
        }
        let hint = if self.endpoint.mints && !failure.explanation.reasons.is_empty() {
            "the index's own documentation says what its reasons mean"
        } else if let Some(hint) = (self.endpoint.hint)(status, is_refusal) {
            hint
        } else if matches!(status, 301 | 302 | 303 | 307 | 308) {
            "redirects are not followed, so that no token reaches a server that was not named. Use the address that it \
             redirects to, if you trust it"
        } else if is_transient {
            AGAIN
        } else {
            self.endpoint.nonsense
        };
        Error { is_transient, retry_after, ..failure }.hint(hint)
    }
}

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
