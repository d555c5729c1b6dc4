//! The way through the cache: look up, judge, and serve or fetch.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CACHE_CONTROL, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::ClientRevalidation;
use siphasher::sip::SipHasher24;

use super::exchange::{Answered, ClientExchange};
use crate::body::Body;
use crate::cache_status::{CacheStatus, Forward};
use crate::deliver::{self, Supply};
use crate::fill::holes::{Holes, Whose};
use crate::fill::task::{self, Plan};
use crate::fill::{Answer, Extent, Fill, FillKey, Head, Joined, Lead};
use crate::key::StoreKey;
use crate::metrics::{Filled, Outcome};
use crate::origin;
use crate::policy::range::{self, Single};
use crate::policy::reuse::{Failing, Reuse, Standing, Why};
use crate::purge::{Subject, Verdict};
use crate::refusal::Refusal;
use crate::store::object::{Base, INLINE_MAX, Object, on_grid};
use crate::store::{Blocks, Piece};

/// A fill that turned out to be for another variant, or was purged, is left for the right one; more than this is seldom needed.
const VARIANT_HOPS: usize = 3;

/// Clients that insist make us ask the origin about what is fresh once in so long.
const FORCED_EVERY: Duration = Duration::from_secs(1);

/// What the store has for a request.
pub(super) struct Lookup {
    /// Where its answer is, or goes.
    key: StoreKey,
    /// The answer, and what purges say of it.
    found: Option<(Arc<Object>, Verdict)>,
    /// Why there is none.
    absent: Forward,
    /// The URL's stored answers, when they vary.
    base: Option<Arc<Base>>,
    /// When that was.
    now: Timestamp,
}

/// What is known of what the store has, before anything is waited for.
pub(super) enum Known {
    /// Nothing.
    Nothing,
    /// That what is under this key has to be read first.
    Blocks(StoreKey),
    /// All.
    All(Lookup),
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
    /// The answer, when nobody has to be waited for: no origin, and no disk.
    pub(super) fn at_once(&self) -> Result<Answered, Known> {
        // What clients insist on is noted, once.
        if !self.looked_up || self.special.directives || self.is_looping() {
            return Err(Known::Nothing);
        }
        let lookup = self.lookup_at_once(None, &[]).map_err(Known::Blocks)?;
        self.served(&lookup).map_err(|_| Known::All(lookup))
    }

    /// The answer, by what is `known`.
    pub(super) async fn cached(&self, mut known: Known) -> Answered {
        if !self.looked_up {
            if self.wishes.only_if_cached {
                return (self.refused(Refusal::OnlyIfCached), Outcome::Refused);
            }
            return self.pass(Forward::Bypass, None).await;
        }
        let mut tried = None;
        for hop in 0..VARIANT_HOPS {
            let lookup = match std::mem::replace(&mut known, Known::Nothing) {
                Known::All(lookup) => lookup,
                Known::Blocks(key) => self.lookup(tried, Some(key)).await,
                Known::Nothing => self.lookup(tried, None).await,
            };
            let (why, fetch_part) = match self.served(&lookup) {
                Ok(answered) => return answered,
                Err(why) => why,
            };
            let Lookup { key, found, base, now, .. } = lookup;
            let object = found.map(|(object, _)| object);
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
            let errand = self.errand(key, object, base, why, fetch_part, now);
            match self.follow(errand, hop == 0).await {
                Ok(answered) => return answered,
                Err(other) => tried = Some(other),
            }
        }
        self.pass(Forward::VaryMiss, None).await
    }

    /// The answer from what is stored. `Err`: why the origin is asked, and whether for a missing part.
    fn served(&self, lookup: &Lookup) -> Result<Answered, (Forward, bool)> {
        let Lookup { key, found, absent, base, now } = lookup;
        let Some((object, verdict)) = found else { return Err((*absent, true)) };
        let standing = object.standing(*now, self.site.caching.grace, *verdict);
        let reuse = self.reuse(*key, standing, *now);
        match reuse {
            Reuse::Validate(Why::Request) => return Err((Forward::Request, false)),
            Reuse::Validate(Why::Stale | Why::Response) => return Err((Forward::Stale, false)),
            Reuse::Fresh | Reuse::StaleAllowed | Reuse::StaleWhileRevalidate => {}
        }
        if self.missing(object, *now).is_some() && !self.reads_in_parts(object, *now) {
            return Err((Forward::Partial, true));
        }
        if reuse == Reuse::StaleWhileRevalidate {
            self.refresh(*key, object.clone(), base.clone());
        }
        Ok(self.hit(*key, object, standing.ttl(), reuse, base.as_ref(), *now))
    }

    /// What may be done with a stored answer, as far as this site's clients may insist.
    fn reuse(&self, key: StoreKey, standing: Standing<'_>, now: Timestamp) -> Reuse {
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

    /// Whether what is missing is fetched while the answer is read, each of several ranges for itself.
    fn reads_in_parts(&self, object: &Object, now: Timestamp) -> bool {
        !self.wishes.only_if_cached && deliver::takes_parts(self.wanted(now), object) && object.can_be_completed(now)
    }

    /// The first bytes that this request needs and the store does not have.
    fn missing(&self, object: &Object, now: Timestamp) -> Option<(u64, u64)> {
        if object.is_inline() {
            return None;
        }
        let (first, end) = self.needed(object, now);
        object.missing(first, end)
    }

    /// The bytes that this request needs, as a range around them.
    fn needed(&self, object: &Object, now: Timestamp) -> (u64, u64) {
        deliver::needs(self.wanted(now), object).unwrap_or((0, object.length))
    }

    /// What of an answer to this request is stored, and where it is or goes.
    pub(super) async fn stored(&self) -> (StoreKey, Option<Arc<Object>>) {
        let Lookup { key, found, .. } = self.lookup(None, None).await;
        (key, found.map(|(object, _)| object))
    }

    /// What is stored for this request. `hint` is where a running fill said that its variant goes; what is under the key that `blocks`
    /// has to be read first.
    async fn lookup(&self, hint: Option<StoreKey>, mut blocks: Option<StoreKey>) -> Lookup {
        let mut read = Vec::new();
        loop {
            if let Some(key) = blocks {
                read.push((key, self.worker.edge.store.load(&key).await));
            }
            match self.lookup_at_once(hint, &read) {
                Ok(lookup) => return lookup,
                Err(key) => blocks = Some(key),
            }
        }
    }

    /// The same without waiting for a disk; `read` is what was waited for. `Err`: what has to be, besides.
    fn lookup_at_once(&self, hint: Option<StoreKey>, read: &[(StoreKey, Option<Piece>)]) -> Result<Lookup, StoreKey> {
        let get = |key: &StoreKey| match read.iter().find(|(of, _)| of == key) {
            Some((_, piece)) => Ok(piece.clone()),
            None => self.worker.edge.store.get_at_once(key).map_err(|Blocks| *key),
        };
        let primary = self.primary(self.peer.https);
        let (key, absent, base) = match get(&primary)? {
            Some(Piece::Object(object)) => {
                let now = self.now();
                match self.usable(object, now) {
                    Some(found) => {
                        let (key, absent) = (primary, Forward::VaryMiss);
                        return Ok(Lookup { key, found: Some(found), absent, base: None, now });
                    }
                    None => (hint.unwrap_or(primary), Forward::UriMiss, None),
                }
            }
            Some(Piece::Base(base)) => (self.variant(&self.selecting(&base.vary)), Forward::VaryMiss, Some(base)),
            Some(Piece::Chunk(_)) | None => (hint.unwrap_or(primary), Forward::UriMiss, None),
        };
        // A variant that the URL's list has lost is one of another time: what it varied on, or what invalidated it, may have
        // changed since.
        let is_listed = base.as_ref().is_some_and(|base| base.variants.iter().any(|variant| variant.key == key));
        let object = match key != primary && is_listed {
            false => None,
            true => match get(&key)? {
                Some(Piece::Object(object)) => Some(object),
                Some(Piece::Base(_) | Piece::Chunk(_)) | None => None,
            },
        };
        let now = self.now();
        Ok(Lookup { key, found: object.and_then(|object| self.usable(object, now)), absent, base, now })
    }

    /// A stored answer as far as it is this URL's, not purged, and here; and what purges say of it.
    fn usable(&self, object: Arc<Object>, now: Timestamp) -> Option<(Arc<Object>, Verdict)> {
        let edge = &self.worker.edge;
        if !object.is_for(&self.address()) {
            return None;
        }
        let verdict = edge.verdict(&self.site.name, self.url, &object, now);
        if verdict == Verdict::Gone {
            return None;
        }
        if object.is_inline() || self.parts.method == Method::HEAD {
            return Some((object, verdict));
        }
        let needed = self.needed(&object, now);
        Some((object.with_what_is_stored(needed, self.url, &edge.store, now)?, verdict))
    }

    fn hit(
        &self,
        key: StoreKey,
        object: &Arc<Object>,
        ttl: i64,
        reuse: Reuse,
        base: Option<&Arc<Base>>,
        now: Timestamp,
    ) -> Answered {
        object.hits.count();
        let supply = || self.supply(key, Some(object), base);
        let response = self.stored_answer(object, &CacheStatus::hit(ttl), now, supply);
        (response, if reuse == Reuse::Fresh { Outcome::Hit } else { Outcome::Stale })
    }

    /// Asks the origin in the background; clients go on with what is stored.
    fn refresh(&self, key: StoreKey, stored: Arc<Object>, base: Option<Arc<Base>>) {
        let errand = Errand { key, stored: Some(stored), base, extent: Extent::Whole, why: Forward::Stale };
        if let Joined::Leader(_reader, lead) = self.join(&errand, true) {
            let mut plan = Plan { detached: true, ..self.plan(&errand) };
            // The request is the cache's own: this client's no-store must not keep the answer from others.
            if self.wishes.no_store {
                Arc::make_mut(&mut plan.headers).remove(CACHE_CONTROL);
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
        now: Timestamp,
    ) -> Errand {
        // What is stale is asked about, and what is not here cannot be: then the part that is wanted or missing will do.
        let extent = match &object {
            Some(object) if object.is_complete() => Extent::Whole,
            // Parts may be put together only under a strong validator.
            Some(object) if fetch_part && object.can_be_completed(now) => match self.missing(object, now) {
                Some(missing) => {
                    let (first, end) = object.hole(missing);
                    Extent::Missing { first, end }
                }
                None => self.clients_range(),
            },
            Some(_) | None => self.clients_range(),
        };
        // A condition cannot complete what is missing.
        let missing_none = |object: &Arc<Object>| self.missing(object, now).is_none();
        let stored = object.filter(|object| matches!(extent, Extent::Missing { .. }) || missing_none(object));
        Errand { key, stored, base, extent, why }
    }

    /// The part that the client asks for, when it is one range of we do not know what, up to the borders of chunks: so
    /// others that want bytes nearby find them.
    fn clients_range(&self) -> Extent {
        let asked = if self.parts.method == Method::GET { range::single(&self.parts.headers) } else { None };
        match asked {
            None => Extent::Whole,
            Some(Single::Last) => Extent::Own(self.hash_of(&[RANGE, IF_RANGE])),
            Some(Single::From(first, end)) => {
                /// No body is longer, and not all origins know larger numbers.
                const END_MAX: u64 = 1 << 62;
                let end = end.filter(|end| *end < END_MAX);
                let (first, to) = on_grid(first, end.unwrap_or(first));
                let condition = self.parts.headers.contains_key(IF_RANGE).then(|| self.hash_of(&[IF_RANGE]));
                Extent::Part { first, end: end.map(|_| to), condition: condition.unwrap_or(0) }
            }
        }
    }

    /// Whether a part with that header is the one that the client asked for.
    fn asked_for(&self, part: &HeaderMap) -> bool {
        match (range::received(part), range::single(&self.parts.headers)) {
            (Some((first, end, whole)), Some(Single::From(wanted, wanted_end))) => {
                first == wanted && end == wanted_end.map_or(whole, |wanted| wanted.min(whole))
            }
            _ => false,
        }
    }

    /// The hash of what the client says in those fields.
    fn hash_of(&self, names: &[HeaderName]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.worker.edge.secret.0);
        for name in names {
            for line in self.parts.headers.get_all(name) {
                hasher.write(line.as_bytes());
                hasher.write_u8(b'\n');
            }
            hasher.write_u8(b'\n');
        }
        hasher.finish()
    }

    /// `looks`: once more, before it starts one.
    fn join(&self, errand: &Errand, looks: bool) -> Joined {
        let edge = &self.worker.edge;
        let purges = &edge.purges;
        // What a soft purge covers is stale for who comes now, and the next fetch is not.
        let (site, target) = (&self.site.name, &self.keyed.target);
        let covers = |fill: &Fill| {
            // What it belongs to is known when its header is.
            let head = fill.head();
            let (groups, tags) =
                head.as_ref().map_or((&[][..], &[][..]), |head| (&head.object.groups, &head.object.tags));
            let (url, https, tick) = (self.url, self.peer.https, fill.tick);
            purges.verdict(&Subject { site, url, https, target, groups, tags, tick }, self.now()) != Verdict::Alive
        };
        let known = errand.stored.as_ref().map_or(0, |stored| stored.tick);
        let came = || match edge.store.peek(&errand.key).filter(|_| looks) {
            Some(Piece::Object(now)) => now.tick > known && !edge.is_purged(site, self.url, &now),
            // It varies, as is known now.
            Some(Piece::Base(_)) => true,
            Some(Piece::Chunk(_)) | None => false,
        };
        let joined = edge.fills.join(self.fill_key(errand), covers, came, || purges.tick(), self.view.fills_max);
        if matches!(joined, Joined::Full) {
            self.site.metrics.filled(Filled::Refused);
        }
        joined
    }

    /// What the body of an answer is put together with. `stored`: what its missing parts are asked for by.
    fn supply(&self, key: StoreKey, stored: Option<&Arc<Object>>, base: Option<&Arc<Base>>) -> Supply {
        let holes = stored.filter(|object| object.can_be_completed(self.now())).map(|_| {
            let sent = self.keyed.sent_target();
            let whose = Whose {
                key,
                url: self.url,
                site: self.site.clone(),
                peer: self.peer,
                country: self.country.clone(),
                fields: self.parts.headers.clone(),
                own_target: (sent != self.keyed.target).then(|| sent.to_owned()),
                base: base.cloned(),
            };
            Arc::new(Holes::new(self.worker.clone(), self.view.clone(), whose))
        });
        Supply { edge: self.worker.edge.clone(), url: self.url, holes }
    }

    /// The same for an answer that comes: what is missing of it is asked for by what it says itself.
    fn supply_of(&self, head: &Head, errand: &Errand) -> Supply {
        // A body that the fetch itself keeps for its readers has no holes.
        let long = head.length.is_some_and(|length| length > INLINE_MAX);
        let object = long.then(|| head.object.clone());
        self.supply(head.key, object.as_ref(), errand.base.as_ref())
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
        let needed = stored.as_ref().and_then(|object| self.missing(object, self.now())).unwrap_or((0, 0));
        Plan { needed, ..self.plan_of(self.fill_key(errand), stored, errand.base.clone()) }
    }

    /// Starts a fill or follows one. `Err`: it was for another variant, whose key this request's is, or what it brought was
    /// purged meanwhile: all who waited for it look again, and follow one other. `looks`: what was stored since it was looked up is
    /// looked for, too.
    async fn follow(&self, errand: Errand, looks: bool) -> Result<Answered, StoreKey> {
        let why = errand.why;
        let widened = matches!(errand.extent, Extent::Part { .. } | Extent::Missing { .. });
        let (reader, answer, mut takes) = match self.join(&errand, looks) {
            Joined::Full => return Ok(self.busy(&errand)),
            Joined::Again => return Err(errand.key),
            Joined::Follower(reader) => match tokio::time::timeout(self.view.wait_max, reader.answer()).await {
                Ok(answer) => (reader, answer, None),
                // The origin may be slow to that one request alone.
                Err(_) => return Ok(self.pass(why, None).await),
            },
            Joined::Leader(reader, Lead { fill, unshared, takes }) => {
                let mut led = task::lead(self.worker, self.view.clone(), self.plan(&errand), fill, unshared);
                let answer = led.answer(&reader).await;
                (reader, answer, Some(takes))
            }
        };
        let leads = takes.is_some();
        let now = self.now();
        let is_purged = |object: &Object| self.worker.edge.is_purged(&self.site.name, self.url, object);
        let mut status = CacheStatus { collapsed: !leads, ..CacheStatus::forward(why) };
        match answer {
            Answer::Stream(head) => {
                let selecting = self.selecting(&head.vary);
                if !leads && head.selecting != selecting {
                    return Err(self.variant(&selecting));
                }
                if !leads && is_purged(&head.object) {
                    return Err(errand.key);
                }
                if !leads && !self.may_share(&head.object, now) {
                    return Ok(self.pass(why, None).await);
                }
                // What was purged while the origin was asked is not put to what it sends.
                let stored = errand.stored.as_ref().filter(|object| !is_purged(object));
                if errand.stored.is_some() && stored.is_none() && !head.is_whole() {
                    return Err(errand.key);
                }
                let supply = self.supply_of(&head, &errand);
                let response = deliver::from_fill(self.wanted(now), &head, reader, leads, stored, supply);
                let Some(response) = response else { return Ok(self.pass(why, None).await) };
                status.stored = true;
                let received = if head.is_whole() { head.object.status } else { StatusCode::PARTIAL_CONTENT };
                status.forward_status = Some(received).filter(|received| *received != response.status());
                Ok((self.with_status(response, &status), if leads { Outcome::Miss } else { Outcome::Collapsed }))
            }
            Answer::Confirmed(object) => {
                let is_lacking = self.missing(&object, now).is_some() && !object.can_be_completed(now);
                if is_purged(&object) {
                    return Err(errand.key);
                }
                if (!leads && !self.may_share(&object, now)) || is_lacking {
                    return Ok(self.pass(why, None).await);
                }
                status.forward_status = Some(StatusCode::NOT_MODIFIED);
                status.ttl = Some(self.standing(&object, now).ttl());
                let supply = || self.supply(errand.key, Some(&object), errand.base.as_ref());
                Ok((self.stored_answer(&object, &status, now, supply), Outcome::Revalidated))
            }
            Answer::StandIn(object, received) => {
                // The client whose request failed may have permitted what this one does not.
                let failing = if received.is_some() { Failing::Error } else { Failing::Disconnected };
                let permits = || self.standing(&object, now).stands_in(failing, &self.wishes, self.view.stale_max);
                if self.missing(&object, now).is_some() || (!leads && !permits()) {
                    return Ok(self.pass(why, None).await);
                }
                status.forward_status = received;
                Ok(self.stand_in(errand.key, &object, status, now))
            }
            Answer::Uncacheable(reason) => {
                status.detail = Some(reason.token());
                let own = match &mut takes {
                    Some(takes) => takes.try_recv().ok(),
                    None => None,
                };
                // A part that was widened for the sake of others is not what this client asked for.
                let own = own.filter(|answer| {
                    answer.status() != StatusCode::PARTIAL_CONTENT || !widened || self.asked_for(answer.headers())
                });
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

    /// As many fetches run as may: what is stored serves where it would if the origin failed.
    fn busy(&self, errand: &Errand) -> Answered {
        let (now, stale_max) = (self.now(), self.view.stale_max);
        let permits =
            |object: &&Arc<Object>| self.standing(object, now).stands_in(Failing::Error, &self.wishes, stale_max);
        match errand.stored.as_ref().filter(permits) {
            Some(object) if self.missing(object, now).is_none() => {
                self.stand_in(errand.key, object, CacheStatus::forward(errand.why), now)
            }
            _ => (self.refused(Refusal::Busy), Outcome::Refused),
        }
    }

    /// What is stored, in place of an origin that fails. No hit: that is "not forwarded" (RFC 9211 section 2.1).
    pub(super) fn stand_in(
        &self,
        key: StoreKey,
        object: &Arc<Object>,
        status: CacheStatus,
        now: Timestamp,
    ) -> Answered {
        let ttl = self.standing(object, now).ttl();
        let status = CacheStatus { detail: Some("origin-failed"), ttl: Some(ttl), ..status };
        let response = self.stored_answer(object, &status, now, || self.supply(key, Some(object), None));
        (response, Outcome::Stale)
    }

    /// Whether another request's answer may serve this one: only if it could have come from the store (RFC 9111 section 4:
    /// "provided that it is allowed to reuse that response for the requests in question"). One that insists on a new
    /// answer gets it where others do, and that one is.
    fn may_share(&self, object: &Object, now: Timestamp) -> bool {
        let limited = self.site.caching.client_revalidation != ClientRevalidation::Honor;
        let wishes = if limited { &self.wishes.unforced() } else { &self.wishes };
        let reuse = self.standing(object, now).reuse(wishes);
        matches!(reuse, Reuse::Fresh | Reuse::StaleAllowed | Reuse::StaleWhileRevalidate)
    }

    /// An answer that is this request's alone.
    fn unshared(&self, answer: Response<origin::Answer>, status: &CacheStatus) -> Response<Body> {
        self.with_status(self.passed_on(answer), status)
    }
}
