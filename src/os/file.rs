//! Files of others, opened with care: regular files only, since to open a pipe or a device could wait for ever. To read
//! one takes bounded time, too: it may be on a network's file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use crate::os::deadline::Deadline;

/// How long a file is waited for that only serves an explanation.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// More are not looked at.
const MAX_NAMES: usize = 1000;

/// At most `max_bytes` of a file; `None` where there is no such file, or none that can be read soon.
pub fn read(path: &Path, max_bytes: u64) -> Option<Vec<u8>> {
    let path = path.to_owned();
    soon(move || {
        let mut bytes = Vec::new();
        open(&path, OpenOptions::new().read(true))?.take(max_bytes).read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

/// The names of what is in a folder, as far as they are UTF-8; none where there is no such folder, or none that can be
/// read soon.
pub fn names(folder: &Path) -> Vec<String> {
    let folder = folder.to_owned();
    let entries = soon(move || Ok(fs::read_dir(folder)?.take(MAX_NAMES).flatten().collect::<Vec<_>>()));
    entries.into_iter().flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn soon<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Option<T> {
    Deadline::after(READ_TIMEOUT).ignoring_signals().wait_for(work).ok()?.ok() // a signal has to be explained, too
}

/// Opens a file that is there, to append to it.
///
/// # Errors
/// Whatever the operating system says; `Other` for what is no regular file.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().append(true))
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let regular = |data: fs::Metadata| match data.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("it is not a regular file")),
    };
    regular(fs::metadata(path)?)?;
    // Else to open a file that another program holds by a lease could wait.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, rustix::fs::OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path)?;
    regular(file.metadata()?)?; // it may be another one by now
    Ok(file)
}
