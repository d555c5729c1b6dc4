//! One file from the first address of a family to the last, as prefixes that leave nothing out.

use std::net::{IpAddr, Ipv6Addr};

use maxminddb::{LookupResult, WithinOptions};

use super::file::GeoFile;

/// What the file has for one prefix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    /// The first address; of IPv4 its 32 bits.
    pub(super) first: u128,
    /// The prefix length in the family.
    pub(super) length: u8,
    /// Where in the data section its record is, if it has one. 32 bits reach, since no pointer has more.
    pub(super) record: Option<u32>,
}

impl Stretch {
    /// The last address, in a family of `bits`.
    pub(super) fn last(&self, bits: u8) -> u128 {
        self.first | ones(bits - self.length)
    }
}

/// As many low bits set.
pub(super) fn ones(count: u8) -> u128 {
    u128::MAX.checked_shr(128 - u32::from(count)).unwrap_or(0)
}

/// The stretches of a file in address order: disjoint, without gaps. What the reader leaves out (aliases of IPv4, damaged
/// parts) is filled with stretches without a record.
pub(super) struct Walk<'a> {
    bits: u8,
    /// The first address not covered yet; `None` at the end.
    next: Option<u128>,
    networks: Box<dyn Iterator<Item = Stretch> + 'a>,
    pending: Option<Stretch>,
}

impl<'a> Walk<'a> {
    /// `bits` is 32 for IPv4 or 128 for IPv6. The file must cover the family.
    pub(super) fn new(file: &'a GeoFile, bits: u8) -> Self {
        let networks: Box<dyn Iterator<Item = Stretch> + 'a> = if bits == 32 {
            Box::new(networks(file, "0.0.0.0/0".to_owned()).filter_map(in_ipv4))
        } else if file.ipv4_inside {
            // All but `::/96`, which would be all of IPv4 once more: the other sides along the way there, in order.
            let beside =
                (1..=96_u8).rev().map(|length| format!("{}/{length}", Ipv6Addr::from(1_u128 << (128 - length))));
            Box::new(beside.flat_map(move |network| networks(file, network)).filter_map(in_ipv6))
        } else {
            Box::new(networks(file, "::/0".to_owned()).filter_map(in_ipv6))
        };
        Self { bits, next: Some(0), networks, pending: None }
    }
}

fn networks<'a>(file: &'a GeoFile, network: String) -> impl Iterator<Item = LookupResult<'a, Vec<u8>>> + 'a {
    let mut all = WithinOptions::default().include_networks_without_data();
    if !file.ipv4_inside {
        // Without a tree of IPv4 the reader takes every record like that at `::/96` for an alias of it.
        all = all.include_aliased_networks();
    }
    let within = network.parse().ok().and_then(|network| file.reader.within(network, all).ok());
    within.into_iter().flatten().filter_map(Result::ok)
}

fn record(found: &LookupResult<'_, Vec<u8>>) -> Option<u32> {
    found.offset().and_then(|offset| u32::try_from(offset).ok())
}

fn in_ipv4(found: LookupResult<'_, Vec<u8>>) -> Option<Stretch> {
    let network = found.network().ok()?;
    let (first, length) = match network.ip() {
        IpAddr::V4(address) => (u128::from(address.to_bits()), network.prefix()),
        // An IPv6 tree that ends above its IPv4 part: one record for all of it.
        IpAddr::V6(_) => (0, 0),
    };
    Some(Stretch { first, length, record: record(&found) })
}

fn in_ipv6(found: LookupResult<'_, Vec<u8>>) -> Option<Stretch> {
    let network = found.network().ok()?;
    let first = match network.ip() {
        IpAddr::V6(address) => address.to_bits(),
        IpAddr::V4(_) => return None,
    };
    Some(Stretch { first, length: network.prefix(), record: record(&found) })
}

impl Iterator for Walk<'_> {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        let at = self.next?;
        let end = ones(self.bits);
        let stretch = loop {
            match self.pending.take().or_else(|| self.networks.next()) {
                None => break widest(at, end, self.bits),
                Some(later) if later.first > at => {
                    self.pending = Some(later);
                    break widest(at, later.first - 1, self.bits);
                }
                Some(stretch) if stretch.first == at => break stretch,
                // Only a damaged tree goes back.
                Some(_) => {}
            }
        };
        self.next = stretch.last(self.bits).checked_add(1).filter(|next| *next <= end);
        Some(stretch)
    }
}

/// The widest prefix that begins at `at` and does not go beyond `last`.
fn widest(at: u128, last: u128, bits: u8) -> Stretch {
    let fits = |free: &u8| at & ones(*free) == 0 && ones(*free) <= last - at;
    let free = (0..=bits).rev().find(fits).unwrap_or(0);
    Stretch { first: at, length: bits - free, record: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_with_the_widest_prefixes() {
        let rows = [
            ("all of IPv4", 0, ones(32), 32, 0),
            ("half", 0, ones(31), 32, 1),
            ("one address", 7, 7, 32, 32),
            ("not aligned", 2, 100, 32, 31),
            ("what is left is odd", 0, 2, 32, 31),
            ("all of IPv6", 0, u128::MAX, 128, 0),
            ("the last address", u128::MAX, u128::MAX, 128, 128),
        ];
        for (name, at, last, bits, wanted) in rows {
            assert_eq!(widest(at, last, bits).length, wanted, "{name}");
        }
    }
}
