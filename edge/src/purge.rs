//! Purging without an index of keys: each stored answer carries the tick of its fetch's start, each purge the tick at
//! which it was accepted, and an answer lives only if no matching purge has a later tick. That covers both schemes, all
//! variants and chunks, fetches still running, and old copies that come back from disk.
//!
//! A soft purge covers in the same way, but what it covers just counts as stale from then on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, TrySendError};
use std::time::Instant;

use nearcast_shared::clock::{Clock, Timestamp};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::key::{GroupId, HashSecret, UrlId};

mod ids;
mod log;
mod mark;
mod metrics;
mod prefixes;
mod record;
mod scope;
mod tables;
mod ticks;
mod writer;

pub use mark::{Mode, Verdict};
pub use metrics::PurgeMetrics;
pub use prefixes::Prefix;
pub use record::{NodeId, Record};
pub use scope::{Kind, Scope, Subject};

use log::{Log, Terms};
use metrics::Cause;
use tables::Tables;
use ticks::Ticks;
use writer::Writer;

/// Orders that wait for the log.
const ORDERS_MAX: usize = 4096;

/// A purge that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Who was told to purge.
    pub node: NodeId,
    /// Its tick: no other purge of this node has it, and it is close to milliseconds since the epoch.
    pub tick: u64,
}

impl Receipt {
    /// What it is called: no other purge of the fleet is.
    pub fn id(&self) -> String {
        format!("{}-{}", self.node, self.tick)
    }

    /// When it was accepted, in the form of RFC 3339.
    pub fn time(&self) -> String {
        /// 9999-12-31T23:59:59.999Z: there is no form for later ones.
        const LAST: i64 = 253_402_300_799_999;
        let time = Timestamp(i64::try_from(self.tick).unwrap_or(LAST).min(LAST));
        humantime::format_rfc3339_millis(time.to_system_time()).to_string()
    }
}

/// Why a purge could not be made to hold.
#[derive(Debug, Error)]
pub enum PurgeError {
    /// The log could not be written.
    #[error("the purge log could not be written, so the purge does not hold")]
    Log(#[source] std::io::Error),
    /// More orders wait than the disk keeps up with.
    #[error("too many purges wait for the disk")]
    Busy,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// What purges are opened with.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// The log.
    pub path: &'a Path,
    /// Whether something may be stored from before. Then a log that is not there was lost, and everything is purged.
    pub expected: bool,
    /// How long purges are kept: longer than anything stored may be used.
    pub keep_ms: u64,
    /// This node.
    pub node: NodeId,
    /// Purges in force. Beyond, the oldest tenth go, and what was fetched before them counts as purged.
    pub records_max: usize,
    /// For the hashes of prefixes.
    pub secret: HashSecret,
}

/// The purges of a node: tables for the hit path, and the log that makes them last.
#[derive(Debug)]
pub struct Purges {
    tables: Tables,
    ticks: Ticks,
    keep_ms: AtomicU64,
    records_max: usize,
    node: NodeId,
    orders: mpsc::SyncSender<Order>,
    /// Sites whose invalidations found no room among the orders: they are written down as a whole.
    overflowed: Mutex<BTreeSet<String>>,
    metrics: PurgeMetrics,
}

#[derive(Debug)]
enum Order {
    Purge {
        scopes: Vec<Scope>,
        mode: Mode,
        since: Instant,
        answer: oneshot::Sender<Result<Receipt, PurgeError>>,
    },
    /// Tables have it already, at that tick; no one waits.
    Note {
        scope: Scope,
        tick: u64,
    },
    /// Look whether ticks run short, as at every turn.
    Reserve,
}

impl Purges {
    /// Opens the log, forgets what is older than purges are kept, and starts the thread that writes it.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(opening: Opening<'_>, clock: &Clock, metrics: PurgeMetrics) -> std::io::Result<Arc<Self>> {
        let (purges, writer, inbox) = Self::begin(opening, clock, metrics)?;
        std::thread::Builder::new().name("purge-log".to_owned()).spawn(move || writer.run(&inbox))?;
        Ok(purges)
    }

    /// The same, with the writer before it is a thread.
    fn begin(
        opening: Opening<'_>,
        clock: &Clock,
        metrics: PurgeMetrics,
    ) -> std::io::Result<(Arc<Self>, Writer, mpsc::Receiver<Order>)> {
        let Opening { path, expected, keep_ms, node, records_max, secret } = opening;
        let now = u64::try_from(clock.now().0).unwrap_or(0);
        let tables = Tables::new(secret);
        let terms = Terms { node, oldest: now.saturating_sub(keep_ms), surely_later: now + ticks::BLOCK, expected };
        let log = Log::open(path, terms, |record| tables.apply(record, true))?;
        let (orders, inbox) = mpsc::sync_channel(ORDERS_MAX);
        let ticks = Ticks::after(log.reserved(), clock.clone());
        let overflowed = Mutex::default();
        let keep_ms = AtomicU64::new(keep_ms);
        let purges = Arc::new(Self { tables, ticks, keep_ms, records_max, node, orders, overflowed, metrics });
        let writer = Writer::new(log, &purges)?;
        Ok((purges, writer, inbox))
    }

    /// The tick for a fetch that starts now.
    pub fn tick(&self) -> u64 {
        let (tick, low) = self.ticks.next();
        if low {
            // `Err`: the thread is awake, and looks at every turn; or the node stops.
            let _awake = self.orders.try_send(Order::Reserve);
        }
        tick
    }

    /// From now on purges are kept for so long. What was forgotten before stays covered.
    pub fn set_keep(&self, keep_ms: u64) {
        self.keep_ms.store(keep_ms, Ordering::Relaxed);
    }

    fn keep_ms(&self) -> u64 {
        self.keep_ms.load(Ordering::Relaxed)
    }

    /// What the purges in force say at `now`. What is older than purges are kept counts as gone: nobody can tell any more.
    pub fn verdict(&self, subject: &Subject<'_>, now: Timestamp) -> Verdict {
        let now = u64::try_from(now.0).unwrap_or(0);
        if subject.tick < now.saturating_sub(self.keep_ms()) { Verdict::Gone } else { self.tables.verdict(subject) }
    }

    /// Purges, all at one tick. When it returns, the purge is on disk and in force.
    ///
    /// # Errors
    /// When it could not be written: then it does not hold.
    pub async fn purge(&self, scopes: Vec<Scope>, mode: Mode) -> Result<Receipt, PurgeError> {
        let (answer, outcome) = oneshot::channel();
        let order = Order::Purge { scopes, mode, since: Instant::now(), answer };
        self.orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => PurgeError::Busy,
            TrySendError::Disconnected(_) => PurgeError::Stopping,
        })?;
        outcome.await.map_err(|_| PurgeError::Stopping)?
    }

    /// Covers a URL at once, without waiting for the disk: what an unsafe method does (RFC 9111 section 4.4). Clients cause
    /// this, so there is a bound: beyond it the whole site is covered, by one record.
    ///
    /// Of the other scheme's URL nothing is known: "a cache MUST NOT trigger an invalidation .. if the origin .. differs".
    pub fn invalidate(&self, site: &str, url: UrlId, https: bool) {
        self.cover_at_once(site, Scope::Url(url.of_scheme(https)));
    }

    /// Covers a group at once, in the same way: what Cache-Group-Invalidation in the answer to an unsafe method does
    /// (RFC 9875 section 3).
    pub fn invalidate_group(&self, site: &str, group: GroupId) {
        self.cover_at_once(site, Scope::Group(group));
    }

    fn cover_at_once(&self, site: &str, scope: Scope) {
        let (scope, tick) = (bounded(scope, site, self.tables.len() >= self.records_max / 2), self.tick());
        self.metrics.count(scope.kind(), Cause::Invalidation);
        self.tables.apply(&self.record(0, tick, Mode::Hard, scope.clone()), false);
        if let Err(TrySendError::Full(_)) = self.orders.try_send(Order::Note { scope, tick }) {
            self.overflowed.lock().insert(site.to_owned());
        }
    }

    fn record(&self, sequence: u64, tick: u64, mode: Mode, scope: Scope) -> Record {
        Record { node: self.node, sequence, tick, mode, scope }
    }

    /// How many scopes of that kind have a purge in force.
    pub fn count(&self, kind: Kind) -> usize {
        self.tables.count(kind)
    }

    /// How many scopes have a purge in force.
    pub fn records(&self) -> usize {
        self.tables.len()
    }
}

/// What to cover for a client. Clients fill half of the tables and no more.
fn bounded(scope: Scope, site: &str, is_full: bool) -> Scope {
    if is_full { Scope::Site(site.to_owned()) } else { scope }
}

#[cfg(test)]
mod tests;
