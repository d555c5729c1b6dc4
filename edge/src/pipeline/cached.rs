//! The way through the cache: look up, judge, and serve or fetch.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CACHE_CONTROL, IF_RANGE, RANGE};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::ClientRevalidation;
use siphasher::sip::SipHasher24;

use super::exchange::{Answered, ClientExchange};
use crate::body::Body;
use crate::cache_status::{CacheStatus, Forward};
use crate::deliver;
use crate::fill::task::{self, Plan};
use crate::fill::{Answer, Extent, FillKey, Joined};
use crate::key::StoreKey;
use crate::metrics::Outcome;
use crate::policy::reuse::{Failing, Reuse, Why};
use crate::policy::{range, validator};
use crate::purge::{Subject, Verdict};
use crate::refusal::Refusal;
use crate::store::Piece;
use crate::store::object::{Base, Object};
use crate::variant;

/// A fill that turned out to be for another variant is left for the right one; more than this cannot be needed.
const VARIANT_HOPS: usize = 3;

/// Clients that insist make us ask the origin about what is fresh once in so long.
const FORCED_EVERY: Duration = Duration::from_secs(1);

/// What the store has for a request.
struct Lookup {
    /// Where its answer is, or goes.
    key: StoreKey,
    /// The answer.
    object: Option<Arc<Object>>,
    /// Why there is none.
    absent: Forward,
    /// The URL's stored answers, when they vary.
    base: Option<Arc<Base>>,
}

/// What to fetch, and why.
struct Errand {
    key: StoreKey,
    stored: Option<Arc<Object>>,
    base: Option<Arc<Base>>,
    extent: Extent,
    why: Forward,
}

impl ClientExchange<'_> {
    pub(super) async fn cached(&self) -> Answered {
        if !self.looked_up {
            if self.wishes.only_if_cached {
                return (self.refused(Refusal::OnlyIfCached), Outcome::Refused);
            }
            return self.pass(Forward::Bypass, None).await;
        }
        let mut tried = None;
        for _ in 0..VARIANT_HOPS {
            let Lookup { key, object, absent, base } = self.lookup(tried).await;
            let now = self.now();
            let (why, fetch_part) = match &object {
                Some(object) => match self.reuse(key, object, now) {
                    Reuse::Validate(Why::Request) => (Forward::Request, false),
                    Reuse::Validate(Why::Stale | Why::Response) => (Forward::Stale, false),
                    reuse => match self.missing(object) {
                        Some(_) => (Forward::Partial, true),
                        None => return self.hit(key, object, now, reuse, base),
                    },
                },
                None => (absent, true),
            };
            if self.wishes.only_if_cached {
                return (self.refused(Refusal::OnlyIfCached), Outcome::Refused);
            }
            // HEAD does not fill; what a client forbids to store is not shared either.
            if self.parts.method == Method::HEAD {
                return self.pass(why, object.map(|object| (key, object))).await;
            }
            if self.wishes.no_store {
                return self.pass(why, None).await;
            }
            if object.is_none() && self.worker.edge.uncacheable.of(&key, now).is_some() {
                return self.pass(Forward::Bypass, None).await;
            }
            let errand = self.errand(key, object, base, why, fetch_part);
            match self.follow(errand).await {
                Ok(answered) => return answered,
                Err(other_variant) => tried = Some(other_variant),
            }
        }
        self.pass(Forward::VaryMiss, None).await
    }

    /// What may be done with a stored answer, as far as this site's clients may insist.
    fn reuse(&self, key: StoreKey, object: &Object, now: Timestamp) -> Reuse {
        let standing = self.standing(object, now);
        let reuse = standing.reuse(&self.wishes);
        let granted = || match self.site.caching.client_revalidation {
            ClientRevalidation::Honor => true,
            ClientRevalidation::Ignore => false,
            // Nobody is asked for who wants only what is stored.
            ClientRevalidation::Limit if self.wishes.only_if_cached => self.worker.edge.forced.of(&key, now).is_none(),
            ClientRevalidation::Limit => self.worker.edge.forced.note_first(key, (), now, FORCED_EVERY),
        };
        match reuse {
            Reuse::Validate(Why::Request) if !granted() => standing.reuse(&self.wishes.unforced()),
            reuse => reuse,
        }
    }

    /// The bytes that this request needs and the store does not have.
    fn missing(&self, object: &Object) -> Option<(u64, u64)> {
        if object.is_complete() {
            return None;
        }
        let (first, end) = deliver::needs(self.wanted(), object).unwrap_or((0, object.length));
        object.missing(first, end)
    }

    /// What is stored for this request. `hint` is where a running fill said that its variant goes.
    async fn lookup(&self, hint: Option<StoreKey>) -> Lookup {
        let store = &self.worker.edge.store;
        let primary = self.primary(self.peer.https);
        let found = |key, object| Lookup { key, object, absent: Forward::VaryMiss, base: None };
        let (key, absent, base) = match store.get(&primary).await {
            Some(Piece::Object(object)) => match self.usable(object) {
                Some(object) => return found(primary, Some(object)),
                None => (hint.unwrap_or(primary), Forward::UriMiss, None),
            },
            Some(Piece::Base(base)) => {
                let text = variant::selecting_text(&base.vary, self.forwarded());
                (self.variant(&text), Forward::VaryMiss, Some(base))
            }
            Some(Piece::Chunk(_)) | None => (hint.unwrap_or(primary), Forward::UriMiss, None),
        };
        // A variant that the URL's list has lost is one of another time: what it varied on, or what invalidated it, may have
        // changed since.
        let is_listed = base.as_ref().is_none_or(|base| base.variants.iter().any(|variant| variant.key == key));
        let object = match key != primary && is_listed {
            false => None,
            true => match store.get(&key).await {
                Some(Piece::Object(object)) => self.usable(object),
                Some(Piece::Base(_) | Piece::Chunk(_)) | None => None,
            },
        };
        Lookup { key, object, absent, base }
    }

    /// A stored answer as far as it is this URL's, not purged, and here.
    fn usable(&self, object: Arc<Object>) -> Option<Arc<Object>> {
        let edge = &self.worker.edge;
        let alive = object.is_for(&self.address()) && !edge.is_purged(&self.site.name, self.url, &object);
        object.with_what_is_stored(self.url, &edge.store).filter(|_| alive)
    }

    fn hit(
        &self,
        key: StoreKey,
        object: &Arc<Object>,
        now: Timestamp,
        reuse: Reuse,
        base: Option<Arc<Base>>,
    ) -> Answered {
        if reuse == Reuse::StaleWhileRevalidate {
            self.refresh(key, object.clone(), base);
        }
        let response = deliver::from_store(self.wanted(), object, self.url, &self.worker.edge.store);
        let outcome = if reuse == Reuse::Fresh { Outcome::Hit } else { Outcome::Stale };
        (self.with_status(response, &CacheStatus::hit(self.standing(object, now).ttl())), outcome)
    }

    /// Asks the origin in the background; clients go on with what is stored.
    fn refresh(&self, key: StoreKey, stored: Arc<Object>, base: Option<Arc<Base>>) {
        let errand = Errand { key, stored: Some(stored), base, extent: Extent::Whole, why: Forward::Stale };
        if let Joined::Leader(_reader, lead) = self.join(self.fill_key(&errand)) {
            let mut plan = Plan { detached: true, ..self.plan(&errand) };
            // The request is the cache's own: this client's no-store must not keep the answer from others.
            if self.wishes.no_store {
                plan.headers.remove(CACHE_CONTROL);
            }
            task::start(self.worker, self.view.clone(), plan, lead.fill, lead.unshared);
        }
    }

    fn errand(
        &self,
        key: StoreKey,
        object: Option<Arc<Object>>,
        base: Option<Arc<Base>>,
        why: Forward,
        fetch_part: bool,
    ) -> Errand {
        // What is stale is asked about, and what is not here cannot be: then the part that is wanted or missing will do.
        let extent = match &object {
            Some(object) if object.is_complete() => Extent::Whole,
            Some(object) if fetch_part => match self.missing(object) {
                Some((first, end)) if self.can_complete(object, (first, end)) => Extent::Missing { first, end },
                _ => self.clients_range(),
            },
            Some(_) | None => self.clients_range(),
        };
        // A condition cannot complete what is missing.
        let missing_none = |object: &Arc<Object>| self.missing(object).is_none();
        let stored = object.filter(|object| matches!(extent, Extent::Missing { .. }) || missing_none(object));
        Errand { key, stored, base, extent, why }
    }

    /// Whether the bytes of that range make a stored part of use: some of what the request needs is here, and parts may be
    /// put together, which takes a strong validator (RFC 9111 section 3.4).
    fn can_complete(&self, object: &Object, missing: (u64, u64)) -> bool {
        deliver::needs(self.wanted(), object).is_some_and(|needed| needed != missing)
            && validator::for_if_range(&object.original_headers(), self.now()).is_some()
    }

    /// The part that the client asks for, when it is one range of we do not know what.
    fn clients_range(&self) -> Extent {
        if self.parts.method != Method::GET || !range::is_one_range(&self.parts.headers) {
            return Extent::Whole;
        }
        let secret = &self.worker.edge.secret;
        let mut hasher = SipHasher24::new_with_key(&secret.0);
        for name in [RANGE, IF_RANGE] {
            for line in self.parts.headers.get_all(name) {
                hasher.write(line.as_bytes());
                hasher.write_u8(b'\n');
            }
            hasher.write_u8(b'\n');
        }
        Extent::Range(hasher.finish())
    }

    fn join(&self, key: FillKey) -> Joined {
        let purges = &self.worker.edge.purges;
        let now = self.now();
        // What a soft purge covers is stale for who comes now, and the next fetch is not.
        let (site, target) = (&self.site.name, &self.keyed.target);
        let of = |tick| Subject { site, url: self.url, https: self.peer.https, target, groups: &[], tags: &[], tick };
        let covers = |tick| purges.verdict(&of(tick), now) != Verdict::Alive;
        let whole = FillKey { extent: Extent::Whole, ..key };
        // Who wants a part of what is coming as a whole waits for it there.
        if let Extent::Range(_) = key.extent
            && let Some(reader) = self.worker.edge.fills.follow(whole, covers)
        {
            return Joined::Follower(reader);
        }
        self.worker.edge.fills.join(key, covers, || purges.tick())
    }

    fn fill_key(&self, errand: &Errand) -> FillKey {
        let authorized = self.forwarded().contains_key(AUTHORIZATION);
        FillKey { store: errand.key, url: self.url, authorized, extent: errand.extent }
    }

    /// What to fetch. What is stored was looked up before the fill had its tick: a purge between the two takes it away here.
    fn plan(&self, errand: &Errand) -> Plan {
        let edge = &self.worker.edge;
        let alive = |object: &Arc<Object>| !edge.is_purged(&self.site.name, self.url, object);
        let stored = errand.stored.clone().filter(alive);
        self.plan_of(self.fill_key(errand), stored, errand.base.clone())
    }

    /// Starts a fill or follows one. `Err`: it was for another variant, whose key this request's is.
    async fn follow(&self, errand: Errand) -> Result<Answered, StoreKey> {
        let why = errand.why;
        let (reader, mut takes, leads) = match self.join(self.fill_key(&errand)) {
            Joined::Follower(reader) => (reader, None, false),
            Joined::Leader(reader, lead) => {
                let (unshared, takes) = (lead.unshared, lead.takes);
                task::start(self.worker, self.view.clone(), self.plan(&errand), lead.fill, unshared);
                (reader, Some(takes), true)
            }
        };
        let answer = reader.answer().await;
        let now = self.now();
        let store = &self.worker.edge.store;
        let mut status = CacheStatus { collapsed: !leads, ..CacheStatus::forward(why) };
        match answer {
            Answer::Stream(head) => {
                let selecting = variant::selecting_text(&head.vary, self.forwarded());
                if !leads && head.selecting != selecting {
                    return Err(self.variant(&selecting));
                }
                if !leads && !self.may_share(&head.object, now) {
                    return Ok(self.pass(why, None).await);
                }
                let stored = errand.stored.as_deref();
                let response = deliver::from_fill(self.wanted(), &head, reader, leads, stored, store);
                let Some(response) = response else { return Ok(self.pass(why, None).await) };
                status.stored = true;
                let received = if head.is_whole() { head.object.status } else { StatusCode::PARTIAL_CONTENT };
                status.forward_status = Some(received).filter(|received| *received != response.status());
                Ok((self.with_status(response, &status), if leads { Outcome::Miss } else { Outcome::Collapsed }))
            }
            Answer::Confirmed(object) => {
                if (!leads && !self.may_share(&object, now)) || self.missing(&object).is_some() {
                    return Ok(self.pass(why, None).await);
                }
                status.forward_status = Some(StatusCode::NOT_MODIFIED);
                status.ttl = Some(self.standing(&object, now).ttl());
                let response = deliver::from_store(self.wanted(), &object, self.url, store);
                Ok((self.with_status(response, &status), Outcome::Revalidated))
            }
            Answer::StandIn(object, received) => {
                // The client whose request failed may have permitted what this one does not.
                let failing = if received.is_some() { Failing::Error } else { Failing::Disconnected };
                let permits = || self.standing(&object, now).stands_in(failing, &self.wishes, self.view.stale_max);
                if self.missing(&object).is_some() || (!leads && !permits()) {
                    return Ok(self.pass(why, None).await);
                }
                status.forward_status = received;
                Ok(self.stand_in(&object, status, now))
            }
            Answer::Uncacheable(reason) => {
                status.detail = Some(reason.token());
                let own = match &mut takes {
                    Some(takes) => takes.try_recv().ok(),
                    None => None,
                };
                Ok(match own {
                    Some(answer) => (self.unshared(answer, &status), Outcome::Pass),
                    None => self.pass(why, None).await,
                })
            }
            Answer::Failed(failure) => {
                // "When disconnected .. a cache MUST generate an error response rather than reuse the stale response. The
                // generated response SHOULD have status code 504 (Gateway Timeout) unless another error status code is
                // more applicable" (section 5.2.2.2).
                let forbids = |object: &Arc<Object>| object.directives.forbids_stale();
                let held_back = failure.is_disconnected() && errand.stored.as_ref().is_some_and(forbids);
                let refusal = if held_back { Refusal::HeldBack(failure) } else { Refusal::Origin(failure) };
                Ok((self.with_status(self.refused(refusal), &status), Outcome::Failed))
            }
        }
    }

    /// What is stored, in place of an origin that fails. No hit: that is "not forwarded" (RFC 9211 section 2.1).
    pub(super) fn stand_in(&self, object: &Object, status: CacheStatus, now: Timestamp) -> Answered {
        let status =
            CacheStatus { detail: Some("origin-failed"), ttl: Some(self.standing(object, now).ttl()), ..status };
        let response = deliver::from_store(self.wanted(), object, self.url, &self.worker.edge.store);
        (self.with_status(response, &status), Outcome::Stale)
    }

    /// Whether another request's answer may serve this one: only if it could have come from the store (RFC 9111 section 4:
    /// "provided that it is allowed to reuse that response for the requests in question"). One that insists on a new
    /// answer gets it where others do, and that one is.
    fn may_share(&self, object: &Object, now: Timestamp) -> bool {
        if self.worker.edge.is_purged(&self.site.name, self.url, object) {
            return false;
        }
        let limited = self.site.caching.client_revalidation != ClientRevalidation::Honor;
        let wishes = if limited { &self.wishes.unforced() } else { &self.wishes };
        let reuse = self.standing(object, now).reuse(wishes);
        matches!(reuse, Reuse::Fresh | Reuse::StaleAllowed | Reuse::StaleWhileRevalidate)
    }

    /// An answer that is this request's alone.
    fn unshared(&self, answer: Response<Incoming>, status: &CacheStatus) -> Response<Body> {
        self.with_status(self.passed_on(answer), status)
    }
}
