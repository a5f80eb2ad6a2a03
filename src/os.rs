//! Waits, signals, streams, files and memory: this program's use of the operating system.

pub mod deadline;
pub mod file;
pub mod log;
pub mod memory;
pub mod signals;
pub mod stdio;
