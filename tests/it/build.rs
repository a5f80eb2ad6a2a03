//! The libraries in the executable.

use crate::harness::BUILT_EXE;

/// aws-lc's jitter entropy would take more time than the rest of the program (see .cargo/config.toml). Its functions
/// are called `jent_…`, and the symbol table of a test build has the name of every function.
#[test]
fn the_executable_has_no_jitter_entropy() {
    let bytes = std::fs::read(BUILT_EXE).unwrap();
    let has = |name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(has("aws_lc_") && has("RAND_bytes"), "no symbol table: this test would prove nothing");
    for function in ["jent_entropy_init", "jent_read_entropy", "jent_stuck"] {
        assert!(!has(function), "{function}");
    }
}
