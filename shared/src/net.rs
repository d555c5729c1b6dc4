//! Addresses as steering sees them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address to look up for a client: IPv4-mapped, 6to4 and Teredo addresses are read as the IPv4 address inside.
///
/// The second value is how many leading bits of the given IPv6 address stand before that IPv4 address (96 for
/// `::ffff:0:0/96`, 16 for 6to4), so that a prefix length can be translated back; `None` where it cannot (Teredo,
/// RFC 4380 section 4, keeps the client's address inverted in the last 32 bits).
pub fn effective(address: IpAddr) -> (IpAddr, Option<u8>) {
    let IpAddr::V6(v6) = address else {
        return (address, Some(0));
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return (IpAddr::V4(v4), Some(96));
    }
    let segments = v6.segments();
    if segments[0] == 0x2002 {
        return (IpAddr::V4(v4_of(segments[1], segments[2])), Some(16));
    }
    if segments[0] == 0x2001 && segments[1] == 0 {
        return (IpAddr::V4(v4_of(!segments[6], !segments[7])), None);
    }
    (address, Some(0))
}

fn v4_of(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

/// The IPv4 address when `address` is IPv4-mapped, else itself: what a dual-stack socket's peer really is.
pub fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// `address` with all bits after the first `length` cleared.
pub fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn embedded_ipv4_is_found() {
        let rows = [
            ("plain v4", "192.0.2.1", "192.0.2.1", Some(0)),
            ("plain v6", "2001:db8::1", "2001:db8::1", Some(0)),
            ("mapped", "::ffff:192.0.2.1", "192.0.2.1", Some(96)),
            ("6to4", "2002:c000:0201::1", "192.0.2.1", Some(16)),
            ("Teredo", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45", None),
        ];
        for (name, given, wanted, offset) in rows {
            assert_eq!(effective(ip(given)), (ip(wanted), offset), "{name}");
        }
    }

    #[test]
    fn masks() {
        assert_eq!(masked(ip("192.0.2.255"), 24), ip("192.0.2.0"));
        assert_eq!(masked(ip("192.0.2.255"), 32), ip("192.0.2.255"));
        assert_eq!(masked(ip("192.0.2.255"), 0), ip("0.0.0.0"));
        assert_eq!(masked(ip("2001:db8:1:2::3"), 48), ip("2001:db8:1::"));
        assert_eq!(masked(ip("2001:db8:1:2::3"), 0), ip("::"));
    }
}
