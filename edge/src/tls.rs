//! TLS for clients: SNI chooses the site's certificate; a name that no site takes is refused.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use nearcast_shared::config::Certificate;
use nearcast_shared::trust;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::view::View;

/// Bytes of an answer that are encrypted before they are written: a stored body of 64 KiB and its header, in one write. A
/// client that does not read keeps as much of memory.
const BUFFER_MAX: usize = 80 << 10;

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

/// What clients are spoken to with. Certificates come from whatever view is current.
///
/// Clients mostly put AES-256 first, though AES-128 is what they must have (RFC 8446 section 9.1) and no weaker in practice.
/// With it go SHA-256, which processors have instructions for, and ten rounds a block in place of fourteen. A client that puts
/// ChaCha20 before any AES has no instructions for AES: it gets what it wants.
#[derive(Debug)]
pub struct Server {
    our_order: Arc<ServerConfig>,
    their_order: Arc<ServerConfig>,
}

impl Server {
    /// With the certificates of `view`.
    ///
    /// # Errors
    /// When the cryptography provider does not fit: never in practice.
    pub fn new(view: Arc<ArcSwap<View>>) -> Result<Self, rustls::Error> {
        let mut provider = CryptoProvider::clone(&trust::provider());
        provider.cipher_suites.sort_by_key(|suite| cost(suite.suite()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(BySni { view }));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        let their_order = Arc::new(config.clone());
        config.ignore_client_order = true;
        Ok(Self { our_order: Arc::new(config), their_order })
    }

    /// Makes a TLS session of a connection.
    ///
    /// # Errors
    /// When the connection or the handshake fails.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let is_theirs = prefers_chacha(start.client_hello().cipher_suites());
        let config = if is_theirs { &self.their_order } else { &self.our_order };
        start.into_stream_with(config.clone(), |session| session.set_buffer_limit(Some(BUFFER_MAX))).await
    }
}

/// What a cipher costs us, beside others.
fn cost(suite: CipherSuite) -> u8 {
    use CipherSuite as Suite;
    match suite {
        Suite::TLS13_AES_128_GCM_SHA256
        | Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        suite if is_chacha(suite) => 2,
        _ => 1,
    }
}

fn is_chacha(suite: CipherSuite) -> bool {
    use CipherSuite as Suite;
    matches!(
        suite,
        Suite::TLS13_CHACHA20_POLY1305_SHA256
            | Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// Whether a client that offers these has ChaCha20 first. What is not a cipher (RFC 8701, RFC 5746) does not count.
fn prefers_chacha(offered: &[CipherSuite]) -> bool {
    offered
        .iter()
        .find(|suite| suite.as_str().is_some_and(|name| name.contains("_AES_") || is_chacha(**suite)))
        .is_some_and(|suite| is_chacha(*suite))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_instructions_for_aes() {
        use CipherSuite as Suite;
        let (chacha, aes) = (Suite::TLS13_CHACHA20_POLY1305_SHA256, Suite::TLS13_AES_256_GCM_SHA384);
        let old = Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256;
        let grease = Suite::Unknown(0x1a1a);
        let rows: [(&str, &[Suite], bool); 7] = [
            ("AES first", &[aes, chacha], false),
            ("ChaCha20 first", &[chacha, aes], true),
            ("after what is no cipher", &[grease, Suite::TLS_EMPTY_RENEGOTIATION_INFO_SCSV, chacha, aes], true),
            ("the same before AES", &[grease, aes, chacha], false),
            ("as in TLS 1.2", &[old, Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256], true),
            ("nothing else", &[chacha], true),
            ("nothing", &[], false),
        ];
        for (name, offered, wanted) in rows {
            assert_eq!(prefers_chacha(offered), wanted, "{name}");
        }
    }
}
