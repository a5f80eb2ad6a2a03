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
use explain::{causes, expiry, help, messages, reader, report};
use handover::command::Upload;
use handover::{Format, Handover};
use net::http;
use os::deadline::Deadline;
use os::{memory, signals};
use settings::Settings;

/// How long to wait until stdout takes the text of `--help` or `--version`.
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
            report::failure(&reader::of_failure(error, &env), &env);
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
        Command::Mint => mint_and_hand_over(&settings()?, env)?,
        Command::Run(argv) => return mint_and_run(argv, &settings()?, env),
        Command::Burn => burn(&settings()?, env)?,
        Command::Check => check(&settings()?, env)?,
        Command::Claims => show_claims(&settings()?, env)?,
    }
    Ok(0)
}

/// Mints an API token, and hands it over: as step outputs in a GitHub job, elsewhere on stdout.
fn mint_and_hand_over(settings: &Settings, env: &Env) -> Result<()> {
    let exchange = Exchange::prepare(settings, env)?;
    let (deadline, log) = (exchange.http.deadline, exchange.http.log);
    let handover = Handover::plan(settings.format, env)?;
    let audience = exchange.audience()?;
    let id_token = exchange.request_id_token(&audience)?;
    let live = exchange.mint(id_token, &audience)?;
    let expires = live.minted.expires_unix_secs;
    let place = live.hand_over(|minted| handover.deliver(minted, &settings.index, env, deadline))?;

    let validity = expiry::validity(expires);
    let how = format!("API token handed over {place}");
    log.line(&how);
    log.line(&validity);
    report::success(&format!("an API token for {}", settings.index), &format!("{how}; {validity}"), env);
    Ok(())
}

/// Mints an API token, runs an upload tool with it, and revokes it.
fn mint_and_run(argv: Vec<OsString>, settings: &Settings, env: &Env) -> Result<u8> {
    let exchange = Exchange::prepare(settings, env)?;
    let (deadline, log) = (exchange.http.deadline, exchange.http.log);
    let upload = Upload::plan(argv, &settings.index, env)?;
    let audience = exchange.audience()?;
    let id_token = exchange.request_id_token(&audience)?;
    let live = exchange.mint(id_token, &audience)?;
    let ended = upload.run(&live.minted, &exchange.identity_variables(&audience), deadline, log);
    let expires = live.minted.expires_unix_secs;
    let is_revoked = live.revoke(); // before anything else is said or returned
    let validity = expiry::validity(expires);
    let (status, how) = ended?;
    if status != 0 {
        report::failure(&messages::upload_failed(&how, is_revoked), env);
        return Ok(status);
    }
    log.line(&how);
    let how = match is_revoked {
        true => format!("{how}. Then the API token was sent for revocation; without that, {validity}"),
        false => format!("{how}. The API token could not be revoked; {validity}"),
    };
    report::success(&format!("an API token for {}", settings.index), &how, env);
    Ok(0)
}

/// Mints an API token and revokes it, to see whether that works. A failure to revoke is a warning here, too.
fn check(settings: &Settings, env: &Env) -> Result<()> {
    let exchange = Exchange::prepare(settings, env)?;
    let audience = exchange.audience()?;
    let id_token = exchange.request_id_token(&audience)?;
    exchange.mint(id_token, &audience)?.revoke();
    let name = settings.index.name();
    let what = format!("{name} mints API tokens for this job: a release from it would work");
    let pending = format!("if its publisher was pending, {name} has just created the project");
    exchange.http.log.line(&what);
    exchange.http.log.line(&pending);
    report::success("a rehearsal", &format!("{what}; {pending}"), env);
    Ok(())
}

/// Revokes the API token that is given.
fn burn(settings: &Settings, env: &Env) -> Result<()> {
    let http = settings.http();
    let token = handover::read_token_to_revoke(env, http.deadline)?;
    let _ = handover::mask(token.reveal(), env); // it is revoked, hidden or not
    let index = &settings.index;
    if let Some(other) = token.index_host().and_then(|host| index.other_with_tokens_of(&host)) {
        return Err(messages::token_of_other_index(index, &other, &other.known_audience().unwrap_or_default()));
    }
    match retry::run(&http, |_| index_api::revoke(index, token.reveal(), &http))? {
        true => http.log.line(&format!("{index} has accepted the API token for revocation")),
        false => http.log.line(&format!("{index} can't revoke API tokens; this one expires by itself")),
    }
    Ok(())
}

/// Shows the identity of this job. No token is sent to the index, but it may be asked what it publishes of the project.
fn show_claims(settings: &Settings, env: &Env) -> Result<()> {
    if !matches!(settings.format, None | Some(Format::Json)) {
        return Err(messages::bad_setting("--format (TOKEN_MINT_FORMAT)", "with claims, it can be json only"));
    }
    let exchange = Exchange::prepare(settings, env)?;
    let audience = exchange.audience_without_asking();
    let id_token = exchange.request_id_token(&audience)?;
    let job = exchange.job(&id_token, &audience).ok_or_else(messages::no_claims)?;
    let json = job.claims.to_json();
    let explained = causes::explain_claims(job, |project| exchange.published(project));
    Error::if_signal_came(exchange.http.deadline)?;
    if settings.format == Some(Format::Json) {
        // also where the index would refuse them
        handover::print(&json, exchange.http.deadline)?;
    }
    report::identity(&reader::worded(explained?, env), env);
    Ok(())
}
