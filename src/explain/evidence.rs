//! What points at the cause of a refusal without proving it: what the index publishes of the project, to anybody, and the files of
//! this checkout.
//!
//! The pages: PyPI Docs, "JSON API" and "Integrity API". The publisher of a file is in its provenance, where it was uploaded with
//! attestations: the values of the form that it matched.

use std::path::Path;

use crate::error::Cause;
use crate::explain::job::{Job, shown};
use crate::explain::publisher_form::{ENVIRONMENT_NAME, Form, Provider};
use crate::json::Object;
use crate::net::http::Reply;
use crate::net::url::percent_encode;
use crate::os::file;

/// The most that is read of a workflow's file.
const MAX_WORKFLOW_BYTES: u64 = 256 * 1024;
/// The most people that are named.
const MAX_OWNERS: usize = 5;
/// The first parts of addresses on GitHub that are no owner of a repository.
const NO_OWNERS: [&str; 5] = ["sponsors", "orgs", "apps", "marketplace", "users"];

/// Gets a page of the index, if there is time for it.
pub type Ask<'a> = &'a dyn Fn(&str) -> Option<Reply>;

/// What was found.
#[derive(Default)]
pub struct Evidence {
    /// The first one points most clearly.
    pub causes: Vec<Cause>,
    pub hints: Vec<String>,
    /// The index has no such project, or no release of it.
    pub has_no_release: bool,
    /// The workflow file that the last release came from.
    pub workflow: Option<String>,
}

impl Evidence {
    /// Looks for what may be the reason that no publisher matches this job.
    pub fn of(job: &Job, ask: Ask) -> Evidence {
        let mut evidence = Evidence::default();
        match job.projects {
            [] => {}
            [project] => evidence.look_up(job, project, ask),
            projects => evidence.hints.push(format!(
                "./dist has files of several projects ({}), so none of them was looked up on {}: name one as --project",
                shown(&projects.join(", ")),
                job.index.name()
            )),
        }
        if evidence.workflow.is_none() {
            evidence.causes.extend(environment_of_other_job(job));
        }
        evidence
    }

    fn look_up(&mut self, job: &Job, project: &str, ask: Ask) {
        let index = job.index.name();
        let Some(reply) = ask(&format!("/pypi/{}/json", percent_encode(project))) else { return };
        if reply.status == 404 {
            self.has_no_release = true;
            self.causes.push(in_form(format!(
                "PyPI project name: {index} has no release of {project}. If it has no such project either, only a pending \
                 publisher can match: is there one on {index}, for this very name, and is it less than 30 days old?"
            )));
        }
        let Some(page) = Some(reply).filter(|reply| reply.status == 200).and_then(|reply| Object::read(&reply.body).ok())
        else {
            return;
        };
        self.hints.extend(owners(&page).map(|owners| format!("{owners} on {index}, and can correct its publishers")));
        let release = page.object("info").and_then(|info| info.get::<String>("version").ok()).unwrap_or_default();
        let file = page.objects("urls").first().and_then(|file| file.get::<String>("filename").ok());
        let provenance = file.and_then(|file| {
            let path = [project, &release, &file].map(percent_encode).join("/");
            let reply = ask(&format!("/integrity/{path}/provenance")).filter(|reply| reply.status == 200)?;
            Object::read(&reply.body).ok()?.objects("attestation_bundles").first()?.object("publisher")
        });
        match provenance {
            Some(publisher) => {
                let release = format!("release {} of {project}", shown(&release));
                self.compare(job, &release, &Publisher::of(&publisher));
            }
            None => self.causes.extend(page.object("info").and_then(|info| moved(job, project, &info))),
        }
    }

    /// Holds the publisher of the last release against this job, field by field.
    fn compare(&mut self, job: &Job, release: &str, last: &Publisher) {
        let form = Form::of(job.claims);
        if form.provider == Provider::Other {
            return;
        }
        if last.kind != form.provider.name() {
            return self.causes.push(in_form(format!(
                "{release} came from {}, and this is a job of {}: is there a publisher for {0} only?",
                shown(&last.kind),
                form.provider.name()
            )));
        }
        let ignores_case = |field: &str| match form.provider {
            Provider::GitHub => field == ENVIRONMENT_NAME,
            _ => ["Namespace", "Project name"].contains(&field),
        };
        for field in &form.fields {
            let ours = field.value.as_deref().unwrap_or_default();
            let Some(theirs) = last.field(field.name).filter(|theirs| {
                if ignores_case(field.name) { !theirs.eq_ignore_ascii_case(ours) } else { *theirs != ours }
            }) else {
                continue;
            };
            let ours = if ours.is_empty() { "this job has none".to_owned() } else { format!("this job's is `{}`", shown(ours)) };
            self.causes.push(in_form(format!(
                "{}: {release} came from `{}`, and {ours}. They differ, or the publisher was changed since",
                field.name,
                shown(theirs)
            )));
        }
        self.workflow = last.field("Workflow name").map(str::to_owned);
        if self.causes.is_empty() {
            let than = if last.environment.is_some() { "" } else { " (its publisher names no environment)" };
            self.causes.push(in_form(format!(
                "{release} came from a job with these values{than}. So the publisher was removed or changed since, or what differs is \
                 no field of the form: the owner ID, if the repository was moved or the account made anew"
            )));
        }
    }
}

/// A publisher in a file's provenance. Members of other kinds of publishers are empty.
struct Publisher {
    kind: String,
    owner: String,
    repository: String,
    workflow: String,
    environment: Option<String>,
    email: String,
}

impl Publisher {
    fn of(publisher: &Object) -> Publisher {
        let text = |name| publisher.get::<String>(name).unwrap_or_default();
        let path = text("repository");
        let (owner, repository) = path.rsplit_once('/').unwrap_or_default();
        Publisher {
            kind: text("kind"),
            owner: owner.to_owned(),
            repository: repository.to_owned(),
            workflow: Some(text("workflow")).filter(|file| !file.is_empty()).unwrap_or_else(|| text("workflow_filepath")),
            environment: Some(text("environment")).filter(|name| !name.is_empty()),
            email: text("email"),
        }
    }

    /// Its value for a field of the form. A publisher that names no environment takes any.
    fn field(&self, name: &str) -> Option<&str> {
        let value = match name {
            "Owner" | "Namespace" => &self.owner,
            "Repository name" | "Project name" => &self.repository,
            "Workflow name" | "Top-level pipeline file path" => &self.workflow,
            ENVIRONMENT_NAME => self.environment.as_ref()?,
            "Email" => &self.email,
            _ => return None,
        };
        Some(value.as_str()).filter(|value| !value.is_empty())
    }
}

fn in_form(text: String) -> Cause {
    Cause::evidence(text).in_form()
}

/// `alice and bob own sampleproject`, without the verb's object.
fn owners(page: &Object) -> Option<String> {
    let name = page.object("info").and_then(|info| info.get::<String>("name").ok())?;
    let roles = page.object("ownership")?.objects("roles").into_iter();
    let owners = roles.filter(|role| role.get("role") == Ok("Owner".to_owned()));
    let owners: Vec<String> = owners.filter_map(|role| role.get::<String>("user").ok()).take(MAX_OWNERS).collect();
    let verb = match owners.len() {
        0 => return None,
        1 => "owns",
        _ => "own",
    };
    Some(format!("{} {verb} {}", shown(&owners.join(" and ")), shown(&name)))
}

/// The project's own links, where they lead to another repository on the CI system's host.
fn moved(job: &Job, project: &str, info: &Object) -> Option<Cause> {
    let (host, ours) = match Form::of(job.claims).provider {
        Provider::GitHub => ("github.com/", job.claims.text("repository")?),
        Provider::GitLab => ("gitlab.com/", job.claims.text("project_path")?),
        Provider::Google | Provider::Other => return None,
    };
    let links = info.object("project_urls")?;
    let links = links.iter().filter_map(|(name, _)| links.get::<String>(name).ok());
    let repositories: Vec<String> = links.filter_map(|link| repository_of(&link, host, ours.split('/').count())).collect();
    let theirs = repositories.first().filter(|_| !repositories.iter().any(|path| path.eq_ignore_ascii_case(&ours)))?;
    let same_owner = theirs.split('/').next().map(str::to_lowercase) == ours.split('/').next().map(str::to_lowercase);
    let field = match (Form::of(job.claims).provider, same_owner) {
        (Provider::GitHub, true) => "Repository name",
        (Provider::GitHub, false) => "Owner",
        (_, true) => "Project name",
        (_, false) => "Namespace",
    };
    Some(in_form(format!(
        "{field}: the page of {project} on {} links to `{host}{}`, and this job's repository is `{}`. Was the repository moved or \
         renamed, or is this a copy of it?",
        job.index.name(),
        shown(theirs),
        shown(&ours)
    )))
}

/// `OWNER/REPO` in a link to that host, however the link goes on.
fn repository_of(link: &str, host: &str, parts: usize) -> Option<String> {
    let address = link.split_once("://")?.1;
    let path = address.strip_prefix("www.").unwrap_or(address).strip_prefix(host)?.split(['?', '#']).next()?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).take(parts.max(2)).collect();
    let is_repository = parts.len() > 1 && !parts.first().is_some_and(|first| NO_OWNERS.contains(first));
    is_repository.then(|| parts.join("/")).map(|path| path.trim_end_matches(".git").to_owned())
}

/// Another job in this job's own workflow file that has an environment, where this one has none: the two were taken for one.
fn environment_of_other_job(job: &Job) -> Option<Cause> {
    let form = Form::of(job.claims);
    let value = |name| form.fields.iter().find(|field| field.name == name).and_then(|field| field.value.as_deref());
    if form.provider != Provider::GitHub || value(ENVIRONMENT_NAME).is_some() {
        return None;
    }
    let name = value("Workflow name").filter(|name| !name.contains(['/', '\\']))?;
    let bytes = file::read(&Path::new(".github/workflows").join(name), MAX_WORKFLOW_BYTES)?;
    let (line, environment) = environment_in(&String::from_utf8_lossy(&bytes))?;
    Some(in_form(format!(
        "{ENVIRONMENT_NAME}: a job in {} has `environment: {}` (line {line}), and this job has none. Only the job that mints needs it, \
         so add the line to this job if the publisher names that environment",
        shown(name),
        shown(&environment)
    )))
}

/// The first environment in a workflow's file, and its line. Lines are all that is looked at: this is no YAML reader.
fn environment_in(text: &str) -> Option<(usize, String)> {
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(rest) = line.trim_start().strip_prefix("environment:") else { continue };
        let value = match rest.split(" #").next().map(str::trim) {
            Some("") | None => lines.next()?.1.trim().strip_prefix("name:")?.trim(),
            Some(value) => value,
        };
        let value = value.trim_matches(['"', '\'']);
        return (!value.is_empty() && !value.contains(['{', '$'])).then(|| (number + 1, value.to_owned()));
    }
    None
}
