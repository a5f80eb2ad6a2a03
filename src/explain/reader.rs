//! An explanation in the reader's words: a user of the action knows its inputs, not the options. Only the action sets
//! `TOKEN_MINT_DOCS`, to the address of the folder `docs`.

use crate::cli::{OPTIONS, OptionRow};
use crate::env::Env;
use crate::error::{Error, Kind};
use crate::explain::Explanation;
use crate::text::shown;

/// The explanation of a failure. For users of the action, it has a link to the documentation of such failures.
pub fn of_failure(error: Error, env: &Env) -> Explanation {
    let section = match error.kind {
        Kind::Usage => "configuration",
        Kind::NoIdentity => "no-identity",
        Kind::Refused => "the-index-refused",
        Kind::Trouble => "network-and-servers",
        Kind::NoHandOver => "handing-over",
        Kind::Signal(_) => "signals",
    };
    let docs = env.get("TOKEN_MINT_DOCS").map(shown);
    let mut explanation = worded(*error.explanation, env);
    explanation.hints.extend(docs.map(|docs| format!("more on this: {docs}/troubleshooting.md#{section}")));
    explanation
}

/// The explanation in words that the reader knows.
pub fn worded(mut explanation: Explanation, env: &Env) -> Explanation {
    if env.is_set("TOKEN_MINT_DOCS") {
        let Explanation { fact, causes, hints, .. } = &mut explanation;
        let causes = causes.iter_mut().map(|cause| &mut cause.text);
        for text in [fact].into_iter().chain(causes).chain(hints) {
            *text = with_inputs(text);
        }
    }
    explanation
}

/// The text with the action's inputs in place of the options, variables and commands: `--index testpypi` becomes
/// `` `index:` testpypi``.
fn with_inputs(text: &str) -> String {
    let mut text = text.to_owned();
    for OptionRow { name, variable, .. } in OPTIONS.iter().filter(|row| row.is_input) {
        let input = format!("`{}:`", name.trim_start_matches('-'));
        text = text.replace(&format!("{variable}:"), &input).replace(variable, &input).replace(name, &input);
    }
    text.replace("token-mint check", "`command:` check").replace("token-mint claims", "`command:` claims")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_leads_to_a_section_of_the_page() {
        let env = Env::from([("TOKEN_MINT_DOCS", "https://github.com/o/r/blob/v1/docs")]);
        let page = include_str!("../../docs/troubleshooting.md").to_lowercase().replace(' ', "-");
        for kind in [Kind::Usage, Kind::NoIdentity, Kind::Refused, Kind::Trouble, Kind::NoHandOver, Kind::Signal(15)] {
            let hints = of_failure(Error::new(kind, "x"), &env).hints;
            let link =
                hints.last().and_then(|hint| hint.strip_prefix("more on this: https://github.com/o/r/blob/v1/docs/"));
            let section = link.and_then(|link| link.strip_prefix("troubleshooting.md#")).unwrap();
            assert!(page.contains(&format!("\n##-{section}\n")), "{section}");
        }
        assert!(of_failure(Error::new(Kind::Usage, "x"), &Env::from([])).hints.is_empty());
    }

    #[test]
    fn in_the_action_a_text_names_inputs() {
        let action = include_str!("../../action.yml");
        for row in OPTIONS.iter().filter(|row| !row.variable.is_empty()) {
            let input = row.name.trim_start_matches('-');
            let is_input = action.contains(&format!("{}: ${{{{ inputs.{input} }}}}\n", row.variable));
            assert_eq!(row.is_input, is_input, "{}", row.name);
        }
        for (text, with_inputs) in [
            ("name it: --index testpypi", "name it: `index:` testpypi"),
            ("check --index; or leave --audience out", "check `index:`; or leave `audience:` out"),
            ("TOKEN_MINT_TIMEOUT: a whole number", "`timeout:` a whole number"),
            ("with TOKEN_MINT_PROJECT, you get", "with `project:`, you get"),
            ("use token-mint claims, or token-mint check", "use `command:` claims, or `command:` check"),
            ("use --format token or --id-token-env", "use --format token or --id-token-env"),
        ] {
            assert_eq!(super::with_inputs(text), with_inputs);
        }
    }
}
