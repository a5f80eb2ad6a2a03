//! `bench EXE STATIC_EXE`: compares EXE with a script of curl and jq, and with one in Python. They use the same
//! servers, over TLS on loopback and in a network with slow round trips. It prints a table and the result of each
//! limit, ends with 1 if a limit was missed, and draws `docs/performance.svg`. The size on disk is that of STATIC_EXE.
//!
//! `bench far EXE RUNS` prints the medians for each round trip. `bench` runs it in the slow network.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs, dead_code)]

mod network;
mod plot;
#[path = "../stand_in/mod.rs"]
mod stand_in;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{env, fs};

use network::{NEAR, Relay};
use stand_in::tls::FAR;
use stand_in::{Setup, StandIn};

/// The limits of token-mint.
const LOOPBACK_WALL: f64 = 0.12; // of the script's wall time
const LOOPBACK_CPU: f64 = 0.06; // of the script's processor time
const FAR_WALL: f64 = 0.80; // of the script's wall time
const FAR_WAITING: f64 = 0.90; // of the time that two successive connections wait
const PEAK_MB: f64 = 3.0;
const DISK_MB: f64 = 2.2;

/// The bench fails if a time or an amount of memory exceeds its limit by this factor, as machines are noisy.
const NOISE: f64 = 1.5;

/// The round trips of the slow network, in milliseconds, and the one that the limits are for.
const ROUND_TRIPS: [u64; 5] = [10, 20, 40, 80, 160];
const FAR_MS: u64 = 40;

/// The number of round trips of two successive connections: TCP, TLS 1.3, request and reply.
const SEQUENTIAL: f64 = 2.0 * 3.0;

const WARM_UPS: usize = 3;
const LEAST_RUNS: usize = 20;

/// A figure that could not be measured.
const UNKNOWN: f64 = f64::NAN;

/// The exit status of a Rust program that panicked.
const PANICKED: i32 = 101;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["far", exe, runs] => measure_far(exe, runs.parse().unwrap()),
        [exe, static_exe] => compare(exe, static_exe),
        _ => {
            println!("usage: bench EXE STATIC_EXE");
            ExitCode::from(2)
        }
    }
}

/// One way to mint.
struct Contestant {
    name: &'static str,
    command: Vec<String>,
}

/// The figures of one run.
#[derive(Clone, Copy)]
struct Run {
    wall_ms: f64,
    cpu_ms: f64,
    memory_mb: f64,
    connections: f64,
    requests: f64,
}

struct Bench {
    servers: StandIn,
    folder: tempfile::TempDir,
    contestants: Vec<Contestant>,
}

impl Bench {
    /// Starts the servers, and lists the contestants: token-mint, the script, and Python if this machine has it.
    fn start(exe: &str, address: Ipv4Addr) -> Bench {
        let servers = StandIn::start(Setup { tls: true, address, ..Setup::default() });
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), servers.ca_pem.as_ref().unwrap()).unwrap();
        let mut contestants = vec![
            Contestant { name: "token-mint", command: vec![exe.to_owned()] },
            Contestant { name: "curl and jq", command: vec![found("bash"), "-e".to_owned(), file("curl-and-jq.sh")] },
        ];
        // The `python3` on PATH may be a script that searches for the executable.
        if let Ok(python) = first_line_of("python3", &["-c", "import sys; print(sys.executable)"]) {
            contestants.push(Contestant { name: "Python", command: vec![python, file("python.py")] });
        }
        Bench { servers, folder, contestants }
    }

    /// Runs a command in a step of the job. It has to mint an API token, mask it and hand it over.
    fn run(&self, command: &[String]) -> Run {
        let (ca, step_output) = (self.folder.path().join("ca.pem"), self.folder.path().join("step-output"));
        fs::write(&step_output, "").unwrap();
        let connections = || self.servers.github.connections() + self.servers.index.connections();
        // In the slow network, clients reach a server by another address than the one that it listens on.
        let far = |url: String| url.replace(&NEAR.to_string(), FAR);
        let before = (connections(), self.servers.requests().len(), self.servers.api_tokens().len());
        let output = Command::new(measure())
            .args(command)
            .env_clear()
            .envs(self.servers.job_env().into_iter().map(|(name, value)| (name, far(value))))
            .env("TOKEN_MINT_AUDIENCE", "pypi")
            .env("INDEX", far(self.servers.index.url("")))
            .env("GITHUB_OUTPUT", &step_output)
            .envs([("SSL_CERT_FILE", &ca), ("CURL_CA_BUNDLE", &ca)])
            .env("PATH", env::var_os("PATH").unwrap())
            .env("LANG", "C.UTF-8")
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?} failed: {log}");
        let minted = self.servers.api_tokens();
        assert_eq!(minted.len(), before.2 + 1, "{command:?} did not mint one API token: {log}");
        let token = minted.last().unwrap();
        assert!(log.contains(&format!("::add-mask::{token}\n")), "{command:?} masked nothing: {log}");
        let outputs = fs::read_to_string(&step_output).unwrap();
        assert!(outputs.contains(&format!("api-token={token}\n")), "{command:?} handed nothing over: {log}");
        let figures = String::from_utf8(output.stdout).unwrap();
        let figures: Vec<f64> = figures.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
        Run {
            wall_ms: figures[0],
            cpu_ms: figures[1],
            memory_mb: figures[2],
            connections: (connections() - before.0) as f64,
            requests: (self.servers.requests().len() - before.1) as f64,
        }
    }

    /// The runs of each contestant. They take turns, so other load on the machine affects all of them.
    fn rounds(&self, warm_ups: usize, runs: usize) -> Vec<Vec<Run>> {
        let round = |_| self.contestants.iter().map(|contestant| self.run(&contestant.command)).collect();
        let rounds: Vec<Vec<Run>> = (0..warm_ups + runs).map(round).collect();
        (0..self.contestants.len()).map(|which| rounds[warm_ups..].iter().map(|round| round[which]).collect()).collect()
    }

    /// The number of processes of a command, from one more run under strace.
    fn processes(&self, command: &[String]) -> f64 {
        let trace = self.folder.path().join("trace");
        let strace = "strace -f -qq -e signal=none -e trace=fork,vfork,clone,clone3 -o".split(' ');
        let strace: Vec<String> = strace.chain([trace.to_str().unwrap()]).map(str::to_owned).collect();
        self.run(&[&strace, command].concat());
        let trace = fs::read_to_string(trace).unwrap();
        if trace.contains("clone3(0x") {
            return UNKNOWN; // a process or a thread: only root may read the memory of a program that is not dumpable
        }
        // A line is `PID CALL(…`. If another process interrupts it, the rest of the call is on another line.
        let forks = trace.lines().filter(|line| !line.contains("CLONE_THREAD") && !line.contains(" resumed>"));
        1.0 + forks.count() as f64
    }
}

fn compare(exe: &str, static_exe: &str) -> ExitCode {
    let runs = env::var("BENCH_RUNS").map_or(30, |runs| runs.parse().unwrap()).max(LEAST_RUNS);
    let bench = Bench::start(exe, Ipv4Addr::LOCALHOST);
    let measured = bench.rounds(WARM_UPS, runs);
    let wall = medians(&measured, |run| run.wall_ms);
    let cpu = medians(&measured, |run| run.cpu_ms);
    let memory = medians(&measured, |run| run.memory_mb);
    let connections = medians(&measured, |run| run.connections);
    let strace = first_line_of("strace", &["-qq", "-o", "/dev/null", "true"]);
    let count = |contestant: &Contestant| strace.as_ref().map_or(UNKNOWN, |_| bench.processes(&contestant.command));
    let processes: Vec<f64> = bench.contestants.iter().map(count).collect();
    let script_files: BTreeSet<PathBuf> = ["bash", "curl", "jq"].iter().flat_map(|name| loaded(&found(name))).collect();
    let mut disk = vec![megabytes(&[static_exe.into()].into()), megabytes(&script_files)];
    disk.resize(measured.len(), UNKNOWN);
    let far_runs = runs / 2;
    let far = far(exe, far_runs);
    let far_away = format!("round trips of {FAR_MS} ms");

    let name = |which: usize| bench.contestants.get(which).map(|contestant| format!(" {} |", contestant.name));
    println!("| |{}{} ratio |{}", name(0).unwrap(), name(1).unwrap(), name(2).unwrap_or_default());
    println!("|---|{}", "---|".repeat(measured.len() + 1));
    println!("{}", row("wall time", &wall, " ms"));
    let mut far_wall = vec![UNKNOWN; measured.len()];
    if let Ok(far) = &far {
        far_wall.clone_from(&far.iter().find(|point| point.round_trip == FAR_MS as f64).unwrap().wall_ms);
        println!("{}", row(&format!("wall time, {far_away}"), &far_wall, " ms"));
    }
    println!("{}", row("processor time", &cpu, " ms"));
    println!("{}", row("peak memory of the largest process", &memory, " MB"));
    println!("{}", row("processes", &processes, ""));
    println!("{}", row("connections", &connections, ""));
    println!("{}", row("requests", &medians(&measured, |run| run.requests), ""));
    println!("{}", row("on disk", &disk, " MB"));

    println!("\nMedians of {runs} runs of each, {far_runs} far away, in turns, after a few to warm up. {}", machine());
    println!(
        "On disk: the static executable; bash, curl, jq and the {} libraries that ldd names.",
        script_files.len() - 3
    );
    println!("Peak memory below {:.1} MB would not show: the process that starts it has that.", launcher_mb());
    if let Err(why) = &strace {
        println!("Processes were not counted: {why}");
    }
    match far {
        Ok(far) => {
            for Point { round_trip, wall_ms, late_ms } in &far {
                println!(
                    "Round trips of {round_trip} ms: {wall_ms:.1?} ms. Packets were late by {late_ms:.2} ms (99 %)."
                );
            }
            let names: Vec<&str> = bench.contestants.iter().map(|contestant| contestant.name).collect();
            let mut points = vec![(0.0, wall.clone())];
            points.extend(far.into_iter().map(|point| (point.round_trip, point.wall_ms)));
            let drawing = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.svg");
            fs::write(drawing, plot::svg(&names, &points, SEQUENTIAL)).unwrap();
        }
        Err(why) => println!("Longer round trips were not tried, and nothing was drawn: {why}"),
    }
    println!();
    let waiting = SEQUENTIAL * FAR_MS as f64;
    let of_script = format!("of the script's wall time, {far_away}");
    let of_waiting = format!("of the {waiting} ms of {SEQUENTIAL} round trips");
    let limits = [
        ("of the script's wall time", wall[0] / wall[1], LOOPBACK_WALL, NOISE),
        (&of_script, far_wall[0] / far_wall[1], FAR_WALL, NOISE),
        (&of_waiting, far_wall[0] / waiting, FAR_WAITING, NOISE),
        ("of the script's processor time", cpu[0] / cpu[1], LOOPBACK_CPU, NOISE),
        ("MB of peak memory", memory[0], PEAK_MB, NOISE),
        ("processes", processes[0], 1.0, 1.0),
        ("connections", connections[0], 2.0, 1.0),
        ("MB on disk", disk[0], DISK_MB, 1.0),
    ];
    for (what, value, limit, noise) in limits {
        let verdict = match value {
            _ if value.is_nan() => "????",
            _ if value > limit * noise => "FAIL",
            _ if value > limit => "OVER THE LIMIT",
            _ => "PASS",
        };
        println!("{verdict}: {value:.3} {what}; at most {limit}, and it fails beyond {:.3}", limit * noise);
    }
    ExitCode::from(u8::from(limits.iter().any(|(_, value, limit, noise)| *value > limit * noise)))
}

/// The medians for one round trip.
struct Point {
    round_trip: f64,
    late_ms: f64,
    wall_ms: Vec<f64>,
}

/// The results in the slow network, or why there is none: it takes a network namespace and a TUN device.
fn far(exe: &str, runs: usize) -> Result<Vec<Point>, String> {
    let output = network::run(&["far", exe, &runs.to_string()]).map_err(|error| format!("unshare: {error}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(PANICKED), "{log}");
    if !output.status.success() {
        return Err(log.lines().last().unwrap_or("unshare failed").to_owned());
    }
    let point = |line: &str| {
        let mut figures = line.split(' ').map(|figure| figure.parse().unwrap());
        Point { round_trip: figures.next().unwrap(), late_ms: figures.next().unwrap(), wall_ms: figures.collect() }
    };
    Ok(String::from_utf8(output.stdout).unwrap().lines().map(point).collect())
}

/// Prints a line for each round trip, for `far`: the round trip, how late packets were, the medians; in milliseconds.
fn measure_far(exe: &str, runs: usize) -> ExitCode {
    let relay = Relay::start();
    let bench = Bench::start(exe, NEAR);
    for round_trip in ROUND_TRIPS {
        relay.set(Duration::from_millis(round_trip));
        // The other round trips are only for the drawing, and take long.
        let runs = if round_trip == FAR_MS { runs } else { runs / 2 };
        let wall = medians(&bench.rounds(1, runs), |run| run.wall_ms);
        let wall: Vec<String> = wall.iter().map(f64::to_string).collect();
        println!("{round_trip} {} {}", relay.late().as_secs_f64() * 1e3, wall.join(" "));
    }
    ExitCode::SUCCESS
}

/// A row of the table. The third figure is the ratio of the first two.
fn row(what: &str, values: &[f64], unit: &str) -> String {
    let digits = usize::from(!unit.is_empty());
    let cell = |value: &f64| if value.is_nan() { " – |".to_owned() } else { format!(" {value:.digits$}{unit} |") };
    let mut cells: Vec<String> = values.iter().map(cell).collect();
    cells.insert(2, format!(" {:.2} |", values[0] / values[1]));
    format!("| {what} |{}", cells.concat())
}

fn medians(measured: &[Vec<Run>], of: fn(&Run) -> f64) -> Vec<f64> {
    let median = |runs: &Vec<Run>| {
        let mut values: Vec<f64> = runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
    };
    measured.iter().map(median).collect()
}

/// The measured peak memory of `true`, which needs almost none.
fn launcher_mb() -> f64 {
    let figures = first_line_of(&measure(), &["true"]).unwrap();
    figures.split_whitespace().nth(2).unwrap().parse().unwrap()
}

/// The first line of a program's stdout. If it fails, the first line of its stderr.
fn first_line_of(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    let first_line = |text: &[u8]| String::from_utf8_lossy(text).lines().next().unwrap_or_default().to_owned();
    if output.status.success() { Ok(first_line(&output.stdout)) } else { Err(first_line(&output.stderr)) }
}

/// The path of a program.
fn found(program: &str) -> String {
    first_line_of("sh", &["-c", "command -v \"$0\"", program]).unwrap_or_else(|_| panic!("{program} is missing"))
}

/// The path of `measure`, which is in this program's folder.
fn measure() -> String {
    env::current_exe().unwrap().with_file_name("measure").into_os_string().into_string().unwrap()
}

/// A file in the folder of this source file.
fn file(name: &str) -> String {
    format!("{}/tests/bench/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A program and the shared libraries that it loads.
fn loaded(program: &str) -> BTreeSet<PathBuf> {
    let ldd = Command::new("ldd").arg(program).output().unwrap();
    let libraries = String::from_utf8(ldd.stdout).unwrap();
    let files = libraries.split_whitespace().filter(|word| word.starts_with('/')).chain([program]);
    files.map(|file| fs::canonicalize(file).unwrap()).collect()
}

fn megabytes(files: &BTreeSet<PathBuf>) -> f64 {
    files.iter().map(|file| fs::metadata(file).unwrap().len() as f64).sum::<f64>() / 1e6
}

/// What the figures depend on: the processor and the versions of the programs.
fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let count = std::thread::available_parallelism().unwrap();
    let programs = [("uname", "-sr"), ("curl", "--version"), ("jq", "--version"), ("python3", "--version")];
    let versions = programs.iter().filter_map(|(program, option)| first_line_of(program, &[option]).ok());
    let versions: Vec<String> =
        versions.map(|version| version.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
    format!("{} of {}; {}.", count, model.trim_start_matches(['\t', ':', ' ']), versions.join("; "))
}
