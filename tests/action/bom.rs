//! `make bom`: the list of what is compiled in, and the licences.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::BUILT_EXE;
use crate::job::{TOP, run};

/// SBOM.cdx.json and LICENSES.txt that the repository in this folder makes.
fn lists(repository: &Path) -> [String; 2] {
    let folder = tempfile::tempdir().unwrap();
    run(Command::new(repository.join("src/scripts/bom")).arg(folder.path()));
    ["SBOM.cdx.json", "LICENSES.txt"].map(|name| fs::read_to_string(folder.path().join(name)).unwrap())
}

/// The crates whose source files the executable names in its panic messages, as `NAME-VERSION`.
fn crates_in_executable() -> BTreeSet<String> {
    let exe = fs::read(BUILT_EXE).unwrap();
    let exe = String::from_utf8_lossy(&exe);
    let paths = exe.split("/registry/src/").skip(1).filter_map(|path| path.split_once('/'));
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    let crates: BTreeSet<String> = paths.map(|(_, path)| path.chars().take_while(|&c| is_name(c)).collect()).collect();
    assert!(crates.len() > 10, "{crates:?}");
    crates
}

#[test]
fn the_bill_of_materials_names_what_is_compiled_in_and_no_more() {
    let [sbom, licences] = lists(Path::new(TOP));
    let sbom: serde_json::Value = serde_json::from_str(&sbom).unwrap();
    assert_eq!((sbom["bomFormat"].as_str(), sbom["specVersion"].as_str()), (Some("CycloneDX"), Some("1.5")));
    let word = |component: &serde_json::Value, key: &str| component[key].as_str().unwrap().to_owned();
    let crates = sbom["components"].as_array().unwrap();
    let listed: BTreeSet<String> =
        crates.iter().map(|one| format!("{}-{}", word(one, "name"), word(one, "version"))).collect();
    // The tests enable a feature of aws-lc-rs. That feature needs this crate: see .cargo/deny.toml.
    let missing: Vec<String> = crates_in_executable().difference(&listed).cloned().collect();
    assert_eq!(missing, ["untrusted-0.7.1"]);
    let is_listed = |name: &str| crates.iter().any(|one| word(one, "name") == name);
    for name in ["ctrlc", "signal-hook"] {
        assert!(is_listed(name), "of another target: {name}");
    }
    // Tests, build scripts, macros, other features, or ctrlc on unused targets need these. They are not compiled in.
    for name in
        ["cc", "jsonwebtoken", "nanoserde-derive", "nix", "objc2", "proptest", "rcgen", "ring", "serde_json", "syn"]
    {
        assert!(!is_listed(name), "{name}");
    }
    // Each dependency of a crate is in the list, too.
    let refs: BTreeSet<&str> = crates.iter().filter_map(|one| one["bom-ref"].as_str()).collect();
    let edges = sbom["dependencies"].as_array().unwrap().iter().filter_map(|from| from["dependsOn"].as_array());
    let to: Vec<&str> = edges.flatten().filter_map(|to| to.as_str()).collect();
    assert!(to.len() > 20 && to.iter().all(|to| refs.contains(to)), "{to:?}");
    for one in crates {
        let name = format!("\n{} v{}: ", word(one, "name"), word(one, "version"));
        assert!(licences.contains(&name), "{name}");
    }
    assert!(licences.contains("\nmusl (Linux): COPYRIGHT\n"));
}

#[test]
fn the_lists_are_the_same_wherever_they_are_made_and_name_no_folder_of_this_machine() {
    let other = tempfile::tempdir().unwrap();
    let files = ["Cargo.toml", "Cargo.lock", ".cargo", ".ci", "src", "tests"].map(|name| format!("{TOP}/{name}"));
    run(Command::new("cp").arg("-R").args(files).arg(other.path()));
    let lists_here = lists(Path::new(TOP));
    assert!(lists(other.path()) == lists_here);
    let home = std::env::var("HOME").unwrap();
    for folder in [TOP, other.path().to_str().unwrap(), &home, "/tmp"] {
        assert!(lists_here.iter().all(|list| !list.contains(&format!("{folder}/"))), "{folder}");
    }
}
