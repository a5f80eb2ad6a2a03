//! Replies of hostile or broken servers: they cause no hang, no crash and no leak, and nothing in them is mistaken for
//! a token. `faults.rs` has the replies that only cause an error.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use crate::harness::{Outcome, SLACK, ScriptedServer, Step, UNREACHABLE_URL};

const ID_TOKEN_BODY: &str = r#"{"value":"a.b.c"}"#;

/// The outcomes with this server as GitHub's endpoint, as the index's audience endpoint, and as its mint endpoint.
fn on_each_endpoint(server: &ScriptedServer) -> [Outcome; 3] {
    let github = ScriptedServer::replying(200, ID_TOKEN_BODY);
    let asked = Step::with_endpoints(&github.url(), &server.url()).without("TOKEN_MINT_AUDIENCE");
    let outcomes = [
        Step::with_endpoints(&server.url(), UNREACHABLE_URL),
        asked,
        Step::with_endpoints(&github.url(), &server.url()),
    ];
    outcomes.map(|step| step.args(&["--timeout", "5"]).run())
}

#[test]
fn a_redirect_is_not_followed_and_no_token_reaches_its_target() {
    for status in [301, 302, 303, 307, 308] {
        let target = ScriptedServer::replying(200, r#"{"value":"a.b.c","audience":"x","token":"pypi-abc"}"#);
        let redirect = ScriptedServer::answering(format!(
            "HTTP/1.1 {status} Moved\r\nLocation: {}/\r\nContent-Length: 0\r\n\r\n",
            target.url()
        ));
        for outcome in on_each_endpoint(&redirect) {
            outcome.assert_failed(5, &[&format!("status {status}")]);
        }
        assert_eq!(target.requests().len(), 0);
    }
}

#[test]
fn a_body_is_read_up_to_64_kib() {
    let body = |length: usize| {
        let head = r#"{"value":"a.b.c","token":"pypi-abc","audience":"x","pad":""#;
        format!("{head}{}\"}}", " ".repeat(length - head.len() - 2))
    };
    for outcome in on_each_endpoint(&ScriptedServer::replying(200, &body(64 * 1024))).iter().skip(1) {
        outcome.assert_done();
    }
    let longer = ScriptedServer::replying(200, &body(64 * 1024 + 1));
    let step = Step::with_endpoints(&longer.url(), UNREACHABLE_URL).args(&["--timeout", "1"]);
    step.run().assert_failed(5, &["longer than 64 KiB"]);
}

#[test]
fn a_chunked_body_is_decoded() {
    // Transfer-Encoding overrides Content-Length (RFC 9112, section 6.3).
    let server = ScriptedServer::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 999\r\nTransfer-Encoding: chunked\r\n\r\n\
         9;ext=1\r\n{\"value\":\r\n1b\r\n\"a.b.c\",\"token\":\"pypi-abc\"\r\n1\r\n}\r\n0\r\n\r\n",
    );
    Step::with_endpoints(&server.url(), &server.url()).run().assert_done();
}

#[test]
fn a_token_with_a_character_outside_its_alphabet_is_refused() {
    for value in [r"a.b.c\nx=y", "a.b.c::", "a.b", "", "a.b.c d", r"a.b.\u0000"] {
        let github = ScriptedServer::replying(200, &format!(r#"{{"value":"{value}"}}"#));
        let outcome = Step::with_endpoints(&github.url(), UNREACHABLE_URL).run();
        outcome.assert_failed(5, &["asking GitHub", "unusable"]);
        assert_eq!(outcome.masks().len(), 0);
    }
    for token in [r"pypi-a\nexpires=1", "pypi-::add-mask::", "pypi-a'b", "", "pypi a", r"pypi-\u001b"] {
        let github = ScriptedServer::replying(200, ID_TOKEN_BODY);
        let index = ScriptedServer::replying(200, &format!(r#"{{"token":"{token}"}}"#));
        let outcome = Step::with_endpoints(&github.url(), &index.url()).run();
        outcome.assert_failed(5, &["asking the index", "unusable"]);
        assert_eq!(outcome.masks(), ["a.b.c"]);
    }
}

#[test]
fn a_token_is_used_whatever_its_expiry_is() {
    let github = ScriptedServer::replying(200, ID_TOKEN_BODY);
    let run = |expires: &str| {
        let index = ScriptedServer::replying(200, &format!(r#"{{"token":"pypi-abc","expires":{expires}}}"#));
        Step::with_endpoints(&github.url(), &index.url()).run()
    };
    for expires in ["\"soon\"", "1e9", "999999999999"] {
        let outcome = run(expires);
        outcome.assert_done();
        assert_eq!((outcome.output("api-token"), outcome.output("expires")), (Some("pypi-abc"), None));
        assert!(outcome.stderr.contains("::warning ") && outcome.stderr.contains("makes no sense"), "{outcome}");
    }
    let outcome = run("null");
    outcome.assert_done();
    assert!(!outcome.stderr.contains("warning"), "{outcome}");
}

#[test]
fn one_deadline_is_for_all_requests_together() {
    let github = ScriptedServer::replying(200, ID_TOKEN_BODY);
    let silent = ScriptedServer::serving(|_| sleep(Duration::from_secs(20)));
    let trickle = ScriptedServer::serving(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            sleep(Duration::from_millis(100));
        }
    });
    // This reply takes most of the time of all requests.
    let slow = ScriptedServer::serving(|stream| {
        sleep(Duration::from_millis(1800));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"value\":\"a.b.c\"}");
    });
    for (github, index, timeout_secs, request) in [
        (&silent, &silent, 1, "asking GitHub for an ID token"),
        (&trickle, &silent, 2, "asking GitHub for an ID token"),
        (&github, &silent, 2, "asking the index for an API token"),
        (&github, &trickle, 2, "asking the index for an API token"),
        (&slow, &silent, 3, "asking the index for an API token"),
    ] {
        let step = Step::with_endpoints(&github.url(), &index.url()).args(&["--timeout", &timeout_secs.to_string()]);
        let outcome = step.run();
        outcome.assert_failed(5, &[request, &format!("timeout of {timeout_secs} second")]);
        let timeout = Duration::from_secs(timeout_secs);
        assert!(outcome.elapsed >= timeout && outcome.elapsed < timeout + SLACK, "{outcome}");
    }
}
