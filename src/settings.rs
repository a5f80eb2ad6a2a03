//! The settings of a run: the command line wins over the environment, and the environment over the default.

use std::ffi::OsStr;
use std::time::Duration;

use crate::cli::{self, Options};
use crate::env::{Env, NOT_UTF8};
use crate::error::Result;
use crate::explain::messages;
use crate::explain::pyproject;
use crate::explain::spelling::nearest;
use crate::handover::Format;
use crate::index::Index;
use crate::index_api::is_audience;
use crate::net::http::Http;
use crate::net::proxy::Proxies;
use crate::os::deadline::Deadline;
use crate::os::log::Log;

const MAX_TIMEOUT_SECS: u64 = 3600;

/// All settings, checked. `None`: the user gave no value, and there is no default.
pub struct Settings {
    pub index: Index,
    pub audience: Option<String>,
    /// The variable that holds the ID token.
    pub id_token_env: Option<String>,
    pub format: Option<Format>,
    /// Only for explanations and the links in them.
    pub project: Option<String>,
    /// For everything except COMMAND and the revocation after it.
    pub timeout: Duration,
    pub keep_identity: bool,
    /// Explanations do without what the index publishes.
    pub offline: bool,
    pub log: Log,
    pub proxies: Proxies,
}

impl Settings {
    /// # Errors
    /// Wrong usage. The message names the option or variable.
    pub fn resolve(options: &Options, env: &Env) -> Result<Settings> {
        let setting = |name| Setting::find(name, options, env);
        let is_given = |name| options.contains_key(name);
        let has_debug_logging = env.on_github() && env.get("RUNNER_DEBUG").is_some_and(|value| value == "1");
        Ok(Settings {
            index: parse_index(&setting("--index"))?,
            audience: setting("--audience")
                .text_if_set(is_audience, "an audience has no line breaks or other control characters")?,
            id_token_env: setting("--id-token-env")
                .text_if_set(is_variable_name, "the name of an environment variable is expected")?,
            format: setting("--format").parse_if_set(Format::parse, "token, env or json is expected")?,
            project: setting("--project")
                .text_if_set(pyproject::is_name, "a project's name is expected: letters, digits and -._")?,
            timeout: setting("--timeout")
                .parse(parse_timeout, "a whole number of seconds from 1 to 3600 is expected")?,
            keep_identity: is_given("--keep-identity"),
            offline: is_given("--offline") || !setting("--offline").value.is_empty(),
            log: match (is_given("--quiet"), is_given("--verbose") || has_debug_logging) {
                (true, _) => Log::Quiet,
                (false, true) => Log::Verbose,
                (false, false) => Log::Normal,
            },
            proxies: Proxies::of(env).map_err(|(variable, error)| messages::bad_proxy(variable, error))?,
        })
    }

    /// A client for requests, whose deadline begins now.
    pub fn http(&self) -> Http {
        Http::new(Deadline::after(self.timeout), self.log, self.proxies.clone())
    }
}

struct Setting<'a> {
    /// The option or variable that gives the value, for messages.
    place: &'static str,
    /// May be empty.
    value: &'a OsStr,
}

impl<'a> Setting<'a> {
    fn find(name: &'static str, options: &'a Options, env: &'a Env) -> Setting<'a> {
        let row = cli::OPTIONS.iter().find(|row| row.name == name);
        let (variable, default) = row.map_or(("", ""), |row| (row.variable, row.default));
        match options.get(name) {
            Some(value) => Setting { place: name, value },
            None => Setting { place: variable, value: env.get(variable).unwrap_or(OsStr::new(default)) },
        }
    }

    fn text(&self) -> Result<&str> {
        self.value.to_str().ok_or_else(|| messages::bad_setting(self.place, NOT_UTF8))
    }

    /// Parses the value. If `parse` returns `None`, the error says `expected`.
    fn parse<T>(&self, parse: impl FnOnce(&str) -> Option<T>, expected: &str) -> Result<T> {
        parse(self.text()?).ok_or_else(|| messages::bad_setting(self.place, expected))
    }

    fn parse_if_set<T>(&self, parse: impl FnOnce(&str) -> Option<T>, expected: &str) -> Result<Option<T>> {
        (!self.value.is_empty()).then(|| self.parse(parse, expected)).transpose()
    }

    fn text_if_set(&self, is_valid: fn(&str) -> bool, expected: &str) -> Result<Option<String>> {
        self.parse_if_set(|text| is_valid(text).then(|| text.to_owned()), expected)
    }
}

/// True for a name that a shell can set.
fn is_variable_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn parse_index(setting: &Setting) -> Result<Index> {
    let (place, text) = (setting.place, setting.text()?);
    match Index::parse(text) {
        Ok(index) if index.is_for_installers() => Err(messages::installer_url(place)),
        Ok(index) => Ok(index),
        Err(fault) if text.contains("://") => Err(messages::bad_setting(place, fault)),
        Err(_) => Err(messages::no_index(place, nearest(text, ["pypi", "testpypi"]))),
    }
}

fn parse_timeout(text: &str) -> Option<Duration> {
    // `parse` alone would accept a plus sign.
    let secs = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    secs.filter(|secs| (1..=MAX_TIMEOUT_SECS).contains(secs)).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(line: &[&str], env: &Env) -> std::result::Result<Settings, String> {
        let settings = cli::parse(line.iter().map(|word| (*word).into()));
        let settings = settings.and_then(|(_, options)| Settings::resolve(&options, env));
        settings.map_err(|error| format!("{error}; {}", error.explanation.hints.join("; ")))
    }

    /// For each option with a variable: a good value, a bad one, and the message about the bad one.
    const VALUES: [(&str, &str, &str, &str); 6] = [
        ("--index", "https://example.org", "https://u:p@example.org", "the URL names a user"),
        ("--project", "a-b", "a/../b", "a project's name is expected"),
        ("--audience", "a b", "a\nb", "an audience has no line breaks"),
        ("--id-token-env", "MY_TOKEN", "A=B", "the name of an environment variable"),
        ("--format", "json", "yaml", "token, env or json"),
        ("--timeout", "3600", "3601", "a whole number of seconds"),
    ];

    fn shown(settings: &Settings, option: &str) -> String {
        match option {
            "--index" => settings.index.origin().to_owned(),
            "--project" => settings.project.clone().unwrap_or_default(),
            "--audience" => settings.audience.clone().unwrap_or_default(),
            "--id-token-env" => settings.id_token_env.clone().unwrap_or_default(),
            "--format" => settings.format.map(|format| format!("{format:?}").to_lowercase()).unwrap_or_default(),
            _ => settings.timeout.as_secs().to_string(),
        }
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_that_over_the_default() {
        let with_variable = cli::OPTIONS.iter().filter(|row| !row.variable.is_empty() && row.name != "--offline");
        assert_eq!(with_variable.clone().map(|row| row.name).collect::<Vec<_>>(), VALUES.map(|(name, ..)| name));
        for (row, (name, good, worst, error)) in with_variable.zip(VALUES) {
            let env = |value: &str| Env::from([(row.variable, value)]);
            let default = if row.default == "pypi" { "https://pypi.org" } else { row.default };
            for (line, env, expected) in
                [(&[][..], env(""), default), (&[], env(good), good), (&[name, good], env(worst), good)]
            {
                assert_eq!(shown(&resolve(line, &env).unwrap(), name), expected, "{line:?}");
            }
            let by_option = resolve(&[name, worst], &env(good)).err().unwrap();
            assert!(by_option.starts_with(&format!("{name}: ")) && by_option.contains(error), "{by_option}");
            let by_variable = resolve(&[], &env(worst)).err().unwrap();
            assert!(
                by_variable.starts_with(&format!("{}: ", row.variable)) && by_variable.contains(error),
                "{by_variable}"
            );
        }
    }

    #[test]
    fn verbosity_is_the_command_lines_then_that_of_a_github_job_with_debug_logging() {
        let on_github = |debug| Env::from([("GITHUB_ACTIONS", "true"), ("RUNNER_DEBUG", debug)]);
        for (line, env, log, keep) in [
            (&[][..], on_github("0"), Log::Normal, false),
            (&[], on_github("1"), Log::Verbose, false),
            (&[], Env::from([("RUNNER_DEBUG", "1")]), Log::Normal, false),
            (&["-q"], on_github("1"), Log::Quiet, false),
            (&["-v"], Env::from([]), Log::Verbose, false),
            (&["--keep-identity", "--", "true"], Env::from([]), Log::Normal, true),
        ] {
            let settings = resolve(line, &env).unwrap();
            assert_eq!((settings.log, settings.keep_identity), (log, keep), "{line:?}");
        }
    }

    #[test]
    fn a_switch_with_a_variable_is_on_for_any_value_but_an_empty_one() {
        for (line, value, offline) in [(&[][..], "", false), (&[], "1", true), (&["--offline"], "", true)] {
            let settings = resolve(line, &Env::from([("TOKEN_MINT_OFFLINE", value)])).unwrap();
            assert_eq!(settings.offline, offline, "{line:?} {value}");
        }
    }

    #[test]
    fn an_index_that_is_none_is_refused_with_what_was_meant() {
        for (value, piece) in [
            ("testpipy", "did you mean testpypi?"),
            ("test-pypi", "did you mean testpypi?"),
            ("PyPI", "did you mean pypi?"),
            ("pipy", "did you mean pypi?"),
            ("example.org", "a whole URL such as https://example.org"),
            ("https://pypi.org/simple/", "only scheme and host"),
            ("https://pypi.org/simple", "is for installers"),
            ("https://example.org/root/pypi/+simple/?x", "is for installers"),
        ] {
            let error = resolve(&["--index", value], &Env::from([])).err().unwrap();
            assert!(error.starts_with("--index: ") && error.contains(piece), "{error}");
        }
        for value in ["https://simple", "https://simple/", "https://example.org/simple/upload", "https://a/?/simple/"] {
            assert!(resolve(&["--index", value], &Env::from([])).is_ok(), "{value}");
        }
    }

    /// Three words in any order: a word may be missing or too many, or a secret in the wrong place.
    #[cfg(unix)]
    #[test]
    fn no_three_words_make_it_panic_or_show_a_secret() {
        use std::os::unix::ffi::OsStringExt;
        const SECRET: &str = "AgEIcHlwaS5v";
        #[rustfmt::skip]
        let mut vocabulary: Vec<std::ffi::OsString> = [
            "", "-", "--", "---", "-=", "--=", "=", "burn", "check", "mint", "twine", "-q", "-vq", "--help", "--index",
            "--format", "--timeout", "--project", "--audience", "--id-token-env", "--keep-identity", "--quiet=", "SECRET",
            "pypi-SECRET", "-SECRET", "-pSECRET", "-qSECRET", "--SECRET", "--pSECRET", "-p=SECRET", "--index=SECRET",
            "--index=https://u:SECRET@h/", "https://h/SECRET#SECRET", "--format=SECRET", "--timeout=SECRET", "\u{202e}SECRET",
            "--ind\u{e9}x=SECRET", "--quiet=SECRET",
        ]
        .iter()
        .map(|word| word.replace("SECRET", SECRET).into())
        .collect();
        vocabulary.push(std::ffi::OsString::from_vec([b"\xff", SECRET.as_bytes()].concat()));
        vocabulary.push(std::ffi::OsString::from_vec([b"--index=\xff", SECRET.as_bytes()].concat()));
        let env = Env::from([]);
        let mut errors = 0;
        let mut check = |line: &[&std::ffi::OsString]| {
            let settings = cli::parse(line.iter().map(|word| (*word).clone()));
            if let Err(error) = settings.and_then(|(_, options)| Settings::resolve(&options, &env)) {
                let explanation = &error.explanation;
                let said = format!("{error} {} {}", explanation.fact, explanation.hints.join(" "));
                assert!(!said.contains(SECRET) && !said.to_lowercase().contains("ageic"), "{line:?}: {said}");
                errors += 1;
            }
        };
        for first in &vocabulary {
            check(&[first]);
            for second in &vocabulary {
                check(&[first, second]);
                vocabulary.iter().for_each(|third| check(&[first, second, third]));
            }
        }
        assert!(errors > 10_000, "{errors}");
    }
}
