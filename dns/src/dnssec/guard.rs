//! Whether the time of day can be believed. A signature says from when to when it is good: made by a wrong clock, every
//! validator throws it away and the zone is gone.
//!
//! ```text
//!            what the time of day should be by the steady clock:  A        what the machine says:  B
//!
//!   Steady    A and B are less than five minutes apart             B counts
//!   Set       they are further apart, and both may be right        signatures are good by both, up to 30 days apart
//!   Wrong     B is before anything that this node has seen         A counts, if it is not wrong, too: else nothing is signed
//! ```
//!
//! A clock that was set and is right is believed again when an operator says so, by a reload or a restart; one that goes
//! back to where it was, and one that was plainly wrong and is not any more, at once. Pure but for the state.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nearcast_shared::clock::Timestamp;
use parking_lot::Mutex;

use super::rrsig::Moments;

/// What is no more than a clock being corrected, a leap second or a busy machine, in milliseconds. Less than signatures
/// are backdated.
const TOLERANCE_MS: u64 = 300_000;

/// So often small corrections are taken over.
const REBASE: Duration = Duration::from_secs(3600);

/// A signature that must be good by both clocks would be good for too long otherwise.
const APART_MS_MAX: u64 = 30 * 86_400_000;

/// What is thought of the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockState {
    /// It is believed.
    Steady,
    /// It was set, by so many milliseconds.
    Set(i64),
    /// It is before this moment, which is past.
    Wrong(Timestamp),
}

/// Watches the time of day.
#[derive(Debug)]
pub(crate) struct Guard {
    /// What the time should be less what it is said to be, in milliseconds.
    offset: AtomicI64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Both clocks at one moment when they were believed.
    wall: Timestamp,
    steady: Duration,
    /// No moment before it is now.
    floor: Timestamp,
    state: ClockState,
}

impl Guard {
    /// `floor` is the latest moment that is known to be past.
    pub(crate) fn new(wall: Timestamp, steady: Duration, floor: Timestamp) -> Self {
        let state = if wall < floor { ClockState::Wrong(floor) } else { ClockState::Steady };
        Self { offset: AtomicI64::new(0), inner: Mutex::new(Inner { wall, steady, floor, state }) }
    }

    /// A moment that is past by the clock of another machine: a key was made then.
    pub(crate) fn raise(&self, seen: Timestamp) {
        let mut inner = self.inner.lock();
        inner.floor = inner.floor.max(Timestamp(seen.0.saturating_sub_unsigned(TOLERANCE_MS)));
    }

    /// What should be gone by while the machine says `wall`: the same, unless the clock was set.
    pub(crate) fn now(&self, wall: Timestamp) -> Timestamp {
        Timestamp(wall.0.saturating_add(self.offset.load(Ordering::Relaxed)))
    }

    /// What is thought of the clock.
    pub(crate) fn state(&self) -> ClockState {
        self.inner.lock().state
    }

    /// An operator says that the clock is right.
    pub(crate) fn believe(&self, wall: Timestamp, steady: Duration) {
        let mut inner = self.inner.lock();
        inner.rebase(wall, steady);
        self.settle(&mut inner, wall, steady);
    }

    /// Looks at the clocks. The new state, if it is another.
    pub(crate) fn look(&self, wall: Timestamp, steady: Duration) -> Option<ClockState> {
        let mut inner = self.inner.lock();
        let before = inner.state;
        self.settle(&mut inner, wall, steady);
        (inner.state != before).then_some(inner.state)
    }

    /// What time it may be, if something may be signed; looks at the clocks first.
    pub(crate) fn moments(&self, wall: Timestamp, steady: Duration) -> Option<Moments> {
        let expected = {
            let mut inner = self.inner.lock();
            self.settle(&mut inner, wall, steady);
            match inner.state {
                ClockState::Steady => return Some(Moments { earliest: wall, latest: wall }),
                ClockState::Wrong(floor) => {
                    let expected = inner.expected(steady);
                    return (expected >= floor).then_some(Moments { earliest: expected, latest: expected });
                }
                ClockState::Set(_) => inner.expected(steady),
            }
        };
        let apart = wall.0.abs_diff(expected.0);
        (apart <= APART_MS_MAX).then(|| Moments { earliest: wall.min(expected), latest: wall.max(expected) })
    }

    fn settle(&self, inner: &mut Inner, wall: Timestamp, steady: Duration) {
        let was_wrong = matches!(inner.state, ClockState::Wrong(_)) && inner.expected(steady) < inner.floor;
        if was_wrong && wall >= inner.floor {
            inner.rebase(wall, steady);
        }
        let expected = inner.expected(steady);
        let set = wall.0.saturating_sub(expected.0);
        let within = set.unsigned_abs() <= TOLERANCE_MS;
        inner.state = if wall < inner.floor {
            ClockState::Wrong(inner.floor)
        } else if within {
            ClockState::Steady
        } else {
            ClockState::Set(set)
        };
        if inner.state == ClockState::Steady && steady.saturating_sub(inner.steady) >= REBASE {
            inner.rebase(wall, steady);
        }
        self.offset.store(if within { 0 } else { set.saturating_neg() }, Ordering::Relaxed);
    }
}

impl Inner {
    fn expected(&self, steady: Duration) -> Timestamp {
        self.wall.plus(steady.saturating_sub(self.steady))
    }

    fn rebase(&mut self, wall: Timestamp, steady: Duration) {
        (self.wall, self.steady) = (wall, steady);
    }
}

#[cfg(test)]
mod tests {
    use nearcast_shared::clock::Clock;

    use super::*;

    const MINUTE: i64 = 60_000;
    const DAY: i64 = 86_400_000;

    struct Bench {
        clock: Clock,
        guard: Guard,
    }

    impl Bench {
        /// `ahead` milliseconds after what is known to be past.
        fn new(ahead: i64) -> Self {
            let seen = Timestamp(1_800_000_000_000);
            let clock = Clock::manual(Timestamp(seen.0 + ahead));
            let guard = Guard::new(clock.now(), clock.steady(), seen);
            Self { clock, guard }
        }

        fn look(&self) -> Option<ClockState> {
            self.guard.look(self.clock.now(), self.clock.steady())
        }

        /// Earliest and latest, by the machine's clock.
        fn moments(&self) -> Option<(i64, i64)> {
            let wall = self.clock.now();
            let moments = self.guard.moments(wall, self.clock.steady())?;
            Some((moments.earliest.0 - wall.0, moments.latest.0 - wall.0))
        }
    }

    #[test]
    fn time_passes_and_small_corrections_are_taken_over() {
        let bench = Bench::new(DAY);
        for _ in 0..100 {
            bench.clock.advance(61 * MINUTE);
            bench.clock.jump(4 * MINUTE);
            assert_eq!((bench.look(), bench.moments()), (None, Some((0, 0))));
            assert_eq!(bench.guard.now(bench.clock.now()), bench.clock.now());
        }
    }

    #[test]
    fn many_small_steps_in_a_short_time_are_a_large_one() {
        let bench = Bench::new(DAY);
        let states: Vec<_> = (0..3)
            .map(|_| {
                bench.clock.advance(MINUTE);
                bench.clock.jump(2 * MINUTE);
                bench.look()
            })
            .collect();
        assert_eq!(states, [None, None, Some(ClockState::Set(6 * MINUTE))]);
    }

    #[test]
    fn after_a_step_signatures_are_good_by_both_clocks() {
        // By how much the clock is set, and what time it may be.
        let rows = [
            (10 * MINUTE, Some((-10 * MINUTE, 0))),
            (-10 * MINUTE, Some((0, 10 * MINUTE))),
            (30 * DAY, Some((-30 * DAY, 0))),
            (31 * DAY, None),
        ];
        for (set, wanted) in rows {
            let bench = Bench::new(DAY);
            bench.clock.jump(set);
            assert_eq!(bench.moments(), wanted, "{set}");
            assert_eq!(bench.guard.state(), ClockState::Set(set));
            // What comes by itself comes when it was to come.
            assert_eq!(bench.guard.now(bench.clock.now()).0, bench.clock.now().0 - set);
            bench.clock.advance(5 * DAY);
            assert_eq!(bench.moments(), wanted, "{set}, and days later");
            bench.clock.jump(-set);
            assert_eq!((bench.look(), bench.moments()), (Some(ClockState::Steady), Some((0, 0))), "and back");
        }
    }

    #[test]
    fn an_operator_can_say_that_it_is_right() {
        let bench = Bench::new(DAY);
        bench.clock.jump(90 * DAY);
        assert_eq!(bench.moments(), None);
        bench.guard.believe(bench.clock.now(), bench.clock.steady());
        assert_eq!((bench.guard.state(), bench.moments()), (ClockState::Steady, Some((0, 0))));
    }

    #[test]
    fn a_clock_that_is_plainly_wrong_signs_nothing_until_it_is_right() {
        let bench = Bench::new(-DAY);
        let floor = Timestamp(bench.clock.now().0 + DAY);
        assert_eq!((bench.guard.state(), bench.moments()), (ClockState::Wrong(floor), None));
        bench.guard.believe(bench.clock.now(), bench.clock.steady());
        assert_eq!(bench.moments(), None, "nobody can say that");
        bench.clock.jump(400 * DAY);
        assert_eq!((bench.look(), bench.moments()), (Some(ClockState::Steady), Some((0, 0))));
    }

    #[test]
    fn a_clock_that_becomes_plainly_wrong_is_passed_over() {
        let bench = Bench::new(DAY);
        bench.clock.jump(-2 * DAY);
        assert_eq!(bench.moments(), Some((2 * DAY, 2 * DAY)));
        assert!(matches!(bench.guard.state(), ClockState::Wrong(_)));
        bench.clock.jump(2 * DAY);
        assert_eq!((bench.look(), bench.moments()), (Some(ClockState::Steady), Some((0, 0))));
    }

    #[test]
    fn a_key_of_tomorrow_makes_today_wrong() {
        let bench = Bench::new(0);
        bench.guard.raise(Timestamp(bench.clock.now().0 + 2 * MINUTE));
        assert_eq!(bench.moments(), Some((0, 0)), "clocks differ a little");
        bench.guard.raise(Timestamp(bench.clock.now().0 + DAY));
        assert_eq!(bench.moments(), None);
        bench.clock.advance(DAY);
        assert_eq!(bench.moments(), Some((0, 0)));
    }
}
