//! `with: {run: …}`: a whole release in one step; and `with: {burn: …}` for a step that comes last.

use std::fs;
use std::process::Command;

use crate::job::{ACTION, Job, Outcome, busybox, run, workflow};
use crate::stand_in::Setup;

/// A job that runs these commands, one a line.
fn running(job: Job, commands: &[&str]) -> Job {
    let with = format!("index: {}\n          run: |", job.servers.index.url("/legacy/"));
    let with = commands.iter().fold(with, |with, command| format!("{with}\n            {command}"));
    job.with(&with)
}

#[test]
fn commands_run_with_the_token_which_is_revoked_after_them_and_is_no_output() {
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
fn a_command_that_fails_ends_the_step_and_the_token() {
    let job = Job::new();
    let marker = job.dir.path().join("went on");
    let job = running(job, &["false", &format!("touch '{}'", marker.display())]);
    let outcome = job.run();
    assert!(!outcome.green && outcome.outcome == "failure", "{outcome}");
    assert!(!marker.exists(), "{outcome}");
    assert_eq!(job.servers.revoked().len(), 1);
}

#[test]
fn commands_run_where_there_is_only_busybox() {
    let job = running(Job::new(), &["test -n \"$TWINE_PASSWORD\" && echo uploaded"]);
    let path = busybox(job.dir.path().join("bin"), &[]);
    let job = job.path(&path);
    let outcome = job.run();
    assert!(outcome.green && outcome.log.contains("uploaded"), "{outcome}");
    assert_eq!(job.servers.revoked().len(), 1);
}

/// A runner that cancels a job sends its signals to the step's first process: that has to be token-mint by now.
#[test]
fn no_shell_stands_between_the_runner_and_token_mint() {
    let parent_of = |pid: &str| format!("$(sed -n 's/^PPid:[[:blank:]]*//p' /proc/{pid}/status)");
    let show = format!("echo \"started by $(cat /proc/{}/comm)\"", parent_of("$PPID"));
    let job = running(Job::new(), &[&show]);
    let outcome = job.run();
    assert!(
        outcome.green && outcome.log.contains("started by ") && !outcome.log.contains("started by sh"),
        "{outcome}"
    );
}

/// The download is bounded, what is uploaded is not.
#[test]
fn a_commands_files_may_be_as_large_as_before() {
    let job = Job::new();
    let seen = job.dir.path().join("limit");
    let job = running(job, &[&format!("ulimit -f >'{}'", seen.display())]);
    let outcome = job.run();
    assert!(outcome.green && job.downloads().len() == 1, "{outcome}");
    assert_eq!(fs::read_to_string(seen).unwrap(), run(Command::new("sh").args(["-c", "ulimit -f"])));
}

/// These inputs, as YAML, and the index.
fn with_inputs(inputs: &[&str]) -> Job {
    let job = Job::new();
    let index = format!("index: {}", job.servers.index.url("/"));
    job.with(&inputs.iter().fold(index, |with, input| format!("{with}\n          {input}")))
}

#[test]
fn a_step_does_not_upload_nothing_and_stay_green() {
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
fn a_job_can_show_what_to_enter_in_the_form() {
    let job = with_inputs(&["command: claims"]);
    let outcome = job.run();
    assert!(outcome.green && outcome.log.contains("Workflow name "), "{outcome}");
    assert_eq!(job.servers.api_tokens(), Vec::<String>::new(), "{outcome}");
}

/// A refused job runs nothing, and says why.
#[test]
fn the_command_does_not_run_without_a_token() {
    let job = Job::of(Setup { publisher: None, ..Setup::default() });
    running(job, &["echo ran away"]).assert_fails(&["invalid-publisher"]);
}

/// A job that mints, if it is told to, then fails, and revokes in a last step.
fn minting_and_burning(mint: bool) -> (Job, Outcome) {
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
fn a_last_step_revokes_the_token_though_the_upload_failed() {
    let (job, outcome) = minting_and_burning(true);
    assert!(!outcome.green, "{outcome}");
    assert_eq!((job.servers.api_tokens().len(), job.servers.revoked().len()), (1, 1), "{outcome}");
    assert!(outcome.log.contains("has accepted the API token for revocation"), "{outcome}");
}

#[test]
fn a_last_step_with_nothing_to_revoke_mints_nothing() {
    let (job, outcome) = minting_and_burning(false);
    assert!(outcome.log.contains("there is no API token to revoke"), "{outcome}");
    assert_eq!(job.servers.requests(), Vec::<String>::new(), "{outcome}");
}
