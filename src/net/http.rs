//! One HTTP request and its reply, under the deadline. The only file that sends by minreq: `connection.rs` makes its
//! connections, `relay.rs` lets it use them.
//!
//! What minreq 3.0.0 does that we don't want, and what is done about it here:
//! - it follows redirects, with the `Authorization` header: switched off;
//! - it counts a reply's header bytes down to its limit, and can wrap below zero: it gets no limit, and the
//!   connection's bound on all bytes stands in for it;
//! - it reads a body without bound, and gives a cut-off one back as if whole: read lazily, counted, compared with
//!   `Content-Length`. Of a body in chunks it does not tell whether the last one came; there the JSON object's own end
//!   has to do, since no part of one is well formed;
//! - it gives a header that was cut off back as if whole: a reply with neither header nor body is none;
//! - it makes a reply without a status line a 503: told apart by the words it uses;
//! - it stops at an interim reply: `http1.rs` reads on;
//! - it takes a timeout from `$MINREQ_TIMEOUT`, and needs a thread more for any: one is set there that never comes;
//! - it sends no `User-Agent`: set here, the index expects one.

use std::cell::RefCell;
use std::io::Read;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use crate::json::Object;
use crate::net::connection::Connection;
use crate::net::http_error::{Fault, HttpError};
use crate::net::http1;
use crate::net::proxy::Proxies;
use crate::net::relay::Relay;
use crate::net::url::Url;
use crate::os::deadline::{Background, Deadline};
use crate::os::log::{self, Log};
use crate::text;
use crate::time;

#[cfg(all(feature = "mozilla-roots", feature = "system-roots"))]
compile_error!("mozilla-roots would win silently: add --no-default-features to --features system-roots");
#[cfg(not(any(feature = "mozilla-roots", feature = "system-roots")))]
compile_error!("without certificate authorities there is no https: enable mozilla-roots or system-roots");

/// The most that is read of a reply's body, if nothing else is said. The protocol's replies are a few hundred bytes, an
/// ID token two thousand.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The most that may come around a body: the header, chunks, and TLS.
const MAX_AROUND_BYTES: usize = 192 * 1024;
/// The most that is read of a reply's status line.
const MAX_STATUS_LINE_BYTES: usize = 8 * 1024;

const JSON: &str = "application/json";
const USER_AGENT: &str = concat!("token-mint/", env!("CARGO_PKG_VERSION"));

/// minreq's stand-in for a status line that is missing (`parse_status_line` in its src/response.rs).
const NO_STATUS_LINE: &str = "Server did not provide a status line";

/// How long one request may take, however much is left until the deadline: time for another attempt remains.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long minreq may take to notice that its connection was closed.
const REACTION_TIMEOUT: Duration = Duration::from_secs(1);
/// For minreq.
const LONGER_THAN_ANY_DEADLINE_SECS: u64 = 24 * 60 * 60;

/// Sends requests until the deadline.
#[derive(Clone)]
pub struct Http {
    pub deadline: Deadline,
    pub log: Log,
    proxies: Proxies,
    max_body_bytes: usize,
    /// A connection for a request that is to come.
    early: Rc<RefCell<Option<Connection>>>,
}

/// A reply of any status, or why there is none that is whole.
pub type HttpResult = Result<Reply, HttpError>;

/// What a server answered, with the whole body.
pub struct Reply {
    /// 100 to 599.
    pub status: u16,
    /// Never longer than the client takes them.
    pub body: Vec<u8>,
    /// The pause that it asks for before the next request, should there be one.
    pub retry_after: Option<Duration>,
    /// False if nothing says how long the body is: one that was cut off looks like this.
    pub is_surely_whole: bool,
}

impl Reply {
    /// What the server says in an error, fit for a line: the `message` of a JSON object, else a text that is no
    /// HTML page. `redact` takes our secrets out, should they be sent back. Where the status is no error's, the body
    /// may be the very token that was asked for, and is not shown.
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
    /// A client for requests that are to be done by this deadline.
    pub fn new(deadline: Deadline, log: Log, proxies: Proxies) -> Http {
        Http { deadline, log, proxies, max_body_bytes: MAX_BODY_BYTES, early: Rc::default() }
    }

    /// The same client with another deadline.
    pub fn until(&self, deadline: Deadline) -> Http {
        Http { deadline, ..self.clone() }
    }

    /// The same client for replies that may be this long.
    pub fn taking(&self, max_body_bytes: usize) -> Http {
        Http { max_body_bytes, ..self.clone() }
    }

    /// Begins to connect to a URL's server, while there is something else to wait for. The next request there takes
    /// this connection. That it can't be made is nobody's trouble until then.
    pub fn connect_early(&self, url: &Url) {
        *self.early.borrow_mut() = Connection::open(url, self.proxies.for_url(url)).ok();
    }

    /// `GET url`, with these headers too. What is accepted is JSON, unless one of them says otherwise.
    ///
    /// # Errors
    /// [`HttpError`]; a reply of any status is no error here.
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
        let result = self.exchange(url, request.with_headers(headers.iter().cloned().chain(accept)));
        let outcome = match &result {
            Ok(reply) => format!("status {}, {} bytes", reply.status, reply.body.len()),
            Err(error) => error.text.clone(),
        };
        // Whoever made the URL may have put a secret into its query.
        let (origin, path, ms) = (url.origin(), url.path(), start.elapsed().as_millis());
        self.log.detail(&format!("{method} {origin}{path}: {outcome}, {ms} ms"));
        result
    }

    fn exchange(&self, url: &Url, request: minreq::Request) -> HttpResult {
        let deadline = self.deadline.within(REQUEST_TIMEOUT);
        let early = self.early.borrow_mut().take_if(|early| early.origin == url.origin());
        let early = early.map_or(Ok(None), |early| early.wait_if_usable(deadline))?;
        let remote = match early {
            Some(remote) => remote,
            None => Connection::open(url, self.proxies.for_url(url))?.wait(deadline)?,
        };
        let no_relay = |error| HttpError::new(Fault::Unreachable, format!("no relay on loopback: {error}"));
        let relay = Relay::new().map_err(no_relay)?;
        let mut request = request
            .with_header("User-Agent", USER_AGENT)
            .with_header("Connection", "close")
            .with_follow_redirects(false)
            .with_max_headers_size(None)
            .with_max_status_line_length(MAX_STATUS_LINE_BYTES)
            .with_proxy(relay.as_proxy.clone());
        if std::env::var_os("MINREQ_TIMEOUT").is_some() {
            request = request.with_timeout(LONGER_THAN_ANY_DEADLINE_SECS);
        }
        let max_body_bytes = self.max_body_bytes;
        let exchanging = Background::spawn(move || reply_to(request, max_body_bytes))?;
        let relayed = relay.run(&remote, max_body_bytes + MAX_AROUND_BYTES, deadline);
        drop((relay, remote)); // so minreq notices at once, if it did not end this
        let reaction = Deadline::after(REACTION_TIMEOUT).ignoring_signals();
        let exchanged = reaction.result_of(exchanging).unwrap_or_else(|_| Err(HttpError::cut_off()));
        match (relayed, exchanged) {
            (Err(error), Ok(reply)) if !reply.is_surely_whole => Err(error.with_part(reply.status, reply.body)),
            (Err(error), Err(HttpError { body, .. })) => Err(HttpError { body, ..error }),
            (_, exchanged) => exchanged,
        }
    }
}

/// Has a panic of this program end it with no word of what was in it, as any reply that is not what the protocol says.
/// One in a thread is most likely minreq's, which panics where CONNECT can't be written; then there is no reply. Call
/// it first of all.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        while thread::current().name() != Some("main") {
            thread::park(); // to return would abort (`panic = "abort"`)
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
    let is_interim = (100..200).contains(&response.status_code) && response.status_code != 101;
    let (status, headers) = match is_interim {
        true => http1::read_head(&mut response)?,
        false => (response.status_code, std::mem::take(&mut response.headers)),
    };
    if !(100..=599).contains(&status) {
        return Err(HttpError::malformed(&format!("its status is {status}")));
    }
    let (mut body, retry_after) = (Vec::new(), retry_after(&headers));
    // These have no body whatever their header says (RFC 9112, section 6.3).
    if status < 200 || status == 204 || status == 304 {
        return Ok(Reply { status, body, retry_after, is_surely_whole: true });
    }
    let is_chunked = values(&headers, "transfer-encoding").any(|value| value.eq_ignore_ascii_case("chunked"));
    // As minreq reads it: the last one counts, and none where the body comes in chunks.
    let announced = values(&headers, "content-length").next_back().filter(|_| !is_chunked);
    let announced: Option<usize> = announced.and_then(|bytes| bytes.parse().ok());
    let most = max_body_bytes as u64 + 1;
    let read = match is_interim && is_chunked {
        true => http1::read_chunks(&mut response, most, &mut body),
        // After an interim reply, minreq does not know where the body ends.
        false => {
            let most = announced.map_or(most, |bytes| most.min(bytes as u64));
            (&mut response).take(most).read_to_end(&mut body).map(drop)
        }
    };
    let came = body.len();
    let error = match (read, announced) {
        (Err(error), _) => error.into(),
        (Ok(()), _) if came > max_body_bytes => HttpError::too_long(max_body_bytes),
        (Ok(()), Some(announced)) if came < announced => {
            HttpError::new(Fault::NoReply, format!("its reply was cut off: {came} of {announced} bytes came"))
        }
        // Perhaps the header was cut off, too.
        (Ok(()), None) if came == 0 && !is_chunked && headers.is_empty() => HttpError::no_reply(),
        (Ok(()), None) if came == 0 && !is_chunked => HttpError::cut_off(),
        _ => return Ok(Reply { status, body, retry_after, is_surely_whole: announced == Some(came) }),
    };
    Err(error.with_part(status, body))
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3). What is neither counts for nothing.
fn retry_after(headers: &[(String, String)]) -> Option<Duration> {
    let value = values(headers, "retry-after").next_back()?;
    let secs = match value.bytes().all(|b| b.is_ascii_digit()) && !value.is_empty() {
        true => value.parse().unwrap_or(u64::MAX), // more than fits is more than we have
        false => time::of_http_date(value)?.saturating_sub(time::now_unix_secs()),
    };
    Some(Duration::from_secs(secs))
}

fn values<'a>(headers: &'a [(String, String)], name: &str) -> impl DoubleEndedIterator<Item = &'a str> {
    headers.iter().filter(move |(n, _)| n.trim() == name).map(|(_, value)| value.trim())
}
