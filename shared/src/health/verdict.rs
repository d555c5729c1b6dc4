//! From raw probe results to UP or DOWN: pure.
//!
//! ```text
//!            first good                fall bad in a row
//! Unknown ---------------> Up  -------------------------> Down
//!    |                      ^ <-------------------------   ^
//!    |                        need good ones in a row      |
//!    `-----------------------------------------------------'
//!                      fall bad in a row
//! ```
//!
//! What comes and goes is worth less than what is gone: clients follow each change. So coming back gets harder with
//! each fall: `need` is `rise`, doubled for each fall within `flap_window` but the first, and `rise_max` at most. It gets
//! easier again by itself, as falls become older than the window. A fall that was announced is none of these: who stops for
//! an upgrade, or is held by an operator, does not flap.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::config::Health;

/// What the probes of one target amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Too few results. Unknown is not down.
    Unknown,
    /// Well.
    Up,
    /// Out.
    Down,
}

/// What one probe says of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// It is well.
    Good,
    /// It is not.
    Bad,
    /// It is not, and that was to be expected.
    Announced,
}

/// How many results decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Good ones until a target that is down is up, at least 1.
    pub rise: u32,
    /// Bad ones until a target that is up is down, at least 1.
    pub fall: u32,
    /// Falls within it double `rise`.
    pub flap_window: Duration,
    /// Good ones that are needed at most, at least `rise`.
    pub rise_max: u32,
}

impl From<&Health> for Limits {
    fn from(health: &Health) -> Self {
        let Health { rise, fall, flap_window, rise_max, .. } = *health;
        Self { rise, fall, flap_window, rise_max }
    }
}

/// The counters of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    limits: Limits,
    verdict: Verdict,
    /// Results in a row that speak against the verdict.
    against: u32,
    /// One of these was announced.
    is_announced: bool,
    /// When it fell, the newest last.
    falls: VecDeque<Timestamp>,
}

impl Machine {
    /// More falls make no difference: `rise` doubled so often is beyond any limit.
    const FALLS_MAX: usize = 16;

    /// A machine that knows nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, verdict: Verdict::Unknown, against: 0, is_announced: false, falls: VecDeque::new() }
    }

    /// The same state under other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The present verdict.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether results in a row speak against the verdict, or there is none.
    pub fn is_undecided(&self) -> bool {
        self.against > 0 || self.verdict == Verdict::Unknown
    }

    /// Good results in a row that bring a target that is down back.
    pub fn need(&self, now: Timestamp) -> u32 {
        let Limits { rise, flap_window, rise_max, .. } = self.limits;
        let recent = self.falls.iter().filter(|fall| now.is_within(flap_window, **fall)).count();
        let doublings = u32::try_from(recent.saturating_sub(1)).unwrap_or(u32::MAX);
        rise.saturating_mul(2_u32.saturating_pow(doublings)).min(rise_max)
    }

    /// Takes in one result and returns the verdict after it.
    pub fn step(&mut self, probed: Probed, now: Timestamp) -> Verdict {
        let good = probed == Probed::Good;
        let (limit, other) = match (self.verdict, good) {
            (Verdict::Up, true) | (Verdict::Down, false) => {
                self.against = 0;
                self.is_announced = false;
                return self.verdict;
            }
            (Verdict::Unknown, true) => (1, Verdict::Up),
            (Verdict::Down, true) => (self.need(now), Verdict::Up),
            (Verdict::Unknown | Verdict::Up, false) => (self.limits.fall, Verdict::Down),
        };
        self.against += 1;
        self.is_announced |= probed == Probed::Announced;
        if self.against >= limit {
            self.against = 0;
            self.verdict = other;
            let is_announced = std::mem::take(&mut self.is_announced);
            if other == Verdict::Down && !is_announced {
                self.falls.push_back(now);
                if self.falls.len() > Self::FALLS_MAX {
                    self.falls.pop_front();
                }
            }
        }
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { rise: 2, fall: 3, flap_window: Duration::from_secs(100), rise_max: 10 };

    /// `+` is a good probe, `-` a bad one, `a` an announced one, a second after the other; `.` is a minute without any.
    fn run(results: &str) -> (Machine, Timestamp) {
        let mut machine = Machine::new(LIMITS);
        let mut now = Timestamp(0);
        for result in results.chars() {
            match result {
                '.' => now = now.plus(Duration::from_secs(60)),
                result => {
                    let probed = match result {
                        '+' => Probed::Good,
                        'a' => Probed::Announced,
                        _ => Probed::Bad,
                    };
                    machine.step(probed, now);
                    now = now.plus(Duration::from_secs(1));
                }
            }
        }
        (machine, now)
    }

    #[test]
    fn table() {
        use Verdict::{Down, Unknown, Up};
        let rows = [
            ("one good probe is enough at first", "+", Up),
            ("one bad probe decides nothing", "-", Unknown),
            ("two bad probes decide nothing", "--", Unknown),
            ("fall bad probes from unknown", "---", Down),
            ("fall bad probes from up", "+---", Down),
            ("bad ones must be in a row", "+--+--", Up),
            ("rise good ones", "---++", Up),
            ("good ones must be in a row", "---+-+", Down),
            ("the second fall within the window needs twice as many", "---++---+++", Down),
            ("so many", "---++---++++", Up),
            ("the third needs four times as many", "---++---++++---+++++++", Down),
            ("so many, in a row", "---++---++++---++++++++", Up),
            ("at most rise_max", "---++---++++---++++++++---+++++++++", Down),
            ("that many", "---++---++++---++++++++---++++++++++", Up),
            ("a fall before the window does not count", "---++..---++", Up),
            ("an announced fall is one, too", "+aaa", Down),
            ("an announced fall is no flapping", "+---++aaa++", Up),
            ("nor are many", "+aaa++aaa++aaa++", Up),
            ("who announced it and then was silent", "+---++a--++", Up),
            ("what was announced before it was well is forgotten", "+---++a+---++", Down),
            ("while it is down falls grow older, too", "---++---+..++", Up),
        ];
        for (name, results, wanted) in rows {
            assert_eq!(run(results).0.verdict(), wanted, "{name}");
        }
    }

    #[test]
    fn undecided() {
        let rows = [("", true), ("+", false), ("+-", true), ("+-+", false), ("---", false), ("---+", true)];
        for (results, wanted) in rows {
            assert_eq!(run(results).0.is_undecided(), wanted, "{results}");
        }
    }

    #[test]
    fn without_a_window_nothing_is_held_down() {
        let mut machine = Machine::new(Limits { flap_window: Duration::ZERO, ..LIMITS });
        for _ in 0..20 {
            for (probed, wanted) in [(Probed::Bad, 3), (Probed::Good, 2)] {
                (0..wanted).for_each(|_| _ = machine.step(probed, Timestamp(0)));
                assert_eq!(machine.verdict(), if probed == Probed::Good { Verdict::Up } else { Verdict::Down });
            }
        }
    }

    proptest! {
        #[test]
        fn enough_alike_results_always_decide(results in "[+.a-]{0,80}") {
            prop_assert_eq!(run(&format!("{results}---")).0.verdict(), Verdict::Down);
            prop_assert_eq!(run(&format!("{results}++++++++++")).0.verdict(), Verdict::Up);
        }

        #[test]
        fn what_is_needed_is_bounded_and_comes_down(results in "[+.a-]{0,200}") {
            let (machine, now) = run(&results);
            prop_assert!((LIMITS.rise..=LIMITS.rise_max).contains(&machine.need(now)));
            prop_assert_eq!(machine.need(now.plus(LIMITS.flap_window)), LIMITS.rise);
            prop_assert!(machine.falls.len() <= Machine::FALLS_MAX);
        }
    }
}
