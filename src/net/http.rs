//! Sends one HTTP request and reads its reply, before the deadline. This is the only file that sends by minreq:
//! `connection.rs` makes the connections, and `relay.rs` lets minreq use them.
//!
//! minreq 3.0.0 does some things that we don't want. This is what is done about each:
//! - It follows redirects, with the `Authorization` header. This is switched off.
//! - It subtracts each header's length from its limit, and can wrap below zero. It gets no limit: the bound on all
//!   bytes of the connection takes its place.
//! - It reads a body without bound, and returns an incomplete body as if it were whole. The body is read lazily,
//!   counted, and compared with `Content-Length`. If the body comes in chunks, minreq does not tell whether the last
//!   one came. JSON does: an incomplete object is malformed.
//! - It returns an incomplete header as if it were whole. A reply with neither a body nor a length counts as cut off.
//! - It turns a reply without a status line into a 503. Its own reason phrase gives that away.
//! - It stops at an interim reply. `http1.rs` reads on.
//! - It takes a timeout from `$MINREQ_TIMEOUT`, and needs one more thread for any timeout. It gets none. If the
//!   variable is set, it is overridden with a day.
//! - It sends no `User-Agent`, which the index expects. It is set here.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use crate::json::Object;
use crate::net::connection::Connection;
use crate::net::http_error::{Fault, HttpError};
use crate::net::http1;
use crate::net::proxy::Proxies;
use crate::net::relay::{self, Relay};
use crate::net::url::Url;
use crate::os::deadline::{Background, Deadline, WaitError};
use crate::os::log::{self, Log};
use crate::text::{self, shown};
use crate::time;

#[cfg(all(feature = "mozilla-roots", feature = "system-roots"))]
compile_error!("mozilla-roots would win silently: add --no-default-features to --features system-roots");
#[cfg(not(any(feature = "mozilla-roots", feature = "system-roots")))]
compile_error!("without certificate authorities there is no https: enable mozilla-roots or system-roots");

/// The longest body that is read by default. The protocol's replies have a few hundred bytes, an ID token has two
/// thousand.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The most bytes that may come in addition to a body: the header, the chunks' lengths, and TLS.
const MAX_OVERHEAD_BYTES: usize = 192 * 1024;
/// The longest status line that is read.
const MAX_STATUS_LINE_BYTES: usize = 8 * 1024;

const JSON: &str = "application/json";
const USER_AGENT: &str = concat!("token-mint/", env!("CARGO_PKG_VERSION"));

/// minreq's reason phrase for a reply without a status line (`parse_status_line` in its src/response.rs).
const NO_STATUS_LINE: &str = "Server did not provide a status line";

/// How long one request may take, even if the deadline is later: this leaves time for another attempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long minreq may take to notice that its connection is closed.
const REACTION_TIMEOUT: Duration = Duration::from_secs(1);
/// Overrides `$MINREQ_TIMEOUT`: it is the relay that keeps the deadline.
const MINREQ_TIMEOUT_SECS: u64 = 24 * 60 * 60;

/// Sends requests until the deadline.
#[derive(Clone)]
pub struct Http {
    pub deadline: Deadline,
    pub log: Log,
    /// How long to wait for a reply after a signal, once the request may have been sent.
    grace: Duration,
    proxies: Proxies,
    max_body_bytes: usize,
    /// A connection that was opened before its request.
    early: Rc<RefCell<Option<Connection>>>,
}

/// A reply of any status, or why there is no whole reply.
pub type HttpResult = Result<Reply, HttpError>;

/// A server's answer.
pub struct Reply {
    /// 100 to 599.
    pub status: u16,
    /// At most `max_body_bytes` long.
    pub body: Vec<u8>,
    /// How long the server asks to wait before another request.
    pub retry_after: Option<Duration>,
    /// False if the header does not tell the body's length: then the body may have been cut off.
    pub is_surely_whole: bool,
}

impl Reply {
    /// The server's message in an error, as one line: the `message` of a JSON object, or a text that is not HTML.
    /// `redact` removes our secrets, in case the server sends them back. Without an error status there is no message:
    /// the body may be the token that was asked for.
    pub fn message(&self, redact: impl Fn(&str) -> String) -> Option<String> {
        if self.status < 400 {
            return None;
        }
        let text = match Object::read(&self.body).and_then(|object| object.get("message")) {
            Ok(message) => message,
            Err(_) => std::str::from_utf8(&self.body).ok()?.to_owned(),
        };
        let message = text::message(&redact(&text));
        Some(message).filter(|message| !message.is_empty() && !message.starts_with(['<', '{', '[', '"']))
    }
}

impl Http {
    /// A client for requests that end by this deadline.
    pub fn new(deadline: Deadline, log: Log, proxies: Proxies) -> Http {
        Http { deadline, log, grace: Duration::ZERO, proxies, max_body_bytes: MAX_BODY_BYTES, early: Rc::default() }
    }

    /// The same client with another deadline.
    pub fn until(&self, deadline: Deadline) -> Http {
        Http { deadline, ..self.clone() }
    }

    /// The same client for replies that should not be lost: after a signal, it waits that much longer for them.
    pub fn with_grace(&self, grace: Duration) -> Http {
        Http { grace, ..self.clone() }
    }

    /// The same client for bodies that may be this long.
    pub fn taking(&self, max_body_bytes: usize) -> Http {
        Http { max_body_bytes, ..self.clone() }
    }

    /// Starts to connect to a URL's server before the request, to save time. The next request to that server uses this
    /// connection. A failure is ignored: the request then makes its own connection.
    pub fn connect_early(&self, url: &Url) {
        *self.early.borrow_mut() = Some(Connection::open(url, self.proxies.for_url(url)));
    }

    /// `GET url`, with these headers too. It accepts JSON, unless one of them is `Accept`.
    ///
    /// # Errors
    /// [`HttpError`]. A reply of any status is no error here.
    pub fn get(&self, url: &Url, headers: &[(&str, String)]) -> HttpResult {
        self.send("GET", url, headers, minreq::get(url.to_string()))
    }

    /// `POST url` with a JSON text, and with these headers too.
    ///
    /// # Errors
    /// As for [`Http::get`].
    pub fn post_json(&self, url: &Url, headers: &[(&str, String)], json: String) -> HttpResult {
        self.send("POST", url, headers, minreq::post(url.to_string()).with_header("Content-Type", JSON).with_body(json))
    }

    fn send(&self, method: &str, url: &Url, headers: &[(&str, String)], request: minreq::Request) -> HttpResult {
        let start = Instant::now();
        let accept = headers.iter().all(|(name, _)| *name != "Accept").then(|| ("Accept", JSON.to_owned()));
        let result = self.connect_and_send(url, request.with_headers(headers.iter().cloned().chain(accept)));
        let outcome = match &result {
            Ok(reply) => format!("status {}, {} bytes", reply.status, reply.body.len()),
            Err(error) => error.text.clone(),
        };
        // The query is not logged: it may contain a secret.
        let (origin, path, ms) = (url.origin(), url.path(), start.elapsed().as_millis());
        self.log.detail(&format!("{method} {origin}{path}: {outcome}, {ms} ms"));
        result
    }

    fn connect_and_send(&self, url: &Url, request: minreq::Request) -> HttpResult {
        let deadline = self.deadline.within(REQUEST_TIMEOUT);
        let early = self.early.borrow_mut().take_if(|early| early.origin == url.origin());
        let early = early.map_or(Ok(None), |early| early.wait_if_usable(deadline))?;
        let remote = match early {
            Some(remote) => remote,
            None => Connection::open(url, self.proxies.for_url(url)).wait(deadline)?,
        };
        let no_relay = |error: io::Error| {
            HttpError::new(Fault::Unreachable, format!("no relay on loopback: {}", shown(&error.to_string())))
        };
        let relay = Relay::new().map_err(no_relay)?;
        let mut request = request
            .with_header("User-Agent", USER_AGENT)
            .with_header("Connection", "close")
            .with_follow_redirects(false)
            .with_max_headers_size(None)
            .with_max_status_line_length(MAX_STATUS_LINE_BYTES)
            .with_proxy(relay.as_proxy.clone());
        if std::env::var_os("MINREQ_TIMEOUT").is_some() {
            request = request.with_timeout(MINREQ_TIMEOUT_SECS);
        }
        let max_body_bytes = self.max_body_bytes;
        let replying = Background::spawn(move || reply_to(request, max_body_bytes));
        if !replying.may_be_running() {
            return Err(no_relay(WaitError::NoThread.into()));
        }
        let local = relay.accept(deadline).map_err(no_relay);
        let for_reply = deadline.with_grace(self.grace);
        // TLS sends the request only after the server's first bytes. Until then, no reply can be lost.
        let before_reply = if url.is_https() { deadline } else { for_reply };
        let max_bytes = max_body_bytes + MAX_OVERHEAD_BYTES;
        let relayed = local.and_then(|local| relay::pass_on(&local, &remote, max_bytes, before_reply, for_reply));
        drop((relay, remote)); // if minreq still waits for the relay, this ends that
        let reaction = Deadline::after(REACTION_TIMEOUT).ignoring_signals();
        let reply = reaction.result_of(replying).unwrap_or_else(|_| Err(HttpError::cut_off()));
        let Err(relay_error) = relayed else { return reply };
        match reply {
            Ok(reply) if reply.is_surely_whole => Ok(reply),
            Ok(reply) => Err(relay_error.with_partial_body(reply.status, reply.body)),
            // minreq has noticed only that its connection was closed. The relay's error says why.
            Err(HttpError { body, .. }) => Err(HttpError { body, ..relay_error }),
        }
    }
}

/// Makes a panic end the program with exit status 5, as a reply does that breaks the protocol. The panic's own text is
/// not shown: it may contain a secret. A panic in another thread only ends that thread's work: it is most likely
/// minreq's, which panics if CONNECT can't be written. Then there is no reply. Call this before anything else.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        while thread::current().name() != Some("main") {
            thread::park(); // a hook that returns aborts the process (`panic = "abort"`)
        }
        let place = panic.location().map_or(String::new(), |place| {
            let file = place.file().rsplit(['/', '\\']).next().unwrap_or_default();
            format!(" ({file}, line {})", place.line())
        });
        log::say(&format!("error: something unexpected{place}. Please report it"));
        std::process::exit(5);
    }));
}

/// Sends a request, and reads its reply.
fn reply_to(request: minreq::Request, max_body_bytes: usize) -> HttpResult {
    let mut response = request.send_lazy()?;
    if response.reason_phrase == NO_STATUS_LINE {
        return Err(HttpError::no_reply());
    }
    let (mut status, mut headers) = (response.status_code, std::mem::take(&mut response.headers));
    let is_after_interim = http1::is_interim(status);
    if is_after_interim {
        (status, headers) = http1::read_head(&mut response)?;
    }
    if !(100..=599).contains(&status) {
        return Err(HttpError::malformed(&format!("its status is {status}")));
    }
    let (mut body, retry_after) = (Vec::new(), retry_after(&headers));
    // Replies with these statuses have no body, even if the header says otherwise (RFC 9112, section 6.3).
    if status < 200 || status == 204 || status == 304 {
        return Ok(Reply { status, body, retry_after, is_surely_whole: true });
    }
    let is_chunked = values(&headers, "transfer-encoding").any(|value| value.eq_ignore_ascii_case("chunked"));
    // minreq, too, takes the last length, and none if the body comes in chunks.
    let length = values(&headers, "content-length").next_back().filter(|_| !is_chunked);
    let length: Option<usize> = length.and_then(|length| length.parse().ok());
    // After an interim reply, minreq knows neither the body's length nor its chunks.
    let limit = max_body_bytes + 1;
    let result = if is_chunked && is_after_interim {
        http1::read_chunks(&mut response, limit as u64, &mut body)
    } else {
        (&mut response).take(length.unwrap_or(limit).min(limit) as u64).read_to_end(&mut body).map(drop)
    };
    let read = body.len();
    let error = if let Err(error) = result {
        error.into()
    } else if read > max_body_bytes {
        HttpError::too_long(max_body_bytes)
    } else if let Some(length) = length
        && read < length
    {
        HttpError::new(Fault::NoReply, format!("its reply was cut off: {read} of {length} bytes came"))
    } else if read > 0 || length.is_some() || is_chunked {
        return Ok(Reply { status, body, retry_after, is_surely_whole: length.is_some() });
    } else if headers.is_empty() {
        HttpError::no_reply() // the header may have been cut off, too
    } else {
        HttpError::cut_off()
    };
    Err(error.with_partial_body(status, body))
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3). Any other value is ignored.
fn retry_after(headers: &[(String, String)]) -> Option<Duration> {
    let value = values(headers, "retry-after").next_back()?;
    let secs = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        value.parse().unwrap_or(u64::MAX) // only a number that is too large can't be parsed
    } else {
        time::of_http_date(value)?.saturating_sub(time::now_unix_secs())
    };
    Some(Duration::from_secs(secs))
}

fn values<'a>(headers: &'a [(String, String)], name: &str) -> impl DoubleEndedIterator<Item = &'a str> {
    headers.iter().filter(move |(n, _)| n.trim() == name).map(|(_, value)| value.trim())
}
