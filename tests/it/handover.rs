//! The hand-over: step output, stdout in three formats, masks, and files and streams that can't be written to.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{SLACK, Step, blocked, full_pipe, output, run_for_stderr, spawned, status_within};
use crate::stand_in::{Setup, StandIn};

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "/dev/full")]
fn tokens_are_masked_on_stderr_before_the_output_is_written() {
    let servers = StandIn::start(Setup::default());
    let outcome = Step::of(&servers).run_with(&servers);
    let id_token: serde_json::Value = serde_json::from_slice(&servers.index.requests()[1].body).unwrap();
    assert_eq!(outcome.masks(), [id_token["token"].as_str().unwrap(), &servers.api_tokens()[0]]);
    let (masked, handed_over) = (outcome.stderr.rfind("::add-mask::"), outcome.stderr.find("handed over"));
    assert!(masked.is_some() && masked < handed_over, "{outcome}");

    // If the mask can't be written, nothing is handed over.
    let step = Step::of(&servers);
    let status = step.command().stderr(File::options().write(true).open("/dev/full").unwrap()).status().unwrap();
    assert_eq!(status.code(), Some(6));
    assert_eq!(std::fs::read_to_string(step.step_output_path()).unwrap(), "");
}

#[test]
fn the_step_output_is_appended_on_a_line_of_its_own() {
    let servers = StandIn::start(Setup::default());
    for (before, between) in [("a=1\n", ""), ("a=1", "\n"), ("a<<E\nx\nE\n", ""), ("", "")] {
        let step = Step::of(&servers);
        std::fs::write(step.step_output_path(), before).unwrap();
        let outcome = step.run_with(&servers);
        outcome.assert_done();
        let token = servers.api_tokens().last().unwrap().clone();
        assert!(outcome.step_output.starts_with(&format!("{before}{between}api-token={token}\nexpires=")), "{outcome}");
        assert!(outcome.step_output.ends_with('\n'), "{outcome}");
    }
}

#[test]
#[cfg_attr(windows, ignore = "/dev/full")]
fn a_step_output_that_can_not_be_written_is_noticed_before_anything_is_sent() {
    let servers = StandIn::start(Setup::default());
    let step = || Step::of(&servers);
    step()
        .without("GITHUB_OUTPUT")
        .run_with(&servers)
        .assert_failed(6, &["GITHUB_OUTPUT is not set", "--format token"]);
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let missing = dir.path().join("missing");
    for path in [dir.path().to_owned(), dir.path().join("no/such/file"), missing.clone(), pipe, "/dev/full".into()] {
        step()
            .env("GITHUB_OUTPUT", path.to_str().unwrap())
            .run_with(&servers)
            .assert_failed(6, &[path.to_str().unwrap()]);
    }
    assert!(!missing.exists(), "no runner would read it");
    assert_eq!(servers.requests(), [""; 0]);
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_write_that_fails_halfway_is_no_success_and_leaves_no_half_token() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers);
    let before = format!("a={}\n", "x".repeat(497));
    std::fs::write(step.step_output_path(), &before).unwrap();
    // The file may have one block of 512 bytes. At a longer one, the kernel sends SIGXFSZ, which kills by default.
    let output = output(&mut step.command_in_shell("ulimit -f 1; exec \"$0\" \"$@\""));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(6), "{stderr}");
    assert!(stderr.contains("step output can't be written") && !stderr.contains("handed over as"), "{stderr}");
    assert_eq!(std::fs::read_to_string(step.step_output_path()).unwrap(), before);
    assert_eq!((servers.api_tokens().len(), servers.revoked().len()), (1, 1));
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn stdout_that_can_not_be_written_to_is_no_success() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).args(&["--format", "token"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let file = File::create(step.dir.path().join("file")).unwrap();
    let limited = || step.command_in_shell("ulimit -f 0; exec \"$0\" \"$@\"");
    for (mut command, stdout) in [(step.command(), Stdio::from(writer)), (limited(), Stdio::from(file))] {
        let (status, stderr) = run_for_stderr(command.stdout(stdout));
        assert_eq!(status, Some(6), "{stderr}");
    }
    assert_eq!((servers.api_tokens().len(), servers.revoked().len()), (2, 2));
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "/dev/full")]
fn a_closed_or_unwritable_stdout_is_noticed_before_anything_is_sent() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).args(&["--format", "token"]);
    let shell = |redirected: &str| step.command_in_shell(&format!("exec \"$0\" \"$@\" {redirected}"));
    for mut command in [shell(">&-"), shell("1</dev/zero"), shell("1</"), shell(">/dev/full"), step.command()] {
        let output = output(command.stdout(Stdio::null()));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{stderr}");
        assert!(stderr.contains("the API token would be lost"), "{stderr}");
    }
    assert_eq!(servers.requests(), [""; 0]);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "/dev/full")]
fn a_closed_or_unwritable_stderr_is_noticed_before_anything_is_sent() {
    let servers = StandIn::start(Setup::default());
    for redirected in ["2>&-", "2>/dev/null", "2</dev/zero", "2</", "2>/dev/full"] {
        let shell = |step: &Step| output(&mut step.command_in_shell(&format!("exec \"$0\" \"$@\" {redirected}")));
        for args in [&[][..], &["--format", "token"], &["check"], &["claims"], &["--", "/bin/true"]] {
            let step = Step::of(&servers).args(args);
            let output = shell(&step);
            assert_eq!((output.status.code(), output.stdout), (Some(6), vec![]), "{redirected} {args:?}");
            let summary = std::fs::read_to_string(step.summary_path()).unwrap();
            assert!(summary.contains("the lines that hide tokens in the log would be lost"), "{summary}");
        }
        assert_eq!(servers.requests(), [""; 0]);
        // Outside GitHub, no masks are written, so stderr is not needed.
        let outside = StandIn::start(Setup::default());
        let output = shell(&Step::outside_ci(&outside));
        let token = format!("{}\n", outside.api_tokens()[0]);
        assert_eq!((output.status.code(), output.stdout), (Some(0), token.into_bytes()), "{redirected}");
    }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "/dev/full")]
fn a_token_is_revoked_whether_it_can_be_masked_or_not() {
    let servers = StandIn::start(Setup::default());
    let outcome = Step::of(&servers).run_with(&servers);
    let token = outcome.output("api-token").unwrap();
    let step = Step::of(&servers).args(&["burn"]).env("TOKEN_MINT_API_TOKEN", token);
    let output = output(&mut step.command_in_shell("exec \"$0\" \"$@\" 2>/dev/full"));
    assert_eq!((output.status.code(), servers.revoked().len()), (Some(0), 1));
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_mask_begins_a_line_even_after_the_partial_line_of_another_process() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).args(&["-q"]);
    let (_, stderr) = run_for_stderr(&mut step.command_in_shell("printf 'publishing ' >&2; exec \"$0\" \"$@\""));
    assert_eq!(stderr.lines().filter(|line| line.starts_with("::add-mask::")).count(), 2);
}

/// A container in a GitHub job may have the endpoint's variables, but not the runner's files. The job's log gets its
/// output.
#[test]
fn a_step_with_githubs_endpoint_alone_is_a_github_step() {
    let servers = StandIn::start(Setup::default());
    let in_container = || Step::of(&servers).without("GITHUB_ACTIONS").without("GITHUB_OUTPUT");
    in_container().run_with(&servers).assert_failed(6, &["GITHUB_OUTPUT is not set", "--format token"]);
    assert_eq!(servers.requests(), [""; 0]);
    let outcome = in_container().args(&["--format", "token"]).run_with(&servers);
    outcome.assert_done();
    let token = &servers.api_tokens()[0];
    assert_eq!((&outcome.stdout, outcome.masks().last()), (&format!("{token}\n"), Some(&&token[..])), "{outcome}");
    assert_eq!(outcome.masks().len(), 2, "{outcome}");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "leases of files")]
fn a_step_output_that_can_not_be_opened_at_once_is_an_error() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers);
    let _blocked = blocked(&step.step_output_path());
    let start = Instant::now();
    let (status, stderr) = run_for_stderr(&mut step.command());
    assert_eq!(status, Some(6), "{stderr}");
    assert!(stderr.contains("the step output can't be written to"), "{stderr}");
    assert!(start.elapsed() < SLACK);
    assert_eq!(servers.requests(), [""; 0]);
}

#[test]
#[cfg_attr(windows, ignore = "signals")]
fn a_write_to_a_full_stdout_ends_at_the_deadline_and_at_a_signal() {
    let servers = StandIn::start(Setup::default());
    let (_reader, full) = full_pipe();
    let with_stdout = |step: &Step| spawned(step.command().stdout(full.try_clone().unwrap()));
    let claims = || Step::of(&servers).args(&["claims", "--format", "json"]);
    for step in [Step::of(&servers).args(&["--format", "token"]), claims()] {
        let step = step.args(&["--timeout", "1"]);
        let mut child = with_stdout(&step);
        assert_eq!(status_within(Duration::from_secs(1) + SLACK, &mut child), Some(6));
    }
    assert_eq!((servers.api_tokens().len(), servers.revoked().len()), (1, 1));
    for step in [claims(), Step::on_github().args(&["--help"])] {
        let mut child = with_stdout(&step);
        std::thread::sleep(Duration::from_millis(500));
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        assert_eq!(status_within(SLACK, &mut child), Some(143));
        assert!(std::fs::read_to_string(step.summary_path()).unwrap().contains("asked token\\-mint to end"));
    }
}

#[test]
#[cfg_attr(windows, ignore = "/bin")]
fn a_full_stderr_delays_the_program_by_a_second_at_most() {
    let servers = StandIn::start(Setup::default());
    let (_reader, full) = full_pipe();
    let status_of = |step: Step| {
        let child = step.command().stdout(Stdio::null()).stderr(full.try_clone().unwrap()).spawn();
        status_within(Duration::from_secs(1) + SLACK, &mut child.unwrap())
    };
    assert_eq!(status_of(Step::outside_ci(&servers).env("PATH", "/bin").args(&["--", "true"])), Some(0));
    // On GitHub, the masks would be lost, so the program mints nothing.
    assert_eq!(status_of(Step::of(&servers)), Some(6));
    assert_eq!(servers.api_tokens().len(), 1);
}

#[test]
fn outside_github_the_token_is_alone_on_stdout_and_nothing_is_masked() {
    let servers = StandIn::start(Setup::default());
    let outcome = Step::outside_ci(&servers).run_with(&servers);
    outcome.assert_done();
    assert_eq!(outcome.stdout, format!("{}\n", servers.api_tokens()[0]));
    assert_eq!((outcome.masks().len(), outcome.step_output.as_str()), (0, ""), "{outcome}");
}

#[test]
fn a_format_on_github_goes_to_stdout_and_is_masked_on_stderr() {
    let servers = StandIn::start(Setup::default());
    let outcome = Step::of(&servers).args(&["--format", "token"]).run_with(&servers);
    outcome.assert_done();
    assert_eq!(outcome.stdout, format!("{}\n", servers.api_tokens()[0]));
    assert_eq!((outcome.masks().len(), outcome.step_output.as_str()), (2, ""), "{outcome}");
}

#[test]
fn the_json_format_is_one_object() {
    for tells_expiry in [true, false] {
        let servers = StandIn::start(Setup { tells_expiry, ..Setup::default() });
        let outcome = Step::of(&servers).env("TOKEN_MINT_FORMAT", "json").run_with(&servers);
        outcome.assert_done();
        let object: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(object["token"], servers.api_tokens()[0]);
        assert_eq!(object["expires"].is_u64(), tells_expiry);
        assert_eq!(object["index"], servers.index.url(""));
    }
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn the_env_format_is_safe_for_eval() {
    let servers = StandIn::start(Setup::default());
    let hostile = servers.index.url("/legacy/'$(touch${IFS}broken)`touch${IFS}broken`\";touch${IFS}broken;'\\");
    let outcome = Step::of(&servers).args(&["--format", "env", "--index", &hostile]).run_with(&servers);
    outcome.assert_done();
    let dir = tempfile::tempdir().unwrap();
    for shell in ["sh", "bash"] {
        let script = "UV_PUBLISH_INDEX=other; eval \"$1\"; \
            printf '%s\\n' \"$UV_PUBLISH_URL\" \"$TWINE_PASSWORD\" \"${UV_PUBLISH_INDEX-unset}\"";
        let shell =
            Command::new(shell).args(["-euc", script, "sh", &outcome.stdout]).current_dir(dir.path()).output().unwrap();
        let printed = String::from_utf8(shell.stdout).unwrap();
        assert_eq!(printed, format!("{hostile}\n{}\nunset\n", servers.api_tokens()[0]));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing in the URL was run");
    let names: Vec<_> = outcome.stdout.lines().map(|line| line.split('=').next().unwrap()).collect();
    for name in [
        "TWINE_USERNAME",
        "UV_PUBLISH_TOKEN",
        "FLIT_PASSWORD",
        "HATCH_INDEX_AUTH",
        "PDM_PUBLISH_PASSWORD",
        "MATURIN_PYPI_TOKEN",
        "TOKEN_MINT_API_TOKEN",
        "TOKEN_MINT_EXPIRES",
    ] {
        assert!(names.contains(&&*format!("export {name}")), "{name} in {names:?}");
    }
}
