//! `--format env` in every common shell, `--format json` in jq, and `-- COMMAND` in a shell.

use crate::harness::{Step, wrapped};
use crate::stand_in::{Setup, StandIn};

const SHELLS: [&[&str]; 5] = [&["sh"], &["dash"], &["busybox", "sh"], &["bash"], &["zsh"]];

/// Runs a script in a shell and returns its stdout. The script runs token-mint as `"$0" "$@"`.
fn in_shell(shell: &[&str], step: &Step, script: &str) -> String {
    let mut command = wrapped(&[shell, &["-c", script]].concat(), &step.command());
    let output = command.env("PATH", "/usr/bin:/bin").output().unwrap();
    assert!(output.status.success(), "{shell:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_env_format_evaluates_in_every_shell() {
    let servers = StandIn::start(Setup::default());
    let hostile = servers.index.url("/legacy/'$(touch${IFS}broken)`touch${IFS}broken`\"!!;*~\\\\n'");
    for shell in SHELLS {
        let step = Step::of(&servers).args(&["--format", "env", "--index", &hostile]);
        let script = "set -eu; eval \"$(\"$0\" \"$@\")\"; env; ls";
        let printed = in_shell(shell, &step, script);
        let token = servers.api_tokens().last().unwrap().clone();
        assert!(!printed.lines().any(|printed| printed == "broken"), "{shell:?}: {printed}");
        for line in [format!("UV_PUBLISH_URL={hostile}"), format!("TWINE_PASSWORD={token}")] {
            assert!(printed.lines().any(|printed| printed == line), "{shell:?}: no {line} in {printed}");
        }
    }
}

#[test]
fn the_json_format_is_read_by_jq() {
    let servers = StandIn::start(Setup::default());
    let step = Step::of(&servers).args(&["--format", "json"]);
    let printed = in_shell(&["sh"], &step, "\"$0\" \"$@\" | jq -r '.token, (.expires | type), .index'");
    assert_eq!(printed, format!("{}\nnumber\n{}\n", servers.api_tokens()[0], servers.index.url("")));
}

#[test]
fn a_command_leaves_nothing_in_the_shell_that_started_it() {
    let servers = StandIn::start(Setup::default());
    for shell in SHELLS {
        let step = Step::of(&servers).args(&["--", "true"]);
        let printed =
            in_shell(shell, &step, "before=$(env); \"$0\" \"$@\"; test \"$before\" = \"$(env)\" && echo same");
        assert_eq!(printed, "same\n", "{shell:?}");
    }
}
