//! What is in memory: a large tier for what is asked for often, and a small one beside it for pieces of large bodies, so
//! that a video does not push out the pages. As long as the large one has room to spare, they may have it. A site with memory of its own has two tiers of its own: others cannot push
//! out what is there, and it takes no more.

use std::sync::Arc;

use foyer::{Cache, CacheBuilder, Event, EventListener, EvictionConfig, FifoConfig, SieveConfig};
use nearcast_shared::config::Site;

use super::Piece;
use super::admission::{Mark, Standing};
use crate::key::{HashSecret, SiteMark, StoreKey};

/// A piece in memory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) piece: Piece,
    /// How it stands to the disk.
    pub(super) mark: Mark,
}

/// Who is told of what memory gives up.
pub(super) trait Heir: Send + Sync + 'static {
    /// Memory had no room for it any more.
    fn inherit(&self, key: &StoreKey, entry: &Entry);
}

type Memory = Cache<StoreKey, Entry>;

/// All of memory.
pub(super) struct Tiers {
    shared: Pair,
    /// By mark.
    own: Vec<(SiteMark, Pair)>,
}

struct Pair {
    main: Memory,
    bulk: Memory,
}

/// How full a tier is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct TierUsage {
    /// Bytes that its entries count as.
    pub bytes: usize,
    /// Bytes they may.
    pub limit: usize,
    /// Entries.
    pub entries: usize,
}

/// No shard of a tier is smaller: it must hold some pieces of the largest kind. More shards are fewer clashes of threads.
const SHARD: usize = 8 << 20;

impl Tiers {
    /// Tiers of `bytes` in all. What sites have of their own is taken out of them.
    pub(super) fn new(bytes: usize, sites: &[Site], secret: &HashSecret, heir: &Arc<impl Heir>) -> Self {
        let mut shared = bytes;
        let mut own: Vec<(SiteMark, Pair)> = Vec::new();
        for site in sites {
            let Some(part) = site.storing.memory else { continue };
            let (part, mark) =
                (usize::try_from(part).unwrap_or(usize::MAX).min(shared), SiteMark::of(&site.name, secret));
            // Of two sites with one mark the first has it.
            if own.iter().all(|(of, _)| *of != mark) {
                shared -= part;
                own.push((mark, Pair::new(part, heir)));
            }
        }
        own.sort_unstable_by_key(|(mark, _)| mark.0);
        Self { shared: Pair::new(shared, heir), own }
    }

    /// What is under `key`.
    pub(super) fn get(&self, key: &StoreKey) -> Option<foyer::CacheEntry<StoreKey, Entry>> {
        let pair = self.of(key);
        let found = pair.main.get(key);
        if found.is_none() && key.is_of_a_large_body() { pair.bulk.get(key) } else { found }
    }

    /// Whether something is, without that counting as a hit.
    pub(super) fn contains(&self, key: &StoreKey) -> bool {
        let pair = self.of(key);
        pair.main.contains(key) || (key.is_of_a_large_body() && pair.bulk.contains(key))
    }

    /// Puts a piece in, in place of what was there.
    pub(super) fn put(&self, key: StoreKey, piece: Piece, standing: Standing) {
        let pair = self.of(&key);
        let entry = Entry { piece, mark: Mark::new(standing) };
        if !key.is_of_a_large_body() {
            pair.main.insert(key, entry);
        } else if pair.has_room() {
            pair.bulk.remove(&key);
            pair.main.insert(key, entry);
        } else {
            pair.main.remove(&key);
            pair.bulk.insert(key, entry);
        }
    }

    /// Whether there is room to spare where `key` belongs.
    pub(super) fn has_room(&self, key: &StoreKey) -> bool {
        self.of(key).has_room()
    }

    /// What is under `key` is past: another is about to be put there, or it is taken out. Says how it stood.
    pub(super) fn leave(&self, key: &StoreKey) -> Option<Standing> {
        self.get(key).map(|entry| entry.value().mark.leave())
    }

    /// Takes a piece out.
    pub(super) fn remove(&self, key: &StoreKey) {
        self.leave(key);
        let pair = self.of(key);
        pair.main.remove(key);
        if key.is_of_a_large_body() {
            pair.bulk.remove(key);
        }
    }

    /// Gives up all there is, to the heir.
    pub(super) fn give_up(&self) {
        self.all().for_each(|tier| tier.evict_all());
    }

    /// How full the large tier and the small one are, sites' own included.
    pub(super) fn usage(&self) -> (TierUsage, TierUsage) {
        let pairs = || self.own.iter().map(|(_, pair)| pair).chain([&self.shared]);
        (sum(pairs().map(|pair| &pair.main)), sum(pairs().map(|pair| &pair.bulk)))
    }

    fn of(&self, key: &StoreKey) -> &Pair {
        if self.own.is_empty() {
            return &self.shared;
        }
        match self.own.binary_search_by_key(&key.site().0, |(mark, _)| mark.0) {
            Ok(at) => &self.own[at].1,
            Err(_) => &self.shared,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Memory> {
        self.own.iter().map(|(_, pair)| pair).chain([&self.shared]).flat_map(|pair| [&pair.main, &pair.bulk])
    }
}

impl Pair {
    fn new(bytes: usize, heir: &Arc<impl Heir>) -> Self {
        // An eighth, but room for some pieces where memory is very small.
        let bulk = (bytes / 8).max((4 << 20).min(bytes / 2));
        Self {
            main: tier("main", bytes - bulk, SieveConfig.into(), heir),
            bulk: tier("bulk", bulk, FifoConfig::default().into(), heir),
        }
    }

    fn has_room(&self) -> bool {
        self.main.usage() < self.main.capacity() / 8 * 7
    }
}

fn tier(name: &'static str, bytes: usize, policy: EvictionConfig, heir: &Arc<impl Heir>) -> Memory {
    let shards = 1 << (bytes / SHARD).clamp(1, 64).ilog2();
    let most = bytes / shards;
    CacheBuilder::new(bytes)
        .with_name(name)
        .with_shards(shards)
        .with_eviction_config(policy)
        .with_weighter(|_: &StoreKey, entry: &Entry| entry.piece.weight())
        // foyer would take what is larger than a shard, and with it more than its limit.
        .with_filter(move |_: &StoreKey, entry: &Entry| entry.piece.weight() <= most)
        .with_event_listener(Arc::new(Testament(heir.clone())))
        .build()
}

fn sum<'a>(tiers: impl Iterator<Item = &'a Memory>) -> TierUsage {
    tiers.fold(TierUsage::default(), |sum, tier| TierUsage {
        bytes: sum.bytes + tier.usage(),
        limit: sum.limit + tier.capacity(),
        entries: sum.entries + tier.entries(),
    })
}

/// Tells the heir; foyer calls it outside its locks.
struct Testament<H>(Arc<H>);

impl<H: Heir> EventListener for Testament<H> {
    type Key = StoreKey;
    type Value = Entry;

    fn on_leave(&self, reason: Event, key: &StoreKey, entry: &Entry) {
        match reason {
            Event::Evict => self.0.inherit(key, entry),
            Event::Replace | Event::Remove | Event::Clear => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::key::UrlId;

    #[derive(Default)]
    struct Notes(Mutex<Vec<StoreKey>>);

    impl Heir for Notes {
        fn inherit(&self, key: &StoreKey, _: &Entry) {
            self.0.lock().push(*key);
        }
    }

    const SECRET: HashSecret = HashSecret([1; 16]);

    fn key(number: u32, large: bool) -> StoreKey {
        StoreKey::chunk(UrlId(1 << 100), false, 1, number, large)
    }

    fn piece(bytes: usize) -> Piece {
        Piece::Chunk(vec![0; bytes].into())
    }

    fn tiers(bytes: usize) -> (Tiers, Arc<Notes>) {
        let heir = Arc::new(Notes::default());
        (Tiers::new(bytes, &[], &SECRET, &heir), heir)
    }

    #[test]
    fn large_bodies_do_not_push_out_the_rest() {
        let (tiers, heir) = tiers(64 << 20);
        for number in 0..100 {
            tiers.put(key(number, false), piece(100_000), Standing::Fresh);
        }
        assert!((0..100).all(|number| tiers.get(&key(number, false)).is_some()));
        for number in 0..1000 {
            tiers.put(key(number, true), piece(256 << 10), Standing::Fresh);
            let (main, bulk) = tiers.usage();
            assert!(main.bytes <= main.limit && bulk.bytes <= bulk.limit);
        }
        // They had what room there was; now it is wanted for the rest.
        for number in 100..350 {
            tiers.put(key(number, false), piece(100_000), Standing::Fresh);
        }
        assert!((0..350).all(|number| tiers.contains(&key(number, false))));
        let (main, bulk) = tiers.usage();
        assert_eq!(main.limit + bulk.limit, 64 << 20);
        assert_eq!(heir.0.lock().len() + main.entries + bulk.entries, 1350, "each is inherited once");
    }

    #[test]
    fn a_large_piece_is_in_one_tier_only() {
        let (tiers, _) = tiers(64 << 20);
        let found = |wanted: usize| {
            let found = tiers.get(&key(1, true)).map(|entry| entry.piece.weight());
            found == Some(piece(wanted).weight())
        };
        tiers.put(key(1, true), piece(1), Standing::Fresh);
        assert!(found(1) && tiers.usage().1.entries == 0);
        (0..520).for_each(|number| tiers.put(key(number, false), piece(100_000), Standing::Fresh));
        tiers.put(key(1, true), piece(2), Standing::Fresh);
        assert!(found(2) && tiers.usage().1.entries == 1);
        tiers.remove(&key(1, true));
        assert!(!tiers.contains(&key(1, true)));
        tiers.give_up();
        tiers.put(key(1, true), piece(3), Standing::Fresh);
        assert!(found(3) && tiers.usage().1.entries == 0);
    }

    #[test]
    fn what_no_shard_could_hold_is_inherited_at_once() {
        let (tiers, heir) = tiers(1 << 20);
        tiers.put(key(1, true), piece(900 << 10), Standing::Fresh);
        assert!(!tiers.contains(&key(1, true)));
        assert_eq!(*heir.0.lock(), [key(1, true)]);
    }

    #[test]
    fn what_is_replaced_or_removed_is_not_inherited() {
        let (tiers, heir) = tiers(8 << 20);
        tiers.put(key(1, false), piece(10), Standing::Fresh);
        tiers.put(key(1, false), piece(20), Standing::Fresh);
        tiers.remove(&key(1, false));
        assert!(heir.0.lock().is_empty());
        tiers.put(key(2, false), piece(10), Standing::Fresh);
        tiers.give_up();
        assert_eq!((heir.0.lock().as_slice(), tiers.usage().0.entries), ([key(2, false)].as_slice(), 0));
    }
}
