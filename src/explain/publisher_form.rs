//! A job's values for PyPI's form for trusted publishers, and the address of that form, filled in.
//!
//! Which claim fills which field: pypi/warehouse, `warehouse/oidc/models/{github,gitlab,google}.py`; the form's
//! parameters: `warehouse/manage/views/oidc_publishers.py`; the publishers that the index shows: pypi_attestations,
//! `Publisher`.

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
const NAMESPACE: &str = "Namespace";
const PROJECT_NAME: &str = "Project name";

/// A field of the form: its name; its parameter in the form's address; the claim with a job's value; and the member
/// with that of a publisher that the index shows. The value is a part of either.
type Row = (&'static str, &'static str, (&'static str, Part), (&'static str, Part));
type Part = fn(&str) -> Option<&str>;

const GITHUB_FORM: [Row; 4] = [
    ("Owner", "owner", ("repository_owner", whole), ("repository", owner)),
    ("Repository name", "repository", ("repository", name), ("repository", name)),
    (WORKFLOW_NAME, "workflow_filename", ("job_workflow_ref", workflow_file), ("workflow", whole)),
    (ENVIRONMENT_NAME, "environment", ("environment", whole), ("environment", whole)),
];
const GITLAB_FORM: [Row; 4] = [
    (NAMESPACE, "namespace", ("project_path", owner), ("repository", owner)),
    (PROJECT_NAME, "project", ("project_path", name), ("repository", name)),
    (
        "Top-level pipeline file path",
        "workflow_filepath",
        ("ci_config_ref_uri", pipeline_file),
        ("workflow_filepath", whole),
    ),
    (ENVIRONMENT_NAME, "environment", ("environment", whole), ("environment", whole)),
];
const GOOGLE_FORM: [Row; 2] =
    [("Email", "email", ("email", whole), ("email", whole)), ("Subject", "sub", ("sub", whole), NOT_SHOWN)];
const NOT_SHOWN: (&str, Part) = ("", whole);

/// Who issued the ID token, as far as PyPI has a form for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    GitHub,
    GitLab,
    Google,
    Other,
}

impl Provider {
    /// A publisher's kind, which is also the form's parameter `provider`, in lower case; and the form's fields.
    fn form(self) -> (&'static str, &'static [Row]) {
        match self {
            Provider::GitHub => ("GitHub", &GITHUB_FORM),
            Provider::GitLab => ("GitLab", &GITLAB_FORM),
            Provider::Google => ("Google", &GOOGLE_FORM),
            Provider::Other => ("", &[]),
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        if self == Provider::Google { "Google Cloud" } else { self.form().0 }
    }
}

/// The form, filled in for a job or for a publisher.
pub struct Form {
    pub provider: Provider,
    pub fields: Vec<Field>,
}

/// One field of the form.
pub struct Field {
    pub name: &'static str,
    /// `None`: it stays empty.
    pub value: Option<String>,
    parameter: &'static str,
}

impl Field {
    fn new(name: &'static str, parameter: &'static str, text: Option<String>, part: Part) -> Field {
        let value = text.as_deref().and_then(part).filter(|value| !value.is_empty()).map(str::to_owned);
        Field { name, value, parameter }
    }
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
        let field = |&(name, parameter, (claim, part), _): &Row| Field::new(name, parameter, claims.text(claim), part);
        let (_, rows) = provider.form();
        let mut fields: Vec<Field> = rows.iter().map(field).collect();
        if provider == Provider::GitLab && is_of_own_gitlab(claims) {
            fields.push(Field::new("Issuer URL", "issuer_url", claims.text("iss"), whole));
        }
        Form { provider, fields }
    }

    /// The form of a publisher that the index shows. `None` if its kind is unknown, or a value is missing: an
    /// incomplete publisher is not compared.
    pub fn of_publisher(publisher: &Object) -> Option<Form> {
        let kind: String = publisher.get("kind").ok()?;
        let known = [Provider::GitHub, Provider::GitLab, Provider::Google];
        let provider = known.into_iter().find(|provider| provider.form().0 == kind)?;
        let (_, rows) = provider.form();
        let field = |&(name, parameter, _, (member, part)): &Row| {
            let field = Field::new(name, parameter, publisher.get(member).ok(), part);
            (field.value.is_some() || name == ENVIRONMENT_NAME).then_some(field)
        };
        let shown = rows.iter().filter(|(.., (member, _))| !member.is_empty());
        Some(Form { provider, fields: shown.map(field).collect::<Option<_>>()? })
    }

    /// The differences between this form, which is a publisher's, and a job's form for the same CI system: pairs of the
    /// publisher's field and the job's.
    pub fn differences<'a>(&'a self, job: &'a Form) -> Vec<(&'a Field, &'a Field)> {
        let differs = |(publisher, job): &(&Field, &Field)| match (self.provider, publisher.name, &publisher.value) {
            (_, ENVIRONMENT_NAME, None) => false,
            (Provider::GitHub, ENVIRONMENT_NAME, Some(value))
            | (Provider::GitLab, NAMESPACE | PROJECT_NAME, Some(value)) => {
                !job.value.as_ref().is_some_and(|job| job.eq_ignore_ascii_case(value))
            }
            (_, _, value) => *value != job.value,
        };
        self.fields.iter().zip(&job.fields).filter(differs).collect()
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

    /// The page of `project` on the index at `origin` with the form filled in.
    pub fn address(&self, origin: &str, project: &str) -> String {
        let provider = self.provider.form().0.to_ascii_lowercase();
        let project = percent_encode(project);
        let mut address = format!("{origin}/manage/project/{project}/settings/publishing/?provider={provider}");
        for Field { parameter, value, .. } in &self.fields {
            if let Some(value) = value {
                address.push_str(&format!("&{parameter}={}", percent_encode(value)));
            }
        }
        address
    }
}

/// True if PyPI takes ID tokens of that issuer, or does once an organisation has registered its GitLab there.
pub fn is_taken_by_pypi(claims: &Claims) -> bool {
    let issuer = claims.text("iss").unwrap_or_default();
    [GITHUB, GITLAB, GOOGLE, ACTIVESTATE].contains(&issuer.as_str()) || is_of_own_gitlab(claims)
}

/// True for a self-managed GitLab, whose ID tokens have the claims that GitLab.com's have.
fn is_of_own_gitlab(claims: &Claims) -> bool {
    let has = |name| claims.text(name).is_some();
    claims.text("iss").is_some_and(|issuer| issuer != GITLAB) && has("project_path") && has("ci_config_ref_uri")
}

// The parts.

fn whole(text: &str) -> Option<&str> {
    Some(text)
}

/// `GROUP/OWNER` in `GROUP/OWNER/NAME`.
fn owner(repository: &str) -> Option<&str> {
    Some(repository.rsplit_once('/')?.0)
}

/// `NAME` in `GROUP/OWNER/NAME`.
fn name(repository: &str) -> Option<&str> {
    repository.rsplit('/').next()
}

/// `FILE` in `OWNER/REPO/.github/workflows/FILE@REF`. The path ends before the first `@` that follows `.yml` or
/// `.yaml`, as PyPI reads it: a ref may hold slashes and at-signs.
pub fn workflow_file(workflow_ref: &str) -> Option<&str> {
    let ends = [".yml@", ".yaml@"].iter().filter_map(|end| workflow_ref.find(end).map(|at| at + end.len() - 1));
    workflow_ref.get(..ends.min()?)?.rsplit('/').next()
}

/// `PATH.yml` in `gitlab.com/NAMESPACE/PROJECT//PATH.yml@REF`. The path ends before the last such `@`, as PyPI reads
/// it.
fn pipeline_file(ci_config_ref_uri: &str) -> Option<&str> {
    let (_, path) = ci_config_ref_uri.split_once("//")?;
    let ends = [".yml@", ".yaml@"].iter().filter_map(|end| path.rfind(end).map(|at| at + end.len() - 1));
    path.get(..ends.max()?)
}

/// `OWNER/REPO` in `OWNER/REPO/.github/workflows/FILE@REF`.
pub fn workflow_repository(workflow_ref: &str) -> Option<String> {
    let mut parts = workflow_ref.split('/');
    Some(format!("{}/{}", parts.next()?, parts.next()?))
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
