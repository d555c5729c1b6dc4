//! A request's way through the edge: only orchestration. What is decided is decided in [`crate::policy`] and its like.
//!
//! ```text
//! request (which site?) -> key -> store + variant -> policy (may I serve it?) -- hit --> deliver
//!                                     `- stale or absent -> collapse -> fill -> origin -> store -'
//! ```

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::Guard;
use http::header::{CONNECTION, CONTENT_LENGTH, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use nearcast_shared::doh::Doh;
use nearcast_shared::health::own::Says;
use nearcast_shared::health::sites::SITES_FIELD;
use nearcast_shared::health::{HEALTH_FIELD, HEALTH_PATH, LEAVING, OVERLOADED};
use tokio::time::Instant;

use crate::access_log::Line;
use crate::body::Body;
use crate::cache_status::CacheStatus;
use crate::headers::{self, Identity};
use crate::listener::connection::{Busy, Connection};
use crate::metrics::Outcome;
use crate::origin::Failure;
use crate::refusal::Refusal;
use crate::request::admit;
use crate::track::{Noted, Tracker};
use crate::view::{Site, View};
use crate::worker::Worker;

mod cached;
mod doh;
mod exchange;
mod passed;
pub mod prefetch;
mod purged;

use cached::Known;
use exchange::ClientExchange;

/// What comes of a request.
pub struct Answering(State);

enum State {
    /// Nobody had to be waited for: it is what memory has, or of the disk what is in the page cache.
    There(Response<Body>),
    /// Something is waited for. Only this is a future with room for all that a fetch may need.
    Coming(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
    /// It was given out.
    Over,
}

/// A request, and what it came over.
struct Asked {
    worker: Arc<Worker>,
    connection: Arc<Connection>,
    parts: request::Parts,
}

/// Serves one request. hyper asks for the answer at once: an HTTP/1 request that was sent ahead of others' answers is not read before these are
/// with the kernel.
pub fn serve(worker: &Arc<Worker>, connection: &Arc<Connection>, request: Request<Incoming>) -> Answering {
    let (parts, body) = request.into_parts();
    let mut busy = connection.busy();
    Answering(match at_once(worker, connection, &parts) {
        Ok(there) => {
            // hyper reads on before it sends an answer of HTTP/1. Were that one running, its end would wake the connection, for nothing.
            if parts.version == Version::HTTP_2 {
                busy.waits_for_us(false);
            }
            State::There(there.tracked(line(worker, connection, &parts), busy))
        }
        Err(begun) => {
            busy.waits_for_us(true);
            let asked = Asked { worker: worker.clone(), connection: connection.clone(), parts };
            State::Coming(Box::pin(gradually(asked, body, begun, busy)))
        }
    })
}

impl Future for Answering {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match std::mem::replace(&mut self.0, State::Over) {
            State::There(response) => Poll::Ready(Ok(response)),
            State::Coming(mut coming) => {
                let polled = coming.as_mut().poll(cx);
                if polled.is_pending() {
                    self.0 = State::Coming(coming);
                }
                polled.map(Ok)
            }
            State::Over => panic!("it was given out"),
        }
    }
}

/// An answer that is there.
struct There {
    site: Arc<Site>,
    response: Response<Body>,
    outcome: Outcome,
}

impl There {
    /// Counted, and followed to its end.
    fn tracked(self, line: Option<Box<Noted>>, busy: Busy) -> Response<Body> {
        self.site.metrics.request(self.outcome);
        self.site.metrics.first_byte.observe(Duration::ZERO);
        tracked(self.response, Some(self.site), self.outcome, line, busy)
    }
}

/// What is known of a request that something has to be waited for: under which view, and what the store has.
type Begun = Option<(Arc<View>, Known)>;

/// The answer, when nobody has to be waited for.
fn at_once(worker: &Arc<Worker>, connection: &Connection, parts: &request::Parts) -> Result<There, Begun> {
    let is_plain = matches!(parts.method, Method::GET | Method::HEAD) && parts.version >= Version::HTTP_11;
    let is_ours = parts.uri.path() == HEALTH_PATH || doh(worker, connection, parts).is_some();
    if !is_plain || is_ours || connection.is_beyond() {
        return Err(None);
    }
    let view = worker.edge.view.load();
    let admitted = admit(parts, connection.door(), &view).map_err(|_| None)?;
    let site = admitted.site.clone();
    match ClientExchange::new(worker, &view, connection, admitted, parts).at_once() {
        Ok((response, outcome)) => Ok(There { site, response, outcome }),
        Err(known) => Err(Some((Guard::into_inner(view), known))),
    }
}

/// The answer that something may have to be waited for.
async fn gradually(asked: Asked, body: Incoming, begun: Begun, mut busy: Busy) -> Response<Body> {
    let started = Instant::now();
    let Asked { worker, connection, parts } = &asked;
    if parts.uri.path() == HEALTH_PATH {
        busy.waits_for_us(false);
        let response = health(worker, connection).map(|body| body.tracked(Tracker::new(None, None, busy)));
        return last_of(connection, parts, response);
    }
    let line = line(worker, connection, parts);
    let (view, known) = begun.unwrap_or_else(|| (worker.edge.view.load_full(), Known::Nothing));
    let admitted = if connection.is_beyond() { Err(Refusal::Full) } else { admit(parts, connection.door(), &view) };
    let (site, mut response, outcome) = match (admitted, doh(worker, connection, parts)) {
        (Err(refusal), _) => (None, refusal.response(&worker.edge.identity), Outcome::Refused),
        (Ok(admitted), Some(doh)) => {
            let (response, outcome) = doh::answer(doh, worker, &view, connection.peer, parts, body).await;
            (Some(admitted.site), response, outcome)
        }
        (Ok(admitted), None) => {
            let site = admitted.site;
            let exchange = ClientExchange::new(worker, &view, connection, admitted, parts);
            let (response, outcome) = exchange.answer(body, known).await;
            (Some(site), response, outcome)
        }
    };
    if parts.version == Version::HTTP_10 {
        response = whole(response, &worker.edge.identity).await;
    }
    if outcome == Outcome::Refused {
        CacheStatus::default().add_to(response.headers_mut(), &worker.edge.identity, None);
    }
    // What is stored has these already.
    if !outcome.is_from_store() {
        headers::record_date(response.headers_mut(), worker.edge.clock.now());
        headers::add_via(response.headers_mut(), Version::HTTP_11, &worker.edge.identity);
    }
    let metrics = site.map_or(&view.no_site, |site| &site.metrics);
    metrics.request(outcome);
    metrics.first_byte.observe(started.elapsed());
    busy.waits_for_us(false);
    last_of(connection, parts, tracked(response, site.cloned(), outcome, line, busy))
}

/// A connection for which there is no room ends with its first answer.
fn last_of(connection: &Connection, parts: &request::Parts, mut response: Response<Body>) -> Response<Body> {
    if connection.is_beyond() && parts.version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// An answer that is followed to its end.
fn tracked(
    response: Response<Body>,
    site: Option<Arc<Site>>,
    outcome: Outcome,
    line: Option<Box<Noted>>,
    busy: Busy,
) -> Response<Body> {
    let line = line.map(|mut noted| {
        noted.line.status = response.status().as_u16();
        noted.line.cache = outcome.token();
        noted.line.site = site.as_ref().map(|site| site.name.clone()).unwrap_or_default();
        noted
    });
    let tracker = Tracker::new(site, line, busy);
    response.map(|body| body.tracked(tracker))
}

/// DNS over HTTPS, where this request asks for it. RFC 8484 section 5: "This protocol MUST be used with the https URI scheme".
fn doh<'w>(worker: &'w Worker, connection: &Connection, parts: &request::Parts) -> Option<&'w Doh> {
    worker.edge.doh.as_ref().filter(|doh| connection.is_https() && parts.uri.path() == doh.path)
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

/// The public health answer: up or down. Overload is told apart for those who probe, who may have to send clients
/// nonetheless, and so is an orderly end, which is no fall; sites whose origin is out of reach by hashes of their names.
fn health(worker: &Worker, connection: &Connection) -> Response<Body> {
    let says = worker.edge.health.says();
    let up = says.is_up() && !connection.is_draining();
    let mut response = Response::new(Body::bytes(if up { "up\n".into() } else { "down\n".into() }));
    *response.status_mut() = if up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let told = match says {
        Says::Leaving | Says::Drained => Some(LEAVING),
        Says::Up | Says::Overloaded if connection.is_draining() => Some(LEAVING),
        Says::Overloaded => Some(OVERLOADED),
        Says::Up | Says::Stalled | Says::Deaf => None,
    };
    if let Some(told) = told {
        response.headers_mut().insert(HEALTH_FIELD, HeaderValue::from_static(told));
    }
    if let Some(sites) = worker.edge.reach.told() {
        response.headers_mut().insert(SITES_FIELD, sites);
    }
    response
}

/// What the access log is to say of a request, if it is on.
fn line(worker: &Worker, connection: &Connection, parts: &request::Parts) -> Option<Box<Noted>> {
    if !worker.edge.access_log.is_on() {
        return None;
    }
    let text = |name| {
        parts.headers.get(name).map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let host = parts.uri.authority().map(ToString::to_string).or_else(|| text(header::HOST));
    let line = Box::new(Line {
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
    });
    Some(Box::new(Noted { line, edge: worker.edge.clone(), since: Instant::now() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of what a function's future is.
    fn size<A, B, C, D, E>(_: impl Fn(A, B, C, D) -> E) -> usize {
        size_of::<E>()
    }

    #[test]
    fn the_state_of_a_request_is_small() {
        // Each that is waited for has one, and what is there at once is moved as a whole, more than once.
        assert!(size(gradually) <= 2560, "{}", size(gradually));
        assert!(size_of::<Answering>() <= 192, "{}", size_of::<Answering>());
    }
}
