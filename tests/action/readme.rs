//! The README's workflow runs as it stands there, with each of its upload steps, and says what action.yml says.

use std::fs;

use crate::job::{ACTION, Job, TOP, executable};

fn readme() -> String {
    fs::read_to_string(format!("{TOP}/README.md")).unwrap()
}

/// Runs the workflow with another last step, or its own. The upload tool is one that writes down what it is told and the
/// variables that it would read.
fn publish(upload: Option<&str>) -> (Job, String) {
    let readme = readme();
    let workflow = readme.split("```yaml\n").find(|block| block.starts_with("name: Release")).unwrap();
    let workflow = workflow.split("```").next().unwrap();
    let uses = "        uses: OWNER/token-mint-action@COMMIT\n";
    assert!(workflow.contains(uses), "{workflow}");
    let job = Job::new();
    let index = job.servers.index.url("");
    let workflow =
        workflow.replace(uses, &format!("        uses: {ACTION}\n        with:\n          index: {index}\n"));
    let (steps, own) = workflow.split_at(workflow.rfind("      - run:").unwrap());
    let workflow = format!("{steps}{}", upload.unwrap_or(own));

    let bin = job.dir.path().join("bin");
    let log = job.dir.path().join("pipx.log");
    let pipx = format!(
        "#!/bin/sh\n{{ echo \"$*\"; env | grep -E '^(TWINE|POETRY|UV|FLIT|HATCH)_' || :; }} >>'{}'\n",
        log.display()
    );
    executable(&bin.join("pipx"), pipx.as_bytes());
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let job = job.path(path.as_ref()).workflow(&workflow);
    let outcome = job.run();
    assert!(outcome.green, "{outcome}");
    let log = fs::read_to_string(log).unwrap();
    (job, log)
}

#[test]
fn the_readmes_workflow_hands_the_token_to_the_upload_tool() {
    let (job, log) = publish(None);
    let token = &job.servers.api_tokens()[0];
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    let password = format!("TWINE_PASSWORD={token}");
    assert_eq!(lines, [&password, "TWINE_USERNAME=__token__", "run build", "run twine upload dist/*"]);
}

#[test]
fn so_do_its_other_upload_steps() {
    let readme = readme();
    let blocks = readme.split("```yaml\n").filter(|block| block.starts_with("      - run: pipx run "));
    let steps: Vec<&str> = blocks.map(|block| block.split("```").next().unwrap()).collect();
    assert_eq!(steps.len(), 4, "{steps:?}");
    for step in steps {
        let (job, log) = publish(Some(step));
        let token = &job.servers.api_tokens()[0];
        let command = step.lines().next().unwrap().trim_start_matches("      - run: pipx ");
        assert!(log.contains(command), "{log}");
        assert!(log.lines().any(|line| line.ends_with(&format!("={token}"))), "{log}");
    }
}

#[test]
fn the_action_can_be_read_in_one_sitting() {
    let action = fs::read_to_string(format!("{TOP}/action.yml")).unwrap();
    assert!(action.lines().count() <= 100 && action.lines().all(|line| line.len() <= 120), "{action}");
}

#[test]
fn the_readme_lists_inputs_outputs_and_failures_of_the_action() {
    let action = fs::read_to_string(format!("{TOP}/action.yml")).unwrap();
    let readme = readme();
    let section = |name: &str| action.split(&format!("\n{name}:\n")).nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<&str> = [section("inputs"), section("outputs")]
        .iter()
        .flat_map(|section| section.lines())
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.strip_suffix(':'))
        .collect();
    assert_eq!(names, ["index", "audience", "project", "timeout", "api-token", "expires"]);
    for name in names {
        assert!(readme.contains(&format!("\n| `{name}` | ")), "{name}");
    }
    let messages = [
        "can't download",
        "has the SHA-256",
        "no token-mint is pinned here for",
        "there is no token-mint for",
        "curl is needed to fetch ",
        "can't be written to",
        "sha256sum or shasum is needed",
    ];
    assert_eq!(action.matches("fail \"").count(), messages.len(), "each message is listed here, and in the README");
    for message in messages {
        assert!(action.contains(message), "{message}");
        assert!(readme.lines().any(|line| line.starts_with("| `") && line.contains(message)), "{message}");
    }
}
