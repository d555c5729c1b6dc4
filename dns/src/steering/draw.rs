//! Draws among equal PoPs that any node draws alike: by rendezvous hashing, so that a PoP that goes takes only its own
//! clients along, and one that comes takes only its share from each.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use nearcast_shared::net;

/// Bits of a client's network that count, where its network counts.
const V4_NETWORK: u8 = 24;
/// The same of IPv6: shorter than what resolvers send, long enough to tell subscribers apart.
const V6_NETWORK: u8 = 48;

/// What a client throws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The same for a network as long as `seed` stays.
    pub(crate) fn of_network(address: IpAddr, seed: u64) -> Self {
        Self::of(net::masked(address, network_length(address)), seed)
    }

    /// The same for those at `address` while an answer lives, `ttl` seconds; not for all clients anew at once.
    pub(crate) fn of_moment(address: IpAddr, seed: u64, now_seconds: i64, ttl: u32) -> Self {
        let Self(client) = Self::of(address, seed);
        let ttl = i64::from(ttl.max(1));
        let offset = i64::try_from(client % u64::from(ttl.unsigned_abs() as u32)).unwrap_or(0);
        let slot = now_seconds.saturating_add(offset).div_euclid(ttl);
        Self(mix(client ^ mix(slot.cast_unsigned())))
    }

    fn of(address: IpAddr, seed: u64) -> Self {
        Self(match address {
            IpAddr::V4(v4) => mix(seed ^ u64::from(v4.to_bits())),
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                mix(mix(seed ^ (bits >> 64) as u64) ^ bits as u64)
            }
        })
    }

    /// How well a PoP with that seed and weight fares; the highest has the client.
    pub(crate) fn score(self, seed: u64, weight: u32) -> f64 {
        if weight == 0 {
            return f64::NEG_INFINITY;
        }
        // In (0, 1]: 53 bits are what a double holds.
        let uniform = ((mix(self.0 ^ seed) >> 11) + 1) as f64 / (1u64 << 53) as f64;
        // Exponentially distributed with the weight as its rate: the least of them is each one's with its share.
        uniform.ln() / f64::from(weight)
    }
}

/// Bits of a client's network that count.
pub(crate) fn network_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { V4_NETWORK } else { V6_NETWORK }
}

/// The same on every node and in every version.
pub(crate) fn seed(name: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(name.as_bytes());
    hasher.finish()
}

/// Each bit of the result hangs on each of the input's: the finalizer of SplitMix64.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: [(&str, u32); 4] = [("fra", 100), ("iad", 200), ("sin", 100), ("nil", 0)];

    fn drawn(address: &str, but: &str) -> &'static str {
        let dice = Dice::of_network(address.parse().unwrap(), 1);
        let of = WEIGHTS.iter().filter(|(name, _)| *name != but);
        of.max_by(|a, b| dice.score(seed(a.0), a.1).total_cmp(&dice.score(seed(b.0), b.1))).unwrap().0
    }

    fn networks() -> impl Iterator<Item = String> {
        (0..20_000u32).map(|n| format!("10.{}.{}.0", n >> 8, n & 255))
    }

    #[test]
    fn shares_follow_weights() {
        let count = |name: &str| networks().filter(|network| drawn(network, "") == name).count();
        let (fra, iad, sin) = (count("fra"), count("iad"), count("sin"));
        assert_eq!((count("nil"), fra + iad + sin), (0, 20_000));
        for (have, wanted) in [(fra, 5_000), (iad, 10_000), (sin, 5_000)] {
            assert!(have.abs_diff(wanted) < 300, "{have} of {wanted}");
        }
    }

    #[test]
    fn who_goes_takes_only_its_own_clients_along() {
        for network in networks() {
            let before = drawn(&network, "");
            assert!(before == "iad" || drawn(&network, "iad") == before);
        }
    }

    #[test]
    fn a_network_is_one_client() {
        let of = |address: &str| Dice::of_network(address.parse().unwrap(), 7);
        assert_eq!(of("192.0.2.1"), of("192.0.2.254"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:ff::"));
        assert_ne!(of("2001:db8:1::1"), of("2001:db8:2::1"));
    }

    #[test]
    fn a_moment_is_as_long_as_an_answer_lives() {
        let address = "192.0.2.1".parse().unwrap();
        let of = |second: i64| Dice::of_moment(address, 7, second, 30);
        let changes = (0..3_000).filter(|second| of(*second) != of(second + 1)).count();
        assert_eq!(changes, 100);
        assert_eq!(Dice::of_moment(address, 7, -5, 0), Dice::of_moment(address, 7, -5, 0), "no division by zero");
    }
}
