//! Whether the job runs for a pull request from a fork, which explains a missing permission.

use std::path::Path;

use crate::env::Env;
use crate::json::Object;
use crate::os::file;

/// A longer event is not read. GitHub's pull request events are some tens of kilobytes.
const MAX_EVENT_BYTES: u64 = 1024 * 1024;

/// Whether the job runs for a pull request from a fork, if that is known.
pub fn is_pull_request_from_fork(env: &Env) -> Option<bool> {
    let event = file::read(Path::new(env.get("GITHUB_EVENT_PATH")?), MAX_EVENT_BYTES)?;
    let pull_request = Object::read(&event).ok()?.object("pull_request")?;
    let side = |name| pull_request.object(name)?.object("repo");
    let (Some(head), Some(base)) = (side("head"), side("base")) else {
        // A deleted fork has no repository.
        return Some(pull_request.object("head")?.json("repo")? == "null");
    };
    // The repository itself may be a fork, with pull requests of its own.
    Some(head.get("fork").ok()? && head.get::<String>("full_name") != base.get::<String>("full_name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(event: &str) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), event).unwrap();
        is_pull_request_from_fork(&Env::from([("GITHUB_EVENT_PATH", file.path().to_str().unwrap())])) == Some(true)
    }

    #[test]
    fn a_fork_is_told_by_the_repository_that_the_change_comes_from() {
        let event = |head: &str| {
            format!(
                r#"{{"x":[1],"pull_request":{{"head":{{"repo":{head}}},"base":{{"repo":{{"full_name":"a/b"}}}}}}}}"#
            )
        };
        assert!(of(&event(r#"{"fork":true,"full_name":"c/b"}"#)));
        assert!(of(&event("null")));
        assert!(!of(&event(r#"{"fork":true,"full_name":"a/b"}"#)));
        assert!(!of(&event(r#"{"fork":false,"full_name":"c/b"}"#)));
        for other in ["{}", "", "[]", r#"{"pull_request":1}"#, r#"{"pull_request":{"head":{}}}"#, r#"{"ref":"x"}"#] {
            assert!(!of(other), "{other}");
        }
    }

    #[test]
    fn an_event_that_can_not_be_read_is_none() {
        assert_eq!(is_pull_request_from_fork(&Env::from([])), None);
        for path in ["/nonexistent", "/dev/zero", "/"] {
            assert_eq!(is_pull_request_from_fork(&Env::from([("GITHUB_EVENT_PATH", path)])), None, "{path}");
        }
        let padded = |bytes: usize| {
            let padding = "A".repeat(bytes);
            of(&format!(r#"{{"x":"{padding}","pull_request":{{"head":{{"repo":null}}}}}}"#))
        };
        assert!(padded(1000) && !padded(2 * 1024 * 1024));
    }
}
