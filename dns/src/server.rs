//! The listeners of one worker; all of them answer through [`Plane::respond`].

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use nearcast_shared::clock::Clock;
use nearcast_shared::health::HealthBoard;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::dnssec::Signers;
use crate::metrics::DnsMetrics;
use crate::texts::Texts;
use crate::view::View;

mod tcp;
mod udp;

pub use tcp::Clients;

/// What one worker listens on.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Bound, one per local address.
    pub udp: Vec<std::net::UdpSocket>,
    /// Listening.
    pub tcp: Vec<std::net::TcpListener>,
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

/// What TCP connections may take.
#[derive(Debug, Clone)]
pub struct Tcp {
    /// Shared by all workers.
    pub clients: Arc<Clients>,
    /// A connection is closed when no whole query came for so long.
    pub timeout: Duration,
}

/// Answers queries on `sockets`, on the current runtime, until `shutdown` is ready. TCP connections that are open then
/// are closed.
///
/// # Errors
/// When a socket cannot be used, or serving ended by itself.
pub async fn serve(
    sockets: Sockets,
    plane: Plane,
    tcp: Tcp,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut tasks = JoinSet::new();
    for socket in sockets.udp {
        socket.set_nonblocking(true).map_err(ServeError::Socket)?;
        let socket = tokio::net::UdpSocket::from_std(socket).map_err(ServeError::Socket)?;
        tasks.spawn(udp::run(socket, plane.clone(), plane.health.vitals.listener()));
    }
    for listener in sockets.tcp {
        listener.set_nonblocking(true).map_err(ServeError::Socket)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(ServeError::Socket)?;
        tasks.spawn(tcp::run(listener, plane.clone(), plane.health.vitals.listener(), tcp.clone()));
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
