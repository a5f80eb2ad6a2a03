//! The signals that ask a program to end. They are noted from the first moment on, so that whatever waits can end, and whatever
//! token there is can be revoked; and they are forwarded to COMMAND.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub use platform::{Spawned, forward, note, spawn};

/// More than any signal's number.
const NUMBERS: usize = 32;

/// True for each signal that came and was not taken yet.
static NOTED: [AtomicBool; NUMBERS] = [const { AtomicBool::new(false) }; NUMBERS];
/// The first one that was seen, and when.
static FIRST: OnceLock<(i32, Instant)> = OnceLock::new();

/// The first signal that asked this program to end, and when it was seen.
pub fn came() -> Option<(i32, Instant)> {
    if FIRST.get().is_none()
        && let Some(number) = NOTED.iter().position(|noted| noted.load(Ordering::SeqCst))
    {
        let _ = FIRST.set((number as i32, Instant::now()));
    }
    FIRST.get().copied()
}

/// The signals that came since the last call.
pub fn take() -> impl Iterator<Item = i32> {
    let _ = came(); // else the first one would be forgotten
    (0..).zip(&NOTED).filter(|(_, noted)| noted.swap(false, Ordering::SeqCst)).map(|(number, _)| number)
}

/// The exit status that a shell gives to what a signal ended.
pub fn status(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// `SIGTERM` and the like.
pub fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
}

#[cfg(unix)]
mod platform {
    use std::fs::File;
    use std::io;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
    use signal_hook::consts::{
        SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU,
        SIGXFSZ,
    };

    /// Whatever ends a program that does not note it, but for what says that the program itself is broken.
    const ENDING: [i32; 11] =
        [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU, SIGIO];

    /// From now on a signal that would end this process is noted instead. One that is ignored (`nohup`, a shell's background
    /// job) stays so, here and in COMMAND. Call it first of all: the kernel drops a signal to a container's first process that
    /// has no handler for it (`kill(2)`).
    ///
    /// Two more get a handler that does nothing, for what would be lost otherwise. The exit status of children: whoever started us
    /// may ignore SIGCHLD, which we inherit (`waitpid(2)`). And that a file may not grow (`setrlimit(2)`): SIGXFSZ would end
    /// us, with the API token in hand.
    pub fn note() {
        let ignored = ignored();
        for signal in ENDING {
            if let Some(noted) = super::NOTED.get(signal as usize).filter(|_| ignored & (1 << (signal - 1)) == 0) {
                let _ = signal_hook::flag::register(signal, noted);
            }
        }
        for signal in [SIGCHLD, SIGXFSZ] {
            let _ = signal_hook::flag::register(signal, Arc::default());
        }
    }

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

    /// Forwards what came to a program that was not waited for yet: a CI system, or whoever stops a container, tells this
    /// process alone.
    pub fn forward(child: &mut Spawned) {
        for signal in super::take() {
            let (Some(pid), Some(named)) = (child.pid, Signal::from_named_raw(signal)) else { continue };
            let _ = match child.leads {
                true => kill_process_group(pid, named),
                // A terminal's keys reach the whole group by themselves.
                false if [SIGINT, SIGQUIT].contains(&signal) => Ok(()),
                false => kill_process(pid, named),
            };
            child.was_told_to_end = true;
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

/// On Windows, Ctrl-C reaches all programs of a console, so there is nothing to forward.
#[cfg(not(unix))]
mod platform {
    use std::io;
    use std::process::{Child, Command};

    use signal_hook::consts::SIGINT;

    /// A running program.
    pub struct Spawned {
        pub process: Child,
    }

    /// From now on Ctrl-C is noted, and does not end this process.
    pub fn note() {
        if let Some(noted) = super::NOTED.get(SIGINT as usize) {
            let _ = signal_hook::flag::register(SIGINT, noted);
        }
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
    pub fn forward(_: &mut Spawned) {}
}
