//! Searches everything that token-mint wrote to stderr and to summary pages in all other tests, for each of their
//! secrets and for anything that looks like a secret. `make test` runs it last.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;

/// Fewer runs than the tests make: else it looks in the wrong place.
const LEAST_RUNS: usize = 400;

struct Run {
    said: String,
    secrets: Vec<String>,
}

fn runs() -> Vec<Run> {
    let folder = Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/said"));
    let files = std::fs::read_dir(folder).expect("run `make test`: the other tests come first");
    let read = |path| -> Run {
        let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let secrets = kept["secrets"].as_array().unwrap().iter().map(|secret| secret.as_str().unwrap().to_owned());
        Run { said: kept["said"].as_str().unwrap().to_owned(), secrets: secrets.collect() }
    };
    files.map(|file| read(file.unwrap().path())).collect()
}

/// The stand-ins' tokens, by how they begin: JSON Web Tokens with claims, PyPI's API tokens, the stand-in's request
/// tokens. The number of characters that follow.
const SHAPES: [(&str, usize); 3] = [("eyJ0eXAiOiJKV1Qi", 20), ("pypi-AgEI", 20), ("request-", 48)];

fn looks_like_a_secret(said: &str) -> Option<&str> {
    let is_token_char = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    said.split(|c| !is_token_char(c)).find(|word| {
        SHAPES.iter().any(|(start, more)| {
            word.find(start).is_some_and(|at| {
                let rest = &word[at + start.len()..];
                rest.len() >= *more && (*start != "request-" || rest.bytes().all(|b| b.is_ascii_hexdigit()))
            })
        })
    })
}

#[test]
fn no_test_saw_a_secret_in_what_was_said() {
    let runs = runs();
    assert!(runs.len() >= LEAST_RUNS, "only {} runs were kept", runs.len());
    let secrets: BTreeSet<&str> = runs.iter().flat_map(|run| &run.secrets).map(String::as_str).collect();
    for Run { said, .. } in &runs {
        assert_eq!(looks_like_a_secret(said), None, "in {said}");
        // Short ones are words of tests, which another test may use in plain sight.
        for secret in secrets.iter().filter(|secret| secret.len() >= 20) {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
    }
    println!("{} runs, {} secrets", runs.len(), secrets.len());
}

/// So that a look that finds nothing means something.
#[test]
fn what_a_test_would_print_is_recognised() {
    let claims = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln";
    for secret in [claims, &format!("pypi-AgEI{}", "a".repeat(20)), &format!("request-{}", "0".repeat(48))] {
        assert_eq!(looks_like_a_secret(&format!("token-mint: error: got '{secret}'\n")), Some(secret));
    }
    for harmless in ["request-", "pypi-AgEI", "eyJ0eXAiOiJKV1Qi", "the request-token"] {
        assert_eq!(looks_like_a_secret(harmless), None);
    }
}
