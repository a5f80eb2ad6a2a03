//! Temporary certificate authorities, and server certificates for loopback.

use std::ops::Range;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// A host name that no resolver knows. A client can reach the host only through a proxy.
pub const HOST: &str = "index.example.test";

/// PyPI's and TestPyPI's host names, for tests whose `/etc/hosts` maps them to this machine.
pub const PYPI_HOSTS: [&str; 2] = ["pypi.org", "upload.pypi.org"];
pub const TESTPYPI_HOST: &str = "test.pypi.org";
/// The address of the servers in the slow network of `make bench`.
pub const FAR: &str = "10.77.0.2";

/// A TLS server's certificate, and the CA that its clients have to trust.
pub struct Identity {
    pub ca_pem: String,
    pub config: Arc<ServerConfig>,
}

impl Identity {
    /// A new identity with new keys.
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
    /// A new authority with a new key.
    pub fn new() -> Authority {
        let mut authority = CertificateParams::new([]).unwrap();
        // The name is unique. Otherwise OpenSSL takes a server certificate for self-signed, or for one of another CA.
        let name = format!("temporary CA {}", super::random_hex(8));
        authority.distinguished_name.push(DnType::CommonName, name);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server with a certificate for these names. It is valid from January 1 of the first year to that of the last.
    pub fn certify(&self, names: &[&str], years: Range<i32>) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters(names, years).signed_by(&key, &self.0).unwrap();
        server(&certificate, &key)
    }
}

/// A server with a self-signed certificate.
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
