//! The project's name: the one that was given, or the one in `./pyproject.toml`. Only explanations and links use it, so the file
//! is read only for those.

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

/// The project's name, if it is known.
pub fn known(named: Option<&str>) -> Option<String> {
    named.map(str::to_owned).or_else(in_file)
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
