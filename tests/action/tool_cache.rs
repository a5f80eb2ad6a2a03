//! Copies of the executable on the machine: they are used without a download if they have the pinned sum.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::job::{Job, executable, pinned, run};

/// A script that mints nothing and shows that it ran.
const IMPOSTOR: &[u8] = b"#!/bin/sh\necho pwned\n";

/// The tool cache has the asset.
#[track_caller]
fn assert_kept(job: &Job) {
    assert!(fs::read(job.cached()).unwrap() == fs::read(pinned().asset()).unwrap());
}

#[test]
fn a_download_is_kept_for_the_next_job() {
    let job = Job::new();
    job.assert_mints();
    assert_kept(&job);
    let outcome = job.assert_mints();
    assert_eq!(job.downloads().len(), 1, "{outcome}");
    assert!(outcome.log.contains(&format!("{} has the pinned SHA-256", job.cached().display())), "{outcome}");
}

#[test]
fn a_wrong_file_in_the_tool_cache_is_replaced_and_not_run() {
    for wrong in [IMPOSTOR.to_vec(), pinned().flipped(), vec![]] {
        let job = Job::new();
        executable(&job.cached(), &wrong);
        let outcome = job.assert_mints();
        assert!(!outcome.log.contains("pwned"), "{outcome}");
        assert_eq!(job.downloads().len(), 1, "{outcome}");
        assert_kept(&job);
    }
}

/// The action copies a file and then computes its sum. The size of the input of `sha256sum` shows how much it copied.
#[test]
fn a_file_that_is_far_too_large_is_not_copied_to_its_end() {
    let job = Job::new();
    let log = job.dir.path().join("sizes");
    let bin = job.dir.path().join("bin");
    let sha256sum = run(std::process::Command::new("sh").args(["-c", "command -v sha256sum"]));
    let script = format!("#!/bin/sh\nwc -c </dev/stdin >>'{}'\nexec {sha256sum}", log.display());
    executable(&bin.join("sha256sum"), script.as_bytes());
    for large in [job.cached(), bin.join("token-mint")] {
        executable(&large, b"");
        fs::File::options().write(true).open(large).unwrap().set_len(300_000_000).unwrap(); // sparse
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let job = job.path(path.as_ref());
    let outcome = job.assert_mints();
    let sizes = fs::read_to_string(log).unwrap();
    assert!(sizes.lines().all(|size| size.trim().parse::<u64>().unwrap() < 110_000_000), "{sizes}{outcome}");
    assert_eq!(job.downloads().len(), 1, "{outcome}");
}

#[test]
fn a_tool_cache_that_can_not_be_written_or_is_no_folder_does_not_matter() {
    let job = Job::new();
    fs::write(job.dir.path().join("tools"), "a file").unwrap();
    job.assert_mints();
    let job = Job::new();
    fs::create_dir_all(job.cached()).unwrap(); // a folder in place of the executable
    job.assert_mints();
}

#[test]
fn a_copy_on_path_is_used_without_a_download() {
    let job = Job::new();
    let bin = job.dir.path().join("bin");
    executable(&bin.join("token-mint"), &fs::read(pinned().asset()).unwrap());
    let outcome = on_path(job, &bin).assert_mints();
    assert!(outcome.log.contains(&format!("{} has the pinned SHA-256", bin.join("token-mint").display())), "{outcome}");
}

/// The action looks in the tool cache first. It can't replace the copy there, but has to use the one on PATH.
#[test]
fn a_wrong_read_only_copy_does_not_hide_a_right_one() {
    let job = Job::new();
    executable(&job.cached(), IMPOSTOR);
    fs::set_permissions(job.cached(), fs::Permissions::from_mode(0o555)).unwrap();
    let bin = job.dir.path().join("bin");
    executable(&bin.join("token-mint"), &fs::read(pinned().asset()).unwrap());
    on_path(job, &bin).assert_mints();
}

/// A job with this folder on PATH, in which a download would fail.
fn on_path(job: Job, bin: &Path) -> Job {
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    job.path(path.as_ref()).env("TOKEN_MINT_RELEASES", crate::harness::UNREACHABLE_URL)
}

#[test]
fn another_token_mint_on_path_is_never_run() {
    let other = Job::new();
    let script = other.dir.path().join("script");
    executable(&script, IMPOSTOR);
    for wrong in [IMPOSTOR.to_vec(), pinned().flipped()] {
        let job = Job::new();
        let bin = job.dir.path().join("bin");
        executable(&bin.join("token-mint"), &wrong);
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let job = job.path(path.as_ref());
        let outcome = job.assert_mints();
        assert!(!outcome.log.contains("pwned"), "{outcome}");
        assert_eq!(job.downloads().len(), 1, "{outcome}");
        // It is not run through a link either.
        fs::remove_file(bin.join("token-mint")).unwrap();
        fs::remove_file(job.cached()).unwrap();
        symlink(&script, bin.join("token-mint")).unwrap();
        let outcome = job.assert_mints();
        assert!(!outcome.log.contains("pwned"), "{outcome}");
    }
}
