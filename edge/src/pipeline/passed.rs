//! The way past the cache: asking the origin for one request alone, and what its answer does to what is stored.

use std::sync::Arc;

use http::header::TRANSFER_ENCODING;
use http::{Method, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::exchange::{Answered, ClientExchange};
use crate::body::{Body, RequestBody, Timed};
use crate::cache_status::{CacheStatus, Forward};
use crate::fill::Judge;
use crate::headers;
use crate::key::StoreKey;
use crate::metrics::Outcome;
use crate::origin::{Ask, Failure};
use crate::policy::control::SURROGATE_CONTROL;
use crate::policy::freshness::{Exchange, Lifetime};
use crate::policy::reuse::Failing;
use crate::policy::validator;
use crate::refusal::Refusal;
use crate::store::Piece;
use crate::store::object::Object;

/// What is stored for a request that goes past it all the same.
type Stored = (StoreKey, Arc<Object>);

impl ClientExchange<'_> {
    /// Asks the origin for this request alone. `stored`: what a HEAD may tell news of, or what stands in.
    pub(super) async fn pass(&self, why: Forward, stored: Option<Stored>) -> Answered {
        self.pass_body(RequestBody::Empty, why, stored).await
    }

    pub(super) async fn pass_with(&self, body: Incoming) -> Answered {
        let limit = self.view.request_body_max;
        if headers::content_length(&self.parts.headers).is_some_and(|length| length > limit) {
            return (Refusal::TooLarge.response(), Outcome::Refused);
        }
        let body = if http_body::Body::is_end_stream(&body) {
            RequestBody::Empty
        } else {
            RequestBody::Client(Timed::new(body, limit, self.view.receive_timeout))
        };
        let answered = self.pass_body(body, Forward::Method, None).await;
        // "A cache MUST invalidate the target URI when it receives a non-error status code in response to an unsafe
        // request method (including methods whose safety is unknown)" (RFC 9111 section 4.4).
        let status = answered.0.status();
        if !self.parts.method.is_safe() && (status.is_success() || status.is_redirection()) {
            self.invalidate();
        }
        answered
    }

    async fn pass_body(&self, body: RequestBody, why: Forward, stored: Option<Stored>) -> Answered {
        let status = CacheStatus::forward(why);
        let ask = Ask {
            method: self.parts.method.clone(),
            target: self.target.clone(),
            client_host: self.host.clone(),
            headers: self.forwarded().clone(),
        };
        let tick = self.worker.edge.purges.tick();
        let request_time = self.now();
        let answer = self.worker.origins.ask(&self.site, ask, body).await;
        let response_time = self.now();
        let failing = match &answer {
            Ok(answer) if matches!(answer.status().as_u16(), 500 | 502..=504) => Some(Failing::Error),
            Ok(_) => None,
            Err(Failure::Broken) => Some(Failing::Error),
            Err(_) => Some(Failing::Disconnected),
        };
        if let (Some(failing), Some((_, object))) = (failing, &stored)
            && self.standing(object, response_time).stands_in(failing, self.view.stale_max)
        {
            return self.stand_in(object, response_time);
        }
        match answer {
            Ok(answer) => {
                if let Some((key, object)) = stored {
                    self.learn_from_head(&answer, key, &object, Exchange { request_time, response_time }, tick);
                }
                (self.with_status(self.passed_on(answer), &status), Outcome::Pass)
            }
            Err(failure) => {
                let outcome = if Refusal::Origin(failure).is_origins() { Outcome::Failed } else { Outcome::Refused };
                (self.failed(failure, &status), outcome)
            }
        }
    }

    /// "When a cache makes an inbound HEAD request for a target URI and receives a 200 (OK) response, the cache SHOULD update
    /// or invalidate each of its stored GET responses that could have been chosen for that request" (RFC 9111 section
    /// 4.3.5).
    fn learn_from_head(
        &self,
        answer: &Response<Incoming>,
        key: StoreKey,
        object: &Arc<Object>,
        exchange: Exchange,
        tick: u64,
    ) {
        if self.parts.method != Method::HEAD || answer.status() != StatusCode::OK || object.status != StatusCode::OK {
            return;
        }
        let edge = &self.worker.edge;
        let judge = Judge {
            site: &self.site,
            view: self.view,
            identity: &edge.identity,
            request: self.forwarded(),
            https: self.peer.https,
            host: &self.host,
            target: &self.target,
            tick,
        };
        let same = validator::head_matches(answer.headers(), &object.original_headers(), object.length);
        let changed = match judge.freshen(object, answer.headers(), exchange) {
            Ok(kept) if same => kept.object,
            // "Otherwise, the cache SHOULD consider the stored response to be stale."
            Ok(_) | Err(_) => {
                let lifetime = Lifetime { duration: std::time::Duration::ZERO, ..object.lifetime.clone() };
                Object { lifetime, ..Object::clone(object) }
            }
        };
        if !edge.is_purged(&self.site.name, self.url, &changed) && !edge.is_purged(&self.site.name, self.url, object) {
            edge.store.put(key, Piece::Object(changed.into()));
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

    pub(super) fn passed_on(&self, answer: Response<Incoming>) -> Response<Body> {
        let read_timeout = self.worker.origins.read_timeout;
        let (mut parts, incoming) = answer.into_parts();
        headers::strip_hop_by_hop(&mut parts.headers);
        parts.headers.remove(TRANSFER_ENCODING);
        parts.headers.remove(SURROGATE_CONTROL);
        // Interim and tunnel answers end here; hyper gives only final ones.
        parts.version = Version::HTTP_11;
        Response::from_parts(parts, Body::origin(Timed::new(incoming, u64::MAX, read_timeout)))
    }
}
