//! Listening sockets: one per worker with SO_REUSEPORT, so that the kernel spreads connections and datagrams.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::config::ListenAddress;

/// How the kernel finds out that a client is gone to which nothing is on its way.
const ALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10)).with_retries(3);

/// How long that takes. A shorter user timeout would have it end after one question.
const ALIVE_FOR: Duration = Duration::from_secs(90);

/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// TCP listeners for `address`, one per worker, all on the same address and port.
///
/// # Errors
/// When the address is taken, also by a process that uses SO_REUSEPORT itself, or cannot be bound.
pub fn tcp(address: ListenAddress, workers: usize) -> io::Result<Vec<TcpListener>> {
    match address {
        ListenAddress::Socket(address) => tcp_group(address, workers),
        // One dual-stack socket takes IPv4 too; without IPv6 on the machine, IPv4 alone.
        ListenAddress::Any(port) => {
            tcp_group((Ipv6Addr::UNSPECIFIED, port).into(), workers).or_else(|error| match error.kind() {
                io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
                _ => tcp_group((Ipv4Addr::UNSPECIFIED, port).into(), workers),
            })
        }
    }
}

/// Connections that `listener` accepts end when what was sent is not acknowledged, or not let in, for so long; not before they would for
/// want of any sign of life.
///
/// # Errors
/// When the system does not do it.
pub fn give_up_after(listener: &TcpListener, limit: Duration) -> io::Result<()> {
    /// The kernel has 31 bits for milliseconds.
    const MOST: Duration = Duration::from_millis(i32::MAX as u64);
    SockRef::from(listener).set_tcp_user_timeout(Some(limit.clamp(ALIVE_FOR, MOST)))
}

/// UDP sockets for `address`: for each local address it stands for, one per worker. Replies leave from the address
/// asked, because each socket is bound to just one.
///
/// # Errors
/// When an address is taken or cannot be bound.
pub fn udp(address: ListenAddress, workers: usize) -> io::Result<Vec<Vec<UdpSocket>>> {
    match address {
        ListenAddress::Socket(address) => Ok(vec![udp_group(address, workers)?]),
        ListenAddress::Any(port) => {
            let mut groups: Vec<Vec<UdpSocket>> = Vec::new();
            for address in local_addresses()? {
                // With port 0 the system chose one for the first address: the others follow it.
                let port =
                    groups.first().and_then(|g| g.first()).and_then(|s| s.local_addr().ok()).map_or(port, |a| a.port());
                groups.push(udp_group((address, port).into(), workers)?);
            }
            Ok(groups)
        }
    }
}

/// Every address of this machine, but those bound to one link.
fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut found: Vec<IpAddr> = if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip()).collect();
    found.retain(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()));
    found.sort();
    found.dedup();
    Ok(found)
}

fn tcp_group(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    // SO_REUSEPORT lets a second process of the same user share the port in silence: a first bind without it says so.
    let exclusive = tcp_socket(address, false)?;
    let address = bound(&exclusive)?;
    drop(exclusive);
    let listen = |_| {
        let socket = tcp_socket(address, true)?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from(socket))
    };
    (0..workers).map(listen).collect()
}

fn udp_group(address: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    let exclusive = socket(address, Type::DGRAM, Protocol::UDP, false)?;
    let address = bound(&exclusive)?;
    drop(exclusive);
    (0..workers).map(|_| Ok(UdpSocket::from(socket(address, Type::DGRAM, Protocol::UDP, true)?))).collect()
}

fn tcp_socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    socket(address, Type::STREAM, Protocol::TCP, shared)
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    if kind == Type::STREAM {
        // A restarted server must not wait for connections in TIME_WAIT.
        socket.set_reuse_address(true)?;
        // Accepted connections inherit both. Answers are whole writes: waiting for more to send only delays them.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&ALIVE)?;
    }
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bound(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("a bound IP socket has an address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: ListenAddress = ListenAddress::Socket(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));

    #[test]
    fn workers_share_one_port() {
        let group = tcp(LOOPBACK, 3).unwrap();
        let ports: Vec<u16> = group.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        assert_eq!(ports, vec![ports[0]; 3]);
        let groups = udp(LOOPBACK, 2).unwrap();
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0][0].local_addr().unwrap(), groups[0][1].local_addr().unwrap());
    }

    #[test]
    fn what_is_accepted_sends_at_once_and_is_watched() {
        let group = tcp(LOOPBACK, 1).unwrap();
        group[0].set_nonblocking(false).unwrap();
        give_up_after(&group[0], Duration::from_secs(100)).unwrap();
        let _client = std::net::TcpStream::connect(group[0].local_addr().unwrap()).unwrap();
        let accepted = Socket::from(group[0].accept().unwrap().0);
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(Duration::from_secs(100)));
        for (limit, set) in [(Duration::ZERO, ALIVE_FOR), (Duration::MAX, Duration::from_millis(i32::MAX as u64))] {
            give_up_after(&group[0], limit).unwrap();
            assert_eq!(SockRef::from(&group[0]).tcp_user_timeout().unwrap(), Some(set));
        }
    }

    #[test]
    fn a_taken_port_is_an_error_though_it_is_shared() {
        let group = tcp(LOOPBACK, 1).unwrap();
        let taken = ListenAddress::Socket(group[0].local_addr().unwrap());
        assert_eq!(tcp(taken, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let groups = udp(LOOPBACK, 1).unwrap();
        let taken = ListenAddress::Socket(groups[0][0].local_addr().unwrap());
        assert_eq!(udp(taken, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn any_address_binds_each_one_over_udp() {
        let groups = udp(ListenAddress::Any(0), 1).unwrap();
        let ports: Vec<u16> = groups.iter().map(|group| group[0].local_addr().unwrap().port()).collect();
        assert!(ports.iter().all(|port| *port == ports[0]));
        assert!(groups.iter().all(|group| !group[0].local_addr().unwrap().ip().is_unspecified()));
    }
}
