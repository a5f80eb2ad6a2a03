//! token-mint: request an ID token, exchange it for an API token, hand that over.

#![forbid(unsafe_code)]

mod cli;
mod deadline;
mod env;
mod error;
mod expiry;
mod explain;
mod handover;
mod http;
mod identity;
mod index;
mod json;
mod log;
mod secret;
mod settings;
mod url;
mod workflow;

use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use cli::{Command, Options};
use deadline::Deadline;
use env::Env;
use error::{Error, Result};
use handover::Handover;
use http::Http;
use index::Minted;
use log::Log;
use settings::Settings;
use workflow::neutralise;

fn main() -> ExitCode {
    end_panics_as_bad_replies();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even this can't be written, the exit status has to do.
            let _ = log::to_stderr(&explain::explain(&error));
            ExitCode::from(error.exit_status())
        }
    }
}

fn run() -> Result<()> {
    match cli::parse(std::env::args_os().skip(1)).map_err(Error::Usage)? {
        Command::Help => print(cli::HELP),
        Command::Version => print(cli::VERSION),
        Command::Mint(options) => mint(options, &Env::of_this_process()),
    }
}

fn mint(options: Options, env: &Env) -> Result<()> {
    let Settings { index, audience, format, timeout, verbosity } = Settings::resolve(options, env)?;
    let log = Log::new(verbosity);
    let http = Http::new(Deadline::after(timeout), &log);
    let identity = identity::recognise(env)?;
    let mut handover = Handover::plan(format, env)?;
    log.line(&format!("version {}, index {index}", env!("CARGO_PKG_VERSION")));

    let audience = audience.map_or_else(|| index.audience(&http), Ok)?;
    log.line(&format!("asking GitHub for an ID token, audience {}", neutralise(&audience, 100)));
    let id_token = identity.request_id_token(&audience, &http)?;
    handover.mask_id_token(&id_token)?;
    let minted = index.mint(&id_token, &http)?;
    handover.deliver(&minted, &index)?;

    log.line(&format!("API token handed over {handover}"));
    log.line(&validity(&minted));
    Ok(())
}

fn validity(minted: &Minted) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match minted.expires_unix_secs {
        Some(expires) => format!("it is valid until {}", expiry::describe(expires, now)),
        None => "the index does not say until when it is valid (PyPI's tokens live 15 minutes)".to_owned(),
    }
}

fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Error::Print)
}

/// A panic most likely comes from a library that a server's reply has surprised (see Cargo.toml for a known one).
/// It ends the program as any other reply that is not what the protocol says, with no word of what was in it.
fn end_panics_as_bad_replies() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or(String::new(), |place| {
            let file = place.file().rsplit(['/', '\\']).next().unwrap_or_default();
            format!(" ({file}, line {})", place.line())
        });
        let _ = log::to_stderr(&format!(
            "token-mint: error: something unexpected, most likely in a server's reply{place}\n\
             token-mint: hint: nothing was handed over. If running the job again does not help, report it\n"
        ));
        std::process::exit(5);
    }));
}
