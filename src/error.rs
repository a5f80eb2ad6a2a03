//! What can go wrong: facts only, one variant an attempt, and the exit status of each. Advice is in `explain/messages.rs`.

use std::borrow::Cow;
use std::time::Duration;
use std::{fmt, io};

use crate::claims::Claims;
use crate::cli::UsageError;
use crate::index::Index;
use crate::json::JsonError;
use crate::net::http_error::HttpError;
use crate::net::proxy::ProxyFlaw;
use crate::net::url::UrlError;
use crate::os::signals;
use crate::secret::SecretError;

/// The result of whatever a run attempts.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a run failed. Text from a server in it is neutralised and holds no secret.
#[derive(Debug)]
pub enum Error {
    /// The command line makes no sense.
    Usage(UsageError),
    /// An option or variable has a value that can't be used.
    Setting { place: Cow<'static, str>, flaw: SettingFlaw },
    /// Not in a CI system that we know.
    NoIdentity,
    /// On GitHub, without the permission to ask for an ID token: these variables are not set. A pull request from a fork
    /// never has it.
    NoPermission { missing: &'static str, fork: bool },
    /// On GitLab, and the job declares no ID token for this audience: this variable is not set.
    NoGitLabToken { variable: String, audience: String },
    /// The variable that the user named as the ID token's is not set.
    NoIdTokenIn { variable: String },
    /// The CI system's own program gave no ID token.
    Helper { system: &'static str, program: &'static str, flaw: HelperFlaw },
    /// The CI system's endpoint answered 401 or 403.
    IdentityRefused { system: &'static str, status: u16, words: Option<String> },
    /// The index gave a well-formed no: a 4xx that running again won't change.
    Refused { index: Box<Index>, leg: Leg, refusal: Box<Refusal>, subject: Option<Box<Subject>> },
    /// No whole reply came.
    Exchange { leg: Leg, server: String, error: HttpError },
    /// A reply with a status that the protocol has no place for, or that means "later"; perhaps it says how much later.
    Status { leg: Leg, server: String, status: u16, words: Option<String>, retry_after: Option<Duration> },
    /// The ID token's claims can't be read, so there is nothing to show.
    Claims,
    /// A reply with the right status whose content is not what the protocol says.
    Reply { leg: Leg, server: String, flaw: ReplyFlaw },
    /// On GitHub, but no file for step outputs.
    NoStepOutputFile,
    /// The file for step outputs can't be opened; nothing was minted.
    OpenStepOutput { path: String, error: io::Error },
    /// The minted API token can't be written to the file for step outputs.
    StepOutput { path: String, error: io::Error },
    /// The program to run is not there; nothing was minted.
    NoProgram { name: String },
    /// The program to run is there, and can't be run; nothing was minted.
    UnfitProgram { path: String, flaw: ProgramFlaw },
    /// The program to run could not be started, or not be waited for.
    StartProgram { name: String, error: io::Error },
    /// No API token was given that could be revoked.
    NoApiToken,
    /// The API token that is to be revoked is not this index's, but that other one's; nothing was sent.
    TokenOfOtherIndex { index: Box<Index>, other: Box<Index> },
    /// stdout is closed, can't be written to, or leads to nowhere; nothing was minted.
    NoStdout,
    /// Masks are due, and stderr is closed, can't be written to, or leads to nowhere; nothing was asked for.
    NoStderr,
    /// The API token could not be written to stdout.
    Stdout(io::Error),
    /// What was asked for, and is no token, could not be written to stdout.
    Print(io::Error),
    /// The mask that hides a token in the log could not be written, so no token was handed over.
    Mask(io::Error),
    /// This signal came first. No API token was handed over, or revoked by `burn`.
    Signal(i32),
}

/// Whose ID token was refused, and when: what an explanation needs.
#[derive(Debug)]
pub struct Subject {
    pub claims: Claims,
    /// The audience that the index takes, as far as it is known.
    pub audience: Option<String>,
    /// The project that it was to publish, as far as it is known.
    pub project: Option<String>,
    pub now_unix_secs: u64,
}

/// The requests there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// To the CI system of this name, for an ID token.
    IdToken(&'static str),
    /// To the index, for its audience.
    Audience,
    /// To the index, for an API token.
    Mint,
    /// To the index, to revoke an API token.
    Burn,
}

/// What is wrong with an option's or a variable's value.
#[derive(Debug, PartialEq, Eq)]
pub enum SettingFlaw {
    NotUtf8,
    Index(UrlError),
    Url(UrlError),
    Secret(SecretError),
    Format,
    /// `token` and `env` where there is no API token.
    ClaimsFormat,
    Timeout,
    /// It has a control character.
    Audience,
    Project,
    /// Not the name of an environment variable.
    VariableName,
    /// Not the name of a service account at Google.
    ServiceAccount,
    Proxy(ProxyFlaw),
    /// It names another index than this one.
    OtherIndex {
        wanted: String,
    },
}

/// Why a program can't be run.
#[derive(Debug, PartialEq, Eq)]
pub enum ProgramFlaw {
    /// By its mode, or since nothing on its file system may be run.
    Forbidden,
    /// It is a script, and what it names as its interpreter is no file, or none that can be run.
    Interpreter { path: String, is_there: bool },
}

/// Why a CI system's own program gave no ID token.
#[derive(Debug)]
pub enum HelperFlaw {
    /// It is not there, or can't be run.
    Start(io::Error),
    /// It ended so, and said this on stderr.
    Failed { status: String, words: String },
    /// It did not end in time; the seconds that were given for everything.
    TimedOut(u64),
    /// What it printed is no ID token.
    Token(SecretError),
}

/// What is wrong with a reply's content.
#[derive(Debug, PartialEq, Eq)]
pub enum ReplyFlaw {
    Json(JsonError),
    Token(SecretError),
    /// The index's audience is empty, or has a control character.
    Audience,
    /// `expires` lies beyond the year 9999.
    Expires,
}

/// A well-formed no of the index.
#[derive(Debug)]
pub struct Refusal {
    /// The HTTP status: 422 for a refused exchange.
    pub status: u16,
    /// What the index says of it all.
    pub words: Option<String>,
    /// The reasons that the index gives.
    pub reasons: Vec<Reason>,
    /// How many more it gives, should there be absurdly many.
    pub unshown_reasons: usize,
}

/// One reason for a refusal.
#[derive(Debug)]
pub struct Reason {
    /// A word such as `invalid-publisher`, with no character that a code never has.
    pub code: String,
    /// A sentence, perhaps empty.
    pub description: String,
}

impl Error {
    /// The error, with the one whose ID token was refused, if it is a refusal.
    pub fn about(mut self, refused: Option<Subject>) -> Error {
        if let Error::Refused { subject, .. } = &mut self {
            *subject = refused.map(Box::new);
        }
        self
    }

    /// True if it may go away by itself, so that another attempt may help. A refusal doesn't, nor does a reply that is whole
    /// and well formed, but wrong.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Exchange { error, .. } => error.is_transient(),
            Error::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            // A whole reply to a request to mint: the ID token is spent, and perhaps an API token was made.
            Error::Reply { leg: Leg::Mint, .. } => false,
            Error::Reply { flaw: ReplyFlaw::Json(flaw), .. } => !flaw.is_well_formed(),
            _ => false,
        }
    }

    /// False if the server can't have seen the request.
    pub fn may_have_reached_server(&self) -> bool {
        !matches!(self, Error::Exchange { error, .. } if !error.may_have_reached_server())
    }

    /// The pause that the server asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The program's exit status: 2 to 6, as the table of docs/troubleshooting.md has them, or a signal's.
    pub fn exit_status(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Setting { .. } | Error::NoProgram { .. } | Error::UnfitProgram { .. } => 2,
            Error::NoApiToken | Error::TokenOfOtherIndex { .. } => 2,
            Error::NoIdentity | Error::NoPermission { .. } | Error::NoGitLabToken { .. } => 3,
            Error::NoIdTokenIn { .. } | Error::IdentityRefused { .. } => 3,
            Error::Helper { flaw: HelperFlaw::Start(_) | HelperFlaw::Failed { .. }, .. } => 3,
            Error::Helper { flaw: HelperFlaw::TimedOut(_) | HelperFlaw::Token(_), .. } => 5,
            Error::Refused { .. } => 4,
            Error::Exchange { .. } | Error::Status { .. } | Error::Claims | Error::Reply { .. } => 5,
            Error::NoStepOutputFile | Error::OpenStepOutput { .. } | Error::StepOutput { .. } => 6,
            Error::StartProgram { .. } | Error::NoStdout | Error::Stdout(_) | Error::Print(_) => 6,
            Error::NoStderr | Error::Mask(_) => 6,
            Error::Signal(signal) => signals::status(*signal),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(error) => error.fmt(f),
            Error::Setting { place, flaw } => write!(f, "{place}: {flaw}"),
            Error::NoIdentity => f.write_str("this is not a job of a CI system that token-mint knows"),
            Error::NoPermission { missing, .. } => {
                write!(f, "this job may not ask GitHub for an ID token: not set: {missing}")
            }
            Error::NoGitLabToken { variable, audience } => {
                write!(f, "this GitLab job has no ID token for the audience {audience}: not set: {variable}")
            }
            Error::NoIdTokenIn { variable } => {
                write!(f, "there is no ID token in the variable {variable}: it is not set")
            }
            Error::Helper { system, program, flaw } => {
                write!(f, "{system} gave no ID token: {program} ")?;
                match flaw {
                    HelperFlaw::Start(error) => write!(f, "can't be run: {error}"),
                    HelperFlaw::Failed { status, words } => write!(f, "failed ({status}): {words}"),
                    HelperFlaw::TimedOut(secs) => write!(f, "did not end within the timeout of {secs} seconds"),
                    HelperFlaw::Token(flaw) => write!(f, "printed something else: {flaw}"),
                }
            }
            Error::IdentityRefused { system, status, words } => {
                write!(f, "{system} refused to issue an ID token (status {status}){}", Words(words))
            }
            Error::Refused { index, leg, refusal, .. } => {
                let Refusal { status, words, .. } = &**refusal;
                let what = match leg {
                    Leg::Audience => "does not say which audience it expects",
                    Leg::Burn => "refused to revoke the API token",
                    _ => "refused to mint an API token",
                };
                write!(f, "{index} {what} (status {status}){}", Words(words))
            }
            Error::Exchange { leg, server, error } => write!(f, "{leg} ({server}): {error}"),
            Error::Status { leg, server, status, words, retry_after } => {
                write!(f, "{leg} ({server}): it answered with status {status}")?;
                if let Some(pause) = retry_after {
                    match pause.as_secs() {
                        secs @ 0..=86_400 => write!(f, " and asks for a pause of {secs} s")?,
                        _ => f.write_str(" and asks for a pause of more than a day")?,
                    }
                }
                Words(words).fmt(f)
            }
            Error::Reply { leg, server, flaw } => write!(f, "{leg} ({server}): {flaw}"),
            Error::Claims => f.write_str("the ID token is no JSON Web Token with claims in it"),
            Error::NoStepOutputFile => f.write_str("there is no file for the step's outputs: GITHUB_OUTPUT is not set"),
            Error::OpenStepOutput { path, error } | Error::StepOutput { path, error } => {
                write!(f, "the step output can't be written to {path}: {error}")
            }
            Error::NoProgram { name } => write!(f, "there is no program {name} that could be run"),
            Error::UnfitProgram { path, flaw } => {
                write!(f, "{path} can't be run: ")?;
                match flaw {
                    ProgramFlaw::Forbidden => {
                        f.write_str("this user may not execute it, or its file system is `noexec`")
                    }
                    ProgramFlaw::Interpreter { path, is_there: false } => {
                        write!(f, "its interpreter {path} is not there")
                    }
                    ProgramFlaw::Interpreter { path, .. } => write!(f, "its interpreter {path} can't be run either"),
                }
            }
            Error::StartProgram { name, error } => write!(f, "{name} can't be run: {error}"),
            Error::NoApiToken => f.write_str(
                "no API token was given: TOKEN_MINT_API_TOKEN is not set, and stdin is empty or does not end",
            ),
            Error::TokenOfOtherIndex { index, other } => {
                write!(f, "the API token is for {other}, so {index} can't revoke it")
            }
            Error::NoStdout => {
                f.write_str("the API token would be lost: stdout is closed, not open for writing, or /dev/null")
            }
            Error::NoStderr => f.write_str(
                "the lines that hide tokens in the log would be lost: stderr is closed, not open for writing, or /dev/null",
            ),
            Error::Stdout(error) => write!(f, "the API token can't be written to stdout: {error}"),
            Error::Print(error) => write!(f, "stdout can't be written to: {error}"),
            Error::Signal(signal) => {
                write!(f, "{} asked token-mint to end, so this is not done", signals::name(*signal))
            }
            Error::Mask(error) => write!(f, "a line that hides tokens in the log can't be written: {error}"),
        }
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leg::IdToken(system) => write!(f, "asking {system} for an ID token"),
            Leg::Audience => f.write_str("asking the index for its audience"),
            Leg::Mint => f.write_str("asking the index for an API token"),
            Leg::Burn => f.write_str("asking the index to revoke the API token"),
        }
    }
}

impl fmt::Display for SettingFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingFlaw::NotUtf8 => f.write_str("its value is not UTF-8 text"),
            SettingFlaw::Index(flaw) => write!(f, "pypi, testpypi or the URL of an index is expected: {flaw}"),
            SettingFlaw::Url(flaw) => flaw.fmt(f),
            SettingFlaw::Secret(flaw) => flaw.fmt(f),
            SettingFlaw::Format => f.write_str("token, env or json is expected"),
            SettingFlaw::ClaimsFormat => f.write_str("with claims, it can be json only"),
            SettingFlaw::Audience => f.write_str("an audience has no line breaks or other control characters"),
            SettingFlaw::Project => f.write_str("a project's name is expected: letters, digits and -._"),
            SettingFlaw::VariableName => f.write_str("the name of an environment variable is expected"),
            SettingFlaw::ServiceAccount => f.write_str("a service account's e-mail address or number is expected"),
            SettingFlaw::Proxy(flaw) => write!(f, "this proxy can't be used: {flaw}"),
            SettingFlaw::OtherIndex { wanted } => write!(f, "it names another index than {wanted}"),
            SettingFlaw::Timeout => f.write_str("a whole number of seconds from 1 to 3600 is expected"),
        }
    }
}

impl fmt::Display for ReplyFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyFlaw::Json(flaw) => write!(f, "its reply is not what was asked for: {flaw}"),
            ReplyFlaw::Token(flaw) => write!(f, "the token in its reply is unusable: {flaw}"),
            ReplyFlaw::Audience => f.write_str("the audience in its reply is empty, or has a control character"),
            ReplyFlaw::Expires => f.write_str("the time in its reply at which the token expires makes no sense"),
        }
    }
}

impl Refusal {
    /// A line for each reason.
    pub fn reasons(&self) -> Vec<String> {
        let code = |code: &str| if code.is_empty() { "no code" } else { code }.to_owned();
        let lines = self.reasons.iter().map(|reason| format!("{}: {}", code(&reason.code), reason.description));
        let more = (self.unshown_reasons > 0).then(|| format!("and {} more", self.unshown_reasons));
        lines.chain(more).collect()
    }
}

/// What a server said, where it said something.
struct Words<'a>(&'a Option<String>);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(words) => write!(f, ": {words}"),
            None => Ok(()),
        }
    }
}
