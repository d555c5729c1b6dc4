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

use crate::metrics::DnsMetrics;
use crate::texts::Texts;
use crate::view::View;

mod tcp;
mod udp;

pub use tcp::Clients;

/// What one worker listens on.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Its number, which its thread for UDP is named by.
    pub worker: usize,
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
    /// There is no thread for the UDP sockets.
    #[error("the DNS server has no thread for UDP")]
    Thread(#[source] io::Error),
    /// The thread of the UDP sockets panicked: a bug.
    #[error("the DNS server failed over UDP")]
    Udp,
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
    /// Counters.
    pub metrics: Arc<DnsMetrics>,
    /// Where `now` comes from.
    pub clock: Clock,
}

/// What UDP sockets may take.
#[derive(Debug, Clone, Copy)]
pub struct Udp {
    /// Bytes that each may hold back while its thread has no core.
    pub receive_buffer: usize,
}

/// What TCP connections may take.
#[derive(Debug, Clone)]
pub struct Tcp {
    /// Shared by all workers.
    pub clients: Arc<Clients>,
    /// A connection is closed when no whole query came for so long.
    pub timeout: Duration,
}

/// Answers queries on `sockets`, those over TCP on the current runtime and those over UDP on a thread beside it, until
/// `shutdown` is ready. TCP connections that are open then are closed.
///
/// # Errors
/// When a socket cannot be used, or serving ended by itself.
pub async fn serve(
    sockets: Sockets,
    plane: Plane,
    udp: Udp,
    tcp: Tcp,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut tasks = JoinSet::new();
    for listener in sockets.tcp {
        listener.set_nonblocking(true).map_err(ServeError::Socket)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(ServeError::Socket)?;
        tasks.spawn(tcp::run(listener, plane.clone(), plane.health.vitals.listener(), tcp.clone()));
    }
    let mut answering = match sockets.udp {
        sockets if sockets.is_empty() => None,
        udp_sockets => {
            let started = udp::start(sockets.worker, udp_sockets, udp, plane);
            Some(started.map_err(ServeError::Thread)?)
        }
    };
    let udp_ended = async {
        match &mut answering {
            Some(answering) => answering.ended().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = shutdown => {}
        () = udp_ended => return Err(ServeError::Udp),
        Some(Err(error)) = tasks.join_next() => return Err(ServeError::Task(error)),
    }
    tasks.shutdown().await;
    match answering {
        Some(answering) => answering.stop().await.then_some(()).ok_or(ServeError::Udp),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
