//! An index whose published data are wrong, long, late or missing: the explanation lacks some evidence, and nothing
//! else changes.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::evidence::{assert_first_is_evidence, lines, servers, step};
use crate::harness::{Outcome, SLACK, ScriptedServer, Step, in_parallel, send, spawned, status, wait_until};
use crate::stand_in::http::Request;
use crate::stand_in::published::Project;
use crate::stand_in::{Setup, StandIn};

const REFUSAL: &str = r#"{"message":"Token request failed","errors":[{"code":"invalid-publisher","description":"valid token, but no corresponding publisher (Publisher with matching claims was not found)"}]}"#;

/// An index that refuses to mint. `more` answers all other requests.
fn refusing(more: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> ScriptedServer {
    ScriptedServer::serving_requests(move |request, stream| match request.path() {
        "/_/oidc/mint-token" => reply(stream, 422, REFUSAL.as_bytes()),
        _ => more(request, stream),
    })
}

fn reply(stream: &mut TcpStream, status: u16, body: &[u8]) {
    let head = format!("HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
}

fn refused_by(index: &ScriptedServer) -> Outcome {
    let servers = StandIn::start(Setup::default());
    Step::of(&servers)
        .without("TOKEN_MINT_OFFLINE")
        .args(&["--index", &index.url(), "--project", "sampleproject", "-v"])
        .env("TOKEN_MINT_AUDIENCE", "pypi")
        .run_with(&servers)
}

#[test]
fn a_request_that_fails_is_mentioned_by_verbose_alone() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = format!("{{\"info\":{{\"version\":\"1\"}},\"x\":{deep}}}");
    let long = format!("{{\"info\":{{\"version\":\"1\"}},\"x\":\"{}\"}}", "a".repeat(4 * 1024 * 1024));
    let twice = r#"{"info":{"version":"1"},"info":{"version":"2"}}"#;
    let bodies = [
        (500, "no"),
        (302, ""),
        (403, "{}"),
        (200, ""),
        (200, "<html>"),
        (200, "[]"),
        (200, "{}"),
        (200, &deep),
        (200, &long),
        (200, twice),
        (200, r#"{"info":{"version":1}}"#),
        (200, "{\"info\":{\"version\":\"1\"}"),
    ]
    .map(|(status, body)| (status, body.to_owned()));
    in_parallel(&bodies, |(status, body)| {
        let (status, body) = (*status, body.clone());
        let index = refusing(move |_, stream| reply(stream, status, body.as_bytes()));
        let outcome = refused_by(&index);
        outcome.assert_failed(4, &["possible cause: ", "GET http://", "/pypi/sampleproject/json: "]);
        assert_eq!(index.requests().len(), 2, "{outcome}");
        assert_eq!(lines(&outcome, "evidence: "), [""; 0], "{outcome}");
        assert_eq!(lines(&outcome, "possible cause: ").len(), 1, "{outcome}");
    });
}

#[test]
fn a_reply_of_megabytes_is_read() {
    let project = Project { releases: 1500, ..Project::from_github("octo-org/octo-repo", "x.yml", None) };
    let servers = servers(Some(project));
    let outcome = step(&servers).args(&["-v"]).run_with(&servers);
    assert_first_is_evidence(&outcome, &["Workflow name `x.yml`"]);
    let bytes = outcome.stderr.split("/json: status 200, ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert!(bytes.parse::<usize>().unwrap() > 1_000_000, "{bytes}");
    assert!(outcome.elapsed < Duration::from_secs(6), "{:?}", outcome.elapsed);
}

#[test]
fn hostile_names_are_harmless_and_few() {
    let hostile = "a\n::error::b\r##[error]c\u{1b}[31m\u{202e}`<img>`".to_owned() + &"A".repeat(10_000);
    let owners: Vec<_> = (0..5000).map(|n| json!({"role": "Owner", "user": format!("{hostile}{n}")})).collect();
    let project = json!({
        "info": {"version": "1::error::x", "project_urls": {&hostile: format!("https://github.com/{hostile}/x")}},
        "ownership": {"roles": owners[..100]}, "urls": [{"filename": "../\r\nX: y?#\u{1f600}"}],
    });
    let publisher = json!({"kind": "GitHub", "repository": format!("{hostile}/{hostile}"), "workflow": hostile,
        "environment": hostile});
    let provenance = json!({"attestation_bundles": [1, {"publisher": []}, {"publisher": publisher}]});
    let index = refusing(move |request, stream| match request.path().ends_with("/provenance") {
        true => reply(stream, 200, provenance.to_string().as_bytes()),
        false => reply(stream, 200, project.to_string().as_bytes()),
    });
    let outcome = refused_by(&index);
    assert_first_is_evidence(&outcome, &["Environment name `a :\u{b7}:error"]);
    let target = &index.requests()[2].target;
    assert_eq!(target, "/integrity/sampleproject/1%3A%3Aerror%3A%3Ax/..%2F%0D%0AX%3A%20y%3F%23%F0%9F%98%80/provenance");
    assert!(outcome.stderr.contains("and 95 more own sampleproject"), "{outcome}");
    assert!(outcome.messages().len() < 12_000 && outcome.summary.len() < 12_000, "{outcome}");
    for line in outcome.messages().lines() {
        assert!(!line.trim_start().starts_with("::"), "{outcome}");
    }
    for bad in ["##[", "\r", "\x1b", "\u{202e}"] {
        assert!(!outcome.messages().contains(bad) && !outcome.summary.contains(bad), "{bad:?} in {outcome}");
    }
}

#[test]
fn each_request_for_evidence_takes_three_seconds_at_most() {
    in_parallel(&[0, 2], |slow| {
        let slow = *slow;
        let index = refusing(move |request, stream| {
            if slow > 0 && request.path() == "/pypi/sampleproject/json" {
                std::thread::sleep(Duration::from_secs(slow));
                return reply(stream, 404, b"");
            }
            std::thread::sleep(Duration::from_secs(20));
        });
        let outcome = refused_by(&index);
        outcome.assert_failed(4, &["possible cause: "]);
        let most = Duration::from_secs(3 + slow) + SLACK;
        assert!(outcome.elapsed > Duration::from_secs(3) && outcome.elapsed < most, "{:?}", outcome.elapsed);
    });
}

/// After a refusal, the program still explains it and ends with its status. `claims` just ends.
#[test]
#[cfg_attr(windows, ignore = "signals")]
fn a_signal_ends_the_wait_for_evidence_at_once() {
    for (subcommand, expected) in [(&[][..], 4), (&["claims"], 143)] {
        let index = refusing(|_, _| std::thread::sleep(Duration::from_secs(20)));
        let servers = StandIn::start(Setup::default());
        let step = Step::of(&servers).without("TOKEN_MINT_OFFLINE").args(subcommand);
        let step = step.args(&["--index", &index.url(), "--audience", "pypi", "--project", "sampleproject"]);
        let mut child = spawned(&mut step.command());
        wait_until(|| index.requests().iter().any(|request| request.target.starts_with("/pypi/")));
        let start = Instant::now();
        send("-TERM", &child.id().to_string());
        assert_eq!(status(&mut child), Some(expected), "{subcommand:?}");
        assert!(start.elapsed() < Duration::from_secs(2), "{subcommand:?}: {:?}", start.elapsed());
    }
}

#[test]
fn no_evidence_is_waited_for_beyond_the_deadline() {
    let index = refusing(|_, _| std::thread::sleep(Duration::from_secs(20)));
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).without("TOKEN_MINT_OFFLINE").env("TOKEN_MINT_AUDIENCE", "pypi").args(&[
        "--index",
        &index.url(),
        "--timeout",
        "1",
    ]);
    let outcome = step.args(&["--project", "sampleproject"]).run_with(&servers);
    outcome.assert_failed(4, &["possible cause: "]);
    assert!(outcome.elapsed < Duration::from_secs(1) + SLACK, "{:?}", outcome.elapsed);
}
