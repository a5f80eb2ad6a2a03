//! A throw-away certificate authority and a server certificate for loopback.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// A name that no resolver knows: only a proxy can reach it.
pub const HOST: &str = "index.example.test";

/// What a TLS server shows and what its clients have to trust.
pub struct Identity {
    pub ca_pem: String,
    pub config: Arc<ServerConfig>,
}

impl Identity {
    /// Made anew, with keys that nobody else has.
    pub fn new() -> Identity {
        let mut authority = CertificateParams::new([]).unwrap();
        // A name of its own, else OpenSSL takes the server's certificate for self-signed.
        authority.distinguished_name.push(DnType::CommonName, "throw-away CA");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();

        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1", "localhost", HOST, "iamcredentials.googleapis.com"].map(str::to_owned);
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        let private_key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private_key)
            .unwrap();
        Identity { ca_pem: authority.pem(), config: Arc::new(config) }
    }
}
