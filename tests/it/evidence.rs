//! Evidence of the cause of a refusal: what the index publishes of the project, and what is in the checkout.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::harness::{Outcome, Step};
use crate::stand_in::github::Job;
use crate::stand_in::http::Request;
use crate::stand_in::index::Publisher;
use crate::stand_in::published::Project;
use crate::stand_in::{Setup, StandIn};

/// An index without a publisher for the job. It publishes this project.
pub fn servers(published: Option<Project>) -> StandIn {
    StandIn::start(Setup { publisher: None, published, ..Setup::default() })
}

pub fn step(servers: &StandIn) -> Step {
    Step::of(servers).without("TOKEN_MINT_OFFLINE").args(&["--project", "sampleproject"])
}

/// The messages that begin with `start`, without it.
pub fn lines<'a>(outcome: &'a Outcome, start: &str) -> Vec<&'a str> {
    outcome.stderr.lines().filter_map(|line| line.strip_prefix("token-mint: ")?.strip_prefix(start)).collect()
}

/// The first cause in the explanation is evidence with all these pieces.
#[track_caller]
pub fn assert_first_is_evidence(outcome: &Outcome, pieces: &[&str]) {
    outcome.assert_failed(4, &["invalid-publisher"]);
    let causes = ["cause: ", "evidence: ", "possible cause: "];
    let messages = outcome.stderr.lines().filter_map(|line| line.strip_prefix("token-mint: "));
    let first = messages.clone().find(|line| causes.iter().any(|start| line.starts_with(start))).unwrap_or_default();
    assert!(first.starts_with("evidence: "), "{outcome}");
    for piece in pieces {
        assert!(first.contains(piece), "no {piece:?} in {outcome}");
    }
    assert!(outcome.annotations()[0].contains("(invalid-publisher)%0Aevidence: "), "{outcome}");
    assert!(outcome.summary.contains("- **Evidence:** "), "{outcome}");
}

#[test]
fn the_last_releases_publisher_is_compared_field_by_field() {
    for (repository, workflow, environment, pieces) in [
        (
            "octo-org/octo-repo",
            "publish.yml",
            Some("pypi"),
            &["Workflow name `publish.yml`, and this job has `release.yml`"][..],
        ),
        (
            "octo-org/octo-repo",
            "release.yml",
            Some("release"),
            &["Environment name `release`, and this job has `pypi`"],
        ),
        ("octo-org/Octo-repo", "release.yml", None, &["Repository name `Octo-repo`, and this job has `octo-repo`"]),
        (
            "old/octo-repo",
            "ci.yml",
            None,
            &["Owner `old`, and", "Workflow name `ci.yml`", "Owner and Workflow name differ: "],
        ),
        ("octo-org/octo-repo", "release.yml", Some("pypi"), &["that this job matches", "the owner ID", "65432100"]),
        ("octo-org/octo-repo", "release.yml", None, &["that this job matches"]),
    ] {
        let servers = servers(Some(Project::from_github(repository, workflow, environment)));
        let outcome = step(&servers).run_with(&servers);
        assert_first_is_evidence(&outcome, &["release 1.4.0 came from", "Integrity API"]);
        assert_first_is_evidence(&outcome, pieces);
        assert_eq!((lines(&outcome, "evidence: ").len(), lines(&outcome, "possible cause: ").len()), (1, 1));
        let owners = format!("alice and bob own sampleproject on {}, and can add or correct", servers.index.url(""));
        assert!(lines(&outcome, "hint: ")[0].starts_with(&owners), "{outcome}");
    }
}

#[test]
fn a_job_without_an_environment_is_told_the_one_of_the_last_release() {
    let job = Job { environment: None, ..Job::default() };
    let published = Some(Project::from_github("octo-org/octo-repo", "release.yml", Some("pypi")));
    let servers = StandIn::start(Setup { job, publisher: None, published, ..Setup::default() });
    let outcome = step(&servers).run_with(&servers);
    assert_first_is_evidence(&outcome, &["Environment name `pypi`, and this job has none", "Add `environment: pypi`"]);
}

#[test]
fn no_project_and_no_release_have_different_explanations() {
    let none = servers(None);
    assert_first_is_evidence(
        &step(&none).run_with(&none),
        &["evidence: PyPI project name: ", "has no project sampleproject", "only a pending publisher"],
    );
    let paths: Vec<_> = none.index.requests().iter().skip(2).map(|request| request.target.clone()).collect();
    assert_eq!(paths, ["/pypi/sampleproject/json", "/simple/sampleproject/"]);
    let empty = servers(Some(Project { version: None, ..Project::default() }));
    let outcome = step(&empty).run_with(&empty);
    assert_first_is_evidence(&outcome, &["already, without a release", "on the project's own page"]);
}

#[test]
fn pages_that_lead_to_another_repository_are_evidence_where_there_is_no_provenance() {
    let with = |urls: &[&'static str]| {
        let servers = servers(Some(Project { urls: urls.to_vec(), ..Project::default() }));
        (step(&servers).run_with(&servers), servers)
    };
    let (outcome, _) = with(&["https://github.com/sponsors/x", "https://github.com/old-org/octo-repo.git"]);
    assert_first_is_evidence(&outcome, &["evidence: Owner: the pages", "lead to `github.com/old-org/octo-repo` "]);
    for urls in [
        &["https://github.com/other/x", "https://github.com/octo-org/octo-repo/issues"][..],
        &["https://github.com/sponsors/alice", "https://example.org/github.com/a/b", "github.com/a/b", ""],
        &[],
    ] {
        let (outcome, _) = with(urls);
        assert_eq!(lines(&outcome, "evidence: "), [""; 0], "{outcome}");
    }
}

#[test]
fn another_job_of_the_same_file_that_has_an_environment_is_named() {
    let job = || Job { environment: None, ..Job::default() };
    let run = |workflow: &str, published: Option<Project>| {
        let servers = StandIn::start(Setup { job: job(), publisher: None, published, ..Setup::default() });
        let step = step(&servers).env("GITHUB_JOB", "build");
        let folder = step.dir.path().join(".github/workflows");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("release.yml"), workflow).unwrap();
        let workspace = step.dir.path().to_str().unwrap().to_owned();
        step.env("GITHUB_WORKSPACE", &workspace).run_with(&servers)
    };
    let without_attestation = || Some(Project::default());
    for environment in
        ["environment: pypi # c", "environment:\n      url: x\n      name: 'pypi'", "\"environment\": \"pypi\""]
    {
        let workflow = format!(
            "on: push\njobs:\n  build:\n    steps:\n    - run: |\n        environment: no\n  # c\n  upload:\n    {environment}\n"
        );
        let outcome = run(&workflow, without_attestation());
        assert_first_is_evidence(
            &outcome,
            &["evidence: Environment name: the job upload in release.yml has `environment: pypi`"],
        );
    }
    for workflow in [
        "jobs:\n  build:\n    environment: pypi\n",
        "jobs:\n  upload:\n    environment: ${{ inputs.x }}\n",
        "jobs:\n  docs:\n    environment:\n      name: github-pages\n",
        "jobs:\n  upload:\n    with:\n      environment: pypi\nenv:\n  upload:\n    environment: x\n",
        "",
    ] {
        assert_eq!(lines(&run(workflow, without_attestation()), "evidence: "), [""; 0], "{workflow}");
    }
    let upload = "jobs:\n  upload:\n    environment: pypi\n";
    let published = |environment| Some(Project::from_github("octo-org/octo-repo", "release.yml", environment));
    let outcome = run(upload, published(Some("pypi")));
    assert_eq!(lines(&outcome, "evidence: ").len(), 2, "{outcome}");
    let outcome = run(upload, published(None));
    assert_first_is_evidence(&outcome, &["that this job matches"]);
    assert_eq!(lines(&outcome, "evidence: ").len(), 1, "{outcome}");
}

#[test]
fn a_workflow_file_that_is_not_in_the_checkout_may_have_been_renamed() {
    let servers = servers(Some(Project::from_github("octo-org/octo-repo", "release.yaml", None)));
    let run = |files: &[&str]| {
        let step = step(&servers);
        let folder = step.dir.path().join(".github/workflows");
        fs::create_dir_all(&folder).unwrap();
        files.iter().for_each(|file| fs::write(folder.join(file), "jobs:\n").unwrap());
        step.run_with(&servers)
    };
    let renamed = "`release.yaml` (not in the checkout: was it renamed?), and";
    assert_first_is_evidence(&run(&["release.yml"]), &["evidence: Workflow name differs: ", renamed]);
    for files in [&["release.yml", "release.yaml"][..], &[]] {
        assert!(!run(files).stderr.contains("not in the checkout"));
    }
}

#[test]
fn a_called_file_that_published_the_last_release_is_not_blamed() {
    let called = |published| {
        let called_workflow = Some("octo-org/octo-repo/.github/workflows/_publish.yml".to_owned());
        let job = Job { called_workflow, ..Job::default() };
        let published = Some(Project::from_github("octo-org/octo-repo", published, None));
        let servers = StandIn::start(Setup { job, publisher: None, published, ..Setup::default() });
        step(&servers).run_with(&servers)
    };
    let outcome = called("_publish.yml");
    assert_first_is_evidence(&outcome, &["that this job matches"]);
    assert_eq!(lines(&outcome, "evidence: ").len(), 1, "{outcome}");
    let outcome = called("release.yml");
    assert_first_is_evidence(&outcome, &["Workflow name `release.yml`, and this job has `_publish.yml`"]);
    assert_eq!(lines(&outcome, "evidence: ").len(), 2, "{outcome}");
}

#[test]
fn the_additional_requests_have_no_token_and_nothing_of_the_job() {
    let servers = servers(Some(Project::from_github("octo-org/octo-repo", "x.yml", None)));
    let outcome =
        Step::of(&servers).without("TOKEN_MINT_OFFLINE").args(&["--project", "SampleProject"]).run_with(&servers);
    outcome.assert_failed(4, &[]);
    let requests = servers.index.requests();
    let targets: Vec<&str> = requests.iter().map(|request| request.target.as_str()).collect();
    let provenance = "/integrity/sampleproject/1.4.0/sampleproject-1.4.0-py3-none-any.whl/provenance";
    assert_eq!(targets, ["/_/oidc/audience", "/_/oidc/mint-token", "/pypi/sampleproject/json", provenance]);
    for Request { method, headers, body, .. } in &requests[2..] {
        assert_eq!((method.as_str(), body.len()), ("GET", 0));
        let mut names: Vec<String> = headers.iter().map(|(name, _)| name.to_lowercase()).collect();
        names.sort();
        assert_eq!(names, ["accept", "connection", "host", "user-agent"], "{headers:?}");
    }
    assert_eq!(servers.github.requests().len(), 1);
}

#[test]
fn nothing_is_asked_if_the_cause_is_certain_or_no_project_is_known() {
    let asks = |setup: Setup, change: fn(Step) -> Step| {
        let servers = StandIn::start(Setup { published: Some(Project::default()), ..setup });
        let outcome = change(Step::of(&servers).without("TOKEN_MINT_OFFLINE")).run_with(&servers);
        let asked = servers.index.requests().iter().filter(|request| !request.path().starts_with("/_/")).count();
        (asked, outcome)
    };
    let refused = || Setup { publisher: None, ..Setup::default() };
    let named = |step: Step| step.args(&["--project", "sampleproject"]);
    assert_eq!(asks(refused(), named).0, 2);
    assert_eq!(asks(Setup::default(), named).0, 0, "the run succeeds");
    let target = Job { event_name: "pull_request_target".to_owned(), ..Job::default() };
    let setup = Setup { publisher: Some(Publisher::of(&target)), job: target, ..Setup::default() };
    assert_eq!(asks(setup, named).0, 0, "the index has named the cause");
    let expired = Job { lives_secs: -60, ..Job::default() };
    assert_eq!(asks(Setup { job: expired, ..Setup::default() }, named).0, 0);
    let called_workflow = Some("other/repo/.github/workflows/release.yml".to_owned());
    assert_eq!(asks(Setup { job: Job { called_workflow, ..Job::default() }, ..refused() }, named).0, 0);
    let of_another_issuer = |step: Step| {
        let id_token = StandIn::start(Setup::default()).id_token("pypi");
        step.args(&["--project", "sampleproject", "--id-token-env", "T"]).env("T", &id_token)
    };
    let (asked, outcome) = asks(refused(), of_another_issuer);
    assert!(asked == 0 && outcome.stderr.contains("possible cause: "), "nothing published would tell: {outcome}");
    assert_eq!(asks(refused(), |step| step).0, 0, "no project is known");
    assert_eq!(asks(refused(), |step| step.args(&["--project", "sampleproject", "--offline"])).0, 0);
    assert_eq!(
        asks(refused(), |step| step.env("TOKEN_MINT_PROJECT", "sampleproject").env("TOKEN_MINT_OFFLINE", "1")).0,
        0
    );
    let of_one =
        |step: Step| with_files(step, &["sampleproject-1.5.0.tar.gz", "Sampleproject-1.5.0-py3-none-any.whl", "x"]);
    assert_eq!(asks(refused(), of_one).0, 2);
    let (asked, outcome) = asks(refused(), |step| with_files(step, &["a-1.tar.gz", "sampleproject-1.tar.gz"]));
    assert_eq!(asked, 0);
    outcome.assert_failed(4, &["hint: dist/ has files of several projects, among them a and sampleproject"]);
}

fn with_files(step: Step, names: &[&str]) -> Step {
    fs::create_dir(step.dir.path().join("dist")).unwrap();
    names.iter().for_each(|name| fs::write(step.dir.path().join("dist").join(name), "").unwrap());
    step
}

#[test]
fn claims_has_the_same_evidence_before_the_first_refusal() {
    let run = |published: Option<Project>, args: &[&str]| {
        let servers = servers(published);
        let outcome = step(&servers).args(&["claims"]).args(args).run_with(&servers);
        outcome.assert_done();
        let minted = servers.index.requests().iter().any(|request| request.path().starts_with("/_/"));
        assert!(!minted && servers.api_tokens().is_empty(), "{outcome}");
        (servers.index.requests().len(), outcome)
    };
    let other_file = || Some(Project::from_github("octo-org/octo-repo", "publish.yml", None));
    let (asked, outcome) = run(other_file(), &[]);
    assert_eq!((asked, lines(&outcome, "evidence: ").len()), (2, 1), "{outcome}");
    assert!(outcome.stderr.contains("Workflow name `publish.yml`, and this job has `release.yml`"), "{outcome}");
    assert!(!outcome.stderr.contains("nothing was asked of"), "{outcome}");
    let (asked, outcome) = run(other_file(), &["--offline"]);
    assert_eq!((asked, lines(&outcome, "evidence: ").len()), (0, 0), "{outcome}");
    assert!(outcome.stderr.contains("hint: nothing was asked of "), "{outcome}");
    let (_, outcome) = run(Some(Project::from_github("octo-org/octo-repo", "release.yml", None)), &[]);
    assert_eq!(lines(&outcome, "evidence: ").len(), 0, "{outcome}");
    assert!(outcome.stderr.contains("hint: the last release came from a publisher that this job matches"), "{outcome}");
}

#[test]
fn claims_fails_as_minting_would_if_the_index_would_refuse_the_job() {
    for job in [
        Job { event_name: "pull_request_target".to_owned(), ..Job::default() },
        Job { called_workflow: Some("other/repo/.github/workflows/release.yml".to_owned()), ..Job::default() },
    ] {
        let servers = StandIn::start(Setup { job, published: Some(Project::default()), ..Setup::default() });
        let outcome = step(&servers).args(&["claims"]).run_with(&servers);
        outcome.assert_failed(4, &["would refuse this job", "token-mint: cause: "]);
        assert_eq!((servers.index.requests().len(), outcome.annotations().len()), (0, 1), "{outcome}");
        let json = step(&servers).args(&["claims", "--format", "json"]).run_with(&servers);
        assert_eq!(json.status, 4);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json.stdout).unwrap(), servers.id_token_claims());
    }
    // A GitHub Enterprise Server has its own issuer. No request is sent to PyPI.
    let claims = json!({"iss": "https://ghes.example.org/_services/token", "aud": "pypi", "repository": "a/b"});
    let id_token = format!("eyJ.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let step =
        Step::bare().env("TOKEN_MINT_ID_TOKEN_ENV", "T").env("T", &id_token).args(&["claims", "--index", "pypi"]);
    step.run().assert_failed(4, &["PyPI would refuse this job", "a GitHub Enterprise Server"]);
}
