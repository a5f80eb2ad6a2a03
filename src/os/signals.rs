//! The signals that ask a program to end. They are noted from the first moment on, so that whatever waits can end, and
//! whatever token there is can be revoked; and they are forwarded to COMMAND.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[cfg(windows)]
pub use platform::SIGINT;
pub use platform::{Spawned, install_handlers, name, spawn, spawn_group};

/// More than the number of any signal that is noted.
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

    /// These ask a program to end. Whoever sends one may send SIGKILL before long.
    const ENDING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];
    /// These end a program that has no handler for them, and mean to any other what it makes of them. Left out are
    /// those that say that the program itself is broken, and the real-time signals, which nobody sends to a program
    /// that does not expect them.
    const OTHERS: &[Signal] = &[
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::XCPU,
        // On other systems these are not there, or end nothing.
        #[cfg(target_os = "linux")]
        Signal::IO,
        #[cfg(target_os = "linux")]
        Signal::POWER,
        #[cfg(target_os = "linux")]
        Signal::STKFLT,
    ];

    /// From now on a signal that would end this process is noted instead. One that is ignored (`nohup`, a shell's
    /// background job) stays so, here and in COMMAND. Call it first of all: the kernel drops a signal to a container's
    /// first process that has no handler for it (`kill(2)`).
    ///
    /// Two more get a handler that does nothing, for what would be lost otherwise. The exit status of children: whoever
    /// started us may ignore SIGCHLD, which we inherit (`waitpid(2)`). And that a file may not grow (`setrlimit(2)`):
    /// SIGXFSZ would end us, with the API token in hand.
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

    /// Starts a program. Where there is a terminal, it stays in our process group, and can read what is typed. Where
    /// there is none, it leads one of its own: then what is sent to our whole group reaches it once.
    ///
    /// # Errors
    /// Those of [`Command::spawn`].
    pub fn spawn(command: &mut Command) -> io::Result<Spawned> {
        if has_terminal() {
            return command.spawn().map(|process| Spawned { process, is_group_leader: false });
        }
        spawn_group(command)
    }

    /// Starts a program that leads a process group of its own: then a signal can be sent to all that it has started (a
    /// shell that waits for an upload passes none on).
    ///
    /// # Errors
    /// Those of [`Command::spawn`].
    pub fn spawn_group(command: &mut Command) -> io::Result<Spawned> {
        // What it leaves behind becomes a child of ours when its parent ends. A container's first process need not be
        // one that waits for such children, and then they would stay in the group for ever.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        command.process_group(0).spawn().map(|process| Spawned { process, is_group_leader: true })
    }

    impl Spawned {
        /// Forwards a signal to a program that was not waited for yet, or that left stragglers: a CI system, or whoever
        /// stops a container, tells this process alone. True if it asks the program to end.
        pub fn forward(&self, signal: i32) -> bool {
            let Some(signal) = Signal::from_named_raw(signal) else { return false };
            // A terminal's keys reach the whole group by themselves, and whoever presses them sees what becomes of it.
            if !self.is_group_leader && [Signal::INT, Signal::QUIT].contains(&signal) {
                return false;
            }
            self.send(signal);
            let asks_to_end = ENDING.contains(&signal);
            if asks_to_end {
                self.send(Signal::CONT); // else one that is stopped would not notice
            }
            asks_to_end
        }

        /// Ends it, and all that it has started where it leads a group. It may take its time, or be another user's:
        /// don't wait for it.
        pub fn kill(&mut self) {
            self.send(Signal::KILL);
        }

        fn send(&self, signal: Signal) {
            let pid = Pid::from_child(&self.process);
            let _ = if self.is_group_leader { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
        }

        /// True while anything is left of the group that it leads. Ask once it has been waited for: what has ended of
        /// the rest is waited for here.
        pub fn has_stragglers(&self) -> bool {
            if !self.is_group_leader {
                return false;
            }
            let group = Pid::from_child(&self.process);
            while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
            test_kill_process_group(group).is_ok()
        }
    }

    /// True if we have a controlling terminal that a program could read from. In a bare folder (`chroot`) there may be
    /// no /dev/tty.
    fn has_terminal() -> bool {
        let ours = |stream: &dyn AsFd| tcgetsid(stream.as_fd()).is_ok_and(|session| getsid(None) == Ok(session));
        File::open("/dev/tty").is_ok() || ours(&stdin()) || ours(&stdout()) || ours(&stderr())
    }

    /// The signals that this process was started with as ignored, a bit each; the lowest is signal 1 (`proc(5)`). Where
    /// there is no such file, SIGHUP is taken to be: `nohup` ignores it.
    fn ignored() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(1 << (Signal::HUP.as_raw() - 1))
    }
}

/// On Windows, Ctrl-C and Ctrl-Break are events of a console. All programs of that console get them, so there is
/// nothing to send.
///
/// A console that is closed, or a user who logs off, is an event, too. Windows ends a program as soon as its handler of
/// such an event returns, and that of ctrlc returns at once. So then nothing is revoked.
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

    /// A handler is not told which of the two it was.
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
        /// The program has it already. True: it asks the program to end.
        pub fn forward(&self, _: i32) -> bool {
            true
        }

        /// Ends it.
        pub fn kill(&mut self) {
            let _ = self.process.kill();
        }

        /// There is nothing that could be asked.
        pub fn has_stragglers(&self) -> bool {
            false
        }
    }
}
