//! Bytes of bodies that are with connections: taken out of the store or a fetch, and not yet taken by their clients. The store
//! may have let go of them long ago, so that slow clients would hold any amount of memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// What a client gets at a time once too much is with connections: a copy, which holds nothing else in memory.
const COPY: usize = 16 << 10;

/// How much is with connections.
#[derive(Debug, Default)]
pub struct Pinned(AtomicU64);

/// Some of it.
struct Pin {
    bytes: Bytes,
    of: Arc<Pinned>,
}

impl AsRef<[u8]> for Pin {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

impl Pinned {
    /// `bytes`, counted until they are dropped; or, when that would make more than `most`, a copy of the first of them.
    pub fn pin(self: &Arc<Self>, bytes: Bytes, most: u64) -> Bytes {
        let length = bytes.len() as u64;
        if self.0.fetch_add(length, Ordering::Relaxed).saturating_add(length) <= most {
            return Bytes::from_owner(Pin { bytes, of: self.clone() });
        }
        self.0.fetch_sub(length, Ordering::Relaxed);
        Bytes::copy_from_slice(&bytes[..bytes.len().min(COPY)])
    }

    /// Bytes that are with connections.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_there_are_copies() {
        let pinned = Arc::new(Pinned::default());
        let chunk = Bytes::from(vec![7; 100_000]);
        let first = pinned.pin(chunk.clone(), 150_000);
        assert_eq!((first.len(), pinned.bytes()), (100_000, 100_000));
        let part = first.slice(50_000..);
        let second = pinned.pin(chunk.clone(), 150_000);
        assert_eq!((second.len(), pinned.bytes()), (COPY, 100_000));
        drop(first);
        assert_eq!(pinned.bytes(), 100_000, "some of it is still there");
        drop(part);
        assert_eq!(pinned.bytes(), 0);
        assert_eq!(pinned.pin(chunk, 150_000).len(), 100_000);
    }
}
