//! Tests with other programs: real upload clients, a real proxy, real shells. Also tests that need root: they imitate
//! Google Cloud, containers and faults of the operating system.
//!
//! `make test-clients` runs them, as root on Linux (for mount namespaces). They need `$CLIENTS`, the
//! folder that `.ci/install-clients` prints, and the Debian packages that `.ci/run` names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, dead_code)]

#[path = "../it/harness.rs"]
mod harness;
#[path = "../stand_in/mod.rs"]
mod stand_in;

mod addresses;
mod container;
#[cfg(feature = "system-roots")]
mod google;
mod mounts;
mod os_faults;
#[cfg(feature = "system-roots")]
mod other_index;
#[cfg(feature = "system-roots")]
mod proxy;
mod shells;
mod uploads;
