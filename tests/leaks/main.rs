//! Searches everything that token-mint wrote to stderr and to summary pages in all other tests. It looks for their
//! secrets and for anything that looks like a secret. `make test` runs it last.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::path::Path;

/// The tests record more runs than this. If there are fewer, the folder is the wrong one.
const LEAST_RUNS: usize = 400;

struct Run {
    messages: String,
    secrets: Vec<String>,
}

fn runs() -> Vec<Run> {
    let folder = Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/said"));
    let files = std::fs::read_dir(folder).expect("run `make test`: the other tests come first");
    let read = |path| -> Run {
        let run: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let secrets = run["secrets"].as_array().unwrap().iter().map(|secret| secret.as_str().unwrap().to_owned());
        Run { messages: run["messages"].as_str().unwrap().to_owned(), secrets: secrets.collect() }
    };
    files.map(|file| read(file.unwrap().path())).collect()
}

/// How the stand-ins' tokens begin, and how many characters follow at least: ID tokens, API tokens, request tokens.
const SHAPES: [(&str, usize); 3] = [("eyJ0eXAiOiJKV1Qi", 20), ("pypi-AgEI", 20), ("request-", 48)];

fn looks_like_a_secret(messages: &str) -> Option<&str> {
    let is_token_char = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    messages.split(|c| !is_token_char(c)).find(|word| {
        SHAPES.iter().any(|(start, more)| {
            word.find(start).is_some_and(|at| {
                let rest = &word[at + start.len()..];
                rest.len() >= *more && (*start != "request-" || rest.bytes().all(|b| b.is_ascii_hexdigit()))
            })
        })
    })
}

#[test]
fn no_message_of_any_test_holds_a_secret() {
    let runs = runs();
    assert!(runs.len() >= LEAST_RUNS, "only {} runs were recorded", runs.len());
    let secrets: BTreeSet<&str> = runs.iter().flat_map(|run| &run.secrets).map(String::as_str).collect();
    for Run { messages, .. } in &runs {
        assert_eq!(looks_like_a_secret(messages), None, "in {messages}");
        // A short secret of one test may be a harmless word in another.
        for secret in secrets.iter().filter(|secret| secret.len() >= 20) {
            assert!(!messages.contains(secret), "{secret} in {messages}");
        }
    }
    println!("{} runs, {} secrets", runs.len(), secrets.len());
}

#[test]
fn the_search_recognises_each_kind_of_secret() {
    let claims = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln";
    for secret in [claims, &format!("pypi-AgEI{}", "a".repeat(20)), &format!("request-{}", "0".repeat(48))] {
        assert_eq!(looks_like_a_secret(&format!("token-mint: error: got '{secret}'\n")), Some(secret));
    }
    for harmless in ["request-", "pypi-AgEI", "eyJ0eXAiOiJKV1Qi", "the request-token"] {
        assert_eq!(looks_like_a_secret(harmless), None);
    }
}
