//! Ticks: strictly rising numbers, close to milliseconds since the epoch, that no restart and no clock set back repeats.

use std::sync::atomic::{AtomicU64, Ordering};

use nearcast_shared::clock::Clock;

/// How far ahead a reservation reaches, in ticks: ten minutes of wall clock.
pub(super) const BLOCK: u64 = 600_000;

/// The counter of a node. `tick = max(wall clock, last + 1)`, never beyond what was reserved on disk.
#[derive(Debug)]
pub(super) struct Ticks {
    last: AtomicU64,
    reserved: AtomicU64,
    clock: Clock,
}

impl Ticks {
    /// Ticks that are all later than `last`.
    pub(super) fn after(last: u64, clock: Clock) -> Self {
        Self { last: AtomicU64::new(last), reserved: AtomicU64::new(last), clock }
    }

    /// The next tick, and whether it is time to reserve more.
    pub(super) fn next(&self) -> (u64, bool) {
        let reserved = self.reserved.load(Ordering::SeqCst);
        // When the wall clock is ahead of the reservation, ticks just count on until that was extended.
        let now = self.wall().min(reserved);
        let next = |last: u64| Some(now.max(last + 1));
        let last = self.last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).unwrap_or_else(|last| last);
        let tick = now.max(last + 1);
        (tick, tick + BLOCK / 2 > reserved)
    }

    /// Whether it is time to reserve more.
    pub(super) fn is_low(&self) -> bool {
        self.wall().max(self.last.load(Ordering::SeqCst)) + BLOCK / 2 > self.reserved.load(Ordering::SeqCst)
    }

    /// How far to reserve now.
    pub(super) fn reservation(&self) -> u64 {
        self.wall().max(self.last.load(Ordering::SeqCst)) + BLOCK
    }

    /// `until` is on disk.
    pub(super) fn reserved(&self, until: u64) {
        self.reserved.fetch_max(until, Ordering::SeqCst);
    }

    /// Milliseconds since the epoch, as the clock says now.
    pub(super) fn wall(&self) -> u64 {
        u64::try_from(self.clock.now().0).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearcast_shared::clock::Timestamp;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ticks_rise_whatever_the_clock_does(jumps in proptest::collection::vec(-7_200_000i64..7_200_000, 1..50)) {
            let clock = Clock::manual(Timestamp(100_000_000));
            let ticks = Ticks::after(5, clock.clone());
            ticks.reserved(ticks.reservation());
            let mut last = 0;
            for jump in jumps {
                clock.advance(jump);
                let (tick, low) = ticks.next();
                prop_assert!(tick > last);
                if low {
                    ticks.reserved(ticks.reservation());
                }
                last = tick;
            }
        }
    }

    #[test]
    fn ticks_follow_the_wall_clock_once_reserved() {
        let clock = Clock::manual(Timestamp(1_000_000));
        let ticks = Ticks::after(0, clock.clone());
        ticks.reserved(ticks.reservation());
        assert_eq!(ticks.next().0, 1_000_000);
        clock.advance(1_000);
        assert_eq!(ticks.next().0, 1_001_000);
        clock.advance(-1_000);
        assert_eq!(ticks.next().0, 1_001_001);
    }
}
