//! Runs a program and stops it at each of its system calls (`ptrace(2)`). It lists the calls and makes one of them
//! fail.
//!
//! `strace -e inject` can't do that. It counts the calls of each thread separately, and applies its fault in every
//! thread. Each request has a thread of its own, so the third request could not fail alone.

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

/// Waits for a line on stdin, then executes the program in a new session. A terminal would change how signals work.
const GATE: &str = "read _ && exec setsid \"$0\" \"$@\" </dev/null";
/// The number of programs that the gate executes: `setsid`, then the program under test.
const EXECS: usize = 2;
/// A run reads less than this. More would be a program that reads without end.
const MAX_RECEIVED_BYTES: usize = 4 * 1024 * 1024;

/// The main thread, which starts all others. The relay runs in it.
const MAIN: usize = 0;

const FUTEX_OPTIONS: u64 = (libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME) as u64;

/// One system call of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub number: i64,
    /// The number of the thread that makes it, in the order of their start. A child process counts as a thread until it
    /// executes a program.
    pub thread: usize,
    /// Its number among this thread's calls of this kind.
    pub nth: usize,
}

impl Call {
    /// Whether a failure of this call breaks the connection between the relay and minreq.
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
    /// The call is not made, and fails.
    Error(Errno),
    /// The call transfers one byte.
    Short,
    /// A write transfers one byte, and the next write fails, as if a pipe were full for a moment.
    Cut,
    /// A write transfers one byte, and all further writes fail, as if the disk were full.
    Full,
    /// The process gets SIGTERM right before the call, which is made.
    Sigterm,
}

impl Fault {
    /// Whether the program does not simply repeat the call.
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

/// The record of a run.
pub struct Traced {
    pub calls: Vec<Call>,
    /// The number of calls that libc and std made before `main`. `None` if the run did not reach `main`.
    pub before_main: Option<usize>,
    pub faulted: bool,
    pub end: End,
    pub elapsed: Duration,
    /// It did not end in time, so it was killed.
    pub was_late: bool,
    /// All bytes that it read, without those that the relay could not pass on: see [`Run::end_relay`].
    pub received: Vec<u8>,
}

/// Runs a command with a fault at one of its calls. stdout and stderr are these files. Programs that its children
/// execute are not traced.
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

/// Waits until the gate has returned from its own `execve`, which would count as one of [`EXECS`]. When `spawn`
/// returns, that may not have happened yet. The first stop is the end of this `execve`, or comes after it.
fn wait_for_gate(root: Pid) {
    ptrace::interrupt(root).unwrap();
    waitpid(root, Some(WaitPidFlag::__WALL)).unwrap();
    ptrace::cont(root, None).unwrap();
}

struct Run {
    root: Pid,
    /// The file name of the program.
    name: String,
    at: Option<(Call, Fault)>,
    execs: usize,
    tracees: HashMap<Pid, Tracee>,
    threads: usize,
    calls: Vec<Call>,
    before_main: Option<usize>,
    faulted: bool,
    /// The error of the next write, and whether all further writes fail, too.
    after: Option<(Errno, bool)>,
    /// The program's memory. It is opened before the program denies that.
    memory: Option<File>,
    received: Vec<u8>,
    /// The bytes that the current relay has read.
    relayed: Vec<u8>,
    relay_is_cut_off: bool,
    started: Instant,
}

struct Tracee {
    thread: usize,
    counts: HashMap<i64, usize>,
    /// The call that has begun and not ended.
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
            // All children and tracees of this thread, also those that are threads.
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
            // The tracee may have been killed meanwhile.
            let _ = match self.execs < EXECS {
                true => ptrace::cont(stopped, signal),
                false => ptrace::syscall(stopped, signal),
            };
        }
    }

    /// Called when the program has been loaded and is about to return from `execve`.
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
                // `main` begins with this call.
                if number == libc::SYS_prctl && registers.rdi == libc::PR_SET_DUMPABLE as u64 {
                    self.before_main.get_or_insert(self.calls.len());
                }
                let tracee = self.tracee(pid);
                let nth = tracee.counts.entry(number).and_modify(|nth| *nth += 1).or_insert(1);
                let call = Call { number, thread: tracee.thread, nth: *nth };
                let fault = self.at.filter(|(at, _)| *at == call).map(|(_, fault)| fault);
                if number == libc::SYS_bind {
                    self.end_relay(); // the next relay begins
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
                        // Linux closes a file even if `close` fails (`close(2)`).
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

    /// Bytes that a relay has read count as received, even if minreq has not read them. They don't if the connection
    /// between the two failed. Over TLS, only minreq can read a reply.
    fn end_relay(&mut self) {
        let mut relayed = mem::take(&mut self.relayed);
        if !mem::take(&mut self.relay_is_cut_off) {
            self.received.append(&mut relayed);
        }
    }

    /// Kills children that have not executed a program yet. Otherwise they would stay stopped.
    fn end_children(&mut self) {
        for pid in self.tracees.keys().filter(|pid| **pid != self.root) {
            let _ = kill(*pid, Signal::SIGKILL);
            let _ = waitpid(*pid, Some(WaitPidFlag::__WALL));
        }
    }
}

/// The number of a call. FUTEX_WAKE counts as the newer call `futex_wake`, since it can't fail, unlike FUTEX_WAIT.
fn number(registers: &libc::user_regs_struct) -> i64 {
    let is_wake = registers.rsi & !FUTEX_OPTIONS == libc::FUTEX_WAKE as u64;
    match registers.orig_rax.cast_signed() {
        libc::SYS_futex if is_wake => calls::number::SYS_futex_wake,
        number => number,
    }
}
