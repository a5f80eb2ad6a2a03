//! Throw-away certificate authorities, and server certificates for loopback.

use std::ops::Range;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// A name that no resolver knows: only a proxy can reach it.
pub const HOST: &str = "index.example.test";

/// PyPI's and TestPyPI's own names, for a process in whose `/etc/hosts` they are this machine's.
pub const PYPI_HOSTS: [&str; 2] = ["pypi.org", "upload.pypi.org"];
pub const TESTPYPI_HOST: &str = "test.pypi.org";
/// Where `make bench` reaches the servers in its network with slow round trips.
pub const FAR: &str = "10.77.0.2";

/// What a TLS server shows and what its clients have to trust.
pub struct Identity {
    pub ca_pem: String,
    pub config: Arc<ServerConfig>,
}

impl Identity {
    /// Made anew, with keys that nobody else has.
    pub fn new() -> Identity {
        let authority = Authority::new();
        let names = ["127.0.0.1", "localhost", HOST, FAR, "iamcredentials.googleapis.com"];
        let names = [&names[..], &PYPI_HOSTS, &[TESTPYPI_HOST]].concat();
        Identity { ca_pem: authority.pem(), config: authority.certify(&names, 2020..2100) }
    }
}

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Made anew.
    pub fn new() -> Authority {
        let mut authority = CertificateParams::new([]).unwrap();
        // A name of its own, else OpenSSL takes the server's certificate for self-signed, or for another one's.
        let name = format!("throw-away CA {}", super::random_hex(8));
        authority.distinguished_name.push(DnType::CommonName, name);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server with a certificate for these names, valid from one new year to another.
    pub fn certify(&self, names: &[&str], years: Range<i32>) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters(names, years).signed_by(&key, &self.0).unwrap();
        server(&certificate, &key)
    }
}

/// A server whose certificate no authority vouches for.
pub fn self_signed() -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    server(&parameters(&["127.0.0.1"], 2020..2100).self_signed(&key).unwrap(), &key)
}

fn parameters(names: &[&str], years: Range<i32>) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).unwrap();
    parameters.not_before = date_time_ymd(years.start, 1, 1);
    parameters.not_after = date_time_ymd(years.end, 1, 1);
    parameters
}

fn server(certificate: &Certificate, key: &KeyPair) -> Arc<ServerConfig> {
    let private_key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    Arc::new(config.with_single_cert(vec![certificate.der().clone()], private_key).unwrap())
}
