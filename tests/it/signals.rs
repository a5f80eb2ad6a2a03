//! Signals: the program ends soon at any time, and revokes an API token that it did not hand over.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{
    SLACK, ScriptedServer, Step, UNREACHABLE_URL, full_pipe, in_parallel, send, spawned, started, status, wait_until,
    wrapped,
};
use crate::stand_in::{Setup, StandIn};
use crate::upload::{assert_revoked_after, running};

/// Starts a program as process 1 of a PID namespace, as in a container.
const AS_PID_1: &[&str] = &["unshare", "--pid", "--fork", "--kill-child"];

/// The ways to start the program: as any process and, if the tests run as root, as process 1 of a PID namespace. The
/// kernel passes a signal to process 1 only if it has a handler for it.
fn launchers() -> Vec<&'static [&'static str]> {
    let all: [&[&str]; 2] = [&[], AS_PID_1];
    all.into_iter().filter(|words| words.is_empty() || rustix::process::geteuid().is_root()).collect()
}

/// Starts the step under a launcher, waits until it catches SIGTERM, and returns its own process ID, too.
fn start_under(launcher: &[&str], step: &Step) -> (Child, String) {
    let mut command = wrapped(&[launcher, &["env", "--default-signal"]].concat(), &step.command());
    let child = spawned(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut pid = String::new();
    wait_until(|| {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap_or_default();
        pid = if launcher.is_empty() { child.id().to_string() } else { children.trim().to_owned() };
        catches_sigterm(&pid)
    });
    (child, pid)
}

/// True for a process that has a handler for SIGTERM.
fn catches_sigterm(pid: &str) -> bool {
    let process = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = process.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (Signal::TERM.as_raw() - 1)) != 0)
}

/// A server that reads requests and answers none.
fn silent() -> ScriptedServer {
    ScriptedServer::serving(|_| thread::sleep(Duration::from_secs(20)))
}

const ID_TOKEN_REPLY: &str = "HTTP/1.1 200 OK\r\n\r\n{\"value\":\"a.b.c\"}";

/// A step that asks this server for an ID token.
fn with_subcommand(subcommand: &str, github: &str) -> Step {
    let step = Step::on_github().args(&[subcommand]).env("TOKEN_MINT_AUDIENCE", "pypi");
    step.env("ACTIONS_ID_TOKEN_REQUEST_URL", github).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "x")
}

#[test]
fn a_signal_ends_every_wait() {
    struct Wait {
        what: &'static str,
        step: fn(&str) -> Step,
        /// The answer of its server. If it is empty, the server never answers.
        answer: &'static str,
        /// The least and the greatest number of seconds from the signal to the end of the program.
        takes: (u64, u64),
    }
    let soon = (0, 0);
    let waits = [
        Wait {
            what: "the ID token",
            step: |silent| Step::with_endpoints(silent, UNREACHABLE_URL),
            answer: "",
            takes: soon,
        },
        Wait {
            what: "the audience",
            step: |silent| Step::with_endpoints(UNREACHABLE_URL, silent).without("TOKEN_MINT_AUDIENCE"),
            answer: "",
            takes: soon,
        },
        Wait {
            what: "a helper program",
            step: |silent| {
                let step = Step::bare().args(&["--index", silent, "--audience", "pypi"]).env("BUILDKITE", "true");
                // The helper's own child has to end, too.
                step.with_program("buildkite-agent", "sleep 20; echo a.b.c")
            },
            answer: "",
            takes: soon,
        },
        Wait {
            what: "stdin",
            step: |silent| Step::on_github().args(&["burn", "--index", silent]),
            answer: "",
            takes: soon,
        },
        Wait {
            what: "a revocation",
            step: |silent| Step::on_github().args(&["burn", "--index", silent]).env("TOKEN_MINT_API_TOKEN", "pypi-abc"),
            answer: "",
            takes: (0, 5),
        },
        Wait {
            what: "the ID token of `claims`",
            step: |silent| with_subcommand("claims", silent),
            answer: "",
            takes: soon,
        },
        Wait {
            what: "the ID token of `check`",
            step: |silent| with_subcommand("check", silent),
            answer: "",
            takes: soon,
        },
        Wait {
            what: "another attempt",
            step: |busy| Step::with_endpoints(busy, UNREACHABLE_URL),
            answer: "HTTP/1.1 429 X\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n",
            takes: soon,
        },
        Wait {
            what: "the connection for the API token",
            step: |silent| {
                let step = Step::bare().args(&["--index", "https://index.invalid", "--audience", "x"]);
                step.args(&["--id-token-env", "T"]).env("T", "a.b.c").env("https_proxy", silent)
            },
            answer: "",
            takes: soon,
        },
        Wait {
            what: "the API token",
            step: |silent| {
                let github = ScriptedServer::answering(ID_TOKEN_REPLY);
                Step::with_endpoints(&github.url(), silent)
            },
            answer: "",
            takes: (4, 5),
        },
    ];
    let all: Vec<_> =
        waits.iter().flat_map(|wait| launchers().into_iter().map(move |launcher| (wait, launcher))).collect();
    in_parallel(&all, |(Wait { what, step, answer, takes }, launcher)| {
        let server = if answer.is_empty() { silent() } else { ScriptedServer::answering(*answer) };
        let step = step(&server.url());
        let (mut child, pid) = start_under(launcher, &step);
        if !["stdin", "a helper program"].contains(what) {
            wait_until(|| !server.requests().is_empty());
        }
        thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        send("-TERM", &pid);
        let (stdin, status) = (child.stdin.take(), status(&mut child));
        let took = start.elapsed();
        assert_eq!(status, Some(143), "{what}, {launcher:?}");
        let (least, most) = (Duration::from_secs(takes.0), Duration::from_secs(takes.1) + SLACK);
        assert!(took >= least && took < most, "{what}, {launcher:?}: {took:?}");
        let mut stdout = String::new();
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        assert_eq!(stdout, "", "{what}, {launcher:?}");
        drop(stdin);
    });
}

/// With TLS, the handshake comes before the request.
#[test]
fn a_signal_during_the_handshake_ends_it_before_anything_is_sent() {
    let proxy = ScriptedServer::serving(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        thread::sleep(Duration::from_secs(20));
    });
    let step = Step::bare().args(&["--index", "https://index.invalid", "--audience", "x", "--id-token-env", "T"]);
    let (mut child, pid) = start_under(&[], &step.env("T", "a.b.c").env("https_proxy", &proxy.url()));
    wait_until(|| !proxy.requests().is_empty());
    thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    send("-TERM", &pid);
    assert_eq!(status(&mut child), Some(143));
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
}

/// The index mints the API token after the signal.
#[test]
fn a_token_minted_during_a_signal_is_revoked_unused() {
    let runs: [&[&str]; 3] = [&["--format", "token"], &["check"], &["--", "/usr/bin/touch", "ran"]];
    let all: Vec<_> =
        runs.iter().flat_map(|args| launchers().into_iter().map(move |launcher| (args, launcher))).collect();
    in_parallel(&all, |(args, launcher)| {
        let servers = StandIn::start(Setup { mint_delay: Duration::from_millis(500), ..Setup::default() });
        let step = Step::of(&servers).args(args);
        let (mut child, pid) = start_under(launcher, &step);
        wait_for_the_request_to_mint(&servers);
        send("-TERM", &pid);
        assert_eq!(status(&mut child), Some(143), "{args:?}, {launcher:?}");
        let mut stdout = String::new();
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        assert_eq!((stdout.as_str(), step.dir.path().join("ran").exists()), ("", false), "{args:?}, {launcher:?}");
        assert_revoked_after(&servers, None);
    });
}

fn wait_for_the_request_to_mint(servers: &StandIn) {
    wait_until(|| servers.index.requests().iter().any(|request| request.method == "POST"));
}

#[test]
fn a_signal_reaches_the_command_and_the_token_is_revoked_after_it_has_ended() {
    for signal in ["INT", "TERM", "HUP", "QUIT"] {
        let servers = StandIn::start(Setup::default());
        let script =
            format!("trap 'sleep 0.2; touch ended; exit 42' {signal}; echo ready; while :; do sleep 0.02; done");
        let step = running(&servers, &script);
        let (mut child, _stdout) = started(&step, &[]);
        assert_eq!(servers.revoked().len(), 0);
        send(&format!("-{signal}"), &child.id().to_string());
        assert_eq!(status(&mut child), Some(42), "{signal}");
        let ended = fs::metadata(step.dir.path().join("ended")).unwrap().modified().unwrap();
        assert_revoked_after(&servers, Some(ended));
    }
}

/// A shell does not pass a signal on to the process that it waits for.
#[test]
fn a_signal_reaches_what_the_command_has_started() {
    let servers = StandIn::start(Setup::default());
    let upload = "sh -c 'trap \"sleep 0.3; touch ended; exit 1\" TERM; echo ready; while :; do sleep 0.02; done'";
    let step = running(&servers, &format!("{upload}; echo went on >&2"));
    let (mut child, _stdout) = started(&step, &["setsid"]);
    send("-TERM", &child.id().to_string());
    assert_eq!(status(&mut child), Some(143));
    let ended = fs::metadata(step.dir.path().join("ended")).unwrap().modified().unwrap();
    assert_revoked_after(&servers, Some(ended));
}

#[test]
fn a_signal_to_the_whole_process_group_reaches_the_command_once() {
    let servers = StandIn::start(Setup::default());
    let script = "trap 'echo told' TERM; echo ready; for n in 1 2 3 4 5 6 7 8 9; do sleep 0.3; done; exit 3";
    let step = running(&servers, script);
    let (mut child, mut stdout) = started(&step, &["setsid"]);
    send("-TERM", &format!("-{}", child.id()));
    assert_eq!(status(&mut child), Some(3));
    let mut told = String::new();
    stdout.read_to_string(&mut told).unwrap();
    assert_eq!(told, "told\n");
}

#[test]
fn a_signal_ends_a_hand_over_to_a_full_pipe() {
    let servers = StandIn::start(Setup::default());
    let (_reader, full) = full_pipe();
    let step = Step::of(&servers).args(&["--format", "token"]);
    let mut child = spawned(step.command().stdout(full));
    wait_until(|| !servers.api_tokens().is_empty());
    thread::sleep(Duration::from_millis(200));
    send("-TERM", &child.id().to_string());
    assert_eq!(status(&mut child), Some(143));
    assert_revoked_after(&servers, None);
}

#[test]
fn the_status_tells_that_a_signal_ended_the_command() {
    let servers = StandIn::start(Setup::default());
    let step = running(&servers, "echo ready; exec sleep 20");
    let (mut child, _stdout) = started(&step, &[]);
    send("-TERM", &child.id().to_string());
    assert_eq!(status(&mut child), Some(143));
    assert_revoked_after(&servers, None);
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let servers = StandIn::start(Setup::default());
    let step = running(&servers, "kill -HUP $PPID; sleep 0.1; kill -HUP $$; echo alive");
    let output = step.command_in_shell("trap '' HUP; exec \"$0\" \"$@\"").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "alive\n");
    assert_eq!(output.status.code(), Some(0));
    assert_revoked_after(&servers, None);
}

/// GitHub cancels a job with SIGINT, with SIGTERM 7.5 seconds later, and with SIGKILL 2.5 seconds after that.
#[test]
fn a_command_that_ignores_a_signal_loses_its_token_and_is_not_waited_for() {
    let servers = StandIn::start(Setup::default());
    let step = running(&servers, "trap '' INT TERM; echo ready; exec sleep 15");
    let (mut child, _stdout) = started(&step, &["setsid"]);
    let start = Instant::now();
    send("-INT", &child.id().to_string());
    assert_eq!(status(&mut child), Some(130));
    let took = start.elapsed();
    assert!(took > Duration::from_secs(6) && took < Duration::from_millis(7500) + SLACK, "{took:?}");
    assert_revoked_after(&servers, None);
}

#[test]
fn a_second_signal_has_the_token_revoked_at_once() {
    let servers = StandIn::start(Setup::default());
    let step = running(&servers, "trap '' INT TERM; echo ready; exec sleep 15");
    let mut command = wrapped(&["setsid", "env", "--default-signal"], &step.command());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    // `timeout` sends the same signal twice at once. That counts as one.
    for signal in ["-INT", "-INT", "-TERM"] {
        assert_eq!((child.try_wait().unwrap(), servers.revoked().len()), (None, 0));
        if signal == "-TERM" {
            thread::sleep(Duration::from_millis(1500));
        }
        send(signal, &child.id().to_string());
        thread::sleep(Duration::from_millis(100));
    }
    let start = Instant::now();
    assert_eq!(status(&mut child), Some(130));
    assert!(start.elapsed() < SLACK);
    assert_revoked_after(&servers, None);
    let mut stderr = vec![0; 4096];
    let length = child.stderr.take().unwrap().read(&mut stderr).unwrap();
    let stderr = String::from_utf8_lossy(&stderr[..length]).into_owned();
    assert!(stderr.contains("the upload failed: sh goes on after SIGINT, and is not waited for"), "{stderr}");
}

/// COMMAND ends, but a process that it has started goes on.
#[test]
fn a_process_that_outlives_a_terminated_command_is_waited_for_seven_seconds_at_most() {
    let servers = StandIn::start(Setup::default());
    let left = "sh -c 'trap \"\" TERM; echo ready; exec sleep 15'";
    let step = running(&servers, &format!("trap 'sleep 5; exit 3' TERM; {left} & wait"));
    let (mut child, _stdout) = started(&step, &["setsid"]);
    let start = Instant::now();
    send("-TERM", &child.id().to_string());
    assert_eq!(status(&mut child), Some(3));
    let took = start.elapsed();
    assert!(took > Duration::from_secs(6) && took < Duration::from_secs(9), "{took:?}");
    assert_revoked_after(&servers, None);
}

/// Process 1 may reap no zombies, as in a job's container on GitHub. A zombie is not waited for.
#[test]
fn processes_that_ended_with_the_command_are_not_waited_for() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let beside: &[&str] = &["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "\"$0\" \"$@\" & exec sleep 20"];
    for launcher in [AS_PID_1, beside] {
        let servers = StandIn::start(Setup::default());
        let step = running(&servers, "(sleep 20 &); echo ready; exec sleep 20");
        let (mut child, _stdout) = started(&step, launcher);
        let first_child = |pid: &str| {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
            children.split(' ').next().unwrap().to_owned()
        };
        let first = first_child(&child.id().to_string());
        let pid = if launcher == AS_PID_1 { first } else { first_child(&first) };
        let start = Instant::now();
        send("-TERM", &pid);
        wait_until(|| !servers.revoked().is_empty());
        assert!(start.elapsed() < SLACK, "{launcher:?}: {:?}", start.elapsed());
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[test]
fn a_stopped_command_gets_the_signal_too() {
    for launcher in [&[][..], &["setsid"]] {
        let servers = StandIn::start(Setup::default());
        let script = "trap 'exit 42' TERM; echo $$ >pid; echo ready; kill -STOP $$; sleep 15";
        let step = running(&servers, script);
        let (mut child, _stdout) = started(&step, launcher);
        let pid = fs::read_to_string(step.dir.path().join("pid")).unwrap();
        let path = format!("/proc/{}/status", pid.trim());
        wait_until(|| fs::read_to_string(&path).unwrap().contains("State:\tT"));
        send("-TERM", &child.id().to_string());
        assert_eq!(status(&mut child), Some(42));
        assert_revoked_after(&servers, None);
    }
}

/// Other signals whose default action ends a process.
const OTHER_SIGNALS: &[Signal] = &[
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::XCPU,
    #[cfg(target_os = "linux")]
    Signal::IO,
    #[cfg(target_os = "linux")]
    Signal::POWER,
    #[cfg(target_os = "linux")]
    Signal::STKFLT,
];

#[test]
fn no_other_signal_leaves_a_token_behind_either() {
    in_parallel(OTHER_SIGNALS, |signal| {
        let (option, wanted) = (format!("-{}", signal.as_raw()), Some(128 + signal.as_raw()));
        let servers = StandIn::start(Setup { mint_delay: Duration::from_millis(500), ..Setup::default() });
        let (mut child, pid) = start_under(&[], &Step::of(&servers).args(&["--format", "token"]));
        wait_for_the_request_to_mint(&servers);
        send(&option, &pid);
        assert_eq!(status(&mut child), wanted, "{signal:?}");
        assert_revoked_after(&servers, None);

        let servers = StandIn::start(Setup::default());
        let (mut child, _stdout) = started(&running(&servers, "echo ready; exec sleep 15"), &[]);
        send(&option, &child.id().to_string());
        assert_eq!(status(&mut child), wanted, "{signal:?}");
        assert_revoked_after(&servers, None);
    });
}

#[test]
fn a_signal_that_means_something_else_to_the_command_is_no_request_to_end() {
    let servers = StandIn::start(Setup::default());
    let script = "trap 'echo told' USR1; echo ready; for n in 1 2 3 4 5 6 7 8 9; do sleep 0.3; done; exit 3";
    let (mut child, mut stdout) = started(&running(&servers, script), &[]);
    for _ in 0..2 {
        send("-USR1", &child.id().to_string());
        thread::sleep(Duration::from_millis(1200));
    }
    assert_eq!(status(&mut child), Some(3));
    let mut told = String::new();
    stdout.read_to_string(&mut told).unwrap();
    assert_eq!(told, "told\ntold\n");
}

#[test]
fn a_signal_does_not_end_a_revocation() {
    let index = ScriptedServer::serving_requests(|request, stream| {
        let answer = match request.path().ends_with("burn-token") {
            true => "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
            false => "HTTP/1.1 200 OK\r\n\r\n{\"token\":\"pypi-abc\"}",
        };
        thread::sleep(Duration::from_millis(if answer.contains("202") { 1000 } else { 0 }));
        let _ = stream.write_all(answer.as_bytes());
    });
    let step = Step::with_endpoints(&ScriptedServer::answering(ID_TOKEN_REPLY).url(), &index.url())
        .args(&["--", "/bin/sh", "-c", "exit 3"]);
    let mut child = step.command().stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| index.requests().iter().any(|request| request.path().ends_with("burn-token")));
    for signal in ["-INT", "-TERM"] {
        send(signal, &child.id().to_string());
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(status(&mut child), Some(3));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(stderr.contains("has accepted the API token for revocation"), "{stderr}");
}
