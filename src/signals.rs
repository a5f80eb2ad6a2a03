//! The signals that ask a program to end: noted, and sent on to the upload tool, so that we are still there to revoke the
//! API token when it has ended.

use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

#[cfg(unix)]
const SIGNALS: [i32; 4] = [signal_hook::consts::SIGHUP, SIGINT, signal_hook::consts::SIGQUIT, SIGTERM];
#[cfg(not(unix))]
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// Has the exit status of children kept for us. Whoever started us may ignore SIGCHLD, which we inherit, and then it is lost
/// (`waitpid(2)`); a handler, even for nothing, undoes that. Call it first of all.
pub fn keep_exit_statuses() {
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGCHLD, Arc::new(AtomicBool::new(false)));
}

/// The signals that came since the last look.
pub struct Signals(Vec<(i32, Arc<AtomicBool>)>);

impl Signals {
    /// From now on a signal that would end this process is noted instead. One that is ignored (`nohup`, a shell's
    /// background job) stays so, here and in the upload tool.
    pub fn note() -> Signals {
        let ignored = ignored();
        let wanted = SIGNALS.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
        Signals(
            wanted
                .filter_map(|signal| {
                    let noted = Arc::new(AtomicBool::new(false));
                    // What can't be noted ends this process, as it would have.
                    signal_hook::flag::register(signal, Arc::clone(&noted)).ok()?;
                    Some((signal, noted))
                })
                .collect(),
        )
    }

    /// A signal that came, each once.
    pub fn take(&self) -> Option<i32> {
        self.0.iter().find(|(_, noted)| noted.swap(false, Ordering::SeqCst)).map(|(signal, _)| *signal)
    }
}

/// Sends a signal on to a child that was not waited for yet. From a keyboard it gets the signal a second time, which does
/// no harm; what came to this process alone, from a CI system or as a container's first process, reaches it only so.
#[cfg(unix)]
pub fn send(signal: i32, child: &Child) {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
        let _ = kill_process(pid, signal);
    }
}

/// On Windows, Ctrl-C reaches all programs of a console, and there is nothing to send on.
#[cfg(not(unix))]
pub fn send(_: i32, _: &Child) {}

/// The signals that this process was started with as ignored, a bit each; the lowest is signal 1. (`proc(5)`; where there
/// is no such file, none.)
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
