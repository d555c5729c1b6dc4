//! A bounded map that forgets what was not used for long: two maps, of which the older is dropped whole when the younger is
//! full. What is found in the older moves to the younger. No lists, no clock, and a flood of new keys drops at most
//! what was not asked for since the last time that it was half full.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Keyed by hashes that nobody outside can foresee.
type Map<V> = HashMap<u128, V, BuildHasherDefault<Fold>>;

#[derive(Debug)]
pub(crate) struct Generations<V> {
    young: Map<V>,
    old: Map<V>,
    half: usize,
}

impl<V> Generations<V> {
    /// Room for so many; none at all when zero.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: Map::default(), old: Map::default(), half: capacity.div_ceil(2) }
    }

    /// Another room from now on.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.half = capacity.div_ceil(2);
        if self.old.len() > self.half {
            self.old = Map::default();
        }
        if self.young.len() > self.half {
            self.young = Map::default();
        }
    }

    pub(crate) fn get(&mut self, key: u128) -> Option<&V> {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key)?;
            self.insert(key, value);
        }
        self.young.get(&key)
    }

    pub(crate) fn insert(&mut self, key: u128, value: V) {
        if self.half == 0 {
            return;
        }
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        self.young.retain(|_, value| keep(value));
        self.old.retain(|_, value| keep(value));
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.young.values().chain(self.old.values())
    }

    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// The keys are hashes already.
#[derive(Debug, Default)]
pub(crate) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        let [high, low] = [key >> 64, key & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or_default());
        self.0 = high ^ low;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays() {
        let mut map = Generations::new(10);
        map.insert(0, "used");
        for key in 1..1000 {
            map.insert(key, "passing");
            assert_eq!(map.get(0), Some(&"used"), "after {key}");
            assert!(map.len() <= 10);
        }
        assert_eq!(map.get(1), None);
        map.insert(0, "new");
        assert_eq!(map.get(0), Some(&"new"));
        assert_eq!(map.values().filter(|value| **value != "passing").count(), 1);
    }

    #[test]
    fn room_can_change() {
        let mut map = Generations::new(0);
        map.insert(1, ());
        assert_eq!(map.get(1), None);
        assert_eq!(map.len(), 0);
        map.set_capacity(100);
        (0..100).for_each(|key| map.insert(key, ()));
        assert_eq!(map.len(), 100);
        map.set_capacity(4);
        assert!(map.len() <= 4);
        (0..100).for_each(|key| map.insert(key, ()));
        assert!(map.len() <= 4);
        map.retain(|()| false);
        assert_eq!(map.len(), 0);
    }
}
