//! The task that runs a fill.

use std::sync::Arc;

use http::header::{ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use nearcast_shared::clock::Timestamp;

use super::judge::{Judge, Kept};
use super::receive::Unfinished;
use super::{Answer, Coming, Ending, Extent, Fill, FillKey, Head, Place, Unshared};
use crate::body::RequestBody;
use crate::headers;
use crate::key::{Address, StoreKey, UrlId};
use crate::origin::{self, Ask, Failure};
use crate::policy::directives::RequestDirectives;
use crate::policy::freshness::{By, Exchange};
use crate::policy::reuse::{Failing, Reuse};
use crate::policy::storable::NotStored;
use crate::policy::{range, validator};
use crate::purge::Verdict;
use crate::store::Piece;
use crate::store::object::{Base, CHUNK, Object, Variant};
use crate::variant;
use crate::view::{Site, View};
use crate::worker::{Edge, Worker};

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
    pub headers: HeaderMap,
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
    fn others(&self) -> impl Iterator<Item = &Variant> {
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
) -> Result<Arc<Head>, Box<Response<Incoming>>> {
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
pub type Fetched = (Response<Incoming>, Exchange);

pub(super) struct Task<'a> {
    pub(super) worker: &'a Worker,
    pub(super) view: &'a View,
    pub(super) plan: &'a Plan,
    pub(super) fill: &'a Fill,
}

impl Task<'_> {
    /// Asks the origin and publishes the answer. `Some`: a body is to be received.
    async fn ask(&self, unshared: Unshared) -> Option<(Response<Incoming>, Arc<Head>)> {
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
            return self.judge(answer, exchange, unshared);
        }
        match self.fetch(Mode::Plain).await {
            Ok((answer, exchange)) => self.judge(answer, exchange, unshared),
            Err(failure) => {
                self.fill.answer(Answer::Failed(failure));
                None
            }
        }
    }

    /// Receives the body, and says how that ended.
    async fn received(&self, answer: Response<Incoming>, head: &Head) -> Ending {
        match self.receive(answer, head).await {
            Ok(()) => Ending::Complete,
            Err(unfinished) => {
                tracing::debug!(url = %self.plan.address(), reason = unfinished.reason(), "fetch given up");
                match unfinished {
                    Unfinished::Unread => Ending::GivenUp,
                    Unfinished::Untaken => Ending::Paused,
                    Unfinished::Broken(_) => Ending::Broken,
                }
            }
        }
    }

    async fn fetch(&self, mode: Mode) -> Result<Fetched, Failure> {
        let mut fields = self.plan.headers.clone();
        // A fill is everybody's, whatever its first client wanted.
        for name in [RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, IF_NONE_MATCH, IF_MODIFIED_SINCE] {
            fields.remove(name);
        }
        let stored = self.plan.stored.as_ref().map(|stored| stored.original_headers());
        let conditional = matches!(mode, Mode::Conditional | Mode::Part { .. } | Mode::ClientsRange) && {
            // A tag of another variant would answer with all of that.
            let others = self.plan.others().filter(|_| mode == Mode::Conditional);
            let tags: Vec<HeaderValue> = others.filter_map(|other| other.tag.clone()).collect();
            validator::make_conditional(&mut fields, stored.as_ref(), &tags)
        };
        match mode {
            Mode::Plain | Mode::Conditional => {}
            Mode::Part { first, end } => {
                fields.insert(RANGE, range::bytes(first, end));
                fields.extend(self.plan.headers.get(IF_RANGE).cloned().map(|value| (IF_RANGE, value)));
            }
            Mode::ClientsRange => {
                for name in [RANGE, IF_RANGE] {
                    fields.extend(self.plan.headers.get(&name).cloned().map(|value| (name, value)));
                }
            }
            Mode::Missing { first, end } => {
                let whole = self.plan.stored.as_ref().map_or(0, |stored| stored.length);
                fields.insert(RANGE, range::bytes(first, (end < whole).then_some(end)));
                let now = self.worker.edge.clock.now();
                let validator = stored.as_ref().and_then(|stored| validator::for_if_range(stored, now));
                fields.extend(validator.map(|validator| (IF_RANGE, validator)));
            }
        }
        self.send(fields, conditional, !matches!(mode, Mode::Plain | Mode::Conditional)).await
    }

    /// Asks with these fields. `conditional`: a 304 may come; `partial`: a part may.
    pub(super) async fn send(&self, fields: HeaderMap, conditional: bool, partial: bool) -> Result<Fetched, Failure> {
        let ask = Ask {
            method: Method::GET,
            target: self.plan.sent_target.clone(),
            client_host: self.plan.host.clone(),
            headers: fields,
        };
        let request_time = self.worker.edge.clock.now();
        let answer = self.worker.origins.ask(&self.plan.site, ask, RequestBody::Empty).await?;
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

    /// The stored answer that a 304 is about: its header updated, its times anew.
    async fn confirmed(&self, not_modified: &HeaderMap, exchange: Exchange) -> Option<Arc<Object>> {
        let own = &self.plan.stored;
        let asked = usize::from(own.is_some()) + self.plan.others().filter(|other| other.tag.is_some()).count();
        // What was purged since it was looked up is not asked about any more.
        let alive = |stored: &&Arc<Object>| !self.worker.edge.is_purged(&self.plan.site.name, self.plan.url, stored);
        if let Some(stored) = own.as_ref().filter(alive)
            && (validator::names_one(not_modified) || asked == 1)
            && validator::confirms(not_modified, &stored.original_headers(), exchange.response_time)
        {
            return self.freshened(stored, self.plan.key.store, not_modified, exchange);
        }
        for other in self.plan.others().filter(|_| not_modified.contains_key(ETAG)) {
            let Some(Piece::Object(object)) = self.worker.edge.store.get(&other.key).await else { continue };
            let purged = self.worker.edge.is_purged(&self.plan.site.name, self.plan.url, &object);
            let usable = object.is_for(&self.plan.address()) && !purged;
            let (all, now) = ((0, object.length), exchange.response_time);
            let object =
                object.with_what_is_stored(all, self.plan.url, &self.worker.edge.store, now).filter(|_| usable);
            let Some(object) = object.filter(|object| object.is_complete()) else { continue };
            if !validator::same_strong(not_modified, &object.original_headers(), exchange.response_time) {
                continue;
            }
            // It answers this request, too: from now on under both keys.
            let object = self.freshened(&object, other.key, not_modified, exchange)?;
            if self.may_store(&self.plan.key.store, &object) && self.put(self.plan.key.store, &object) {
                self.add_variant(&variant::vary_of(&object.original_headers()), self.plan.key.store, &object).await;
            }
            return Some(object);
        }
        None
    }

    /// `None` when it may not be shared any more, or belongs elsewhere now.
    fn freshened(
        &self,
        stored: &Object,
        key: StoreKey,
        not_modified: &HeaderMap,
        exchange: Exchange,
    ) -> Option<Arc<Object>> {
        let Kept { object, .. } = self.judge_of().freshen(stored, not_modified, exchange).ok()?;
        if variant::vary_of(&object.original_headers()) != variant::vary_of(&stored.original_headers()) {
            return None;
        }
        let object = Arc::new(object);
        if self.may_store(&key, &object) {
            renew(&self.worker.edge, key, object.clone());
        }
        Some(object)
    }

    /// Whether a part is of the body that is stored, and brings what is missing of it.
    fn completes(&self, answer: &Response<Incoming>, exchange: Exchange) -> bool {
        let (Extent::Missing { .. }, Some(stored)) = (self.plan.key.extent, &self.plan.stored) else {
            return false;
        };
        let (first, end) = self.plan.needed;
        range::received(answer.headers()).is_some_and(|(from, to, whole)| {
            from <= first && end <= to && stored.is_of_one_body_with(whole, answer.headers(), exchange.response_time)
        })
    }

    /// Decides whether the answer is shared and stored, and says so.
    fn judge(
        &self,
        answer: Response<Incoming>,
        exchange: Exchange,
        unshared: Unshared,
    ) -> Option<(Response<Incoming>, Arc<Head>)> {
        match self.head(&answer, exchange) {
            Ok(head) => {
                let head = Arc::new(head);
                let (edge, now) = (&self.worker.edge, exchange.response_time);
                let standing = edge.standing(&self.plan.site, self.plan.url, &head.object, now);
                if standing.reuse(&RequestDirectives::default()) != Reuse::Fresh {
                    // It serves nobody who comes from now on.
                    self.leave();
                }
                self.fill.answer(Answer::Stream(head.clone()));
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

    fn judge_of(&self) -> Judge<'_> {
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

    fn head(&self, answer: &Response<Incoming>, exchange: Exchange) -> Result<Head, NotStored> {
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
        let object = Object { length: length.unwrap_or(0), ..object };
        let place = self.place(&object, length, coming, exchange.response_time);
        Ok(Head { object, own, key, url: plan.url, length, coming, place, vary, selecting })
    }

    /// Where the chunks of what comes go: on the grid when they are whole there, with those of the same body that are
    /// stored.
    fn place(&self, object: &Object, length: Option<u64>, coming: Coming, now: Timestamp) -> Place {
        let large_min = self.worker.edge.store.large_min();
        let large_from = match length {
            Some(length) if length >= large_min => 0,
            Some(_) => u64::MAX,
            None => large_min.next_multiple_of(CHUNK),
        };
        let ends_on_grid = coming.end == length || coming.end.is_some_and(|end| end.is_multiple_of(CHUNK));
        if !coming.first.is_multiple_of(CHUNK) || !ends_on_grid {
            return Place { version: rand::random(), base: coming.first, large_from };
        }
        let of_one_body = |stored: &&Arc<Object>| {
            length.is_some_and(|length| stored.is_of_one_body_with(length, &object.original_headers(), now))
        };
        // All of it takes the place of what is there; a part is put to the rest.
        let is_part = coming.first > 0 || coming.end != length;
        let known = self.plan.stored.as_ref().filter(|_| is_part).filter(of_one_body);
        let version = known.and_then(|stored| stored.grid_version(coming.first)).unwrap_or_else(rand::random);
        Place { version, base: 0, large_from }
    }

    /// Whether this fetch of `object` may be stored under `key`. What a soft purge covers may, stale as it is, but not in
    /// place of what was fetched after that.
    pub(super) fn may_store(&self, key: &StoreKey, object: &Object) -> bool {
        let edge = &self.worker.edge;
        match edge.verdict(&self.plan.site.name, self.plan.url, object) {
            Verdict::Alive => true,
            Verdict::Soft { .. } => {
                !matches!(edge.store.peek(key), Some(Piece::Object(stored)) if stored.tick > object.tick)
            }
            Verdict::Gone => false,
        }
    }

    /// Stores what is all here, unless the like of it was fetched later and is stored.
    pub(super) fn put(&self, key: StoreKey, object: &Arc<Object>) -> bool {
        let edge = &self.worker.edge;
        let _in_turn = edge.fills.turn(&key);
        let is_late = matches!(edge.store.peek(&key), Some(Piece::Object(now))
            if now.tick > object.tick
                && now.is_complete()
                && !edge.is_purged(&self.plan.site.name, self.plan.url, &now));
        if !is_late {
            edge.store.put(key, Piece::Object(object.clone()));
        }
        !is_late
    }

    /// Adds what was stored under `key` to the URL's variants.
    pub(super) async fn add_variant(&self, vary: &[http::HeaderName], key: StoreKey, object: &Object) {
        if vary.is_empty() {
            return;
        }
        let store = &self.worker.edge.store;
        let (plan, secret) = (self.plan, &self.worker.edge.secret);
        let primary = StoreKey::primary(plan.url, plan.https, &plan.parts, secret);
        let found = store.get(&primary).await;
        // Of several variants that come at once, each finds those before it.
        let _in_turn = self.worker.edge.fills.turn(&primary);
        let known = match store.peek(&primary).or(found) {
            Some(Piece::Base(base)) if base.vary == vary => Base::clone(&base),
            _ => Base { vary: vary.to_vec(), variants: Vec::new() },
        };
        // "A cache MUST NOT include its entity tag in the union" when only parts are here (section 4.3.1); a weak tag may
        // be that of several variants, of another coding for one (RFC 9110 section 8.8.1).
        let of_use = |tag: &&HeaderValue| object.is_complete() && validator::is_strong(tag);
        let tag = object.original_headers().get(ETAG).filter(of_use).cloned();
        let (base, dropped) = known.with(Variant { key, tag }, self.view.variants_max);
        dropped.iter().for_each(|key| store.remove(key));
        store.put(primary, Piece::Base(Arc::new(base)));
    }
}

/// Stores what a later header made of a stored answer, with the parts that others have put to that meanwhile; not in place of a
/// newer one.
pub fn renew(edge: &Edge, key: StoreKey, object: Arc<Object>) {
    let _in_turn = edge.fills.turn(&key);
    let object = match edge.store.peek(&key) {
        Some(Piece::Object(now)) if now.tick > object.tick => return,
        Some(Piece::Object(now))
            if !now.is_inline()
                && now.body != object.body
                && now.is_of_one_body_with(
                    object.length,
                    &object.original_headers(),
                    object.exchange.response_time,
                ) =>
        {
            Arc::new(Object { body: now.body.clone(), ..Object::clone(&object) })
        }
        _ => object,
    };
    edge.store.put(key, Piece::Object(object));
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
