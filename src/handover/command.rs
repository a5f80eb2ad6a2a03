//! `-- COMMAND`: the upload tool is found before anything is minted, and runs with the API token in its environment, and
//! nowhere else. It has our terminal, stdin and working directory, and gets the signals that we get.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::env::Env;
use crate::error::{Error, Result};
use crate::explain::messages;
use crate::handover::upload_clients;
use crate::index::Index;
use crate::index_api::Minted;
use crate::net::deadline::{Deadline, POLL};
use crate::os::log::Log;
use crate::os::signals::{self, Spawned};
use crate::text::shown;

/// Where `execvp` looks where there is no `PATH` (musl's; glibc leaves the first out).
const DEFAULT_PATH: &str = "/usr/local/bin:/bin:/usr/bin";

/// How long a program that was asked to end is waited for, with all that it has started. GitHub sends SIGINT to a cancelled job,
/// SIGTERM 7.5 seconds later and SIGKILL 2.5 seconds after that; until then the token has to be revoked.
const ENDING_TIMEOUT: Duration = Duration::from_secs(7);
/// What comes sooner after the first signal is the same request to end: `timeout` sends its signal to a process and to its group.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_secs(1);

/// A program that is about to be run.
pub struct Upload<'a> {
    /// As it was named.
    program: OsString,
    /// The file that was found, which is what runs: Windows would look in other places first.
    file: PathBuf,
    arguments: Vec<OsString>,
    index: &'a Index,
    env: &'a Env,
}

impl Upload<'_> {
    /// Finds the program, and looks for variables that would have it upload elsewhere.
    pub fn plan<'a>(argv: Vec<OsString>, index: &'a Index, env: &'a Env) -> Result<Upload<'a>> {
        upload_clients::check_index(index, env)?;
        let mut argv = argv.into_iter();
        let program = argv.next().unwrap_or_default();
        let file = find(&program, env)?;
        Ok(Upload { program, file, arguments: argv.collect(), index, env })
    }

    /// The program's name as it was given, fit for a message.
    pub fn name(&self) -> String {
        shown(&self.program.to_string_lossy())
    }

    /// Runs it to its end, without the variables `withheld`.
    pub fn run(&self, minted: &Minted, withheld: &[String], deadline: Deadline, log: Log) -> Result<Ended> {
        let name = self.name();
        if let Some(signal) = deadline.signal() {
            return Err(Error::signal(signal));
        }
        log.line(&format!("running {name} with the API token in its environment"));
        let mut command = Command::new(&self.file);
        #[cfg(unix)] // `argv[0]` is the name that was given, as in a shell
        std::os::unix::process::CommandExt::arg0(&mut command, &self.program);
        command.args(&self.arguments);
        for variable in withheld {
            command.env_remove(variable);
        }
        for (variable, value) in upload_clients::variables(minted, self.index) {
            match value {
                None => command.env_remove(variable),
                Some(_) if upload_clients::is_users_url(variable, self.env) => &mut command,
                Some(value) => command.env(variable, value),
            };
        }
        // One thread waits and forwards, so that no signal is sent to a process that is not ours any more.
        let end = signals::spawn(&mut command).and_then(wait);
        Ok(match end.map_err(|error| messages::lost(format!("{name} can't be run"), &error))? {
            Ok(status) => Ended { status: code(status), how: format!("{name} has ended: {status}") },
            Err(signal) => {
                let how = format!("{name} goes on after {}, and is not waited for", signals::name(signal));
                Ended { status: signals::status(signal), how }
            }
        })
    }
}

/// How a program ended, or that it did not.
pub struct Ended {
    /// Its exit status, or 128 and the number of the signal that ended it, or should have.
    pub status: u8,
    /// The same in words.
    pub how: String,
}

/// Waits for its end, and forwards what signals come. Once it was asked to end, what it has started is waited for, too, but
/// neither longer than [`ENDING_TIMEOUT`] nor beyond a second signal. `Err(signal)`: it goes on after that signal.
fn wait(mut child: Spawned) -> std::io::Result<std::result::Result<ExitStatus, i32>> {
    let mut status = None;
    let mut asked: Option<(i32, Instant)> = None;
    loop {
        if status.is_none() {
            status = child.process.try_wait()?;
        }
        if let Some(status) = status
            && (asked.is_none() || !child.has_stragglers())
        {
            return Ok(Ok(status));
        }
        let mut timeout = ENDING_TIMEOUT;
        for signal in signals::take().filter(|signal| child.forward(*signal)) {
            match asked {
                None => asked = Some((signal, Instant::now())),
                Some(_) => timeout = SECOND_SIGNAL_AFTER,
            }
        }
        if let Some((signal, at)) = asked
            && at.elapsed() >= timeout
        {
            return Ok(status.ok_or(signal));
        }
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

#[cfg(windows)]
fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Looks for the program as `execvp` does: in the folders of `PATH`, or at the path that it is. The first file that can be run
/// counts; should there be none, the first that can't.
fn find(name: &OsStr, env: &Env) -> Result<PathBuf> {
    let path = Path::new(name);
    let is_path = path.components().count() > 1 || path.is_absolute() || name.as_encoded_bytes().contains(&b'/');
    let default = if env.is_set("PATH") { "" } else { DEFAULT_PATH };
    let folders = env.get("PATH").unwrap_or(OsStr::new(default));
    let candidates: Vec<PathBuf> = match is_path {
        true => vec![path.to_owned()],
        false => std::env::split_paths(folders).map(|folder| folder.join(name)).collect(),
    };
    let mut first = None;
    for file in candidates.into_iter().flat_map(files).filter(|file| file.is_file()) {
        match why_not_run(&file) {
            None => return Ok(file),
            Some(why) => first = first.or(Some(messages::unfit_program(&shown(&file.to_string_lossy()), &why))),
        }
    }
    Err(first.unwrap_or_else(|| messages::no_program(&shown(&name.to_string_lossy()))))
}

/// Why this file can't be run by us, as far as that can be known without doing so.
fn why_not_run(path: &Path) -> Option<String> {
    if !is_runnable(path) {
        return Some("this user may not execute it, or its file system is `noexec`".to_owned());
    }
    let interpreter = interpreter(path)?;
    let what = match (interpreter.is_file(), is_runnable(&interpreter)) {
        (true, true) => return None,
        (true, false) => "can't be run either",
        (false, _) => "is not there",
    };
    Some(format!("its interpreter {} {what}", shown(&interpreter.to_string_lossy())))
}

/// The kernel's word: it knows all modes and mounts. It asks for the real user, who is the effective one: nobody installs us
/// `setuid`.
#[cfg(unix)]
fn is_runnable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// What a script's first line says that runs it, as the kernel reads it (`execve(2)`). What we can't read is no script to us.
#[cfg(unix)]
fn interpreter(path: &Path) -> Option<PathBuf> {
    use std::io::Read;
    use std::os::unix::ffi::OsStringExt;
    const MAX_LINE_BYTES: u64 = 256;
    let mut start = Vec::new();
    std::fs::File::open(path).ok()?.take(MAX_LINE_BYTES).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?.trim_ascii_start();
    let word = line.split(|byte| b" \t\0".contains(byte)).next()?;
    Some(OsString::from_vec(word.to_vec()).into())
}

/// The files that a path may stand for.
#[cfg(unix)]
fn files(path: PathBuf) -> [PathBuf; 1] {
    [path]
}

#[cfg(windows)]
fn is_runnable(_: &Path) -> bool {
    true
}

#[cfg(windows)]
fn interpreter(_: &Path) -> Option<PathBuf> {
    None
}

/// There, its extension says that a file can be run, and a path without one of these stands for the files that have one, in
/// this order.
#[cfg(windows)]
fn files(path: PathBuf) -> Vec<PathBuf> {
    const EXTENSIONS: [&str; 4] = ["com", "exe", "bat", "cmd"];
    if path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))) {
        return vec![path];
    }
    EXTENSIONS.iter().map(|extension| [path.as_os_str(), extension.as_ref()].join(OsStr::new(".")).into()).collect()
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
        let found = |name: &OsStr| find(name, &Env::from([("PATH", path.as_str())])).is_ok();
        assert!(found(OsStr::new("tool")) && found(&tool));
        for name in ["text", "other", ".", "..", "/", "./tool", "/nonexistent/tool"].map(OsStr::new) {
            assert!(!found(name), "{name:?}");
        }
        assert!(!found(&text) && !found(folder.path().as_os_str()));
        assert!(find(OsStr::new("sh"), &Env::from([])).is_ok(), "without PATH, the usual folders");
    }
}

#[cfg(all(test, windows))]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_windows_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["both.exe", "both.cmd", "tool3.12.exe", "script.CMD", "text"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let path = format!("C:\\nonexistent;{}", folder.path().display());
        for (name, expected) in [
            ("both", Some("both.exe")),
            ("both.cmd", Some("both.cmd")),
            ("tool3.12", Some("tool3.12.exe")),
            ("tool3", None),
            ("script", Some("script.cmd")),
            ("text", None),
            (".", None),
        ] {
            let expected = expected.map(|file| folder.path().join(file));
            assert_eq!(find(OsStr::new(name), &Env::from([("Path", path.as_str())])).ok(), expected, "{name}");
            let whole = folder.path().join(name).into_os_string();
            assert_eq!(find(&whole, &Env::from([])).ok(), expected, "{name}");
        }
    }
}
