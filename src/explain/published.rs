//! Asks an index for public data about a project: whether it exists, who owns it, and which publisher its last release
//! came from. Only explanations use that. The requests contain no token, and nothing about the job but the project's
//! name. A request that fails is left out (`--verbose` shows it), and is not tried again.
//!
//! `GET /pypi/PROJECT/json` ("JSON API"; 404 also for a project that has no release, so `GET /simple/PROJECT/` is
//! asked, "Index API") and `GET /integrity/PROJECT/VERSION/FILE/provenance` ("Integrity API", all in PyPI Docs).

use std::time::Duration;

use crate::explain::publisher_form::Form;
use crate::explain::pyproject::normalized;
use crate::index::Index;
use crate::json::Object;
use crate::net::http::{Http, Reply};
use crate::net::url::percent_encode;

/// The JSON of a project with thousands of files has megabytes.
const MAX_REPLY_BYTES: usize = 4 * 1024 * 1024;
/// How long one of at most two requests may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Longer versions and file names are ignored.
const MAX_NAME_BYTES: usize = 500;

/// The public data about a project.
pub enum Published {
    /// The index was not asked.
    NotAsked,
    /// The index was asked, and gave no usable answer.
    Unknown,
    /// The index has no such project.
    NoProject,
    /// The project has no release.
    NoRelease,
    Release(Release),
}

/// The last release, and data about its project.
pub struct Release {
    pub version: String,
    /// Who can change the project's publishers.
    pub owners: Vec<String>,
    /// The project's pages elsewhere, for example the page of its source.
    pub urls: Vec<String>,
    /// The publisher that the release came from, if that is known.
    pub publisher: Option<Form>,
}

impl Published {
    /// Whether the index has the project, if that is known.
    pub fn has_project(&self) -> Option<bool> {
        match self {
            Published::NotAsked | Published::Unknown => None,
            Published::NoProject => Some(false),
            Published::NoRelease | Published::Release(_) => Some(true),
        }
    }

    /// Asks the index for a project.
    pub fn of(project: &str, index: &Index, http: &Http) -> Published {
        let name = percent_encode(&normalized(project));
        let get = |path: &str, headers: &[(&str, String)]| {
            let http = http.until(http.deadline.within(TIMEOUT)).taking(MAX_REPLY_BYTES);
            http.get(&index.page(path), headers).ok()
        };
        match get(&format!("/pypi/{name}/json"), &[]) {
            Some(Reply { status: 200, body, .. }) => {
                let Some((mut release, file)) = Release::read(&body) else { return Published::Unknown };
                let path = format!("{name}/{}/{}", percent_encode(&release.version), percent_encode(&file));
                let accept = [("Accept", "application/vnd.pypi.integrity.v1+json".to_owned())];
                let reply = get(&format!("/integrity/{path}/provenance"), &accept).filter(|reply| reply.status == 200);
                release.publisher = reply.and_then(|reply| publisher(&reply.body));
                Published::Release(release)
            }
            Some(Reply { status: 404, .. }) => match get(&format!("/simple/{name}/"), &[]).map(|reply| reply.status) {
                Some(404) => Published::NoProject,
                Some(200) => Published::NoRelease,
                _ => Published::Unknown,
            },
            _ => Published::Unknown,
        }
    }
}

impl Release {
    /// Reads a project's JSON. Returns also the name of one of the release's files, which may be empty.
    pub fn read(json: &[u8]) -> Option<(Release, String)> {
        let project = Object::read(json).ok()?;
        let (info, is_name) = (project.object("info")?, |name: &String| name.len() <= MAX_NAME_BYTES);
        let text = |object: &Object, key: &str| object.get::<String>(key).ok();
        let version = text(&info, "version").filter(is_name)?;
        let file = project.objects("urls").iter().find_map(|file| text(file, "filename").filter(is_name));
        let roles = project.object("ownership").map(|ownership| ownership.objects("roles")).unwrap_or_default();
        let owners = roles.iter().filter(|role| text(role, "role").as_deref() == Some("Owner"));
        let pages = info.object("project_urls");
        let pages = pages.iter().flat_map(|pages| pages.iter().filter_map(|(label, _)| text(pages, label)));
        Some((
            Release {
                version,
                owners: owners.filter_map(|role| text(role, "user")).collect(),
                urls: pages.chain(text(&info, "home_page")).collect(),
                publisher: None,
            },
            file.unwrap_or_default(),
        ))
    }
}

/// The publisher that a file came from: `attestation_bundles[].publisher` in the Integrity API.
pub fn publisher(provenance: &[u8]) -> Option<Form> {
    let bundles = Object::read(provenance).ok()?.objects("attestation_bundles");
    bundles.iter().find_map(|bundle| bundle.object("publisher")).and_then(|publisher| Form::of_publisher(&publisher))
}
