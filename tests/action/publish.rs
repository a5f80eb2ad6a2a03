//! The last jobs of the release workflow: they publish token-mint's wheels on TestPyPI and PyPI, with the action
//! itself.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::job::{Job, Outcome, REPOSITORY, TOP, VERSION, executable, pinned, run};

/// These jobs replace those that build and publish the release.
const STUBS: &str = "  publish:
    runs-on: ubuntu-24.04
    outputs:
      tag: ${{ steps.release.outputs.tag }}
    steps:
      - id: release
        run: echo 'tag=vVERSION' >>\"$GITHUB_OUTPUT\"
  verify:
    needs: publish
    runs-on: ubuntu-24.04
    steps:
      - run: 'true'
";

/// Runs the workflow with the real twine. The stand-in is both indexes. A script `gh` downloads a release of one wheel.
fn released(pypi: bool) -> (Job, Outcome) {
    let workflow = fs::read_to_string(format!("{TOP}/.github/workflows/release.yml")).unwrap();
    let (start, jobs) = workflow.split_once("\njobs:\n").unwrap();
    let (_, last) = jobs.split_once("\n  testpypi:\n").unwrap();
    let workflow = format!("{start}\njobs:\n{}\n  testpypi:\n{last}", STUBS.replace("VERSION", VERSION));
    let job = Job::new().locally().started_with(&format!("{{\"pypi\": \"{pypi}\"}}"));
    let mut workflow = workflow;
    for (index, path) in [("testpypi", "/legacy/"), ("pypi", "/legacy/")] {
        let line = format!("          index: {index}\n");
        assert_eq!(workflow.matches(&line).count(), 1, "{index}");
        workflow = workflow.replace(&line, &format!("          index: {}\n", job.servers.index.url(path)));
    }
    // Both jobs check out the tag, which has the pins. In this test, the checkout itself has them.
    let tag = "          ref: ${{ needs.publish.outputs.tag }}\n";
    assert_eq!(workflow.matches(tag).count(), 2);
    workflow = workflow.replace(tag, "");
    let dir = |name: &str| job.dir.path().join(name);
    run(Command::new("cp").arg("-R").arg(pinned().assets()).arg(dir("assets")));
    fs::write(dir("assets/LICENSES.txt"), "licences").unwrap();
    let mut wheels = Command::new(format!("{TOP}/src/scripts/wheels"));
    run(wheels.args([dir("assets"), dir("release")]).env("GITHUB_REPOSITORY", REPOSITORY));
    let gh = format!(
        "#!/bin/sh\n[ \"$*\" = \"release download v{VERSION} --pattern *.whl --dir dist\" ] && cp -R '{}' dist\n",
        dir("release").display()
    );
    executable(&dir("bin/gh"), gh.as_bytes());
    // The workflow has to name the list of versions from which this twine was installed.
    let list = fs::read_to_string(format!("{TOP}/.ci/clients/twine.txt")).unwrap();
    let twine = list.lines().find(|line| line.starts_with("twine==")).unwrap();
    let clients = PathBuf::from(run(Command::new(format!("{TOP}/.ci/install-clients")).current_dir(TOP)).trim());
    let pipx = format!(
        "#!/bin/sh\ncase $* in 'run --spec {twine} --pip-args=--constraint=.ci/clients/twine.txt twine '*) ;; *) exit 1 ;; esac\n\
         shift 5\nexec '{}' \"$@\"\n",
        clients.join("twine/bin/twine").display()
    );
    executable(&dir("bin/pipx"), pipx.as_bytes());
    let path = format!("{}:{}", dir("bin").display(), std::env::var("PATH").unwrap());
    let job = job.path(path.as_ref()).workflow(&workflow);
    let outcome = job.run();
    (job, outcome)
}

/// Runs the workflow. It has to upload the wheel so many times, and to revoke each token.
#[track_caller]
fn assert_published(pypi: bool, times: usize) {
    let (job, outcome) = released(pypi);
    assert!(outcome.green, "{outcome}");
    let [wheel] = &fs::read_dir(job.dir.path().join("release")).unwrap().collect::<Vec<_>>()[..] else { panic!() };
    let uploads = job.servers.uploads();
    let name = wheel.as_ref().unwrap().file_name();
    assert_eq!(uploads.len(), times, "{outcome}");
    assert!(uploads.iter().all(|upload| *upload.file_name == *name), "{outcome}");
    assert_eq!((job.servers.api_tokens().len(), job.servers.revoked().len()), (times, times), "{outcome}");
}

#[test]
fn a_release_is_published_on_testpypi_and_then_on_pypi() {
    assert_published(true, 2);
}

#[test]
fn a_release_can_be_published_on_testpypi_alone() {
    assert_published(false, 1);
}
