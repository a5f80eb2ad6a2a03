//! Proxies: which one is used, which requests it gets, and that a failing one is never bypassed. `tests/clients` has
//! tests with a real one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::harness::{SLACK, ScriptedServer, Step, UNREACHABLE_URL, in_parallel};
use crate::stand_in::tls::HOST;

/// A proxy that connects to this machine for every host, and records its requests.
pub struct Proxy {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&requests);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let record = Arc::clone(&record);
                thread::spawn(move || serve(near, &record));
            }
        });
        Proxy { port, requests }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The heads of all requests.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut near: TcpStream, record: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        near.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let port: u16 = head.split([':', ' ']).nth(2).unwrap().parse().unwrap();
    record.lock().unwrap().push(head);
    let mut far = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // The reply comes in two pieces, and is longer than what minreq reads at once.
    near.write_all(b"HTTP/1.1  200 Connection established\r\nVia: a\r\n folded\r\nnonsense\r\n").unwrap();
    thread::sleep(Duration::from_millis(20));
    near.write_all(format!("X-Long: {}\r\n\r\n", "x".repeat(400)).as_bytes()).unwrap();
    let (mut far_too, mut near_too) = (far.try_clone().unwrap(), near.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut near_too, &mut far_too);
        let _ = far_too.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut far, &mut near);
    let _ = near.shutdown(Shutdown::Write);
}

/// A step whose first request goes to a host that only a proxy can reach.
fn step() -> Step {
    Step::with_endpoints(&format!("https://{HOST}/idtoken"), UNREACHABLE_URL)
}

#[test]
fn a_proxy_that_refuses_or_fails_is_an_error_with_its_reason() {
    // A failing proxy is tried again, and so is a server that is not a proxy. A proxy that refuses with 4xx is not.
    let cases = [
        (
            1,
            "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n",
            "the proxy asks for a user and a password, or for others than https_proxy has",
        ),
        (
            1,
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            "the proxy can't be used: it answered with status 403 (it is named by https_proxy)",
        ),
        // A proxy's headers mean nothing here, and neither do lines that are no headers.
        (
            1,
            "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n realm=\"x\"\r\nnonsense\r\n\r\n",
            "the proxy asks for a user and a password",
        ),
        (4, "HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", "the proxy can't be used: it answered with status 502"),
        (4, "HTTP/1.1 502 ::error::x\r\n\r\n", "it answered with status 502 ("),
        (4, "HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\n\r\n", "it answered with status 302"),
        (4, "SSH-2.0-OpenSSH_9.2\r\n\r\n", "it gave no HTTP reply"),
        (4, "200\r\n\r\n", "it gave no HTTP reply"),
        (4, "\r\n\r\n", "it gave no HTTP reply"),
        (4, "HTTP/1.1 200 OK\r\n", "no complete reply came"),
        (4, "", "no complete reply came"),
    ];
    in_parallel(&cases, |(attempts, answer, piece)| {
        let proxy = ScriptedServer::answering(*answer);
        let outcome = step().env("https_proxy", &proxy.url()).run();
        outcome.assert_failed(5, &["asking GitHub", piece]);
        assert_eq!(proxy.requests().len(), *attempts, "{outcome}");
        for request in proxy.requests() {
            assert_eq!((request.method.as_str(), request.target.as_str()), ("CONNECT", &*format!("{HOST}:443")));
            assert_eq!(request.header("Host"), Some(&*format!("{HOST}:443")));
            assert_eq!(request.header("Authorization"), None, "the proxy gets no header that is for the server");
            assert_eq!(request.header("Proxy-Authorization"), None);
        }
    });
}

/// An ID token from a variable can be used once. If the proxy did not pass it on, the index has not seen it.
#[test]
fn an_id_token_that_a_proxy_has_not_passed_on_is_sent_again() {
    for (answer, attempts) in [("HTTP/1.1 503 Busy\r\n\r\n", 4), ("", 4), ("HTTP/1.1 403 Forbidden\r\n\r\n", 1)] {
        let proxy = ScriptedServer::answering(answer);
        let step = Step::bare().args(&["--index", &format!("https://{HOST}"), "--audience", "pypi"]);
        let step = step.args(&["--id-token-env", "MY_TOKEN", "--format", "token"]).env("MY_TOKEN", "a.b.c");
        step.env("https_proxy", &proxy.url())
            .run()
            .assert_failed(5, &["asking the index for an API token", "the proxy"]);
        assert_eq!(proxy.requests().len(), attempts, "{answer}");
    }
}

#[test]
fn an_endless_reply_of_a_proxy_is_cut_off() {
    let endless =
        ScriptedServer::serving(
            |stream| while stream.write_all(b"HTTP/1.1 200 X-Header: more and more\r\n").is_ok() {},
        );
    step().env("https_proxy", &endless.url()).run().assert_failed(5, &["no complete reply came"]);
}

#[test]
fn a_silent_proxy_is_waited_for_until_the_deadline() {
    let silent = ScriptedServer::serving(|_| thread::sleep(Duration::from_secs(20)));
    let outcome = step().env("https_proxy", &silent.url()).args(&["--timeout", "1"]).run();
    outcome.assert_failed(5, &["timeout of 1 second"]);
    assert!(outcome.elapsed < Duration::from_secs(1) + SLACK, "{outcome}");
}

#[test]
fn an_unreachable_or_unusable_proxy_is_never_bypassed() {
    let closed = ScriptedServer::refusing();
    let server = ScriptedServer::replying(200, "{}");
    let url = server.url().replace("http://127.0.0.1", "https://localhost.example.test");
    let step = Step::with_endpoints(&url, UNREACHABLE_URL).env("https_proxy", &closed.url());
    step.run().assert_failed(5, &["the proxy can't be used"]);
    step_with_bad_proxy(
        "socks5://127.0.0.1:1",
        "https_proxy: this proxy can't be used: only a proxy that is spoken to in plain HTTP",
    );
    step_with_bad_proxy("http://127.0.0.1:99999", "https_proxy: this proxy can't be used: its port");
}

fn step_with_bad_proxy(value: &str, piece: &str) {
    step().env("https_proxy", value).run().assert_failed(2, &[piece, "unset it"]);
}

#[test]
fn a_proxys_credentials_are_decoded_and_never_shown() {
    let proxy = ScriptedServer::answering("HTTP/1.1 407 No\r\n\r\n");
    let url = proxy.url().replace("http://", "http://me:hunter2%2Dhunter2%3A@");
    let step = step().secret("hunter2").secret("aHVudGVy").env("HTTPS_PROXY", &url).args(&["--verbose"]);
    // On Windows, the names of variables are case-insensitive.
    let variable = if cfg!(windows) { "https_proxy" } else { "HTTPS_PROXY" };
    let hint = format!("others than {variable} has: they stand before the host");
    step.run().assert_failed(5, &[&hint, "http://USER:PASSWORD@HOST:PORT"]);
    // `me:hunter2-hunter2:`
    let credentials = "Basic bWU6aHVudGVyMi1odW50ZXIyOg==";
    assert_eq!(proxy.requests()[0].header("Proxy-Authorization"), Some(credentials));
    let user = self::step().env("https_proxy", &proxy.url().replace("http://", "http://me@"));
    user.run().assert_failed(5, &["the proxy"]);
    // They are not shown if the proxy sends them back either.
    let echo = ScriptedServer::answering(
        "HTTP/1.1 403 me:hunter2-hunter2: hunter2-hunter2: bWU6aHVudGVyMi1odW50ZXIyOg==\r\n\r\n",
    );
    let url = echo.url().replace("http://", "http://me:hunter2%2Dhunter2%3A@");
    let step = self::step().secret("hunter2").secret("aHVudGVy").env("https_proxy", &url);
    step.run().assert_failed(5, &["it answered with status 403 (", "ask whoever runs the proxy"]);
    // `me:`
    assert_eq!(proxy.requests()[1].header("Proxy-Authorization"), Some("Basic bWU6"));
    let bad = self::step().secret("hunter2").env("https_proxy", "http://me:hunter2%zz@p:1");
    bad.run().assert_failed(2, &["percent-encoded"]);
}

#[test]
fn a_host_in_no_proxy_is_reached_directly() {
    let proxy = ScriptedServer::answering("");
    in_parallel(&["*", HOST, "example.test", ".test:443"], |list| {
        let outcome = step().env("https_proxy", &proxy.url()).env("no_proxy", list).run();
        // No resolver knows the host.
        outcome.assert_failed(5, &["asking GitHub", "network trouble"]);
    });
    assert_eq!(proxy.requests().len(), 0);
    step().env("https_proxy", &proxy.url()).env("no_proxy", "other.test").run().assert_failed(5, &["the proxy"]);
    assert_eq!(proxy.requests().len(), 4);
}
