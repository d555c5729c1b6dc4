//! The fetches of a node that run: who wants what one of them brings joins it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use http::Response;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use tokio::sync::{Notify, oneshot};

use super::reader::Reader;
use super::running::Running;
use super::{Extent, Fill, FillKey};
use crate::key::{StoreKey, UrlId};
use crate::origin;

const SHARDS: usize = 32;

/// The fills of a node that run.
#[derive(Debug)]
pub struct Fills {
    /// Those that can be joined.
    lanes: [Mutex<Lanes>; SHARDS],
    /// All, also those that nobody joins any more.
    running: AtomicUsize,
    /// The same by URL: what they may still store.
    by_url: [Mutex<HashMap<UrlId, OfUrl, RandomState>>; SHARDS],
    /// Who puts a part to what is stored has the turn, so that no other's is lost.
    turns: [Mutex<()>; SHARDS],
}

/// The fills of one URL.
#[derive(Debug, Default)]
struct OfUrl {
    running: Few<(FillKey, Arc<Fill>)>,
    /// Whoever waits until none runs.
    over: Option<Arc<Notify>>,
}

type Lanes = HashMap<Lane, Few<(Extent, Arc<Fill>)>, RandomState>;

/// Mostly one.
type Few<T> = SmallVec<[T; 1]>;

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
    /// What is stored is not what it was when this request looked: it is to look again.
    Again,
    /// As many run as may.
    Full,
}

/// Where an answer goes that must not be shared.
pub type Unshared = oneshot::Sender<Response<origin::Answer>>;

/// What the leader needs to start the task.
#[derive(Debug)]
pub struct Lead {
    /// The fill to run.
    pub fill: Arc<Fill>,
    /// Where an answer goes that must not be shared.
    pub unshared: Unshared,
    /// The other end of it.
    pub takes: oneshot::Receiver<Response<origin::Answer>>,
}

impl Fills {
    /// Joins a fill that serves `key` unless a purge `covers` it; else starts one at `tick()`, if fewer than `most` run and
    /// nothing `came` since the request looked: a fill stores before it leaves, so that one that has just left is seen by what it
    /// stored.
    pub fn join(
        &self,
        key: FillKey,
        covers: impl Fn(&Fill) -> bool,
        came: impl FnOnce() -> bool,
        tick: impl FnOnce() -> u64,
        most: usize,
    ) -> Joined {
        let mut shard = self.shard(&key).lock();
        let lane = shard.entry(key.into()).or_default();
        let serves = |(extent, fill): &&(Extent, Arc<Fill>)| !covers(fill) && extent.serves(key.extent, fill.at_hand());
        if let Some((_, fill)) = lane.iter().find(serves) {
            return Joined::Follower(Reader::new(fill.clone()));
        }
        let full = self.running() >= most;
        if full || came() {
            if lane.is_empty() {
                shard.remove(&key.into());
            }
            return if full { Joined::Full } else { Joined::Again };
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
    pub(super) fn abandon(&self, key: &FillKey, fill: &Fill) -> bool {
        let mut shard = self.shard(key).lock();
        let unwanted = !fill.is_wanted();
        if unwanted {
            take_out(&mut shard, key, fill);
        }
        unwanted
    }

    /// Takes `fill` out, unless another has taken its place.
    pub(super) fn leave(&self, key: &FillKey, fill: &Fill) {
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
    pub(super) fn ended(&self, url: UrlId, fill: &Fill) {
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

    fn of_url(&self, url: UrlId) -> &Mutex<HashMap<UrlId, OfUrl, RandomState>> {
        &self.by_url[url.0 as usize % SHARDS]
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// The turn to change what is stored under `key` by what is there.
    pub(super) fn turn(&self, key: &StoreKey) -> MutexGuard<'_, ()> {
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
    use super::super::running::Stage;
    use super::*;

    #[test]
    fn whoever_looked_before_a_fill_left_looks_again() {
        let (fills, url) = (Fills::default(), UrlId(1));
        let store = StoreKey::primary(url, false, "", &crate::key::HashSecret([0; 16]));
        let key = FillKey { store, url, authorized: false, extent: Extent::Whole };
        let join = |came| fills.join(key, |_| false, || came, || 9, 8);
        assert!(matches!(join(true), Joined::Again));
        assert_eq!((fills.running(), fills.shard(&key).lock().len()), (0, 0));
        let _leads = join(false);
        assert!(matches!(join(true), Joined::Follower(_)), "what one that runs brings is later still");
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
}
