//! What connections may take, over TCP, TLS, HTTPS and QUIC alike, and how each of them gets its place.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use super::Plane;
use super::clients::{Admission, Clients};
use super::tls::Tls;
use crate::metrics::{ConnectionEvent, Transport};

/// What connections may take, and what encrypted ones show.
///
/// Plain ones have places of their own: a client that was sent to TCP by a truncated answer has nowhere else to go, so
/// those who hold encrypted connections open must not take its place.
#[derive(Debug, Clone)]
pub struct Streams {
    /// Of TCP; shared by all workers.
    pub plain: Arc<Clients>,
    /// Of TLS, HTTPS and QUIC together; shared by all workers.
    pub encrypted: Arc<Clients>,
    /// A connection is closed when no whole query came for so long.
    pub timeout: Duration,
    /// And when its TLS handshake takes longer than this.
    pub handshake_timeout: Duration,
    /// How encrypted ones begin.
    pub tls: Tls,
    /// Where DNS over HTTPS is.
    pub doh_path: Arc<str>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _admission: Admission,
    open: Gauge,
}

impl Streams {
    fn clients(&self, transport: Transport) -> &Arc<Clients> {
        match transport {
            Transport::Udp | Transport::Tcp => &self.plain,
            Transport::Tls | Transport::Https | Transport::Quic => &self.encrypted,
        }
    }

    /// A place for a connection of `peer`, if there is one; either is counted.
    pub(super) fn admit(&self, plane: &Plane, peer: SocketAddr, transport: Transport) -> Option<Place> {
        let Some(admission) = self.clients(transport).admit(peer.ip()) else {
            plane.metrics.connection(transport, ConnectionEvent::Refused).inc();
            return None;
        };
        plane.metrics.connection(transport, ConnectionEvent::Opened).inc();
        let open = plane.metrics.open(transport).clone();
        open.inc();
        Some(Place { _admission: admission, open })
    }

    /// How long a TLS handshake may take now.
    pub(super) fn handshake_patience(&self, transport: Transport) -> Duration {
        self.handshake_timeout.min(self.patience(transport))
    }

    /// When a connection whose last query, or its beginning, was at `since` is to be looked at again; `None` if it has waited long
    /// enough. Not at the end of its time alone: that may come sooner, as others come.
    pub(super) fn wake(&self, transport: Transport, since: Instant) -> Option<Instant> {
        let (now, end) = (Instant::now(), since + self.patience(transport));
        (now < end).then(|| end.min(now + self.timeout / 10))
    }

    /// How long a connection may wait for its client now.
    pub(super) fn patience(&self, transport: Transport) -> Duration {
        self.clients(transport).patience(self.timeout)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}
