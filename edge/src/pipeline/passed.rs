//! The way past the cache: asking the origin for one request alone, and what its answer does to what is stored.

use std::sync::Arc;

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::exchange::{Answered, ClientExchange};
use crate::body::{Body, RequestBody, Timed};
use crate::cache_status::{CacheStatus, Forward};
use crate::deliver::{self, Supply, Wanted};
use crate::fill::{Extent, FillKey, Judge, keep, task};
use crate::headers;
use crate::key::{Address, GroupId, StoreKey, TagId, UrlId};
use crate::keying::{self, query};
use crate::metrics::Outcome;
use crate::origin::{self, Ask, Failure};
use crate::policy::control::SURROGATE_CONTROL;
use crate::policy::freshness::{Exchange, Lifetime};
use crate::policy::groups::{self, CACHE_GROUP_INVALIDATION, CACHE_GROUPS};
use crate::policy::location;
use crate::policy::reuse::Failing;
use crate::policy::storable::NotStored;
use crate::policy::tags::{CACHE_TAG, SURROGATE_KEY, Tags};
use crate::policy::validator;
use crate::purge::{Subject, Verdict};
use crate::refusal::Refusal;
use crate::store::Piece;
use crate::store::object::Object;
use crate::variant;

/// What is stored for a request that goes past it all the same.
type Stored = (StoreKey, Arc<Object>);

impl ClientExchange<'_> {
    /// Asks the origin for this request alone. `stored`: what a HEAD may tell news of, or what stands in.
    pub(super) async fn pass(&self, why: Forward, stored: Option<Stored>) -> Answered {
        Box::pin(self.pass_body(RequestBody::Empty, why, stored)).await
    }

    pub(super) async fn pass_with(&self, body: Incoming) -> Answered {
        let limit = self.view.request_body_max;
        if headers::content_length(&self.parts.headers).is_some_and(|length| length > limit) {
            return (self.refused(Refusal::TooLarge), Outcome::Refused);
        }
        let body = if http_body::Body::is_end_stream(&body) {
            RequestBody::Empty
        } else {
            RequestBody::Client(Timed::new(body, limit, self.view.receive_timeout))
        };
        self.pass_body(body, Forward::Method, None).await
    }

    /// What an unsafe request changed, as its answer says: the URL itself, those in Location and Content-Location ("a cache
    /// MAY invalidate other URIs", RFC 9111 section 4.4), and groups (RFC 9875 section 3).
    ///
    /// "A cache MUST invalidate the target URI when it receives a non-error status code in response to an unsafe request
    /// method (including methods whose safety is unknown)"; "a "non-error response" is one with a 2xx (Successful) or 3xx
    /// (Redirection) status code" (the same section).
    fn invalidate_what_changed(&self, answer: &Response<origin::Answer>) {
        let succeeded = answer.status().is_success() || answer.status().is_redirection();
        if self.parts.method.is_safe() || !succeeded {
            return;
        }
        let (secret, answer) = (&self.worker.edge.secret, answer.headers());
        self.invalidate(self.url);
        for target in location::same_host_targets(answer, &self.base()) {
            let target = query::canonical(&self.site.keying, target.into());
            self.invalidate(Address { target: &target, ..self.address() }.url_id(secret));
        }
        for group in groups::groups(answer, &CACHE_GROUP_INVALIDATION) {
            let group = self.address().group_id(&group, secret);
            self.worker.edge.purges.invalidate_group(&self.site.name, group);
        }
    }

    async fn pass_body(&self, body: RequestBody, why: Forward, stored: Option<Stored>) -> Answered {
        let status = CacheStatus::forward(why);
        let ask = Ask {
            method: self.parts.method.clone(),
            target: self.keyed.sent_target(),
            client_host: &self.host,
            headers: self.forwarded(),
        };
        let tick = self.worker.edge.purges.tick();
        let request_time = self.now();
        let answer = self.worker.origins.ask(self.site, &ask, body).await;
        let response_time = self.now();
        let failing = match &answer {
            Ok(answer) if matches!(answer.status().as_u16(), 500 | 502..=504) => Some(Failing::Error),
            Ok(_) => None,
            Err(failure) => task::failing(*failure),
        };
        if let (Some(failing), Some((key, object))) = (failing, &stored)
            && !self.worker.edge.is_purged(&self.site.name, self.url, object)
            && self.standing(object, response_time).stands_in(failing, &self.wishes, self.view.stale_max)
        {
            let received = answer.as_ref().ok().map(Response::status);
            return self.stand_in(*key, object, CacheStatus { forward_status: received, ..status }, response_time);
        }
        match answer {
            Ok(answer) => {
                let exchange = Exchange { request_time, response_time };
                if let Some((key, object)) = stored {
                    self.learn_from_head(&answer, key, &object, exchange, tick).await;
                }
                // Before it invalidates the URL itself: what was purged while the request ran is purged of this answer, too.
                let purged = self.is_purged_since(tick, &answer);
                self.invalidate_what_changed(&answer);
                let answer = match self.keep_posted(answer, exchange, &status, purged) {
                    Ok(answered) => return answered,
                    Err(answer) => *answer,
                };
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
    async fn learn_from_head(
        &self,
        answer: &Response<origin::Answer>,
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
            site: self.site,
            view: self.view,
            identity: &edge.identity,
            request: self.forwarded(),
            https: self.peer.https,
            host: &self.host,
            target: &self.keyed.target,
            parts: &self.keyed.parts,
            secret: &edge.secret,
            tick,
        };
        let same = validator::head_matches(
            answer.headers(),
            &object.original_headers(),
            object.length,
            exchange.response_time,
        );
        // Another request may have stored a newer one meanwhile.
        if matches!(edge.store.look(&key).await, Some(Piece::Object(now)) if now.exchange != object.exchange || now.tick != object.tick)
        {
            return;
        }
        let vary = |object: &Object| variant::vary_of(&object.original_headers());
        let changed = match judge.freshen(object, answer.headers(), exchange) {
            // It is about this request, not about what is stored.
            Err(NotStored::RequestNoStore | NotStored::Authorization) => return,
            // It belongs elsewhere now, and must not serve where it is.
            Ok(kept) if vary(&kept.object) != vary(object) => return edge.store.remove(&key),
            Ok(kept) if same => kept.object,
            // "Otherwise, the cache SHOULD consider the stored response to be stale."
            Ok(_) | Err(_) => {
                let lifetime = Lifetime { duration: std::time::Duration::ZERO, ..object.lifetime.clone() };
                Object { lifetime, ..Object::clone(object) }
            }
        };
        if !edge.is_purged(&self.site.name, self.url, &changed) && !edge.is_purged(&self.site.name, self.url, object) {
            keep::renew(edge, key, changed.into()).await;
        }
    }

    /// "A cached POST response can be reused to satisfy a later GET or HEAD request" when it has "explicit freshness
    /// information .. and a Content-Location header field that has the same value as the POST's target URI" (RFC 9110
    /// section 9.3.3).
    fn keep_posted(
        &self,
        answer: Response<origin::Answer>,
        exchange: Exchange,
        status: &CacheStatus,
        purged: bool,
    ) -> Result<Answered, Box<Response<origin::Answer>>> {
        let succeeded = answer.status().is_success() && answer.status() != StatusCode::PARTIAL_CONTENT;
        // It was asked for as the client had it: only where a GET of the URL would go on like that, too, is it that GET's.
        let rewritten = keying::has_parts(&self.site.keying) || self.keyed.sent_target() != self.keyed.target;
        let posted = self.parts.method == Method::POST && succeeded && !rewritten;
        if !posted || purged || self.wishes.no_store || !location::is_of_its_own_url(answer.headers(), &self.base()) {
            return Err(Box::new(answer));
        }
        // Later than the invalidation, which covers all that was fetched before.
        let edge = &self.worker.edge;
        let store = self.primary(self.peer.https);
        let key = FillKey { store, url: self.url, authorized: false, extent: Extent::Whole };
        let (fill, reader) = edge.fills.lone(key, edge.purges.tick());
        let plan = self.plan_of(key, None, None);
        let head = task::adopt(self.worker, self.view.clone(), plan, fill, (answer, exchange))?;
        let unconditional = Wanted { headers: &HeaderMap::new(), ..self.wanted(self.now()) };
        let supply = Supply { edge: self.worker.edge.clone(), url: self.url, holes: None };
        let response = deliver::from_fill(unconditional, &head, reader, true, None, supply);
        let status = CacheStatus { stored: true, ..status.clone() };
        // All of it comes, so that nothing can be missing.
        let response = response.unwrap_or_else(|| self.refused(Refusal::Origin(Failure::Broken)));
        Ok((self.with_status(response, &status), Outcome::Pass))
    }

    /// Whether a purge covers an answer to a request that began at `tick`.
    fn is_purged_since(&self, tick: u64, answer: &Response<origin::Answer>) -> bool {
        let edge = &self.worker.edge;
        let groups = groups::groups(answer.headers(), &CACHE_GROUPS);
        let groups: Vec<GroupId> = groups.iter().map(|group| self.address().group_id(group, &edge.secret)).collect();
        let tags = Tags::of(answer.headers(), self.view.tag_limits).tags;
        let tags: Vec<TagId> = tags.iter().map(|tag| TagId::of(tag, &edge.secret)).collect();
        let subject = Subject {
            site: &self.site.name,
            url: self.url,
            https: self.peer.https,
            target: &self.keyed.target,
            groups: &groups,
            tags: &tags,
            tick,
        };
        edge.purges.verdict(&subject, self.now()) != Verdict::Alive
    }

    /// Covers what is stored of a URL, or being fetched. What is neither needs no record: else anyone could fill the
    /// tables. Where more than the URL is keyed, nobody knows under what else it is stored; nor, until the disk is read after a
    /// start, what is there.
    fn invalidate(&self, url: UrlId) {
        let edge = &self.worker.edge;
        let key = StoreKey::primary(url, self.peer.https, "", &edge.secret);
        if keying::has_parts(&self.site.keying) || edge.fills.run_for(url) || edge.store.may_contain(&key) {
            edge.purges.invalidate(&self.site.name, url, self.peer.https);
            edge.store.remove(&key);
        }
    }

    pub(super) fn passed_on(&self, answer: Response<origin::Answer>) -> Response<Body> {
        let read_timeout = self.worker.origins.read_timeout;
        let (mut parts, incoming) = answer.into_parts();
        headers::strip_hop_by_hop(&mut parts.headers);
        parts.headers.remove(TRANSFER_ENCODING);
        for name in [SURROGATE_CONTROL, SURROGATE_KEY, CACHE_TAG] {
            parts.headers.remove(name);
        }
        // Interim and tunnel answers end here; hyper gives only final ones.
        parts.version = Version::HTTP_11;
        Response::from_parts(parts, Body::origin(Timed::new(incoming, u64::MAX, read_timeout)))
    }
}
