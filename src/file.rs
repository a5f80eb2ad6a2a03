//! Files of others, opened with care: regular files only, since to open a pipe or a device could wait for ever, and in bounded
//! time, since a network's file system could, too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use crate::deadline::Deadline;

/// How long a file is waited for that only serves an explanation.
const PATIENCE: Duration = Duration::from_secs(1);

/// The deadline of such a file. A signal has to be explained, too.
pub fn soon() -> Deadline {
    Deadline::after(PATIENCE).despite_signals()
}

/// At most `max_bytes` of a file; `None` where there is no such file, or none that can be read soon.
pub fn read(path: &Path, max_bytes: u64) -> Option<Vec<u8>> {
    let path = path.to_owned();
    let read = move || {
        let mut bytes = Vec::new();
        open(&path, OpenOptions::new().read(true))?.take(max_bytes).read_to_end(&mut bytes)?;
        io::Result::Ok(bytes)
    };
    soon().wait_for(read).ok()?.ok()
}

/// Opens a file that is there, to append to it.
///
/// # Errors
/// Whatever the operating system says; `Other` for what is no regular file, `TimedOut` if the deadline came first.
pub fn open_to_append(path: &Path, deadline: Deadline) -> io::Result<File> {
    let path = path.to_owned();
    deadline.wait_for(move || open(&path, OpenOptions::new().append(true)))?
}

fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let regular = |data: fs::Metadata| match data.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("it is not a regular file")),
    };
    regular(fs::metadata(path)?)?;
    let file = options.open(path)?;
    regular(file.metadata()?)?; // it may be another one by now
    Ok(file)
}
