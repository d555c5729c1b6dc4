//! A running fetch as operators see it.

use std::time::Duration;

use super::{Answer, Extent, Fill, FillKey};

/// What a fetch is at, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Whether it is of a URL of `https://`.
    pub https: bool,
    /// Whether it is for requests with Authorization alone.
    pub authorized: bool,
    /// How much of the body was asked for.
    pub extent: Extent,
    /// How far it is.
    pub stage: Stage,
    /// Who waits or reads.
    pub readers: usize,
    /// Its start: purges with a later tick cover it.
    pub tick: u64,
    /// Since its start.
    pub runs_for: Duration,
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The origin was asked.
    Asking,
    /// The body comes.
    Streaming {
        /// Offset of the first byte that comes.
        first: u64,
        /// Bytes of the body so far.
        received: u64,
        /// Bytes in all, when known.
        expected: Option<u64>,
    },
    /// The answer is known, and has no body to wait for.
    Ending,
}

impl Running {
    pub(super) fn of(key: FillKey, fill: &Fill) -> Self {
        let state = fill.state.lock();
        let stage = match &state.answer {
            None => Stage::Asking,
            Some(Answer::Stream(head)) => {
                let first = head.coming.first;
                let expected = head.coming.end.map(|end| end.saturating_sub(first));
                Stage::Streaming { first, received: state.window.end().saturating_sub(first), expected }
            }
            Some(Answer::Confirmed(_) | Answer::StandIn(..) | Answer::Uncacheable(_) | Answer::Failed(_)) => {
                Stage::Ending
            }
        };
        Self {
            https: key.store.is_https(),
            authorized: key.authorized,
            extent: key.extent,
            stage,
            readers: state.following().count(),
            tick: fill.tick,
            runs_for: fill.began.elapsed(),
        }
    }
}
