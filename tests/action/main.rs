//! Tests of the action: a workflow runner runs workflows, and all servers are on loopback.
//!
//! `make test-action` runs them, on Linux. They need busybox, dash, curl, git and wget, and python3 with venv to
//! install the runner.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout, dead_code)]

#[path = "../it/harness.rs"]
mod harness;
#[path = "../stand_in/mod.rs"]
mod stand_in;

mod act;
mod bom;
mod environments;
mod faults;
mod install;
mod job;
mod publish;
mod readme;
mod release;
mod script;
mod tool_cache;
mod uploads;
mod wheels;
