//! [act](https://github.com/nektos/act) runs a workflow as GitHub's runner does. Here it runs directly on this machine,
//! without containers.
//!
//! It differs from GitHub's runner. It sets more variables for a composite action's scripts: `make lint-action` finds
//! uses of them. It recognises a workflow command only at the start of a line. It ends a process that a step leaves
//! behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::job::{TOP, run};

/// A workflow to run.
pub struct Run<'a> {
    /// A folder for this run. Its folder `action` has the files of the action's repository.
    pub folder: &'a Path,
    /// How the workflow names the action: `OWNER/REPO@REF` or `./`.
    pub uses: &'a str,
    pub workflow: &'a str,
    /// The variables of each step, without those that the runner sets.
    pub env: Vec<(&'a str, &'a str)>,
    pub path: &'a Path,
    /// The inputs of a `workflow_dispatch` event, as JSON. If `None`, the event is a push.
    pub inputs: Option<&'a str>,
}

impl Run<'_> {
    /// Runs the workflow, and returns the log. `true` means that at least one job ran, and that all succeeded.
    pub fn run(&self) -> (bool, String) {
        let action = self.folder.join("action");
        let caller = if self.uses == "./" { action.clone() } else { self.folder.join("caller") };
        let workflow = caller.join(WORKFLOW);
        fs::create_dir_all(workflow.parent().unwrap()).unwrap();
        fs::write(workflow, self.workflow).unwrap();
        commit(&caller);
        git(&caller, &["remote", "add", "origin", "https://github.com/octo-org/octo-repo"]);

        let mut act = Command::new("timeout"); // act has no time limit
        act.args(["--kill-after=10", "120", "env", "--ignore-environment"]);
        for (name, value) in [("PATH", self.path), ("HOME", self.folder), ("XDG_CACHE_HOME", self.folder)] {
            act.arg(format!("{name}={}", value.display()));
        }
        act.arg(act_exe()).args([
            if self.inputs.is_some() { "workflow_dispatch" } else { "push" },
            "--workflows",
            WORKFLOW,
        ]);
        if let Some(inputs) = self.inputs {
            let event = self.folder.join("event.json");
            fs::write(&event, format!("{{\"inputs\": {inputs}}}")).unwrap();
            act.arg("--eventpath").arg(event);
        }
        if self.uses != "./" {
            act.arg("--local-repository").arg(format!("{}={}", self.uses, action.display()));
        }
        act.args(["--platform", "ubuntu-latest=-self-hosted", "--platform", "ubuntu-24.04=-self-hosted"]);
        act.args(["--container-daemon-socket", "-"]);
        act.args(["--no-cache-server", "--pull=false", "--concurrent-jobs", "1"]);
        act.args(self.env.iter().flat_map(|(name, value)| ["--env".to_owned(), format!("{name}={value}")]));
        let log = self.folder.join("log");
        let file = File::create(&log).unwrap();
        let status = act.current_dir(&caller).stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        let log = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
        // act also succeeds if it skips a job, or finds none.
        let has_run = log.contains("Job succeeded") && !log.contains("Skipping unsupported platform");
        (status.success() && has_run, log)
    }
}

const WORKFLOW: &str = ".github/workflows/release.yml";

/// The pinned version of act. The first call installs it.
fn act_exe() -> &'static Path {
    static EXE: OnceLock<PathBuf> = OnceLock::new();
    EXE.get_or_init(|| {
        Path::new(run(Command::new(format!("{TOP}/src/scripts/programs")).arg(format!("{TOP}/.ci/act.txt"))).trim())
            .join("act")
    })
}

/// Makes the folder a git repository, as act needs one.
fn commit(folder: &Path) {
    git(folder, &["init", "--quiet", "--initial-branch=main"]);
    git(folder, &["add", "--all"]);
    git(folder, &["-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "--quiet", "--message=a"]);
}

fn git(folder: &Path, args: &[&str]) {
    let mut git = Command::new("git");
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    run(git.arg("-C").arg(folder).args(args));
}
