//! The signals that ask a program to end: noted, and sent on to the upload tool, so that we are still there to revoke the
//! API token when it has ended.

pub use platform::{Signals, Spawned, spawn, take_note};

/// The exit status that a shell gives to what a signal ended.
pub fn status(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

#[cfg(unix)]
mod platform {
    use std::fs::File;
    use std::io;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
    use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
    use signal_hook::iterator::SignalsInfo;
    use signal_hook::iterator::exfiltrator::WithOrigin;
    use signal_hook::low_level::siginfo::Cause;

    use crate::error::{Error, Result};

    /// The signals that came since the last look. Once this is dropped, they end this process again.
    pub struct Signals {
        /// None where they can't be noted; then they end this process anyhow.
        noted: Option<SignalsInfo<WithOrigin>>,
        /// True once one came.
        came: Arc<AtomicBool>,
        is_over: Arc<AtomicBool>,
    }

    /// How often to look for one.
    const POLL: Duration = Duration::from_millis(20);

    /// How long to wait for what a program has started, once both were told to end.
    const STRAGGLERS_PATIENCE: Duration = Duration::from_secs(5);

    /// A running program.
    pub struct Spawned {
        pub process: Child,
        pid: Option<Pid>,
        /// It leads a process group of its own.
        leads: bool,
        was_told_to_end: bool,
    }

    /// Starts a program. Where there is a terminal, it stays in our process group, and can read what is typed. Where there is
    /// none, it leads one of its own: then a signal can be sent on to all that it has started (a shell that waits for an
    /// upload passes none on), and what is sent to our whole group reaches it once.
    ///
    /// # Errors
    /// Those of [`Command::spawn`].
    pub fn spawn(command: &mut Command) -> io::Result<Spawned> {
        let leads = File::open("/dev/tty").is_err();
        if leads {
            command.process_group(0);
        }
        let process = command.spawn()?;
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        Ok(Spawned { process, pid, leads, was_told_to_end: false })
    }

    impl Spawned {
        /// Waits until all that it has started has ended, too, if a signal was sent on; not for long.
        pub fn await_stragglers(&self) {
            let start = Instant::now();
            let Some(group) = self.pid.filter(|_| self.leads && self.was_told_to_end) else { return };
            while test_kill_process_group(group).is_ok() && start.elapsed() < STRAGGLERS_PATIENCE {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Has two things told to us that would be lost otherwise. The exit status of children: whoever started us may ignore
    /// SIGCHLD, which we inherit (`waitpid(2)`). And that a file may not grow (`setrlimit(2)`): SIGXFSZ would end us, with the
    /// API token in hand. A handler, even for nothing, does it. Call it first of all.
    pub fn take_note() {
        for signal in [SIGCHLD, SIGXFSZ] {
            let _ = signal_hook::flag::register(signal, Arc::default());
        }
    }

    impl Signals {
        /// From now on a signal that would end this process is noted instead. One that is ignored (`nohup`, a shell's
        /// background job) stays so, here and in the upload tool.
        pub fn note() -> Signals {
            let ignored = ignored();
            let is_ignored = |signal: &i32| ignored & (1 << (signal - 1)) != 0;
            let wanted: Vec<i32> =
                [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(|signal| !is_ignored(signal)).collect();
            let noted = SignalsInfo::new(&wanted).ok();
            let (came, is_over) = (Arc::default(), Arc::new(AtomicBool::new(noted.is_none())));
            for signal in &wanted {
                let _ = signal_hook::flag::register_conditional_default(*signal, Arc::clone(&is_over));
                let _ = signal_hook::flag::register(*signal, Arc::clone(&came));
            }
            Signals { noted, came, is_over }
        }

        /// Becomes true when a signal comes.
        pub fn came(&self) -> Arc<AtomicBool> {
            Arc::clone(&self.came)
        }

        /// Looks whether a signal came.
        ///
        /// # Errors
        /// [`Error::Signal`] if one did. It is told once.
        pub fn check(&mut self) -> Result<()> {
            match self.noted.iter_mut().flat_map(|signals| signals.pending()).next() {
                Some(origin) => Err(Error::Signal(super::status(origin.signal))),
                None => Ok(()),
            }
        }

        /// Waits that long.
        ///
        /// # Errors
        /// [`Error::Signal`] as soon as one comes.
        pub fn pause(&mut self, pause: Duration) -> Result<()> {
            let start = Instant::now();
            while start.elapsed() < pause {
                self.check()?;
                thread::sleep(POLL.min(pause));
            }
            Ok(())
        }

        /// Sends what came on to a program that was not waited for yet: a CI system, or whoever stops a container, tells this
        /// process alone. A terminal's keys reach the program by themselves, and not twice; they come from the kernel
        /// (Linux says so; elsewhere twice is better than never).
        pub fn send_on(&mut self, child: &mut Spawned) {
            for origin in self.noted.iter_mut().flat_map(|signals| signals.pending()) {
                let by_key = matches!(origin.cause, Cause::Kernel) && [SIGINT, SIGQUIT].contains(&origin.signal);
                let (Some(pid), Some(signal)) = (child.pid, Signal::from_named_raw(origin.signal)) else { continue };
                let _ = match child.leads {
                    true => kill_process_group(pid, signal),
                    false if by_key => Ok(()),
                    false => kill_process(pid, signal),
                };
                child.was_told_to_end = true;
            }
        }
    }

    impl Drop for Signals {
        fn drop(&mut self) {
            self.is_over.store(true, Ordering::SeqCst);
        }
    }

    /// The signals that this process was started with as ignored, a bit each; the lowest is signal 1 (`proc(5)`). Where there
    /// is no such file, SIGHUP is taken to be: `nohup` ignores it.
    fn ignored() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(1 << (SIGHUP - 1))
    }
}

/// On Windows, Ctrl-C reaches all programs of a console, so there is nothing to send on.
#[cfg(not(unix))]
mod platform {
    use std::io;
    use std::process::{Child, Command};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use signal_hook::consts::SIGINT;

    use crate::error::{Error, Result};

    /// Whether Ctrl-C came since the last look.
    pub struct Signals(Arc<AtomicBool>);

    /// A running program.
    pub struct Spawned {
        pub process: Child,
    }

    /// Starts a program.
    ///
    /// # Errors
    /// Those of [`Command::spawn`].
    pub fn spawn(command: &mut Command) -> io::Result<Spawned> {
        command.spawn().map(|process| Spawned { process })
    }

    impl Spawned {
        /// Nothing to be done.
        pub fn await_stragglers(&self) {}
    }

    /// Nothing to be done.
    pub fn take_note() {}

    impl Signals {
        /// From now on Ctrl-C is noted, and does not end this process.
        pub fn note() -> Signals {
            let noted = Arc::new(AtomicBool::new(false));
            let _ = signal_hook::flag::register(SIGINT, Arc::clone(&noted));
            Signals(noted)
        }

        /// Becomes true when a signal comes.
        pub fn came(&self) -> Arc<AtomicBool> {
            Arc::clone(&self.0)
        }

        /// Looks whether Ctrl-C came.
        ///
        /// # Errors
        /// [`Error::Signal`] if it did. It is told once.
        pub fn check(&mut self) -> Result<()> {
            if self.0.swap(false, Ordering::SeqCst) { Err(Error::Signal(super::status(SIGINT))) } else { Ok(()) }
        }

        /// Waits that long.
        ///
        /// # Errors
        /// [`Error::Signal`] once it has come.
        pub fn pause(&mut self, pause: Duration) -> Result<()> {
            thread::sleep(pause);
            self.check()
        }

        /// Nothing to be done.
        pub fn send_on(&mut self, _: &mut Spawned) {}
    }
}
