//! `measure COMMAND [ARG]...`: runs COMMAND and prints the milliseconds that passed, those of processor time, and the
//! peak memory of the largest process in MB. What COMMAND prints goes to stderr. For `bench`, which can't do this
//! itself: a process counts the peak of the one that it was forked from as its own, so that has to be small.

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
