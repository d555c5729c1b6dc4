//! TLS for clients: SNI chooses the site's certificate; a name that no site takes is refused.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use nearcast_shared::config::Certificate;
use nearcast_shared::trust;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;

use crate::view::View;

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file is missing or is not PEM.
    #[error("{path}: no usable PEM {what} in it")]
    Pem {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
        /// The cause.
        source: rustls::pki_types::pem::Error,
    },
    /// Key and certificate do not belong together, or are of an unknown kind.
    #[error("{path}: the key does not fit the certificate in {certificate}")]
    Pair {
        /// The key's file.
        path: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
}

/// Reads a certificate chain and its key.
///
/// # Errors
/// When either cannot be used, or they do not belong together.
pub fn load(files: &Certificate) -> Result<Arc<CertifiedKey>, CertificateError> {
    let pem = |path: &PathBuf, what, source| CertificateError::Pem { path: path.clone(), what, source };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| pem(&files.certificate, "certificate", source))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| pem(&files.key, "private key", source))?;
    let pair =
        |source| CertificateError::Pair { path: files.key.clone(), certificate: files.certificate.clone(), source };
    if chain.is_empty() {
        let source = rustls::pki_types::pem::Error::NoItemsFound;
        return Err(pem(&files.certificate, "certificate", source));
    }
    CertifiedKey::from_der(chain, key, &trust::provider()).map(Arc::new).map_err(pair)
}

/// The server's configuration; certificates come from whatever view is current.
///
/// # Errors
/// When the cryptography provider does not fit: never in practice.
pub fn server_config(view: Arc<ArcSwap<View>>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(trust::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(BySni { view }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// A configuration with one certificate whatever the name, HTTP/1.1 only: the admin listener's.
///
/// # Errors
/// When the cryptography provider does not fit: never in practice.
pub fn admin_config(certificate: Arc<CertifiedKey>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(trust::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certificate)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

struct BySni {
    view: Arc<ArcSwap<View>>,
}

impl fmt::Debug for BySni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BySni")
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Without SNI only a site that takes every host can be meant.
        let name = hello.server_name().unwrap_or_default().to_ascii_lowercase();
        self.view.load().site(name.trim_end_matches('.'))?.certificate.clone()
    }
}
