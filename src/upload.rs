//! `-- COMMAND`: the upload tool is found before anything is minted, and runs with the API token in its environment, and
//! nowhere else. It has our terminal, stdin and working directory, and gets the signals that we get.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use crate::clients;
use crate::deadline::Deadline;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::index::{Index, Minted};
use crate::log::Log;
use crate::signals::{self, Spawned};
use crate::workflow::neutralise;

/// Where `execvp` looks where there is no `PATH` (musl's; glibc leaves the first out).
const DEFAULT_PATH: &str = "/usr/local/bin:/bin:/usr/bin";
/// How often to look whether it has ended, or a signal has come. One thread does both, so that no signal is sent to a
/// process that is not ours any more.
const POLL: Duration = Duration::from_millis(5);

/// A program that is about to be run.
pub struct Upload<'a> {
    program: OsString,
    arguments: Vec<OsString>,
    index: &'a Index,
    env: &'a Env,
}

impl Upload<'_> {
    /// Finds the program, and looks for variables that would have it upload elsewhere.
    ///
    /// # Errors
    /// [`Error::NoProgram`], [`Error::Setting`].
    pub fn plan<'a>(words: Vec<OsString>, index: &'a Index, env: &'a Env) -> Result<Upload<'a>> {
        clients::check_index(index, env)?;
        let mut words = words.into_iter();
        let program = words.next().unwrap_or_default();
        if !is_program(&program, env) {
            return Err(Error::NoProgram { name: printable(&program) });
        }
        Ok(Upload { program, arguments: words.collect(), index, env })
    }

    /// Runs it to its end, without the variables `withheld`.
    ///
    /// # Errors
    /// [`Error::StartProgram`]; [`Error::Signal`] if one came before.
    pub fn run(&self, minted: &Minted, withheld: &[String], deadline: Deadline, log: Log) -> Result<Ended> {
        let name = printable(&self.program);
        if let Some(signal) = deadline.signal() {
            return Err(Error::Signal(signal));
        }
        log.line(&format!("running {name} with the API token in its environment"));
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        for variable in withheld {
            command.env_remove(variable);
        }
        for (variable, value) in clients::variables(minted, self.index) {
            match value {
                None => command.env_remove(variable),
                Some(_) if clients::is_users_url(variable, self.env) => &mut command,
                Some(value) => command.env(variable, value),
            };
        }
        let status = signals::spawn(&mut command).and_then(wait);
        let status = status.map_err(|error| Error::StartProgram { name: name.clone(), error })?;
        Ok(Ended { status: code(status), how: format!("{name} has ended: {status}") })
    }
}

/// How a program ended.
pub struct Ended {
    /// Its exit status, or 128 and the number of the signal that ended it.
    pub status: u8,
    /// The same in words.
    pub how: String,
}

fn wait(mut child: Spawned) -> std::io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.process.try_wait()? {
            child.await_stragglers();
            return Ok(status);
        }
        signals::forward(&mut child);
        thread::sleep(POLL);
    }
}

#[cfg(unix)]
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, signal) => signals::status(signal.unwrap_or_default()),
    }
}

#[cfg(not(unix))]
fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// True if a shell would find the program: in a folder of `PATH`, or at the path that it is.
fn is_program(name: &OsStr, env: &Env) -> bool {
    let path = Path::new(name);
    if path.components().count() > 1 || path.is_absolute() || name.as_encoded_bytes().contains(&b'/') {
        return is_executable(path);
    }
    let default = if env.is_set("PATH") { "" } else { DEFAULT_PATH };
    let folders = env.get("PATH").unwrap_or(OsStr::new(default));
    std::env::split_paths(folders).any(|folder| is_executable(&folder.join(name)))
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    [path.to_owned(), path.with_extension("exe")].iter().any(|path| path.is_file())
}

fn printable(name: &OsStr) -> String {
    neutralise(&name.to_string_lossy(), 100)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            use std::os::unix::fs::PermissionsExt;
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path.into_os_string()
        };
        let (tool, text) = (file("tool", 0o755), file("text", 0o644));
        let path = format!("/nonexistent:{}", folder.path().display());
        let found = |name: &OsStr| is_program(name, &Env::from([("PATH", path.as_str())]));
        assert!(found(OsStr::new("tool")) && found(&tool));
        for name in ["text", "other", ".", "..", "/", "./tool", "/nonexistent/tool"].map(OsStr::new) {
            assert!(!found(name), "{name:?}");
        }
        assert!(!found(&text) && !found(folder.path().as_os_str()));
        assert!(is_program(OsStr::new("sh"), &Env::from([])), "without PATH, the usual folders");
    }
}
