//! What this program does through the operating system: waits, signals, streams, files and memory.

pub mod deadline;
pub mod file;
pub mod log;
pub mod memory;
pub mod signals;
pub mod stdio;
