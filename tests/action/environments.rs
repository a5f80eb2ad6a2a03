//! The environments of the action: used by name and by path, with a release from GitHub and from a mirror, with few
//! programs on PATH.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use crate::job::{Job, REPOSITORY, TARGET, TOP, VERSION, busybox, pinned, run};
use crate::stand_in::http::Server;
use crate::stand_in::{Setup, releases, tls};

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

/// Runs a job without a mirror. A TLS server stands for GitHub. Returns the paths of the requests to it.
fn paths_asked_of_github(job: Job) -> Vec<String> {
    let tls = tls::Identity::new();
    let github =
        Server::start(Some(Arc::clone(&tls.config)), |request| releases::answer(request, VERSION, &pinned().assets()));
    let ca = job.dir.path().join("ca.pem");
    fs::write(&ca, &tls.ca_pem).unwrap();
    let job = job.without("TOKEN_MINT_RELEASES").env("GITHUB_SERVER_URL", &github.url(""));
    job.env("CURL_CA_BUNDLE", ca.to_str().unwrap()).assert_mints();
    github.requests().iter().map(|request| request.path().to_owned()).collect()
}

#[test]
fn without_a_mirror_the_release_comes_from_the_pinned_repository() {
    for job in [Job::new(), Job::new().locally()] {
        assert_eq!(paths_asked_of_github(job), [format!("/{REPOSITORY}/releases/download{}", asset_path())]);
    }
}

/// In that case, `GITHUB_ACTION_REPOSITORY` names the other action.
#[test]
fn it_works_inside_another_composite_action() {
    let asked = paths_asked_of_github(Job::new().inside_another_action());
    assert_eq!(asked, [format!("/{REPOSITORY}/releases/download{}", asset_path())]);
}

#[test]
fn only_a_mirror_may_be_used_without_tls() {
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
    // The audience is an input, so the index was not asked for it.
    assert_eq!(job.servers.requests().len(), 2);
    Job::new().with("timeout: soon").assert_fails(&["`timeout:` a whole number of seconds"]);
    Job::new().with("index: nonsense").assert_fails(&["`index:` pypi, testpypi or the URL"]);
}

/// The CI workflow does the same on other operating systems.
#[test]
fn try_action_makes_a_workflow_mint_with_the_repositorys_own_action() {
    let job = Job::new().locally();
    let env_file = job.dir.path().join("github env");
    let action = job.dir.path().join("action.yml");
    fs::copy(format!("{TOP}/action.yml"), &action).unwrap();
    let mut try_action = Command::new(format!("{TOP}/.ci/try-action"));
    run(try_action.arg(&action).env("GITHUB_ENV", &env_file).env("GITHUB_REPOSITORY", REPOSITORY));
    let env = fs::read_to_string(env_file).unwrap();
    let value = |name: &str| env.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap().to_owned();
    let names = ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "TOKEN_MINT_RELEASES"];
    let job = names.iter().fold(job, |job, name| job.env(name, &value(name)));
    let job = job.with(&format!("index: {}", value("TOKEN_MINT_INDEX"))).pinned_by(&action);
    let outcome = job.run();
    run(Command::new("kill").arg(value("STAND_IN_PID")));
    assert!(outcome.green && outcome.api_token.starts_with("pypi-"), "{outcome}");
}

#[test]
fn no_input_is_run_as_shell_code() {
    let job = Job::new();
    let mark = job.dir.path().join("mark");
    for input in ["index", "audience", "timeout"] {
        for hostile in ["$(touch MARK)", "`touch MARK`", "\"; touch MARK; \"", "'; touch MARK; '", "a[$(touch MARK)]"] {
            let hostile = hostile.replace("MARK", mark.to_str().unwrap());
            let index =
                if input == "index" { String::new() } else { format!("index: {}", crate::harness::UNREACHABLE_URL) };
            let yaml = format!("{input}: {}\n          {index}", serde_json::to_string(&hostile).unwrap());
            let job = Job::new().with(&yaml).without("ACTIONS_ID_TOKEN_REQUEST_URL");
            job.assert_fails(&["token-mint: error: "]);
            assert!(!mark.exists(), "{yaml}");
        }
    }
}
