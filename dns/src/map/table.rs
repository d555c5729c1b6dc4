//! A partition of an address family's whole space into prefixes, each with a number: a sorted array, and an index of where
//! each stretch of it begins.
//!
//! ```text
//!   index    [ .. ][ i ][i+1][ .. ]        one entry for each value of the address's first bits
//!                    |     `-----------.
//!   parts    .. | 192.0.0.0 | 192.0.2.0 | 192.0.3.0 | ..      a few steps of binary search between them
//!     length .. |    23     |    24     |    24     | ..
//!     leaf   .. |     7     |     1     |     7     | ..
//! ```

use std::net::IpAddr;

/// The bits of an address: `u32` or `u128`.
pub(crate) trait Bits: Copy + Ord {
    /// How many of them the index has at most.
    const INDEXED: u8;

    /// Of an address of this family; of another one it is the lowest.
    fn of(address: IpAddr) -> Self;

    /// The address with only its bit number `position` set; 0 is the first.
    fn bit(position: u8) -> Self;

    /// This address and that bit.
    fn with(self, bit: Self) -> Self;

    /// Which bits differ.
    fn differs_only_in(self, other: Self, bit: Self) -> bool;

    /// The first `count` bits as a number.
    fn head(self, count: u8) -> usize;

    /// The lowest address of which that is true.
    fn of_head(head: usize, count: u8) -> Self;

    /// The lowest address.
    fn zero() -> Self;
}

macro_rules! bits {
    ($kind:ty, $family:ident, $indexed:literal) => {
        impl Bits for $kind {
            const INDEXED: u8 = $indexed;

            fn of(address: IpAddr) -> Self {
                if let IpAddr::$family(address) = address { address.to_bits() } else { 0 }
            }

            fn bit(position: u8) -> Self {
                1 << (<$kind>::BITS as u8 - 1 - position)
            }

            fn with(self, bit: Self) -> Self {
                self | bit
            }

            fn differs_only_in(self, other: Self, bit: Self) -> bool {
                self ^ other == bit
            }

            fn head(self, count: u8) -> usize {
                // At most 20 bits are left.
                self.checked_shr(<$kind>::BITS - u32::from(count)).unwrap_or(0) as usize
            }

            fn of_head(head: usize, count: u8) -> Self {
                (head as $kind).checked_shl(<$kind>::BITS - u32::from(count)).unwrap_or(0)
            }

            fn zero() -> Self {
                0
            }
        }
    };
}

bits!(u32, V4, 16);
bits!(u128, V6, 20);

/// See the module.
#[derive(Debug)]
pub(crate) struct Table<B: Copy> {
    /// Bits of an index entry's number.
    indexed: u8,
    /// Position of the part that holds the lowest address of each stretch.
    index: Vec<u32>,
    /// Whole ones side by side: who has found a start has the rest of it at hand.
    parts: Vec<Part<B>>,
}

/// A prefix and its number. Packed, so that a prefix of IPv6 takes 20 bytes and not 32: a full City file has millions.
#[repr(Rust, packed(4))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part<B> {
    pub(crate) first: B,
    pub(crate) length: u8,
    pub(crate) leaf: u16,
}

impl<B: Bits> Table<B> {
    /// The number of the prefix that holds `address`, and its length.
    pub(crate) fn lookup(&self, address: B) -> (u16, u8) {
        let stretch = address.head(self.indexed);
        let from = self.index[stretch] as usize;
        let to = self.index.get(stretch + 1).map_or(self.parts.len(), |next| *next as usize + 1);
        let within = self.parts[from..to.min(self.parts.len())].partition_point(|part| { part.first } <= address);
        // The part at `from` begins no later than the stretch does.
        let part = &self.parts[from + within - 1];
        (part.leaf, part.length)
    }

    /// How many prefixes there are.
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    /// All of them in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part<B>> {
        self.parts.iter().copied()
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.index.capacity() * size_of::<u32>() + self.parts.capacity() * size_of::<Part<B>>()
    }
}

/// A table while it is being filled, in order and without gaps. Two halves of a prefix that have one number become that
/// prefix at once, so what is made is the smallest partition there is.
#[derive(Debug)]
pub(crate) struct Builder<B: Copy> {
    parts: Vec<Part<B>>,
}

impl<B: Bits> Builder<B> {
    /// Of nothing.
    pub(crate) fn new() -> Self {
        Self { parts: Vec::new() }
    }

    /// Adds the prefix that follows what there is.
    pub(crate) fn push(&mut self, part: Part<B>) {
        self.parts.push(part);
        while self.last_two_are_halves() {
            self.parts.pop();
            if let Some(last) = self.parts.last_mut() {
                last.length -= 1;
            }
        }
    }

    fn last_two_are_halves(&self) -> bool {
        let [.., left, right] = &self.parts[..] else { return false };
        // Only the second half of a prefix has its last bit set; in order, the other one stands before it.
        left.length == right.length && left.leaf == right.leaf && left.length > 0 && { left.first }
            .differs_only_in(right.first, B::bit(left.length - 1))
    }

    /// Done; what was pushed must cover the whole family.
    pub(crate) fn finish(mut self) -> Table<B> {
        self.parts.shrink_to_fit();
        // Few prefixes need no index.
        let indexed = B::INDEXED.min(u8::try_from(self.parts.len().ilog2()).unwrap_or(u8::MAX));
        let mut position = 0;
        let holder = |stretch: usize| {
            let lowest = B::of_head(stretch, indexed);
            while self.parts.get(position as usize + 1).is_some_and(|next| { next.first } <= lowest) {
                position += 1;
            }
            position
        };
        let index: Vec<u32> = (0..1 << indexed).map(holder).collect();
        Table { indexed, index, parts: self.parts }
    }
}

/// The partition that nested networks make: each address has the number of the longest that holds it, else `otherwise`.
///
/// `networks` are (first address, length, number), no two the same.
pub(crate) fn nested<B: Bits>(mut networks: Vec<(B, u8, u16)>, otherwise: u16) -> Table<B> {
    networks.sort_unstable_by_key(|(first, length, _)| (*first, *length));
    let mut builder = Builder::new();
    split(B::zero(), 0, &networks, otherwise, &mut builder);
    builder.finish()
}

/// `networks` are all those within the prefix, sorted.
fn split<B: Bits>(first: B, length: u8, networks: &[(B, u8, u16)], inherited: u16, out: &mut Builder<B>) {
    let (leaf, within) = match networks {
        [(_, own, leaf), rest @ ..] if *own == length => (*leaf, rest),
        _ => (inherited, networks),
    };
    if within.is_empty() {
        out.push(Part { first, length, leaf });
        return;
    }
    let middle = first.with(B::bit(length));
    let (left, right) = within.split_at(within.partition_point(|(start, ..)| *start < middle));
    split(first, length + 1, left, leaf, out);
    split(middle, length + 1, right, leaf, out);
}

/// What an address has in a pair of tables, one for each family.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) v4: Table<u32>,
    pub(crate) v6: Table<u128>,
}

impl Tables {
    /// The number and the length of the prefix, in the family of `address`, which is not one with another inside.
    pub(crate) fn lookup(&self, address: IpAddr) -> (u16, u8) {
        match address {
            IpAddr::V4(v4) => self.v4.lookup(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.lookup(v6.to_bits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(networks: &[(u32, u8, u16)]) -> Table<u32> {
        nested(networks.to_vec(), 0)
    }

    /// The number of the longest network that holds `address`.
    fn brute_force(networks: &[(u32, u8, u16)], address: u32) -> u16 {
        let mask = |length: u8| u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        let holding = networks.iter().filter(|(first, length, _)| address & mask(*length) == *first);
        holding.max_by_key(|(_, length, _)| *length).map_or(0, |(.., leaf)| *leaf)
    }

    #[test]
    fn one_prefix_is_all() {
        let all = table(&[]);
        assert_eq!((all.len(), all.lookup(0), all.lookup(u32::MAX)), (1, (0, 0), (0, 0)));
        assert_eq!(table(&[(0, 0, 5)]).lookup(77), (5, 0));
    }

    #[test]
    fn a_hole_splits_what_is_around_it() {
        let holed = table(&[(0x0a00_0000, 8, 1), (0x0a01_0203, 32, 2)]);
        assert_eq!(holed.lookup(0x0a01_0203), (2, 32));
        assert_eq!(holed.lookup(0x0a01_0202), (1, 32));
        assert_eq!(holed.lookup(0x0a01_0201), (1, 31));
        assert_eq!(holed.lookup(0x0a80_0000), (1, 9));
        assert_eq!(holed.lookup(0x0b00_0000), (0, 8));
        assert_eq!(holed.len(), 1 + 32);
    }

    #[test]
    fn halves_of_one_number_become_one() {
        let whole = table(&[(0, 1, 3), (1 << 31, 1, 3)]);
        assert_eq!((whole.len(), whole.lookup(1 << 31)), (1, (3, 0)));
    }

    #[test]
    fn both_ends_of_ipv6() {
        let last = nested(vec![(u128::MAX, 128, 9), (0, 128, 8)], 0);
        assert_eq!((last.lookup(u128::MAX), last.lookup(u128::MAX - 1)), ((9, 128), (0, 128)));
        assert_eq!((last.lookup(0), last.lookup(1 << 127)), ((8, 128), (0, 2)));
    }

    fn networks() -> impl Strategy<Value = Vec<(u32, u8, u16)>> {
        // Near each other, so that they nest; up to more than the index has room for.
        let one = (any::<u32>(), 0u8..=32, 1u16..4).prop_map(|(bits, length, leaf)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            (bits & 0xe001_f00f & mask, length, leaf)
        });
        proptest::collection::vec(one, 0..200).prop_map(|mut all| {
            all.sort_unstable();
            all.dedup_by_key(|(first, length, _)| (*first, *length));
            all
        })
    }

    proptest! {
        #[test]
        fn as_brute_force_and_minimal(networks in networks(), others in proptest::collection::vec(any::<u32>(), 50)) {
            let table = table(&networks);
            let edges = networks.iter().flat_map(|(first, ..)| [first.wrapping_sub(1), *first, first | 1, first | 0xffff]);
            for address in edges.chain(others) {
                let (leaf, length) = table.lookup(address);
                prop_assert_eq!(leaf, brute_force(&networks, address), "{:08x}", address);
                // It is the part that holds the address, and the next wider prefix is not all alike.
                let mask = |length: u8| u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                let first = address & mask(length);
                let holds = table.parts().any(|part| part == Part { first, length, leaf });
                prop_assert!(holds);
                if length > 0 {
                    let (wider, last) = (address & mask(length - 1), address | !mask(length - 1));
                    let inside = || table.parts().filter(|part| (wider..=last).contains(&{ part.first }));
                    prop_assert!(inside().count() > 1 && inside().any(|part| part.leaf != leaf));
                }
            }
            let total: u64 = table.parts().map(|part| 1u64 << (32 - part.length)).sum();
            prop_assert_eq!(total, 1 << 32, "no gap and no overlap");
        }
    }
}
