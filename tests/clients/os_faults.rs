//! Faults of the operating system that only root can cause: a read-only or full disk, and no name server.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{SLACK, Step, run_for_stderr, wrapped};
use crate::stand_in::{Setup, StandIn};

/// Runs the step in new namespaces, after this preparation. `options` are `unshare`'s.
fn in_namespaces(options: &[&str], preparation: &str, step: &Step) -> Command {
    let script = format!("{preparation} && exec \"$0\" \"$@\"");
    wrapped(&[&["unshare"], options, &["sh", "-c", &script]].concat(), &step.command())
}

#[test]
fn a_read_only_step_output_is_noticed_before_anything_is_sent() {
    let servers = StandIn::start(Setup::default());
    let read_only = "mount --bind \"$GITHUB_OUTPUT\" \"$GITHUB_OUTPUT\" && mount -o remount,bind,ro \"$GITHUB_OUTPUT\"";
    let (status, stderr) = run_for_stderr(&mut in_namespaces(&["--mount"], read_only, &Step::of(&servers)));
    assert_eq!(status, Some(6), "{stderr}");
    assert!(stderr.contains("the step output can't be written to") && stderr.contains("Read-only"), "{stderr}");
    assert_eq!(servers.requests(), [""; 0]);
}

#[test]
fn a_token_that_finds_the_disk_full_is_revoked() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers);
    let disk = step.dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let step = step.env("DISK", disk.to_str().unwrap()).env("GITHUB_OUTPUT", disk.join("output").to_str().unwrap());
    let full =
        "mount -t tmpfs -o size=4k tmpfs \"$DISK\" && touch \"$DISK/output\" && head -c 4096 /dev/zero >\"$DISK/x\"";
    let (status, stderr) = run_for_stderr(&mut in_namespaces(&["--mount"], full, &step));
    assert_eq!(status, Some(6), "{stderr}");
    assert!(
        stderr.contains("No space left on device") && stderr.contains("accepted the API token for revocation"),
        "{stderr}"
    );
    assert_eq!((servers.api_tokens().len(), servers.revoked().len()), (1, 1));
}

#[test]
fn without_a_name_server_it_names_the_request_and_ends_in_time() {
    let step =
        Step::with_endpoints("https://index.example.test/", "https://index.example.test").args(&["--timeout", "8"]);
    let preparation = "mount --bind /dev/null /etc/resolv.conf";
    let start = Instant::now();
    let (status, stderr) = run_for_stderr(&mut in_namespaces(&["--mount", "--net"], preparation, &step));
    assert_eq!(status, Some(5), "{stderr}");
    assert!(stderr.contains("asking GitHub for an ID token (https://index.example.test): "), "{stderr}");
    assert!(start.elapsed() < Duration::from_secs(8) + SLACK, "{stderr}");
}
