//! Connections: how many there are, when they are made, and what happens to the one that is made early.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{ScriptedServer, Step, UNREACHABLE_URL, wait_until};

const ID_TOKEN_REPLY: &str = "HTTP/1.1 200 OK\r\n\r\n{\"value\":\"a.b.c\"}";
const API_TOKEN_REPLY: &str = "HTTP/1.1 200 OK\r\n\r\n{\"token\":\"pypi-abc\"}";

/// GitHub's endpoint. It answers once the program has connected to this index.
fn endpoint_that_waits_for(index: &Arc<ScriptedServer>) -> ScriptedServer {
    let index = Arc::clone(index);
    ScriptedServer::serving(move |stream| {
        wait_until(|| !index.connections().is_empty());
        let _ = stream.write_all(ID_TOKEN_REPLY.as_bytes());
    })
}

#[test]
fn the_index_is_connected_to_while_the_id_token_is_asked_for() {
    let index = Arc::new(ScriptedServer::answering(API_TOKEN_REPLY));
    let github = endpoint_that_waits_for(&index);
    Step::with_endpoints(&github.url(), &index.url()).run().assert_done();
    assert_eq!((github.connections().len(), index.connections().len()), (1, 1));
}

#[test]
fn an_early_connection_that_the_server_has_closed_is_replaced_without_a_message() {
    let accepted = AtomicUsize::new(0);
    let index = Arc::new(ScriptedServer::accepting(move |stream| {
        if accepted.fetch_add(1, Ordering::SeqCst) == 0 {
            return; // closes the connection
        }
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(API_TOKEN_REPLY.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read(&mut [0]);
    }));
    let waits = Arc::clone(&index);
    let github = ScriptedServer::serving(move |stream| {
        wait_until(|| !waits.connections().is_empty());
        std::thread::sleep(Duration::from_millis(200));
        let _ = stream.write_all(ID_TOKEN_REPLY.as_bytes());
    });
    let outcome = Step::with_endpoints(&github.url(), &index.url()).run();
    outcome.assert_done();
    assert!(!outcome.stderr.contains("trying again"), "{outcome}");
    assert_eq!((github.connections().len(), index.connections().len()), (1, 2));
}

#[test]
fn no_connection_is_made_before_the_hand_over_is_checked() {
    let (github, index) = (ScriptedServer::answering(ID_TOKEN_REPLY), ScriptedServer::answering(API_TOKEN_REPLY));
    let step = || Step::with_endpoints(&github.url(), &index.url());
    step().without("GITHUB_OUTPUT").run().assert_failed(6, &["GITHUB_OUTPUT"]);
    step().args(&["--", "no-such-program"]).run().assert_failed(2, &["no-such-program"]);
    assert_eq!((github.connections().len(), index.connections().len()), (0, 0));
}

#[test]
fn claims_connects_to_the_ci_system_alone() {
    let (claims, index) = ("eyJhIjoxfQ", ScriptedServer::answering(API_TOKEN_REPLY));
    let github = ScriptedServer::answering(format!("HTTP/1.1 200 OK\r\n\r\n{{\"value\":\"a.{claims}.c\"}}"));
    let step = Step::on_github()
        .env("ACTIONS_ID_TOKEN_REQUEST_URL", &github.url())
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t")
        .args(&["claims", "--index", &index.url()]);
    step.run().assert_done();
    assert_eq!((github.connections().len(), index.connections().len()), (1, 0));
}

/// If the CI system refuses, the connection is never needed.
#[test]
fn a_failed_early_connection_is_no_error_until_it_is_needed() {
    let github = ScriptedServer::replying(403, "{\"message\":\"no\"}");
    let outcome = Step::with_endpoints(&github.url(), UNREACHABLE_URL).args(&["--verbose"]).run();
    outcome.assert_failed(3, &["GitHub refused"]);
    assert!(!outcome.stderr.contains("network trouble"), "{outcome}");
}
