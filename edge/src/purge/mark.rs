//! The latest purges of one scope, hard and soft, and what they say of an answer.

/// How much a purge does to what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It is not used any more.
    Hard,
    /// It counts as stale from now on.
    Soft,
}

/// What the purges in force say of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Alive,
    /// It is stale since that tick, however long its lifetime.
    Soft {
        /// Of the latest soft purge.
        tick: u64,
    },
    /// It must not be used.
    Gone,
}

/// A purge's tick, and whether the log has it. Later ticks are greater, and of one tick the logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(pub(super) u64);

impl Mark {
    pub(super) fn new(tick: u64, logged: bool) -> Self {
        Self(tick << 1 | u64::from(logged))
    }

    pub(super) fn tick(self) -> u64 {
        self.0 >> 1
    }

    /// Whether a record of that tick, which the log has, says nothing that a later one there does not say as well.
    fn supersedes(self, tick: u64) -> bool {
        self.is_logged() && self.tick() > tick
    }

    fn is_logged(self) -> bool {
        self.0 & 1 == 1
    }
}

/// The latest purges of one scope; zero: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) hard: Mark,
    pub(super) soft: Mark,
}

impl Marks {
    pub(super) fn raise(&mut self, mode: Mode, mark: Mark) {
        let own = match mode {
            Mode::Hard => &mut self.hard,
            Mode::Soft => &mut self.soft,
        };
        *own = mark.max(*own);
    }

    /// The later of both, kind by kind.
    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        Self { hard: self.hard.max(other.hard), soft: self.soft.max(other.soft) }
    }

    /// The latest tick.
    pub(super) fn newest(self) -> u64 {
        self.hard.max(self.soft).tick()
    }

    /// What is left without the purges before `oldest`.
    pub(super) fn since(self, oldest: u64) -> Self {
        let kept = |mark: Mark| if mark.tick() < oldest { Mark::default() } else { mark };
        Self { hard: kept(self.hard), soft: kept(self.soft) }
    }

    /// Whether the log may forget a record of this scope.
    pub(super) fn supersede(self, mode: Mode, tick: u64) -> bool {
        match mode {
            Mode::Hard => self.hard.supersedes(tick),
            Mode::Soft => self.soft.supersedes(tick) || self.hard.supersedes(tick),
        }
    }

    /// What they say of an answer whose fetch started at `tick`.
    pub(super) fn verdict(self, tick: u64) -> Verdict {
        if self.hard.tick() >= tick {
            Verdict::Gone
        } else if self.soft.tick() >= tick {
            Verdict::Soft { tick: self.soft.tick() }
        } else {
            Verdict::Alive
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let rows = [
            ("fetched before a hard purge", 10, 0, 9, Verdict::Gone),
            ("at its very tick", 10, 0, 10, Verdict::Gone),
            ("after it", 10, 0, 11, Verdict::Alive),
            ("before a soft one", 0, 10, 9, Verdict::Soft { tick: 10 }),
            ("after that", 0, 10, 11, Verdict::Alive),
            ("between a hard one and a soft one", 10, 20, 15, Verdict::Soft { tick: 20 }),
            ("between a soft one and a hard one", 20, 10, 15, Verdict::Gone),
            ("before both", 20, 30, 5, Verdict::Gone),
        ];
        for (name, hard, soft, tick, wanted) in rows {
            let marks = Marks { hard: Mark::new(hard, true), soft: Mark::new(soft, false) };
            assert_eq!(marks.verdict(tick), wanted, "{name}");
        }
    }

    #[test]
    fn what_the_log_may_forget() {
        let rows = [
            ("the latest one", (10, true), (0, true), Mode::Hard, 10, false),
            ("an earlier one", (11, true), (0, true), Mode::Hard, 10, true),
            ("an earlier one, while the later is not logged", (11, false), (0, true), Mode::Hard, 10, false),
            ("a soft one before a hard one", (11, true), (10, true), Mode::Soft, 10, true),
            ("a soft one after a hard one", (9, true), (10, true), Mode::Soft, 10, false),
            ("a hard one before a soft one", (10, true), (11, true), Mode::Hard, 10, false),
        ];
        for (name, hard, soft, mode, tick, wanted) in rows {
            let marks = Marks { hard: Mark::new(hard.0, hard.1), soft: Mark::new(soft.0, soft.1) };
            assert_eq!(marks.supersede(mode, tick), wanted, "{name}");
        }
        assert!(Mark::new(5, false) < Mark::new(5, true) && Mark::new(5, true) < Mark::new(6, false));
    }
}
