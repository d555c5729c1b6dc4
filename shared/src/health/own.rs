//! What a node knows of itself, and what it tells its probers: up or down, and no more to strangers.
//!
//! A worker beats while its runtime runs; one that does not for some seconds leaves the connections that the kernel gives it
//! unanswered: that is down and not overloaded, however it came to it. A listener that only fails to accept serves nobody,
//! either. A failing origin is none of this: it is a fact of a site (`sites`).

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::overload::{Load, Overload};

/// What a node tells its probers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// It serves.
    Up,
    /// It serves, but not as many as ask.
    Overloaded,
    /// It is shutting down.
    Leaving,
    /// An operator holds its PoP down.
    Drained,
    /// One of its workers stands still.
    Stalled,
    /// One of its listeners only fails.
    Deaf,
}

impl Says {
    /// Whether it says that it is well.
    pub fn is_up(self) -> bool {
        self == Self::Up
    }

    /// As in JSON, metrics and logs.
    pub fn token(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Overloaded => "overloaded",
            Self::Leaving => "leaving",
            Self::Drained => "drained",
            Self::Stalled => "stalled",
            Self::Deaf => "deaf",
        }
    }
}

/// What decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnFacts {
    /// It is shutting down.
    pub leaving: bool,
    /// An operator holds its PoP down.
    pub drained: bool,
    /// Since the last beat of the worker that is worst off.
    pub still: Duration,
    /// For how long the listener that is worst off has only failed.
    pub deaf: Duration,
    /// More asks than it can take.
    pub overloaded: bool,
}

/// A worker that stands still for longer is no longer waited for.
const STILL_MAX: Duration = Duration::from_secs(5);
/// A listener that only failed for longer is no longer waited for.
const DEAF_MAX: Duration = Duration::from_secs(5);
/// A failure that another follows within it is of the same row. A listener tries again at once while there is something
/// to take in; one that does not is idle, and may be well again.
const DEAF_GAP: Duration = Duration::from_secs(1);
/// Between two beats; what is longer is lag.
pub const BEAT: Duration = Duration::from_millis(250);

/// What a node of which this is so tells its probers: pure.
pub fn says(facts: &OwnFacts) -> Says {
    match facts {
        OwnFacts { leaving: true, .. } => Says::Leaving,
        OwnFacts { drained: true, .. } => Says::Drained,
        OwnFacts { still, .. } if *still > STILL_MAX => Says::Stalled,
        OwnFacts { deaf, .. } if *deaf > DEAF_MAX => Says::Deaf,
        OwnFacts { overloaded: true, .. } => Says::Overloaded,
        OwnFacts { .. } => Says::Up,
    }
}

/// What is measured of a node, by its workers and listeners themselves.
#[derive(Debug)]
pub struct Vitals {
    begun: Instant,
    pulses: Mutex<Vec<Weak<Beats>>>,
    listeners: Mutex<Vec<Weak<Failures>>>,
    connections: AtomicUsize,
    connections_max: usize,
    overload: Mutex<Overload>,
    overloaded: AtomicBool,
}

impl Vitals {
    /// Of a node that may have so many client connections open.
    pub fn new(connections_max: usize) -> Self {
        Self {
            begun: Instant::now(),
            pulses: Mutex::default(),
            listeners: Mutex::default(),
            connections: AtomicUsize::new(0),
            connections_max,
            overload: Mutex::default(),
            overloaded: AtomicBool::new(false),
        }
    }

    /// A worker begins; it ends when what is returned is dropped.
    pub fn worker(&self) -> Pulse {
        let beats = Arc::new(Beats { last: AtomicU64::new(self.now()), lag: AtomicU64::new(0) });
        join(&self.pulses, &beats);
        Pulse { begun: self.begun, beats }
    }

    /// A listener begins; it ends when what is returned is dropped.
    pub fn listener(&self) -> Ear {
        let failures = Arc::new(Failures { first: AtomicU64::new(NEVER), last: AtomicU64::new(NEVER) });
        join(&self.listeners, &failures);
        Ear { begun: self.begun, failures }
    }

    /// A client's connection begins; it ends when what is returned is dropped.
    pub fn connection(self: &Arc<Self>) -> Open {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    /// A client came for whom there is no room.
    pub fn full(&self) {
        self.overload.lock().fill();
        if !self.overloaded.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                connections = self.connections_max,
                "no room for more clients: so this node tells its probers"
            );
        }
    }

    /// How things stand; whether the node leaves or is drained is not known here.
    pub fn facts(&self) -> OwnFacts {
        let now = self.now();
        let pulses = self.pulses.lock();
        let last = pulses.iter().filter_map(Weak::upgrade).map(|beats| beats.last.load(Ordering::Relaxed)).min();
        let listeners = self.listeners.lock();
        let deaf = listeners.iter().filter_map(Weak::upgrade).map(|failures| failures.span(now)).max();
        OwnFacts {
            still: Duration::from_millis(now.saturating_sub(last.unwrap_or(NEVER))),
            deaf: deaf.unwrap_or_default(),
            overloaded: self.overloaded.load(Ordering::Relaxed),
            ..OwnFacts::default()
        }
    }

    /// Looks how loaded the node is; to be called once a second.
    pub(super) fn sample(&self) {
        let now = self.now();
        let late = |beats: Arc<Beats>| {
            let waiting = now.saturating_sub(beats.last.load(Ordering::Relaxed)).saturating_sub(millis(BEAT));
            beats.lag.swap(0, Ordering::Relaxed).max(waiting)
        };
        let lag = self.pulses.lock().iter().filter_map(Weak::upgrade).map(late).max().unwrap_or(0);
        let load = Load {
            connections: self.connections.load(Ordering::Relaxed),
            connections_max: self.connections_max,
            lag: Duration::from_millis(lag),
        };
        let is = self.overload.lock().step(&load);
        if self.overloaded.swap(is, Ordering::Relaxed) != is {
            tracing::warn!(overloaded = is, ?load, "this node's load changed what it tells its probers");
        }
    }

    fn now(&self) -> u64 {
        millis(self.begun.elapsed())
    }
}

/// Those that ended make room.
fn join<T>(list: &Mutex<Vec<Weak<T>>>, new: &Arc<T>) {
    let mut list = list.lock();
    list.retain(|known| known.strong_count() > 0);
    list.push(Arc::downgrade(new));
}

/// No failure, as far as is known.
const NEVER: u64 = u64::MAX;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Debug)]
struct Beats {
    /// The last one, in milliseconds since the vitals began.
    last: AtomicU64,
    /// The most by which one was late since the last sample, in milliseconds.
    lag: AtomicU64,
}

/// One worker's heart.
#[derive(Debug)]
pub struct Pulse {
    begun: Instant,
    beats: Arc<Beats>,
}

impl Pulse {
    /// Beats for as long as it is polled. Runs on the worker's own runtime.
    pub async fn beat(self) {
        loop {
            let wanted = Instant::now() + BEAT;
            tokio::time::sleep_until(wanted).await;
            let now = Instant::now();
            self.beats.last.store(millis(now - self.begun), Ordering::Relaxed);
            self.beats.lag.fetch_max(millis(now.saturating_duration_since(wanted)), Ordering::Relaxed);
        }
    }

    /// Once, for a thread without a runtime: at least every [`BEAT`].
    pub fn beats(&self) {
        let now = millis(self.begun.elapsed());
        let late = now.saturating_sub(self.beats.last.load(Ordering::Relaxed)).saturating_sub(millis(BEAT));
        self.beats.last.store(now, Ordering::Relaxed);
        if late > 0 {
            self.beats.lag.fetch_max(late, Ordering::Relaxed);
        }
    }
}

/// A listener's failures in a row, in milliseconds since the vitals began. Only its own ear writes them.
#[derive(Debug)]
struct Failures {
    first: AtomicU64,
    last: AtomicU64,
}

impl Failures {
    /// From the first to the last of those that go on at `now`.
    fn span(&self, now: u64) -> Duration {
        // In this order: what is read of the first is as new as the last, or newer, and then the span is too short.
        let last = self.last.load(Ordering::Acquire);
        let first = self.first.load(Ordering::Acquire);
        let goes_on = last != NEVER && now.saturating_sub(last) <= millis(DEAF_GAP);
        Duration::from_millis(if goes_on { last.saturating_sub(first) } else { 0 })
    }
}

/// What a listener tells of itself.
#[derive(Debug)]
pub struct Ear {
    begun: Instant,
    failures: Arc<Failures>,
}

impl Ear {
    /// It took something in, or could have.
    pub fn hears(&self) {
        // Nearly always it did before: no write to what all threads read.
        if self.failures.last.load(Ordering::Relaxed) != NEVER {
            self.failures.first.store(NEVER, Ordering::Release);
            self.failures.last.store(NEVER, Ordering::Release);
        }
    }

    /// It could not.
    pub fn fails(&self) {
        let now = millis(self.begun.elapsed());
        let last = self.failures.last.load(Ordering::Relaxed);
        if last == NEVER || now.saturating_sub(last) > millis(DEAF_GAP) {
            self.failures.first.store(now, Ordering::Release);
        }
        self.failures.last.store(now, Ordering::Release);
    }
}

/// One client's connection.
#[derive(Debug)]
pub struct Open(Arc<Vitals>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told() {
        let (short, long) = (Duration::from_secs(5), Duration::from_millis(5001));
        let well = OwnFacts::default();
        let rows = [
            ("well", well, Says::Up),
            ("overloaded", OwnFacts { overloaded: true, ..well }, Says::Overloaded),
            ("a pause", OwnFacts { still: short, deaf: short, ..well }, Says::Up),
            ("deaf", OwnFacts { deaf: long, overloaded: true, ..well }, Says::Deaf),
            ("stalled", OwnFacts { still: long, deaf: long, ..well }, Says::Stalled),
            ("drained", OwnFacts { drained: true, still: long, ..well }, Says::Drained),
            ("leaving", OwnFacts { leaving: true, drained: true, ..well }, Says::Leaving),
        ];
        for (name, facts, wanted) in rows {
            assert_eq!(says(&facts), wanted, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_stands_still() {
        let vitals = Vitals::new(10);
        assert_eq!(says(&vitals.facts()), Says::Up, "without any worker");
        let (first, second) = (vitals.worker(), vitals.worker());
        let beating = tokio::spawn(first.beat());
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(says(&vitals.facts()), Says::Up);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(says(&vitals.facts()), Says::Stalled, "the second never beat");
        drop(second);
        assert_eq!(says(&vitals.facts()), Says::Up, "it ended");
        beating.abort();
        assert!(beating.await.is_err());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(says(&vitals.facts()), Says::Up, "this one, too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_that_only_fails() {
        let vitals = Vitals::new(10);
        let (ear, other) = (vitals.listener(), vitals.listener());
        other.hears();
        for _ in 0..11 {
            tokio::time::advance(Duration::from_secs(1)).await;
            ear.fails();
        }
        assert_eq!(vitals.facts().deaf, Duration::from_secs(10), "from the first failure in a row");
        assert_eq!(says(&vitals.facts()), Says::Deaf);
        ear.hears();
        assert_eq!(says(&vitals.facts()), Says::Up);
        ear.fails();
        assert_eq!(vitals.facts().deaf, Duration::ZERO, "a new row");
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_that_is_idle_after_a_failure() {
        let vitals = Vitals::new(10);
        let ear = vitals.listener();
        for _ in 0..10 {
            ear.fails();
            tokio::time::advance(Duration::from_secs(60)).await;
            assert_eq!(says(&vitals.facts()), Says::Up, "nobody came since");
            ear.fails();
            assert_eq!(says(&vitals.facts()), Says::Up, "one a minute is no row");
        }
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(1)).await;
            ear.fails();
        }
        assert_eq!(says(&vitals.facts()), Says::Deaf);
        tokio::time::advance(Duration::from_millis(1001)).await;
        assert_eq!(says(&vitals.facts()), Says::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn overload_by_connections() {
        let vitals = Arc::new(Vitals::new(4));
        let open: Vec<Open> = (0..4).map(|_| vitals.connection()).collect();
        for _ in 0..10 {
            vitals.sample();
        }
        assert_eq!(says(&vitals.facts()), Says::Overloaded);
        drop(open);
        for _ in 0..20 {
            vitals.sample();
        }
        assert_eq!(says(&vitals.facts()), Says::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn no_room_is_told_at_once() {
        let vitals = Vitals::new(4);
        vitals.full();
        assert_eq!(says(&vitals.facts()), Says::Overloaded);
        vitals.sample();
        assert_eq!(says(&vitals.facts()), Says::Overloaded, "though there is room again");
        for _ in 0..20 {
            vitals.sample();
        }
        assert_eq!(says(&vitals.facts()), Says::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_idles_is_not_late() {
        let vitals = Vitals::new(4);
        let pulse = vitals.worker();
        vitals.full();
        for _ in 0..20 {
            // A thread is never woken on the dot.
            for _ in 0..4 {
                tokio::time::advance(BEAT + Duration::from_millis(20)).await;
                pulse.beats();
            }
            tokio::time::advance(Duration::from_millis(200)).await;
            vitals.sample();
        }
        assert_eq!(says(&vitals.facts()), Says::Up, "overloaded once is not for ever");
        for _ in 0..5 {
            tokio::time::advance(BEAT + Duration::from_secs(1)).await;
            pulse.beats();
            vitals.sample();
        }
        assert_eq!(says(&vitals.facts()), Says::Overloaded, "late by a second each time, though it beat just now");
    }

    #[tokio::test(start_paused = true)]
    async fn overload_by_lag() {
        let vitals = Vitals::new(4);
        let _worker = vitals.worker();
        for _ in 0..5 {
            tokio::time::advance(Duration::from_millis(800)).await;
            vitals.sample();
        }
        assert!(!vitals.facts().overloaded, "late for four samples only");
        tokio::time::advance(Duration::from_millis(800)).await;
        vitals.sample();
        assert!(vitals.facts().overloaded);
    }
}
