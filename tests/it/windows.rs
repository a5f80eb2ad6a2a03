//! What is different on Windows: `-- COMMAND`, the names of variables, unwritable streams, Ctrl-C and Ctrl-Break. The
//! tests use programs that every Windows has.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::windows::process::CommandExt;
use std::path::{self, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::harness::{
    Outcome, ScriptedServer, Step, UNREACHABLE_URL, in_parallel, output, spawned, status, wait_until,
};
use crate::stand_in::{Setup, StandIn};
use crate::upload::assert_revoked_after;

/// Runs a step of the stand-in's job with this line in cmd as COMMAND. The name of `PATH` is `Path`, as on Windows.
fn running(servers: &StandIn, line: &[&str]) -> Outcome {
    let system = format!("{}\\system32", std::env::var("SystemRoot").unwrap());
    let step = Step::of(servers).env("Path", &system).args(&["--", "cmd", "/d", "/c"]).args(line);
    step.run_with(servers)
}

#[test]
fn the_command_gets_the_token_and_not_the_identity() {
    let servers = StandIn::start(Setup::default());
    let outcome = running(&servers, &["set"]);
    outcome.assert_done();
    let value = |name: &str| {
        let mut variables = outcome.stdout.lines().filter_map(|line| line.split_once('='));
        variables.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    for (name, expected) in [
        ("TWINE_PASSWORD", &*servers.api_tokens()[0]),
        ("UV_PUBLISH_TOKEN", &servers.api_tokens()[0]),
        ("UV_PUBLISH_URL", &servers.index.url("/legacy/")),
    ] {
        assert_eq!(value(name), Some(expected), "{outcome}");
    }
    assert_eq!(value("ACTIONS_ID_TOKEN_REQUEST_TOKEN"), None, "{outcome}");
    assert_revoked_after(&servers, None);
}

#[test]
fn the_commands_status_is_ours() {
    // The last is what Windows gives to a program that Ctrl-C or Ctrl-Break has ended.
    for (given, expected) in [("0", 0), ("3", 3), ("255", 255), ("256", 255), ("-1073741510", 130)] {
        let servers = StandIn::start(Setup::default());
        assert_eq!(running(&servers, &["exit", given]).status, expected, "{given}");
        assert_revoked_after(&servers, None);
    }
}

/// The order of the file extensions is that of Windows.
#[test]
fn the_program_that_is_found_on_path_is_run() {
    let system = format!("{}\\system32", std::env::var("SystemRoot").unwrap());
    let cmd = format!("{system}\\cmd.exe");
    for (file, name) in [("upload.cmd", "upload"), ("where.bat", "where"), ("up load.bat", "up load.bat")] {
        let servers = StandIn::start(Setup::default());
        let step = Step::of(&servers);
        fs::write(step.dir.path().join(file), "@echo [%UV_PUBLISH_TOKEN%] %1\r\n@exit /b 5\r\n").unwrap();
        let path = format!("{};{system}", step.dir.path().display());
        let outcome = step.env("Path", &path).env("ComSpec", &cmd).args(&["--", name, "a b"]).run_with(&servers);
        assert_eq!(outcome.status, 5, "{outcome}");
        assert_eq!(outcome.stdout.trim_end(), format!("[{}] \"a b\"", servers.api_tokens()[0]), "{outcome}");
        assert_revoked_after(&servers, None);
    }
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers);
    fs::copy(cmd, step.dir.path().join("tool3.12.exe")).unwrap();
    let path = step.dir.path().to_str().unwrap().to_owned();
    let outcome = step.env("Path", &path).args(&["--", "tool3.12", "/d", "/c", "exit", "7"]).run_with(&servers);
    assert_eq!(outcome.status, 7, "{outcome}");
}

#[test]
fn the_names_of_variables_are_case_insensitive() {
    let step = || Step::bare().env("TOKEN_MINT_INDEX", UNREACHABLE_URL);
    step().env("Https_Proxy", "ftp://x").run().assert_failed(2, &["https_proxy"]);
    step().env("Gitlab_Ci", "true").env("token_mint_audience", "pypi").run().assert_failed(3, &["PYPI_ID_TOKEN"]);
}

/// NUL, a file that is not open for writing, a pipe without a reader. `.ci/windows` tests a closed stream.
fn unwritable_streams(step: &Step) -> [Stdio; 3] {
    let file = step.dir.path().join("file");
    fs::write(&file, "").unwrap();
    [Stdio::null(), File::open(file).unwrap().into(), std::io::pipe().unwrap().1.into()]
}

#[test]
fn unwritable_streams_are_noticed_before_anything_is_sent() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).args(&["--format", "token"]);
    let ends: [fn(&mut Command, Stdio); 2] = [|step, end| _ = step.stdout(end), |step, end| _ = step.stderr(end)];
    for set in ends {
        for end in unwritable_streams(&step) {
            let mut command = step.command();
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            set(&mut command, end);
            let output = command.spawn().unwrap().wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    assert_eq!(servers.requests(), [""; 0]);
    // A file is fine, and so is a pipe with a reader.
    let file = step.dir.path().join("file");
    let mut command = step.command();
    output(command.stdout(File::create(&file).unwrap()));
    assert_eq!(fs::read_to_string(file).unwrap(), format!("{}\n", servers.api_tokens()[0]));
    step.run_with(&servers).assert_done();
}

const EVENTS: [&str; 2] = ["c", "break"];

/// The program of `console_event.c`. Under wine, `.ci/windows` has compiled it. On Windows, this compiles it with GCC.
fn console_event() -> &'static str {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let path = PATH.get_or_init(|| {
        let compiled = std::env::var_os("CONSOLE_EVENT").map(PathBuf::from).unwrap_or_else(|| {
            let program = PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/console_event.exe"));
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/console_event.c");
            assert!(Command::new("gcc").arg("-o").arg(&program).arg(source).status().unwrap().success());
            program
        });
        path::absolute(compiled).unwrap()
    });
    path.to_str().unwrap()
}

/// Starts the step in a new console.
fn start_in_console(step: &Step) -> Child {
    const CREATE_NEW_CONSOLE: u32 = 0x10;
    spawned(step.command().creation_flags(CREATE_NEW_CONSOLE).stdout(Stdio::piped()))
}

/// Sends Ctrl-C or Ctrl-Break to all programs in the console of this one.
fn send(event: &str, to: &Child) {
    let sent = Command::new(console_event()).args(["send", &to.id().to_string(), event]).status().unwrap();
    assert!(sent.success(), "{event}");
}

/// Starts a step whose COMMAND ends at the event of this number, with status 42. COMMAND runs when this returns.
fn start_command_that_ends_at(number: &str, servers: &StandIn) -> (Child, BufReader<ChildStdout>) {
    let step = Step::of(servers).args(&["--", console_event(), "ends", number, "42"]);
    let mut child = start_in_console(&step);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), "ready");
    (child, stdout)
}

/// The time from `start` to the revocation.
#[track_caller]
fn time_to_revocation(start: SystemTime, servers: &StandIn) -> Duration {
    assert_revoked_after(servers, None);
    servers.revoked()[0].1.duration_since(start).unwrap()
}

#[test]
fn ctrl_c_and_ctrl_break_end_the_wait_for_the_id_token() {
    in_parallel(&EVENTS, |event| {
        let silent = ScriptedServer::serving(|_| thread::sleep(Duration::from_secs(60)));
        let step = Step::with_endpoints(&silent.url(), UNREACHABLE_URL);
        let mut child = start_in_console(&step);
        wait_until(|| !silent.requests().is_empty());
        send(event, &child);
        assert_eq!(status(&mut child), Some(130), "{event}");
    });
}

#[test]
fn a_token_minted_during_ctrl_c_or_ctrl_break_is_revoked_unused() {
    let runs: [&[&str]; 3] = [&["--format", "token"], &["check"], &["--", console_event(), "ends", "0", "0"]];
    let all: Vec<_> = runs.iter().flat_map(|args| EVENTS.map(|event| (args, event))).collect();
    in_parallel(&all, |(args, event)| {
        let servers = StandIn::start(Setup { mint_delay: Duration::from_secs(4), ..Setup::default() });
        let step = Step::of(&servers).args(args);
        let mut child = start_in_console(&step);
        wait_until(|| servers.index.requests().iter().any(|request| request.method == "POST"));
        send(event, &child);
        assert_eq!(status(&mut child), Some(130), "{args:?}, {event}");
        let mut stdout = String::new();
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        assert_eq!(stdout, "", "{args:?}, {event}");
        assert_revoked_after(&servers, None);
    });
}

#[test]
fn the_token_is_revoked_when_ctrl_c_or_ctrl_break_has_ended_the_command() {
    in_parallel(&EVENTS, |event| {
        let servers = StandIn::start(Setup::default());
        let (mut child, _stdout) = start_command_that_ends_at("1", &servers);
        send(event, &child);
        assert_eq!(status(&mut child), Some(42), "{event}");
        assert_revoked_after(&servers, None);
    });
}

/// GitHub ends all processes of a cancelled job ten seconds after Ctrl-C.
#[test]
fn a_command_that_goes_on_is_waited_for_seven_seconds_or_until_a_second_event() {
    in_parallel(&[None, Some("c"), Some("break")], |second| {
        let servers = StandIn::start(Setup::default());
        let (mut child, mut stdout) = start_command_that_ends_at("3", &servers);
        let start = SystemTime::now();
        send("c", &child);
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), "event", "{second:?}: the command has not got Ctrl-C");
        if let Some(second) = second {
            thread::sleep(Duration::from_millis(1500)); // a second event within one second does not count
            send(second, &child);
        }
        assert_eq!(status(&mut child), Some(130), "{second:?}");
        let took = time_to_revocation(start, &servers);
        let expected = if second.is_some() { 1500..6000 } else { 7000..10000 };
        assert!(expected.contains(&took.as_millis()), "{second:?}: {took:?}");
    });
}
