//! Takes connections on one listening socket, so many in all and per client, and serves each in a task of its own.
//!
//! Beyond a limit a connection is closed at once, so that a client tries another server rather than wait here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nearcast_shared::health::own::Ear;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error};

use super::conversation::converse;
use super::streams::Streams;
use super::{Plane, https};
use crate::metrics::{ConnectionEvent, Transport};

/// After an error of the listener itself, such as no more files, so that a lasting one does not spin.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// RFC 7766.
    Tcp,
    /// RFC 7858.
    Tls,
    /// RFC 8484.
    Https,
}

impl Speech {
    fn transport(self) -> Transport {
        match self {
            Self::Tcp => Transport::Tcp,
            Self::Tls => Transport::Tls,
            Self::Https => Transport::Https,
        }
    }
}

/// Takes connections and answers on them; never returns, the owner drops it and all connections with it.
pub(super) async fn run(listener: TcpListener, speech: Speech, plane: Plane, ear: Ear, streams: Streams) {
    let streams = Arc::new(streams);
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => {
                    ear.hears();
                    accepted
                }
                Err(error) => {
                    ear.fails();
                    debug!(%error, "connection not accepted");
                    tokio::time::sleep(ERROR_PAUSE).await;
                    continue;
                }
            },
            // What has ended is forgotten at once.
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    error!(%error, "a connection failed: a bug");
                }
                continue;
            }
        };
        let Some(place) = streams.admit(&plane, peer, speech.transport()) else { continue };
        let (plane, streams) = (plane.clone(), streams.clone());
        connections.spawn(async move {
            serve(stream, peer, speech, &plane, &streams).await;
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, speech: Speech, plane: &Plane, streams: &Streams) {
    // Answers are whole writes: waiting for more to send only delays them.
    let _closed_already = stream.set_nodelay(true);
    match speech {
        Speech::Tcp => converse(stream, peer, Transport::Tcp, plane, streams).await,
        Speech::Tls => {
            if let Some(stream) = handshake(stream, &streams.tls.dot, Transport::Tls, plane, streams).await {
                converse(stream, peer, Transport::Tls, plane, streams).await;
            }
        }
        Speech::Https => {
            if let Some(stream) = handshake(stream, &streams.tls.doh, Transport::Https, plane, streams).await {
                https::serve(stream, peer, plane, streams).await;
            }
        }
    }
}

async fn handshake(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    transport: Transport,
    plane: &Plane,
    streams: &Streams,
) -> Option<TlsStream<TcpStream>> {
    let accepting = TlsAcceptor::from(config.clone()).accept(stream);
    let event = match tokio::time::timeout(streams.handshake_patience(transport), accepting).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => {
            debug!(%error, "TLS handshake failed");
            ConnectionEvent::HandshakeFailed
        }
        Err(_) => ConnectionEvent::HandshakeTimeout,
    };
    plane.metrics.connection(transport, event).inc();
    None
}
