//! The signals that ask a program to end: noted, and sent on to the upload tool, so that we are still there to revoke the
//! API token when it has ended.

pub use platform::{Signals, keep_exit_statuses};

#[cfg(unix)]
mod platform {
    use std::process::Child;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use rustix::process::{Pid, Signal, kill_process};
    use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::iterator::SignalsInfo;
    use signal_hook::iterator::exfiltrator::WithOrigin;
    use signal_hook::low_level::siginfo::Cause;

    /// The signals that came since the last look; none where they can't be noted, and then they end this process.
    pub struct Signals(Option<SignalsInfo<WithOrigin>>);

    /// Has the exit status of children kept for us. Whoever started us may ignore SIGCHLD, which we inherit, and then it
    /// is lost (`waitpid(2)`); a handler, even for nothing, undoes that. Call it first of all.
    pub fn keep_exit_statuses() {
        let _ = signal_hook::flag::register(SIGCHLD, Arc::new(AtomicBool::new(false)));
    }

    impl Signals {
        /// From now on a signal that would end this process is noted instead. One that is ignored (`nohup`, a shell's
        /// background job) stays so, here and in the upload tool.
        pub fn note() -> Signals {
            let ignored = ignored();
            let wanted =
                [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
            Signals(SignalsInfo::new(wanted).ok())
        }

        /// A signal that came, if any. Others that came are forgotten.
        pub fn take(&mut self) -> Option<i32> {
            self.0.as_mut()?.pending().next().map(|origin| origin.signal)
        }

        /// Sends what came on to a child that was not waited for yet: a CI system, or whoever stops a container, tells this
        /// process alone. A terminal's keys reach the child by themselves, and not twice; they come from the kernel (Linux
        /// says so; elsewhere twice is better than never).
        pub fn send_on(&mut self, child: &Child) {
            for origin in self.0.iter_mut().flat_map(|signals| signals.pending()) {
                let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                let by_key = matches!(origin.cause, Cause::Kernel) && [SIGINT, SIGQUIT].contains(&origin.signal);
                if let (Some(pid), Some(signal), false) = (pid, Signal::from_named_raw(origin.signal), by_key) {
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }

    /// The signals that this process was started with as ignored, a bit each; the lowest is signal 1. (`proc(5)`; where
    /// there is no such file, none.)
    fn ignored() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }
}

/// On Windows, Ctrl-C reaches all programs of a console, so there is nothing to send on.
#[cfg(not(unix))]
mod platform {
    use std::process::Child;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use signal_hook::consts::SIGINT;

    /// Whether Ctrl-C came since the last look.
    pub struct Signals(Arc<AtomicBool>);

    /// Nothing to be done.
    pub fn keep_exit_statuses() {}

    impl Signals {
        /// From now on Ctrl-C is noted, and does not end this process.
        pub fn note() -> Signals {
            let noted = Arc::new(AtomicBool::new(false));
            let _ = signal_hook::flag::register(SIGINT, Arc::clone(&noted));
            Signals(noted)
        }

        /// SIGINT, if it came.
        pub fn take(&mut self) -> Option<i32> {
            self.0.swap(false, Ordering::SeqCst).then_some(SIGINT)
        }

        /// Nothing to be done.
        pub fn send_on(&mut self, _: &Child) {}
    }
}
