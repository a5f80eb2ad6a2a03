//! The guards: what a hostile or broken server sends neither hangs, nor crashes, nor leaks, nor passes for a token.

use std::io::Write;
use std::net::TcpListener;
use std::thread::sleep;
use std::time::Duration;

use crate::harness::{NOWHERE, Outcome, Raw, SLACK, Step};

const ID_TOKEN: &str = r#"{"value":"a.b.c"}"#;

/// The outcomes with this server as GitHub's endpoint, as the index that is asked for its audience, and as the
/// index that mints.
fn on_each_leg(server: &Raw) -> [Outcome; 3] {
    let github = Raw::replying(200, ID_TOKEN);
    let asked = Step::with_endpoints(&github.url(), &server.url()).without("TOKEN_MINT_AUDIENCE");
    let outcomes =
        [Step::with_endpoints(&server.url(), NOWHERE), asked, Step::with_endpoints(&github.url(), &server.url())];
    outcomes.map(|step| step.args(&["--timeout", "5"]).run())
}

#[track_caller]
fn assert_trouble(server: &Raw, piece: &str) {
    let legs =
        ["asking GitHub for an ID token", "asking the index for its audience", "asking the index for an API token"];
    for (outcome, leg) in on_each_leg(server).iter().zip(legs) {
        outcome.assert_failed(5, &[leg, piece]);
        assert!(outcome.elapsed < Duration::from_secs(4), "{outcome}");
    }
    assert_eq!(server.requests().len(), 3, "nothing is tried twice");
}

#[test]
fn json_that_breaks_the_decoder_is_an_ordinary_error() {
    for body in [r#"{"x":["#, r#"{"x":{"a":1"#, r#"{"x":}"#, r#"{"value":"a.b.c","x":]}"#, r#"{"x":[1},"value":"q"}"#] {
        assert_trouble(&Raw::replying(200, body), "not well-formed JSON");
    }
    for (body, piece) in [
        ("", "empty"),
        ("<html>", "not well-formed JSON"),
        ("{}", "lacks a field"),
        ("\u{feff}{}", "not well-formed JSON"),
        (r#"{"x":1,"x":2}"#, "same key twice"),
        (r#"{"value":"","audience":"","token":""}"#, "empty"),
        (r#"{"value":1,"audience":1,"token":1}"#, "lacks a field"),
        (&"[".repeat(60_000), "nested deeper"),
    ] {
        assert_trouble(&Raw::replying(200, body), piece);
    }
    assert_trouble(
        &Raw::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"x\":\"\xff\"}".to_vec()),
        "not UTF-8",
    );
}

#[test]
fn a_redirect_is_not_followed_and_no_token_reaches_the_second_host() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Raw::replying(200, r#"{"value":"a.b.c","audience":"x","token":"pypi-abc"}"#);
        let redirect = Raw::answering(format!(
            "HTTP/1.1 {status} Moved\r\nLocation: {}/\r\nContent-Length: 0\r\n\r\n",
            elsewhere.url()
        ));
        assert_trouble(&redirect, &format!("status {status}"));
        assert_eq!(elsewhere.requests().len(), 0);
    }
}

#[test]
fn a_body_is_read_up_to_64_kib() {
    let body = |length: usize| {
        let head = r#"{"value":"a.b.c","token":"pypi-abc","audience":"x","pad":""#;
        format!("{head}{}\"}}", " ".repeat(length - head.len() - 2))
    };
    for outcome in on_each_leg(&Raw::replying(200, &body(64 * 1024))).iter().skip(1) {
        outcome.assert_done();
    }
    assert_trouble(&Raw::replying(200, &body(64 * 1024 + 1)), "longer than 64 KiB");
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"] {
        let endless = Raw::serving(move |stream| {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(&[b' '; 4096]).is_ok() {}
        });
        assert_trouble(&endless, "longer than 64 KiB");
    }
}

#[test]
fn a_body_that_is_cut_off_is_noticed() {
    let whole = r#"{"value":"a.b.c","audience":"x","token":"pypi-abc"}"#;
    // What came is good JSON: only the length tells.
    let short = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{whole}", whole.len() + 1);
    assert_trouble(&Raw::answering(short), "cut off: 51 of 52 bytes");
    assert_trouble(&Raw::answering("HTTP/1.1 422 X\r\nContent-Length: 9\r\n\r\n{}"), "cut off: 2 of 9 bytes");
    assert_trouble(&Raw::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{\"value\""), "JSON");
    assert_trouble(&Raw::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}"), "not proper HTTP");
}

#[test]
fn a_status_that_has_no_body_is_not_waited_on() {
    for status in [100, 103, 204, 304] {
        let open = Raw::serving(move |stream| {
            let _ = stream.write_all(format!("HTTP/1.1 {status} X\r\n\r\n").as_bytes());
            sleep(Duration::from_secs(20));
        });
        assert_trouble(&open, &format!("status {status}"));
    }
}

#[test]
fn chunks_are_put_together() {
    // Where both headers stand, chunks count (RFC 9112, section 6.3).
    let server = Raw::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 999\r\nTransfer-Encoding: chunked\r\n\r\n\
         9;ext=1\r\n{\"value\":\r\n1b\r\n\"a.b.c\",\"token\":\"pypi-abc\"\r\n1\r\n}\r\n0\r\n\r\n",
    );
    Step::with_endpoints(&server.url(), &server.url()).run().assert_done();
}

#[test]
fn what_is_not_http_is_told_from_a_server_in_trouble() {
    for bytes in ["", "\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "garbage", "HTTP/1.1 403", "HTTP/1.1 422 Unproces"] {
        assert_trouble(&Raw::answering(bytes), "without an HTTP reply");
    }
    assert_trouble(&Raw::answering("HTTP/1.1 99 X\r\n\r\n"), "not proper HTTP");
    assert_trouble(&Raw::answering("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), "not proper HTTP");
}

#[test]
fn headers_are_bounded_and_a_wrap_of_minreqs_count_is_no_way_out() {
    let endless = Raw::serving(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-Header: more and more and more\r\n").is_ok() {}
    });
    assert_trouble(&endless, "not proper HTTP");
    let endless = Raw::serving(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 ");
        while stream.write_all(b"OK and OK and OK and OK").is_ok() {}
    });
    assert_trouble(&endless, "not proper HTTP");
    // One byte short of the limit, ended by a bare LF: minreq subtracts two more than there are left.
    let wrapping = Raw::answering(format!("HTTP/1.1 200 OK\r\n{}\n\r\n{{}}", "x".repeat(32 * 1024 - 1)));
    for outcome in on_each_leg(&wrapping) {
        outcome.assert_failed(5, &["it took a library by surprise"]);
    }
}

#[test]
fn a_token_with_a_character_outside_its_alphabet_is_refused() {
    for value in [r"a.b.c\nx=y", "a.b.c::", "a.b", "", "a.b.c d", r"a.b.\u0000"] {
        let github = Raw::replying(200, &format!(r#"{{"value":"{value}"}}"#));
        let outcome = Step::with_endpoints(&github.url(), NOWHERE).run();
        outcome.assert_failed(5, &["asking GitHub", "unusable"]);
        assert_eq!(outcome.masks().len(), 0);
    }
    for token in [r"pypi-a\nexpires=1", "pypi-::add-mask::", "pypi-a'b", "", "pypi a", r"pypi-\u001b"] {
        let github = Raw::replying(200, ID_TOKEN);
        let index = Raw::replying(200, &format!(r#"{{"token":"{token}"}}"#));
        let outcome = Step::with_endpoints(&github.url(), &index.url()).run();
        outcome.assert_failed(5, &["asking the index", "unusable"]);
        assert_eq!(outcome.masks(), ["a.b.c"]);
    }
}

#[test]
fn an_expiry_that_makes_no_sense_is_refused_and_one_in_the_past_is_told() {
    let github = Raw::replying(200, ID_TOKEN);
    let run = |expires: &str| {
        let index = Raw::replying(200, &format!(r#"{{"token":"pypi-abc","expires":{expires}}}"#));
        Step::with_endpoints(&github.url(), &index.url()).run()
    };
    for expires in ["-1", "\"soon\"", "1e9", "253402300800", "18446744073709551615"] {
        run(expires).assert_failed(5, &["asking the index for an API token"]);
    }
    let past = run("1000000000");
    past.assert_done();
    assert!(past.stderr.contains("in the past"), "{past}");
    run("null").assert_done();
}

#[test]
fn one_deadline_holds_over_everything() {
    let github = Raw::replying(200, ID_TOKEN);
    let silent = Raw::serving(|_| sleep(Duration::from_secs(20)));
    let trickle = Raw::serving(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            sleep(Duration::from_millis(100));
        }
    });
    // One deadline, not one for each request: this one takes most of it.
    let slow = Raw::serving(|stream| {
        sleep(Duration::from_millis(1800));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"value\":\"a.b.c\"}");
    });
    for (github, index, timeout_secs, leg) in [
        (&silent, &silent, 1, "asking GitHub for an ID token"),
        (&trickle, &silent, 2, "asking GitHub for an ID token"),
        (&github, &silent, 2, "asking the index for an API token"),
        (&github, &trickle, 2, "asking the index for an API token"),
        (&slow, &silent, 3, "asking the index for an API token"),
    ] {
        let step = Step::with_endpoints(&github.url(), &index.url()).args(&["--timeout", &timeout_secs.to_string()]);
        let outcome = step.run();
        outcome.assert_failed(5, &[leg, &format!("timeout of {timeout_secs} second")]);
        let timeout = Duration::from_secs(timeout_secs);
        assert!(outcome.elapsed >= timeout && outcome.elapsed < timeout + SLACK, "{outcome}");
    }
}

#[test]
fn a_server_that_is_not_there_is_network_trouble() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outcome = Step::with_endpoints(&format!("http://{closed}"), NOWHERE).run();
    outcome
        .assert_failed(5, &["asking GitHub", "127.0.0.1", "network trouble: Connection refused", "run the job again"]);
}
