//! Fetching URLs ahead of requests, on a thread of its own beside the data plane's, so many at once as the config says.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use http::{HeaderMap, Uri};
use nearcast_edge::listener::Phase;
use nearcast_edge::metrics::Outcome;
use nearcast_edge::origin::Origins;
use nearcast_edge::pipeline::prefetch::prefetch;
use nearcast_edge::worker::{Edge, Worker};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::task::TaskTracker;

/// URLs of a call.
pub const URLS_MAX: usize = 10_000;

/// Calls that run at once, each with all its URLs in memory.
const CALLS_MAX: usize = 8;

/// Lines that wait for whoever called.
const LINES_MAX: usize = 64;

/// What to fetch.
#[derive(Debug)]
pub struct Wishes {
    /// At most [`URLS_MAX`], each a site's.
    pub urls: Vec<Uri>,
    /// The fields of each request.
    pub fields: HeaderMap,
    /// The client's address.
    pub client: IpAddr,
    /// How many at once, if the config allows as many.
    pub jobs: usize,
}

/// What came of one URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// As it was given.
    pub url: String,
    /// The same word as for a client's request.
    pub outcome: &'static str,
    /// What a client would have got.
    pub status: Option<u16>,
    /// Bytes of the body that went by.
    pub bytes: u64,
    /// Whether all of the answer is stored now.
    pub stored: bool,
    /// Why the answer was not stored, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_stored: Option<String>,
    /// Why there is no answer, or not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where calls are handed in.
#[derive(Debug)]
pub struct Prefetcher {
    calls: mpsc::Sender<Call>,
    places: Arc<Semaphore>,
}

/// Why a call is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Declined {
    /// As many run as may.
    #[error("too many calls run; try again when one has ended")]
    Busy,
    /// The node is leaving.
    #[error("the node is leaving")]
    Leaving,
}

/// A place among the calls that may run.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Call {
    wishes: Wishes,
    lines: mpsc::Sender<Line>,
    _place: Place,
}

/// Where the thread finds calls.
#[derive(Debug)]
pub(crate) struct Inbox(mpsc::Receiver<Call>);

/// Both ends.
pub(crate) fn desk() -> (Prefetcher, Inbox) {
    let (calls, inbox) = mpsc::channel(CALLS_MAX);
    (Prefetcher { calls, places: Arc::new(Semaphore::new(CALLS_MAX)) }, Inbox(inbox))
}

impl Prefetcher {
    /// A place for a call, before its URLs are read.
    ///
    /// # Errors
    /// When all are taken.
    pub fn place(&self) -> Result<Place, Declined> {
        self.places.clone().try_acquire_owned().map(|_permit| Place { _permit }).map_err(|_| Declined::Busy)
    }

    /// Hands in a call. A line comes for each URL when it is done, in no order. Without whoever takes them no more URLs are
    /// begun; fewer lines than URLs: the node is leaving.
    ///
    /// # Errors
    /// When it is not taken.
    pub fn call(&self, place: Place, wishes: Wishes) -> Result<mpsc::Receiver<Line>, Declined> {
        let (lines, taker) = mpsc::channel(LINES_MAX);
        match self.calls.try_send(Call { wishes, lines, _place: place }) {
            Ok(()) => Ok(taker),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Declined::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Declined::Leaving),
        }
    }
}

/// Starts the thread. It ends when the node closes and what it has begun is done, or when the node ends.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn start(
    edge: Arc<Edge>,
    origins: Origins,
    jobs: usize,
    inbox: Inbox,
    phase: watch::Receiver<Phase>,
) -> std::io::Result<JoinHandle<usize>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        runtime.block_on(serve(edge, origins, jobs, inbox, phase));
        0
    };
    std::thread::Builder::new().name("prefetch".to_owned()).spawn(serve)
}

async fn serve(
    edge: Arc<Edge>,
    origins: Origins,
    jobs: usize,
    Inbox(mut inbox): Inbox,
    mut phase: watch::Receiver<Phase>,
) {
    let fills = TaskTracker::new();
    let worker = Arc::new(Worker { edge, origins, fills: fills.clone() });
    let jobs = Arc::new(Semaphore::new(jobs));
    let mut calls = JoinSet::new();
    let seen = phase.clone();
    loop {
        tokio::select! {
            _ = phase.wait_for(|phase| *phase > Phase::Running) => break,
            Some(ended) = calls.join_next(), if !calls.is_empty() => log(ended),
            call = inbox.recv() => match call {
                Some(call) => drop(calls.spawn(run(call, worker.clone(), jobs.clone(), seen.clone()))),
                None => break,
            },
        }
    }
    inbox.close();
    let done = async {
        while let Some(ended) = calls.join_next().await {
            log(ended);
        }
        // Clients may read what was begun here.
        fills.close();
        fills.wait().await;
    };
    tokio::select! {
        () = done => {}
        _ = phase.wait_for(|phase| *phase == Phase::Ended) => {}
    }
}

fn log(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a prefetch ended by itself");
    }
}

/// One call.
async fn run(call: Call, worker: Arc<Worker>, jobs: Arc<Semaphore>, mut phase: watch::Receiver<Phase>) {
    let Call { wishes: Wishes { urls, fields, client, jobs: own }, lines, _place } = call;
    let fields = Arc::new(fields);
    let own = Arc::new(Semaphore::new(own));
    let mut begun = JoinSet::new();
    for url in urls {
        let turn = async {
            // The call's own first: one that does not take its lines is not in the way of others.
            let own = own.clone().acquire_owned().await;
            (own, jobs.clone().acquire_owned().await)
        };
        let (own, job) = tokio::select! {
            // What has ended is no reason to begin once nobody waits.
            biased;
            _ = phase.wait_for(|phase| *phase > Phase::Running) => break,
            () = lines.closed() => break,
            turn = turn => turn,
        };
        let (worker, fields, lines) = (worker.clone(), fields.clone(), lines.clone());
        begun.spawn(async move {
            let line = fetch(&worker, &url, &fields, client).await;
            drop(job);
            let _caller_gone = lines.send(line).await;
            drop(own);
        });
        while let Some(ended) = begun.try_join_next() {
            log(ended);
        }
    }
    while let Some(ended) = begun.join_next().await {
        log(ended);
    }
}

async fn fetch(worker: &Arc<Worker>, url: &Uri, fields: &HeaderMap, client: IpAddr) -> Line {
    let url_text = url.to_string();
    match prefetch(worker, url, fields, client).await {
        Ok(told) => Line {
            url: url_text,
            outcome: told.outcome.token(),
            status: Some(told.status.as_u16()),
            bytes: told.bytes,
            stored: told.stored,
            not_stored: told.not_stored,
            error: told.error,
        },
        // It was a site's when the call came: a reload has taken the site away.
        Err(not_served) => Line {
            url: url_text,
            outcome: Outcome::Refused.token(),
            status: None,
            bytes: 0,
            stored: false,
            not_stored: None,
            error: Some(not_served.to_string()),
        },
    }
}
