//! When a node is asked for by more than it can take: pure.
//!
//! A node that says so loses its clients to others, and those may follow. So it says it late and takes it back later
//! still: only when load was heavy for several samples in a row, and until it was light for many; between the two it stays as
//! it was. Once it turns clients away it says so at once.

use std::time::Duration;

/// How loaded the node was in the last second or so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Open client connections.
    pub connections: usize,
    /// As many as there may be.
    pub connections_max: usize,
    /// By how much the worst of the workers was late for its own tasks.
    pub lag: Duration,
}

impl Load {
    const HEAVY_PERCENT: usize = 95;
    const LIGHT_PERCENT: usize = 80;
    const HEAVY_LAG: Duration = Duration::from_secs(1);
    const LIGHT_LAG: Duration = Duration::from_millis(250);

    fn is_heavy(&self) -> bool {
        self.percent() >= Self::HEAVY_PERCENT || self.lag >= Self::HEAVY_LAG
    }

    fn is_light(&self) -> bool {
        self.percent() < Self::LIGHT_PERCENT && self.lag < Self::LIGHT_LAG
    }

    fn percent(&self) -> usize {
        self.connections.saturating_mul(100) / self.connections_max.max(1)
    }
}

/// Whether the node is overloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overload {
    is_on: bool,
    /// Samples in a row against that.
    against: u32,
}

impl Overload {
    const HEAVY_SAMPLES: u32 = 5;
    const LIGHT_SAMPLES: u32 = 15;

    /// There is no room left: that needs no second look.
    pub fn fill(&mut self) {
        *self = Self { is_on: true, against: 0 };
    }

    /// Takes in a sample, and says whether the node is overloaded.
    pub fn step(&mut self, load: &Load) -> bool {
        let (against, wanted) = match self.is_on {
            false => (load.is_heavy(), Self::HEAVY_SAMPLES),
            true => (load.is_light(), Self::LIGHT_SAMPLES),
        };
        self.against = if against { self.against + 1 } else { 0 };
        if self.against >= wanted {
            *self = Self { is_on: !self.is_on, against: 0 };
        }
        self.is_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `f` is full; `h` is heavy by connections, `l` by lag, `m` neither heavy nor light, `.` light.
    fn load(letter: char) -> Load {
        let (connections, lag) = match letter {
            'f' | 'h' => (95, 0),
            'l' => (0, 1000),
            'm' => (80, 0),
            _ => (79, 249),
        };
        Load { connections, connections_max: 100, lag: Duration::from_millis(lag) }
    }

    fn run(letters: &str) -> bool {
        let mut overload = Overload::default();
        let step = |_, letter| {
            if letter == 'f' {
                overload.fill();
            }
            overload.step(&load(letter))
        };
        letters.chars().fold(false, step)
    }

    #[test]
    fn table() {
        const ON: &str = "hhhhh";
        let rows = [
            ("light", ".".repeat(50), false),
            ("heavy for a moment", "hhhh".to_owned(), false),
            ("heavy for long", ON.to_owned(), true),
            ("by lag, too", "hllhh".to_owned(), true),
            ("heavy with a pause", "hhhhmhhhh".to_owned(), false),
            ("what is between changes nothing", format!("{ON}{}", "m".repeat(50)), true),
            ("full for a moment", "f".to_owned(), true),
            ("full a while ago", format!("f{}", ".".repeat(14)), true),
            ("full long ago", format!("f{}", ".".repeat(15)), false),
            ("light for a while", format!("{ON}{}", ".".repeat(14)), true),
            ("light with a pause", format!("{ON}{}m{}", ".".repeat(14), ".".repeat(14)), true),
            ("light for long", format!("{ON}{}", ".".repeat(15)), false),
        ];
        for (name, letters, wanted) in rows {
            assert_eq!(run(&letters), wanted, "{name}");
        }
        let nothing_allowed = Load { connections: 0, connections_max: 0, lag: Duration::ZERO };
        assert!(nothing_allowed.is_light());
    }

    proptest! {
        #[test]
        fn it_does_not_flap(letters in "[hlm.]{0,200}") {
            let mut overload = Overload::default();
            let said: Vec<bool> = letters.chars().map(|letter| overload.step(&load(letter))).collect();
            let changes = said.windows(2).filter(|pair| pair[0] != pair[1]).count();
            prop_assert!(changes <= letters.len().div_ceil(5 + 15) * 2);
        }
    }
}
