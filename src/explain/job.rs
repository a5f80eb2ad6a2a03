//! The job that an ID token describes: its values for the publisher form, and the link to that form.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::claims::Claims;
use crate::env::Env;
use crate::explain::Link;
use crate::explain::published::Published;
use crate::explain::publisher_form::{ENVIRONMENT_NAME, Form, Provider};
use crate::index::Index;
use crate::text::shown;
use crate::time;

/// Far more claims than an issuer ever made.
pub const MAX_CLAIMS: usize = 60;

/// Names with their values.
type Rows = Vec<(String, String)>;

/// The job: its claims, and other things that are known about it. It contains no secret.
pub struct Job<'a> {
    pub claims: Claims,
    /// Its values for the publisher form.
    pub form: Form,
    pub index: &'a Index,
    /// The audience that the index takes, as far as it is known.
    pub audience: Option<String>,
    /// The variable that the ID token came in, where the user named one.
    pub id_token_env: Option<String>,
    /// The projects that it is to publish, as far as they are known.
    pub projects: Vec<String>,
    /// The public data about the project.
    pub published: Published,
    /// The folder of its checkout.
    pub checkout: PathBuf,
    /// Its name in its workflow file.
    pub name: Option<String>,
    pub now_unix_secs: u64,
}

impl Job<'_> {
    /// The job of these claims, without what the user says of it.
    pub fn of<'a>(claims: Claims, index: &'a Index, env: &Env) -> Job<'a> {
        Job {
            form: Form::of(&claims),
            claims,
            index,
            audience: None,
            id_token_env: None,
            projects: vec![],
            published: Published::NotAsked,
            checkout: env.get("GITHUB_WORKSPACE").unwrap_or(OsStr::new(".")).into(),
            name: env.text("GITHUB_JOB").ok().flatten().map(str::to_owned),
            now_unix_secs: time::now_unix_secs(),
        }
    }

    /// The project that it is to publish, if it is one.
    pub fn project(&self) -> Option<&str> {
        if let [project] = &self.projects[..] { Some(project) } else { None }
    }

    /// This job's values for the publisher form, and other values that the index compares.
    pub fn rows(&self) -> (Rows, Rows) {
        let fields = self.form.fields.iter().map(|field| {
            let without = match field.name {
                ENVIRONMENT_NAME => "(none: leave it empty)",
                _ => "(not in the ID token)",
            };
            (field.name.to_owned(), field.value.as_deref().map_or_else(|| without.to_owned(), shown))
        });
        let claim = |name: &str, claim| (name.to_owned(), self.shown(claim));
        let mut context: Rows = match self.form.provider {
            Provider::GitHub => vec![claim("owner ID", "repository_owner_id"), claim("issuer", "iss")],
            Provider::GitLab | Provider::Google => vec![claim("issuer", "iss")],
            Provider::Other => {
                let claims = self.claims.iter().filter(|(name, _)| *name != "jti").take(MAX_CLAIMS);
                claims.map(|(name, value)| (shown(name), shown(value))).collect()
            }
        };
        context.push(("index".to_owned(), self.index.to_string()));
        (fields.collect(), context)
    }

    /// The page on which the publisher is registered, if the index's pages are known.
    pub fn link(&self, has_project: Option<bool>) -> Option<Link> {
        let origin = self.index.site().filter(|_| self.form.provider != Provider::Other)?;
        let account = format!("{origin}/manage/account/publishing/");
        let (mut what, address) = match (self.project(), has_project) {
            (None, Some(true)) => (
                "your projects; the page of this one has a page Publishing".to_owned(),
                format!("{origin}/manage/projects/"),
            ),
            (Some(project), Some(false)) => (
                format!("your account's page Publishing, for a pending publisher of {project} (enter the values yourself)"),
                account,
            ),
            (Some(project), _) => (
                format!("the page of {project} with the form filled in (it adds a publisher; check what is there first)"),
                self.form.address(origin, project),
            ),
            (None, _) => (
                "for a project that does not exist yet (enter the values yourself); for one that does, its page Manage → \
                 Publishing (with --project, you get a link with the form filled in)"
                    .to_owned(),
                account,
            ),
        };
        if self.form.refuses_environment() {
            what.push_str(
                ". The form refuses this environment's name: GitHub would take it, but the form takes at most 255 characters and \
                 none of ' \" ` , ; \\",
            );
        }
        Some(Link { what, address })
    }

    /// A claim, made harmless.
    pub fn shown(&self, name: &str) -> String {
        shown(&self.claims.text(name).unwrap_or_default())
    }

    /// Who issued the ID token.
    pub fn issuer(&self) -> String {
        self.claims.text("iss").map_or("an issuer that it does not name".to_owned(), |issuer| shown(&issuer))
    }
}
