//! The one thread that writes to disk: first it finds again what is there, then it appends what waits, in portions.
//!
//! Whatever fails is tried again later and never ends the node; meanwhile memory serves, and what does not fit the queue
//! is dropped and counted.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::counters::{Counters, DiskError, Dropped};
use super::log::{self, Batch, Log, Shape};
use super::queue::{Next, Phase, Portion, Queue};
use super::record::{self, Entry};
use super::segments::Segments;
use super::sites::Sites;
use crate::key::{SiteMark, StoreKey};

/// Bytes that are written at once.
pub(super) const PORTION: usize = 4 << 20;

/// Less waits so long for more.
const PATIENCE: Duration = Duration::from_millis(200);

/// After a failure the disk is left alone for so long, twice as long after each further one.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How the disk tier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskState {
    /// What it holds is being found again; until then it serves nothing, and what is to be written waits.
    Recovering,
    /// In service.
    Ready,
    /// It cannot be opened or written; it is tried again. What can be read is served.
    Failed,
    /// Closed.
    Closed,
}

impl Drop for Writer {
    /// Also when it panics: nobody waits for it in vain.
    fn drop(&mut self) {
        self.enter(DiskState::Closed);
        self.queue.went.notify_waiters();
    }
}

impl DiskState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Recovering, Self::Ready, Self::Failed, Self::Closed];

    /// The word for it.
    pub fn token(self) -> &'static str {
        match self {
            Self::Recovering => "recovering",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }
}

/// Its state, since when, and how long finding again took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    pub(super) state: DiskState,
    pub(super) since: Instant,
    pub(super) recovery: Option<Duration>,
    /// Bytes of all files.
    pub(super) bytes: u64,
}

/// The writer, before it is a thread.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) folder: PathBuf,
    pub(super) shape: Shape,
    /// Bytes a second at most.
    pub(super) rate: Option<u64>,
    pub(super) segments: Arc<Segments>,
    pub(super) queue: Arc<Queue>,
    pub(super) sites: Arc<ArcSwap<Sites>>,
    pub(super) course: watch::Sender<Course>,
}

impl Writer {
    /// Runs to the end of the queue.
    pub(super) fn run(self) {
        if let Some(mut log) = self.recover() {
            self.serve(&mut log);
        }
    }

    fn recover(&self) -> Option<Log> {
        let mut pause = PAUSE;
        while self.queue.phase() < Phase::Abandoned {
            let begun = Instant::now();
            match Log::recover(&self.folder, self.shape, self.segments.clone()) {
                Ok(mut log) => {
                    let sites = self.sites.load();
                    // The config may give it less than before.
                    if let Err(error) = log.make_room(0, 0, &|site| sites.of(site).pinned) {
                        self.counters().error(DiskError::of_write(&error), &error);
                    }
                    let recovery = begun.elapsed();
                    let entries = self.segments.index.entries();
                    tracing::info!(entries, bytes = log.bytes(), ?recovery, "the disk tier is ready");
                    self.course.send_modify(|course| {
                        *course = Course {
                            state: DiskState::Ready,
                            since: Instant::now(),
                            recovery: Some(recovery),
                            bytes: log.bytes(),
                        };
                    });
                    return Some(log);
                }
                Err(error) => {
                    self.counters().error(DiskError::Open, &error);
                    self.enter(DiskState::Failed);
                }
            }
            // At a stop nothing can be saved.
            if self.queue.phase() > Phase::Open {
                return None;
            }
            self.queue.pause(pause);
            pause = (2 * pause).min(PAUSE_MAX);
        }
        None
    }

    fn serve(&self, log: &mut Log) {
        let (mut batch, mut pause) = (Batch::default(), PAUSE);
        while let Portion::Work(portion, removals) = self.queue.next(PATIENCE) {
            let portion = self.encode(portion, &removals, &mut batch);
            if !batch.entries.is_empty() {
                let begun = Instant::now();
                let last = self.queue.phase() > Phase::Open;
                if self.append(log, &batch, &portion) {
                    pause = PAUSE;
                    self.enter(DiskState::Ready);
                    self.keep_to_the_rate(batch.bytes.len(), begun);
                } else {
                    self.enter(DiskState::Failed);
                    self.queue.went.notify_waiters();
                    if last {
                        return;
                    }
                    self.queue.pause(pause);
                    pause = (2 * pause).min(PAUSE_MAX);
                }
            }
            batch.clear();
            batch.bytes.shrink_to(2 * PORTION);
            self.course.send_modify(|course| course.bytes = log.bytes());
            self.queue.went.notify_waiters();
        }
    }

    /// Fills `batch`; gives back what is in it, in its order. What does not fit the disk is dropped.
    fn encode(&self, portion: Vec<Next>, removals: &[StoreKey], batch: &mut Batch) -> Vec<Next> {
        let sites = self.sites.load();
        batch.entries.extend(removals.iter().map(|key| Entry { key: *key, offset: 0, bytes: 0 }));
        // What this batch adds is not in the index yet.
        let mut added: HashMap<SiteMark, u64> = HashMap::new();
        let mut fits = |next: &Next| {
            let (key, site, start) = (next.key, next.key.site(), batch.bytes.len());
            let Some(bytes) = record::write(&mut batch.bytes, &key, &next.piece) else { return false };
            if let Some(most) = sites.of(site).disk_max {
                if u64::from(bytes) > most {
                    batch.bytes.truncate(start);
                    return false;
                }
                let added = added.entry(site).or_default();
                *added += u64::from(bytes);
                let too_much = (self.segments.index.bytes_of(site) + *added).saturating_sub(most);
                if too_much > 0 {
                    self.segments.index.remove_oldest(site, too_much.max(most / 16));
                }
            }
            let offset = u32::try_from(start).expect("a portion is far smaller");
            batch.entries.push(Entry { key, offset, bytes });
            true
        };
        let mut kept = Vec::with_capacity(portion.len());
        for next in portion {
            if fits(&next) {
                kept.push(next);
            } else {
                self.counters().drop(Dropped::TooLarge, 1);
                self.queue.finish(&next, || {});
            }
        }
        kept
    }

    /// Whether it was written. If not, it is dropped: what comes must not wait behind it.
    fn append(&self, log: &mut Log, batch: &Batch, portion: &[Next]) -> bool {
        let sites = self.sites.load();
        let pinned = |site| sites.of(site).pinned;
        loop {
            match log.append(batch, &pinned) {
                Ok(at) => {
                    for (next, (key, location)) in portion.iter().zip(log::places(batch, at)) {
                        self.queue.finish(next, || self.segments.index.put(&key, location));
                    }
                    return true;
                }
                Err(error) => {
                    let kind = DiskError::of_write(&error);
                    self.counters().error(kind, &error);
                    // Room can be made; a broken place is left.
                    match kind {
                        DiskError::Full if log.shrink() => continue,
                        DiskError::Full => {}
                        _ => log.seal(),
                    }
                    self.counters().drop(Dropped::WriteFailed, portion.len());
                    portion.iter().for_each(|next| self.queue.finish(next, || {}));
                    return false;
                }
            }
        }
    }

    fn keep_to_the_rate(&self, bytes: usize, begun: Instant) {
        if let Some(rate) = self.rate {
            let wanted = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            self.queue.pause(wanted.saturating_sub(begun.elapsed()));
        }
    }

    fn counters(&self) -> &Counters {
        &self.segments.counters
    }

    fn enter(&self, state: DiskState) {
        self.course.send_if_modified(|course| {
            let changes = course.state != state;
            if changes {
                if state == DiskState::Ready {
                    tracing::info!("the disk tier is written again");
                }
                *course = Course { state, since: Instant::now(), ..*course };
            }
            changes
        });
    }
}
