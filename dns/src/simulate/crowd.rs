//! Clients that are ranked alike, and how many they are.

use std::net::{IpAddr, Ipv6Addr};

use nearcast_shared::net;

use crate::steering::draw::network_length;

/// IPv4 addresses that one draw stands for where draws differ: 2^-17 of all.
const ADDRESSES_PER_DRAW: f64 = 32_768.0;
/// The same of /48s: a /32 is eight draws.
const SITES_PER_DRAW: f64 = 8_192.0;
/// Bits of the longest IPv6 prefix that is one.
const SITE: u8 = 48;
/// /48s that a crowd counts for at most: those of a /32.
const SITES_MAX: f64 = 65_536.0;

/// Clients of one prefix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Crowd {
    /// The first of them.
    pub(super) first: IpAddr,
    /// Bits of their prefix.
    pub(super) length: u8,
    /// They are all clients of it; else the one at `first`, as somebody named it.
    pub(super) whole: bool,
    /// How much they count.
    pub(super) weight: f64,
    /// How many draws they are where draws differ; a power of two.
    pub(super) draws: u64,
}

impl Crowd {
    fn of_prefix(first: IpAddr, length: u8) -> Self {
        let (weight, per_draw) = match first {
            IpAddr::V4(_) => (2f64.powi(32 - i32::from(length)), ADDRESSES_PER_DRAW),
            IpAddr::V6(_) => (2f64.powi(i32::from(SITE) - i32::from(length)).min(SITES_MAX), SITES_PER_DRAW),
        };
        // At most 2^17: the weight is a power of two.
        let draws = (weight / per_draw).max(1.0) as u64;
        Self { first, length, whole: true, weight, draws }
    }

    /// How many different networks draws can tell apart in it.
    pub(super) fn networks(&self) -> u64 {
        let bits = network_length(self.first).saturating_sub(self.length);
        if self.whole { 1 << bits } else { 1 }
    }

    /// The first address of the network that the `draw`th of `draws` is: one of each equal part of the prefix, at places
    /// that are all different within their parts.
    pub(super) fn network(&self, draw: u64, draws: u64) -> IpAddr {
        let networks = self.networks();
        let number = match networks / draws {
            0 | 1 => draw % networks,
            part => draw * part + (draw.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16) % part,
        };
        let host_bits = match self.first {
            IpAddr::V4(_) => 32 - network_length(self.first),
            IpAddr::V6(_) => 128 - network_length(self.first),
        };
        match self.first {
            _ if networks == 1 => self.first,
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() | (number << host_bits) as u32).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() | u128::from(number) << host_bits).into()),
        }
    }
}

/// The crowds of a stretch of the geo data. However it is cut, IPv6 counts for a /32 at most.
pub(super) fn crowds_of_stretch(first: IpAddr, length: u8, depth: impl Fn(IpAddr) -> u8) -> Vec<Crowd> {
    let mut all: Vec<Crowd> = crowds(first, length, depth).collect();
    let weight: f64 = all.iter().map(|crowd| crowd.weight).sum();
    if first.is_ipv6() && weight > SITES_MAX {
        all.iter_mut().for_each(|crowd| crowd.weight *= SITES_MAX / weight);
    }
    all
}

/// The prefix of `length` bits at `first`, cut where `depth` says that rankings differ. IPv6 prefixes that embed IPv4
/// addresses are left out: who is there counts as IPv4.
fn crowds(first: IpAddr, length: u8, depth: impl Fn(IpAddr) -> u8) -> impl Iterator<Item = Crowd> {
    let bits = if first.is_ipv4() { 32 } else { 128 };
    let end = number(first) | ones(bits - length);
    let mut next = Some(first);
    std::iter::from_fn(move || {
        loop {
            let at = next?;
            let embedded = net::effective(at).0 != at;
            // The longest of them is that of Teredo; what surrounds the mapped ones is nobody's.
            let length = if embedded { 32.max(length) } else { depth(at).clamp(length, bits) };
            let last = number(at) | ones(bits - length);
            next = last.checked_add(1).filter(|next| *next <= end).map(|next| address(next, bits));
            if !embedded {
                return Some(Crowd::of_prefix(at, length));
            }
        }
    })
}

/// Which share of its family's space is before `address`.
pub(super) fn share_before(address: IpAddr) -> f64 {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    number(address) as f64 / 2f64.powi(bits)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn address(number: u128, bits: u8) -> IpAddr {
    // Numbers of IPv4 stay within 32 bits.
    if bits == 32 { IpAddr::V4((number as u32).into()) } else { IpAddr::V6(Ipv6Addr::from(number)) }
}

/// A number whose last `count` bits are set.
fn ones(count: u8) -> u128 {
    1u128.checked_shl(count.into()).map_or(u128::MAX, |above| above - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_is_cut_where_rankings_differ() {
        let depth = |address: IpAddr| if address == ip("10.0.0.0") || address == ip("10.0.1.0") { 24 } else { 9 };
        let cut: Vec<(IpAddr, u8)> =
            crowds(ip("10.0.0.0"), 22, depth).map(|crowd| (crowd.first, crowd.length)).collect();
        assert_eq!(cut, [(ip("10.0.0.0"), 24), (ip("10.0.1.0"), 24), (ip("10.0.2.0"), 22)]);
        let all: Vec<Crowd> = crowds(ip("0.0.0.0"), 0, |_| 1).collect();
        assert_eq!(all.iter().map(|crowd| crowd.weight).sum::<f64>(), 2f64.powi(32));
    }

    #[test]
    fn who_is_in_ipv4_in_truth_is_left_out() {
        let depth = |address: IpAddr| if net::effective(address).0 == address { 16 } else { 128 };
        let count = |first: &str, length| crowds(ip(first), length, depth).count();
        assert_eq!((count("2002::", 16), count("2001::", 32), count("::ffff:0:0", 96)), (0, 0, 0));
        assert_eq!(count("2001::", 31), 1, "the half after Teredo");
    }

    #[test]
    fn draws_are_of_different_networks_of_the_prefix() {
        for (first, length) in [("10.0.0.0", 8), ("10.0.0.0", 20), ("2a00::", 20), ("2a00::", 40)] {
            let crowd = Crowd::of_prefix(ip(first), length);
            let draws = crowd.draws.clamp(8, crowd.networks());
            let networks: BTreeSet<IpAddr> = (0..draws).map(|draw| crowd.network(draw, draws)).collect();
            assert_eq!(networks.len() as u64, draws, "{first}/{length}");
            assert!(networks.iter().all(|network| net::masked(*network, length) == crowd.first));
            assert!(networks.iter().all(|network| net::masked(*network, network_length(*network)) == *network));
        }
    }

    #[test]
    fn a_stretch_of_ipv6_counts_the_same_however_it_is_cut() {
        for (length, cut, wanted) in [(20, 20, 65_536.0), (20, 24, 65_536.0), (30, 34, 65_536.0), (40, 44, 256.0)] {
            let crowds = crowds_of_stretch(ip("2a00::"), length, |_| cut);
            assert_eq!(crowds.len(), 1 << (cut - length), "/{length} in /{cut}s");
            assert_eq!(crowds.iter().map(|crowd| crowd.weight).sum::<f64>(), wanted, "/{length} in /{cut}s");
        }
        let v4 = crowds_of_stretch(ip("10.0.0.0"), 8, |_| 9);
        assert_eq!(v4.iter().map(|crowd| crowd.weight).sum::<f64>(), f64::from(1 << 24));
    }

    #[test]
    fn weights() {
        let weight = |first: &str, length| Crowd::of_prefix(ip(first), length).weight;
        assert_eq!((weight("10.0.0.0", 24), weight("10.0.0.1", 32)), (256.0, 1.0));
        let v6 = [48, 32, 20, 56].map(|length| weight("2a00::", length));
        assert_eq!(v6, [1.0, 65_536.0, 65_536.0, 1.0 / 256.0]);
    }
}
