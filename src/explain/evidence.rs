//! Evidence of a cause: data that the index publishes about the project, and files in the checkout. It is no proof, but
//! the first thing to look at.

use crate::explain::job::Job;
use crate::explain::published::{Published, Release};
use crate::explain::publisher_form::{ENVIRONMENT_NAME, Field, Form, Provider, WORKFLOW_NAME, workflow_file};
use crate::explain::{Cause, Certainty};
use crate::os::file;
use crate::text::shown;

/// Longer workflow files are not read.
const MAX_WORKFLOW_BYTES: u64 = 256 * 1024;
/// First path segments on GitHub and GitLab that are no owners.
const NO_OWNERS: [&str; 6] = ["sponsors", "orgs", "users", "apps", "marketplace", "groups"];
/// The most owners that are named.
const MAX_OWNERS: usize = 5;

impl Job<'_> {
    /// The causes and the evidence, the strongest first. If the last release came from a publisher that this job
    /// matches, other evidence is left out: such a job can publish.
    pub fn with_evidence(&self, mut causes: Vec<Cause>) -> Vec<Cause> {
        if self.matches_last_publisher() {
            causes.retain(|cause| cause.certainty != Certainty::Evidence);
        }
        let (index, project) = (self.index.name(), self.project().map(shown).unwrap_or_default());
        let published = match &self.published {
            Published::NotAsked | Published::Unknown => None,
            Published::NoProject => Some(format!(
                "PyPI project name: {index} has no project {project} (from its JSON API and its Index API), so only a pending \
                 publisher can match. It has to be on the page Publishing of your account there, with these values, and is gone after \
                 30 days"
            )),
            Published::NoRelease => Some(format!(
                "PyPI project name: {project} is on {index} already, without a release (from its JSON API and its Index API). A pending \
                 publisher for it is of no use any more: the publisher has to be on the project's own page"
            )),
            Published::Release(Release { version, publisher: Some(last), .. }) => {
                Some(self.last_publisher(version, last))
            }
            Published::Release(Release { urls, .. }) => self.moved(urls),
        };
        let texts = published.into_iter().chain(self.environment_of_another_job());
        let evidence = texts.map(Cause::evidence);
        match self.published {
            // A new project is weaker evidence than the job's own claims.
            Published::NoProject | Published::NoRelease => causes.into_iter().chain(evidence).collect(),
            _ => evidence.chain(causes).collect(),
        }
    }

    /// The publisher that the last release came from, if that is known.
    fn last(&self) -> Option<&Form> {
        if let Published::Release(release) = &self.published { release.publisher.as_ref() } else { None }
    }

    /// True if the last release came from a publisher that this job matches, but for the owner ID.
    pub fn matches_last_publisher(&self) -> bool {
        let is_same = |last: &Form| last.provider == self.form.provider && last.differences(&self.form).is_empty();
        self.last().is_some_and(is_same)
    }

    /// Who can correct the publisher.
    pub fn owners(&self) -> Option<String> {
        let Published::Release(Release { owners, .. }) = &self.published else { return None };
        let mut names: Vec<String> = owners.iter().take(MAX_OWNERS).map(shown).collect();
        if let Some(others @ 1..) = owners.len().checked_sub(MAX_OWNERS) {
            names.push(format!("{others} more"));
        }
        let (names, own) = match names.split_last()? {
            (one, []) => (one.clone(), "owns"),
            (last, others) => (format!("{} and {last}", others.join(", ")), "own"),
        };
        let (index, project) = (self.index.name(), shown(self.project()?));
        Some(format!("{names} {own} {project} on {index}, and can add or correct its publisher"))
    }

    /// The publisher that the last release came from, field by field against this job.
    fn last_publisher(&self, version: &str, last: &Form) -> String {
        let (version, from) = (shown(version), format!("(from {}'s Integrity API)", self.index.name()));
        if last.provider != self.form.provider {
            return format!(
                "release {version} came from a publisher for {} {from}, and this job is none of that: add a publisher for this one",
                last.provider.name()
            );
        }
        let differing = last.differences(&self.form);
        if differing.is_empty() {
            let moved = match self.form.provider {
                Provider::GitHub => format!(
                    ", or the owner ID that was stored with it is another one than {} (the repository was moved, or the owner's \
                     account made anew): delete it and add it again",
                    self.shown("repository_owner_id")
                ),
                _ => ": look whether it is still there".to_owned(),
            };
            return format!(
                "release {version} came from a publisher that this job matches {from}, so it was removed or changed since (does it \
                 name another environment now?){moved}"
            );
        }
        let parts: Vec<String> = differing.iter().map(|(last, here)| self.difference(last, here)).collect();
        let names: Vec<&str> = differing.iter().map(|(last, _)| last.name).collect();
        let differ = if names.len() == 1 { "differs" } else { "differ" };
        let mend = match (last.environment(), self.form.environment()) {
            (Some(name), None) => {
                format!("Add `environment: {}` to the job, or correct the publisher", shown(name))
            }
            _ => "Correct the publisher, or add one for this job".to_owned(),
        };
        format!(
            "{} {differ}: release {version} came from a publisher with {} {from}. {mend}, unless that was done since",
            names.join(" and "),
            parts.join("; "),
        )
    }

    fn difference(&self, last: &Field, here: &Field) -> String {
        let quoted =
            |field: &Field| field.value.as_ref().map_or("none".to_owned(), |value| format!("`{}`", shown(value)));
        let gone = match &last.value {
            Some(file) if last.name == WORKFLOW_NAME && self.is_gone(file) => " (not in the checkout: was it renamed?)",
            _ => "",
        };
        format!("{} {}{gone}, and this job has {}", last.name, quoted(last), quoted(here))
    }

    /// The project's pages lead to another repository. This is for a release without a known publisher.
    fn moved(&self, pages: &[String]) -> Option<String> {
        let host = match self.form.provider {
            Provider::GitHub => "github.com".to_owned(),
            Provider::GitLab => self.claims.text("iss")?.trim_start_matches("https://").to_owned(),
            _ => return None,
        };
        let here = self.claims.text("repository").or_else(|| self.claims.text("project_path"))?;
        let parts = here.split('/').count();
        let there: Vec<String> = pages.iter().filter_map(|url| repository_at(&host, parts, url)).collect();
        let first = there.first().filter(|_| !there.contains(&here))?;
        let (owner, name) = first.rsplit_once('/')?;
        let fields = self.form.fields.iter().zip([owner, name]);
        let differing = fields.filter(|(here, there)| here.value.as_deref() != Some(there));
        let names: Vec<&str> = differing.map(|(field, _)| field.name).collect();
        Some(format!(
            "{}: the pages of {} lead to `{}/{}` (from {}'s JSON API), and this job is of `{}`. If the repository was moved or \
             renamed, or is spelt so in the publisher, correct it there",
            names.join(" and "),
            shown(self.project()?),
            shown(&host),
            shown(first),
            self.index.name(),
            shown(&here),
        ))
    }

    /// This job has no environment, and another job in its file has one.
    fn environment_of_another_job(&self) -> Option<String> {
        if self.form.provider != Provider::GitHub || self.form.environment().is_some() {
            return None;
        }
        let file = self.workflow_file()?;
        // A page that GitHub serves is not published to an index.
        let is_wanted =
            |name: &str| name != "github-pages" && self.last().is_none_or(|last| last.environment() == Some(name));
        let mut others = environments(&self.read_workflow(&file)?).into_iter();
        let (job, name) = others.find(|(job, name)| self.name.as_ref() != Some(job) && is_wanted(name))?;
        let (job, name, file) = (shown(&job), shown(&name), shown(&file));
        Some(format!(
            "{ENVIRONMENT_NAME}: the job {job} in {file} has `environment: {name}` (from the checkout), and this job has none. If the \
             publisher names that environment, add it to this job, or mint in {job}"
        ))
    }

    /// True for a workflow file that is missing in a checkout that has this job's own file.
    fn is_gone(&self, file: &str) -> bool {
        let is_there = |file: &str| self.read_workflow(file).is_some();
        !file.contains(['/', '\\']) && self.workflow_file().is_some_and(|own| is_there(&own)) && !is_there(file)
    }

    /// The name of this job's workflow file, if the file is in the job's own repository.
    fn workflow_file(&self) -> Option<String> {
        let workflow_ref = self.claims.text("job_workflow_ref").filter(|_| self.runs_elsewhere().is_none())?;
        workflow_file(&workflow_ref).map(str::to_owned)
    }

    fn read_workflow(&self, file: &str) -> Option<String> {
        let path = self.checkout.join(".github/workflows").join(file);
        Some(String::from_utf8_lossy(&file::read(&path, MAX_WORKFLOW_BYTES)?).into_owned())
    }
}

/// The path of the repository that a page on this host belongs to. `parts` is the number of its segments.
fn repository_at(host: &str, parts: usize, url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (at, path) = rest.split_once('/')?;
    let at = at.to_ascii_lowercase();
    if at.strip_prefix("www.").unwrap_or(&at) != host {
        return None;
    }
    let path = path.split(['/', '?', '#']).take_while(|part| !part.is_empty() && *part != "-");
    let path: Vec<&str> = path.take(parts.max(2)).collect();
    let is_repository = path.len() > 1 && !path.first().is_some_and(|first| NO_OWNERS.contains(first));
    is_repository.then(|| path.join("/")).map(|path| path.trim_end_matches(".git").to_owned())
}

/// The jobs of a workflow file that name an environment, each with the environment's name. Only as much of YAML is read
/// as this needs: keys and their indentation.
fn environments(workflow: &str) -> Vec<(String, String)> {
    let (mut found, mut keys): (Vec<_>, Vec<(usize, &str)>) = (vec![], vec![]);
    for line in workflow.lines() {
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        let Some((key, value)) = text.split_once(':').filter(|_| !text.starts_with('#')) else { continue };
        keys.retain(|(of, _)| *of < indent);
        keys.push((indent, key.trim_matches(['"', '\''])));
        let path: Vec<&str> = keys.iter().map(|(_, key)| *key).collect();
        if let ["jobs", job, "environment"] | ["jobs", job, "environment", "name"] = path[..] {
            let value = value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
            // A computed value, or one that is not plain text, can't be known here.
            if !value.is_empty() && !value.contains("${{") && !value.starts_with(['{', '[', '&', '*', '|', '>', '!']) {
                found.push((job.to_owned(), value.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_repository_tells_its_path() {
        let at = |host: &str, parts: usize, url: &str| repository_at(host, parts, url).unwrap_or_default();
        for url in ["https://github.com/a/b", "http://www.GitHub.com/a/b.git", "https://github.com/a/b/tree/x?y#z"] {
            assert_eq!(at("github.com", 2, url), "a/b", "{url}");
        }
        assert_eq!(at("gitlab.com", 3, "https://gitlab.com/group/sub/project/-/issues"), "group/sub/project");
        assert_eq!(at("gitlab.com", 3, "https://gitlab.com/group/project"), "group/project");
        for url in [
            "",
            "github.com/a/b",
            "https://github.com",
            "https://github.com/a",
            "https://github.com//b",
            "https://x/github.com/a/b",
            "https://github.com.evil.example/a/b",
            "https://github.com/sponsors/a",
            "https://github.com/orgs/a/b",
        ] {
            assert_eq!(at("github.com", 2, url), "", "{url}");
        }
    }

    #[test]
    fn environments_are_found_by_the_indentation_of_their_keys() {
        let found =
            |text: &str| environments(text).iter().map(|(job, name)| format!("{job}={name}")).collect::<Vec<_>>();
        let workflow = "on:\n  push:\nenv:\n  environment: no\njobs:\n    # c\n    a:\n      environment:\n        url: x\n        \
                        name: one # c\n      steps:\n      - name: no\n        environment: no\n    'b':\n      environment: \"two\"\n";
        assert_eq!(found(workflow), ["a=one", "b=two"]);
        for text in [
            "",
            ":",
            "jobs:",
            "jobs:\n  a:\n    environment: ${{ x }}",
            "jobs:\n  a:\n    environment: {name: x}",
            "\t:\n:::",
        ] {
            assert!(environments(text).is_empty(), "{text}");
        }
    }
}
