//! The CI systems other than GitHub. The environments are those of their documentation. Google's is in `tests/clients`.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{
    Outcome, SLACK, ScriptedServer, Step, UNREACHABLE_URL, output, run_for_stderr, send, spawned, status, wait_until,
};
use crate::stand_in::{Setup, StandIn};

/// A step without any variable of a CI system. The stand-in is its index.
fn bare_with_index(servers: &StandIn) -> Step {
    Step::bare().env("TOKEN_MINT_INDEX", &servers.index.url("/legacy/"))
}

/// A step with those variables of GitLab's runner that may matter.
fn on_gitlab(servers: &StandIn) -> Step {
    bare_with_index(servers).env("CI", "true").env("GITLAB_CI", "true").env("CI_PROJECT_PATH", "group/project")
}

fn assert_token_on_stdout(outcome: &Outcome, servers: &StandIn) {
    outcome.assert_done();
    assert_eq!(outcome.stdout, format!("{}\n", servers.api_tokens()[0]));
    assert_eq!(outcome.masks(), [""; 0], "only GitHub has masks");
}

#[test]
fn gitlabs_id_token_is_exchanged() {
    let servers = StandIn::start(Setup::default());
    let outcome = on_gitlab(&servers).env("PYPI_ID_TOKEN", &servers.id_token("pypi")).run_with(&servers);
    assert_token_on_stdout(&outcome, &servers);
    assert!(outcome.stderr.contains("asking GitLab for an ID token, audience pypi"), "{outcome}");
    let wrong = on_gitlab(&servers).env("TESTPYPI_ID_TOKEN", &servers.id_token("testpypi")).run_with(&servers);
    wrong.assert_failed(3, &["PYPI_ID_TOKEN", "id_tokens:"]);
}

#[test]
fn an_id_token_in_a_variable_that_is_named_is_exchanged() {
    let servers = StandIn::start(Setup::default());
    for step in [
        bare_with_index(&servers).args(&["--id-token-env", "MY_OIDC"]),
        bare_with_index(&servers).env("TOKEN_MINT_ID_TOKEN_ENV", "MY_OIDC"),
        // The option overrides the recognised CI system.
        on_gitlab(&servers).env("PYPI_ID_TOKEN", "not.it.x").args(&["--id-token-env=MY_OIDC"]),
    ] {
        let servers_tokens = servers.api_tokens().len();
        let outcome = step.env("MY_OIDC", &format!("{}\n", servers.id_token("pypi"))).run_with(&servers);
        outcome.assert_done();
        assert_eq!(servers.api_tokens().len(), servers_tokens + 1);
    }
}

#[test]
fn a_named_variable_that_is_missing_or_no_token_sends_nothing() {
    let servers = StandIn::start(Setup::default());
    let step = || Step::of(&servers).args(&["--id-token-env", "MY_OIDC"]);
    step().run_with(&servers).assert_failed(3, &["no ID token in the variable MY_OIDC", "--id-token-env"]);
    let bad = step().env("MY_OIDC", "hunter2-hunter2").secret("hunter2-hunter2").env("TOKEN_MINT_AUDIENCE", "pypi");
    bad.run_with(&servers).assert_failed(2, &["MY_OIDC: it is not a JSON Web Token"]);
    assert_eq!(servers.requests(), [""; 0]);
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn an_id_token_in_a_variable_does_not_reach_the_command() {
    let servers = StandIn::start(Setup::default());
    let path = "/usr/bin:/bin";
    for step in [
        on_gitlab(&servers).env("PYPI_ID_TOKEN", &servers.id_token("pypi")),
        bare_with_index(&servers)
            .env("PYPI_ID_TOKEN", &servers.id_token("pypi"))
            .args(&["--id-token-env", "PYPI_ID_TOKEN"]),
        // GitHub's request token does not reach the command either, though it was not used.
        Step::of(&servers).env("PYPI_ID_TOKEN", &servers.id_token("pypi")).args(&["--id-token-env", "PYPI_ID_TOKEN"]),
    ] {
        let script = "test -z \"${PYPI_ID_TOKEN+x}${ACTIONS_ID_TOKEN_REQUEST_TOKEN+x}\"";
        let step = step.env("PATH", path).args(&["--", "sh", "-c", script]);
        step.run_with(&servers).assert_done();
    }
}

/// CI system, its variable, its helper program, and the lines of the helper's arguments for the audience `pypi`.
const HELPERS: [(&str, &str, &str, &str); 2] = [
    ("Buildkite", "BUILDKITE", "buildkite-agent", "oidc\nrequest-token\n--audience\npypi\n"),
    ("CircleCI", "CIRCLECI", "circleci", "run\noidc\nget\n--root-issuer\n--claims\n{\"aud\": \"pypi\"}\n"),
];

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_helper_programs_id_token_is_exchanged() {
    for (system, variable, program, arguments) in HELPERS {
        let servers = StandIn::start(Setup::default());
        let folder = tempfile::tempdir().unwrap();
        let arguments_file = folder.path().join("arguments");
        let id_token = servers.id_token("pypi");
        let script = format!("printf '%s\\n' \"$@\" >'{}'; echo noise >&2; echo {id_token}", arguments_file.display());
        let step = bare_with_index(&servers).env(variable, "true").with_program(program, &script);
        let outcome = step.run_with(&servers);
        assert_token_on_stdout(&outcome, &servers);
        assert!(outcome.stderr.contains(&format!("asking {system} for an ID token")), "{outcome}");
        assert!(!outcome.stderr.contains("noise"), "{outcome}");
        assert_eq!(fs::read_to_string(arguments_file).unwrap(), arguments);
    }
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn an_audience_can_not_leave_its_place_in_circlecis_claims() {
    let servers = StandIn::start(Setup::default());
    let hostile = "a\", \"x\": \"b\\";
    let step =
        bare_with_index(&servers).env("CIRCLECI", "true").with_program("circleci", "printf %s \"$6\" >&2; exit 1");
    let outcome = step.args(&["--audience", hostile]).run_with(&servers);
    outcome.assert_failed(3, &[r#"{"aud": "a\", \"x\": \"b\\"}"#]);
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_helper_that_fails_is_quoted_harmlessly() {
    let servers = StandIn::start(Setup::default());
    let script =
        "printf '::error::x\\n\\033[2J##[group]y eyJhbGciOi.eyJzdWIi.c2ln\\n' >&2; echo eyJ.secret.stdout; exit 4";
    for (system, variable, program, _) in HELPERS {
        let step = bare_with_index(&servers).env(variable, "true").with_program(program, script);
        let outcome = step.secret("eyJzdWIi").secret("eyJ.secret.stdout").run_with(&servers);
        outcome.assert_failed(3, &[system, program, "(exit status: 4)", ":\u{b7}:error:\u{b7}:x"]);
        assert!(!outcome.stderr.contains('\x1b') && !outcome.stderr.contains("##["), "{outcome}");
    }
}

#[test]
fn a_helper_that_is_missing_is_an_error_about_its_system() {
    let servers = StandIn::start(Setup::default());
    for (system, variable, program, _) in HELPERS {
        // The program does not try the next CI system, whose variable is set, too.
        let step = bare_with_index(&servers).env(variable, "true").env("GOOGLE_SERVICE_ACCOUNT_NAME", "a@b");
        let outcome = step.env("PATH", "/nonexistent").run_with(&servers);
        outcome.assert_failed(3, &[&format!("{system} gave no ID token: {program} can't be run"), "--id-token-env"]);
    }
    assert_eq!(servers.api_tokens().len(), 0);
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_helper_that_prints_no_id_token_is_an_error() {
    let servers = StandIn::start(Setup::default());
    for script in ["true", "echo hello-hello-hello", "echo a.b.c d", "yes | head -c 1000000"] {
        let step = bare_with_index(&servers).env("BUILDKITE", "true").with_program("buildkite-agent", script);
        step.secret("hello-hello-hello").run_with(&servers).assert_failed(5, &["printed no ID token"]);
    }
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_helper_that_does_not_end_is_stopped_at_the_deadline() {
    for script in ["sleep 20", "exec sleep 20", "yes", "yes >&2", "trap '' TERM INT; sleep 20"] {
        let outcome = with_helper(script).args(&["--timeout", "1"]).run();
        outcome.assert_failed(5, &["buildkite-agent did not end: the timeout of 1 second passed"]);
        assert!(outcome.elapsed < Duration::from_secs(1) + SLACK, "{script}: {outcome}");
    }
}

/// A step on Buildkite with this script as its helper program.
fn with_helper(script: &str) -> Step {
    let step = Step::bare().env("TOKEN_MINT_INDEX", UNREACHABLE_URL).env("TOKEN_MINT_AUDIENCE", "pypi");
    step.env("BUILDKITE", "true").with_program("buildkite-agent", script)
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn what_a_late_helper_has_started_is_ended_with_it() {
    let step = with_helper("sleep 100 & echo $! >pid; wait").args(&["--timeout", "1"]);
    let (code, stderr) = run_for_stderr(&mut step.command());
    assert_eq!(code, Some(5), "{stderr}");
    let pid = fs::read_to_string(step.dir.path().join("pid")).unwrap();
    let status = format!("/proc/{}/status", pid.trim());
    wait_until(|| fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ")));
}

/// The helper changes its user ID to root's, so the program may not kill it. Only root can set this up.
#[test]
#[cfg(target_os = "linux")] // setpriv, mount
fn a_helper_that_can_not_be_killed_is_not_waited_for() {
    use crate::harness::{AS_NOBODY, install, wrapped_copy};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let step = with_helper("exec ./setpriv --reuid=0 --regid=0 --clear-groups sleep 8").args(&["--timeout", "1"]);
    install(&step.dir.path().join("setpriv"), 0o4755, &fs::read("/usr/bin/setpriv").unwrap());
    let mut command = wrapped_copy(AS_NOBODY, &step);
    let start = Instant::now();
    let mut child = spawned(&mut command);
    assert_eq!(status(&mut child), Some(5));
    assert!(start.elapsed() >= Duration::from_secs(1) && start.elapsed() < Duration::from_secs(1) + SLACK);
}

/// The process that is left holds the helper's stdout and stderr open.
#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_process_that_a_helper_leaves_behind_is_not_waited_for() {
    let servers = StandIn::start(Setup::default());
    let script = format!("sleep 20 & printf %s {}", servers.id_token("pypi"));
    let step = bare_with_index(&servers).env("BUILDKITE", "true").with_program("buildkite-agent", &script);
    let outcome = step.run_with(&servers);
    assert_token_on_stdout(&outcome, &servers);
    assert!(outcome.elapsed < SLACK, "{outcome}");
    let outcome = with_helper("sleep 20 & echo 'no such audience' >&2; exit 4").run();
    outcome.assert_failed(3, &["buildkite-agent failed (exit status: 4): no such audience"]);
    assert!(outcome.elapsed < SLACK, "{outcome}");
    with_helper("sleep 20 & exit 0").run().assert_failed(5, &["printed no ID token"]);
}

/// The program asks for a second ID token after a request to mint has failed. No API token can be lost then.
#[test]
#[cfg_attr(windows, ignore = "signals")]
fn a_signal_ends_a_helpers_second_run_at_once() {
    let index = ScriptedServer::answering("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n");
    let step = with_helper("test -e ran && touch runs && exec sleep 20; touch ran; echo a.b.c");
    let step = step.env("TOKEN_MINT_INDEX", &index.url());
    let mut child = spawned(&mut step.command());
    wait_until(|| step.dir.path().join("runs").exists());
    let start = Instant::now();
    send("-TERM", &child.id().to_string());
    assert_eq!(status(&mut child), Some(143));
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "ulimit -v")]
fn only_a_bounded_part_of_a_helpers_output_is_kept_in_memory() {
    let step = with_helper("exec head -c 2000000000 /dev/zero");
    let output = output(&mut step.command_in_shell("ulimit -v 1000000; exec \"$0\" \"$@\""));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(5) && stderr.contains("printed no ID token"), "{stderr}");
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_helper_does_not_read_the_commands_stdin() {
    let servers = StandIn::start(Setup::default());
    let script = format!("cat; echo {}", servers.id_token("pypi"));
    let step = bare_with_index(&servers).env("BUILDKITE", "true").with_program("buildkite-agent", &script);
    let step = step.args(&["--", "cat"]);
    let mut child = spawned(step.command().stdin(Stdio::piped()).stdout(Stdio::piped()));
    child.stdin.take().unwrap().write_all(b"for the command\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "for the command\n");
}

#[test]
fn in_an_unknown_ci_system_the_error_lists_the_known_ones() {
    let outcome = Step::bare().env("CI", "true").env("TOKEN_MINT_INDEX", UNREACHABLE_URL).run();
    let variables =
        ["GITHUB_ACTIONS=true", "GITLAB_CI=true", "BUILDKITE=true", "CIRCLECI=true", "GOOGLE_SERVICE_ACCOUNT_NAME"];
    outcome.assert_failed(3, &variables);
    outcome.assert_failed(3, &["--id-token-env"]);
}
