//! The fault tables: the result of each fault at each endpoint. docs/reliability.md shows the same tables, and these
//! tests compare them with the results.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::net::sockopt::set_socket_linger;

use crate::harness::{Outcome, SLACK, SLOW_FACTOR, ScriptedServer, Step, UNREACHABLE_URL, in_parallel};
use crate::stand_in::http::read_request;

/// Longer than the pauses between four attempts.
const TIMEOUT_SECS: u64 = 20 * SLOW_FACTOR;
/// For runs that only the deadline ends.
const SHORT_TIMEOUT_SECS: u64 = 2;
/// The least and the greatest sum of the pauses between four attempts.
const PAUSES: [Duration; 2] = [Duration::from_millis(3500), Duration::from_millis(5250)];

/// The expected result of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expected {
    /// Four attempts, then this exit status.
    Retried(i32),
    /// One request, and this exit status at once.
    Once(i32),
    /// The deadline passes, then exit status 5.
    Deadline,
    /// The fault can't happen at that endpoint.
    Never,
}

pub use Expected::{Deadline, Never, Once, Retried};

/// The form in the table.
impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Retried(status) => write!(f, "{status} ×4"),
            Once(0) => f.write_str("done"),
            Once(status) => write!(f, "{status}"),
            Deadline => f.write_str("5, deadline"),
            Never => f.write_str("–"),
        }
    }
}

/// The endpoint that has the fault: GitHub's for ID tokens, or the index's for its audience or for API tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Endpoint {
    Identity,
    Audience,
    Mint,
}

pub const ENDPOINTS: [Endpoint; 3] = [Endpoint::Identity, Endpoint::Audience, Endpoint::Mint];

pub struct Fault {
    /// Its name in the table.
    name: &'static str,
    /// The result at each endpoint.
    expected: [Expected; 3],
    /// stderr contains this.
    piece: &'static str,
    server: ScriptedServer,
    /// How many API tokens the program finds in each unusable reply. It revokes each of them.
    tokens: usize,
}

pub fn fault(name: &'static str, expected: [Expected; 3], piece: &'static str, server: ScriptedServer) -> Fault {
    Fault { name, expected, piece, server, tokens: 0 }
}

impl Fault {
    fn with_tokens(self, tokens: usize) -> Fault {
        Fault { tokens, ..self }
    }
}

/// A fault after which each request is retried.
pub const TRANSIENT: [Expected; 3] = [Retried(5); 3];
/// A fault after which no request is retried.
pub const PERMANENT: [Expected; 3] = [Once(5); 3];
/// A complete reply whose body is not JSON. A request to mint is not retried: it could mint a second API token.
const MALFORMED: [Expected; 3] = [Retried(5), Retried(5), Once(5)];
/// A 4xx status. From the index, it is a refusal. From GitHub's endpoint, it is an unexpected reply.
const REFUSED: [Expected; 3] = [Once(5), Once(4), Once(4)];

/// Answers with this status, these headers and this body.
fn reply(status: u16, headers: &str, body: impl AsRef<[u8]>) -> ScriptedServer {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status} Status\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    answering([head.as_bytes(), body].concat())
}

/// Answers each request with these bytes, but accepts each request to revoke.
fn answering(bytes: impl Into<Vec<u8>>) -> ScriptedServer {
    let bytes = bytes.into();
    ScriptedServer::serving_requests(move |request, stream| {
        let is_revocation = request.path().ends_with("burn-token");
        let _ = stream.write_all(if is_revocation {
            b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
        } else {
            &bytes
        });
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read(&mut [0; 64]); // without this, a reset could arrive before the bytes
    })
}

/// Sends the beginning of a reply, then nothing.
fn silent_after(bytes: &'static str) -> ScriptedServer {
    ScriptedServer::serving(move |stream| {
        let _ = stream.write_all(bytes.as_bytes());
        let _ = stream.read(&mut [0]); // until the client closes the connection
    })
}

/// Sends the beginning of a reply, then `more` again and again.
fn endless(head: &'static str, more: &'static str, pause: Duration) -> ScriptedServer {
    let more = more.repeat(if cfg!(windows) && pause.is_zero() { 64 } else { 1 }); // wine takes long for each write
    ScriptedServer::serving(move |stream| {
        let _ = stream.write_all(head.as_bytes());
        while stream.write_all(more.as_bytes()).is_ok() {
            thread::sleep(pause);
        }
    })
}

/// Closes the connection so that the client gets a reset.
pub fn reset(stream: &TcpStream) {
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}

/// A valid body for each endpoint: it has an ID token, an audience and an API token.
const VALID_BODY: &str = r#"{"value":"eyJh.eyJi.c2lnbmF0dXJl","audience":"pypi","token":"pypi-AgEIsecret-secret"}"#;

/// The same body with this in place of both tokens.
fn tokens(token: &str) -> String {
    format!(r#"{{"value":"{token}","audience":"pypi","token":"{token}"}}"#)
}

fn expiring(expires: &str) -> ScriptedServer {
    reply(200, "", format!(r#"{{"token":"pypi-AgEIsecret-secret","expires":{expires}}}"#))
}

const SECOND: Duration = Duration::from_secs(1);
const NO_PAUSE: Duration = Duration::ZERO;
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Faults of connections and of HTTP.
#[rustfmt::skip] // one line for each fault
fn faults_of_the_network() -> Vec<Fault> {
    let closed = ScriptedServer::refusing();
    let huge = "x".repeat(100);
    let long = format!("HTTP/1.1 200 OK\r\n{}\n\r\n{{}}", "x".repeat(32 * 1024 - 1));
    vec![
        fault("connection refused", TRANSIENT, "network trouble", closed),
        fault("reset before the request", TRANSIENT, "", ScriptedServer::accepting(|stream| reset(stream))),
        fault("reset after the request", TRANSIENT, "", ScriptedServer::serving(|stream| reset(stream))),
        fault("reset in the middle of the body", TRANSIENT, "", ScriptedServer::serving(|stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"value\":");
            thread::sleep(Duration::from_millis(100)); // without this, the reset arrives first
            reset(stream);
        })),
        fault("closed before the request", TRANSIENT, "", ScriptedServer::accepting(|_| ())),
        fault("closed after the request", TRANSIENT, "no HTTP reply", ScriptedServer::answering("")),
        fault("accepted, then silence", [Deadline; 3], "timeout of 2 seconds", ScriptedServer::accepting(|stream| {
            let _ = read_request(stream);
            let _ = stream.read(&mut [0]);
        })),
        fault("silence after the header", [Deadline; 3], "timeout", silent_after("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")),
        fault("a header of one byte a second", [Deadline; 3], "timeout", endless("HTTP/1.1 200 OK\r\nX: ", "x", SECOND)),
        fault("a body of one byte a second", [Deadline; 3], "timeout", endless("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", " ", SECOND)),
        fault("closed in the middle of the status line", TRANSIENT, "no HTTP reply", ScriptedServer::answering("HTTP/1.")),
        fault("closed in the middle of the header", TRANSIENT, "", ScriptedServer::answering("HTTP/1.1 200 OK\r\nContent-Type: app")),
        fault("closed in the middle of the body", TRANSIENT, "cut off: 9 of 99 bytes", ScriptedServer::answering("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"value\":")),
        fault("closed in the middle of a chunk", TRANSIENT, "", ScriptedServer::answering(format!("{CHUNKED}40\r\n{{\"value\":"))),
        fault("closed between two chunks", TRANSIENT, "", ScriptedServer::answering(format!("{CHUNKED}9\r\n{{\"value\":\r\n"))),
        fault("a chunk whose length is no number", TRANSIENT, "not proper HTTP", ScriptedServer::answering(format!("{CHUNKED}zz\r\n{VALID_BODY}"))),
        fault("Content-Length too long", TRANSIENT, "cut off", answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{VALID_BODY}"))).with_tokens(1),
        fault("Content-Length too short", MALFORMED, "not well-formed JSON", ScriptedServer::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{VALID_BODY}"))),
        fault("Content-Length of -1", TRANSIENT, "not proper HTTP", ScriptedServer::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{VALID_BODY}"))),
        fault("endless status line", TRANSIENT, "not proper HTTP", endless("HTTP/1.1 200 ", "and OK ", NO_PAUSE)),
        fault("endless headers", TRANSIENT, "longer than 256 KiB", endless("HTTP/1.1 200 OK\r\n", "X-Header: and more\r\n", NO_PAUSE)),
        fault("a header as long as minreq's limit", PERMANENT, "lacks a field", ScriptedServer::answering(long)),
        fault("endless body", TRANSIENT, "longer than 64 KiB", endless("HTTP/1.1 200 OK\r\n\r\n", "                ", NO_PAUSE)),
        fault("endless chunks", TRANSIENT, "longer than 64 KiB", endless(CHUNKED, "10\r\n                \r\n", NO_PAUSE)),
        fault("no HTTP at all", TRANSIENT, "no HTTP reply", ScriptedServer::answering("SSH-2.0-OpenSSH_9.2\r\n")),
        fault("status 99", TRANSIENT, "not proper HTTP", reply(99, "", huge)),
    ]
}

/// Faults in a whole reply.
#[rustfmt::skip] // one line for each fault
fn faults_of_replies() -> Vec<Fault> {
    let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{VALID_BODY}", VALID_BODY.len());
    let in_chunks: &str = format!("HTTP/1.1 100 Continue\r\n\r\n{CHUNKED}{:x}\r\n{VALID_BODY}\r\n0\r\n\r\n", VALID_BODY.len()).leak();
    let html = "<!DOCTYPE html><html><h1>We'll be back</h1></html>";
    let soon = httpdate::fmt_http_date(SystemTime::now() + SECOND);
    let token_of_60_kib = format!(r#"{{"token":"pypi-{}"}}"#, "x".repeat(60 * 1024));
    let transient_status = |name, status| fault(name, TRANSIENT, "it answered with status", reply(status, "", html));
    vec![
        fault("100 Continue, then silence", [Deadline; 3], "timeout", silent_after("HTTP/1.1 100 Continue\r\n\r\n")),
        fault("103 Early Hints, and no more", TRANSIENT, "no complete reply came", ScriptedServer::answering("HTTP/1.1 103 Early Hints\r\n\r\n")),
        fault("101 Switching Protocols", PERMANENT, "status 101", silent_after("HTTP/1.1 101 Switching Protocols\r\n\r\n")),
        fault("102, 103, then the reply", [Never, Never, Once(0)], "", ScriptedServer::answering(format!("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{whole}"))),
        fault("100, then the reply in chunks", [Never, Never, Once(0)], "", silent_after(in_chunks)),
        fault("201 with the tokens", PERMANENT, "status 201", reply(201, "", VALID_BODY)).with_tokens(1),
        fault("202 with the tokens", PERMANENT, "status 202", reply(202, "", VALID_BODY)).with_tokens(1),
        fault("204", PERMANENT, "status 204", silent_after("HTTP/1.1 204 No Content\r\n\r\n")),
        fault("301 to another server", PERMANENT, "redirects are not followed", reply(301, "Location: http://127.0.0.1:9/\r\n", "")),
        fault("302 to another server", PERMANENT, "redirects are not followed", reply(302, "Location: http://127.0.0.1:9/\r\n", "")),
        fault("304", PERMANENT, "status 304", silent_after("HTTP/1.1 304 Not Modified\r\n\r\n")),
        fault("307 to another server", PERMANENT, "redirects are not followed", reply(307, "Location: http://127.0.0.1:9/\r\n", "")),
        fault("400", REFUSED, "status 400", reply(400, "", "")),
        fault("401", [Once(3), Once(4), Once(4)], "status 401", reply(401, "", "{}")),
        fault("403", [Once(3), Once(4), Once(4)], "status 403", reply(403, "", html)),
        fault("404", REFUSED, "status 404", reply(404, "", html)),
        transient_status("408", 408),
        fault("418", REFUSED, "status 418", reply(418, "", "I'm a teapot")),
        fault("422 without errors", REFUSED, "status 422", reply(422, "", r#"{"message":"m"}"#)),
        transient_status("429", 429),
        fault("429, Retry-After: 1", TRANSIENT, "a pause of 1 s", reply(429, "Retry-After: 1\r\n", "")),
        fault("429, Retry-After: a date", TRANSIENT, "a pause of", reply(429, &format!("Retry-After: {soon}\r\n"), "")),
        fault("429, Retry-After: nonsense", TRANSIENT, "status 429", reply(429, "Retry-After: soon\r\n", "")),
        fault("429, Retry-After: -5", TRANSIENT, "status 429", reply(429, "Retry-After: -5\r\n", "")),
        fault("429, Retry-After beyond the deadline", PERMANENT, "a pause of 3600 s", reply(429, "Retry-After: 3600\r\n", "")),
        fault("503, Retry-After beyond all numbers", PERMANENT, "a pause of", reply(503, &format!("Retry-After: {}\r\n", "9".repeat(99)), "")),
        transient_status("500", 500),
        transient_status("502", 502),
        transient_status("503", 503),
        transient_status("504", 504),
        fault("200 with an HTML page", MALFORMED, "not well-formed JSON", reply(200, "Content-Type: text/html\r\n", html)),
        fault("200 with nothing", MALFORMED, "it is empty", reply(200, "", "")),
        fault("gzip that nobody asked for", MALFORMED, "not UTF-8", reply(200, "Content-Encoding: gzip\r\n", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0")),
        fault("JSON cut off", MALFORMED, "not well-formed JSON", reply(200, "", r#"{"value":"a.b.c","x":["#)),
        fault("JSON with a hole", MALFORMED, "not well-formed JSON", reply(200, "", r#"{"x":,"value":"a.b.c"}"#)),
        fault("JSON with brackets that don't match", MALFORMED, "not well-formed JSON", reply(200, "", r#"{"x":[1},"value":"q"}"#)),
        fault("JSON with a raw line break", MALFORMED, "not well-formed JSON", reply(200, "", "{\"value\":\"a\nb\"}")),
        fault("JSON after a byte order mark", MALFORMED, "not well-formed JSON", reply(200, "", format!("\u{feff}{VALID_BODY}"))).with_tokens(1),
        fault("invalid UTF-8", MALFORMED, "not UTF-8", reply(200, "", b"{\"x\":\"\xff\"}")),
        fault("JSON of other types", PERMANENT, "one of another type", reply(200, "", r#"{"value":1,"audience":[],"token":null}"#)),
        fault("JSON that is no object", PERMANENT, "lacks a field", reply(200, "", r#"["value"]"#)),
        fault("JSON without the field", PERMANENT, "lacks a field", reply(200, "", "{}")),
        fault("the same key twice", PERMANENT, "same key twice", reply(200, "", r#"{"token":"a","token":"b"}"#)).with_tokens(2),
        fault("another key twice", PERMANENT, "same key twice", reply(200, "", r#"{"x":1,"token":"pypi-AgEIsecret-secret","x":2}"#)).with_tokens(1),
        fault("60,000 brackets", PERMANENT, "nested deeper", reply(200, "", "[".repeat(60_000))),
        fault("a token beside 40 brackets", PERMANENT, "nested deeper", reply(200, "", format!(r#"{{"token":"pypi-AgEIsecret-secret","x":{}}}"#, "[".repeat(40)))).with_tokens(1),
        fault("a token with a line break", [Once(5), Never, Once(5)], "unusable", reply(200, "", tokens(r"eyJ.b.c\nexpires=1"))).with_tokens(1),
        fault("a token with `::`", [Once(5), Never, Once(5)], "unusable", reply(200, "", tokens("eyJ.b.c::add-mask::"))).with_tokens(1),
        fault("a token with a space", [Once(5), Never, Once(5)], "unusable", reply(200, "", tokens("eyJ. b.c"))).with_tokens(1),
        fault("an empty token", [Once(5), Never, Once(5)], "unusable: it is empty", reply(200, "", tokens(""))),
        fault("a token of 60 KiB", [Never, Never, Once(0)], "", reply(200, "", token_of_60_kib)),
        fault("an empty audience", [Never, Once(5), Never], "the audience in its reply is empty", reply(200, "", r#"{"audience":""}"#)),
        fault("an audience with a NUL", [Never, Once(5), Never], "has a control character", reply(200, "", r#"{"audience":"py\u0000pi"}"#)),
        fault("`expires` in the past", [Never, Never, Once(0)], "in the past: is this machine's clock right?", expiring("1000000000")),
        fault("`expires` beyond the year 9999", [Never, Never, Once(0)], "makes no sense", expiring("253402300800")),
        fault("`expires` beyond 64 bits", [Never, Never, Once(0)], "makes no sense", expiring("18446744073709551616")),
        fault("negative `expires`", [Never, Never, Once(0)], "makes no sense", expiring("-1")),
    ]
}

#[test]
fn each_fault_of_the_network_ends_as_the_docs_say() {
    check(faults_of_the_network, "on the way", |step| step);
}

#[test]
fn each_fault_of_a_reply_ends_as_the_docs_say() {
    check(faults_of_replies, "in the reply", |step| step);
}

/// Tries each fault at each endpoint, and compares the results with the table of this title in docs/reliability.md.
pub fn check(faults: impl Fn() -> Vec<Fault>, title: &str, prepare: impl Fn(Step) -> Step + Sync) {
    // Each endpoint has its own servers.
    let endpoints = ENDPOINTS.map(|endpoint| (endpoint, faults()));
    let runs: Vec<(Endpoint, &Fault)> =
        endpoints.iter().flat_map(|(endpoint, faults)| faults.iter().map(move |fault| (*endpoint, fault))).collect();
    in_parallel(&runs, |(endpoint, fault)| match fault.expected[*endpoint as usize] {
        Never => {}
        // Under wine, the stand-in's connection is closed seconds late.
        _ if cfg!(windows) && fault.name == "reset in the middle of the body" => {}
        expected => check_run(fault, *endpoint, expected, &prepare),
    });
    let [(_, faults), ..] = &endpoints;
    let rows: String = faults.iter().map(row).collect();
    let table = format!("| {title} | identity | audience | mint |\n|---|---|---|---|\n{rows}");
    assert!(crate::readme::RELIABILITY.contains(&table), "docs/reliability.md does not have this table:\n\n{table}");
}

fn row(fault: &Fault) -> String {
    let [identity, audience, mint] = fault.expected;
    format!("| {} | {identity} | {audience} | {mint} |\n", fault.name)
}

fn check_run(fault: &Fault, endpoint: Endpoint, expected: Expected, prepare: &(impl Fn(Step) -> Step + Sync)) {
    let what = format!("{} on {endpoint:?}", fault.name);
    let id_tokens = counting_id_tokens();
    let timeout = if expected == Deadline { SHORT_TIMEOUT_SECS } else { TIMEOUT_SECS };
    let server = fault.server.url();
    let step = match endpoint {
        Endpoint::Identity => Step::with_endpoints(&server, UNREACHABLE_URL),
        Endpoint::Audience => Step::with_endpoints(&id_tokens.url(), &server).without("TOKEN_MINT_AUDIENCE"),
        Endpoint::Mint => Step::with_endpoints(&id_tokens.url(), &server),
    };
    let step = step.secret("c2lnbmF0dXJl").secret("pypi-AgEIsecret-secret").args(&["--timeout", &timeout.to_string()]);
    let outcome = prepare(step).run();

    check_message(fault, endpoint, expected, &what, &outcome);
    let retries = outcome.stderr.matches("; trying again in ").count();
    let connections = fault.server.connections().len();
    let attempts = if matches!(expected, Retried(_)) { 4 } else { 1 };
    let (revocations, requests): (Vec<_>, Vec<_>) =
        fault.server.requests().into_iter().partition(|request| request.path().ends_with("burn-token"));
    let tokens = if endpoint == Endpoint::Mint { fault.tokens } else { 0 };
    assert_eq!(revocations.len(), tokens * attempts, "{what}: {outcome}");
    // The server has closed the connection that was opened early. The program makes another one if it notices that
    // before it sends the request.
    let stale = usize::from(endpoint == Endpoint::Mint && fault.name.ends_with("before the request"));
    if fault.server.listens() {
        let made = connections - revocations.len();
        assert!((attempts..=attempts + stale).contains(&made), "{made} connections, {what}: {outcome}");
    }
    assert_eq!(retries, attempts - 1, "{what}: {outcome}");
    if endpoint == Endpoint::Mint {
        let mut bodies: Vec<_> = requests.into_iter().map(|request| request.body).collect();
        let sent = bodies.len();
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), sent, "an ID token was sent twice, {what}");
        assert_eq!(id_tokens.requests().len(), attempts, "{what}: {outcome}");
    }
    let (least, most) = match expected {
        Retried(_) => (PAUSES[0], PAUSES[1]),
        Deadline => (Duration::from_secs(timeout), Duration::from_secs(timeout)),
        Once(_) | Never => (Duration::ZERO, Duration::ZERO),
    };
    assert!(outcome.elapsed >= least && outcome.elapsed < most + SLACK, "{what}: {outcome}");
}

fn check_message(fault: &Fault, endpoint: Endpoint, expected: Expected, what: &str, outcome: &Outcome) {
    let named = match endpoint {
        Endpoint::Identity => "GitHub",
        Endpoint::Audience => "audience",
        Endpoint::Mint => "API token",
    };
    match expected {
        Once(0) => outcome.assert_done(),
        Once(status) | Retried(status) => outcome.assert_failed(status, &[named]),
        Deadline => outcome.assert_failed(5, &[named]),
        Never => {}
    }
    assert!(outcome.stderr.contains(fault.piece), "no {:?} in {what}: {outcome}", fault.piece);
    for line in outcome.messages().lines() {
        assert!(!line.trim_start().starts_with("::") && !line.contains("##["), "{what}: {outcome}");
    }
}

/// GitHub's endpoint. It issues another ID token at each request.
fn counting_id_tokens() -> ScriptedServer {
    let issued = std::sync::atomic::AtomicUsize::new(0);
    ScriptedServer::serving(move |stream| {
        let number = issued.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let body = format!(r#"{{"value":"eyJh.eyJi.c2lnbmF0dXJl{number}"}}"#);
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    })
}
