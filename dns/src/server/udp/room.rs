//! Room for queries that wait while the thread has no core: what does not fit, the kernel drops.

use std::net::UdpSocket;

use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce};
use nix::sys::socket::{getsockopt, setsockopt};

/// Lets `socket` hold back so many bytes, or as many as the system allows; returns how many those are. A query takes about 800
/// of them, since the kernel counts its own part too.
pub(super) fn make(socket: &UdpSocket, bytes: usize) -> usize {
    // Beyond net.core.rmem_max with CAP_NET_ADMIN only; without it, up to there.
    let _as_far_as_allowed = setsockopt(socket, RcvBufForce, &bytes).or_else(|_| setsockopt(socket, RcvBuf, &bytes));
    // The kernel doubles what it is told, for its own part, and tells the double.
    getsockopt(socket, RcvBuf).unwrap_or(0) / 2
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn as_much_as_asked_where_that_is_allowed() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // Every system allows as little.
        assert_eq!(make(&socket, 64 << 10), 64 << 10);
        assert!(make(&socket, 1 << 30) >= 64 << 10, "what is too much does no harm");
    }
}
