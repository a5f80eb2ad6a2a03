//! A small HTTP/1.1 server on loopback. It reads one request from each connection, and records it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// For example `TLSv1_3`. `None` without TLS.
    pub tls_version: Option<String>,
}

pub struct Response {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

/// A server that runs until the process ends.
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
    /// How many of them are still open.
    open: Arc<AtomicUsize>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// The decoded value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let mut parameters = form_urlencoded::parse(query.as_bytes());
        parameters.find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
    }
}

impl Response {
    pub fn json(status: u16, value: &serde_json::Value) -> Response {
        Response { status, content_type: "application/json", body: value.to_string().into_bytes() }
    }

    pub fn text(status: u16, text: &str) -> Response {
        Response { status, content_type: "text/plain", body: text.as_bytes().to_vec() }
    }

    /// No reply: the connection is closed.
    pub fn lost() -> Response {
        Response { status: 0, content_type: "", body: vec![] }
    }

    fn bytes(&self) -> Vec<u8> {
        if self.status == 0 {
            return vec![];
        }
        let Response { status, content_type, body } = self;
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} Status\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    }
}

impl Server {
    /// Serves on a free port of 127.0.0.1. Each connection has its own thread.
    pub fn start(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Server {
        Server::on(TcpListener::bind("127.0.0.1:0").unwrap(), tls, answer)
    }

    /// Serves on this listener.
    pub fn on(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Server {
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (connections, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (answer, record) = (Arc::new(answer), Arc::clone(&requests));
        let (count, count_open) = (Arc::clone(&connections), Arc::clone(&open));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                count_open.fetch_add(1, Ordering::SeqCst);
                let (tls, answer, record) = (tls.clone(), Arc::clone(&answer), Arc::clone(&record));
                let open = Arc::clone(&count_open);
                thread::spawn(move || {
                    // A client may close its connection at any time.
                    let _ = serve(stream, tls, &record, &*answer);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Server { address, scheme, requests, connections, open }
    }

    /// A URL on this server. `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until all connections that were made so far are closed.
    pub fn wait_until_idle(&self) {
        // Connections are accepted in order. Once this one is, all earlier ones are.
        let mut last = TcpStream::connect(self.address).unwrap();
        last.shutdown(Shutdown::Write).unwrap();
        let _ = last.read_to_end(&mut vec![]);
        while self.open.load(Ordering::SeqCst) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    record: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request) -> Response,
) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let Some(config) = tls else {
        return exchange(stream, record, answer, |_| None);
    };
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    exchange(StreamOwned::new(connection, stream), record, answer, |stream| {
        stream.conn.protocol_version().map(|version| format!("{version:?}"))
    })
}

fn exchange<S: Read + Write>(
    mut stream: S,
    record: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request) -> Response,
    tls_version: impl Fn(&S) -> Option<String>,
) -> io::Result<()> {
    let mut request = read_request(&mut stream)?;
    request.tls_version = tls_version(&stream);
    record.lock().unwrap().push(request.clone());
    stream.write_all(&answer(&request).bytes())?;
    stream.flush()
}

/// A request's body, or `None` if a part of it is missing.
fn whole_body(request: &Request, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    if request.header("Transfer-Encoding").is_none() {
        let length = request.header("Content-Length").map_or(0, |value| value.parse().unwrap());
        return Ok(bytes.get(..length).map(<[u8]>::to_vec));
    }
    let (mut body, mut rest) = (Vec::new(), bytes);
    loop {
        match httparse::parse_chunk_size(rest).map_err(|_| io::Error::other("not a chunk"))? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete((_, 0)) => return Ok(Some(body)),
            httparse::Status::Complete((start, length)) => {
                let end = start + length as usize;
                let Some(chunk) = rest.get(start..end) else { return Ok(None) };
                body.extend_from_slice(chunk);
                let Some(next) = rest.get(end + 2..) else { return Ok(None) };
                rest = next;
            }
        }
    }
}

/// Reads one request, body included.
pub fn read_request(stream: &mut impl Read) -> io::Result<Request> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(start) = parsed.parse(&bytes).map_err(io::Error::other)? {
            let headers: Vec<(String, String)> = parsed
                .headers
                .iter()
                .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
                .collect();
            let request = Request {
                method: parsed.method.unwrap().to_owned(),
                target: parsed.path.unwrap().to_owned(),
                body: vec![],
                headers,
                tls_version: None,
            };
            if let Some(body) = whole_body(&request, &bytes[start..])? {
                return Ok(Request { body, ..request });
            }
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}
