//! Failures of the action: downloads that fail or have another checksum, machines that lack a program, and refusals.

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::ScriptedServer;
use crate::job::{Job, REPOSITORY, TARGET, VERSION, busybox, executable, pinned, run};
use crate::stand_in::Setup;

/// A job that downloads from this server.
fn job_with(releases: &ScriptedServer) -> Job {
    Job::new().env("TOKEN_MINT_RELEASES", &releases.url())
}

fn reply(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Answers each request with the next of these replies.
fn in_turn(answers: Vec<Vec<u8>>) -> ScriptedServer {
    let requests = AtomicUsize::new(0);
    ScriptedServer::serving(move |stream| {
        let answer = answers.get(requests.fetch_add(1, Ordering::Relaxed));
        let _ = stream.write_all(answer.expect("there are more requests than replies"));
        let _ = stream.shutdown(Shutdown::Write);
    })
}

#[test]
fn an_asset_with_one_bit_flipped_is_named_with_both_sums_and_not_run() {
    let flipped = pinned().flipped();
    let releases = ScriptedServer::answering(reply(200, &flipped));
    let job = job_with(&releases);
    let sum = {
        let file = job.dir.path().join("token-mint-flipped");
        fs::write(&file, flipped).unwrap();
        run(std::process::Command::new("sha256sum").arg(file))[..64].to_owned()
    };
    let outcome = job.assert_stops_before_minting(&[
        &format!("has the SHA-256 '{sum}', but '{}' is pinned", pinned().sum),
        &releases.url(),
    ]);
    assert!(!outcome.log.contains("token-mint: version"), "{outcome}");
    assert_eq!(releases.requests().len(), 1, "a wrong asset is not downloaded again: {outcome}");
    assert!(!job.cached().exists());
}

#[test]
fn a_wrong_asset_is_deleted() {
    let releases = ScriptedServer::answering(reply(200, b"#!/bin/sh\necho pwned\n"));
    let job = job_with(&releases);
    let temp = job.dir.path().join("temp");
    fs::create_dir(&temp).unwrap();
    let job = job.env("RUNNER_TEMP", temp.to_str().unwrap());
    let outcome = job.assert_stops_before_minting(&["is pinned"]);
    assert!(!outcome.log.contains("pwned"), "{outcome}");
    assert_eq!(fs::read_dir(temp).unwrap().count(), 0, "{outcome}");
}

#[test]
fn a_truncated_download_is_tried_again_and_then_given_up() {
    let asset = fs::read(pinned().asset()).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", asset.len());
    let releases = ScriptedServer::answering([head.as_bytes(), &asset[..asset.len() / 2]].concat());
    let job = job_with(&releases);
    job.assert_stops_before_minting(&["can't download", &releases.url(), "(three tries, see above)"]);
    assert_eq!(releases.requests().len(), 3);
}

/// busybox's wget may not notice a truncated download. The checksum shows it.
#[test]
fn a_truncated_download_never_runs_with_busybox_either() {
    let asset = fs::read(pinned().asset()).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", asset.len());
    let job = job_with(&ScriptedServer::answering([head.as_bytes(), &asset[..asset.len() / 2]].concat()));
    let path = busybox(job.dir.path().join("bin"), &[]);
    let outcome = job.path(&path).assert_stops_before_minting(&["token-mint: "]);
    assert!(!outcome.log.contains("token-mint: version"), "{outcome}");
}

#[test]
fn a_server_that_recovers_in_time_is_no_failure() {
    let asset = fs::read(pinned().asset()).unwrap();
    let releases = in_turn(vec![reply(503, b"try later"), vec![], reply(200, &asset)]);
    job_with(&releases).assert_mints();
    assert_eq!(releases.requests().len(), 3);
}

#[test]
fn a_release_without_the_asset_is_named() {
    let releases = ScriptedServer::answering(reply(404, b"Not Found"));
    let job = job_with(&releases);
    job.assert_stops_before_minting(&["can't download", &format!("{}/v", releases.url()), TARGET, "404"]);
}

/// busybox's wget prints a status line unchanged, and GitHub accepts the workflow command `##[…]` anywhere in a line.
/// `stop-commands` would disable the masks that follow.
#[test]
fn the_text_of_a_server_is_no_workflow_command() {
    let asset = fs::read(pinned().asset()).unwrap();
    let first = b"HTTP/1.1 503 a##[stop-commands]x\r::stop-commands::y\r\nContent-Length: 0\r\n\r\n".to_vec();
    let releases = in_turn(vec![first, reply(200, &asset)]);
    let job = job_with(&releases);
    let path = busybox(job.dir.path().join("bin"), &[]);
    let outcome = job.path(&path).assert_mints();
    assert!(outcome.log.contains("a??[stop-commands]x"), "{outcome}");
    assert!(!outcome.log.contains("##[") && !outcome.log.contains('\r'), "{outcome}");
}

#[test]
fn an_endless_asset_is_cut_off() {
    let releases = ScriptedServer::serving(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while stream.write_all(&[0; 65536]).is_ok() {}
    });
    let start = Instant::now();
    job_with(&releases).assert_stops_before_minting(&["can't download"]);
    assert!(start.elapsed() < Duration::from_secs(35), "cut off by size, not by time: {:?}", start.elapsed());
}

#[test]
fn a_folder_for_temporary_files_that_is_missing_is_named() {
    Job::new().env("RUNNER_TEMP", "/nonexistent").assert_stops_before_minting(&["can't write to /nonexistent"]);
}

#[test]
fn a_server_that_hangs_is_given_up() {
    let releases = ScriptedServer::serving(|_| thread::sleep(Duration::from_secs(60)));
    for path in [None, Some(&[][..])] {
        let job = job_with(&releases).edited("--max-time 40", "--max-time 2").edited("timeout 40", "timeout 2");
        let job = match path {
            Some(but) => {
                let path = busybox(job.dir.path().join("bin"), but);
                job.path(&path)
            }
            None => job,
        };
        let start = Instant::now();
        job.assert_stops_before_minting(&["can't download", "(three tries"]);
        let elapsed = start.elapsed();
        assert!((Duration::from_secs(9)..Duration::from_secs(30)).contains(&elapsed), "{elapsed:?}");
    }
}

#[test]
fn a_machine_without_a_program_to_download_with_says_so() {
    let job = Job::new();
    // wget is not used without `timeout`, as it could wait forever.
    let path =
        dash_and(&job, &["cut", "uname", "mktemp", "rm", "sha256sum", "cp", "cat", "chmod", "mkdir", "mv", "wget"]);
    let job = job.path(&path);
    job.assert_stops_before_minting(&["curl is needed to fetch "]);
}

#[test]
fn a_machine_without_a_program_to_check_with_says_so() {
    let job = Job::new();
    let path =
        dash_and(&job, &["cut", "uname", "mktemp", "rm", "cp", "cat", "chmod", "mkdir", "mv", "wget", "timeout"]);
    let job = job.path(&path);
    job.assert_stops_before_minting(&["sha256sum or shasum is needed"]);
    assert_eq!(job.downloads().len(), 0);
}

#[test]
fn shasum_is_enough() {
    let job = Job::new();
    let tools =
        ["cut", "uname", "mktemp", "rm", "shasum", "perl", "cp", "cat", "chmod", "mkdir", "mv", "wget", "timeout"];
    let path = dash_and(&job, &tools);
    let job = job.path(&path);
    job.assert_mints();
}

/// A folder with dash as sh, and with links to these programs. busybox's sh would run its own programs in any case.
fn dash_and(job: &Job, programs: &[&str]) -> PathBuf {
    let folder = job.dir.path().join("bin");
    fs::create_dir(&folder).unwrap();
    for (program, name) in programs.iter().map(|name| (name, name)).chain([(&"dash", &"sh")]) {
        let found = run(std::process::Command::new("sh").args(["-c", "command -v \"$0\""]).arg(program));
        symlink(found.trim(), folder.join(name)).unwrap();
    }
    folder
}

#[test]
fn on_an_unsupported_system_the_error_lists_the_supported_ones() {
    for (system, machine) in [("FreeBSD", "amd64"), ("Linux", "riscv64"), ("Linux", "armv7l"), ("Darwin", "i386")] {
        let job = Job::new();
        let path = busybox(job.dir.path().join("bin"), &["uname"]);
        let uname = format!("#!/bin/sh\n[ \"$1\" = -s ] && echo {system} || echo {machine}\n");
        executable(&path.join("uname"), uname.as_bytes());
        // busybox's sh would run its own `uname`.
        symlink(run(std::process::Command::new("sh").args(["-c", "command -v dash"])).trim(), path.join("dash"))
            .unwrap();
        fs::remove_file(path.join("sh")).unwrap();
        fs::rename(path.join("dash"), path.join("sh")).unwrap();
        job.path(&path).assert_stops_before_minting(&[
            &format!("there is no token-mint for {system} {machine}"),
            "Linux and macOS (x86_64, arm64)",
            "Windows (x86_64)",
        ]);
    }
}

#[test]
fn a_copy_of_the_action_that_is_not_pinned_says_so() {
    let job = Job::new().edited(&pinned().sum, "");
    job.assert_stops_before_minting(&["no token-mint is pinned here", "use a release of this action"]);
    assert_eq!(job.downloads().len(), 0);
}

#[test]
fn a_missing_permission_is_explained() {
    let job = Job::new().without("ACTIONS_ID_TOKEN_REQUEST_URL").without("ACTIONS_ID_TOKEN_REQUEST_TOKEN");
    let page = format!("https://github.com/{REPOSITORY}/blob/v{VERSION}/docs/troubleshooting.md#no-identity");
    let outcome = job.assert_fails(&["this job may not ask GitHub for an ID token", "id-token: write", &page]);
    assert!(outcome.log.contains("exit status 3"), "{outcome}");
}

/// An invalid name shows that the input arrives, as the executable checks it.
#[test]
fn the_projects_name_reaches_the_executable() {
    Job::new().with("project: a/b").assert_fails(&["`project:` a project's name is expected"]);
}

#[test]
fn a_refusal_by_the_index_is_explained() {
    let job = Job::of(Setup { publisher: None, ..Setup::default() });
    let outcome = job.assert_fails(&["refused to mint an API token", "invalid-publisher", "Workflow name "]);
    assert!(outcome.log.contains("exit status 4"), "{outcome}");
    assert_eq!(job.servers.api_tokens(), Vec::<String>::new());
}
