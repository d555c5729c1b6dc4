//! How encrypted connections begin: the certificate, which a reload may replace, and what each protocol is called (ALPN).

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use nearcast_shared::trust;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;

/// "DNS-over-TLS" in the registry of ALPN ids.
const DOT: &[u8] = b"dot";
/// RFC 9250 section 4.1: "DoQ support is indicated by selecting the Application-Layer Protocol Negotiation (ALPN) token
/// "doq" in the crypto handshake."
const DOQ: &[u8] = b"doq";

/// TLS cannot be set up: never in practice.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The cryptography provider does not fit.
    #[error("TLS cannot be set up")]
    Provider(#[from] rustls::Error),
    /// Or lacks what QUIC begins with.
    #[error("QUIC cannot be set up")]
    Quic(#[from] NoInitialCipherSuite),
}

/// The certificate that all encrypted listeners show.
#[derive(Default)]
pub struct Shown(ArcSwapOption<CertifiedKey>);

/// How each kind of encrypted connection begins. Made once, so that sessions resume on any worker.
#[derive(Clone)]
pub struct Tls {
    pub(super) dot: Arc<ServerConfig>,
    pub(super) doh: Arc<ServerConfig>,
    pub(super) doq: Arc<QuicServerConfig>,
}

impl Shown {
    /// Shows this one from now on; without any, handshakes fail.
    pub fn replace(&self, certificate: Option<Arc<CertifiedKey>>) {
        self.0.store(certificate);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    /// One certificate whatever the name: who configures a resolver by its address sends none.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl Tls {
    /// Connections that begin with the certificate shown then.
    ///
    /// # Errors
    /// When the cryptography provider does not fit: never in practice.
    pub fn new(shown: &Arc<Shown>) -> Result<Self, TlsError> {
        let of = |versions: &[&'static rustls::SupportedProtocolVersion], protocols: &[&[u8]]| {
            let mut config = ServerConfig::builder_with_provider(trust::provider())
                .with_protocol_versions(versions)?
                .with_no_client_auth()
                .with_cert_resolver(shown.clone());
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            config.ticketer = Ticketer::new()?;
            // No early data, which could be replayed (RFC 9250 section 4.5): the default, and it stays so.
            config.max_early_data_size = 0;
            Ok::<_, rustls::Error>(config)
        };
        let doq = of(&[&rustls::version::TLS13], &[DOQ])?;
        Ok(Self {
            dot: Arc::new(of(rustls::DEFAULT_VERSIONS, &[DOT])?),
            doh: Arc::new(of(rustls::DEFAULT_VERSIONS, &[b"h2", b"http/1.1"])?),
            doq: Arc::new(QuicServerConfig::try_from(doq)?),
        })
    }
}
