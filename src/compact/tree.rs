//! The search tree between reading and writing: a binary trie over 128-bit addresses, eight
//! bytes per node, IPv4 at `::/96` as the file format has it.

/// Bits before an IPv4 address in the tree: the format keeps IPv4 in `::/96`.
pub(super) const IPV4_PREFIX_LEN: u8 = 96;

/// The IPv6 prefixes that embed an IPv4 address right after the prefix: mapped addresses
/// (RFC 4291), Teredo (RFC 4380, the server's address), 6to4 (RFC 3056). MaxMind's own files
/// lead all three to the IPv4 networks.
pub(super) const IPV4_ALIASES: [(u128, u8); 3] = [(0xffff << 32, 96), (0x2001_0000 << 96, 32), (0x2002 << 112, 16)];

/// One side of a node: nothing known, another node, or the number of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Link(u32);

/// What a [`Link`] leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Nothing is known about these addresses.
    Nothing,
    /// The node with this number.
    Node(usize),
    /// All addresses are at the place with this number.
    Place(usize),
}

impl Link {
    /// Nothing known. Zero is free for it because no link leads to the root.
    pub(super) const NOTHING: Self = Self(0);
    /// The bit that tells places from nodes.
    const PLACE: u32 = 1 << 31;

    /// A link to the place with this number.
    pub(super) fn to_place(place: usize) -> Self {
        Self(Self::number(place) | Self::PLACE)
    }

    /// A link to the node with this number, which is not the root.
    pub(super) fn to_node(node: usize) -> Self {
        Self(Self::number(node))
    }

    fn number(number: usize) -> u32 {
        u32::try_from(number)
            .ok()
            .filter(|number| number & Self::PLACE == 0)
            .expect("2^31 nodes take 16 GiB, and a readable input has fewer places than that")
    }

    /// Where the link leads.
    pub(super) fn target(self) -> Target {
        match self.0 {
            0 => Target::Nothing,
            link if link & Self::PLACE != 0 => Target::Place((link & !Self::PLACE) as usize),
            node => Target::Node(node as usize),
        }
    }
}

/// A trie over addresses.
#[derive(Debug)]
pub(super) struct Tree {
    /// The root comes first and is always there.
    nodes: Vec<[Link; 2]>,
}

impl Tree {
    /// A tree without any place.
    pub(super) fn new() -> Self {
        Self { nodes: vec![[Link::NOTHING; 2]] }
    }

    /// Makes room for more nodes at once, so that growing step by step does not take twice the
    /// memory.
    pub(super) fn reserve(&mut self, nodes: usize) {
        self.nodes.reserve_exact(nodes);
    }

    /// How many nodes there are; the root is node 0.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The zero and the one side of a node.
    pub(super) fn sides(&self, node: usize) -> [Link; 2] {
        self.nodes[node]
    }

    /// Sets the sides of the root.
    pub(super) fn set_root(&mut self, sides: [Link; 2]) {
        self.nodes[0] = sides;
    }

    /// Adds a node and returns the link to it.
    pub(super) fn push(&mut self, sides: [Link; 2]) -> Link {
        self.nodes.push(sides);
        Link::to_node(self.nodes.len() - 1)
    }

    /// Puts a place at every address of a network that has none yet: of several inputs the
    /// first one to know an address wins.
    pub(super) fn insert(&mut self, address: u128, prefix_len: u8, place: usize) {
        let place = Link::to_place(place);
        if prefix_len == 0 {
            return self.fill(0, place);
        }
        let Some((node, side)) = self.descend(address, prefix_len, false) else {
            return;
        };
        match self.nodes[node][side].target() {
            Target::Nothing => self.nodes[node][side] = place,
            Target::Node(below) => self.fill(below, place),
            Target::Place(_) => {}
        }
    }

    /// Leads every IPv6 prefix that embeds IPv4 to the IPv4 networks, in place of what it led
    /// to before. Nothing happens without IPv4 networks, or when all have the same place.
    ///
    /// The IPv4 nodes have several parents from here on, so nothing may be inserted anymore.
    pub(super) fn alias_ipv4(&mut self) {
        let ipv4 = self.ipv4();
        if matches!(ipv4.target(), Target::Node(_)) {
            for (address, prefix_len) in IPV4_ALIASES {
                if let Some((node, side)) = self.descend(address, prefix_len, true) {
                    self.nodes[node][side] = ipv4;
                }
            }
        }
    }

    /// How many networks have a place, IPv4 and IPv6. Aliases of IPv4 do not count.
    pub(super) fn networks(&self) -> (u64, u64) {
        let ipv4_link = self.ipv4();
        let ipv4 = self.places_below(ipv4_link, Link::NOTHING);
        let [zero, one] = self.nodes[0];
        if let Target::Node(_) = ipv4_link.target() {
            let below = |side| self.places_below(side, ipv4_link);
            (ipv4, below(zero) + below(one))
        } else {
            let below = |side| self.places_below(side, Link::NOTHING);
            (ipv4, below(zero) + below(one) - ipv4)
        }
    }

    /// The link at `::/96`, or the one above it that stands for all addresses there.
    fn ipv4(&self) -> Link {
        let mut link = self.nodes[0][0];
        for _ in 1..IPV4_PREFIX_LEN {
            match link.target() {
                Target::Node(node) => link = self.nodes[node][0],
                Target::Nothing | Target::Place(_) => break,
            }
        }
        link
    }

    /// How many places `link` leads to, other than through `except`.
    fn places_below(&self, link: Link, except: Link) -> u64 {
        match link.target() {
            Target::Node(node) if link != except => {
                self.nodes[node].into_iter().map(|side| self.places_below(side, except)).sum()
            }
            Target::Place(_) => 1,
            Target::Node(_) | Target::Nothing => 0,
        }
    }

    /// The node and side that stand for a network, making the nodes on the way. A place on the
    /// way is split if `split`, and ends the search otherwise. The length is 1 at least.
    fn descend(&mut self, address: u128, prefix_len: u8, split: bool) -> Option<(usize, usize)> {
        let mut node = 0;
        for depth in 0..prefix_len - 1 {
            let side = bit(address, depth);
            let link = self.nodes[node][side];
            node = match link.target() {
                Target::Node(below) => below,
                Target::Place(_) if !split => return None,
                Target::Place(_) | Target::Nothing => {
                    self.nodes[node][side] = self.push([link; 2]);
                    self.nodes.len() - 1
                }
            };
        }
        Some((node, bit(address, prefix_len - 1)))
    }

    fn fill(&mut self, node: usize, place: Link) {
        for side in 0..2 {
            match self.nodes[node][side].target() {
                Target::Nothing => self.nodes[node][side] = place,
                Target::Node(below) => self.fill(below, place),
                Target::Place(_) => {}
            }
        }
    }
}

/// The bit of an address that chooses the side at a depth, the most significant one first.
fn bit(address: u128, depth: u8) -> usize {
    usize::from((address >> (127 - depth)) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(tree: &Tree, address: u128) -> Option<usize> {
        let mut node = 0;
        for depth in 0..128 {
            match tree.sides(node)[bit(address, depth)].target() {
                Target::Nothing => return None,
                Target::Place(place) => return Some(place),
                Target::Node(below) => node = below,
            }
        }
        panic!("no leaf within 128 bits");
    }

    #[test]
    fn the_first_to_know_an_address_wins() {
        let mut tree = Tree::new();
        tree.insert(0x0a00_0000, 96 + 24, 1);
        // Wider than what is there, then narrower, then everything.
        tree.insert(0x0a00_0000, 96 + 16, 2);
        tree.insert(0x0a00_0001, 128, 3);
        tree.insert(0, 0, 4);
        assert_eq!(lookup(&tree, 0x0a00_0001), Some(1));
        assert_eq!(lookup(&tree, 0x0a00_0101), Some(2));
        assert_eq!(lookup(&tree, 0x0b00_0000), Some(4));
        assert_eq!(lookup(&tree, u128::MAX), Some(4));
    }

    #[test]
    fn embedded_ipv4_leads_to_ipv4() {
        let mut tree = Tree::new();
        tree.insert(0x0808_0800, 96 + 24, 1);
        tree.insert(0x2001 << 112, 16, 2);
        assert_eq!(tree.networks(), (1, 1));
        tree.alias_ipv4();
        // 2001::/16 lost 2001::/32, so that it is sixteen networks now.
        assert_eq!(tree.networks(), (1, 16));
        assert_eq!(lookup(&tree, 0xffff_0808_0808), Some(1));
        assert_eq!(lookup(&tree, 0x2002_0808_0808 << 80), Some(1));
        assert_eq!(lookup(&tree, 0x2001_0000_0808_0808 << 64), Some(1));
        assert_eq!(lookup(&tree, 0x2001_0000_0909_0909 << 64), None);
        // The rest of the split network keeps its place.
        assert_eq!(lookup(&tree, 0x2001_4860 << 96), Some(2));
    }

    #[test]
    fn no_ipv4_means_no_aliases() {
        let mut tree = Tree::new();
        tree.insert(0x2002 << 112, 16, 2);
        tree.alias_ipv4();
        assert_eq!(lookup(&tree, 0x2002_0808_0808 << 80), Some(2));
        assert_eq!(lookup(&tree, 0xffff_0808_0808), None);
    }
}
