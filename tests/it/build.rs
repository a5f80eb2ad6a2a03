//! What the executable was built with.

use crate::harness::BUILT_EXE;

/// aws-lc's jitter entropy costs more than all the rest of the program (see .cargo/config.toml). Its functions are
/// called `jent_…`, and the symbol table of a test build names every function.
#[test]
fn the_executable_holds_no_jitter_entropy() {
    let bytes = std::fs::read(BUILT_EXE).unwrap();
    let holds = |name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(holds("aws_lc_") && holds("RAND_bytes"), "no symbol table: this test would prove nothing");
    for function in ["jent_entropy_init", "jent_read_entropy", "jent_stuck"] {
        assert!(!holds(function), "{function}");
    }
}
