//! A workflow's job with a step that mints and a step that records the outputs.

use std::fmt;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::act;
use crate::harness::{BUILT_EXE, OTHER_EXE};
use crate::stand_in::http::Server;
use crate::stand_in::{Setup, StandIn, releases};

/// The repository's top folder.
pub const TOP: &str = env!("CARGO_MANIFEST_DIR");
/// How a workflow names the action.
pub const ACTION: &str = "octo-org/token-mint-action@v1";
/// The repository that is pinned.
pub const REPOSITORY: &str = "octo-org/token-mint-action";
/// Another composite action, which uses this one. It has a copy in a folder, as act can serve one local repository
/// only.
const OUTER: &str = "somebody-else/outer@v1";
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The action's name for this platform.
pub const TARGET: &str = match (cfg!(target_os = "macos"), cfg!(target_arch = "x86_64")) {
    (false, true) => "x86_64-unknown-linux-musl",
    (false, false) => "aarch64-unknown-linux-musl",
    (true, true) => "x86_64-apple-darwin",
    (true, false) => "aarch64-apple-darwin",
};

/// The action pinned to the executable under test, and that executable as a release's asset.
pub struct Pinned {
    folder: tempfile::TempDir,
    /// The asset's SHA-256, in hexadecimal digits.
    pub sum: String,
}

/// The pinned action. It is made once for all tests.
pub fn pinned() -> &'static Pinned {
    static PINNED: OnceLock<Pinned> = OnceLock::new();
    PINNED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let pinned = Pinned { folder, sum: String::new() };
        fs::create_dir(pinned.assets()).unwrap();
        let exe = std::env::var_os(OTHER_EXE).unwrap_or(BUILT_EXE.into());
        fs::copy(exe, pinned.asset()).unwrap();
        let sums = run(Command::new(format!("{TOP}/src/scripts/sums")).arg(pinned.assets()));
        fs::write(pinned.assets().join("SHA256SUMS"), &sums).unwrap();
        let action = pinned.folder.path().join("action.yml");
        fs::copy(format!("{TOP}/action.yml"), &action).unwrap();
        let mut pin = Command::new(format!("{TOP}/src/scripts/pin"));
        run(pin.arg(pinned.assets()).arg(action).env("GITHUB_REPOSITORY", REPOSITORY));
        Pinned { sum: sums[..64].to_owned(), ..pinned }
    })
}

impl Pinned {
    /// The folder of the assets.
    pub fn assets(&self) -> PathBuf {
        self.folder.path().join("assets")
    }

    /// The asset for this machine.
    pub fn asset(&self) -> PathBuf {
        self.assets().join(format!("token-mint-{TARGET}"))
    }

    /// The asset with one bit flipped.
    pub fn flipped(&self) -> Vec<u8> {
        let mut bytes = fs::read(self.asset()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    }

    /// The pinned action.yml.
    pub fn action_yml(&self) -> String {
        fs::read_to_string(self.folder.path().join("action.yml")).unwrap()
    }
}

/// Runs a command that has to succeed, and returns its stdout.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A job that is about to run.
pub struct Job {
    pub servers: StandIn,
    pub releases: Server,
    pub dir: tempfile::TempDir,
    action_yml: String,
    uses: &'static str,
    with: String,
    env: Vec<(String, String)>,
    path: PathBuf,
    workflow: Option<String>,
    inputs: Option<String>,
}

/// The result of a job.
pub struct Outcome {
    pub green: bool,
    /// The output of the steps, and the annotations. The whole log also has the scripts, with all their messages.
    pub log: String,
    whole_log: String,
    /// The action's outcome and outputs in the next step.
    pub outcome: String,
    pub api_token: String,
    pub expires: String,
}

impl Job {
    /// A job whose publisher matches, of a repository that uses the action by name.
    pub fn new() -> Job {
        Job::of(Setup::default())
    }

    pub fn of(setup: Setup) -> Job {
        let servers = StandIn::start(setup);
        let releases = Server::start(None, |request| releases::answer(request, VERSION, &pinned().assets()));
        let job = Job {
            dir: tempfile::tempdir().unwrap(),
            action_yml: pinned().action_yml(),
            uses: ACTION,
            with: format!("index: {}", servers.index.url("/legacy/")),
            env: vec![],
            path: std::env::var_os("PATH").unwrap().into(),
            workflow: None,
            inputs: None,
            servers,
            releases,
        };
        let releases = job.releases.url("/mirror");
        let env = job.servers.job_env().into_iter().filter(|(name, _)| name.starts_with("ACTIONS_ID_TOKEN_REQUEST_"));
        let job = env.fold(job, |job, (name, value)| job.env(name, &value));
        let tools = job.dir.path().join("tools");
        job.env("TOKEN_MINT_RELEASES", &releases).env("RUNNER_TOOL_CACHE", tools.to_str().unwrap())
    }

    /// Uses the action from the workflow's own repository.
    pub fn locally(mut self) -> Job {
        self.uses = "./";
        self
    }

    /// Uses the action inside another composite action.
    pub fn inside_another_action(mut self) -> Job {
        self.uses = OUTER;
        self
    }

    /// Runs another workflow, which uses the action by name.
    pub fn workflow(mut self, workflow: &str) -> Job {
        self.workflow = Some(workflow.to_owned());
        self
    }

    /// Starts the workflow with a `workflow_dispatch` event. It has these inputs, as JSON.
    pub fn started_with(mut self, inputs: &str) -> Job {
        self.inputs = Some(inputs.to_owned());
        self
    }

    /// Replaces the action's inputs, as YAML. Without this, the only input is the index.
    pub fn with(mut self, inputs: &str) -> Job {
        self.with = inputs.to_owned();
        self
    }

    /// Sets a variable of all steps. As the runner itself sets `RUNNER_…`, these are set for the action's step alone.
    pub fn env(mut self, name: &str, value: &str) -> Job {
        self.env.retain(|(n, _)| n != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Job {
        self.env.retain(|(n, _)| n != name);
        self
    }

    /// Sets the PATH of all steps.
    pub fn path(mut self, path: &Path) -> Job {
        self.path = path.to_owned();
        self
    }

    /// Replaces a text in action.yml.
    pub fn edited(mut self, from: &str, to: &str) -> Job {
        assert!(self.action_yml.contains(from), "{from}");
        self.action_yml = self.action_yml.replace(from, to);
        self
    }

    /// Runs another action.yml.
    pub fn pinned_by(mut self, action_yml: &Path) -> Job {
        self.action_yml = fs::read_to_string(action_yml).unwrap();
        self
    }

    /// The path in the tool cache where the action looks for the executable.
    pub fn cached(&self) -> PathBuf {
        self.dir.path().join(format!("tools/token-mint/{VERSION}/{TARGET}/token-mint"))
    }

    /// The paths of all downloads.
    pub fn downloads(&self) -> Vec<String> {
        self.releases.requests().iter().map(|request| request.path().to_owned()).collect()
    }

    /// Runs the workflow. It fails if the log has a secret.
    pub fn run(&self) -> Outcome {
        let seen = self.dir.path().join("seen");
        let _ = fs::remove_file(&seen);
        let folder = tempfile::tempdir_in(&self.dir).unwrap();
        let action = folder.path().join("action");
        fs::create_dir(&action).unwrap();
        if self.uses == OUTER {
            fs::create_dir(action.join("inner")).unwrap();
            fs::write(action.join("inner/action.yml"), &self.action_yml).unwrap();
            fs::write(action.join("action.yml"), OUTER_ACTION_YML).unwrap();
        } else {
            fs::write(action.join("action.yml"), &self.action_yml).unwrap();
        }
        let env = self.env.iter().filter(|(name, _)| !name.starts_with("RUNNER_"));
        let (green, whole_log) = act::Run {
            folder: folder.path(),
            uses: self.uses,
            workflow: &self.workflow.clone().unwrap_or_else(|| self.own_workflow(&seen)),
            env: env.map(|(name, value)| (&**name, &**value)).collect(),
            path: &self.path,
            inputs: self.inputs.as_deref(),
        }
        .run();
        for secret in self.servers.secrets() {
            assert!(!whole_log.contains(&secret), "the secret {}… is in the log: {whole_log}", &secret[..12]);
        }
        let printed =
            |line: &&str| line.contains("]   | ") || line.contains("]   ❗ ") || line.contains("exit status ");
        let log = whole_log.lines().filter(printed).map(|line| format!("{line}\n")).collect();
        let seen = fs::read_to_string(seen).unwrap_or_default();
        let mut lines = seen.lines().map(str::to_owned);
        let mut line = || lines.next().unwrap_or_default();
        Outcome { green, outcome: line(), api_token: line(), expires: line(), log, whole_log }
    }

    fn own_workflow(&self, seen: &Path) -> String {
        let Job { uses, with, .. } = self;
        let seen = seen.display();
        let runner = self.env.iter().filter(|(name, _)| name.starts_with("RUNNER_"));
        let env: String = runner.map(|(name, value)| format!("\n          {name}: {value}")).collect();
        workflow(&format!(
            "      - id: mint
        uses: {uses}
        env: {env}
        with:
          {with}
      - if: always()
        shell: sh
        env:
          OUTCOME: ${{{{ steps.mint.outcome }}}}
          API_TOKEN: ${{{{ steps.mint.outputs.api-token }}}}
          EXPIRES: ${{{{ steps.mint.outputs.expires }}}}
        run: |
          echo \"a log line with the token: $API_TOKEN\"
          printf '%s\\n' \"$OUTCOME\" \"$API_TOKEN\" \"$EXPIRES\" >'{seen}'
"
        ))
    }

    /// Runs the job. It has to succeed, and the next step has to get the token that the index minted.
    #[track_caller]
    pub fn assert_mints(&self) -> Outcome {
        let outcome = self.run();
        assert!(outcome.green, "{outcome}");
        assert_eq!(outcome.outcome, "success", "{outcome}");
        assert_eq!(Some(&outcome.api_token), self.servers.api_tokens().last(), "{outcome}");
        let secs: u64 = outcome.expires.parse().unwrap();
        assert!(secs > 1_700_000_000, "{outcome}");
        outcome
    }

    /// Runs the job. It has to fail with an annotation that has all these pieces, and may send no request.
    #[track_caller]
    pub fn assert_stops_before_minting(&self, pieces: &[&str]) -> Outcome {
        let outcome = self.assert_fails(pieces);
        assert!(outcome.log.contains("::error title=token-mint::"), "{outcome}");
        assert_eq!(self.servers.requests(), Vec::<String>::new(), "{outcome}");
        outcome
    }

    /// Runs the job. It has to fail without outputs, and its log has to have all these pieces.
    #[track_caller]
    pub fn assert_fails(&self, pieces: &[&str]) -> Outcome {
        // act may lose the last lines of a step that fails. Each failure has an annotation, so without one it is run
        // again.
        let mut outcome = self.run();
        for _ in 0..2 {
            if !outcome.log.contains("::error title=token-mint::") {
                outcome = self.run();
            }
        }
        assert!(!outcome.green, "{outcome}");
        assert_eq!([&outcome.outcome[..], &outcome.api_token, &outcome.expires], ["failure", "", ""], "{outcome}");
        for piece in pieces {
            assert!(outcome.log.contains(piece), "no {piece:?} in {outcome}");
        }
        outcome
    }
}

const OUTER_ACTION_YML: &str = "\
name: Outer
description: Uses the action
inputs:
  index: {description: The index}
outputs:
  api-token: {value: '${{ steps.inner.outputs.api-token }}', description: The API token}
  expires: {value: '${{ steps.inner.outputs.expires }}', description: When it expires}
runs:
  using: composite
  steps:
    - id: inner
      uses: somebody-else/outer/inner@v1
      with:
        index: ${{ inputs.index }}
";

/// A workflow whose one job has these steps, after a checkout.
pub fn workflow(steps: &str) -> String {
    format!(
        "name: Release
on: push
permissions: {{}}
jobs:
  publish:
    name: Publish
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v6
{steps}"
    )
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a run that was {}, with the log\n{}", if self.green { "green" } else { "red" }, self.whole_log)
    }
}

/// Makes a folder with only busybox, and with a link for each of its programs except these.
pub fn busybox(folder: PathBuf, except: &[&str]) -> PathBuf {
    let busybox = run(Command::new("sh").args(["-c", "command -v busybox"]));
    fs::create_dir(&folder).unwrap();
    fs::copy(busybox.trim(), folder.join("busybox")).unwrap();
    for applet in run(Command::new("busybox").arg("--list")).lines().filter(|applet| !except.contains(applet)) {
        let _ = symlink("busybox", folder.join(applet)); // fails for busybox itself, which exists
    }
    folder
}

/// Makes an executable file.
pub fn executable(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
