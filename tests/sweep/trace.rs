//! Runs a program and stops it at each of its system calls (`ptrace(2)`), lists them, and has one of them fail.
//!
//! `strace -e inject` counts the calls of each thread by itself and applies its fault in every thread, so that it can't
//! have the third request fail and not the first, which is made by a thread just like it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::{calls, harness};

/// Waits until it may, then becomes the program, with no terminal: where there is one, signals are for its keys, too.
const GATE: &str = "read _ && exec setsid \"$0\" \"$@\" </dev/null";
/// What the gate becomes on its way: `setsid`, and the program.
const EXECS: usize = 2;
/// Enough for all that a run reads; more would be a program that reads without end.
const MAX_RECEIVED_BYTES: usize = 4 * 1024 * 1024;

/// The thread that all others are started by. The relay is its.
const MAIN: usize = 0;

const FUTEX_OPTIONS: u64 = (libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME) as u64;

/// One system call of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub number: i64,
    /// Which thread makes it, in the order in which they are started. A child counts as one until it executes a
    /// program.
    pub thread: usize,
    /// Its number among this thread's calls of this kind.
    pub nth: usize,
}

impl Call {
    /// Whether nothing more gets from the relay to minreq once this fails: one end of the connection between them is
    /// broken.
    pub fn is_between_relay_and_minreq(&self) -> bool {
        match self.number {
            libc::SYS_recvfrom => self.thread != MAIN,
            libc::SYS_sendto => self.thread == MAIN,
            _ => false,
        }
    }
}

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and is not made.
    Error(Errno),
    /// It does one byte's worth of what it is asked for.
    Short,
    /// The same of a write, and the next write fails: a pipe is full for a moment.
    Cut,
    /// The same of a write, and from then on each write fails: the disk is full.
    Full,
    /// It is made, and the process gets SIGTERM right before.
    Sigterm,
}

impl Fault {
    /// Whether a call that met this is not simply made again.
    pub fn is_final(self) -> bool {
        matches!(self, Fault::Error(errno) if errno != Errno::EINTR)
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Exit(i32),
    Killed(Signal),
}

/// What is known of a run.
pub struct Traced {
    pub calls: Vec<Call>,
    /// How many of them libc and std made before `main`; none where that was never reached.
    pub before_main: Option<usize>,
    pub faulted: bool,
    pub end: End,
    pub elapsed: Duration,
    /// It was killed, since it did not end in time.
    pub was_late: bool,
    /// All that it read, but for what a relay read that could not pass it on: see [`Run::end_relay`].
    pub received: Vec<u8>,
}

/// Runs a command that writes to these files, with a fault at one of its calls. What it executes in a child is its own
/// affair.
pub fn run(command: &Command, streams: [File; 2], at: Option<(Call, Fault)>, timeout: Duration) -> Traced {
    let mut gate = harness::wrapped(&["sh", "-c", GATE], command);
    let [stdout, stderr] = streams;
    let mut child = gate.stdin(Stdio::piped()).stdout(stdout).stderr(stderr).spawn().unwrap();
    let root = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(root, options).unwrap();
    wait_for_gate(root);
    child.stdin.take().unwrap().write_all(b"\n").unwrap();

    thread::scope(|scope| {
        let (ended, watch) = mpsc::channel::<()>();
        let watchdog = scope.spawn(move || {
            let is_late = watch.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout);
            is_late && kill(root, Signal::SIGKILL).is_ok()
        });
        let mut run = Run::of(root, command.get_program().as_ref(), at);
        let end = run.follow();
        let elapsed = run.started.elapsed();
        run.end_relay();
        drop(ended);
        let was_late = watchdog.join().unwrap();
        run.end_children();
        let _ = child.wait(); // `follow` did
        let Run { calls, before_main, faulted, received, .. } = run;
        Traced { calls, before_main, faulted, end, elapsed, was_late, received }
    })
}

/// Waits until the gate has returned from its own `execve`, which would count as one of [`EXECS`]: that `spawn` has
/// returned does not mean that. The first stop is this very event, or comes after it.
fn wait_for_gate(root: Pid) {
    ptrace::interrupt(root).unwrap();
    waitpid(root, Some(WaitPidFlag::__WALL)).unwrap();
    ptrace::cont(root, None).unwrap();
}

struct Run {
    root: Pid,
    /// The program's.
    name: String,
    at: Option<(Call, Fault)>,
    execs: usize,
    tracees: HashMap<Pid, Tracee>,
    threads: usize,
    calls: Vec<Call>,
    before_main: Option<usize>,
    faulted: bool,
    /// What the next write fails with, and whether all others do, too.
    after: Option<(Errno, bool)>,
    /// Opened before the program denies it to others.
    memory: Option<File>,
    received: Vec<u8>,
    /// What the relay has read that is in use.
    relayed: Vec<u8>,
    relay_is_cut_off: bool,
    started: Instant,
}

struct Tracee {
    thread: usize,
    counts: HashMap<i64, usize>,
    /// The call that it is in the middle of.
    inside: Option<Inside>,
}

enum Inside {
    Made,
    Denied(Errno),
}

impl Run {
    fn of(root: Pid, program: &Path, at: Option<(Call, Fault)>) -> Run {
        Run {
            root,
            name: program.file_name().unwrap().to_string_lossy().into_owned(),
            at,
            execs: 0,
            tracees: HashMap::new(),
            threads: 0,
            calls: vec![],
            before_main: None,
            faulted: false,
            after: None,
            memory: None,
            received: vec![],
            relayed: vec![],
            relay_is_cut_off: false,
            started: Instant::now(),
        }
    }

    fn follow(&mut self) -> End {
        loop {
            // This thread's children and what it traces, threads included.
            let all = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            let (stopped, signal) = match waitpid(None, Some(all)).unwrap() {
                WaitStatus::Exited(pid, status) if pid == self.root => return End::Exit(status),
                WaitStatus::Signaled(pid, signal, _) if pid == self.root => return End::Killed(signal),
                WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) if pid == self.root => {
                    self.execs += 1;
                    if self.execs == EXECS {
                        self.begin();
                    }
                    (pid, None)
                }
                WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => {
                    self.tracees.remove(&pid);
                    let _ = ptrace::detach(pid, None);
                    continue;
                }
                WaitStatus::PtraceEvent(pid, _, event) => {
                    if event != libc::PTRACE_EVENT_STOP {
                        // A thread or a child was started, which may have been seen already.
                        if let Ok(new) = ptrace::getevent(pid) {
                            self.tracee(Pid::from_raw(i32::try_from(new).unwrap()));
                        }
                    }
                    (pid, None)
                }
                WaitStatus::PtraceSyscall(pid) => {
                    self.at_call(pid);
                    (pid, None)
                }
                WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                    self.tracees.remove(&pid);
                    continue;
                }
                WaitStatus::Continued(_) | WaitStatus::StillAlive => continue,
            };
            // Something else may have ended it meanwhile.
            let _ = match self.execs < EXECS {
                true => ptrace::cont(stopped, signal),
                false => ptrace::syscall(stopped, signal),
            };
        }
    }

    /// The program is there, and about to return from `execve`.
    fn begin(&mut self) {
        let root = self.root;
        let name = fs::read_to_string(format!("/proc/{root}/comm")).unwrap();
        let name = name.trim_end(); // its first 15 bytes
        assert!(self.name.starts_with(name), "{name} is taken for {}", self.name);
        self.tracee(root).inside = Some(Inside::Made);
        self.memory = Some(File::open(format!("/proc/{root}/mem")).unwrap());
        self.started = Instant::now();
    }

    fn tracee(&mut self, pid: Pid) -> &mut Tracee {
        let threads = &mut self.threads;
        self.tracees.entry(pid).or_insert_with(|| {
            *threads += 1;
            Tracee { thread: *threads - 1, counts: HashMap::new(), inside: None }
        })
    }

    /// A tracee stopped before or after a call.
    fn at_call(&mut self, pid: Pid) {
        let Ok(mut registers) = ptrace::getregs(pid) else { return };
        match self.tracee(pid).inside.take() {
            Some(Inside::Denied(errno)) => {
                registers.rax = (-i64::from(errno as i32)).cast_unsigned();
                let _ = ptrace::setregs(pid, registers);
            }
            Some(Inside::Made) => {
                let length = registers.rax.cast_signed();
                if [libc::SYS_read, libc::SYS_recvfrom].contains(&number(&registers)) && length > 0 {
                    self.record_read(pid, registers.rsi, length.unsigned_abs());
                }
            }
            None => {
                let number = number(&registers);
                // The first thing that `main` does.
                if number == libc::SYS_prctl && registers.rdi == libc::PR_SET_DUMPABLE as u64 {
                    self.before_main.get_or_insert(self.calls.len());
                }
                let tracee = self.tracee(pid);
                let nth = tracee.counts.entry(number).and_modify(|nth| *nth += 1).or_insert(1);
                let call = Call { number, thread: tracee.thread, nth: *nth };
                let fault = self.at.filter(|(at, _)| *at == call).map(|(_, fault)| fault);
                if number == libc::SYS_bind {
                    self.end_relay(); // this is the next one
                }
                self.relay_is_cut_off |=
                    fault.is_some_and(|fault| fault.is_final() && call.is_between_relay_and_minreq());
                let later = self.after.filter(|_| number == libc::SYS_write).map(|(errno, lasts)| {
                    self.after = self.after.filter(|_| lasts);
                    Fault::Error(errno)
                });
                match fault {
                    Some(Fault::Cut) => self.after = Some((Errno::EAGAIN, false)),
                    Some(Fault::Full) => self.after = Some((Errno::ENOSPC, true)),
                    _ => {}
                }
                let inside = match fault.or(later) {
                    Some(Fault::Error(errno)) => {
                        // Linux closes a file whatever closing it ends with (`close(2)`).
                        if number != libc::SYS_close {
                            registers.orig_rax = u64::MAX; // no call
                            let _ = ptrace::setregs(pid, registers);
                        }
                        Inside::Denied(errno)
                    }
                    Some(Fault::Short | Fault::Cut | Fault::Full) => {
                        registers.rdx = registers.rdx.min(1);
                        let _ = ptrace::setregs(pid, registers);
                        Inside::Made
                    }
                    Some(Fault::Sigterm) => {
                        kill(self.root, Signal::SIGTERM).unwrap();
                        Inside::Made
                    }
                    None => Inside::Made,
                };
                self.tracee(pid).inside = Some(inside);
                self.faulted |= fault.is_some();
                self.calls.push(call);
            }
        }
    }

    fn record_read(&mut self, pid: Pid, address: u64, length: u64) {
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        let read = if pid == self.root { &mut self.relayed } else { &mut self.received };
        if read.len() < MAX_RECEIVED_BYTES
            && let Some(memory) = &self.memory
            && memory.read_exact_at(&mut bytes, address).is_ok()
        {
            read.append(&mut bytes);
        }
    }

    /// What a relay has read is as good as received, though minreq may not have read it: unless the connection between
    /// the two failed meanwhile. Over TLS, only minreq can read a reply.
    fn end_relay(&mut self) {
        let mut relayed = mem::take(&mut self.relayed);
        if !mem::take(&mut self.relay_is_cut_off) {
            self.received.append(&mut relayed);
        }
    }

    /// A child that had not executed anything yet would be left stopped.
    fn end_children(&mut self) {
        for pid in self.tracees.keys().filter(|pid| **pid != self.root) {
            let _ = kill(*pid, Signal::SIGKILL);
            let _ = waitpid(*pid, Some(WaitPidFlag::__WALL));
        }
    }
}

/// The number of a call. FUTEX_WAKE counts as the newer call that does the same and, unlike FUTEX_WAIT, has no reason
/// to fail.
fn number(registers: &libc::user_regs_struct) -> i64 {
    let is_wake = registers.rsi & !FUTEX_OPTIONS == libc::FUTEX_WAKE as u64;
    match registers.orig_rax.cast_signed() {
        libc::SYS_futex if is_wake => calls::number::SYS_futex_wake,
        number => number,
    }
}
