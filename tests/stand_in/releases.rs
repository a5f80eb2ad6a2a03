//! A repository's releases. Its URL stands for GitHub's `…/releases/download`, and `/vVERSION/FILE` follows.

use std::path::Path;

use super::http::{Request, Response};

/// Answers with a file of this folder, which has the assets of this version.
pub fn answer(request: &Request, version: &str, folder: &Path) -> Response {
    let file = request.path().rsplit_once('/').filter(|(parent, _)| parent.ends_with(&format!("/v{version}")));
    match file.map(|(_, name)| std::fs::read(folder.join(name))) {
        Some(Ok(body)) => Response { status: 200, content_type: "application/octet-stream", body },
        _ => Response::text(404, "Not Found"),
    }
}
