//! Makes the tree small: limits prefixes, merges neighbors, shares equal parts.
//!
//! Sharing goes beyond the usual minimal tree. Where two parts of the tree are equal the file
//! has their nodes once and two links lead there, as the format does itself for the IPv4
//! networks in an IPv6 tree. Rounded places repeat so much that this halves the nodes.

use std::collections::HashMap;

use crate::compact::tree::{IPV4_PREFIX_LEN, Link, Target, Tree};

/// The longest prefixes that [`reduce`] leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bits of an IPv4 prefix, 0 to 32.
    pub(super) ipv4: u8,
    /// Bits of an IPv6 prefix, 0 to 128.
    pub(super) ipv6: u8,
}

/// The smallest tree, without sharing, that has the places of `full`, but no prefix longer
/// than `limits` allow: where there is one, the whole block gets the place that most of its
/// addresses have.
///
/// Addresses without a place have no vote, for an answer that may be wrong is better than none
/// when the nearest PoP is sought. Of equally frequent places the first by address wins.
pub(super) fn reduce(full: &Tree, limits: Limits) -> Tree {
    let mut reduction = Reduction { full, limits, reduced: Tree::new() };
    let [zero, one] = full.sides(0);
    let sides = [reduction.reduced_link(zero, 1, true), reduction.reduced_link(one, 1, false)];
    reduction.reduced.set_root(sides);
    reduction.reduced
}

struct Reduction<'a> {
    full: &'a Tree,
    limits: Limits,
    reduced: Tree,
}

impl Reduction<'_> {
    /// Reduces what `link`, reached by `depth` bits, leads to. `ipv4` says whether it leads to
    /// `::/96` or is in there.
    fn reduced_link(&mut self, link: Link, depth: u8, ipv4: bool) -> Link {
        let Target::Node(node) = link.target() else {
            return link;
        };
        let limit = if ipv4 { IPV4_PREFIX_LEN + self.limits.ipv4 } else { self.limits.ipv6 };
        if depth >= limit {
            return majority(self.full, node);
        }
        let [zero, one] = self.full.sides(node);
        let sides = [
            self.reduced_link(zero, depth + 1, ipv4),
            self.reduced_link(one, depth + 1, ipv4 && depth >= IPV4_PREFIX_LEN),
        ];
        if sides[0] == sides[1] && !matches!(sides[0].target(), Target::Node(_)) {
            return sides[0];
        }
        self.reduced.push(sides)
    }
}

/// The place of most addresses below a node.
fn majority(tree: &Tree, node: usize) -> Link {
    let mut votes = Vec::new();
    // Only proportions matter. No sum gets over 2^127, and no address counts as zero, as the
    // tree is at most 127 deep below any node but the root.
    count(tree, node, 1 << 126, &mut votes);
    votes
        .into_iter()
        // Of several maxima `max_by_key` takes the last, which reversed is the first.
        .rev()
        .max_by_key(|(_, addresses)| *addresses)
        .map_or(Link::NOTHING, |(place, _)| place)
}

/// Adds the addresses of each place below a node to `votes`, in address order; `addresses` is
/// the weight of one side.
fn count(tree: &Tree, node: usize, addresses: u128, votes: &mut Vec<(Link, u128)>) {
    for link in tree.sides(node) {
        match link.target() {
            Target::Nothing => {}
            Target::Node(below) => count(tree, below, addresses / 2, votes),
            Target::Place(_) => match votes.iter_mut().find(|(place, _)| *place == link) {
                Some((_, sum)) => *sum += addresses,
                None => votes.push((link, addresses)),
            },
        }
    }
}

/// The same tree with every set of equal nodes replaced by one node.
pub(super) fn share(tree: &Tree) -> Tree {
    let mut sharing =
        Sharing { tree, done: vec![Link::NOTHING; tree.len()], known: HashMap::new(), shared: Tree::new() };
    let sides = tree.sides(0).map(|side| sharing.shared_link(side));
    sharing.shared.set_root(sides);
    sharing.shared
}

struct Sharing<'a> {
    tree: &'a Tree,
    /// The link to the new node of each old one; nothing if it was not yet reached.
    done: Vec<Link>,
    known: HashMap<[Link; 2], Link>,
    shared: Tree,
}

impl Sharing<'_> {
    fn shared_link(&mut self, link: Link) -> Link {
        let Target::Node(node) = link.target() else {
            return link;
        };
        if self.done[node] == Link::NOTHING {
            let sides = self.tree.sides(node).map(|side| self.shared_link(side));
            self.done[node] = *self.known.entry(sides).or_insert_with(|| self.shared.push(sides));
        }
        self.done[node]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { ipv4: 24, ipv6: 40 };

    /// The place at an IPv4 address.
    fn lookup(tree: &Tree, address: u32) -> Target {
        let mut node = 0;
        for depth in 0..128 {
            let bit = (u128::from(address) >> (127 - depth)) & 1;
            match tree.sides(node)[bit as usize].target() {
                Target::Node(below) => node = below,
                leaf => return leaf,
            }
        }
        panic!("no leaf within 128 bits");
    }

    fn tree(networks: &[(u128, u8, usize)]) -> Tree {
        let mut tree = Tree::new();
        for (address, prefix_len, place) in networks {
            tree.insert(*address, *prefix_len, *place);
        }
        tree
    }

    #[test]
    fn most_addresses_decide() {
        // Three networks of place 1 have fewer addresses than one of place 2.
        let full = tree(&[(0, 96 + 26, 1), (64, 96 + 28, 1), (80, 96 + 28, 1), (128, 96 + 25, 2)]);
        assert_eq!(lookup(&reduce(&full, LIMITS), 0), Target::Place(2));
        // A tie: the first by address, even with the greater number.
        let full = tree(&[(0, 96 + 26, 7), (128, 96 + 26, 3)]);
        assert_eq!(lookup(&reduce(&full, LIMITS), 255), Target::Place(7));
    }

    #[test]
    fn neighbors_are_merged_across_the_limit() {
        let full = tree(&[(0x0100, 96 + 24, 1), (0x0000, 96 + 25, 1), (0x0080, 96 + 26, 2), (0x00c0, 96 + 26, 1)]);
        let reduced = reduce(&full, LIMITS);
        assert_eq!(reduced.networks(), (1, 0));
        assert_eq!(lookup(&reduced, 0x01ff), Target::Place(1));
        assert_eq!(lookup(&reduced, 0x0200), Target::Nothing);
    }

    #[test]
    fn ipv6_is_limited_outside_of_ipv4_only() {
        let network = 0x2001_0db8 << 96;
        let full = tree(&[
            (network, 48, 1),
            (network + (1 << 80), 48, 2),
            (network + (2 << 80), 47, 2),
            (0x0808_0800, 96 + 24, 3),
            // Beside the way to `::/96`, where a block of /40 would reach into IPv4.
            (0xffff << 80, 64, 4),
        ]);
        let reduced = reduce(&full, LIMITS);
        assert_eq!(reduced.networks(), (1, 2));
        assert_eq!(lookup(&reduced, 0x0808_0808), Target::Place(3));
    }

    #[test]
    fn equal_parts_are_shared() {
        // The same two places in every second /23.
        let mut full = Tree::new();
        for block in (0..1 << 16).step_by(0x400) {
            full.insert(block, 96 + 24, 1);
            full.insert(block + 0x100, 96 + 24, 2);
        }
        let reduced = reduce(&full, LIMITS);
        let shared = share(&reduced);
        assert!(shared.len() < reduced.len() / 2 + 60, "{}", shared.len());
        assert_eq!(shared.networks(), reduced.networks());
        for address in (0..1 << 16).step_by(0x100) {
            assert_eq!(lookup(&shared, address), lookup(&reduced, address));
        }
    }
}
