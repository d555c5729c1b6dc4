//! The files of the disk tier as readers see them: which segments there are, and what is where in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;

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
    /// What is counted.
    pub(super) counters: Arc<Counters>,
}

impl Segments {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { index: Index::new(), files: RwLock::default(), counters }
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
        let unreadable = match self.raw(location) {
            // It was reclaimed since the index was asked.
            Ok(None) => return None,
            Ok(Some(record)) => match record::read(&record, key) {
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

    /// The bytes at a place, if it is there still.
    pub(super) fn raw(&self, location: Location) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.files.read().get(&location.segment).cloned() else { return Ok(None) };
        let mut bytes = vec![0; location.bytes as usize];
        file.read_exact_at(&mut bytes, location.offset.into())?;
        self.counters.read_bytes.fetch_add(location.bytes.into(), Ordering::Relaxed);
        Ok(Some(bytes))
    }
}
