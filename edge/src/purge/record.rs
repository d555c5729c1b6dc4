//! One line of the purge log, as bytes. Numbers are little-endian.
//!
//! ```text
//! body = tick:u64 kind:u8 mode:u8 node:u32 sequence:u64 scope                 of version 2
//! body = tick:u64 kind:u8 scope                                               of version 1: hard, of this node, in turn
//!
//! kind, scope:  'a' nothing, everything     's' site's name     'p' length:u16 id:u128 site's name
//!               'u' URL's id:u128           'g' group's id:u128 't' tag's id:u128
//!               'r' nothing: a reservation, ticks up to `tick` and sequences up to `sequence` may have been given out
//! mode:         'h' hard, 's' soft
//! ```
//!
//! Ids are keyed with the node's own secret: nodes that exchange records must share it.

use std::fmt;

use super::mark::Mode;
use super::prefixes::Prefix;
use super::scope::Scope;
use crate::key::{GroupId, TagId, UrlId};

/// No valid body is longer.
pub(super) const BODY_MAX: usize = 4096;

/// Who made a record: the node's own random id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A purge as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who was told to purge.
    pub node: NodeId,
    /// Rises with each record of that node, over restarts too.
    pub sequence: u64,
    /// When, on that node.
    pub tick: u64,
    /// How much it does.
    pub mode: Mode,
    /// What it covers.
    pub scope: Scope,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Purge(Record),
    /// Up to these, ticks and sequences of the node may have been given out.
    Reserved {
        node: NodeId,
        sequence: u64,
        tick: u64,
    },
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

impl Line {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (tick, node, sequence) = match self {
            Self::Purge(record) => (record.tick, record.node, record.sequence),
            Self::Reserved { node, sequence, tick } => (*tick, *node, *sequence),
        };
        let (kind, mode, scope) = match self {
            Self::Reserved { .. } => (b'r', b'h', Vec::new()),
            Self::Purge(Record { mode, scope, .. }) => {
                let (kind, scope) = scope_bytes(scope);
                let mode = match mode {
                    Mode::Hard => b'h',
                    Mode::Soft => b's',
                };
                (kind, mode, scope)
            }
        };
        [&tick.to_le_bytes()[..], &[kind, mode], &node.0.to_le_bytes(), &sequence.to_le_bytes(), &scope].concat()
    }

    /// The line in `body`. A line of version 1 is that of `own` node, and has the sequence `next`.
    pub(super) fn decode(body: &[u8], version: Version, own: NodeId, next: u64) -> Option<Self> {
        let (tick, rest) = body.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first()?;
        let tick = u64::from_le_bytes(*tick);
        let (mode, node, sequence, scope) = match version {
            Version::One => (b'h', own, next, rest),
            Version::Two => {
                let (mode, rest) = rest.split_first()?;
                let (node, rest) = rest.split_first_chunk::<4>()?;
                let (sequence, scope) = rest.split_first_chunk::<8>()?;
                (*mode, NodeId(u32::from_le_bytes(*node)), u64::from_le_bytes(*sequence), scope)
            }
        };
        // A tick beyond that leaves no room for the next ones.
        if tick > u64::MAX >> 2 {
            return None;
        }
        if *kind == b'r' {
            return scope.is_empty().then_some(Self::Reserved { node, sequence, tick });
        }
        let mode = match mode {
            b'h' => Mode::Hard,
            b's' => Mode::Soft,
            _ => return None,
        };
        Some(Self::Purge(Record { node, sequence, tick, mode, scope: scope_of(*kind, scope)? }))
    }
}

fn scope_bytes(scope: &Scope) -> (u8, Vec<u8>) {
    let id = |id: u128| id.to_le_bytes().to_vec();
    match scope {
        Scope::All => (b'a', Vec::new()),
        Scope::Site(site) => (b's', site.as_bytes().to_vec()),
        Scope::Prefix(site, prefix) => {
            (b'p', [&prefix.length.to_le_bytes()[..], &prefix.id.to_le_bytes(), site.as_bytes()].concat())
        }
        Scope::Url(url) => (b'u', id(url.0)),
        Scope::Group(group) => (b'g', id(group.0)),
        Scope::Tag(tag) => (b't', id(tag.0)),
    }
}

fn scope_of(kind: u8, bytes: &[u8]) -> Option<Scope> {
    let id = || bytes.try_into().ok().map(u128::from_le_bytes);
    let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    match kind {
        b'a' if bytes.is_empty() => Some(Scope::All),
        b's' => name(bytes).map(Scope::Site),
        b'p' => {
            let (length, rest) = bytes.split_first_chunk::<2>()?;
            let (id, site) = rest.split_first_chunk::<16>()?;
            let prefix = Prefix { length: u16::from_le_bytes(*length), id: u128::from_le_bytes(*id) };
            Some(Scope::Prefix(name(site)?, prefix))
        }
        b'u' => id().map(UrlId).map(Scope::Url),
        b'g' => id().map(GroupId).map(Scope::Group),
        b't' => id().map(TagId).map(Scope::Tag),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: NodeId = NodeId(0x3f2a_9c01);

    /// One of each kind.
    fn scopes() -> [(Scope, Vec<u8>); 6] {
        let id = [&[7][..], &[0; 14], &[0xff]].concat();
        let number = 7 | 0xff << 120;
        let prefix = [&[3, 0][..], &id, b"www"].concat();
        [
            (Scope::All, b"a".to_vec()),
            (Scope::Site("www".to_owned()), b"swww".to_vec()),
            (Scope::Prefix("www".to_owned(), Prefix { length: 3, id: number }), [&b"p"[..], &prefix].concat()),
            (Scope::Url(UrlId(number)), [&b"u"[..], &id].concat()),
            (Scope::Group(GroupId(number)), [&b"g"[..], &id].concat()),
            (Scope::Tag(TagId(number)), [&b"t"[..], &id].concat()),
        ]
    }

    #[test]
    fn the_layout_stays() {
        let head = [1, 2, 0, 0, 0, 0, 0, 0];
        for (scope, bytes) in scopes() {
            for (mode, letter) in [(Mode::Hard, b'h'), (Mode::Soft, b's')] {
                let record = Record { node: OWN, sequence: 5, tick: 0x201, mode, scope: scope.clone() };
                let (kind, rest) = bytes.split_first().unwrap();
                let marks = [*kind, letter, 0x01, 0x9c, 0x2a, 0x3f, 5, 0, 0, 0, 0, 0, 0, 0];
                let body = [&head[..], &marks, rest].concat();
                let line = Line::Purge(record);
                assert_eq!(line.encode(), body);
                assert_eq!(Line::decode(&body, Version::Two, NodeId(9), 9), Some(line));
            }
        }
        let line = Line::Reserved { node: OWN, sequence: 5, tick: 0x201 };
        assert_eq!(Line::decode(&line.encode(), Version::Two, NodeId(9), 9), Some(line));
        assert_eq!(OWN.to_string(), "3f2a9c01");
    }

    #[test]
    fn version_1_is_read() {
        for (scope, bytes) in scopes() {
            let body = [&[9, 0, 0, 0, 0, 0, 0, 0], bytes.as_slice()].concat();
            let record = Record { node: OWN, sequence: 5, tick: 9, mode: Mode::Hard, scope };
            assert_eq!(Line::decode(&body, Version::One, OWN, 5), Some(Line::Purge(record)));
        }
        let reserved = Line::Reserved { node: OWN, sequence: 5, tick: 9 };
        assert_eq!(Line::decode(&[9, 0, 0, 0, 0, 0, 0, 0, b'r'], Version::One, OWN, 5), Some(reserved));
    }

    #[test]
    fn a_tick_without_a_next_one_is_damage() {
        let line = Line::Reserved { node: OWN, sequence: 1, tick: u64::MAX };
        assert_eq!(Line::decode(&line.encode(), Version::Two, OWN, 1), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(body in proptest::collection::vec(any::<u8>(), 0..60), first in any::<bool>()) {
            let version = if first { Version::One } else { Version::Two };
            if let Some(line) = Line::decode(&body, version, OWN, 1) {
                prop_assert_eq!(Line::decode(&line.encode(), Version::Two, NodeId(1), 2), Some(line));
            }
        }
    }
}
