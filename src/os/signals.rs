//! The signals that ask a program to end. They are noted from the start on: then every wait can end, and a token can be
//! revoked. They are forwarded to COMMAND.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[cfg(windows)]
pub use platform::SIGINT;
pub use platform::{Spawned, install_handlers, name, spawn, spawn_group};

/// Greater than the number of each signal that is noted.
const NUMBERS: usize = 32;

/// True for each signal that came and was not taken yet; the index is its number.
static NOTED: [AtomicBool; NUMBERS] = [const { AtomicBool::new(false) }; NUMBERS];
/// The first signal, and when it was seen.
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
    let _ = came(); // keeps the first one
    (0..).zip(&NOTED).filter(|(_, noted)| noted.swap(false, Ordering::SeqCst)).map(|(number, _)| number)
}

/// The exit status that a shell reports for a program that this signal has ended.
pub fn status(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

#[cfg(unix)]
mod platform {
    use std::fs::File;
    use std::io::{self, stderr, stdin, stdout};
    use std::os::fd::AsFd;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};
    use std::sync::Arc;

    use rustix::process::{
        Pid, Signal, WaitOptions, getsid, kill_process, kill_process_group, test_kill_process_group, waitpgid,
    };
    use rustix::termios::tcgetsid;

    /// These ask a program to end. SIGKILL may follow soon.
    const ENDING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];
    /// By default these end a process; with a handler they mean what the program chose. Two sorts are left out: the
    /// signals of a fault in the program itself, and the real-time signals, which only reach a program that expects
    /// them.
    const OTHERS: &[Signal] = &[
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::XCPU,
        // On other systems these don't exist, or end nothing.
        #[cfg(target_os = "linux")]
        Signal::IO,
        #[cfg(target_os = "linux")]
        Signal::POWER,
        #[cfg(target_os = "linux")]
        Signal::STKFLT,
    ];

    /// From now on a signal that would end this process is noted instead. A signal that is ignored (`nohup`, a shell's
    /// background job) stays ignored, here and in COMMAND. Call it before anything else: in a container, the kernel
    /// drops a signal to the first process if that has no handler for it (`kill(2)`).
    ///
    /// SIGCHLD gets a handler that does nothing: we may have inherited that it is ignored, and then the exit status of
    /// children is lost (`waitpid(2)`). SIGXFSZ gets the same handler: by default, a write beyond the limit of a file's
    /// size would end us with the API token in hand (`setrlimit(2)`).
    pub fn install_handlers() {
        let ignored = ignored();
        for signal in ENDING.iter().chain(OTHERS).map(|signal| signal.as_raw()) {
            if let Some(noted) = super::NOTED.get(signal as usize).filter(|_| ignored & (1 << (signal - 1)) == 0) {
                let _ = signal_hook::flag::register(signal, noted);
            }
        }
        for signal in [Signal::CHILD, Signal::XFSZ] {
            let _ = signal_hook::flag::register(signal.as_raw(), Arc::default());
        }
    }

    /// `SIGTERM` and the like.
    pub fn name(signal: i32) -> &'static str {
        signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
    }

    /// A running program.
    pub struct Spawned {
        pub process: Child,
        is_group_leader: bool,
    }

    /// Starts a program. With a terminal, it stays in our process group, so that it can read from the terminal. Without
    /// one, it leads its own group, so that a signal to our whole group reaches it once.
    ///
    /// # Errors
    /// Those of [`Command::spawn`].
    pub fn spawn(command: &mut Command) -> io::Result<Spawned> {
        if has_terminal() {
            return command.spawn().map(|process| Spawned { process, is_group_leader: false });
        }
        spawn_group(command)
    }

    /// Starts a program that leads its own process group: then a signal can be sent to its descendants, too. (A shell
    /// that waits for an upload forwards none.)
    ///
    /// # Errors
    /// Those of [`Command::spawn`].
    pub fn spawn_group(command: &mut Command) -> io::Result<Spawned> {
        // From now on, a descendant becomes our child when its parent ends, and we wait for it. Otherwise it becomes a
        // child of the container's first process. If that waits for no child, ended ones stay in the group for ever.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        command.process_group(0).spawn().map(|process| Spawned { process, is_group_leader: true })
    }

    impl Spawned {
        /// Forwards a signal: a CI system, or a tool that stops a container, signals only this process. The program
        /// must not have been waited for, or its group must be alive. True if the signal asks the program to end.
        pub fn forward(&self, signal: i32) -> bool {
            let Some(signal) = Signal::from_named_raw(signal) else { return false };
            // The terminal sends these to the whole group itself, and its user sees whether the program ends.
            if !self.is_group_leader && [Signal::INT, Signal::QUIT].contains(&signal) {
                return false;
            }
            self.send(signal);
            let asks_to_end = ENDING.contains(&signal);
            if asks_to_end {
                self.send(Signal::CONT); // a stopped program handles a signal only after this
            }
            asks_to_end
        }

        /// Kills the program, and its descendants if it leads a group. Don't wait for it: it may end late, or be
        /// another user's.
        pub fn kill(&mut self) {
            self.send(Signal::KILL);
        }

        fn send(&self, signal: Signal) {
            let pid = Pid::from_child(&self.process);
            let _ = if self.is_group_leader { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
        }

        /// True while a process of the group runs that the program leads. Call it only after the program has been
        /// waited for: this waits for the other processes of the group that have ended.
        pub fn group_is_alive(&self) -> bool {
            if !self.is_group_leader {
                return false;
            }
            let group = Pid::from_child(&self.process);
            while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
            test_kill_process_group(group).is_ok()
        }
    }

    /// True if we have a controlling terminal, from which a program could read. In a `chroot` there may be no /dev/tty,
    /// so the streams are asked, too.
    fn has_terminal() -> bool {
        let ours = |stream: &dyn AsFd| tcgetsid(stream.as_fd()).is_ok_and(|session| getsid(None) == Ok(session));
        File::open("/dev/tty").is_ok() || ours(&stdin()) || ours(&stdout()) || ours(&stderr())
    }

    /// The signals that are ignored since this process started, a bit each; the lowest bit is signal 1 (`proc(5)`). If
    /// there is no such file, SIGHUP counts as ignored: `nohup` ignores it.
    fn ignored() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(1 << (Signal::HUP.as_raw() - 1))
    }
}

/// On Windows, Ctrl-C and Ctrl-Break are events of a console. All programs of that console get them, so there is
/// nothing to send.
///
/// There is also an event when the console is closed and when the user logs off. Windows ends a program as soon as its
/// handler of such an event returns, and the handler of ctrlc returns at once. So no token is revoked then.
#[cfg(windows)]
mod platform {
    use std::io;
    use std::process::{Child, Command};
    use std::sync::atomic::Ordering;

    /// Stands for Ctrl-C, as on Unix, and for Ctrl-Break. Windows has no numbers for them that could be an exit status.
    pub const SIGINT: i32 = 2;

    /// From now on Ctrl-C and Ctrl-Break are noted, and do not end this process.
    pub fn install_handlers() {
        if let Some(noted) = super::NOTED.get(SIGINT as usize) {
            let _ = ctrlc::set_handler(|| noted.store(true, Ordering::SeqCst));
        }
    }

    /// The handler does not learn which of the two came.
    pub fn name(_: i32) -> &'static str {
        "Ctrl-C or Ctrl-Break"
    }

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

    pub use self::spawn as spawn_group;

    impl Spawned {
        /// The program got the event itself. True: the event asks the program to end.
        pub fn forward(&self, _: i32) -> bool {
            true
        }

        /// Kills the program.
        pub fn kill(&mut self) {
            let _ = self.process.kill();
        }

        /// Windows has no process groups.
        pub fn group_is_alive(&self) -> bool {
            false
        }
    }
}
