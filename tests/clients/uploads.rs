//! Real upload clients publish a small wheel to the stand-in index.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Outcome, Step};
use crate::stand_in::{Setup, StandIn};

pub const WHEEL: &str = "tiny_wheel-0.1.0-py3-none-any.whl";

/// All clients accept it.
const PYPROJECT: &str = r#"
[build-system]
requires = ["flit_core >=3.2,<5"]
build-backend = "flit_core.buildapi"

[project]
name = "tiny-wheel"
version = "0.1.0"
description = "A wheel to upload"
requires-python = ">=3.9"
"#;

/// A client's executable.
pub fn client(name: &str) -> PathBuf {
    let clients = std::env::var_os("CLIENTS").expect("CLIENTS names the folder that .ci/install-clients prints");
    PathBuf::from(clients).join(name).join("bin").join(name)
}

/// A step in a project with a wheel in `dist`.
pub fn in_project(step: Step) -> Step {
    let top = step.dir.path();
    std::fs::write(top.join("pyproject.toml"), PYPROJECT).unwrap();
    std::fs::write(top.join("tiny_wheel.py"), "\"\"\"A wheel to upload.\"\"\"\n").unwrap();
    let build = Command::new(client("flit")).args(["build", "--format", "wheel"]).current_dir(top).output().unwrap();
    assert!(build.status.success() && top.join("dist").join(WHEEL).exists(), "{build:?}");
    let home = top.join("home").to_str().unwrap().to_owned();
    // No keyring: there is none in a job.
    step.env("PATH", "/usr/bin:/bin").env("HOME", &home).env("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
}

#[track_caller]
fn assert_uploaded(servers: &StandIn, outcome: &Outcome, user_agent: &str) {
    outcome.assert_done();
    let [upload] = &servers.uploads()[..] else { panic!("{outcome}") };
    assert_eq!((upload.file_name.as_str(), &upload.token), (WHEEL, &servers.api_tokens()[0]), "{outcome}");
    assert!(upload.user_agent.to_lowercase().contains(user_agent), "{}: {outcome}", upload.user_agent);
}

/// Publishes with `token-mint -- CLIENT ARGUMENTS`.
fn publish(name: &str, arguments: &[&str], user_agent: &str) {
    let servers = StandIn::start(Setup::default());
    let step = in_project(Step::of(&servers)).args(&["--", client(name).to_str().unwrap()]).args(arguments);
    let outcome = step.run_with(&servers);
    assert_uploaded(&servers, &outcome, user_agent);
    assert_eq!(servers.revoked().len(), 1, "{outcome}");
    assert_eq!(servers.requests().last().unwrap(), "POST /_/oidc/burn-token");
}

#[test]
fn twine() {
    publish("twine", &["upload", &format!("dist/{WHEEL}")], "twine/");
}

#[test]
fn uv() {
    publish("uv", &["publish"], "uv/");
}

#[test]
fn flit() {
    publish("flit", &["publish", "--format", "wheel"], "python-requests/");
}

#[test]
fn hatch() {
    publish("hatch", &["publish", "--no-prompt"], "hatch/");
}

#[test]
fn pdm() {
    publish("pdm", &["publish", "--no-build"], "pdm/");
}

#[test]
fn maturin() {
    publish("maturin", &["upload", &format!("dist/{WHEEL}")], "maturin/");
}

#[test]
fn poetry() {
    publish("poetry", &["publish", "--no-interaction", "-r", "token-mint"], "poetry/");
}

/// As in docs/github-actions.md: the signatures are beside the files, and the upload tool sends them to the index.
#[test]
fn signatures_reach_the_index() {
    for (name, arguments) in [("twine", &["upload", "--attestations"][..]), ("uv", &["publish"])] {
        let servers = StandIn::start(Setup::default());
        let step = in_project(Step::of(&servers));
        let signature = format!("dist/{WHEEL}.publish.attestation");
        std::fs::write(step.dir.path().join(&signature), "{\"version\": 1}").unwrap();
        let wheel = format!("dist/{WHEEL}");
        let files = [wheel.as_str(), &signature];
        let step = step.args(&["--", client(name).to_str().unwrap()]).args(arguments).args(&files);
        let outcome = step.run_with(&servers);
        assert_uploaded(&servers, &outcome, name);
        let attestations: serde_json::Value =
            serde_json::from_str(servers.uploads()[0].attestations.as_deref().expect(name)).unwrap();
        assert_eq!(attestations, serde_json::json!([{"version": 1}]), "{name}");
    }
}

/// As with the older action: `poetry publish -u __token__ -p '${{ steps.mint.outputs.api-token }}'`.
#[test]
fn poetry_with_the_step_output() {
    let servers = StandIn::start(Setup::default());
    let step = in_project(Step::of(&servers));
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(step.dir.path()).arg(folder.path().join("project")).status().unwrap();
    assert!(copied.success());
    let outcome = step.run_with(&servers);
    outcome.assert_done();
    let token = outcome.output("api-token").unwrap();
    let mut poetry = Command::new(client("poetry"));
    poetry.args(["publish", "--no-interaction", "-r", "stand-in", "-u", "__token__", "-p", token]);
    poetry
        .current_dir(folder.path().join("project"))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder.path());
    let published = poetry.env("POETRY_REPOSITORIES_STAND_IN_URL", servers.index.url("/legacy/")).output().unwrap();
    assert!(published.status.success(), "{published:?}");
    assert_uploaded(&servers, &outcome, "poetry/");
}

/// The client reads its token from environment variables.
#[test]
fn twine_with_the_env_format() {
    let servers = StandIn::start(Setup::default());
    let step = in_project(Step::of(&servers)).args(&["--format", "env"]);
    let script = format!("vars=$(\"$0\" \"$@\") && eval \"$vars\" && {} upload dist/*", client("twine").display());
    let output = step.command_in_shell(&script).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(servers.uploads().len(), 1);
}

#[test]
fn an_upload_that_fails_has_its_status_and_its_token_revoked() {
    let servers = StandIn::start(Setup::default());
    let twine = client("twine");
    let step = in_project(Step::of(&servers)).args(&["--", twine.to_str().unwrap(), "upload", "dist/missing.whl"]);
    let outcome = step.run_with(&servers);
    assert_eq!(outcome.status, 1, "{outcome}");
    assert_eq!((servers.uploads().len(), servers.revoked().len()), (0, 1));
}
