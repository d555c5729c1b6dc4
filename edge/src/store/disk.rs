//! The disk tier: it answers at once what waits to be written, reads the rest aside, and is not there until it is ready.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use futures_util::FutureExt;
use futures_util::future::Shared;
use nearcast_shared::config;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::counters::{Counters, DiskError, Dropped};
use super::log::Shape;
use super::queue::{Phase, Queue};
use super::segments::{Blocks, Segments};
use super::sites::Sites;
use super::writer::{Course, DiskState, PORTION, Writer};
use super::{Counts, DiskUsage, Piece, StoreError, folder, seconds};
use crate::key::StoreKey;

/// Reads that run at once; more wait.
const READERS: usize = 16;

/// Locks for reads that run.
const SHARDS: usize = 64;

/// One read, for all who want its piece.
type Flight = Shared<oneshot::Receiver<Option<Piece>>>;

/// Each with its number, since another may begin under the same key.
type Running = HashMap<StoreKey, (u64, Flight), RandomState>;

type Shard = Mutex<Running>;

type Flights = [Shard; SHARDS];

/// The disk tier.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) queue: Arc<Queue>,
    segments: Arc<Segments>,
    flights: Arc<Flights>,
    /// Of the next flight.
    number: AtomicU64,
    course: watch::Receiver<Course>,
    size: u64,
    /// Taken at the end.
    readers: Option<tokio::runtime::Runtime>,
    writer: Option<JoinHandle<()>>,
    /// Of the folder; let go when the writer has ended.
    _lock: File,
}

impl Disk {
    /// Opens it aside: this returns at once.
    pub(super) fn open(disk: &config::Disk, sites: Arc<ArcSwap<Sites>>) -> Result<Self, StoreError> {
        let (folder, lock) = folder::prepare(disk)?;
        let segments = Arc::new(Segments::new(&lock, Arc::new(Counters::default())));
        let queue = Arc::new(Queue::new(usize::try_from(disk.write_queue).unwrap_or(usize::MAX), PORTION));
        let beginning = Course { state: DiskState::Recovering, since: Instant::now(), recovery: None, bytes: 0 };
        let (sender, course) = watch::channel(beginning);
        let readers = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(READERS)
            .thread_name("disk")
            .build()
            .map_err(StoreError::Threads)?;
        let writer = Writer {
            folder,
            shape: Shape { bytes: disk.size, entries: disk.entries_max },
            rate: disk.write_rate,
            segments: segments.clone(),
            queue: queue.clone(),
            sites,
            course: sender,
        };
        let writer = std::thread::Builder::new().name("disk-writer".to_owned()).spawn(move || writer.run());
        let writer = Some(writer.map_err(StoreError::Threads)?);
        let flights = Arc::new(std::array::from_fn(|_| Mutex::default()));
        Ok(Self {
            queue,
            segments,
            flights,
            number: AtomicU64::new(0),
            course,
            size: disk.size,
            readers: Some(readers),
            writer,
            _lock: lock,
        })
    }

    /// Whether the piece is there or waits to be written.
    pub(super) fn contains(&self, key: &StoreKey) -> bool {
        self.segments.index.get(key).is_some() || self.queue.contains(key)
    }

    /// The same, or what was there at the start is not known yet.
    pub(super) fn may_hold(&self, key: &StoreKey) -> bool {
        self.segments.index.may_hold(key) || self.queue.contains(key)
    }

    /// Reads what is on disk under `key` aside. `keep` is called with it, once for all who wait, unless another piece was put
    /// under the key meanwhile.
    pub(super) async fn load(&self, key: &StoreKey, keep: impl FnOnce(&Piece) + Send + 'static) -> Option<Piece> {
        self.flight(key, keep)?.await.ok().flatten()
    }

    /// What is under `key`, if it waits to be written, is not there, or is in the page cache: that costs no change of threads.
    pub(super) fn load_at_once(&self, key: &StoreKey, keep: impl FnOnce(&Piece)) -> Result<Option<Piece>, Blocks> {
        if let Some(piece) = self.queue.get(key) {
            return Ok(Some(piece));
        }
        if self.segments.index.get(key).is_none() {
            return Ok(None);
        }
        // Held while it is read, as when a flight lands.
        let flights = shard(&self.flights, key).lock();
        if flights.contains_key(key) {
            return Err(Blocks);
        }
        let piece = self.segments.read_at_once(key)?;
        if let Some(piece) = &piece {
            keep(piece);
        }
        Ok(piece)
    }

    fn flight(&self, key: &StoreKey, keep: impl FnOnce(&Piece) + Send + 'static) -> Option<Flight> {
        let mut flights = shard(&self.flights, key).lock();
        if let Some((_, flight)) = flights.get(key) {
            return Some(flight.clone());
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        let flight = receiver.shared();
        flights.insert(*key, (number, flight.clone()));
        drop(flights);
        let (segments, landing) = (self.segments.clone(), Landing { flights: self.flights.clone(), key: *key, number });
        self.readers.as_ref()?.spawn_blocking(move || {
            let piece = segments.read(&landing.key);
            landing.land(|| {
                if let Some(piece) = &piece {
                    keep(piece);
                }
            });
            // All may have gone.
            let _unread = sender.send(piece);
        });
        Some(flight)
    }

    /// Another piece is about to be put under `key`: what waits, is read or is on disk is not it any more. Says whether
    /// there was, or may have been, one.
    pub(super) fn forget(&self, key: &StoreKey) -> bool {
        let known = self.withdraw(key);
        // Last: a read that begins before finds the old one.
        shard(&self.flights, key).lock().remove(key);
        known
    }

    /// The same, also after a restart: one that was forgotten before may be in the files still.
    pub(super) fn remove(&self, key: &StoreKey) {
        self.forget(key);
        self.queue.push_removal(*key);
    }

    /// Nothing is to be on disk under `key`, nor after a restart; reads that run are left alone. It takes no lock of
    /// theirs: they call it, when what they put into memory pushes out something else.
    pub(super) fn take_away(&self, key: &StoreKey) {
        self.withdraw(key);
        self.queue.push_removal(*key);
    }

    /// The queue first: what is written meanwhile is not in it any more, and so not put into the index.
    fn withdraw(&self, key: &StoreKey) -> bool {
        let waited = self.queue.take_back(key);
        self.segments.index.remove(key) || waited
    }

    /// Hands a piece to the writer; false when there is no room.
    pub(super) fn write(&self, key: StoreKey, piece: Piece) -> bool {
        self.queue.push(key, piece)
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.segments.counters
    }

    /// How it is.
    pub(super) fn usage(&self) -> DiskUsage {
        let (course, counters) = (self.course(), self.counters());
        DiskUsage {
            state: course.state,
            state_seconds: seconds(course.since.elapsed()),
            recovery_seconds: course.recovery.map(seconds),
            entries: self.segments.index.entries(),
            bytes: course.bytes,
            limit: self.size,
            written_bytes: counters.written_bytes.load(Ordering::Relaxed),
            read_bytes: counters.read_bytes.load(Ordering::Relaxed),
            queue_bytes: self.queue.bytes(),
            queue_limit: self.queue.limit(),
            dropped: Counts(Dropped::ALL.map(|reason| (reason.token(), counters.dropped(reason))).to_vec()),
            errors: Counts(DiskError::ALL.map(|kind| (kind.token(), counters.errors(kind))).to_vec()),
        }
    }

    fn course(&self) -> Course {
        *self.course.borrow()
    }

    /// Waits until what was on disk at the start is known, or cannot be.
    pub(super) async fn opened(&self) -> DiskState {
        let mut course = self.course.clone();
        let opened = course.wait_for(|course| course.state != DiskState::Recovering).await;
        opened.map_or(DiskState::Closed, |course| course.state)
    }

    /// Waits until nothing waits any more; false when more pieces than `failed` were not written. Says how far it is.
    pub(super) async fn written_out(&self, failed: u64) -> bool {
        let all = self.queue.bytes();
        let mut said = Instant::now();
        loop {
            let went = self.queue.went.notified();
            let left = self.queue.bytes();
            if self.failed() > failed || (left > 0 && self.course().state == DiskState::Closed) {
                return false;
            }
            if left == 0 {
                return true;
            }
            if said.elapsed() >= Duration::from_secs(1) {
                tracing::info!(bytes = all.saturating_sub(left), of = all, "memory is written to disk");
                said = Instant::now();
            }
            went.await;
        }
    }

    /// Pieces that could not be written so far.
    pub(super) fn failed(&self) -> u64 {
        self.counters().dropped(Dropped::WriteFailed)
    }

    /// Bytes of a site on disk.
    #[cfg(test)]
    pub(super) fn bytes_of(&self, site: crate::key::SiteMark) -> u64 {
        self.segments.index.bytes_of(site)
    }

    /// Waits until the writer has ended.
    pub(super) async fn closed(&self) {
        let mut course = self.course.clone();
        // That it is gone says the same.
        let _closed = course.wait_for(|course| course.state == DiskState::Closed).await;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.queue.enter(Phase::Abandoned);
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the disk tier's writer panicked");
        }
        if let Some(readers) = self.readers.take() {
            readers.shutdown_background();
        }
    }
}

/// Ends a flight, also when the read panics.
struct Landing {
    flights: Arc<Flights>,
    key: StoreKey,
    number: u64,
}

impl Landing {
    /// Calls `keep` while nobody can put another piece under the key, unless somebody did. A lock is held meanwhile: what
    /// `keep` leads to must not take one of these.
    fn land(self, keep: impl FnOnce()) {
        let mut flights = shard(&self.flights, &self.key).lock();
        if self.remove_from(&mut flights) {
            keep();
        }
    }

    fn remove_from(&self, flights: &mut Running) -> bool {
        flights.get(&self.key).is_some_and(|(number, _)| *number == self.number) && flights.remove(&self.key).is_some()
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.remove_from(&mut shard(&self.flights, &self.key).lock());
    }
}

fn shard<'a>(flights: &'a Flights, key: &StoreKey) -> &'a Shard {
    // Ids are keyed hashes; the version and the number tell the pieces of one body apart.
    let sum = key.0.iter().fold(0, |sum: usize, byte| sum.wrapping_mul(31) + usize::from(*byte));
    &flights[sum % SHARDS]
}
