//! Addresses of this machine that no other test uses. A config that names the port of a process that does not run yet
//! cannot say 0; on an address of its own, a port that is free stays free.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// What this process has taken so far.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// An address in 127.16.0.0 to 127.255.255.255: other processes have others, and the low ones are left to people.
pub(crate) fn address() -> IpAddr {
    const FIRST: u32 = 0x7f10_0000;
    const COUNT: u32 = 0x00ef_0000;
    let number = process::id().wrapping_mul(4).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
    Ipv4Addr::from(FIRST + number % COUNT).into()
}

/// Different ports of `address` that are free for TCP and UDP.
pub(crate) fn ports<const N: usize>(address: IpAddr) -> [SocketAddr; N] {
    // All are held until all are chosen.
    let held = [(); N].map(|()| {
        let mut pairs = (0..100).map(|_| {
            let stream = TcpListener::bind((address, 0)).unwrap();
            (UdpSocket::bind(stream.local_addr().unwrap()), stream)
        });
        pairs.find(|(datagrams, _)| datagrams.is_ok()).expect("a port that is free for both")
    });
    held.map(|(_, stream)| stream.local_addr().unwrap())
}
