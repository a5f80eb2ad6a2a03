//! The README and the pages of `docs` agree with the program, and their links work.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::{env, fs};

use crate::harness::{ScriptedServer, Step, UNREACHABLE_URL, output};
use crate::stand_in::{Setup, StandIn};

const README: &str = include_str!("../../README.md");
const CLI: &str = include_str!("../../docs/cli.md");
const OTHER_CI: &str = include_str!("../../docs/other-ci.md");
pub const RELIABILITY: &str = include_str!("../../docs/reliability.md");
const TROUBLESHOOTING: &str = include_str!("../../docs/troubleshooting.md");

#[test]
fn the_docs_show_the_help_as_it_is() {
    let help = Step::bare().args(&["--help"]).run().stdout;
    assert!(help.len() > 500 && CLI.contains(&help), "{help}");
}

#[test]
fn the_docs_show_claims_as_they_are() {
    let servers = StandIn::start(Setup::default());
    let step =
        Step::of(&servers).env("TOKEN_MINT_INDEX", "pypi").args(&["claims", "--offline", "--project", "sampleproject"]);
    let outcome = step.run_with(&servers);
    outcome.assert_done();
    let shown = format!("$ token-mint claims --offline --project sampleproject\n{}```", outcome.messages());
    assert!(CLI.contains(&shown), "{shown}");
}

/// The value of a line `key: value` in a block of YAML.
fn value<'a>(block: &'a str, key: &str) -> &'a str {
    block
        .lines()
        .find_map(|line| line.trim_start_matches([' ', '-']).strip_prefix(key)?.strip_prefix(':'))
        .unwrap()
        .trim()
}

/// Runs commands as the shell of a CI system does. `pip` and `twine` are scripts: twine prints what it gets.
fn in_job(step: Step, servers: &StandIn, command: &str) {
    let step = step.with_program("pip", "echo \"pip $*\" >&2");
    let step = step.with_program("twine", "echo \"twine $* with $TWINE_PASSWORD for $TWINE_REPOSITORY_URL\"");
    let step = step.with_program("token-mint", "exec \"$EXE\" \"$@\"");
    let exe = step.command().get_program().to_str().unwrap().to_owned();
    let step = step.env("EXE", &exe).env("TOKEN_MINT_INDEX", &servers.index.url("/legacy/"));
    let output = output(&mut step.command_in_shell(command));
    let expected =
        format!("twine upload dist/* with {} for {}\n", servers.api_tokens().concat(), servers.index.url("/legacy/"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(servers.revoked().len(), 1);
}

fn yaml(start: &str) -> &'static str {
    OTHER_CI.split("```yaml\n").find(|block| block.starts_with(start)).unwrap().split("```").next().unwrap()
}

/// The commands of a job: the first installs this version of token-mint, the second runs it.
fn commands(job: &str) -> String {
    let lines = job.lines().map(|line| line.trim_start_matches([' ', '-']));
    let commands: Vec<&str> =
        lines.filter(|line| line.starts_with("pip ") || line.starts_with("token-mint ")).collect();
    let install = format!("pip install token-mint=={} ", env!("CARGO_PKG_VERSION"));
    let [first, second] = commands[..] else { panic!("{job}") };
    assert!(first.starts_with(&install) && second.starts_with("token-mint "), "{job}");
    commands.join("\n")
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn the_gitlab_job_publishes() {
    let job = yaml("publish:\n  image:");
    let servers = StandIn::start(Setup::default());
    let lines: Vec<&str> = job.lines().map(str::trim).collect();
    let variable = lines[lines.iter().position(|line| *line == "id_tokens:").unwrap() + 1].trim_end_matches(':');
    let id_token = servers.id_token(value(job, "aud"));
    let step = Step::bare().env("CI", "true").env("GITLAB_CI", "true").env(variable, &id_token);
    in_job(step, &servers, &commands(job));
}

#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn the_other_jobs_run_commands_that_work() {
    for start in ["steps:\n  - name: python", "steps:\n  - label", "jobs:\n  publish:\n    docker"] {
        let servers = StandIn::start(Setup::default());
        let command = commands(yaml(start)).replace("--index https://INDEX ", "");
        let step =
            Step::bare().env("MY_ID_TOKEN", &servers.id_token("pypi")).env("TOKEN_MINT_ID_TOKEN_ENV", "MY_ID_TOKEN");
        in_job(step, &servers, &command);
    }
    let command = OTHER_CI.split('`').find(|code| code.starts_with("token-mint --id-token-env")).unwrap();
    let servers = StandIn::start(Setup::default());
    in_job(Step::bare().env("MY_ID_TOKEN", &servers.id_token("pypi")), &servers, command);
}

/// The README has four examples.
#[test]
#[cfg_attr(windows, ignore = "it runs scripts for sh")]
fn the_readmes_command_lines_work() {
    let block = README.split("```sh\n").find(|block| block.starts_with("token-mint -- ")).unwrap();
    let lines: Vec<&str> = block.split("```").next().unwrap().lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in lines {
        let servers = StandIn::start(Setup { audience: "testpypi", ..Setup::default() });
        let pypi = StandIn::start(Setup::default());
        // The stand-in's URL replaces `testpypi`.
        let (line, servers) = match line.contains("testpypi") {
            true => (line.replace("testpypi", &servers.index.url("/legacy/")), servers),
            false => (line.to_owned(), pypi),
        };
        let step = Step::of(&servers)
            .with_program("twine", "[ \"$1\" = upload ]")
            .with_program("token-mint", "exec \"$EXE\" \"$@\"");
        let exe = step.command().get_program().to_str().unwrap().to_owned();
        let step = step.env("EXE", &exe);
        let ended = output(&mut step.command_in_shell(&format!("{line}\n[ \"$?\" = 0 ] || exit 1; echo \"$token\"")));
        assert!(ended.status.success(), "{line}: {ended:?}");
        let minted = servers.api_tokens().concat();
        assert_eq!(minted.is_empty(), line.contains("claims"), "{line}");
        let shown = if line.contains("--format") { minted } else { String::new() };
        assert_eq!(String::from_utf8_lossy(&ended.stdout).trim(), shown, "{line}");
    }
}

#[test]
fn the_docs_list_the_ci_systems_in_their_order() {
    let outcome = Step::bare().env("CI", "true").env("TOKEN_MINT_INDEX", UNREACHABLE_URL).run();
    let listed = outcome.stderr.split("a CI system is recognised by a variable: ").nth(1).unwrap();
    let rows: Vec<&str> =
        OTHER_CI.lines().skip_while(|line| !line.starts_with("| CI system |")).skip(2).take(5).collect();
    let mut at = 0;
    for row in rows {
        let variable = row.split('`').nth(1).unwrap();
        at += listed[at..].find(variable).unwrap_or_else(|| panic!("{variable} is not next in {listed}"));
    }
}

#[test]
fn the_docs_list_failures_by_the_words_that_they_begin_with() {
    let github = ScriptedServer::replying(200, r#"{"value":"a.b.c"}"#);
    let broken = ScriptedServer::replying(500, "");
    for step in [
        Step::bare().args(&["--index", "nonsense"]),
        Step::bare().args(&["--nonsense"]),
        Step::bare().args(&["twine", "upload"]),
        Step::bare(),
        Step::bare().env("CI", "true"),
        Step::on_github(),
        Step::bare().env("GITLAB_CI", "true"),
        Step::bare().env("BUILDKITE", "true").env("PATH", "/nonexistent").env("TOKEN_MINT_AUDIENCE", "pypi"),
        Step::bare().args(&["--id-token-env", "MISSING"]),
        Step::on_github().args(&["burn"]),
        Step::bare().env("GITLAB_CI", "true").args(&["--", "no-such-tool"]),
        Step::with_endpoints(&broken.url(), UNREACHABLE_URL),
        Step::with_endpoints(&github.url(), &broken.url()),
    ] {
        let outcome = step.run();
        let error = outcome.stderr.lines().find_map(|line| line.strip_prefix("token-mint: error: ")).unwrap();
        // A section names one or two statuses. Its messages are in its title and in lines that begin with "Also".
        let listed = TROUBLESHOOTING
            .split("\n### ")
            .filter(|section| {
                section.contains(&format!("Exit status {}", outcome.status))
                    || section.contains(&format!(", or {} if", outcome.status))
            })
            .flat_map(|section| section.lines().enumerate())
            .filter(|(at, line)| *at == 0 || line.starts_with("Also "))
            .flat_map(|(_, line)| line.split('`'))
            .filter_map(|words| Some(words.trim_end_matches('…').trim_end()).filter(|words| words.len() >= 8))
            .any(|words| error.starts_with(words));
        assert!(listed, "no section of status {} begins as {error:?}", outcome.status);
    }
}

/// The README, the pages of `docs`, and the project's own pages.
fn pages() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![top.join("README.md")];
    for folder in ["docs", ".github"] {
        let files = fs::read_dir(top.join(folder)).unwrap().map(|file| file.unwrap().path());
        pages.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    pages
}

/// The text of a page without its code blocks.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap();
    text.split("```").step_by(2).collect()
}

/// The anchors that GitHub gives to a page's headings.
fn anchors(page: &Path) -> BTreeSet<String> {
    let headings = prose(page)
        .lines()
        .filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim().to_owned()))
        .collect::<Vec<_>>();
    let anchor = |heading: String| {
        let anchor =
            heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
        anchor.replace(' ', "-")
    };
    headings.into_iter().map(anchor).collect()
}

/// The targets of a page's links and images.
fn targets(page: &Path) -> Vec<String> {
    let text = prose(page);
    let of = |before: &str, after: char| -> Vec<String> {
        text.split(before).skip(1).filter_map(|rest| Some(rest.split_once(after)?.0.to_owned())).collect()
    };
    [of("](", ')'), of("]: ", '\n'), of("srcset=\"", '"'), of("src=\"", '"')].concat()
}

#[test]
fn each_link_between_the_pages_leads_somewhere() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut links = 0;
    for page in pages() {
        for target in targets(&page).iter().filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let mut path = page.clone();
            if !file.is_empty() {
                path.pop();
            }
            for part in Path::new(file).components() {
                match part {
                    Component::ParentDir => drop(path.pop()),
                    part => path.push(part),
                }
            }
            if path.starts_with(top) {
                links += 1;
                assert!(path.exists(), "{} has a link to {target}, which is not there", page.display());
                assert!(
                    anchor.is_empty() || anchors(&path).contains(anchor),
                    "{}: no heading for {target}",
                    page.display()
                );
            } else {
                let site = ["releases", "issues", "security", "actions"];
                assert!(
                    site.iter().any(|name| file.trim_start_matches("../").starts_with(name)),
                    "{}: {target}",
                    page.display()
                );
            }
        }
    }
    assert!(links > 50, "{links}");
}

#[test]
fn each_page_is_linked_and_says_what_it_is_for() {
    let all: String = pages().iter().flat_map(|page| targets(page)).map(|target| format!("{target}\n")).collect();
    for page in pages().iter().filter(|page| page.parent().unwrap().ends_with("docs")) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(fs::read_to_string(page).unwrap().starts_with("This page "), "{name}");
        assert!(all.contains(name), "no page has a link to {name}");
    }
    assert!(README.lines().count() <= 180);
}
