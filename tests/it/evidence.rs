//! What points at the cause of a refusal: what the index publishes of the project, and the files of the checkout.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Outcome, SLACK, ScriptedServer, Step};
use crate::stand_in::github::Job;
use crate::stand_in::index::Publisher;
use crate::stand_in::{Setup, StandIn};

const FILE: &str = "sampleproject-1.4.0-py3-none-any.whl";
const CLAIMS_OF_JOB: [&str; 4] = ["octo-org", "octo-repo", "release.yml", "65432100"];

/// The project's page on the index, as PyPI has it, without what is not looked at.
fn page(links: Value) -> Value {
    json!({
        "info": {"name": "sampleproject", "version": "1.4.0", "project_urls": links, "home_page": null, "yanked": false},
        "last_serial": 1, "releases": {"1.4.0": [], "1.3": [{"size": 1e3, "digests": {"md5": ""}}]},
        "ownership": {"organization": null, "roles": [
            {"role": "Owner", "user": "alice"}, {"role": "Maintainer", "user": "carol"}, {"role": "Owner", "user": "bob"},
        ]},
        "urls": [{"filename": FILE, "size": 3, "upload_time": "2026-01-01"}], "vulnerabilities": [],
    })
}

/// A file's provenance.
fn provenance(publisher: Value) -> Value {
    json!({"version": 1, "attestation_bundles": [{"publisher": publisher, "attestations": [{"envelope": {}}]}]})
}

fn github(repository: &str, workflow: &str, environment: Option<&str>) -> Value {
    let environment = environment.map_or(Value::Null, |name| name.into());
    json!({"kind": "GitHub", "claims": null, "repository": repository, "workflow": workflow, "environment": environment})
}

/// An index that knows no publisher for the job, and publishes this.
fn refusing(job: Job, page: Option<Value>, provenance: Option<Value>) -> StandIn {
    let mut published = vec![];
    published.extend(page.map(|page| ("/pypi/sampleproject/json".to_owned(), 200, page.to_string())));
    let path = format!("/integrity/sampleproject/1.4.0/{FILE}/provenance");
    published.extend(provenance.map(|provenance| (path, 200, provenance.to_string())));
    StandIn::start(Setup { job, publisher: None, published, ..Setup::default() })
}

fn step(servers: &StandIn) -> Step {
    Step::of(servers).without("TOKEN_MINT_OFFLINE").env("TOKEN_MINT_PROJECT", "sampleproject")
}

/// The texts after `token-mint: evidence: `.
fn evidence(outcome: &Outcome) -> Vec<&str> {
    outcome.stderr.lines().filter_map(|line| line.strip_prefix("token-mint: evidence: ")).collect()
}

/// Refused, and the first evidence begins with this field and has these pieces.
#[track_caller]
fn assert_first(servers: &StandIn, step: Step, field: &str, pieces: &[&str]) -> Outcome {
    let outcome = step.run_with(servers);
    outcome.assert_failed(4, &["Publisher with matching claims was not found", "token-mint: possible cause: "]);
    let first = evidence(&outcome).first().map(|first| (*first).to_owned()).unwrap_or_default();
    assert!(first.starts_with(&format!("{field}: ")) || field.is_empty(), "{outcome}");
    for piece in pieces {
        assert!(outcome.stderr.contains(piece), "no {piece:?} in {outcome}");
    }
    assert!(outcome.annotations()[0].contains(first.split('`').next().unwrap()), "{outcome}");
    outcome
}

#[test]
fn the_publisher_of_the_last_release_is_held_against_the_job_field_by_field() {
    for (publisher, field, pieces) in [
        (
            github("octo-org/octo-repo", "publish.yml", None),
            "Workflow name",
            &["came from `publish.yml`", "`release.yml`"][..],
        ),
        (
            github("old-org/octo-repo", "release.yml", Some("pypi")),
            "Owner",
            &["came from `old-org`", "this job's is `octo-org`"],
        ),
        (github("octo-org/Octo-Repo", "release.yml", None), "Repository name", &["came from `Octo-Repo`"]),
        (github("octo-org/octo-repo", "release.yml", Some("release")), "Environment name", &["came from `release`"]),
        (
            github("octo-org/octo-repo", "release.yml", Some("PyPI")),
            "",
            &["came from a job with these values", "owner ID"],
        ),
        (
            json!({"kind": "GitLab", "repository": "a/b", "workflow_filepath": "x.yml"}),
            "",
            &["came from GitLab", "job of GitHub"],
        ),
    ] {
        let servers = refusing(Job::default(), Some(page(json!({}))), Some(provenance(publisher)));
        let pieces = [pieces, &["alice and bob own sampleproject", "release 1.4.0 of sampleproject"]].concat();
        assert_first(&servers, step(&servers), field, &pieces);
    }
    let job = Job { environment: None, ..Job::default() };
    let publisher = github("octo-org/octo-repo", "release.yml", Some("pypi"));
    let servers = refusing(job, Some(page(json!({}))), Some(provenance(publisher)));
    assert_first(&servers, step(&servers), "Environment name", &["came from `pypi`, and this job has none"]);
}

#[test]
fn without_provenance_the_projects_links_tell_of_another_repository() {
    let moved =
        json!({"Funding": "https://github.com/sponsors/x", "Source": "https://www.github.com/old-org/octo-repo.git"});
    let servers = refusing(Job::default(), Some(page(moved)), None);
    assert_first(&servers, step(&servers), "Owner", &["links to `github.com/old-org/octo-repo`"]);
    let own =
        json!({"Docs": "https://github.com/other/docs", "Source": "https://github.com/Octo-Org/octo-repo/tree/x"});
    for links in [own, json!(null), json!({"Homepage": "https://example.org/a/b", "n": 1})] {
        let servers = refusing(Job::default(), Some(page(links)), None);
        let outcome = step(&servers).run_with(&servers);
        assert_eq!(evidence(&outcome), [""; 0], "{outcome}");
    }
}

#[test]
fn a_project_without_a_release_leaves_a_pending_publisher() {
    let servers = refusing(Job::default(), None, None);
    let pieces = ["has no release of sampleproject", "pending publisher"];
    assert_first(&servers, step(&servers), "PyPI project name", &pieces);
}

#[test]
fn another_job_of_the_file_has_the_environment_that_this_one_lacks() {
    let job = || Job { environment: None, ..Job::default() };
    let servers = refusing(job(), None, None);
    let in_checkout_of = |servers: &StandIn, yaml: &str| {
        let step = Step::of(servers);
        let folder = step.dir.path().join(".github/workflows");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("release.yml"), yaml).unwrap();
        step
    };
    let in_checkout = |yaml: &str| in_checkout_of(&servers, yaml);
    for yaml in ["jobs:\n  a:\n    environment: pypi # x\n", "jobs:\n  x:\n    environment:\n      name: 'pypi'\n"] {
        let pieces = ["release.yml has `environment: pypi` (line 3), and this job has none"];
        assert_first(&servers, in_checkout(yaml), "Environment name", &pieces);
    }
    for yaml in ["jobs:\n", "    environment: ${{ inputs.to }}\n", "    environment:\n      url: x\n"] {
        assert_eq!(evidence(&in_checkout(yaml).run_with(&servers)), [""; 0], "{yaml}");
    }
    let servers = refusing(Job::default(), None, None); // this job has one
    assert_eq!(evidence(&in_checkout_of(&servers, "    environment: x\n").run_with(&servers)), [""; 0]);
}

#[test]
fn the_project_is_that_of_the_files_to_upload_if_they_agree() {
    let servers = refusing(Job::default(), None, None);
    let with_files = |names: &[&str]| {
        let step = step(&servers).without("TOKEN_MINT_PROJECT");
        std::fs::create_dir(step.dir.path().join("dist")).unwrap();
        names.iter().for_each(|name| std::fs::write(step.dir.path().join("dist").join(name), "").unwrap());
        step
    };
    let own = with_files(&["SampleProject-1.4.0.tar.gz", FILE, "sampleproject-1.4.0.tar.gz.asc"]);
    assert_first(&servers, own, "PyPI project name", &["no release of sampleproject"]);
    let before = servers.index.requests().len();
    let several = with_files(&[FILE, "other-1.tar.gz"]).run_with(&servers);
    several.assert_failed(4, &["./dist has files of several projects (other, sampleproject)"]);
    assert_eq!(servers.index.requests().len(), before + 2); // the audience, and the request to mint
}

#[test]
fn the_questions_hold_nothing_but_the_projects_name() {
    let publisher = github("octo-org/octo-repo", "publish.yml", None);
    let servers = refusing(Job::default(), Some(page(json!({}))), Some(provenance(publisher)));
    step(&servers).run_with(&servers);
    let requests = servers.index.requests();
    let asked: Vec<_> = requests.iter().skip(2).collect();
    assert_eq!(asked.len(), 2, "{:?}", servers.requests());
    for request in asked {
        assert_eq!((&*request.method, &*request.body), ("GET", &b""[..]));
        assert_eq!(request.header("Authorization"), None);
        for claim in CLAIMS_OF_JOB {
            let headers = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
            assert!(!format!("{}\n{}", request.target, headers.collect::<String>()).contains(claim), "{claim}");
        }
    }
}

#[test]
fn nothing_is_asked_where_nothing_is_left_to_guess_or_the_user_says_so() {
    let count = |servers: &StandIn, step: Step| {
        let outcome = step.run_with(servers);
        assert_eq!(evidence(&outcome), [""; 0], "{outcome}");
        servers.index.requests().len()
    };
    let servers = refusing(Job::default(), Some(page(json!({}))), None);
    assert_eq!(count(&servers, step(&servers).args(&["--offline"])), 2);
    assert_eq!(count(&servers, step(&servers).env("TOKEN_MINT_OFFLINE", "1")), 4);
    assert_eq!(count(&servers, step(&servers).without("TOKEN_MINT_PROJECT")), 6);
    let target = Job { event_name: "pull_request_target".to_owned(), ..Job::default() };
    let publisher = Some(Publisher::of(&target));
    let servers = StandIn::start(Setup { job: target, publisher, ..Setup::default() });
    assert_eq!(count(&servers, step(&servers)), 2);
}

#[test]
fn what_the_index_publishes_is_bounded_and_can_only_be_left_out() {
    let nested = format!("{{\"info\":{}", "[".repeat(100_000));
    let huge = json!({"info": {"version": "1", "x": "y".repeat(5 * 1024 * 1024)}}).to_string();
    let large = {
        let mut page = page(json!({}));
        page["releases"] = json!({"1.0": [{"x": "y".repeat(3 * 1024 * 1024)}]});
        page.to_string()
    };
    for (status, text, found) in [
        (200, nested.as_str(), false),
        (200, &huge, false),
        (200, "[1]", false),
        (200, "<html>", false),
        (200, r#"{"info": 1, "urls": [{}], "ownership": []}"#, false),
        (500, "{}", false),
        (301, "{}", false),
        (200, &large, true),
    ] {
        let published = vec![("/pypi/sampleproject/json".to_owned(), status, text.to_owned())];
        let servers = StandIn::start(Setup { publisher: None, published, ..Setup::default() });
        let outcome = step(&servers).run_with(&servers);
        outcome.assert_failed(4, &["possible cause: "]);
        assert_eq!(outcome.stderr.contains("alice and bob own"), found, "{outcome}");
    }
    let hostile = github("a\n::error::x/b\u{202e}", "\u{1b}[31m", Some("`x`\n| y |"));
    let servers =
        refusing(Job::default(), Some(page(json!({"x": "https://github.com/a\n/b"}))), Some(provenance(hostile)));
    let outcome = step(&servers).run_with(&servers);
    assert_eq!(evidence(&outcome).len(), 4, "{outcome}");
    for bad in ["\n::error::x", "\u{1b}", "\u{202e}", "\n| y |"] {
        assert!(!outcome.stderr.contains(bad) && !outcome.summary.contains(bad), "{bad:?} in {outcome}");
    }
}

#[test]
fn a_silent_index_delays_an_explanation_by_six_seconds_at_most() {
    let refusal =
        r#"{"errors":[{"code":"invalid-publisher","description":"Publisher with matching claims was not found"}]}"#;
    let index = ScriptedServer::serving_requests(move |request, stream| {
        use std::io::Write;
        if request.method == "POST" {
            let length = refusal.len();
            let _ = write!(stream, "HTTP/1.1 422 X\r\nContent-Length: {length}\r\n\r\n{refusal}");
        } else {
            std::thread::sleep(Duration::from_secs(20));
        }
    });
    let servers = StandIn::start(Setup::default());
    let step = step(&servers).args(&["--index", &index.url(), "--audience", "pypi", "-v"]);
    let outcome = step.run_with(&servers);
    outcome.assert_failed(
        4,
        &["possible cause: ", "/pypi/sampleproject/json: no whole answer within the timeout of 3 seconds"],
    );
    assert!(outcome.elapsed < Duration::from_secs(6) + SLACK, "{outcome}");
}

#[test]
fn claims_has_the_same_evidence_before_the_first_refusal() {
    let publisher = github("octo-org/octo-repo", "publish.yml", None);
    let servers = refusing(Job::default(), Some(page(json!({}))), Some(provenance(publisher)));
    let outcome = step(&servers).args(&["claims"]).run_with(&servers);
    outcome.assert_done();
    assert!(evidence(&outcome)[0].starts_with("Workflow name: release 1.4.0"), "{outcome}");
    let posts = servers.index.requests().iter().filter(|request| request.method != "GET").count();
    assert_eq!(posts, 0);
}

#[test]
fn claims_of_a_job_that_the_index_would_refuse_end_with_its_status() {
    let target = Job { event_name: "pull_request_target".to_owned(), ..Job::default() };
    let servers = StandIn::start(Setup { job: target, ..Setup::default() });
    let outcome = step(&servers).args(&["claims"]).run_with(&servers);
    assert_eq!(outcome.status, 4, "{outcome}");
    assert!(outcome.said().contains("would refuse this job"), "{outcome}");
    assert_eq!(servers.index.requests().len(), 0);
}
