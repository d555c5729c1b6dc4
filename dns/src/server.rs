//! The listeners of one worker, UDP and TCP, both through the same decode, answer, encode and count.

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

use crate::answer::{Answer, Outcome, answer};
use crate::encode;
use crate::message::{Request, Silence, decode};
use crate::metrics::{ClientSubnetKind, DnsMetrics, Dropped, QueryType, RankingSource, Transport, WithoutPop};
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
        self.count_steering(&view, &request, &answer);
        let udp_size = view.udp_size();
        Ok(Reply { message: encode::message(&request, &answer, udp_size), request, udp_size })
    }

    fn count_steering(&self, view: &View, request: &Request<'_>, answer: &Answer<'_>) {
        let subnet = request.edns.and_then(|edns| edns.subnet);
        self.metrics.client_subnet(ClientSubnetKind::of(subnet)).inc();
        match answer.outcome {
            Outcome::Steered(sent) => {
                view.steered_counter(sent.pop, sent.cause).inc();
                self.metrics.ranking(RankingSource::of(sent.mapped)).inc();
                if let Some(subnet) = subnet.and_then(|subnet| subnet.subnet()) {
                    self.metrics.scope(subnet.address, answer.scope).inc();
                }
            }
            Outcome::Fallback => {
                self.metrics.without_pop(WithoutPop::Fallback).inc();
            }
            Outcome::AllDown => {
                self.metrics.without_pop(WithoutPop::AllDown).inc();
            }
            Outcome::NobodyUp => {
                self.metrics.without_pop(WithoutPop::NoData).inc();
            }
            Outcome::Static
            | Outcome::Explained
            | Outcome::Referral
            | Outcome::NoData
            | Outcome::NoName
            | Outcome::Refused(_)
            | Outcome::Fault(_) => {}
        }
    }

    fn count_drop(&self, reason: Dropped) {
        self.metrics.dropped(reason).inc();
    }
}

#[cfg(test)]
mod tests;
