//! The token is for one index, but an option of the upload client names another one: nothing is published.
//!
//! `/etc/hosts` maps the names of PyPI and TestPyPI to this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Output;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::harness::Step;
use crate::mounts::with_files;
use crate::stand_in::tls::{PYPI_HOSTS, TESTPYPI_HOST};
use crate::stand_in::{Setup, StandIn};
use crate::uploads::{WHEEL, client, in_project};

const URLS: [&str; 2] = ["https://upload.pypi.org/legacy/", "https://test.pypi.org/legacy/"];
const PYPI: usize = 0;
const TESTPYPI: usize = 1;

/// The result of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
enum UploadResult {
    /// The index that the token is for accepted the file.
    Published,
    /// The other index got the token and refused it.
    RefusedByTheOther,
    /// The client sent nothing.
    NotSent,
}
use UploadResult::*;

/// PyPI and TestPyPI.
struct Indexes {
    servers: [StandIn; 2],
    addresses: [Ipv4Addr; 2],
}

impl Indexes {
    fn start() -> Indexes {
        // A server runs until the process ends. Each needs port 443, so each gets an address of its own.
        static USED: AtomicU8 = AtomicU8::new(0);
        let addresses = [(); 2].map(|()| Ipv4Addr::new(127, 0, 10, 1 + USED.fetch_add(1, Ordering::Relaxed)));
        let start = |index: usize| {
            let index_at = Some(SocketAddr::from((addresses[index], 443)));
            StandIn::start(Setup { tls: true, index_at, audience: ["pypi", "testpypi"][index], ..Setup::default() })
        };
        Indexes { servers: [start(PYPI), start(TESTPYPI)], addresses }
    }

    /// Runs a client with a token for this index. The client's configuration has the names of both indexes.
    fn publish(&self, index: usize, name: &str, arguments: &[&str]) -> Output {
        let step = in_project(Step::of(&self.servers[index])).env("TOKEN_MINT_INDEX", ["pypi", "testpypi"][index]);
        let (top, home) = (step.dir.path(), step.dir.path().join("home"));
        std::fs::create_dir(&home).unwrap();
        let section = |name: &str, url: &str| format!("[{name}]\nrepository = {url}\n");
        let pypirc =
            ["[distutils]\nindex-servers = pypi testpypi\n", &section("pypi", URLS[0]), &section("testpypi", URLS[1])];
        std::fs::write(home.join(".pypirc"), pypirc.concat()).unwrap();
        let uv = |name: &str, url: &str| format!("[[index]]\nname = '{name}'\nurl = '{url}'\npublish-url = '{url}'\n");
        std::fs::write(top.join("uv.toml"), [uv("pypi", URLS[0]), uv("testpypi", URLS[1])].concat()).unwrap();
        let hosts = top.join("hosts");
        let [pypi, testpypi] = self.addresses;
        std::fs::write(&hosts, format!("{pypi} {}\n{testpypi} {TESTPYPI_HOST}\n", PYPI_HOSTS.join(" "))).unwrap();
        let ca_pem: String = self.servers.iter().map(|servers| servers.ca_pem.clone().unwrap()).collect();
        let step = step
            .trusting(&ca_pem)
            .env("POETRY_REPOSITORIES_TESTPYPI_URL", URLS[TESTPYPI])
            .env("PDM_CHECK_UPDATE", "0")
            .args(&["--", client(name).to_str().unwrap()])
            .args(arguments);
        let ca_file = step.dir.path().join("ca.pem").to_str().unwrap().to_owned();
        let step =
            ["REQUESTS_CA_BUNDLE", "PDM_PUBLISH_CA_CERTS"].iter().fold(step, |step, name| step.env(name, &ca_file));
        with_files(&step.command(), &[("/etc/hosts", &hosts)]).output().unwrap()
    }

    /// Publishes with a token of this index, and fails unless the result is this one. The token has to be revoked.
    #[track_caller]
    fn assert_result(&self, index: usize, name: &str, arguments: &[&str], result: UploadResult) {
        let [minted, other] = [&self.servers[index], &self.servers[1 - index]];
        let uploads =
            |servers: &StandIn| servers.requests().iter().filter(|request| *request == "POST /legacy/").count();
        let before = [minted.uploads().len(), minted.revoked().len(), uploads(other)];
        let output = self.publish(index, name, arguments);
        let after = [minted.uploads().len(), minted.revoked().len(), uploads(other)];
        let [published, revoked, refused] = [0, 1, 2].map(|at| after[at] - before[at]);
        let seen = match (published, refused) {
            (1, 0) => Published,
            (0, 1..) => RefusedByTheOther,
            (0, 0) => NotSent,
            _ => panic!("{after:?}: {output:?}"),
        };
        assert_eq!((seen, revoked), (result, 1), "{name} {arguments:?}: {output:?}");
        assert_eq!(other.uploads().len() + other.api_tokens().len(), 0, "{output:?}");
    }
}

/// Runs a client with a token of each index: without an option, and with options that name the other index. In an
/// option, `NAME` and `URL` stand for the name and the URL of that other index.
fn check(name: &str, arguments: &[&str], names: [&str; 2], options: &[(&[&str], UploadResult)]) {
    for index in [PYPI, TESTPYPI] {
        let indexes = Indexes::start();
        indexes.assert_result(index, name, arguments, Published);
        for (option, result) in options {
            let fill = |word: &&str| word.replace("NAME", names[1 - index]).replace("URL", URLS[1 - index]);
            let option: Vec<String> = option.iter().map(fill).collect();
            let all: Vec<&str> = arguments.iter().copied().chain(option.iter().map(String::as_str)).collect();
            indexes.assert_result(index, name, &all, result.clone());
        }
    }
}

const PYPI_NAMES: [&str; 2] = ["pypi", "testpypi"];

#[test]
fn twine() {
    let options: [(&[&str], UploadResult); 4] = [
        (&["-r", "NAME"], RefusedByTheOther),
        (&["-rNAME"], RefusedByTheOther),
        (&["--repository=NAME"], RefusedByTheOther),
        (&["--repository-u", "URL"], RefusedByTheOther),
    ];
    check("twine", &["upload", &format!("dist/{WHEEL}")], PYPI_NAMES, &options);
}

#[test]
fn uv() {
    let options: [(&[&str], UploadResult); 2] =
        [(&["--index", "NAME"], NotSent), (&["--publish-url", "URL"], RefusedByTheOther)];
    check("uv", &["publish"], PYPI_NAMES, &options);
}

#[test]
fn flit() {
    check("flit", &["publish", "--format", "wheel"], PYPI_NAMES, &[(&["--repository", "NAME"], NotSent)]);
}

#[test]
fn hatch() {
    let options: [(&[&str], UploadResult); 2] =
        [(&["-r", "NAME"], RefusedByTheOther), (&["--repo=URL"], RefusedByTheOther)];
    check("hatch", &["publish", "--no-prompt"], ["main", "test"], &options);
}

#[test]
fn pdm() {
    let options: [(&[&str], UploadResult); 2] =
        [(&["-rNAME"], RefusedByTheOther), (&["--repository", "URL"], RefusedByTheOther)];
    check("pdm", &["publish", "--no-build"], PYPI_NAMES, &options);
}

#[test]
fn maturin() {
    let options: [(&[&str], UploadResult); 2] =
        [(&["-r", "NAME"], RefusedByTheOther), (&["--repository-url", "URL"], NotSent)];
    check("maturin", &["upload", &format!("dist/{WHEEL}")], PYPI_NAMES, &options);
}

/// Without an option, Poetry publishes to PyPI.
#[test]
fn poetry() {
    let publish = ["publish", "--no-interaction"];
    for (index, option, result) in [
        (PYPI, &[][..], Published),
        (PYPI, &["-r", "testpypi"], RefusedByTheOther),
        (TESTPYPI, &["-r", "token-mint"], Published),
        (TESTPYPI, &[], RefusedByTheOther),
    ] {
        Indexes::start().assert_result(index, "poetry", &[&publish[..], option].concat(), result);
    }
}

/// twine knows the names of these two indexes only. docs/security.md says what follows from that.
#[test]
fn twine_ignores_a_repositorys_name_where_the_index_is_neither_pypi_nor_testpypi() {
    let servers = StandIn::start(Setup::default());
    let step = in_project(Step::of(&servers)).args(&["--", client("twine").to_str().unwrap(), "upload"]);
    step.args(&["-r", "testpypi", &format!("dist/{WHEEL}")]).run_with(&servers).assert_done();
    assert_eq!(servers.uploads().len(), 1);
}
