//! The compiled map: for every address its ranking, found by a few array reads, without decoding geo data, without
//! allocation and without floating point.
//!
//! Rankings are cut after some PoPs and kept once each under a number of two bytes. Prefixes whose addresses have one
//! ranking are merged as far as they go, so that the length of the prefix found is the widest scope that an answer may
//! have. Health is not in it: a change of state never rebuilds it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nearcast_shared::clock::{Clock, Timestamp};
use nearcast_shared::config::PolicyId;
use nearcast_shared::geo::{AddressFamily, Atom, AtomKey, GeoDb};
use nearcast_shared::net;

use crate::steering::ranking::Ranking;
use crate::steering::rules::{EMBEDDED, Facts};
use crate::steering::{Compiled, Guide};

pub(crate) mod diff;
pub(crate) mod table;

use table::{Bits, Builder, Part, Table, Tables};

/// A map for each policy by which names are steered.
#[derive(Debug)]
pub struct Maps {
    maps: Vec<Option<Map>>,
    took: Duration,
    made: Timestamp,
}

/// The map of one policy.
#[derive(Debug)]
pub(crate) struct Map {
    tables: Tables,
    rankings: Vec<Ranking>,
}

/// Why there are no maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmade {
    /// Nobody wants them any more.
    Cancelled,
    /// There are more different rankings than numbers.
    TooMany,
}

impl Maps {
    /// Compiles the maps of `guide`; gives up when `cancelled`. Takes seconds with a full City file.
    pub(crate) fn build(guide: &Guide, cancelled: &AtomicBool) -> Option<Self> {
        Self::build_counting(guide, cancelled, &AtomicU64::new(0))
    }

    /// The same; `done` counts the prefixes of the geo data as they are done with, over all policies.
    pub(crate) fn build_counting(guide: &Guide, cancelled: &AtomicBool, done: &AtomicU64) -> Option<Self> {
        let started = std::time::Instant::now();
        let mut maps = Vec::with_capacity(guide.policies().len());
        for compiled in guide.policies() {
            if cancelled.load(Ordering::Relaxed) {
                return None;
            }
            if !compiled.used {
                maps.push(None);
                continue;
            }
            match Map::build(guide, compiled, cancelled, done) {
                Ok(map) => maps.push(Some(map)),
                Err(Unmade::Cancelled) => return None,
                // Its rankings are worked out for each query, then.
                Err(Unmade::TooMany) => maps.push(None),
            }
        }
        Some(Self { maps, took: started.elapsed(), made: Clock::System.now() })
    }

    /// The ranking for `address`, and the length of the prefix around it that has it.
    pub(crate) fn lookup(&self, policy: PolicyId, address: IpAddr) -> Option<(&Ranking, u8)> {
        self.maps[policy.index()].as_ref().map(|map| map.lookup(address))
    }

    /// One policy's map, if it could be made.
    pub(crate) fn of(&self, policy: PolicyId) -> Option<&Map> {
        self.maps.get(policy.index())?.as_ref()
    }

    /// How long it took to make them.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// When they were made.
    pub fn made(&self) -> Timestamp {
        self.made
    }

    /// What all of them amount to.
    pub fn size(&self) -> MapSize {
        let maps = self.maps.iter().flatten();
        maps.fold(MapSize::default(), |sum, map| MapSize {
            bytes: sum.bytes + map.bytes(),
            prefixes: sum.prefixes + map.tables.v4.len() + map.tables.v6.len(),
            rankings: sum.rankings + map.rankings.len(),
        })
    }
}

/// What maps amount to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MapSize {
    /// In memory.
    pub bytes: usize,
    /// Of both families.
    pub prefixes: usize,
    /// Different ones.
    pub rankings: usize,
}

impl Map {
    fn build(guide: &Guide, compiled: &Compiled, cancelled: &AtomicBool, done: &AtomicU64) -> Result<Self, Unmade> {
        let mut depth = compiled.depth;
        loop {
            match Self::build_cut(guide, compiled, depth, cancelled, done) {
                // Fewer PoPs make fewer rankings.
                Err(Unmade::TooMany) if depth > 1 => depth -= 1,
                made => return made,
            }
        }
    }

    fn build_cut(
        guide: &Guide,
        compiled: &Compiled,
        depth: usize,
        cancelled: &AtomicBool,
        done: &AtomicU64,
    ) -> Result<Self, Unmade> {
        let mut interning = Interning {
            guide,
            compiled,
            depth,
            by_key: HashMap::new(),
            numbers: HashMap::new(),
            rankings: Vec::new(),
            done,
        };
        let networks = compiled.rules.networks();
        let v4 = half(&mut interning, &networks.v4, atoms(guide.geo(), compiled, AddressFamily::V4), cancelled)?;
        let v6 = half(&mut interning, &networks.v6, atoms(guide.geo(), compiled, AddressFamily::V6), cancelled)?;
        Ok(Self { tables: Tables { v4, v6 }, rankings: interning.rankings })
    }

    /// The ranking for `address`, and the length of the prefix around it that has it.
    pub(crate) fn lookup(&self, address: IpAddr) -> (&Ranking, u8) {
        let (inner, offset) = net::effective(address);
        let (number, length) = self.tables.lookup(inner);
        (&self.rankings[usize::from(number)], offset.map_or(128, |bits| length.saturating_add(bits)))
    }

    fn bytes(&self) -> usize {
        let ranking = |ranking: &Ranking| size_of::<Ranking>() + ranking.pops().len() * 2 * size_of::<u16>();
        self.tables.v4.bytes() + self.tables.v6.bytes() + self.rankings.iter().map(ranking).sum::<usize>()
    }
}

/// Prefixes within which the geo data says the same.
fn atoms<'g>(geo: &'g GeoDb, compiled: &Compiled, family: AddressFamily) -> Box<dyn Iterator<Item = Atom> + 'g> {
    if needs_geo(compiled) {
        return Box::new(geo.partition(family, compiled.policy.asks_asn()));
    }
    let first = match family {
        AddressFamily::V4 => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    Box::new(std::iter::once(Atom { first, length: 0, key: AtomKey::default() }))
}

/// Whether the geo data makes any difference.
fn needs_geo(compiled: &Compiled) -> bool {
    compiled.policy.asks_place() || compiled.policy.asks_asn()
}

/// Rankings, each under one number.
struct Interning<'a> {
    guide: &'a Guide,
    compiled: &'a Compiled,
    depth: usize,
    /// What was ranked before: the geo data's record, and the rule that names the network plus one.
    by_key: HashMap<(AtomKey, u16), u16>,
    numbers: HashMap<Ranking, u16>,
    rankings: Vec<Ranking>,
    /// For progress bars.
    done: &'a AtomicU64,
}

impl Interning<'_> {
    fn number(&mut self, atom: &Atom, by_network: u16) -> Result<u16, Unmade> {
        if let Some(number) = self.by_key.get(&(atom.key, by_network)) {
            return Ok(*number);
        }
        if by_network == EMBEDDED {
            // Never looked up; like none that is.
            return self.intern(Ranking::nobody());
        }
        let geo = self.guide.geo();
        let place = geo.place_of(atom);
        let rule = usize::from(by_network).checked_sub(1);
        let rule = rule.or_else(|| self.compiled.rules.of_facts(Facts { place: &place, asn: geo.asn_of(atom) }));
        let (ranking, known) = self.compiled.rank(self.guide, &place, rule);
        let number = self.intern(ranking.cut(self.depth, self.compiled.policy.pick, known))?;
        self.by_key.insert((atom.key, by_network), number);
        Ok(number)
    }

    fn intern(&mut self, ranking: Ranking) -> Result<u16, Unmade> {
        if let Some(number) = self.numbers.get(&ranking) {
            return Ok(*number);
        }
        let number = u16::try_from(self.rankings.len()).map_err(|_| Unmade::TooMany)?;
        self.rankings.push(ranking.clone());
        self.numbers.insert(ranking, number);
        Ok(number)
    }
}

/// Atoms between two looks at whether it is still wanted.
const PATIENCE: usize = 65_536;

/// One family: the networks that rules name punch holes into what the geo data says, two sorted lists side by side.
fn half<B: Bits>(
    interning: &mut Interning<'_>,
    networks: &Table<B>,
    atoms: impl Iterator<Item = Atom>,
    cancelled: &AtomicBool,
) -> Result<Table<B>, Unmade> {
    let mut builder = Builder::new();
    let mut networks = networks.parts().peekable();
    for (count, atom) in atoms.enumerate() {
        if count % PATIENCE == PATIENCE - 1 {
            interning.done.fetch_add(PATIENCE as u64, Ordering::Relaxed);
        }
        if count % PATIENCE == 0 && cancelled.load(Ordering::Relaxed) {
            return Err(Unmade::Cancelled);
        }
        let (first, length) = (B::of(atom.first), atom.length);
        // Prefixes of two partitions either hold one another or do not meet: the longer one is in both.
        while let Some(network) = networks.peek().copied() {
            let number = interning.number(&atom, network.leaf)?;
            if network.length <= length {
                builder.push(Part { first, length, leaf: number });
                if ends_together((first, length), (network.first, network.length)) {
                    networks.next();
                }
                break;
            }
            builder.push(Part { leaf: number, ..network });
            networks.next();
            if ends_together((network.first, network.length), (first, length)) {
                break;
            }
        }
    }
    Ok(builder.finish())
}

/// Whether the inner prefix is the last of the outer one.
fn ends_together<B: Bits>(inner: (B, u8), outer: (B, u8)) -> bool {
    (outer.1..inner.1).all(|position| inner.0.with(B::bit(position)) == inner.0)
}

#[cfg(test)]
mod tests;
