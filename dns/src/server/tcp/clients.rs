//! Who has how many TCP connections open: a limit for each client and one for all, over all workers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use nearcast_shared::net;
use parking_lot::Mutex;

/// Open connections, by client.
#[derive(Debug)]
pub struct Clients {
    open: Mutex<Open>,
    in_all_max: usize,
    per_client_max: usize,
}

#[derive(Debug, Default)]
struct Open {
    in_all: usize,
    /// Only those that have any.
    by_client: HashMap<IpAddr, usize>,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    /// Nobody yet, and so many at most.
    pub fn new(in_all_max: usize, per_client_max: usize) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), in_all_max, per_client_max })
    }

    /// A place for a connection from `peer`, if there is one left.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Admission> {
        let client = client(peer);
        let mut open = self.open.lock();
        if open.in_all >= self.in_all_max {
            return None;
        }
        let own = open.by_client.entry(client).or_default();
        if *own >= self.per_client_max {
            return None;
        }
        *own += 1;
        open.in_all += 1;
        Some(Admission { clients: self.clone(), client })
    }
}

/// Whoever has one IPv6 address has its whole /64.
fn client(peer: IpAddr) -> IpAddr {
    match net::unmapped(peer) {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
        v4 => v4,
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.clients.open.lock();
        open.in_all -= 1;
        if let Some(own) = open.by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_and_all_of_them() {
        let clients = Clients::new(4, 2);
        let admit = |peer: &str| clients.admit(peer.parse().unwrap());
        let (first, second) = (admit("192.0.2.1"), admit("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(admit("192.0.2.1").is_none(), "a third of one client");
        let (third, fourth) = (admit("2001:db8::1"), admit("2001:db8::2:3:4:5"));
        assert!(third.is_some() && fourth.is_some());
        assert!(admit("2001:db8:0:1::1").is_none(), "a fifth in all");
        drop(third);
        assert!(admit("2001:db8:0:1::1").is_some());
        drop(first);
        assert!(admit("192.0.2.1").is_some());
        drop((second, fourth));
        assert!(clients.open.lock().by_client.is_empty() && clients.open.lock().in_all == 0, "nothing is left of them");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let clients = Clients::new(10, 1);
        let admit = |peer: &str| clients.admit(peer.parse().unwrap());
        let _held = admit("2001:db8::1").unwrap();
        assert!(admit("2001:db8::ffff:0:0:1").is_none());
        assert!(admit("2001:db8:0:1::1").is_some());
    }
}
