//! `measure COMMAND [ARG]...`: runs COMMAND and prints its wall time and processor time in milliseconds, and the peak
//! memory of its largest process in MB. COMMAND's output goes to stderr. `bench` can't do this itself: the peak of a
//! process includes that of the process that forked it, which has to be small therefore.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

fn main() -> ExitCode {
    let command: Vec<_> = std::env::args_os().skip(1).collect();
    let mut child = Command::new(&command[0]);
    child.args(&command[1..]).stdin(Stdio::null()).stdout(std::io::stderr());
    let started = Instant::now();
    let status = child.status().unwrap();
    let wall = started.elapsed().as_secs_f64() * 1e3;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let cpu = (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e3;
    println!("{wall} {cpu} {}", usage.max_rss() as f64 * 1024.0 / 1e6);
    ExitCode::from(u8::from(!status.success()))
}
