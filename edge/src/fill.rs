//! Fetching an object once, however many ask. A fill is driven by the request that caused it, and becomes a task of its own when that
//! has its answer, or leaves. Readers follow it at their own pace.
//!
//! ```text
//! Asking --> Answer::Stream ------> Complete        readers stream from the window, or from the store behind it
//!    |             `--------------> Broken          an error to every reader, nothing stored
//!    |--> Answer::Confirmed, Answer::StandIn        the origin confirmed what we hold, or failed and it stands in
//!    |--> Answer::Uncacheable                       all waiters go on their own, at once
//!    `--> Answer::Failed
//! ```

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::key::{StoreKey, UrlId};
use crate::metrics::Filled;
use crate::origin::Failure;
use crate::policy::storable::NotStored;
use crate::store::object::{Object, Span};

mod extent;
mod fills;
pub mod holes;
mod intake;
mod judge;
pub mod keep;
pub mod reader;
mod receive;
mod running;
pub mod task;
mod window;

pub use extent::Extent;
pub use fills::{Fills, Joined, Lead, Unshared};
pub use judge::Judge;
pub use running::{Running, Stage};

use window::{KEEP, Window};

/// What came of asking the origin.
#[derive(Debug, Clone)]
pub enum Answer {
    /// An answer that is stored as it comes.
    Stream(Arc<Head>),
    /// What we hold serves: confirmed by the origin.
    Confirmed(Arc<Object>),
    /// What we hold serves though stale: the origin failed, with that status if any.
    StandIn(Arc<Object>, Option<StatusCode>),
    /// The answer must not be shared.
    Uncacheable(NotStored),
    /// There is none.
    Failed(Failure),
}

/// The header of an answer that is being stored.
#[derive(Debug)]
pub struct Head {
    /// All but the body, if that was not there at once; its length counts only when `length` is known.
    pub object: Arc<Object>,
    /// What the client gets whose request this is, when that is more than later ones get.
    pub own: Option<HeaderMap>,
    /// Where it is stored.
    pub key: StoreKey,
    /// Its URL.
    pub url: UrlId,
    /// Bytes of the whole body, when the origin said so.
    pub length: Option<u64>,
    /// The bytes that come: all, or the part that was asked for.
    pub coming: Coming,
    /// Names the chunks of what comes, and says where they are counted from.
    pub place: Place,
    /// What the answer varies on.
    pub vary: Vec<HeaderName>,
    /// What its request selects by.
    pub selecting: Vec<u8>,
}

/// Bytes `first..end` of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coming {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset behind the last, when known.
    pub end: Option<u64>,
}

/// Where the chunks of what comes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Names them.
    pub version: u64,
    /// The offset they are counted from.
    pub base: u64,
    /// From this offset on they are those of a large body. A border of the grid.
    pub large_from: u64,
}

impl Place {
    /// The bytes `first..end` as parts of the body.
    pub fn spans(self, first: u64, end: u64) -> impl Iterator<Item = Span> {
        let Self { version, base, large_from } = self;
        let border = large_from.clamp(first, end);
        let parts = [(first, border, false), (border, end, true)];
        let span = move |(first, end, large)| Span { first, end, base, version, large };
        parts.into_iter().filter(|(first, end, _)| first < end).map(span)
    }

    /// The part that begins at `offset`, as far as it may reach.
    pub fn at(self, offset: u64) -> Span {
        let Self { version, base, large_from } = self;
        let large = offset >= large_from;
        Span { first: offset, end: if large { u64::MAX } else { large_from }, base, version, large }
    }
}

impl Head {
    /// Whether all of the body comes.
    pub fn is_whole(&self) -> bool {
        self.coming.first == 0 && self.coming.end == self.length
    }

    /// Whether it is so large that it is not to drive all else out of memory.
    pub fn is_large(&self) -> bool {
        self.place.large_from <= self.coming.first
    }
}

/// What fills are told apart by: requests with Authorization share only with their like, and so do parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FillKey {
    /// The object.
    pub store: StoreKey,
    /// Its URL.
    pub url: UrlId,
    /// Whether the request had Authorization.
    pub authorized: bool,
    /// How much of it is asked for.
    pub extent: Extent,
}

/// One running fetch.
#[derive(Debug)]
pub struct Fill {
    /// Its start: purges with a later tick cover it.
    pub tick: u64,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answer: Option<Answer>,
    window: Window,
    /// Where the window ended when readers were woken last.
    told: u64,
    end: Option<Ending>,
    /// Mostly one.
    readers: SmallVec<[Option<Following>; 1]>,
    /// How often readers took something.
    moves: u64,
    /// The fill itself, when it waits for readers to catch up.
    producer: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Complete,
    Broken,
    /// Nobody read it any more.
    GivenUp,
    /// Those who read it took nothing for too long; what they lack can be asked for again.
    Paused,
}

/// A reader as the fill sees it.
#[derive(Debug, Default)]
struct Following {
    position: u64,
    /// It held up all others for too long.
    cut_off: bool,
    waker: Option<Waker>,
}

impl Fill {
    fn new(tick: u64) -> Arc<Self> {
        Arc::new(Self { tick, began: Instant::now(), state: Mutex::default() })
    }

    /// What comes, once that is known.
    pub fn head(&self) -> Option<Arc<Head>> {
        match &self.state.lock().answer {
            Some(Answer::Stream(head)) => Some(head.clone()),
            Some(Answer::Confirmed(_) | Answer::StandIn(..) | Answer::Uncacheable(_) | Answer::Failed(_)) | None => {
                None
            }
        }
    }

    /// Whether anyone still waits or reads.
    fn is_wanted(&self) -> bool {
        self.state.lock().following().next().is_some()
    }

    fn answer(&self, answer: Answer) {
        let mut state = self.state.lock();
        if let Answer::Stream(head) = &answer {
            let first = head.coming.first;
            state.window.begin_at(first);
            state.readers.iter_mut().flatten().for_each(|reader| reader.position = first);
        }
        state.answer = Some(answer);
        state.wake_all();
    }

    /// Takes in what came. Readers learn of it when it is worth their while, or at the next [`Fill::tell`].
    fn push(&self, bytes: Bytes) {
        let mut state = self.state.lock();
        state.window.push(bytes);
        if state.window.end() - state.told >= WAKE_EVERY {
            state.wake_all();
        }
    }

    /// Wakes readers if there is news: before waiting for more.
    fn tell(&self) {
        let mut state = self.state.lock();
        if state.told < state.window.end() {
            state.wake_all();
        }
    }

    /// How long readers who wait may be left waiting for more to come than what they have not been told of; `None`: not at all.
    fn pause(&self) -> Option<Duration> {
        let state = self.state.lock();
        let has_news = state.told < state.window.end();
        has_news.then(|| pause(state.waiting())).flatten()
    }

    /// How it ended, for whoever counts.
    fn result(&self) -> Filled {
        let state = self.state.lock();
        match &state.answer {
            Some(Answer::Stream(_)) => match state.end {
                Some(Ending::Complete) => Filled::Complete,
                Some(Ending::GivenUp | Ending::Paused) => Filled::GivenUp,
                Some(Ending::Broken) | None => Filled::Broken,
            },
            Some(Answer::Confirmed(_)) => Filled::Confirmed,
            Some(Answer::StandIn(..)) => Filled::StandIn,
            Some(Answer::Uncacheable(_)) => Filled::Uncacheable,
            Some(Answer::Failed(_)) | None => Filled::Failed,
        }
    }

    /// The bytes of the body that are at hand.
    fn at_hand(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.window.start(), state.window.end())
    }

    /// Lets go of what is stored up to `stored`, but for the newest part.
    fn trim(&self, stored: u64) {
        self.state.lock().window.trim(stored);
    }

    fn finish(&self, ending: Ending) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.end = Some(ending);
            state.wake_all();
        }
    }

    /// Waits until readers are near enough, as `pace` says.
    fn poll_room(&self, pace: Pace, waker: &Waker) -> Poll<()> {
        let mut state = self.state.lock();
        let end = state.window.end();
        let positions = state.following().map(|reader| reader.position);
        let (behind, most) = match pace {
            Pace::Slowest => (positions.min().unwrap_or(end), PACE),
            Pace::Fastest(most) => (positions.max().unwrap_or(end), most),
        };
        if pace == Pace::Slowest {
            state.window.trim(behind);
        }
        if end.saturating_sub(behind) > most {
            state.producer = Some(waker.clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Whether the window has gone past the byte at `offset`.
    fn has_gone_past(&self, offset: u64) -> bool {
        self.state.lock().window.start() > offset
    }

    /// How often readers took something.
    fn moves(&self) -> u64 {
        self.state.lock().moves
    }

    /// Whether a reader has next to nothing left to read.
    fn is_waited_for(&self) -> bool {
        let state = self.state.lock();
        let end = state.window.end();
        state.following().any(|reader| end.saturating_sub(reader.position) <= KEEP / 2)
    }

    /// Breaks off the readers that hold up all others.
    fn cut_off_slowest(&self) {
        let mut state = self.state.lock();
        let end = state.window.end();
        for reader in state.readers.iter_mut().flatten().filter(|reader| end.saturating_sub(reader.position) > PACE) {
            reader.cut_off = true;
        }
        state.wake_all();
    }
}

impl State {
    /// Readers that count: those cut off do not.
    fn following(&self) -> impl Iterator<Item = &Following> {
        self.readers.iter().flatten().filter(|reader| !reader.cut_off)
    }

    /// Readers that wait for news.
    fn waiting(&self) -> usize {
        self.readers.iter().flatten().filter(|reader| reader.waker.is_some()).count()
    }

    /// Wakes whoever waits for news, in one pass.
    fn wake_all(&mut self) {
        // A copy for all is cheaper than a write for each of many.
        if pause(self.waiting()).is_some() {
            self.window.join_from(self.told);
        }
        self.told = self.window.end();
        for waker in self.readers.iter_mut().flatten().filter_map(|reader| reader.waker.take()) {
            waker.wake();
        }
    }
}

/// Bytes that the slowest reader of what is not stored may be behind.
const PACE: u64 = 4 << 20;

/// Bytes that wake readers while more comes: a herd is not woken for each packet.
const WAKE_EVERY: u64 = 64 << 10;

/// How long so many readers are left waiting for more, so that waking them takes but an eighth of the time; `None`: too short for
/// a timer.
fn pause(waiting: usize) -> Option<Duration> {
    /// To wake one, have it read and send takes an eighth of that.
    const EACH: Duration = Duration::from_micros(128);
    const MAX: Duration = Duration::from_millis(64);
    let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
    let pause = EACH.saturating_mul(waiting).min(MAX);
    (pause >= Duration::from_millis(1)).then_some(pause)
}

/// Whom a fetch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Nobody finds in the store what they miss, so all must keep up, more or less.
    Slowest,
    /// Nobody needs it faster than the fastest takes it, who may be so many bytes behind: fewer than the window keeps, for
    /// memory may keep nothing else of a large body. Slower ones find it on disk, or ask again.
    Fastest(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_herd_waits_for_more_and_nobody_else() {
        let rows = [(0, None), (1, None), (7, None), (8, Some(1024)), (100, Some(12_800)), (100_000, Some(64_000))];
        for (waiting, wanted) in rows {
            assert_eq!(pause(waiting), wanted.map(Duration::from_micros), "{waiting}");
        }
    }

    #[test]
    fn a_large_body_of_unknown_length_becomes_large_on_its_way() {
        let place = Place { version: 5, base: 0, large_from: 1 << 20 };
        let spans: Vec<(u64, u64, bool)> =
            place.spans(0, 3 << 20).map(|span| (span.first, span.end, span.large)).collect();
        assert_eq!(spans, [(0, 1 << 20, false), (1 << 20, 3 << 20, true)]);
        assert_eq!(place.spans(0, 9).count(), 1);
        assert_eq!((place.at(9).large, place.at(1 << 20).large), (false, true));
    }
}
