//! The workflows of the README and of docs/github-actions.md work, with each of their upload steps. The pages agree
//! with action.yml.

use std::fs;

use crate::job::{ACTION, Job, TOP, executable};

fn readme() -> String {
    page("README.md")
}

/// The page on the action.
fn docs() -> String {
    page("docs/github-actions.md")
}

fn page(name: &str) -> String {
    fs::read_to_string(format!("{TOP}/{name}")).unwrap()
}

/// The first block of YAML that begins with `start`.
fn block<'a>(page: &'a str, start: &str) -> &'a str {
    let block = page.split("```yaml\n").find(|block| block.starts_with(start)).unwrap();
    block.split("```").next().unwrap()
}

/// How the pages name the action.
const USES: &str = "uses: OWNER/token-mint-action@COMMIT # v0.1.0\n";

/// Runs the README's workflow. `steps` replace the step that uses the action.
fn publish(steps: Option<&str>) -> (Job, String) {
    let readme = readme();
    let workflow = block(&readme, "name: Release");
    let start = workflow.find(&format!("      - {USES}")).unwrap();
    run_workflow(&format!("{}{}", &workflow[..start], steps.unwrap_or(&workflow[start..])))
}

/// Runs a workflow that publishes once. The upload tool is a script that records its arguments and variables.
fn run_workflow(workflow: &str) -> (Job, String) {
    let job = Job::new();
    let index = format!("          index: {}\n", job.servers.index.url("/legacy/"));
    let uses = format!("uses: {ACTION}\n");
    let with = format!("{uses}        with:\n");
    // Each step that uses the action gets the stand-in as its index.
    let workflow = workflow.replace(USES, &uses);
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
    assert_eq!(job.servers.revoked().len(), 1, "{outcome}");
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
fn the_readmes_commands_for_other_upload_tools_get_the_token() {
    let (readme, docs) = (readme(), docs());
    let commands = |page: &'_ str| -> Vec<String> {
        let table = page.split("| tool | `run:` |\n").nth(1).unwrap().lines().skip(1);
        let rows = table.take_while(|line| !line.is_empty());
        rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect()
    };
    let mut listed = commands(&docs);
    listed.retain(|command| command != "pipx run twine upload dist/*"); // this command is in the workflow itself
    let commands = commands(&readme);
    let sorted = |commands: &[String]| commands.iter().cloned().collect::<std::collections::BTreeSet<_>>();
    assert!(commands.len() == 6 && sorted(&commands) == sorted(&listed), "{commands:?}, {listed:?}");
    let step = block(&readme, "name: Release");
    let step = &step[step.find("      - uses: OWNER/").unwrap()..];
    for command in commands {
        let (job, log) = publish(Some(&step.replace("pipx run twine upload dist/*", &command)));
        let token = &job.servers.api_tokens()[0];
        let tool = command.split(' ').nth(2).unwrap().to_uppercase();
        assert!(log.contains(command.strip_prefix("pipx ").unwrap()), "{log}");
        assert!(log.lines().any(|line| line.starts_with(&tool) && line.ends_with(&format!("={token}"))), "{log}");
    }
}

#[test]
fn the_docs_upload_steps_use_the_step_output() {
    let docs = docs();
    let steps = block(&docs, "      - id: mint");
    let (job, log) = publish(Some(steps));
    let token = &job.servers.api_tokens()[0];
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    let password = format!("TWINE_PASSWORD={token}");
    assert_eq!(lines, [&password, "TWINE_USERNAME=__token__", "run build", "run twine upload dist/*"]);

    let (start, end) = (steps.find("      - run:").unwrap(), steps.find("      - if:").unwrap());
    let blocks = docs.split("```yaml\n").map(|block| block.split("```").next().unwrap());
    let uploads: Vec<&str> =
        blocks.filter(|block| block.starts_with("      - run: ") && !block.contains(USES)).collect();
    assert_eq!(uploads.len(), 4, "{uploads:?}");
    for upload in uploads {
        let (job, log) = publish(Some(&format!("{}{upload}{}", &steps[..start], &steps[end..])));
        let token = &job.servers.api_tokens()[0];
        let command = upload.lines().next().unwrap().trim_start_matches("      - run: pipx ");
        assert!(log.contains(command), "{log}");
        assert!(log.lines().any(|line| line.ends_with(&format!("={token}"))), "{log}");
    }
}

/// `cp` replaces GitHub's two actions for artifacts, which need GitHub's servers.
#[test]
fn a_publish_job_publishes_the_files_of_the_build_job() {
    let docs = docs();
    let workflow = block(&docs, "name: Release");
    let between = tempfile::tempdir().unwrap();
    let between = between.path().display();
    let with = "\n        with:\n          name: dist\n          path: dist\n";
    let mut steps = workflow.to_owned();
    let hand_over = ["mkdir dist && touch dist/built && cp dist/built", "mkdir -p dist && cp -t dist"];
    for (name, copy) in ["upload", "download"].iter().zip(hand_over) {
        let start = steps.find(&format!("uses: actions/{name}-artifact@")).unwrap();
        let end = start + steps[start..].find(with).unwrap() + with.len();
        let copy = match *name {
            "upload" => format!("run: {copy} '{between}/'\n"),
            _ => format!("run: {copy} '{between}/built'\n"),
        };
        steps.replace_range(start..end, &copy);
    }
    let (_, log) = run_workflow(&steps);
    assert!(log.starts_with("run build==1.6.1\nrun twine==7.0.0 upload dist/built\n"), "{log}");
}

/// The signing tool is a script that records its arguments, as the real one needs Sigstore's servers. `make
/// test-clients` tests that twine and uv upload the signatures.
#[test]
fn a_step_that_signs_comes_before_the_upload() {
    let docs = docs();
    let (_, log) = publish(Some(block(&docs, "      - run: pipx run pypi-attestations")));
    let commands: Vec<&str> = log.lines().filter(|line| line.starts_with("run ")).collect();
    let sign = "run pypi-attestations==0.0.30 sign dist/*";
    assert_eq!(commands, ["run build", sign, "run twine==7.0.0 upload --attestations dist/*"]);
}

#[test]
fn the_action_can_be_read_in_one_sitting() {
    let action = fs::read_to_string(format!("{TOP}/action.yml")).unwrap();
    assert!(action.lines().count() <= 100 && action.lines().all(|line| line.len() <= 120), "{action}");
}

#[test]
fn the_docs_list_inputs_outputs_and_failures_of_the_action() {
    let action = page("action.yml");
    let (readme, docs, troubleshooting) = (readme(), docs(), page("docs/troubleshooting.md"));
    let section = |name: &str| action.split(&format!("\n{name}:\n")).nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<&str> = [section("inputs"), section("outputs")]
        .iter()
        .flat_map(|section| section.lines())
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split(':').next())
        .collect();
    assert_eq!(names, ["index", "audience", "project", "timeout", "command", "run", "burn", "api-token", "expires"]);
    for name in names {
        assert!(docs.contains(&format!("\n| `{name}` | ")), "{name}");
        let row = if section("inputs").contains(&format!("  {name}:")) {
            format!("\n| `{name}` | ")
        } else {
            format!("`{name}`")
        };
        assert!(readme.contains(&row), "{name}");
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
    assert_eq!(
        action.matches("fail \"").count(),
        messages.len(),
        "each message is listed here, and in docs/troubleshooting.md"
    );
    for message in messages {
        assert!(action.contains(message), "{message}");
        assert!(troubleshooting.lines().any(|line| line.starts_with("### `") && line.contains(message)), "{message}");
    }
}
