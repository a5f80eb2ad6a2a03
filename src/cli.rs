//! The command line: words to options, with no look at the world.

use std::ffi::OsString;
use std::fmt;

use crate::os::log::Verbosity;

/// What `--help` prints.
pub const HELP: &str = "\
token-mint: mints a short-lived PyPI API token from this CI job's identity

usage: token-mint [OPTIONS]                      mint an API token and hand it over
       token-mint [OPTIONS] -- COMMAND [ARG]...  mint, run COMMAND with the API token in its
                                                 environment, and revoke it when COMMAND has ended
       token-mint burn [OPTIONS]    revoke the API token in $TOKEN_MINT_API_TOKEN, or on stdin
       token-mint check [OPTIONS]   rehearse: mint and revoke at once, to see whether it would work
       token-mint claims [OPTIONS]  show this job's identity as the index will see it; mint nothing

It asks the CI system for an ID token, exchanges it at the index for an API token (PyPI's lives
15 minutes), and hands that over: to COMMAND (twine, uv, flit, hatch, pdm, maturin and poetry find
it), in a GitHub Actions job as the step outputs `api-token` and `expires`, elsewhere alone on
stdout. The project has to name the job as a trusted publisher.

options                      environment              default
  --index pypi|testpypi|URL  TOKEN_MINT_INDEX         pypi
  --audience AUD             TOKEN_MINT_AUDIENCE      what the index expects
  --id-token-env NAME        TOKEN_MINT_ID_TOKEN_ENV  none: the CI system is recognised. Else the
                                                      variable NAME holds the ID token
  --format token|env|json    TOKEN_MINT_FORMAT        on GitHub the step outputs, elsewhere token;
                                                      claims takes json only
  --project NAME             TOKEN_MINT_PROJECT       the name in ./pyproject.toml; for links only
  --timeout SECONDS          TOKEN_MINT_TIMEOUT       120, for everything but COMMAND together
  --keep-identity                                     COMMAND may ask for ID tokens itself, say to
                                                      sign attestations
  -q, --quiet                                         say errors and warnings only
  -v, --verbose              RUNNER_DEBUG=1           say each request, too; GitHub sets the variable
                                                      in a job with debug logging
  -h, --help
  -V, --version

exit status: 0 done; 2 wrong usage or configuration; 3 no identity (permission missing?);
4 the index refused; 5 network or server trouble, run it again; 6 the token could not be handed
over; 128 and its number for a signal. With COMMAND, once it runs: its own, or as for a signal
";

/// What `--version` prints.
pub const VERSION: &str = concat!("token-mint ", env!("CARGO_PKG_VERSION"), "\n");

/// What the user asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// `--help`, anywhere.
    Help,
    /// `--version`, anywhere.
    Version,
    /// No command: mint, and hand over.
    Mint(Options),
    /// `-- COMMAND [ARG]...`: mint, run that, burn.
    Run(Options, Vec<OsString>),
    /// `burn`: revoke an API token.
    Burn(Options),
    /// `check`: mint and burn.
    Check(Options),
    /// `claims`: show the identity.
    Claims(Options),
}

/// What the user typed; nothing is checked or looked up yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--index`
    pub index: Option<OsString>,
    /// `--audience`
    pub audience: Option<OsString>,
    /// `--id-token-env`
    pub id_token_env: Option<OsString>,
    /// `--format`
    pub format: Option<OsString>,
    /// `--project`
    pub project: Option<OsString>,
    /// `--timeout`
    pub timeout: Option<OsString>,
    /// `--keep-identity`
    pub keep_identity: Option<bool>,
    /// `-q` or `-v`
    pub verbosity: Option<Verbosity>,
}

/// Why the words make no sense. Holds an option's name, never a value.
#[derive(Debug, PartialEq, Eq)]
pub enum UsageError {
    /// No such option.
    Unknown(String),
    /// The word at this place, counted from 1, belongs to no option. It is not repeated: it may be a secret.
    Unexpected(usize),
    /// The option needs a value and has none, or an empty one.
    NoValue(&'static str),
    /// `--quiet=…` and the like.
    NeedlessValue(&'static str),
    /// The option was given before, or `-q` and `-v` both.
    Twice(&'static str),
    /// The option means nothing to this command.
    Needless(&'static str, &'static str),
    /// `--` with nothing behind it.
    NoCommand,
    /// `--` behind this command, which runs nothing.
    RunsNothing(&'static str),
}

/// Reads the words after the program's name.
///
/// # Errors
/// [`UsageError`]; never where `--help` or `--version` was read first.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut options = Options::default();
    let mut given = Vec::new();
    let mut verb = None;
    let mut to_run: Option<Vec<OsString>> = None;
    let mut words = words.into_iter().enumerate();
    while let Some((position, word)) = words.next() {
        if position == 0 {
            verb = ["burn", "check", "claims"].into_iter().find(|verb| word == *verb);
            if verb.is_some() {
                continue;
            }
        }
        if word == "--" {
            to_run = Some(words.map(|(_, word)| word).collect());
            break;
        }
        let Some((name, joined)) = split(&word) else {
            return Err(UsageError::Unexpected(position + 1));
        };
        let mut value = Value { joined, words: words.by_ref().map(|(_, word)| word) };
        match name.as_str() {
            "--index" => value.store("--index", &mut options.index)?,
            "--audience" => value.store("--audience", &mut options.audience)?,
            "--id-token-env" => value.store("--id-token-env", &mut options.id_token_env)?,
            "--format" => value.store("--format", &mut options.format)?,
            "--project" => value.store("--project", &mut options.project)?,
            "--timeout" => value.store("--timeout", &mut options.timeout)?,
            "--keep-identity" => value.switch("--keep-identity", true, &mut options.keep_identity)?,
            "-q" | "--quiet" => value.switch("--quiet", Verbosity::Quiet, &mut options.verbosity)?,
            "-v" | "--verbose" => value.switch("--verbose", Verbosity::Verbose, &mut options.verbosity)?,
            "-h" | "--help" => return Ok(Command::Help),
            "-V" | "--version" => return Ok(Command::Version),
            _ => return Err(UsageError::Unknown(name)),
        }
        given.push(name);
    }
    // What means nothing to a command was meant for another.
    let without = |names: &[&'static str], command| match names.iter().find(|name| given.iter().any(|g| g == *name)) {
        Some(name) => Err(UsageError::Needless(name, command)),
        None => Ok(()),
    };
    match (verb, to_run) {
        (Some(verb), Some(_)) => Err(UsageError::RunsNothing(verb)),
        (None, Some(words)) if words.first().is_none_or(|word| word.is_empty()) => Err(UsageError::NoCommand),
        (None, Some(words)) => without(&["--format"], "-- COMMAND").map(|()| Command::Run(options, words)),
        (Some("burn"), None) => {
            let names = &["--audience", "--id-token-env", "--format", "--project", "--keep-identity"];
            without(names, "burn").map(|()| Command::Burn(options))
        }
        (Some("check"), None) => without(&["--format", "--keep-identity"], "check").map(|()| Command::Check(options)),
        (Some(_), None) => without(&["--keep-identity"], "claims").map(|()| Command::Claims(options)),
        (None, None) => {
            without(&["--keep-identity"], "a hand-over without -- COMMAND").map(|()| Command::Mint(options))
        }
    }
}

/// An option's name, and the value that was joined to it. `None` for a word that is no option.
fn split(word: &OsString) -> Option<(String, Option<OsString>)> {
    let text = word.to_string_lossy();
    if !text.starts_with('-') {
        return None;
    }
    if !text.starts_with("--") {
        // What follows the letter belongs to it, and is no name: it may be a secret, as in `-pSECRET`.
        let end = text.char_indices().nth(2).map_or(text.len(), |(end, _)| end);
        let (name, rest) = text.split_at_checked(end)?;
        return Some((name.to_owned(), (!rest.is_empty()).then(|| rest.into())));
    }
    Some(match text.split_once('=') {
        None => (text.into_owned(), None),
        Some((name, value)) if word.to_str().is_some() => (name.to_owned(), Some(value.into())),
        // Not UTF-8: the name may still be, and says whose value it is.
        Some((name, _)) => (name.to_owned(), Some(word.clone())),
    })
}

/// The value of the option that was just read: joined to it, or the next word.
struct Value<I> {
    joined: Option<OsString>,
    words: I,
}

impl<I: Iterator<Item = OsString>> Value<I> {
    fn store(&mut self, name: &'static str, place: &mut Option<OsString>) -> Result<(), UsageError> {
        let value = self.joined.take().or_else(|| self.words.next()).filter(|value| !value.is_empty());
        let value = value.ok_or(UsageError::NoValue(name))?;
        if place.replace(value).is_some() { Err(UsageError::Twice(name)) } else { Ok(()) }
    }

    fn switch<T>(&self, name: &'static str, value: T, place: &mut Option<T>) -> Result<(), UsageError> {
        if self.joined.is_some() {
            return Err(UsageError::NeedlessValue(name));
        }
        if place.replace(value).is_some() { Err(UsageError::Twice(name)) } else { Ok(()) }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::Unknown(name) => {
                write!(f, "there is no option {}", crate::text::neutralise(name, 40))
            }
            UsageError::Unexpected(position) => write!(f, "argument {position} belongs to no option"),
            UsageError::NoValue(name) => write!(f, "{name} needs a value"),
            UsageError::NeedlessValue(name) => write!(f, "{name} takes no value"),
            UsageError::Twice("--quiet" | "--verbose") => f.write_str("--quiet or --verbose, and once"),
            UsageError::Twice(name) => write!(f, "{name} was given twice"),
            UsageError::Needless(name, command) => write!(f, "{name} means nothing to {command}"),
            UsageError::NoCommand => f.write_str("the command to run is missing after --"),
            UsageError::RunsNothing(verb) => write!(f, "{verb} runs no command, so -- has no place after it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Command, UsageError> {
        parse(line.split_whitespace().map(|word| if word == "''" { OsString::new() } else { word.into() }))
    }

    fn options(line: &str) -> Options {
        match words(line) {
            Ok(Command::Mint(options)) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn each_option_with_a_value_takes_it_joined_or_apart_and_once() {
        type Field = fn(&Options) -> &Option<OsString>;
        let fields: [(&'static str, Field); 6] = [
            ("--index", |options| &options.index),
            ("--audience", |options| &options.audience),
            ("--id-token-env", |options| &options.id_token_env),
            ("--format", |options| &options.format),
            ("--project", |options| &options.project),
            ("--timeout", |options| &options.timeout),
        ];
        for (name, field) in fields {
            assert_eq!(*field(&options(&format!("{name} a=b"))), Some("a=b".into()));
            assert_eq!(*field(&options(&format!("{name}=a=b"))), Some("a=b".into()));
            assert_eq!(*field(&options(&format!("{name} -q"))), Some("-q".into()));
            assert_eq!(words(name), Err(UsageError::NoValue(name)));
            assert_eq!(words(&format!("{name} ''")), Err(UsageError::NoValue(name)));
            assert_eq!(words(&format!("{name}=")), Err(UsageError::NoValue(name)));
            assert_eq!(words(&format!("{name} a {name}=b")), Err(UsageError::Twice(name)));
        }
    }

    #[test]
    fn verbosity_is_chosen_once() {
        assert_eq!(options("").verbosity, None);
        assert_eq!(options("-q").verbosity, Some(Verbosity::Quiet));
        assert_eq!(options("--quiet").verbosity, Some(Verbosity::Quiet));
        assert_eq!(options("-v").verbosity, Some(Verbosity::Verbose));
        assert_eq!(options("--verbose").verbosity, Some(Verbosity::Verbose));
        assert_eq!(words("-q -v"), Err(UsageError::Twice("--verbose")));
        assert_eq!(words("-v -v"), Err(UsageError::Twice("--verbose")));
        assert_eq!(words("--quiet=yes"), Err(UsageError::NeedlessValue("--quiet")));
    }

    #[test]
    fn help_and_version_win_over_what_follows() {
        for line in ["-h", "--help", "--index x --help --nonsense", "-h -V"] {
            assert_eq!(words(line), Ok(Command::Help), "{line}");
        }
        for line in ["-V", "--version", "-v -V nonsense"] {
            assert_eq!(words(line), Ok(Command::Version), "{line}");
        }
    }

    #[test]
    fn a_command_comes_first() {
        assert_eq!(words("claims"), Ok(Command::Claims(Options::default())));
        assert_eq!(words("claims -q"), Ok(Command::Claims(options("-q"))));
        assert_eq!(words("claims --help"), Ok(Command::Help));
        assert_eq!(words("-q claims"), Err(UsageError::Unexpected(2)));
        assert_eq!(words("claims claims"), Err(UsageError::Unexpected(2)));
        assert_eq!(options("--project claims").project, Some("claims".into()));
    }

    #[test]
    fn what_follows_two_dashes_is_the_command_and_is_left_alone() {
        let run = |line: &str| match words(line) {
            Ok(Command::Run(options, words)) => (options, words),
            other => panic!("{line}: {other:?}"),
        };
        let (options, command) = run("-q --keep-identity -- twine upload --help -- -q");
        assert_eq!((options.verbosity, options.keep_identity), (Some(Verbosity::Quiet), Some(true)));
        assert_eq!(command, ["twine", "upload", "--help", "--", "-q"]);
        assert_eq!(run("-- check").1, ["check"]);
        assert_eq!(words("--"), Err(UsageError::NoCommand));
        assert_eq!(words("-- ''"), Err(UsageError::NoCommand));
        assert_eq!(words("check -- true"), Err(UsageError::RunsNothing("check")));
    }

    #[test]
    fn an_option_that_means_nothing_to_the_command_is_an_error() {
        for (line, name, command) in [
            ("--format env -- true", "--format", "-- COMMAND"),
            ("burn --audience=x", "--audience", "burn"),
            ("burn --id-token-env x", "--id-token-env", "burn"),
            ("burn --format x", "--format", "burn"),
            ("burn --project x", "--project", "burn"),
            ("burn --keep-identity", "--keep-identity", "burn"),
            ("check --format json", "--format", "check"),
            ("check --keep-identity", "--keep-identity", "check"),
            ("claims --keep-identity", "--keep-identity", "claims"),
            ("--keep-identity", "--keep-identity", "a hand-over without -- COMMAND"),
        ] {
            assert_eq!(words(line), Err(UsageError::Needless(name, command)), "{line}");
        }
        for line in ["burn --index x --timeout 1 -q", "check --project x --audience y", "claims --format json"] {
            assert!(words(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn whatever_else_is_an_error() {
        assert_eq!(words("mint"), Err(UsageError::Unexpected(1)));
        assert_eq!(words("--index=x ''"), Err(UsageError::Unexpected(2)));
        assert_eq!(words("--index x -q dist/*"), Err(UsageError::Unexpected(4)));
        for line in ["--nonsense", "-x", "-", "---", "--Index", "-i"] {
            assert_eq!(words(line), Err(UsageError::Unknown(line.to_owned())), "{line}");
        }
        assert_eq!(words("-qv"), Err(UsageError::NeedlessValue("--quiet")));
        assert_eq!(words("-psecret"), Err(UsageError::Unknown("-p".to_owned())));
        assert_eq!(words("--\u{e4}=secret"), Err(UsageError::Unknown("--\u{e4}".to_owned())));
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_utf8_is_kept_for_whoever_needs_it() {
        use std::os::unix::ffi::OsStringExt;
        let bytes = OsString::from_vec(b"\xff".to_vec());
        match parse(["--index".into(), bytes.clone()]) {
            Ok(Command::Mint(options)) => assert_eq!(options.index, Some(bytes)),
            other => panic!("{other:?}"),
        }
        let short = OsString::from_vec(b"-p\xffsecret".to_vec());
        assert_eq!(parse([short]), Err(UsageError::Unknown("-p".to_owned())));
        let joined = OsString::from_vec(b"--index=\xff".to_vec());
        match parse([joined.clone()]) {
            Ok(Command::Mint(options)) => assert_eq!(options.index, Some(joined)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn help_names_every_option_and_variable() {
        for name in [
            "--index",
            "--audience",
            "--format",
            "--project",
            "--timeout",
            "--id-token-env",
            "--keep-identity",
            "--quiet",
            "--verbose",
            "--help",
            "--version",
        ] {
            assert!(HELP.contains(name), "{name}");
        }
    }
}
