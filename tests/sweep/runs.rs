//! The kinds of runs, and the rules that each run has to keep, whichever call fails.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::Signal;

use crate::harness::without_masks;
use crate::stand_in::StandIn;
use crate::stand_in::http::Request;
use crate::trace::{self, Call, End, Fault, Traced};

/// The value of `TOKEN_MINT_TIMEOUT`.
const TIMEOUT: &str = "5";
/// A run that takes longer is killed. It includes what a busy machine may add.
pub const RUN_TIMEOUT: Duration = Duration::from_millis(7500);
/// The messages of a crash.
const CRASH_MESSAGES: [&str; 4] = ["something unexpected", "panicked", "fatal runtime error", "memory allocation of"];

/// The rule about the end of a run.
pub const ENDED_BADLY: &str = "a panic, a signal that nobody sent, or a status that has no meaning";
/// The exit statuses of failures, without that of a signal.
const STATUSES: [i32; 5] = [2, 3, 4, 5, 6];

/// What token-mint has to do in a run.
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

/// The result of a run.
pub struct Outcome {
    pub traced: Traced,
    pub stderr: String,
    /// The rules that it broke.
    pub broken: Vec<&'static str>,
    /// The reply with a minted API token never arrived, as its connection failed.
    pub reply_was_lost: bool,
    /// An API token was sent for revocation.
    pub was_revoked: bool,
}

/// Runs a program as a step of a job. No other run may use these servers meanwhile.
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
    let observed = Observed {
        kind,
        given,
        minted: servers.api_tokens().split_off(minted_before),
        revoked: requests.into_iter().filter(|request| request.path() == "/_/oidc/burn-token").collect(),
        secrets: servers.secrets(),
        outputs: text("outputs"),
        stdout: text("stdout"),
        taken: text("taken"),
        messages: without_masks(&stderr) + &text("summary"),
        may_lose: at.is_some_and(|(call, fault)| {
            fault.is_final() && (call.number == libc::SYS_recvfrom || call.is_between_relay_and_minreq())
        }),
    };
    let lost = observed.minted.iter().any(|token| observed.never_came(token, &traced));
    let was_revoked = !observed.revoked.is_empty();
    Outcome { broken: observed.broken(&traced, at), reply_was_lost: lost, was_revoked, traced, stderr }
}

/// Mints an API token.
fn mint(servers: &StandIn) -> String {
    let body = format!("{{\"token\":\"{}\"}}", servers.id_token("pypi"));
    let url = servers.index.url("");
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(stream, "POST /_/oidc/mint-token HTTP/1.1\r\nUser-Agent: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    stream.read_to_end(&mut vec![]).unwrap();
    servers.api_tokens().pop().unwrap()
}

/// What can be observed after a run.
struct Observed {
    kind: Kind,
    /// The API token that the run had to revoke.
    given: Option<String>,
    minted: Vec<String>,
    /// The requests to revoke a token.
    revoked: Vec<Request>,
    secrets: Vec<String>,
    outputs: String,
    stdout: String,
    /// The token that COMMAND found in its environment.
    taken: String,
    /// stderr without masks, and the summary page.
    messages: String,
    /// A connection failed. It may have been the one with the reply to the request to mint: then nobody knows the token
    /// and can revoke it.
    may_lose: bool,
}

impl Observed {
    /// The rules that are broken.
    fn broken(&self, traced: &Traced, at: Option<(Call, Fault)>) -> Vec<&'static str> {
        let tokens = || self.minted.iter().chain(&self.given);
        let got_sigterm = at.is_some_and(|(_, fault)| fault == Fault::Sigterm) && traced.faulted;
        let ended_well = match traced.end {
            End::Exit(143) | End::Killed(Signal::SIGTERM) => got_sigterm,
            End::Exit(status) => status == 0 || STATUSES.contains(&status) && !got_sigterm,
            End::Killed(_) => traced.was_late,
        };
        let end = traced.end;
        let in_outputs = |token: &String| self.kind == Kind::Output && self.is_handed_over(token);
        // A failed run may have written a part of the token, as it can't take back what it has written to stdout.
        let on_stdout = |token: &String| self.kind == Kind::Stdout && format!("{token}\n").starts_with(&self.stdout);
        let never_came = |token: &String| self.never_came(token, traced);
        let rules = [
            (
                "a token was minted, and neither handed over nor sent for revocation",
                self.minted.iter().all(|token| self.is_accounted_for(token) || never_came(token)),
            ),
            (
                "this sweep is wrong: it counts a token as lost that did arrive",
                !self.minted.iter().any(|token| never_came(token) && self.is_accounted_for(token)),
            ),
            ("status 0, and its task is not done", end != End::Exit(0) || tokens().any(|token| self.is_done(token))),
            ("a part of a token is in the step outputs", self.outputs.is_empty() || self.minted.iter().any(in_outputs)),
            ("a secret shows", !self.secrets.iter().any(|secret| self.messages.contains(secret))),
            ("something but a token is on stdout", self.stdout.is_empty() || self.minted.iter().any(on_stdout)),
            ("it did not end in time", !traced.was_late),
            (ENDED_BADLY, ended_well && !CRASH_MESSAGES.iter().any(|words| self.messages.contains(words))),
        ];
        rules.into_iter().filter(|(_, holds)| !holds).map(|(rule, _)| rule).collect()
    }

    /// Whether the whole token was handed over.
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

    /// Whether a token is not lost. With `-- COMMAND` and `check`, it has to be revoked in any case.
    fn is_accounted_for(&self, token: &str) -> bool {
        let is_kept = matches!(self.kind, Kind::Output | Kind::Stdout) && self.is_handed_over(token);
        is_kept || self.is_revoked(token)
    }

    /// Whether the run did its task with this token.
    fn is_done(&self, token: &str) -> bool {
        match self.kind {
            Kind::Output | Kind::Stdout => self.is_handed_over(token) && !self.is_revoked(token),
            Kind::Command => self.is_handed_over(token) && self.is_revoked(token),
            Kind::Burn | Kind::Check => self.is_revoked(token),
        }
    }

    /// Whether the reply with this token never arrived.
    fn never_came(&self, token: &str, traced: &Traced) -> bool {
        let received = || traced.received.windows(token.len()).any(|window| window == token.as_bytes());
        self.may_lose && traced.faulted && !received()
    }
}
