//! The text of `--help`.

use crate::cli::{OPTIONS, OptionRow};

const USAGE: &str = "\
token-mint: mints a short-lived PyPI API token from this CI job's identity

usage: token-mint [OPTIONS] -- COMMAND [ARG]...
       token-mint [OPTIONS] [burn|check|claims]

commands:
  -- COMMAND  mint an API token, run COMMAND (an upload tool) with the token in
              its environment, and revoke the token when COMMAND has ended
  (none)      mint an API token and hand it over: in a GitHub job as the step
              outputs api-token and expires, elsewhere on stdout
  burn        revoke the API token in $TOKEN_MINT_API_TOKEN, or on stdin
  check       rehearse: mint an API token and revoke it at once
  claims      show this job's identity as the index will see it; mint nothing
";
const AFTER_OPTIONS: &str = "
In brackets: the variable to set instead of the option; the default.

examples:
  token-mint -- twine upload dist/*
  token-mint check --index testpypi
  token=$(token-mint --format token)

exit status:
  0        done
  2        wrong usage or configuration
  3        no identity: the CI system issued no ID token (permission missing?)
  4        the index refused, or would (claims)
  5        network or server trouble: run it again
  6        the API token could not be handed over
  128 + N  signal N ended it
  Once COMMAND has started, the exit status is COMMAND's.

The project on the index has to name this job as a trusted publisher. In
token-mint's repository, README.md says how to set that up, and
docs/troubleshooting.md lists all messages.
";

/// What `--help` prints, in lines of 80 columns at most.
pub fn text() -> String {
    let mut text = USAGE.to_owned();
    for OptionRow { name, letter, value, variable, default, heading, help, .. } in &OPTIONS {
        if !heading.is_empty() {
            text += &format!("\n{heading}:\n");
        }
        let joint = if letter.is_empty() { "" } else { ", " };
        let mut left = format!("{letter}{joint}{name} {value}");
        let source = match (*variable, *default) {
            ("", _) => String::new(),
            (variable, "") => format!("[{variable}]"),
            (variable, default) => format!("[{variable}; {default}]"),
        };
        for line in help.lines().chain(source.lines()) {
            text += &format!("  {left:27}{line}\n");
            left.clear();
        }
    }
    text + AFTER_OPTIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_has_80_columns_at_most_and_each_option_with_all_its_parts() {
        let help = text();
        for line in help.lines() {
            assert!(line.chars().count() <= 80 && line == line.trim_end(), "{line:?}");
        }
        for row in &OPTIONS {
            let block = help.split(&format!("{} {}", row.name, row.value)).nth(1).expect(row.name);
            let part = block.split("\n  -").next().unwrap();
            assert!([row.variable, row.default].iter().all(|piece| part.contains(piece)), "{part}");
            assert!(help.contains(&format!("  {}", row.letter)), "{}", row.letter);
        }
        assert!(help.find("usage: token-mint [OPTIONS] -- COMMAND").is_some_and(|at| at < 100), "{help}");
    }
}
