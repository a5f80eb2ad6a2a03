//! Rules for the source as a whole: no circular imports, and every place that handles a secret is on the list.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The code of each file below `src`, by its path there: without unit tests, comments and empty lines.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut sources, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue; // src/scripts
            }
            let text = fs::read_to_string(&path).unwrap();
            let (code, tests) = text.split_once("\n#[cfg(test)]\nmod tests {\n").unwrap_or((&text, "}"));
            let is_all = tests.lines().filter(|line| *line == "}").count() == 1 && tests.trim_end().ends_with('}');
            assert!(is_all && !code.contains("\n#[cfg(test)]\nmod tests"), "{path:?} has code after its tests");
            let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
            let code = code.lines().filter(is_code).collect::<Vec<_>>().join("\n");
            sources.insert(path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/"), code);
        }
    }
    sources
}

#[test]
fn every_place_that_could_do_harm_is_on_the_list_in_secret_rs() {
    const REVEALS: [&str; 1] = [".reveal()"];
    const WRITES: [&str; 7] =
        [".write_all(", ".write(", "::write(", ".set_len(", "File::create", "fs::copy", "open_to_append("];
    const SENDS: [&str; 11] = [
        "connect_early(",
        ".spawn()",
        "http.get(",
        ".post_json(",
        "minreq::get(",
        "minreq::post(",
        "TcpStream::connect",
        "Listener::bind(",
        "UdpSocket",
        "UnixStream",
        "Command::new(",
    ];
    let count = |code: &str, pieces: &[&str]| pieces.iter().map(|piece| code.matches(piece).count()).sum::<usize>();
    let found: BTreeSet<String> = sources()
        .iter()
        .map(|(file, code)| (file, [&REVEALS[..], &WRITES, &SENDS].map(|pieces| count(code, pieces))))
        .filter(|(_, counts)| *counts != [0; 3])
        .map(|(file, [reveals, writes, sends])| format!("| `{file}` | {reveals} | {writes} | {sends} |"))
        .collect();
    let secret = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/secret.rs")).unwrap();
    let rows = secret.lines().filter_map(|line| line.strip_prefix("//! ")).filter(|line| line.starts_with("| `"));
    let listed = rows.map(|row| row.rsplitn(3, '|').last().unwrap().to_owned() + "|").collect();
    assert_eq!(found, listed);
}

/// Of all that is below `src/explain`, the table shows two files: whoever only wants to know whether a token is safe can
/// leave the others out. The environment may hold secrets, too, so the variables are listed by their names.
#[test]
fn what_only_explains_gets_no_secret() {
    const ALLOWED: [&str; 10] = [
        "claims.rs",
        "cli.rs",
        "env.rs",
        "error.rs",
        "index.rs",
        "json.rs",
        "net/url.rs",
        "os/file.rs",
        "text.rs",
        "time.rs",
    ];
    const ALSO: [(&str, &str); 2] = [("explain/published.rs", "net/http.rs"), ("explain/report.rs", "os/log.rs")];
    const NEVER: [&str; 11] = [
        "std::env",
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "std::{",
        "crate::{",
        "super::",
        "Env::",
        "minreq",
        "rustix",
    ];
    const VARIABLES: [&str; 5] = [
        "\"GITHUB_EVENT_PATH\"",
        "\"GITHUB_JOB\"",
        "\"GITHUB_STEP_SUMMARY\"",
        "\"GITHUB_WORKSPACE\"",
        "\"TOKEN_MINT_DOCS\"",
    ];
    let sources = sources();
    let mut read = BTreeSet::new();
    for (file, code) in sources.iter().filter(|(file, _)| file.starts_with("explain")) {
        for name in NEVER {
            assert!(!code.contains(name), "{file} has {name}");
        }
        for import in imports(file, code, &sources) {
            let is_allowed = ALLOWED.contains(&&*import) || ALSO.contains(&(file, &*import));
            assert!(is_allowed || import.starts_with("explain"), "{file} imports {import}");
        }
        for call in ["env.get(", "env.text(", "env.is_set(", "env.is_true("] {
            read.extend(code.split(call).skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()));
        }
    }
    assert_eq!(read, VARIABLES.map(str::to_owned).into());
}

/// docs/audit.md promises a reviewer how much there is to read.
#[test]
fn what_has_to_be_audited_is_as_short_as_the_docs_say() {
    let only_explains =
        |file: &str| file.starts_with("explain") && !["explain/published.rs", "explain/report.rs"].contains(&file);
    let sources = sources();
    let code = |is_counted: &dyn Fn(&str) -> bool| {
        sources.iter().filter(|(file, _)| is_counted(file)).map(|(_, code)| code.lines().count()).sum::<usize>()
    };
    let (all, audited) = (code(&|_| true), code(&|file| !only_explains(file)));
    assert!((4750..=4850).contains(&all) && (3380..=3480).contains(&audited), "{all}, {audited}");
}

/// The files that a file names by `crate::…`.
fn imports(file: &str, code: &str, sources: &BTreeMap<String, String>) -> BTreeSet<String> {
    let named = code.split("crate::").skip(1).flat_map(|rest| match rest.strip_prefix('{') {
        Some(group) => group.split('}').next().unwrap().split(',').map(|path| path.trim().to_owned()).collect(),
        None => vec![rest.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c)).next().unwrap().to_owned()],
    });
    named
        .filter_map(|path| {
            let mut parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
            while !parts.is_empty() {
                let file = format!("{}.rs", parts.join("/"));
                if sources.contains_key(&file) {
                    return Some(file);
                }
                parts.pop();
            }
            None
        })
        .filter(|import| import != file)
        .collect()
}

#[test]
fn no_file_imports_itself_by_way_of_others() {
    let sources = sources();
    let mut left: BTreeMap<_, _> =
        sources.iter().map(|(file, code)| (file.clone(), imports(file, code, &sources))).collect();
    assert!(left["main.rs"].is_empty() && left["exchange.rs"].len() > 10, "{left:?}");
    // Whoever imports nothing that is left is in no circle.
    loop {
        let free: Vec<String> = left
            .iter()
            .filter(|(_, of)| of.iter().all(|file| !left.contains_key(file)))
            .map(|(file, _)| file.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|file, _| !free.contains(file));
    }
    assert!(left.is_empty(), "there is a circle in: {left:#?}");
}
