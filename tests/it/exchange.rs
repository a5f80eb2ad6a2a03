//! The successful exchange: its requests and its results.

use crate::harness::{ScriptedServer, Step};
use crate::stand_in::{Setup, StandIn};

#[test]
fn a_job_gets_its_token_as_a_step_output() {
    let servers = StandIn::start(Setup::default());
    let outcome = Step::of(&servers).run_with(&servers);
    outcome.assert_done();
    assert_eq!(outcome.output("api-token"), Some(servers.api_tokens()[0].as_str()));
    let expires: u64 = outcome.output("expires").unwrap().parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((890..=900).contains(&(expires - now)), "{outcome}");
    assert_eq!(outcome.stdout, "", "{outcome}");
    assert_eq!(servers.api_tokens().len(), 1);
}

#[test]
fn a_known_audience_costs_two_requests_and_an_asked_one_three() {
    let id_token = ScriptedServer::replying(200, r#"{"count":5,"value":"a.b.c"}"#);
    let index =
        ScriptedServer::replying(200, r#"{"success":true,"audience":"asked","token":"pypi-abc","expires":1790000000}"#);
    let step = || Step::with_endpoints(&id_token.url(), &index.url());

    let outcome = step().run();
    outcome.assert_done();
    assert_eq!(outcome.step_output, "api-token=pypi-abc\nexpires=1790000000\n");
    assert_eq!((id_token.requests().len(), index.requests().len()), (1, 1));

    step().without("TOKEN_MINT_AUDIENCE").run().assert_done();
    assert_eq!((id_token.requests().len(), index.requests().len()), (2, 3));
    let paths: Vec<_> = index.requests().iter().map(|request| request.target.clone()).collect();
    assert_eq!(paths, ["/_/oidc/mint-token", "/_/oidc/audience", "/_/oidc/mint-token"]);
    assert_eq!(id_token.requests()[1].parameter("audience").as_deref(), Some("asked"));
}

#[test]
fn requests_are_what_the_protocol_says() {
    let servers = StandIn::start(Setup::default());
    Step::of(&servers).run_with(&servers).assert_done();
    assert_eq!(
        servers.requests(),
        ["GET /idtoken/77", "GET /_/oidc/audience", "POST /_/oidc/mint-token"],
        "only PyPI's and TestPyPI's audiences are known"
    );
    for request in servers.github.requests().iter().chain(&servers.index.requests()) {
        let agent = format!("token-mint/{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(request.header("User-Agent"), Some(agent.as_str()));
        assert_eq!(request.header("Accept"), Some("application/json"));
        assert_eq!(request.header("Connection"), Some("close"), "each connection has one request");
    }
    assert_eq!(servers.github.requests()[0].target, "/idtoken/77?api-version=2.0&audience=pypi");
    let (ask, mint) = (&servers.index.requests()[0], &servers.index.requests()[1]);
    assert_eq!(mint.header("Content-Type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&mint.body).unwrap();
    assert_eq!(body.as_object().unwrap().len(), 1, "the ID token and nothing else");
    assert!(body["token"].as_str().unwrap().starts_with("eyJ"));
    for request in [ask, mint] {
        assert_eq!(request.header("Authorization"), None, "the request token is GitHub's alone");
    }
}

#[test]
fn the_audience_is_percent_encoded_in_the_request_url() {
    let index = ScriptedServer::replying(200, r#"{"token":"pypi-abc"}"#);
    for (path, target) in [
        ("", "/?audience=a%20b%26c%3D%25%2B%C3%A4"),
        ("/x", "/x?audience=a%20b%26c%3D%25%2B%C3%A4"),
        ("/x?api-version=2.0", "/x?api-version=2.0&audience=a%20b%26c%3D%25%2B%C3%A4"),
    ] {
        let id_token = ScriptedServer::replying(200, r#"{"value":"a.b.c"}"#);
        let url = format!("{}{path}", id_token.url());
        Step::with_endpoints(&url, &index.url()).args(&["--audience", "a b&c=%+ä"]).run().assert_done();
        assert_eq!(id_token.requests()[0].target, target);
        assert_eq!(id_token.requests()[0].parameter("audience").as_deref(), Some("a b&c=%+ä"));
    }
}

#[test]
fn the_command_line_wins_over_the_environment_and_empty_is_unset() {
    let servers = StandIn::start(Setup { audience: "testpypi", ..Setup::default() });
    let step = || Step::of(&servers).env("TOKEN_MINT_AUDIENCE", "wrong");
    step().args(&["--audience", "testpypi"]).run_with(&servers).assert_done();
    step().run_with(&servers).assert_failed(4, &["invalid-token"]);
    step().env("TOKEN_MINT_AUDIENCE", "").run_with(&servers).assert_done();

    let unused = ScriptedServer::replying(500, "");
    let index = servers.index.url("");
    step()
        .env("TOKEN_MINT_INDEX", &unused.url())
        .args(&["--audience=testpypi", "--index", &index])
        .run_with(&servers)
        .assert_done();
    assert_eq!(unused.requests().len(), 0);
}

#[test]
fn each_run_takes_a_fresh_id_token() {
    let servers = StandIn::start(Setup::default());
    for _ in 0..2 {
        Step::of(&servers).run_with(&servers).assert_done();
    }
    let bodies: Vec<_> = servers.index.requests().iter().map(|request| request.body.clone()).collect();
    assert_ne!(bodies[1], bodies[3]);
}

#[test]
fn an_index_that_tells_no_expiry_is_fine() {
    let servers = StandIn::start(Setup { tells_expiry: false, ..Setup::default() });
    let outcome = Step::of(&servers).run_with(&servers);
    outcome.assert_done();
    assert_eq!(outcome.step_output, format!("api-token={}\n", servers.api_tokens()[0]));
    assert!(outcome.stderr.contains("does not say until when"), "{outcome}");
}

#[test]
fn stderr_names_the_system_the_index_and_the_expiry_unless_quiet() {
    let servers = StandIn::start(Setup::default());
    let outcome = Step::of(&servers).run_with(&servers);
    let messages = outcome.messages();
    assert_eq!(messages.lines().count(), 4, "{outcome}");
    assert!(messages.lines().all(|line| line.starts_with("token-mint: ")), "{outcome}");
    for piece in [env!("CARGO_PKG_VERSION"), &servers.index.url(""), "audience pypi", " GMT (15 minutes left)"] {
        assert!(messages.contains(piece), "no {piece} in {outcome}");
    }
    assert_eq!(Step::of(&servers).args(&["-q"]).run_with(&servers).messages(), "");
    let verbose = Step::of(&servers).args(&["-v"]).run_with(&servers).messages();
    for piece in ["GET http://", "/idtoken/77: status 200, ", "POST http://", "/_/oidc/mint-token: status 200, "] {
        assert!(verbose.contains(piece), "no {piece} in {verbose}");
    }
    assert!(!verbose.contains("api-version"), "no query in a log line: {verbose}");
}

/// GitHub sets `RUNNER_DEBUG=1` in a job with debug logging.
#[test]
fn githubs_debug_logging_shows_each_request_unless_the_command_line_says_otherwise() {
    let servers = StandIn::start(Setup::default());
    let step = |debug: &str| Step::of(&servers).env("RUNNER_DEBUG", debug);
    let shows_requests = |step: Step| step.run_with(&servers).messages().contains("/_/oidc/mint-token: status 200, ");
    assert!(shows_requests(step("1")));
    assert!(!shows_requests(step("1").args(&["-q"])));
    assert!(!shows_requests(step("0")));
}
