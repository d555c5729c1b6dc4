//! The task that runs a fill.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{DATE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use nearcast_shared::clock::Timestamp;

use super::{Answer, Ending, Fill, FillKey, Head, Unshared};
use crate::body::RequestBody;
use crate::headers;
use crate::key::{Address, StoreKey, UrlId};
use crate::origin::{self, Ask, Failure};
use crate::policy::directives::{RequestDirectives, ResponseDirectives};
use crate::policy::freshness::{self, Exchange};
use crate::policy::reuse::Reuse;
use crate::policy::storable::{self, NotStored};
use crate::policy::validator;
use crate::store::Piece;
use crate::store::object::{Base, Body, CHUNK, INLINE_MAX, Object};
use crate::variant;
use crate::view::{Site, View};
use crate::worker::Worker;

/// A fetch that nobody reads is carried on when no more than this is missing.
const FINISH_ANYWAY: u64 = 1 << 20;

/// What to fetch.
#[derive(Debug)]
pub struct Plan {
    /// What it is called among the fills.
    pub key: FillKey,
    /// Whose it is.
    pub site: Arc<Site>,
    /// Whether the client came over TLS.
    pub https: bool,
    /// The host asked for, without port.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// The URL's id.
    pub url: UrlId,
    /// The fields for the origin, by which answers are selected, too.
    pub headers: HeaderMap,
    /// What is stored under that key and may be confirmed, or stand in.
    pub stored: Option<Arc<Object>>,
    /// Whether to carry on though nobody waits: a refresh in the background.
    pub detached: bool,
}

impl Plan {
    fn address(&self) -> Address<'_> {
        Address { site: &self.site.name, https: self.https, host: &self.host, target: &self.target }
    }
}

/// Starts the fill on this worker. Whatever becomes of the task, readers learn of it and the fill's place is freed.
pub fn start(worker: &Arc<Worker>, view: Arc<View>, plan: Plan, fill: Arc<Fill>, unshared: Unshared) {
    let place = Place { worker: worker.clone(), key: plan.key, fill };
    worker.fills.spawn(run(place, view, plan, unshared));
}

async fn run(place: Place, view: Arc<View>, plan: Plan, unshared: Unshared) {
    let task = Task { worker: &place.worker, view: &view, plan: &plan, fill: &place.fill };
    let Some((answer, head)) = task.ask(unshared).await else { return };
    let ending = match task.receive(answer, &head).await {
        Ok(()) => Ending::Complete,
        Err(reason) => {
            tracing::debug!(url = %plan.address(), reason, "fetch given up");
            Ending::Broken
        }
    };
    place.fill.finish(ending);
}

/// Frees the fill's place on every way out, also when the task is dropped or panics.
struct Place {
    worker: Arc<Worker>,
    key: FillKey,
    fill: Arc<Fill>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.edge.fills.leave(&self.key, &self.fill);
        let unanswered = self.fill.state.lock().answer.is_none();
        if unanswered {
            self.fill.answer(Answer::Failed(Failure::Broken));
        }
        self.fill.finish(Ending::Broken);
    }
}

struct Task<'a> {
    worker: &'a Worker,
    view: &'a View,
    plan: &'a Plan,
    fill: &'a Fill,
}

impl Task<'_> {
    /// Asks the origin and publishes the answer. `Some`: a body is to be received.
    async fn ask(&self, unshared: Unshared) -> Option<(Response<Incoming>, Arc<Head>)> {
        let edge = &self.worker.edge;
        let (answer, exchange) = match self.fetch(self.plan.stored.as_deref()).await {
            Ok(found) => found,
            Err(failure) => {
                self.fill.answer(self.fallback(edge.clock.now()).unwrap_or(Answer::Failed(failure)));
                return None;
            }
        };
        if let (StatusCode::NOT_MODIFIED, Some(stored)) = (answer.status(), &self.plan.stored) {
            let confirmed = validator::confirms(answer.headers(), &stored.headers)
                .then(|| self.confirm(stored, answer.headers(), exchange))
                .flatten();
            if let Some(object) = confirmed {
                self.fill.answer(Answer::Confirmed(object));
                return None;
            }
            // A 304 about something else (RFC 9111 section 4.3.4), or one after which what is stored may not be shared
            // any more: ask for the whole.
            let (answer, exchange) = match self.fetch(None).await {
                Ok(found) => found,
                Err(failure) => {
                    self.fill.answer(Answer::Failed(failure));
                    return None;
                }
            };
            return self.judge(answer, exchange, unshared);
        }
        if matches!(answer.status().as_u16(), 500 | 502..=504)
            && let Some(stand_in) = self.fallback(exchange.response_time)
        {
            self.fill.answer(stand_in);
            return None;
        }
        self.judge(answer, exchange, unshared)
    }

    async fn fetch(&self, stored: Option<&Object>) -> Result<(Response<Incoming>, Exchange), Failure> {
        let mut fields = self.plan.headers.clone();
        // The fill wants the whole, whatever its first client wanted.
        for name in [RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, IF_NONE_MATCH, IF_MODIFIED_SINCE] {
            fields.remove(name);
        }
        let conditional = stored.is_some_and(|stored| validator::make_conditional(&mut fields, &stored.headers));
        let ask = Ask {
            method: Method::GET,
            target: self.plan.target.clone(),
            client_host: self.plan.host.clone(),
            headers: fields,
        };
        let request_time = self.worker.edge.clock.now();
        let answer = self.worker.origins.ask(&self.plan.site, ask, RequestBody::Empty).await?;
        let response_time = self.worker.edge.clock.now();
        if answer.status() == StatusCode::NOT_MODIFIED && !conditional {
            // Nobody asked whether: there is nothing it could be about.
            return Err(Failure::Broken);
        }
        Ok((answer, Exchange { request_time, response_time }))
    }

    /// What is stored, when it may stand in for an origin that fails.
    fn fallback(&self, now: Timestamp) -> Option<Answer> {
        let stored = self.plan.stored.as_ref()?;
        stored.standing(now).serves_on_error().then(|| Answer::StandIn(stored.clone()))
    }

    /// The stored answer, confirmed: its header updated, its times anew. `None` when it may not be shared any more.
    fn confirm(&self, stored: &Object, fresh: &HeaderMap, exchange: Exchange) -> Option<Arc<Object>> {
        let mut fields = fresh.clone();
        headers::strip_hop_by_hop(&mut fields);
        record_date(&mut fields, exchange.response_time);
        let merged = validator::updated(&stored.headers, &fields);
        if variant::vary_of(&merged) != variant::vary_of(&stored.headers) {
            // It belongs elsewhere now.
            return None;
        }
        let directives = ResponseDirectives::parse(&merged);
        self.may_be_shared(stored.status, &merged, &directives).ok()?;
        let object = Arc::new(Object {
            lifetime: freshness::lifetime(stored.status, &merged, &directives, exchange, self.view.bounds),
            initial_age: freshness::initial_age(fresh, exchange),
            exchange,
            tick: self.fill.tick,
            directives,
            headers: merged,
            ..stored.clone()
        });
        if self.may_store() {
            self.worker.edge.store.put(self.plan.key.store, Piece::Object(object.clone()));
        }
        Some(object)
    }

    /// Decides whether the answer is shared and stored, and says so.
    fn judge(
        &self,
        answer: Response<Incoming>,
        exchange: Exchange,
        unshared: Unshared,
    ) -> Option<(Response<Incoming>, Arc<Head>)> {
        match self.storable(&answer) {
            Ok(directives) => {
                let head = Arc::new(self.head(&answer, exchange, directives));
                if head.object.standing(exchange.response_time).reuse(&RequestDirectives::default()) != Reuse::Fresh {
                    // It serves nobody who comes from now on.
                    self.leave();
                }
                self.fill.answer(Answer::Stream(head.clone()));
                Some((answer, head))
            }
            Err(reason) => {
                if says_much_of_the_url(reason, answer.status()) {
                    self.remember_uncacheable(answer.status(), exchange.response_time);
                }
                // The waiters must find the note before they go on.
                let _leader_gone = unshared.send(answer);
                self.fill.answer(Answer::Uncacheable(reason));
                None
            }
        }
    }

    /// Remembers not to wait for answers of this URL; what is stored and no longer fresh is no longer what it answers.
    fn remember_uncacheable(&self, status: StatusCode, now: Timestamp) {
        let edge = &self.worker.edge;
        match &self.plan.stored {
            Some(stored) if stored.standing(now).is_fresh() || status.is_server_error() => {}
            Some(_) => {
                edge.store.remove(&self.plan.key.store);
                edge.uncacheable.note(self.plan.key.store, self.view.uncacheable_for);
            }
            None => edge.uncacheable.note(self.plan.key.store, self.view.uncacheable_for),
        }
    }

    fn storable(&self, answer: &Response<Incoming>) -> Result<ResponseDirectives, NotStored> {
        let directives = ResponseDirectives::parse(answer.headers());
        self.may_be_shared(answer.status(), answer.headers(), &directives)?;
        if !origin::has_a_sure_end(answer) {
            return Err(NotStored::CloseDelimited);
        }
        if headers::content_length(answer.headers()).is_some_and(|length| length > self.view.object_max) {
            return Err(NotStored::TooLarge);
        }
        Ok(directives)
    }

    fn may_be_shared(
        &self,
        status: StatusCode,
        fields: &HeaderMap,
        directives: &ResponseDirectives,
    ) -> Result<(), NotStored> {
        let wishes = RequestDirectives::parse(&self.plan.headers);
        storable::storable(&Method::GET, &self.plan.headers, &wishes, status, fields, directives)
    }

    /// Nobody joins from now on; who is here stays.
    fn leave(&self) {
        self.worker.edge.fills.leave(&self.plan.key, self.fill);
    }

    fn head(&self, answer: &Response<Incoming>, exchange: Exchange, directives: ResponseDirectives) -> Head {
        let mut fields = answer.headers().clone();
        let initial_age = freshness::initial_age(&fields, exchange);
        headers::strip_hop_by_hop(&mut fields);
        record_date(&mut fields, exchange.response_time);
        let length = headers::content_length(&fields).or_else(|| http_body::Body::size_hint(answer.body()).exact());
        let vary = variant::vary_of(&fields);
        let selecting = variant::selecting_text(&vary, &self.plan.headers);
        let status = answer.status();
        let lifetime = freshness::lifetime(status, &fields, &directives, exchange, self.view.bounds);
        Head {
            key: self.place_of(&vary, &selecting),
            length,
            vary,
            selecting,
            object: Object {
                site: self.plan.site.name.clone(),
                https: self.plan.https,
                host: self.plan.host.clone(),
                target: self.plan.target.clone(),
                status,
                headers: fields,
                exchange,
                initial_age,
                lifetime,
                tick: self.fill.tick,
                version: rand::random(),
                length: length.unwrap_or(0),
                body: Body::Chunks,
                directives,
            },
        }
    }

    fn place_of(&self, vary: &[HeaderName], selecting: &[u8]) -> StoreKey {
        if vary.is_empty() {
            return StoreKey::primary(self.plan.url, self.plan.https);
        }
        StoreKey::variant(self.plan.url, self.plan.https, selecting, &self.worker.edge.secret)
    }

    /// Receives the body: to readers as it comes, to the store in chunks, and at its sure end the object itself.
    async fn receive(&self, answer: Response<Incoming>, head: &Head) -> Result<(), &'static str> {
        let mut body = answer.into_body();
        let mut intake = Intake { task: self, head, chunk: BytesMut::new(), received: 0, stored: 0, storing: true };
        loop {
            let frame = match tokio::time::timeout(self.worker.origins.read_timeout, body.frame()).await {
                Err(_) => return Err("the origin stalled"),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err("the origin broke off"),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(bytes) = frame.into_data() else { continue };
            self.plan.site.metrics.fetched.inc_by(bytes.len() as u64);
            intake.take(bytes).await;
            let give_up = !self.plan.detached && !intake.is_nearly_done() && !self.fill.is_wanted();
            if give_up && self.worker.edge.fills.abandon(&self.plan.key, self.fill) {
                return Err("nobody reads it");
            }
        }
        intake.complete().await
    }

    fn may_store(&self) -> bool {
        let edge = &self.worker.edge;
        !edge.purges.covers(&self.plan.site.name, self.plan.url, &[], self.fill.tick, edge.clock.now())
    }
}

/// Whether an answer that may not be shared says something of the URL, and not just of one request: a client could send
/// fields that make the origin refuse it.
fn says_much_of_the_url(reason: NotStored, status: StatusCode) -> bool {
    let about_the_request = status.is_client_error() && !matches!(status.as_u16(), 404 | 405 | 410 | 414 | 451);
    let by_the_request = matches!(reason, NotStored::Authorization | NotStored::RequestNoStore | NotStored::Method);
    !about_the_request && !by_the_request
}

/// "A recipient with a clock that receives a response message without a Date header field MUST record the time it was
/// received" (RFC 9110 section 6.6.1).
fn record_date(fields: &mut HeaderMap, received: Timestamp) {
    if !fields.contains_key(DATE) {
        let date = httpdate::fmt_http_date(received.to_system_time());
        fields.insert(DATE, HeaderValue::try_from(date).expect("an HTTP-date is ASCII"));
    }
}

/// What has come so far.
struct Intake<'a> {
    task: &'a Task<'a>,
    head: &'a Head,
    chunk: BytesMut,
    received: u64,
    stored: u64,
    storing: bool,
}

impl Intake<'_> {
    async fn take(&mut self, bytes: Bytes) {
        self.received += bytes.len() as u64;
        if self.storing && self.received > self.task.view.object_max {
            self.storing = false;
            self.chunk = BytesMut::new();
            self.task.leave();
            self.task.remember_uncacheable(self.head.object.status, self.task.worker.edge.clock.now());
        }
        if self.storing {
            self.gather(&bytes);
        }
        self.task.fill.push(bytes);
        if self.storing {
            self.task.fill.trim(self.stored);
        } else {
            // What is not stored must wait for its readers, but not for one that holds up all others.
            let room = std::future::poll_fn(|cx| self.task.fill.poll_room(cx.waker()));
            if tokio::time::timeout(self.task.view.send_timeout, room).await.is_err() {
                self.task.fill.cut_off_slowest();
            }
        }
    }

    fn gather(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(CHUNK).unwrap_or(usize::MAX) - self.chunk.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() as u64 == CHUNK {
                self.put_chunk();
            }
        }
    }

    fn put_chunk(&mut self) {
        let number = u32::try_from(self.stored / CHUNK).unwrap_or(u32::MAX);
        let bytes = std::mem::take(&mut self.chunk).freeze();
        self.stored += bytes.len() as u64;
        let key = self.head.key.chunk(self.head.object.version, number);
        self.task.worker.edge.store.put(key, Piece::Chunk(bytes));
    }

    fn is_nearly_done(&self) -> bool {
        let Some(length) = self.head.length else { return self.received < FINISH_ANYWAY };
        self.received >= length / 2 || length - self.received <= FINISH_ANYWAY
    }

    /// The body came to its sure end: stores the object, last.
    async fn complete(mut self) -> Result<(), &'static str> {
        if self.head.length.is_some_and(|length| length != self.received) {
            return Err("another length than announced");
        }
        if !self.storing || !self.task.may_store() {
            return Ok(());
        }
        let body = if self.received <= INLINE_MAX {
            Body::Inline(std::mem::take(&mut self.chunk).freeze())
        } else {
            if !self.chunk.is_empty() {
                self.put_chunk();
            }
            Body::Chunks
        };
        let store = &self.task.worker.edge.store;
        let object = Object { length: self.received, body, ..self.head.object.clone() };
        store.put(self.head.key, Piece::Object(Arc::new(object)));
        if !self.head.vary.is_empty() {
            let primary = StoreKey::primary(self.task.plan.url, self.task.plan.https);
            let known = match store.get(&primary).await {
                Some(Piece::Base(base)) if base.vary == self.head.vary => Base::clone(&base),
                _ => Base { vary: self.head.vary.clone(), variants: Vec::new() },
            };
            let (base, dropped) = known.with(self.head.key, self.task.view.variants_max);
            dropped.iter().for_each(|key| store.remove(key));
            store.put(primary, Piece::Base(Arc::new(base)));
        }
        Ok(())
    }
}
