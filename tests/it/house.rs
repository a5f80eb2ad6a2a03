//! Rules for the source as a whole: no circular imports, and every place that handles a secret is on the list.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The text of each file below `src`, by its path there, without unit tests and comments.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut sources, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("\nmod tests").next().unwrap();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            sources.insert(path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/"), code);
        }
    }
    sources
}

#[test]
fn every_place_that_reveals_a_secret_or_writes_is_on_the_list_in_secret_rs() {
    let count = |code: &str, pieces: &[&str]| pieces.iter().map(|piece| code.matches(piece).count()).sum::<usize>();
    let found: BTreeSet<String> = sources()
        .iter()
        .map(|(file, code)| {
            let reveals = count(code, &[".reveal()"]);
            let writes = count(code, &[".write_all(", ".write(", "::write(", ".set_len(", "File::create("]);
            (file, reveals, writes)
        })
        .filter(|(_, reveals, writes)| reveals + writes > 0)
        .map(|(file, reveals, writes)| format!("| `{file}` | {reveals} | {writes} |"))
        .collect();
    let secret = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/secret.rs")).unwrap();
    let rows = secret.lines().filter_map(|line| line.strip_prefix("//! ")).filter(|line| line.starts_with("| `"));
    let listed = rows.map(|row| row.rsplitn(3, '|').last().unwrap().to_owned() + "|").collect();
    assert_eq!(found, listed);
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
