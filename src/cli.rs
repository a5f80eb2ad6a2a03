//! The command line: the commands, the options, and the parser. The result depends on the arguments alone.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::error::{Error, Result};
use crate::explain::messages;
use crate::explain::spelling::nearest;

/// The text of `--version`.
pub const VERSION: &str = concat!("token-mint ", env!("CARGO_PKG_VERSION"), "\n");
const RUN_TOOL: &str = "this runs an upload tool: token-mint -- twine upload dist/*";
const BURN_TAKES: &str = "give burn the API token in the variable TOKEN_MINT_API_TOKEN or on stdin";

// The names of the commands in messages and in the table of options.
const MINT: &str = "a mint without -- COMMAND";
const RUN: &str = "-- COMMAND";
const BURN: &str = "burn";
const CHECK: &str = "check";
const CLAIMS: &str = "claims";

/// An option. A field that does not apply is empty.
pub struct OptionRow {
    pub name: &'static str,
    pub letter: &'static str,
    /// The placeholder for its value in the help; empty for a switch.
    pub value: &'static str,
    /// The environment variable that is read if the option is not given.
    pub variable: &'static str,
    /// The value if neither is given.
    pub default: &'static str,
    /// The action has an input of the same name.
    pub is_input: bool,
    /// The commands that take it.
    commands: &'static [&'static str],
    /// The heading before this option in `--help`.
    pub heading: &'static str,
    /// The description in `--help`.
    pub help: &'static str,
}

/// A switch for all commands.
#[rustfmt::skip]
const SWITCH: OptionRow = OptionRow {
    name: "", letter: "", value: "", variable: "", default: "", heading: "", help: "", is_input: false,
    commands: &[RUN, MINT, BURN, CHECK, CLAIMS],
};
const WITH_IDENTITY: OptionRow = OptionRow { commands: &[RUN, MINT, CHECK, CLAIMS], ..SWITCH };

/// The options, as `--help` lists them.
#[rustfmt::skip] // a row each
pub static OPTIONS: [OptionRow; 12] = [
    OptionRow { name: "--index", value: "pypi|testpypi|URL", variable: "TOKEN_MINT_INDEX", default: "pypi",
        heading: "where to publish", help: "the index; an upload URL works, too", is_input: true, ..SWITCH },
    OptionRow { name: "--project", value: "NAME", variable: "TOKEN_MINT_PROJECT",
        help: "for explanations; default: the name in\n./pyproject.toml or of the files in ./dist", is_input: true, ..WITH_IDENTITY },
    OptionRow { name: "--audience", value: "AUD", variable: "TOKEN_MINT_AUDIENCE", heading: "the job's identity",
        help: "the ID token's audience; default: what the index\nexpects", is_input: true, ..WITH_IDENTITY },
    OptionRow { name: "--id-token-env", value: "NAME", variable: "TOKEN_MINT_ID_TOKEN_ENV",
        help: "the variable NAME holds the ID token; default: ask\nthe CI system for one", ..WITH_IDENTITY },
    OptionRow { name: "--keep-identity", commands: &[RUN],
        help: "let COMMAND ask for ID tokens, for example to sign\nattestations", ..SWITCH },
    OptionRow { name: "--format", value: "token|env|json", variable: "TOKEN_MINT_FORMAT", commands: &[MINT, CLAIMS],
        help: "what to print on stdout; default: the API token; in\na GitHub job nothing, since it gets step outputs;\nclaims takes json only",
        heading: "what is printed", ..SWITCH },
    OptionRow { name: "--quiet", letter: "-q", help: "errors and warnings only", ..SWITCH },
    OptionRow { name: "--verbose", letter: "-v",
        help: "print each request, too. Debug logging in a GitHub\njob (RUNNER_DEBUG=1) does the same", ..SWITCH },
    OptionRow { name: "--timeout", value: "SECONDS", variable: "TOKEN_MINT_TIMEOUT", default: "120", heading: "other",
        help: "for everything except COMMAND", is_input: true, ..SWITCH },
    OptionRow { name: "--offline", variable: "TOKEN_MINT_OFFLINE",
        help: "explain a refusal without what the index publishes\nof the project", ..WITH_IDENTITY },
    OptionRow { name: "--help", letter: "-h", help: "print this text", ..SWITCH },
    OptionRow { name: "--version", letter: "-V", help: "print the version", ..SWITCH },
];

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Version,
    /// Mint an API token and hand it over.
    Mint,
    /// Mint an API token, run this program with these arguments, and revoke the token.
    Run(Vec<OsString>),
    Burn,
    Check,
    Claims,
}

/// The values that were given, by the options' names. The value of a switch is empty.
pub type Options = BTreeMap<&'static str, OsString>;

/// There is no option `name`. It is the argument `word` or a part of that: `-xq` is split into `-x` and `-q`.
fn no_option(position: usize, name: &str, word: &str) -> Error {
    let meant = nearest(word, OPTIONS.iter().map(|row| row.name));
    messages::no_option(position, Some(name).filter(|name| is_plain(name)), meant)
}

/// The argument at this position is neither an option nor a command. After the first one, it may be a value that was
/// meant for an option, so it is not repeated.
fn no_command(position: usize, word: &str) -> Error {
    let meant = nearest(word, [BURN, CHECK, CLAIMS, "--help", "--version"]);
    messages::no_command(position, Some(word).filter(|word| position == 1 && is_plain(word)), meant)
}

/// Reads the arguments after the program's name.
///
/// # Errors
/// Wrong usage. The message repeats no word that may be a secret. `--help` and `--version` end parsing at once, so an
/// error after them is not found.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<(Command, Options)> {
    let mut options = Options::new();
    let mut command = MINT; // until another one is read
    let mut program = vec![];
    let mut argv = argv.into_iter().zip(1..);
    while let Some((word, position)) = argv.next() {
        if word == "--" {
            if command != MINT {
                return Err(Error::usage(format!("{command} runs no command, so it takes no --"), RUN_TOOL));
            }
            command = RUN;
            program = argv.map(|(word, _)| word).collect();
            if program.first().is_none_or(|name| name.is_empty()) {
                return Err(Error::usage("the command to run is missing after --", RUN_TOOL));
            }
            break;
        }
        let text = word.to_string_lossy();
        if !text.starts_with('-') {
            if command != MINT {
                let hint = if command == BURN { BURN_TAKES } else { RUN_TOOL };
                return Err(Error::usage(format!("argument {position} is too many for {command}"), hint));
            }
            let known = [BURN, CHECK, CLAIMS].into_iter().find(|known| *known == text);
            command = known.ok_or_else(|| no_command(position, &text))?;
            continue;
        }
        let (names, mut joined) = split(&word);
        for name in names {
            let row = OPTIONS.iter().find(|row| [row.name, row.letter].contains(&&*name));
            let row = row.ok_or_else(|| no_option(position, &name, &text))?;
            match row.name {
                "--help" => return Ok((Command::Help, options)),
                "--version" => return Ok((Command::Version, options)),
                _ => {}
            }
            let value = value_of(row, joined.take(), || argv.next().map(|(word, _)| word))?;
            if options.insert(row.name, value).is_some() {
                return Err(Error::usage(format!("{} was given twice", row.name), "leave one of the two out"));
            }
        }
    }
    if options.contains_key("--quiet") && options.contains_key("--verbose") {
        return Err(Error::usage("--quiet and --verbose contradict each other", "leave one of the two out"));
    }
    // An option that the command does not take was meant for another command.
    if let Some(row) = OPTIONS.iter().find(|row| options.contains_key(row.name) && !row.commands.contains(&command)) {
        let fact = format!("{} can't be used with {command}", row.name);
        return Err(Error::usage(fact, format!("leave it out; it is for {}", row.commands.join(", "))));
    }
    let command = match command {
        BURN => Command::Burn,
        CHECK => Command::Check,
        CLAIMS => Command::Claims,
        RUN => Command::Run(program),
        _ => Command::Mint,
    };
    Ok((command, options))
}

/// An option's value: the text after `=`, or the next argument. The value of a switch is empty.
fn value_of(row: &OptionRow, joined: Option<OsString>, next: impl FnOnce() -> Option<OsString>) -> Result<OsString> {
    let OptionRow { name, value, .. } = row;
    if !value.is_empty() {
        let given = joined.or_else(next).filter(|given| !given.is_empty());
        return given.ok_or_else(|| Error::usage(format!("{name} needs a value"), format!("write {name} {value}")));
    }
    if joined.is_some() {
        return Err(Error::usage(format!("{name} takes no value"), "leave out = and what follows it"));
    }
    Ok(OsString::new())
}

/// The options in a word that begins with a dash, and the value after `=`. The options are one long option, or one for
/// each letter.
fn split(word: &OsStr) -> (Vec<String>, Option<OsString>) {
    let text = word.to_string_lossy();
    let (names, joined) = match text.split_once('=') {
        None => (&*text, None),
        Some((names, value)) if word.to_str().is_some() => (names, Some(value.into())),
        // std can't split off a value that is not UTF-8. So the whole word is the value, which is refused later.
        Some((names, _)) => (names, Some(word.to_owned())),
    };
    let is_long = names.starts_with("--") || names == "-";
    let letters = names.chars().skip(1).map(|letter| format!("-{letter}"));
    (if is_long { vec![names.to_owned()] } else { letters.collect() }, joined)
}

/// True if a message may repeat the word: it is short, and does not mix letters and digits as tokens do.
fn is_plain(word: &str) -> bool {
    let has = |class: fn(&u8) -> bool| word.bytes().any(|b| class(&b));
    word.len() <= 20
        && has(u8::is_ascii_alphabetic)
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        && !(has(u8::is_ascii_uppercase) && (has(u8::is_ascii_lowercase) || has(u8::is_ascii_digit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<(Command, Options)> {
        parse(line.split_whitespace().map(|word| if word == "''" { OsString::new() } else { word.into() }))
    }

    fn hint_of(error: &Error) -> &str {
        &error.explanation.hints[0]
    }

    #[track_caller]
    fn assert_refused(line: &str, fact: &str, hint: &str) {
        let error = words(line).expect_err(line);
        assert_eq!(error.explanation.fact, fact, "{line}");
        assert!(hint_of(&error).contains(hint), "no {hint:?} in {error:?}");
    }

    /// A command that takes the option.
    fn with(row: &OptionRow, option: &str) -> String {
        match row.commands {
            [RUN] => format!("{option} -- true"),
            [MINT, ..] | [RUN, MINT, ..] => option.to_owned(),
            _ => unreachable!(),
        }
    }

    #[test]
    fn each_option_is_taken_in_all_its_spellings_and_once() {
        for row in OPTIONS.iter().filter(|row| !["--help", "--version"].contains(&row.name)) {
            let name = row.name;
            let value = |option: String| {
                let (_, options) = words(&with(row, &option)).expect(&option);
                assert_eq!(options.len(), 1, "{option}");
                options[name].clone()
            };
            let twice = |option: &str| assert_refused(option, &format!("{name} was given twice"), "leave one");
            if row.value.is_empty() {
                let spellings = [name, row.letter].into_iter().filter(|spelling| !spelling.is_empty());
                for spelling in spellings {
                    assert_eq!(value(spelling.to_owned()), "");
                    twice(&format!("{spelling} {name}"));
                    for worst in ["yes", ""] {
                        assert_refused(
                            &format!("{spelling}={worst}"),
                            &format!("{name} takes no value"),
                            "leave out =",
                        );
                    }
                }
            } else {
                for (option, expected) in [("a=b", "a=b"), ("-q", "-q"), ("--", "--"), ("burn", "burn")] {
                    assert_eq!(value(format!("{name} {option}")), expected);
                    assert_eq!(value(format!("{name}={option}")), expected);
                }
                let hint = format!("write {name} {}", row.value);
                for worst in [name.to_owned(), format!("{name} ''"), format!("{name}=")] {
                    assert_refused(&worst, &format!("{name} needs a value"), &hint);
                }
                twice(&format!("{name} a {name}=b"));
            }
        }
    }

    #[test]
    fn letters_can_be_joined() {
        let (_, options) = words("-v --keep-identity -- true").unwrap();
        assert_eq!(options.keys().copied().collect::<Vec<_>>(), ["--keep-identity", "--verbose"]);
        for line in ["-vq", "-q -v", "--verbose --quiet"] {
            assert_refused(line, "--quiet and --verbose contradict each other", "leave one");
        }
        assert_refused("-vv", "--verbose was given twice", "leave one");
        assert_refused("-qpsecret", "there is no option -p", "--help lists");
        assert_refused("-p=secret", "there is no option -p", "--help lists");
        assert_eq!(words("-vh").unwrap().0, Command::Help);
        assert_eq!(words("-qV").unwrap().0, Command::Version);
    }

    #[test]
    fn help_and_version_win_over_what_follows() {
        for line in ["-h", "--help", "--index x --help --nonsense", "-h -V", "claims --help"] {
            assert_eq!(words(line).unwrap().0, Command::Help, "{line}");
        }
        for line in ["-V", "--version", "-v -V nonsense"] {
            assert_eq!(words(line).unwrap().0, Command::Version, "{line}");
        }
    }

    #[test]
    fn a_command_may_come_before_its_options_or_after_them() {
        for line in ["claims -q", "-q claims"] {
            let (command, options) = words(line).unwrap();
            assert_eq!((command, options.len()), (Command::Claims, 1), "{line}");
        }
        assert_eq!(words("").unwrap().0, Command::Mint);
        assert_eq!(words("burn").unwrap().0, Command::Burn);
        assert_eq!(words("check").unwrap().0, Command::Check);
        assert_eq!(words("--project claims").unwrap().0, Command::Mint);
        assert_refused("burn pypi-secret", "argument 2 is too many for burn", "TOKEN_MINT_API_TOKEN");
        assert_refused("check twine", "argument 2 is too many for check", "token-mint -- twine");
        assert_refused("claims claims", "argument 2 is too many for claims", "");
    }

    #[test]
    fn what_follows_two_dashes_is_the_command_and_is_left_alone() {
        let run = |line: &str| match words(line) {
            Ok((Command::Run(argv), options)) => (options, argv),
            other => panic!("{line}: {other:?}"),
        };
        let (options, argv) = run("-q --keep-identity -- twine upload --help -- -q");
        assert_eq!(options.len(), 2);
        assert_eq!(argv, ["twine", "upload", "--help", "--", "-q"]);
        assert_eq!(run("-- check").1, ["check"]);
        assert_refused("--", "the command to run is missing after --", "token-mint -- twine");
        assert_refused("-- ''", "the command to run is missing after --", "token-mint -- twine");
        assert_refused("check -- true", "check runs no command, so it takes no --", "token-mint -- twine");
    }

    #[test]
    fn an_option_that_means_nothing_to_the_command_is_an_error() {
        let commands = [(RUN, "-- true"), (MINT, ""), (BURN, "burn"), (CHECK, "check"), (CLAIMS, "claims")];
        let mut refused = Vec::new();
        for row in OPTIONS.iter().filter(|row| !["--help", "--version"].contains(&row.name)) {
            for (name, command) in commands {
                let value = if row.value.is_empty() { "" } else { "x" };
                if let Err(error) = words(&format!("{} {value} {command}", row.name)) {
                    assert_eq!(error.explanation.fact, format!("{} can't be used with {name}", row.name));
                    assert!(hint_of(&error).contains(&format!("it is for {}", row.commands[0])), "{error:?}");
                    refused.push(format!("{} {}", name.replace(MINT, "mint").replace(RUN, "run"), row.name));
                }
            }
        }
        refused.sort();
        assert_eq!(
            refused,
            [
                "burn --audience",
                "burn --format",
                "burn --id-token-env",
                "burn --keep-identity",
                "burn --offline",
                "burn --project",
                "check --format",
                "check --keep-identity",
                "claims --keep-identity",
                "mint --keep-identity",
                "run --format"
            ]
        );
    }

    #[test]
    fn a_misspelt_word_gets_the_one_that_was_meant() {
        for (line, fact, hint) in [
            ("bunr", "there is no command bunr in token-mint", "did you mean burn?"),
            ("Check", "argument 1 is neither a command nor an option", "did you mean check?"),
            ("claim", "there is no command claim in token-mint", "did you mean claims?"),
            ("help", "there is no command help in token-mint", "did you mean --help?"),
            ("version", "there is no command version in token-mint", "did you mean --version?"),
            ("--indx x", "there is no option --indx", "did you mean --index?"),
            ("--inedx=x", "there is no option --inedx", "did you mean --index?"),
            ("-index x", "there is no option -i", "did you mean --index?"),
            ("--Quiet", "argument 1 is not an option of token-mint", "did you mean --quiet?"),
            ("--id-token-evn x", "there is no option --id-token-evn", "did you mean --id-token-env?"),
        ] {
            assert_refused(line, fact, hint);
        }
        for line in
            ["--nonsense", "--", "run", "twine", "uv", "poetry", "hatch", "pdm", "flit", "-x", "-", "---", "--=x"]
        {
            assert!(!hint_of(&words(line).unwrap_err()).contains("did you mean"), "{line}");
        }
    }

    #[test]
    fn a_forgotten_pair_of_dashes_is_explained() {
        let put = "to run an upload tool, put -- before it: token-mint -- twine …";
        assert_refused("twine upload dist/*", "there is no command twine in token-mint", put);
        for (line, position) in [("--index=x twine", 2), ("./upload.sh", 1), ("''", 1), ("-q --index x dist/*", 4)] {
            let fact = format!("argument {position} is neither a command nor an option");
            assert_refused(line, &fact, "put -- before it: token-mint -- COMMAND …");
        }
        assert_refused("mint", "there is no command mint in token-mint", "without a command, it mints");
    }

    #[test]
    fn a_word_that_may_be_a_secret_is_not_repeated() {
        for word in ["twine", "python3", "A", "PYPI", "upload.sh", "--x-y"] {
            assert!(is_plain(word), "{word}");
        }
        for word in [
            "",
            "-",
            "123",
            "pypi-AgEI",
            "eyJhbGci",
            "AgEIcHlwaS5v",
            "A1",
            "ab/cd",
            "ä",
            "a b",
            "aaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(!is_plain(word), "{word}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_utf8_is_kept_for_whoever_needs_it() {
        use std::os::unix::ffi::OsStringExt;
        let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let (_, options) = parse(["--index".into(), bytes(b"\xff")]).unwrap();
        assert_eq!(options["--index"], bytes(b"\xff"));
        let (_, options) = parse([bytes(b"--index=\xff")]).unwrap();
        assert_eq!(options["--index"], bytes(b"--index=\xff"));
        assert_eq!(parse([bytes(b"-p\xffsecret")]).unwrap_err().to_string(), "there is no option -p");
        assert_eq!(parse([bytes(b"\xff")]).unwrap_err().to_string(), "argument 1 is neither a command nor an option");
    }
}
