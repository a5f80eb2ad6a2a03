//! The action's script alone, run by each kind of shell as a runner does. These tests are about signals and about the
//! folder for temporary files.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{NO_SIGNAL_IGNORED, ScriptedServer, spawned, wait_until};
use crate::job::{TARGET, VERSION, executable, pinned, run};

/// How runners start a script: GitHub's for `shell: sh` and for `shell: bash`, and one whose sh is busybox's. macOS has
/// no busybox.
const SHELLS: &[&[&str]] = if cfg!(target_os = "macos") { &[DASH, BASH] } else { &[DASH, BASH, BUSYBOX] };
const DASH: &[&str] = &["dash", "-e"];
const BASH: &[&str] = &["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"];
const BUSYBOX: &[&str] = &["busybox", "sh", "-e"];

/// The script in a job whose tool cache has token-mint. One server is both GitHub's endpoint and the index.
struct Script {
    dir: tempfile::TempDir,
    shell: &'static [&'static str],
    server: ScriptedServer,
}

impl Script {
    /// The server never answers.
    fn that_hangs(shell: &'static [&'static str]) -> Script {
        Script::with(shell, ScriptedServer::serving(|_| thread::sleep(Duration::from_secs(60))))
    }

    fn with(shell: &'static [&'static str], server: ScriptedServer) -> Script {
        let script = Script { dir: tempfile::tempdir().unwrap(), shell, server };
        let cached = script.dir.path().join(format!("tools/token-mint/{VERSION}/{TARGET}/token-mint"));
        executable(&cached, &fs::read(pinned().asset()).unwrap());
        let action = pinned().action_yml();
        let script_lines = action.split("      run: |\n").nth(1).unwrap().lines();
        let lines = script_lines.map(|line| format!("{}\n", line.strip_prefix("        ").unwrap_or_default()));
        fs::write(script.dir.path().join("script"), lines.collect::<String>()).unwrap();
        fs::write(script.dir.path().join("output"), "").unwrap();
        fs::create_dir(script.temp()).unwrap();
        script
    }

    fn temp(&self) -> PathBuf {
        self.dir.path().join("temp")
    }

    /// The content of the folder for temporary files.
    fn temporary_files(&self) -> Vec<PathBuf> {
        fs::read_dir(self.temp()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// A `PATH` on which `sh` is the shell of this script.
    fn path_with_sh(&self) -> String {
        let folder = self.dir.path().join("bin");
        fs::create_dir(&folder).unwrap();
        let shell = run(Command::new("sh").args(["-c", "command -v \"$0\"", self.shell[0]]));
        symlink(shell.trim_end(), folder.join("sh")).unwrap();
        format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
    }

    /// Starts the script. These inputs replace the defaults.
    fn start(&self, inputs: &[(&str, &str)]) -> Child {
        let url = self.server.url();
        let mut command = Command::new(NO_SIGNAL_IGNORED[0]);
        command
            .args(&NO_SIGNAL_IGNORED[1..])
            .args(self.shell)
            .arg(self.dir.path().join("script"))
            .current_dir(&self.dir)
            .env_clear();
        command.envs([("TOKEN_MINT_COMMAND", "mint"), ("TOKEN_MINT_BURN", "none"), ("TOKEN_MINT_RUN", "")]);
        command.envs([("TOKEN_MINT_INDEX", &*url), ("TOKEN_MINT_AUDIENCE", "pypi"), ("TOKEN_MINT_TIMEOUT", "20")]);
        command.envs([("GITHUB_ACTIONS", "true"), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "a-request-token")]);
        command.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{url}/idtoken?api-version=2.0"));
        command.env("GITHUB_OUTPUT", self.dir.path().join("output")).env("RUNNER_TEMP", self.temp());
        command.env("RUNNER_TOOL_CACHE", self.dir.path().join("tools")).env("PATH", std::env::var_os("PATH").unwrap());
        command.stdout(fs::File::create(self.dir.path().join("stdout")).unwrap()).stdin(Stdio::null());
        spawned(command.envs(inputs.iter().copied()))
    }

    /// Starts the script, and waits until token-mint has sent its first request.
    fn start_until_request(&self, inputs: &[(&str, &str)]) -> Child {
        let before = self.server.requests().len();
        let child = self.start(inputs);
        wait_until(|| self.server.requests().len() > before);
        child
    }

    /// Runs the script to its end, which is early as the index is invalid. Returns the process ID.
    fn run_to_the_end(&self) -> u32 {
        let mut child = self.start(&[("TOKEN_MINT_INDEX", "nonsense")]);
        assert_eq!(ended(&mut child).code(), Some(2), "{:?}", self.shell);
        child.id()
    }
}

/// On Windows, shells change arguments and variables that look like paths, if the program is not one of their own. They
/// also split the arguments of such a program at line breaks.
#[test]
fn the_commands_of_run_arrive_unchanged_and_are_no_argument() {
    let lines = "/bin/echo one
echo \"it's\" 'a \"quote\"' $((1 + 1)) \\
  continued
cat <<END
  $TWINE_PASSWORD, \\, `echo x`
END
printf '<%s>\\n' carriage-return\r
# a 'comment
/bin/ps -o args= -p $PPID >arguments
cat
false
echo never


";
    let printed = "one\nit's a \"quote\" 2 continued\n  pypi-abc, \\, x\n<carriage-return\r>\n";
    for &shell in SHELLS {
        let script = Script::with(shell, ScriptedServer::replying(200, r#"{"value":"a.b.c","token":"pypi-abc"}"#));
        let mut child = script.start(&[("TOKEN_MINT_RUN", lines), ("PATH", &script.path_with_sh())]);
        let status = ended(&mut child);
        let stdout = fs::read_to_string(script.dir.path().join("stdout")).unwrap();
        assert_eq!((status.code(), &*stdout), (Some(1), printed), "{shell:?}");
        let arguments = fs::read_to_string(script.dir.path().join("arguments")).unwrap();
        let [_, "--", "sh", "-e", file] = arguments.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{arguments}")
        };
        assert!(file.starts_with(script.temp().to_str().unwrap()), "{arguments}");
    }
}

fn ended(child: &mut Child) -> ExitStatus {
    wait_until(|| child.try_wait().unwrap().is_some());
    child.wait().unwrap()
}

/// To cancel a job, a runner sends signals to the first process of the step alone.
#[test]
fn a_cancelled_jobs_signal_reaches_token_mint_whatever_it_does() {
    let inputs: [&[(&str, &str)]; 5] = [
        &[],
        &[("TOKEN_MINT_RUN", "true")],
        &[("TOKEN_MINT_BURN", "pypi-AgEIcHlwaS5vcmc")],
        &[("TOKEN_MINT_COMMAND", "check")],
        &[("TOKEN_MINT_COMMAND", "claims")],
    ];
    for &shell in SHELLS {
        for inputs in inputs {
            for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15)] {
                let script = Script::that_hangs(shell);
                let mut child = script.start_until_request(inputs);
                kill_process(Pid::from_child(&child), signal).unwrap();
                let status = ended(&mut child);
                let ended_by_signal = status.signal() == Some(number) || status.code() == Some(128 + number);
                assert!(ended_by_signal, "{shell:?}, {inputs:?}: {status}");
            }
        }
    }
}

#[test]
fn copies_of_ended_processes_are_removed_and_those_of_running_ones_stay() {
    for &shell in SHELLS {
        let script = Script::that_hangs(shell);
        script.run_to_the_end();
        let first = script.temporary_files();
        assert_eq!(first.len(), 1, "{shell:?}: {first:?}");
        let mut running = script.start_until_request(&[]);
        let second = script.temporary_files();
        assert!(second.len() == 1 && second != first, "{shell:?}: {second:?}");
        script.run_to_the_end();
        assert!(second[0].join("token-mint.exe").exists(), "{shell:?}: a running process uses it");
        running.kill().unwrap();
        ended(&mut running);
        script.run_to_the_end();
        assert_eq!(script.temporary_files().len(), 1, "{shell:?}: only its own copy is left");
    }
}

#[test]
fn a_link_that_looks_like_an_earlier_copy_is_not_followed() {
    for &shell in SHELLS {
        let script = Script::that_hangs(shell);
        let precious = script.dir.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("token-mint.exe"), "").unwrap();
        let ended = script.run_to_the_end();
        symlink(&precious, script.temp().join(format!("token-mint.{ended}.AAAAAA"))).unwrap();
        symlink("/nonexistent", script.temp().join("token-mint.*.BBBBBB")).unwrap();
        fs::write(script.temp().join("another file"), "").unwrap();
        script.run_to_the_end();
        assert!(precious.join("token-mint.exe").exists(), "{shell:?}");
        assert_eq!(
            script.temporary_files().len(),
            2,
            "{shell:?}: only its own copy and that file are left, {:?}",
            script.temporary_files()
        );
    }
}
