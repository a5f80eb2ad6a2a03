//! What an index publishes of a project: its JSON, its list of files, and the provenance of a file. The replies have
//! the form of PyPI's (pypi/warehouse, `warehouse/legacy/api/json.py`, `warehouse/api/integrity.py`).

use serde_json::{Value, json};

use super::http::{Request, Response};
use super::random_hex;

/// A project on the index.
#[derive(Clone)]
pub struct Project {
    pub name: &'static str,
    /// The last release, if there is one.
    pub version: Option<&'static str>,
    pub owners: Vec<&'static str>,
    pub urls: Vec<&'static str>,
    /// The publisher of the last release, in the form of the Integrity API. `None` if the release has no attestation.
    pub publisher: Option<Value>,
    /// The number of releases.
    pub releases: usize,
}

impl Default for Project {
    fn default() -> Project {
        Project {
            name: "sampleproject",
            version: Some("1.4.0"),
            owners: vec!["alice", "bob"],
            urls: vec!["https://github.com/octo-org/octo-repo"],
            publisher: None,
            releases: 3,
        }
    }
}

impl Project {
    /// A project whose last release came from this publisher on GitHub.
    pub fn from_github(repository: &str, workflow: &str, environment: Option<&str>) -> Project {
        let publisher = json!({"claims": null, "environment": environment, "kind": "GitHub", "repository": repository,
            "workflow": workflow});
        Project { publisher: Some(publisher), ..Project::default() }
    }

    fn file(&self, version: &str) -> Value {
        let file = format!("{}-{version}-py3-none-any.whl", self.name);
        json!({
            "comment_text": null, "core-metadata": {"sha256": random_hex(32)}, "filename": file, "has_sig": false,
            "digests": {"blake2b_256": random_hex(32), "md5": random_hex(16), "sha256": random_hex(32)},
            "downloads": -1, "packagetype": "bdist_wheel", "python_version": "py3", "requires_python": ">=3.9",
            "size": 13_841, "upload_time": "2026-01-01T12:00:00", "upload_time_iso_8601": "2026-01-01T12:00:00.000001Z",
            "url": format!("https://files.example.org/packages/{file}"), "yanked": false, "yanked_reason": null,
        })
    }

    fn json(&self, version: &str) -> Value {
        let urls: Value = self.urls.iter().enumerate().map(|(n, url)| (format!("Page {n}"), json!(url))).collect();
        let roles: Vec<Value> = self.owners.iter().map(|user| json!({"role": "Owner", "user": user})).collect();
        let roles = [roles, vec![json!({"role": "Maintainer", "user": "carol"})]].concat();
        let releases: Value = (0..self.releases)
            .map(|n| (format!("0.{n}"), json!([self.file(&format!("0.{n}"))])))
            .chain([(version.to_owned(), json!([self.file(version)]))])
            .collect();
        json!({
            "info": {
                "author": "A. Person", "bugtrack_url": null, "classifiers": ["Programming Language :: Python"],
                "description": "# A sample\n\n```python\nprint(\"ä \u{1f600}\")\n```\n", "downloads": {"last_day": -1},
                "dynamic": ["license-file"], "home_page": null, "name": self.name, "project_urls": urls,
                "requires_dist": ["peppercorn"], "version": version, "yanked": false,
            },
            "last_serial": 1.5e300,
            "ownership": {"organization": null, "roles": roles},
            "releases": releases,
            "urls": [self.file(version)],
            "vulnerabilities": [{"aliases": ["CVE-1"], "details": "x", "fixed_in": ["1.0"], "withdrawn": null}],
        })
    }

    fn provenance(&self) -> Option<Value> {
        let publisher = self.publisher.as_ref()?;
        let entry = json!({"canonicalizedBody": random_hex(2000), "logIndex": "147137139",
            "inclusionProof": {"checkpoint": {"envelope": "rekor.sigstore.dev\n1\n\n— rekor\n"}, "hashes": [random_hex(32)]}});
        let attestation = json!({
            "envelope": {"signature": random_hex(70), "statement": random_hex(200)},
            "verification_material": {"certificate": random_hex(1200), "transparency_entries": [entry]},
            "version": 1,
        });
        let bundle = json!({"attestations": [attestation], "publisher": publisher});
        Some(json!({"attestation_bundles": [bundle], "version": 1}))
    }
}

/// The index's reply, or `None` for a path of another kind.
pub fn answer(request: &Request, project: Option<&Project>) -> Option<Response> {
    let path: Vec<&str> = request.path().split('/').skip(1).collect();
    let (name, not_found) = (*path.get(1)?, Response::json(404, &json!({"message": "Not Found"})));
    let project = project.filter(|project| project.name == name);
    let version = project.and_then(|project| project.version);
    match (&path[..], project, version) {
        (["simple", _, ""], project, _) => Some(Response::text(if project.is_some() { 200 } else { 404 }, "<html>")),
        (["pypi", _, "json"], Some(project), Some(version)) => Some(Response::json(200, &project.json(version))),
        (["pypi", _, "json"], ..) => Some(not_found),
        (["integrity", _, asked, file, "provenance"], Some(project), Some(version)) => {
            let is_file = *asked == version && project.file(version)["filename"] == *file;
            let is_accepted = request.header("Accept") == Some("application/vnd.pypi.integrity.v1+json");
            Some(match project.provenance().filter(|_| is_file) {
                _ if !is_accepted => Response::text(406, "Request not acceptable"),
                Some(provenance) => Response::json(200, &provenance),
                None => not_found,
            })
        }
        _ => None,
    }
}
