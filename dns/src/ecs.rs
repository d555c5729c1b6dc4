//! EDNS Client Subnet (RFC 7871): whom an answer is for, and for whom else it holds.
//!
//! The option is read from its raw bytes, strictly; what is echoed is what was sent, with only the scope changed:
//!
//! ```text
//!   0       1       2        3       4 ..
//!   family (1: IPv4, 2: IPv6)  source  scope   address, cut to `source` bits, the last byte padded with zeros
//! ```
//!
//! Two tolerances, because real clients need them: source 0 (a client who wants privacy) is never refused, and family
//! 0 with source 0 and no address, which some tools send, is taken as the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The option's code.
pub(crate) const CODE: u16 = 8;

/// Seconds that an answer lives at most when the subnet asked for is not known: the data may soon know better.
pub(crate) const UNKNOWN_TTL_MAX: u32 = 10;

/// A valid option of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientSubnet<'a> {
    head: [u8; 4],
    address: &'a [u8],
    subnet: Option<Subnet>,
}

/// A network that a query says it is asked for: never of length 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    /// Its first address.
    pub(crate) address: IpAddr,
    /// Its prefix length, in bits.
    pub(crate) source: u8,
}

/// Why an option is answered FORMERR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Under four bytes.
    Short,
    /// Neither IPv4 nor IPv6.
    Family,
    /// The scope must be 0 in a query.
    Scope,
    /// More bits than an address of the family has.
    Source,
    /// Not exactly the bytes that `source` bits take.
    AddressLength,
    /// Bits set after the first `source`.
    AddressBits,
}

/// For whom a steered answer holds and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// The scope prefix length to answer; 0 when the query names no subnet.
    pub(crate) scope: u8,
    /// The longest time to live in seconds, if the zone's own is too long.
    pub(crate) ttl_max: Option<u32>,
}

impl<'a> ClientSubnet<'a> {
    /// Judges the option's data.
    pub(crate) fn parse(raw: &'a [u8]) -> Result<Self, Malformed> {
        let Some((&head @ [family_high, family_low, source, scope], address)) = raw.split_first_chunk() else {
            return Err(Malformed::Short);
        };
        if scope != 0 {
            return Err(Malformed::Scope);
        }
        let subnet = match u16::from_be_bytes([family_high, family_low]) {
            0 if source == 0 => bits::<0>(address, source).map(|_| None)?,
            1 => Some(IpAddr::V4(Ipv4Addr::from(bits::<4>(address, source)?))),
            2 => Some(IpAddr::V6(Ipv6Addr::from(bits::<16>(address, source)?))),
            _ => return Err(Malformed::Family),
        };
        let subnet = subnet.filter(|_| source > 0).map(|address| Subnet { address, source });
        Ok(Self { head, address, subnet })
    }

    /// The network; `None` when the client keeps it to itself.
    pub(crate) fn subnet(&self) -> Option<Subnet> {
        self.subnet
    }

    /// The option's data for the answer, in two parts: family, source and address as they were sent.
    pub(crate) fn echo(&self, scope: u8) -> ([u8; 4], &'a [u8]) {
        let [family_high, family_low, source, _] = self.head;
        ([family_high, family_low, source, scope], self.address)
    }
}

/// The address bytes padded to the whole address of `N` bytes.
fn bits<const N: usize>(address: &[u8], source: u8) -> Result<[u8; N], Malformed> {
    let source = usize::from(source);
    if source > N * 8 {
        return Err(Malformed::Source);
    }
    if address.len() != source.div_ceil(8) {
        return Err(Malformed::AddressLength);
    }
    let unused = (8 - source % 8) % 8;
    if address.last().is_some_and(|last| last.trailing_zeros() < unused as u32) {
        return Err(Malformed::AddressBits);
    }
    let mut whole = [0; N];
    whole[..address.len()].copy_from_slice(address);
    Ok(whole)
}

/// What a steered answer covers, given the subnet asked for, and that the ranking is the same in all of the prefix of
/// length `depth` around it. `known`: it goes by what is known of the client, not by a guess.
pub(crate) fn coverage(subnet: Option<Subnet>, depth: u8, known: bool) -> Coverage {
    let Some(subnet) = subnet else { return Coverage { scope: 0, ttl_max: None } };
    let customary = match subnet.address {
        IpAddr::V4(_) => 24,
        IpAddr::V6(_) => 56,
    };
    let scope = depth.min(subnet.source.max(customary));
    if known {
        return Coverage { scope, ttl_max: None };
    }
    // Not a fact about the Internet, only about this subnet, and for now: never wider than what was asked for.
    Coverage { scope: scope.max(subnet.source), ttl_max: Some(UNKNOWN_TTL_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The network's address and length, if the option names one.
    type Parsed = Result<Option<(String, u8)>, Malformed>;

    fn parse(raw: &[u8]) -> Parsed {
        let parsed = ClientSubnet::parse(raw)?;
        Ok(parsed.subnet().map(|subnet| (subnet.address.to_string(), subnet.source)))
    }

    fn network(address: &str, source: u8) -> Parsed {
        Ok(Some((address.to_owned(), source)))
    }

    #[test]
    fn what_is_accepted() {
        let rows: [(&str, &[u8], Parsed); 10] = [
            // RFC 7871 section 6: "ADDRESS, variable number of octets, contains either an IPv4 or IPv6 address,
            // depending on FAMILY, which MUST be truncated to the number of bits indicated by the SOURCE
            // PREFIX-LENGTH field, padding with 0 bits to pad to the end of the last octet needed."
            ("/24", &[0, 1, 24, 0, 192, 0, 2], network("192.0.2.0", 24)),
            ("/32", &[0, 1, 32, 0, 192, 0, 2, 1], network("192.0.2.1", 32)),
            ("/20", &[0, 1, 20, 0, 192, 0, 0x10], network("192.0.16.0", 20)),
            ("/1", &[0, 1, 1, 0, 0x80], network("128.0.0.0", 1)),
            ("v6 /56", &[0, 2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 1, 2], network("2001:db8:1:200::", 56)),
            ("v6 /33", &[0, 2, 33, 0, 0x20, 1, 0xd, 0xb8, 0x80], network("2001:db8:8000::", 33)),
            (
                "v6 /128",
                &[0, 2, 128, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                network("2001:db8::1", 128),
            ),
            // RFC 7871 section 7.1.2: "A SOURCE PREFIX-LENGTH value of 0 means that the Recursive Resolver MUST NOT
            // add the client's address information to its queries."
            ("v4 privacy", &[0, 1, 0, 0], Ok(None)),
            ("v6 privacy", &[0, 2, 0, 0], Ok(None)),
            // Sent by some tools for source 0; harmless, since nothing is asked.
            ("family 0", &[0, 0, 0, 0], Ok(None)),
        ];
        for (name, raw, wanted) in rows {
            assert_eq!(parse(raw), wanted, "{name}");
        }
    }

    #[test]
    fn what_is_a_format_error() {
        let rows: [(&str, &[u8], Malformed); 16] = [
            ("nothing", &[], Malformed::Short),
            ("three bytes", &[0, 1, 0], Malformed::Short),
            // RFC 7871 section 6: "SCOPE PREFIX-LENGTH [..] In queries, it MUST be set to 0."
            ("scope", &[0, 1, 24, 1, 192, 0, 2], Malformed::Scope),
            ("scope with privacy", &[0, 1, 0, 24], Malformed::Scope),
            // RFC 7871 section 7.2.1: "A query with a wrongly formatted option (e.g., an unknown FAMILY) MUST be rejected
            // and a FORMERR response MUST be returned to the sender [..]"
            ("family 3", &[0, 3, 0, 0], Malformed::Family),
            ("family 0 with a source", &[0, 0, 8, 0, 10], Malformed::Family),
            ("33 bits of IPv4", &[0, 1, 33, 0, 192, 0, 2, 1, 0], Malformed::Source),
            ("129 bits of IPv6", &[0, 2, 129, 0], Malformed::Source),
            // RFC 7871 section 6: "A server receiving an ECS option that uses either too few or too many ADDRESS
            // octets, or that has non-zero ADDRESS bits set beyond SOURCE PREFIX-LENGTH, SHOULD return FORMERR."
            ("too few bytes", &[0, 1, 24, 0, 192, 0], Malformed::AddressLength),
            ("too many bytes", &[0, 1, 24, 0, 192, 0, 2, 0], Malformed::AddressLength),
            ("bytes for /0", &[0, 1, 0, 0, 0], Malformed::AddressLength),
            ("bytes for family 0", &[0, 0, 0, 0, 0], Malformed::AddressLength),
            ("too few bytes of IPv6", &[0, 2, 56, 0, 0x20, 1], Malformed::AddressLength),
            ("a bit beyond /20", &[0, 1, 20, 0, 192, 0, 0x18], Malformed::AddressBits),
            ("a bit beyond /1", &[0, 1, 1, 0, 0xc0], Malformed::AddressBits),
            ("a bit beyond /33", &[0, 2, 33, 0, 0x20, 1, 0xd, 0xb8, 0x81], Malformed::AddressBits),
        ];
        for (name, raw, wanted) in rows {
            assert_eq!(parse(raw), Err(wanted), "{name}");
        }
    }

    #[test]
    fn the_echo_differs_in_the_scope_alone() {
        // RFC 7871 section 7.2.1: "FAMILY, SOURCE PREFIX-LENGTH, and ADDRESS [..] MUST match those in the query."
        let raw = [0, 1, 20, 0, 192, 0, 0x10];
        assert_eq!(ClientSubnet::parse(&raw).unwrap().echo(16), ([0, 1, 20, 16], &[192, 0, 0x10][..]));
        assert_eq!(ClientSubnet::parse(&[0, 0, 0, 0]).unwrap().echo(0), ([0; 4], &[][..]));
    }

    #[test]
    fn coverage_of_steered_answers() {
        let subnet = |address: &str, source| Some(Subnet { address: address.parse().unwrap(), source });
        let rows = [
            // Rule 3: the widest prefix within which the ranking is the same.
            ("wide data", subnet("192.0.2.0", 24), 10, true, 10, None),
            // Rule 4: scope = min(depth, max(source, 24 or 56)).
            ("narrow data", subnet("192.0.2.0", 24), 28, true, 24, None),
            ("narrow data, whole address", subnet("192.0.2.1", 32), 28, true, 28, None),
            ("short source", subnet("192.0.0.0", 16), 22, true, 22, None),
            ("short source, narrow data", subnet("192.0.0.0", 16), 30, true, 24, None),
            ("v6", subnet("2001:db8::", 56), 64, true, 56, None),
            ("v6, short source", subnet("2001:db8::", 32), 48, true, 48, None),
            // Rule 5: the subnet is unknown: scope = source and a short TTL, never 0.
            ("unknown", subnet("10.0.0.0", 24), 8, false, 24, Some(UNKNOWN_TTL_MAX)),
            // Its first address is unknown, but not all of it need be.
            ("unknown, short source", subnet("10.0.0.0", 8), 30, false, 24, Some(UNKNOWN_TTL_MAX)),
            // Rule 6: no subnet, decided by the resolver's address: scope 0.
            ("none", None, 10, true, 0, None),
            ("none and unknown", None, 0, false, 0, None),
        ];
        for (name, subnet, depth, known, scope, ttl_max) in rows {
            assert_eq!(coverage(subnet, depth, known), Coverage { scope, ttl_max }, "{name}");
        }
    }
}
