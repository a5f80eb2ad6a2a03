//! Each system call of a run fails once with each possible error, and once SIGTERM arrives at it. In every case, no API
//! token may be lost, no failure may be reported as a success, no secret may be shown, and the run has to end in time.
//!
//! `make sweep` tries all cases, and prints a line for each finding. `SWEEP_SAMPLE=200` tries a random sample of 200
//! cases, and prints its seed; `SWEEP_SEED` sets the seed. `SWEEP_ONLY='check connect 2.1 SIGTERM'` tries one case, and
//! shows the output. A case is the kind of run, the call, the number of its thread and of the call in that thread, and
//! the fault.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout, dead_code)]

#[path = "../it/harness.rs"]
mod harness;
#[path = "../stand_in/mod.rs"]
mod stand_in;

mod calls;
mod runs;
mod trace;

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;

use runs::{KINDS, Kind, Outcome, RUN_TIMEOUT};
use stand_in::{Setup, StandIn};
use trace::{Call, End, Fault};

/// The number of runs at a time. A run that fails mostly waits.
const WORKERS: usize = 16;
/// The order of the threads varies, so one run does not show all calls.
const RUNS_TO_LIST_CALLS: usize = 3;
/// How often a case is tried again that broke a rule.
const REPEATS: usize = 2;

/// The executable under test.
fn exe() -> PathBuf {
    env::var_os(harness::OTHER_EXE).unwrap_or(harness::BUILT_EXE.into()).into()
}

/// One run with one fault.
#[derive(Clone, Copy)]
struct Case {
    kind: Kind,
    call: Call,
    fault: Fault,
}

impl Case {
    /// The case in the form in which it is printed.
    fn parse(text: &str) -> Option<Case> {
        let [kind, name, at, fault] = text.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let kind = KINDS.into_iter().find(|known| known.to_string() == kind)?;
        let row = calls::ROWS.iter().find(|row| row.name() == name)?;
        let (thread, nth) = at.split_once('.')?;
        let call = Call { number: row.number, thread: thread.parse().ok()?, nth: nth.parse().ok()? };
        Case::all(kind, call).find(|case| case.to_string().ends_with(&format!(" {fault}")))
    }

    /// All faults of a call.
    fn all(kind: Kind, call: Call) -> impl Iterator<Item = Case> {
        let row = calls::row(call.number);
        let row = row.unwrap_or_else(|| panic!("tests/sweep/calls.rs has no row for the system call {}", call.number));
        let short = calls::PARTIAL.contains(&call.number).then_some(Fault::Short);
        let errors = row.errors.iter().map(|errno| Fault::Error(*errno));
        let partly = if call.number == libc::SYS_write { &[Fault::Cut, Fault::Full][..] } else { &[] };
        errors.chain(short).chain(partly.iter().copied()).chain([Fault::Sigterm]).map(move |fault| Case {
            kind,
            call,
            fault,
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { kind, call: Call { number, thread, nth }, fault } = self;
        let name = calls::row(*number).map_or("?", calls::Row::name);
        match fault {
            Fault::Error(errno) => write!(f, "{kind} {name} {thread}.{nth} {errno:?}"),
            Fault::Short => write!(f, "{kind} {name} {thread}.{nth} SHORT"),
            Fault::Cut => write!(f, "{kind} {name} {thread}.{nth} CUT"),
            Fault::Full => write!(f, "{kind} {name} {thread}.{nth} FULL"),
            Fault::Sigterm => write!(f, "{kind} {name} {thread}.{nth} SIGTERM"),
        }
    }
}

/// The result of a case.
struct Tried {
    outcome: Outcome,
    /// The number of its runs that broke a rule.
    times: usize,
}

#[test]
fn no_failing_call_loses_a_token() {
    let seed = env::var("SWEEP_SEED").map_or_else(|_| from_the_clock(), |seed| seed.parse().unwrap());
    let sample = env::var("SWEEP_SAMPLE").map_or(usize::MAX, |sample| sample.parse().unwrap());
    let servers = servers();
    println!("\nexecutable {}", exe().display());
    if let Ok(only) = env::var("SWEEP_ONLY") {
        let case = Case::parse(&only).unwrap_or_else(|| panic!("there is no case {only:?}"));
        let Tried { outcome, times } = report(&case, try_it(&case, &servers[0]));
        let (end, elapsed, came) = (outcome.traced.end, outcome.traced.elapsed, outcome.traced.faulted);
        println!("{only}: {end:?} after {elapsed:?}, the fault {}", if came { "came" } else { "did not come" });
        println!("{}", outcome.stderr);
        assert_eq!(times, 0);
        return;
    }
    let mut cases = cases(&servers);
    let all = cases.len();
    if sample < all {
        // The order depends on the printed form, so a seed chooses the same cases although the list of calls varies.
        cases.sort_by_cached_key(|case| hash(seed, case));
        cases.truncate(sample);
        println!("SWEEP_SAMPLE={sample} SWEEP_SEED={seed} make sweep");
    }
    println!("{} of {all} cases\n", cases.len());
    let tried = by_workers(&cases, |case, servers| report(case, try_it(case, servers)), &servers);
    let findings = table(&cases, &tried);
    assert_eq!(findings, 0, "findings");
}

/// Servers for each worker.
fn servers() -> Vec<StandIn> {
    by_workers(&[(); WORKERS], |(), ()| StandIn::start(Setup::default()), &[(); WORKERS])
}

/// All cases, of the calls that were seen in a few runs without a fault.
fn cases(servers: &[StandIn]) -> Vec<Case> {
    let runs: Vec<Kind> = KINDS.iter().flat_map(|kind| [*kind; RUNS_TO_LIST_CALLS]).collect();
    let outcomes = by_workers(&runs, |kind, servers| runs::run(&exe(), *kind, None, servers, RUN_TIMEOUT), servers);
    let mut seen = BTreeSet::new();
    for (kind, Outcome { traced, broken, stderr, .. }) in runs.iter().zip(&outcomes) {
        assert!(traced.end == End::Exit(0) && broken.is_empty(), "{kind}: {:?}, {broken:?}: {stderr}", traced.end);
        // The calls before `main` are the same for each kind of run.
        let skipped = if *kind == KINDS[0] { 0 } else { traced.before_main.unwrap() };
        seen.extend(traced.calls[skipped..].iter().map(|call| (*kind, *call)));
    }
    seen.into_iter().flat_map(|(kind, call)| Case::all(kind, call)).collect()
}

/// Runs a case, and again if it breaks a rule.
fn try_it(case: &Case, servers: &StandIn) -> Tried {
    let run = || {
        let mut outcome = runs::run(&exe(), case.kind, Some((case.call, case.fault)), servers, RUN_TIMEOUT);
        // If libc or std can't set the process up, they end it. It has sent no request by then.
        outcome.broken.retain(|rule| outcome.traced.before_main.is_some() || *rule != runs::ENDED_BADLY);
        outcome
    };
    let outcome = run();
    let mut times = usize::from(!outcome.broken.is_empty());
    if times > 0 {
        times += (0..REPEATS).filter(|_| !run().broken.is_empty()).count();
    }
    Tried { outcome, times }
}

fn report(case: &Case, tried: Tried) -> Tried {
    let Tried { outcome: Outcome { traced, broken, .. }, times } = &tried;
    if *times > 0 {
        let (why, of) = (broken.join("; "), REPEATS + 1);
        println!("FOUND {why} ({:?}, {times} times of {of}): SWEEP_ONLY='{case}' make sweep", traced.end);
    }
    tried
}

/// Prints the figures, and returns the number of findings.
fn table(cases: &[Case], tried: &[Tried]) -> usize {
    println!(
        "\n| run | system calls | different ones | runs | fault came | status 0 | ended before `main` | token revoked | reply lost | findings | longest run |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let row = |name: &str, kinds: &[Kind]| {
        let rows: Vec<(&Case, &Tried)> =
            cases.iter().zip(tried).filter(|(case, _)| kinds.contains(&case.kind)).collect();
        let calls: BTreeSet<(Kind, Call)> = rows.iter().map(|(case, _)| (case.kind, case.call)).collect();
        let numbers: BTreeSet<i64> = calls.iter().map(|(_, call)| call.number).collect();
        let count = |counts: fn(&Tried) -> bool| rows.iter().filter(|(_, tried)| counts(tried)).count();
        let findings = count(|tried| tried.times > 0);
        let longest = rows.iter().map(|(_, tried)| tried.outcome.traced.elapsed.as_secs_f32()).fold(0.0, f32::max);
        let figures = [
            calls.len(),
            numbers.len(),
            rows.len(),
            count(|tried| tried.outcome.traced.faulted),
            count(|tried| tried.outcome.traced.end == End::Exit(0)),
            count(|tried| tried.outcome.traced.before_main.is_none()),
            count(|tried| tried.outcome.was_revoked),
            count(|tried| tried.outcome.reply_was_lost),
            findings,
        ];
        println!("| {name} |{} {longest:.1} s |", figures.map(|figure| format!(" {figure} |")).concat());
        findings
    };
    for kind in KINDS {
        row(&kind.to_string(), &[kind]);
    }
    row("all", &KINDS)
}

/// Does this for each item. There is one worker for each resource, which it has for itself.
fn by_workers<I: Sync, T: Sync, O: Send>(items: &[I], work: impl Fn(&I, &T) -> O + Sync, resources: &[T]) -> Vec<O> {
    let next = Mutex::new(items.iter().enumerate());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for resource in resources {
            scope.spawn(|| {
                loop {
                    let Some((n, item)) = next.lock().unwrap().next() else { return };
                    let result = work(item, resource);
                    done.lock().unwrap().push((n, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}

fn hash(seed: u64, case: &Case) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, case.to_string()).hash(&mut hasher);
    hasher.finish()
}

fn from_the_clock() -> u64 {
    u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos())
}

/// Otherwise a sweep without findings would prove nothing.
#[test]
fn a_program_that_breaks_a_rule_is_found() {
    let servers = StandIn::start(Setup::default());
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    for (kind, script, found) in [
        (Kind::Stdout, r#"exec "$TOKEN_MINT" "$@""#, ""),
        (Kind::Stdout, r#"token=$("$TOKEN_MINT" "$@"); exit 5"#, "a token was minted, and neither"),
        (Kind::Check, r#""$TOKEN_MINT" --format token >taken; exit 5"#, "a token was minted, and neither"),
        (Kind::Stdout, "exit 0", "status 0, and its task"),
        (
            Kind::Output,
            r#"token=$("$TOKEN_MINT" --format token) && TOKEN_MINT_API_TOKEN=$token "$TOKEN_MINT" burn"#,
            "status 0",
        ),
        (Kind::Command, r#""$TOKEN_MINT" check; exit 0"#, "status 0, and its task"),
        (Kind::Burn, "exit 0", "status 0, and its task"),
        (Kind::Check, "exit 0", "status 0, and its task"),
        (
            Kind::Output,
            r#"token=$("$TOKEN_MINT" --format token); echo "api-token=$token" >"$GITHUB_OUTPUT"; exit 5"#,
            "a part",
        ),
        (Kind::Stdout, r#"token=$("$TOKEN_MINT" "$@"); echo "${token%???}"; exit 0"#, "status 0, and its task"),
        (Kind::Stdout, r#"token=$("$TOKEN_MINT" "$@"); echo "$token" | tee /dev/stderr"#, "a secret shows"),
        (Kind::Burn, r#"echo "$TOKEN_MINT_API_TOKEN" >"$GITHUB_STEP_SUMMARY"; exit 5"#, "a secret shows"),
        (Kind::Check, r#"echo x; exec "$TOKEN_MINT" "$@""#, "something but a token"),
        (Kind::Stdout, "exec sleep 60", "it did not end in time"),
        (Kind::Stdout, "kill -ABRT $$", "a panic, a signal"),
        (Kind::Stdout, "echo panicked >&2; exit 5", "a panic, a signal"),
        (Kind::Stdout, "exit 101", "a panic, a signal"),
    ] {
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let outcome = runs::run(&program, kind, None, &servers, Duration::from_secs(2));
        let broken = outcome.broken.join("; ");
        assert!(if found.is_empty() { broken.is_empty() } else { broken.contains(found) }, "{script}: {broken}");
    }
}

/// Otherwise a case would prove nothing.
#[test]
fn a_fault_happens_at_the_call_it_is_for() {
    let servers = StandIn::start(Setup::default());
    let run = |at| runs::run(&exe(), Kind::Burn, at, &servers, RUN_TIMEOUT);
    let calls = run(None).traced.calls;
    let first = |number| *calls.iter().find(|call| call.number == number).unwrap();
    let (socket, send) = (first(libc::SYS_socket), first(libc::SYS_sendto));

    let failed = run(Some((socket, Fault::Error(Errno::EMFILE))));
    assert!(failed.traced.faulted && failed.stderr.contains("Too many open files"), "{}", failed.stderr);
    let ended = run(Some((socket, Fault::Sigterm)));
    assert!(ended.traced.faulted && [End::Killed(Signal::SIGTERM), End::Exit(143)].contains(&ended.traced.end));
    let short = run(Some((send, Fault::Short)));
    assert_eq!((short.traced.faulted, short.traced.end), (true, End::Exit(0)));
    assert!(short.traced.calls.contains(&Call { nth: send.nth + 1, ..send }), "the rest is sent, too");
    let unmatched = run(Some((Call { nth: 1000, ..send }, Fault::Short)));
    assert!(!unmatched.traced.faulted);
}

/// A reply counts as lost if it never arrived, or if the relay could not pass it on.
#[test]
fn a_reply_is_lost_only_where_its_connection_fails() {
    let servers = servers();
    let run = |at, servers: &StandIn| runs::run(&exe(), Kind::Check, at, servers, RUN_TIMEOUT);
    let some_are_lost = |number| {
        let calls = run(None, &servers[0]).traced.calls;
        let calls: Vec<Call> = calls.into_iter().filter(|call| call.number == number).collect();
        let fail = |call: &Call, servers: &_| run(Some((*call, Fault::Error(Errno::ECONNRESET))), servers);
        let failed = by_workers(&calls, fail, &servers);
        assert!(failed.iter().all(|outcome| outcome.broken.is_empty()));
        let lost = failed.iter().filter(|outcome| outcome.reply_was_lost).count();
        assert!(lost < failed.len(), "the replies for audience, ID token and revocation have no API token");
        lost > 0
    };
    // On a busy machine, the order of the threads may differ from that in the list of calls.
    assert!((0..5).any(|_| some_are_lost(libc::SYS_recvfrom)));
    assert!((0..5).any(|_| some_are_lost(libc::SYS_sendto)));
}

#[test]
fn a_case_can_be_read_as_it_is_printed() {
    for kind in KINDS {
        for row in calls::ROWS {
            for case in Case::all(kind, Call { number: row.number, thread: 2, nth: 31 }) {
                assert_eq!(Case::parse(&case.to_string()).unwrap().to_string(), case.to_string());
            }
        }
    }
    for nonsense in ["", "check", "check connect 2.1 ENOSPC", "check connect 2 SIGTERM", "checks connect 2.1 SIGTERM"] {
        assert!(Case::parse(nonsense).is_none(), "{nonsense}");
    }
}
