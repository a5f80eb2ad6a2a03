//! Lets minreq use a connection that this program has opened. For minreq, this process is a proxy on loopback, which
//! passes on what minreq and the server send. So the deadline, signals and the bound on a reply's bytes act here: each
//! closes the connection, and minreq notices.

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

use crate::net::http_error::{Fault, HttpError};
use crate::os::deadline::{Deadline, POLL};

/// The most that a caller may send before the password.
const MAX_GREETING_BYTES: u64 = 1024;
/// The most callers at a time that have not sent the password yet.
const MAX_CALLERS: usize = 64;
/// How long to wait for minreq to connect and to send the password. It may fail before that without a sign.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// A proxy on loopback, for one connection.
pub struct Relay {
    /// The proxy to give to minreq.
    pub as_proxy: minreq::Proxy,
    listener: TcpListener,
    /// The password that minreq sends. Other users of this machine can connect, but don't know it.
    greeting: String,
}

impl Relay {
    /// # Errors
    /// Whatever the operating system says, where this process can't listen on loopback.
    pub fn new() -> io::Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        // Its seed is the operating system's (std). What passes here is encrypted besides: a stranger could only get in
        // the way.
        let user = format!("relay:{:016x}", RandomState::new().build_hasher().finish());
        let as_proxy = minreq::Proxy::new(format!("http://{user}@{}", listener.local_addr()?));
        Ok(Relay { as_proxy: as_proxy.map_err(io::Error::other)?, listener, greeting: STANDARD.encode(user) })
    }

    /// Passes on what minreq and the server send, until minreq has closed its end. The server may send no more than so
    /// many bytes: a reply's header and body, and TLS around them.
    ///
    /// # Errors
    /// [`HttpError`], if something else ended it: the deadline, a signal, the bound on bytes, or that minreq did not
    /// connect in time.
    pub fn run(&self, remote: &TcpStream, max_received_bytes: usize, deadline: Deadline) -> Result<(), HttpError> {
        let local = self.caller_with_password(deadline)?;
        (&local).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        remote.set_nonblocking(true)?;
        let mut buffer = vec![0; 16 * 1024]; // on the heap: freed memory is wiped there
        let (mut received, mut has_remote_ended) = (0, false);
        loop {
            let up = pass(&local, remote, &mut buffer, deadline)?;
            let down = if has_remote_ended { None } else { pass(remote, &local, &mut buffer, deadline)? };
            received += down.unwrap_or(0);
            has_remote_ended |= down == Some(0);
            match (up, down) {
                _ if received > max_received_bytes => return Err(HttpError::too_long(max_received_bytes)),
                (Some(0), None | Some(0)) => return Ok(()),
                (Some(_), _) => {
                    // minreq does not set TCP_NODELAY on its end, so it waits for an acknowledgement before it sends
                    // the request, and Linux may delay that by 40 ms. Linux resets this setting by itself (`tcp(7)`),
                    // so it is set again and again.
                    #[cfg(target_os = "linux")]
                    let _ = rustix::net::sockopt::set_tcp_quickack(&local, true);
                }
                (None, Some(_)) => {}
                (None, None) => {
                    let mut ends = vec![PollFd::new(&local, PollFlags::IN)];
                    // One that has ended would always be ready.
                    ends.extend((!has_remote_ended).then(|| PollFd::new(remote, PollFlags::IN)));
                    wait(&mut ends, deadline)?;
                }
            }
        }
    }

    /// The connection of the caller that sends the password. A stranger can't delay it.
    fn caller_with_password(&self, deadline: Deadline) -> Result<TcpStream, HttpError> {
        let mut callers: Vec<Caller> = vec![];
        let start = Instant::now();
        while start.elapsed() < GREETING_TIMEOUT {
            let mut ready = vec![PollFd::new(&self.listener, PollFlags::IN)];
            ready.extend(callers.iter().map(|caller| PollFd::new(&caller.stream, PollFlags::IN)));
            wait(&mut ready, deadline)?;
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    callers.push(Caller { stream, said: vec![] });
                }
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::ConnectionAborted].contains(&error.kind()) => {}
                Err(error) => return Err(error.into()),
            }
            callers.retain_mut(|caller| caller.may_be_ours(&self.greeting));
            if let Some(ours) = callers.iter().position(Caller::is_done) {
                return Ok(callers.swap_remove(ours).stream);
            }
            if callers.len() > MAX_CALLERS {
                callers.remove(0);
            }
        }
        Err(HttpError::new(Fault::Unreachable, "the relay on loopback is not used in time")) // so nothing was sent
    }
}

/// Whoever has connected to the relay.
struct Caller {
    stream: TcpStream,
    said: Vec<u8>,
}

impl Caller {
    /// Listens to it. False once it has said what minreq would not say, too much, or nothing more.
    fn may_be_ours(&mut self, greeting: &str) -> bool {
        let heard = (&self.stream).take(MAX_GREETING_BYTES).read_to_end(&mut self.said);
        let goes_on = heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        let knows_it = || self.said.windows(greeting.len()).any(|part| part == greeting.as_bytes());
        goes_on && self.said.len() as u64 <= MAX_GREETING_BYTES && (!self.is_done() || knows_it())
    }

    /// True if it has said all that minreq says before it waits for an answer.
    fn is_done(&self) -> bool {
        self.said.ends_with(b"\r\n\r\n")
    }
}

/// Passes on some of what has come from one end, and returns how many bytes: `None` if nothing has, 0 if nothing more
/// can come or go.
fn pass(
    mut from: &TcpStream,
    mut to: &TcpStream,
    buffer: &mut [u8],
    deadline: Deadline,
) -> Result<Option<usize>, HttpError> {
    let is_for_later = |error: &io::Error| [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind());
    let came = match from.read(buffer) {
        Err(error) if is_for_later(&error) => return Ok(None),
        read => read.unwrap_or(0),
    };
    let mut rest = buffer.get(..came).unwrap_or_default();
    while !rest.is_empty() {
        let written = deadline.wait(|| match to.write(rest) {
            Err(error) if is_for_later(&error) => None,
            written => Some(written.unwrap_or(0)),
        })?;
        if written == 0 {
            break;
        }
        rest = rest.get(written..).unwrap_or_default();
    }
    if came == 0 || !rest.is_empty() {
        let _ = to.shutdown(Shutdown::Write);
        return Ok(Some(0));
    }
    Ok(Some(came))
}

/// Waits until one of these is ready, or for a moment. If the system has no memory for that, it waits for a moment,
/// too: a reply with a token may still be on its way.
fn wait(ends: &mut [PollFd], deadline: Deadline) -> Result<(), HttpError> {
    if let Some(ended) = deadline.ended() {
        return Err(ended.into());
    }
    let moment = POLL.min(deadline.remaining());
    let timeout = Timespec { tv_sec: 0, tv_nsec: moment.subsec_nanos() as _ }; // its type is the system's
    match poll(ends, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(_) => thread::sleep(moment),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection to a server that reads, says this, and closes the connection.
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

    /// What minreq makes of it, and what the relay does.
    fn relayed(relay: Relay, remote: &TcpStream, timeout: Duration) -> (Option<String>, Result<(), HttpError>) {
        let request = minreq::get("http://127.0.0.1:9").with_proxy(relay.as_proxy.clone());
        let client =
            thread::spawn(move || request.send().ok().and_then(|reply| reply.as_str().ok().map(str::to_owned)));
        let relayed = relay.run(remote, MAX_RECEIVED_BYTES, Deadline::after(timeout));
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
    fn a_request_that_did_not_reach_the_relay_did_not_reach_the_server() {
        let ended = Relay::new().unwrap().run(&remote(word()), MAX_RECEIVED_BYTES, Deadline::after(SOON)).unwrap_err();
        assert!(ended.fault == Fault::Unreachable, "{}", ended.text);
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
