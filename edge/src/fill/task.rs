//! The task that runs a fill.

use std::borrow::Cow;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use nearcast_shared::clock::Timestamp;
use tokio::runtime::Handle;

use super::judge::{Judge, Kept};
use super::reader::Reader;
use super::receive::Unfinished;
use super::{Answer, Coming, Ending, Extent, Fill, FillKey, Head, Unshared};
use crate::body::RequestBody;
use crate::headers;
use crate::key::{Address, StoreKey, UrlId};
use crate::origin::{self, Ask, Failure};
use crate::policy::directives::RequestDirectives;
use crate::policy::freshness::{By, Exchange};
use crate::policy::reuse::{Failing, Reuse};
use crate::policy::storable::NotStored;
use crate::policy::{range, validator};
use crate::store::object::{Base, Body, INLINE_MAX, Object, Variant};
use crate::variant;
use crate::view::{Site, View};
use crate::worker::Worker;

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it is called among the fills.
    pub key: FillKey,
    /// Whose it is.
    pub site: Arc<Site>,
    /// Whether the client came over TLS.
    pub https: bool,
    /// The host asked for, without port.
    pub host: String,
    /// Path and query, as they are keyed.
    pub target: String,
    /// What else of the request is keyed.
    pub parts: String,
    /// Path and query that the origin is asked for.
    pub sent_target: String,
    /// The URL's id.
    pub url: UrlId,
    /// The fields for the origin, by which answers are selected, too.
    pub headers: Arc<HeaderMap>,
    /// What is stored under that key and may be confirmed, completed, or stand in.
    pub stored: Option<Arc<Object>>,
    /// The URL's stored answers, when they vary: the origin may confirm any of them instead.
    pub base: Option<Arc<Base>>,
    /// The bytes that the request needs of what is missing; of no use to others.
    pub needed: (u64, u64),
    /// Whether to carry on though nobody waits: a refresh in the background.
    pub detached: bool,
}

impl Plan {
    /// The URL's other stored answers.
    pub(super) fn others(&self) -> impl Iterator<Item = &Variant> {
        self.base.iter().flat_map(|base| &base.variants).filter(|other| other.key != self.key.store)
    }

    pub(super) fn address(&self) -> Address<'_> {
        Address { site: &self.site.name, https: self.https, host: &self.host, target: &self.target, parts: &self.parts }
    }
}

/// Starts the fill on this worker. Whatever becomes of the task, readers learn of it and the fill's place is freed.
pub fn start(worker: &Arc<Worker>, view: Arc<View>, plan: Plan, fill: Arc<Fill>, unshared: Unshared) {
    let seat = Seat::new(worker, &plan, fill);
    worker.fills.spawn(run(seat, view, plan, unshared));
}

/// The same, driven by the request that caused it as long as that waits for the answer: most fills are over by then, so that nothing is
/// handed from task to task.
pub fn lead(worker: &Arc<Worker>, view: Arc<View>, plan: Plan, fill: Arc<Fill>, unshared: Unshared) -> Led {
    let seat = Seat::new(worker, &plan, fill);
    Led { runs: Some(Box::pin(worker.fills.track_future(run(seat, view, plan, unshared)))) }
}

/// A fill that is driven by its first reader. It goes on as a task of its own when that has its answer, or leaves.
pub struct Led {
    /// `None`: it is over.
    runs: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Led {
    /// Waits for what comes of asking the origin.
    pub async fn answer(&mut self, reader: &Reader) -> Answer {
        poll_fn(|cx| {
            // One that panics has answered all who wait, and is not gone on with; nor does it end its leader's connection.
            if let Some(mut runs) = self.runs.take()
                && let Ok(Poll::Pending) = catch_unwind(AssertUnwindSafe(|| runs.as_mut().poll(cx)))
            {
                self.runs = Some(runs);
            }
            // Whatever brings the answer wakes the fill, and it is polled here.
            reader.answered().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        // Without a runtime the node has ended.
        if let (Some(runs), Ok(runtime)) = (self.runs.take(), Handle::try_current()) {
            runtime.spawn(runs);
        }
    }
}

/// Takes in an answer that came already, to a request that was not a fill's. `Err`: it may not be stored for the URL.
///
/// # Errors
/// The answer itself: it is the request's alone.
pub fn adopt(
    worker: &Arc<Worker>,
    view: Arc<View>,
    plan: Plan,
    fill: Arc<Fill>,
    (answer, exchange): Fetched,
) -> Result<Arc<Head>, Box<Response<origin::Answer>>> {
    let seat = Seat::new(worker, &plan, fill);
    let task = Task { worker, view: &view, plan: &plan, fill: &seat.fill };
    // "Responses to POST requests are only cacheable when they include explicit freshness information" (RFC 9110
    // section 9.3.3).
    // What it varies on is not brought into the form that a GET would be selected by.
    let explicit =
        |head: &Head| matches!(head.object.lifetime.by, By::SMaxage | By::MaxAge | By::Expires) && head.vary.is_empty();
    let head = task.head(&answer, exchange).and_then(|head| explicit(&head).then_some(head).ok_or(NotStored::Method));
    let head = match head {
        Ok(head) => head,
        Err(reason) => {
            seat.fill.answer(Answer::Uncacheable(reason));
            return Err(Box::new(answer));
        }
    };
    let head = Arc::new(head);
    seat.fill.answer(Answer::Stream(head.clone()));
    let coming = head.clone();
    worker.fills.spawn(async move {
        let task = Task { worker: &seat.worker, view: &view, plan: &plan, fill: &seat.fill };
        let ending = task.received(answer, &coming).await;
        seat.fill.finish(ending);
    });
    Ok(head)
}

async fn run(seat: Seat, view: Arc<View>, plan: Plan, unshared: Unshared) {
    let task = Task { worker: &seat.worker, view: &view, plan: &plan, fill: &seat.fill };
    let Some((answer, head)) = task.ask(unshared).await else { return };
    let ending = task.received(answer, &head).await;
    seat.fill.finish(ending);
}

/// Frees the fill's place on every way out, also when the task is dropped or panics.
struct Seat {
    worker: Arc<Worker>,
    site: Arc<Site>,
    key: FillKey,
    fill: Arc<Fill>,
}

impl Seat {
    fn new(worker: &Arc<Worker>, plan: &Plan, fill: Arc<Fill>) -> Self {
        Self { worker: worker.clone(), site: plan.site.clone(), key: plan.key, fill }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.edge.fills.leave(&self.key, &self.fill);
        let unanswered = self.fill.state.lock().answer.is_none();
        if unanswered {
            self.fill.answer(Answer::Failed(Failure::Broken));
        }
        self.fill.finish(Ending::Broken);
        self.site.metrics.filled(self.fill.result());
        self.worker.edge.fills.ended(self.key.url, &self.fill);
    }
}

/// How the origin is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// For all of it.
    Plain,
    /// Whether what is stored still holds, else for all of it.
    Conditional,
    /// The same, but for a part.
    Part { first: u64, end: Option<u64> },
    /// The same, but for the part that the client wants, in its own words.
    ClientsRange,
    /// For the part that is missing.
    Missing { first: u64, end: u64 },
}

/// An answer and when it came.
pub type Fetched = (Response<origin::Answer>, Exchange);

pub(super) struct Task<'a> {
    pub(super) worker: &'a Worker,
    pub(super) view: &'a View,
    pub(super) plan: &'a Plan,
    pub(super) fill: &'a Fill,
}

impl Task<'_> {
    /// Asks the origin and publishes the answer. `Some`: a body is to be received.
    async fn ask(&self, unshared: Unshared) -> Option<(Response<origin::Answer>, Arc<Head>)> {
        let mode = match self.plan.key.extent {
            Extent::Whole => Mode::Conditional,
            Extent::Part { first, end, .. } => Mode::Part { first, end },
            Extent::Own(_) => Mode::ClientsRange,
            Extent::Missing { first, end } if self.plan.stored.is_some() => Mode::Missing { first, end },
            Extent::Missing { .. } => Mode::Plain,
        };
        let (answer, exchange) = match self.fetch(mode).await {
            Ok(fetched) => fetched,
            Err(failure) => {
                let now = self.worker.edge.clock.now();
                let stand_in = failing(failure).and_then(|failing| self.stand_in(failing, None, now));
                self.fill.answer(stand_in.unwrap_or(Answer::Failed(failure)));
                return None;
            }
        };
        if matches!(answer.status().as_u16(), 500 | 502..=504)
            && let Some(stand_in) = self.stand_in(Failing::Error, Some(answer.status()), exchange.response_time)
        {
            self.fill.answer(stand_in);
            return None;
        }
        let again = match answer.status() {
            StatusCode::NOT_MODIFIED => match self.confirmed(answer.headers(), exchange).await {
                Some(object) => {
                    self.fill.answer(Answer::Confirmed(object));
                    return None;
                }
                // A 304 about something else (RFC 9111 section 4.3.4), or one after which what is stored may not be
                // shared any more.
                None => true,
            },
            StatusCode::PARTIAL_CONTENT if matches!(mode, Mode::Missing { .. }) => !self.completes(&answer, exchange),
            StatusCode::RANGE_NOT_SATISFIABLE => matches!(mode, Mode::Missing { .. }),
            _ => false,
        };
        if !again {
            return self.judge(answer, exchange, unshared).await;
        }
        match self.fetch(Mode::Plain).await {
            Ok((answer, exchange)) => self.judge(answer, exchange, unshared).await,
            Err(failure) => {
                self.fill.answer(Answer::Failed(failure));
                None
            }
        }
    }

    /// Receives the body, and says how that ended.
    async fn received(&self, answer: Response<origin::Answer>, head: &Head) -> Ending {
        match self.receive(answer, head).await {
            Ok(()) => Ending::Complete,
            Err(unfinished) => {
                tracing::debug!(url = %self.plan.address(), reason = unfinished.reason(), "fetch given up");
                // What came is sent before the end is known: hyper would close the connection without it.
                self.fill.tell();
                tokio::task::yield_now().await;
                match unfinished {
                    Unfinished::Unread => Ending::GivenUp,
                    Unfinished::Untaken => Ending::Paused,
                    Unfinished::Broken(_) => Ending::Broken,
                }
            }
        }
    }

    async fn fetch(&self, mode: Mode) -> Result<Fetched, Failure> {
        // A fill is everybody's, whatever its first client wanted.
        let mut fields = self.unconditional();
        let stored = self.plan.stored.as_ref().map(|stored| stored.original_headers());
        let conditional = matches!(mode, Mode::Conditional | Mode::Part { .. } | Mode::ClientsRange) && {
            // A tag of another variant would answer with all of that.
            let others = self.plan.others().filter(|_| mode == Mode::Conditional);
            let tags: Vec<HeaderValue> = others.filter_map(|other| other.tag.clone()).collect();
            (stored.is_some() || !tags.is_empty())
                && validator::make_conditional(fields.to_mut(), stored.as_ref(), &tags)
        };
        match mode {
            Mode::Plain | Mode::Conditional => {}
            Mode::Part { first, end } => {
                let fields = fields.to_mut();
                fields.insert(RANGE, range::bytes(first, end));
                fields.extend(self.plan.headers.get(IF_RANGE).cloned().map(|value| (IF_RANGE, value)));
            }
            Mode::ClientsRange => {
                for name in [RANGE, IF_RANGE] {
                    fields.to_mut().extend(self.plan.headers.get(&name).cloned().map(|value| (name, value)));
                }
            }
            Mode::Missing { first, end } => {
                let fields = fields.to_mut();
                let whole = self.plan.stored.as_ref().map_or(0, |stored| stored.length);
                fields.insert(RANGE, range::bytes(first, (end < whole).then_some(end)));
                let now = self.worker.edge.clock.now();
                let validator = stored.as_ref().and_then(|stored| validator::for_if_range(stored, now));
                fields.extend(validator.map(|validator| (IF_RANGE, validator)));
            }
        }
        self.send(&fields, conditional, !matches!(mode, Mode::Plain | Mode::Conditional)).await
    }

    /// The request's fields without what makes it one for a part, or for what has changed.
    pub(super) fn unconditional(&self) -> Cow<'_, HeaderMap> {
        let mut fields = Cow::Borrowed(&*self.plan.headers);
        for name in [RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, IF_NONE_MATCH, IF_MODIFIED_SINCE] {
            if fields.contains_key(&name) {
                fields.to_mut().remove(name);
            }
        }
        fields
    }

    /// Asks with these fields. `conditional`: a 304 may come; `partial`: a part may.
    pub(super) async fn send(&self, fields: &HeaderMap, conditional: bool, partial: bool) -> Result<Fetched, Failure> {
        let ask =
            Ask { method: Method::GET, target: &self.plan.sent_target, client_host: &self.plan.host, headers: fields };
        let request_time = self.worker.edge.clock.now();
        let answer = self.worker.origins.ask(&self.plan.site, &ask, RequestBody::Empty).await?;
        let response_time = self.worker.edge.clock.now();
        let unasked = match answer.status() {
            // Nobody asked whether: there is nothing it could be about.
            StatusCode::NOT_MODIFIED => !conditional,
            StatusCode::PARTIAL_CONTENT => !partial,
            _ => false,
        };
        if unasked { Err(Failure::Broken) } else { Ok((answer, Exchange { request_time, response_time })) }
    }

    /// What is stored, when it may stand in for an origin that fails.
    fn stand_in(&self, failing: Failing, received: Option<StatusCode>, now: Timestamp) -> Option<Answer> {
        let alive = |object: &&Arc<Object>| !self.worker.edge.is_purged(&self.plan.site.name, self.plan.url, object);
        let whole_or_range = !matches!(self.plan.key.extent, Extent::Missing { .. });
        let stored = self.plan.stored.as_ref().filter(alive).filter(|_| whole_or_range)?;
        let standing = self.worker.edge.standing(&self.plan.site, self.plan.url, stored, now);
        standing
            .stands_in(failing, &RequestDirectives::parse(&self.plan.headers), self.view.stale_max)
            .then(|| Answer::StandIn(stored.clone(), received))
    }

    /// Whether a part is of the body that is stored, and brings what is missing of it.
    fn completes(&self, answer: &Response<origin::Answer>, exchange: Exchange) -> bool {
        let (Extent::Missing { .. }, Some(stored)) = (self.plan.key.extent, &self.plan.stored) else {
            return false;
        };
        let (first, end) = self.plan.needed;
        range::received(answer.headers()).is_some_and(|(from, to, whole)| {
            from <= first && end <= to && stored.is_of_one_body_with(whole, answer.headers(), exchange.response_time)
        })
    }

    /// Decides whether the answer is shared and stored, and says so.
    async fn judge(
        &self,
        mut answer: Response<origin::Answer>,
        exchange: Exchange,
        unshared: Unshared,
    ) -> Option<(Response<origin::Answer>, Arc<Head>)> {
        match self.head(&answer, exchange) {
            Ok(head) => {
                let head = Arc::new(self.with_body_at_hand(head, answer.body_mut()).await);
                let (edge, now) = (&self.worker.edge, exchange.response_time);
                let standing = edge.standing(&self.plan.site, self.plan.url, &head.object, now);
                if standing.reuse(&RequestDirectives::default()) != Reuse::Fresh {
                    // It serves nobody who comes from now on.
                    self.leave();
                }
                self.fill.answer(Answer::Stream(head.clone()));
                if let Body::Inline(bytes) = &head.object.body {
                    self.fill.push(bytes.clone());
                }
                Some((answer, head))
            }
            Err(reason) => {
                if says_much_of_the_url(reason, answer.status()) {
                    self.remember_uncacheable(reason, answer.status(), exchange.response_time);
                }
                // The waiters must find the note before they go on.
                let _leader_gone = unshared.send(answer);
                self.fill.answer(Answer::Uncacheable(reason));
                None
            }
        }
    }

    /// A small body that came with its header is within the object from the beginning: nobody reads it piece by piece.
    async fn with_body_at_hand(&self, mut head: Head, body: &mut origin::Answer) -> Head {
        let Some(length) = head.length.filter(|length| head.is_whole() && *length <= INLINE_MAX) else { return head };
        // It is at most as long as an inline body may be.
        let Some(bytes) = body.all_at_hand(length as usize).await else { return head };
        self.plan.site.metrics.fetched.inc_by(length);
        Arc::make_mut(&mut head.object).body = Body::Inline(bytes);
        head
    }

    /// Remembers not to wait for answers of this URL; what is stored and no longer fresh is no longer what it answers.
    pub(super) fn remember_uncacheable(&self, reason: NotStored, status: StatusCode, now: Timestamp) {
        let edge = &self.worker.edge;
        let key = self.plan.key.store;
        if let Some(stored) = &self.plan.stored {
            let fresh = edge.standing(&self.plan.site, self.plan.url, stored, now).is_fresh();
            if fresh || status.is_server_error() {
                return;
            }
            edge.store.remove(&key);
        }
        edge.uncacheable.note(key, reason, now, self.view.uncacheable_for);
    }

    pub(super) fn judge_of(&self) -> Judge<'_> {
        let plan = self.plan;
        Judge {
            site: &plan.site,
            view: self.view,
            identity: &self.worker.edge.identity,
            request: &plan.headers,
            https: plan.https,
            host: &plan.host,
            target: &plan.target,
            parts: &plan.parts,
            secret: &self.worker.edge.secret,
            tick: self.fill.tick,
        }
    }

    /// Nobody joins from now on; who is here stays.
    pub(super) fn leave(&self) {
        self.worker.edge.fills.leave(&self.plan.key, self.fill);
    }

    fn head(&self, answer: &Response<origin::Answer>, exchange: Exchange) -> Result<Head, NotStored> {
        let fields = answer.headers();
        let is_part = answer.status() == StatusCode::PARTIAL_CONTENT;
        let (coming, length) = if is_part {
            let (first, end, whole) = range::received(fields).ok_or(NotStored::Part)?;
            (Coming { first, end: Some(end) }, Some(whole))
        } else {
            let announced = headers::content_length(fields);
            let length = announced.or_else(|| http_body::Body::size_hint(answer.body()).exact());
            (Coming { first: 0, end: length }, length)
        };
        // A part of what is stored already changes its header (RFC 9111 section 3.4).
        let Kept { object, own } = match &self.plan.stored {
            Some(stored)
                if is_part && stored.is_of_one_body_with(length.unwrap_or(0), fields, exchange.response_time) =>
            {
                self.judge_of().freshen(stored, fields, exchange)?
            }
            Some(_) | None => self.judge_of().keep(answer.status(), fields, exchange)?,
        };
        if !origin::has_a_sure_end(answer) {
            return Err(NotStored::CloseDelimited);
        }
        if length.is_some_and(|length| length > self.view.object_max) {
            return Err(NotStored::TooLarge);
        }
        // Selected by what the origin sent, whatever of it clients get.
        let vary = match variant::vary_of(fields) {
            // "When a cache has multiple stored responses .. and one or more omits the Vary header field, the cache SHOULD
            // choose the most recent stored response with a valid Vary field value" (section 4.1): this one is for requests
            // like its own.
            none if none.is_empty() => self.plan.base.as_ref().map_or(none, |base| base.vary.clone()),
            names => names,
        };
        let selecting = variant::selecting_text(&vary, &self.plan.headers);
        let (plan, secret) = (self.plan, &self.worker.edge.secret);
        let key = match vary.as_slice() {
            [] => StoreKey::primary(plan.url, plan.https, &plan.parts, secret),
            _ => StoreKey::variant(plan.url, plan.https, &plan.parts, &selecting, secret),
        };
        let object = Object { length: length.unwrap_or(0), body: Body::Spans(Vec::new()), ..object };
        let place = self.place(&object, length, coming, exchange.response_time);
        Ok(Head { object: Arc::new(object), own, key, url: plan.url, length, coming, place, vary, selecting })
    }
}

/// How the origin fails; `None` when it is the client's doing.
pub fn failing(failure: Failure) -> Option<Failing> {
    failure.fetched()?;
    Some(if failure.is_disconnected() { Failing::Disconnected } else { Failing::Error })
}

/// Whether an answer that may not be shared says something of the URL, and not just of one request: a client could send
/// fields that make the origin refuse it.
fn says_much_of_the_url(reason: NotStored, status: StatusCode) -> bool {
    let about_the_request = status.is_client_error() && !matches!(status.as_u16(), 404 | 405 | 410 | 414 | 451);
    let by_the_request =
        matches!(reason, NotStored::Authorization | NotStored::RequestNoStore | NotStored::Method | NotStored::Part);
    !about_the_request && !by_the_request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fill::Fills;
    use crate::key::HashSecret;

    /// As [`Seat`] does it.
    struct Leaves(Arc<Fill>);

    impl Drop for Leaves {
        fn drop(&mut self) {
            self.0.answer(Answer::Failed(Failure::Broken));
        }
    }

    #[tokio::test]
    async fn a_fill_that_panics_is_a_broken_answer_to_its_leader() {
        let store = StoreKey::primary(UrlId(1), false, "", &HashSecret([0; 16]));
        let key = FillKey { store, url: UrlId(1), authorized: false, extent: Extent::Whole };
        let (fill, reader) = Fills::default().lone(key, 9);
        let leaves = Leaves(fill);
        let runs = Box::pin(async move {
            let _leaves = leaves;
            tokio::task::yield_now().await;
            panic!("a bug");
        });
        let mut led = Led { runs: Some(runs) };
        assert!(matches!(led.answer(&reader).await, Answer::Failed(Failure::Broken)));
        assert!(led.runs.is_none());
    }
}
