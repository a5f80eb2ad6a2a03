//! `make wheels`: the wheels that pip and uv install.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::job::{REPOSITORY, TOP, VERSION, run};
use crate::release::{Release, TARGETS, sum_of};

/// Each target, and the platforms on which pip has to find its wheel.
const PLATFORMS: [(&str, &[&str]); 5] = [
    ("aarch64-apple-darwin", &["macosx_11_0_arm64", "macosx_26_0_arm64"]),
    ("aarch64-unknown-linux-musl", &["manylinux2014_aarch64", "manylinux_2_17_aarch64", "musllinux_1_1_aarch64"]),
    ("x86_64-apple-darwin", &["macosx_11_0_x86_64"]),
    ("x86_64-pc-windows-msvc", &["win_amd64"]),
    ("x86_64-unknown-linux-musl", &["manylinux2014_x86_64", "manylinux_2_17_x86_64", "musllinux_1_1_x86_64"]),
];

/// A release with its wheels.
fn with_wheels() -> Release {
    let release = Release::of(&TARGETS);
    let output = release.make("wheels");
    assert!(output.status.success(), "{output:?}");
    release
}

/// The wheels in a folder, sorted.
fn wheels(release: &Release, folder: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(release.path(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut wheels: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "whl")).collect();
    wheels.sort();
    wheels
}

/// The content of a file in a wheel.
fn unzipped(wheel: &PathBuf, file: &str) -> Vec<u8> {
    let output = Command::new("unzip").arg("-p").arg(wheel).arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn pip_gets_the_executable_that_is_pinned_for_its_platform() {
    let release = with_wheels();
    let output = release.make("pin");
    assert!(output.status.success(), "{output:?}");
    let programs = run(Command::new("src/scripts/programs").arg("src/scripts/wheel.txt").current_dir(TOP));
    for (number, (target, platforms)) in PLATFORMS.iter().enumerate() {
        for platform in *platforms {
            let folder = format!("downloaded-{number}-{platform}");
            let mut pip = Command::new(format!("{}/pip", programs.trim()));
            pip.args(["download", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--find-links"]);
            pip.arg(release.path("dist")).args(["--only-binary", ":all:", "--python-version", "3.7"]);
            pip.args(["--platform", platform, "--dest"]).arg(release.path(&folder)).arg("token-mint");
            run(&mut pip);
            let [wheel] = &wheels(&release, &folder)[..] else { panic!("{platform}") };
            let exe = if target.contains("windows") { "token-mint.exe" } else { "token-mint" };
            let exe = format!("token_mint-{VERSION}.data/scripts/{exe}");
            let copy = release.path("copy");
            fs::write(&copy, unzipped(wheel, &exe)).unwrap();
            assert_eq!(sum_of(&copy), release.pin(target), "{platform}");
            let listed = run(Command::new("unzip").arg("-Z").arg(wheel).arg(&exe));
            assert!(listed.starts_with("-rwxr-xr-x "), "{listed}");
        }
    }
}

#[test]
fn the_same_executables_give_the_same_wheels_whoever_makes_them_and_when() {
    let release = with_wheels();
    let again = "umask 077; cp -R dist 'other place'; rm 'other place'/*.whl; chmod 600 'other place'/*
        TZ=Pacific/Auckland src/scripts/wheels 'other place' again";
    run(Command::new("sh").args(["-ec", again]).current_dir(release.path("")).env("GITHUB_REPOSITORY", REPOSITORY));
    let (first, second) = (wheels(&release, "dist"), wheels(&release, "again"));
    assert_eq!((first.len(), second.len()), (TARGETS.len(), TARGETS.len()));
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first.file_name(), second.file_name());
        assert!(fs::read(first).unwrap() == fs::read(second).unwrap(), "{}", first.display());
    }
}

#[test]
fn a_wheel_says_what_cargo_toml_says_and_needs_nothing() {
    let release = Release::of(&TARGETS);
    let cargo_toml = fs::read_to_string(release.path("Cargo.toml")).unwrap();
    let description = cargo_toml.split("description = \"").nth(1).unwrap().split('"').next().unwrap();
    let raised = cargo_toml.replacen(&format!("version = \"{VERSION}\""), "version = \"12.34.56-rc.7\"", 1);
    fs::write(release.path("Cargo.toml"), raised).unwrap();
    let output = release.make("wheels");
    assert!(output.status.success(), "{output:?}");
    for wheel in wheels(&release, "dist") {
        let name = wheel.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("token_mint-12.34.56rc7-py3-none-"), "{name}");
        let info = "token_mint-12.34.56rc7.dist-info";
        let metadata = String::from_utf8(unzipped(&wheel, &format!("{info}/METADATA"))).unwrap();
        let repository = format!("https://github.com/{REPOSITORY}");
        for line in [
            "Name: token-mint",
            "Version: 12.34.56rc7",
            &format!("Summary: {description}"),
            "License-Expression: Apache-2.0",
            &format!("Project-URL: Repository, {repository}"),
        ] {
            assert!(metadata.lines().any(|found| found == line), "{line}: {metadata}");
        }
        assert!(!metadata.contains("Requires-Dist"), "{metadata}");
        for (name, file) in [("LICENSE", "LICENSE"), ("LICENSES.txt", "dist/LICENSES.txt")] {
            assert!(metadata.lines().any(|found| found == format!("License-File: {name}")), "{metadata}");
            assert!(unzipped(&wheel, &format!("{info}/licenses/{name}")) == fs::read(release.path(file)).unwrap());
        }
    }
}

#[test]
fn a_target_without_a_python_platform_tag_is_an_error() {
    let release = Release::of(&["riscv64gc-unknown-freebsd"]);
    let output = release.make("wheels");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("no Python platform is known for"), "{stderr}");
}
