//! How many signatures may be made a second, so that a flood of names that nobody has does not take the cores.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Who a signature is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// It has proven its address: by a connection or a cookie.
    Verified,
    /// Nobody knows who it is.
    Unverified,
}

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pool {
    /// What the zone has: there is only so much of it.
    Kept,
    /// Names that do not exist, or only through a wildcard: as many as anybody likes to ask for.
    Passing,
}

/// Three buckets of the same rate: a flood of made-up names takes nothing from the zone's own, nor from clients that have
/// proven their address. Each holds a second's worth.
#[derive(Debug)]
pub(crate) struct Budget {
    rate: AtomicU32,
    kept: Bucket,
    verified: Bucket,
    unverified: Bucket,
}

impl Budget {
    pub(crate) fn new(rate: u32) -> Self {
        let (kept, verified, unverified) = Default::default();
        Self { rate: AtomicU32::new(rate), kept, verified, unverified }
    }

    /// Another rate from now on.
    pub(crate) fn set_rate(&self, rate: u32) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Whether one more may be made; `steady` is of a clock that nobody sets.
    pub(crate) fn take(&self, pool: Pool, asker: Asker, steady: Duration) -> bool {
        let (rate, now) =
            (u64::from(self.rate.load(Ordering::Relaxed)), u64::try_from(steady.as_nanos()).unwrap_or(u64::MAX));
        match (pool, asker) {
            (Pool::Kept, Asker::Unverified) => self.kept.take(rate, now),
            // After a start all want what the zone has: who comes again over TCP shall not come for nothing.
            (Pool::Kept, Asker::Verified) => self.kept.take(rate, now) || self.verified.take(rate, now),
            (Pool::Passing, Asker::Verified) => self.verified.take(rate, now),
            (Pool::Passing, Asker::Unverified) => self.unverified.take(rate, now),
        }
    }
}

const SECOND_NS: u64 = 1_000_000_000;

/// The generic cell rate algorithm: the moment at which the bucket is full again, in nanoseconds.
#[derive(Debug, Default)]
struct Bucket(AtomicU64);

impl Bucket {
    fn take(&self, rate: u64, now: u64) -> bool {
        let interval = SECOND_NS / rate.max(1);
        let next = |full: u64| {
            let full = full.max(now) + interval;
            (full - now <= SECOND_NS).then_some(full)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &Budget, pool: Pool, asker: Asker, millis: u64, tries: usize) -> usize {
        (0..tries).filter(|_| budget.take(pool, asker, Duration::from_millis(millis))).count()
    }

    #[test]
    fn a_second_s_worth_and_then_the_rate() {
        let budget = Budget::new(100);
        let unverified = |millis, tries| taken(&budget, Pool::Passing, Asker::Unverified, millis, tries);
        assert_eq!(unverified(1000, 500), 100);
        assert_eq!(unverified(1000, 10), 0);
        assert_eq!(unverified(1100, 50), 10);
        assert_eq!(unverified(60_000, 500), 100, "no more is saved up");
        budget.set_rate(1);
        assert_eq!(unverified(120_000, 50), 1);
    }

    #[test]
    fn the_buckets_are_apart() {
        let budget = Budget::new(10);
        for (pool, asker) in
            [(Pool::Passing, Asker::Unverified), (Pool::Kept, Asker::Unverified), (Pool::Passing, Asker::Verified)]
        {
            assert_eq!(taken(&budget, pool, asker, 5000, 100), 10, "{pool:?} {asker:?}");
        }
        assert_eq!(taken(&budget, Pool::Kept, Asker::Verified, 5000, 100), 0, "all are empty");
        assert_eq!(taken(&budget, Pool::Kept, Asker::Verified, 60_000, 100), 20, "who is verified has both");
    }
}
