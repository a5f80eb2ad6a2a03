//! What is different on Windows: `-- COMMAND` there, by programs that every Windows has; how variables are spelled; and streams
//! that lead nowhere.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use crate::harness::{NOWHERE, Outcome, Step, output};
use crate::stand_in::{Setup, StandIn};

/// A step of the stand-in's job that runs this line in cmd. `PATH` is spelled as Windows does.
fn running(servers: &StandIn, line: &[&str]) -> Outcome {
    let system = format!("{}\\system32", std::env::var("SystemRoot").unwrap());
    let step = Step::of(servers).env("Path", &system).args(&["--", "cmd", "/d", "/c"]).args(line);
    step.run_with(servers)
}

#[track_caller]
fn assert_burned(servers: &StandIn) {
    let burned: Vec<String> = servers.burned().into_iter().map(|(token, _)| token).collect();
    assert_eq!(burned, servers.api_tokens());
    assert_eq!(burned.len(), 1);
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
    assert_burned(&servers);
}

#[test]
fn the_commands_status_is_ours() {
    for status in [0, 3, 255] {
        let servers = StandIn::start(Setup::default());
        assert_eq!(running(&servers, &["exit", &status.to_string()]).status, status);
        assert_burned(&servers);
    }
}

/// In the order in which Windows itself prefers them, and from the folder where they were found.
#[test]
fn what_is_found_is_what_runs() {
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
        assert_burned(&servers);
    }
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers);
    fs::copy(cmd, step.dir.path().join("tool3.12.exe")).unwrap();
    let path = step.dir.path().to_str().unwrap().to_owned();
    let outcome = step.env("Path", &path).args(&["--", "tool3.12", "/d", "/c", "exit", "7"]).run_with(&servers);
    assert_eq!(outcome.status, 7, "{outcome}");
}

#[test]
fn a_variable_counts_however_its_name_is_spelled() {
    let step = || Step::bare().env("TOKEN_MINT_INDEX", NOWHERE);
    step().env("Https_Proxy", "ftp://x").run().assert_failed(2, &["https_proxy"]);
    step().env("Gitlab_Ci", "true").env("token_mint_audience", "pypi").run().assert_failed(3, &["PYPI_ID_TOKEN"]);
}

/// NUL, a file that is not open for writing, a pipe without a reader. `.ci/windows` has one that is closed.
fn nowhere(step: &Step) -> [Stdio; 3] {
    let file = step.dir.path().join("file");
    fs::write(&file, "").unwrap();
    [Stdio::null(), File::open(file).unwrap().into(), std::io::pipe().unwrap().1.into()]
}

#[test]
fn streams_that_lead_nowhere_are_noticed_before_anything_is_sent() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).args(&["--format", "token"]);
    let ends: [fn(&mut Command, Stdio); 2] = [|step, end| _ = step.stdout(end), |step, end| _ = step.stderr(end)];
    for set in ends {
        for end in nowhere(&step) {
            let mut command = step.command();
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            set(&mut command, end);
            let output = command.spawn().unwrap().wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    assert_eq!(servers.requests(), [""; 0]);
    // A file will do, and so does a pipe with a reader.
    let file = step.dir.path().join("file");
    let mut command = step.command();
    output(command.stdout(File::create(&file).unwrap()));
    assert_eq!(fs::read_to_string(file).unwrap(), format!("{}\n", servers.api_tokens()[0]));
    step.run_with(&servers).assert_done();
}
