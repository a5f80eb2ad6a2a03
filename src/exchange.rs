//! The exchange step by step: the audience, the ID token, the API token; and in the end its revocation.

use std::time::Duration;

use crate::claims::Claims;
use crate::deadline::Deadline;
use crate::env::Env;
use crate::error::{Error, Result, Subject};
use crate::expiry;
use crate::handover;
use crate::http::Http;
use crate::identity::{self, Identity};
use crate::index::{Index, Minted};
use crate::log::Log;
use crate::project;
use crate::report;
use crate::retry::Retry;
use crate::secret::{ApiToken, IdToken, redact_tokens};
use crate::settings::Settings;
use crate::signals;
use crate::workflow::neutralise;

/// How long an answer with an API token is waited for after a signal. GitHub kills a cancelled job's processes ten seconds after
/// the first signal.
const MINT_GRACE: Duration = Duration::from_secs(5);
/// For the revocation, which comes when the job is done but for this.
const BURN_TIMEOUT: Duration = Duration::from_secs(10);

/// The audience of an ID token that is only looked at, where the index's own is not known without asking it.
const NO_AUDIENCE: &str = "token-mint-claims";

/// One run's exchange.
pub struct Exchange<'a> {
    settings: &'a Settings,
    env: &'a Env,
    identity: Identity,
    http: Http,
    retry: Retry,
    pub log: Log,
}

/// An ID token, and which audience it was asked for.
pub struct Proof {
    pub id_token: IdToken,
    audience: String,
    /// What the index takes, as far as it is known. An audience that the user names is the user's word.
    pub expected: Option<String>,
}

impl Exchange<'_> {
    /// Finds out whose job this is, and starts the clock. Nothing is sent.
    ///
    /// # Errors
    /// Those of [`identity::recognise`], and [`Error::NoStderr`].
    pub fn prepare<'a>(settings: &'a Settings, env: &'a Env) -> Result<Exchange<'a>> {
        let log = Log::new(settings.verbosity);
        let deadline = Deadline::after(settings.timeout);
        let http = Http::new(deadline, log, settings.proxies.clone());
        let identity = identity::recognise(settings.id_token_env.as_deref(), env)?;
        handover::check_masks(env)?;
        Ok(Exchange { settings, env, identity, http, retry: Retry { deadline, log }, log })
    }

    /// Asks for an ID token that the index takes, and masks it.
    ///
    /// # Errors
    /// Those of [`crate::index::Index::audience`] and [`Identity::id_token`], and [`Error::Mask`].
    pub fn request_id_token(&self) -> Result<Proof> {
        let Settings { index, audience, .. } = self.settings;
        self.log.line(&format!("version {}, index {index}", env!("CARGO_PKG_VERSION")));
        let expected = match audience {
            None => Some(self.retry.run(Error::may_pass, |_| index.audience(&self.http))?),
            Some(_) => index.known_audience(),
        };
        let audience = audience.clone().or_else(|| expected.clone()).unwrap_or_default();
        self.log.line(&format!("{}, audience {}", self.identity.how(), neutralise(&redact_tokens(&audience), 100)));
        self.retry.run(Error::may_pass, |_| self.prove(&audience, &expected, &self.http))
    }

    /// The same, for an ID token that the index never gets: the index is asked for nothing.
    ///
    /// # Errors
    /// Those of [`Identity::id_token`], and [`Error::Mask`].
    pub fn request_id_token_to_look_at(&self) -> Result<Proof> {
        let Settings { index, audience, .. } = self.settings;
        let expected = index.known_audience();
        let audience = audience.clone().or_else(|| expected.clone()).unwrap_or_else(|| NO_AUDIENCE.to_owned());
        self.retry.run(Error::may_pass, |_| self.prove(&audience, &expected, &self.http))
    }

    fn prove(&self, audience: &str, expected: &Option<String>, http: &Http) -> Result<Proof> {
        let id_token = self.identity.id_token(audience, self.env, http)?;
        handover::mask(id_token.reveal(), self.env)?;
        Ok(Proof { id_token, audience: audience.to_owned(), expected: expected.clone() })
    }

    /// Exchanges the ID token for an API token, and masks that. The index spends an ID token before it makes an API token, so
    /// after a reply that was lost, only a fresh one will do.
    ///
    /// # Errors
    /// Those of [`crate::index::Index::mint`] and [`Identity::id_token`], and [`Error::Mask`]. [`Error::Signal`] if a signal
    /// came meanwhile; then an API token is not used.
    pub fn mint(&self, mut proof: Proof) -> Result<Minted> {
        let may_help = |error: &Error| error.may_pass() && (self.identity.gives_fresh() || !error.was_sent());
        let deadline = self.retry.deadline.with_grace(MINT_GRACE);
        let http = self.http.until(deadline);
        let tried = Retry { deadline, ..self.retry }.run(may_help, |failed| {
            if failed > 0 {
                proof = self.prove(&proof.audience, &proof.expected, &http)?;
            }
            self.settings.index.mint(&proof.id_token, &http, |useless| self.burn(useless))
        });
        let minted = tried.map_err(|error| error.about(self.subject(&proof)));
        let minted = minted?;
        if let Some(signal) = deadline.signal() {
            self.burn(&minted);
            return Err(Error::Signal(signals::status(signal)));
        }
        // Where it can't be hidden, it is not used.
        handover::mask(minted.token.reveal(), self.env).inspect_err(|_| self.burn(&minted))?;
        Ok(minted)
    }

    /// Revokes the API token. A failure is a warning: the token expires by itself.
    pub fn burn(&self, minted: &Minted) {
        let Settings { index, .. } = self.settings;
        let deadline = Deadline::after(BURN_TIMEOUT).despite_signals();
        let http = self.http.until(deadline);
        match revoke(&minted.token, index, &http, Retry { deadline, ..self.retry }) {
            Ok(true) => self.log.line("the API token was revoked"),
            Ok(false) => self.log.line(&format!("{} can't revoke API tokens; {}", index.name(), validity(minted))),
            Err(error) => {
                report::warning(
                    &format!("the API token could not be revoked; {}: {error}", validity(minted)),
                    self.env,
                );
            }
        }
    }

    /// What a program shall not inherit that has no business with this identity.
    pub fn identity_variables(&self, proof: &Proof) -> Vec<String> {
        let Settings { keep_identity, id_token_env, .. } = self.settings;
        if *keep_identity { vec![] } else { identity::variables(id_token_env.as_deref(), &proof.audience) }
    }

    /// When everything has to be done.
    pub fn deadline(&self) -> Deadline {
        self.retry.deadline
    }

    fn subject(&self, proof: &Proof) -> Option<Subject> {
        Some(Subject {
            claims: Claims::of(&proof.id_token)?,
            audience: proof.expected.clone(),
            project: project::known(self.settings.project.as_deref()),
            now_unix_secs: expiry::now_unix_secs(),
        })
    }
}

/// Revokes an API token, in several attempts if need be. True if the index did; false if it can't.
///
/// # Errors
/// Those of [`Index::burn`].
pub fn revoke(token: &ApiToken, index: &Index, http: &Http, retry: Retry) -> Result<bool> {
    let mut reply_was_lost = false;
    retry.run(Error::may_pass, |_| match index.burn(token, http) {
        // An earlier attempt did it, whose reply did not come through.
        Err(Error::Refused { .. }) if reply_was_lost => Ok(true),
        burned => {
            reply_was_lost = matches!(&burned, Err(error @ Error::Exchange { .. }) if error.was_sent());
            burned
        }
    })
}

/// Until when an API token is valid, in words.
pub fn validity(minted: &Minted) -> String {
    match minted.expires_unix_secs {
        Some(expires) => format!("it is valid until {}", expiry::describe(expires, expiry::now_unix_secs())),
        None => "the index does not say until when it is valid (PyPI's tokens live 15 minutes)".to_owned(),
    }
}
