//! The exchange step by step: the audience, the ID token, the API token, and the API token's revocation.

use std::time::Duration;

use crate::claims::Claims;
use crate::env::Env;
use crate::error::{Error, Kind, Result};
use crate::explain::causes;
use crate::explain::job::Job;
use crate::explain::published::Published;
use crate::explain::pyproject;
use crate::explain::report;
use crate::handover;
use crate::identity::{self, Source};
use crate::index_api::{MintReply, Minted};
use crate::net::http::Http;
use crate::os::deadline::Deadline;
use crate::os::log::Log;
use crate::retry::Retry;
use crate::secret::IdToken;
use crate::settings::Settings;
use crate::text::shown;
use crate::time;

/// How long to wait for a reply with an API token after a signal. GitHub kills a cancelled job's processes ten seconds
/// after the first signal.
const MINT_GRACE: Duration = Duration::from_secs(5);
/// The time for the revocation, which is the last thing to do.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(10);

const BAD_EXPIRY: &str = "the time in the index's reply at which the token expires makes no sense";

/// The audience of an ID token for `claims`, where the index has one that only it could tell.
const NO_AUDIENCE: &str = "token-mint-claims";

/// One run's exchange.
pub struct Exchange<'a> {
    settings: &'a Settings,
    env: &'a Env,
    identity: Source,
    http: Http,
    retry: Retry,
    pub log: Log,
}

/// An ID token, and the audience that was requested for it.
pub struct Proof {
    id_token: IdToken,
    audience: String,
    /// The audience that the index accepts, if it is known. An audience that the user names says nothing about that.
    expected: Option<String>,
}

impl Exchange<'_> {
    /// Recognises the CI system, and starts the clock. Nothing is sent.
    pub fn prepare<'a>(settings: &'a Settings, env: &'a Env) -> Result<Exchange<'a>> {
        let (log, deadline) = (settings.log, Deadline::after(settings.timeout));
        let http = Http::new(deadline, log, settings.proxies.clone());
        let identity = identity::recognise(settings.id_token_env.as_deref(), env)?;
        handover::check_masks(env)?;
        Ok(Exchange { settings, env, identity, http, retry: Retry { deadline, log }, log })
    }

    /// Requests an ID token that the index accepts, and masks it.
    pub fn request_id_token(&self) -> Result<Proof> {
        let Settings { index, audience, .. } = self.settings;
        self.log.line(&format!("version {}, index {index}", env!("CARGO_PKG_VERSION")));
        let (audience, expected) = match audience {
            Some(audience) => (audience.clone(), index.known_audience()),
            None => {
                let audience = self.retry.run(|_| index.audience(&self.http))?;
                (audience.clone(), Some(audience))
            }
        };
        if self.identity.can_reissue() {
            self.http.connect_early(&index.at("/"));
        }
        self.log.line(&format!("{}, audience {}", self.identity.description(), shown(&audience)));
        self.retry.run(|_| self.prove(&audience, &expected))
    }

    /// Requests an ID token that the index never gets. Nothing is sent to the index.
    pub fn request_id_token_to_look_at(&self) -> Result<Proof> {
        let Settings { index, audience, .. } = self.settings;
        let expected = index.known_audience();
        let audience = audience.clone().or_else(|| expected.clone()).unwrap_or_else(|| NO_AUDIENCE.to_owned());
        self.retry.run(|_| self.prove(&audience, &expected))
    }

    fn prove(&self, audience: &str, expected: &Option<String>) -> Result<Proof> {
        let id_token = self.identity.id_token(audience, self.env, &self.http)?;
        handover::mask(id_token.reveal(), self.env)?;
        Ok(Proof { id_token, audience: audience.to_owned(), expected: expected.clone() })
    }

    /// Exchanges the ID token for an API token, and masks that. The index marks an ID token as used before it makes an
    /// API token. So a second attempt needs a new ID token, unless nothing was sent at the first.
    ///
    /// # Errors
    /// Also if a signal came meanwhile; then the API token is revoked.
    pub fn mint(&self, mut proof: Proof) -> Result<LiveToken<'_>> {
        let deadline = self.retry.deadline.with_grace(MINT_GRACE);
        let http = self.http.until(deadline);
        let minted = Retry { deadline, ..self.retry }.run(|failed| {
            if failed > 0 {
                proof = self.prove(&proof.audience, &proof.expected)?;
            }
            let MintReply { unusable, minted } = self.settings.index.mint(&proof.id_token, &http);
            let deadline = time_to_revoke(); // one for all of them
            for token in unusable {
                self.revoke(token.reveal(), None, deadline);
            }
            let minted = minted.map_err(|error| {
                let may_retry = self.identity.can_reissue() || !error.may_have_reached_server;
                Error { is_transient: error.is_transient && may_retry, ..error }
            })?;
            Ok(LiveToken { minted, exchange: self, has_ended: false })
        });
        let live = minted.map_err(|error| self.explained(error, &proof))?;
        Error::if_signal_came(deadline)?;
        handover::mask(live.minted.token.reveal(), self.env)?; // where it can't be hidden, it is not used
        if live.minted.has_bad_expiry {
            report::warning(&format!("{}; {}", BAD_EXPIRY, validity(live.minted.expires_unix_secs)), self.env);
        }
        Ok(live)
    }

    /// Sends an API token for revocation. True if the index has accepted it. A failure is a warning: the token expires
    /// by itself.
    fn revoke(&self, token: &str, expires_unix_secs: Option<u64>, deadline: Deadline) -> bool {
        let index = &self.settings.index;
        let (http, retry) = (self.http.until(deadline), Retry { deadline, ..self.retry });
        let validity = || validity(expires_unix_secs);
        let revoked = retry.run(|_| index.revoke(token, &http));
        match &revoked {
            Ok(true) => self.log.line(&format!("{} has accepted the API token for revocation", index.name())),
            Ok(false) => self.log.line(&format!("{} can't revoke API tokens; {}", index.name(), validity())),
            Err(error) => {
                report::warning(&format!("the API token could not be revoked; {}: {error}", validity()), self.env);
            }
        }
        revoked.unwrap_or(false)
    }

    /// The variables that COMMAND must not inherit, because they hold the job's identity.
    pub fn identity_variables(&self, proof: &Proof) -> Vec<String> {
        let Settings { keep_identity, id_token_env, .. } = self.settings;
        if *keep_identity { vec![] } else { identity::variables(id_token_env.as_deref(), &proof.audience) }
    }

    /// The deadline for everything.
    pub fn deadline(&self) -> Deadline {
        self.retry.deadline
    }

    /// A refusal with its causes.
    fn explained(&self, mut error: Error, proof: &Proof) -> Error {
        if error.kind == Kind::Refused
            && let Some(job) = self.job(proof)
        {
            causes::explain_refusal(&mut error.explanation, job, |project| self.published(project));
        }
        error
    }

    /// What the index publishes of a project.
    pub fn published(&self, project: &str) -> Published {
        let Settings { index, offline, .. } = self.settings;
        if *offline { Published::NotAsked } else { Published::of(project, index, &self.http) }
    }

    /// The job that the ID token describes; `None` if the token has no claims.
    pub fn job(&self, proof: &Proof) -> Option<Job<'_>> {
        let Settings { index, project, id_token_env, .. } = self.settings;
        let job = Job::of(Claims::of(&proof.id_token)?, index, self.env);
        let (audience, id_token_env) = (proof.expected.clone(), id_token_env.clone());
        Some(Job { audience, id_token_env, projects: pyproject::known(project.as_deref()), ..job })
    }
}

/// An API token that was minted. It ends in one of two ways: kept by the program that it was handed over to, or
/// revoked when this is dropped.
pub struct LiveToken<'a> {
    pub minted: Minted,
    exchange: &'a Exchange<'a>,
    /// It was kept, or sent for revocation.
    has_ended: bool,
}

impl LiveToken<'_> {
    /// The token was handed over.
    pub fn keep(mut self) {
        self.has_ended = true;
    }

    /// Sends the token for revocation. True if the index has accepted it.
    pub fn revoke(mut self) -> bool {
        self.has_ended = true;
        self.send_for_revocation()
    }

    fn send_for_revocation(&self) -> bool {
        self.exchange.revoke(self.minted.token.reveal(), self.minted.expires_unix_secs, time_to_revoke())
    }
}

impl Drop for LiveToken<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.send_for_revocation();
        }
    }
}

fn time_to_revoke() -> Deadline {
    Deadline::after(REVOCATION_TIMEOUT).ignoring_signals()
}

/// Until when an API token is valid, in words.
pub fn validity(expires_unix_secs: Option<u64>) -> String {
    match expires_unix_secs {
        Some(expires) => format!("it is valid until {}", time::describe(expires, time::now_unix_secs())),
        None => "the index does not say until when it is valid (PyPI's tokens live 15 minutes)".to_owned(),
    }
}
