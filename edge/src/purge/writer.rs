//! The thread that owns the purge log: it gives purges their ticks, writes all that wait with one sync, and forgets what
//! has become outdated.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::log::Log;
use super::mark::Mode;
use super::metrics::Cause;
use super::scope::Scope;
use super::{Order, PurgeError, Purges, Receipt, Record};

/// How often it is looked for outdated records when nothing else happens.
const IDLE: Duration = Duration::from_secs(600);

/// After a failure it is tried again so soon.
const RETRY: Duration = Duration::from_secs(10);

/// Scopes that one write takes: what waits beyond is written next.
const BATCH_MAX: usize = 100_000;

/// See the module.
pub(super) struct Writer {
    pub(super) log: Log,
    purges: Weak<Purges>,
    /// In force, and to be written as soon as that can be: whoever noted an invalidation is not told that it failed.
    unwritten: Vec<Record>,
    /// A purge of everything up to here stands in for what was forgotten.
    forgotten: u64,
    /// Up to where it was last looked for what is outdated.
    looked: u64,
}

/// Someone who waits for a purge.
struct Waiting {
    tick: u64,
    since: Instant,
    answer: oneshot::Sender<Result<Receipt, PurgeError>>,
}

impl Writer {
    pub(super) fn new(log: Log, purges: &Arc<Purges>) -> std::io::Result<Self> {
        let mut writer = Self { log, purges: Arc::downgrade(purges), unwritten: Vec::new(), forgotten: 0, looked: 0 };
        writer.reserve(purges)?;
        writer.looked = outdated(purges);
        writer.forget_moot(purges);
        Ok(writer)
    }

    pub(super) fn run(mut self, inbox: &Receiver<Order>) {
        loop {
            let patience = if self.unwritten.is_empty() { IDLE } else { RETRY };
            let first = match inbox.recv_timeout(patience) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    // Perhaps it can be written now.
                    let _last_try = self.log.append(&self.unwritten);
                    return;
                }
            };
            let Some(purges) = self.purges.upgrade() else { return };
            self.commit(&purges, first, inbox);
            self.forget(&purges);
            purges.metrics.sequence.set(i64::try_from(self.log.sequence()).unwrap_or(i64::MAX));
        }
    }

    /// Group commit: whatever waits shares one write to disk.
    pub(super) fn commit(&mut self, purges: &Purges, first: Option<Order>, inbox: &Receiver<Order>) {
        if purges.ticks.is_low()
            && let Err(error) = self.reserve(purges)
        {
            purges.metrics.log_errors.inc();
            tracing::error!(%error, "the purge log cannot be written: ticks may repeat after a restart");
        }
        let (mut records, mut waiting) = (std::mem::take(&mut self.unwritten), Vec::new());
        let mut next = first;
        while let Some(order) = next {
            match order {
                Order::Note { scope, tick } => self.record(purges, &mut records, tick, Mode::Hard, scope),
                Order::Reserve => {}
                Order::Purge { scopes, mode, since, answer } => {
                    let tick = self.accept(purges, &mut records, scopes, mode);
                    waiting.push(Waiting { tick, since, answer });
                }
            }
            next = if records.len() < BATCH_MAX { inbox.try_recv().ok() } else { None };
        }
        for site in std::mem::take(&mut *purges.overflowed.lock()) {
            self.accept(purges, &mut records, vec![Scope::Site(site)], Mode::Hard);
        }
        let written = self.write(purges, &records);
        if written.is_err() {
            self.unwritten = self.in_few(purges, records);
        }
        for Waiting { tick, since, answer } in waiting {
            let outcome = match &written {
                Ok(()) => {
                    purges.metrics.commit.observe(since.elapsed());
                    Ok(Receipt { node: purges.node, tick })
                }
                Err(error) => Err(PurgeError::Log(std::io::Error::new(error.kind(), error.to_string()))),
            };
            let _caller_gone = answer.send(outcome);
        }
    }

    /// Puts a purge in force and gives it its tick.
    fn accept(&mut self, purges: &Purges, records: &mut Vec<Record>, scopes: Vec<Scope>, mode: Mode) -> u64 {
        // In force first, so that nobody finds what is stored any more; then a tick later than that of any fetch that
        // still found it.
        let before = purges.ticks.next().0;
        for scope in &scopes {
            purges.tables.apply(&purges.record(0, before, mode, scope.clone()), false);
            purges.metrics.count(scope.kind(), Cause::Order(mode));
        }
        let tick = purges.ticks.next().0;
        for scope in scopes {
            self.record(purges, records, tick, mode, scope);
        }
        tick
    }

    fn record(&mut self, purges: &Purges, records: &mut Vec<Record>, tick: u64, mode: Mode, scope: Scope) {
        records.push(purges.record(self.log.next_sequence(), tick, mode, scope));
    }

    /// `records`, or a purge of everything when they are too many to keep.
    fn in_few(&mut self, purges: &Purges, records: Vec<Record>) -> Vec<Record> {
        if records.len() <= BATCH_MAX {
            return records;
        }
        let last = records.iter().map(|record| record.tick).max().unwrap_or(0);
        vec![purges.record(self.log.next_sequence(), last, Mode::Hard, Scope::All)]
    }

    /// Writes records down and, once they are, puts them in force as what the log has.
    fn write(&mut self, purges: &Purges, records: &[Record]) -> std::io::Result<()> {
        let written = self.log.append(records);
        if let Err(error) = &written {
            purges.metrics.log_errors.inc();
            tracing::error!(%error, "the purge log cannot be written: purges are refused until it can");
            return written;
        }
        records.iter().for_each(|record| purges.tables.apply(record, true));
        self.forget_moot(purges);
        if let Err(error) = self.log.shrink(|record| record.tick >= self.forgotten && purges.tables.needs(record)) {
            // What was to be written is: the purges hold.
            purges.metrics.log_errors.inc();
            tracing::error!(%error, "the purge log cannot be rewritten: it grows");
        }
        Ok(())
    }

    /// Forgets records that are older than all that may be stored, and the oldest when there are too many. A purge of
    /// everything up to there stands in for them.
    fn forget(&mut self, purges: &Purges) {
        let mut oldest = outdated(purges);
        let crowded = purges.tables.len() > purges.records_max;
        // Looking at all records is for once in a while.
        if !crowded && oldest < self.looked.saturating_add(purges.keep_ms() / 128) {
            return;
        }
        self.looked = oldest;
        let mut ticks = purges.tables.ticks();
        if crowded {
            tracing::warn!(
                records = ticks.len(),
                "too many purges in force: what was fetched before the oldest tenth counts as purged"
            );
            oldest = oldest.max(tenth(&mut ticks) + 1);
        }
        // Not beyond the ticks given out, wherever the clock is: what is fetched from now on is not covered.
        oldest = oldest.min(purges.ticks.next().0);
        if !ticks.iter().any(|tick| *tick < oldest) {
            return;
        }
        let everything = purges.record(self.log.next_sequence(), oldest, Mode::Hard, Scope::All);
        purges.tables.apply(&everything, false);
        // Should that fail, it is tried again when it is next looked.
        let _logged = self.write(purges, &[everything]);
    }

    /// Forgets what a purge of everything covers as well.
    fn forget_moot(&mut self, purges: &Purges) {
        let all = purges.tables.all_purged();
        if all > self.forgotten {
            self.forgotten = all;
            purges.tables.forget(all);
        }
    }

    /// Writes down how far ticks may run, before they run there: after a crash they go on behind it.
    fn reserve(&mut self, purges: &Purges) -> std::io::Result<()> {
        let until = purges.ticks.reservation();
        self.log.reserve(until)?;
        purges.ticks.reserved(until);
        Ok(())
    }
}

/// The tick before which nothing that is stored can still live.
fn outdated(purges: &Purges) -> u64 {
    purges.ticks.wall().saturating_sub(purges.keep_ms())
}

/// The tick that a tenth is not after.
fn tenth(ticks: &mut [u64]) -> u64 {
    let at = ticks.len() / 10;
    if ticks.is_empty() { 0 } else { *ticks.select_nth_unstable(at).1 }
}
