//! What is remembered of keys for a short while, and then forgotten: that an answer must not be shared (hit-for-miss), or
//! that clients made us ask the origin just now.

use std::collections::HashMap;
use std::time::Duration;

use nearcast_shared::clock::Timestamp;
use parking_lot::Mutex;

use crate::key::StoreKey;

const SHARDS: usize = 32;

/// Keys per shard; beyond, outdated ones go, and if that is not enough, every second one.
const SHARD_MAX: usize = 8192;

/// Keys and what is remembered of them.
#[derive(Debug)]
pub struct Remembered<V> {
    shards: [Mutex<HashMap<StoreKey, Memory<V>>>; SHARDS],
}

#[derive(Debug, Clone, Copy)]
struct Memory<V> {
    since: Timestamp,
    until: Timestamp,
    what: V,
}

impl<V> Memory<V> {
    /// A clock that was set back does not make memories longer.
    fn holds(&self, now: Timestamp) -> bool {
        self.since <= now && now < self.until
    }
}

impl<V> Default for Remembered<V> {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl<V: Copy> Remembered<V> {
    /// Remembers `what` of `key` for `duration`.
    pub fn note(&self, key: StoreKey, what: V, now: Timestamp, duration: Duration) {
        let mut shard = self.shard(&key).lock();
        Self::insert(&mut shard, key, what, now, duration);
    }

    /// What is remembered of `key`.
    pub fn of(&self, key: &StoreKey, now: Timestamp) -> Option<V> {
        let mut shard = self.shard(key).lock();
        let memory = shard.get(key)?;
        if memory.holds(now) {
            return Some(memory.what);
        }
        shard.remove(key);
        None
    }

    /// Remembers `what` unless something is remembered already. Whether it did.
    pub fn note_first(&self, key: StoreKey, what: V, now: Timestamp, duration: Duration) -> bool {
        let mut shard = self.shard(&key).lock();
        let first = !shard.get(&key).is_some_and(|memory| memory.holds(now));
        if first {
            Self::insert(&mut shard, key, what, now, duration);
        }
        first
    }

    fn insert(shard: &mut HashMap<StoreKey, Memory<V>>, key: StoreKey, what: V, now: Timestamp, duration: Duration) {
        if shard.len() >= SHARD_MAX {
            shard.retain(|_, memory| memory.holds(now));
            if shard.len() > SHARD_MAX / 2 {
                // Not again at each insertion: half of them go, whichever.
                let mut turn = false;
                shard.retain(|_, _| {
                    turn = !turn;
                    turn
                });
            }
        }
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        shard.insert(key, Memory { since: now, until: Timestamp(now.0.saturating_add(ms)), what });
    }

    fn shard(&self, key: &StoreKey) -> &Mutex<HashMap<StoreKey, Memory<V>>> {
        &self.shards[usize::from(key.0[0]) % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn a_key_is_forgotten_in_time() {
        let keys = Remembered::default();
        let key = StoreKey([1; 32]);
        assert_eq!(keys.of(&key, Timestamp(0)), None);
        keys.note(key, 'a', Timestamp(0), TEN);
        assert_eq!(keys.of(&key, Timestamp(9_999)), Some('a'));
        assert_eq!(keys.of(&key, Timestamp(-1)), None, "the clock was set back");
        keys.note(key, 'b', Timestamp(0), TEN);
        assert_eq!(keys.of(&key, Timestamp(10_000)), None);
    }

    #[test]
    fn only_the_first_of_a_while() {
        let keys = Remembered::default();
        let key = StoreKey([1; 32]);
        assert!(keys.note_first(key, (), Timestamp(0), TEN));
        assert!(!keys.note_first(key, (), Timestamp(9_999), TEN));
        assert!(keys.note_first(key, (), Timestamp(10_000), TEN));
    }

    #[test]
    fn there_is_a_bound() {
        let keys = Remembered::default();
        for n in 0..2 * SHARD_MAX as u64 {
            let mut bytes = [0; 32];
            bytes[8..16].copy_from_slice(&n.to_le_bytes());
            keys.note(StoreKey(bytes), (), Timestamp(0), TEN);
        }
        assert!(keys.shards[0].lock().len() <= SHARD_MAX);
    }
}
