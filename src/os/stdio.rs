//! stdout and stderr, which the calling program has opened: whether they lead anywhere, and how to write to them with a
//! deadline. A plain write to a pipe that nobody reads would block for ever.
//!
//! std's own writes are not used: if a stream is not open for writing, they report success (`handle_ebadf` in
//! library/std/src/io/stdio.rs).

pub use platform::{is_discarded, write};

#[cfg(unix)]
mod platform {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::{Stat, fstat, stat};
    use rustix::io::Errno;
    use rustix::pipe::PIPE_BUF;

    use crate::os::deadline::Deadline;

    /// Writes the whole text.
    ///
    /// # Errors
    /// The operating system's error; `TimedOut` if the deadline came first. A part may have been written.
    pub fn write(stream: impl AsFd, text: &str, deadline: Deadline) -> io::Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written = deadline.wait(|| write_if_ready(stream.as_fd(), rest))??;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes as much as does not block: a pipe that is ready takes `PIPE_BUF` bytes at once (`pipe(7)`). `None` if the
    /// stream is not ready.
    fn write_if_ready(stream: BorrowedFd, bytes: &[u8]) -> Option<io::Result<usize>> {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let written = poll(&mut [PollFd::new(&stream, PollFlags::OUT)], Some(&at_once)).and_then(|ready| match ready {
            0 => Err(Errno::AGAIN),
            _ => rustix::io::write(stream, bytes.get(..PIPE_BUF).unwrap_or(bytes)), // fails if `poll` found an error
        });
        match written {
            Err(Errno::AGAIN | Errno::INTR) => None,
            Ok(0) => Some(Err(io::ErrorKind::WriteZero.into())),
            written => Some(written.map_err(io::Error::from)),
        }
    }

    /// True if the stream can't be written to, or is /dev/null. If the caller has closed the stream, Rust opens
    /// /dev/null in its place (library/std/src/sys/pal/unix), where a write would look like a success.
    pub fn is_discarded(stream: impl AsFd) -> bool {
        let place = |stat: Stat| (stat.st_dev, stat.st_ino);
        let written_to = rustix::io::write(&stream, &[]).and_then(|_| fstat(&stream)).map(place);
        written_to.is_err() || written_to == stat("/dev/null").map(place)
    }
}

#[cfg(windows)]
mod platform {
    use std::fs::File;
    use std::io::{self, IsTerminal, Write};
    use std::os::windows::io::AsHandle;

    use crate::os::deadline::Deadline;

    /// Writes the whole text.
    ///
    /// # Errors
    /// The operating system's error; `TimedOut` if the deadline came first. A part may have been written.
    pub fn write<S>(mut stream: S, text: &str, deadline: Deadline) -> io::Result<()>
    where
        S: AsHandle + IsTerminal + Write + Send + 'static,
    {
        let text = text.to_owned();
        deadline.wait_for(move || match stream.is_terminal() {
            // std converts text for a console.
            true => stream.write_all(text.as_bytes()).and_then(|()| stream.flush()),
            false => file(&stream)?.write_all(text.as_bytes()),
        })?
    }

    /// True if the stream can't be written to, or is NUL. Consoles aside, programs get no other device.
    pub fn is_discarded(stream: impl AsHandle + IsTerminal) -> bool {
        let written_to = file(&stream).and_then(|mut file| file.write(&[]).and_then(|_| winapi_util::file::typ(&file)));
        !stream.is_terminal() && !written_to.is_ok_and(|place| !place.is_char())
    }

    fn file(stream: &impl AsHandle) -> io::Result<File> {
        stream.as_handle().try_clone_to_owned().map(File::from)
    }
}
