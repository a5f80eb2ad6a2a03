//! What is wrong with an ID token by itself, whatever is registered; and what the index says of it before, or after, it looks for
//! a publisher.

use crate::error::Cause;
use crate::explain::job::Job;
use crate::explain::publisher_form::is_taken_by_pypi;
use crate::text::shown;
use crate::time;

/// How far PyPI lets clocks differ (pypi/warehouse, `warehouse/oidc/services.py`).
const LEEWAY_SECS: u64 = 30;

const TROUBLESHOOTING: &str = "https://docs.pypi.org/trusted-publishers/troubleshooting/";

/// What PyPI says of the name of the project that a pending publisher is to create, and what that means.
const BAD_NAMES: [(&str, &str); 5] = [
    ("is too similar to an existing project", "a project has a name that is too much like it"),
    ("conflict with Python Standard Library module name", "a module of Python's standard library has that name"),
    ("isn't allowed", "PyPI allows nobody to use that name"),
    ("conflicts with an existing project", "a project has that name, but for case, dots, hyphens and underscores"),
    ("is invalid", "it is not a name as projects have them"),
];

impl Job<'_> {
    /// What is wrong with the ID token, whatever is registered.
    pub fn causes_in_token(&self) -> Vec<Cause> {
        let mut causes = vec![];
        let expired = |expires: &u64| expires.saturating_add(LEEWAY_SECS) <= self.now_unix_secs;
        if let Some(expires) = self.claims.unix_secs("exp").filter(expired) {
            causes.push(Cause::certain(format!(
                "the ID token has expired: it was valid until {}. Run the job again: it gets a new one. If that does not help, \
                 a clock is wrong",
                time::utc(expires)
            )));
        }
        let ahead = |name: &&str| {
            let at = self.claims.unix_secs(name);
            at.is_some_and(|at| at > self.now_unix_secs.saturating_add(LEEWAY_SECS))
        };
        if let Some(name) = ["nbf", "iat"].into_iter().find(ahead) {
            causes.push(Cause::certain(format!(
                "the ID token is not valid yet by this machine's clock: its claim {name} is {}. A clock is wrong, here or at the \
                 issuer",
                time::utc(self.claims.unix_secs(name).unwrap_or_default())
            )));
        }
        let aud = self.claims.iter().find(|(name, _)| *name == "aud").map_or("none", |(_, aud)| aud);
        if let Some(expected) = self.audience.filter(|audience| !self.claims.has_audience(audience)) {
            causes.push(Cause::certain(format!(
                "the ID token is for the audience {}, and {} takes `{}` only. {}",
                shown(aud),
                self.index.name(),
                shown(expected),
                self.audience_advice()
            )));
        } else if self.index.site().is_some() && aud.starts_with('[') {
            causes.push(Cause::certain(format!(
                "the ID token's audience is a list, {}, and {} takes a text only, even where the list has the right one. {}",
                shown(aud),
                self.index.name(),
                self.audience_advice()
            )));
        }
        causes
    }

    fn audience_advice(&self) -> String {
        match self.id_token_env {
            Some(variable) => format!(
                "Correct it where the CI system is told to put the ID token into {}, or correct --index",
                shown(variable)
            ),
            None => "Leave --audience out, or correct --index".to_owned(),
        }
    }

    /// It could not be verified, and nothing in it shows why.
    pub fn not_verified(&self) -> Cause {
        let index = self.index.name();
        let looked_at = match self.audience {
            Some(_) => "though its audience and its time look right from here",
            None => {
                "though its time looks right from here; which audience the index takes was not asked, since one was named"
            }
        };
        Cause::possible(format!(
            "{index} could not verify the ID token, {looked_at}. It is not for this index, or was changed on its way. Run the job \
             again; if that does not help, check --index, and: {}",
            self.audience_advice()
        ))
    }

    /// What the code `invalid-payload` is about.
    pub fn payload(&self, description: &str) -> Option<Cause> {
        let index = self.index.name();
        if description.contains("unknown trusted publishing issuer") {
            return Some(self.unknown_issuer());
        }
        if description.contains("malformed JWT") {
            return Some(Cause::certain(format!(
                "what was sent is no JSON Web Token that {index} can read. Is it the CI system's ID token, unchanged? More on \
                 that: {TROUBLESHOOTING}"
            )));
        }
        let kept = "a pending publisher matched this job, and was kept";
        if description.contains("New project registration temporarily disabled") {
            return Some(Cause::certain(format!(
                "{kept}, but {index} lets nobody create projects for now. Run the job again later"
            )));
        }
        let (_, why) = BAD_NAMES.into_iter().find(|(words, _)| description.contains(words))?;
        Some(Cause::certain(format!(
            "{kept}, but {index} can't create a project with the name that it gives: {why}. Choose another name, and add a pending \
             publisher for that"
        )))
    }

    /// An issuer that PyPI and TestPyPI don't take, as far as is known here.
    pub fn cause_in_issuer(&self) -> Option<Cause> {
        let is_unknown = self.index.site().is_some() && self.claims.text("iss").is_some();
        (is_unknown && !is_taken_by_pypi(self.claims)).then(|| self.unknown_issuer())
    }

    fn unknown_issuer(&self) -> Cause {
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
