//! The fuzz targets, one executable for all: `$FUZZ_TARGET` names the one to run. libFuzzer calls it with input after
//! input; a panic is a finding. `make fuzz` builds and runs them.

#![no_main]

/// The program's own modules. They know each other as `crate::json` and so on, hence the `use` below.
#[path = "../../src"]
#[allow(dead_code, unused_imports, reason = "not everything is fuzzed")]
mod program {
    pub mod claims;
    pub mod cli;
    pub mod env;
    pub mod error;
    pub mod explain;
    pub mod handover;
    pub mod identity;
    pub mod index;
    pub mod index_api;
    pub mod json;
    pub mod net;
    pub mod os;
    pub mod requests;
    pub mod retry;
    pub mod secret;
    pub mod settings;
    pub mod text;
    pub mod time;
}
use program::*;

use std::sync::OnceLock;

/// The targets, and what they have in common.
mod targets {
    pub mod claims;
    pub mod reply;
    pub mod sanitize;
    pub mod settings;
    pub mod shown;
    pub mod url;
}

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    TARGET.get_or_init(chosen)(input);
});

fn chosen() -> fn(&[u8]) {
    match std::env::var("FUZZ_TARGET").as_deref() {
        Ok("claims") => targets::claims::fuzz,
        Ok("sanitize") => targets::sanitize::fuzz,
        Ok("reply") => targets::reply::fuzz,
        Ok("settings") => targets::settings::fuzz,
        Ok("url") => targets::url::fuzz,
        other => panic!("FUZZ_TARGET names no target: {other:?}"),
    }
}
