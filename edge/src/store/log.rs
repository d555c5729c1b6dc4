//! The disk tier's files as their one writer sees them: a log of segments, each a data file and an index file.
//!
//! Batches are appended to the newest segment: first the records, then one frame of the index, so that what the index
//! names has been written. When the room is used up the oldest segment goes whole; what is pinned in it is appended
//! anew before. Nothing is synced: what the process had written survives its death, and what a loss of power tears is
//! found by its checksums. A write that failed leaves all as it was: the next one goes to the same place.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::counters::DiskError;
use super::index::{Found, Location};
use super::record::{self, Entry};
use super::segments::Segments;
use crate::key::{SiteMark, StoreKey};

/// How large it may get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Records; each takes a line of memory.
    pub(super) entries: usize,
}

impl Shape {
    /// Bytes after which a segment is full. Some hundred segments, so that little is lost with one, but not so many
    /// that their files, which stay open, are a burden.
    fn segment_bytes(self) -> u64 {
        (self.bytes / 256).clamp(4 << 20, 2 << 30)
    }
}

/// Records to be appended, and keys to be taken away.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The records, one behind the other.
    pub(super) bytes: Vec<u8>,
    /// Offsets are within `bytes`.
    pub(super) entries: Vec<Entry>,
}

impl Batch {
    /// Bytes that it takes in both files.
    fn total(&self) -> u64 {
        (self.bytes.len() + record::frame_bytes(self.entries.len())) as u64
    }

    /// Makes it empty; the memory is kept.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}

/// Bytes that are copied at once when what is pinned is appended anew.
const COPY: usize = 4 << 20;

/// The log.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    shape: Shape,
    segments: Arc<Segments>,
    /// Oldest first.
    sealed: VecDeque<Sealed>,
    active: Option<Active>,
    next: u32,
}

#[derive(Debug)]
struct Sealed {
    number: u32,
    bytes: u64,
}

#[derive(Debug)]
struct Active {
    number: u32,
    data: Arc<File>,
    index: File,
    data_bytes: u64,
    index_bytes: u64,
}

impl Active {
    /// Bytes of both its files.
    fn bytes(&self) -> u64 {
        self.data_bytes + self.index_bytes
    }
}

impl Log {
    /// Finds again what the folder holds and makes it known.
    ///
    /// # Errors
    /// When the folder cannot be read. What is damaged in it is not an error.
    pub(super) fn recover(folder: &Path, shape: Shape, segments: Arc<Segments>) -> io::Result<Self> {
        let mut log =
            Self { folder: folder.to_owned(), shape, segments, sealed: VecDeque::new(), active: None, next: 0 };
        let mut numbers = BTreeSet::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.split_once('.')?.0.parse::<u32>().ok());
            numbers.extend(number);
        }
        let mut found = Found::new();
        for number in numbers {
            log.next = number.saturating_add(1);
            log.seal();
            match log.recover_segment(number, &mut found) {
                Ok(()) => {}
                Err(error) if is_of_the_process(&error) => return Err(error),
                Err(error) => {
                    let what = format!("segment {number}: {error}");
                    log.segments.counters.error(DiskError::Read, &what);
                    if is_lost(&error) {
                        log.delete(number);
                    } else {
                        // Perhaps it can be read at the next start. Until then it takes room, and goes when its turn comes.
                        log.sealed.push_back(Sealed { number, bytes: log.size_of(number) });
                    }
                }
            }
        }
        log.segments.index.adopt(found);
        Ok(log)
    }

    fn recover_segment(&mut self, number: u32, found: &mut Found) -> io::Result<()> {
        let open = |kind| OpenOptions::new().read(true).write(true).open(self.path(number, kind));
        let (data, index) = (Arc::new(open("data")?), open("index")?);
        let data_bytes = data.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(index.metadata()?.len()).unwrap_or(usize::MAX)];
        index.read_exact_at(&mut bytes, 0)?;
        let mut beyond = 0;
        let whole = record::frames(&bytes, |entry| {
            if entry.bytes == 0 {
                found.remove(&entry.key);
            } else if u64::from(entry.offset) + u64::from(entry.bytes) > data_bytes || entry.bytes > record::RECORD_MAX
            {
                beyond += 1;
                found.remove(&entry.key);
            } else {
                let Entry { key, offset, bytes } = entry;
                found.put(&key, Location { segment: number, offset, bytes, site: key.site() });
            }
        });
        if whole < bytes.len() || beyond > 0 {
            self.segments.counters.error(DiskError::Damaged, &format!("segment {number} ends early or is damaged"));
        }
        self.segments.add(number, data.clone());
        self.active = Some(Active { number, data, index, data_bytes, index_bytes: bytes.len() as u64 });
        // What is whole is appended to; what is not is left as it is, and goes when its turn comes.
        if whole < bytes.len() || beyond > 0 {
            self.seal();
        }
        Ok(())
    }

    /// Appends a batch and returns the segment and the offset it begins at. `pinned` says how many bytes of a site are
    /// kept when their segment goes.
    ///
    /// # Errors
    /// When it cannot be written; then nothing of it is known.
    pub(super) fn append(&mut self, batch: &Batch, pinned: &dyn Fn(SiteMark) -> u64) -> io::Result<(u32, u32)> {
        self.make_room(batch.total(), batch.entries.len(), pinned)?;
        self.write(batch)
    }

    /// Gives up the oldest until there is room for so much more.
    ///
    /// # Errors
    /// When what is pinned cannot be written anew.
    pub(super) fn make_room(&mut self, bytes: u64, entries: usize, pinned: &dyn Fn(SiteMark) -> u64) -> io::Result<()> {
        // Each segment has its turn once at most: what is pinned may be all there is.
        for _ in 0..=self.sealed.len() {
            let over_bytes = self.bytes() + bytes > self.shape.bytes;
            let over_entries = self.segments.index.entries() + entries > self.shape.entries;
            if !over_bytes && !over_entries {
                break;
            }
            if self.sealed.is_empty() {
                self.seal();
            }
            self.reclaim(pinned)?;
        }
        Ok(())
    }

    /// Gives the oldest segment up, whatever is in it: the file system has no room. Says whether there was one.
    pub(super) fn shrink(&mut self) -> bool {
        let Some(oldest) = self.sealed.pop_front() else { return false };
        self.segments.remove(oldest.number);
        self.delete(oldest.number);
        true
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        let active = self.active.as_ref().map_or(0, Active::bytes);
        self.sealed.iter().map(|sealed| sealed.bytes).sum::<u64>() + active
    }

    /// The next batch begins a new segment.
    pub(super) fn seal(&mut self) {
        if let Some(active) = self.active.take() {
            self.sealed.push_back(Sealed { number: active.number, bytes: active.bytes() });
        }
    }

    fn reclaim(&mut self, pinned: &dyn Fn(SiteMark) -> u64) -> io::Result<()> {
        let Some(oldest) = self.sealed.front().map(|oldest| oldest.number) else { return Ok(()) };
        let kept = self.segments.index.of_segment(oldest, |site| pinned(site) > 0);
        let mut batch = Batch::default();
        let mut from = Vec::new();
        for location in kept {
            // What cannot be read is not kept; a reader would find the same, and count it.
            let record = self.segments.raw(location).ok().flatten().unwrap_or_default();
            let Ok(key) = record::verify(&record) else { continue };
            if self.segments.index.bytes_of(location.site) > pinned(location.site) {
                // The oldest of what is too much.
                self.segments.index.remove_at(&key, location);
                continue;
            }
            let offset = u32::try_from(batch.bytes.len()).unwrap_or(u32::MAX);
            batch.entries.push(Entry { key, offset, bytes: location.bytes });
            batch.bytes.extend(record);
            from.push(location);
            if batch.bytes.len() >= COPY {
                self.copy(&mut batch, &mut from)?;
            }
        }
        self.copy(&mut batch, &mut from)?;
        self.shrink();
        Ok(())
    }

    fn copy(&mut self, batch: &mut Batch, from: &mut Vec<Location>) -> io::Result<()> {
        if batch.entries.is_empty() {
            return Ok(());
        }
        let (segment, base) = self.write(batch)?;
        for (entry, from) in batch.entries.iter().zip(from.drain(..)) {
            let to = Location { segment, offset: base + entry.offset, ..from };
            self.segments.index.relocate(&entry.key, from, to);
        }
        batch.clear();
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> io::Result<(u32, u32)> {
        let segment_bytes = self.shape.segment_bytes();
        let bytes = batch.total();
        let full = |active: &Active| active.bytes() > 0 && active.bytes() + bytes > segment_bytes;
        if self.active.as_ref().is_some_and(full) {
            self.seal();
        }
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.begin()?,
        };
        let number = active.number;
        let base = match Self::write_to(&mut active, batch) {
            Err(error) if active.bytes() == 0 => {
                // A file that took nothing yet may be the fault itself.
                self.segments.remove(number);
                self.delete(number);
                return Err(error);
            }
            written => {
                self.active = Some(active);
                written?
            }
        };
        self.segments.counters.written_bytes.fetch_add(batch.bytes.len() as u64, Ordering::Relaxed);
        Ok((number, base))
    }

    fn write_to(active: &mut Active, batch: &Batch) -> io::Result<u32> {
        let base = u32::try_from(active.data_bytes).map_err(io::Error::other)?;
        let entry = |entry: &Entry| {
            let offset = if entry.bytes == 0 { 0 } else { base.saturating_add(entry.offset) };
            Entry { offset, ..*entry }
        };
        let frame = record::frame(&batch.entries.iter().map(entry).collect::<Vec<_>>());
        active.data.write_all_at(&batch.bytes, base.into())?;
        active.index.write_all_at(&frame, active.index_bytes)?;
        active.data_bytes += batch.bytes.len() as u64;
        active.index_bytes += frame.len() as u64;
        Ok(base)
    }

    fn begin(&mut self) -> io::Result<Active> {
        let number = self.next;
        let make =
            |kind| OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.path(number, kind));
        // Somebody may have taken it away.
        fs::create_dir_all(&self.folder)?;
        let (data, index) = (Arc::new(make("data")?), make("index")?);
        self.next = self.next.saturating_add(1);
        self.segments.add(number, data.clone());
        Ok(Active { number, data, index, data_bytes: 0, index_bytes: 0 })
    }

    fn path(&self, number: u32, kind: &str) -> PathBuf {
        self.folder.join(format!("{number:010}.{kind}"))
    }

    /// Bytes of a segment's files, as far as they can be told.
    fn size_of(&self, number: u32) -> u64 {
        let sizes = ["index", "data"].map(|kind| fs::metadata(self.path(number, kind)).map_or(0, |found| found.len()));
        sizes.iter().sum()
    }

    /// A file that cannot be deleted, perhaps because it is not there, is in nobody's way: its number does not come again.
    fn delete(&self, number: u32) {
        for kind in ["index", "data"] {
            let path = self.path(number, kind);
            if let Err(error) = fs::remove_file(&path) {
                tracing::debug!(path = %path.display(), %error, "a file of the disk tier is not there any more");
            }
        }
    }
}

/// Whether it says nothing of the file: no right, or too many files open (EMFILE, ENFILE).
fn is_of_the_process(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied || matches!(error.raw_os_error(), Some(23 | 24))
}

/// Whether what it says of a segment stays so: a file is missing, or ends early.
fn is_lost(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}

/// What was appended, entry by entry: where it is now, if it was not a removal.
pub(super) fn places(batch: &Batch, (segment, base): (u32, u32)) -> impl Iterator<Item = (StoreKey, Location)> {
    batch.entries.iter().filter(|entry| entry.bytes > 0).map(move |entry| {
        let Entry { key, offset, bytes } = *entry;
        (key, Location { segment, offset: base + offset, bytes, site: key.site() })
    })
}
