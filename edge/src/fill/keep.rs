//! What a fetch stores: where its chunks go, and what a later header changes of what is stored.

use std::sync::Arc;

use http::header::ETAG;
use http::{HeaderMap, HeaderValue};
use nearcast_shared::clock::Timestamp;

use super::judge::Kept;
use super::task::Task;
use super::{Coming, Head, Place};
use crate::key::StoreKey;
use crate::policy::freshness::Exchange;
use crate::policy::validator;
use crate::purge::Verdict;
use crate::store::Piece;
use crate::store::object::{Base, CHUNK, Object, Variant};
use crate::variant;
use crate::worker::Edge;

impl Task<'_> {
    /// The stored answer that a 304 is about: its header updated, its times anew.
    pub(super) async fn confirmed(&self, not_modified: &HeaderMap, exchange: Exchange) -> Option<Arc<Object>> {
        let own = &self.plan.stored;
        let asked = usize::from(own.is_some()) + self.plan.others().filter(|other| other.tag.is_some()).count();
        // What was purged since it was looked up is not asked about any more.
        let alive = |stored: &&Arc<Object>| !self.worker.edge.is_purged(&self.plan.site.name, self.plan.url, stored);
        if let Some(stored) = own.as_ref().filter(alive)
            && (validator::names_one(not_modified) || asked == 1)
            && validator::confirms(not_modified, &stored.original_headers(), exchange.response_time)
        {
            return self.freshened(stored, self.plan.key.store, not_modified, exchange).await;
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
            let object = self.freshened(&object, other.key, not_modified, exchange).await?;
            if self.may_store(&self.plan.key.store, &object) && self.put(self.plan.key.store, &object).await {
                self.add_variant(&variant::vary_of(&object.original_headers()), self.plan.key.store, &object).await;
            }
            return Some(object);
        }
        None
    }

    /// `None` when it may not be shared any more, or belongs elsewhere now.
    async fn freshened(
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
            renew(&self.worker.edge, key, object.clone()).await;
        }
        Some(object)
    }

    /// Where the chunks of what comes go: on the grid when they are whole there, with those of the same body that are
    /// stored.
    pub(super) fn place(&self, object: &Object, length: Option<u64>, coming: Coming, now: Timestamp) -> Place {
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

    /// Whether this fetch of `object` may be stored under `key`, as far as that can be told from memory. What a soft purge covers
    /// may, stale as it is, but not in place of what was fetched after that.
    pub(super) fn may_store(&self, key: &StoreKey, object: &Object) -> bool {
        let edge = &self.worker.edge;
        match edge.verdict(&self.plan.site.name, self.plan.url, object, edge.clock.now()) {
            Verdict::Alive => true,
            Verdict::Soft { .. } => {
                !matches!(edge.store.peek(key), Some(Piece::Object(stored)) if stored.tick > object.tick)
            }
            Verdict::Gone => false,
        }
    }

    /// Stores an answer that is all here, if it may be.
    pub(super) async fn put_whole(&self, head: &Head, object: &Arc<Object>) {
        if self.may_store(&head.key, object) && self.put(head.key, object).await {
            self.add_variant(&head.vary, head.key, object).await;
        }
    }

    /// Stores what is all here, unless the like of it was fetched later and is stored.
    pub(super) async fn put(&self, key: StoreKey, object: &Arc<Object>) -> bool {
        let edge = &self.worker.edge;
        // On disk, too: memory may have given it up since. Before the turn, in which nobody waits for a disk.
        let found = edge.store.look(&key).await;
        let _in_turn = edge.fills.turn(&key);
        let is_late = matches!(edge.store.peek(&key).or(found), Some(Piece::Object(now))
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
pub async fn renew(edge: &Edge, key: StoreKey, object: Arc<Object>) {
    let found = edge.store.look(&key).await;
    let _in_turn = edge.fills.turn(&key);
    let object = match edge.store.peek(&key).or(found) {
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
