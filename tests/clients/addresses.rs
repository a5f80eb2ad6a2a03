//! Servers with several addresses.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::harness::{Step, run_for_stderr};
use crate::mounts::with_files;
use crate::stand_in::tls::HOST;
use crate::stand_in::{Setup, StandIn};

/// An address that answers nothing, as its queue of connections is full, until the returned value is dropped.
fn unresponsive(port: u16) -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind(("::1", port)).unwrap();
    let address = listener.local_addr().unwrap();
    let timeout = Duration::from_millis(200);
    let queue = std::iter::from_fn(|| TcpStream::connect_timeout(&address, timeout).ok()).collect();
    (listener, queue)
}

/// That happens on a machine with IPv6 addresses but without a route.
#[test]
fn an_address_that_does_not_answer_is_skipped() {
    let servers = StandIn::start(Setup { tls: true, ..Setup::default() });
    let step = Step::of(&servers).by_host_name(&servers);
    let ports =
        [servers.github.url(""), servers.index.url("")].map(|url| url.rsplit(':').next().unwrap().parse().unwrap());
    let _unresponsive = ports.map(unresponsive);
    let hosts = step.dir.path().join("hosts");
    std::fs::write(&hosts, format!("::1 {HOST}\n127.0.0.1 {HOST}\n")).unwrap();
    let (status, stderr) = run_for_stderr(&mut with_files(&step.command(), &[("/etc/hosts", &hosts)]));
    assert_eq!(status, Some(0), "{stderr}");
    assert!(!stderr.contains("trying again"), "{stderr}");
    assert_eq!(servers.api_tokens().len(), 1);
}
