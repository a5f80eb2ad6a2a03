//! Files of other programs. Only regular files are opened: opening a pipe or a device could block for ever. Reading
//! takes bounded time, too, since a file may be on a network file system.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use crate::os::deadline::Deadline;

/// How long to wait for a file that serves an explanation or a check.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// How many entries of a folder are read.
const MAX_NAMES: usize = 1000;

/// At most `max_bytes` of a file. `None` if it can't be read within [`READ_TIMEOUT`].
pub fn read(path: &Path, max_bytes: u64) -> Option<Vec<u8>> {
    let path = path.to_owned();
    with_timeout(move || {
        let mut bytes = Vec::new();
        open(&path, OpenOptions::new().read(true))?.take(max_bytes).read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

/// The names of a folder's entries, as far as they are UTF-8. None if it can't be read within [`READ_TIMEOUT`].
pub fn names(folder: &Path) -> Vec<String> {
    let folder = folder.to_owned();
    let entries = with_timeout(move || Ok(fs::read_dir(folder)?.take(MAX_NAMES).flatten().collect::<Vec<_>>()));
    entries.into_iter().flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn with_timeout<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Option<T> {
    // Signals don't count: a failure that a signal causes is explained, too.
    Deadline::after(READ_TIMEOUT).ignoring_signals().wait_for(work).ok()?.ok()
}

/// Opens a file that exists, to append to it.
///
/// # Errors
/// The operating system's error; `Other` if it is not a regular file.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().append(true))
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let regular =
        |data: Metadata| if data.is_file() { Ok(()) } else { Err(io::Error::other("it is not a regular file")) };
    regular(fs::metadata(path)?)?;
    // O_NONBLOCK: opening a leased file would block.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, rustix::fs::OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path)?;
    regular(file.metadata()?)?; // the path may lead to another file by now
    Ok(file)
}
