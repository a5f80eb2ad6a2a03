//! Whole explanations. Each has two files in `tests/it/golden`: the lines on stderr, and the job's summary page.
//! `UPDATE_GOLDEN=1 cargo test golden` rewrites them. Then `git diff` shows what has changed.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::{env, fs};

    use serde_json::{Value, json};

    use crate::claims::Claims;
    use crate::env::Env;
    use crate::explain::Explanation;
    use crate::explain::causes::{explain_claims, explain_refusal};
    use crate::explain::job::Job;
    use crate::explain::published::{self, Published, Release};
    use crate::explain::report;
    use crate::index::Index;
    use crate::index_api;
    use crate::net::http::Reply;
    use crate::os::log;
    use crate::secret::IdToken;
    use crate::text;

    const NOT_FOUND: &str = "Publisher with matching claims was not found";
    const NOW: u64 = 1_790_000_000;

    /// GitHub's claims with some changes.
    fn github(changes: Value) -> Value {
        let file = "octo-org/octo-repo/.github/workflows/release.yml@refs/tags/v1.4.1";
        let mut claims = json!({
            "iss": "https://token.actions.githubusercontent.com", "aud": "pypi", "exp": NOW + 300, "event_name": "push",
            "repository": "octo-org/octo-repo", "repository_owner": "octo-org", "repository_owner_id": "65432100",
            "job_workflow_ref": file, "workflow_ref": file, "environment": "pypi", "run_number": "7",
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    }

    fn gitlab() -> Value {
        json!({
            "iss": "https://gitlab.com", "aud": "pypi", "exp": NOW + 300, "sub": "project_path:group/sub/project:ref_type:tag",
            "project_path": "group/sub/project", "environment": "release",
            "ci_config_ref_uri": "gitlab.com/group/sub/project//.gitlab-ci.yml@refs/tags/v1.4.1",
        })
    }

    /// A project's last release. The project links to this page, and the release came from this publisher. `null` means
    /// that it has no attestation.
    fn release(page: &str, publisher: Value) -> Published {
        let provenance = json!({"attestation_bundles": [{ "publisher": publisher }]}).to_string();
        let project = json!({
            "info": {"version": "1.4.0", "project_urls": {"Source": page}},
            "ownership": {"roles": [{"role": "Owner", "user": "alice"}, {"role": "Owner", "user": "bob"}]},
        });
        let (release, _) = Release::read(project.to_string().as_bytes()).unwrap();
        Published::Release(Release { publisher: published::publisher(provenance.as_bytes()), ..release })
    }

    /// A last release that came from the job's repository on GitHub.
    fn own_release(workflow: &str, environment: Option<&str>) -> Published {
        let publisher = json!({"kind": "GitHub", "repository": "octo-org/octo-repo", "workflow": workflow,
            "environment": environment});
        release("https://github.com/octo-org/octo-repo", publisher)
    }

    /// The explanation of a refusal of these claims for this reason. Without a reason, the output of `claims`.
    fn explained(index: &str, claims: &Value, published: Published, reason: Option<(&str, &str)>) -> Explanation {
        let (index, claims) = (Index::parse(index).unwrap(), Claims::from(claims.to_string().as_str()));
        let (audience, projects) = (index.known_audience(), vec!["sampleproject".to_owned()]);
        let job = Job::of(claims, &index, &Env::from([("GITHUB_WORKSPACE", "/nonexistent")]));
        let job = Job { audience, projects, now_unix_secs: NOW, ..job };
        let Some((code, description)) = reason else {
            return explain_claims(job, |_| published).unwrap_or_else(|error| *error.explanation);
        };
        let description = match code {
            "invalid-publisher" => format!("valid token, but no corresponding publisher ({description})"),
            _ => description.to_owned(),
        };
        let errors = json!({"message": "Token request failed", "errors": [{"code": code, "description": description}]});
        let body = errors.to_string().into_bytes();
        let reply = Reply { status: 422, body, retry_after: None, is_surely_whole: true };
        let error = index_api::read_minted(&index, &Ok(reply), &IdToken::new("a.b.c".to_owned()).unwrap())
            .minted
            .err()
            .unwrap();
        let mut explanation = *error.explanation;
        explain_refusal(&mut explanation, job, |_| published);
        explanation
    }

    fn cases() -> Vec<(&'static str, Explanation)> {
        let none = || Published::Unknown;
        let not_found =
            |claims: &Value, published| explained("pypi", claims, published, Some(("invalid-publisher", NOT_FOUND)));
        let plain = || github(json!({}));
        let called = "octo-org/octo-repo/.github/workflows/_publish.yml@refs/tags/v1.4.1";
        let other_repository = "other/shared/.github/workflows/publish.yml@refs/heads/main";
        let enterprise = || github(json!({"iss": "https://ghes.example.org/_services/token"}));
        let google = json!({"iss": "https://accounts.google.com", "aud": "pypi", "exp": NOW + 300, "sub": "1122",
            "email": "publisher@example.iam.gserviceaccount.com"});
        let environment = json!({"environment": null});
        let gitlab_publisher = json!({"kind": "GitLab", "repository": "Group/sub/Project", "environment": "Release",
            "workflow_filepath": "ci/release.yml"});
        vec![
            ("nothing-known", not_found(&plain(), none())),
            ("other-workflow-file", not_found(&plain(), own_release("publish.yml", Some("pypi")))),
            ("no-environment", not_found(&github(environment), own_release("release.yml", Some("pypi")))),
            ("owner-id", not_found(&plain(), own_release("release.yml", None))),
            ("repository-moved", not_found(&plain(), release("https://github.com/old-org/octo-repo", Value::Null))),
            ("no-project", not_found(&plain(), Published::NoProject)),
            ("project-without-release", not_found(&plain(), Published::NoRelease)),
            ("called-file", not_found(&github(json!({ "job_workflow_ref": called })), none())),
            ("called-elsewhere", not_found(&github(json!({ "job_workflow_ref": other_repository })), none())),
            ("gitlab", not_found(&gitlab(), none())),
            ("gitlab-other-pipeline", not_found(&gitlab(), release("", gitlab_publisher))),
            ("gitlab-moved", not_found(&gitlab(), release("https://gitlab.com/old/project/-/tree/main", Value::Null))),
            ("google", not_found(&google, none())),
            (
                "testpypi",
                explained(
                    "testpypi",
                    &github(json!({"aud": "testpypi"})),
                    Published::NoProject,
                    Some(("invalid-publisher", NOT_FOUND)),
                ),
            ),
            (
                "pending-publishers-project-exists",
                explained(
                    "pypi",
                    &plain(),
                    none(),
                    Some(("invalid-pending-publisher", "valid token, but project already exists")),
                ),
            ),
            (
                "expired",
                explained(
                    "pypi",
                    &github(json!({"exp": NOW - 60})),
                    none(),
                    Some(("invalid-token", "malformed or invalid token")),
                ),
            ),
            (
                "unknown-issuer",
                explained(
                    "pypi",
                    &enterprise(),
                    none(),
                    Some(("invalid-payload", "unknown trusted publishing issuer")),
                ),
            ),
            ("claims", explained("pypi", &plain(), own_release("release.yml", None), None)),
            ("claims-with-evidence", explained("pypi", &plain(), own_release("publish.yml", None), None)),
            ("claims-refused", explained("pypi", &enterprise(), none(), None)),
        ]
    }

    #[test]
    fn explanations_are_the_golden_ones() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden");
        let is_updated = env::var_os("UPDATE_GOLDEN").is_some();
        let mut files = BTreeSet::new();
        for (name, explanation) in cases() {
            let kind = if name.starts_with("claims") && name != "claims-refused" { "" } else { "error: " };
            let lines: String =
                report::messages(&explanation, kind).iter().map(|message| log::rendered(message)).collect();
            let annotation = text::annotation("error", &report::annotation(&explanation));
            let annotation = if kind.is_empty() { String::new() } else { format!("{annotation}\n") };
            for (ending, text) in [("txt", lines + &annotation), ("md", report::page(&explanation))] {
                let file = format!("{name}.{ending}");
                if is_updated {
                    fs::write(folder.join(&file), &text).unwrap();
                }
                let golden = fs::read_to_string(folder.join(&file)).unwrap_or_default();
                assert_eq!(text, golden, "{file} has changed; UPDATE_GOLDEN=1 rewrites it");
                files.insert(file);
            }
        }
        let there = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(there.collect::<BTreeSet<_>>(), files);
    }
}
