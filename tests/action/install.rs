//! `make install`. Without cargo, it downloads with the action's own lines of shell.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use crate::job::{REPOSITORY, TARGET, TOP, VERSION, busybox, executable, pinned, run};
use crate::stand_in::http::Server;
use crate::stand_in::{releases, tls};

/// A clone of the repository at a release. It has only the files that the installation needs.
struct Clone {
    dir: tempfile::TempDir,
}

impl Clone {
    fn new() -> Clone {
        let dir = tempfile::tempdir().unwrap();
        run(Command::new("cp").arg("-R").arg(format!("{TOP}/Makefile")).arg(format!("{TOP}/src")).arg(dir.path()));
        fs::write(dir.path().join("action.yml"), pinned().action_yml()).unwrap();
        fs::create_dir(dir.path().join("temp")).unwrap();
        Clone { dir }
    }

    /// `make install` without cargo. `releases` is the URL of a mirror.
    fn make_install(&self, releases: Option<&str>) -> Command {
        let mut make = Command::new("make");
        make.args(["install", "CARGO=no-cargo-here", "DESTDIR=root", "PREFIX=/usr"]).current_dir(self.dir.path());
        make.env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("RUNNER_TEMP", self.dir.path().join("temp"));
        if let Some(releases) = releases {
            make.env("TOKEN_MINT_RELEASES", releases);
        }
        make
    }

    fn installed(&self) -> PathBuf {
        self.dir.path().join("root/usr/bin/token-mint")
    }

    #[track_caller]
    fn assert_installed(&self, output: &Output) {
        assert!(output.status.success(), "{output:?}");
        assert!(fs::read(self.installed()).unwrap() == fs::read(pinned().asset()).unwrap());
        let version = run(Command::new(self.installed()).arg("--version"));
        assert_eq!(version, format!("token-mint {VERSION}\n"));
        self.assert_tidy();
    }

    /// The folder for temporary files has to be empty.
    #[track_caller]
    fn assert_tidy(&self) {
        assert_eq!(fs::read_dir(self.dir.path().join("temp")).unwrap().count(), 0);
    }
}

fn mirror(folder: PathBuf) -> Server {
    Server::start(None, move |request| releases::answer(request, VERSION, &folder))
}

#[test]
fn without_cargo_the_pinned_release_is_installed() {
    let clone = Clone::new();
    let mirror = mirror(pinned().assets());
    let output = clone.make_install(Some(&mirror.url(""))).output().unwrap();
    clone.assert_installed(&output);
}

#[test]
fn busybox_is_enough_to_install() {
    let clone = Clone::new();
    let mirror = mirror(pinned().assets());
    let path = busybox(clone.dir.path().join("path"), &[]);
    let mut sh = Command::new(path.join("sh"));
    sh.args(["src/scripts/install", "root/usr/bin"]).current_dir(clone.dir.path()).env_clear();
    sh.env("PATH", &path).env("RUNNER_TEMP", clone.dir.path().join("temp"));
    sh.env("TOKEN_MINT_RELEASES", mirror.url(""));
    clone.assert_installed(&sh.output().unwrap());
}

#[test]
fn the_release_comes_from_the_pinned_repository() {
    let tls = tls::Identity::new();
    let github =
        Server::start(Some(Arc::clone(&tls.config)), |request| releases::answer(request, VERSION, &pinned().assets()));
    let clone = Clone::new();
    let ca = clone.dir.path().join("ca.pem");
    fs::write(&ca, &tls.ca_pem).unwrap();
    let mut make = clone.make_install(None);
    let output = make.env("CURL_CA_BUNDLE", ca).env("GITHUB_SERVER_URL", github.url("")).output().unwrap();
    clone.assert_installed(&output);
    let asked = github.requests().last().unwrap().path().to_owned();
    assert_eq!(asked, format!("/{REPOSITORY}/releases/download/v{VERSION}/token-mint-{TARGET}"));
}

#[test]
fn outside_a_job_the_release_comes_from_github() {
    let clone = Clone::new();
    let curl = clone.dir.path().join("bin/curl");
    let script = format!(
        "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\ncp '{}' \"$2\" && echo \"$3\" >asked\n",
        pinned().asset().display()
    );
    executable(&curl, script.as_bytes());
    let path = format!("{}:{}", curl.parent().unwrap().display(), std::env::var("PATH").unwrap());
    clone.assert_installed(&clone.make_install(None).env("PATH", path).output().unwrap());
    let asked = fs::read_to_string(clone.dir.path().join("asked")).unwrap();
    let releases = format!("https://github.com/{REPOSITORY}/releases/download");
    assert_eq!(asked, format!("{releases}/v{VERSION}/token-mint-{TARGET}\n"));
}

#[test]
fn without_pins_the_error_says_what_to_do() {
    let clone = Clone::new();
    fs::copy(format!("{TOP}/action.yml"), clone.dir.path().join("action.yml")).unwrap();
    let output = clone.make_install(None).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("check out a release's tag, or install Rust"), "{stderr}");
    clone.assert_tidy();
}

#[test]
fn a_wrong_asset_is_not_installed_and_an_older_one_stays() {
    let clone = Clone::new();
    let folder = clone.dir.path().join("assets");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(format!("token-mint-{TARGET}")), pinned().flipped()).unwrap();
    let mirror = mirror(folder);
    executable(&clone.installed(), b"older");
    let output = clone.make_install(Some(&mirror.url(""))).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(&pinned().sum) && stderr.contains("is pinned") && !stderr.contains("::error"), "{stderr}");
    assert_eq!(fs::read(clone.installed()).unwrap(), b"older");
    clone.assert_tidy();
}

#[test]
fn with_cargo_it_is_built() {
    let clone = Clone::new();
    let cargo = clone.dir.path().join("cargo");
    let script = "#!/bin/sh\n[ \"$*\" = 'build --locked --release' ] && mkdir -p \"$CARGO_TARGET_DIR/release\" &&\n\
                  printf '#!/bin/sh\\necho built\\n' >\"$CARGO_TARGET_DIR/release/token-mint\"\n";
    executable(&cargo, script.as_bytes());
    let make = |target: &str| {
        run(Command::new("make")
            .args([target, "DESTDIR=root", "PREFIX=/usr"])
            .arg(format!("CARGO={}", cargo.display()))
            .current_dir(clone.dir.path())
            .env_remove("CARGO_TARGET_DIR"))
    };
    make("install");
    assert_eq!(run(&mut Command::new(clone.installed())), "built\n");
    // This cargo does not write to the usual folder. An older executable there must not be installed.
    let other_cargo = clone.dir.path().join("other-cargo");
    executable(&other_cargo, b"#!/bin/sh\n");
    let mut stale = Command::new("make");
    stale
        .args(["install", "DESTDIR=other"])
        .arg(format!("CARGO={}", other_cargo.display()))
        .current_dir(clone.dir.path());
    let output = stale.env_remove("CARGO_TARGET_DIR").output().unwrap();
    assert!(!output.status.success() && !clone.dir.path().join("other").exists(), "{output:?}");
    make("uninstall");
    assert!(!clone.installed().exists());
}

/// docs/other-ci.md has this line for images without make and without a clone of the repository.
#[test]
fn the_docs_one_liner_installs_with_busybox() {
    let page = fs::read_to_string(format!("{TOP}/docs/other-ci.md")).unwrap();
    let line = page.split("```sh\n").find(|block| block.starts_with("wget ")).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = busybox(folder.path().join("path"), &[]);
    let mirror = mirror(pinned().assets());
    let one_liner = |sum: &str| {
        assert!(line.contains("https://github.com/OWNER/token-mint-action/releases/download/vVERSION/"), "{line}");
        let line = line
            .replace("https://github.com/OWNER/token-mint-action/releases/download", &mirror.url(""))
            .replace("vVERSION", &format!("v{VERSION}"))
            .replace("x86_64-unknown-linux-musl", TARGET)
            .replace("SHA256", sum);
        Command::new(path.join("sh")).args(["-c", &line]).env_clear().env("PATH", &path).current_dir(&folder).output()
    };
    let is_executable =
        |path: &Path| run(Command::new("sh").args(["-c", "[ -x \"$0\" ] && echo yes || echo no"]).arg(path));
    let exe = folder.path().join("token-mint");
    let output = one_liner(&"0".repeat(64)).unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(is_executable(&exe), "no\n");
    let output = one_liner(&pinned().sum).unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(run(Command::new(exe).arg("--version")), format!("token-mint {VERSION}\n"));
}
