//! Explanations of failures: on stderr, as an annotation and on the job's summary page. Also `token-mint claims`.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Outcome, SLACK, ScriptedServer, Step, UNREACHABLE_URL, blocked, run_for_stderr};
use crate::stand_in::github::Job;
use crate::stand_in::{Setup, StandIn};

const HOSTILE: &str = "a\n::add-mask::b\r##[error]c\x1b[31m\u{202e}<img src=x>|`[x](http://evil.example)`";

fn refused() -> (StandIn, Outcome) {
    let servers = StandIn::start(Setup { publisher: None, ..Setup::default() });
    let outcome = Step::of(&servers).run_with(&servers);
    (servers, outcome)
}

#[test]
fn a_refusal_is_explained_on_stderr_in_one_annotation_and_on_the_summary_page() {
    let (servers, outcome) = refused();
    outcome.assert_failed(4, &["    Workflow name     release.yml\n", "    Environment name  pypi\n"]);
    let index = servers.index.url("");
    let [annotation] = outcome.annotations()[..] else { panic!("{outcome}") };
    assert!(annotation.starts_with(&format!("{index} refused to mint an API token")), "{outcome}");
    assert!(annotation.contains("(invalid-publisher)%0Apossible cause: one of the publisher's fields"), "{outcome}");
    assert!(annotation.ends_with("%0Asee the job's summary"), "{outcome}");
    assert_eq!(annotation.matches("%0A").count(), 2, "{outcome}");
    for piece in [
        " refused this job\\: no matching trusted publisher\n\n",
        "| Workflow name | release\\.yml |\n",
        "| Environment name | pypi |\n",
        "- **Possible cause:** one of the publisher\\'s fields",
        "\nNot in the form:\n\n- owner ID: 65432100\n",
    ] {
        assert!(outcome.summary.contains(piece), "no {piece:?} in {outcome}");
    }
    let quiet = Step::of(&servers).args(&["-q"]).run_with(&servers);
    assert_eq!((quiet.annotations(), &quiet.summary), (outcome.annotations(), &outcome.summary));
    assert!(quiet.messages().starts_with("token-mint: error: "), "{quiet}");
}

#[test]
fn every_failure_has_its_annotation_and_a_success_two_lines_on_the_summary_page() {
    let outcome = Step::on_github().run();
    outcome.assert_failed(3, &["id-token: write"]);
    assert_eq!(outcome.annotations().len(), 1, "{outcome}");
    assert!(outcome.summary.contains("  ```yaml\n    jobs:\n      publish:\n"), "{outcome}");
    let servers = StandIn::start(Setup::default());
    for (args, pieces) in [
        (&[][..], ["API token handed over as the step output api\\-token\\; it is valid until ", " minutes left"]),
        (
            &["--", "/bin/true"],
            [
                "\\/bin\\/true has ended\\: exit status\\: 0\\. Then the API token was sent for revocation",
                "valid until",
            ],
        ),
        (&["check"], ["### token-mint: a rehearsal\n\n", "a release from it would work"]),
    ] {
        if cfg!(windows) && args.contains(&"/bin/true") {
            continue;
        }
        let outcome = Step::of(&servers).args(args).run_with(&servers);
        outcome.assert_done();
        assert_eq!((outcome.annotations().len(), outcome.summary.lines().count()), (0, 4), "{outcome}");
        for piece in pieces {
            assert!(outcome.summary.contains(piece), "no {piece:?} in {outcome}");
        }
    }
}

#[test]
fn outside_github_an_explanation_is_on_stderr_alone() {
    let servers = StandIn::start(Setup { publisher: None, ..Setup::default() });
    let outcome = Step::outside_ci(&servers).run_with(&servers);
    outcome.assert_failed(4, &["Workflow name"]);
    assert_eq!((outcome.annotations().len(), &outcome.summary[..]), (0, ""), "{outcome}");
}

#[test]
#[cfg_attr(windows, ignore = "pipes with names")]
fn a_summary_page_that_can_not_be_written_changes_nothing_else() {
    let servers = StandIn::start(Setup { publisher: None, ..Setup::default() });
    let step = || Step::of(&servers);
    step().without("GITHUB_STEP_SUMMARY").run_with(&servers).assert_failed(4, &["Workflow name"]);
    let missing = step().dir.path().join("missing");
    for path in ["/nonexistent/summary", "/dev/full", "/", missing.to_str().unwrap()] {
        step().env("GITHUB_STEP_SUMMARY", path).run_with(&servers).assert_failed(4, &["Workflow name"]);
    }
    assert!(!missing.exists(), "no runner would read it");
    let with_pipe = step();
    std::fs::remove_file(with_pipe.summary_path()).unwrap();
    assert!(Command::new("mkfifo").arg(with_pipe.summary_path()).status().unwrap().success());
    let pipe = with_pipe.summary_path().to_str().unwrap().to_owned();
    // Nobody reads the pipe, so opening it would block. The harness itself reads the file of the new step afterwards.
    step().env("GITHUB_STEP_SUMMARY", &pipe).run_with(&servers).assert_failed(4, &["Workflow name"]);

    let full = step();
    let page = "x".repeat(1024 * 1024 - 100);
    std::fs::write(full.summary_path(), &page).unwrap();
    let outcome = full.run_with(&servers);
    assert_eq!(outcome.status, 4);
    assert!(outcome.summary == page, "the page would be longer than GitHub accepts");
    let others = step();
    std::fs::write(others.summary_path(), "what another step wrote\n").unwrap();
    assert!(others.run_with(&servers).summary.starts_with("what another step wrote\n\n### http"));
}

/// Nobody writes to the pipe, so opening it would block.
#[test]
#[cfg_attr(windows, ignore = "pipes with names")]
fn files_that_are_pipes_are_not_read() {
    let servers = StandIn::start(Setup { publisher: None, ..Setup::default() });
    let with_pipe = |step: Step, name: &str| {
        assert!(Command::new("mkfifo").arg(step.dir.path().join(name)).status().unwrap().success());
        step
    };
    with_pipe(Step::of(&servers), "pyproject.toml").run_with(&servers).assert_failed(4, &["Workflow name"]);
    let step = with_pipe(Step::on_github(), "event.json");
    step.env("GITHUB_EVENT_PATH", "event.json").run().assert_failed(3, &["permissions:"]);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "leases of files")]
fn a_file_that_can_not_be_opened_is_not_waited_for() {
    let servers = StandIn::start(Setup { publisher: None, ..Setup::default() });
    let with_file = |step: Step, name: &str| {
        std::fs::write(step.dir.path().join(name), "[project]\nname = \"x\"\n").unwrap();
        let blocked = blocked(&step.dir.path().join(name));
        (step, blocked)
    };
    let assert_ends_in = |secs: u64, step: &Step, status: i32, piece: &str| {
        let start = Instant::now();
        let (code, stderr) = run_for_stderr(&mut step.command());
        assert!(code == Some(status) && stderr.contains(piece), "{stderr}");
        assert!(start.elapsed() < Duration::from_secs(secs) + SLACK, "{piece}: {:?}", start.elapsed());
    };
    let (step, _blocked) = with_file(Step::of(&servers), "pyproject.toml");
    assert_ends_in(1, &step, 4, "Workflow name");
    // This failure needs no project name, so the file is not read.
    let (step, _blocked) = with_file(Step::on_github().args(&["burn"]), "pyproject.toml");
    assert_ends_in(0, &step, 2, "no API token was given");
    let (step, _blocked) = with_file(Step::on_github().env("GITHUB_EVENT_PATH", "event.json"), "event.json");
    assert_ends_in(1, &step, 3, "permissions:");
    let step = Step::of(&servers);
    let _blocked = blocked(&step.summary_path());
    assert_ends_in(1, &step, 4, "Workflow name");
}

/// If the ID token has another audience, the explanation shows the index's.
#[test]
fn a_hostile_audience_is_harmless() {
    let github = ScriptedServer::replying(
        200,
        &format!("{{\"value\":\"{}\"}}", StandIn::start(Setup::default()).id_token("other")),
    );
    for audience in [r"a\n::error::b", r"a\r##[error]b", r"py\u0000pi", r"\u001b[2K", r"a\u0085b"] {
        let index = ScriptedServer::replying(200, &format!("{{\"audience\":\"{audience}\"}}"));
        let step = Step::with_endpoints(&github.url(), &index.url()).without("TOKEN_MINT_AUDIENCE");
        step.run().assert_failed(5, &["the audience in its reply is empty, or has a control character"]);
    }
    let audience = "::error::a ##[error]b pypi-AgEIcHlwaS5vcmcCJDAw \u{202e}";
    let index = ScriptedServer::serving_requests(move |request, stream| {
        let (status, body) = match request.path().ends_with("audience") {
            true => (200, serde_json::json!({"audience": audience})),
            false => (422, serde_json::json!({"errors": [{"code": "invalid-token", "description": "no"}]})),
        };
        let body = body.to_string();
        let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    });
    let step = Step::with_endpoints(&github.url(), &index.url()).without("TOKEN_MINT_AUDIENCE");
    let outcome = step.secret("AgEIcHlwaS5vcmcCJDAw").run();
    outcome.assert_failed(4, &["takes `:\u{b7}:error:\u{b7}:a #\u{b7}#[error]b *** \u{fffd}` only"]);
    assert!(!outcome.summary.contains("AgEIcHlwaS5vcmcCJDAw"), "{outcome}");
    Step::of(&StandIn::start(Setup::default()))
        .args(&["--audience", "a\nb"])
        .run()
        .assert_failed(2, &["--audience: an audience has no line breaks"]);
}

#[test]
fn claims_as_json_hold_no_workflow_command() {
    let job = Job { environment: Some(format!("{HOSTILE}\u{85}\u{1f600}\u{e0041}")), ..Job::default() };
    let servers = StandIn::start(Setup { job, ..Setup::default() });
    let outcome = Step::of(&servers).args(&["claims", "--format", "json", "-q"]).run_with(&servers);
    outcome.assert_done();
    for bad in ["::", "##[", "\r", "\x1b", "\u{202e}", "\u{85}", "\u{e0041}"] {
        assert!(!outcome.stdout.contains(bad), "{bad:?} in {outcome}");
    }
    assert_eq!(outcome.stdout.lines().count(), 1);
    let claims: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(claims, servers.id_token_claims());
}

#[test]
fn a_hostile_claim_is_harmless_and_short_wherever_it_is_shown() {
    let environment = Some(format!("{HOSTILE}{}", "A".repeat(5000)));
    let job = Job { environment, ..Job::default() };
    let servers = StandIn::start(Setup { job, publisher: None, ..Setup::default() });
    for args in [&[][..], &["claims"]] {
        let outcome = Step::of(&servers).args(args).run_with(&servers);
        assert!(outcome.messages().len() < 6_000 && outcome.summary.len() < 6_000, "{outcome}");
        assert_eq!(outcome.masks().len(), 1, "the only mask is the ID token's: {outcome}");
        for line in outcome.messages().lines() {
            assert!(!line.trim_start().starts_with("::"), "{outcome}");
        }
        for text in [&outcome.stderr, &outcome.summary] {
            for bad in ["##[", "\r", "\x1b", "\u{202e}"] {
                assert!(!text.contains(bad), "{bad:?} in {outcome}");
            }
        }
        // The part of the page that is not escaped has no tag, link or code.
        let mut chars = outcome.summary.chars();
        let mut unescaped = String::new();
        while let Some(c) = chars.next() {
            match c {
                '\\' => _ = chars.next(),
                c => unescaped.push(c),
            }
        }
        for bad in ["<", "](", "`"] {
            assert!(!unescaped.contains(bad), "{bad:?} in {outcome}");
        }
        assert!(outcome.summary.contains("\\<img src\\=x\\>\\|\\`\\[x\\]\\("), "{outcome}");
    }
}

#[test]
fn a_pull_request_from_a_fork_is_reported_as_such() {
    let event =
        r#"{"pull_request":{"head":{"repo":{"fork":true,"full_name":"c/d"}},"base":{"repo":{"full_name":"a/b"}}}}"#;
    let step = Step::on_github();
    let path = step.dir.path().join("event.json");
    std::fs::write(&path, event).unwrap();
    let outcome = step.env("GITHUB_EVENT_PATH", path.to_str().unwrap()).run();
    outcome.assert_failed(3, &["this run is for a pull request from a fork"]);
    assert!(!outcome.stderr.contains("permissions:"), "a permission would not help: {outcome}");
    Step::on_github().env("GITHUB_EVENT_PATH", "/nonexistent").run().assert_failed(3, &["permissions:"]);
}

#[test]
fn a_gitlab_job_uses_the_id_token_that_it_declares() {
    let servers = StandIn::start(Setup::default());
    let step = |audience: &str| {
        Step::bare()
            .env("GITLAB_CI", "true")
            .env("TOKEN_MINT_INDEX", &servers.index.url(""))
            .env("TOKEN_MINT_AUDIENCE", audience)
    };
    step("pypi").run().assert_failed(3, &["PYPI_ID_TOKEN", "id_tokens:", "aud: pypi"]);
    let outcome = step("pypi").env("PYPI_ID_TOKEN", &servers.id_token("pypi")).run_with(&servers);
    outcome.assert_done();
    assert_eq!(outcome.stdout.trim_end(), servers.api_tokens()[0]);
    step("pypi")
        .env("PYPI_ID_TOKEN", "nonsense")
        .run()
        .assert_failed(2, &["PYPI_ID_TOKEN: it is not a JSON Web Token"]);
}

#[test]
fn claims_shows_the_identity_and_asks_the_index_for_nothing() {
    let servers = StandIn::start(Setup::default());
    let outcome = Step::of(&servers).args(&["claims"]).run_with(&servers);
    outcome.assert_done();
    assert_eq!((&outcome.stdout[..], &outcome.step_output[..]), ("", ""));
    assert_eq!(servers.index.requests().len(), 0);
    assert_eq!(outcome.masks().len(), 1);
    assert!(outcome.messages().contains("    Workflow name     release.yml\n"), "{outcome}");
    assert!(outcome.summary.contains("| Workflow name | release\\.yml |"), "{outcome}");
    assert_eq!(outcome.annotations().len(), 0);
}

#[test]
fn claims_links_to_the_form_filled_in_for_the_project() {
    let servers = StandIn::start(Setup::default());
    // Only GitHub's stand-in gets a request, and PyPI gets none.
    let step = || Step::of(&servers).args(&["claims", "--index", "pypi", "--offline"]);
    let form = |project: &str| {
        format!(
            "    https://pypi.org/manage/project/{project}/settings/publishing/?provider=github&owner=octo-org\
             &repository=octo-repo&workflow_filename=release.yml&environment=pypi\n"
        )
    };
    let links = |step: Step, link: &str| {
        let outcome = step.run_with(&servers);
        outcome.assert_done();
        assert!(outcome.stderr.ends_with(link), "no {link:?} in {outcome}");
    };
    links(step(), "    https://pypi.org/manage/account/publishing/\n");
    links(step().args(&["--project", "a.b"]), &form("a.b"));
    links(step().env("TOKEN_MINT_PROJECT", "c"), &form("c"));
    let with_file = step();
    std::fs::write(with_file.dir.path().join("pyproject.toml"), "[project]\nname = \"from-file\"\n").unwrap();
    links(with_file, &form("from-file"));
    Step::of(&servers).args(&["--project", "a/b"]).run().assert_failed(2, &["--project: a project's name is expected"]);
}

#[test]
fn claims_as_json_are_the_claims_of_the_id_token() {
    let servers = StandIn::start(Setup::default());
    let outcome = Step::of(&servers).args(&["claims", "--format", "json", "-q"]).run_with(&servers);
    outcome.assert_done();
    let claims: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let payload = servers.id_token_claims();
    assert_eq!(claims, payload);
    for format in ["token", "env"] {
        let outcome = Step::of(&servers).args(&["claims", "--format", format]).run_with(&servers);
        outcome.assert_failed(2, &["--format (TOKEN_MINT_FORMAT): with claims, it can be json only"]);
    }
    let unreachable = Step::of(&servers).env("ACTIONS_ID_TOKEN_REQUEST_URL", UNREACHABLE_URL).args(&["claims"]);
    unreachable.run_with(&servers).assert_failed(5, &["asking GitHub for an ID token"]);
}
