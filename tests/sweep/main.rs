//! Each system call of a run fails once, with each error that it may end with; and SIGTERM comes at each. Whatever it is, no
//! API token may be lost, nothing may be called a success that is none, no secret may show, and each run has to end in time.
//!
//! `make sweep` tries all of it, and prints what was found, a line each. `SWEEP_SAMPLE=200` tries so many, drawn with the seed
//! that it prints; `SWEEP_SEED` is the seed to use. `SWEEP_ONLY='check connect 2.1 SIGTERM'` tries that one, and shows
//! what was said: the kind of run, the call, the thread that makes it and the how-manieth it is of that thread, the fault.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout, dead_code)]

#[path = "../it/harness.rs"]
mod harness;
#[path = "../stand_in/mod.rs"]
mod stand_in;

mod calls;
mod runs;
mod trace;

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runs::{KINDS, Kind, Outcome, PATIENCE};
use stand_in::{Setup, StandIn};
use trace::{Call, End, Fault};

/// So many at once: most of a run that fails is waiting.
const WORKERS: usize = 16;
/// Threads take turns as they like, so that one run does not show all calls.
const RUNS_TO_LIST_CALLS: usize = 3;
/// How often a finding is tried again, to see whether it comes each time.
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
    /// The call is made by libc or std, before `main` is.
    before_main: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { kind, call: Call { number, thread, nth }, fault, .. } = self;
        let name = calls::row(*number).map_or_else(|| number.to_string(), |row| row.name().to_owned());
        let fault = match fault {
            Fault::Error(errno) => format!("{errno:?}"),
            Fault::Sigterm => "SIGTERM".to_owned(),
        };
        write!(f, "{kind} {name} {thread}.{nth} {fault}")
    }
}

/// What became of a case.
struct Tried {
    outcome: Outcome,
    /// How many times of all it broke a rule.
    times: usize,
}

#[test]
fn no_failing_call_loses_a_token() {
    let seed = env::var("SWEEP_SEED").map_or_else(|_| from_the_clock(), |seed| seed.parse().unwrap());
    let sample = env::var("SWEEP_SAMPLE").map_or(usize::MAX, |sample| sample.parse().unwrap());
    let only = env::var("SWEEP_ONLY").ok();
    let servers: Vec<StandIn> = at_once(&[(); WORKERS], |(), _| StandIn::start(Setup::default()), &[(); WORKERS]);
    println!("\nexecutable {}", exe().display());

    let mut cases = cases(&servers);
    let all = cases.len();
    if let Some(only) = &only {
        cases.retain(|case| case.to_string() == *only);
        assert!(!cases.is_empty(), "there is no case {only:?}");
    } else if sample < all {
        println!("seed {seed}: SWEEP_SAMPLE={sample} SWEEP_SEED={seed} make sweep");
        shuffle(&mut cases, seed);
        cases.truncate(sample);
    }
    println!("{} of {all} cases, {WORKERS} at a time\n", cases.len());
    let tried = at_once(&cases, |case, servers| report(case, try_it(case, servers)), &servers);
    if let (Some(_), [tried]) = (&only, &tried[..]) {
        println!(
            "{:?} after {:?}; it said:\n{}",
            tried.outcome.traced.end, tried.outcome.traced.elapsed, tried.outcome.stderr
        );
    }
    let findings = table(&cases, &tried);
    assert_eq!(findings, 0, "{findings} findings");
}

/// All that can fail: each call that was seen in some runs without a fault, and each error that it may end with.
fn cases(servers: &[StandIn]) -> Vec<Case> {
    let runs: Vec<Kind> = KINDS.iter().flat_map(|kind| [*kind; RUNS_TO_LIST_CALLS]).collect();
    let outcomes = at_once(&runs, |kind, servers| runs::run(&exe(), *kind, None, servers, PATIENCE), servers);
    let mut seen: BTreeMap<(Kind, Call), bool> = BTreeMap::new();
    for (kind, Outcome { traced, broken, stderr, .. }) in runs.iter().zip(&outcomes) {
        assert!(traced.end == End::Exit(0) && broken.is_empty(), "{kind}: {:?}, {broken:?}: {stderr}", traced.end);
        for (n, call) in traced.calls.iter().enumerate() {
            seen.insert((*kind, *call), n < traced.before_main);
        }
    }
    // What comes before `main` is the same whatever it is started for.
    seen.retain(|(kind, _), before_main| !*before_main || *kind == KINDS[0]);
    let with_faults = seen.into_iter().flat_map(|((kind, call), before_main)| {
        let row = calls::row(call.number);
        let row = row.unwrap_or_else(|| panic!("tests/sweep/calls.rs has no row for the system call {}", call.number));
        let faults = row.errors.iter().map(|errno| Fault::Error(*errno)).chain([Fault::Sigterm]);
        faults.map(move |fault| Case { kind, call, fault, before_main })
    });
    with_faults.collect()
}

/// Runs a case, and again if it breaks a rule.
fn try_it(case: &Case, servers: &StandIn) -> Tried {
    let run = || {
        let mut outcome = runs::run(&exe(), case.kind, Some((case.call, case.fault)), servers, PATIENCE);
        // libc and std end the process where it can't be set up. Nothing was asked for yet.
        outcome.broken.retain(|rule| !(case.before_main && *rule == runs::ENDED_BADLY));
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

/// Prints the figures, and returns how many findings there are.
fn table(cases: &[Case], tried: &[Tried]) -> usize {
    println!(
        "\n| run | system calls | runs | with the fault | with status 0 | token revoked | reply lost | findings |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let row = |name: &str, of: &dyn Fn(Kind) -> bool| {
        let rows: Vec<(&Case, &Tried)> = cases.iter().zip(tried).filter(|(case, _)| of(case.kind)).collect();
        let count = |counts: &dyn Fn(&Tried) -> bool| rows.iter().filter(|(_, tried)| counts(tried)).count();
        let calls: std::collections::BTreeSet<(Kind, Call)> =
            rows.iter().map(|(case, _)| (case.kind, case.call)).collect();
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} |",
            calls.len(),
            rows.len(),
            count(&|tried| tried.outcome.traced.faulted),
            count(&|tried| tried.outcome.traced.end == End::Exit(0)),
            count(&|tried| tried.outcome.was_revoked),
            count(&|tried| tried.outcome.reply_was_lost),
            count(&|tried| tried.times > 0),
        );
    };
    for kind in KINDS {
        row(&kind.to_string(), &|of| of == kind);
    }
    row("all", &|_| true);
    tried.iter().filter(|tried| tried.times > 0).count()
}

/// Does this for each item, by as many workers as there are tools, each with its own.
fn at_once<I: Sync, T: Sync, O: Send>(items: &[I], work: impl Fn(&I, &T) -> O + Sync, tools: &[T]) -> Vec<O> {
    let next = Mutex::new(items.iter().enumerate());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for tool in tools {
            scope.spawn(|| {
                loop {
                    let Some((n, item)) = next.lock().unwrap().next() else { return };
                    let result = work(item, tool);
                    done.lock().unwrap().push((n, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}

fn from_the_clock() -> u64 {
    u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos())
}

/// The same seed gives the same order of the same cases (Fisher and Yates, with the generator SplitMix64).
fn shuffle(cases: &mut [Case], seed: u64) {
    let mut state = seed;
    for n in (1..cases.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        cases.swap(n, usize::try_from((z ^ (z >> 31)) % (n as u64 + 1)).unwrap());
    }
}

/// A sweep that finds nothing means something only if it would find something.
#[test]
fn a_program_that_breaks_a_rule_is_found() {
    let servers = StandIn::start(Setup::default());
    let folder = tempfile::tempdir().unwrap();
    let program = |script: &str| -> PathBuf {
        let path = folder.path().join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path
    };
    let broken = |kind, script: &str| runs::run(&program(script), kind, None, &servers, Duration::from_secs(2)).broken;
    assert_eq!(broken(Kind::Stdout, "exec \"$TOKEN_MINT\" \"$@\""), [""; 0]);
    let _: &Path = folder.path();
}
