//! token-mint: request an ID token, exchange it for an API token, hand that over.

#![forbid(unsafe_code)]

mod claims;
mod cli;
mod env;
mod error;
mod exchange;
mod explain;
mod handover;
mod identity;
mod index;
mod index_api;
mod json;
mod net;
mod os;
mod requests;
mod retry;
mod secret;
mod settings;
mod text;
mod time;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use cli::Command;
use env::Env;
use error::{Error, Result};
use exchange::Exchange;
use explain::{causes, help, messages, report};
use handover::command::Upload;
use handover::{Format, Handover};
use net::http::{self, Http};
use os::deadline::Deadline;
use os::{memory, signals};
use retry::Retry;
use settings::Settings;

/// How long to wait for a full stdout, if there are no settings.
const TO_PRINT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    memory::forbid_dumps_and_ptrace();
    http::install_panic_hook();
    signals::install_handlers();
    let env: Env = std::env::vars_os().collect();
    match run(&env) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let status = error.exit_status();
            report::failure(&messages::of_failure(error, &env), &env);
            ExitCode::from(status)
        }
    }
}

/// Does what the command line asks for, and returns the exit status.
fn run(env: &Env) -> Result<u8> {
    let (command, options) = cli::parse(std::env::args_os().skip(1))?;
    let settings = || Settings::resolve(&options, env);
    match command {
        Command::Help => handover::print(&help::text(), Deadline::after(TO_PRINT))?,
        Command::Version => handover::print(cli::VERSION, Deadline::after(TO_PRINT))?,
        Command::Mint => hand_over(&settings()?, env)?,
        Command::Run(argv) => return upload(argv, &settings()?, env),
        Command::Burn => burn(&settings()?, env)?,
        Command::Check => check(&settings()?, env)?,
        Command::Claims => show_claims(&settings()?, env)?,
    }
    Ok(0)
}

/// Mints an API token and hands it over to the program that started us.
fn hand_over(settings: &Settings, env: &Env) -> Result<()> {
    let exchange = Exchange::prepare(settings, env)?;
    let handover = Handover::plan(settings.format, env)?;
    let live = exchange.mint(exchange.request_id_token()?)?;
    let place = handover.deliver(&live.minted, &settings.index, env, exchange.deadline())?;
    let validity = exchange::validity(live.minted.expires_unix_secs);
    live.keep();

    let how = format!("API token handed over {place}");
    exchange.log.line(&how);
    exchange.log.line(&validity);
    report::success(&format!("an API token for {}", settings.index), &format!("{how}; {validity}"), env);
    Ok(())
}

/// Mints an API token, runs an upload tool with it, and revokes it.
fn upload(argv: Vec<OsString>, settings: &Settings, env: &Env) -> Result<u8> {
    let exchange = Exchange::prepare(settings, env)?;
    let upload = Upload::plan(argv, &settings.index, env)?;
    let proof = exchange.request_id_token()?;
    let withheld = exchange.identity_variables(&proof);
    let live = exchange.mint(proof)?;
    let ended = upload.run(&live.minted, &withheld, exchange.deadline(), exchange.log);
    let validity = exchange::validity(live.minted.expires_unix_secs);
    let is_revoked = live.revoke(); // before anything else is said or returned
    let (status, how) = ended?;
    if status != 0 {
        report::failure(&messages::upload_failed(&how, is_revoked), env);
        return Ok(status);
    }
    exchange.log.line(&how);
    let how = match is_revoked {
        true => format!("{how}. Then the API token was sent for revocation; without that, {validity}"),
        false => format!("{how}. The API token could not be revoked; {validity}"),
    };
    report::success(&format!("an API token for {}", settings.index), &how, env);
    Ok(0)
}

/// Mints an API token and revokes it, to see whether that works.
fn check(settings: &Settings, env: &Env) -> Result<()> {
    let exchange = Exchange::prepare(settings, env)?;
    let name = settings.index.name();
    exchange.mint(exchange.request_id_token()?)?.revoke();
    let what = format!("{name} mints API tokens for this job: a release from it would work");
    let pending = format!("if its publisher was pending, {name} has just created the project");
    exchange.log.line(&what);
    exchange.log.line(&pending);
    report::success("a rehearsal", &format!("{what}; {pending}"), env);
    Ok(())
}

/// Revokes the API token that is given.
fn burn(settings: &Settings, env: &Env) -> Result<()> {
    let (log, deadline) = (settings.log, Deadline::after(settings.timeout));
    let token = handover::read_token_to_revoke(env, deadline)?;
    let _ = handover::mask(token.reveal(), env); // it is revoked, hidden or not
    let index = &settings.index;
    if let Some(other) = token.index_host().and_then(|host| index.other_with_tokens_of(&host)) {
        return Err(messages::token_of_other_index(index, &other, &other.known_audience().unwrap_or_default()));
    }
    let (http, retry) = (Http::new(deadline, log, settings.proxies.clone()), Retry { deadline, log });
    match retry.run(|_| index.revoke(token.reveal(), &http))? {
        true => log.line(&format!("{index} has accepted the API token for revocation")),
        false => log.line(&format!("{index} can't revoke API tokens; this one expires by itself")),
    }
    Ok(())
}

/// Shows the identity of this job. The index is asked for no token, but for what it publishes of the project.
fn show_claims(settings: &Settings, env: &Env) -> Result<()> {
    if !matches!(settings.format, None | Some(Format::Json)) {
        return Err(messages::bad_setting("--format (TOKEN_MINT_FORMAT)", "with claims, it can be json only"));
    }
    let exchange = Exchange::prepare(settings, env)?;
    let proof = exchange.request_id_token_to_look_at()?;
    let job = exchange.job(&proof).ok_or_else(messages::no_claims)?;
    let json = job.claims.to_json();
    let explained = causes::explain_claims(job, |project| exchange.published(project));
    Error::if_signal_came(exchange.deadline())?;
    if settings.format == Some(Format::Json) {
        handover::print(&json, exchange.deadline())?;
    }
    report::identity(&messages::worded(explained?, env), env);
    Ok(())
}
