//! Response rate limiting: who seems to ask too much over UDP may be somebody whose address is forged, and is then answered
//! less. How much of what a network got is known in a table of fixed size, without locks, for all workers together:
//!
//! ```text
//!   hash of the client's network -> a line of 8 cells, one each for a network and kind of answer
//!   cell:  fingerprint (22 bits) . kind (2) . when all it got is paid for (40 bits, in 1/8 microseconds)
//! ```
//!
//! Each answer moves that moment on by the time that one answer is worth; when it is a second ahead, the network has had
//! its share. (This is the generic cell rate algorithm: as many at once as in a second, then evenly.) A network that has
//! no cell takes the one that is paid for first, so those who ask most keep theirs.

use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::RateLimit;
use siphasher::sip::SipHasher13;

use crate::metrics::LimitedKind;

/// Cells of a line: one cache line of 64 bytes.
const CELLS: usize = 8;
/// The lower bits of a cell, its moment.
const MOMENT_BITS: u32 = 40;
const MOMENT: u64 = (1 << MOMENT_BITS) - 1;
const TICKS_PER_MS: u64 = 8000;
/// So far ahead a cell's moment may be.
const AHEAD_MAX: u64 = 1000 * TICKS_PER_MS;
/// Others may change a cell while it is looked at; then it is looked at again. Whoever changes it that often asks too much.
const TRIES: usize = 4;

/// Who got how much.
#[derive(Debug)]
pub(crate) struct Limiter {
    config: RateLimit,
    lines: Box<[Line]>,
    key: [u8; 16],
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is sent.
    Within,
    /// It would be too much: a few are answered in a way that a forged address gains nothing by.
    Over(Instead),
    /// It is sent although it is too much: limits are being tried out.
    Noted,
}

/// What is done instead of answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instead {
    /// Nothing.
    Drop,
    /// An empty answer that says to come back over TCP, or with a cookie.
    Slip,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; CELLS]);

/// What a look at a line comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The cell at that place becomes this.
    Take(usize, u64),
    /// It would be too much.
    Over,
}

impl Limiter {
    /// An empty table of the configured size; `key` keeps others from choosing networks that share cells.
    pub(crate) fn new(config: &RateLimit, key: [u8; 16]) -> Self {
        let lines = (config.table_size / size_of::<Line>()).max(1);
        Self { config: config.clone(), lines: (0..lines).map(|_| Line::default()).collect(), key }
    }

    /// Whether it is for that config.
    pub(crate) fn is_of(&self, config: &RateLimit) -> bool {
        self.config == *config
    }

    /// Counts an answer of that kind to `client`, unless it is too much. `draw` is any number, another one each time.
    pub(crate) fn judge(&self, client: IpAddr, kind: LimitedKind, now: Timestamp, draw: u64) -> Verdict {
        let Some(rate) = self.rate(kind) else { return Verdict::Within };
        if self.config.exempt.iter().any(|network| network.contains(&client)) {
            return Verdict::Within;
        }
        let hash = self.hash(client);
        // The high bits choose the line, the low ones are the fingerprint.
        let line = (u128::from(hash) * self.lines.len() as u128) >> 64;
        let tag = ((hash << 2) | kind as u64) & ((1 << (64 - MOMENT_BITS)) - 1);
        if take(&self.lines[line as usize], tag, ticks(now), AHEAD_MAX / u64::from(rate.get())) {
            Verdict::Within
        } else if self.config.log_only {
            Verdict::Noted
        } else {
            Verdict::Over(self.instead(draw))
        }
    }

    fn rate(&self, kind: LimitedKind) -> Option<std::num::NonZeroU32> {
        match kind {
            LimitedKind::All => self.config.all,
            LimitedKind::Answers => self.config.answers,
            LimitedKind::Negative => self.config.negative,
            LimitedKind::Errors => self.config.errors,
        }
    }

    /// Chosen by chance, so that clients who take turns all get some.
    fn instead(&self, draw: u64) -> Instead {
        let slips = u64::from(self.config.slip);
        if slips > 0 && self.keyed(&draw.to_ne_bytes()).is_multiple_of(slips) { Instead::Slip } else { Instead::Drop }
    }

    fn hash(&self, client: IpAddr) -> u64 {
        match client {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(u32::from(32 - self.config.v4_prefix)).unwrap_or(0);
                self.keyed(&(v4.to_bits() & mask).to_ne_bytes())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(u32::from(128 - self.config.v6_prefix)).unwrap_or(0);
                self.keyed(&(v6.to_bits() & mask).to_ne_bytes())
            }
        }
    }

    fn keyed(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(bytes);
        hasher.finish()
    }
}

fn ticks(now: Timestamp) -> u64 {
    now.0.cast_unsigned().wrapping_mul(TICKS_PER_MS) & MOMENT
}

/// Takes one answer's worth for `tag`; false when it would be too much.
fn take(line: &Line, tag: u64, now: u64, worth: u64) -> bool {
    for _ in 0..TRIES {
        let cells = std::array::from_fn(|at| line.0[at].load(Ordering::Relaxed));
        let Step::Take(at, new) = step(cells, tag, now, worth) else { return false };
        if line.0[at].compare_exchange(cells[at], new, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return true;
        }
    }
    false
}

/// What one answer to `tag` makes of a line.
fn step(cells: [u64; CELLS], tag: u64, now: u64, worth: u64) -> Step {
    let own = cells.iter().position(|cell| cell >> MOMENT_BITS == tag);
    let (at, ahead) = match own {
        Some(at) => (at, ahead(cells[at], now)),
        None => {
            let at = (0..CELLS).min_by_key(|at| ahead(cells[*at], now)).unwrap_or(0);
            (at, 0)
        }
    };
    let after = ahead + worth;
    if after > AHEAD_MAX { Step::Over } else { Step::Take(at, (tag << MOMENT_BITS) | ((now + after) & MOMENT)) }
}

/// How far a cell's moment is ahead of `now`, which may be a second behind that of another worker. Moments go around in 38
/// hours, and clocks are set: one that is farther ahead is of long ago.
fn ahead(cell: u64, now: u64) -> u64 {
    let ahead = cell.wrapping_sub(now) & MOMENT;
    if ahead > 2 * AHEAD_MAX { 0 } else { ahead }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_800_000_000_000;

    fn config(answers: u32) -> RateLimit {
        RateLimit {
            all: None,
            answers: NonZeroU32::new(answers),
            negative: NonZeroU32::new(2),
            errors: NonZeroU32::new(1),
            slip: 2,
            v4_prefix: 24,
            v6_prefix: 56,
            exempt: vec!["192.0.2.128/25".parse().unwrap()],
            log_only: false,
            table_size: 1 << 20,
        }
    }

    fn limiter(config: &RateLimit) -> Limiter {
        Limiter::new(config, [7; 16])
    }

    /// How many of `count` answers are sent.
    fn sent(limiter: &Limiter, client: &str, kind: LimitedKind, now: i64, count: u64) -> u64 {
        let client = client.parse().unwrap();
        let within = |draw: &u64| limiter.judge(client, kind, Timestamp(now), *draw) == Verdict::Within;
        (0..count).filter(within).count() as u64
    }

    #[test]
    fn a_second_at_once_then_evenly() {
        let limiter = limiter(&config(10));
        let at = |now, count| sent(&limiter, "192.0.2.1", LimitedKind::Answers, START + now, count);
        assert_eq!(at(0, 100), 10);
        assert_eq!(at(99, 100), 0);
        assert_eq!(at(100, 100), 1);
        assert_eq!(at(600, 100), 5);
        assert_eq!(at(1_700, 100), 10, "never more than a second's worth");
        assert_eq!(at(100_000_000, 100), 10);
    }

    #[test]
    fn networks_and_kinds_are_apart() {
        let limiter = limiter(&config(10));
        // (client, kind, answers sent of 100)
        let rows = [
            ("192.0.2.1", LimitedKind::Answers, 10),
            ("192.0.2.77", LimitedKind::Answers, 0),
            ("192.0.2.1", LimitedKind::Negative, 2),
            ("192.0.2.2", LimitedKind::Errors, 1),
            ("192.0.2.1", LimitedKind::All, 100),
            ("192.0.3.1", LimitedKind::Answers, 10),
            ("2001:db8::1", LimitedKind::Answers, 10),
            ("2001:db8:0:ff::1", LimitedKind::Answers, 0),
            ("2001:db8:0:100::1", LimitedKind::Answers, 10),
            ("192.0.2.200", LimitedKind::Answers, 100),
        ];
        for (client, kind, wanted) in rows {
            assert_eq!(sent(&limiter, client, kind, START, 100), wanted, "{client} {kind:?}");
        }
    }

    #[test]
    fn a_clock_that_was_set_limits_nobody_for_long() {
        let limiter = limiter(&config(10));
        let at = |now| sent(&limiter, "192.0.2.1", LimitedKind::Answers, START + now, 100);
        assert_eq!(at(0), 10);
        assert_eq!(at(-3_600_000), 10, "back an hour");
        assert_eq!(at(0), 10, "and forth");
        assert_eq!(at(-500), 0, "back a little: not more than a second is lost");
        assert_eq!(at(510), 5);
    }

    #[test]
    fn every_nth_slips() {
        let limiter = limiter(&RateLimit { slip: 3, ..config(1) });
        let none = Limiter::new(&RateLimit { slip: 0, ..config(1) }, [7; 16]);
        let all = Limiter::new(&RateLimit { slip: 1, ..config(1) }, [7; 16]);
        let slips = |limiter: &Limiter| {
            let client = "192.0.2.1".parse().unwrap();
            let judge = |draw| limiter.judge(client, LimitedKind::Errors, Timestamp(START), draw);
            assert_eq!(judge(0), Verdict::Within);
            (1..3001).filter(|draw| judge(*draw) == Verdict::Over(Instead::Slip)).count()
        };
        assert!((900..1100).contains(&slips(&limiter)), "a third");
        assert_eq!((slips(&none), slips(&all)), (0, 3000));
    }

    #[test]
    fn limits_that_are_tried_out_stop_nothing() {
        let limiter = limiter(&RateLimit { log_only: true, ..config(1) });
        let judge = || limiter.judge("192.0.2.1".parse().unwrap(), LimitedKind::Errors, Timestamp(START), 0);
        assert_eq!([judge(), judge()], [Verdict::Within, Verdict::Noted]);
    }

    #[test]
    fn who_asks_most_keeps_its_cell() {
        let now = ticks(Timestamp(START));
        let cell = |tag: u64, ahead: u64| (tag << MOMENT_BITS) | ((now + ahead) & MOMENT);
        let cells = std::array::from_fn(|at| cell(at as u64 + 1, 1000 * (at as u64 + 1)));
        assert_eq!(step(cells, 99, now, 10), Step::Take(0, cell(99, 10)));
        assert_eq!(step(cells, 3, now, 10), Step::Take(2, cell(3, 3010)));
        assert_eq!(step(cells, 3, now, AHEAD_MAX), Step::Over);
    }

    #[test]
    fn all_threads_count_together() {
        let limiter = limiter(&config(1000));
        let total: u64 = std::thread::scope(|scope| {
            let one = || scope.spawn(|| sent(&limiter, "192.0.2.1", LimitedKind::Answers, START, 5000));
            let threads: Vec<_> = std::iter::repeat_with(one).take(4).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(total, 1000);
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_a_second(rate in 1u32..5000, steps in proptest::collection::vec((0i64..400, 1u64..600), 1..40)) {
            let limiter = limiter(&config(rate));
            let (mut now, mut all) = (START, 0);
            for (later, count) in steps {
                now += later;
                all += sent(&limiter, "192.0.2.1", LimitedKind::Answers, now, count);
                // Intervals are rounded down to 1/8 microseconds.
                let allowed = (now - START + 1000) as f64 / 1000.0 * f64::from(rate) * 1.001 + 1.0;
                prop_assert!(all as f64 <= allowed, "{all} after {} ms", now - START);
            }
        }

        #[test]
        fn any_line_and_moment(cells in any::<[u64; CELLS]>(), tag in 0u64..1 << 24, now in 0..=MOMENT, worth in 1..=AHEAD_MAX) {
            match step(cells, tag, now, worth) {
                Step::Take(at, new) => {
                    prop_assert!(at < CELLS && new >> MOMENT_BITS == tag);
                    prop_assert!(ahead(new, now) >= worth);
                }
                Step::Over => prop_assert!(cells.iter().any(|cell| cell >> MOMENT_BITS == tag)),
            }
        }
    }
}
