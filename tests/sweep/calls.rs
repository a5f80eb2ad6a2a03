//! The system calls that a run may make, and the errors that each can end with.

use nix::errno::Errno::{self, *};
use nix::libc;

/// The numbers of system calls.
pub mod number {
    pub use nix::libc::*;

    /// Linux 6.7 has this call. The libc crate does not know it yet.
    #[allow(non_upper_case_globals)]
    pub const SYS_futex_wake: c_long = 454;
}

/// A system call.
pub struct Row {
    pub number: i64,
    name: &'static str,
    /// The errors that its manual page lists, without those that only a wrong call can cause.
    pub errors: &'static [Errno],
}

impl Row {
    pub fn name(&self) -> &'static str {
        self.name.trim_start_matches("SYS_")
    }
}

/// The calls that can transfer fewer bytes than requested.
pub const PARTIAL: [i64; 4] = [libc::SYS_read, libc::SYS_recvfrom, libc::SYS_sendto, libc::SYS_write];

/// The row of a call.
pub fn row(number: i64) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.number == number)
}

macro_rules! rows {
    ($($name:ident $errors:expr,)*) => {
        &[$(Row { number: number::$name, name: stringify!($name), errors: &$errors }),*]
    };
}

/// The system calls that a run may make. Another libc makes other calls. Each call is also tried with SIGTERM.
pub const ROWS: &[Row] = rows! {
    SYS_accept4 [EAGAIN, ECONNABORTED, EINTR, EMFILE, ENOBUFS, ENOMEM],
    SYS_access [ENOENT],
    SYS_arch_prctl [], // no error of the manual page is possible here
    SYS_bind [EADDRINUSE],
    SYS_brk [ENOMEM],
    SYS_clock_nanosleep [EINTR],
    SYS_clone [EAGAIN, ENOMEM],
    SYS_clone3 [EAGAIN, ENOMEM],
    SYS_close [EIO, EINTR],
    SYS_connect [ECONNREFUSED, ENETUNREACH, EINTR],
    SYS_epoll_create1 [EMFILE],
    SYS_epoll_ctl [ENOMEM],
    SYS_epoll_wait [EINTR],
    SYS_execve [ENOENT, ENOMEM],
    SYS_exit [], // does not return
    SYS_exit_group [], // does not return
    SYS_fcntl [EMFILE],
    SYS_fstat [ENOMEM],
    SYS_ftruncate [EIO],
    SYS_futex [EAGAIN, EINTR],
    SYS_futex_wake [], // has no reason to fail: see `trace::number`
    SYS_getcwd [ENOENT],
    SYS_geteuid [], // never fails
    SYS_getpeername [ENOBUFS],
    SYS_getpid [], // never fails
    SYS_getrandom [EINTR, ENOSYS],
    SYS_getsockname [ENOBUFS],
    SYS_getsockopt [ENOPROTOOPT],
    SYS_gettid [], // never fails
    SYS_getuid [], // never fails
    SYS_ioctl [ENOTTY],
    SYS_kill [EPERM],
    SYS_listen [EADDRINUSE],
    SYS_lseek [ESPIPE],
    SYS_madvise [ENOMEM],
    SYS_mmap [ENOMEM],
    SYS_mprotect [ENOMEM],
    SYS_mremap [ENOMEM],
    SYS_munmap [ENOMEM],
    SYS_nanosleep [EINTR],
    SYS_newfstatat [ENOENT, EACCES],
    SYS_open [ENOENT, EACCES, EMFILE, ENOSPC],
    SYS_openat [ENOENT, EACCES, EMFILE, ENOSPC],
    SYS_pipe2 [EMFILE],
    SYS_poll [EINTR, ENOMEM],
    SYS_ppoll [EINTR, ENOMEM],
    SYS_prctl [EINVAL],
    SYS_pread64 [EIO],
    SYS_prlimit64 [EPERM],
    SYS_read [EIO, EINTR],
    SYS_readlink [ENOENT],
    SYS_recvfrom [ECONNRESET, EINTR, ENOMEM],
    SYS_restart_syscall [], // the kernel itself makes it to resume a call
    SYS_rseq [], // glibc aborts if it fails in a later thread only, which no kernel does
    SYS_rt_sigaction [EINVAL],
    SYS_rt_sigprocmask [EINVAL],
    SYS_rt_sigreturn [], // does not return
    SYS_sched_getaffinity [EINVAL],
    SYS_sched_yield [], // never fails on Linux
    SYS_sendmsg [EPIPE, ECONNRESET, ENOBUFS],
    SYS_sendto [EPIPE, ECONNRESET, EINTR, ENOBUFS],
    SYS_set_robust_list [EINVAL],
    SYS_set_tid_address [], // never fails
    SYS_setpgid [EPERM],
    SYS_setsockopt [ENOPROTOOPT],
    SYS_shutdown [ENOTCONN],
    SYS_sigaltstack [ENOMEM],
    SYS_socket [EMFILE, ENOBUFS],
    SYS_socketpair [EMFILE],
    SYS_stat [ENOENT, EACCES],
    SYS_statx [ENOENT, EACCES],
    SYS_uname [], // never fails with a valid buffer
    SYS_vfork [EAGAIN, ENOMEM],
    SYS_wait4 [EINTR, ECHILD],
    SYS_waitid [EINTR, ECHILD],
    SYS_write [EIO, ENOSPC, EINTR, EAGAIN],
    SYS_writev [EIO, ENOSPC, EINTR, EAGAIN],
};
