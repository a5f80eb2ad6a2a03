//! What keeps the tokens in this process's memory from others.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// Wipes memory when it is freed. The tokens' own types could do that for themselves, but not for the copies that HTTP,
/// TLS and JSON make of them.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// Has no core dump written of this process, and no other process of the same user read its memory or environment
/// (`PR_SET_DUMPABLE` in `prctl(2)`). A program that we start is not affected. Call it first of all.
pub fn forbid_dumps_and_ptrace() {
    #[cfg(target_os = "linux")] // without it, all works as well
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
