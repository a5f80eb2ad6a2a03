//! A machine for one process: its own mounts, so that its names and files can be others.

use std::path::Path;
use std::process::Command;

use crate::harness::wrapped;

/// `command` on a machine where other files or folders are at these paths.
pub fn with_files(command: &Command, files: &[(&str, &Path)]) -> Command {
    let mounts: String =
        files.iter().map(|(at, file)| format!("mount --bind '{}' '{at}' && ", file.display())).collect();
    wrapped(&["unshare", "--mount", "sh", "-c", &format!("{mounts} exec \"$0\" \"$@\"")], command)
}
