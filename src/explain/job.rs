//! The job whose ID token was refused, or would be, as the values for the publisher form; and the way to that form.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::claims::Claims;
use crate::env::{Env, JOB, WORKSPACE};
use crate::error::{Cause, Link};
use crate::explain::publisher_form::{ENVIRONMENT_NAME, Form, Provider};
use crate::index::Index;
use crate::text::shown;

/// Far more claims than an issuer ever made.
pub const MAX_CLAIMS: usize = 60;

/// The code of a refusal because a pending publisher names a project that exists.
pub const PROJECT_EXISTS: &str = "invalid-pending-publisher";

/// Names with their values.
type Rows = Vec<(String, String)>;

/// The job, and what is known beside its claims.
pub struct Job<'a> {
    pub claims: &'a Claims,
    pub index: &'a Index,
    /// The audience that the index takes, as far as it is known.
    pub audience: Option<&'a str>,
    /// The variable that the ID token came in, where the user named one.
    pub id_token_env: Option<&'a str>,
    /// The projects that it is to publish, as far as they are known.
    pub projects: &'a [String],
    pub checkout: Checkout,
    pub now_unix_secs: u64,
}

/// Where the job's files are.
pub struct Checkout {
    pub folder: PathBuf,
    /// What the job is called in its workflow file.
    pub job: Option<String>,
}

impl Checkout {
    /// That of a GitHub job, or the working folder.
    pub fn of(env: &Env) -> Checkout {
        Checkout {
            folder: env.get(WORKSPACE).unwrap_or(OsStr::new(".")).into(),
            job: env.text(JOB).ok().flatten().map(str::to_owned),
        }
    }
}

impl Job<'_> {
    /// The project that it is to publish, if it is one.
    pub fn project(&self) -> Option<&str> {
        if let [project] = self.projects { Some(project) } else { None }
    }

    /// This job's values for the publisher form, and what counts beside them.
    pub fn rows(&self) -> (Rows, Rows) {
        let form = Form::of(self.claims);
        let value = |value: &Option<String>, name| match (value, name) {
            (Some(value), _) => shown(value),
            (None, ENVIRONMENT_NAME) => "(none: leave it empty)".to_owned(),
            (None, _) => "(not in the ID token)".to_owned(),
        };
        let fields = form.fields.iter().map(|field| (field.name.to_owned(), value(&field.value, field.name)));
        let mut context: Rows = vec![];
        match form.provider {
            Provider::GitHub => context.push(("owner ID".to_owned(), self.shown("repository_owner_id"))),
            Provider::GitLab | Provider::Google => {}
            Provider::Other => {
                let claims = self.claims.iter().filter(|(name, _)| *name != "jti").take(MAX_CLAIMS);
                context.extend(claims.map(|(name, value)| (shown(name), shown(value))));
            }
        }
        if form.provider != Provider::Other {
            context.push(("issuer".to_owned(), self.shown("iss")));
        }
        context.push(("index".to_owned(), self.index.to_string()));
        (fields.collect(), context)
    }

    /// Where the publisher is registered, on the indexes whose pages are known; nothing where that would not help.
    pub fn link(&self, causes: &[Cause], has_project: Option<bool>) -> Option<Link> {
        let origin = self.index.site()?;
        let form = Form::of(self.claims);
        if form.provider == Provider::Other || !causes.iter().any(|cause| cause.needs_form) {
            return None;
        }
        let account = format!("{origin}/manage/account/publishing/");
        let (mut what, address) = match self.project() {
            None if has_project == Some(true) => (
                "your projects; the page of this one has a page Publishing".to_owned(),
                format!("{origin}/manage/projects/"),
            ),
            Some(project) if has_project == Some(false) => (
                format!("your account's page Publishing, for a pending publisher of {project} (enter the values yourself)"),
                account,
            ),
            Some(project) => (
                format!("the page of {project} with the form filled in (it adds a publisher; check what is there first)"),
                form.address(origin, project)?,
            ),
            None => (
                "for a project that does not exist yet (enter the values yourself); for one that does, its page Manage → \
                 Publishing (with --project, you get a link with the form filled in)"
                    .to_owned(),
                account,
            ),
        };
        if form.refuses_environment() {
            what.push_str(
                ". The form refuses this environment's name: GitHub would take it, but the form takes at most 255 characters and \
                 none of ' \" ` , ; \\",
            );
        }
        Some(Link { what, address })
    }

    /// A claim, fit to be shown.
    pub fn shown(&self, name: &str) -> String {
        shown(&self.claims.text(name).unwrap_or_default())
    }

    /// Who issued the ID token.
    pub fn issuer(&self) -> String {
        self.claims.text("iss").map_or("an issuer that it does not name".to_owned(), |issuer| shown(&issuer))
    }
}
