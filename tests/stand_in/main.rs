//! `stand-in COMMAND [ARG]...`: runs COMMAND as a step of a GitHub Actions job, with stand-ins for GitHub's ID token
//! endpoint and for the index. It shows what a user would see: the log with its masks, then the step's outputs. It
//! ends with COMMAND's status.
//!
//! `stand-in --refused COMMAND [ARG]...`: the same, but COMMAND takes the index for PyPI itself. No publisher is
//! registered there, and the last release of `sampleproject` came from another workflow file. COMMAND has to trust the
//! system's certificate authorities. Its `https_proxy` sends every connection to the stand-in.
//!
//! `stand-in --serve FOLDER FILE`: serves until it is killed, and serves the release assets in FOLDER, too. It appends
//! the variables of such a job to FILE as `NAME=VALUE`, which is the format of `$GITHUB_ENV`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs, dead_code)]

#[path = "mod.rs"]
mod stand_in;

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;

use stand_in::http::Server;
use stand_in::published::Project;
use stand_in::{Setup, StandIn, releases};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        println!("usage: stand-in COMMAND [ARG]..., or stand-in --serve FOLDER FILE");
        return ExitCode::from(2);
    };
    if program == "--serve" {
        serve(words.next().unwrap().into(), words.next().unwrap().into());
    }
    let refused = program == "--refused";
    let program = if refused { words.next().unwrap() } else { program };
    let servers = StandIn::start(match refused {
        true => {
            let published = Some(Project::from_github("octo-org/octo-repo", "publish.yml", Some("pypi")));
            Setup { tls: true, publisher: None, published, ..Setup::default() }
        }
        false => Setup::default(),
    });
    let step_output = tempfile::NamedTempFile::new().unwrap();
    println!("A job of octo-org/octo-repo, release.yml, environment pypi. Its index is {}", servers.index.url(""));
    println!("\nLog of the step:");
    let ca = tempfile::NamedTempFile::new().unwrap();
    let taken_for_pypi = refused.then(|| {
        std::fs::write(ca.path(), servers.ca_pem.as_deref().unwrap()).unwrap();
        [
            ("TOKEN_MINT_INDEX", "pypi".to_owned()),
            ("https_proxy", proxy_to(&servers.index)),
            ("SSL_CERT_FILE", ca.path().to_str().unwrap().to_owned()),
        ]
    });
    let child = Command::new(&program)
        .args(words)
        .env_remove("TOKEN_MINT_AUDIENCE")
        .env_remove("TOKEN_MINT_TIMEOUT")
        .env_remove("TOKEN_MINT_FORMAT")
        .envs(servers.job_env())
        .envs(taken_for_pypi.into_iter().flatten())
        .env("GITHUB_OUTPUT", step_output.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            println!("stand-in: {} does not run: {error}", program.to_string_lossy());
            return ExitCode::from(2);
        }
    };
    let log = Mutex::new(Log::default());
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| log_lines(stdout, &log));
        scope.spawn(|| log_lines(stderr, &log));
    });
    let status = child.wait().unwrap();

    let log = log.into_inner().unwrap();
    println!("\nOutputs of the step, as a log would show them:");
    for line in std::fs::read_to_string(step_output.path()).unwrap().lines() {
        println!("    {}", log.masked(line));
    }
    println!("\nRequests:");
    for request in servers.requests() {
        println!("    {request}");
    }
    println!("API tokens minted: {}", servers.api_tokens().len());
    ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

fn serve(assets: PathBuf, env_file: PathBuf) -> ! {
    let servers = StandIn::start(Setup::default());
    let releases = Server::start(None, move |request| releases::answer(request, env!("CARGO_PKG_VERSION"), &assets));
    let own = [("TOKEN_MINT_RELEASES", releases.url("")), ("STAND_IN_PID", std::process::id().to_string())];
    let lines: String = servers.job_env().iter().chain(&own).map(|(name, value)| format!("{name}={value}\n")).collect();
    OpenOptions::new().append(true).create(true).open(env_file).unwrap().write_all(lines.as_bytes()).unwrap();
    loop {
        thread::park();
    }
}

/// Starts a proxy that connects to this server for every host, and returns its URL.
fn proxy_to(server: &Server) -> String {
    let far = server.url("").replace("https://", "");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut near in listener.incoming().flatten() {
            let head = BufReader::new(near.try_clone().unwrap()).lines().map_while(Result::ok);
            head.take_while(|line| !line.is_empty()).for_each(drop);
            near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let (mut far, mut near_too) = (TcpStream::connect(&far).unwrap(), near.try_clone().unwrap());
            let mut far_too = far.try_clone().unwrap();
            thread::spawn(move || io::copy(&mut near_too, &mut far_too));
            thread::spawn(move || io::copy(&mut far, &mut near));
        }
    });
    address
}

/// The log of GitHub's runner, which hides the masked values.
#[derive(Default)]
struct Log {
    masks: Vec<String>,
}

impl Log {
    fn masked(&self, line: &str) -> String {
        self.masks.iter().fold(line.to_owned(), |line, mask| line.replace(mask, "***"))
    }
}

fn log_lines(stream: impl Read, log: &Mutex<Log>) {
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let mut log = log.lock().unwrap();
        if let Some(mask) = line.trim_start().strip_prefix("::add-mask::") {
            log.masks.push(mask.to_owned());
        }
        println!("    {}", log.masked(&line));
    }
}
