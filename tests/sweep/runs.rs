//! The kinds of runs, and the rules that hold after each run, no matter which call failed.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::Signal;

use crate::stand_in::StandIn;
use crate::stand_in::http::Request;
use crate::trace::{self, Call, End, Fault, Traced};

/// How long a run is told that it may take.
const TIMEOUT: &str = "5";
/// How long it may take: what a busy machine may add is in it.
pub const RUN_TIMEOUT: Duration = Duration::from_millis(7500);
/// What a program prints if it ends by accident.
const LAST_WORDS: [&str; 4] = ["something unexpected", "panicked", "fatal runtime error", "memory allocation of"];

/// The rule about how it may end.
pub const ENDED_BADLY: &str = "a panic, a signal that nobody sent, or a status that has no meaning";
/// The statuses of failures, but for that of a signal.
const STATUSES: [i32; 5] = [2, 3, 4, 5, 6];

/// What token-mint is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Output,
    Stdout,
    Command,
    Burn,
    Check,
}

pub const KINDS: [Kind; 5] = [Kind::Output, Kind::Stdout, Kind::Command, Kind::Burn, Kind::Check];

impl Kind {
    fn args(self) -> &'static [&'static str] {
        match self {
            Kind::Output => &[],
            Kind::Stdout => &["--format", "token"],
            Kind::Command => &["--", "sh", "-c", "printf %s \"$TWINE_PASSWORD\" >taken"],
            Kind::Burn => &["burn"],
            Kind::Check => &["check"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Output => "output",
            Kind::Stdout => "stdout",
            Kind::Command => "command",
            Kind::Burn => "burn",
            Kind::Check => "check",
        })
    }
}

/// What a run came to.
pub struct Outcome {
    pub traced: Traced,
    pub stderr: String,
    /// The rules that it broke.
    pub broken: Vec<&'static str>,
    /// An API token was minted whose reply never came, since its connection failed.
    pub reply_was_lost: bool,
    /// An API token was sent for revocation.
    pub was_revoked: bool,
}

/// Runs a program as a step of a job, with servers of which nobody else asks anything meanwhile.
pub fn run(program: &Path, kind: Kind, at: Option<(Call, Fault)>, servers: &StandIn, timeout: Duration) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let mut command = Command::new(program);
    command.args(kind.args()).current_dir(folder.path());
    command.env_clear().envs(servers.job_env()).env("PATH", "/usr/bin:/bin").env("TOKEN_MINT_TIMEOUT", TIMEOUT);
    command.env("GITHUB_OUTPUT", file("outputs")).env("GITHUB_STEP_SUMMARY", file("summary"));
    command.env("TOKEN_MINT", crate::exe());
    fs::write(file("outputs"), "").unwrap();
    let given = (kind == Kind::Burn).then(|| mint(servers));
    if let Some(token) = &given {
        command.env("TOKEN_MINT_API_TOKEN", token);
    }
    let minted_before = servers.api_tokens().len();
    let asked_before = servers.index.requests().len();

    let streams = ["stdout", "stderr"].map(|name| File::create(file(name)).unwrap());
    let traced = trace::run(&command, streams, at, timeout);

    servers.github.wait_until_idle();
    servers.index.wait_until_idle();
    let text = |name: &str| String::from_utf8_lossy(&fs::read(file(name)).unwrap_or_default()).into_owned();
    let (stderr, requests) = (text("stderr"), servers.index.requests().split_off(asked_before));
    let seen = Seen {
        kind,
        given,
        minted: servers.api_tokens().split_off(minted_before),
        revoked: requests.into_iter().filter(|request| request.path() == "/_/oidc/burn-token").collect(),
        secrets: servers.secrets(),
        outputs: text("outputs"),
        stdout: text("stdout"),
        taken: text("taken"),
        said: without_masks(&stderr) + &text("summary"),
        may_lose: at.is_some_and(|(call, fault)| {
            fault.is_final() && (call.number == libc::SYS_recvfrom || call.is_between_relay_and_minreq())
        }),
    };
    let lost = seen.minted.iter().any(|token| seen.never_came(token, &traced));
    let was_revoked = !seen.revoked.is_empty();
    Outcome { broken: seen.broken(&traced, at), reply_was_lost: lost, was_revoked, traced, stderr }
}

/// An API token of the index's.
fn mint(servers: &StandIn) -> String {
    let body = format!("{{\"token\":\"{}\"}}", servers.id_token("pypi"));
    let url = servers.index.url("");
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(stream, "POST /_/oidc/mint-token HTTP/1.1\r\nUser-Agent: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    stream.read_to_end(&mut vec![]).unwrap();
    servers.api_tokens().pop().unwrap()
}

fn without_masks(stderr: &str) -> String {
    stderr.lines().filter(|line| !line.starts_with("::add-mask::")).map(|line| format!("{line}\n")).collect()
}

/// What is to be seen after a run.
struct Seen {
    kind: Kind,
    /// The API token that was to be revoked.
    given: Option<String>,
    minted: Vec<String>,
    /// The requests to revoke a token.
    revoked: Vec<Request>,
    secrets: Vec<String>,
    outputs: String,
    stdout: String,
    /// What COMMAND took out of its environment.
    taken: String,
    /// What a person reads.
    said: String,
    /// A connection failed, perhaps the one that the index's reply comes by. Nobody knows the token in it then, so
    /// nobody can revoke it.
    may_lose: bool,
}

impl Seen {
    /// The rules that are broken.
    fn broken(&self, traced: &Traced, at: Option<(Call, Fault)>) -> Vec<&'static str> {
        let tokens = || self.minted.iter().chain(&self.given);
        let was_told_to_end = at.is_some_and(|(_, fault)| fault == Fault::Sigterm) && traced.faulted;
        let ended_well = match traced.end {
            End::Exit(143) | End::Killed(Signal::SIGTERM) => was_told_to_end,
            End::Exit(status) => status == 0 || STATUSES.contains(&status) && !was_told_to_end,
            End::Killed(_) => traced.was_late,
        };
        let end = traced.end;
        let in_outputs = |token: &String| self.kind == Kind::Output && self.is_handed_over(token);
        // What can't be taken back may be a part of it, unless all is said to be well.
        let on_stdout = |token: &String| self.kind == Kind::Stdout && format!("{token}\n").starts_with(&self.stdout);
        let never_came = |token: &String| self.never_came(token, traced);
        let rules = [
            (
                "a token was minted, and neither handed over nor sent for revocation",
                self.minted.iter().all(|token| self.is_accounted_for(token) || never_came(token)),
            ),
            (
                "this sweep is wrong: it takes a token for lost on the way that was there",
                !self.minted.iter().any(|token| never_came(token) && self.is_accounted_for(token)),
            ),
            ("status 0, and not done what it is for", end != End::Exit(0) || tokens().any(|token| self.is_done(token))),
            ("a part of a token is in the step outputs", self.outputs.is_empty() || self.minted.iter().any(in_outputs)),
            ("a secret shows", !self.secrets.iter().any(|secret| self.said.contains(secret))),
            ("something but a token is on stdout", self.stdout.is_empty() || self.minted.iter().any(on_stdout)),
            ("it did not end in time", !traced.was_late),
            (ENDED_BADLY, ended_well && !LAST_WORDS.iter().any(|words| self.said.contains(words))),
        ];
        rules.into_iter().filter(|(_, holds)| !holds).map(|(rule, _)| rule).collect()
    }

    /// Whether a token is where it was meant to go, all of it.
    fn is_handed_over(&self, token: &str) -> bool {
        match self.kind {
            Kind::Output => {
                self.outputs.starts_with(&format!("api-token={token}\nexpires=")) && self.outputs.ends_with('\n')
            }
            Kind::Stdout => self.stdout == format!("{token}\n"),
            Kind::Command => self.taken == token,
            Kind::Burn | Kind::Check => false,
        }
    }

    fn is_revoked(&self, token: &str) -> bool {
        self.revoked.iter().any(|request| String::from_utf8_lossy(&request.body).contains(token))
    }

    /// With `-- COMMAND` and `check`, handing over is not enough.
    fn is_accounted_for(&self, token: &str) -> bool {
        let is_kept = matches!(self.kind, Kind::Output | Kind::Stdout) && self.is_handed_over(token);
        is_kept || self.is_revoked(token)
    }

    /// Whether a run that ended with status 0 did with this token what it was for.
    fn is_done(&self, token: &str) -> bool {
        match self.kind {
            Kind::Output | Kind::Stdout => self.is_handed_over(token) && !self.is_revoked(token),
            Kind::Command => self.is_handed_over(token) && self.is_revoked(token),
            Kind::Burn | Kind::Check => self.is_revoked(token),
        }
    }

    /// Whether its reply was lost on the way.
    fn never_came(&self, token: &str, traced: &Traced) -> bool {
        let received = || traced.received.windows(token.len()).any(|window| window == token.as_bytes());
        self.may_lose && traced.faulted && !received()
    }
}
