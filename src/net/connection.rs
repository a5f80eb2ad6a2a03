//! A connection to a server. This is the only file that opens one.
//!
//! minreq 3.0.0 can't be told to set TCP_NODELAY, gives a host's first address all of the time, takes
//! proxies from the environment by rules of its own, and reads a proxy's answer wrongly. So connections are made here: directly or
//! through a proxy, with TCP_NODELAY, and before they are needed if possible. `relay.rs` lets minreq use them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::net::deadline::{Background, Deadline};
use crate::net::http_error::HttpError;
use crate::net::proxy::Proxy;
use crate::net::url::Url;

/// The most that is read of a proxy's answer to CONNECT.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long to wait for one of a host's addresses before trying the next.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for a server on the machine's own network: a slower one is not there.
const NEXT_DOOR_TIMEOUT: Duration = Duration::from_secs(1);

/// When the thread that connects gives up. Whoever waits for it notices the deadline first, and says so.
const AFTER_DEADLINE: Duration = Duration::from_secs(1);

/// The server, and the way to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Route {
    host: String,
    port: u16,
    proxy: Option<Proxy>,
    /// It is Google's metadata server, on the machine's own network or not there at all.
    is_next_door: bool,
}

impl Route {
    /// The route to a URL's server.
    pub fn to(url: &Url, proxy: Option<&Proxy>) -> Route {
        let is_next_door = url.origin() == Url::google_metadata().origin();
        Route { host: url.host().to_owned(), port: url.port(), proxy: proxy.cloned(), is_next_door }
    }
}

/// A connection that is being made.
pub struct Connection {
    route: Route,
    deadline: Deadline,
    /// It is opened before it is needed.
    is_early: bool,
    /// To look up a name can't be interrupted, so a thread does it.
    connecting: io::Result<Background<Result<TcpStream, HttpError>>>,
}

impl Connection {
    /// Begins to connect to a server, for a request that is made now.
    pub fn open(route: Route, deadline: Deadline) -> Connection {
        let by = route.clone();
        let connecting = Background::spawn(move || connect_by(by, deadline));
        Connection { route, deadline, is_early: false, connecting }
    }

    /// The same, for a request that is made later.
    pub fn open_early(route: Route, deadline: Deadline) -> Connection {
        Connection { is_early: true, ..Connection::open(route, deadline) }
    }

    /// True if it goes by this route.
    pub fn leads_to(&self, route: &Route) -> bool {
        self.route == *route
    }

    /// Waits for the connection. If it was opened early, and failed or is closed by now, it is opened again.
    ///
    /// # Errors
    /// [`HttpError`]; nothing was sent.
    pub fn wait(self, deadline: Deadline) -> Result<TcpStream, HttpError> {
        let is_usable = |stream: &Result<TcpStream, HttpError>| match stream {
            Ok(stream) => !is_closed(stream),
            Err(error) => !error.is_transient(),
        };
        let connected = match self.connecting {
            Ok(connecting) => deadline.result_of(connecting).unwrap_or_else(|ended| Err(ended.into())),
            Err(error) => Err(error.into()),
        };
        match connected {
            stream if self.is_early && !is_usable(&stream) && deadline.ended().is_none() => {
                Connection::open(self.route, self.deadline).wait(deadline)
            }
            stream => stream,
        }
    }
}

fn connect_by(route: Route, deadline: Deadline) -> Result<TcpStream, HttpError> {
    let Route { host, port, proxy, is_next_door } = &route;
    match proxy {
        Some(proxy) => connect_through(proxy, &format!("{host}:{port}"), deadline),
        None if *is_next_door => {
            let (host, port) = (host.clone(), *port);
            let deadline = deadline.within(NEXT_DOOR_TIMEOUT);
            let connected = deadline.wait_for(move || connect(&host, port, deadline));
            let connected = connected.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
            connected.map_err(|error| HttpError::Absent(HttpError::text(&error)))
        }
        None => connect(host, *port, deadline).map_err(|error| HttpError::Unreachable(HttpError::text(&error))),
    }
}

fn connect_through(proxy: &Proxy, address: &str, deadline: Deadline) -> Result<TcpStream, HttpError> {
    let named = |text: &str| format!("{text} (it is named by {})", proxy.variable);
    let of_proxy = |error: io::Error| HttpError::Proxy(named(&HttpError::text(&error)));
    let stream = connect(&proxy.host, proxy.port, deadline).map_err(of_proxy)?;
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
        (Some(version), Some("407")) if version.starts_with("HTTP/1.") => {
            Err(HttpError::ProxyCredentials(proxy.variable))
        }
        (_, status) => {
            let text = named(&format!("it answered: {}", HttpError::text(&proxy.redact(status_line))));
            let is_ours = status.is_some_and(|status| status.starts_with('4'));
            Err(if is_ours { HttpError::ProxyRefused(text) } else { HttpError::Proxy(text) })
        }
    }
}

/// Tries a host's addresses one after another, IPv6 and IPv4 in turn: often one of the two does not work.
fn connect(host: &str, port: u16, deadline: Deadline) -> io::Result<TcpStream> {
    let (v6, v4): (Vec<SocketAddr>, Vec<SocketAddr>) = (host, port).to_socket_addrs()?.partition(SocketAddr::is_ipv6);
    let pairs = (0..v6.len().max(v4.len())).flat_map(|n| [v6.get(n), v4.get(n)]);
    let mut error = io::Error::other("the host has no address");
    for address in pairs.flatten() {
        if deadline.remaining().is_zero() {
            break;
        }
        match TcpStream::connect_timeout(address, ADDRESS_TIMEOUT.min(deadline.remaining() + AFTER_DEADLINE)) {
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

/// Reads up to the empty line that ends an answer's head, and no further.
fn read_head(mut stream: &TcpStream, deadline: Deadline) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while head.len() < MAX_HEAD_BYTES {
        stream.set_read_timeout(Some(deadline.remaining() + AFTER_DEADLINE))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    fn deadline() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    fn route_to(address: SocketAddr) -> Route {
        Route::to(&Url::parse(&format!("http://{address}")).unwrap(), None)
    }

    #[test]
    fn an_early_connection_that_was_closed_is_made_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let early = Connection::open_early(route_to(listener.local_addr().unwrap()), deadline());
        drop(listener.accept().unwrap());
        thread::sleep(Duration::from_millis(100));
        let server = thread::spawn(move || listener.accept().unwrap().0.write_all(b"x"));
        let mut byte = [0];
        early.wait(deadline()).unwrap().read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
        server.join().unwrap().unwrap();
    }

    #[test]
    fn a_server_that_is_not_there_is_told_of() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let connection = Connection::open(route_to(closed), deadline());
        assert!(matches!(connection.wait(deadline()), Err(HttpError::Unreachable(_))));
    }
}
