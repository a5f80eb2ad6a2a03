//! token-mint: request an ID token, exchange it for an API token, hand that over.

#![forbid(unsafe_code)]

mod claims;
mod cli;
mod deadline;
mod diagnosis;
mod env;
mod error;
mod event;
mod expiry;
mod explain;
mod form;
mod handover;
mod http;
mod identity;
mod index;
mod json;
mod log;
mod project;
mod report;
mod secret;
mod settings;
mod url;
mod workflow;

use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use claims::Claims;
use cli::{Command, Options};
use deadline::Deadline;
use diagnosis::Job;
use env::Env;
use error::{Error, Result, SettingFlaw, Subject};
use handover::{Format, Handover};
use http::Http;
use index::Minted;
use log::Log;
use secret::IdToken;
use settings::Settings;
use workflow::neutralise;

fn main() -> ExitCode {
    end_panics_as_bad_replies();
    let env = Env::of_this_process();
    match run(&env) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::failure(&explain::explain(&error), &env);
            ExitCode::from(error.exit_status())
        }
    }
}

fn run(env: &Env) -> Result<()> {
    match cli::parse(std::env::args_os().skip(1)).map_err(Error::Usage)? {
        Command::Help => print(cli::HELP),
        Command::Version => print(cli::VERSION),
        Command::Mint(options) => mint(options, env),
        Command::Claims(options) => show_claims(options, env),
    }
}

fn mint(options: Options, env: &Env) -> Result<()> {
    let Settings { index, audience, format, project, timeout, verbosity } = Settings::resolve(options, env)?;
    let log = Log::new(verbosity);
    let http = Http::new(Deadline::after(timeout), &log);
    let identity = identity::recognise(env)?;
    let mut handover = Handover::plan(format, env)?;
    log.line(&format!("version {}, index {index}", env!("CARGO_PKG_VERSION")));

    // An audience that the user names is the user's word; what the index takes may be another one.
    let expected = if audience.is_none() { Some(index.audience(&http)?) } else { index.known_audience() };
    let audience = audience.or_else(|| expected.clone()).unwrap_or_default();
    log.line(&format!("asking {} for an ID token, audience {}", identity.name(), neutralise(&audience, 100)));
    let id_token = identity.id_token(&audience, env, &http)?;
    handover::mask_id_token(&id_token, env)?;
    let minted = index.mint(&id_token, &http).map_err(|error| error.about(subject(&id_token, expected, project)))?;
    handover.deliver(&minted, &index)?;

    log.line(&format!("API token handed over {handover}"));
    log.line(&validity(&minted));
    Ok(())
}

/// Shows the identity of this job. The index is asked for nothing.
fn show_claims(options: Options, env: &Env) -> Result<()> {
    let Settings { index, audience, format, project, timeout, verbosity } = Settings::resolve(options, env)?;
    if !matches!(format, None | Some(Format::Json)) {
        return Err(Error::Setting { place: "--format (TOKEN_MINT_FORMAT)".into(), flaw: SettingFlaw::ClaimsFormat });
    }
    let log = Log::new(verbosity);
    let http = Http::new(Deadline::after(timeout), &log);
    let identity = identity::recognise(env)?;
    let expected = index.known_audience();
    let audience = audience.or_else(|| expected.clone()).unwrap_or_else(|| NO_AUDIENCE.to_owned());
    let id_token = identity.id_token(&audience, env, &http)?;
    handover::mask_id_token(&id_token, env)?;

    let claims = Claims::of(&id_token).ok_or(Error::Claims)?;
    let job = Job { claims: &claims, index: &index, audience: expected.as_deref(), now_unix_secs: now_unix_secs() };
    report::identity(&explain::explain_claims(&job, project.as_deref()), env);
    if format == Some(Format::Json) { print(&claims.to_json()) } else { Ok(()) }
}

/// The audience of an ID token that is only looked at, where the index's own is not known without asking it.
const NO_AUDIENCE: &str = "token-mint-claims";

fn subject(id_token: &IdToken, audience: Option<String>, project: Option<String>) -> Option<Subject> {
    Some(Subject { claims: Claims::of(id_token)?, audience, project, now_unix_secs: now_unix_secs() })
}

fn now_unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn validity(minted: &Minted) -> String {
    match minted.expires_unix_secs {
        Some(expires) => format!("it is valid until {}", expiry::describe(expires, now_unix_secs())),
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
