//! Faults of the machine that take root to make: disks and name servers.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{SLACK, Step, run_for_stderr, wrapped};
use crate::stand_in::{Setup, StandIn};

/// The command in a mount namespace of its own, where this was done first.
fn in_namespace(step: &Step, preparation: &str) -> Command {
    let script = format!("{preparation} && exec \"$0\" \"$@\"");
    wrapped(&["unshare", "--mount", "sh", "-c", &script], &step.command())
}

#[test]
fn a_read_only_step_output_is_noticed_before_anything_is_sent() {
    let servers = StandIn::start(Setup::default());
    let read_only = "mount --bind \"$GITHUB_OUTPUT\" \"$GITHUB_OUTPUT\" && mount -o remount,bind,ro \"$GITHUB_OUTPUT\"";
    let (status, stderr) = run_for_stderr(&mut in_namespace(&Step::of(&servers), read_only));
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
    let (status, stderr) = run_for_stderr(&mut in_namespace(&step, full));
    assert_eq!(status, Some(6), "{stderr}");
    assert!(
        stderr.contains("No space left on device") && stderr.contains("accepted the API token for revocation"),
        "{stderr}"
    );
    assert_eq!((servers.api_tokens().len(), servers.revoked().len()), (1, 1));
}

#[test]
fn without_a_name_server_it_says_so_and_ends_in_time() {
    let step =
        Step::with_endpoints("https://index.example.test/", "https://index.example.test").args(&["--timeout", "8"]);
    let preparation = "mount --bind /dev/null /etc/resolv.conf";
    let script = format!("{preparation} && exec \"$0\" \"$@\"");
    let words = ["unshare", "--mount", "--net", "sh", "-c", &script];
    let start = Instant::now();
    let (status, stderr) = run_for_stderr(&mut wrapped(&words, &step.command()));
    assert_eq!(status, Some(5), "{stderr}");
    assert!(stderr.contains("asking GitHub for an ID token (https://index.example.test): "), "{stderr}");
    assert!(start.elapsed() < Duration::from_secs(8) + SLACK, "{stderr}");
}
