//! See [`Encrypted`].

use std::time::Duration;

/// DNS over TLS, HTTPS and QUIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// Open connections of the node, of all three together.
    pub connections: usize,
    /// Open connections of one client: an IPv4 address or a /64.
    pub per_client: usize,
    /// For a handshake.
    pub handshake_timeout: Duration,
    /// Where DNS over HTTPS is: a path from "/" on, without a query.
    pub path: String,
    /// Whether the sites' own HTTPS listeners take it too.
    pub on_sites: bool,
}
