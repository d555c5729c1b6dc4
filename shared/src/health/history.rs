//! The last changes of something that is up or down.

use std::collections::VecDeque;

use serde::Serialize;

use crate::clock::Timestamp;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Seconds since the epoch.
    pub at: i64,
    /// Up from then on, or down.
    pub up: bool,
    /// In words.
    pub why: String,
}

/// The last changes, the newest first, and how many there were in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    changes: VecDeque<Change>,
    /// In all, also those that are forgotten.
    pub count: u64,
}

impl History {
    /// Older ones are forgotten.
    pub const KEPT: usize = 16;

    /// Notes a change.
    pub fn note(&mut self, up: bool, why: String, now: Timestamp) {
        self.changes.truncate(Self::KEPT - 1);
        self.changes.push_front(Change { at: now.seconds(), up, why });
        self.count += 1;
    }

    /// When the last one was, in seconds since the epoch.
    pub fn since(&self) -> Option<i64> {
        self.changes.front().map(|change| change.at)
    }

    /// All that are kept, the newest first.
    pub fn list(&self) -> Vec<Change> {
        self.changes.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept() {
        let mut history = History::default();
        assert_eq!(history.since(), None);
        for second in 0..100 {
            history.note(second % 2 == 0, format!("{second}"), Timestamp::from_seconds(second));
        }
        let list = history.list();
        assert_eq!((list.len(), history.count, history.since()), (History::KEPT, 100, Some(99)));
        assert_eq!(list[0], Change { at: 99, up: false, why: "99".to_owned() });
        assert_eq!(list[15].at, 84);
    }
}
