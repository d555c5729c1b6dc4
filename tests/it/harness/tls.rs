//! An authority of the test's own, and what it certifies.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;

use super::client::Trusted;
use super::node::Setup;

/// Certifies names.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Its own certificate, PEM.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A client that trusts it and nobody else.
    pub(crate) fn trusted(&self) -> Trusted {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        Trusted(Arc::new(roots))
    }

    /// A certificate for `names` as two files, `stem.pem` and `stem.key`.
    pub(crate) fn save(&self, folder: &Path, stem: &str, names: &[&str]) {
        let (certificate, key) = self.issue(names);
        fs::write(folder.join(format!("{stem}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{stem}.key")), key.serialize_pem()).unwrap();
    }

    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Gives the first site of `setup` a certificate.
    pub(crate) fn certify(&self, setup: &mut Setup, names: &[&str]) {
        self.save(setup.folder(), "site", names);
        setup.sites[0].push_str("\ntls = { certificate = \"site.pem\", key = \"site.key\" }");
    }

    /// A TLS server for `name`.
    pub(crate) fn server(&self, name: &str) -> Arc<rustls::ServerConfig> {
        let (certificate, key) = self.issue(&[name]);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder = rustls::ServerConfig::builder_with_provider(nearcast_shared::trust::provider());
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap())
    }

    /// The same, and it speaks only that protocol.
    pub(crate) fn server_of(&self, name: &str, protocol: &str) -> Arc<rustls::ServerConfig> {
        let mut config = rustls::ServerConfig::clone(&self.server(name));
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Arc::new(config)
    }
}
