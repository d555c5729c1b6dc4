//! The latest purges per keyed id: of URLs, groups and tags.
//!
//! ```text
//! bits of an id:  72 to 85 slot, 64 to 69 shard, all of them the place within the shard
//! ```
//!
//! A slot has the latest tick of all ids that fall into it. An answer that is younger than its ids' slots needs no more
//! than that: no lock, and no look into a table larger than the processor's caches.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::mark::{Mark, Marks, Mode};

const SHARDS: usize = 64;

/// 128 KiB in all.
const SLOTS: usize = 1 << 14;

/// A map by ids that are hashes already.
pub(super) type ById = HashMap<u128, Marks, BuildHasherDefault<Folded>>;

/// The latest purges per id.
#[derive(Debug)]
pub(super) struct Ids {
    shards: [RwLock<ById>; SHARDS],
    slots: Box<[AtomicU64]>,
    count: AtomicUsize,
}

impl Default for Ids {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicUsize::new(0),
        }
    }
}

impl Ids {
    /// The latest purges of `id`, as far as they matter to what was fetched at `tick`.
    pub(super) fn latest(&self, id: u128, tick: u64) -> Marks {
        if self.slot(id).load(Ordering::SeqCst) < tick { Marks::default() } else { self.marks(id) }
    }

    /// The latest purges of `id`.
    pub(super) fn marks(&self, id: u128) -> Marks {
        self.shard(id).read().get(&id).copied().unwrap_or_default()
    }

    pub(super) fn raise(&self, id: u128, mode: Mode, mark: Mark) {
        self.slot(id).fetch_max(mark.tick(), Ordering::SeqCst);
        let mut shard = self.shard(id).write();
        let before = shard.len();
        shard.entry(id).or_default().raise(mode, mark);
        self.count.fetch_add(shard.len() - before, Ordering::SeqCst);
    }

    /// Forgets what is before `oldest`.
    pub(super) fn forget(&self, oldest: u64) {
        for shard in &self.shards {
            let mut shard = shard.write();
            let before = shard.len();
            retain(&mut shard, oldest);
            self.count.fetch_sub(before - shard.len(), Ordering::SeqCst);
        }
    }

    /// The latest tick of each id.
    pub(super) fn for_each_tick(&self, mut tell: impl FnMut(u64)) {
        for shard in &self.shards {
            shard.read().values().for_each(|marks| tell(marks.newest()));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn shard(&self, id: u128) -> &RwLock<ById> {
        &self.shards[(id >> 64) as usize % SHARDS]
    }

    fn slot(&self, id: u128) -> &AtomicU64 {
        &self.slots[(id >> 72) as usize % SLOTS]
    }
}

/// Leaves only what is not before `oldest`, and gives back the room of what goes.
pub(super) fn retain(map: &mut ById, oldest: u64) {
    map.retain(|_, marks| {
        *marks = marks.since(oldest);
        *marks != Marks::default()
    });
    if map.capacity() > 4 * map.len() {
        map.shrink_to(2 * map.len());
    }
}

/// Both halves of an id in one; ids are keyed hashes, so that nobody can make them meet.
#[derive(Debug, Default)]
pub(super) struct Folded(u64);

impl Hasher for Folded {
    fn write_u128(&mut self, id: u128) {
        self.0 = id as u64 ^ ((id >> 64) as u64).rotate_left(32);
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only ids are hashed so; anything else still gets some hash.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_slot_hides_nothing_that_matters(
            purges in proptest::collection::vec((0u128..8, 1u64..100, any::<bool>()), 0..30),
            id in 0u128..8, tick in 0u64..100, oldest in 0u64..100,
        ) {
            // Ids that share slots and shards, and ids that do not.
            let spread = |id: u128| (id & 3) << 72 | id >> 2;
            let ids = Ids::default();
            let mut wanted = Marks::default();
            for (other, at, soft) in &purges {
                let (mode, mark) = (if *soft { Mode::Soft } else { Mode::Hard }, Mark::new(*at, true));
                ids.raise(spread(*other), mode, mark);
                if *other == id {
                    wanted.raise(mode, mark);
                }
            }
            prop_assert_eq!(ids.marks(spread(id)), wanted);
            prop_assert_eq!(ids.latest(spread(id), tick).verdict(tick), wanted.verdict(tick));
            ids.forget(oldest);
            prop_assert_eq!(ids.marks(spread(id)), wanted.since(oldest));
            let mut left = 0;
            ids.for_each_tick(|tick| {
                left += 1;
                assert!(tick >= oldest);
            });
            prop_assert_eq!(ids.len(), left);
        }
    }
}
