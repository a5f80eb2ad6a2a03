//! A connection to a server, made by this program for one request of minreq's. The only file that opens a socket.
//!
//! minreq 3.0.0 can't be told to set TCP_NODELAY, tries a host's addresses one after another with all the time there is, takes
//! proxies from the environment by rules of its own, and reads a proxy's answer wrongly. So it is given a proxy that is this
//! very process, on loopback: it asks for a connection, and speaks TLS and HTTP through it. The connection to the server is made
//! here: directly or through a real proxy, with TCP_NODELAY, and as soon as it is known that it will be needed.
//!
//! Every byte passes through here. So this is where the deadline, signals and the bound on a reply's bytes act: each ends the
//! connection, minreq notices, and [`Connection::failure`] says why.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::deadline::Deadline;
use crate::http_error::HttpError;
use crate::proxy::Proxy;
use crate::url::Url;

/// The most that may come from a server in one connection: a reply's header and body, and TLS around them.
const MAX_RECEIVED_BYTES: usize = 256 * 1024;
/// The most that is read of a request or an answer to CONNECT.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long one of a host's addresses has to answer, before the next is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a server that is next door: whatever takes longer is not there.
const NEXT_DOOR_TIMEOUT: Duration = Duration::from_secs(1);
/// How long whoever connects to us may take to name the password. minreq does so at once.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a relay that waits for bytes looks at deadline and signals.
const POLL: Duration = Duration::from_millis(20);
/// What a read or write fails with after that.
const WAITS: [ErrorKind; 3] = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted];

/// Which server, and by way of what.
#[derive(Clone, PartialEq, Eq)]
pub struct Route {
    host: String,
    port: u16,
    proxy: Option<Proxy>,
    /// It is next door, or nowhere: Google's metadata server.
    is_next_door: bool,
}

impl Route {
    /// The route to a URL's server.
    pub fn to(url: &Url, proxy: Option<&Proxy>) -> Route {
        let is_next_door = url.origin() == Url::google_metadata().origin();
        Route { host: url.host().to_owned(), port: url.port(), proxy: proxy.cloned(), is_next_door }
    }
}

/// A connection that is being made, and the proxy on loopback that leads to it. Dropped, it is closed.
pub struct Connection {
    /// What minreq has to be given.
    pub as_proxy: minreq::Proxy,
    listener: SocketAddr,
    shared: Arc<Shared>,
}

/// What the threads of a connection share.
struct Shared {
    route: Route,
    /// It was opened before it was needed.
    is_early: bool,
    deadline: Mutex<Deadline>,
    /// The connection to the server, until it is used.
    dialed: Mutex<Option<Dialed>>,
    failure: Mutex<Option<HttpError>>,
    /// True once a byte left for the server.
    is_used: AtomicBool,
    is_dropped: AtomicBool,
}

type Dialed = Receiver<Result<TcpStream, HttpError>>;

impl Connection {
    /// Begins to connect to a server, for a request that is made now. This does not wait.
    ///
    /// # Errors
    /// [`HttpError::Broken`] where this process can't listen on loopback.
    pub fn open(route: Route, deadline: Deadline) -> Result<Connection, HttpError> {
        Connection::begin(route, deadline, false)
    }

    /// The same, for a request that is made later. Should the server have closed the connection by then, another is made.
    ///
    /// # Errors
    /// As for [`Connection::open`].
    pub fn open_early(route: Route, deadline: Deadline) -> Result<Connection, HttpError> {
        Connection::begin(route, deadline, true)
    }

    fn begin(route: Route, deadline: Deadline, is_early: bool) -> Result<Connection, HttpError> {
        let no_relay = |error: io::Error| HttpError::Broken(format!("no connection on loopback: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(no_relay)?;
        let address = listener.local_addr().map_err(no_relay)?;
        // Other users of this machine could connect, but don't know the password.
        let password = format!("{:016x}", RandomState::new().build_hasher().finish());
        let as_proxy = minreq::Proxy::new(format!("http://relay:{password}@{address}"))
            .map_err(|error| no_relay(io::Error::other(error)))?;
        let shared = Arc::new(Shared {
            dialed: Mutex::new(Some(dial(route.clone(), deadline))),
            route,
            is_early,
            deadline: Mutex::new(deadline),
            failure: Mutex::default(),
            is_used: AtomicBool::default(),
            is_dropped: AtomicBool::default(),
        });
        let connection = Connection { as_proxy, listener: address, shared: Arc::clone(&shared) };
        let greeting = STANDARD.encode(format!("relay:{password}"));
        thread::Builder::new().spawn(move || accept(&listener, &greeting, &shared)).map_err(no_relay)?;
        Ok(connection)
    }

    /// True if it goes by this route.
    pub fn leads_to(&self, route: &Route) -> bool {
        self.shared.route == *route
    }

    /// Has this deadline end it from now on.
    pub fn set_deadline(&self, deadline: Deadline) {
        *lock(&self.shared.deadline) = deadline;
    }

    /// Why it was ended or could not be made, if so. Told once.
    pub fn failure(&self) -> Option<HttpError> {
        lock(&self.shared.failure).take()
    }

    /// False if no byte left for the server.
    pub fn is_used(&self) -> bool {
        self.shared.is_used.load(Ordering::SeqCst)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.is_dropped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.listener); // ends the wait for whoever connects
    }
}

/// Gives each that connects to us a thread of its own: a stranger keeps nobody waiting.
fn accept(listener: &TcpListener, greeting: &str, shared: &Arc<Shared>) {
    loop {
        let local = match listener.accept() {
            _ if shared.is_dropped.load(Ordering::SeqCst) => return,
            Ok((local, _)) => local,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return shared.fail(error.into()),
        };
        let (greeting, of_thread) = (greeting.to_owned(), Arc::clone(shared));
        let spawned = thread::Builder::new().spawn(move || serve(&Arc::new(local), &greeting, &of_thread));
        if let Err(error) = spawned {
            return shared.fail(error.into());
        }
    }
}

/// Relays for whoever knows the password. What fails is noted before the connection is closed, so that it is known when minreq
/// notices.
fn serve(local: &Arc<TcpStream>, greeting: &str, shared: &Arc<Shared>) {
    let request = read_head(local, Deadline::after(GREETING_TIMEOUT).despite_signals());
    if !request.is_ok_and(|request| request.contains(greeting)) {
        return;
    }
    let Some(dialed) = lock(&shared.dialed).take() else { return };
    let relayed = shared.connected(&dialed).and_then(|remote| {
        let remote = Arc::new(remote);
        for stream in [&**local, &remote] {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(POLL))?;
            stream.set_write_timeout(Some(POLL))?;
        }
        (&**local).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let (from, to, of_thread) = (Arc::clone(&remote), Arc::clone(local), Arc::clone(shared));
        thread::Builder::new().spawn(move || of_thread.relay_reply(&from, &to))?;
        shared.relay(local, &remote, |_| {
            shared.is_used.store(true, Ordering::SeqCst);
            Ok(())
        });
        let _ = remote.shutdown(Shutdown::Both); // minreq is done
        Ok(())
    });
    if let Err(error) = relayed {
        shared.fail(error);
    }
}

impl Shared {
    /// Notes why the connection ended. The first reason counts.
    fn fail(&self, error: HttpError) {
        lock(&self.failure).get_or_insert(error);
    }

    fn deadline(&self) -> Deadline {
        *lock(&self.deadline)
    }

    /// The connection to the server. One that was to be made early, and failed or was closed before it was used, is made again.
    fn connected(&self, dialed: &Dialed) -> Result<TcpStream, HttpError> {
        let deadline =
            if self.route.is_next_door { self.deadline().within(NEXT_DOOR_TIMEOUT) } else { self.deadline() };
        let wait = |dialed: &Dialed| match deadline.receive(dialed) {
            Ok(dialed) => dialed,
            Err(_) if self.route.is_next_door && self.deadline().ended().is_none() => {
                Err(HttpError::Absent(format!("no connection within {} ms", NEXT_DOOR_TIMEOUT.as_millis())))
            }
            Err(ended) => Err(ended.into()),
        };
        let is_stale = |dialed: &Result<TcpStream, HttpError>| match dialed {
            Ok(remote) => is_closed(remote),
            Err(error) => error.is_transient(),
        };
        match wait(dialed) {
            dialed if self.is_early && is_stale(&dialed) => wait(&dial(self.route.clone(), deadline)),
            dialed => dialed,
        }
    }

    fn relay_reply(&self, remote: &TcpStream, local: &TcpStream) {
        let mut received = 0;
        self.relay(remote, local, |bytes| {
            received += bytes;
            if received > MAX_RECEIVED_BYTES { Err(HttpError::too_long(MAX_RECEIVED_BYTES)) } else { Ok(()) }
        });
    }

    /// Relays until there is no more to relay, or something ends that.
    fn relay(&self, from: &TcpStream, to: &TcpStream, count: impl FnMut(usize) -> Result<(), HttpError>) {
        let how = match self.copy(from, to, count) {
            Ok(()) => Shutdown::Write,
            Err(error) => {
                self.fail(error);
                Shutdown::Both
            }
        };
        let _ = to.shutdown(how);
    }

    /// Copies bytes until there are no more, and shows `count` how many.
    fn copy(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        mut count: impl FnMut(usize) -> Result<(), HttpError>,
    ) -> Result<(), HttpError> {
        let mut buffer = vec![0; 16 * 1024]; // on the heap, where what was freed is wiped
        loop {
            let bytes = self.before_deadline(|| from.read(&mut buffer))?;
            let mut rest = buffer.get(..bytes).unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
            count(bytes)?;
            while !rest.is_empty() {
                match self.before_deadline(|| to.write(rest))? {
                    0 => return Ok(()),
                    written => rest = rest.get(written..).unwrap_or_default(),
                }
            }
        }
    }

    /// A read or write that waits for [`POLL`] at most, made again and again. What breaks the connection ends it; minreq says what
    /// that means for the reply.
    fn before_deadline(&self, mut attempt: impl FnMut() -> io::Result<usize>) -> Result<usize, HttpError> {
        loop {
            match attempt() {
                Ok(bytes) => return Ok(bytes),
                Err(error) if WAITS.contains(&error.kind()) => self.deadline().ended().map_or(Ok(()), Err)?,
                Err(_) => return Ok(0),
            }
        }
    }
}

/// Connects to the server in a thread of its own: to look up a name can't be interrupted.
fn dial(route: Route, deadline: Deadline) -> Dialed {
    let (sender, dialed) = mpsc::channel();
    let of_thread = sender.clone();
    let spawned = thread::Builder::new().spawn(move || {
        let stream = match &route.proxy {
            Some(proxy) => connect_through(proxy, &route, deadline),
            None => connect(&route.host, route.port, deadline).map_err(|error| match HttpError::text(&error) {
                text if route.is_next_door => HttpError::Absent(text),
                text => HttpError::Unreachable(text),
            }),
        };
        let _ = of_thread.send(stream);
    });
    if let Err(error) = spawned {
        let _ = sender.send(Err(error.into()));
    }
    dialed
}

fn connect_through(proxy: &Proxy, route: &Route, deadline: Deadline) -> Result<TcpStream, HttpError> {
    let of_proxy = |error: io::Error| HttpError::Proxy(HttpError::text(&error));
    let stream = connect(&proxy.host, proxy.port, deadline).map_err(of_proxy)?;
    let address = format!("{}:{}", route.host, route.port);
    let credentials = proxy.credentials.as_ref().map(|credentials| {
        // A user without a password is `user:` (RFC 7617, section 2).
        let colon = if credentials.contains(':') { "" } else { ":" };
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{credentials}{colon}")))
    });
    let request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{}\r\n", credentials.unwrap_or_default());
    (&stream).write_all(request.as_bytes()).map_err(of_proxy)?;
    let answer = read_head(&stream, deadline).map_err(of_proxy)?;
    let status_line = answer.lines().next().unwrap_or_default();
    let mut words = status_line.split_whitespace();
    match (words.next(), words.next()) {
        (Some(version), Some(status))
            if version.starts_with("HTTP/1.") && status.len() == 3 && status.starts_with('2') =>
        {
            Ok(stream)
        }
        (Some(version), Some("407")) if version.starts_with("HTTP/1.") => Err(HttpError::ProxyCredentials),
        (_, status) => {
            let text = format!("it answered: {}", HttpError::text(&proxy.redact(status_line)));
            let is_ours = status.is_some_and(|status| status.starts_with('4'));
            Err(if is_ours { HttpError::ProxyRefused(text) } else { HttpError::Proxy(text) })
        }
    }
}

/// Tries a host's addresses one after another, IPv6 and IPv4 in turn: it is not rare that one of the two leads nowhere.
fn connect(host: &str, port: u16, deadline: Deadline) -> io::Result<TcpStream> {
    let (v6, v4): (Vec<SocketAddr>, Vec<SocketAddr>) = (host, port).to_socket_addrs()?.partition(SocketAddr::is_ipv6);
    let pairs = (0..v6.len().max(v4.len())).flat_map(|n| [v6.get(n), v4.get(n)]);
    let mut error = io::Error::other("the host has no address");
    for address in pairs.flatten() {
        let timeout = deadline.remaining().min(ADDRESS_TIMEOUT);
        if timeout.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// True if the other side has closed it.
fn is_closed(stream: &TcpStream) -> bool {
    let peek = || {
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        peeked
    };
    !matches!(peek(), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Reads up to the empty line that ends a request's or an answer's head, and no further.
fn read_head(mut stream: &TcpStream, deadline: Deadline) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while head.len() < MAX_HEAD_BYTES {
        stream.set_read_timeout(Some(deadline.remaining().max(Duration::from_millis(1))))?;
        if stream.read(&mut byte)? == 0 {
            break;
        }
        head.extend(byte);
        if head.ends_with(b"\r\n\r\n") {
            return Ok(String::from_utf8_lossy(&head).into_owned());
        }
    }
    let what = if head.is_empty() { "it closed the connection without a word" } else { "what it says does not end" };
    Err(io::Error::other(what))
}

/// What a lock protects here is whole after any panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each connection with one word over HTTP.
    fn server() -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = read_head(&stream, Deadline::after(Duration::from_secs(10)));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nword");
            }
        });
        Url::parse(&url).unwrap()
    }

    #[test]
    fn a_stranger_gets_nothing_and_keeps_nobody_else_out() {
        let url = server();
        let connection = Connection::open(Route::to(&url, None), Deadline::after(Duration::from_secs(10))).unwrap();
        for request in
            ["CONNECT x:1 HTTP/1.1\r\nProxy-Authorization: Basic dHVubmVsOg==\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"]
        {
            let mut stranger = TcpStream::connect(connection.listener).unwrap();
            stranger.write_all(request.as_bytes()).unwrap();
            stranger.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            let _ = stranger.read_to_string(&mut answer);
            assert_eq!(answer, "");
        }
        let request = minreq::get(url.to_string()).with_proxy(connection.as_proxy.clone()).with_timeout(10);
        assert_eq!(request.send().unwrap().as_str().unwrap(), "word");
        assert!(connection.failure().is_none());
    }

    /// Each says something now and then, and never the password.
    #[test]
    fn strangers_stall_nobody() {
        let url = server();
        let connection = Connection::open(Route::to(&url, None), Deadline::after(Duration::from_secs(10))).unwrap();
        let strangers: Vec<_> = (0..20).map(|_| TcpStream::connect(connection.listener).unwrap()).collect();
        thread::spawn(move || {
            for mut stranger in strangers.iter().cycle() {
                let _ = stranger.write_all(b"C");
                thread::sleep(Duration::from_millis(5));
            }
        });
        let start = std::time::Instant::now();
        let request = minreq::get(url.to_string()).with_proxy(connection.as_proxy.clone()).with_timeout(10);
        assert_eq!(request.send().unwrap().as_str().unwrap(), "word");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[test]
    fn a_server_that_is_not_there_is_told_of() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = Url::parse(&format!("http://{closed}")).unwrap();
        let connection = Connection::open(Route::to(&url, None), Deadline::after(Duration::from_secs(10))).unwrap();
        let request = minreq::get(url.to_string()).with_proxy(connection.as_proxy.clone()).with_timeout(10);
        assert!(request.send().is_err());
        assert!(matches!(connection.failure(), Some(HttpError::Unreachable(_))));
    }
}
