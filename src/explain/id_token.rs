//! Faults of an ID token itself, whatever publishers are registered.

use crate::explain::Cause;
use crate::explain::expiry::utc;
use crate::explain::job::Job;
use crate::explain::publisher_form::is_taken_by_pypi;
use crate::text::shown;

/// How far PyPI lets clocks differ (pypi/warehouse, `warehouse/oidc/services.py`).
const LEEWAY_SECS: u64 = 30;

impl Job<'_> {
    /// Why the index would refuse the ID token for certain.
    pub fn causes_in_token(&self) -> Vec<Cause> {
        let (index, advice) = (self.index.name(), self.audience_advice());
        let mut texts = vec![];
        let (at, now) = (|name: &str| self.claims.unix_secs(name), self.now_unix_secs);
        if let Some(expires) = at("exp").filter(|expires| expires.saturating_add(LEEWAY_SECS) <= now) {
            texts.push(format!(
                "the ID token has expired: it was valid until {}. Run the job again: it gets a new one. If that does not help, \
                 a clock is wrong",
                utc(expires)
            ));
        }
        let ahead = |name| Some((name, at(name).filter(|at| *at > now.saturating_add(LEEWAY_SECS))?));
        if let Some((name, at)) = ["nbf", "iat"].into_iter().find_map(ahead) {
            texts.push(format!(
                "the ID token is not valid yet by this machine's clock: its claim {name} is {}. A clock is wrong, here or at the \
                 issuer",
                utc(at)
            ));
        }
        let aud = self.claims.iter().find(|(name, _)| *name == "aud").map_or("none", |(_, aud)| aud);
        if let Some(expected) = self.audience.as_ref().filter(|audience| !self.claims.has_audience(audience)) {
            texts.push(format!(
                "the ID token is for the audience {}, and {index} takes `{}` only. {advice}",
                shown(aud),
                shown(expected),
            ));
        } else if self.index.site().is_some() && aud.starts_with('[') {
            texts.push(format!(
                "the ID token's audience is a list, {}, and {index} takes a text only, even where the list has the right one. \
                 {advice}",
                shown(aud),
            ));
        }
        texts.into_iter().map(Cause::certain).collect()
    }

    fn audience_advice(&self) -> String {
        match &self.id_token_env {
            Some(variable) => format!(
                "Correct it where the CI system is told to put the ID token into {}, or correct --index",
                shown(variable)
            ),
            None => "Leave --audience out, or correct --index".to_owned(),
        }
    }

    /// The index could not verify the ID token, and nothing in it shows why.
    pub fn not_verified(&self) -> Cause {
        let looked_at = match self.audience {
            Some(_) => "though its audience and its time look right from here",
            None => {
                "though its time looks right from here; which audience the index takes was not asked, since one was named"
            }
        };
        Cause::possible(format!(
            "{} could not verify the ID token, {looked_at}. It is not for this index, or was changed on its way. Run the job \
             again; if that does not help, check --index, and: {}",
            self.index.name(),
            self.audience_advice()
        ))
    }

    /// An issuer that PyPI and TestPyPI don't take, as far as is known here.
    pub fn cause_in_issuer(&self) -> Option<Cause> {
        let is_known =
            self.index.site().is_none() || self.claims.text("iss").is_none() || is_taken_by_pypi(&self.claims);
        (!is_known).then(|| self.unknown_issuer())
    }

    /// The index does not take ID tokens of this issuer.
    pub fn unknown_issuer(&self) -> Cause {
        Cause::certain(format!(
            "{} takes no ID tokens that were issued by {}. When this version of token-mint was made, PyPI took those of \
             GitHub.com, GitLab.com, Google Cloud, ActiveState, and of an organisation's own GitLab that it has registered; a \
             GitHub Enterprise Server, or an enterprise with an issuer of its own, is none of them. Publish from a CI system that \
             the index takes",
            self.index.name(),
            self.issuer()
        ))
    }
}
