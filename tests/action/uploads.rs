//! The inputs `run`, for a whole release in one step, `burn`, for a last step, and `command`.

use std::fs;
use std::process::Command;

use crate::job::{ACTION, Job, Outcome, busybox, run, workflow};
use crate::stand_in::Setup;

/// A job with these commands as the input `run`, each on its own line.
fn running(job: Job, commands: &[&str]) -> Job {
    let with = format!("index: {}\n          run: |", job.servers.index.url("/legacy/"));
    let with = commands.iter().fold(with, |with, command| format!("{with}\n            {command}"));
    job.with(&with)
}

#[test]
fn commands_get_the_token_which_is_revoked_after_them_and_is_no_output() {
    let job = Job::new();
    let seen = job.dir.path().join("uploaded");
    let save = format!(
        "printf '%s' \"$UV_PUBLISH_TOKEN $UV_PUBLISH_URL $ACTIONS_ID_TOKEN_REQUEST_TOKEN\" >'{}'",
        seen.display()
    );
    let job = running(job, &["echo 'it''s' \"a $((1 + 1))\"", &save]);
    let outcome = job.run();
    assert!(outcome.green, "{outcome}");
    assert_eq!([&*outcome.outcome, &outcome.api_token, &outcome.expires], ["success", "", ""], "{outcome}");
    let token = &job.servers.api_tokens()[0];
    let upload_url = job.servers.index.url("/legacy/");
    assert_eq!(fs::read_to_string(seen).unwrap(), format!("{token} {upload_url} "));
    assert_eq!(&job.servers.revoked()[0].0, token);
    assert_eq!(job.servers.requests().last().unwrap(), "POST /_/oidc/burn-token");
    assert!(outcome.log.contains("its a 2"), "{outcome}");
}

#[test]
fn a_command_that_fails_ends_the_step_and_has_the_token_revoked() {
    let job = Job::new();
    let marker = job.dir.path().join("went on");
    let job = running(job, &["false", &format!("touch '{}'", marker.display())]);
    let outcome = job.run();
    assert!(!outcome.green && outcome.outcome == "failure", "{outcome}");
    assert!(!marker.exists(), "{outcome}");
    assert_eq!(job.servers.revoked().len(), 1);
}

#[test]
fn busybox_is_enough_to_run_commands() {
    let job = running(Job::new(), &["test -n \"$TWINE_PASSWORD\" && echo uploaded"]);
    let path = busybox(job.dir.path().join("bin"), &[]);
    let job = job.path(&path);
    let outcome = job.run();
    assert!(outcome.green && outcome.log.contains("uploaded"), "{outcome}");
    assert_eq!(job.servers.revoked().len(), 1);
}

/// To cancel a job, a runner sends signals to the first process of the step. That has to be token-mint.
#[test]
fn token_mint_replaces_the_shell_that_the_runner_has_started() {
    let parent_of = |pid: &str| format!("$(sed -n 's/^PPid:[[:blank:]]*//p' /proc/{pid}/status)");
    let show = format!("echo \"started by $(cat /proc/{}/comm)\"", parent_of("$PPID"));
    let job = running(Job::new(), &[&show]);
    let outcome = job.run();
    assert!(
        outcome.green && outcome.log.contains("started by ") && !outcome.log.contains("started by sh"),
        "{outcome}"
    );
}

/// The action limits the size of files during its download.
#[test]
fn the_limit_of_the_download_does_not_hold_for_commands() {
    let job = Job::new();
    let seen = job.dir.path().join("limit");
    let job = running(job, &[&format!("ulimit -f >'{}'", seen.display())]);
    let outcome = job.run();
    assert!(outcome.green && job.downloads().len() == 1, "{outcome}");
    assert_eq!(fs::read_to_string(seen).unwrap(), run(Command::new("sh").args(["-c", "ulimit -f"])));
}

/// A job with the index and these inputs, as YAML.
fn with_inputs(inputs: &[&str]) -> Job {
    let job = Job::new();
    let index = format!("index: {}", job.servers.index.url("/"));
    job.with(&inputs.iter().fold(index, |with, input| format!("{with}\n          {input}")))
}

#[test]
fn inputs_of_different_kinds_of_steps_can_not_be_combined() {
    for inputs in [
        ["run: echo ran away", "burn: pypi-x"],
        ["run: echo ran away", "burn: ''"],
        ["run: echo ran away", "command: check"],
        ["run: echo ran away", "command: claims"],
        ["burn: pypi-x", "command: check"],
        ["burn: ''", "command: claims"],
    ] {
        with_inputs(&inputs)
            .assert_stops_before_minting(&["the inputs command, run and burn are for steps of their own"]);
    }
}

#[test]
fn an_unknown_command_is_refused_with_a_list_of_the_known_ones() {
    for command in ["burn", "Mint", "''", "'check '", "mint,none,"] {
        let job = with_inputs(&[&format!("command: {command}")]);
        job.assert_stops_before_minting(&["the input command is mint, check or claims"]);
    }
}

#[test]
fn a_release_can_be_rehearsed() {
    let job = with_inputs(&["command: check"]);
    let outcome = job.run();
    assert!(outcome.green && outcome.log.contains("a release from it would work"), "{outcome}");
    assert_eq!([&*outcome.outcome, &outcome.api_token, &outcome.expires], ["success", "", ""], "{outcome}");
    assert_eq!((job.servers.api_tokens().len(), job.servers.revoked().len()), (1, 1), "{outcome}");
}

#[test]
fn a_job_can_show_its_claims() {
    let job = with_inputs(&["command: claims"]);
    let outcome = job.run();
    assert!(outcome.green && outcome.log.contains("Workflow name "), "{outcome}");
    assert_eq!(job.servers.api_tokens(), Vec::<String>::new(), "{outcome}");
}

#[test]
fn the_command_does_not_run_without_a_token() {
    let job = Job::of(Setup { publisher: None, ..Setup::default() });
    running(job, &["echo ran away"]).assert_fails(&["invalid-publisher"]);
}

/// Runs a job that fails after it has minted, and revokes the token in its last step. If `mint` is false, it mints
/// nothing.
fn mint_and_burn(mint: bool) -> (Job, Outcome) {
    let job = Job::new();
    let index = job.servers.index.url("/legacy/");
    let workflow = workflow(&format!(
        "      - id: mint
        if: {mint}
        uses: {ACTION}
        with:
          index: {index}
      - run: test -n '${{{{ steps.mint.outputs.api-token }}}}' && exit 1
        shell: sh
      - if: always()
        uses: {ACTION}
        with:
          index: {index}
          burn: ${{{{ steps.mint.outputs.api-token }}}}
"
    ));
    let job = job.workflow(&workflow);
    let outcome = job.run();
    (job, outcome)
}

#[test]
fn a_last_step_revokes_the_token_even_if_the_upload_failed() {
    let (job, outcome) = mint_and_burn(true);
    assert!(!outcome.green, "{outcome}");
    assert_eq!((job.servers.api_tokens().len(), job.servers.revoked().len()), (1, 1), "{outcome}");
    assert!(outcome.log.contains("has accepted the API token for revocation"), "{outcome}");
}

#[test]
fn a_last_step_with_nothing_to_revoke_mints_nothing() {
    let (job, outcome) = mint_and_burn(false);
    assert!(outcome.log.contains("there is no API token to revoke"), "{outcome}");
    assert_eq!(job.servers.requests(), Vec::<String>::new(), "{outcome}");
}
