//! The one place that asks the machine for the time of day. Everything else is given `now`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// A moment, in milliseconds since the Unix epoch. May be negative on a machine whose clock is badly wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// From whole seconds since the epoch.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// This moment plus `duration`, saturating.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whether less than `span` has passed since `earlier`. Not if that is still to come: then the clock was set back, and
    /// when it was is not known.
    pub fn is_within(self, span: Duration, earlier: Self) -> bool {
        earlier <= self && self.since(earlier) < span
    }

    /// As the standard library has it, for date formatting.
    pub fn to_system_time(self) -> SystemTime {
        let millis = Duration::from_millis(self.0.unsigned_abs());
        if self.0 >= 0 { UNIX_EPOCH + millis } else { UNIX_EPOCH - millis }
    }
}

/// Where `now` comes from: the machine, or a test's hand.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clocks.
    #[default]
    System,
    /// Set by a test.
    Manual(Arc<Hands>),
}

/// What a manual clock shows, in milliseconds.
#[derive(Debug, Default)]
pub struct Hands {
    /// Since the epoch.
    wall: AtomicI64,
    /// Since it was made.
    steady: AtomicI64,
}

impl Clock {
    /// A clock that stands still at `now` until [`Clock::advance`] is called.
    pub fn manual(now: Timestamp) -> Self {
        Self::Manual(Arc::new(Hands { wall: AtomicI64::new(now.0), steady: AtomicI64::new(0) }))
    }

    /// Lets time pass on a manual clock; a system clock is left alone.
    pub fn advance(&self, millis: i64) {
        if let Self::Manual(hands) = self {
            hands.steady.fetch_add(millis, Ordering::SeqCst);
        }
        self.jump(millis);
    }

    /// Sets a manual clock to another time of day, without any time passing; a system clock is left alone.
    pub fn jump(&self, millis: i64) {
        if let Self::Manual(hands) = self {
            hands.wall.fetch_add(millis, Ordering::SeqCst);
        }
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => system_now(),
            Self::Manual(hands) => Timestamp(hands.wall.load(Ordering::SeqCst)),
        }
    }

    /// How long it has been running: goes on evenly, whatever is done to the time of day, and also while the machine sleeps.
    pub fn steady(&self) -> Duration {
        match self {
            Self::System => since_boot(),
            Self::Manual(hands) => {
                Duration::from_millis(u64::try_from(hands.steady.load(Ordering::SeqCst)).unwrap_or_default())
            }
        }
    }
}

/// Not of the standard library's `Instant`, which stands still during a suspend: that would look like a clock that was set.
fn since_boot() -> Duration {
    let passed = clock_gettime(ClockId::Boottime);
    let part = |part: i64| u64::try_from(part).unwrap_or_default();
    Duration::from_secs(part(passed.tv_sec)).saturating_add(Duration::from_nanos(part(passed.tv_nsec)))
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the machine for the time of day")]
fn system_now() -> Timestamp {
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    };
    Timestamp(millis)
}
