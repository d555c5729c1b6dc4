//! Whether the time of day can be believed. A signature says from when to when it is good: made by a wrong clock, every
//! validator throws it away and the zone is gone.
//!
//! ```text
//!            what the time of day should be by the steady clock:  A        what the machine says:  B
//!
//!   Steady    A and B are less than five minutes apart             B counts
//!   Set       they are further apart, and both may be right        signatures are good by both, up to 30 days apart
//!   Wrong     B is more than 30 days before A                      A counts
//! ```
//!
//! At a start there is no A but for what was noted in the run before: the time is that or later. A clock that says so is
//! believed.
//!
//! ```text
//!   Behind    B is before that, and either may be wrong            signatures are good by both, up to 30 days apart
//! ```
//!
//! A clock that was set and is right is believed again when an operator says so, in so many words: reloads come of themselves,
//! with every new certificate. One that goes back to where it was, or catches up, is believed at once. Pure but for the state.

use std::mem::discriminant;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nearcast_shared::clock::Timestamp;
use parking_lot::Mutex;

use super::rrsig::Moments;

/// What is no more than a clock being corrected, a leap second or a busy machine, in milliseconds. Less than signatures
/// are backdated.
pub(super) const TOLERANCE_MS: i64 = 300_000;

/// So often small corrections are taken over.
const REBASE: Duration = Duration::from_secs(3600);

/// A signature that must be good by both clocks would be good for too long otherwise. And who was so far ahead had no
/// signature that anybody took, which is noticed.
const APART_MS_MAX: i64 = 30 * 86_400_000;

/// What is thought of the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockState {
    /// It is believed.
    Steady,
    /// It was set, by so many milliseconds.
    Set(i64),
    /// It was set so far back that it cannot be right.
    Wrong,
    /// It is, by so many milliseconds, before this moment that was noted in an earlier run.
    Behind(Timestamp, i64),
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
    known: Known,
    state: ClockState,
}

/// What is known of the time.
#[derive(Debug, Clone, Copy)]
enum Known {
    /// It is this or later.
    Noted(Timestamp),
    /// Both clocks at one moment when they were believed.
    Believed { wall: Timestamp, steady: Duration },
}

impl Guard {
    /// `noted` is the latest moment that is past by all that is known.
    pub(crate) fn new(wall: Timestamp, steady: Duration, noted: Timestamp) -> Self {
        let inner = Inner { known: Known::Noted(noted), state: ClockState::Steady };
        let made = Self { offset: AtomicI64::new(0), inner: Mutex::new(inner) };
        made.look(wall, steady);
        made
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
        inner.known = Known::Believed { wall, steady };
        self.settle(&mut inner, wall, steady);
    }

    /// Looks at the clocks. The new state, if it is of another kind: by how much a clock was set differs from look to look.
    pub(crate) fn look(&self, wall: Timestamp, steady: Duration) -> Option<ClockState> {
        let mut inner = self.inner.lock();
        let before = inner.state;
        self.settle(&mut inner, wall, steady);
        (discriminant(&inner.state) != discriminant(&before)).then_some(inner.state)
    }

    /// What time it may be, if something may be signed; looks at the clocks first.
    pub(crate) fn moments(&self, wall: Timestamp, steady: Duration) -> Option<Moments> {
        let mut inner = self.inner.lock();
        self.settle(&mut inner, wall, steady);
        let expected = inner.known.expected(steady);
        let both = Moments { earliest: wall.min(expected), latest: wall.max(expected) };
        match inner.state {
            ClockState::Steady => Some(Moments { earliest: wall, latest: wall }),
            ClockState::Set(by) => (by <= APART_MS_MAX).then_some(both),
            ClockState::Wrong => Some(Moments { earliest: expected, latest: expected }),
            ClockState::Behind(_, by) => (by <= APART_MS_MAX).then_some(both),
        }
    }

    fn settle(&self, inner: &mut Inner, wall: Timestamp, steady: Duration) {
        let expected = inner.known.expected(steady);
        let set = wall.0.saturating_sub(expected.0);
        inner.state = match inner.known {
            Known::Noted(_) if set >= -TOLERANCE_MS => ClockState::Steady,
            Known::Noted(noted) => ClockState::Behind(noted, set.saturating_neg()),
            Known::Believed { .. } if set.saturating_abs() <= TOLERANCE_MS => ClockState::Steady,
            Known::Believed { .. } if set < -APART_MS_MAX => ClockState::Wrong,
            Known::Believed { .. } => ClockState::Set(set),
        };
        let is_steady = inner.state == ClockState::Steady;
        if is_steady && inner.known.is_old(steady) {
            inner.known = Known::Believed { wall, steady };
        }
        self.offset.store(if is_steady { 0 } else { set.saturating_neg() }, Ordering::Relaxed);
    }
}

impl Known {
    /// What the time should be.
    fn expected(self, now: Duration) -> Timestamp {
        match self {
            Self::Noted(noted) => noted,
            Self::Believed { wall, steady } => wall.plus(now.saturating_sub(steady)),
        }
    }

    fn is_old(self, now: Duration) -> bool {
        match self {
            Self::Noted(_) => true,
            Self::Believed { steady, .. } => now.saturating_sub(steady) >= REBASE,
        }
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
        /// `ahead` milliseconds after what was noted.
        fn new(ahead: i64) -> Self {
            let noted = Timestamp(1_800_000_000_000);
            let clock = Clock::manual(Timestamp(noted.0 + ahead));
            let guard = Guard::new(clock.now(), clock.steady(), noted);
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
            (-30 * DAY, Some((0, 30 * DAY))),
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
    fn who_starts_before_what_was_noted_signs_for_both_times() {
        // How far behind, and what time it may be.
        let rows = [
            (4 * MINUTE, Some((0, 0))),
            (120 * MINUTE, Some((0, 120 * MINUTE))),
            (30 * DAY, Some((0, 30 * DAY))),
            (31 * DAY, None),
        ];
        for (behind, wanted) in rows {
            let bench = Bench::new(-behind);
            assert_eq!(bench.moments(), wanted, "{behind}");
            // Time stands still for the keys until it is later than what was noted.
            bench.clock.advance(behind / 2);
            bench.look();
            let noted = Timestamp(bench.clock.now().0 + if behind > TOLERANCE_MS { behind - behind / 2 } else { 0 });
            assert_eq!(bench.guard.now(bench.clock.now()), noted, "{behind}");
            bench.clock.advance(behind);
            assert_eq!(bench.moments(), Some((0, 0)), "{behind}, and caught up");
            assert_eq!(bench.guard.state(), ClockState::Steady);
        }
    }

    #[test]
    fn who_noted_a_wrong_time_can_say_so() {
        for behind in [120 * MINUTE, 400 * DAY] {
            let bench = Bench::new(-behind);
            let noted = Timestamp(bench.clock.now().0 + behind);
            assert_eq!(bench.guard.state(), ClockState::Behind(noted, behind));
            bench.guard.believe(bench.clock.now(), bench.clock.steady());
            assert_eq!((bench.guard.state(), bench.moments()), (ClockState::Steady, Some((0, 0))), "{behind}");
        }
    }

    #[test]
    fn a_machine_that_starts_without_the_time_signs_nothing_until_it_has_it() {
        let bench = Bench::new(-400 * DAY);
        assert_eq!(bench.moments(), None);
        bench.clock.advance(MINUTE);
        assert_eq!((bench.look(), bench.moments()), (None, None));
        bench.clock.jump(800 * DAY);
        assert_eq!((bench.look(), bench.moments()), (Some(ClockState::Steady), Some((0, 0))));
    }

    #[test]
    fn a_clock_that_becomes_plainly_wrong_is_passed_over() {
        let bench = Bench::new(DAY);
        bench.clock.jump(-10_000 * DAY);
        assert_eq!(bench.moments(), Some((10_000 * DAY, 10_000 * DAY)));
        assert_eq!(bench.guard.state(), ClockState::Wrong);
        bench.clock.advance(MINUTE);
        assert_eq!(bench.look(), None, "it is told once");
        bench.clock.jump(10_000 * DAY);
        assert_eq!((bench.look(), bench.moments()), (Some(ClockState::Steady), Some((0, 0))));
    }

    #[test]
    fn a_step_is_told_once_though_clocks_are_never_read_at_the_same_moment() {
        let bench = Bench::new(DAY);
        bench.clock.jump(10 * MINUTE);
        assert_eq!(bench.look(), Some(ClockState::Set(10 * MINUTE)));
        bench.clock.jump(1);
        assert_eq!(bench.look(), None);
    }
}
