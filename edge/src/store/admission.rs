//! Which pieces go to disk, and when. Pure, but for the table of what was seen.
//!
//! A piece is written when it is asked for a second time, since most never are: those would wear the disk for nothing
//! and push out what is wanted. What was stored in place of another of its key waits until memory gives it up, however
//! often it is hit: a page that is renewed every second would else be written every second. The other way, too: memory takes in
//! what was read twice from the page cache, where most of what is read once is not asked for soon again.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use nearcast_shared::config::DiskUse;
use twox_hash::XxHash64;

use crate::key::StoreKey;

/// How a piece in memory stands to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Standing {
    /// Seen once.
    Fresh,
    /// To be written when memory gives it up.
    Wanted,
    /// Handed over, there already, or never to go there: nothing to be done while it is in memory.
    Settled,
    /// Not in memory any more, or about to be replaced: it goes nowhere.
    Past,
}

/// What is known of a piece when it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    /// It takes the place of another.
    pub(super) renews: bool,
    /// Its like was seen before.
    pub(super) seen: bool,
}

/// What a stored piece begins as, and whether it is written at once.
pub(super) fn at_arrival(disk: DiskUse, arrival: Arrival) -> (Standing, bool) {
    match disk {
        DiskUse::Never => (Standing::Settled, false),
        DiskUse::SecondHit | DiskUse::Always => match arrival {
            Arrival { renews: true, .. } => (Standing::Wanted, false),
            Arrival { seen: true, .. } => (Standing::Settled, true),
            Arrival { seen: false, .. } => (Standing::Fresh, false),
        },
    }
}

/// Whether a piece that memory gives up is written. `on_disk`: one of its key is there, or waits to be. `stopping`:
/// everything is given up, and nothing was wrong with it.
pub(super) fn at_eviction(disk: DiskUse, standing: Standing, on_disk: bool, stopping: bool) -> bool {
    match (disk, standing) {
        (DiskUse::Never, _) | (_, Standing::Past) => false,
        // What is on disk is another one.
        (DiskUse::SecondHit | DiskUse::Always, Standing::Wanted) => true,
        // What was settled may have been overwritten on disk since, by the turn of its segments.
        (DiskUse::SecondHit | DiskUse::Always, Standing::Settled) | (DiskUse::Always, Standing::Fresh) => !on_disk,
        (DiskUse::SecondHit, Standing::Fresh) => stopping && !on_disk,
    }
}

/// A [`Standing`] that hits may move.
#[derive(Debug)]
pub(super) struct Mark(AtomicU8);

impl Mark {
    pub(super) fn new(standing: Standing) -> Self {
        Self(AtomicU8::new(standing as u8))
    }

    pub(super) fn get(&self) -> Standing {
        Self::standing(self.0.load(Ordering::Relaxed))
    }

    /// What was settled could not be handed over: it is to be written later, unless it is past.
    pub(super) fn want(&self) {
        let (settled, wanted) = (Standing::Settled as u8, Standing::Wanted as u8);
        // `Err`: it is past.
        let _past = self.0.compare_exchange(settled, wanted, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// It is past; says how it stood.
    pub(super) fn leave(&self) -> Standing {
        Self::standing(self.0.swap(Standing::Past as u8, Ordering::Relaxed))
    }

    fn standing(byte: u8) -> Standing {
        match byte {
            0 => Standing::Fresh,
            1 => Standing::Wanted,
            2 => Standing::Settled,
            _ => Standing::Past,
        }
    }

    /// At a hit: whether this is the second sighting, for one caller only. All others cost one relaxed load.
    pub(super) fn is_second_sighting(&self) -> bool {
        let (fresh, settled) = (Standing::Fresh as u8, Standing::Settled as u8);
        self.get() == Standing::Fresh
            && self.0.compare_exchange(fresh, settled, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// What was stored not long ago, in memory or not: a fingerprint in a slot of its hash, the last one counts.
#[derive(Debug)]
pub(super) struct Seen(Box<[AtomicU32]>);

impl Seen {
    /// A table for about so many pieces; a power of two of slots, of four bytes each.
    pub(super) fn new(pieces: usize) -> Self {
        Self((0..pieces.clamp(1 << 12, 1 << 24).next_power_of_two()).map(|_| AtomicU32::new(0)).collect())
    }

    /// Whether the like of `key` was seen before; from now on it was.
    pub(super) fn again(&self, key: &StoreKey) -> bool {
        let (slot, fingerprint) = self.slot(key);
        slot.swap(fingerprint, Ordering::Relaxed) == fingerprint
    }

    /// Whether it is every second time that this is asked of `key`, others that share its slot aside.
    pub(super) fn every_second_time(&self, key: &StoreKey) -> bool {
        let (slot, fingerprint) = self.slot(key);
        let seen = slot.load(Ordering::Relaxed) == fingerprint;
        slot.store(if seen { 0 } else { fingerprint }, Ordering::Relaxed);
        seen
    }

    fn slot(&self, key: &StoreKey) -> (&AtomicU32, u32) {
        let hash = XxHash64::oneshot(0, &key.without_version());
        (&self.0[usize::try_from(hash).unwrap_or(usize::MAX) & (self.0.len() - 1)], (hash >> 32) as u32 | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::UrlId;

    const NEVER: DiskUse = DiskUse::Never;
    const SECOND: DiskUse = DiskUse::SecondHit;
    const ALWAYS: DiskUse = DiskUse::Always;

    #[test]
    fn arrivals() {
        use Standing::{Fresh, Settled, Wanted};
        let rows = [
            ("never", NEVER, (false, true), (Settled, false)),
            ("first", SECOND, (false, false), (Fresh, false)),
            ("first, always", ALWAYS, (false, false), (Fresh, false)),
            ("seen before", SECOND, (false, true), (Settled, true)),
            ("renewed", SECOND, (true, true), (Wanted, false)),
            ("renewed, always", ALWAYS, (true, false), (Wanted, false)),
        ];
        for (name, disk, (renews, seen), wanted) in rows {
            assert_eq!(at_arrival(disk, Arrival { renews, seen }), wanted, "{name}");
        }
    }

    #[test]
    fn evictions() {
        use Standing::{Fresh, Past, Settled, Wanted};
        let rows = [
            ("seen once", SECOND, Fresh, false, false, false),
            ("seen once, at a stop", SECOND, Fresh, false, true, true),
            ("seen once, always", ALWAYS, Fresh, false, false, true),
            ("wanted", SECOND, Wanted, false, false, true),
            ("wanted in place of what is on disk", SECOND, Wanted, true, false, true),
            ("on disk", SECOND, Settled, true, false, false),
            ("on disk, at a stop", ALWAYS, Settled, true, true, false),
            ("overwritten on disk since", SECOND, Settled, false, false, true),
            ("never", NEVER, Settled, false, true, false),
            ("never, since a reload", NEVER, Wanted, false, true, false),
            ("another took its place", ALWAYS, Past, false, true, false),
        ];
        for (name, disk, standing, on_disk, stopping, wanted) in rows {
            assert_eq!(at_eviction(disk, standing, on_disk, stopping), wanted, "{name}");
        }
    }

    #[test]
    fn there_is_one_second_sighting() {
        let mark = Mark::new(Standing::Fresh);
        assert_eq!([mark.is_second_sighting(), mark.is_second_sighting()], [true, false]);
        assert_eq!(mark.get(), Standing::Settled);
        let mark = Mark::new(Standing::Wanted);
        assert!(!mark.is_second_sighting());
        assert_eq!(mark.get(), Standing::Wanted);
    }

    #[test]
    fn what_is_past_stays_past() {
        let mark = Mark::new(Standing::Settled);
        mark.want();
        assert_eq!(mark.leave(), Standing::Wanted);
        mark.want();
        assert!(!mark.is_second_sighting());
        assert_eq!(mark.leave(), Standing::Past);
    }

    #[test]
    fn every_second_time() {
        let seen = Seen::new(1000);
        let key = |number| StoreKey::chunk(UrlId(5), false, 1, number, false);
        let said: Vec<bool> = [0, 1, 0, 0, 0, 1, 1].map(|number| seen.every_second_time(&key(number))).into();
        assert_eq!(said, [false, false, true, false, true, true, false]);
    }

    #[test]
    fn pieces_of_bodies_are_seen_again_in_another_version() {
        let seen = Seen::new(1000);
        let chunk = |version, number, large| StoreKey::chunk(UrlId(5), false, version, number, large);
        let rows = [
            ("first", chunk(1, 0, false), false),
            ("the same", chunk(1, 0, false), true),
            ("another version", chunk(2, 0, false), true),
            ("now of a large body", chunk(3, 0, true), true),
            ("another piece", chunk(2, 1, false), false),
        ];
        for (name, key, wanted) in rows {
            assert_eq!(seen.again(&key), wanted, "{name}");
        }
    }
}
