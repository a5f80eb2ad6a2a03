//! A tunnel to a server, through a proxy or past all of them, for one request of minreq's.
//!
//! minreq 3.0.0 waits for the first of a host's addresses until all its time is up, and can't be told to use no proxy where the
//! environment names one; it takes a proxy's answer for complete when a read brings less than 256 bytes, panics when the
//! proxy hangs up early, and waits for it without a timeout. So minreq gets a proxy that is this very process, on loopback, and
//! nothing but the TLS connection passes through it. Who waits for the request stops waiting at the deadline, so reads here
//! need no timeout.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::deadline::Deadline;
use crate::http::HttpError;
use crate::proxy::Proxy;
use crate::url::Url;
use crate::workflow::neutralise;

/// The most that is read of a request or an answer to CONNECT.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long whoever connects to us may take to say who it is. minreq does so at once.
const GREETING_PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait for one of a host's addresses, before the next is tried.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// A tunnel that waits for one connection.
pub struct Tunnel {
    /// What minreq has to be given.
    pub as_proxy: minreq::Proxy,
    /// Why the tunnel came to nothing, once it has.
    trouble: Receiver<HttpError>,
}

impl Tunnel {
    /// Opens a tunnel to a URL's server. Connections are made when minreq makes its own.
    ///
    /// # Errors
    /// [`HttpError::Network`] where this process can't listen on loopback.
    pub fn open(url: &Url, proxy: Option<&Proxy>, deadline: Deadline) -> Result<Tunnel, HttpError> {
        let no_tunnel = |error: io::Error| HttpError::Network(format!("no tunnel on loopback: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(no_tunnel)?;
        let port = listener.local_addr().map_err(no_tunnel)?.port();
        // Other users of this machine could connect, but don't know the password.
        let password = format!("{:016x}", RandomState::new().build_hasher().finish());
        let as_proxy = minreq::Proxy::new(format!("http://tunnel:{password}@127.0.0.1:{port}"))
            .map_err(|error| no_tunnel(io::Error::other(error)))?;
        let (sender, trouble) = mpsc::channel();
        let end = End { host: url.host().to_owned(), port: url.port(), proxy: proxy.cloned(), deadline };
        let spawned = thread::Builder::new().spawn(move || {
            for near in listener.incoming().flatten() {
                match serve(&near, &password, &end) {
                    Ok(Served::Stranger) => {}
                    Ok(Served::Ours) => return,
                    // Told before the connection is closed: then minreq notices, and we are asked.
                    Err(error) => return drop(sender.send(error)),
                }
            }
        });
        spawned.map_err(no_tunnel)?;
        Ok(Tunnel { as_proxy, trouble })
    }

    /// What is behind a failed request, where the tunnel knows.
    pub fn trouble(&self) -> Option<HttpError> {
        self.trouble.try_recv().ok()
    }
}

/// The server at the far end.
struct End {
    host: String,
    port: u16,
    proxy: Option<Proxy>,
    deadline: Deadline,
}

enum Served {
    Ours,
    Stranger,
}

fn serve(near: &TcpStream, password: &str, end: &End) -> Result<Served, HttpError> {
    let (mut near, mut from_near) = (near.try_clone()?, near.try_clone()?);
    near.set_read_timeout(Some(GREETING_PATIENCE))?;
    let request = read_head(&mut near);
    near.set_read_timeout(None)?;
    if !request.is_ok_and(|request| request.contains(&STANDARD.encode(format!("tunnel:{password}")))) {
        return Ok(Served::Stranger);
    }
    let mut far = match &end.proxy {
        Some(proxy) => connect_through(proxy, end)?,
        None => connect(&end.host, end.port, end.deadline)?,
    };
    far.set_nodelay(true)?;
    let mut to_far = far.try_clone()?;
    near.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    thread::Builder::new().spawn(move || {
        let _ = io::copy(&mut from_near, &mut to_far);
        let _ = to_far.shutdown(Shutdown::Write);
    })?;
    thread::Builder::new().spawn(move || {
        let _ = io::copy(&mut far, &mut near);
        let _ = near.shutdown(Shutdown::Write);
    })?;
    Ok(Served::Ours)
}

fn connect_through(proxy: &Proxy, end: &End) -> Result<TcpStream, HttpError> {
    let of_proxy = |error: io::Error| HttpError::Proxy(neutralise(&error.to_string(), 200));
    let mut far = connect(&proxy.host, proxy.port, end.deadline).map_err(of_proxy)?;
    let address = format!("{}:{}", end.host, end.port);
    let credentials = proxy.credentials.as_ref().map(|credentials| {
        // A user without a password is `user:` (RFC 7617, section 2).
        let colon = if credentials.contains(':') { "" } else { ":" };
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{credentials}{colon}")))
    });
    let request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{}\r\n", credentials.unwrap_or_default());
    far.write_all(request.as_bytes()).map_err(of_proxy)?;
    let answer = read_head(&mut far).map_err(of_proxy)?;
    let status_line = answer.lines().next().unwrap_or_default();
    let mut words = status_line.split_whitespace();
    match (words.next(), words.next()) {
        (Some(version), Some(status))
            if version.starts_with("HTTP/1.") && status.len() == 3 && status.starts_with('2') =>
        {
            Ok(far)
        }
        (Some(version), Some("407")) if version.starts_with("HTTP/1.") => Err(HttpError::ProxyCredentials),
        (_, status) => {
            let words = format!("it answered: {}", neutralise(&without_credentials(status_line, proxy), 100));
            let ours = status.is_some_and(|status| status.starts_with('4'));
            Err(if ours { HttpError::ProxyRefused(words) } else { HttpError::Proxy(words) })
        }
    }
}

/// A proxy's words, should it send back what it was sent.
fn without_credentials(words: &str, proxy: &Proxy) -> String {
    let Some(credentials) = &proxy.credentials else { return words.to_owned() };
    let password = credentials.split_once(':').map_or("", |(_, password)| password);
    let encoded = [credentials.clone(), format!("{credentials}:")].map(|text| STANDARD.encode(text));
    let secrets = encoded.iter().map(String::as_str).chain([credentials.as_str(), password]);
    secrets.filter(|secret| !secret.is_empty()).fold(words.to_owned(), |words, secret| words.replace(secret, "***"))
}

/// Tries a host's addresses one after another, IPv6 and IPv4 in turn: it is not rare that one of the two leads nowhere.
fn connect(host: &str, port: u16, deadline: Deadline) -> io::Result<TcpStream> {
    let (v6, v4): (Vec<SocketAddr>, Vec<SocketAddr>) = (host, port).to_socket_addrs()?.partition(SocketAddr::is_ipv6);
    let pairs = (0..v6.len().max(v4.len())).flat_map(|n| [v6.get(n), v4.get(n)]);
    let mut error = io::Error::other("the host has no address");
    for address in pairs.flatten() {
        let patience = deadline.remaining().min(CONNECT_PATIENCE);
        if patience.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(address, patience) {
            Ok(stream) => return Ok(stream),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// Reads up to the empty line that ends a request's or an answer's head, and no further.
fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while head.len() < MAX_HEAD_BYTES && stream.read(&mut byte)? == 1 {
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

    /// A server that answers each connection with one word over HTTP.
    fn server() -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = read_head(&mut stream);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nword");
            }
        });
        Url::parse(&url).unwrap()
    }

    #[test]
    fn a_stranger_gets_nothing_and_keeps_nobody_else_out() {
        let url = server();
        let tunnel = Tunnel::open(&url, None, Deadline::after(Duration::from_secs(10))).unwrap();
        let port =
            format!("{:?}", tunnel.as_proxy).split("port: ").nth(1).unwrap().split(',').next().unwrap().to_owned();
        for request in
            ["CONNECT x:1 HTTP/1.1\r\nProxy-Authorization: Basic dHVubmVsOg==\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"]
        {
            let mut stranger = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
            stranger.write_all(request.as_bytes()).unwrap();
            stranger.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            let _ = stranger.read_to_string(&mut answer);
            assert_eq!(answer, "");
        }
        let request = minreq::get(url.to_string()).with_proxy(tunnel.as_proxy.clone()).with_timeout(10);
        assert_eq!(request.send().unwrap().as_str().unwrap(), "word");
        assert!(tunnel.trouble().is_none());
    }

    #[test]
    fn a_server_that_is_not_there_is_told_of() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = Url::parse(&format!("http://{closed}")).unwrap();
        let tunnel = Tunnel::open(&url, None, Deadline::after(Duration::from_secs(10))).unwrap();
        let request = minreq::get(url.to_string()).with_proxy(tunnel.as_proxy.clone()).with_timeout(10);
        assert!(request.send().is_err());
        assert!(matches!(tunnel.trouble(), Some(HttpError::Unreachable(_))));
    }
}
