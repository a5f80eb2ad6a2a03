//! Google Cloud: `/etc/hosts` maps the names of the metadata server and of IAM to this machine.

use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::Step;
use crate::mounts::with_files;
use crate::stand_in::http::{Request, Response, Server};
use crate::stand_in::tls::Identity;
use crate::stand_in::{Setup, StandIn};

const ACCESS_TOKEN: &str = "ya29.an-access-token-that-is-secret";
const ACCOUNT: &str = "release@project.iam.gserviceaccount.com";

/// Runs the step with the metadata server and IAM at this address, on a machine of this product name
/// (`/sys/class/dmi`).
fn run(step: &Step, address: &str, product: &str) -> Output {
    let (hosts, sys) = (step.dir.path().join("hosts"), step.dir.path().join("sys"));
    std::fs::write(&hosts, format!("{address} metadata.google.internal iamcredentials.googleapis.com\n")).unwrap();
    std::fs::create_dir_all(sys.join("class/dmi/id")).unwrap();
    std::fs::write(sys.join("class/dmi/id/product_name"), format!("{product}\n")).unwrap();
    with_files(&step.command(), &[("/etc/hosts", &hosts), ("/sys", &sys)]).output().unwrap()
}

fn on_google(servers: &StandIn) -> Step {
    let step = Step::bare().env("TOKEN_MINT_INDEX", &servers.index.url("/legacy/")).env("PATH", "/usr/bin:/bin");
    // The program has to ignore the proxy for the metadata server: nobody listens there.
    step.env("http_proxy", "http://127.0.0.1:9")
        .env("https_proxy", "http://127.0.0.1:9")
        .env("no_proxy", "googleapis.com")
}

/// A metadata server that issues this ID token and `ACCESS_TOKEN`.
fn metadata(address: &str, id_token: String) -> Server {
    let listener = TcpListener::bind((address, 80)).unwrap();
    Server::on(listener, None, move |request| {
        if request.header("Metadata-Flavor") != Some("Google")
            || request.header("Host") != Some("metadata.google.internal")
        {
            return Response::text(403, "Forbidden");
        }
        let account = "/computeMetadata/v1/instance/service-accounts/default";
        match request.path().strip_prefix(account) {
            Some("/identity") if request.parameter("format").as_deref() == Some("full") => {
                assert_eq!(request.parameter("audience").as_deref(), Some("pypi"));
                Response::text(200, &format!("{id_token}\n"))
            }
            Some("/token") => Response::json(200, &json!({"access_token": ACCESS_TOKEN, "expires_in": 3599})),
            _ => Response::text(404, "Not Found"),
        }
    })
}

#[track_caller]
fn assert_token_on_stdout(output: &Output, servers: &StandIn) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&output.stdout), format!("{}\n", servers.api_tokens().concat()), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains(ACCESS_TOKEN));
    assert!(output.status.success());
}

#[test]
fn a_machine_of_googles_is_recognised_by_its_product_name_and_uses_its_own_account() {
    for (address, product) in [("127.0.9.1", "Google"), ("127.0.9.2", "Google Compute Engine")] {
        let servers = StandIn::start(Setup::default());
        let _metadata = metadata(address, servers.id_token("pypi"));
        assert_token_on_stdout(&run(&on_google(&servers), address, product), &servers);
    }
    let servers = StandIn::start(Setup::default());
    let output = run(&on_google(&servers), "127.0.9.1", "Googleplex");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

#[test]
fn another_service_account_can_be_impersonated() {
    let address = "127.0.9.3";
    let servers = StandIn::start(Setup::default());
    let id_token = servers.id_token("pypi");
    let metadata = metadata(address, "not.this.one".to_owned());
    let tls = Identity::new();
    let listener = TcpListener::bind((address, 443)).unwrap();
    let reply = json!({"token": id_token});
    let iam = Server::on(listener, Some(tls.config.clone()), move |_| Response::json(200, &reply));
    let step = on_google(&servers).env("GOOGLE_SERVICE_ACCOUNT_NAME", ACCOUNT);
    let step = step.trusting(&tls.ca_pem);
    assert_token_on_stdout(&run(&step, address, "another product"), &servers);
    assert_eq!(metadata.requests().len(), 1);
    let [Request { method, target, headers, body, .. }] = &iam.requests()[..] else { panic!() };
    assert_eq!(
        (method.as_str(), target.as_str()),
        ("POST", &*format!("/v1/projects/-/serviceAccounts/{ACCOUNT}:generateIdToken"))
    );
    assert!(headers.contains(&("Authorization".to_owned(), format!("Bearer {ACCESS_TOKEN}"))));
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    assert_eq!(body, json!({"audience": "pypi", "includeEmail": true}));
}

#[test]
fn the_cloudbuild_yaml_in_the_docs_names_the_account_to_impersonate() {
    let page = include_str!("../../docs/other-ci.md");
    let job = page.split("```yaml\n").find(|block| block.starts_with("steps:\n  - name: python")).unwrap();
    let (name, account) = job.split("env: [").nth(1).unwrap().split(']').next().unwrap().split_once('=').unwrap();
    let servers = StandIn::start(Setup::default());
    let step = on_google(&servers).env(name, &account.replace("PROJECT", "project")).env("TOKEN_MINT_AUDIENCE", "pypi");
    let output = run(&step, "127.0.9.7", "another product");
    assert!(String::from_utf8_lossy(&output.stderr).contains("asking Google Cloud for an ID token"), "{output:?}");
}

#[test]
fn a_service_account_that_may_not_be_impersonated_is_a_missing_identity() {
    let address = "127.0.9.4";
    let servers = StandIn::start(Setup::default());
    let _metadata = metadata(address, "not.this.one".to_owned());
    let tls = Identity::new();
    let message = format!("Permission denied, and {ACCESS_TOKEN} is sent back");
    let reply = json!({"error": {"code": 403, "message": message}});
    let listener = TcpListener::bind((address, 443)).unwrap();
    let _iam = Server::on(listener, Some(tls.config.clone()), move |_| Response::json(403, &reply));
    let step = on_google(&servers).env("GOOGLE_SERVICE_ACCOUNT_NAME", ACCOUNT);
    let output = run(&step.trusting(&tls.ca_pem), address, "another product");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("Google Cloud refused to issue an ID token (status 403)"), "{stderr}");
    assert!(stderr.contains("Service Account Token Creator") && !stderr.contains(ACCESS_TOKEN), "{stderr}");
}

/// Nobody listens at the first address. Packets to the second one are dropped.
#[test]
fn an_absent_metadata_server_is_noticed_in_a_second() {
    let servers = StandIn::start(Setup::default());
    for address in ["127.0.9.5", "192.0.2.1"] {
        let start = Instant::now();
        let step = on_google(&servers).env("GOOGLE_SERVICE_ACCOUNT_NAME", ACCOUNT);
        let output = run(&step, address, "another product");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{stderr}");
        assert!(stderr.contains("asking Google Cloud") && stderr.contains("GOOGLE_SERVICE_ACCOUNT_NAME"), "{stderr}");
        assert!(start.elapsed() < Duration::from_millis(2500), "{:?}", start.elapsed());
    }
}

#[test]
fn a_machine_without_a_service_account_is_reported_as_such() {
    let address = "127.0.9.6";
    let servers = StandIn::start(Setup::default());
    let listener = TcpListener::bind((address, 80)).unwrap();
    let _metadata = Server::on(listener, None, |_| Response::text(404, "<!DOCTYPE html>"));
    let output = run(&on_google(&servers), address, "Google");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(
        stderr.contains("status 404") && stderr.contains("a machine without a service account has no identity"),
        "{stderr}"
    );
}
