//! A mount namespace for one process, in which it sees other files.

use std::path::Path;
use std::process::Command;

use crate::harness::wrapped;

/// `command` in a mount namespace that has other files or folders at these paths.
pub fn with_files(command: &Command, files: &[(&str, &Path)]) -> Command {
    let mounts: String =
        files.iter().map(|(at, file)| format!("mount --bind '{}' '{at}' && ", file.display())).collect();
    wrapped(&["unshare", "--mount", "sh", "-c", &format!("{mounts} exec \"$0\" \"$@\"")], command)
}
