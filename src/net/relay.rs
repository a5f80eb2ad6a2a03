//! Lets minreq use a connection that this program has opened. To minreq, this process is a proxy on loopback, which
//! passes bytes on between minreq and the server. So the deadline, signals and the bound on a reply's bytes act here:
//! each closes the connection, and minreq notices.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::net::http_error::HttpError;
use crate::os::deadline::{Deadline, POLL, WaitError};

/// The most bytes that a client may send before it has sent the password.
const MAX_CONNECT_BYTES: u64 = 1024;
/// The most clients at a time that have not sent the password yet.
const MAX_CLIENTS: usize = 64;
/// How long to wait until minreq has connected and sent the password. minreq can fail before that without a sign.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A proxy on loopback, for one connection.
pub struct Relay {
    /// This proxy, for minreq.
    pub as_proxy: minreq::Proxy,
    listener: TcpListener,
    /// User and password, as minreq sends them. Other users of this machine can connect, but don't know the password.
    credentials: String,
}

impl Relay {
    /// # Errors
    /// The operating system does not let this process listen on loopback.
    pub fn new() -> io::Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        // std takes the seed from the operating system. Besides, TLS encrypts the tokens, so a stranger could only
        // disturb.
        let user = format!("relay:{:016x}", RandomState::new().build_hasher().finish());
        let as_proxy = minreq::Proxy::new(format!("http://{user}@{}", listener.local_addr()?));
        Ok(Relay { as_proxy: as_proxy.map_err(io::Error::other)?, listener, credentials: STANDARD.encode(user) })
    }

    /// The connection of the client that sends the password, which is minreq. A stranger can't delay it.
    ///
    /// # Errors
    /// Whatever the operating system says; `TimedOut` if the deadline came first, or minreq did not connect in time.
    pub fn accept(&self, deadline: Deadline) -> io::Result<TcpStream> {
        let mut clients: Vec<Client> = vec![];
        let start = Instant::now();
        while start.elapsed() < CONNECT_TIMEOUT {
            let mut ends = vec![PollFd::new(&self.listener, PollFlags::IN)];
            ends.extend(clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::IN)));
            wait(&mut ends, deadline)?;
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    clients.push(Client { stream, received: vec![] });
                }
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::ConnectionAborted].contains(&error.kind()) => {}
                Err(error) => return Err(error),
            }
            clients.retain_mut(|client| client.may_be_minreq(&self.credentials));
            if let Some(minreq) = clients.iter().position(Client::has_sent_all) {
                let stream = clients.swap_remove(minreq).stream;
                (&stream).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                return Ok(stream);
            }
            if clients.len() > MAX_CLIENTS {
                clients.remove(0);
            }
        }
        Err(io::Error::new(ErrorKind::TimedOut, "minreq does not connect"))
    }
}

/// Passes bytes on between minreq and the server, until minreq has closed its end. The server may send at most
/// `max_received_bytes`: a reply's header and body, and TLS around them. Until its first byte, `before_reply` is the
/// deadline.
///
/// # Errors
/// [`HttpError`], if something else ended it: the deadline, a signal, or the bound on bytes.
pub fn pass_on(
    local: &TcpStream,
    remote: &TcpStream,
    max_received_bytes: usize,
    before_reply: Deadline,
    deadline: Deadline,
) -> Result<(), HttpError> {
    remote.set_nonblocking(true)?;
    let mut buffer = vec![0; 16 * 1024]; // on the heap: freed memory is wiped there
    let (mut received, mut has_remote_ended) = (0, false);
    loop {
        let deadline = if received == 0 { before_reply } else { deadline };
        let up = pass(local, remote, &mut buffer, deadline)?;
        let down = if has_remote_ended { None } else { pass(remote, local, &mut buffer, deadline)? };
        received += down.unwrap_or(0);
        has_remote_ended |= down == Some(0);
        if received > max_received_bytes {
            return Err(HttpError::too_long(max_received_bytes));
        }
        if up == Some(0) && down.unwrap_or(0) == 0 {
            return Ok(()); // minreq's end is closed, and nothing is left to pass on
        }
        // minreq does not set TCP_NODELAY on its end, so it waits for an acknowledgement before it sends the
        // request. Linux may delay that by 40 ms, and resets this setting by itself (`tcp(7)`), so it is set again
        // and again.
        #[cfg(target_os = "linux")]
        if up.is_some() {
            let _ = rustix::net::sockopt::set_tcp_quickack(local, true);
        }
        if up.is_none() && down.is_none() {
            let mut ends = vec![PollFd::new(local, PollFlags::IN)];
            if !has_remote_ended {
                ends.push(PollFd::new(remote, PollFlags::IN)); // a closed one would always be readable
            }
            wait(&mut ends, deadline)?;
        }
    }
}

/// A client of the relay: minreq or a stranger.
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Reads the bytes that have come. False if the client can't be minreq: it has closed its end, sent too much, or
    /// sent a request without the password.
    fn may_be_minreq(&mut self, credentials: &str) -> bool {
        let read = (&self.stream).take(MAX_CONNECT_BYTES).read_to_end(&mut self.received);
        let is_open = read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        if !is_open || self.received.len() as u64 > MAX_CONNECT_BYTES {
            return false;
        }
        let has_password = self.received.windows(credentials.len()).any(|part| part == credentials.as_bytes());
        has_password || !self.has_sent_all()
    }

    /// True if it has sent a whole request, as minreq does before it waits for the answer.
    fn has_sent_all(&self) -> bool {
        self.received.ends_with(b"\r\n\r\n")
    }
}

/// Passes on the bytes that have come from one end, and returns how many. `None`: there are none yet. 0: no more can
/// come or go.
fn pass(from: &TcpStream, to: &TcpStream, buffer: &mut [u8], deadline: Deadline) -> Result<Option<usize>, WaitError> {
    let is_for_later = |error: &io::Error| [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind());
    let read = match (&*from).read(buffer) {
        Err(error) if is_for_later(&error) => return Ok(None),
        read => read.unwrap_or(0),
    };
    let mut rest = buffer.get(..read).unwrap_or_default();
    while !rest.is_empty() {
        let written = deadline.wait(|| match (&*to).write(rest) {
            Err(error) if is_for_later(&error) => None,
            written => Some(written.unwrap_or(0)),
        })?;
        if written == 0 {
            break;
        }
        rest = rest.get(written..).unwrap_or_default();
    }
    if read == 0 || !rest.is_empty() {
        let _ = to.shutdown(Shutdown::Write);
        return Ok(Some(0));
    }
    Ok(Some(read))
}

/// Waits until one of these is ready, or for a moment. If `poll` fails, it waits for a moment, too: memory may be
/// short, and a reply with a token may still be on its way.
fn wait(ends: &mut [PollFd], deadline: Deadline) -> Result<(), WaitError> {
    if let Some(ended) = deadline.ended() {
        return Err(ended);
    }
    let moment = POLL.min(deadline.remaining());
    let timeout = Timespec { tv_sec: 0, tv_nsec: moment.subsec_nanos() as _ }; // the type depends on the system
    if poll(ends, Some(&timeout)).is_err_and(|error| error != Errno::INTR) {
        thread::sleep(moment);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection to a server that reads, sends this answer, and closes the connection.
    fn remote(answer: Vec<u8>) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer);
        });
        remote
    }

    fn word() -> Vec<u8> {
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nword".to_vec()
    }

    /// The body that minreq receives, and the relay's result.
    fn relayed(relay: Relay, remote: &TcpStream, timeout: Duration) -> (Option<String>, Result<(), HttpError>) {
        let request = minreq::get("http://127.0.0.1:9").with_proxy(relay.as_proxy.clone());
        let client =
            thread::spawn(move || request.send().ok().and_then(|reply| reply.as_str().ok().map(str::to_owned)));
        let deadline = Deadline::after(timeout);
        let relayed = pass_on(&relay.accept(deadline).unwrap(), remote, MAX_RECEIVED_BYTES, deadline, deadline);
        drop(relay);
        (client.join().unwrap(), relayed)
    }

    const MAX_RECEIVED_BYTES: usize = 256 * 1024;
    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn strangers_get_nothing_and_stall_nobody() {
        let relay = Relay::new().unwrap();
        let address = relay.listener.local_addr().unwrap();
        let mut strangers: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        strangers[0].write_all(b"CONNECT x:1 HTTP/1.1\r\nProxy-Authorization: Basic cmVsYXk6\r\n\r\n").unwrap();
        strangers[1].write_all(&[b'x'; 5000]).unwrap();
        let mut first = strangers.swap_remove(0);
        thread::spawn(move || {
            for mut stranger in strangers.iter().cycle() {
                let _ = stranger.write_all(b"C");
                thread::sleep(Duration::from_millis(5));
            }
        });
        let start = Instant::now();
        let (reply, relayed) = relayed(relay, &remote(word()), SOON);
        assert!(reply.as_deref() == Some("word") && relayed.is_ok(), "{reply:?}");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        let mut answer = vec![];
        let _ = first.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }

    #[test]
    fn a_client_that_does_not_connect_is_not_waited_for_until_the_deadline() {
        let start = Instant::now();
        let error = Relay::new().unwrap().accept(Deadline::after(SOON)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    }

    #[test]
    fn an_end_that_reads_late_and_slowly_gets_all_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pair = || {
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (near, listener.accept().unwrap().0)
        };
        let ((mut source, from), (to, mut sink)) = (pair(), pair());
        let sent: Vec<u8> = (0..8_000_000u32).map(|n| n as u8).collect();
        let expected = sent.clone();
        thread::spawn(move || source.write_all(&sent).unwrap());
        let reader = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            let mut got = vec![];
            sink.read_to_end(&mut got).map(|_| got)
        });
        from.set_nonblocking(true).unwrap();
        to.set_nonblocking(true).unwrap();
        let deadline = Deadline::after(SOON);
        while pass(&from, &to, &mut [0; 4096], deadline).ok().unwrap() != Some(0) {
            assert!(deadline.ended().is_none());
        }
        assert!(reader.join().unwrap().unwrap() == expected);
    }

    #[test]
    fn the_deadline_ends_it_and_so_do_too_many_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let start = Instant::now();
        let (_, ended) = relayed(Relay::new().unwrap(), &silent, Duration::from_millis(300));
        assert!(ended.err().unwrap().text.starts_with("no whole answer: the timeout"));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());

        let endless = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 2 * MAX_RECEIVED_BYTES]].concat();
        let (_, ended) = relayed(Relay::new().unwrap(), &remote(endless), SOON);
        assert!(ended.unwrap_err().text.contains("longer than 256 KiB"));
    }
}
