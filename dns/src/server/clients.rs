//! Who has how many connections open: a limit for each client and one for all, over all workers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nearcast_shared::net;
use parking_lot::Mutex;

/// Open connections, by client.
#[derive(Debug)]
pub struct Clients {
    by_client: Mutex<HashMap<IpAddr, usize>>,
    /// Changed with the lock held.
    in_all: AtomicUsize,
    in_all_max: usize,
    per_client_max: usize,
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
        Arc::new(Self { by_client: Mutex::default(), in_all: AtomicUsize::new(0), in_all_max, per_client_max })
    }

    /// A place for a connection from `peer`, if there is one left.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Admission> {
        let client = client(peer);
        let mut by_client = self.by_client.lock();
        let in_all = self.in_all.load(Ordering::Relaxed);
        if in_all >= self.in_all_max {
            return None;
        }
        let own = by_client.entry(client).or_default();
        if *own >= self.per_client_max {
            return None;
        }
        *own += 1;
        self.in_all.store(in_all + 1, Ordering::Relaxed);
        Some(Admission { clients: self.clone(), client })
    }

    /// How long a connection may wait now, of at most `timeout`.
    pub(super) fn patience(&self, timeout: Duration) -> Duration {
        patience(self.in_all.load(Ordering::Relaxed), self.in_all_max, timeout)
    }
}

/// All of `timeout` while at most half of the places are taken, then less the fewer are free, down to a tenth. RFC 7766
/// section 6.2.3: "Servers MAY use zero timeouts when they are experiencing heavy load or are under attack." Unbound does
/// so as well.
fn patience(open: usize, max: usize, timeout: Duration) -> Duration {
    let free = max.saturating_sub(open).saturating_mul(2);
    if free >= max {
        return timeout;
    }
    let share = |part: usize| u32::try_from(part).unwrap_or(u32::MAX);
    let (free, max) = (share(free), share(max));
    timeout.mul_f64((f64::from(free) / f64::from(max)).max(0.1))
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
        let mut by_client = self.clients.by_client.lock();
        self.clients.in_all.fetch_sub(1, Ordering::Relaxed);
        if let Some(own) = by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                by_client.remove(&self.client);
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
        let left = clients.in_all.load(Ordering::Relaxed);
        assert!(clients.by_client.lock().is_empty() && left == 0, "nothing is left of them");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let clients = Clients::new(10, 1);
        let admit = |peer: &str| clients.admit(peer.parse().unwrap());
        let _held = admit("2001:db8::1").unwrap();
        assert!(admit("2001:db8::ffff:0:0:1").is_none());
        assert!(admit("2001:db8:0:1::1").is_some());
    }

    #[test]
    fn patience_ends_as_places_do() {
        let rows = [
            ("nobody", 0, 1000, 10_000),
            ("half", 500, 1000, 10_000),
            ("three quarters", 750, 1000, 5_000),
            ("nine tenths", 900, 1000, 2_000),
            ("all", 1000, 1000, 1_000),
            ("more than all, which cannot be", 1001, 1000, 1_000),
            ("the only one", 1, 1, 1_000),
        ];
        for (name, open, max, wanted_ms) in rows {
            let got = patience(open, max, Duration::from_secs(10));
            assert_eq!(got.as_millis(), wanted_ms, "{name}");
        }
    }
}
