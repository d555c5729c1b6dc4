//! Where answers are kept: one small interface of our own over foyer's hybrid of memory and disk.
//!
//! A lookup in memory takes a read lock of one shard (SIEVE) and no more. Objects go to disk when memory evicts them and
//! at a clean stop, off the data-plane threads. What the disk holds is a hint that may be old: purge tables decide, at
//! every hit.

use std::sync::Arc;

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCachePolicy,
    PsyncIoEngineConfig, SieveConfig, Spawner,
};
use http::HeaderValue;
use nearcast_shared::config;
use thiserror::Error;

use crate::key::StoreKey;

mod codec;
mod disk;
pub mod object;

use object::{Base, Body, Object};

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
                    let fields = object.headers.iter().chain(&object.hidden);
                    let fields = fields.map(|(name, value)| 64 + name.as_str().len() + value.len());
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

/// Bytes that are written to disk at once. foyer drops in silence what comes while it is full: memory is written out in
/// portions well below.
const WRITE_BUFFER: usize = 32 << 20;

/// Why the store could not be opened.
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
    /// foyer refused.
    #[error("the cache could not be opened")]
    Engine(#[from] foyer::Error),
    /// Threads for disk I/O could not be had.
    #[error("threads for disk I/O could not be started")]
    Threads(#[source] std::io::Error),
}

/// What the status shows of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct StoreUsage {
    /// Bytes that entries in memory count as.
    pub memory_bytes: usize,
    /// Bytes they may.
    pub memory_limit: usize,
    /// Entries in memory: objects, chunks and bases.
    pub memory_entries: usize,
    /// Bytes written to disk since the start.
    pub disk_written_bytes: usize,
    /// Bytes read from disk since the start.
    pub disk_read_bytes: usize,
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
pub struct Store {
    cache: HybridCache<StoreKey, Piece>,
}

impl Store {
    /// Opens the store; with a disk tier, after what it holds was found again.
    ///
    /// # Errors
    /// When the folder cannot be used. What is damaged in it is not an error: it is started empty, and said so.
    pub async fn open(config: &config::Cache) -> Result<Self, StoreError> {
        let memory = usize::try_from(config.memory).unwrap_or(usize::MAX);
        // A shard must hold some chunks: many shards of a small memory would hold none.
        let shards = (memory / (8 << 20)).clamp(1, 64).next_power_of_two();
        let builder = HybridCacheBuilder::new()
            .with_name("nearcast")
            .with_policy(HybridCachePolicy::WriteOnEviction)
            .with_flush_on_close(true)
            .memory(memory)
            .with_shards(shards)
            .with_eviction_config(SieveConfig)
            .with_weighter(|_: &StoreKey, piece: &Piece| piece.weight())
            .storage();
        let Some(disk) = &config.disk else {
            return Ok(Self { cache: builder.build().await? });
        };
        let folder = disk::prepare(disk)?;
        let capacity = usize::try_from(disk.size).unwrap_or(usize::MAX);
        let device = FsDeviceBuilder::new(folder).with_capacity(capacity).build()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("disk")
            .enable_all()
            .build()
            .map_err(StoreError::Threads)?;
        let engine = BlockEngineConfig::new(device)
            .with_block_size(disk::block_bytes(disk.size))
            // What does not fit the queue is dropped in silence: a clean stop writes all of memory at once.
            .with_submit_queue_size_threshold(memory.max(64 << 20))
            .with_buffer_pool_size(WRITE_BUFFER);
        let cache = builder
            .with_io_engine_config(PsyncIoEngineConfig::new())
            .with_engine_config(engine)
            .with_spawner(Spawner::from(runtime))
            .build()
            .await?;
        Ok(Self { cache })
    }

    /// Bodies of at least so many bytes are large: kept apart from all else in memory.
    pub fn large_min(&self) -> u64 {
        (self.cache.memory().capacity() as u64 / 32).max(1 << 20)
    }

    /// What is under `key` in memory: no waiting, no disk.
    pub fn peek(&self, key: &StoreKey) -> Option<Piece> {
        self.cache.memory().get(key).map(|entry| entry.value().clone())
    }

    /// What is under `key`, in memory or on disk. What cannot be read counts as absent.
    pub async fn get(&self, key: &StoreKey) -> Option<Piece> {
        if let Some(piece) = self.peek(key) {
            return Some(piece);
        }
        if !self.cache.is_hybrid() {
            return None;
        }
        match self.cache.get(key).await {
            Ok(entry) => entry.map(|entry| entry.value().clone()),
            Err(error) => {
                tracing::debug!(%error, "a stored piece cannot be read");
                None
            }
        }
    }

    /// A piece of a body that is in memory.
    pub fn peek_chunk(&self, key: &StoreKey) -> Option<Bytes> {
        match self.peek(key) {
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
        self.cache.contains(key)
    }

    /// In which tiers something is under `key`, as far as indexes tell. Nobody's use of it: it counts as no hit.
    pub fn whereabouts(&self, key: &StoreKey) -> Whereabouts {
        let memory = self.cache.memory().contains(key);
        Whereabouts { memory, disk: self.cache.is_hybrid() && self.cache.storage().may_contains(key) }
    }

    /// Puts `piece` under `key`, in place of what was there.
    pub fn put(&self, key: StoreKey, piece: Piece) {
        self.cache.insert(key, piece);
    }

    /// Takes away what is under `key`. After a restart an older copy may come back from disk: not a purge.
    pub fn remove(&self, key: &StoreKey) {
        self.cache.remove(key);
    }

    /// How full it is.
    pub fn usage(&self) -> StoreUsage {
        let disk = self.cache.statistics();
        StoreUsage {
            memory_bytes: self.cache.memory().usage(),
            memory_limit: self.cache.memory().capacity(),
            memory_entries: self.cache.memory().entries(),
            disk_written_bytes: disk.disk_write_bytes(),
            disk_read_bytes: disk.disk_read_bytes(),
        }
    }

    /// Writes what is in memory to disk and closes.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn close(&self) -> Result<(), StoreError> {
        while self.cache.is_hybrid() && self.cache.memory().entries() > 0 {
            let mut weight = 0;
            let next = |_: &StoreKey, piece: &Piece| {
                let fits = weight < WRITE_BUFFER / 4;
                weight += if fits { piece.weight() } else { 0 };
                fits
            };
            self.cache.flush_if(next).await;
            self.cache.storage().wait().await;
        }
        Ok(self.cache.close().await?)
    }
}
