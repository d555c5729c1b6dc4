//! Fetching an object once, however many ask. A fill is a task of its own: the request that caused it may leave. Readers
//! follow it at their own pace.
//!
//! ```text
//! Asking --> Answer::Stream ------> Complete        readers stream from the window, or from the store behind it
//!    |             `--------------> Broken          an error to every reader, nothing stored
//!    |--> Answer::Confirmed, Answer::StandIn        the origin confirmed what we hold, or failed and it stands in
//!    |--> Answer::Uncacheable                       all waiters go on their own, at once
//!    `--> Answer::Failed
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode};
use hyper::body::Incoming;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::key::{StoreKey, UrlId};
use crate::metrics::Filled;
use crate::origin::Failure;
use crate::policy::storable::NotStored;
use crate::store::object::{Object, Span};

pub mod holes;
mod intake;
mod judge;
pub mod reader;
mod receive;
mod running;
pub mod task;
mod window;

pub use judge::Judge;
pub use running::{Running, Stage};

use reader::Reader;
use window::Window;

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
    /// All but the body; its length counts only when `length` is known.
    pub object: Object,
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

/// How much of a body is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Bytes `first..end` of we do not know what, up to the borders of chunks.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset behind the last; `None`: to the end.
        end: Option<u64>,
        /// The hash of the client's If-Range, which decides whether a part comes at all; 0: there is none.
        condition: u64,
    },
    /// What the client's Range says, in its own words: its last bytes. The hash of that and If-Range.
    Own(u64),
    /// The bytes `first..end` that are missing from what is stored.
    Missing {
        /// Offset of the first byte.
        first: u64,
        /// Offset behind the last.
        end: u64,
    },
}

/// A request waits at a fetch of more for the bytes it wants if they are at most so many bytes away.
const NEAR: u64 = 4 << 20;

impl Extent {
    /// Whether a fetch of this brings what `wanted` is after, and soon, with bytes `from..reached` of the body at hand. Only
    /// the first of what is missing must come: the rest is asked for later.
    fn serves(self, wanted: Self, (from, reached): (u64, u64)) -> bool {
        // It may not have begun.
        let near = reached.max(self.first()).saturating_add(NEAR);
        let is_near = |at: u64| at <= near;
        // What has gone through already would have to come from the store, which does not have what is missing.
        let still_comes = |at: u64| from <= at && is_near(at);
        match (self, wanted) {
            (Self::Whole, Self::Part { first, .. }) => is_near(first),
            (Self::Whole, Self::Missing { first, .. }) => still_comes(first),
            (Self::Whole, Self::Own(_)) => true,
            (Self::Part { first: 0, end: None, condition: 0 }, Self::Whole) => true,
            (
                Self::Part { first, end, condition },
                Self::Part { first: wanted, end: wanted_end, condition: wanted_condition },
            ) => {
                let covers = end.is_none_or(|end| wanted_end.is_some_and(|wanted| wanted <= end));
                condition == wanted_condition && first <= wanted && covers && is_near(wanted)
            }
            (Self::Missing { first, end }, Self::Missing { first: wanted, .. }) => {
                (first..end).contains(&wanted) && still_comes(wanted)
            }
            (own, wanted) => own == wanted,
        }
    }

    /// Offset of the first byte, as far as it is known.
    fn first(self) -> u64 {
        match self {
            Self::Whole | Self::Own(_) => 0,
            Self::Part { first, .. } | Self::Missing { first, .. } => first,
        }
    }
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
    readers: Vec<Option<Following>>,
    /// The fill itself, when it waits for readers to catch up.
    producer: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Complete,
    Broken,
    /// Nobody read it any more.
    GivenUp,
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

    /// How it ended, for whoever counts.
    fn result(&self) -> Filled {
        let state = self.state.lock();
        match &state.answer {
            Some(Answer::Stream(_)) => match state.end {
                Some(Ending::Complete) => Filled::Complete,
                Some(Ending::GivenUp) => Filled::GivenUp,
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

    /// Wakes whoever waits for news, in one pass.
    fn wake_all(&mut self) {
        self.told = self.window.end();
        for waker in self.readers.iter_mut().flatten().filter_map(|reader| reader.waker.take()) {
            waker.wake();
        }
    }
}

const SHARDS: usize = 32;

/// Bytes that the slowest reader of what is not stored may be behind.
const PACE: u64 = 4 << 20;

/// Bytes that wake readers while more comes: a herd is not woken for each packet.
const WAKE_EVERY: u64 = 64 << 10;

/// Whom a fetch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Nobody finds in the store what they miss, so all must keep up, more or less.
    Slowest,
    /// Nobody needs it faster than the fastest takes it, who may be so many bytes behind: fewer than the window keeps, for
    /// memory may keep nothing else of a large body. Slower ones find it on disk, or ask again.
    Fastest(u64),
}

/// The fills of a node that run.
#[derive(Debug)]
pub struct Fills {
    /// Those that can be joined.
    lanes: [Mutex<Lanes>; SHARDS],
    /// All, also those that nobody joins any more.
    running: AtomicUsize,
    /// The same by URL: what they may still store.
    by_url: [Mutex<HashMap<UrlId, OfUrl>>; SHARDS],
    /// Who puts a part to what is stored has the turn, so that no other's is lost.
    turns: [Mutex<()>; SHARDS],
}

/// The fills of one URL.
#[derive(Debug, Default)]
struct OfUrl {
    running: Vec<(FillKey, Arc<Fill>)>,
    /// Whoever waits until none runs.
    over: Option<Arc<Notify>>,
}

type Lanes = HashMap<Lane, Vec<(Extent, Arc<Fill>)>>;

/// Fills that may stand in for one another, as far as they bring the bytes that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Lane {
    store: StoreKey,
    authorized: bool,
}

impl From<FillKey> for Lane {
    fn from(key: FillKey) -> Self {
        Self { store: key.store, authorized: key.authorized }
    }
}

impl Default for Fills {
    fn default() -> Self {
        Self {
            lanes: std::array::from_fn(|_| Mutex::default()),
            running: AtomicUsize::new(0),
            by_url: std::array::from_fn(|_| Mutex::default()),
            turns: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

/// A place at a fill.
#[derive(Debug)]
pub enum Joined {
    /// This request starts the fill, and takes an answer that must not be shared.
    Leader(Reader, Lead),
    /// This request follows one that runs.
    Follower(Reader),
    /// As many run as may.
    Full,
}

/// Where an answer goes that must not be shared.
pub type Unshared = oneshot::Sender<Response<Incoming>>;

/// What the leader needs to start the task.
#[derive(Debug)]
pub struct Lead {
    /// The fill to run.
    pub fill: Arc<Fill>,
    /// Where an answer goes that must not be shared.
    pub unshared: Unshared,
    /// The other end of it.
    pub takes: oneshot::Receiver<Response<Incoming>>,
}

impl Fills {
    /// Joins a fill that serves `key` unless a purge `covers` it by its tick; else starts one at `tick()`, if fewer than
    /// `most` run.
    pub fn join(&self, key: FillKey, covers: impl Fn(u64) -> bool, tick: impl FnOnce() -> u64, most: usize) -> Joined {
        let mut shard = self.shard(&key).lock();
        let lane = shard.entry(key.into()).or_default();
        let serves =
            |(extent, fill): &&(Extent, Arc<Fill>)| !covers(fill.tick) && extent.serves(key.extent, fill.at_hand());
        if let Some((_, fill)) = lane.iter().find(serves) {
            return Joined::Follower(Reader::new(fill.clone()));
        }
        if self.running() >= most {
            if lane.is_empty() {
                shard.remove(&key.into());
            }
            return Joined::Full;
        }
        let fill = Fill::new(tick());
        // One that a purge covers is joined by nobody any more.
        lane.retain(|(extent, _)| *extent != key.extent);
        lane.push((key.extent, fill.clone()));
        self.began(key, &fill);
        let (unshared, takes) = oneshot::channel();
        Joined::Leader(Reader::new(fill.clone()), Lead { fill, unshared, takes })
    }

    /// A fill that nobody else can join, of what was answered already.
    pub fn lone(&self, key: FillKey, tick: u64) -> (Arc<Fill>, Reader) {
        let fill = Fill::new(tick);
        self.began(key, &fill);
        (fill.clone(), Reader::new(fill))
    }

    /// Takes `fill` out if nobody wants it any more; nobody can join it after that.
    fn abandon(&self, key: &FillKey, fill: &Fill) -> bool {
        let mut shard = self.shard(key).lock();
        let unwanted = !fill.is_wanted();
        if unwanted {
            take_out(&mut shard, key, fill);
        }
        unwanted
    }

    /// Takes `fill` out, unless another has taken its place.
    fn leave(&self, key: &FillKey, fill: &Fill) {
        take_out(&mut self.shard(key).lock(), key, fill);
    }

    /// Whether a fetch of that URL runs, which may still store something.
    pub fn run_for(&self, url: UrlId) -> bool {
        self.of_url(url).lock().contains_key(&url)
    }

    /// How many of that URL run.
    pub fn running_for(&self, url: UrlId) -> usize {
        self.of_url(url).lock().get(&url).map_or(0, |of_url| of_url.running.len())
    }

    /// Waits until no fetch of that URL runs: what they store is stored.
    pub async fn over_for(&self, url: UrlId) {
        let over = {
            let mut urls = self.of_url(url).lock();
            let Some(of_url) = urls.get_mut(&url) else { return };
            // From here on it hears of the end.
            of_url.over.get_or_insert_default().clone().notified_owned()
        };
        over.await;
    }

    /// What runs for that URL, oldest first.
    pub fn list(&self, url: UrlId) -> Vec<Running> {
        let running = self.of_url(url).lock().get(&url).map(|of_url| of_url.running.clone()).unwrap_or_default();
        running.iter().map(|(key, fill)| Running::of(*key, fill)).collect()
    }

    fn began(&self, key: FillKey, fill: &Arc<Fill>) {
        self.running.fetch_add(1, Ordering::SeqCst);
        self.of_url(key.url).lock().entry(key.url).or_default().running.push((key, fill.clone()));
    }

    /// A fill is over: what it stores is stored.
    fn ended(&self, url: UrlId, fill: &Fill) {
        let mut urls = self.of_url(url).lock();
        if let Entry::Occupied(mut of_url) = urls.entry(url) {
            of_url.get_mut().running.retain(|(_, other)| !std::ptr::eq(other.as_ref(), fill));
            if of_url.get().running.is_empty() {
                of_url.remove().over.iter().for_each(|over| over.notify_waiters());
            }
        }
        drop(urls);
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    fn of_url(&self, url: UrlId) -> &Mutex<HashMap<UrlId, OfUrl>> {
        &self.by_url[url.0 as usize % SHARDS]
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    fn turn(&self, key: &StoreKey) -> MutexGuard<'_, ()> {
        self.turns[usize::from(key.0[0]) % SHARDS].lock()
    }

    fn shard(&self, key: &FillKey) -> &Mutex<Lanes> {
        &self.lanes[usize::from(key.store.0[0]) % SHARDS]
    }
}

fn take_out(shard: &mut Lanes, key: &FillKey, fill: &Fill) {
    let Entry::Occupied(mut lane) = shard.entry((*key).into()) else { return };
    lane.get_mut().retain(|(_, other)| !std::ptr::eq(other.as_ref(), fill));
    if lane.get().is_empty() {
        lane.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_fetch_serves_which_request() {
        const MIB: u64 = 1 << 20;
        let part = |first, end, condition| Extent::Part { first, end, condition };
        let missing = |first, end| Extent::Missing { first, end };
        let rows = [
            ("the same", Extent::Whole, Extent::Whole, (0, 0), true),
            ("a part of what comes whole", Extent::Whole, part(0, Some(MIB), 0), (0, 0), true),
            ("a part that comes later", Extent::Whole, part(90 * MIB, Some(91 * MIB), 0), (0, 80 * MIB), false),
            ("a part that has come", Extent::Whole, part(MIB, Some(2 * MIB), 0), (0, 80 * MIB), true),
            ("a missing part of what comes whole", Extent::Whole, missing(MIB, 2 * MIB), (0, 0), true),
            ("the last bytes of what comes whole", Extent::Whole, Extent::Own(1), (0, 0), true),
            ("all, where all was asked for as a part", part(0, None, 0), Extent::Whole, (0, 0), true),
            ("all, of what comes under a condition", part(0, None, 7), Extent::Whole, (0, 0), false),
            ("all, where the end alone comes", part(MIB, None, 0), Extent::Whole, (0, 0), false),
            ("a smaller part", part(0, Some(2 * MIB), 0), part(MIB, Some(2 * MIB), 0), (0, 0), true),
            ("a part of all from there", part(0, None, 0), part(MIB, Some(2 * MIB), 0), (0, 0), true),
            ("all from there, where a part comes", part(0, Some(MIB), 0), part(0, None, 0), (0, 0), false),
            ("a part that reaches further", part(0, Some(2 * MIB), 0), part(MIB, Some(3 * MIB), 0), (0, 0), false),
            ("another condition", part(0, Some(2 * MIB), 0), part(0, Some(2 * MIB), 7), (0, 0), false),
            ("a hole that reaches further", missing(0, 2 * MIB), missing(MIB, 9 * MIB), (0, 0), true),
            ("a hole behind it", missing(0, 2 * MIB), missing(2 * MIB, 3 * MIB), (0, 0), false),
            ("a hole and a cold part", missing(0, 2 * MIB), part(0, Some(MIB), 0), (0, 0), false),
            ("all, where a hole is filled", missing(0, 2 * MIB), Extent::Whole, (0, 0), false),
            ("other last bytes", Extent::Own(1), Extent::Own(2), (0, 0), false),
            ("a hole that has gone through", Extent::Whole, missing(MIB, 2 * MIB), (79 * MIB, 80 * MIB), false),
            ("a hole that is at hand", Extent::Whole, missing(79 * MIB, 90 * MIB), (79 * MIB, 80 * MIB), true),
            (
                "a hole that another hole's fetch has gone through",
                missing(0, 9 * MIB),
                missing(0, MIB),
                (MIB, 2 * MIB),
                false,
            ),
            (
                "the same far hole, before it comes",
                missing(90 * MIB, 91 * MIB),
                missing(90 * MIB, 91 * MIB),
                (0, 0),
                true,
            ),
            ("the same far part, before it comes", part(90 * MIB, None, 0), part(90 * MIB, None, 0), (0, 0), true),
        ];
        for (name, running, wanted, at_hand, serves) in rows {
            assert_eq!(running.serves(wanted, at_hand), serves, "{name}");
        }
    }

    #[tokio::test]
    async fn whoever_waits_for_the_end_of_all_fetches_of_a_url_hears_of_it() {
        let fills = Fills::default();
        let (url, other) = (UrlId(1), UrlId(2));
        let start = |url| {
            let store = StoreKey::primary(url, false, "", &crate::key::HashSecret([0; 16]));
            fills.lone(FillKey { store, url, authorized: false, extent: Extent::Whole }, 9).0
        };
        let (first, second, third) = (start(url), start(url), start(other));
        fills.over_for(UrlId(3)).await;
        assert_eq!((fills.list(url).len(), fills.list(url)[0].stage), (2, Stage::Asking));
        let mut over = std::pin::pin!(fills.over_for(url));
        assert!(futures_util::poll!(over.as_mut()).is_pending());
        fills.ended(other, &third);
        fills.ended(url, &first);
        assert!(futures_util::poll!(over.as_mut()).is_pending());
        fills.ended(url, &second);
        assert!(futures_util::poll!(over.as_mut()).is_ready());
        assert_eq!((fills.run_for(url), fills.running()), (false, 0));
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
