//! Faults of pipes and file descriptors. Also what other processes can read of this one. Tests that need root are in
//! `tests/clients/os_faults.rs`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{
    AS_NOBODY, SLACK, ScriptedServer, Step, run_for_stderr, spawned, wait_until, wrapped, wrapped_copy,
};
use crate::stand_in::{Setup, StandIn};

#[test]
fn a_token_that_nobody_reads_is_revoked() {
    let servers = StandIn::start(Setup { mint_delay: Duration::from_millis(300), ..Setup::default() });
    let step = Step::of(&servers).args(&["--format", "token"]);
    let script = "\"$0\" \"$@\" | true; exit ${PIPESTATUS[0]}";
    for shell in [&["bash", "-c", script][..], &["env", "--default-signal=PIPE", "bash", "-c", script]] {
        let (status, stderr) = run_for_stderr(&mut wrapped(shell, &step.command()));
        assert_eq!(status, Some(6), "{stderr}");
        assert!(stderr.contains("can't be written to stdout: Broken pipe"), "{stderr}");
    }
    assert_eq!((servers.api_tokens().len(), servers.revoked().len()), (2, 2));
}

/// Runs the step with this many free file descriptors, however many it inherits from this process.
fn with_descriptors(free: usize, step: &Step) -> Command {
    step.command_in_shell(&format!(
        "free={free} limit=0
        until [ $free = 0 ]; do
          [ -e /dev/fd/$limit ] || free=$((free - 1))
          limit=$((limit + 1))
        done
        ulimit -n $limit && exec \"$0\" \"$@\""
    ))
}

/// Each number of free descriptors makes another call fail, until there are enough for all.
#[test]
fn without_free_file_descriptors_it_reports_an_error_and_loses_no_token() {
    let mut statuses = vec![];
    while !statuses.ends_with(&[0; 4]) {
        let free = statuses.len() + 1;
        let servers = StandIn::start(Setup::default());
        let step = Step::of(&servers).args(&["--timeout", "3"]);
        let start = Instant::now();
        let (status, stderr) = run_for_stderr(&mut with_descriptors(free, &step));
        assert!(start.elapsed() < Duration::from_secs(3) + SLACK, "{free}: {stderr}");
        assert!(!stderr.contains("unexpected") && !stderr.contains("by surprise"), "{free}: {stderr}");
        match status {
            Some(0) => assert_eq!(servers.revoked().len(), 0, "{free}: {stderr}"),
            Some(5 | 6) if free < 64 => {
                assert!(stderr.contains("token-mint: error: ") && stderr.contains("os error 24"), "{free}: {stderr}");
                assert_eq!(servers.api_tokens().len(), servers.revoked().len(), "{free}: {stderr}");
            }
            status => panic!("{free}: status {status:?}: {stderr}"),
        }
        statuses.extend(status);
    }
    assert!(statuses.contains(&5), "{statuses:?}");
}

/// While COMMAND runs, the API token is the only secret in memory. Only root may read the memory.
#[test]
fn a_used_id_token_is_wiped_from_memory() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).env("PATH", "/usr/bin:/bin").args(&["--", "sh", "-c", "echo ready; exec sleep 20"]);
    let mut child = spawned(step.command().stdout(Stdio::piped()));
    wait_until(|| !servers.api_tokens().is_empty());
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    if rustix::process::geteuid().is_root() {
        let holds = |secret: &str| {
            let memory = memory_of(child.id()).unwrap();
            memory.windows(secret.len()).any(|bytes| bytes == secret.as_bytes())
        };
        assert!(holds(&servers.api_tokens()[0]), "this is not the program's memory");
        let signature = servers.secrets()[1].clone();
        // The threads of the last connection may still be ending.
        wait_until(|| !holds(&signature[signature.len() - 100..]));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The content of a process's writable memory. `None` if this process may not read it.
fn memory_of(process: u32) -> Option<Vec<u8>> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let memory = File::open(format!("/proc/{process}/mem")).ok()?;
    let mut all = vec![];
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let mut bytes = vec![0; (u64::from_str_radix(end, 16).ok()? - start) as usize];
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            all.append(&mut bytes);
        }
    }
    Some(all)
}

/// In most jobs, all processes have one user.
#[test]
fn no_other_process_of_the_user_reads_the_environment_or_the_memory() {
    let silent = ScriptedServer::serving(|_| std::thread::sleep(Duration::from_secs(10)));
    let step = Step::with_endpoints(&silent.url(), &silent.url()).args(&["--format", "token"]);
    // Root may read everything. So if this is root, both processes get another user.
    let user = if rustix::process::geteuid().is_root() { AS_NOBODY } else { &["env"] };
    let mut child = spawned(wrapped_copy(user, &step).stdout(Stdio::piped()));
    wait_until(|| !silent.requests().is_empty());
    let can_read = |process: u32, what: &str| {
        let path = format!("/proc/{process}/{what}");
        Command::new(user[0]).args(&user[1..]).args(["cat", &path]).output().unwrap().status.success()
    };
    let (environ, maps) = (can_read(child.id(), "environ"), can_read(child.id(), "maps"));
    child.kill().unwrap();
    child.wait().unwrap();
    let mut other = wrapped(&[user, &["sleep"]].concat(), Command::new("10").env("PATH", "/usr/bin:/bin"));
    let mut other = other.spawn().unwrap();
    wait_until(|| std::fs::read_to_string(format!("/proc/{}/comm", other.id())).unwrap() == "sleep\n");
    assert!(can_read(other.id(), "environ"), "this user can read no process, so the test would prove nothing");
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(!environ && !maps);
}
