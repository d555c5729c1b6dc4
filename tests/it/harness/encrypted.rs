//! Clients of encrypted DNS: over TLS by rustls, over QUIC by quinn. (Over HTTPS they are those of any site.)

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::DEADLINE;
use super::client::{Ask, Failed, RUNTIME, Trusted};
use super::dns::Query;
use super::node::Setup;
use super::tls::Authority;

/// The name that the certificate of encrypted DNS is for.
pub(crate) const NAME: &str = "dns.cdn.test";

/// `setup`, and it listens for DNS over TLS, HTTPS and QUIC with a certificate of `authority`.
pub(crate) fn encrypted(setup: Setup, authority: &Authority) -> Setup {
    authority.save(setup.folder(), "dns", &[NAME, "127.0.0.1"]);
    setup
        .set("listen.dot", "[\"127.0.0.1:0\"]")
        .set("listen.doh", "[\"127.0.0.1:0\"]")
        .set("listen.doq", "[\"127.0.0.1:0\"]")
        .set("dns.tls", "{ certificate = \"dns.pem\", key = \"dns.key\" }")
}

/// A query as it goes over streams.
pub(crate) fn framed(query: &[u8]) -> Vec<u8> {
    [&u16::try_from(query.len()).unwrap().to_be_bytes()[..], query].concat()
}

/// A query by POST.
pub(crate) fn post(query: &Query) -> Ask {
    Ask::new("POST", "/dns-query").host(NAME).field("content-type", "application/dns-message").body(query.bytes())
}

/// A query by GET.
pub(crate) fn get(query: &Query) -> Ask {
    let encoded = data_encoding::BASE64URL_NOPAD.encode(&query.bytes());
    Ask::get(&format!("/dns-query?dns={encoded}")).host(NAME)
}

/// A connection over TLS.
pub(crate) struct Dot(TlsStream<TcpStream>);

impl Dot {
    /// Connects and offers these protocols.
    pub(crate) fn connect(to: SocketAddr, trusted: &Trusted, alpn: &[&[u8]]) -> Result<Self, Failed> {
        RUNTIME.block_on(async {
            let stream = TcpStream::connect(to).await.map_err(|_| Failed::Connect)?;
            let connecting = TlsConnector::from(trusted.client(alpn)).connect(NAME.try_into().unwrap(), stream);
            let mut stream = connecting.await.map_err(|_| Failed::Handshake)?;
            // With TLS 1.3 a server's "no" may come after that.
            stream.flush().await.map_err(|_| Failed::Handshake)?;
            Ok(Self(stream))
        })
    }

    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.0.get_ref().1.alpn_protocol()
    }

    /// Sends all queries at once and reads their answers.
    pub(crate) fn ask_all(&mut self, queries: &[Query]) -> Vec<Vec<u8>> {
        RUNTIME.block_on(async {
            let bytes: Vec<u8> = queries.iter().flat_map(|query| framed(&query.bytes())).collect();
            self.0.write_all(&bytes).await.unwrap();
            let mut answers = Vec::new();
            for _ in queries {
                let length = tokio::time::timeout(DEADLINE, self.0.read_u16()).await.unwrap().unwrap();
                let mut answer = vec![0; usize::from(length)];
                self.0.read_exact(&mut answer).await.unwrap();
                answers.push(answer);
            }
            answers
        })
    }

    /// Whether the other side ends it, in order, with nothing more to say.
    pub(crate) fn ends(&mut self) -> bool {
        let read = RUNTIME.block_on(async { tokio::time::timeout(DEADLINE, self.0.read(&mut [0])).await });
        matches!(read, Ok(Ok(0)))
    }
}

/// A client over QUIC.
pub(crate) struct Doq {
    endpoint: quinn::Endpoint,
}

impl Doq {
    /// One with a socket of its own.
    pub(crate) fn new(trusted: &Trusted, alpn: &[&[u8]]) -> Self {
        let _in_runtime = RUNTIME.enter();
        let mut endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let tls = QuicClientConfig::try_from(trusted.client(alpn)).unwrap();
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
        Self { endpoint }
    }

    /// Begins to connect; what is returned gives it up when it is dropped.
    pub(crate) fn begin(&self, to: SocketAddr) -> quinn::Connecting {
        let _in_runtime = RUNTIME.enter();
        self.endpoint.connect(to, NAME).unwrap()
    }

    /// Connects, or says how that ended.
    pub(crate) fn connect(&self, to: SocketAddr) -> Result<quinn::Connection, quinn::ConnectionError> {
        let connecting = self.begin(to);
        RUNTIME.block_on(async { tokio::time::timeout(DEADLINE, connecting).await.unwrap() })
    }
}

/// Sends `bytes` on a stream of its own, with its end, and reads all that comes back.
pub(crate) fn exchange(connection: &quinn::Connection, bytes: &[u8]) -> Result<Vec<u8>, quinn::ReadToEndError> {
    RUNTIME.block_on(async {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        // A server that has read enough may say so before.
        let _stopped = send.write_all(bytes).await;
        let _stopped = send.finish();
        tokio::time::timeout(DEADLINE, receive.read_to_end(1 << 20)).await.unwrap()
    })
}

/// The code with which the other side closes a connection.
pub(crate) fn closed_with(connection: &quinn::Connection) -> Option<u64> {
    match RUNTIME.block_on(async { tokio::time::timeout(DEADLINE, connection.closed()).await.unwrap() }) {
        quinn::ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
        _ => None,
    }
}
