//! Stand-ins on loopback for GitHub's ID token endpoint and releases, and for a package index. They sign and check as
//! the real servers do, and record every request.

pub mod github;
pub mod http;
pub mod index;
pub mod published;
pub mod releases;
pub mod tls;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use github::{Job, Signer};
use http::{Request, Response, Server};
use index::{IndexState, Publisher, Upload};
use published::Project;

/// The configuration of the stand-ins. By default, the job matches the publisher.
#[derive(Clone)]
pub struct Setup {
    /// The job for which ID tokens are issued.
    pub job: Job,
    /// The publisher that is registered on the index, if there is one.
    pub publisher: Option<Publisher>,
    /// The project that the index publishes, if there is one.
    pub published: Option<Project>,
    /// The audience that the index expects.
    pub audience: &'static str,
    /// Whether trusted publishing is enabled.
    pub enabled: bool,
    /// Whether the index says when a token expires. Older indexes don't.
    pub tells_expiry: bool,
    /// The status for a request to revoke. With 202, the index revokes valid tokens. Older indexes answer 404.
    pub revocation_status: u16,
    /// How many times the index mints an API token and then closes the connection without a reply.
    pub lost_replies: usize,
    /// How long the index waits before it mints.
    pub mint_delay: Duration,
    /// The address on which the servers listen.
    pub address: Ipv4Addr,
    /// Whether the servers speak TLS, with a certificate of a temporary CA.
    pub tls: bool,
    /// The address on which the index listens, if it is not a free port of `address`.
    pub index_at: Option<SocketAddr>,
}

impl Default for Setup {
    fn default() -> Setup {
        let job = Job::default();
        let publisher = Some(Publisher::of(&job));
        Setup {
            job,
            publisher,
            published: None,
            audience: "pypi",
            enabled: true,
            tells_expiry: true,
            revocation_status: 202,
            lost_replies: 0,
            mint_delay: Duration::ZERO,
            address: Ipv4Addr::LOCALHOST,
            tls: false,
            index_at: None,
        }
    }
}

/// Two servers that run until the process ends.
pub struct StandIn {
    /// GitHub's endpoint.
    pub github: Server,
    /// The package index.
    pub index: Server,
    /// With TLS, the CA's certificate as PEM.
    pub ca_pem: Option<String>,
    request_token: String,
    id_tokens: Arc<Mutex<Vec<String>>>,
    state: Arc<Mutex<IndexState>>,
    job: Job,
    signer: Arc<Signer>,
}

impl StandIn {
    pub fn start(setup: Setup) -> StandIn {
        let tls = setup.tls.then(tls::Identity::new);
        let tls_config = tls.as_ref().map(|identity| Arc::clone(&identity.config));
        let request_token = format!("request-{}", random_hex(24));
        let signer = Arc::new(Signer::new());
        let id_tokens = Arc::new(Mutex::new(Vec::new()));
        let state = Arc::new(Mutex::new(IndexState::default()));

        let listener = || TcpListener::bind((setup.address, 0)).unwrap();

        let (job, issuer) = (setup.job.clone(), Arc::clone(&signer));
        let github = {
            let (signer, request_token, id_tokens) = (signer.clone(), request_token.clone(), id_tokens.clone());
            let job = setup.job.clone();
            Server::on(listener(), tls_config.clone(), move |request| {
                github::answer(request, &job, &signer, &request_token, &id_tokens)
            })
        };
        let index = {
            let state = state.clone();
            let listener = setup.index_at.map_or_else(listener, |address| TcpListener::bind(address).unwrap());
            Server::on(listener, tls_config, move |request| index::answer(request, &setup, &signer, &state))
        };
        StandIn {
            github,
            index,
            ca_pem: tls.map(|identity| identity.ca_pem),
            request_token,
            id_tokens,
            state,
            job,
            signer: issuer,
        }
    }

    /// A new ID token of the job, for tests that pass it in a variable.
    pub fn id_token(&self, audience: &str) -> String {
        let id_token = self.signer.sign(&self.job.claims(audience));
        self.id_tokens.lock().unwrap().push(id_token.clone());
        id_token
    }

    /// The environment of a step in the job, without the variables that name files.
    pub fn job_env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("GITHUB_ACTIONS", "true".to_owned()),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", self.github.url("/idtoken/77?api-version=2.0")),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", self.request_token.clone()),
            ("TOKEN_MINT_INDEX", self.index.url("/legacy/")),
        ]
    }

    /// The claims of the ID token that was issued last.
    pub fn id_token_claims(&self) -> serde_json::Value {
        let id_tokens = self.id_tokens.lock().unwrap();
        jsonwebtoken::dangerous::insecure_decode(id_tokens.last().unwrap()).unwrap().claims
    }

    /// The API tokens that the index has minted.
    pub fn api_tokens(&self) -> Vec<String> {
        self.state.lock().unwrap().minted.clone()
    }

    /// The revoked API tokens, and the time of each revocation.
    pub fn revoked(&self) -> Vec<(String, SystemTime)> {
        self.state.lock().unwrap().revoked.clone()
    }

    /// The uploaded files.
    pub fn uploads(&self) -> Vec<Upload> {
        self.state.lock().unwrap().uploads.clone()
    }

    /// Everything that must not be shown: request token, ID tokens and their signatures, API tokens.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = vec![self.request_token.clone()];
        for id_token in self.id_tokens.lock().unwrap().iter() {
            secrets.push(id_token.rsplit('.').next().unwrap().to_owned());
        }
        secrets.extend(self.api_tokens());
        secrets
    }

    /// All requests as `METHOD PATH`: first those to GitHub's endpoint, then those to the index.
    pub fn requests(&self) -> Vec<String> {
        let line = |request: &Request| format!("{} {}", request.method, request.path());
        self.github.requests().iter().chain(&self.index.requests()).map(line).collect()
    }
}

/// `bytes` random bytes, in hexadecimal digits.
pub fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut random).unwrap();
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The CDN in front of an index refuses requests without a User-Agent.
fn refuse_without_user_agent(request: &Request) -> Option<Response> {
    match request.header("User-Agent") {
        Some(name) if !name.is_empty() => None,
        _ => Some(Response::text(403, "Forbidden: no User-Agent")),
    }
}
