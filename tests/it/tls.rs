//! TLS on loopback, with a temporary certificate authority. Some tests are for builds that trust Mozilla's root
//! certificates, the others for builds that trust the system's. `make test` runs both.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::harness::{Step, UNREACHABLE_URL};
use crate::stand_in::{Setup, StandIn};

fn tls_servers() -> StandIn {
    StandIn::start(Setup { tls: true, ..Setup::default() })
}

fn trusting_step(servers: &StandIn) -> Step {
    Step::of(servers).trusting(servers.ca_pem.as_ref().unwrap())
}

#[cfg(feature = "mozilla-roots")]
#[test]
fn mozillas_roots_refuse_a_private_ca_and_blame_the_certificate() {
    let servers = tls_servers();
    for step in [Step::of(&servers), trusting_step(&servers)] {
        let outcome = step.run_with(&servers);
        outcome.assert_failed(
            5,
            &["its certificate is not trusted: it is of an unknown certificate authority", "system-roots"],
        );
        assert!(!outcome.stderr.contains("network trouble"), "{outcome}");
    }
    assert_eq!(servers.requests(), [""; 0], "no request is sent to a server that is not trusted");
}

/// The server answers a TLS handshake with an HTTP error, as nginx does on a port without TLS.
#[test]
fn a_server_without_tls_is_reported_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let outcome = Step::with_endpoints(&url, UNREACHABLE_URL).run();
    outcome.assert_failed(5, &["asking GitHub", "no secure connection"]);
}

#[cfg(all(feature = "system-roots", not(target_os = "linux")))]
#[test]
fn the_systems_authorities_count_alone_and_no_variable_names_others() {
    let servers = tls_servers();
    trusting_step(&servers)
        .run_with(&servers)
        .assert_failed(5, &["its certificate is not trusted", "add yours to them"]);
}

/// Only on Linux, variables name the files of root certificates.
#[cfg(all(feature = "system-roots", target_os = "linux"))]
mod system_roots {
    use std::net::{Shutdown, TcpStream};
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;
    use crate::faults::{self, Deadline, Fault, PERMANENT, TRANSIENT, fault};
    use crate::harness::{SLACK, ScriptedServer};
    use crate::proxy::Proxy;
    use crate::stand_in::http::read_request;
    use crate::stand_in::tls::{Authority, HOST, Identity, self_signed};

    #[test]
    fn a_private_ca_will_do_and_tls_is_1_3() {
        let servers = tls_servers();
        let outcome = trusting_step(&servers).run_with(&servers);
        outcome.assert_done();
        assert_eq!(outcome.output("api-token"), Some(servers.api_tokens()[0].as_str()));
        let requests = [servers.github.requests(), servers.index.requests()].concat();
        assert_eq!(requests.len(), 3);
        for request in requests {
            assert_eq!(request.tls_version.as_deref(), Some("TLSv1_3"));
        }
    }

    /// A step that can reach the servers only through this proxy.
    fn step_behind_proxy(proxy: &str, servers: &StandIn) -> Step {
        Step::of(servers).by_host_name(servers).env("https_proxy", proxy)
    }

    #[test]
    fn each_request_goes_through_the_proxy_encrypted() {
        let (servers, proxy) = (tls_servers(), Proxy::start());
        let outcome = step_behind_proxy(&proxy.url(), &servers).run_with(&servers);
        outcome.assert_done();
        assert_eq!(outcome.output("api-token"), Some(servers.api_tokens()[0].as_str()));
        let seen = proxy.requests();
        assert_eq!((seen.len(), servers.requests().len()), (3, 3));
        for head in seen {
            assert!(head.starts_with(&format!("CONNECT {HOST}:")) && !head.contains("Authorization"), "{head}");
        }
    }

    #[test]
    fn the_command_and_the_revocation_go_through_the_proxy_too() {
        let (servers, proxy) = (tls_servers(), Proxy::start());
        let step =
            step_behind_proxy(&proxy.url(), &servers).env("PATH", "/usr/bin:/bin").args(&["--", "sh", "-c", "exit 3"]);
        assert_eq!(step.run_with(&servers).status, 3);
        assert_eq!((servers.revoked().len(), proxy.requests().len()), (1, 4));
    }

    #[test]
    fn a_private_ca_counts_behind_a_proxy_too() {
        let (servers, others, proxy) = (tls_servers(), tls_servers(), Proxy::start());
        let step = step_behind_proxy(&proxy.url(), &servers).trusting(others.ca_pem.as_ref().unwrap());
        step.run_with(&servers).assert_failed(5, &["its certificate is not trusted"]);
    }

    #[test]
    fn ssl_cert_dir_names_a_folder_of_authorities() {
        let servers = tls_servers();
        let step = Step::of(&servers);
        let folder = step.dir.path().join("authorities");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("ca.pem"), servers.ca_pem.as_ref().unwrap()).unwrap();
        step.env("SSL_CERT_DIR", folder.to_str().unwrap()).run_with(&servers).assert_done();
    }

    #[test]
    fn another_ca_is_refused() {
        let (servers, others) = (tls_servers(), tls_servers());
        let step = trusting_step(&others).env("ACTIONS_ID_TOKEN_REQUEST_URL", &servers.github.url("/"));
        step.run_with(&servers).assert_failed(5, &["its certificate is not trusted", "SSL_CERT_FILE"]);
    }

    #[test]
    fn each_fault_of_tls_ends_as_the_docs_say() {
        let authority = Authority::new();
        let ca_pem = authority.pem();
        faults::check(|| faults_of_tls(&authority), "in TLS", |step| step.trusting(&ca_pem));
    }

    #[rustfmt::skip] // one line for each fault
    fn faults_of_tls(authority: &Authority) -> Vec<Fault> {
        let server = |config: Arc<ServerConfig>| over_tls(config, |_| ());
        let good = authority.certify(&["127.0.0.1"], 2020..2100);
        let for_another_name = authority.certify(&["index.example.test"], 2020..2100);
        let alert = b"\x15\x03\x01\x00\x02\x02\x46"; // fatal: protocol_version (RFC 8446, section 6)
        vec![
            fault("self-signed certificate", PERMANENT, "its certificate is not trusted", server(self_signed())),
            fault("certificate of an unknown authority", PERMANENT, "its certificate is not trusted", server(Authority::new().certify(&["127.0.0.1"], 2020..2100))),
            fault("expired certificate", PERMANENT, "certificate expired", server(authority.certify(&["127.0.0.1"], 2020..2021))),
            fault("certificate that is not valid yet", PERMANENT, "not valid yet", server(authority.certify(&["127.0.0.1"], 2090..2100))),
            fault("certificate for another name", PERMANENT, "not valid for name", server(for_another_name)),
            fault("TLS 1.1 and older only", TRANSIENT, "no secure connection", answering_client_hello(alert)),
            fault("no TLS at all", TRANSIENT, "no secure connection", answering_client_hello(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
            fault("garbage in place of the handshake", TRANSIENT, "no secure connection", answering_client_hello(&[0xaa; 999])),
            fault("closed in the handshake", TRANSIENT, "no complete reply came", answering_client_hello(b"")),
            fault("closed in the middle of a handshake record", TRANSIENT, "no complete reply came", answering_client_hello(b"\x16\x03\x03\x00\x7a\x02")),
            fault("reset in the handshake", TRANSIENT, "no complete reply came", ScriptedServer::accepting(|stream| {
                let _ = stream.read(&mut [0; 99]);
                faults::reset(stream);
            }).over_https()),
            fault("silence in the handshake", [Deadline; 3], "timeout", ScriptedServer::accepting(|stream| {
                thread::sleep(Duration::from_secs(20));
                drop(stream.shutdown(Shutdown::Both));
            }).over_https()),
            fault("cut off in the body, without TLS's farewell", TRANSIENT, "", over_tls(Arc::clone(&good), |tls| {
                let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"value\":");
                let _ = tls.flush();
            })),
            fault("cut off without Content-Length and without TLS's farewell", TRANSIENT, "", over_tls(good, |tls| {
                let _ = tls.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"value\":\"eyJh.eyJi.c2lnbmF0dXJl\"}");
                let _ = tls.flush();
            })),
        ]
    }

    /// A server that reads the ClientHello, answers with these bytes, and closes the connection.
    fn answering_client_hello(answer: &'static [u8]) -> ScriptedServer {
        let server = ScriptedServer::accepting(move |stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read(&mut [0; 64]);
        });
        server.over_https()
    }

    /// A server that speaks TLS, reads a request, calls this function, and closes without `close_notify`.
    fn over_tls(config: Arc<ServerConfig>, serve: impl Fn(&mut Tls) + Send + Sync + 'static) -> ScriptedServer {
        let server = ScriptedServer::accepting(move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = StreamOwned::new(connection, stream.try_clone().unwrap());
            if read_request(&mut tls).is_ok() {
                serve(&mut tls);
            }
        });
        server.over_https()
    }

    type Tls = StreamOwned<ServerConnection, TcpStream>;

    /// One byte of the record comes every 50 ms. Each read of the socket is short, but their sum exceeds the deadline.
    #[test]
    fn a_tls_record_that_trickles_in_is_cut_off_at_the_deadline() {
        let identity = Identity::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let config = Arc::clone(&identity.config);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                thread::spawn(move || trickle(stream, ServerConnection::new(config).unwrap()));
            }
        });
        let step = Step::with_endpoints(&url, UNREACHABLE_URL).trusting(&identity.ca_pem).args(&["--timeout", "3"]);
        let outcome = step.run();
        outcome.assert_failed(5, &["timeout of 3 seconds"]);
        assert!(outcome.elapsed < Duration::from_secs(3) + SLACK, "{outcome}");
    }

    fn trickle(stream: TcpStream, connection: ServerConnection) {
        let mut tls = StreamOwned::new(connection, stream);
        read_request(&mut tls).unwrap();
        tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n").unwrap();
        tls.flush().unwrap();
        tls.conn.writer().write_all(&[b' '; 10_000]).unwrap();
        let mut record = Vec::new();
        tls.conn.write_tls(&mut record).unwrap();
        for byte in record {
            if tls.sock.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}
