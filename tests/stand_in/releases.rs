//! A repository's releases: what GitHub serves at `…/releases/download`, which is `/vVERSION/FILE`.

use std::path::Path;

use super::http::{Request, Response};

/// Answers with a file of the folder, which holds the assets of one version.
pub fn answer(request: &Request, version: &str, folder: &Path) -> Response {
    let file = request.path().rsplit_once('/').filter(|(place, _)| place.ends_with(&format!("/v{version}")));
    match file.map(|(_, name)| std::fs::read(folder.join(name))) {
        Some(Ok(body)) => Response { status: 200, content_type: "application/octet-stream", body },
        _ => Response::text(404, "Not Found"),
    }
}
