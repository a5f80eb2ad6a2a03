//! What upload clients read: the variables that carry an API token, and those that name the index it is for.
//!
//! Each name was looked up in the client's documentation, and each client is run by `make test-clients`: twine 7, uv 0.13,
//! flit 4, hatch 1.18, PDM 2.29, maturin 1.16, Poetry 2.5.

use std::ffi::OsString;

use crate::env::{API_TOKEN, Env};
use crate::error::{Error, Result, SettingFlaw};
use crate::index::{Index, Minted};

/// The variables in which an index can be named, with the names that the client has for PyPI and TestPyPI.
const INDEX_VARIABLES: [(&str, [&str; 2]); 10] = [
    ("TWINE_REPOSITORY_URL", ["", ""]),
    ("TWINE_REPOSITORY", ["pypi", "testpypi"]),
    ("UV_PUBLISH_URL", ["", ""]),
    ("UV_PUBLISH_INDEX", ["", ""]),
    ("FLIT_INDEX_URL", ["", ""]),
    ("HATCH_INDEX_REPO", ["main", "test"]),
    ("PDM_PUBLISH_REPO", ["pypi", "testpypi"]),
    ("MATURIN_REPOSITORY_URL", ["", ""]),
    ("MATURIN_REPOSITORY", ["pypi", "testpypi"]),
    ("POETRY_REPOSITORIES_TOKEN_MINT_URL", ["", ""]),
];

/// What says the same as our variables in another way. Some clients take both for a contradiction. Poetry's is a stored
/// token for PyPI, where that is not the index: it is set anew below where it is.
pub const SUPERSEDED: [&str; 6] = [
    "TWINE_REPOSITORY",
    "UV_PUBLISH_INDEX",
    "UV_PUBLISH_USERNAME",
    "UV_PUBLISH_PASSWORD",
    "MATURIN_REPOSITORY",
    "POETRY_PYPI_TOKEN_PYPI",
];

/// The options in which clients take a repository's name or URL. twine prefers its variable to the option, and would upload
/// to PyPI what was told to go to TestPyPI.
const INDEX_OPTIONS: [&str; 4] = ["-r", "--repository", "--repository-url", "--publish-url"];

/// Credentials and index alike, so that no client sends the token to another index.
///
/// Poetry's variable for PyPI holds PyPI's token only: it can name no other index. For any index there is the repository
/// `token-mint` (`poetry publish -r token-mint`).
pub fn variables(minted: &Minted, index: &Index) -> Vec<(&'static str, String)> {
    let (token, upload_url) = (minted.token.reveal().to_owned(), index.upload_url());
    let user = "__token__".to_owned();
    let mut variables = vec![
        ("TWINE_USERNAME", user.clone()),
        ("TWINE_PASSWORD", token.clone()),
        ("TWINE_REPOSITORY_URL", upload_url.clone()),
        ("UV_PUBLISH_TOKEN", token.clone()),
        ("UV_PUBLISH_URL", upload_url.clone()),
        ("FLIT_USERNAME", user.clone()),
        ("FLIT_PASSWORD", token.clone()),
        ("FLIT_INDEX_URL", upload_url.clone()),
        ("HATCH_INDEX_USER", user.clone()),
        ("HATCH_INDEX_AUTH", token.clone()),
        ("HATCH_INDEX_REPO", upload_url.clone()),
        ("PDM_PUBLISH_USERNAME", user),
        ("PDM_PUBLISH_PASSWORD", token.clone()),
        ("PDM_PUBLISH_REPO", upload_url.clone()),
        ("MATURIN_PYPI_TOKEN", token.clone()),
        ("MATURIN_REPOSITORY_URL", upload_url.clone()),
        ("POETRY_PYPI_TOKEN_TOKEN_MINT", token.clone()),
        ("POETRY_REPOSITORIES_TOKEN_MINT_URL", upload_url),
    ];
    if index.is_pypi() {
        variables.push(("POETRY_PYPI_TOKEN_PYPI", token.clone()));
    }
    variables.push((API_TOKEN, token));
    variables.extend(minted.expires_unix_secs.map(|secs| ("TOKEN_MINT_EXPIRES", secs.to_string())));
    variables
}

/// Checks that neither a variable nor an option in a command's words names another index than this one: whoever wrote it
/// would be surprised by where the upload goes.
///
/// # Errors
/// [`Error::Setting`] for the first one that does.
pub fn check_index(index: &Index, words: &[OsString], env: &Env) -> Result<()> {
    let other = |place: &'static str| {
        let flaw = SettingFlaw::OtherIndex { wanted: index.to_string() };
        Err(Error::Setting { place: place.into(), flaw })
    };
    for (variable, names) in INDEX_VARIABLES {
        let Some(value) = env.get(variable) else { continue };
        if !value.to_str().is_some_and(|value| is_named(index, value, names)) {
            return other(variable);
        }
    }
    // A shell's script is one word with many in it.
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut words = words.iter().flat_map(|word| word.split(char::is_whitespace)).peekable();
    while let Some(word) = words.next() {
        for option in INDEX_OPTIONS {
            let value = match word.strip_prefix(option) {
                Some("") => words.peek().copied(),
                Some(joined) => joined.strip_prefix('='),
                None => None,
            };
            let value = value.map(|value| value.trim_matches(['"', '\'']));
            // Any other name is the user's own.
            let names_one = |value: &str| ["pypi", "testpypi"].contains(&value) || value.contains("://");
            if value.is_some_and(|value| names_one(value) && !is_named(index, value, ["pypi", "testpypi"])) {
                return other(option);
            }
        }
    }
    Ok(())
}

/// True if this is the index that `value` names, by its URL or by a client's name for it.
fn is_named(index: &Index, value: &str, [pypi, testpypi]: [&str; 2]) -> bool {
    (index.is_pypi() && value == pypi)
        || (index.is_testpypi() && value == testpypi)
        || (value.contains("://") && Index::parse(value).is_ok_and(|named| named.is_same_as(index)))
}

/// True if the user has set this variable, to the URL of the right index by [`check_index`]; it may be a longer path than
/// ours, so it stays.
pub fn is_users_url(variable: &str, env: &Env) -> bool {
    let has_url = || env.text(variable).ok().flatten().is_some_and(|value| value.contains("://"));
    INDEX_VARIABLES.iter().any(|(name, _)| *name == variable) && has_url()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ApiToken;

    fn of(index: &str) -> Vec<(&'static str, String)> {
        let minted =
            Minted { token: ApiToken::new("pypi-x".to_owned()).unwrap(), expires_unix_secs: Some(1_790_000_000) };
        variables(&minted, &Index::parse(index).unwrap())
    }

    #[test]
    fn poetrys_variable_for_pypi_is_set_for_pypi_alone() {
        let token = ("POETRY_PYPI_TOKEN_PYPI", "pypi-x".to_owned());
        assert!(of("pypi").contains(&token));
        for index in ["testpypi", "https://example.org"] {
            assert!(!of(index).contains(&token), "{index}");
        }
    }

    #[test]
    fn each_variable_that_names_an_index_is_set_or_superseded() {
        let set = of("https://example.org/upload");
        for (variable, _) in INDEX_VARIABLES {
            let ours = set.contains(&(variable, "https://example.org/upload".to_owned()));
            assert_ne!(ours, SUPERSEDED.contains(&variable), "{variable}");
        }
    }

    #[test]
    fn a_variable_that_names_another_index_is_an_error_and_one_that_agrees_is_not() {
        let checked = |index: &str, variable: &'static str, value: &str| match check_index(
            &Index::parse(index).unwrap(),
            &[],
            &Env::from([(variable, value)]),
        ) {
            Ok(()) => true,
            Err(Error::Setting { place, flaw: SettingFlaw::OtherIndex { .. } }) if place == variable => false,
            Err(other) => panic!("{other}"),
        };
        for (variable, _) in INDEX_VARIABLES {
            assert!(checked("pypi", variable, ""), "{variable}");
            assert!(checked("pypi", variable, "https://upload.pypi.org/legacy/"), "{variable}");
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
        assert!(!checked("pypi", "UV_PUBLISH_INDEX", "pypi"), "the name is the user's own");
    }

    #[test]
    fn an_option_that_names_another_index_is_an_error_wherever_it_stands() {
        let checked = |index: &str, words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            check_index(&Index::parse(index).unwrap(), &words, &Env::from([])).is_ok()
        };
        for words in [
            &["twine", "upload", "-r", "testpypi", "dist/*"][..],
            &["twine", "upload", "--repository=testpypi"],
            &["sh", "-ec", "python -m build\npipx run twine upload --repository 'testpypi' dist/*"],
            &["uv", "publish", "--publish-url", "https://test.pypi.org/legacy/"],
            &["maturin", "upload", "--repository-url=https://example.org/"],
        ] {
            assert!(!checked("pypi", words), "{words:?}");
        }
        for words in [
            &["twine", "upload", "-r", "pypi"][..],
            &["poetry", "publish", "-r", "token-mint"],
            &["sh", "-c", "pip install -r requirements.txt && twine upload -r"],
            &["uv", "publish", "--publish-url", "https://upload.pypi.org/legacy/", "--repository"],
            &["twine", "--repositoryx=testpypi", "-rtestpypi"],
        ] {
            assert!(checked("pypi", words), "{words:?}");
        }
        assert!(checked("testpypi", &["twine", "upload", "-r", "testpypi"]));
        assert!(!checked("https://example.org", &["twine", "upload", "-r", "pypi"]));
    }

    #[test]
    fn a_longer_path_at_the_right_index_stays() {
        let env = Env::from([("UV_PUBLISH_URL", "https://example.org/a/b"), ("PDM_PUBLISH_REPO", "pypi")]);
        assert!(is_users_url("UV_PUBLISH_URL", &env));
        assert!(!is_users_url("PDM_PUBLISH_REPO", &env) && !is_users_url("FLIT_INDEX_URL", &env));
    }
}
