//! Answers that are never cut up on their way: fragments can be forged, and many networks drop them.
//!
//! RFC 9715 section 3.1: "UDP responders SHOULD configure their systems to prevent fragmentation of UDP packets when sending
//! replies, provided it can be done safely." It can be where answers are no larger than every path takes; and the
//! kernel then needs no identification for each packet, which it would have to make hard to guess.

use std::io;
use std::net::UdpSocket;

use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};

/// Bytes of an answer that fit into the smallest packet that IPv6 lets a path have, and DNS flag day 2020 recommends.
const WHOLE_MAX: u16 = 1232;

/// Forbids fragmentation of what `socket` sends, if none of that is larger than `answer_max` and that is safe. Over IPv6 so
/// small an answer is in one packet anyway.
///
/// # Errors
/// Of the socket.
pub(super) fn forbid(socket: &UdpSocket, answer_max: u16) -> io::Result<()> {
    if answer_max > WHOLE_MAX || !socket.local_addr()?.is_ipv4() {
        return Ok(());
    }
    // Not `DO`: that believes whoever claims that a path takes less, and the kernel would refuse to send.
    Ok(set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE)?)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use rustix::net::sockopt::ip_mtu_discover;

    use super::*;

    #[test]
    fn where_it_is_safe() {
        let v4 = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let usual = ip_mtu_discover(v4()).unwrap();
        for (answer_max, is) in [(512, Ipv4PathMtuDiscovery::PROBE), (1232, Ipv4PathMtuDiscovery::PROBE), (1233, usual)]
        {
            let socket = v4();
            forbid(&socket, answer_max).unwrap();
            assert_eq!(ip_mtu_discover(&socket).unwrap(), is, "{answer_max}");
        }
        forbid(&UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap(), 512).unwrap();
    }
}
