//! A connection to a server. This is the only file that connects to another machine.
//!
//! minreq 3.0.0 can't set TCP_NODELAY, may spend all of its timeout on a host's first address, takes proxies from the
//! environment by rules of its own, and misreads a proxy's answer. So connections are made here: directly or through a
//! proxy, with TCP_NODELAY, and early if possible. `relay.rs` lets minreq use them.

use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::net::http_error::{Fault, HttpError};
use crate::net::http1;
use crate::net::proxy::Proxy;
use crate::net::url::Url;
use crate::os::deadline::{Background, Deadline};
use crate::text::shown;

/// The most bytes that are read of a proxy's answer to CONNECT.
const MAX_HEAD_BYTES: u64 = 16 * 1024;
/// How long to wait for one of a host's addresses before trying the next.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for Google's metadata server. It is on the machine's own network: a slower one is absent.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that a thread is making. The thread has no deadline, since a DNS lookup can't be interrupted;
/// [`Connection::wait`] has one.
pub struct Connection {
    /// The server's scheme and authority.
    pub origin: String,
    connecting: Background<Result<TcpStream, HttpError>>,
}

impl Connection {
    /// Starts to connect to a URL's server.
    pub fn open(url: &Url, proxy: Option<&Proxy>) -> Connection {
        let (origin, host, port) = (url.origin().to_owned(), url.host().to_owned(), url.port());
        let proxy = proxy.cloned();
        let connect = move || match &proxy {
            Some(proxy) => connect_through(proxy, &format!("{host}:{port}")),
            None => connect(&host, port).map_err(|error| unreachable(&error)),
        };
        Connection { origin, connecting: Background::spawn(connect) }
    }

    /// Waits for the connection. If it fails, [`Fault::Absent`] is the fault for Google's metadata server.
    ///
    /// # Errors
    /// [`HttpError`]: there is no connection, so no request was sent.
    pub fn wait(self, deadline: Deadline) -> Result<TcpStream, HttpError> {
        let is_metadata = self.origin == Url::google_metadata().origin();
        let deadline = if is_metadata { deadline.within(METADATA_TIMEOUT) } else { deadline };
        let connected = deadline.result_of(self.connecting);
        let connected = connected.unwrap_or_else(|ended| Err(unreachable(&format!("no connection: {ended}"))));
        connected.map_err(|error| if is_metadata { HttpError { fault: Fault::Absent, ..error } } else { error })
    }

    /// Waits for a connection that was opened early. `None` if it failed or has been closed since: a new one may work.
    ///
    /// # Errors
    /// [`HttpError`]: a new connection would not work either. No request was sent.
    pub fn wait_if_usable(self, deadline: Deadline) -> Result<Option<TcpStream>, HttpError> {
        let stream = match self.wait(deadline) {
            Err(error) if error.is_transient() => return Ok(None),
            connected => connected?,
        };
        // `peek` would block, unless the server has closed the connection. The relay does not block either.
        let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
        let is_open = peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        Ok(is_open.then_some(stream))
    }
}

fn unreachable(why: &impl Display) -> HttpError {
    HttpError::new(Fault::Unreachable, format!("network trouble: {}", shown(&why.to_string())))
}

fn connect_through(proxy: &Proxy, address: &str) -> Result<TcpStream, HttpError> {
    let Proxy { host, port, credentials, variable } = proxy;
    let failed =
        |fault, how: &str| HttpError::new(fault, format!("the proxy can't be used: {how} (it is named by {variable})"));
    let no_answer = |error: io::Error| failed(Fault::Unreachable, &shown(&error.to_string()));
    let stream = connect(host, *port).map_err(no_answer)?;
    let credentials = credentials.as_ref().map(|credentials| {
        // A user without a password is `user:` (RFC 7617, section 2).
        let colon = if credentials.contains(':') { "" } else { ":" };
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{credentials}{colon}")))
    });
    let request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{}\r\n", credentials.unwrap_or_default());
    (&stream).write_all(request.as_bytes()).map_err(no_answer)?;
    let (status, _) = http1::read_head(&mut (&stream).take(MAX_HEAD_BYTES))
        .map_err(|error| failed(Fault::Unreachable, &error.text))?;
    // The proxy's own text is not shown: it may contain the credentials.
    let answered = format!("it answered with status {status}");
    match status {
        200..=299 => Ok(stream),
        407 => {
            let text = format!(
                "the proxy asks for a user and a password, or for others than {variable} has: they stand before the \
                 host, percent-encoded (http://USER:PASSWORD@HOST:PORT)"
            );
            Err(HttpError::new(Fault::ProxyRefused, text))
        }
        400..=499 => Err(failed(Fault::ProxyRefused, &answered)),
        _ => Err(failed(Fault::Unreachable, &answered)),
    }
}

/// Tries a host's addresses one after another. IPv6 and IPv4 alternate, since often only one of the two works.
fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let (v6, v4): (Vec<SocketAddr>, Vec<SocketAddr>) = (host, port).to_socket_addrs()?.partition(SocketAddr::is_ipv6);
    let pairs = (0..v6.len().max(v4.len())).flat_map(|n| [v6.get(n), v4.get(n)]);
    let mut error = io::Error::other("the host has no address");
    for address in pairs.flatten() {
        match TcpStream::connect_timeout(address, ADDRESS_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    fn deadline() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    fn open(address: SocketAddr) -> Connection {
        Connection::open(&Url::parse(&format!("http://{address}")).unwrap(), None)
    }

    #[test]
    fn an_early_connection_that_was_closed_is_not_used() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let is_usable = |connection: Connection| connection.wait_if_usable(deadline()).ok().unwrap().is_some();
        let early = open(listener.local_addr().unwrap());
        drop(listener.accept().unwrap());
        thread::sleep(Duration::from_millis(100));
        assert!(!is_usable(early));
        let early = open(listener.local_addr().unwrap());
        let server = listener.accept().unwrap();
        assert!(is_usable(early));
        drop(server);
    }

    #[test]
    fn a_metadata_server_that_does_not_listen_is_absent_and_not_tried_again() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let metadata = Connection { origin: Url::google_metadata().origin().to_owned(), ..open(closed) };
        let error = metadata.wait(deadline()).unwrap_err();
        assert!(error.fault == Fault::Absent && !error.is_transient());
    }

    #[test]
    fn a_server_that_does_not_listen_is_unreachable() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(open(closed).wait(deadline()).unwrap_err().fault == Fault::Unreachable);
        assert!(open(closed).wait_if_usable(deadline()).ok().unwrap().is_none());
    }
}
