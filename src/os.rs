//! What depends on the operating system: signals, streams, files, the log and memory.

pub mod file;
pub mod log;
pub mod memory;
pub mod signals;
pub mod stdio;
