//! Hands over the API token: as step outputs, or on stdout. The place is checked before any request. Also reads the API
//! token that `token-mint burn` revokes.

pub mod command;
pub mod upload_clients;

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::env::{API_TOKEN, Env};
use crate::error::{Error, Result};
use crate::explain::messages;
use crate::index::Index;
use crate::index_api::Minted;
use crate::os::deadline::Deadline;
use crate::os::file;
use crate::os::log;
use crate::os::stdio;
use crate::secret::ApiToken;
use crate::text::shown;

/// Far more bytes than an API token has.
const MAX_GIVEN_BYTES: u64 = 64 * 1024;

/// How stdout carries the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The token and a line break.
    Token,
    /// `export` and `unset` statements for a shell's `eval`: the variables that upload clients read.
    Env,
    /// One JSON object.
    Json,
}

/// Where the API token will go.
pub enum Handover {
    StepOutput { path: PathBuf, file: File },
    Stdout(Format),
}

impl Format {
    /// `token`, `env` or `json`.
    pub fn parse(text: &str) -> Option<Format> {
        match text {
            "token" => Some(Format::Token),
            "env" => Some(Format::Env),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

impl Handover {
    /// Chooses the place: stdout if a format was requested or outside GitHub, else the step output. The place is
    /// checked now, so that no token is minted that has nowhere to go. The runner creates the file for step outputs,
    /// and would not read a file that we create.
    pub fn plan(format: Option<Format>, env: &Env) -> Result<Handover> {
        if format.is_none() && env.on_github() {
            let path = PathBuf::from(env.get("GITHUB_OUTPUT").ok_or_else(messages::no_step_output)?);
            let file = file::open_to_append(&path);
            let file = file.map_err(|error| messages::step_output_not_opened(&shown(&path), &error))?;
            return Ok(Handover::StepOutput { path, file });
        }
        if stdio::is_discarded(io::stdout()) {
            return Err(messages::no_stdout());
        }
        Ok(Handover::Stdout(format.unwrap_or(Format::Token)))
    }

    /// Hands over the API token, which is masked already. Returns in words where it is now.
    pub fn deliver(self, minted: &Minted, index: &Index, env: &Env, deadline: Deadline) -> Result<&'static str> {
        let text = match self {
            Handover::StepOutput { path, mut file } => {
                let fact = || format!("the step output can't be written to {}", shown(&path));
                append(&path, &mut file, outputs(minted)).map_err(|error| messages::lost(fact(), &error))?;
                return Ok("as the step output api-token");
            }
            Handover::Stdout(Format::Token) => format!("{}\n", minted.token.reveal()),
            Handover::Stdout(Format::Env) => env_lines(minted, index, env),
            Handover::Stdout(Format::Json) => {
                // A token and an origin have no character that has to be escaped in JSON.
                let expires = minted.expires_unix_secs.map_or("null".to_owned(), |secs| secs.to_string());
                let (token, origin) = (minted.token.reveal(), index.origin());
                format!("{{\"token\":\"{token}\",\"expires\":{expires},\"index\":\"{origin}\"}}\n")
            }
        };
        write(&text, deadline, |error| messages::lost("the API token can't be written to stdout", error))?;
        Ok("on stdout")
    }
}

/// Writes text without a token to stdout.
pub fn print(text: &str, deadline: Deadline) -> Result<()> {
    write(text, deadline, messages::not_printed)
}

/// Writes text to stdout. If a signal came, a failure is reported as that.
fn write(text: &str, deadline: Deadline, to_error: fn(&io::Error) -> Error) -> Result<()> {
    stdio::write(io::stdout(), text, deadline).or_else(|error| {
        Error::if_signal_came(deadline)?;
        Err(to_error(&error))
    })
}

/// Makes GitHub hide a token in the log. Call it before any other use of the token.
pub fn mask(token: &str, env: &Env) -> Result<()> {
    let masked = if env.on_github() { log::mask(token) } else { Ok(()) };
    masked.map_err(messages::no_masks)
}

/// Checks that masks reach the runner, if they are needed. Call it before any request.
pub fn check_masks(env: &Env) -> Result<()> {
    if env.on_github() && stdio::is_discarded(io::stderr()) {
        return Err(messages::no_masks("stderr is closed, not open for writing, or /dev/null"));
    }
    Ok(())
}

/// The API token to revoke: from the environment, else from stdin.
pub fn read_token_to_revoke(env: &Env, deadline: Deadline) -> Result<ApiToken> {
    let (place, text) = match env.get(API_TOKEN) {
        Some(text) => (API_TOKEN, text.to_string_lossy().into_owned()),
        None if io::stdin().is_terminal() => return Err(messages::no_api_token()),
        None => ("stdin", read_stdin(deadline)?),
    };
    match text.trim() {
        "" => Err(messages::no_api_token()),
        text => ApiToken::new(text.to_owned()).map_err(|error| messages::bad_setting(place, error)),
    }
}

/// The text on stdin. It has to end in time.
fn read_stdin(deadline: Deadline) -> Result<String> {
    let read = deadline.wait_for(|| {
        let mut bytes = Vec::new();
        io::stdin().take(MAX_GIVEN_BYTES).read_to_end(&mut bytes).map(|_| bytes)
    });
    if let Ok(Ok(bytes)) = read {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    Error::if_signal_came(deadline)?;
    Err(messages::no_api_token())
}

/// The lines of the step outputs, `NAME=VALUE` (GitHub Docs, "Workflow commands for GitHub Actions"). Neither value has
/// a line break.
fn outputs(minted: &Minted) -> String {
    let expires = minted.expires_unix_secs.map(|secs| format!("expires={secs}\n"));
    format!("api-token={}\n{}", minted.token.reveal(), expires.unwrap_or_default())
}

/// Appends all step outputs, or tries to leave the file as it was: a mask does not hide half a token.
fn append(path: &Path, file: &mut impl Write, mut outputs: String) -> io::Result<()> {
    let last_byte = || {
        let mut file = File::open(path)?;
        let mut byte = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut byte).map(|()| byte)
    };
    // Without a line break, our line would continue the value before it. A file that can't be read counts as complete.
    if last_byte().is_ok_and(|byte| byte != *b"\n") {
        outputs.insert(0, '\n');
    }
    let length_before = fs::metadata(path)?.len();
    file.write_all(outputs.as_bytes()).inspect_err(|_| {
        // Through another handle: on Windows, a handle that can only append can't shorten a file.
        let _ = OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(length_before));
    })
}

/// The variables as statements for a POSIX shell. In single quotes, only the single quote itself is special.
fn env_lines(minted: &Minted, index: &Index, env: &Env) -> String {
    let lines = upload_clients::variables(minted, index, env).into_iter().map(|(name, value)| match value {
        Some(value) => format!("export {name}='{}'\n", value.replace('\'', r"'\''")),
        None => format!("unset {name}\n"),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ApiToken;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    #[cfg(unix)]
    use std::process::Command;

    fn minted(token: &str, expires_unix_secs: Option<u64>) -> Minted {
        Minted { token: ApiToken::new(token.to_owned()).unwrap(), expires_unix_secs, has_bad_expiry: false }
    }

    #[test]
    fn quotes_in_an_upload_url_stay_inside_their_quotes() {
        let index = Index::parse("https://example.org/a';touch$IFS'b").unwrap();
        let lines = env_lines(&minted("pypi-x", None), &index, &Env::from([]));
        assert!(lines.contains("export UV_PUBLISH_URL='https://example.org/a'\\'';touch$IFS'\\''b'\n"), "{lines}");
    }

    /// A disk that has room for half of the text.
    struct HalfFull(File);

    impl Write for HalfFull {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write_all(&bytes[..bytes.len() / 2])?;
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn half_a_token_is_taken_back() {
        let place = tempfile::NamedTempFile::new().unwrap();
        fs::write(place.path(), "a=b\n").unwrap();
        let mut file = HalfFull(file::open_to_append(place.path()).unwrap());
        append(place.path(), &mut file, outputs(&minted("pypi-x", None))).unwrap_err();
        assert_eq!(fs::read_to_string(place.path()).unwrap(), "a=b\n");
    }

    /// Any API token there can be, and its expiry.
    fn any_token() -> impl Strategy<Value = (String, Option<u64>)> {
        ("[A-Za-z0-9_.~+/=-]{1,200}", proptest::option::of(0..253_402_300_800_u64))
    }

    /// `$GITHUB_OUTPUT` as the runner reads it, except on Windows (actions/runner, `EnvFileKeyValuePairs` in
    /// `src/Runner.Worker/FileCommandManager.cs`). `None` if the runner would complain.
    fn read_outputs(file: &str) -> Option<BTreeMap<String, String>> {
        let mut outputs = BTreeMap::new();
        let mut lines = file.split_terminator('\n');
        while let Some(line) = lines.next() {
            let heredoc = line.find("<<").unwrap_or(usize::MAX);
            let (name, value) = match line.split_once('=') {
                _ if line.is_empty() => continue,
                Some((name, value)) if name.len() < heredoc => (name, value.to_owned()),
                _ => {
                    let (name, end) =
                        line.split_once("<<").filter(|(name, end)| !name.is_empty() && !end.is_empty())?;
                    let mut value = Vec::new();
                    loop {
                        match lines.next()? {
                            line if line == end => break,
                            line => value.push(line),
                        }
                    }
                    (name, value.join("\n"))
                }
            };
            outputs.insert(name.to_owned(), value);
        }
        Some(outputs)
    }

    /// Text that a step may have written before us. The last line may lack its line break.
    fn any_file() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            "[a-z-]{1,3}=[ -~]{0,8}\r?",
            "[a-z]{1,2}<<(E|api-token=x)",
            "E|api-token=x|expires=1|",
            "[ -~\u{e4}\r]{0,6}",
        ];
        (vec(line, 0..8), any::<bool>()).prop_map(|(lines, ended)| lines.join("\n") + if ended { "\n" } else { "" })
    }

    /// An index whose URL has characters that are special to a shell.
    #[cfg(unix)]
    fn any_index() -> impl Strategy<Value = Index> {
        let piece = prop_oneof![
            r"'|''|\\|`|\$x|\$\{HOME\}|;|&&|\||>x|\*|~|!!|%27",
            r"'\$\(touch\$IFS.x\)'|`touch\$\{IFS\}x`|';touch\$\{IFS\}x;'",
            "[!-~]{1,5}",
        ];
        let url = vec(piece, 0..6).prop_map(|pieces| format!("https://index.example/{}", pieces.concat()));
        prop_oneof![Just("pypi".to_owned()), url].prop_filter_map("a number sign", |text| Index::parse(&text).ok())
    }

    /// A failing case is printed; proptest writes no file.
    fn cases(cases: u32) -> ProptestConfig {
        ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
    }

    proptest! {
        #![proptest_config(cases(500))]

        #[test]
        fn the_runner_reads_the_step_outputs_after_whatever_is_there(
            before in any_file(),
            (token, expires) in any_token()
        ) {
            let place = tempfile::NamedTempFile::new().unwrap();
            fs::write(place.path(), &before).unwrap();
            let mut file = File::options().append(true).open(place.path()).unwrap();
            append(place.path(), &mut file, outputs(&minted(&token, expires))).unwrap();
            let after = fs::read_to_string(place.path()).unwrap();
            prop_assert!(after.starts_with(&before));
            // A file that the runner complains about stays wrong.
            if let Some(mut outputs) = read_outputs(&before) {
                outputs.insert("api-token".to_owned(), token);
                outputs.extend(expires.map(|secs| ("expires".to_owned(), secs.to_string())));
                prop_assert_eq!(read_outputs(&after), Some(outputs));
            }
        }
    }

    #[cfg(unix)]
    proptest! {
        #![proptest_config(cases(16))]

        #[test]
        fn eval_of_the_env_format_gives_each_variable_back_and_runs_nothing(
            all in vec((any_token(), any_index()), 10)
        ) {
            // The arguments come in pairs: the lines, and the names of the variables.
            let script = "set -eu; while test $# -gt 0; do \
                (eval \"$1\"; for name in $2; do eval \"printf '%s\\n' \\\"\\${$name-unset}\\\"\"; done); shift 2; done";
            let (mut arguments, mut expected) = (Vec::new(), String::new());
            for ((token, expires), index) in &all {
                let minted = minted(token, *expires);
                let variables = upload_clients::variables(&minted, index, &Env::from([]));
                arguments.push(env_lines(&minted, index, &Env::from([])));
                arguments.push(variables.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" "));
                expected.extend(variables.iter().map(|(_, value)| match value {
                    Some(value) => format!("{value}\n"),
                    None => "unset\n".to_owned(),
                }));
            }
            for shell in [&["sh"][..], &["dash"], &["bash"], &["busybox", "sh"]] {
                let folder = tempfile::tempdir().unwrap();
                let mut command = Command::new(shell[0]);
                command.args(&shell[1..]).args(["-c", script, "sh"]).args(&arguments).current_dir(folder.path());
                let output = match command.output() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound && shell != ["sh"] => continue,
                    output => output.unwrap(),
                };
                prop_assert!(output.status.success() && output.stderr.is_empty(), "{:?}: {:?}", shell, output);
                prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), &*expected, "{:?}", shell);
                prop_assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{:?} has run something", shell);
            }
        }
    }
}
