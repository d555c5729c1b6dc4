//! What is on disk and where: one line of memory for each piece, in shards, so that a lookup takes one read lock.
//!
//! Keys are hashed to 64 bits; the record itself tells whether it is the one that was meant.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use twox_hash::XxHash64;

use crate::key::{SiteMark, StoreKey};

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    /// The segment's number.
    pub(super) segment: u32,
    /// Offset in its data file.
    pub(super) offset: u32,
    /// Bytes of the record.
    pub(super) bytes: u32,
    /// Whose it is.
    pub(super) site: SiteMark,
}

/// A power of two.
const SHARDS: usize = 64;

/// Keys that a shard remembers as stored anew while the disk is still being read; beyond, an old copy may come back.
const OVERRIDDEN_MAX: usize = 16 << 10;

type Map = HashMap<u64, Location, BuildHasherDefault<Hashed>>;

/// What is on disk.
#[derive(Debug)]
pub(super) struct Index {
    shards: [RwLock<Shard>; SHARDS],
    entries: AtomicUsize,
    /// Bytes on disk of each site mark.
    sites: Box<[AtomicU64]>,
}

#[derive(Debug, Default)]
struct Shard {
    map: Map,
    /// Until what was on disk at the start is known: what has been stored or removed since.
    overridden: Option<HashSet<u64, BuildHasherDefault<Hashed>>>,
}

/// What the files said at the start.
#[derive(Debug)]
pub(super) struct Found([Map; SHARDS]);

impl Found {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Map::default()))
    }

    /// The later word counts.
    pub(super) fn put(&mut self, key: &StoreKey, location: Location) {
        let hash = hash(key);
        self.0[shard(hash)].insert(hash, location);
    }

    /// It was taken away.
    pub(super) fn remove(&mut self, key: &StoreKey) {
        let hash = hash(key);
        self.0[shard(hash)].remove(&hash);
    }
}

impl Index {
    /// Nothing is known yet; [`Index::adopt`] comes.
    pub(super) fn new() -> Self {
        let shard = |_| RwLock::new(Shard { map: Map::default(), overridden: Some(HashSet::default()) });
        Self {
            shards: std::array::from_fn(shard),
            entries: AtomicUsize::new(0),
            sites: (0..=u16::MAX).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Takes over what was found, but for what has been stored or removed meanwhile. No lock is held for long.
    pub(super) fn adopt(&self, found: Found) {
        for (shard, mut map) in self.shards.iter().zip(found.0) {
            let mut shard = shard.write();
            for hash in shard.overridden.take().into_iter().flatten() {
                map.remove(&hash);
            }
            self.entries.fetch_add(map.len(), Ordering::Relaxed);
            map.values().for_each(|location| self.count(location, true));
            shard.map = map;
        }
    }

    /// Where the record of `key` probably is.
    pub(super) fn get(&self, key: &StoreKey) -> Option<Location> {
        let hash = hash(key);
        self.shards[shard(hash)].read().map.get(&hash).copied()
    }

    /// Whether there may be a record of `key`: what was on disk at the start is not known yet.
    pub(super) fn may_hold(&self, key: &StoreKey) -> bool {
        let hash = hash(key);
        let shard = self.shards[shard(hash)].read();
        shard.overridden.is_some() || shard.map.contains_key(&hash)
    }

    /// Notes a record that was written.
    pub(super) fn put(&self, key: &StoreKey, location: Location) {
        let hash = hash(key);
        let old = self.shards[shard(hash)].write().map.insert(hash, location);
        self.count(&location, true);
        match old {
            Some(old) => self.count(&old, false),
            None => {
                self.entries.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Forgets `key`; says whether it may have been on disk.
    pub(super) fn remove(&self, key: &StoreKey) -> bool {
        let hash = hash(key);
        let (removed, unknown) = {
            let mut shard = self.shards[shard(hash)].write();
            let unknown = shard.overridden.as_mut().map(|overridden| {
                if overridden.len() < OVERRIDDEN_MAX {
                    overridden.insert(hash);
                }
            });
            (shard.map.remove(&hash), unknown.is_some())
        };
        self.forgotten(removed.as_slice());
        unknown || removed.is_some()
    }

    /// Forgets `key` if it is still there.
    pub(super) fn remove_at(&self, key: &StoreKey, location: Location) {
        let hash = hash(key);
        let mut shard = self.shards[shard(hash)].write();
        if shard.map.get(&hash) == Some(&location) {
            shard.map.remove(&hash);
            drop(shard);
            self.forgotten(&[location]);
        }
    }

    /// The record of `key` was copied; says whether that still matters.
    pub(super) fn relocate(&self, key: &StoreKey, from: Location, to: Location) -> bool {
        let hash = hash(key);
        match self.shards[shard(hash)].write().map.get_mut(&hash) {
            Some(location) if *location == from => {
                *location = to;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Forgets all of a segment.
    pub(super) fn remove_segment(&self, segment: u32) {
        for shard in &self.shards {
            let gone: Vec<Location> =
                shard.write().map.extract_if(|_, location| location.segment == segment).map(|(_, at)| at).collect();
            self.forgotten(&gone);
        }
    }

    /// Where the records of a segment are whose sites are meant, in their order.
    pub(super) fn of_segment(&self, segment: u32, meant: impl Fn(SiteMark) -> bool) -> Vec<Location> {
        let mut all: Vec<Location> = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            all.extend(shard.map.values().filter(|at| at.segment == segment && meant(at.site)));
        }
        all.sort_unstable_by_key(|location| location.offset);
        all
    }

    /// Forgets the oldest of a site, `bytes` of them at least. Looks at everything: not for each record.
    pub(super) fn remove_oldest(&self, site: SiteMark, bytes: u64) {
        let mut all: Vec<(u32, u32, u32, u64)> = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            let of_site = shard.map.iter().filter(|(_, at)| at.site == site);
            all.extend(of_site.map(|(hash, at)| (at.segment, at.offset, at.bytes, *hash)));
        }
        all.sort_unstable();
        let mut freed = 0;
        for (.., hash) in all.into_iter().take_while(|(_, _, length, _)| {
            let more = freed < bytes;
            freed += u64::from(*length);
            more
        }) {
            let removed = self.shards[shard(hash)].write().map.remove(&hash);
            self.forgotten(removed.as_slice());
        }
    }

    /// Records.
    pub(super) fn entries(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Bytes of a site's records.
    pub(super) fn bytes_of(&self, site: SiteMark) -> u64 {
        self.sites[usize::from(site.0)].load(Ordering::Relaxed)
    }

    fn forgotten(&self, locations: &[Location]) {
        self.entries.fetch_sub(locations.len(), Ordering::Relaxed);
        locations.iter().for_each(|location| self.count(location, false));
    }

    fn count(&self, location: &Location, more: bool) {
        let bytes = &self.sites[usize::from(location.site.0)];
        if more {
            bytes.fetch_add(location.bytes.into(), Ordering::Relaxed);
        } else {
            bytes.fetch_sub(location.bytes.into(), Ordering::Relaxed);
        }
    }
}

fn hash(key: &StoreKey) -> u64 {
    XxHash64::oneshot(0, &key.0)
}

fn shard(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = XxHash64::oneshot(self.0, bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(number: u8, site: u8) -> StoreKey {
        let mut bytes = [number; 32];
        bytes[14..16].copy_from_slice(&[site, 0]);
        StoreKey(bytes)
    }

    fn location(key: &StoreKey, segment: u32, offset: u32) -> Location {
        Location { segment, offset, bytes: 10, site: key.site() }
    }

    fn opened() -> Index {
        let index = Index::new();
        index.adopt(Found::new());
        index
    }

    #[test]
    fn what_is_stored_while_the_disk_is_read_counts_more() {
        let index = Index::new();
        let (old, renewed) = (key(1, 0), key(2, 0));
        assert!(index.remove(&renewed), "it may be on disk: that is not known yet");
        assert!(index.may_hold(&key(3, 0)), "nor of others");
        let mut found = Found::new();
        found.put(&old, location(&old, 1, 0));
        found.put(&renewed, location(&renewed, 1, 10));
        index.adopt(found);
        assert_eq!((index.get(&old), index.get(&renewed)), (Some(location(&old, 1, 0)), None));
        assert!(!index.remove(&renewed), "now it is");
        assert_eq!([&old, &renewed, &key(3, 0)].map(|key| index.may_hold(key)), [true, false, false]);
        assert_eq!((index.entries(), index.bytes_of(old.site())), (1, 10));
    }

    #[test]
    fn the_oldest_of_a_site_go_first() {
        let index = opened();
        let keys = [(1, 7, 2, 0), (2, 7, 1, 50), (3, 7, 1, 20), (4, 8, 1, 0)];
        for (number, site, segment, offset) in keys {
            let key = key(number, site);
            index.put(&key, location(&key, segment, offset));
        }
        index.remove_oldest(key(1, 7).site(), 15);
        let left: Vec<u8> = keys
            .iter()
            .filter(|(number, site, ..)| index.get(&key(*number, *site)).is_some())
            .map(|row| row.0)
            .collect();
        assert_eq!(left, [1, 4]);
        assert_eq!(index.bytes_of(key(1, 7).site()), 10);
    }

    #[test]
    fn what_was_copied_is_where_it_is_now_unless_it_was_stored_anew() {
        let index = opened();
        let (key, from, to) = (key(1, 0), location(&key(1, 0), 1, 0), location(&key(1, 0), 2, 0));
        index.put(&key, from);
        assert!(index.relocate(&key, from, to));
        assert!(!index.relocate(&key, from, to));
        assert_eq!(index.get(&key), Some(to));
        index.remove_at(&key, from);
        assert_eq!(index.get(&key), Some(to), "that was another");
        index.remove_at(&key, to);
        assert_eq!((index.get(&key), index.entries()), (None, 0));
    }

    proptest! {
        /// However it is used, what it counts is what it holds.
        #[test]
        fn counts_are_true(steps in proptest::collection::vec((0u8..5, 0u8..6, 0u8..2, 0u32..3), 0..60)) {
            let index = opened();
            let mut model: HashMap<(u8, u8), u32> = HashMap::new();
            for (what, number, site, segment) in steps {
                let key = key(number, site);
                match what {
                    0 | 1 => {
                        index.put(&key, location(&key, segment, 0));
                        model.insert((number, site), segment);
                    }
                    2 => prop_assert_eq!(index.remove(&key), model.remove(&(number, site)).is_some()),
                    3 => {
                        index.remove_segment(segment);
                        model.retain(|_, at| *at != segment);
                    }
                    _ => {
                        let wanted = model.iter().filter(|((_, of), at)| **at == segment && *of == site).count();
                        prop_assert_eq!(index.of_segment(segment, |of| of == key.site()).len(), wanted);
                    }
                }
                prop_assert_eq!(index.entries(), model.len());
                let of_site = model.keys().filter(|(_, of)| *of == site).count() as u64;
                prop_assert_eq!(index.bytes_of(key.site()), 10 * of_site);
            }
        }
    }
}
