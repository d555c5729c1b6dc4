//! The files of the disk tier as readers see them: which segments there are, and what is where in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ReadWriteFlags};

use super::Piece;
use super::counters::{Counters, DiskError};
use super::index::{Index, Location};
use super::record::{self, Unreadable};
use crate::key::StoreKey;

/// What readers and the writer share.
#[derive(Debug)]
pub(super) struct Segments {
    /// What is where.
    pub(super) index: Index,
    /// Data files by number; they stay open, so that one that is reclaimed can be read to the end.
    files: RwLock<BTreeMap<u32, Arc<File>>>,
    /// Whether the file system can read without blocking.
    at_once: AtomicBool,
    /// Whether what it has is in memory.
    in_memory: bool,
    /// What is counted.
    pub(super) counters: Arc<Counters>,
}

/// A read has to wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks;

/// What tmpfs calls itself (TMPFS_MAGIC in linux/magic.h).
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// Larger records are left to threads that may take their time over checksums.
const AT_ONCE_MAX: u32 = 128 << 10;

impl Segments {
    /// Of files like `folder`'s.
    pub(super) fn new(folder: &File, counters: Arc<Counters>) -> Self {
        // tmpfs does not know NOWAIT. What it has is in memory, unless that was swapped out.
        let in_memory = rustix::fs::fstatfs(folder).is_ok_and(|system| system.f_type == TMPFS);
        Self { index: Index::new(), files: RwLock::default(), at_once: AtomicBool::new(true), in_memory, counters }
    }

    pub(super) fn add(&self, number: u32, file: Arc<File>) {
        self.files.write().insert(number, file);
    }

    /// Forgets a segment and all that is in it.
    pub(super) fn remove(&self, number: u32) {
        self.index.remove_segment(number);
        self.files.write().remove(&number);
    }

    /// The piece under `key`, if it can be read. What cannot is counted and forgotten. Blocks.
    pub(super) fn read(&self, key: &StoreKey) -> Option<Piece> {
        let location = self.index.get(key)?;
        self.piece(key, location, self.raw(location))
    }

    /// The same without blocking: `Err` when that would be needed, or when it is so large that a thread of its own is better.
    pub(super) fn read_at_once(&self, key: &StoreKey) -> Result<Option<Piece>, Blocks> {
        let Some(location) = self.index.get(key) else { return Ok(None) };
        if location.bytes > AT_ONCE_MAX || !self.at_once.load(Ordering::Relaxed) {
            return Err(Blocks);
        }
        let Some(file) = self.file(location) else { return Ok(None) };
        let (length, offset) = (location.bytes as usize, location.offset.into());
        let mut record = Vec::new();
        let read = if self.in_memory {
            record.reserve_exact(length);
            rustix::io::pread(&file, spare_capacity(&mut record), offset)
        } else {
            record.resize(length, 0);
            rustix::io::preadv2(&file, &mut [IoSliceMut::new(&mut record)], offset, ReadWriteFlags::NOWAIT)
        };
        match read {
            Ok(bytes) if bytes >= length => {
                // An allocator may give more room than it was asked for.
                record.truncate(length);
                self.counters.read_bytes.fetch_add(location.bytes.into(), Ordering::Relaxed);
                Ok(self.piece(key, location, Ok(Some(record))))
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                // The file system cannot tell.
                self.at_once.store(false, Ordering::Relaxed);
                Err(Blocks)
            }
            // Not all of it is in the page cache; or what is wrong is found again there.
            Ok(_) | Err(_) => Err(Blocks),
        }
    }

    fn piece(&self, key: &StoreKey, location: Location, record: io::Result<Option<Vec<u8>>>) -> Option<Piece> {
        let unreadable = match record {
            // It was reclaimed since the index was asked.
            Ok(None) => return None,
            Ok(Some(record)) => match record::read(record.into(), key) {
                Ok(piece) => return Some(piece),
                // Not a fault: another key of the same hash.
                Err(Unreadable::Other) => None,
                Err(Unreadable::Damaged) => Some((DiskError::Damaged, "a checksum does not fit".to_owned())),
                Err(Unreadable::Format) => Some((DiskError::Format, "a piece of another format".to_owned())),
            },
            Err(error) => Some((DiskError::Read, error.to_string())),
        };
        self.index.remove_at(key, location);
        if let Some((kind, what)) = unreadable {
            self.counters.error(kind, &what);
        }
        None
    }

    fn file(&self, location: Location) -> Option<Arc<File>> {
        self.files.read().get(&location.segment).cloned()
    }

    /// The bytes at a place, if it is there still.
    pub(super) fn raw(&self, location: Location) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.file(location) else { return Ok(None) };
        let mut bytes = vec![0; location.bytes as usize];
        file.read_exact_at(&mut bytes, location.offset.into())?;
        self.counters.read_bytes.fetch_add(location.bytes.into(), Ordering::Relaxed);
        Ok(Some(bytes))
    }
}
