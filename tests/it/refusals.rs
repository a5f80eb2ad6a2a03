//! Refusals: a missing permission, the index's errors, other statuses.

use crate::harness::{ScriptedServer, Step, UNREACHABLE_URL, in_parallel};
use crate::stand_in::github::Job;
use crate::stand_in::index::Publisher;
use crate::stand_in::{Setup, StandIn};

/// An ID token with a signature that is too long to be mistaken for a word.
const ID_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZXBvOm9jdG8ifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ";
const SIGNATURE: &str = "c2lnbmF0dXJlLXNpZ25hdHVyZQ";

fn id_token_server() -> ScriptedServer {
    ScriptedServer::replying(200, &format!(r#"{{"value":"{ID_TOKEN}"}}"#))
}

#[test]
fn a_missing_permission_is_named_with_the_yaml_to_paste() {
    let servers = StandIn::start(Setup::default());
    let yaml = "        permissions:\n          id-token: write";
    let (url, token) = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN");
    let step = || Step::of(&servers);
    for step in [step().without(url).without(token), step().without(url), step().without(token), step().env(url, "")] {
        step.run_with(&servers).assert_failed(3, &[yaml]);
    }
    step().without(url).without(token).run_with(&servers).assert_failed(3, &[url, token, "fork"]);
    step().without(url).run_with(&servers).assert_failed(3, &[url, "pass both on"]);
    assert_eq!(servers.requests(), [""; 0]);
}

#[test]
fn outside_a_known_ci_system_there_is_no_identity() {
    let outcome = Step::bare().run();
    outcome.assert_failed(3, &["this is not a CI job, so there is no identity to exchange", "an API token instead"]);
    assert!(!outcome.stderr.contains("docker"), "{outcome}");
    let unknown = Step::bare().env("CI", "true").run();
    unknown.assert_failed(3, &["not a job of a CI system", "GITHUB_ACTIONS=true", "--id-token-env NAME", "docker"]);
}

#[test]
fn a_refusal_by_github_is_a_missing_identity() {
    let servers = StandIn::start(Setup::default());
    let wrong = Step::of(&servers).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "wrong-request-token");
    wrong.run_with(&servers).assert_failed(3, &["GitHub refused", "status 401", "Unauthorized"]);
    let forbidden = ScriptedServer::replying(403, "no\n::set-output name=x::y");
    let outcome = Step::with_endpoints(&forbidden.url(), UNREACHABLE_URL).run();
    outcome.assert_failed(3, &["status 403", "no :·:set-output"]);
}

#[test]
fn a_refusal_says_every_code_and_description() {
    let mismatch = |change: fn(&mut Publisher)| {
        let mut publisher = Publisher::of(&Job::default());
        change(&mut publisher);
        Setup { publisher: Some(publisher), ..Setup::default() }
    };
    let not_found = "invalid-publisher: valid token, but no corresponding publisher (Publisher with matching claims";
    for setup in [
        Setup { publisher: None, ..Setup::default() },
        mismatch(|publisher| publisher.owner = "other".to_owned()),
        mismatch(|publisher| publisher.owner_id = "1".to_owned()),
        mismatch(|publisher| publisher.repository = "other".to_owned()),
        mismatch(|publisher| publisher.workflow = "release.yaml".to_owned()),
        mismatch(|publisher| publisher.environment = Some("other".to_owned())),
        Setup {
            job: Job { called_workflow: Some("other/repo/.github/workflows/release.yml".to_owned()), ..Job::default() },
            ..Setup::default()
        },
    ] {
        let servers = StandIn::start(setup);
        let outcome = Step::of(&servers).run_with(&servers);
        outcome.assert_failed(
            4,
            &["refused to mint", "status 422", "Token request failed", not_found, "token-mint: this job's values "],
        );
    }
    for (setup, piece) in [
        (
            Setup { job: Job { event_name: "pull_request_target".to_owned(), ..Job::default() }, ..Setup::default() },
            "pull_request_target",
        ),
        (
            Setup { job: Job { lives_secs: -60, ..Job::default() }, ..Setup::default() },
            "invalid-token: malformed or invalid token",
        ),
    ] {
        let servers = StandIn::start(setup);
        Step::of(&servers).run_with(&servers).assert_failed(4, &[piece]);
    }
    let several = r#"{"message":"m","errors":[{"code":"a-code","description":"one"},{"code":"b-code"},{"code":"c-code","description":null}]}"#;
    let index = ScriptedServer::replying(422, several);
    let outcome = Step::with_endpoints(&id_token_server().url(), &index.url()).run();
    outcome.assert_failed(4, &["a-code: one", "b-code: ", "c-code: "]);
}

#[test]
fn the_case_of_the_jobs_environment_and_a_publisher_without_one_do_not_matter() {
    let job = Job { environment: Some("PyPI".to_owned()), ..Job::default() };
    let run = |publisher: Publisher| {
        let servers = StandIn::start(Setup { job: job.clone(), publisher: Some(publisher), ..Setup::default() });
        Step::of(&servers).run_with(&servers)
    };
    for environment in [None, Some("pypi".to_owned())] {
        run(Publisher { environment, ..Publisher::of(&job) }).assert_done();
    }
    run(Publisher { owner: "OCTO-Org".to_owned(), ..Publisher::of(&Job::default()) })
        .assert_failed(4, &["letter by letter"]);
}

#[test]
fn an_id_token_can_be_exchanged_once() {
    let servers = StandIn::start(Setup::default());
    Step::of(&servers).run_with(&servers).assert_done();
    let spent = String::from_utf8(servers.index.requests()[1].body.clone()).unwrap().replace("token", "value");
    let replay = ScriptedServer::replying(200, &spent);
    let step = Step::of(&servers).env("ACTIONS_ID_TOKEN_REQUEST_URL", &replay.url());
    step.run_with(&servers).assert_failed(4, &["invalid-reuse-token: invalid token: already used", "once"]);
}

#[test]
fn an_index_without_trusted_publishing_is_recognised() {
    let servers = StandIn::start(Setup { enabled: false, ..Setup::default() });
    let outcome = Step::of(&servers).run_with(&servers);
    outcome.assert_failed(4, &["status 403", "Trusted publishing functionality not enabled"]);
    let outcome = Step::of(&servers).args(&["--audience", "pypi"]).run_with(&servers);
    outcome.assert_failed(4, &["not-enabled: GitHub trusted publishing functionality not enabled"]);
    let html = ScriptedServer::replying(404, "<html><h1>Not Found</h1></html>");
    let outcome = Step::with_endpoints(&id_token_server().url(), &html.url()).without("TOKEN_MINT_AUDIENCE").run();
    outcome.assert_failed(4, &["status 404", "--index"]);
    assert!(!outcome.stderr.contains('<'), "no HTML page in a message: {outcome}");
}

#[test]
fn a_secret_that_a_server_sends_back_is_masked() {
    in_parallel(&[(401, 3), (500, 5)], |(status, exit)| {
        let echo = ScriptedServer::replying(*status, "you sent bearer a-request-token-that-is-secret, did you not?");
        let outcome = Step::with_endpoints(&echo.url(), UNREACHABLE_URL).run();
        outcome.assert_failed(*exit, &["you sent bearer ***, did you not?"]);
    });
    let refusal = format!(
        r#"{{"message":"got {ID_TOKEN}","errors":[{{"code":"{ID_TOKEN}","description":"signature {SIGNATURE} is bad"}}]}}"#
    );
    in_parallel(&[(422, &refusal[..], 4), (500, ID_TOKEN, 5), (400, SIGNATURE, 4)], |(status, body, exit)| {
        let index = ScriptedServer::replying(*status, body);
        let step = Step::with_endpoints(&id_token_server().url(), &index.url()).secret(SIGNATURE);
        step.run().assert_failed(*exit, &["***"]);
    });
}

#[test]
fn a_token_in_a_reply_with_the_wrong_status_is_not_shown() {
    let at_the_index = |status, body: &str, exit, piece: &str| {
        let index = ScriptedServer::replying(status, body);
        let step = Step::with_endpoints(&id_token_server().url(), &index.url());
        step.secret("secret_secret").run().assert_failed(exit, &[piece]);
    };
    let bodies = ["pypi-AgEIsecret_secret", r#"{"message":"x pypi-AgEIsecret_secret"}"#, r#""pypi-AgEIsecret_secret""#];
    in_parallel(&bodies, |body| {
        in_parallel(&[(201, 5), (500, 5), (400, 4)], |(status, exit)| at_the_index(*status, body, *exit, ""))
    });
    // A token of another index may have any form.
    at_the_index(201, "another-index-secret_secret", 5, "status 201");
    at_the_index(422, r#"{"errors":[{"code":"c","description":"x pypi-AgEIsecret_secret"}]}"#, 4, "c: x ***");
    in_parallel(&[201, 404, 500], |status| {
        let github = ScriptedServer::replying(*status, ID_TOKEN);
        Step::with_endpoints(&github.url(), UNREACHABLE_URL).secret(SIGNATURE).run().assert_failed(5, &[]);
    });
}

#[test]
fn errors_are_shown_up_to_a_bound_and_a_malformed_one_hides_no_other() {
    let errors: Vec<_> = (0..2000).map(|n| serde_json::json!({"code": format!("code-{n}")})).collect();
    let body = serde_json::json!({ "errors": errors }).to_string();
    let run = |body: &str| {
        let index = ScriptedServer::replying(422, body);
        Step::with_endpoints(&id_token_server().url(), &index.url()).run()
    };
    let outcome = run(&body);
    outcome.assert_failed(4, &["code-0: ", "code-19: ", "more: 1980 that are not shown"]);
    assert!(!outcome.stderr.contains("code-20: "), "{outcome}");
    let malformed = r#"{"errors":[{"code":"invalid-publisher","description":"d"},{"description":"e"},{"code":":"}]}"#;
    let outcome = run(malformed);
    outcome.assert_failed(4, &["invalid-publisher: d", "    no code: e"]);
    assert!(!outcome.messages().contains("::"), "{outcome}");
}

#[test]
fn hostile_text_comes_out_harmless_and_short() {
    let hostile = r"a\n::add-mask::b\r##[error]c\u001b[31m\u202ed".to_owned() + &"A".repeat(15_000);
    let body = format!(r#"{{"message":"{hostile}","errors":[{{"code":"{hostile}","description":"{hostile}"}}]}}"#);
    let index = ScriptedServer::replying(422, &body);
    let outcome = Step::with_endpoints(&id_token_server().url(), &index.url()).run();
    outcome.assert_failed(4, &["[…]"]);
    assert_eq!(outcome.masks(), [ID_TOKEN], "the only mask is the ID token's: {outcome}");
    assert!(outcome.stderr.len() < 4000, "{} bytes", outcome.stderr.len());
    for bad in ["##[", "\r", "\x1b", "\u{202e}"] {
        assert!(!outcome.stderr.contains(bad), "{bad:?} in {outcome}");
    }
    for line in outcome.messages().lines() {
        assert!(!line.trim_start().starts_with("::"), "{outcome}");
    }
}
