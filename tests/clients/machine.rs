//! A machine for one process: its own mounts, so that its names and files can be others.

use std::path::Path;
use std::process::Command;

/// `command` on a machine where other files or folders are at these paths.
pub fn with_files(command: &Command, files: &[(&str, &Path)]) -> Command {
    let mounts: String =
        files.iter().map(|(at, file)| format!("mount --bind '{}' '{at}' && ", file.display())).collect();
    let mut machine = Command::new("unshare");
    machine.args(["--mount", "sh", "-c", &format!("{mounts} exec \"$0\" \"$@\"")]);
    machine.arg(command.get_program()).args(command.get_args()).env_clear();
    machine.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        machine.current_dir(folder);
    }
    machine
}
