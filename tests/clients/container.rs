//! What is special in a container: the program is process 1 there, and has a terminal.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::harness::{Step, wrapped};
use crate::stand_in::{Setup, StandIn};

/// Types its first argument into a terminal once the other arguments, run as a command there, have printed `ready`. It
/// prints what the terminal showed, and the command's status.
const TERMINAL: &str = r#"
import os, pty, signal, sys
pid, terminal = pty.fork()
if pid == 0:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the tests themselves may run with it ignored
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

/// The terminal sends SIGINT to COMMAND, too. If token-mint passed its own on, COMMAND would get two, and many programs
/// end at the second one without any cleanup.
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

/// If COMMAND were not made the terminal's foreground process group, the kernel would stop it at its first read.
#[test]
fn the_command_reads_from_the_terminal_even_without_dev_tty() {
    let servers = StandIn::start(Setup::default());
    let script = "echo ready; read -r line; echo \"got $line\"; exit 3";
    let step = Step::of(&servers).env("PATH", "/usr/bin:/bin").args(&["--", "sh", "-c", script]);
    let without_dev = "mount -t tmpfs tmpfs /dev && exec \"$0\" \"$@\"";
    let words = ["python3", "-c", TERMINAL, "word\n", "unshare", "--mount", "sh", "-c", without_dev];
    let output = wrapped(&words, &step.command()).output().unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    assert!(seen.contains("got word") && seen.contains("status 3"), "{output:?}");
    assert_eq!(servers.revoked().len(), 1);
}

/// The kernel passes a signal to process 1 only if it has a handler for it.
#[test]
fn as_process_1_it_passes_signals_on() {
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
