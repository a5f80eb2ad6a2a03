//! The README's workflow runs as it stands there, with each of its upload steps, and says what action.yml says.

use std::fs;

use crate::job::{ACTION, Job, TOP, executable};

fn readme() -> String {
    fs::read_to_string(format!("{TOP}/README.md")).unwrap()
}

/// The first block of code that begins so.
fn block<'a>(readme: &'a str, start: &str) -> &'a str {
    let block = readme.split("```yaml\n").find(|block| block.starts_with(start)).unwrap();
    block.split("```").next().unwrap()
}

/// Runs the README's workflow with this in place of the step that uses the action. The upload tool is one that writes down
/// what it is told and the variables that it would read.
fn publish(steps: Option<&str>) -> (Job, String) {
    let readme = readme();
    let workflow = block(&readme, "name: Release");
    let start = workflow.find("      - uses: OWNER/token-mint-action@COMMIT").unwrap();
    let workflow = format!("{}{}", &workflow[..start], steps.unwrap_or(&workflow[start..]));

    let job = Job::new();
    let index = format!("          index: {}\n", job.servers.index.url("/legacy/"));
    let uses = format!("uses: {ACTION}\n");
    let with = format!("{uses}        with:\n");
    // Each step that uses the action gets the stand-in as its index.
    let workflow = workflow.replace("uses: OWNER/token-mint-action@COMMIT\n", &uses);
    let workflow = workflow.replace(&with, &uses).replace(&uses, &format!("{with}{index}"));

    let bin = job.dir.path().join("bin");
    let log = job.dir.path().join("pipx.log");
    let pipx = format!(
        "#!/bin/sh\n{{ echo \"$*\"; env | grep -E '^(TWINE|POETRY|UV|FLIT|HATCH|PDM|MATURIN)_' || :; }} >>'{}'\n",
        log.display()
    );
    executable(&bin.join("pipx"), pipx.as_bytes());
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let job = job.path(path.as_ref()).workflow(&workflow);
    let outcome = job.run();
    assert!(outcome.green, "{outcome}");
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(job.servers.api_tokens().len(), 1);
    assert_eq!(job.servers.burned().len(), 1, "{outcome}");
    (job, log)
}

#[test]
fn the_readmes_workflow_hands_the_token_to_the_upload_tool() {
    let (job, log) = publish(None);
    assert!(log.starts_with("run build\nrun twine upload dist/*\n"), "{log}");
    let password = format!("TWINE_PASSWORD={}", job.servers.api_tokens()[0]);
    assert!(log.lines().any(|line| line == password), "{log}");
}

#[test]
fn so_do_its_commands_for_other_upload_tools() {
    let readme = readme();
    let table = readme.split("| tool | `run:` |\n").nth(1).unwrap().lines().skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = table.map(|row| row.split('`').nth(1).unwrap()).collect();
    assert_eq!(commands.len(), 6, "{commands:?}");
    let step = block(&readme, "name: Release");
    let step = &step[step.find("      - uses: OWNER/").unwrap()..];
    for command in commands {
        let (job, log) = publish(Some(&step.replace("pipx run twine upload dist/*", command)));
        let token = &job.servers.api_tokens()[0];
        let tool = command.split(' ').nth(2).unwrap().to_uppercase();
        assert!(log.contains(command.strip_prefix("pipx ").unwrap()), "{log}");
        assert!(log.lines().any(|line| line.starts_with(&tool) && line.ends_with(&format!("={token}"))), "{log}");
    }
}

#[test]
fn so_does_its_step_output_with_each_of_its_upload_steps() {
    let readme = readme();
    let steps = block(&readme, "      - id: mint");
    let (job, log) = publish(Some(steps));
    let token = &job.servers.api_tokens()[0];
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    let password = format!("TWINE_PASSWORD={token}");
    assert_eq!(lines, [&password, "TWINE_USERNAME=__token__", "run build", "run twine upload dist/*"]);

    let (start, end) = (steps.find("      - run:").unwrap(), steps.find("      - if:").unwrap());
    let blocks = readme.split("```yaml\n").filter(|block| block.starts_with("      - run: pipx run "));
    let uploads: Vec<&str> = blocks.map(|block| block.split("```").next().unwrap()).collect();
    assert_eq!(uploads.len(), 4, "{uploads:?}");
    for upload in uploads {
        let (job, log) = publish(Some(&format!("{}{upload}{}", &steps[..start], &steps[end..])));
        let token = &job.servers.api_tokens()[0];
        let command = upload.lines().next().unwrap().trim_start_matches("      - run: pipx ");
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
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split(':').next())
        .collect();
    assert_eq!(names, ["index", "audience", "project", "timeout", "command", "run", "burn", "api-token", "expires"]);
    for name in names {
        assert!(readme.contains(&format!("\n| `{name}` | ")), "{name}");
    }
    let messages = [
        "can't download",
        "has the SHA-256",
        "no token-mint is pinned here for",
        "there is no token-mint for",
        "curl is needed to fetch ",
        "can't write to",
        "sha256sum or shasum is needed",
        "the inputs command, run and burn are for steps of their own",
        "the input command is mint, check or claims",
    ];
    assert_eq!(action.matches("fail \"").count(), messages.len(), "each message is listed here, and in the README");
    for message in messages {
        assert!(action.contains(message), "{message}");
        assert!(readme.lines().any(|line| line.starts_with("| `") && line.contains(message)), "{message}");
    }
}
