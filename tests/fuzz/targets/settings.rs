//! The command line and the environment, up to the moment at which something would be sent.
//!
//! An input is words with a zero byte between them, any bytes. Those after a word `=` are variables, `NAME=VALUE`.
//! `@API@` in a word or a value stands for an API token, which nothing may repeat.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::shown::{check_error, unguessable};
use crate::cli::{self, Command, Options};
use crate::env::Env;
use crate::error::Result;
use crate::handover::upload_clients;
use crate::identity;
use crate::net::http::Http;
use crate::os::deadline::Deadline;
use crate::os::log::Log;
use crate::settings::Settings;

pub fn fuzz(input: &[u8]) {
    let api = format!("pypi-Ag{}", unguessable(input));
    let planted = |bytes: &[u8]| planted(bytes, &api);
    let mut pieces = input.split(|b| *b == 0);
    let words: Vec<OsString> = pieces.by_ref().take_while(|word| *word != b"=").map(planted).collect();
    let variables = pieces.filter_map(|variable| {
        let at = variable.iter().position(|b| *b == b'=')?;
        Some((OsString::from_vec(variable[..at].to_owned()), planted(&variable[at + 1..])))
    });
    // What is in that file is the environment's business; which file it is, not a fuzzer's.
    let env: Env = variables.filter(|(name, _)| name != "GITHUB_EVENT_PATH").collect();
    if let Err(error) = prepare(words, &env) {
        check_error(&error, &[&api]);
    }
}

fn planted(bytes: &[u8], api: &str) -> OsString {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.replace("@API@", api).into(),
        Err(_) => OsString::from_vec(bytes.to_owned()),
    }
}

/// What the program does before it sends anything, in the same order.
fn prepare(words: Vec<OsString>, env: &Env) -> Result<()> {
    let (command, options) = cli::parse(words)?;
    if matches!(command, Command::Help | Command::Version) {
        return Ok(());
    }
    let settings = resolve(&options, env)?;
    upload_clients::check_index(&settings.index, env)?;
    let identity = identity::recognise(settings.id_token_env.as_deref(), env)?;
    let audience = settings.audience.clone().unwrap_or_default();
    let hidden = identity::variables(settings.id_token_env.as_deref(), &audience);
    assert!(hidden.iter().all(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')), "{hidden:?}");
    // These two look into the environment, and send nothing.
    if ["taking", "asking GitLab"].iter().any(|start| identity.description().starts_with(start)) {
        let deadline = Deadline::after(settings.timeout);
        let http = Http::new(deadline, Log::Quiet, settings.proxies.clone());
        identity.id_token(&audience, env, &http)?;
    }
    Ok(())
}

fn resolve(options: &Options, env: &Env) -> Result<Settings> {
    let settings = Settings::resolve(options, env)?;
    assert!((1..=3600).contains(&settings.timeout.as_secs()));
    let bare = |text: &String| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    assert!(settings.project.as_ref().is_none_or(bare) && settings.id_token_env.as_ref().is_none_or(bare));
    Ok(settings)
}
