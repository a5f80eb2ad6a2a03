//! `-- COMMAND`: its environment and status, and the revocation of its API token. Also `burn` and `check`.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::harness::{
    Outcome, SLACK, ScriptedServer, Step, full_pipe, install, output, run_for_stderr, spawned, status,
};
use crate::stand_in::{Setup, StandIn};

pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A step of the stand-in's job that runs this shell script as COMMAND.
pub fn running(servers: &StandIn, script: &str) -> Step {
    Step::of(servers).env("PATH", PATH).args(&["--", "sh", "-c", script])
}

/// Exactly one API token was minted. It was revoked by the last request, and not before the time `ended`.
#[track_caller]
pub fn assert_revoked_after(servers: &StandIn, ended: Option<SystemTime>) {
    let revoked = servers.revoked();
    let tokens: Vec<&String> = revoked.iter().map(|(token, _)| token).collect();
    assert_eq!(tokens, servers.api_tokens().iter().collect::<Vec<_>>());
    assert_eq!(tokens.len(), 1);
    if let Some(ended) = ended {
        assert!(revoked[0].1 >= ended, "revoked before the command had ended");
    }
    assert_eq!(servers.requests().last().unwrap(), "POST /_/oidc/burn-token");
}

fn variables(text: &str) -> HashMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once('=')).collect()
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn the_command_alone_gets_the_token_and_the_index() {
    let servers = StandIn::start(Setup::default());
    let outcome = running(&servers, "env").env("EXTRA", "kept").run_with(&servers);
    outcome.assert_done();
    let env = variables(&outcome.stdout);
    let (token, upload_url) = (&servers.api_tokens()[0], servers.index.url("/legacy/"));
    for (variable, value) in [
        ("TWINE_USERNAME", "__token__"),
        ("TWINE_PASSWORD", token),
        ("TWINE_REPOSITORY_URL", &upload_url),
        ("UV_PUBLISH_TOKEN", token),
        ("UV_PUBLISH_URL", &upload_url),
        ("FLIT_USERNAME", "__token__"),
        ("FLIT_PASSWORD", token),
        ("FLIT_INDEX_URL", &upload_url),
        ("HATCH_INDEX_USER", "__token__"),
        ("HATCH_INDEX_AUTH", token),
        ("HATCH_INDEX_REPO", &upload_url),
        ("PDM_PUBLISH_USERNAME", "__token__"),
        ("PDM_PUBLISH_PASSWORD", token),
        ("PDM_PUBLISH_REPO", &upload_url),
        ("MATURIN_PYPI_TOKEN", token),
        ("MATURIN_REPOSITORY_URL", &upload_url),
        ("POETRY_PYPI_TOKEN_TOKEN_MINT", token),
        ("POETRY_REPOSITORIES_TOKEN_MINT_URL", &upload_url),
        ("TOKEN_MINT_API_TOKEN", token),
        ("EXTRA", "kept"),
    ] {
        assert_eq!(env.get(variable).copied(), Some(value), "{variable}");
    }
    assert!(env["TOKEN_MINT_EXPIRES"].parse::<u64>().is_ok());
    for variable in
        ["POETRY_PYPI_TOKEN_PYPI", "TWINE_REPOSITORY", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    {
        assert_eq!(env.get(variable), None, "{variable}");
    }
    assert_eq!(outcome.step_output, "");
    assert!(outcome.masks().contains(&token.as_str()), "{outcome}");
    assert_revoked_after(&servers, None);
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn keep_identity_passes_the_identity_on() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).env("PATH", PATH).args(&["--keep-identity", "--", "sh", "-c"]);
    let outcome = step.args(&["test -n \"$ACTIONS_ID_TOKEN_REQUEST_URL$ACTIONS_ID_TOKEN_REQUEST_TOKEN\""]);
    outcome.run_with(&servers).assert_done();
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn credentials_of_another_kind_do_not_contradict_the_token() {
    let servers = StandIn::start(Setup::default());
    let names = "UV_PUBLISH_USERNAME UV_PUBLISH_PASSWORD";
    let script = format!("for name in {names}; do eval test -z \"\\${{$name+x}}\" || exit 9; done");
    let mut step = running(&servers, &script);
    for name in names.split(' ') {
        step = step.env(name, "x");
    }
    step.run_with(&servers).assert_done();
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn the_commands_status_is_ours_and_the_token_is_revoked_after_it_has_ended() {
    for (script, status, piece) in [
        ("sleep 0.2; touch $ENDED", 0, ""),
        ("sleep 0.2; touch $ENDED; exit 3", 3, "exited with status 3 (see the log above)"),
        ("touch $ENDED; exit 255", 255, "255"),
        ("touch $ENDED; kill -9 $$", 137, "SIGKILL"),
        ("touch $ENDED; kill -TERM $$", 143, "SIGTERM"),
    ] {
        let servers = StandIn::start(Setup::default());
        let folder = tempfile::tempdir().unwrap();
        let ended = folder.path().join("ended");
        let outcome = running(&servers, script).env("ENDED", ended.to_str().unwrap()).run_with(&servers);
        assert_eq!(outcome.status, status, "{script}: {outcome}");
        let annotations = outcome.annotations();
        assert_eq!(annotations.len(), usize::from(status != 0), "{outcome}");
        assert!(
            annotations.iter().all(|text| text.starts_with("the upload failed: sh ") && text.contains(piece)),
            "{outcome}"
        );
        assert_revoked_after(&servers, Some(fs::metadata(ended).unwrap().modified().unwrap()));
    }
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn the_command_has_our_stdin_stdout_and_folder() {
    let servers = StandIn::start(Setup::default());
    let step = running(&servers, "pwd >&2; cat");
    let folder = step.dir.path().canonicalize().unwrap();
    let (mut stdin, input) = std::io::pipe().map(|(reader, writer)| (writer, reader)).unwrap();
    stdin.write_all(b"in and out\n").unwrap();
    drop(stdin);
    let output = output(step.command().stdin(input));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "in and out\n");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.lines().any(|line| line == folder.to_str().unwrap()), "{stderr}");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "/proc")]
fn arguments_arrive_as_they_are_and_no_command_line_holds_a_token() {
    let servers = StandIn::start(Setup::default());
    let script = "printf '<%s>' \"$@\"; grep -c 'pypi-[A]g' /proc/$PPID/cmdline /proc/$PPID/environ; true";
    let step = running(&servers, script).args(&["sh", "a b", "", "-q", "--", "*", "$HOME"]);
    let outcome = step.run_with(&servers);
    outcome.assert_done();
    assert!(outcome.stdout.starts_with("<a b><><-q><--><*><$HOME>"), "{outcome}");
    let held = outcome.stdout.matches(":0\n").count();
    assert_eq!(held, 2, "{outcome}");
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn the_command_is_called_by_the_name_that_was_given() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).env("PATH", PATH).args(&["--", "sh", "-c", "echo \"$0\""]);
    assert_eq!(step.run_with(&servers).stdout, "sh\n");
}

#[test]
#[cfg_attr(windows, ignore = "how much a pipe takes")]
fn a_hand_over_to_a_full_pipe_ends_at_the_deadline() {
    let servers = StandIn::start(Setup::default());
    let (_reader, full) = full_pipe();
    let step = Step::of(&servers).args(&["--format", "token", "--timeout", "2"]);
    let (code, stderr) = run_for_stderr(step.command().stdout(full));
    assert!(code == Some(6) && stderr.contains("can't be written to stdout"), "{stderr}");
    assert_revoked_after(&servers, None);
}

/// Nobody reads stderr, and COMMAND fills the pipe.
#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_full_stderr_does_not_prevent_the_revocation() {
    let servers = StandIn::start(Setup::default());
    let step = running(&servers, "head -c 100000 /dev/zero >&2 & sleep 0.3");
    let mut child = step.command().stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while servers.revoked().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "the token is still valid");
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_stored_token_for_pypi_does_not_reach_a_command_that_publishes_elsewhere() {
    let servers = StandIn::start(Setup::default());
    let step = running(&servers, "test -z \"${POETRY_PYPI_TOKEN_PYPI+x}\"").env("POETRY_PYPI_TOKEN_PYPI", "pypi-old");
    step.run_with(&servers).assert_done();
}

/// Some daemons start their children with SIGCHLD ignored.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "GNU's env")]
fn the_commands_status_is_known_even_if_sigchld_is_ignored() {
    let servers = StandIn::start(Setup::default());
    let step = running(&servers, "exit 5");
    let output = output(&mut step.command_in_shell("exec env --ignore-signal=CHLD \"$0\" \"$@\""));
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    assert_revoked_after(&servers, None);
}

#[test]
fn a_command_that_can_not_be_found_is_noticed_before_anything_is_sent() {
    let servers = StandIn::start(Setup::default());
    let empty = Step::of(&servers).env("PATH", "").args(&["--", "sh"]).run_with(&servers);
    empty.assert_failed(2, &["there is no program sh"]);
    for name in ["no-such-tool", "./no-such-tool", "/tmp", "step output"] {
        let outcome = Step::of(&servers).env("PATH", PATH).args(&["--", name]).run_with(&servers);
        outcome.assert_failed(2, &[&format!("there is no program {name}"), "nothing was minted"]);
    }
    assert_eq!(servers.requests(), [""; 0]);
}

/// Writes a program into the step's folder.
fn write_tool(step: &Step, name: &str, mode: u32, text: impl AsRef<[u8]>) {
    let path = step.dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    install(&path, mode, text.as_ref());
}

/// Minting would use up a pending publisher.
#[test]
#[cfg_attr(windows, ignore = "/bin/sh")]
fn a_command_that_can_not_be_run_is_noticed_before_anything_is_sent() {
    let servers = StandIn::start(Setup::default());
    let cases: [(u32, &[u8], &str); 6] = [
        (0o644, b"#!/bin/sh\n", "this user may not execute it"),
        (0o755, b"#!/usr/bin/python9 -I\n", "its interpreter /usr/bin/python9 is not there"),
        (0o755, b"#! /nonexistent/sh", "its interpreter /nonexistent/sh is not there"),
        (0o755, b"#!/usr/bin\n", "its interpreter /usr/bin is not there"),
        (0o755, b"#!/etc/passwd\t-x\n", "its interpreter /etc/passwd can't be run either"),
        (0o755, b"#!/nonexistent/\xff\n", "its interpreter /nonexistent/\u{fffd} is not there"),
    ];
    for (mode, text, piece) in cases {
        for name in ["./tool", "tool"] {
            let step = Step::of(&servers).args(&["--", name]);
            write_tool(&step, "tool", mode, text);
            let folder = step.dir.path().to_str().unwrap().to_owned();
            let step = step.env("PATH", &folder);
            let outcome = step.run_with(&servers);
            outcome.assert_failed(2, &["tool can't be run: ", piece, "nothing was minted"]);
        }
    }
    assert_eq!(servers.requests(), [""; 0]);
}

/// Only root can make such files.
#[test]
#[cfg(target_os = "linux")] // setpriv, mount
fn a_command_of_another_user_or_on_a_noexec_disk_is_noticed_before_anything_is_sent() {
    use crate::harness::{AS_NOBODY, wrapped_copy};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let servers = StandIn::start(Setup::default());
    let script = "mount -t tmpfs -o noexec tmpfs data && cp tool data/ && exec \"$0\" \"$@\"";
    let no_exec: &[&str] = &["unshare", "--mount", "sh", "-c", script];
    for (words, tool) in [(AS_NOBODY, "./tool"), (no_exec, "data/tool")] {
        let step = Step::of(&servers).env("PATH", PATH).args(&["--", tool]);
        fs::create_dir(step.dir.path().join("data")).unwrap();
        write_tool(&step, "tool", 0o700, "#!/bin/sh\n");
        let (status, stderr) = run_for_stderr(&mut wrapped_copy(words, &step));
        assert_eq!(status, Some(2), "{stderr}");
        assert!(stderr.contains(&format!("{tool} can't be run: this user may not execute it")), "{stderr}");
    }
    assert_eq!(servers.requests(), [""; 0]);
}

/// `execvp` runs the later one in that case, too.
#[test]
#[cfg_attr(windows, ignore = "/bin/sh")]
fn a_program_that_can_not_be_run_does_not_hide_a_later_one_of_its_name() {
    let servers = StandIn::start(Setup::default());
    for (mode, text) in [(0o644, "#!/bin/sh\nexit 4\n"), (0o755, "#!/nonexistent/sh\nexit 4\n")] {
        let step = Step::of(&servers).args(&["--", "tool"]);
        write_tool(&step, "one/tool", mode, text);
        write_tool(&step, "two/tool", 0o755, "#!/usr/bin/env sh\nexit 3\n");
        let folder = step.dir.path().to_str().unwrap().to_owned();
        let outcome = step.env("PATH", &format!("{folder}/one:{folder}/two:{PATH}")).run_with(&servers);
        assert_eq!(outcome.status, 3, "{outcome}");
    }
}

/// Some reasons are known only when COMMAND is started.
#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_command_that_can_not_be_started_has_its_token_revoked() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).args(&["--", "./tool"]);
    write_tool(&step, "tool", 0o755, "\x7fELF");
    step.run_with(&servers).assert_failed(6, &["./tool can't be run", "was sent for revocation"]);
    assert_revoked_after(&servers, None);
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_client_variable_that_names_another_index_is_noticed_before_anything_is_sent() {
    let servers = StandIn::start(Setup::default());
    let step = |name: &str, value: &str| running(&servers, "true").env(name, value);
    for (name, value) in [("TWINE_REPOSITORY_URL", "https://upload.pypi.org/legacy/"), ("HATCH_INDEX_REPO", "main")] {
        step(name, value).run_with(&servers).assert_failed(2, &[name, "names another index", "nothing was minted"]);
    }
    assert_eq!(servers.requests(), [""; 0]);
    let longer = servers.index.url("/a/longer/path");
    let outcome = running(&servers, "echo $UV_PUBLISH_URL $TWINE_REPOSITORY_URL").env("UV_PUBLISH_URL", &longer);
    let outcome = outcome.run_with(&servers);
    outcome.assert_done();
    assert_eq!(outcome.stdout, format!("{longer} {}\n", servers.index.url("/legacy/")));
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_refusal_runs_nothing() {
    let servers = StandIn::start(Setup { publisher: None, ..Setup::default() });
    let step = running(&servers, "echo ran");
    step.run_with(&servers).assert_failed(4, &["invalid-publisher"]);
}

/// The option of another program may look like an upload client's option that names an index.
#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn an_option_of_the_command_is_no_reason_to_refuse() {
    let servers = StandIn::start(Setup::default());
    let script = "echo -r https://example.org/requirements.txt --repository testpypi";
    running(&servers, script).run_with(&servers).assert_done();
    assert_eq!(servers.revoked().len(), 1);
}

/// The lines of stderr about the revocation.
fn revocation_messages(outcome: &Outcome) -> String {
    outcome.stderr.lines().filter(|line| line.contains("revoke")).collect::<Vec<_>>().join("\n")
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn an_index_that_can_not_revoke_is_reported_once_and_without_a_warning() {
    let servers = StandIn::start(Setup { revocation_status: 404, ..Setup::default() });
    let outcome = running(&servers, "exit 3").run_with(&servers);
    assert_eq!(outcome.status, 3, "{outcome}");
    let messages = revocation_messages(&outcome);
    assert!(messages.contains("can't revoke API tokens; it is valid until "), "{outcome}");
    assert!(messages.lines().count() == 1 && !outcome.stderr.contains("warning"), "{outcome}");
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_token_that_is_not_revoked_is_a_warning_with_its_expiry() {
    for revocation_status in [200, 403, 500] {
        let servers = StandIn::start(Setup { revocation_status, ..Setup::default() });
        let outside = Step::outside_ci(&servers).env("PATH", PATH).args(&["--", "true"]).run_with(&servers);
        assert!(outside.stderr.contains("warning: ") && !outside.stderr.contains("::warning"), "{outside}");
        let outcome = running(&servers, "exit 3").run_with(&servers);
        assert_eq!(outcome.status, 3, "{outcome}");
        let messages = revocation_messages(&outcome);
        assert!(
            messages.contains("token-mint: warning: the API token could not be revoked; it is valid until "),
            "{messages}"
        );
        assert!(messages.contains("::warning title=token-mint::the API token could not be revoked"), "{messages}");
        let succeeded = running(&servers, "exit 0").run_with(&servers);
        succeeded.assert_done();
        assert!(succeeded.summary.contains("The API token could not be revoked\\; it is valid until "), "{succeeded}");
        for outcome in [outcome, succeeded] {
            assert!(!format!("{outcome}").contains("sent for revocation"), "{outcome}");
        }
    }
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn an_index_that_breaks_at_the_revocation_does_not_change_the_status() {
    let reset = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_owned();
    // minreq panics at this reply: see `guards`.
    let wrapping = format!("HTTP/1.1 200 OK\r\n{}\n\r\n{{}}", "x".repeat(32 * 1024 - 1));
    for answer in [reset, wrapping] {
        let token = "{\"token\": \"pypi-minted\"}";
        let index = ScriptedServer::serving_requests(move |request, stream| {
            let minted = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{token}", token.len());
            let revocations = request.path().ends_with("burn-token");
            let _ = stream.write_all(if revocations { answer.as_bytes() } else { minted.as_bytes() });
        });
        let servers = StandIn::start(Setup::default());
        let step = running(&servers, "exit 7").env("TOKEN_MINT_INDEX", &index.url()).env("TOKEN_MINT_AUDIENCE", "pypi");
        let outcome = step.run_with(&servers);
        assert_eq!(outcome.status, 7, "{outcome}");
        assert!(outcome.stderr.contains("warning: the API token could not be revoked"), "{outcome}");
    }
}

/// An index that answers requests to mint, but no requests to revoke.
fn index_with_silent_revocation(minted: &'static str) -> ScriptedServer {
    ScriptedServer::serving_requests(move |request, stream| {
        if request.path().ends_with("burn-token") {
            thread::sleep(Duration::from_secs(60));
        }
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{minted}", minted.len());
    })
}

#[test]
fn all_tokens_of_a_reply_that_can_not_be_used_share_one_deadline() {
    let index = index_with_silent_revocation("{\"token\": \"a b\", \"x\": {\"token\": \"c d\"}}");
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).env("TOKEN_MINT_INDEX", &index.url()).env("TOKEN_MINT_AUDIENCE", "pypi");
    let outcome = step.run_with(&servers);
    outcome.assert_failed(5, &["the token in its reply is unusable", "could not be revoked", "10 seconds"]);
    assert!(outcome.elapsed < Duration::from_secs(11) + SLACK, "{outcome}");
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_revocation_has_a_deadline_of_its_own() {
    let index = index_with_silent_revocation("{\"token\": \"pypi-minted\"}");
    let servers = StandIn::start(Setup::default());
    // COMMAND takes longer than the timeout, which does not limit it.
    let step = running(&servers, "sleep 2.1").env("TOKEN_MINT_INDEX", &index.url()).env("TOKEN_MINT_AUDIENCE", "pypi");
    let outcome = step.args(&[]).env("TOKEN_MINT_TIMEOUT", "2").run_with(&servers);
    outcome.assert_done();
    assert!(outcome.stderr.contains("could not be revoked") && outcome.stderr.contains("10 seconds"), "{outcome}");
    assert!(outcome.elapsed < Duration::from_secs(13) + SLACK, "{outcome}");
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_token_that_can_not_be_masked_is_revoked_unused() {
    let servers = StandIn::start(Setup { mint_delay: Duration::from_millis(500), ..Setup::default() });
    let step = running(&servers, "touch ran");
    let mut child = step.command().stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("::add-mask::") {
        line.clear();
        stderr.read_line(&mut line).unwrap();
    }
    drop(stderr);
    assert_eq!(status(&mut child), Some(6));
    assert!(!step.dir.path().join("ran").exists());
    assert_revoked_after(&servers, None);
}

/// Mints an API token.
fn mint(servers: &StandIn) -> String {
    let outcome = Step::of(servers).run_with(servers);
    outcome.assert_done();
    outcome.output("api-token").unwrap().to_owned()
}

#[test]
fn burn_revokes_the_token_that_it_is_given() {
    let servers = StandIn::start(Setup::default());
    let (in_env, on_stdin) = (mint(&servers), mint(&servers));
    let burn = || Step::on_github().env("TOKEN_MINT_INDEX", &servers.index.url("/legacy/")).args(&["burn"]);
    let outcome = burn().env("TOKEN_MINT_API_TOKEN", &in_env).run_with(&servers);
    outcome.assert_done();
    assert_eq!(outcome.masks(), [in_env.as_str()]);
    assert!(
        outcome.stdout.is_empty() && outcome.stderr.contains("has accepted the API token for revocation"),
        "{outcome}"
    );

    let mut child = spawned(burn().command().stdin(Stdio::piped()));
    child.stdin.take().unwrap().write_all(format!("{on_stdin}\n").as_bytes()).unwrap();
    assert_eq!(status(&mut child), Some(0));
    let revoked: Vec<String> = servers.revoked().into_iter().map(|(token, _)| token).collect();
    assert_eq!(revoked, [in_env.clone(), on_stdin]);

    // PyPI accepts any token here. Another index may refuse.
    let again = burn().env("TOKEN_MINT_API_TOKEN", &in_env).run_with(&servers);
    again.assert_failed(4, &["refused to revoke the API token", "invalid-token: ", "may still be valid"]);
}

#[test]
fn burn_notices_by_the_token_that_another_index_is_meant() {
    // These tokens end after the index's host name: the rest of a token does not matter.
    let (pypis, testpypis) = ("pypi-AgEIcHlwaS5vcmcCJDAwMDA", "pypi-AgENdGVzdC5weXBpLm9yZwIkMDAw");
    for (token, index, meant) in [
        (testpypis, "pypi", "--index testpypi"),
        (testpypis, "https://upload.pypi.org:443/legacy/", "--index testpypi"),
        (pypis, "testpypi", "--index pypi"),
    ] {
        // A request would go to this proxy, and nobody listens there.
        let step = Step::bare().env("HTTPS_PROXY", "http://127.0.0.1:9").secret(token);
        let step = step.args(&["burn", "--index", index]).env("TOKEN_MINT_API_TOKEN", token);
        step.run().assert_failed(2, &["the API token is for ", "can't revoke it", "nothing was sent", meant]);
    }
    let servers = StandIn::start(Setup::default());
    let step = Step::bare().args(&["burn", "--index", &servers.index.url("")]).env("TOKEN_MINT_API_TOKEN", pypis);
    step.run_with(&servers).assert_failed(4, &["invalid-token"]);
    assert_eq!(servers.requests(), ["POST /_/oidc/burn-token"]);
}

#[test]
fn a_token_that_is_sent_back_is_not_shown() {
    let token = "secret-api-token-without-a-prefix";
    let index = ScriptedServer::replying(403, &format!("{{\"message\": \"who is {token}?\"}}"));
    let step =
        Step::on_github().args(&["burn", "--index", &index.url()]).env("TOKEN_MINT_API_TOKEN", token).secret(token);
    step.run().assert_failed(4, &["who is ***?"]);
}

#[test]
fn the_error_says_that_a_token_that_burn_could_not_revoke_is_still_valid() {
    for index in [ScriptedServer::answering(""), ScriptedServer::replying(503, "")] {
        let step = Step::on_github().args(&["burn", "--index", &index.url()]).env("TOKEN_MINT_API_TOKEN", "pypi-x");
        let outcome = step.run();
        outcome.assert_failed(5, &["asking the index to revoke the API token", "stays valid until it expires"]);
        assert!(!outcome.stderr.contains("nothing was handed over"), "{outcome}");
    }
    let proxy = ScriptedServer::answering("HTTP/1.1 403 No\r\n\r\n");
    let step = Step::bare().args(&["burn", "--index", "https://index.invalid"]).env("https_proxy", &proxy.url());
    let outcome = step.env("TOKEN_MINT_API_TOKEN", "pypi-x").run();
    outcome.assert_failed(5, &["status 403", "ask whoever runs the proxy", "stays valid until it expires"]);
}

#[test]
fn burn_without_a_token_sends_nothing() {
    let servers = StandIn::start(Setup::default());
    let burn = || Step::of(&servers).args(&["burn"]);
    burn().run_with(&servers).assert_failed(2, &["no API token was given"]);
    burn().env("TOKEN_MINT_API_TOKEN", " \n").run_with(&servers).assert_failed(2, &["no API token was given"]);
    let bad = burn().env("TOKEN_MINT_API_TOKEN", "pypi-\"x\"").secret("pypi-\"x\"").run_with(&servers);
    bad.assert_failed(2, &["TOKEN_MINT_API_TOKEN: it has a character"]);
    assert_eq!(servers.requests(), [""; 0]);
}

#[test]
fn burn_waits_for_stdin_until_the_deadline() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).args(&["burn", "--timeout", "1"]);
    let start = Instant::now();
    let mut child = spawned(step.command().stdin(Stdio::piped()));
    let stdin = child.stdin.take();
    assert_eq!(status(&mut child), Some(2));
    assert!(start.elapsed() < Duration::from_secs(1) + SLACK);
    drop(stdin);
}

#[test]
#[cfg_attr(windows, ignore = "/dev/zero")]
fn burn_reads_a_bounded_part_of_stdin() {
    let servers = StandIn::start(Setup::default());
    let endless = fs::File::open("/dev/zero").unwrap();
    let output = output(Step::of(&servers).args(&["burn"]).command().stdin(endless));
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("stdin: it has a character that such a token never has"), "{stderr}");
}

#[test]
fn burn_succeeds_with_a_message_at_an_index_that_can_not_revoke() {
    let servers = StandIn::start(Setup { revocation_status: 404, ..Setup::default() });
    let step = Step::of(&servers).args(&["burn"]).env("TOKEN_MINT_API_TOKEN", "pypi-x");
    let outcome = step.run_with(&servers);
    outcome.assert_done();
    assert!(outcome.stderr.contains("can't revoke API tokens; this one expires by itself"), "{outcome}");
}

#[test]
fn check_mints_and_revokes() {
    let servers = StandIn::start(Setup::default());
    let outcome = Step::of(&servers).args(&["check"]).run_with(&servers);
    outcome.assert_done();
    assert!(outcome.stderr.contains("a release from it would work"), "{outcome}");
    let last = outcome.stderr.lines().last().unwrap();
    assert!(last.starts_with("token-mint: if its publisher was pending, "), "{outcome}");
    assert_eq!((outcome.stdout.as_str(), outcome.step_output.as_str()), ("", ""));
    assert_revoked_after(&servers, None);
    // `check` needs no step output.
    Step::of(&servers).without("GITHUB_OUTPUT").args(&["check"]).run_with(&servers).assert_done();
}

#[test]
fn check_explains_a_refusal_as_minting_does() {
    let servers = StandIn::start(Setup { publisher: None, ..Setup::default() });
    let outcome = Step::of(&servers).args(&["check"]).run_with(&servers);
    outcome.assert_failed(4, &["invalid-publisher", "possible cause"]);
    assert!(outcome.summary.contains("Workflow name"), "{outcome}");
}
