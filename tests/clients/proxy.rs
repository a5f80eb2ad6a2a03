//! A real proxy: tinyproxy. It has its own `/etc/hosts`, which has the index's name.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::net::{AddressFamily, SocketType};

use crate::harness::{Step, wait_until};
use crate::mounts::with_files;
use crate::stand_in::tls::HOST;
use crate::stand_in::{Setup, StandIn};

struct Tinyproxy {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Tinyproxy {
    fn start() -> Tinyproxy {
        let folder = tempfile::tempdir().unwrap();
        // While this socket is bound, no other program gets the port. With SO_REUSEADDR, tinyproxy can still listen
        // there.
        let reserved = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::sockopt::set_socket_reuseaddr(&reserved, true).unwrap();
        rustix::net::bind(&reserved, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let port = SocketAddr::try_from(rustix::net::getsockname(&reserved).unwrap()).unwrap().port();
        let (config, hosts) = (folder.path().join("tinyproxy.conf"), folder.path().join("hosts"));
        std::fs::write(&hosts, format!("127.0.0.1 {HOST}\n")).unwrap();
        std::fs::write(&config, format!("Port {port}\nListen 127.0.0.1\nTimeout 20\nBasicAuth me s3cret-x\n")).unwrap();
        let mut tinyproxy = Command::new("tinyproxy");
        tinyproxy.arg("-d").arg("-c").arg(&config).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let mut tinyproxy = with_files(&tinyproxy, &[("/etc/hosts", &hosts)]);
        let process = tinyproxy.stdout(Stdio::null()).spawn().unwrap();
        wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        Tinyproxy { process, port, _folder: folder }
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn step(servers: &StandIn, credentials: &str, proxy: &Tinyproxy) -> Step {
    let step = Step::of(servers).by_host_name(servers).secret("s3cret");
    step.env("HTTPS_PROXY", &format!("http://{credentials}127.0.0.1:{}", proxy.port))
}

#[test]
fn a_token_is_minted_and_revoked_through_tinyproxy() {
    let (servers, proxy) = (StandIn::start(Setup { tls: true, ..Setup::default() }), Tinyproxy::start());
    step(&servers, "me:s3cret%2Dx@", &proxy).args(&["check"]).run_with(&servers).assert_done();
    assert_eq!(servers.revoked().len(), 1);
    for credentials in ["", "me:wrong@"] {
        let outcome = step(&servers, credentials, &proxy).run_with(&servers);
        outcome.assert_failed(5, &["asking the index for its audience", "the proxy "]);
    }
    assert_eq!(servers.api_tokens().len(), 1);
}
