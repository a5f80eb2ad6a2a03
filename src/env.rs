//! The environment as a value, which is read once at the start. Every function that depends on it has it as a
//! parameter.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

/// The API token, for COMMAND and for `token-mint burn`.
pub const API_TOKEN: &str = "TOKEN_MINT_API_TOKEN";
/// The URL of GitHub's ID token endpoint. It is only set with the permission `id-token: write`.
pub const REQUEST_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
/// The bearer token for that endpoint.
pub const REQUEST_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
/// The message about a value that has to be text.
pub const NOT_UTF8: &str = "its value is not UTF-8 text";

/// The environment variables, by their names as [`key`] returns them.
pub struct Env(HashMap<OsString, OsString>);

impl Env {
    /// A variable's value. `None` if it is unset or empty: the two mean the same here.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(&key(OsStr::new(name))).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// True if the variable is set, even to an empty value.
    pub fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(&key(OsStr::new(name)))
    }

    /// A variable's value, as text.
    ///
    /// # Errors
    /// [`NOT_UTF8`].
    pub fn text(&self, name: &str) -> Result<Option<&str>, &'static str> {
        self.get(name).map(|value| value.to_str().ok_or(NOT_UTF8)).transpose()
    }

    /// True in a job of GitHub Actions. Also true in a container that such a job starts with only the endpoint's
    /// variables: its output goes to the job's log, too, so it needs masks and annotations.
    pub fn on_github(&self) -> bool {
        self.is_true("GITHUB_ACTIONS") || [REQUEST_URL, REQUEST_TOKEN].iter().any(|name| self.get(name).is_some())
    }

    /// True if a variable says `true`, as CI systems mark their jobs.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value == "true")
    }
}

impl FromIterator<(OsString, OsString)> for Env {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Env {
        Env(variables.into_iter().map(|(name, value)| (key(&name), value)).collect())
    }
}

/// A variable's name for comparison. On Windows, upper and lower case are the same: most shells call `PATH` `Path`.
fn key(name: &OsStr) -> OsString {
    if cfg!(windows) { name.to_ascii_uppercase() } else { name.to_owned() }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Env {
    fn from(variables: [(&str, &str); N]) -> Env {
        variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_and_lower_case_are_the_same_on_windows_alone() {
        let env = Env::from([("Path", "x"), ("https_proxy", "y")]);
        for name in ["PATH", "path", "Https_Proxy"] {
            assert_eq!(env.get(name).is_some(), cfg!(windows), "{name}");
            assert_eq!(env.is_set(name), cfg!(windows), "{name}");
        }
        assert_eq!(env.get("Path"), Some(OsStr::new("x")));
    }
}
