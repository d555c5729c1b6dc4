//! One thing that is probed, and what is known of it.

use std::sync::Arc;
use std::time::Duration;

use super::history::History;
use super::judge::TargetFacts;
use super::sites::SiteHash;
use super::verdict::{Machine, Probed, Verdict};
use crate::clock::Timestamp;
use crate::config::Health;
use crate::pop;

/// A target as the board numbers it. Each reload gives new numbers, so that no late result counts for what is asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TargetId(pub(super) u64);

/// What one probe came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Well, or why not, in words.
    pub result: Result<(), String>,
    /// Well, but its node says that it is overloaded.
    pub overloaded: bool,
    /// Not well, as its node itself says: it is on its way out, or an operator holds its PoP down.
    pub leaving: bool,
    /// Sites whose origin its node does not reach, sorted.
    pub unreached: Vec<SiteHash>,
    /// From connecting to the end of the answer.
    pub took: Duration,
}

impl Report {
    /// A result without anything more to tell.
    pub fn plain(result: Result<(), String>, took: Duration) -> Self {
        Self { result, overloaded: false, leaving: false, unreached: Vec::new(), took }
    }
}

#[derive(Debug)]
pub(super) struct Target {
    pub(super) id: TargetId,
    pub(super) asked: pop::Target,
    pub(super) machine: Machine,
    /// The last result in words.
    pub(super) last: Option<String>,
    pub(super) took: Option<Duration>,
    pub(super) history: History,
    pub(super) overloaded: bool,
    unreached: Arc<[SiteHash]>,
}

impl Target {
    pub(super) fn new(id: TargetId, asked: &pop::Target, settings: &Health) -> Self {
        Self {
            id,
            asked: asked.clone(),
            machine: Machine::new(settings.into()),
            last: None,
            took: None,
            history: History::default(),
            overloaded: false,
            unreached: Arc::default(),
        }
    }

    /// The same thing, asked in another way.
    pub(super) fn asked_as(&self, id: TargetId, asked: &pop::Target, settings: &Health) -> Self {
        Self {
            id,
            asked: asked.clone(),
            machine: self.machine.clone().with_limits(settings.into()),
            last: self.last.clone(),
            took: self.took,
            history: self.history.clone(),
            overloaded: self.overloaded,
            unreached: self.unreached.clone(),
        }
    }

    pub(super) fn facts(&self) -> TargetFacts {
        TargetFacts { verdict: self.machine.verdict(), overloaded: self.overloaded }
    }

    /// `is_held`: an operator holds its PoP in a state.
    pub(super) fn take_in(&mut self, report: &Report, pop: &str, is_held: bool, now: Timestamp) {
        let before = self.machine.verdict();
        let after = match (&report.result, report.leaving) {
            (Ok(()), _) => self.machine.step(Probed::Good, now),
            // The operator's own word comes back: it says nothing of how its node is.
            (Err(_), true) if is_held => before,
            (Err(_), leaving) if leaving || is_held => self.machine.step(Probed::Announced, now),
            (Err(_), _) => self.machine.step(Probed::Bad, now),
        };
        let words = if report.overloaded { "overloaded" } else { "ok" };
        let words = report.result.as_ref().err().cloned().unwrap_or_else(|| words.to_owned());
        if before != after {
            tracing::info!(pop, target = %self.asked, ?before, ?after, cause = words, "health verdict changed");
            self.history.note(after == Verdict::Up, words.clone(), now);
        }
        self.last = Some(words);
        self.took = Some(report.took);
        // Who cannot be asked may still be what it was.
        if report.result.is_ok() {
            self.overloaded = report.overloaded;
            if *self.unreached != *report.unreached {
                self.unreached = report.unreached.as_slice().into();
            }
        }
    }
}

/// The sites whose origin none of those that are up reaches.
pub(super) fn unreached(targets: &[Target]) -> Arc<[SiteHash]> {
    let mut up = targets.iter().filter(|target| target.machine.verdict() == Verdict::Up);
    let Some(first) = up.next() else { return Arc::default() };
    let others: Vec<&Target> = up.collect();
    if others.is_empty() {
        return first.unreached.clone();
    }
    let by_all = |site: &&SiteHash| others.iter().all(|other| other.unreached.binary_search(site).is_ok());
    first.unreached.iter().filter(by_all).copied().collect()
}
