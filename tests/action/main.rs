//! Tests of the action: workflows run by a real workflow runner, with servers on loopback only.
//!
//! `make test-action` runs them. They need `$RUN_ACTION`, a program that runs
//! `RUN_ACTION [--as OWNER/REPO@REF] [--env NAME=VALUE]... [--path PATH] ACTION_DIR WORKFLOW_FILE` with
//! [act](https://github.com/nektos/act), prints the log and ends with 0 when the jobs are green.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, dead_code)]

#[path = "../it/harness.rs"]
mod harness;
#[path = "../stand_in/mod.rs"]
mod stand_in;

mod bom;
mod faults;
mod found;
mod install;
mod job;
mod places;
mod publish;
mod readme;
mod release;
mod script;
mod uploads;
mod wheels;
