//! Counters that threads of UDP add to without getting in one another's way.
//!
//! A number that two cores write to travels between them at each query, which costs more than the query's lookup. So each
//! has many stripes in cache lines of their own: one for each thread of UDP, and one for all others. What a
//! thread has for itself it adds to without a locked instruction.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::{Atomic, Counter as Plain};

/// A counter of the DNS plane.
pub(crate) type Counter = Plain<u64, Striped>;

/// Threads beyond share the stripe of all others, which is as right.
const STRIPES: usize = 32;
/// The stripe that many threads add to.
const SHARED: usize = 0;

/// Stripes in use, a bit each.
static TAKEN: AtomicU64 = AtomicU64::new(1 << SHARED);

thread_local! {
    static OWN: Cell<usize> = const { Cell::new(SHARED) };
}

/// That this thread has stripes of its own, until it is dropped, on this thread.
#[derive(Debug)]
pub(crate) struct Lane {
    stripe: usize,
    /// It is about this thread only.
    _here: std::marker::PhantomData<*const ()>,
}

impl Lane {
    /// For a thread that counts a lot.
    pub(crate) fn take() -> Self {
        let free = |taken: u64| Some(taken.trailing_ones() as usize).filter(|stripe| *stripe < STRIPES);
        let with_one_more = |taken| Some(taken | 1 << free(taken)?);
        // What who had the stripe before has written is seen from here on.
        let before = TAKEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, with_one_more);
        let stripe = before.ok().and_then(free).unwrap_or(SHARED);
        OWN.set(stripe);
        Self { stripe, _here: std::marker::PhantomData }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        OWN.set(SHARED);
        if self.stripe != SHARED {
            TAKEN.fetch_and(!(1 << self.stripe), Ordering::Release);
        }
    }
}

/// A number in parts.
#[derive(Debug)]
pub(crate) struct Striped([Stripe; STRIPES]);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

impl Default for Striped {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Stripe::default()))
    }
}

impl Atomic<u64> for Striped {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    /// What it returns is of one stripe, and nobody looks at it.
    fn inc_by(&self, by: u64) -> u64 {
        let stripe = OWN.get();
        let Stripe(part) = &self.0[stripe];
        if stripe == SHARED {
            return part.fetch_add(by, Ordering::Relaxed);
        }
        let before = part.load(Ordering::Relaxed);
        part.store(before.wrapping_add(by), Ordering::Relaxed);
        before
    }

    fn get(&self) -> u64 {
        self.0.iter().map(|Stripe(part)| part.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_threads_with_lanes_and_without() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            // More than there are stripes for, so that some share.
            for thread in 0..STRIPES + 8 {
                let counter = &counter;
                scope.spawn(move || {
                    let _lane = (thread % 4 > 0).then(Lane::take);
                    (0..1000).for_each(|_| _ = counter.inc());
                    counter.inc_by(5);
                });
            }
        });
        assert_eq!(counter.get(), (STRIPES as u64 + 8) * 1005);
    }

    #[test]
    fn a_lane_is_given_back() {
        // More often than there are stripes.
        for _ in 0..3 * STRIPES {
            let lane = Lane::take();
            assert_eq!(OWN.get(), lane.stripe);
            drop(lane);
            assert_eq!(OWN.get(), SHARED);
        }
        let held: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| Lane::take().stripe)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(held.iter().all(|stripe| *stripe < STRIPES));
    }
}
