//! stdout and stderr, the two streams that others made for us: whether they lead anywhere, and writes to them that end. A pipe
//! that nobody reads would hold a plain write for ever.
//!
//! This is not std's way to write: std takes a stream that is not open for writing for a success (`handle_ebadf` in
//! library/std/src/io/stdio.rs).

use std::io;

use crate::net::deadline::Deadline;

pub use platform::{leads_nowhere, write};

/// One of the two.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    Stdout,
    Stderr,
}

#[cfg(unix)]
mod platform {
    use std::fs::{self, File};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::fs::MetadataExt;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use rustix::pipe::PIPE_BUF;

    use super::{Deadline, Stream, io};

    /// Writes the whole text.
    ///
    /// # Errors
    /// Whatever the operating system says; `TimedOut` if the deadline came first. A part may have been written.
    pub fn write(stream: Stream, text: &str, deadline: Deadline) -> io::Result<()> {
        with(stream, |stream| {
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let written = deadline.wait(|| write_if_ready(stream, rest))??;
                rest = rest.get(written..).unwrap_or_default();
            }
            Ok(())
        })
    }

    /// Writes as much as does not block: a pipe that is ready takes that much at once (`PIPE_BUF` in `pipe(7)`). `None` if the
    /// stream is not ready.
    fn write_if_ready(stream: BorrowedFd, bytes: &[u8]) -> Option<io::Result<usize>> {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut [PollFd::new(&stream, PollFlags::OUT)], Some(&at_once)) {
            Ok(0) | Err(Errno::INTR) => return None,
            Ok(_) => {} // also where something is wrong, which writing tells
            Err(error) => return Some(Err(error.into())),
        }
        match rustix::io::write(stream, bytes.get(..PIPE_BUF).unwrap_or(bytes)) {
            Ok(0) => Some(Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => Some(Ok(written)),
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    /// True where the stream can't be written to, or is /dev/null. Rust opens that where the caller closed the stream
    /// (library/std/src/sys/pal/unix), so that writing there would look like a success.
    pub fn leads_nowhere(stream: Stream) -> bool {
        let place = with(stream, |stream| {
            rustix::io::write(stream, &[])?;
            File::from(stream.try_clone_to_owned()?).metadata()
        });
        match (place, fs::metadata("/dev/null")) {
            (Ok(place), Ok(null)) => (place.dev(), place.ino()) == (null.dev(), null.ino()),
            (place, _) => place.is_err(),
        }
    }

    fn with<T>(stream: Stream, act: impl FnOnce(BorrowedFd) -> T) -> T {
        match stream {
            Stream::Stdout => act(io::stdout().as_fd()),
            Stream::Stderr => act(io::stderr().as_fd()),
        }
    }
}

#[cfg(windows)]
mod platform {
    use std::fs::File;
    use std::io::{IsTerminal, Write};
    use std::os::windows::io::AsHandle;

    use super::{Deadline, Stream, io};

    /// Writes the whole text.
    ///
    /// # Errors
    /// Whatever the operating system says; `TimedOut` if the deadline came first. A part may have been written.
    pub fn write(stream: Stream, text: &str, deadline: Deadline) -> io::Result<()> {
        let text = text.to_owned();
        deadline.wait_for(move || match stream {
            _ if !is_terminal(stream) => file(stream)?.write_all(text.as_bytes()),
            // std knows how a console wants its text.
            Stream::Stdout => io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()),
            Stream::Stderr => io::stderr().write_all(text.as_bytes()),
        })?
    }

    /// True where the stream can't be written to, or is NUL: there is no other device but for consoles that programs are given.
    pub fn leads_nowhere(stream: Stream) -> bool {
        let written_to = file(stream).and_then(|mut file| file.write(&[]).and_then(|_| winapi_util::file::typ(&file)));
        !is_terminal(stream) && !written_to.is_ok_and(|place| !place.is_char())
    }

    fn is_terminal(stream: Stream) -> bool {
        match stream {
            Stream::Stdout => io::stdout().is_terminal(),
            Stream::Stderr => io::stderr().is_terminal(),
        }
    }

    fn file(stream: Stream) -> io::Result<File> {
        let handle = match stream {
            Stream::Stdout => io::stdout().as_handle().try_clone_to_owned(),
            Stream::Stderr => io::stderr().as_handle().try_clone_to_owned(),
        };
        handle.map(File::from)
    }
}
