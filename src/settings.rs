//! Options and environment to settings: the command line wins over the environment, that over the default.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use crate::cli::Options;
use crate::env::{Env, NotUtf8};
use crate::error::{Error, Result};
use crate::handover::Format;
use crate::index::Index;
use crate::index_api::is_audience;
use crate::messages;
use crate::net::proxy::Proxies;
use crate::net::url::UrlError;
use crate::os::log::Verbosity;
use crate::pyproject;

const DEFAULT_INDEX: &str = "pypi";
/// For everything together, where no other is given.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_TIMEOUT_SECS: u64 = 3600;

/// Everything that a run was told, checked.
#[derive(Debug)]
pub struct Settings {
    /// The index to mint at.
    pub index: Index,
    /// The audience to ask for; `None`: the one that the index expects.
    pub audience: Option<String>,
    /// The variable that holds the ID token; `None`: the CI system is recognised.
    pub id_token_env: Option<String>,
    /// How to hand over; `None`: as suits the place.
    pub format: Option<Format>,
    /// The project that was named. For explanations and links only.
    pub project: Option<String>,
    /// For everything together, but for what a COMMAND takes.
    pub timeout: Duration,
    /// Whether a COMMAND may ask for ID tokens itself.
    pub keep_identity: bool,
    /// How much to say.
    pub verbosity: Verbosity,
    /// Which proxy to use for what.
    pub proxies: Proxies,
}

impl Settings {
    /// # Errors
    /// They name the option or variable at fault.
    pub fn resolve(options: Options, env: &Env) -> Result<Settings> {
        // No `..`, so that a new option does not compile until it is resolved here.
        let Options { index, audience, id_token_env, format, project, timeout, keep_identity, verbosity } = options;
        let index = Setting::of(&index, "--index", env, "TOKEN_MINT_INDEX");
        let audience = Setting::of(&audience, "--audience", env, "TOKEN_MINT_AUDIENCE");
        let id_token_env = Setting::of(&id_token_env, "--id-token-env", env, "TOKEN_MINT_ID_TOKEN_ENV");
        let format = Setting::of(&format, "--format", env, "TOKEN_MINT_FORMAT");
        let project = Setting::of(&project, "--project", env, "TOKEN_MINT_PROJECT");
        let timeout = Setting::of(&timeout, "--timeout", env, "TOKEN_MINT_TIMEOUT");
        // GitHub's debug logging.
        let debug = env.on_github() && env.get("RUNNER_DEBUG").is_some_and(|value| value == "1");
        Ok(Settings {
            index: index.parse(|text| Index::parse(text.unwrap_or(DEFAULT_INDEX)).map_err(SettingFlaw::Index))?,
            audience: audience.parse(parse_audience)?,
            id_token_env: id_token_env.parse(parse_variable)?,
            format: format.parse(|text| text.map(|text| Format::parse(text).ok_or(SettingFlaw::Format)).transpose())?,
            project: project.parse(parse_project)?,
            timeout: timeout.parse(|text| text.map_or(Ok(DEFAULT_TIMEOUT), parse_timeout))?,
            keep_identity: keep_identity.unwrap_or_default(),
            verbosity: verbosity.or(debug.then_some(Verbosity::Verbose)).unwrap_or_default(),
            proxies: Proxies::of(env).map_err(|(variable, flaw)| messages::bad_proxy(variable, &flaw))?,
        })
    }
}

/// What is wrong with a value.
pub enum SettingFlaw {
    NotUtf8,
    Index(UrlError),
    Format,
    Audience,
    Project,
    VariableName,
    Timeout,
}

impl SettingFlaw {
    /// The error, which names the option or variable.
    fn at(self, place: &str) -> Error {
        let expected = match self {
            SettingFlaw::Index(flaw) => return messages::bad_index(place, &flaw),
            SettingFlaw::NotUtf8 => return messages::bad_setting(place, NotUtf8),
            SettingFlaw::Format => "token, env or json is expected",
            SettingFlaw::Audience => "an audience has no line breaks or other control characters",
            SettingFlaw::Project => "a project's name is expected: letters, digits and -._",
            SettingFlaw::VariableName => "the name of an environment variable is expected",
            SettingFlaw::Timeout => "a whole number of seconds from 1 to 3600 is expected",
        };
        messages::bad_setting(place, expected)
    }
}

/// A value with the place it comes from.
struct Setting<'a> {
    place: &'static str,
    value: Option<&'a OsStr>,
}

impl<'a> Setting<'a> {
    fn of(option: &'a Option<OsString>, name: &'static str, env: &'a Env, variable: &'static str) -> Setting<'a> {
        match option {
            Some(value) => Setting { place: name, value: Some(value) },
            None => Setting { place: variable, value: env.get(variable) },
        }
    }

    fn parse<T>(&self, parse: impl FnOnce(Option<&str>) -> std::result::Result<T, SettingFlaw>) -> Result<T> {
        let text = self.value.map(|value| value.to_str().ok_or(SettingFlaw::NotUtf8)).transpose();
        text.and_then(parse).map_err(|flaw| flaw.at(self.place))
    }
}

/// A name that a shell can set.
fn parse_variable(text: Option<&str>) -> std::result::Result<Option<String>, SettingFlaw> {
    let is_name = |text: &str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !text.starts_with(|c: char| c.is_ascii_digit())
    };
    match text {
        Some(name) if !is_name(name) => Err(SettingFlaw::VariableName),
        name => Ok(name.map(str::to_owned)),
    }
}

fn parse_project(text: Option<&str>) -> std::result::Result<Option<String>, SettingFlaw> {
    match text {
        Some(name) if pyproject::is_name(name) => Ok(Some(name.to_owned())),
        Some(_) => Err(SettingFlaw::Project),
        None => Ok(None),
    }
}

fn parse_audience(text: Option<&str>) -> std::result::Result<Option<String>, SettingFlaw> {
    match text {
        Some(audience) if !is_audience(audience) => Err(SettingFlaw::Audience),
        audience => Ok(audience.map(str::to_owned)),
    }
}

fn parse_timeout(text: &str) -> std::result::Result<Duration, SettingFlaw> {
    // `parse` would take a plus sign.
    let secs = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let secs = secs.filter(|secs| (1..=MAX_TIMEOUT_SECS).contains(secs));
    secs.map(Duration::from_secs).ok_or(SettingFlaw::Timeout)
}
