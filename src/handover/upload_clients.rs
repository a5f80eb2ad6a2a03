//! The variables that upload clients read: for the API token, and for the index.
//!
//! Each row was looked up in the client's documentation and source. `make test-clients` runs each client: twine 7, uv
//! 0.13, flit 4, hatch 1.18, PDM 2.29, maturin 1.16, Poetry 2.5.

use crate::env::{API_TOKEN, Env};
use crate::error::Result;
use crate::explain::messages;
use crate::index::Index;
use crate::index_api::Minted;

/// The variables that an upload client reads.
///
/// An option of COMMAND may name another index than the one that the token is for. Then the upload has to fail. With a
/// client whose option wins, the other index gets to see the token, and refuses it; it is revoked when COMMAND has
/// ended. So the index is given in a variable that does not win over the option: no upload goes elsewhere than the user
/// says.
struct Client {
    /// Variable for the user name.
    user: Option<&'static str>,
    /// Variable for the API token.
    token: &'static str,
    /// Variable for an API token of PyPI and of no other index.
    pypi_token: Option<&'static str>,
    /// Variable for the index's URL.
    url: &'static str,
    /// Variable for the name of an index in the client's configuration, if that is not `url`.
    name: Option<&'static str>,
    /// The client's names for PyPI and TestPyPI.
    names: Option<[&'static str; 2]>,
    /// Variables that would contradict ours.
    unset: &'static [&'static str],
}

const CLIENT: Client = Client { user: None, token: "", pypi_token: None, url: "", name: None, names: None, unset: &[] };

#[rustfmt::skip]
const CLIENTS: [Client; 7] = [
    // The URL wins over the option `--repository`, the name does not.
    Client { user: Some("TWINE_USERNAME"), token: "TWINE_PASSWORD", url: "TWINE_REPOSITORY_URL", name: Some("TWINE_REPOSITORY"),
        names: Some(["pypi", "testpypi"]), ..CLIENT },
    // The URL and the option `--index` together are an error.
    Client { token: "UV_PUBLISH_TOKEN", url: "UV_PUBLISH_URL", name: Some("UV_PUBLISH_INDEX"),
        unset: &["UV_PUBLISH_USERNAME", "UV_PUBLISH_PASSWORD"], ..CLIENT },
    // The URL and the option `--repository` together are an error.
    Client { user: Some("FLIT_USERNAME"), token: "FLIT_PASSWORD", url: "FLIT_INDEX_URL", ..CLIENT },
    // The option wins.
    Client { user: Some("HATCH_INDEX_USER"), token: "HATCH_INDEX_AUTH", url: "HATCH_INDEX_REPO",
        names: Some(["main", "test"]), ..CLIENT },
    // The option wins.
    Client { user: Some("PDM_PUBLISH_USERNAME"), token: "PDM_PUBLISH_PASSWORD", url: "PDM_PUBLISH_REPO",
        names: Some(["pypi", "testpypi"]), ..CLIENT },
    // In older versions, the URL wins as twine's does. Now the URL and the option `--repository` together are an error.
    Client { token: "MATURIN_PYPI_TOKEN", url: "MATURIN_REPOSITORY_URL", name: Some("MATURIN_REPOSITORY"),
        names: Some(["pypi", "testpypi"]), ..CLIENT },
    // The token and the URL are those of the repository `token-mint` (`poetry publish -r token-mint`).
    Client { token: "POETRY_PYPI_TOKEN_TOKEN_MINT", url: "POETRY_REPOSITORIES_TOKEN_MINT_URL",
        pypi_token: Some("POETRY_PYPI_TOKEN_PYPI"), ..CLIENT },
];

impl Client {
    /// The client's name for this index.
    fn name_of(&self, index: &Index) -> Option<&'static str> {
        let [pypi, testpypi] = self.names?;
        if index.is_pypi() { Some(pypi) } else { index.is_testpypi().then_some(testpypi) }
    }
}

/// The variables for COMMAND. They name the index, too: without an option that names another one, each client uploads
/// there. A variable without a value has to be unset. If the user has set a URL of the same index, it stays: its path
/// may differ from ours.
pub fn variables(minted: &Minted, index: &Index, env: &Env) -> Vec<(&'static str, Option<String>)> {
    let token = || minted.token.reveal().to_owned();
    let mut variables = vec![];
    for client in &CLIENTS {
        variables.extend(client.user.map(|variable| (variable, Some("__token__".to_owned()))));
        variables.push((client.token, Some(token())));
        variables.extend(client.pypi_token.map(|variable| (variable, index.is_pypi().then(token))));
        if let (Some(variable), Some(name)) = (client.name, client.name_of(index)) {
            variables.extend([(variable, Some(name.to_owned())), (client.url, None)]);
        } else {
            let users_url = env.text(client.url).ok().flatten().filter(|value| is_url_of(index, value));
            variables.push((client.url, Some(users_url.map_or_else(|| index.upload_url(), str::to_owned))));
            variables.extend(client.name.map(|variable| (variable, None)));
        }
        variables.extend(client.unset.iter().map(|variable| (*variable, None)));
    }
    variables.push((API_TOKEN, Some(token())));
    variables.push(("TOKEN_MINT_EXPIRES", minted.expires_unix_secs.map(|secs| secs.to_string())));
    variables
}

/// Checks that no variable names another index: the user may expect the upload to go there.
pub fn check_index(index: &Index, env: &Env) -> Result<()> {
    for client in &CLIENTS {
        let name_variable = client.name.unwrap_or(client.url);
        for variable in [client.url, name_variable] {
            let name = client.name_of(index).filter(|_| variable == name_variable);
            let agrees = |value: &str| Some(value) == name || is_url_of(index, value);
            if env.get(variable).is_some_and(|value| !value.to_str().is_some_and(agrees)) {
                return Err(messages::other_index(variable, index));
            }
        }
    }
    Ok(())
}

fn is_url_of(index: &Index, value: &str) -> bool {
    value.contains("://") && Index::parse(value).is_ok_and(|named| named.is_same_as(index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ApiToken;
    use std::collections::HashMap;

    fn of(index: &str) -> HashMap<&'static str, Option<String>> {
        of_job(index, &Env::from([]))
    }

    fn of_job(index: &str, env: &Env) -> HashMap<&'static str, Option<String>> {
        let minted = Minted {
            token: ApiToken::new("pypi-x".to_owned()).unwrap(),
            expires_unix_secs: Some(1_790_000_000),
            has_bad_expiry: false,
        };
        let variables = variables(&minted, &Index::parse(index).unwrap(), env);
        let count = variables.len();
        let variables: HashMap<_, _> = variables.into_iter().collect();
        assert_eq!(variables.len(), count, "one is there twice");
        variables
    }

    fn index_variables() -> impl Iterator<Item = &'static str> {
        CLIENTS.iter().flat_map(|client| [Some(client.url), client.name]).flatten()
    }

    #[test]
    fn poetrys_variable_for_pypi_is_set_for_pypi_alone() {
        let variable = "POETRY_PYPI_TOKEN_PYPI";
        assert_eq!(of("pypi")[variable].as_deref(), Some("pypi-x"));
        for index in ["testpypi", "https://example.org"] {
            assert_eq!(of(index)[variable], None, "{index}");
        }
    }

    #[test]
    fn each_client_is_told_of_an_index_in_one_variable_and_the_other_is_unset() {
        let urls = [
            ("pypi", "https://upload.pypi.org/legacy/"),
            ("testpypi", "https://test.pypi.org/legacy/"),
            ("https://example.org/upload", "https://example.org/upload"),
        ];
        for (index, upload_url) in urls {
            let variables = of(index);
            for client in &CLIENTS {
                let by_name = client.name.and_then(|name| variables[name].as_deref());
                let by_url = variables[client.url].as_deref();
                let is_told_by_name = index == by_name.unwrap_or_default();
                assert!(is_told_by_name || by_name.is_none() && by_url == Some(upload_url), "{index}, {}", client.url);
                let url_wins = ["TWINE_REPOSITORY_URL", "MATURIN_REPOSITORY_URL"].contains(&client.url);
                let is_known = ["pypi", "testpypi"].contains(&index);
                assert_eq!(is_told_by_name, url_wins && is_known, "{index}, {}", client.url);
                assert_eq!(is_told_by_name, by_url.is_none(), "{index}, {}", client.url);
            }
        }
    }

    #[test]
    fn a_variable_that_names_another_index_is_an_error_and_one_that_agrees_is_not() {
        let checked = |index: &str, variable: &'static str, value: &str| match check_index(
            &Index::parse(index).unwrap(),
            &Env::from([(variable, value)]),
        ) {
            Ok(()) => true,
            Err(error) if error.to_string().starts_with(&format!("{variable}: it names another index than ")) => false,
            Err(other) => panic!("{other}"),
        };
        for variable in index_variables() {
            assert!(checked("pypi", variable, ""), "{variable}");
            assert!(checked("pypi", variable, "https://upload.pypi.org/legacy/"), "{variable}");
            assert!(checked("pypi", variable, "https://upload.pypi.org:443/legacy/"), "{variable}");
            assert!(checked("https://a.example", variable, "https://a.example/some/path"), "{variable}");
            for other in ["https://test.pypi.org/legacy/", "https://pypi.org.example", "nonsense"] {
                assert!(!checked("pypi", variable, other), "{variable}={other}");
            }
            assert!(!checked("testpypi", variable, "https://upload.pypi.org/legacy/"), "{variable}");
        }
        for (variable, pypi, testpypi) in [
            ("TWINE_REPOSITORY", "pypi", "testpypi"),
            ("HATCH_INDEX_REPO", "main", "test"),
            ("PDM_PUBLISH_REPO", "pypi", "testpypi"),
            ("MATURIN_REPOSITORY", "pypi", "testpypi"),
        ] {
            assert!(checked("pypi", variable, pypi) && checked("testpypi", variable, testpypi), "{variable}");
            assert!(!checked("pypi", variable, testpypi) && !checked("testpypi", variable, pypi), "{variable}");
            assert!(!checked("https://a.example", variable, pypi), "{variable}");
        }
        assert!(!checked("pypi", "TWINE_REPOSITORY_URL", "pypi"), "a name is no URL");
        assert!(!checked("pypi", "UV_PUBLISH_INDEX", "pypi"), "the name is the user's own");
    }

    #[test]
    fn a_longer_path_at_the_right_index_stays() {
        let variables = |url: &str| {
            let env = [("UV_PUBLISH_URL", url), ("TWINE_REPOSITORY_URL", url), ("PDM_PUBLISH_REPO", "pypi")];
            of_job("https://example.org", &Env::from(env))
        };
        let (ours, longer) = (Some("https://example.org/legacy/"), "https://example.org/a/b");
        for (url, expected) in [(longer, Some(longer)), ("https://example.com/a", ours), ("example.org", ours)] {
            let variables = variables(url);
            for variable in ["UV_PUBLISH_URL", "TWINE_REPOSITORY_URL"] {
                assert_eq!(variables[variable].as_deref(), expected, "{variable}");
            }
            assert_eq!(
                (variables["PDM_PUBLISH_REPO"].as_deref(), variables["FLIT_INDEX_URL"].as_deref()),
                (ours, ours)
            );
        }
        let env = Env::from([("TWINE_REPOSITORY_URL", "https://upload.pypi.org/legacy/")]);
        assert_eq!(of_job("pypi", &env)["TWINE_REPOSITORY_URL"], None, "it is told by name");
    }
}
