//! A package index as a value: its name, its address and its audience.

use std::fmt;

use crate::net::url::Url;

const UPLOAD_PATH: &str = "/legacy/";

/// An index whose audience is fixed.
#[derive(Debug)]
struct WellKnown {
    name: &'static str,
    /// Also its name in `--index`.
    audience: &'static str,
    origin: &'static str,
    upload_origin: &'static str,
}

static WELL_KNOWN: [WellKnown; 2] = [
    WellKnown { name: "PyPI", audience: "pypi", origin: "https://pypi.org", upload_origin: "https://upload.pypi.org" },
    WellKnown {
        name: "TestPyPI",
        audience: "testpypi",
        origin: "https://test.pypi.org",
        upload_origin: "https://test.pypi.org",
    },
];

/// A package index with trusted publishing.
#[derive(Clone, Debug)]
pub struct Index {
    url: Url,
    /// The address of its web pages.
    pages: Url,
    well_known: Option<&'static WellKnown>,
}

impl Index {
    /// `pypi`, `testpypi`, or a URL. For the endpoints, only a URL's scheme and authority count, so an upload URL
    /// works, too.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn parse(text: &str) -> Result<Index, &'static str> {
        let named = WELL_KNOWN.iter().find(|known| known.audience == text);
        let url = Url::parse(named.map_or(text, |known| known.origin))?;
        let well_known = WELL_KNOWN.iter().find(|known| [known.origin, known.upload_origin].contains(&url.origin()));
        let pages = well_known.map_or(Ok(url.clone()), |known| Url::parse(known.origin))?;
        Ok(Index { url, pages, well_known })
    }

    /// The URL of an endpoint. `path` begins with `/`.
    pub fn at(&self, path: &str) -> Url {
        self.url.with_path(path)
    }

    /// The URL of a public page. PyPI has its endpoints at both of its addresses, and its pages only at one. `path`
    /// begins with `/`.
    pub fn page(&self, path: &str) -> Url {
        self.pages.with_path(path)
    }

    /// True if the URL is one that installers read from.
    pub fn is_for_installers(&self) -> bool {
        matches!(self.url.path().trim_end_matches('/').rsplit('/').next(), Some("simple" | "+simple"))
    }

    /// Scheme and authority: `https://example.org`.
    pub fn origin(&self) -> &str {
        self.url.origin()
    }

    /// PyPI's or TestPyPI's own upload URL; else the URL that was given, with PyPI's path if it has none.
    pub fn upload_url(&self) -> String {
        match self.well_known {
            Some(known) => format!("{}{UPLOAD_PATH}", known.upload_origin),
            None if self.url.path() != "/" => self.url.to_string(),
            None => self.url.with_path(UPLOAD_PATH).to_string(),
        }
    }

    /// True if both are the same index, even at different addresses.
    pub fn is_same_as(&self, other: &Index) -> bool {
        self.name() == other.name()
    }

    /// PyPI or TestPyPI, if an API token that names this host is for one of them, and this index is the other one. What
    /// other indexes' tokens name is not known.
    pub fn other_with_tokens_of(&self, host: &str) -> Option<Index> {
        let other = WELL_KNOWN.iter().find(|known| known.origin.strip_prefix("https://") == Some(host))?;
        if self.well_known?.name == other.name { None } else { Index::parse(other.origin).ok() }
    }

    pub fn is_pypi(&self) -> bool {
        self.name() == "PyPI"
    }

    pub fn is_testpypi(&self) -> bool {
        self.name() == "TestPyPI"
    }

    /// `PyPI`, `TestPyPI`, or the address.
    pub fn name(&self) -> &str {
        self.well_known.map_or(self.origin(), |known| known.name)
    }

    /// The address of the index's web pages, for PyPI and TestPyPI.
    pub fn site(&self) -> Option<&'static str> {
        self.well_known.map(|known| known.origin)
    }

    /// The audience, if it is known without a request.
    pub fn known_audience(&self) -> Option<String> {
        self.well_known.map(|known| known.audience.to_owned())
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.well_known {
            Some(known) => write!(f, "{} ({})", known.name, self.origin()),
            None => f.write_str(self.origin()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known_audience(text: &str) -> Option<&'static str> {
        Index::parse(text).unwrap().well_known.map(|known| known.audience)
    }

    #[test]
    fn pypi_and_testpypi_are_known_by_name_and_by_url() {
        for text in ["pypi", "https://pypi.org", "https://upload.pypi.org:443/legacy/", "https://PyPI.org/"] {
            assert_eq!(known_audience(text), Some("pypi"), "{text}");
        }
        for text in ["testpypi", "https://test.pypi.org/legacy/"] {
            assert_eq!(known_audience(text), Some("testpypi"), "{text}");
        }
        for text in [
            "https://pypi.org.example.org",
            "https://mypypi.org",
            "https://example.org/pypi.org",
            "https://pypi.org:444",
        ] {
            assert_eq!(known_audience(text), None, "{text}");
        }
        assert!(Index::parse("PYPI").is_err());
    }

    #[test]
    fn a_token_of_the_other_known_index_is_noticed_by_its_host() {
        let other = |index: &str, host: &str| {
            Index::parse(index).unwrap().other_with_tokens_of(host).map(|index| index.name().to_owned())
        };
        for index in ["pypi", "https://upload.pypi.org/legacy/"] {
            assert_eq!(other(index, "test.pypi.org").as_deref(), Some("TestPyPI"));
        }
        assert_eq!(other("testpypi", "pypi.org").as_deref(), Some("PyPI"));
        for (index, host) in [
            ("pypi", "pypi.org"),
            ("https://upload.pypi.org/legacy/", "pypi.org"),
            ("testpypi", "test.pypi.org"),
            ("https://example.org", "pypi.org"),
            ("pypi", "example.org"),
            ("pypi", "..."),
            ("pypi", "test.pypi.org/x"),
        ] {
            assert_eq!(other(index, host), None, "{index}, {host}");
        }
    }

    #[test]
    fn an_upload_url_has_the_endpoints_and_not_the_pages() {
        for (text, endpoint, page) in [
            ("https://upload.pypi.org/legacy/", "https://upload.pypi.org/x", "https://pypi.org/x"),
            ("testpypi", "https://test.pypi.org/x", "https://test.pypi.org/x"),
            ("https://example.org/legacy/", "https://example.org/x", "https://example.org/x"),
        ] {
            let index = Index::parse(text).unwrap();
            assert_eq!((index.at("/x").to_string(), index.page("/x").to_string()), (endpoint.into(), page.into()));
        }
    }

    #[test]
    fn the_upload_url_is_the_one_given_or_the_usual_one() {
        for (text, upload_url) in [
            ("pypi", "https://upload.pypi.org/legacy/"),
            ("https://upload.pypi.org/legacy/", "https://upload.pypi.org/legacy/"),
            ("testpypi", "https://test.pypi.org/legacy/"),
            ("https://example.org", "https://example.org/legacy/"),
            ("https://example.org/", "https://example.org/legacy/"),
            ("https://example.org/a/upload?x=1", "https://example.org/a/upload?x=1"),
        ] {
            assert_eq!(Index::parse(text).unwrap().upload_url(), upload_url, "{text}");
        }
    }
}
