//! The listeners of one worker; all of them answer through [`Plane::respond`].

use std::future::Future;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use nearcast_shared::clock::Clock;
use nearcast_shared::health::HealthBoard;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::dnssec::Signers;
use crate::log::QueryLog;
use crate::manners::Manners;
use crate::metrics::DnsMetrics;
use crate::texts::Texts;
use crate::view::View;

mod overflow;
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
pub use overflow::OverflowCollector;
pub use streams::Streams;
pub use tls::{Shown, Tls, TlsError};

/// Bytes of the longest query that is looked at, whatever it comes over.
const QUERY_MAX: usize = nearcast_shared::doh::QUERY_BYTES_MAX;

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
    /// There is no thread for the UDP sockets.
    #[error("the DNS server has no thread for UDP")]
    Thread(#[source] io::Error),
    /// The thread of the UDP sockets panicked: a bug.
    #[error("the DNS server failed over UDP")]
    Udp,
    /// A socket of QUIC failed.
    #[error("the DNS server failed over QUIC")]
    Quic,
    /// A task of the server panicked: a bug.
    #[error("the DNS server failed")]
    Task(#[source] tokio::task::JoinError),
}

/// What every listener works with. The view, the health table, the texts and the manners are
/// loaded once per query, or batch of them.
#[derive(Debug, Clone)]
pub struct Plane {
    /// Names, and how clients are steered.
    pub view: Arc<ArcSwap<View>>,
    /// Who is up.
    pub health: Arc<HealthBoard>,
    /// TXT records that come and go.
    pub texts: Arc<ArcSwap<Texts>>,
    /// Who may get how much, and what is said beside data.
    pub manners: Arc<ArcSwap<Manners>>,
    /// Where a sample of queries is written.
    pub log: QueryLog,
    /// Who signs what signed zones have.
    pub signers: Arc<Signers>,
    /// Counters.
    pub metrics: Arc<DnsMetrics>,
    /// Where `now` comes from.
    pub clock: Clock,
}

/// What a worker's thread for UDP is and may take.
#[derive(Debug, Clone, Copy)]
pub struct Udp {
    /// The worker's number, which the thread is named by.
    pub worker: usize,
    /// Bytes of queries that each socket may hold back while the thread has no core.
    pub receive_buffer: usize,
    /// Bytes of the largest answer.
    pub answer_max: u16,
    /// Answers that it may remember.
    pub remembered: usize,
}

/// Answers queries on `sockets` until `shutdown` is ready: those over UDP on a thread of their own, others on the current
/// runtime. Connections that are open then are closed.
///
/// # Errors
/// When a socket cannot be used, or serving ended by itself.
pub async fn serve(
    sockets: Sockets,
    plane: Plane,
    udp: Udp,
    streams: Streams,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut tasks = JoinSet::new();
    let listeners = [(Speech::Tcp, sockets.tcp), (Speech::Tls, sockets.tls), (Speech::Https, sockets.https)];
    for (speech, listeners) in listeners {
        for listener in listeners {
            listener.set_nonblocking(true).map_err(ServeError::Socket)?;
            let listener = tokio::net::TcpListener::from_std(listener).map_err(ServeError::Socket)?;
            let ear = plane.health.vitals.listener();
            tasks.spawn(listener::run(listener, speech, plane.clone(), ear, streams.clone()));
        }
    }
    let mut endpoints = Vec::new();
    for socket in sockets.quic {
        let endpoint = quic::endpoint(socket, &streams).map_err(ServeError::Socket)?;
        endpoints.push(endpoint.clone());
        tasks.spawn(quic::run(endpoint, plane.clone(), streams.clone()));
    }
    let mut answering = match sockets.udp {
        sockets if sockets.is_empty() => None,
        sockets => Some(udp::start(sockets, udp, plane).map_err(ServeError::Thread)?),
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
        Some(ended) = tasks.join_next() => return Err(match ended {
            Err(error) => ServeError::Task(error),
            // The others have no end.
            Ok(()) => ServeError::Quic,
        }),
    }
    tasks.shutdown().await;
    join_all(endpoints.iter().map(quic::close)).await;
    match answering {
        Some(answering) => answering.stop().await.then_some(()).ok_or(ServeError::Udp),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
