//! The hand-over of the API token: planned before anything is asked for, delivered at the end. Only this module
//! reveals an API token.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::env::{Env, GITHUB_OUTPUT};
use crate::error::{Error, Result};
use crate::index::{Index, Minted};
use crate::log;
use crate::secret::IdToken;
use crate::workflow;

/// How stdout carries the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The token and a line break.
    Token,
    /// `export` statements for a shell's `eval`, with what upload clients read.
    Env,
    /// One JSON object.
    Json,
}

/// Where the API token will go.
pub struct Handover {
    target: Target,
    /// On GitHub: tokens are masked before they are used.
    masks: bool,
}

enum Target {
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
    /// Chooses the place: stdout where a format was asked for and outside GitHub, else the step output, whose
    /// file is opened now. A token with nowhere to go shall not be minted.
    ///
    /// # Errors
    /// [`Error::NoStepOutputFile`], [`Error::OpenStepOutput`], [`Error::NoStdout`].
    pub fn plan(format: Option<Format>, env: &Env) -> Result<Handover> {
        let masks = env.on_github();
        let target = match format {
            None if masks => {
                let path = PathBuf::from(env.get(GITHUB_OUTPUT).ok_or(Error::NoStepOutputFile)?);
                let file = open_regular_file(&path)
                    .map_err(|error| Error::OpenStepOutput { path: printable(&path), error })?;
                Target::StepOutput { path, file }
            }
            _ if stdout_leads_nowhere() => return Err(Error::NoStdout),
            format => Target::Stdout(format.unwrap_or(Format::Token)),
        };
        Ok(Handover { target, masks })
    }

    /// Masks the API token, then hands it over.
    ///
    /// # Errors
    /// [`Error::Mask`], [`Error::StepOutput`], [`Error::Stdout`].
    pub fn deliver(&mut self, minted: &Minted, index: &Index) -> Result<()> {
        mask(minted.token.reveal(), self.masks)?;
        match &mut self.target {
            Target::StepOutput { path, file } => {
                append(path, file, minted).map_err(|error| Error::StepOutput { path: printable(path), error })
            }
            Target::Stdout(format) => {
                let text = match format {
                    Format::Token => format!("{}\n", minted.token.reveal()),
                    Format::Env => env_lines(minted, index),
                    Format::Json => json_object(minted, index),
                };
                let mut stdout = io::stdout();
                stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Error::Stdout)
            }
        }
    }
}

/// Has GitHub hide the ID token in the log. Call it as soon as there is one.
///
/// # Errors
/// [`Error::Mask`]
pub fn mask_id_token(id_token: &IdToken, env: &Env) -> Result<()> {
    mask(id_token.reveal(), env.on_github())
}

fn mask(secret: &str, on_github: bool) -> Result<()> {
    if on_github { log::to_stderr(&workflow::mask(secret)).map_err(Error::Mask) } else { Ok(()) }
}

impl fmt::Display for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.target {
            Target::StepOutput { .. } => "as the step output api-token",
            Target::Stdout(_) => "on stdout",
        })
    }
}

fn printable(path: &Path) -> String {
    workflow::neutralise(&path.to_string_lossy(), 300)
}

/// True where stdout is /dev/null. Rust opens that where the caller closed stdout (library/std/src/sys/pal/unix), so
/// that writing there would look like a success.
#[cfg(unix)]
fn stdout_leads_nowhere() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    let stdout = io::stdout().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    let null = fs::metadata("/dev/null");
    matches!((stdout, null), (Ok(stdout), Ok(null)) if (stdout.dev(), stdout.ino()) == (null.dev(), null.ino()))
}

#[cfg(not(unix))]
fn stdout_leads_nowhere() -> bool {
    false
}

/// Opens a file to append to it. A pipe or a device is refused: opening one could wait for ever.
fn open_regular_file(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|data| !data.is_file()) {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600); // should there be no file yet
    options.append(true).create(true).open(path)
}

/// Appends both step outputs, or leaves the file as it was: a mask would not hide half a token.
fn append(path: &Path, file: &mut File, minted: &Minted) -> io::Result<()> {
    let mut lines = String::new();
    if lacks_line_break(path) {
        // Else our line would become the tail of the value before it.
        lines.push('\n');
    }
    lines.push_str(&workflow::output("api-token", minted.token.reveal()));
    if let Some(expires) = minted.expires_unix_secs {
        lines.push_str(&workflow::output("expires", &expires.to_string()));
    }
    let length_before = file.metadata()?.len();
    file.write_all(lines.as_bytes()).inspect_err(|_| {
        let _ = file.set_len(length_before);
    })
}

/// True where the file's last line was not ended. What can't be read is taken to be in order.
fn lacks_line_break(path: &Path) -> bool {
    let last_byte = || {
        let mut file = File::open(path)?;
        let mut byte = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut byte).map(|()| byte)
    };
    last_byte().is_ok_and(|byte| byte != *b"\n")
}

/// What upload clients read, credentials and index alike, so that none sends the token to another index.
/// Each name was looked up in the client's documentation.
fn env_lines(minted: &Minted, index: &Index) -> String {
    let (token, upload_url) = (minted.token.reveal(), &index.upload_url());
    let expires = minted.expires_unix_secs.map(|secs| secs.to_string());
    let mut variables = vec![
        ("TWINE_USERNAME", "__token__"),
        ("TWINE_PASSWORD", token),
        ("TWINE_REPOSITORY_URL", upload_url),
        ("UV_PUBLISH_TOKEN", token),
        ("UV_PUBLISH_URL", upload_url),
        ("FLIT_USERNAME", "__token__"),
        ("FLIT_PASSWORD", token),
        ("FLIT_INDEX_URL", upload_url),
        ("HATCH_INDEX_USER", "__token__"),
        ("HATCH_INDEX_AUTH", token),
        ("HATCH_INDEX_REPO", upload_url),
        ("PDM_PUBLISH_USERNAME", "__token__"),
        ("PDM_PUBLISH_PASSWORD", token),
        ("PDM_PUBLISH_REPO", upload_url),
        ("MATURIN_PYPI_TOKEN", token),
        ("MATURIN_REPOSITORY_URL", upload_url),
        ("TOKEN_MINT_API_TOKEN", token),
    ];
    if index.is_pypi() {
        // Poetry's variable is for PyPI alone: with another index's token in it, that token would go to PyPI.
        variables.push(("POETRY_PYPI_TOKEN_PYPI", token));
    }
    variables.extend(expires.as_deref().map(|expires| ("TOKEN_MINT_EXPIRES", expires)));
    variables.iter().map(|(name, value)| format!("export {name}={}\n", shell_quote(value))).collect()
}

/// In single quotes nothing is special to a POSIX shell but the single quote itself.
fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Neither a token nor an origin has a character that JSON would want escaped.
fn json_object(minted: &Minted, index: &Index) -> String {
    let expires = minted.expires_unix_secs.map_or("null".to_owned(), |secs| secs.to_string());
    let token = minted.token.reveal();
    format!("{{\"token\":\"{token}\",\"expires\":{expires},\"index\":\"{}\"}}\n", index.origin())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ApiToken;

    fn minted() -> Minted {
        Minted { token: ApiToken::new("pypi-x".to_owned()).unwrap(), expires_unix_secs: Some(1_790_000_000) }
    }

    #[test]
    fn poetrys_variable_is_set_for_pypi_alone() {
        let lines = |index| env_lines(&minted(), &Index::parse(index).unwrap());
        assert!(lines("pypi").contains("export POETRY_PYPI_TOKEN_PYPI='pypi-x'\n"));
        for index in ["testpypi", "https://example.org"] {
            assert!(!lines(index).contains("POETRY"), "{index}");
        }
    }

    #[test]
    fn quotes_in_an_upload_url_stay_inside_their_quotes() {
        let lines = env_lines(&minted(), &Index::parse("https://example.org/a';touch$IFS'b").unwrap());
        assert!(lines.contains("export UV_PUBLISH_URL='https://example.org/a'\\'';touch$IFS'\\''b'\n"), "{lines}");
    }
}
