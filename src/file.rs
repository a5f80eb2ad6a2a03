//! Small files of others, read with care: a regular file only, since to open a pipe or a device could wait for ever, and
//! no more than its first part.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// At most `max_bytes` of a file; `None` where there is no such file, or none that can be read.
pub fn read(path: &Path, max_bytes: u64) -> Option<Vec<u8>> {
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(max_bytes).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
