//! Retries: which requests are tried again, how often, after which pause, and with which ID token.

use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{SLACK, ScriptedServer, Step, UNREACHABLE_URL, in_parallel, send, spawned, wait_until};
use crate::stand_in::{Setup, StandIn};

/// A server that sends the first reply `times` times, and then the other one.
fn answering_first(times: usize, first: &'static str, then: &'static str) -> ScriptedServer {
    let answered = AtomicUsize::new(0);
    ScriptedServer::serving(move |stream| {
        let answer = if answered.fetch_add(1, Ordering::SeqCst) < times { first } else { then };
        let _ = stream.write_all(answer.as_bytes());
    })
}

const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
const VALID_REPLY: &str =
    "HTTP/1.1 200 OK\r\n\r\n{\"value\":\"a.b.c\",\"audience\":\"pypi\",\"token\":\"pypi-abc\",\"expires\":1790000000}";

fn retries(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.contains("; trying again in ")).collect()
}

#[test]
fn a_mint_whose_reply_is_lost_is_repeated_with_a_fresh_id_token() {
    in_parallel(&[1, 3], |lost_replies| {
        // As PyPI does, the stand-in accepts an ID token once, even if its reply is lost.
        let servers = StandIn::start(Setup { lost_replies: *lost_replies, ..Setup::default() });
        let outcome = Step::of(&servers).run_with(&servers);
        outcome.assert_done();
        assert_eq!(outcome.output("api-token"), servers.api_tokens().last().map(String::as_str));
        assert_eq!(servers.github.requests().len(), lost_replies + 1);
        assert_eq!(servers.api_tokens().len(), lost_replies + 1);
        // There is a mask for each ID token, and one for the API token that arrived.
        assert_eq!(outcome.masks().len(), lost_replies + 2, "{outcome}");
        assert_eq!(retries(&outcome.stderr).len(), *lost_replies, "{outcome}");
    });
}

#[test]
fn each_retry_is_one_line_with_the_reason_unless_quiet_is_asked_for() {
    let run = |options: &[&str]| {
        let github = answering_first(2, BUSY, VALID_REPLY);
        let outcome =
            Step::with_endpoints(&github.url(), &ScriptedServer::answering(VALID_REPLY).url()).args(options).run();
        outcome.assert_done();
        (github.url(), outcome)
    };
    let (url, outcome) = run(&[]);
    let [first, second] = retries(&outcome.stderr)[..] else { panic!("{outcome}") };
    let reason = format!(
        "token-mint: asking GitHub for an ID token ({url}): it answered with status 503: busy; trying again in "
    );
    assert!(first.starts_with(&reason) && first.ends_with(" seconds (attempt 2 of 4)"), "{first}");
    assert!(second.starts_with(&reason) && second.ends_with(" seconds (attempt 3 of 4)"), "{second}");
    assert!(outcome.elapsed > Duration::from_millis(1500), "{outcome}");
    let (_, quiet) = run(&["--quiet"]);
    assert_eq!(quiet.messages(), "", "{quiet}");
}

#[test]
fn the_pause_is_as_long_as_a_server_asks_for() {
    let soon = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(4));
    in_parallel(&[("3", 3000), (&*soon, 2000), ("0", 500)], |(retry_after, least)| {
        let busy = format!("HTTP/1.1 429 X\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n");
        let index = answering_first(1, busy.leak(), VALID_REPLY);
        let outcome = Step::with_endpoints(&ScriptedServer::answering(VALID_REPLY).url(), &index.url()).run();
        outcome.assert_done();
        let [first, second] = index.connections()[..] else { panic!("{outcome}") };
        let pause = second - first;
        assert!(pause >= Duration::from_millis(*least), "{retry_after}: {pause:?}");
        assert!(pause < Duration::from_secs(4) + SLACK, "{retry_after}: {pause:?}");
    });
}

#[test]
fn a_pause_that_would_outlast_the_deadline_is_not_begun() {
    let busy = ScriptedServer::answering(BUSY);
    let outcome = Step::with_endpoints(&busy.url(), UNREACHABLE_URL).args(&["--timeout", "1"]).run();
    outcome.assert_failed(5, &["status 503"]);
    assert!(busy.requests().len() < 4 && outcome.elapsed < Duration::from_secs(1) + SLACK, "{outcome}");
}

/// There is no fresh ID token if it is in a variable.
#[test]
fn an_id_token_in_a_variable_is_sent_once() {
    let step = |index: &str| {
        let step = Step::bare().args(&["--index", index, "--audience", "pypi", "--format", "token"]);
        [step.env("MY_TOKEN", "a.b.c").args(&["--id-token-env", "MY_TOKEN"])].into_iter().chain([Step::bare()
            .args(&["--index", index, "--audience", "pypi"])
            .env("GITLAB_CI", "true")
            .env("PYPI_ID_TOKEN", "a.b.c")])
    };
    for (answer, piece) in [(BUSY, "status 503"), ("", "no HTTP reply")] {
        let index = ScriptedServer::answering(answer);
        for step in step(&index.url()) {
            let outcome = step.run();
            outcome.assert_failed(5, &[piece]);
            assert_eq!(retries(&outcome.stderr).len(), 0, "{outcome}");
        }
        assert_eq!(index.requests().len(), 2);
    }
    // Without a connection, the ID token was not sent: nobody listens, or there is no such name (RFC 6761, section 6.4).
    let refusing = ScriptedServer::refusing();
    in_parallel(&[refusing.url(), "https://index.invalid".to_owned()], |index| {
        for step in step(index) {
            let outcome = step.run();
            outcome.assert_failed(5, &["network trouble"]);
            assert_eq!(retries(&outcome.stderr).len(), 3, "{outcome}");
        }
    });
}

#[test]
fn the_revocation_is_tried_again_too() {
    let index = answering_first(2, BUSY, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    let step = Step::on_github().args(&["burn", "--index", &index.url()]).env("TOKEN_MINT_API_TOKEN", "pypi-abc");
    step.run().assert_done();
    assert_eq!(index.requests().len(), 3);
}

/// Sends SIGTERM after the first request. Returns the status and the time from the signal to the end.
fn terminated(step: &Step, index: &ScriptedServer) -> (Option<i32>, Duration) {
    let mut child = spawned(step.command().stdout(Stdio::piped()));
    wait_until(|| !index.requests().is_empty());
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    send("-TERM", &child.id().to_string());
    let status = child.wait().unwrap();
    (status.code(), start.elapsed())
}

#[test]
#[cfg_attr(windows, ignore = "signals")]
fn a_signal_ends_a_pause_at_once_and_a_wait_for_a_reply_soon() {
    let id_tokens = ScriptedServer::answering(VALID_REPLY);
    let busy = ScriptedServer::answering("HTTP/1.1 429 X\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n");
    let (status, took) = terminated(&Step::with_endpoints(&id_tokens.url(), &busy.url()), &busy);
    assert_eq!(status, Some(143));
    assert!(took < SLACK, "{took:?}");

    let silent = ScriptedServer::serving(|_| std::thread::sleep(Duration::from_secs(20)));
    let (status, took) = terminated(&Step::with_endpoints(&id_tokens.url(), &silent.url()), &silent);
    assert_eq!(status, Some(143));
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(5) + SLACK, "{took:?}");
}

/// The first reply comes after 31.5 seconds, and is ignored.
#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn a_request_has_thirty_seconds_whatever_the_deadline_is() {
    let answered = AtomicUsize::new(0);
    let github = ScriptedServer::serving(move |stream| {
        if answered.fetch_add(1, Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(31_500));
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n{}\n\r\n{{}}", "x".repeat(32 * 1024 - 1));
        } else {
            let _ = stream.write_all(VALID_REPLY.as_bytes());
        }
    });
    let index = ScriptedServer::answering(VALID_REPLY);
    let step = Step::with_endpoints(&github.url(), &index.url()).env("PATH", "/usr/bin:/bin");
    let outcome = step.args(&["--", "sh", "-c", "sleep 3; exit 7"]).run_within(Duration::from_secs(50));
    assert_eq!(outcome.status, 7, "{outcome}");
    assert!(outcome.stderr.contains("no whole answer: the timeout of 30 seconds passed; trying again"), "{outcome}");
    assert!(outcome.elapsed > Duration::from_secs(33), "{outcome}");
    assert_eq!(index.requests().last().unwrap().path(), "/_/oidc/burn-token");
}

#[test]
#[cfg_attr(windows, ignore = "signals")]
fn a_signal_between_two_attempts_to_mint_keeps_the_second_one_from_being_made() {
    let asked = AtomicUsize::new(0);
    let github = ScriptedServer::serving(move |stream| {
        if asked.fetch_add(1, Ordering::SeqCst) == 1 {
            std::thread::sleep(Duration::from_secs(2));
        }
        let _ = stream.write_all(VALID_REPLY.as_bytes());
    });
    let index = ScriptedServer::answering(BUSY);
    let step = Step::with_endpoints(&github.url(), &index.url());
    let mut child = spawned(&mut step.command());
    wait_until(|| github.requests().len() == 2);
    send("-TERM", &child.id().to_string());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(index.requests().len(), 1);
}

/// A lost reply to an earlier attempt does not prove that the token was revoked.
#[test]
fn a_refused_revocation_is_an_error_whatever_happened_to_earlier_attempts() {
    const REFUSED: &str = "HTTP/1.1 422 X\r\nContent-Length: 2\r\n\r\n{}";
    for earlier in [&[""][..], &[BUSY], &["", BUSY], &[BUSY, ""]] {
        let answered = AtomicUsize::new(0);
        let index = ScriptedServer::serving(move |stream| {
            let answer = earlier.get(answered.fetch_add(1, Ordering::SeqCst)).unwrap_or(&REFUSED);
            let _ = stream.write_all(answer.as_bytes());
        });
        let step = Step::on_github().args(&["burn", "--index", &index.url()]).env("TOKEN_MINT_API_TOKEN", "pypi-abc");
        step.run().assert_failed(4, &["refused to revoke", "may still be valid"]);
        assert_eq!(index.requests().len(), earlier.len() + 1);
    }
}

#[test]
fn an_unusable_token_is_revoked_in_several_attempts_too() {
    let revocations = AtomicUsize::new(0);
    let index = ScriptedServer::serving_requests(move |request, stream| {
        let answer = match request.path().ends_with("burn-token") {
            false => "HTTP/1.1 201 Created\r\n\r\n{\"token\":\"pypi-\\u0022abc\"}",
            true if revocations.fetch_add(1, Ordering::SeqCst) == 0 => BUSY,
            true => "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let outcome = Step::with_endpoints(&ScriptedServer::answering(VALID_REPLY).url(), &index.url()).run();
    outcome.assert_failed(5, &["status 201", "has accepted the API token for revocation"]);
    assert_eq!(index.requests().len(), 3, "{outcome}");
    assert_eq!(index.requests().last().unwrap().body, br#"{"token":"pypi-\"abc"}"#);
}
