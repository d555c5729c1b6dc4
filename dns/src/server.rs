//! The listeners of one worker: UDP by our own loop, TCP through hickory-server, both through the same
//! decode, answer and count.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::Message;
use nearcast_shared::clock::Clock;
use nearcast_shared::health::HealthBoard;
use nearcast_shared::net;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::answer::{Outcome, answer};
use crate::encode;
use crate::message::{Request, Silence, decode};
use crate::metrics::{DnsMetrics, Dropped, QueryType, Transport};
use crate::texts::Texts;
use crate::view::View;

mod tcp;
mod udp;

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
    /// The TCP side ended by itself.
    #[error("the DNS server over TCP ended: {0}")]
    Tcp(String),
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

/// Answers queries on `sockets`, on the current runtime, until `shutdown` is ready. TCP connections that are open then
/// are closed; a TCP connection that is idle for `tcp_timeout` is closed too.
///
/// # Errors
/// When a socket cannot be used, or serving ended by itself.
pub async fn serve(
    sockets: Sockets,
    plane: Plane,
    tcp_timeout: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut udp = JoinSet::new();
    for socket in sockets.udp {
        socket.set_nonblocking(true).map_err(ServeError::Socket)?;
        let socket = tokio::net::UdpSocket::from_std(socket).map_err(ServeError::Socket)?;
        udp.spawn(udp::run(socket, plane.clone(), plane.health.vitals.listener()));
    }
    let mut tcp = tcp::start(sockets.tcp, plane, tcp_timeout).map_err(ServeError::Socket)?;
    tokio::select! {
        () = shutdown => {}
        Some(Err(error)) = udp.join_next() => return Err(ServeError::Task(error)),
        error = tcp.ended(), if !tcp.is_empty() => return Err(error),
    }
    udp.shutdown().await;
    tcp.shutdown().await
}

/// A packet's answer, not yet in bytes.
struct Reply<'p> {
    request: Request<'p>,
    message: Message,
    udp_size: u16,
}

impl Plane {
    /// Decodes, answers and counts.
    fn reply<'p>(&self, packet: &'p [u8], peer: SocketAddr, transport: Transport) -> Result<Reply<'p>, Dropped> {
        let request = decode(packet).map_err(|silence| match silence {
            Silence::Short => Dropped::Short,
            Silence::Response => Dropped::Response,
        })?;
        let (view, health, texts) = (self.view.load(), self.health.table(), self.texts.load());
        let health = view.health(&health);
        let answer = answer(&request, net::unmapped(peer.ip()), &view, &health, self.clock.now(), &texts);
        let kind = request.question.map_or(QueryType::Other, |question| QueryType::from_number(question.qtype));
        self.metrics.query(kind, answer.outcome.rcode(), transport).inc();
        if let Outcome::Steered(pop) = answer.outcome {
            view.steered_counter(pop).inc();
        }
        let udp_size = view.udp_size();
        Ok(Reply { message: encode::message(&request, &answer, udp_size), request, udp_size })
    }

    fn count_drop(&self, reason: Dropped) {
        self.metrics.dropped(reason).inc();
    }
}

#[cfg(test)]
mod tests;
