//! Remembers for a short while which keys had an answer that must not be shared, so that their requests do not wait for
//! one another (hit-for-miss).

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::key::StoreKey;

const SHARDS: usize = 32;

/// Keys per shard; beyond, outdated ones go, and if that is not enough, all of the shard.
const SHARD_MAX: usize = 8192;

/// The keys, until when.
#[derive(Debug)]
pub struct Uncacheable {
    shards: [Mutex<HashMap<StoreKey, Instant>>; SHARDS],
}

impl Default for Uncacheable {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Uncacheable {
    /// Remembers `key` for `duration`.
    pub fn note(&self, key: StoreKey, duration: Duration) {
        let now = Instant::now();
        let mut shard = self.shard(&key).lock();
        if shard.len() >= SHARD_MAX {
            shard.retain(|_, until| *until > now);
        }
        if shard.len() >= SHARD_MAX {
            shard.clear();
        }
        shard.insert(key, now + duration);
    }

    /// Whether `key` is remembered.
    pub fn knows(&self, key: &StoreKey) -> bool {
        let mut shard = self.shard(key).lock();
        let Some(until) = shard.get(key) else { return false };
        if *until > Instant::now() {
            return true;
        }
        shard.remove(key);
        false
    }

    fn shard(&self, key: &StoreKey) -> &Mutex<HashMap<StoreKey, Instant>> {
        &self.shards[usize::from(key.0[0]) % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_forgotten_in_time() {
        let keys = Uncacheable::default();
        let key = StoreKey([1; 32]);
        assert!(!keys.knows(&key));
        keys.note(key, Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(keys.knows(&key));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!keys.knows(&key));
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_bound() {
        let keys = Uncacheable::default();
        for n in 0..2 * SHARD_MAX as u64 {
            let mut bytes = [0; 32];
            bytes[8..16].copy_from_slice(&n.to_le_bytes());
            keys.note(StoreKey(bytes), Duration::from_secs(10));
        }
        assert!(keys.shards[0].lock().len() <= SHARD_MAX);
    }
}
