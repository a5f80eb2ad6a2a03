//! What the operating system does otherwise than one would wish, and otherwise than its like.

pub mod file;
pub mod log;
pub mod memory;
pub mod signals;
pub mod stdio;
