//! A job's values for PyPI's form for trusted publishers, and the address of that form, filled in.
//!
//! Which claim fills which field: pypi/warehouse, `warehouse/oidc/models/{github,gitlab,google}.py`; the form's
//! parameters: `warehouse/manage/views/oidc_publishers.py`.

use crate::claims::Claims;
use crate::json::Object;
use crate::net::url::percent_encode;

/// The issuer of GitHub's ID tokens. An enterprise may have one of its own below it, which PyPI does not take.
const GITHUB: &str = "https://token.actions.githubusercontent.com";

const GITLAB: &str = "https://gitlab.com";
const GOOGLE: &str = "https://accounts.google.com";
const ACTIVESTATE: &str = "https://platform.activestate.com/api/v1/oauth/oidc";

/// The one field that may stay empty.
pub const ENVIRONMENT_NAME: &str = "Environment name";
pub const WORKFLOW_NAME: &str = "Workflow name";
const OWNER: &str = "Owner";
const REPOSITORY_NAME: &str = "Repository name";
const EMAIL: &str = "Email";
const NAMESPACE: &str = "Namespace";
const PROJECT_NAME: &str = "Project name";
const PIPELINE: &str = "Top-level pipeline file path";

/// Who issued the ID token, as far as PyPI has a form for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    GitHub,
    GitLab,
    Google,
    Other,
}

impl Provider {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Provider::GitHub => "GitHub",
            Provider::GitLab => "GitLab",
            Provider::Google => "Google Cloud",
            Provider::Other => "another CI system",
        }
    }

    /// True if a publisher with one of these fields takes a job with the other.
    pub fn takes(self, publisher: &Field, job: &Field) -> bool {
        match (self, publisher.name, &publisher.value, &job.value) {
            (_, ENVIRONMENT_NAME, None, _) => true,
            (Provider::GitHub, ENVIRONMENT_NAME, Some(publisher), Some(job))
            | (Provider::GitLab, NAMESPACE | PROJECT_NAME, Some(publisher), Some(job)) => {
                publisher.eq_ignore_ascii_case(job)
            }
            (_, _, publisher, job) => publisher == job,
        }
    }
}

/// A job's values for the form.
pub struct Form {
    pub provider: Provider,
    /// Name, value and the form's parameter. `None`: leave the field empty.
    pub fields: Vec<Field>,
}

/// One field of the form.
pub struct Field {
    pub name: &'static str,
    pub value: Option<String>,
    parameter: &'static str,
}

impl Form {
    /// The form that an identity would be entered in.
    pub fn of(claims: &Claims) -> Form {
        let provider = match claims.text("iss").as_deref() {
            Some(issuer) if issuer == GITHUB || issuer.starts_with(&format!("{GITHUB}/")) => Provider::GitHub,
            Some(GITLAB) => Provider::GitLab,
            Some(GOOGLE) => Provider::Google,
            _ if is_of_own_gitlab(claims) => Provider::GitLab,
            _ => Provider::Other,
        };
        let field = |name, parameter, value| Field { name, value, parameter };
        let fields = match provider {
            Provider::GitHub => vec![
                field(OWNER, "owner", claims.text("repository_owner")),
                field(REPOSITORY_NAME, "repository", repository_name(claims)),
                field(WORKFLOW_NAME, "workflow_filename", workflow_file(claims, "job_workflow_ref")),
                field(ENVIRONMENT_NAME, "environment", claims.text("environment")),
            ],
            Provider::GitLab => {
                let path = claims.text("project_path").unwrap_or_default();
                let (namespace, project) = path.rsplit_once('/').unwrap_or(("", &path));
                let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
                let mut fields = vec![
                    field(NAMESPACE, "namespace", some(namespace)),
                    field(PROJECT_NAME, "project", some(project)),
                    field(PIPELINE, "workflow_filepath", pipeline_file(claims)),
                    field(ENVIRONMENT_NAME, "environment", claims.text("environment")),
                ];
                if is_of_own_gitlab(claims) {
                    fields.push(field("Issuer URL", "issuer_url", claims.text("iss")));
                }
                fields
            }
            Provider::Google => {
                vec![field(EMAIL, "email", claims.text("email")), field("Subject", "sub", claims.text("sub"))]
            }
            Provider::Other => vec![],
        };
        Form { provider, fields }
    }

    /// The form as it was filled in for a publisher that the index shows (pypi_attestations, `Publisher`); `None` for one of a
    /// kind that is not known.
    pub fn of_publisher(publisher: &Object) -> Option<Form> {
        let text = |key: &'static str| publisher.get(key).ok().filter(|text: &String| !text.is_empty());
        let field = |name, value| Field { name, value, parameter: "" };
        let repository = text("repository").unwrap_or_default();
        // Nothing is compared by halves.
        let with_repository = |owner_field, name_field, file_field, file: &'static str| {
            let (owner, name) = repository.rsplit_once('/')?;
            Some(vec![
                field(owner_field, Some(owner.to_owned())),
                field(name_field, Some(name.to_owned())),
                field(file_field, Some(text(file)?)),
                field(ENVIRONMENT_NAME, text("environment")),
            ])
        };
        let (provider, fields) = match text("kind")?.as_str() {
            "GitHub" => (Provider::GitHub, with_repository(OWNER, REPOSITORY_NAME, WORKFLOW_NAME, "workflow")?),
            "GitLab" => (Provider::GitLab, with_repository(NAMESPACE, PROJECT_NAME, PIPELINE, "workflow_filepath")?),
            "Google" => (Provider::Google, vec![field(EMAIL, Some(text("email")?))]),
            _ => return None,
        };
        Some(Form { provider, fields })
    }

    /// The environment, if there is one.
    pub fn environment(&self) -> Option<&str> {
        self.fields.iter().find(|field| field.name == ENVIRONMENT_NAME)?.value.as_deref()
    }

    /// True for an environment that GitHub allows and PyPI's form does not.
    pub fn refuses_environment(&self) -> bool {
        let refused = |name: &str| name.chars().count() > 255 || name.contains(['\'', '"', '`', ',', ';', '\\']);
        self.provider == Provider::GitHub && self.environment().is_some_and(refused)
    }

    /// The page of `project` on the index at `origin` with the form filled in; `None` where there is no form.
    pub fn address(&self, origin: &str, project: &str) -> Option<String> {
        let provider = match self.provider {
            Provider::GitHub => "github",
            Provider::GitLab => "gitlab",
            Provider::Google => "google",
            Provider::Other => return None,
        };
        let parameters = self.fields.iter().filter_map(|field| {
            field.value.as_ref().map(|value| format!("&{}={}", field.parameter, percent_encode(value)))
        });
        let parameters: String = parameters.collect();
        Some(format!(
            "{origin}/manage/project/{}/settings/publishing/?provider={provider}{parameters}",
            percent_encode(project)
        ))
    }
}

/// True if PyPI takes ID tokens of that issuer, or does once an organisation has registered its GitLab there.
pub fn is_taken_by_pypi(claims: &Claims) -> bool {
    let issuer = claims.text("iss").unwrap_or_default();
    [GITHUB, GITLAB, GOOGLE, ACTIVESTATE].contains(&issuer.as_str()) || is_of_own_gitlab(claims)
}

/// True for a self-managed GitLab, whose ID tokens have the claims that GitLab.com's have.
fn is_of_own_gitlab(claims: &Claims) -> bool {
    claims.text("iss").is_some_and(|issuer| issuer != GITLAB)
        && claims.text("project_path").is_some()
        && claims.text("ci_config_ref_uri").is_some()
}

/// The repository's name from its own claim; `sub` may have any form.
fn repository_name(claims: &Claims) -> Option<String> {
    let repository = claims.text("repository")?;
    Some(repository.rsplit('/').next().unwrap_or(&repository).to_owned())
}

/// The bare file name in `OWNER/REPO/.github/workflows/FILE@REF`.
pub fn workflow_file(claims: &Claims, name: &str) -> Option<String> {
    let text = claims.text(name)?;
    without_ref(&text)?.rsplit('/').next().map(str::to_owned)
}

/// `OWNER/REPO` in `OWNER/REPO/.github/workflows/FILE@REF`.
pub fn workflow_repository(workflow_ref: &str) -> Option<String> {
    let mut parts = workflow_ref.split('/');
    Some(format!("{}/{}", parts.next()?, parts.next()?))
}

/// `PATH.yml` in `gitlab.com/NAMESPACE/PROJECT//PATH.yml@REF`. The path ends before the last `@` that follows `.yml` or `.yaml`, as
/// PyPI reads it.
fn pipeline_file(claims: &Claims) -> Option<String> {
    let text = claims.text("ci_config_ref_uri")?;
    let (_, path) = text.split_once("//")?;
    let ends = [".yml@", ".yaml@"].iter().filter_map(|end| path.rfind(end).map(|at| at + end.len() - 1));
    path.get(..ends.max()?).map(str::to_owned)
}

/// What stands before the first `@` that follows `.yml` or `.yaml`, as PyPI reads it: a ref may hold slashes and at-signs.
fn without_ref(text: &str) -> Option<&str> {
    let ends = [".yml@", ".yaml@"].iter().filter_map(|end| text.find(end).map(|at| at + end.len() - 1));
    text.get(..ends.min()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_is_read_whole_or_not_at_all() {
        let form = |json: &str| Form::of_publisher(&Object::read(json.as_bytes()).unwrap());
        let whole = r#"{"kind": "GitHub", "repository": "a/b", "workflow": "c.yml", "environment": null}"#;
        assert_eq!(form(whole).map(|form| form.provider), Some(Provider::GitHub));
        for json in [
            "{}",
            r#"{"kind": "GitHub", "repository": "a/b"}"#,
            r#"{"kind": "GitHub", "repository": "a", "workflow": "c.yml"}"#,
            r#"{"kind": "GitLab", "repository": "a/b", "workflow": "c.yml"}"#,
            r#"{"kind": "Google"}"#,
            r#"{"kind": "Other", "repository": "a/b", "workflow": "c.yml"}"#,
        ] {
            assert!(form(json).is_none(), "{json}");
        }
    }
}
