//! The exchange step by step: the audience, the ID token, the API token, and the API token's revocation.

use std::time::Duration;

use crate::claims::Claims;
use crate::env::Env;
use crate::error::{Error, Kind, Result};
use crate::explain::causes;
use crate::explain::expiry::validity;
use crate::explain::job::Job;
use crate::explain::published::Published;
use crate::explain::pyproject;
use crate::explain::report;
use crate::handover;
use crate::identity::{self, Source};
use crate::index_api::{self, MintReply, Minted};
use crate::net::http::Http;
use crate::os::deadline::Deadline;
use crate::retry;
use crate::secret::IdToken;
use crate::settings::Settings;
use crate::text::shown;

/// How long to wait for a reply with an API token after a signal. GitHub kills a cancelled job's processes ten seconds
/// after the first signal.
const MINT_GRACE: Duration = Duration::from_secs(5);
/// The time for the revocation, which is the last thing to do.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(10);

/// The audience that `claims` requests if only the index knows its own.
const NO_AUDIENCE: &str = "token-mint-claims";

/// One run's exchange.
pub struct Exchange<'a> {
    settings: &'a Settings,
    env: &'a Env,
    identity: Source,
    /// It has the deadline for everything, and the log.
    pub http: Http,
}

/// The audience of this run's ID tokens.
pub struct Audience {
    requested: String,
    /// The audience that the index accepts. `None`: the user named one, and the index was not asked.
    accepted: Option<String>,
}

impl Exchange<'_> {
    /// Recognises the CI system, and starts the clock. Nothing is sent.
    ///
    /// # Errors
    /// There is no known CI system, or stderr can't carry the masks that it needs.
    pub fn prepare<'a>(settings: &'a Settings, env: &'a Env) -> Result<Exchange<'a>> {
        let http = settings.http();
        let identity = identity::recognise(settings.id_token_env.as_deref(), env)?;
        handover::check_masks(env)?;
        Ok(Exchange { settings, env, identity, http })
    }

    /// The audience to request. The index is asked for it if the user names none and it is not known.
    pub fn audience(&self) -> Result<Audience> {
        let Settings { index, audience, .. } = self.settings;
        self.http.log.line(&format!("version {}, index {index}", env!("CARGO_PKG_VERSION")));
        let audience = match audience {
            Some(requested) => Audience { requested: requested.clone(), accepted: index.known_audience() },
            None => {
                let accepted = retry::run(&self.http, |_| index_api::audience(index, &self.http))?;
                Audience { requested: accepted.clone(), accepted: Some(accepted) }
            }
        };
        self.http.log.line(&format!("{}, audience {}", self.identity.description(), shown(&audience.requested)));
        if self.identity.can_reissue() {
            self.http.connect_early(&index.at("/")); // while the CI system answers
        }
        Ok(audience)
    }

    /// The audience for an ID token that the index never gets. Nothing is sent.
    pub fn audience_without_asking(&self) -> Audience {
        let Settings { index, audience, .. } = self.settings;
        let accepted = index.known_audience();
        let requested = audience.clone().or_else(|| accepted.clone()).unwrap_or_else(|| NO_AUDIENCE.to_owned());
        Audience { requested, accepted }
    }

    /// Requests an ID token, and masks it.
    pub fn request_id_token(&self, audience: &Audience) -> Result<IdToken> {
        retry::run(&self.http, |_| self.request_once(audience))
    }

    fn request_once(&self, audience: &Audience) -> Result<IdToken> {
        let id_token = self.identity.id_token(&audience.requested, self.env, &self.http)?;
        handover::mask(id_token.reveal(), self.env)?;
        Ok(id_token)
    }

    /// Exchanges the ID token for an API token, and masks that. The index marks an ID token as used before it makes an
    /// API token. So each further attempt requests another ID token. If the CI system has only one, there is a further
    /// attempt only if nothing was sent.
    ///
    /// # Errors
    /// Also if a signal came meanwhile, or the API token can't be masked; then it is revoked.
    pub fn mint(&self, mut id_token: IdToken, audience: &Audience) -> Result<LiveToken<'_>> {
        let http = self.http.with_grace(MINT_GRACE);
        let outcome = retry::run(&http, |failed| {
            if failed > 0 {
                id_token = self.request_once(audience)?;
            }
            let MintReply { unusable, minted } = index_api::mint(&self.settings.index, &id_token, &http);
            let deadline = revocation_deadline(); // one for all of them
            for token in unusable {
                self.revoke(token.reveal(), None, deadline);
            }
            let minted = minted.map_err(|error| {
                let may_retry = self.identity.can_reissue() || error.nothing_was_sent;
                Error { is_transient: error.is_transient && may_retry, ..error }
            })?;
            Ok(LiveToken { minted, exchange: self, has_ended: false })
        });
        let live = outcome.map_err(|error| self.with_causes(error, &id_token, audience))?;
        Error::if_signal_came(http.deadline)?;
        handover::mask(live.minted.token.reveal(), self.env)?;
        if live.minted.has_bad_expiry {
            let what = "the time in the index's reply at which the token expires makes no sense";
            report::warning(&format!("{what}; {}", validity(live.minted.expires_unix_secs)), self.env);
        }
        Ok(live)
    }

    /// Sends an API token for revocation. True if the index has accepted it. A failure is a warning: the token expires
    /// by itself.
    fn revoke(&self, token: &str, expires_unix_secs: Option<u64>, deadline: Deadline) -> bool {
        let index = &self.settings.index;
        let http = self.http.until(deadline);
        let revoked = retry::run(&http, |_| index_api::revoke(index, token, &http));
        let validity = validity(expires_unix_secs);
        match &revoked {
            Ok(true) => http.log.line(&format!("{} has accepted the API token for revocation", index.name())),
            Ok(false) => http.log.line(&format!("{} can't revoke API tokens; {validity}", index.name())),
            Err(error) => {
                report::warning(&format!("the API token could not be revoked; {validity}: {error}"), self.env);
            }
        }
        revoked.unwrap_or(false)
    }

    /// The variables that COMMAND must not inherit, because they hold the job's identity.
    pub fn identity_variables(&self, audience: &Audience) -> Vec<String> {
        let Settings { keep_identity, id_token_env, .. } = self.settings;
        if *keep_identity { vec![] } else { identity::variables(id_token_env.as_deref(), &audience.requested) }
    }

    /// The same error. A refusal gets its causes, for which the index may be asked what it publishes.
    fn with_causes(&self, mut error: Error, id_token: &IdToken, audience: &Audience) -> Error {
        if error.kind == Kind::Refused
            && let Some(job) = self.job(id_token, audience)
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

    /// The job that the ID token describes; `None` if the token has no claims. A job has no secret.
    pub fn job(&self, id_token: &IdToken, audience: &Audience) -> Option<Job<'_>> {
        let Settings { index, project, id_token_env, .. } = self.settings;
        let job = Job::of(Claims::of(id_token)?, index, self.env);
        let (audience, id_token_env) = (audience.accepted.clone(), id_token_env.clone());
        Some(Job { audience, id_token_env, projects: pyproject::known(project.as_deref()), ..job })
    }
}

/// An API token that was minted. It ends in one of two ways: handed over, or revoked, at the latest when this is
/// dropped. A panic or SIGKILL ends this program without revocation.
pub struct LiveToken<'a> {
    pub minted: Minted,
    exchange: &'a Exchange<'a>,
    /// It was handed over, or sent for revocation.
    has_ended: bool,
}

impl LiveToken<'_> {
    /// Hands the token over. What `deliver` returns; its error revokes the token.
    pub fn hand_over<T>(mut self, deliver: impl FnOnce(&Minted) -> Result<T>) -> Result<T> {
        let delivered = deliver(&self.minted)?;
        self.has_ended = true;
        Ok(delivered)
    }

    /// Sends the token for revocation. True if the index has accepted it.
    pub fn revoke(mut self) -> bool {
        self.has_ended = true;
        self.send_for_revocation()
    }

    fn send_for_revocation(&self) -> bool {
        self.exchange.revoke(self.minted.token.reveal(), self.minted.expires_unix_secs, revocation_deadline())
    }
}

impl Drop for LiveToken<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.send_for_revocation();
        }
    }
}

fn revocation_deadline() -> Deadline {
    Deadline::after(REVOCATION_TIMEOUT).ignoring_signals()
}
