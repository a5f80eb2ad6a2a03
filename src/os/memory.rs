//! Keeps the tokens in this process's memory from others.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// Wipes memory when it is freed. A token's own type could wipe the token, but not the copies that HTTP, TLS and JSON
/// make of it.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// On Linux, forbids core dumps of this process, and forbids other processes of the same user to read its memory and
/// environment (`PR_SET_DUMPABLE` in `prctl(2)`). A program that we start is not affected. Call this before anything
/// else.
pub fn forbid_dumps_and_ptrace() {
    #[cfg(target_os = "linux")] // a failure is ignored: the program works without it
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
