//! The README says what the program says.

use crate::harness::{NOWHERE, Raw, Step, output};
use crate::stand_in::{Setup, StandIn};

pub const README: &str = include_str!("../../README.md");

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

/// The value of a line `key: value` in a block of YAML.
fn value<'a>(block: &'a str, key: &str) -> &'a str {
    block
        .lines()
        .find_map(|line| line.trim_start_matches([' ', '-']).strip_prefix(key)?.strip_prefix(':'))
        .unwrap()
        .trim()
}

/// Runs `token-mint` and `twine` as a shell does in a step of a CI system. What twine was told is on stdout.
fn in_job(step: Step, servers: &StandIn, command: &str) {
    let step = step.with_program("twine", "echo \"twine $* with $TWINE_PASSWORD for $TWINE_REPOSITORY_URL\"");
    let step = step.with_program("token-mint", "exec \"$EXE\" \"$@\"");
    let exe = step.command().get_program().to_str().unwrap().to_owned();
    let step = step.env("EXE", &exe).env("TOKEN_MINT_INDEX", &servers.index.url("/legacy/"));
    let output = output(&mut step.command_in_shell(command));
    let told =
        format!("twine upload dist/* with {} for {}\n", servers.api_tokens().concat(), servers.index.url("/legacy/"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), told, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(servers.burned().len(), 1);
}

fn yaml(start: &str) -> &'static str {
    README.split("```yaml\n").find(|block| block.starts_with(start)).unwrap().split("```").next().unwrap()
}

#[test]
fn the_readmes_gitlab_job_publishes() {
    let job = yaml("publish:\n  rules:");
    let servers = StandIn::start(Setup::default());
    let lines: Vec<&str> = job.lines().map(str::trim).collect();
    let variable = lines[lines.iter().position(|line| *line == "id_tokens:").unwrap() + 1].trim_end_matches(':');
    let command = lines[lines.iter().position(|line| *line == "script:").unwrap() + 1].trim_start_matches("- ");
    let id_token = servers.id_token(value(job, "aud"));
    in_job(Step::bare().env("CI", "true").env("GITLAB_CI", "true").env(variable, &id_token), &servers, command);
}

#[test]
fn the_readmes_other_jobs_run_a_command_that_works() {
    for (start, key) in [
        ("steps:\n  - name: IMAGE", "script"),
        ("steps:\n  - label", "command"),
        ("jobs:\n  publish:\n    docker", "run"),
    ] {
        let servers = StandIn::start(Setup::default());
        let command = value(yaml(start), key).replace("--index https://INDEX ", "");
        let step =
            Step::bare().env("MY_ID_TOKEN", &servers.id_token("pypi")).env("TOKEN_MINT_ID_TOKEN_ENV", "MY_ID_TOKEN");
        in_job(step, &servers, &command);
    }
    let command = README.split('`').find(|code| code.starts_with("token-mint --id-token-env")).unwrap();
    let servers = StandIn::start(Setup::default());
    in_job(Step::bare().env("MY_ID_TOKEN", &servers.id_token("pypi")), &servers, command);
}

#[test]
fn the_readme_lists_the_ci_systems_in_their_order() {
    let outcome = Step::bare().env("TOKEN_MINT_INDEX", NOWHERE).run();
    let said = outcome.stderr.split("A CI system is recognised by a variable: ").nth(1).unwrap();
    let rows: Vec<&str> =
        README.lines().skip_while(|line| !line.starts_with("| CI system |")).skip(2).take(5).collect();
    let mut at = 0;
    for row in rows {
        let sign = row.split('`').nth(1).unwrap();
        at += said[at..].find(sign).unwrap_or_else(|| panic!("{sign} is not next in {said}"));
    }
}

#[test]
fn the_readme_lists_failures_by_the_words_that_they_begin_with() {
    let github = Raw::replying(200, r#"{"value":"a.b.c"}"#);
    let broken = Raw::replying(500, "");
    for step in [
        Step::bare().args(&["--index", "nonsense"]),
        Step::bare().args(&["--nonsense"]),
        Step::bare().args(&["twine", "upload"]),
        Step::bare(),
        Step::on_github(),
        Step::bare().env("GITLAB_CI", "true"),
        Step::bare().env("BUILDKITE", "true").env("PATH", "/nonexistent").env("TOKEN_MINT_AUDIENCE", "pypi"),
        Step::bare().args(&["--id-token-env", "MISSING"]),
        Step::on_github().args(&["burn"]),
        Step::bare().env("GITLAB_CI", "true").args(&["--", "no-such-tool"]),
        Step::with_endpoints(&broken.url(), NOWHERE),
        Step::with_endpoints(&github.url(), &broken.url()),
    ] {
        let outcome = step.run();
        let error = outcome.stderr.lines().find_map(|line| line.strip_prefix("token-mint: error: ")).unwrap();
        let listed = README
            .lines()
            .filter(|line| line.starts_with(&format!("| {}", outcome.status)))
            .flat_map(|line| line.split('`'))
            .filter_map(|words| Some(words.trim_end_matches('…').trim_end()).filter(|words| words.len() >= 8))
            .any(|words| error.starts_with(words));
        assert!(listed, "no row of status {} begins as {error:?}", outcome.status);
    }
}
