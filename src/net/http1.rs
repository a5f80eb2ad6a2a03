//! The parts of HTTP/1.1 (RFC 9112) that are read without minreq: a proxy's answer, and the final reply after an
//! interim one (1xx). A client has to read on after an interim reply (RFC 9110, section 15.2). minreq 3.0.0 stops
//! there, and takes the rest for the body.

use std::io::{self, ErrorKind, Read};

use crate::net::http_error::HttpError;

/// True for the status of an interim reply. 101 counts as final, since no HTTP follows it.
pub fn is_interim(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}

/// Reads the head of the next final reply: its status and its headers, with names in lower case. The caller bounds the
/// stream. A header line without a colon is left out: it is the rest of a folded header (RFC 9112, section 5.2), or
/// nothing that is needed here.
///
/// # Errors
/// [`HttpError`]
pub fn read_head(stream: &mut impl Read) -> Result<(u16, Vec<(String, String)>), HttpError> {
    loop {
        let line = read_line(stream)?;
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        let status = status.ok_or_else(HttpError::no_reply)?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(stream)?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        if !is_interim(status) {
            return Ok((status, headers));
        }
    }
}

/// Reads a body that comes in chunks (RFC 9112, section 7.1), up to `max_bytes`. Trailers are not read.
pub fn read_chunks(stream: &mut impl Read, max_bytes: u64, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(stream)?;
        let length = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(length, 16).map_err(io::Error::other)?;
        let room = max_bytes - body.len() as u64;
        let read = stream.take(length.min(room)).read_to_end(body)? as u64;
        if length == 0 || read == room {
            return Ok(());
        }
        if read < length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if !read_line(stream)?.is_empty() {
            return Err(io::Error::other("a chunk is longer than its length"));
        }
    }
}

/// A line without its end.
fn read_line(stream: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        if stream.read(&mut byte)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if byte == *b"\n" {
            return Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned());
        }
        line.extend(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_replies_are_skipped() {
        let mut text = &b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nX-Y:  z \r\n\r\nbody"[..];
        let (status, headers) = read_head(&mut text).ok().unwrap();
        assert_eq!((status, headers, text), (200, vec![("x-y".to_owned(), "z".to_owned())], &b"body"[..]));
        let mut text = &b"HTTP/1.1  200  OK\r\nX: a\r\n folded\r\nnonsense\r\nY: b\r\n\r\n"[..];
        let (status, headers) = read_head(&mut text).ok().unwrap();
        assert_eq!((status, headers.len()), (200, 2), "lines that are no headers are left out");
        let mut text = &b"HTTP/1.0 101 Switching\r\n\r\nmore"[..];
        assert_eq!(read_head(&mut text).ok().unwrap().0, 101);
        let error = |mut text: &[u8]| read_head(&mut text).err().unwrap().text;
        for text in ["", "HTTP/1.1 200", "HTTP/1.1 100 C\r\n\r\n", "HTTP/1.1 200 OK\r\nX: y\r\n"] {
            assert!(error(text.as_bytes()).starts_with("no complete reply came"), "{text:?}");
        }
        assert!(error(b"SSH-2.0 x\r\n").starts_with("it gave no HTTP reply"));
        assert!(error(&[b'x'; 10_000]).starts_with("no complete reply came"));
    }

    #[test]
    fn chunks_are_joined_and_a_missing_one_is_noticed() {
        let read = |text: &str, max_bytes: u64| {
            let mut body = vec![];
            read_chunks(&mut text.as_bytes(), max_bytes, &mut body).map(|()| body)
        };
        assert_eq!(read("4\r\nabcd\r\n1; x=y\r\ne\r\n0\r\n\r\n", 9).unwrap(), b"abcde");
        assert_eq!(read("4\r\nabcd\r\n7\r\nefghijk\r\n", 6).unwrap(), b"abcdef");
        assert_eq!(read("0\r\nTrailer: x\r\n\r\n", 9).unwrap(), b"");
        for text in ["", "4\r\nab", "4\r\nabcd", "4\r\nabcd\r\n", "4\r\nabcdef\r\n0\r\n\r\n", "x\r\nab", "-1\r\n"] {
            assert!(read(text, 9).is_err(), "{text:?}");
        }
    }
}
