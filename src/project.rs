//! The project's name: the one that was given, or the one in `./pyproject.toml`, or that of the files in `./dist`. Only
//! explanations and links use it, so the files are read only for those.

use std::collections::BTreeSet;
use std::path::Path;

use crate::os::file;

/// A longer file is not searched for a name.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// PyPI's own bound (pypi/warehouse, `projects.name`).
const MAX_NAME_CHARS: usize = 200;

/// True for a name that PyPI accepts: letters, digits and `-._`, with a letter or digit at both ends (Python Packaging User
/// Guide, "Names and normalization").
pub fn is_name(text: &str) -> bool {
    let at_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= MAX_NAME_CHARS
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        && at_end(text.chars().next())
        && at_end(text.chars().next_back())
}

/// The projects that this job publishes, as far as they are known. More than one only where `./dist` has files of several.
pub fn names(named: Option<&str>) -> Vec<String> {
    match named.map(str::to_owned).or_else(in_file) {
        Some(name) => vec![name],
        None => {
            let files = file::names_in(Path::new("dist")).unwrap_or_default();
            let names: BTreeSet<String> = files.iter().filter_map(|file| of_file(file)).collect();
            names.into_iter().collect()
        }
    }
}

/// The project in the name of a wheel or a source distribution, normalised (PyPA specifications, "Binary distribution format",
/// "Source distribution format", "Names and normalization").
fn of_file(file: &str) -> Option<String> {
    let name = match file.strip_suffix(".tar.gz") {
        Some(name_and_version) => name_and_version.rsplit_once('-')?.0,
        None => file.strip_suffix(".whl")?.split_once('-')?.0,
    };
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    let normalised = parts.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    Some(normalised).filter(|name| is_name(name))
}

/// The name in `./pyproject.toml`; `None` if there is no such file or no name is found in it.
fn in_file() -> Option<String> {
    let text = String::from_utf8(file::read(Path::new("pyproject.toml"), MAX_FILE_BYTES)?).ok()?;
    in_table(&text, "project").or_else(|| in_table(&text, "tool.poetry"))
}

/// `name = "…"` in one table of a TOML text. It understands just enough TOML for that, and skips everything else.
fn in_table(text: &str, table: &str) -> Option<String> {
    let mut here = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            let header = line.split('#').next().unwrap_or_default().trim_end();
            here = header.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::trim) == Some(table);
        } else if let Some((_, value)) = line.split_once('=').filter(|(key, _)| here && key.trim() == "name") {
            let value = value.trim_start();
            let quote = value.chars().next().filter(|c| *c == '"' || *c == '\'')?;
            let name = value.get(1..)?.split(quote).next()?;
            return Some(name.to_owned()).filter(|name| is_name(name));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_s_name_tells_the_project() {
        for (file, name) in [
            ("sample_project-1.0-py3-none-any.whl", Some("sample-project")),
            ("sample_project-1.0-1-cp312-cp312-linux_x86_64.whl", Some("sample-project")),
            ("Sample.Project-1.0.tar.gz", Some("sample-project")),
            ("zope-interface-7.0rc1.tar.gz", Some("zope-interface")),
            ("sample_project-1.0.zip", None),
            ("sample_project.tar.gz", None),
            ("..-1.tar.gz", None),
            ("%0a-1.tar.gz", None),
            (".whl", None),
        ] {
            assert_eq!(of_file(file).as_deref(), name, "{file}");
        }
    }

    #[test]
    fn a_name_is_what_pypi_takes() {
        for name in ["a", "A1", "a-b_c.d", "0x"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "a b", "a/b", "a?b", "ä", "a\n", &"a".repeat(201)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn the_name_is_read_from_its_table() {
        let name = |text: &str| in_table(text, "project");
        assert_eq!(name("[project]\nname = \"a-b\"\n").as_deref(), Some("a-b"));
        assert_eq!(
            name("[build-system]\nname=\"x\"\n\n [ project ] # c\n  version='1'\nname='y' # c\n").as_deref(),
            Some("y")
        );
        for text in [
            "",
            "name = \"x\"",
            "[project.urls]\nname = \"x\"",
            "[tool.x]\nname = \"x\"",
            "[project]\n[x]\nname = \"x\"",
            "[project]\nname = x",
            "[project]\nname = \"a/../b\"",
            "[project]\nname = \"\"",
            "[project]\nname =",
            "[project]\nnames = \"x\"",
        ] {
            assert_eq!(name(text), None, "{text}");
        }
        assert_eq!(in_table("[tool.poetry]\nname = \"p\"", "tool.poetry").as_deref(), Some("p"));
    }
}
