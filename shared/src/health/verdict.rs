//! From raw probe results to UP or DOWN: pure.
//!
//! ```text
//!            first good                fall bad in a row
//! Unknown ---------------> Up  -------------------------> Down
//!    |                      ^ <-------------------------   ^
//!    |                          rise good in a row         |
//!    `-----------------------------------------------------'
//!                      fall bad in a row
//! ```

use serde::Serialize;

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

/// The rise and fall counters of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    rise: u32,
    fall: u32,
    verdict: Verdict,
    /// Results in a row that speak against the verdict.
    against: u32,
}

impl Machine {
    /// A machine that knows nothing yet. `rise` and `fall` are at least 1.
    pub fn new(rise: u32, fall: u32) -> Self {
        Self { rise: rise.max(1), fall: fall.max(1), verdict: Verdict::Unknown, against: 0 }
    }

    /// The same state under other limits.
    #[must_use]
    pub fn with_limits(self, rise: u32, fall: u32) -> Self {
        Self { rise: rise.max(1), fall: fall.max(1), ..self }
    }

    /// The present verdict.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether results in a row speak against the verdict, or there is none.
    pub fn is_undecided(&self) -> bool {
        self.against > 0 || self.verdict == Verdict::Unknown
    }

    /// Takes in one result and returns the verdict after it.
    pub fn step(&mut self, good: bool) -> Verdict {
        let (limit, other) = match (self.verdict, good) {
            (Verdict::Up, true) | (Verdict::Down, false) => {
                self.against = 0;
                return self.verdict;
            }
            (Verdict::Unknown, true) => (1, Verdict::Up),
            (Verdict::Down, true) => (self.rise, Verdict::Up),
            (Verdict::Unknown | Verdict::Up, false) => (self.fall, Verdict::Down),
        };
        self.against += 1;
        if self.against >= limit {
            self.against = 0;
            self.verdict = other;
        }
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `+` is a good probe, `-` a bad one.
    fn run(results: &str) -> Verdict {
        let mut machine = Machine::new(2, 3);
        results.chars().fold(Verdict::Unknown, |_, c| machine.step(c == '+'))
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
        ];
        for (name, results, wanted) in rows {
            assert_eq!(run(results), wanted, "{name}");
        }
    }

    proptest! {
        #[test]
        fn enough_alike_results_always_decide(results in "[+-]{0,40}") {
            prop_assert_eq!(run(&format!("{results}---")), Verdict::Down);
            prop_assert_eq!(run(&format!("{results}++")), Verdict::Up);
        }
    }
}
