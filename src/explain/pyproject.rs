//! Finds the project's name: the user's setting, or the name in `./pyproject.toml`, or the names of the files in
//! `./dist`. Only explanations and links use it, so the files are read only for those.

use std::collections::BTreeSet;
use std::path::Path;

use crate::os::file;

/// A longer file is not searched for a name.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// PyPI's own bound (pypi/warehouse, `projects.name`).
const MAX_NAME_CHARS: usize = 200;

/// True for a name that PyPI accepts: letters, digits and `-._`, with a letter or digit at both ends (Python Packaging
/// User Guide, "Names and normalization").
pub fn is_name(text: &str) -> bool {
    let at_end = |c: char| c.is_ascii_alphanumeric();
    text.len() <= MAX_NAME_CHARS
        && text.chars().all(|c| at_end(c) || "-._".contains(c))
        && text.starts_with(at_end)
        && text.ends_with(at_end)
}

/// The projects, as far as they are known. There are several only if the files in `./dist` are of several.
pub fn known(named: Option<&str>) -> Vec<String> {
    let one = named.map(str::to_owned).or_else(in_file);
    one.map_or_else(|| of_files(&file::names(Path::new("dist"))), |one| vec![one])
}

/// The one spelling of a project's name that an index compares (Python Packaging User Guide, "Names and
/// normalization").
pub fn normalized(name: &str) -> String {
    let words = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// The projects of these files: `NAME-VERSION-….whl`, in which NAME has no hyphen, or `NAME-VERSION.tar.gz`, in which
/// it may have some (Python Packaging User Guide, "Binary distribution format" and "Source distribution format").
fn of_files(files: &[String]) -> Vec<String> {
    let name = |file: &String| {
        let name = match file.strip_suffix(".whl") {
            Some(wheel) => wheel.split_once('-').filter(|(_, rest)| rest.matches('-').count() >= 3)?.0,
            None => file.strip_suffix(".tar.gz")?.rsplit_once('-')?.0,
        };
        Some(normalized(name)).filter(|_| is_name(name))
    };
    files.iter().filter_map(name).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The name in `./pyproject.toml`; `None` if there is no such file or no name is found in it.
fn in_file() -> Option<String> {
    let text = String::from_utf8(file::read(Path::new("pyproject.toml"), MAX_FILE_BYTES)?).ok()?;
    in_table(&text, "project").or_else(|| in_table(&text, "tool.poetry"))
}

/// The value of `name = "…"` in one table of a TOML text. Everything else in the text is skipped.
fn in_table(text: &str, table: &str) -> Option<String> {
    let begins_it = |line: &&str| {
        let header = line.split('#').next().unwrap_or_default().trim_end();
        header.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::trim) == Some(table)
    };
    let lines = text.lines().map(str::trim).skip_while(|line| !begins_it(line)).skip(1);
    let mut settings = lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('='));
    let value = settings.find(|(key, _)| key.trim() == "name")?.1.trim_start();
    let quote = value.chars().next().filter(|c| *c == '"' || *c == '\'')?;
    let name = value.get(1..)?.split(quote).next()?;
    Some(name.to_owned()).filter(|name| is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn files_to_be_uploaded_tell_their_project() {
        let of = |files: &[&str]| of_files(&files.iter().map(|file| (*file).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["My_Pkg-1.0-py3-none-any.whl", "my_pkg-1.0.tar.gz", "my-pkg-0.9.tar.gz", "x.txt"]), ["my-pkg"]);
        assert_eq!(of(&["a.b-1.0-1-cp314-cp314-linux_x86_64.whl", "zz-1.tar.gz"]), ["a-b", "zz"]);
        for file in
            ["a.whl", "a-1.whl", "a-1-py3-none.whl", "-1.tar.gz", "a.tar.gz", "a/b-1.tar.gz", "\u{202e}-1.tar.gz"]
        {
            assert!(of(&[file]).is_empty(), "{file}");
        }
        assert_eq!(normalized("A-._b"), "a-b");
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
