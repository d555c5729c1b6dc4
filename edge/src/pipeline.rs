//! A request's way through the edge: only orchestration. What is decided is decided in [`crate::policy`] and its like.
//!
//! ```text
//! request (which site?) -> key -> store + variant -> policy (may I serve it?) -- hit --> deliver
//!                                     `- stale or absent -> collapse -> fill -> origin -> store -'
//! ```

use std::sync::{Arc, OnceLock};

use http::header::{AUTHORIZATION, CONTENT_LENGTH, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header, request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use nearcast_shared::clock::Timestamp;
use nearcast_shared::health::HEALTH_PATH;
use tokio::time::Instant;

use crate::access_log::Line;
use crate::body::{Body, RequestBody, Timed};
use crate::cache_status::{CacheStatus, Forward};
use crate::deliver::{self, Wanted};
use crate::fill::task::{self, Plan};
use crate::fill::{Answer, FillKey, Joined};
use crate::headers::{self, Identity, Peer};
use crate::key::{Address, StoreKey, UrlId};
use crate::listener::connection::Connection;
use crate::metrics::Outcome;
use crate::origin::{Ask, Failure};
use crate::policy::directives::RequestDirectives;
use crate::policy::reuse::{Reuse, Why};
use crate::refusal::Refusal;
use crate::request::{Admitted, admit};
use crate::store::Piece;
use crate::store::object::Object;
use crate::track::Tracker;
use crate::variant;
use crate::view::{Site, View};
use crate::worker::Worker;

/// A fill that turned out to be for another variant is left for the right one; more than this cannot be needed.
const VARIANT_HOPS: usize = 3;

/// Serves one request.
pub async fn serve(worker: Arc<Worker>, connection: Arc<Connection>, request: Request<Incoming>) -> Response<Body> {
    let started = Instant::now();
    let busy = connection.busy();
    if request.uri().path() == HEALTH_PATH {
        return health(&worker, &connection)
            .map(|body| body.tracked(Box::new(Tracker::new(worker.edge.clone(), None, None, started, busy))));
    }
    let view = worker.edge.view.load_full();
    let (parts, body) = request.into_parts();
    let version = parts.version;
    let line = worker.edge.access_log.is_on().then(|| line(&worker, &connection, &parts));
    let (site, mut response, outcome) = match admit(&parts, connection.door(), &view) {
        Err(refusal) => (None, refusal.response(&worker.edge.identity), Outcome::Refused),
        Ok(admitted) => {
            let site = admitted.site.clone();
            let exchange = ClientExchange::new(&worker, &view, &connection, admitted, parts);
            let (response, outcome) = exchange.answer(body).await;
            (Some(site), response, outcome)
        }
    };
    if version == Version::HTTP_10 {
        response = whole(response, &worker.edge.identity).await;
    }
    if outcome == Outcome::Refused {
        CacheStatus::default().add_to(response.headers_mut(), &worker.edge.identity, None);
    }
    headers::add_via(response.headers_mut(), Version::HTTP_11, &worker.edge.identity);
    let metrics = site.as_ref().map_or(&view.no_site, |site| &site.metrics);
    metrics.request(outcome);
    metrics.first_byte.observe(started.elapsed());
    let line = line.map(|mut line| {
        line.status = response.status().as_u16();
        line.cache = outcome.token();
        line.site = site.as_ref().map(|site| site.name.clone()).unwrap_or_default();
        line
    });
    let tracker = Box::new(Tracker::new(worker.edge.clone(), site, line, started, busy));
    response.map(|body| body.tracked(tracker))
}

/// To an HTTP/1.0 client a body of unknown length ends where the connection does, so that a broken one looks complete. It
/// is sent once all of it is here, or not at all.
async fn whole(response: Response<Body>, identity: &Identity) -> Response<Body> {
    /// Bytes of such a body.
    const BODY_MAX: usize = 16 << 20;
    if http_body::Body::size_hint(response.body()).exact().is_some() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(collected) => {
            let bytes = collected.to_bytes();
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            Response::from_parts(parts, Body::bytes(bytes))
        }
        Err(_) => Refusal::Origin(Failure::Incomplete).response(identity),
    }
}

/// The public health answer: up or down, and no more.
fn health(worker: &Worker, connection: &Connection) -> Response<Body> {
    let up = worker.edge.health.says_up() && !connection.is_draining();
    let mut response = Response::new(Body::bytes(if up { "up\n".into() } else { "down\n".into() }));
    *response.status_mut() = if up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn line(worker: &Worker, connection: &Connection, parts: &request::Parts) -> Box<Line> {
    let text = |name| {
        parts.headers.get(name).map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let host = parts.uri.authority().map(ToString::to_string).or_else(|| text(header::HOST));
    Box::new(Line {
        time: worker.edge.clock.now(),
        client: connection.peer,
        method: parts.method.to_string(),
        host: host.unwrap_or_default(),
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        version: format!("{:?}", parts.version),
        status: 0,
        bytes: 0,
        duration_ms: 0,
        cache: "",
        site: String::new(),
        agent: text(USER_AGENT).unwrap_or_default(),
        broken: None,
    })
}

/// One admitted request on its way.
struct ClientExchange<'a> {
    worker: &'a Arc<Worker>,
    view: &'a Arc<View>,
    site: Arc<Site>,
    peer: Peer,
    parts: request::Parts,
    /// The fields for the origin, once they are needed.
    forwarded: OnceLock<HeaderMap>,
    host: String,
    target: String,
    url: UrlId,
    wishes: RequestDirectives,
}

/// What the store has for a request.
enum Lookup {
    Found(StoreKey, Arc<Object>),
    Absent(StoreKey, Forward),
}

type Answered = (Response<Body>, Outcome);

impl<'a> ClientExchange<'a> {
    fn new(
        worker: &'a Arc<Worker>,
        view: &'a Arc<View>,
        connection: &Connection,
        admitted: Admitted,
        parts: request::Parts,
    ) -> Self {
        let Admitted { site, host, target } = admitted;
        let trusted = site.trusts(connection.peer);
        let https = headers::came_over_tls(&parts.headers, connection.is_https(), trusted);
        let url = Address { site: &site.name, https, host: &host, target: &target }.url_id(&worker.edge.secret);
        let wishes = RequestDirectives::parse(&parts.headers);
        let peer = Peer { address: connection.peer, trusted, https, version: parts.version };
        Self { worker, view, site, peer, parts, forwarded: OnceLock::new(), host, target, url, wishes }
    }

    async fn answer(&self, body: Incoming) -> Answered {
        if headers::is_looping(&self.parts.headers, &self.worker.edge.identity) {
            return (self.refused(Refusal::Loop), Outcome::Refused);
        }
        match self.parts.method {
            // A body of a GET is neither keyed nor forwarded.
            Method::GET | Method::HEAD => self.cached().await,
            _ => self.pass_with(body).await,
        }
    }

    // ---- through the cache ----

    async fn cached(&self) -> Answered {
        let mut tried = None;
        for _ in 0..VARIANT_HOPS {
            let lookup = self.lookup(tried).await;
            let now = self.worker.edge.clock.now();
            let (key, stored, why) = match lookup {
                Lookup::Found(key, object) => {
                    let standing = object.standing(now);
                    match standing.reuse(&self.wishes) {
                        Reuse::Fresh => return self.hit(key, &object, now, Outcome::Hit),
                        Reuse::StaleAllowed => return self.hit(key, &object, now, Outcome::Stale),
                        Reuse::StaleWhileRevalidate => {
                            self.refresh(key, object.clone());
                            return self.hit(key, &object, now, Outcome::Stale);
                        }
                        Reuse::Validate(Why::Request) => (key, Some(object), Forward::Request),
                        Reuse::Validate(Why::Stale | Why::Response) => (key, Some(object), Forward::Stale),
                    }
                }
                Lookup::Absent(key, why) => (key, None, why),
            };
            if self.wishes.only_if_cached {
                return (self.refused(Refusal::OnlyIfCached), Outcome::Refused);
            }
            // HEAD does not fill; what a client forbids to store is not shared either.
            if self.parts.method == Method::HEAD {
                return self.pass(why).await;
            }
            if self.wishes.no_store {
                return self.pass(Forward::Request).await;
            }
            if self.worker.edge.uncacheable.knows(&key) && stored.is_none() {
                return self.pass(Forward::Bypass).await;
            }
            match self.follow(key, stored, why).await {
                Ok(answered) => return answered,
                Err(other_variant) => tried = Some(other_variant),
            }
        }
        self.pass(Forward::VaryMiss).await
    }

    /// What is stored for this request. `hint` is where a running fill said that its variant goes.
    async fn lookup(&self, hint: Option<StoreKey>) -> Lookup {
        let store = &self.worker.edge.store;
        let primary = StoreKey::primary(self.url, self.peer.https);
        let (key, absent) = match store.get(&primary).await {
            Some(Piece::Object(object)) if self.usable(&object, primary) => return Lookup::Found(primary, object),
            Some(Piece::Base(base)) => {
                let text = variant::selecting_text(&base.vary, self.forwarded());
                (StoreKey::variant(self.url, self.peer.https, &text, &self.worker.edge.secret), Forward::VaryMiss)
            }
            Some(Piece::Object(_) | Piece::Chunk(_)) | None => (hint.unwrap_or(primary), Forward::UriMiss),
        };
        match (key != primary).then(|| store.get(&key)) {
            Some(found) => match found.await {
                Some(Piece::Object(object)) if self.usable(&object, key) => Lookup::Found(key, object),
                _ => Lookup::Absent(key, absent),
            },
            None => Lookup::Absent(key, absent),
        }
    }

    /// Whether a stored answer is this URL's, not purged, and whole.
    fn usable(&self, object: &Object, key: StoreKey) -> bool {
        let edge = &self.worker.edge;
        object.is_for(&self.address())
            && !edge.purges.covers(&self.site.name, self.url, &[], object.tick, edge.clock.now())
            && deliver::is_whole(object, key, &edge.store)
    }

    fn hit(&self, key: StoreKey, object: &Object, now: Timestamp, outcome: Outcome) -> Answered {
        let response = deliver::from_store(self.wanted(), object, key, &self.worker.edge.store, now);
        (self.with_status(response, &CacheStatus::hit(ttl(object, now))), outcome)
    }

    /// Asks the origin in the background; clients go on with what is stored.
    fn refresh(&self, key: StoreKey, stored: Arc<Object>) {
        if let Joined::Leader(_reader, lead) = self.join(key) {
            let plan = Plan { detached: true, ..self.plan(key, Some(stored)) };
            task::start(self.worker, self.view.clone(), plan, lead.fill, lead.unshared);
        }
    }

    fn join(&self, key: StoreKey) -> Joined {
        let purges = &self.worker.edge.purges;
        let now = self.worker.edge.clock.now();
        let covers = |tick| purges.covers(&self.site.name, self.url, &[], tick, now);
        self.worker.edge.fills.join(self.fill_key(key), covers, || purges.tick())
    }

    fn fill_key(&self, key: StoreKey) -> FillKey {
        FillKey { store: key, authorized: self.forwarded().contains_key(AUTHORIZATION) }
    }

    /// What to fetch. `stored` was looked up before the fill had its tick: a purge between the two takes it away here.
    fn plan(&self, key: StoreKey, stored: Option<Arc<Object>>) -> Plan {
        let edge = &self.worker.edge;
        let purged =
            |object: &Arc<Object>| edge.purges.covers(&self.site.name, self.url, &[], object.tick, edge.clock.now());
        let stored = stored.filter(|object| !purged(object));
        Plan {
            key: self.fill_key(key),
            site: self.site.clone(),
            https: self.peer.https,
            host: self.host.clone(),
            target: self.target.clone(),
            url: self.url,
            headers: self.forwarded().clone(),
            stored,
            detached: false,
        }
    }

    /// Starts a fill or follows one. `Err`: it was for another variant, whose key this request's is.
    async fn follow(&self, key: StoreKey, stored: Option<Arc<Object>>, why: Forward) -> Result<Answered, StoreKey> {
        let (reader, mut takes, leads) = match self.join(key) {
            Joined::Follower(reader) => (reader, None, false),
            Joined::Leader(reader, lead) => {
                let plan = self.plan(key, stored);
                let (unshared, takes) = (lead.unshared, lead.takes);
                task::start(self.worker, self.view.clone(), plan, lead.fill, unshared);
                (reader, Some(takes), true)
            }
        };
        let answer = reader.answer().await;
        let now = self.worker.edge.clock.now();
        let mut status = CacheStatus { collapsed: !leads, ..CacheStatus::forward(why) };
        match answer {
            Answer::Stream(head) => {
                let selecting = variant::selecting_text(&head.vary, self.forwarded());
                if !leads && head.selecting != selecting {
                    return Err(StoreKey::variant(self.url, self.peer.https, &selecting, &self.worker.edge.secret));
                }
                if !leads && !self.may_share(&head.object, now) {
                    return Ok(self.pass(why).await);
                }
                status.stored = true;
                let response = deliver::from_fill(self.wanted(), &head, reader, &self.worker.edge.store);
                if response.status() != head.object.status {
                    status.forward_status = Some(head.object.status);
                }
                Ok((self.with_status(response, &status), if leads { Outcome::Miss } else { Outcome::Collapsed }))
            }
            Answer::Confirmed(object) if !leads && !self.may_share(&object, now) => Ok(self.pass(why).await),
            Answer::Confirmed(object) => {
                status.forward_status = Some(StatusCode::NOT_MODIFIED);
                status.ttl = Some(ttl(&object, now));
                let response = deliver::from_store(self.wanted(), &object, key, &self.worker.edge.store, now);
                Ok((self.with_status(response, &status), Outcome::Revalidated))
            }
            Answer::StandIn(object) => {
                status = CacheStatus { detail: Some("origin-failed"), ..CacheStatus::hit(ttl(&object, now)) };
                let response = deliver::from_store(self.wanted(), &object, key, &self.worker.edge.store, now);
                Ok((self.with_status(response, &status), Outcome::Stale))
            }
            Answer::Uncacheable(reason) => {
                status.detail = Some(reason.token());
                let own = match &mut takes {
                    Some(takes) => takes.try_recv().ok(),
                    None => None,
                };
                Ok(match own {
                    Some(answer) => (self.unshared(answer, &status), Outcome::Pass),
                    None => self.pass(why).await,
                })
            }
            Answer::Failed(failure) => Ok((self.failed(failure, &status), Outcome::Failed)),
        }
    }

    /// Whether another request's answer may serve this one: only if it could have come from the store (RFC 9111 section 4:
    /// "provided that it is allowed to reuse that response for the requests in question").
    fn may_share(&self, object: &Object, now: Timestamp) -> bool {
        let reuse = object.standing(now).reuse(&self.wishes);
        matches!(reuse, Reuse::Fresh | Reuse::StaleAllowed | Reuse::StaleWhileRevalidate)
    }

    /// An answer that is this request's alone.
    fn unshared(&self, answer: Response<Incoming>, status: &CacheStatus) -> Response<Body> {
        self.with_status(self.passed_on(answer), status)
    }

    // ---- past the cache ----

    /// Asks the origin for this request alone.
    async fn pass(&self, why: Forward) -> Answered {
        self.pass_body(RequestBody::Empty, why).await
    }

    async fn pass_with(&self, body: Incoming) -> Answered {
        let limit = self.view.request_body_max;
        if headers::content_length(&self.parts.headers).is_some_and(|length| length > limit) {
            return (self.refused(Refusal::TooLarge), Outcome::Refused);
        }
        let body = if http_body::Body::is_end_stream(&body) {
            RequestBody::Empty
        } else {
            RequestBody::Client(Timed::new(body, limit, self.view.receive_timeout))
        };
        let answered = self.pass_body(body, Forward::Method).await;
        // "A cache MUST invalidate the target URI when it receives a non-error status code in response to an unsafe
        // request method (including methods whose safety is unknown)" (RFC 9111 section 4.4).
        let status = answered.0.status();
        if !self.parts.method.is_safe() && (status.is_success() || status.is_redirection()) {
            self.invalidate();
        }
        answered
    }

    async fn pass_body(&self, body: RequestBody, why: Forward) -> Answered {
        let status = CacheStatus::forward(why);
        let ask = Ask {
            method: self.parts.method.clone(),
            target: self.target.clone(),
            client_host: self.host.clone(),
            headers: self.forwarded().clone(),
        };
        match self.worker.origins.ask(&self.site, ask, body).await {
            Ok(answer) => (self.with_status(self.passed_on(answer), &status), Outcome::Pass),
            Err(failure) => {
                let outcome = if Refusal::Origin(failure).is_origins() { Outcome::Failed } else { Outcome::Refused };
                (self.failed(failure, &status), outcome)
            }
        }
    }

    /// Covers what is stored of the URL, or being fetched. What is neither needs no record: else anyone could fill the
    /// tables.
    fn invalidate(&self) {
        let edge = &self.worker.edge;
        let stored = [false, true].map(|https| StoreKey::primary(self.url, https));
        if stored.iter().any(|key| edge.store.contains(key) || edge.fills.runs(*key)) {
            edge.purges.invalidate(&self.site.name, self.url);
            stored.iter().for_each(|key| edge.store.remove(key));
        }
    }

    // ---- parts ----

    fn address(&self) -> Address<'_> {
        Address { site: &self.site.name, https: self.peer.https, host: &self.host, target: &self.target }
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted { method: &self.parts.method, headers: &self.parts.headers }
    }

    /// The client's fields as the origin gets them. Answers are selected by these: what is keyed is what is forwarded.
    fn forwarded(&self) -> &HeaderMap {
        self.forwarded.get_or_init(|| {
            let mut fields = self.parts.headers.clone();
            variant::canonicalize_accept_encoding(&mut fields);
            headers::for_origin(&mut fields, self.peer, &self.worker.edge.identity);
            if matches!(self.parts.method, Method::GET | Method::HEAD) {
                fields.remove(CONTENT_LENGTH);
            }
            fields
        })
    }

    fn passed_on(&self, answer: Response<Incoming>) -> Response<Body> {
        let read_timeout = self.worker.origins.read_timeout;
        let (mut parts, incoming) = answer.into_parts();
        headers::strip_hop_by_hop(&mut parts.headers);
        parts.headers.remove(TRANSFER_ENCODING);
        // Interim and tunnel answers end here; hyper gives only final ones.
        parts.version = Version::HTTP_11;
        Response::from_parts(parts, Body::origin(Timed::new(incoming, u64::MAX, read_timeout)))
    }

    fn failed(&self, failure: Failure, status: &CacheStatus) -> Response<Body> {
        self.with_status(self.refused(Refusal::Origin(failure)), status)
    }

    fn refused(&self, refusal: Refusal) -> Response<Body> {
        refusal.response(&self.worker.edge.identity)
    }

    fn with_status(&self, mut response: Response<Body>, status: &CacheStatus) -> Response<Body> {
        let shown = self.view.shows_detail_to(self.peer.address).then(|| self.address().to_string());
        status.add_to(response.headers_mut(), &self.worker.edge.identity, shown.as_deref());
        response
    }
}

/// Seconds of freshness left; negative when stale.
fn ttl(object: &Object, now: Timestamp) -> i64 {
    let seconds = |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    seconds(object.lifetime) - seconds(object.age(now))
}
