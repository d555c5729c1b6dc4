//! A request's way through the edge: only orchestration. What is decided is decided in [`crate::policy`] and its like.
//!
//! ```text
//! request (which site?) -> key -> store + variant -> policy (may I serve it?) -- hit --> deliver
//!                                     `- stale or absent -> collapse -> fill -> origin -> store -'
//! ```

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Version, header, request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use nearcast_shared::health::own::Says;
use nearcast_shared::health::sites::SITES_FIELD;
use nearcast_shared::health::{HEALTH_FIELD, HEALTH_PATH, LEAVING, OVERLOADED};
use tokio::time::Instant;

use crate::access_log::Line;
use crate::body::Body;
use crate::cache_status::CacheStatus;
use crate::headers::{self, Identity};
use crate::listener::connection::Connection;
use crate::metrics::Outcome;
use crate::origin::Failure;
use crate::refusal::Refusal;
use crate::request::admit;
use crate::track::Tracker;
use crate::worker::Worker;

mod cached;
mod doh;
mod exchange;
mod passed;
pub mod prefetch;
mod purged;

use exchange::ClientExchange;

/// Serves one request.
pub async fn serve(worker: Arc<Worker>, connection: Arc<Connection>, request: Request<Incoming>) -> Response<Body> {
    let started = Instant::now();
    let busy = connection.busy();
    if request.uri().path() == HEALTH_PATH {
        return health(&worker, &connection).map(|body| body.tracked(Tracker::new(None, None, started, busy)));
    }
    let view = worker.edge.view.load_full();
    let (parts, body) = request.into_parts();
    let version = parts.version;
    let line = worker.edge.access_log.is_on().then(|| line(&worker, &connection, &parts));
    let admitted = if connection.is_beyond() { Err(Refusal::Full) } else { admit(&parts, connection.door(), &view) };
    // RFC 8484 section 5: "This protocol MUST be used with the https URI scheme".
    let doh = worker.edge.doh.as_ref().filter(|doh| connection.is_https() && parts.uri.path() == doh.path);
    let (site, mut response, outcome) = match (admitted, doh) {
        (Err(refusal), _) => (None, refusal.response(&worker.edge.identity), Outcome::Refused),
        (Ok(admitted), Some(doh)) => {
            let (response, outcome) = doh::answer(doh, &worker, &view, connection.peer, &parts, body).await;
            (Some(admitted.site), response, outcome)
        }
        (Ok(admitted), None) => {
            let site = admitted.site;
            let exchange = ClientExchange::new(&worker, &view, &connection, admitted, &parts);
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
    // What is stored has these already.
    if !outcome.is_from_store() {
        headers::record_date(response.headers_mut(), worker.edge.clock.now());
        headers::add_via(response.headers_mut(), Version::HTTP_11, &worker.edge.identity);
    }
    let metrics = site.map_or(&view.no_site, |site| &site.metrics);
    metrics.request(outcome);
    metrics.first_byte.observe(started.elapsed());
    let line = line.map(|mut line| {
        line.status = response.status().as_u16();
        line.cache = outcome.token();
        line.site = site.map(|site| site.name.clone()).unwrap_or_default();
        (line, worker.edge.clone())
    });
    let tracker = Tracker::new(site.cloned(), line, started, busy);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of what a function's future is.
    fn size<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_state_of_a_request_is_small() {
        // It is moved with each request, and HTTP/2 has one for each stream.
        assert!(size(serve) <= 2304, "{}", size(serve));
    }
}
