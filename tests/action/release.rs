//! `make pin`, `make verify` and `make release`, which the release workflow calls.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::job::{REPOSITORY, TOP, VERSION, executable, run};

pub const TARGETS: [&str; 5] = [
    "aarch64-apple-darwin",
    "aarch64-unknown-linux-musl",
    "x86_64-apple-darwin",
    "x86_64-pc-windows-msvc",
    "x86_64-unknown-linux-musl",
];

/// A clone of the repository with the assets of a release. The assets are not executable.
pub struct Release {
    dir: tempfile::TempDir,
}

impl Release {
    pub fn of(targets: &[&str]) -> Release {
        let release = Release { dir: tempfile::tempdir().unwrap() };
        let files = ["Cargo.toml", "LICENSE", "Makefile", "action.yml", "src"].map(|name| format!("{TOP}/{name}"));
        run(Command::new("cp").arg("-R").args(files).arg(release.dir.path()));
        release.assets("dist", targets);
        // This `gh` downloads the files in `to-download`. Each file has an attestation unless `unattested` lists it.
        let gh = "#!/bin/sh
            echo \"$*\" >>gh.log
            case $1 in
              release) mv to-download published ;;
              attestation) ! grep -qxF \"$3\" unattested 2>/dev/null ;;
            esac\n";
        executable(&release.path("bin/gh"), gh.as_bytes());
        release
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Fills a folder with assets and their sums.
    fn assets(&self, folder: &str, targets: &[&str]) {
        fs::create_dir_all(self.path(folder)).unwrap();
        for target in targets {
            fs::write(self.path(folder).join(format!("token-mint-{target}")), format!("of {target}")).unwrap();
        }
        for list in ["SBOM.cdx.json", "LICENSES.txt"] {
            fs::write(self.path(folder).join(list), list).unwrap();
        }
        self.sums(folder);
    }

    /// Makes `make dist` and `make bom` do nothing, as these tests are not about building.
    fn already_built(&self) {
        for script in ["src/scripts/dist", "src/scripts/bom"] {
            executable(&self.path(script), b"#!/bin/sh\n");
        }
    }

    fn sums(&self, folder: &str) {
        let sums = run(Command::new(self.path("src/scripts/sums")).arg(self.path(folder)));
        fs::write(self.path(folder).join("SHA256SUMS"), sums).unwrap();
    }

    /// Adds the wheels to a folder's assets, as the workflow of `REPOSITORY` does.
    fn wheels(&self, folder: &str) {
        let mut wheels = Command::new(self.path("src/scripts/wheels"));
        run(wheels.args([self.path(folder), self.path(folder)]).env("GITHUB_REPOSITORY", REPOSITORY));
        self.sums(folder);
    }

    /// Runs make as a workflow of this repository does. If the name is empty, as a person does.
    pub fn make_as(&self, repository: &str, target: &str) -> Output {
        let mut make = Command::new("make");
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        make.arg(target).current_dir(&self.dir).env("PATH", path).env_remove("DIST");
        make.env("GITHUB_REPOSITORY", repository);
        let output = make.output().unwrap();
        println!("make {target}: {output:?}");
        output
    }

    pub fn make(&self, target: &str) -> Output {
        self.make_as(REPOSITORY, target)
    }

    fn action_yml(&self) -> String {
        fs::read_to_string(self.path("action.yml")).unwrap()
    }

    /// The pinned sum of a target in action.yml.
    pub fn pin(&self, target: &str) -> String {
        let action = self.action_yml();
        let line = action.lines().find(|line| line.contains(&format!("target={target} "))).unwrap();
        line.split("sum=").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    }

    #[track_caller]
    fn assert_refuses(&self, why: &str) {
        let before = self.action_yml();
        let output = self.make("pin");
        assert!(!output.status.success());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(why), "{stderr}");
        assert_eq!(self.action_yml(), before);
    }
}

pub fn sum_of(path: &Path) -> String {
    run(Command::new("sha256sum").arg(path))[..64].to_owned()
}

#[test]
fn pin_writes_version_repository_and_every_sum_and_nothing_else() {
    let release = Release::of(&TARGETS);
    let before = release.action_yml();
    let cargo_toml = fs::read_to_string(release.path("Cargo.toml")).unwrap();
    let raised = cargo_toml.replacen(&format!("version = \"{VERSION}\""), "version = \"12.34.56-rc.7\"", 1);
    assert_ne!(raised, cargo_toml);
    fs::write(release.path("Cargo.toml"), raised).unwrap();
    assert!(release.make("pin").status.success());
    let after = release.action_yml();
    assert!(after.contains(&format!("\n        version=12.34.56-rc.7 repository={REPOSITORY} #")), "{after}");
    for target in TARGETS {
        assert_eq!(release.pin(target), sum_of(&release.path(&format!("dist/token-mint-{target}"))));
    }
    let unpinned = |text: &str| {
        let words = text.split(' ').filter(|word| !word.starts_with("sum=") && !word.starts_with("repository="));
        words.collect::<String>().replace("version=12.34.56-rc.7", &format!("version={VERSION}"))
    };
    assert_eq!(unpinned(&after), unpinned(&before));
    // A second run changes nothing.
    assert!(release.make("pin").status.success());
    assert_eq!(release.action_yml(), after);
}

#[test]
fn pin_keeps_the_repository_that_is_pinned_unless_a_workflow_names_one() {
    let release = Release::of(&TARGETS);
    for odd in ["", "a b/c", "a/b;c", "a|b"] {
        let before = release.action_yml();
        let output = release.make_as(odd, "pin");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && stderr.contains("nor GITHUB_REPOSITORY names an OWNER/REPO"),
            "{odd}: {stderr}"
        );
        assert_eq!(release.action_yml(), before);
    }
    for (named, pinned) in
        [("a/b", "a/b"), ("", "a/b"), ("Octo-Org/re.po_2", "Octo-Org/re.po_2"), ("", "Octo-Org/re.po_2")]
    {
        assert!(release.make_as(named, "pin").status.success());
        assert!(release.action_yml().contains(&format!(" repository={pinned} #")), "{}", release.action_yml());
    }
}

#[test]
fn a_target_that_was_not_built_loses_its_sum() {
    let release = Release::of(&TARGETS);
    assert!(release.make("pin").status.success());
    let windows = release.path("dist/token-mint-x86_64-pc-windows-msvc");
    fs::remove_file(windows).unwrap();
    release.assets("dist", &["x86_64-unknown-linux-musl"]);
    assert!(release.make("pin").status.success());
    assert_eq!(release.pin("x86_64-pc-windows-msvc"), "");
    assert_eq!(release.pin("x86_64-unknown-linux-musl").len(), 64);
}

#[test]
fn pin_takes_a_name_as_it_is() {
    Release::of(&["x86_64.unknown-linux-musl"]).assert_refuses("is an odd name");
}

#[test]
fn pin_refuses_sums_that_do_not_match_the_files() {
    let release = Release::of(&TARGETS);
    fs::write(release.path("dist/token-mint-x86_64-apple-darwin"), "changed").unwrap();
    release.assert_refuses("have other sums");

    let release = Release::of(&TARGETS);
    fs::remove_file(release.path("dist/token-mint-x86_64-apple-darwin")).unwrap();
    release.assert_refuses("have other sums");

    let release = Release::of(&TARGETS);
    fs::write(release.path("dist/token-mint-unlisted"), "no sum").unwrap();
    release.assert_refuses("have other sums");

    let release = Release::of(&["riscv64gc-unknown-linux-musl", "x86_64-unknown-linux-musl"]);
    release.assert_refuses("no place for the sum of riscv64gc-unknown-linux-musl");

    let release = Release::of(&TARGETS);
    fs::write(release.path("dist/notes.txt"), "no asset").unwrap();
    release.sums("dist");
    release.assert_refuses("notes.txt is no asset of a release");

    let release = Release::of(&TARGETS);
    fs::remove_file(release.path("dist/SHA256SUMS")).unwrap();
    release.assert_refuses("SHA256SUMS: run make dist");
}

#[test]
fn verify_compares_what_was_published_pinned_and_built() {
    let release = Release::of(&["aarch64-unknown-linux-musl", "x86_64-unknown-linux-musl"]);
    release.already_built();
    release.assets("published", &TARGETS);
    release.wheels("published");
    let verify = || {
        let output = release.make("verify");
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (done, stderr) = verify();
    assert!(!done && stderr.contains("action.yml names no repository"), "{stderr}");

    let pin = |folder: &str| {
        let mut pin = Command::new(release.path("src/scripts/pin"));
        run(pin.arg(release.path(folder)).env("GITHUB_REPOSITORY", REPOSITORY))
    };
    release.assets("others", &TARGETS[1..]);
    pin("others");
    let (done, stderr) = verify();
    assert!(!done && stderr.contains("action.yml pins something else"), "{stderr}");

    assert!(pin("published").contains("x86_64"));
    assert!(verify().0);
    assert!(release.make_as("a/fork", "verify").status.success(), "in a workflow of another repository, too");

    fs::write(release.path("dist/token-mint-x86_64-unknown-linux-musl"), "other bytes").unwrap();
    let (done, stderr) = verify();
    assert!(!done && stderr.contains("is not what was published"), "{stderr}");

    release.assets("dist", &["x86_64-unknown-linux-musl"]);
    assert!(verify().0);
    fs::write(release.path("published/token-mint-x86_64-apple-darwin"), "changed later").unwrap();
    let (done, stderr) = verify();
    assert!(!done && stderr.contains("have other sums"), "{stderr}");
}

#[test]
fn verify_takes_only_wheels_that_hold_what_was_published() {
    let release = published();
    let wheel = "token_mint-*macosx*arm64.whl";
    for change in [
        "true".to_owned(),
        format!("printf x >>published/{wheel}"),
        format!("rm published/{wheel}"),
        format!("cp published/{wheel} published/token_mint-{VERSION}-py3-none-any.whl"),
    ] {
        let change = format!("rm -rf published; cp -R dist published; {change}");
        run(Command::new("sh").args(["-ec", &change]).current_dir(&release.dir));
        release.sums("published");
        let output = release.make("verify");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let as_published = change.ends_with("true");
        assert_eq!(output.status.success(), as_published, "{change}: {output:?}");
        assert!(
            as_published || stderr.contains("is not what src/scripts/wheels makes of the executables"),
            "{change}: {stderr}"
        );
    }
}

/// A release that is published and pinned, and whose assets have been built here, too.
fn published() -> Release {
    let release = Release::of(&TARGETS);
    release.already_built();
    release.wheels("dist");
    assert!(release.make("pin").status.success());
    run(Command::new("cp").args(["-R", "dist", "published"]).current_dir(&release.dir));
    release
}

#[test]
fn verify_downloads_the_release_that_is_pinned() {
    let release = published();
    fs::rename(release.path("published"), release.path("to-download")).unwrap();
    assert!(release.make("verify").status.success());
    let gh_log = fs::read_to_string(release.path("gh.log")).unwrap();
    let first = format!("release download v{VERSION} --repo {REPOSITORY} --dir published");
    assert_eq!(gh_log.lines().next().unwrap(), first);
}

#[test]
fn verify_needs_the_release_workflows_attestation_of_each_file() {
    let release = published();
    assert!(release.make("verify").status.success());
    let gh_log = fs::read_to_string(release.path("gh.log")).unwrap();
    let files = TARGETS.len() * 2 + 2;
    assert_eq!(gh_log.lines().count(), files, "{gh_log}");
    let by =
        format!("--repo {REPOSITORY} --source-ref refs/heads/main --signer-workflow {REPOSITORY}/.github/workflows/");
    assert_eq!(gh_log.matches(&format!("{by}release.yml\n")).count(), files, "{gh_log}");
    for file in ["token-mint-x86_64-pc-windows-msvc", "LICENSES.txt"] {
        fs::write(release.path("unattested"), format!("published/{file}\n")).unwrap();
        let output = release.make("verify");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(&format!("that it made {file}")), "{stderr}");
    }
}

#[test]
fn verify_compares_the_lists_of_what_is_compiled_in() {
    for list in ["SBOM.cdx.json", "LICENSES.txt"] {
        let release = published();
        fs::write(release.path("dist").join(list), "another").unwrap();
        let output = release.make("verify");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains("is not what was published"), "{stderr}");
    }
}

/// A release that can be published. Its origin is a bare repository. Its `gh` records its arguments, and the number of
/// tags that the origin has then.
fn publishable(targets: &[&str]) -> Release {
    let release = Release::of(targets);
    // `release create` fails if the tag exists locally, as gh's does. `release view` finds no release.
    let gh = "#!/bin/sh
        { echo \"$*\"; git ls-remote --refs origin 'refs/tags/*' | wc -l; } >>gh.log
        case $2 in
          view) exit 1 ;;
          create)
            ! git rev-parse --quiet --verify \"refs/tags/$3\" >/dev/null || exit 1
            while [ \"$1\" != --notes-file ]; do shift; done
            cp \"$2\" notes.md ;;
        esac
";
    executable(&release.path("bin/gh"), gh.as_bytes());
    fs::create_dir(release.path("docs")).unwrap();
    let changes = format!(
        "# Changes\n\n## [Unreleased]\n\n- later\n\n## [{VERSION}] - 2027-01-02\n\n- this one\n\n## [0.0.1] - 2026-01-02\n\n- earlier\n"
    );
    fs::write(release.path("docs/CHANGELOG.md"), changes).unwrap();
    let setup = "git init --quiet --bare origin.git
        git init --quiet --initial-branch main
        git config user.name dev
        git config user.email dev@localhost
        git remote add origin \"$PWD/origin.git\"
        printf '%s\\n' /dist/ /bin/ /origin.git/ /gh.log /notes.md >.gitignore
        git add --all
        git commit --quiet --message start
        git push --quiet origin main";
    run(Command::new("sh").args(["-ec", setup]).current_dir(&release.dir));
    release
}

fn make_release(release: &Release) -> Output {
    let path = format!("{}:{}", release.path("bin").display(), std::env::var("PATH").unwrap());
    let mut make = Command::new("make");
    make.arg("release").current_dir(&release.dir).env("PATH", path).env_remove("GITHUB_REF_NAME");
    make.env("GITHUB_REPOSITORY", REPOSITORY);
    make.output().unwrap()
}

#[test]
fn release_pins_commits_tags_pushes_and_publishes() {
    let release = publishable(&TARGETS);
    release.wheels("dist");
    let output = make_release(&release);
    assert!(output.status.success(), "{output:?}");
    let git = |args: &[&str]| run(Command::new("git").args(args).current_dir(release.path("origin.git")));
    let tag = format!("v{VERSION}");
    // One commit was pushed, as main and as the tag. It changes only the pins.
    assert_eq!(git(&["rev-parse", "main"]), git(&["rev-parse", &format!("{tag}^{{commit}}")]));
    assert_eq!(git(&["rev-list", "--count", "main"]), "2\n");
    assert_eq!(git(&["diff", "--name-only", "main~", "main"]), "action.yml\n");
    assert_eq!(git(&["show", "main:action.yml"]), release.action_yml());
    assert_eq!(release.pin("x86_64-apple-darwin").len(), 64);
    // The release is created as a draft with all assets. Then the tag is pushed, and then the release is published.
    let gh_log = fs::read_to_string(release.path("gh.log")).unwrap();
    let lines: Vec<&str> = gh_log.lines().map(str::trim).collect();
    let [_, "0", create, "0", edit, "1"] = lines[..] else { panic!("{lines:?}") };
    assert!(create.starts_with(&format!("release create {tag} --draft ")), "{create}");
    let others = ["SHA256SUMS", "SBOM.cdx.json", "LICENSES.txt"].map(str::to_owned);
    for asset in TARGETS.map(|target| format!("token-mint-{target}")).iter().chain(&others) {
        assert!(create.split(' ').any(|word| word == format!("dist/{asset}")), "{create}");
    }
    assert_eq!(create.matches(".whl").count(), TARGETS.len(), "{create}");
    assert_eq!(edit, format!("release edit {tag} --draft=false"));
    assert_eq!(lines[0], format!("release view {tag}"));
    // The notes have the changes, the line for a workflow, and the sums.
    let (commit, notes) = (git(&["rev-parse", "main"]), fs::read_to_string(release.path("notes.md")).unwrap());
    let uses = format!("      - uses: {REPOSITORY}@{} # {tag}\n", commit.trim());
    assert!(notes.starts_with("\n- this one\n") && notes.contains(&uses), "{notes}");
    assert!(notes.contains(&fs::read_to_string(release.path("dist/SHA256SUMS")).unwrap()), "{notes}");
    assert!(!notes.contains("later") && !notes.contains("earlier"), "{notes}");
    // A second release of the same version is refused before anything is changed.
    let output = make_release(&release);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is there already"), "{output:?}");
    assert_eq!(fs::read_to_string(release.path("gh.log")).unwrap(), gh_log);
}

#[test]
fn a_release_without_all_targets_is_refused() {
    let release = publishable(&TARGETS[1..]);
    let output = make_release(&release);
    assert!(!output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("aarch64-apple-darwin"), "{output:?}");
    assert!(!fs::read_to_string(release.path("gh.log")).unwrap().contains("create"));
    assert_eq!(run(Command::new("git").args(["tag"]).current_dir(release.path("origin.git"))), "");
}

#[test]
fn a_release_without_its_part_of_the_changelog_is_refused() {
    let release = publishable(&TARGETS);
    let path = release.path("docs/CHANGELOG.md");
    let changes = fs::read_to_string(&path).unwrap();
    fs::write(path, changes.replace(" - 2027-01-02", " - not released yet")).unwrap();
    let output = make_release(&release);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains(&format!("no part '## [{VERSION}] - DATE'")), "{stderr}");
}

/// Another commit was pushed to main meanwhile.
#[test]
fn a_release_that_can_not_be_pushed_leaves_nothing_behind() {
    let release = publishable(&TARGETS);
    let git = |args: &[&str]| run(Command::new("git").args(args).current_dir(&release.dir));
    git(&["commit", "--quiet", "--allow-empty", "--message", "meanwhile"]);
    git(&["push", "--quiet", "origin", "main"]);
    git(&["reset", "--quiet", "--hard", "HEAD~"]);
    let output = make_release(&release);
    assert!(
        !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("run the workflow again"),
        "{output:?}"
    );
    let gh_log = fs::read_to_string(release.path("gh.log")).unwrap();
    assert!(
        gh_log.contains(&format!("release delete v{VERSION} --yes")) && !gh_log.contains("release edit"),
        "{gh_log}"
    );
    assert_eq!(run(Command::new("git").args(["tag"]).current_dir(release.path("origin.git"))), "");
}

#[test]
fn a_release_of_changes_that_are_in_no_commit_is_refused() {
    let release = publishable(&TARGETS);
    fs::write(release.path("Makefile"), "release:\n\t@src/scripts/release dist\n").unwrap();
    let output = make_release(&release);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("in no commit"), "{output:?}");
}
