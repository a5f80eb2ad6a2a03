//! Where the action runs: by name and by path, from GitHub and from a mirror, with next to nothing on PATH.

use std::fs;

use crate::job::{Job, TARGET, VERSION, busybox, pinned};
use crate::stand_in::{Setup, StandIn};

fn asset_path() -> String {
    format!("/v{VERSION}/token-mint-{TARGET}")
}

#[test]
fn a_workflow_that_names_the_action_gets_the_token_in_a_later_step() {
    let job = Job::new();
    let outcome = job.assert_mints();
    assert_eq!(job.downloads(), [format!("/mirror{}", asset_path())], "{outcome}");
    assert!(outcome.log.contains("a log line with the token: ***"), "{outcome}");
    let found =
        format!("{} has the pinned SHA-256 {}", job.releases.url(&format!("/mirror{}", asset_path())), pinned().sum);
    assert!(outcome.log.contains(&found), "{outcome}");
}

#[test]
fn a_workflow_of_the_actions_own_repository_gets_the_token_too() {
    Job::new().locally().assert_mints();
}

/// The usual case: https, and the releases of the repository that the action comes from.
#[test]
fn without_a_mirror_the_release_comes_from_the_actions_own_repository() {
    let github = StandIn::start(Setup { tls: true, ..Setup::default() });
    let job = Job::new();
    let ca = job.dir.path().join("ca.pem");
    fs::write(&ca, github.ca_pem.as_ref().unwrap()).unwrap();
    let job = job.without("TOKEN_MINT_RELEASES").env("GITHUB_SERVER_URL", &github.index.url(""));
    let job = job.env("CURL_CA_BUNDLE", ca.to_str().unwrap());
    // This server has no releases: what counts is what it is asked for.
    let path = format!("/octo-org/token-mint-action/releases/download{}", asset_path());
    job.assert_stops_before_minting(&[&format!("can't download {}", github.index.url(&path)), "404"]);
    assert_eq!(github.requests(), vec![format!("GET {path}"); 3]);
}

#[test]
fn only_a_mirror_may_do_without_tls() {
    let job = Job::new();
    let server = job.releases.url("");
    let job = job.without("TOKEN_MINT_RELEASES").env("GITHUB_SERVER_URL", &server);
    job.assert_stops_before_minting(&["can't download http://"]);
    assert_eq!(job.downloads(), Vec::<String>::new());
}

#[test]
fn busybox_is_enough() {
    let job = Job::new();
    let path = busybox(job.dir.path().join("bin"), &[]);
    let job = job.path(&path);
    job.assert_mints();
    assert_eq!(job.downloads().len(), 1);
}

#[test]
fn inputs_reach_the_executable_and_win_over_the_jobs_environment() {
    let servers = Job::of(Setup { audience: "another", ..Setup::default() });
    let inputs =
        format!("index: {}\n          audience: another\n          timeout: 50", servers.servers.index.url(""));
    let job = servers
        .with(&inputs)
        .env("TOKEN_MINT_INDEX", "http://127.0.0.1:9")
        .env("TOKEN_MINT_AUDIENCE", "wrong")
        .env("TOKEN_MINT_FORMAT", "token")
        .env("TOKEN_MINT_TIMEOUT", "0");
    job.assert_mints();
    // The audience was given: the index was not asked for it.
    assert_eq!(job.servers.requests().len(), 2);
    Job::new().with("timeout: soon").assert_fails(&["TOKEN_MINT_TIMEOUT"]);
    Job::new().with("index: nonsense").assert_fails(&["TOKEN_MINT_INDEX"]);
}

#[test]
fn no_input_is_taken_for_shell() {
    let job = Job::new();
    let mark = job.dir.path().join("mark");
    for input in ["index", "audience", "timeout"] {
        for hostile in ["$(touch MARK)", "`touch MARK`", "\"; touch MARK; \"", "'; touch MARK; '", "a[$(touch MARK)]"] {
            let hostile = hostile.replace("MARK", mark.to_str().unwrap());
            let index = if input == "index" { String::new() } else { format!("index: {}", crate::harness::NOWHERE) };
            let yaml = format!("{input}: {}\n          {index}", serde_json::to_string(&hostile).unwrap());
            let job = Job::new().with(&yaml).without("ACTIONS_ID_TOKEN_REQUEST_URL");
            job.assert_fails(&["token-mint: error: "]);
            assert!(!mark.exists(), "{yaml}");
        }
    }
}
