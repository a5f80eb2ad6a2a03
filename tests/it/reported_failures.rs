//! Failures that people reported in public issues and pull requests.

use crate::evidence::{assert_first_is_evidence, step};
use crate::stand_in::github::Job;
use crate::stand_in::published::Project;
use crate::stand_in::{Setup, StandIn};

/// The stand-in publishes what an index would publish of such a project.
#[test]
fn the_wrong_field_of_each_reported_failure_comes_first() {
    struct Report {
        /// The repository, its workflow file, and the job's environment.
        job: (&'static str, &'static str, Option<&'static str>),
        called: Option<&'static str>,
        published: Option<Project>,
        pieces: &'static [&'static str],
    }
    let github = |repository, workflow, environment| Some(Project::from_github(repository, workflow, environment));
    for Report { job: (repository, workflow, environment), called, published, pieces } in [
        // santoshray02/csv-editor, issue 7: nobody had added a pending publisher.
        Report {
            job: ("santoshray02/csv-editor", "publish.yml", None),
            called: None,
            published: None,
            pieces: &["has no project", "only a pending publisher can match"],
        },
        // dennisvang/tufup, issue 176: the workflow file was renamed.
        Report {
            job: ("dennisvang/tufup", "publish.yml", None),
            called: None,
            published: github("dennisvang/tufup", "python-package.yml", None),
            pieces: &["Workflow name `python-package.yml`, and this job has `publish.yml`", "Workflow name differs"],
        },
        // aiokitchen/hasql, pull request 34: the publisher names an environment, and the job has none.
        Report {
            job: ("aiokitchen/hasql", "publish.yml", None),
            called: None,
            published: github("aiokitchen/hasql", "publish.yml", Some("pypi")),
            pieces: &["Environment name `pypi`, and this job has none", "Add `environment: pypi`"],
        },
        // PalmSens/palmsens-sdk, issue 451: the repository was renamed.
        Report {
            job: ("PalmSens/palmsens-sdk", "release.yml", None),
            called: None,
            published: github("PalmSens/PalmSens_SDK", "release.yml", None),
            pieces: &["Repository name `PalmSens_SDK`, and this job has `palmsens-sdk`"],
        },
        // marin-community/levanter, issue 1180: it moved to another organisation. No release has an attestation.
        Report {
            job: ("marin-community/levanter", "publish_dev.yaml", None),
            called: None,
            published: Some(Project { urls: vec!["https://github.com/stanford-crfm/levanter"], ..Project::default() }),
            pieces: &["evidence: Owner: the pages", "lead to `github.com/stanford-crfm/levanter`"],
        },
        // btschwertfeger/python-kraken-sdk, pull request 444: the job was moved into a reusable workflow of the same
        // repository.
        Report {
            job: ("btschwertfeger/python-kraken-sdk", "cicd.yaml", Some("pypi")),
            called: Some("_pypi_publish.yaml"),
            published: github("btschwertfeger/python-kraken-sdk", "cicd.yaml", Some("pypi")),
            pieces: &["Workflow name `cicd.yaml`, and this job has `_pypi_publish.yaml`"],
        },
        // msgspec/msgspec, issue 1134: all releases came from the repository's former owner.
        Report {
            job: ("msgspec/msgspec", "ci.yml", None),
            called: None,
            published: github("jcrist/msgspec", "ci.yml", None),
            pieces: &["Owner `jcrist`, and this job has `msgspec`", "Owner differs"],
        },
    ] {
        let (owner, name) = repository.split_once('/').unwrap();
        let job = Job {
            owner: owner.to_owned(),
            repository: name.to_owned(),
            workflow: workflow.to_owned(),
            environment: environment.map(str::to_owned),
            called_workflow: called.map(|file| format!("{repository}/.github/workflows/{file}")),
            ..Job::default()
        };
        let servers = StandIn::start(Setup { job, publisher: None, published, ..Setup::default() });
        assert_first_is_evidence(&step(&servers).run_with(&servers), pieces);
    }
}
