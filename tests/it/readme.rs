//! The README says what the program says.

use crate::harness::{NOWHERE, Raw, Step};
use crate::stand_in::{Setup, StandIn};

const README: &str = include_str!("../../README.md");

#[test]
fn the_readme_shows_the_help_as_it_is() {
    let help = Step::bare().args(&["--help"]).run().stdout;
    assert!(help.len() > 500 && README.contains(&help), "{help}");
}

#[test]
fn the_readme_shows_claims_as_they_are() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).env("TOKEN_MINT_INDEX", "pypi").args(&["claims", "--project", "sampleproject"]);
    let outcome = step.run_with(&servers);
    outcome.assert_done();
    let shown = format!("$ token-mint claims --project sampleproject\n{}```", outcome.said());
    assert!(README.contains(&shown), "{shown}");
}

#[test]
fn the_readme_lists_failures_by_the_words_that_they_begin_with() {
    let github = Raw::replying(200, r#"{"value":"a.b.c"}"#);
    let broken = Raw::replying(500, "");
    for step in [
        Step::bare().args(&["--index", "nonsense"]),
        Step::bare().args(&["--nonsense"]),
        Step::bare(),
        Step::on_github(),
        Step::bare().env("GITLAB_CI", "true"),
        Step::with_endpoints(&broken.url(), NOWHERE),
        Step::with_endpoints(&github.url(), &broken.url()),
    ] {
        let outcome = step.run();
        let error = outcome.stderr.lines().find_map(|line| line.strip_prefix("token-mint: error: ")).unwrap();
        let listed = README
            .lines()
            .filter(|line| line.starts_with(&format!("| {} |", outcome.status)))
            .flat_map(|line| line.split('`'))
            .filter_map(|words| Some(words.trim_end_matches('…').trim_end()).filter(|words| words.len() >= 8))
            .any(|words| error.starts_with(words));
        assert!(listed, "no row of status {} begins as {error:?}", outcome.status);
    }
}
