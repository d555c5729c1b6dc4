//! How this node trusts servers it connects to: Mozilla's roots and the operator's own authorities.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use thiserror::Error;

/// Why the authorities could not be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The file is missing or holds no certificate.
    #[error("{path}: no usable PEM certificate in it")]
    Pem {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate in it cannot be an authority.
    #[error("{path}: not a usable certificate authority")]
    Authority {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
    /// The cryptography provider does not fit.
    #[error("TLS cannot be set up")]
    Provider(#[from] rustls::Error),
}

/// A client configuration that offers the given ALPN protocols; `ca` adds authorities from a PEM file.
///
/// # Errors
/// When `ca` cannot be used.
pub fn client_config(ca: Option<&Path>, alpn: &[&[u8]]) -> Result<Arc<rustls::ClientConfig>, TrustError> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca {
        let pem = |source| TrustError::Pem { path: path.to_owned(), source };
        for certificate in CertificateDer::pem_file_iter(path).map_err(pem)? {
            let certificate = certificate.map_err(pem)?;
            roots.add(certificate).map_err(|source| TrustError::Authority { path: path.to_owned(), source })?;
        }
    }
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// `config`, but any certificate will do: for those who are told to trust it nonetheless.
pub fn any_certificate(config: &Arc<rustls::ClientConfig>) -> Arc<rustls::ClientConfig> {
    let mut config = rustls::ClientConfig::clone(config);
    config.dangerous().set_certificate_verifier(Arc::new(AnyCertificate(provider())));
    Arc::new(config)
}

/// Whoever it names and whoever signed it. That the server has its key is still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The one cryptography provider of the process.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
