//! Signals: wherever they find us, the program ends soon, and no token is left that nobody was given.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{
    NOWHERE, SLACK, ScriptedServer, Step, at_once, send, spawned, started, status, wait_until, wrapped,
};
use crate::stand_in::{Setup, StandIn};
use crate::upload::{assert_revoked_after, running};

/// As a container's first process.
const FIRST: &[&str] = &["unshare", "--pid", "--fork", "--kill-child"];

/// How it is started: as any process and, where the tests run as root, as a container's first one, too. To that one the
/// kernel passes no signal that it has no handler for.
fn places() -> Vec<&'static [&'static str]> {
    let all: [&[&str]; 2] = [&[], FIRST];
    all.into_iter().filter(|words| words.is_empty() || rustix::process::geteuid().is_root()).collect()
}

/// Starts it in one of these places, and gives the number of its own process once that notes signals.
fn started_in(place: &[&str], step: &Step) -> (Child, String) {
    let mut command = wrapped(&[place, &["env", "--default-signal"]].concat(), &step.command());
    let child = spawned(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut number = String::new();
    wait_until(|| {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap_or_default();
        number = if place.is_empty() { child.id().to_string() } else { children.trim().to_owned() };
        notes_signals(&number)
    });
    (child, number)
}

/// True for a process that has a handler for SIGTERM.
fn notes_signals(number: &str) -> bool {
    let process = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
    let caught = process.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (Signal::TERM.as_raw() - 1)) != 0)
}

/// A server that takes requests and says nothing.
fn silent() -> ScriptedServer {
    ScriptedServer::serving(|_| thread::sleep(Duration::from_secs(20)))
}

const GOOD: &str = "HTTP/1.1 200 OK\r\n\r\n{\"value\":\"a.b.c\"}";

/// A step that asks this server for an ID token.
fn with_verb(verb: &str, github: &str) -> Step {
    let step = Step::on_github().args(&[verb]).env("TOKEN_MINT_AUDIENCE", "pypi");
    step.env("ACTIONS_ID_TOKEN_REQUEST_URL", github).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "x")
}

/// SIGTERM while it waits for each thing that there is to wait for.
#[test]
fn a_signal_ends_every_wait() {
    struct Wait {
        what: &'static str,
        step: fn(&str) -> Step,
        /// What its server says; nothing: it is silent.
        says: &'static str,
        /// How long it has to take at least, and may take.
        takes: (u64, u64),
    }
    let soon = (0, 0);
    let waits = [
        Wait { what: "the ID token", step: |silent| Step::with_endpoints(silent, NOWHERE), says: "", takes: soon },
        Wait {
            what: "the audience",
            step: |silent| Step::with_endpoints(NOWHERE, silent).without("TOKEN_MINT_AUDIENCE"),
            says: "",
            takes: soon,
        },
        Wait {
            what: "a helper program",
            step: |silent| {
                let step = Step::bare().args(&["--index", silent, "--audience", "pypi"]).env("BUILDKITE", "true");
                // What it has started is ended with it.
                step.with_program("buildkite-agent", "sleep 20; echo a.b.c")
            },
            says: "",
            takes: soon,
        },
        Wait {
            what: "stdin",
            step: |silent| Step::on_github().args(&["burn", "--index", silent]),
            says: "",
            takes: soon,
        },
        Wait {
            what: "a revocation",
            step: |silent| Step::on_github().args(&["burn", "--index", silent]).env("TOKEN_MINT_API_TOKEN", "pypi-abc"),
            says: "",
            takes: (0, 5),
        },
        Wait { what: "the ID token of `claims`", step: |silent| with_verb("claims", silent), says: "", takes: soon },
        Wait { what: "the ID token of `check`", step: |silent| with_verb("check", silent), says: "", takes: soon },
        Wait {
            what: "another attempt",
            step: |busy| Step::with_endpoints(busy, NOWHERE),
            says: "HTTP/1.1 429 X\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n",
            takes: soon,
        },
        Wait {
            what: "the API token",
            step: |silent| {
                let github = ScriptedServer::answering(GOOD);
                Step::with_endpoints(&github.url(), silent)
            },
            says: "",
            takes: (4, 5),
        },
    ];
    let all: Vec<_> = waits.iter().flat_map(|wait| places().into_iter().map(move |place| (wait, place))).collect();
    at_once(&all, |(Wait { what, step, says, takes }, place)| {
        let server = if says.is_empty() { silent() } else { ScriptedServer::answering(*says) };
        let step = step(&server.url());
        let (mut child, number) = started_in(place, &step);
        if !["stdin", "a helper program"].contains(what) {
            wait_until(|| !server.requests().is_empty());
        }
        thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        send("-TERM", &number);
        let (stdin, status) = (child.stdin.take(), status(&mut child));
        let took = start.elapsed();
        assert_eq!(status, Some(143), "{what}, {place:?}");
        let (least, most) = (Duration::from_secs(takes.0), Duration::from_secs(takes.1) + SLACK);
        assert!(took >= least && took < most, "{what}, {place:?}: {took:?}");
        let mut stdout = String::new();
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        assert_eq!(stdout, "", "{what}, {place:?}");
        drop(stdin);
    });
}

/// The reply with the API token comes after the signal.
#[test]
fn a_token_minted_during_a_signal_is_revoked_unused() {
    let runs: [&[&str]; 3] = [&["--format", "token"], &["check"], &["--", "/usr/bin/touch", "ran"]];
    let all: Vec<_> = runs.iter().flat_map(|args| places().into_iter().map(move |place| (args, place))).collect();
    at_once(&all, |(args, place)| {
        let servers = StandIn::start(Setup { minting_takes: Duration::from_millis(500), ..Setup::default() });
        let step = Step::of(&servers).args(args);
        let (mut child, number) = started_in(place, &step);
        wait_for_the_exchange(&servers);
        send("-TERM", &number);
        assert_eq!(status(&mut child), Some(143), "{args:?}, {place:?}");
        let mut stdout = String::new();
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        assert_eq!((stdout.as_str(), step.dir.path().join("ran").exists()), ("", false), "{args:?}, {place:?}");
        assert_revoked_after(&servers, None);
    });
}

/// Waits until the index is asked to mint.
fn wait_for_the_exchange(servers: &StandIn) {
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
        assert_eq!(servers.burned().len(), 0);
        send(&format!("-{signal}"), &child.id().to_string());
        assert_eq!(status(&mut child), Some(42), "{signal}");
        let ended = fs::metadata(step.dir.path().join("ended")).unwrap().modified().unwrap();
        assert_revoked_after(&servers, Some(ended));
    }
}

/// What a shell waits for gets no signal from it.
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
fn what_is_sent_to_the_whole_process_group_reaches_the_command_once() {
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

/// stdout is a pipe that nobody reads, and full.
#[test]
fn a_hand_over_that_waits_for_ever_can_be_ended() {
    let servers = StandIn::start(Setup::default());
    let (reader, mut full) = std::io::pipe().unwrap();
    full.write_all(&[0; 65_536]).unwrap();
    let step = Step::of(&servers).args(&["--format", "token"]);
    let mut child = spawned(step.command().stdout(full));
    wait_until(|| !servers.api_tokens().is_empty());
    thread::sleep(Duration::from_millis(200));
    send("-TERM", &child.id().to_string());
    assert_eq!(status(&mut child), Some(143));
    assert_revoked_after(&servers, None);
    drop(reader);
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

/// GitHub sends SIGINT, SIGTERM 7.5 seconds later, and SIGKILL 2.5 seconds after that.
#[test]
fn a_command_that_does_not_heed_a_signal_loses_its_token_and_is_not_waited_for() {
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
    // `timeout` sends one twice.
    for signal in ["-INT", "-INT", "-TERM"] {
        assert_eq!((child.try_wait().unwrap(), servers.burned().len()), (None, 0));
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
    let mut said = vec![0; 4096];
    let length = child.stderr.take().unwrap().read(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..length]).into_owned();
    assert!(said.contains("the upload failed: sh goes on after SIGINT, and is not waited for"), "{said}");
}

/// And what it has started after it.
#[test]
fn what_outlives_a_command_that_was_told_to_end_does_not_keep_the_token_alive() {
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

/// What has ended is no straggler, even where the first process waits for nobody, as in a job's container on GitHub.
#[test]
fn what_has_ended_with_the_command_is_not_waited_for() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let beside: &[&str] = &["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "\"$0\" \"$@\" & exec sleep 20"];
    for place in [FIRST, beside] {
        let servers = StandIn::start(Setup::default());
        let step = running(&servers, "(sleep 20 &); echo ready; exec sleep 20");
        let (mut child, _stdout) = started(&step, place);
        let first_child = |number: &str| {
            let children = fs::read_to_string(format!("/proc/{number}/task/{number}/children")).unwrap();
            children.split(' ').next().unwrap().to_owned()
        };
        let first = first_child(&child.id().to_string());
        let number = if place == FIRST { first } else { first_child(&first) };
        let start = Instant::now();
        send("-TERM", &number);
        wait_until(|| !servers.burned().is_empty());
        assert!(start.elapsed() < SLACK, "{place:?}: {:?}", start.elapsed());
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[test]
fn a_command_that_is_stopped_is_told_to_end_too() {
    for place in [&[][..], &["setsid"]] {
        let servers = StandIn::start(Setup::default());
        let script = "trap 'exit 42' TERM; echo $$ >pid; echo ready; kill -STOP $$; sleep 15";
        let step = running(&servers, script);
        let (mut child, _stdout) = started(&step, place);
        let number = fs::read_to_string(step.dir.path().join("pid")).unwrap();
        let path = format!("/proc/{}/status", number.trim());
        wait_until(|| fs::read_to_string(&path).unwrap().contains("State:\tT"));
        send("-TERM", &child.id().to_string());
        assert_eq!(status(&mut child), Some(42));
        assert_revoked_after(&servers, None);
    }
}

/// Each ends a program that has no handler for it.
const OTHERS: &[Signal] = &[
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
    at_once(OTHERS, |signal| {
        let (option, wanted) = (format!("-{}", signal.as_raw()), Some(128 + signal.as_raw()));
        let servers = StandIn::start(Setup { minting_takes: Duration::from_millis(500), ..Setup::default() });
        let (mut child, number) = started_in(&[], &Step::of(&servers).args(&["--format", "token"]));
        wait_for_the_exchange(&servers);
        send(&option, &number);
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
    let step = Step::with_endpoints(&ScriptedServer::answering(GOOD).url(), &index.url())
        .args(&["--", "/bin/sh", "-c", "exit 3"]);
    let mut child = step.command().stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| index.requests().iter().any(|request| request.path().ends_with("burn-token")));
    for signal in ["-INT", "-TERM"] {
        send(signal, &child.id().to_string());
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(status(&mut child), Some(3));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("has accepted the API token for revocation"), "{said}");
}
