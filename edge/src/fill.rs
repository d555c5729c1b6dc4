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
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::key::{StoreKey, UrlId};
use crate::origin::Failure;
use crate::policy::storable::NotStored;
use crate::store::object::{Object, Span};

mod intake;
mod judge;
pub mod reader;
pub mod task;
mod window;

pub use judge::Judge;

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
    /// Names the chunks of what comes.
    pub version: u64,
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

impl Head {
    /// Whether all of the body comes.
    pub fn is_whole(&self) -> bool {
        self.coming.first == 0 && self.coming.end == self.length
    }

    /// What comes, as the place of its chunks.
    pub fn span(&self, end: u64) -> Span {
        Span { first: self.coming.first, end, version: self.version }
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
    /// What the client's Range says; the hash of that and If-Range.
    Range(u64),
    /// The bytes `first..end` that are missing from what is stored.
    Missing {
        /// Offset of the first byte.
        first: u64,
        /// Offset behind the last.
        end: u64,
    },
}

/// One running fetch.
#[derive(Debug)]
pub struct Fill {
    /// Its start: purges with a later tick cover it.
    pub tick: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answer: Option<Answer>,
    window: Window,
    end: Option<Ending>,
    readers: Vec<Option<Following>>,
    /// The fill itself, when it waits for readers to catch up.
    producer: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Complete,
    Broken,
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
        Arc::new(Self { tick, state: Mutex::default() })
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

    fn push(&self, bytes: Bytes) {
        let mut state = self.state.lock();
        state.window.push(bytes);
        state.wake_all();
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

    /// Waits until every reader is less than [`PACE`] behind: the pace of what is not stored.
    fn poll_room(&self, waker: &Waker) -> Poll<()> {
        let mut state = self.state.lock();
        let end = state.window.end();
        let slowest = state.following().map(|reader| reader.position).min().unwrap_or(end);
        state.window.trim(slowest);
        if end.saturating_sub(slowest) > PACE {
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
        for waker in self.readers.iter_mut().flatten().filter_map(|reader| reader.waker.take()) {
            waker.wake();
        }
    }
}

const SHARDS: usize = 32;

/// Bytes that the slowest reader of what is not stored may be behind.
const PACE: u64 = 4 << 20;

/// The fills of a node that run.
#[derive(Debug)]
pub struct Fills {
    /// Those that can be joined.
    shards: [Mutex<HashMap<FillKey, Arc<Fill>>>; SHARDS],
    /// All, also those that nobody joins any more.
    running: AtomicUsize,
    /// The same by URL: what they may still store.
    by_url: [Mutex<HashMap<UrlId, usize>>; SHARDS],
}

impl Default for Fills {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            running: AtomicUsize::new(0),
            by_url: std::array::from_fn(|_| Mutex::default()),
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
    /// Joins the fill under `key` unless a purge `covers` it by its tick; else starts one at `tick()`.
    pub fn join(&self, key: FillKey, covers: impl Fn(u64) -> bool, tick: impl FnOnce() -> u64) -> Joined {
        let mut shard = self.shard(&key).lock();
        if let Some(fill) = shard.get(&key).filter(|fill| !covers(fill.tick)) {
            return Joined::Follower(Reader::new(fill.clone()));
        }
        let fill = Fill::new(tick());
        shard.insert(key, fill.clone());
        self.began(key.url);
        let (unshared, takes) = oneshot::channel();
        Joined::Leader(Reader::new(fill.clone()), Lead { fill, unshared, takes })
    }

    /// Follows the fill under `key`, if one runs that no purge `covers`.
    pub fn follow(&self, key: FillKey, covers: impl Fn(u64) -> bool) -> Option<Reader> {
        let shard = self.shard(&key).lock();
        shard.get(&key).filter(|fill| !covers(fill.tick)).map(|fill| Reader::new(fill.clone()))
    }

    /// A fill that nobody else can join, of what was answered already.
    pub fn lone(&self, url: UrlId, tick: u64) -> (Arc<Fill>, Reader) {
        let fill = Fill::new(tick);
        self.began(url);
        (fill.clone(), Reader::new(fill))
    }

    /// Takes `fill` out if nobody wants it any more; nobody can join it after that.
    fn abandon(&self, key: &FillKey, fill: &Fill) -> bool {
        let mut shard = self.shard(key).lock();
        let unwanted = !fill.is_wanted();
        if unwanted && shard.get(key).is_some_and(|other| std::ptr::eq(other.as_ref(), fill)) {
            shard.remove(key);
        }
        unwanted
    }

    /// Takes `fill` out, unless another has taken its place.
    fn leave(&self, key: &FillKey, fill: &Fill) {
        let mut shard = self.shard(key).lock();
        if shard.get(key).is_some_and(|other| std::ptr::eq(other.as_ref(), fill)) {
            shard.remove(key);
        }
    }

    /// Whether a fetch of that URL runs, which may still store something.
    pub fn run_for(&self, url: UrlId) -> bool {
        self.of_url(url).lock().contains_key(&url)
    }

    /// How many of that URL run.
    pub fn running_for(&self, url: UrlId) -> usize {
        self.of_url(url).lock().get(&url).copied().unwrap_or(0)
    }

    fn began(&self, url: UrlId) {
        self.running.fetch_add(1, Ordering::SeqCst);
        *self.of_url(url).lock().entry(url).or_default() += 1;
    }

    /// A fill is over: what it stores is stored.
    fn ended(&self, url: UrlId) {
        let mut urls = self.of_url(url).lock();
        if let Some(count) = urls.get_mut(&url) {
            *count -= 1;
            if *count == 0 {
                urls.remove(&url);
            }
        }
        drop(urls);
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    fn of_url(&self, url: UrlId) -> &Mutex<HashMap<UrlId, usize>> {
        &self.by_url[url.0 as usize % SHARDS]
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    fn shard(&self, key: &FillKey) -> &Mutex<HashMap<FillKey, Arc<Fill>>> {
        &self.shards[usize::from(key.store.0[0]) % SHARDS]
    }
}
