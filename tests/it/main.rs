//! The integration tests: the executable against servers on loopback. Each module has one topic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, dead_code)]

#[path = "../stand_in/mod.rs"]
mod stand_in;

mod build;
mod connections;
mod evidence;
mod evidence_faults;
mod exchange;
mod explanations;
mod faults;
mod handover;
mod harness;
mod hostile_servers;
mod house;
mod identity;
#[cfg(target_os = "linux")] // GNU's env, setpriv, /proc
mod os_faults;
mod proxy;
mod readme;
mod refusals;
mod reported_failures;
mod retries;
#[cfg(target_os = "linux")] // GNU's env, setsid, /proc
mod signals;
mod tls;
mod upload;
mod usage;
#[cfg(windows)]
mod windows;
