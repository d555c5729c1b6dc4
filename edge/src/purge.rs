//! Purging without an index of keys: each stored answer carries the tick of its fetch's start, each purge the tick at
//! which it was accepted, and an answer lives only if no matching purge has a later tick. That covers both schemes, all
//! variants and chunks, fetches still running, and old copies that come back from disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use nearcast_shared::clock::{Clock, Timestamp};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::key::{GroupId, UrlId};

mod log;
mod tables;
mod ticks;

use log::Log;
pub use log::Record;
use tables::Tables;
use ticks::Ticks;

/// Records that clients may cause.
const RECORDS_MAX: usize = 1_000_000;

/// What one purge covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// A site by its name.
    Site(String),
    /// A URL: both schemes, all variants.
    Url(UrlId),
    /// A group (RFC 9875): all answers of one scheme and host that name it.
    Group(GroupId),
}

/// A purge that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its tick: unique on this node, and close to milliseconds since the epoch.
    pub tick: u64,
}

/// Why a purge could not be made to hold.
#[derive(Debug, Error)]
pub enum PurgeError {
    /// The log could not be written.
    #[error("the purge log could not be written, so the purge does not hold")]
    Log(#[source] std::io::Error),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// The purges of a node: tables for the hit path, and the log that makes them last.
#[derive(Debug)]
pub struct Purges {
    tables: Tables,
    ticks: Ticks,
    keep_ms: u64,
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
enum Order {
    Purge(Scope, oneshot::Sender<Result<Receipt, PurgeError>>),
    /// Tables have it already; no one waits.
    Note(Record),
    /// Look whether ticks run short, as at every turn.
    Reserve,
}

impl Purges {
    /// Opens the log at `path`, forgets records older than `keep_ms`, and starts the thread that writes it.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: &Path, keep_ms: u64, clock: &Clock) -> std::io::Result<Arc<Self>> {
        let now = u64::try_from(clock.now().0).unwrap_or(0);
        let (log, records) = Log::open(path, now.saturating_sub(keep_ms), now + ticks::BLOCK)?;
        let (tables, mut last) = (Tables::default(), 0);
        for record in &records {
            last = last.max(record.tick());
            tables.apply(record);
        }
        let (orders, inbox) = mpsc::channel();
        let purges = Arc::new(Self { keep_ms, tables, ticks: Ticks::after(last, clock.clone()), orders });
        let mut writer = Writer { log, purges: Arc::downgrade(&purges) };
        writer.reserve(&purges)?;
        std::thread::Builder::new().name("purge-log".to_owned()).spawn(move || writer.run(&inbox))?;
        Ok(purges)
    }

    /// The tick for a fetch that starts now.
    pub fn tick(&self) -> u64 {
        let (tick, low) = self.ticks.next();
        if low {
            let _stopping = self.orders.send(Order::Reserve);
        }
        tick
    }

    /// Whether a purge covers, at `now`, an answer of that site and URL, and in those groups, whose fetch started at
    /// `tick`. An answer older than purge records are kept counts as covered: nobody can tell any more.
    pub fn covers(&self, site: &str, url: UrlId, https: bool, groups: &[GroupId], tick: u64, now: Timestamp) -> bool {
        let now = u64::try_from(now.0).unwrap_or(0);
        tick < now.saturating_sub(self.keep_ms) || self.tables.latest(site, url, https, groups) >= tick
    }

    /// Purges. When it returns, the purge is on disk and in force.
    ///
    /// # Errors
    /// When it could not be written: then it does not hold.
    pub async fn purge(&self, scope: Scope) -> Result<Receipt, PurgeError> {
        let (answer, outcome) = oneshot::channel();
        self.orders.send(Order::Purge(scope, answer)).map_err(|_| PurgeError::Stopping)?;
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
        let record = Record::new(self.tick(), bounded(scope, site, self.tables.len()));
        self.tables.apply(&record);
        let _stopping = self.orders.send(Order::Note(record));
    }

    /// Live records, for the status.
    pub fn records(&self) -> usize {
        self.tables.len()
    }
}

/// What to cover for a client, with so many records in force.
fn bounded(scope: Scope, site: &str, records: usize) -> Scope {
    if records < RECORDS_MAX { scope } else { Scope::Site(site.to_owned()) }
}

/// The thread that owns the log.
struct Writer {
    log: Log,
    purges: std::sync::Weak<Purges>,
}

impl Writer {
    fn run(&mut self, inbox: &mpsc::Receiver<Order>) {
        while let Ok(first) = inbox.recv() {
            let Some(purges) = self.purges.upgrade() else { return };
            // Group commit: whatever waits shares one write to disk.
            self.commit(&purges, std::iter::once(first).chain(inbox.try_iter()));
        }
    }

    fn commit(&mut self, purges: &Purges, orders: impl Iterator<Item = Order>) {
        if purges.ticks.is_low()
            && let Err(error) = self.reserve(purges)
        {
            tracing::error!(%error, "the purge log cannot be written: ticks may repeat after a restart");
        }
        let (mut records, mut waiting) = (Vec::new(), Vec::new());
        for order in orders {
            match order {
                Order::Note(record) => records.push(record),
                Order::Reserve => {}
                Order::Purge(scope, answer) => {
                    // In force first, so that nobody finds what is stored any more; then a tick later than that of any
                    // fetch that still found it.
                    purges.tables.apply(&Record::new(purges.ticks.next().0, scope.clone()));
                    let tick = purges.ticks.next().0;
                    records.push(Record::new(tick, scope));
                    waiting.push((tick, answer));
                }
            }
        }
        let written = self.log.append(&records).and_then(|()| {
            // In force before the log may be rewritten with what is.
            records.iter().for_each(|record| purges.tables.apply(record));
            self.log.shrink(|| purges.tables.records())
        });
        if let Err(error) = &written {
            tracing::error!(%error, "the purge log cannot be written: purges are refused until it can");
        }
        for (tick, answer) in waiting {
            let outcome = match &written {
                Ok(()) => Ok(Receipt { tick }),
                Err(error) => Err(PurgeError::Log(std::io::Error::new(error.kind(), error.to_string()))),
            };
            let _caller_gone = answer.send(outcome);
        }
    }

    /// Writes down how far ticks may run, before they run there: after a crash they go on behind it.
    fn reserve(&mut self, purges: &Purges) -> std::io::Result<()> {
        let until = purges.ticks.reservation();
        self.log.append(&[Record::Reserve { tick: until }])?;
        purges.ticks.reserved(until);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: UrlId = UrlId(7);
    const GROUP: GroupId = GroupId(7);
    const KEEP_MS: u64 = 1_000_000_000;
    const NOW: Timestamp = Timestamp(5_000);

    fn open(folder: &Path, now: i64) -> Arc<Purges> {
        Purges::open(&folder.join("purge.log"), KEEP_MS, &Clock::manual(Timestamp(now))).unwrap()
    }

    #[tokio::test]
    async fn a_purge_covers_what_started_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let purges = open(folder.path(), 5_000);
        for scope in [Scope::Url(URL), Scope::Site("s".to_owned()), Scope::All] {
            let before = purges.tick();
            assert!(!purges.covers("s", URL, false, &[], before, NOW));
            let receipt = purges.purge(scope).await.unwrap();
            let after = purges.tick();
            assert!(before < receipt.tick && receipt.tick < after);
            assert!(purges.covers("s", URL, false, &[], before, NOW));
            assert!(!purges.covers("s", URL, false, &[], after, NOW));
        }
    }

    #[tokio::test]
    async fn a_group_is_covered_in_whatever_company() {
        let folder = tempfile::tempdir().unwrap();
        let purges = open(folder.path(), 5_000);
        let before = purges.tick();
        let receipt = purges.purge(Scope::Group(GROUP)).await.unwrap();
        let after = purges.tick();
        let with = [GroupId(1), GROUP, GroupId(2)];
        assert!(before < receipt.tick && receipt.tick < after);
        assert!(
            purges.covers("s", URL, false, &with, before, NOW)
                && purges.covers("t", UrlId(8), false, &[GROUP], before, NOW)
        );
        assert!(!purges.covers("s", URL, false, &with, after, NOW));
        for others in [&[][..], &[GroupId(1), GroupId(2)]] {
            assert!(!purges.covers("s", UrlId(GROUP.0), false, others, before, NOW), "{others:?}");
        }
    }

    #[tokio::test]
    async fn other_urls_sites_and_groups_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let purges = open(folder.path(), 5_000);
        let before = purges.tick();
        purges.purge(Scope::Url(URL)).await.unwrap();
        purges.purge(Scope::Site("s".to_owned())).await.unwrap();
        assert!(!purges.covers("t", UrlId(8), false, &[GroupId(URL.0)], before, NOW));
    }

    #[tokio::test]
    async fn purges_survive_restarts_and_a_clock_set_back() {
        for (scope, groups) in [(Scope::Url(URL), &[][..]), (Scope::Group(GROUP), &[GROUP])] {
            let folder = tempfile::tempdir().unwrap();
            let purges = open(folder.path(), 7_200_000);
            let before = purges.tick();
            purges.purge(scope).await.unwrap();
            drop(purges);
            for hour in [1, 0, 2] {
                let again = open(folder.path(), 3_600_000 * hour + 3_600_000);
                assert!(again.covers("s", URL, false, groups, before, NOW));
                assert!(
                    !again.covers("s", URL, false, groups, again.tick(), NOW),
                    "what is fetched now is not covered"
                );
            }
        }
    }

    #[tokio::test]
    async fn invalidations_survive_a_restart_once_written() {
        let folder = tempfile::tempdir().unwrap();
        let purges = open(folder.path(), 5_000);
        let before = purges.tick();
        purges.invalidate("s", URL, false);
        purges.invalidate_group("s", GROUP);
        // Orders are written in turn.
        purges.purge(Scope::Url(UrlId(99))).await.unwrap();
        assert_eq!(purges.records(), 3);
        drop(purges);
        let again = open(folder.path(), 6_000);
        assert_eq!(again.records(), 3);
        assert!(
            again.covers("s", URL, false, &[], before, NOW)
                && again.covers("s", UrlId(8), false, &[GROUP], before, NOW)
        );
    }

    #[tokio::test]
    async fn what_outlived_the_records_is_covered() {
        let folder = tempfile::tempdir().unwrap();
        let purges = open(folder.path(), 5_000);
        let tick = purges.tick();
        assert!(!purges.covers("s", URL, false, &[], tick, Timestamp(5_000 + KEEP_MS as i64)));
        assert!(purges.covers("s", URL, false, &[], tick, Timestamp(6_000 + KEEP_MS as i64)));
    }

    #[tokio::test]
    async fn an_invalidation_holds_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let purges = open(folder.path(), 5_000);
        let before = purges.tick();
        purges.invalidate("s", URL, false);
        assert!(purges.covers("s", URL, false, &[], before, NOW));
        assert!(!purges.covers("s", UrlId(8), false, &[GROUP], before, NOW));
        purges.invalidate_group("s", GROUP);
        assert!(purges.covers("s", UrlId(8), false, &[GROUP], before, NOW));
    }

    #[test]
    fn clients_cannot_fill_the_tables() {
        let site = Scope::Site("s".to_owned());
        for scope in [Scope::Url(URL), Scope::Group(GROUP)] {
            assert_eq!(bounded(scope.clone(), "s", RECORDS_MAX - 1), scope);
            assert_eq!(bounded(scope, "s", RECORDS_MAX), site);
        }
    }
}
