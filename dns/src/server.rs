//! The listeners of one worker; all of them answer through [`Plane::respond`].

use std::future::Future;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use nearcast_shared::clock::Clock;
use nearcast_shared::health::HealthBoard;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::dnssec::Signers;
use crate::metrics::DnsMetrics;
use crate::texts::Texts;
use crate::view::View;

mod udp;

mod clients;
mod streams;

mod listener;

mod conversation;
mod https;
mod tls;

mod quic;

use listener::Speech;

pub use clients::Clients;
pub use streams::Streams;
pub use tls::{Shown, Tls, TlsError};

/// What one worker listens on.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Bound, one per local address.
    pub udp: Vec<std::net::UdpSocket>,
    /// Listening.
    pub tcp: Vec<std::net::TcpListener>,
    /// Listening, for DNS over TLS.
    pub tls: Vec<std::net::TcpListener>,
    /// Listening, for DNS over HTTPS.
    pub https: Vec<std::net::TcpListener>,
    /// Bound, for DNS over QUIC, and shared with no other worker: packets of a connection whose client has moved would
    /// come to another one.
    pub quic: Vec<std::net::UdpSocket>,
}

/// Why serving ended before it was told to.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A socket could not be taken over by the runtime.
    #[error("a DNS socket cannot be used")]
    Socket(#[source] io::Error),
    /// A task of the server panicked: a bug.
    #[error("the DNS server failed")]
    Task(#[source] tokio::task::JoinError),
}

/// What every listener works with. The view, the health table and the texts are loaded once per query.
#[derive(Debug, Clone)]
pub struct Plane {
    /// Names, and how clients are steered.
    pub view: Arc<ArcSwap<View>>,
    /// Who is up.
    pub health: Arc<HealthBoard>,
    /// TXT records that come and go.
    pub texts: Arc<ArcSwap<Texts>>,
    /// Who signs what signed zones have.
    pub signers: Arc<Signers>,
    /// Counters.
    pub metrics: Arc<DnsMetrics>,
    /// Where `now` comes from.
    pub clock: Clock,
}

/// Answers queries on `sockets`, on the current runtime, until `shutdown` is ready. Connections that are open then are
/// closed.
///
/// # Errors
/// When a socket cannot be used, or serving ended by itself.
pub async fn serve(
    sockets: Sockets,
    plane: Plane,
    streams: Streams,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut tasks = JoinSet::new();
    for socket in sockets.udp {
        socket.set_nonblocking(true).map_err(ServeError::Socket)?;
        let socket = tokio::net::UdpSocket::from_std(socket).map_err(ServeError::Socket)?;
        tasks.spawn(udp::run(socket, plane.clone(), plane.health.vitals.listener()));
    }
    let listeners = [(Speech::Tcp, sockets.tcp), (Speech::Tls, sockets.tls), (Speech::Https, sockets.https)];
    for (speech, listeners) in listeners {
        for listener in listeners {
            listener.set_nonblocking(true).map_err(ServeError::Socket)?;
            let listener = tokio::net::TcpListener::from_std(listener).map_err(ServeError::Socket)?;
            let ear = plane.health.vitals.listener();
            tasks.spawn(listener::run(listener, speech, plane.clone(), ear, streams.clone()));
        }
    }
    for socket in sockets.quic {
        let endpoint = quic::endpoint(socket, &streams).map_err(ServeError::Socket)?;
        tasks.spawn(quic::run(endpoint, plane.clone(), streams.clone()));
    }
    tokio::select! {
        () = shutdown => {}
        Some(Err(error)) = tasks.join_next() => return Err(ServeError::Task(error)),
    }
    tasks.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests;
