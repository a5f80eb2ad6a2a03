//! As a container's first process, and in a folder with nothing but busybox.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::harness::{Step, wrapped};
use crate::stand_in::{Setup, StandIn};

/// Runs its arguments in a terminal, types the first of them once they have said `ready`, and tells how they end.
const TERMINAL: &str = r#"
import os, pty, signal, sys
pid, terminal = pty.fork()
if pid == 0:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the tests may run where it is ignored
    os.execvp(sys.argv[2], sys.argv[2:])
signal.alarm(20)
seen = b""
while True:
    try:
        text = os.read(terminal, 1000)
    except OSError:
        break
    seen += text
    if b"ready" in text:
        os.write(terminal, sys.argv[1].encode())
print(seen.decode(), "status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

/// Ctrl-C reaches the command by itself; sent on, it would be a second one, which many a program takes for "at once".
#[test]
fn a_signal_from_the_keyboard_reaches_the_command_once() {
    let servers = StandIn::start(Setup::default());
    let script = "trap 'echo interrupted' INT; echo ready; sleep 1; sleep 0.5; exit 3";
    let step = Step::of(&servers).env("PATH", "/usr/bin:/bin").args(&["--", "sh", "-c", script]);
    let output = wrapped(&["python3", "-c", TERMINAL, "\x03"], &step.command()).output().unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    assert!(seen.contains("status 3"), "{output:?}");
    assert_eq!(seen.matches("interrupted").count(), 1, "{seen}");
    assert_eq!(servers.revoked().len(), 1);
}

/// As in a bare folder: the command would be stopped at its first read if it were not taken for a terminal's.
#[test]
fn a_terminal_is_read_from_where_there_is_no_dev_tty_too() {
    let servers = StandIn::start(Setup::default());
    let script = "echo ready; read -r line; echo \"got $line\"; exit 3";
    let step = Step::of(&servers).env("PATH", "/usr/bin:/bin").args(&["--", "sh", "-c", script]);
    let bare = "mount -t tmpfs tmpfs /dev && exec \"$0\" \"$@\"";
    let words = ["python3", "-c", TERMINAL, "word\n", "unshare", "--mount", "sh", "-c", bare];
    let output = wrapped(&words, &step.command()).output().unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    assert!(seen.contains("got word") && seen.contains("status 3"), "{output:?}");
    assert_eq!(servers.revoked().len(), 1);
}

/// A container's first process gets no signal that it has not asked for.
#[test]
fn as_first_process_it_passes_signals_on() {
    for (signal, status) in [("TERM", 143), ("INT", 130)] {
        let servers = StandIn::start(Setup::default());
        let step =
            Step::of(&servers).env("PATH", "/usr/bin:/bin").args(&["--", "sh", "-c", "echo ready; exec sleep 20"]);
        let words = ["unshare", "--pid", "--fork", "--kill-child", "env", "--default-signal"];
        let mut container = wrapped(&words, &step.command());
        let mut container = container.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(container.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let children = format!("/proc/{0}/task/{0}/children", container.id());
        let first = std::fs::read_to_string(children).unwrap();
        let kill = Command::new("kill").args([&format!("-{signal}"), first.trim()]).status().unwrap();
        assert!(kill.success());
        assert_eq!(container.wait().unwrap().code(), Some(status), "{signal}");
        assert_eq!(servers.revoked().len(), 1);
    }
}
