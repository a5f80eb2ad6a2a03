//! One HTTP request and its whole reply, under the deadline. But for `tunnel.rs`, the only file that names minreq.
//!
//! What minreq 3.0.0 does that we don't want, and what is done about it here:
//! - it follows redirects, with the `Authorization` header: switched off;
//! - it reads a body without bound, and gives a cut-off one back as if whole: read lazily, counted, compared with
//!   `Content-Length`. Of a body in chunks it does not tell whether the last one came; there the JSON object's own end
//!   has to do, since no part of one is well formed;
//! - it gives a header that was cut off back as if whole: a reply with neither header nor body is none;
//! - its timeout holds for each read of a body rather than for the sum (over TLS, a byte at a time can go on
//!   for hours), and takes `$MINREQ_TIMEOUT` where none is set: set, and the request runs in a thread of its
//!   own that we stop waiting for after 30 seconds, or at the deadline;
//! - it makes a reply without a status line a 503: told apart by the words it uses;
//! - it sends no `User-Agent`: set here, the index expects one;
//! - what it does with proxies is in `tunnel.rs`.

use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use nanoserde::DeJson;

use crate::deadline::Deadline;
use crate::expiry;
use crate::json;
use crate::log::{self, Log};
use crate::proxy::Proxies;
use crate::tunnel::Tunnel;
use crate::url::Url;
use crate::workflow::neutralise;

#[cfg(all(feature = "mozilla-roots", feature = "system-roots"))]
compile_error!("mozilla-roots would win silently: add --no-default-features to --features system-roots");
#[cfg(not(any(feature = "mozilla-roots", feature = "system-roots")))]
compile_error!("without certificate authorities there is no https: enable mozilla-roots or system-roots");

// aws-lc's build script reads the same variable in the same build; see .cargo/config.toml for the reason.
const _: () = assert!(
    match option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY") {
        Some(value) => matches!(value.as_bytes(), b"1"),
        None => false,
    },
    "build inside the checkout, or set AWS_LC_SYS_NO_JITTER_ENTROPY=1 (see .cargo/config.toml)"
);

/// The most that is read of a reply's body. The protocol's replies are a few hundred bytes, an ID token two thousand.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// The most that is read of a reply's header, and of its status line.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// The most that is shown of what a server or a library says.
const MAX_WORDS_CHARS: usize = 300;

const USER_AGENT: &str = concat!("token-mint/", env!("CARGO_PKG_VERSION"));

/// minreq's stand-in for a status line that is missing (`parse_status_line` in its src/response.rs).
const NO_STATUS_LINE: &str = "Server did not provide a status line";
/// How rustls begins each of its complaints about a certificate (`Display` in its src/error.rs).
const BAD_CERTIFICATE: &str = "invalid peer certificate: ";

/// How long one request may take, however much is left until the deadline: time for another attempt remains.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends requests until the deadline.
pub struct Http {
    deadline: Deadline,
    log: Log,
    proxies: Proxies,
    /// A request took too long: perhaps one of the server's addresses leads nowhere.
    was_late: Arc<AtomicBool>,
}

/// What a server answered.
pub struct Reply {
    /// 100 to 599.
    pub status: u16,
    /// At most [`MAX_BODY_BYTES`].
    pub body: Vec<u8>,
    /// The pause that it asks for before the next request, should there be one.
    pub retry_after: Option<Duration>,
}

/// What servers put into a reply that is not the one asked for.
#[derive(DeJson)]
struct Complaint {
    message: String,
}

/// Why there is no whole reply. Text in it is neutralised: a certificate's names are the server's.
#[derive(Debug)]
pub enum HttpError {
    /// The deadline passed; the seconds that were given for everything.
    TimedOut(u64),
    /// This one request took too long; the seconds that it had.
    Late(u64),
    /// No connection could be made, so nothing was sent.
    Unreachable(String),
    /// Nobody listens at a server that is next door, or there is none.
    Absent(String),
    /// The connection broke.
    Network(String),
    /// A signal came before it was sent.
    Cancelled,
    /// The server's certificate is not one that we trust.
    Certificate(String),
    /// TLS failed in another way.
    Tls(String),
    /// The connection was closed with nothing, or nothing like HTTP, in reply.
    NoReply,
    /// The reply breaks HTTP's rules.
    Malformed(String),
    /// The body was cut off: bytes that came, bytes that were announced.
    Short(usize, usize),
    /// The body is longer than [`MAX_BODY_BYTES`].
    TooLong,
    /// The proxy can't be reached, or does not connect us.
    Proxy(String),
    /// The proxy does not connect us, and says that this is our fault.
    ProxyRefused(String),
    /// The proxy wants credentials, or others.
    ProxyCredentials,
}

impl HttpError {
    /// True if it may go away by itself.
    pub fn may_pass(&self) -> bool {
        match self {
            HttpError::TimedOut(_) | HttpError::Cancelled => false,
            HttpError::Absent(_) | HttpError::Certificate(_) => false,
            HttpError::ProxyRefused(_) | HttpError::ProxyCredentials => false,
            HttpError::Late(_) | HttpError::Unreachable(_) | HttpError::Network(_) | HttpError::Tls(_) => true,
            HttpError::NoReply | HttpError::Malformed(_) | HttpError::Short(..) | HttpError::TooLong => true,
            HttpError::Proxy(_) => true,
        }
    }
}

impl Reply {
    /// What the server says in an error, fit for a line: the `message` of a JSON object, else a text that is no
    /// HTML page. `redact` takes our secrets out, should they be sent back. Where the status is no error's, the body
    /// may be the very token that was asked for, and is not shown.
    pub fn words(&self, redact: impl Fn(&str) -> String) -> Option<String> {
        if self.status < 400 {
            return None;
        }
        let text = match json::decode::<Complaint>(&self.body, &["message"]) {
            Ok(complaint) => complaint.message,
            Err(_) => std::str::from_utf8(&self.body).ok()?.to_owned(),
        };
        let words = neutralise(&redact(&text), MAX_WORDS_CHARS);
        Some(words).filter(|words| !words.is_empty() && !words.starts_with(['<', '{', '[', '"']))
    }
}

impl Http {
    /// A client for requests that are to be done by this deadline.
    pub fn new(deadline: Deadline, log: Log, proxies: Proxies) -> Http {
        Http { deadline, log, proxies, was_late: Arc::default() }
    }

    /// The same client with another deadline.
    pub fn until(&self, deadline: Deadline) -> Http {
        Http { deadline, log: self.log, proxies: self.proxies.clone(), was_late: Arc::clone(&self.was_late) }
    }

    /// When it gives up.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Says whether anyone listens at a URL's server, reached directly.
    ///
    /// # Errors
    /// [`HttpError::Absent`] if there was no connection within `patience`.
    pub fn can_connect(&self, url: &Url, patience: Duration) -> Result<(), HttpError> {
        let patience = patience.min(self.deadline.remaining()).max(Duration::from_millis(1));
        let (host, port) = (url.host().to_owned(), url.port());
        // To look a name up may take long, too.
        let connected = Deadline::after(patience).wait_for(move || {
            let address = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
            TcpStream::connect_timeout(&address, patience)
        });
        match connected {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(HttpError::Absent(neutralise(&error.to_string(), MAX_WORDS_CHARS))),
            Err(_) => Err(HttpError::Absent(format!("no connection within {} ms", patience.as_millis()))),
        }
    }

    /// `GET url`, with these headers too.
    ///
    /// # Errors
    /// [`HttpError`]; a reply of any status is no error here.
    pub fn get(&self, url: &Url, headers: &[(&str, String)]) -> Result<Reply, HttpError> {
        let request = minreq::get(url.to_string()).with_headers(headers.iter().cloned());
        self.send("GET", url, request)
    }

    /// `POST url` with a JSON text, and with these headers too.
    ///
    /// # Errors
    /// As for [`Http::get`].
    pub fn post_json(&self, url: &Url, headers: &[(&str, String)], json: String) -> Result<Reply, HttpError> {
        let request = minreq::post(url.to_string()).with_headers(headers.iter().cloned());
        self.send("POST", url, request.with_header("Content-Type", "application/json").with_body(json))
    }

    fn send(&self, method: &str, url: &Url, request: minreq::Request) -> Result<Reply, HttpError> {
        let start = Instant::now();
        let result = self.exchange_before_deadline(url, request);
        let outcome = match &result {
            Ok(reply) => format!("status {}, {} bytes", reply.status, reply.body.len()),
            Err(error) => error.to_string(),
        };
        self.log.detail(&format!("{method} {}: {outcome}, {} ms", url.without_query(), start.elapsed().as_millis()));
        result
    }

    fn exchange_before_deadline(&self, url: &Url, request: minreq::Request) -> Result<Reply, HttpError> {
        if self.deadline.signal().is_some() {
            return Err(HttpError::Cancelled);
        }
        let patience = self.deadline.remaining().min(PATIENCE);
        if patience.is_zero() {
            return Err(self.late(patience));
        }
        let proxy = self.proxies.for_url(url);
        let tunnel = match proxy.is_some() || self.proxies.minreq_finds_one || self.was_late.load(Ordering::SeqCst) {
            true => Some(Tunnel::open(url, proxy, self.deadline)?),
            false => None,
        };
        let mut request = request
            .with_header("User-Agent", USER_AGENT)
            .with_header("Accept", "application/json")
            .with_header("Connection", "close")
            .with_follow_redirects(false)
            .with_max_headers_size(MAX_HEADER_BYTES)
            .with_max_status_line_length(MAX_HEADER_BYTES)
            // Whole seconds, so rounded up, and one more: the wait below is the exact one and has to come first.
            .with_timeout(patience.as_secs() + 2);
        if let Some(tunnel) = &tunnel {
            request = request.with_proxy(tunnel.as_proxy.clone());
        }
        let (sender, receiver) = mpsc::channel();
        await_panics(Some(sender.clone()));
        thread::Builder::new()
            .spawn(move || sender.send(exchange(request)))
            .map_err(|error| HttpError::Network(format!("no thread for the request: {error}")))?;
        let result = self.answer(&receiver).unwrap_or_else(|| Err(self.late(patience)));
        await_panics(None);
        result.map_err(|error| tunnel.and_then(|tunnel| tunnel.trouble()).unwrap_or(error))
    }

    /// What the request's thread sends. It sends what came of it, be it a panic; so no word from it is a timeout.
    fn answer(&self, receiver: &Receiver<Answer>) -> Option<Answer> {
        let answer = self.deadline.within(PATIENCE).receive(receiver).ok();
        WAS_ABANDONED.fetch_or(answer.is_none(), Ordering::SeqCst);
        answer
    }

    fn late(&self, patience: Duration) -> HttpError {
        match self.deadline.remaining().is_zero() {
            true => HttpError::TimedOut(self.deadline.timeout_secs()),
            false => {
                self.was_late.store(true, Ordering::SeqCst);
                HttpError::Late(patience.as_secs())
            }
        }
    }
}

type Answer = Result<Reply, HttpError>;

/// Where the outcome of the request under way is awaited. (minreq runs it in a thread of its own.)
static AWAITED: Mutex<Option<Sender<Answer>>> = Mutex::new(None);
/// True once a request was left to itself.
static WAS_ABANDONED: AtomicBool = AtomicBool::new(false);

fn await_panics(sender: Option<Sender<Answer>>) {
    if let Ok(mut awaited) = AWAITED.lock() {
        *awaited = sender;
    }
}

/// Has a panic end as any other reply that is not what the protocol says, with no word of what was in it: most likely it
/// comes from a library that a server's reply has surprised (see Cargo.toml for a known one). Call it first of all.
pub fn end_panics_as_bad_replies() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or(String::new(), |place| {
            let file = place.file().rsplit(['/', '\\']).next().unwrap_or_default();
            format!(" ({file}, line {})", place.line())
        });
        if thread::current().name() == Some("main") {
            log::say(&format!("error: something unexpected{place}. Please report it"));
            std::process::exit(5);
        }
        // It may be a request's that nobody waits for any more. Then the one under way has to end by itself.
        if !WAS_ABANDONED.load(Ordering::SeqCst)
            && let Some(awaited) = AWAITED.lock().ok().and_then(|mut awaited| awaited.take())
        {
            let _ = awaited.send(Err(HttpError::Malformed(format!("it took a library by surprise{place}"))));
        }
        // What returned from here would abort the process.
        loop {
            thread::park();
        }
    }));
}

fn exchange(request: minreq::Request) -> Result<Reply, HttpError> {
    let mut response = request.send_lazy()?;
    if response.reason_phrase == NO_STATUS_LINE {
        return Err(HttpError::NoReply);
    }
    let status = response.status_code;
    if !(100..=599).contains(&status) {
        return Err(HttpError::Malformed(format!("its status is {status}")));
    }
    let mut body = Vec::new();
    let retry_after = retry_after(&response);
    // These have no body whatever their header says (RFC 9112, section 6.3).
    if status < 200 || status == 204 || status == 304 {
        return Ok(Reply { status, body, retry_after });
    }
    let announced = announced_bytes(&response);
    (&mut response).take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut body)?;
    if body.len() > MAX_BODY_BYTES {
        return Err(HttpError::TooLong);
    }
    if response.headers.is_empty() && body.is_empty() {
        return Err(HttpError::NoReply);
    }
    match announced {
        Some(announced) if body.len() < announced => Err(HttpError::Short(body.len(), announced)),
        _ => Ok(Reply { status, body, retry_after }),
    }
}

/// `Content-Length`, as minreq reads it: the last one counts, and none where the body comes in chunks.
fn announced_bytes(response: &minreq::ResponseLazy) -> Option<usize> {
    if headers(response, "transfer-encoding").any(|value| value.eq_ignore_ascii_case("chunked")) {
        return None;
    }
    headers(response, "content-length").next_back()?.parse().ok()
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3). What is neither counts for nothing.
fn retry_after(response: &minreq::ResponseLazy) -> Option<Duration> {
    let value = headers(response, "retry-after").next_back()?;
    let secs = match value.bytes().all(|b| b.is_ascii_digit()) && !value.is_empty() {
        true => value.parse().unwrap_or(u64::MAX), // more than fits is more than we have
        false => expiry::of_http_date(value)?.saturating_sub(expiry::now_unix_secs()),
    };
    Some(Duration::from_secs(secs))
}

fn headers<'a>(response: &'a minreq::ResponseLazy, name: &str) -> impl DoubleEndedIterator<Item = &'a str> {
    response.headers.iter().filter(move |(n, _)| n.trim() == name).map(|(_, value)| value.trim())
}

impl From<minreq::Error> for HttpError {
    fn from(error: minreq::Error) -> HttpError {
        match error {
            minreq::Error::IoError(error) => error.into(),
            minreq::Error::AddressNotFound => HttpError::Unreachable("the host has no address".to_owned()),
            minreq::Error::RustlsCreateConnection(error) => HttpError::Tls(error.to_string()),
            other => HttpError::Malformed(other.to_string()),
        }
    }
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> HttpError {
        let text = neutralise(&error.to_string(), MAX_WORDS_CHARS);
        match (error.kind(), text.strip_prefix(BAD_CERTIFICATE)) {
            (_, Some(complaint)) => HttpError::Certificate(complaint.to_owned()),
            (io::ErrorKind::InvalidData, None) => HttpError::Tls(text),
            // minreq wraps what it finds wrong with a chunk in an error of this kind, and what the network did there.
            (io::ErrorKind::Other, None) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(minreq::Error::IoError(_)) => HttpError::Network(text),
                _ => HttpError::Malformed(text),
            },
            _ if is_unreachable(&error) => HttpError::Unreachable(text),
            _ => HttpError::Network(text),
        }
    }
}

/// True where no connection was made. std has no kind for a name that can't be looked up, only these words
/// (`lookup_host` in library/std/src/sys/net).
fn is_unreachable(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable)
        || error.to_string().starts_with("failed to lookup address information")
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::TimedOut(1) => f.write_str("no whole answer within the timeout of 1 second"),
            HttpError::TimedOut(secs) => write!(f, "no whole answer within the timeout of {secs} seconds"),
            HttpError::Cancelled => f.write_str("it was not asked: a signal came"),
            HttpError::Late(secs) => write!(f, "no whole answer within {secs} seconds"),
            HttpError::Network(text) | HttpError::Unreachable(text) | HttpError::Absent(text) => {
                write!(f, "network trouble: {text}")
            }
            HttpError::Certificate(text) => write!(f, "its certificate is not trusted: {text}"),
            HttpError::Tls(text) => write!(f, "no secure connection: {text}"),
            HttpError::NoReply => f.write_str("it closed the connection without an HTTP reply"),
            HttpError::Malformed(text) => write!(f, "its reply is not proper HTTP: {text}"),
            HttpError::Short(came, announced) => {
                write!(f, "its reply was cut off: {came} of {announced} bytes came")
            }
            HttpError::TooLong => write!(f, "its reply is longer than {} KiB", MAX_BODY_BYTES / 1024),
            HttpError::Proxy(text) | HttpError::ProxyRefused(text) => write!(f, "the proxy can't be used: {text}"),
            HttpError::ProxyCredentials => f.write_str("the proxy asks for a user and a password, or for others"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_between_two_chunks_is_blamed_on_the_network() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        for error in [reset(), io::Error::other(minreq::Error::IoError(reset()))] {
            assert!(matches!(HttpError::from(error), HttpError::Network(_)));
        }
        let chunk = io::Error::other(minreq::Error::MalformedChunkEnd);
        assert!(matches!(HttpError::from(chunk), HttpError::Malformed(_)));
    }
}
