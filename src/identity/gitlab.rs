//! GitLab CI/CD: the job declares an ID token under `id_tokens:` and the variable that holds it (GitLab Docs, "ID token
//! authentication"). By convention, the variable is named after the audience (PyPI Docs, "Publishing with a Trusted
//! Publisher").

use super::id_token_in;
use crate::env::Env;
use crate::error::Result;
use crate::explain::messages;
use crate::secret::IdToken;
use crate::text::shown;

/// The ID token that the job has declared for `audience`.
pub fn id_token(audience: &str, env: &Env) -> Result<IdToken> {
    let variable = variable(audience);
    id_token_in(env, &variable)?.ok_or_else(|| messages::no_gitlab_token(&shown(&variable), &shown(audience)))
}

/// The variable that the job has to declare: for the audience `pypi`, `PYPI_ID_TOKEN`.
pub fn variable(audience: &str) -> String {
    let mut name = audience.to_ascii_uppercase();
    name = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.replace_range(..1, "_");
    }
    format!("{name}_ID_TOKEN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_named_after_the_audience() {
        for (audience, name) in [
            ("pypi", "PYPI_ID_TOKEN"),
            ("testpypi", "TESTPYPI_ID_TOKEN"),
            ("https://example.org", "HTTPS___EXAMPLE_ORG_ID_TOKEN"),
            ("3x", "_X_ID_TOKEN"),
            ("\u{e4}_1", "__1_ID_TOKEN"),
        ] {
            assert_eq!(variable(audience), name);
        }
    }

    #[test]
    fn the_message_about_a_missing_id_token_is_short_and_repeats_no_secret() {
        let said = |audience: &str| id_token(audience, &Env::from([])).err().unwrap().to_string();
        assert!(said(&"a".repeat(60_000)).chars().count() < 800);
        let misplaced = said("pypi-AgEIcHlwaS5vcmc");
        assert!(misplaced.contains("audience ***") && !misplaced.contains("AgEIcHlwaS5vcmc"), "{misplaced}");
    }
}
