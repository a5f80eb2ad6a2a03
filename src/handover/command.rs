//! `-- COMMAND`: the upload tool is found before anything is minted. It runs with the API token in its environment and
//! nowhere else, and without the job's identity (`identity.rs` lists these variables). It has our terminal, stdin and
//! working directory, and gets the signals that we get.

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
use crate::os::deadline::{Deadline, POLL};
use crate::os::log::Log;
use crate::os::signals::{self, Spawned};
use crate::text::shown;

/// The folders in which `execvp` looks without a `PATH` (musl's list; glibc leaves the first out).
const DEFAULT_PATH: &str = "/usr/local/bin:/bin:/usr/bin";

/// How long COMMAND and its descendants are waited for after the first signal. GitHub sends SIGINT to a cancelled job,
/// SIGTERM 7.5 seconds later and SIGKILL 2.5 seconds after that (on Windows Ctrl-C, then Ctrl-Break, then it ends all
/// processes). The token has to be revoked before the last of these.
const ENDING_TIMEOUT: Duration = Duration::from_secs(7);
/// A second signal that comes sooner is forwarded, and does not end the wait: `timeout` sends its signal to a process
/// and to its group.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_secs(1);

/// A program that is about to be run.
pub struct Upload<'a> {
    /// Its name as the user gave it, made harmless.
    name: String,
    command: Command,
    index: &'a Index,
    env: &'a Env,
}

impl Upload<'_> {
    /// Finds the program, and checks that no variable makes it upload to another index.
    pub fn plan<'a>(argv: Vec<OsString>, index: &'a Index, env: &'a Env) -> Result<Upload<'a>> {
        upload_clients::check_index(index, env)?;
        let mut argv = argv.into_iter();
        let program = argv.next().unwrap_or_default();
        // By its path: by its name, Windows would look in other places first.
        let mut command = Command::new(find(&program, env)?);
        #[cfg(unix)] // `argv[0]` is the name that was given, as in a shell
        std::os::unix::process::CommandExt::arg0(&mut command, &program);
        command.args(argv);
        Ok(Upload { name: shown(&program), command, index, env })
    }

    /// Runs the program to its end, without the variables `withheld`. Returns an exit status, and the same in words.
    /// The status is the program's own, or 128 plus the number of the signal that ended it or should have ended it.
    pub fn run(self, minted: &Minted, withheld: &[String], deadline: Deadline, log: Log) -> Result<(u8, String)> {
        let Upload { name, mut command, index, env } = self;
        Error::if_signal_came(deadline)?;
        log.line(&format!("running {name} with the API token in its environment"));
        for variable in withheld {
            command.env_remove(variable);
        }
        for (variable, value) in upload_clients::variables(minted, index, env) {
            match value {
                None => command.env_remove(variable),
                Some(value) => command.env(variable, value),
            };
        }
        let child = signals::spawn(&mut command);
        let child = child.map_err(|error| messages::lost(format!("{name} can't be run"), &error))?;
        let (status, how) = wait(child, &name)?;
        Ok((status, format!("{name} {how}")))
    }
}

/// Waits for the program's end, and forwards signals to it. After a signal that asks it to end, its descendants are
/// waited for, too, until [`ENDING_TIMEOUT`] or a second signal. Returns the exit status, and the same in words. One
/// thread waits and forwards, so no signal is sent to a process that is not ours any more.
///
/// # Errors
/// The system can't tell whether the program has ended.
fn wait(mut child: Spawned, name: &str) -> Result<(u8, String)> {
    let mut first_signal: Option<(i32, Instant)> = None;
    loop {
        let status = child.process.try_wait().map_err(|error| {
            messages::lost(format!("{name} was started, but its end can't be learned: it may be running"), &error)
        })?;
        if let Some(status) = status
            && (first_signal.is_none() || !child.group_is_alive())
        {
            return Ok(ended(status));
        }
        let mut second_signal_came = false;
        for signal in signals::take().filter(|signal| child.forward(*signal)) {
            let (_, came_at) = first_signal.get_or_insert((signal, Instant::now()));
            second_signal_came |= came_at.elapsed() >= SECOND_SIGNAL_AFTER;
        }
        if let Some((signal, came_at)) = first_signal
            && (second_signal_came || came_at.elapsed() >= ENDING_TIMEOUT)
        {
            if let Some(status) = status {
                return Ok(ended(status));
            }
            let how = format!("goes on after {}, and is not waited for", signals::name(signal));
            return Ok((signals::status(signal), how));
        }
        thread::sleep(POLL);
    }
}

/// `STATUS_CONTROL_C_EXIT`: the exit status of a program that Ctrl-C or Ctrl-Break has ended.
#[cfg(windows)]
const ENDED_BY_CTRL_C: i32 = 0xC000_013A_u32.cast_signed();

/// The exit status, and the same in words. From 128 on, a status mostly stands for a signal.
fn ended(status: ExitStatus) -> (u8, String) {
    match code(status) {
        code @ 1..128 => (code, format!("exited with status {code} (see the log above)")),
        code => (code, format!("has ended: {status}")),
    }
}

fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return signals::status(signal);
    }
    #[cfg(windows)]
    if status.code() == Some(ENDED_BY_CTRL_C) {
        return signals::status(signals::SIGINT);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Looks for the program as `execvp` does: a path is taken as it is, a name is looked up in the folders of `PATH`. The
/// first file that can be run counts. If there is none, the error is about the first file that can't be run.
fn find(name: &OsStr, env: &Env) -> Result<PathBuf> {
    let is_path = Path::new(name).file_name() != Some(name);
    let default = if is_path || env.is_set("PATH") { "" } else { DEFAULT_PATH };
    let folders = env.get("PATH").filter(|_| !is_path).unwrap_or(OsStr::new(default));
    let mut first_fault = None;
    let paths = std::env::split_paths(folders).map(|folder| folder.join(name)).flat_map(files);
    for file in paths.filter(|path| path.is_file()) {
        match why_not_run(&file) {
            None => return Ok(file),
            Some(why) => first_fault = first_fault.or(Some(messages::unfit_program(&shown(&file), &why))),
        }
    }
    Err(first_fault.unwrap_or_else(|| messages::no_program(&shown(name))))
}

/// The files that a path may stand for. On Windows, the extension says that a file can be run. A path without such an
/// extension stands for the files with one of them, in this order.
fn files(path: PathBuf) -> Vec<PathBuf> {
    const EXTENSIONS: [&str; 4] = ["com", "exe", "bat", "cmd"];
    let is_known = |extension: &OsStr| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known));
    if cfg!(unix) || path.extension().is_some_and(is_known) {
        return vec![path];
    }
    EXTENSIONS.iter().map(|extension| [path.as_os_str(), extension.as_ref()].join(OsStr::new(".")).into()).collect()
}

/// Why we can't run this file, as far as that can be known before: the fault is the file's own, or that of the
/// interpreter that the first line of a script names. The line is read as the kernel reads it (`execve(2)`). A file
/// that we can't read counts as no script.
#[cfg(unix)]
fn why_not_run(path: &Path) -> Option<String> {
    const MAX_LINE_BYTES: u64 = 256;
    // The kernel knows all modes and mounts. It checks the real user, who is the effective one: nobody installs us
    // `setuid`.
    let is_runnable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if !is_runnable(path) {
        return Some("this user may not execute it, or its file system is `noexec`".to_owned());
    }
    let start = crate::os::file::read(path, MAX_LINE_BYTES)?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?.trim_ascii_start();
    let word = line.split(|byte| b" \t\0".contains(byte)).next()?;
    let interpreter = Path::new(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(word));
    let what = match (interpreter.is_file(), is_runnable(interpreter)) {
        (true, true) => return None,
        (true, false) => "can't be run either",
        (false, _) => "is not there",
    };
    Some(format!("its interpreter {} {what}", shown(interpreter)))
}

#[cfg(windows)]
fn why_not_run(_: &Path) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[cfg(unix)]
    #[test]
    fn a_command_that_can_not_be_waited_for_is_not_said_to_have_failed_to_start() {
        let child = signals::spawn_group(&mut Command::new("true")).unwrap();
        let pid = rustix::process::Pid::from_child(&child.process);
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
        let error = wait(child, "tool").unwrap_err().to_string();
        assert!(error.starts_with("tool was started, but its end can't be learned: it may be running: "), "{error}");
    }

    #[cfg(unix)]
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

    #[cfg(windows)]
    #[test]
    fn a_program_is_found_as_windows_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["both.exe", "both.cmd", "tool3.12.exe", "script.CMD", "text"] {
            fs::write(folder.path().join(name), "").unwrap();
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
