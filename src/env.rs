//! The environment as a value, read once at the start, so that every function that depends on it says so.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

/// The API token, for whoever was given it, and for `token-mint burn`.
pub const API_TOKEN: &str = "TOKEN_MINT_API_TOKEN";
/// GitHub's ID token endpoint; there only with the permission `id-token: write`.
pub const REQUEST_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
/// The bearer token for that endpoint.
pub const REQUEST_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
/// What is wrong with a value where text is needed.
pub const NOT_UTF8: &str = "its value is not UTF-8 text";

/// A snapshot of the environment's variables, by their names as [`key`] has them.
pub struct Env(HashMap<OsString, OsString>);

impl Env {
    /// A variable's value; `None` when it is unset or empty, which mean the same here.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(&key(OsStr::new(name))).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// True if there is such a variable, empty or not.
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

    /// True in a job of GitHub Actions: also in a container that such a job starts by itself and passes only the
    /// endpoint on to. What that prints ends up in the job's log, too, so masks and annotations are for it as well.
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

/// A variable's name as it is compared. On Windows, upper and lower case are the same there: most shells call `PATH`
/// `Path`.
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
