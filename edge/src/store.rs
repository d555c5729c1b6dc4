//! Where answers are kept: in memory, and on disk behind it.
//!
//! A lookup in memory takes a read lock of one shard and no more. What is asked for a second time is handed to the disk's
//! writer, once; so is what memory gives up, if it is worth it (`admission`), and all of memory at a clean stop. What
//! the disk holds is a hint that may be old: purge tables decide, at every hit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderValue;
use nearcast_shared::config::{self, DiskUse, Site};
use thiserror::Error;

use crate::key::{HashSecret, StoreKey};

mod admission;
mod codec;
mod counters;
mod disk;
mod folder;
mod index;
mod log;
pub mod object;
pub mod prepared;
mod queue;
mod record;
mod segments;
mod sites;
mod tiers;
mod writer;

use admission::{Arrival, Seen, Standing};
pub use counters::{DiskError, Dropped};
use disk::Disk;
use object::{Base, Body, Object};
use queue::Phase;
pub use segments::Blocks;
use sites::Sites;
pub use tiers::TierUsage;
use tiers::{Entry, Heir, Tiers};
pub use writer::DiskState;

/// Whatever is stored under one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// What a URL's answers vary on.
    Base(Arc<Base>),
    /// A stored answer.
    Object(Arc<Object>),
    /// Part of a body.
    Chunk(Bytes),
}

impl Piece {
    /// Bytes it is counted as, close to what it takes in memory.
    fn weight(&self) -> usize {
        /// An entry's own bookkeeping, in our structures and in foyer's.
        const OVERHEAD: usize = 256;
        OVERHEAD
            + match self {
                Self::Chunk(bytes) => bytes.len(),
                Self::Base(base) => {
                    let tags = base.variants.iter().filter_map(|variant| variant.tag.as_ref());
                    32 * base.vary.len() + 64 * base.variants.len() + tags.map(HeaderValue::len).sum::<usize>()
                }
                Self::Object(object) => {
                    // Twice: those that clients get are also in the header that is prepared for answers, with some of our own.
                    let fields = object.headers.iter().chain(&object.hidden);
                    let fields = fields.map(|(name, value)| 2 * 64 + name.as_str().len() + value.len());
                    let body = match &object.body {
                        Body::Inline(bytes) => bytes.len(),
                        Body::Spans(spans) => size_of_val(spans.as_slice()),
                    };
                    let texts =
                        object.target.len() + object.parts.len() + 16 * (object.groups.len() + object.tags.len());
                    size_of::<Object>() + texts + body + fields.sum::<usize>()
                }
            }
    }
}

/// Why the store could not be opened, or not be written out.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder cannot be used.
    #[error("cache folder {path}: cannot be used; check that it exists or can be made and is writable")]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error(
        "cache folder {path} is in use by another nearcast process; stop that one, or give this one a cache.disk.path of its own"
    )]
    Locked {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// Threads for disk I/O could not be had.
    #[error("threads for disk I/O could not be started")]
    Threads(#[source] std::io::Error),
    /// The disk does not take it.
    #[error("the disk fails: not all of memory could be written")]
    Lost,
}

/// What the status shows of the store.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StoreUsage {
    /// Bytes that entries in memory count as.
    pub memory_bytes: usize,
    /// Bytes they may.
    pub memory_limit: usize,
    /// Entries in memory: objects, chunks and bases.
    pub memory_entries: usize,
    /// Of these, what is of small bodies.
    pub main: TierUsage,
    /// Of these, pieces of large bodies.
    pub bulk: TierUsage,
    /// The disk tier, if there is one.
    pub disk: Option<DiskUsage>,
}

/// What the status shows of the disk tier.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct DiskUsage {
    /// How it is.
    pub state: DiskState,
    /// Since when.
    pub state_seconds: f64,
    /// How long it took to find again what was there.
    pub recovery_seconds: Option<f64>,
    /// Records it holds.
    pub entries: usize,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes they may have.
    pub limit: u64,
    /// Bytes written since the start.
    pub written_bytes: u64,
    /// Bytes read since the start.
    pub read_bytes: u64,
    /// Bytes that wait to be written.
    pub queue_bytes: usize,
    /// Bytes that may.
    pub queue_limit: usize,
    /// What was not written, by reason.
    pub dropped: Counts,
    /// What went wrong, by kind.
    pub errors: Counts,
}

/// Counters by their tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts(pub Vec<(&'static str, u64)>);

impl serde::Serialize for Counts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// In which tiers a piece is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Whereabouts {
    /// In memory.
    pub memory: bool,
    /// On disk, or on its way there.
    pub disk: bool,
}

impl Whereabouts {
    /// Whether it is anywhere.
    pub fn is_somewhere(self) -> bool {
        self.memory || self.disk
    }
}

/// The store of a node.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    tiers: Tiers,
    estate: Arc<Estate>,
    /// What was read from the page cache once, and left there.
    read: Seen,
    large_min: u64,
    secret: HashSecret,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("estate", &self.estate).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store and returns at once: what the disk holds is found again aside, and memory serves meanwhile.
    ///
    /// # Errors
    /// When the folder cannot be used. What is damaged in it is not an error: it is started empty, and said so.
    pub fn open(cache: &config::Cache, sites: &[Site], secret: &HashSecret) -> Result<Self, StoreError> {
        let memory = usize::try_from(cache.memory).unwrap_or(usize::MAX);
        let shares = Arc::new(ArcSwap::from_pointee(Sites::new(sites, secret)));
        let disk = match &cache.disk {
            Some(disk) => Some(Disk::open(disk, shares.clone())?),
            None => None,
        };
        // As many as memory holds if they are small, so that one is known to have been seen when it was pushed out.
        let pieces = |bytes: usize| if disk.is_some() { memory / bytes } else { 0 };
        let (seen, read) = (Seen::new(pieces(256)), Seen::new(pieces(4 << 10)));
        let estate = Arc::new(Estate { disk, shares, seen, stopping: AtomicBool::new(false) });
        Ok(Self(Arc::new(Inner {
            tiers: Tiers::new(memory, sites, secret, &estate),
            estate,
            read,
            large_min: (cache.memory / 32).max(1 << 20),
            secret: *secret,
        })))
    }

    /// Whether a store of that config would find anything on disk.
    pub fn finds_something(cache: &config::Cache) -> bool {
        cache.disk.as_ref().is_some_and(folder::holds_something)
    }

    /// Takes over what sites may take of the disk, at a reload.
    pub fn set_sites(&self, sites: &[Site]) {
        self.0.estate.shares.store(Arc::new(Sites::new(sites, &self.0.secret)));
    }

    /// Bodies of at least so many bytes are large: kept apart from all else in memory.
    pub fn large_min(&self) -> u64 {
        self.0.large_min
    }

    /// What is under `key` in memory, for whoever only looks: it is no sighting. No waiting, no disk.
    pub fn peek(&self, key: &StoreKey) -> Option<Piece> {
        self.0.tiers.get(key).map(|entry| entry.value().piece.clone())
    }

    /// What is under `key` in memory, for whoever wants it: the second time it is worth a write.
    fn hit(&self, key: &StoreKey) -> Option<Piece> {
        let entry = self.0.tiers.get(key)?;
        let piece = entry.value().piece.clone();
        if entry.value().mark.is_second_sighting() {
            self.0.estate.hand_over(key, entry.value());
        }
        Some(piece)
    }

    /// What is under `key`, in memory or on disk. What cannot be read counts as absent.
    pub async fn get(&self, key: &StoreKey) -> Option<Piece> {
        match self.get_at_once(key) {
            Ok(piece) => piece,
            Err(Blocks) => self.load(key).await,
        }
    }

    /// What the disk has to be waited for.
    pub async fn load(&self, key: &StoreKey) -> Option<Piece> {
        let (inner, at) = (self.0.clone(), *key);
        let keep = move |piece: &Piece| inner.tiers.put(at, piece.clone(), Standing::Settled);
        let loaded = self.0.estate.disk.as_ref()?.load(key, keep).await;
        // Another may have been put there meanwhile.
        loaded.or_else(|| self.hit(key))
    }

    /// What is under `key`, unless the disk would have to be waited for.
    ///
    /// # Errors
    /// When it would.
    pub fn get_at_once(&self, key: &StoreKey) -> Result<Option<Piece>, Blocks> {
        if let Some(piece) = self.hit(key) {
            return Ok(Some(piece));
        }
        let Some(disk) = &self.0.estate.disk else { return Ok(None) };
        disk.load_at_once(key, |piece| {
            if self.0.read.every_second_time(key) || self.0.tiers.has_room(key) {
                self.0.tiers.put(*key, piece.clone(), Standing::Settled);
            }
        })
    }

    /// What is under `key`, for whoever only looks: it is no sighting, and memory takes in nothing from disk for it.
    pub async fn look(&self, key: &StoreKey) -> Option<Piece> {
        match self.peek(key) {
            Some(piece) => Some(piece),
            None => {
                let disk = self.0.estate.disk.as_ref()?;
                match disk.load_at_once(key, |_| {}) {
                    Ok(piece) => piece,
                    Err(Blocks) => disk.load(key, |_| {}).await,
                }
            }
        }
    }

    /// A piece of a body that is in memory.
    pub fn peek_chunk(&self, key: &StoreKey) -> Option<Bytes> {
        match self.hit(key) {
            Some(Piece::Chunk(bytes)) => Some(bytes),
            Some(Piece::Base(_) | Piece::Object(_)) | None => None,
        }
    }

    /// A piece of a body.
    pub async fn chunk(&self, key: &StoreKey) -> Option<Bytes> {
        match self.get(key).await {
            Some(Piece::Chunk(bytes)) => Some(bytes),
            Some(Piece::Base(_) | Piece::Object(_)) | None => None,
        }
    }

    /// Whether something is probably under `key`: looks at indexes only.
    pub fn contains(&self, key: &StoreKey) -> bool {
        self.0.tiers.contains(key) || self.0.estate.disk.as_ref().is_some_and(|disk| disk.contains(key))
    }

    /// Whether something may be under `key`: the same, and what the disk holds may not be known yet.
    pub fn may_contain(&self, key: &StoreKey) -> bool {
        self.0.tiers.contains(key) || self.0.estate.disk.as_ref().is_some_and(|disk| disk.may_hold(key))
    }

    /// In which tiers something is under `key`, as far as indexes tell. Nobody's use of it: it counts as no hit.
    pub fn whereabouts(&self, key: &StoreKey) -> Whereabouts {
        let disk = self.0.estate.disk.as_ref().is_some_and(|disk| disk.contains(key));
        Whereabouts { memory: self.0.tiers.contains(key), disk }
    }

    /// Puts `piece` under `key`, in place of what was there.
    pub fn put(&self, key: StoreKey, piece: Piece) {
        let (standing, write) = self.0.estate.arrive(&key, &self.0.tiers);
        let written = !write || self.0.estate.write(key, &piece);
        self.0.tiers.put(key, piece, if written { standing } else { Standing::Wanted });
    }

    /// Takes away what is under `key`, on disk too. After a crash an older copy may come back: not a purge.
    pub fn remove(&self, key: &StoreKey) {
        // Out of memory first, or what that gives up meanwhile is written again.
        self.0.tiers.remove(key);
        if let Some(disk) = &self.0.estate.disk {
            disk.remove(key);
            // A read from disk may have put it there once more; from now on none does.
            self.0.tiers.remove(key);
        }
    }

    /// How full it is, and how its disk is.
    pub fn usage(&self) -> StoreUsage {
        let (main, bulk) = self.0.tiers.usage();
        StoreUsage {
            memory_bytes: main.bytes + bulk.bytes,
            memory_limit: main.limit + bulk.limit,
            memory_entries: main.entries + bulk.entries,
            main,
            bulk,
            disk: self.0.estate.disk.as_ref().map(Disk::usage),
        }
    }

    /// Waits until what was on disk at the start can be had, or is known not to be. Without a disk: at once.
    pub async fn opened(&self) {
        if let Some(disk) = &self.0.estate.disk {
            disk.opened().await;
        }
    }

    /// Writes what is in memory to disk and closes.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn close(&self) -> Result<(), StoreError> {
        let Some(disk) = &self.0.estate.disk else { return Ok(()) };
        disk.opened().await;
        let failed = disk.failed();
        self.0.estate.stopping.store(true, Ordering::Relaxed);
        disk.queue.enter(Phase::Draining);
        self.0.tiers.give_up();
        if !disk.written_out(failed).await {
            return Err(StoreError::Lost);
        }
        // Nothing waits: it ends now.
        disk.queue.enter(Phase::Closing);
        disk.closed().await;
        Ok(())
    }
}

/// What is left of a piece when memory gives it up: the disk, if there is one, and who decides what goes there.
#[derive(Debug)]
struct Estate {
    disk: Option<Disk>,
    shares: Arc<ArcSwap<Sites>>,
    seen: Seen,
    /// All is given up now.
    stopping: AtomicBool,
}

impl Estate {
    /// What an arriving piece begins as, and whether it is to be written at once. What was under its key is forgotten.
    fn arrive(&self, key: &StoreKey, tiers: &Tiers) -> (Standing, bool) {
        let Some(disk) = &self.disk else { return (Standing::Settled, false) };
        // In this order: what a hit hands over meanwhile is forgotten, or the hit finds that it is past.
        let replaced = tiers.leave(key);
        let forgotten = disk.forget(key);
        let arrival = Arrival { renews: forgotten || replaced.is_some(), seen: self.seen.again(key) };
        let use_of_disk = self.shares.load().of(key.site()).disk;
        // What is wanted took the place of another: that may be in the files still.
        if use_of_disk == DiskUse::Never && (forgotten || replaced == Some(Standing::Wanted)) {
            disk.take_away(key);
        }
        admission::at_arrival(use_of_disk, arrival)
    }

    /// Writes what was seen a second time.
    fn hand_over(&self, key: &StoreKey, entry: &Entry) {
        if !self.write(*key, &entry.piece) {
            entry.mark.want();
        } else if entry.mark.get() == Standing::Past
            && let Some(disk) = &self.disk
        {
            // Whoever put another in its place has not seen that it was handed over.
            disk.take_away(key);
        }
    }

    /// Hands a piece to the disk, if there is one that its site uses; false when it has no room.
    fn write(&self, key: StoreKey, piece: &Piece) -> bool {
        let Some(disk) = &self.disk else { return true };
        self.shares.load().of(key.site()).disk == DiskUse::Never || disk.write(key, piece.clone())
    }
}

impl Heir for Estate {
    fn inherit(&self, key: &StoreKey, entry: &Entry) {
        let Some(disk) = &self.disk else { return };
        let (use_of_disk, standing) = (self.shares.load().of(key.site()).disk, entry.mark.leave());
        let on_disk = disk.contains(key);
        if admission::at_eviction(use_of_disk, standing, on_disk, self.stopping.load(Ordering::Relaxed)) {
            if !disk.write(*key, entry.piece.clone()) {
                disk.counters().drop(Dropped::QueueFull, 1);
                // Else what it was stored in place of would come back at a restart.
                disk.take_away(key);
            }
        } else if use_of_disk == DiskUse::Never && standing == Standing::Wanted {
            // The same, since a reload.
            disk.take_away(key);
        } else if !on_disk && standing != Standing::Past {
            disk.counters().drop(Dropped::SeenOnce, 1);
        }
    }
}

/// Seconds, for people and metrics.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests;
