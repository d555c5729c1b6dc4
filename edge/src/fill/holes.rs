//! Fetching what turns out to be missing of a stored body while it is read: parts that were never asked for, and chunks that
//! the store has lost.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::reader::FillReader;
use super::task::{self, Plan};
use super::{Answer, Extent, Fill, FillKey, Joined};
use crate::forwarding::Forwarding;
use crate::headers::{Identity, Peer};
use crate::key::{StoreKey, UrlId};
use crate::metrics::Filled;
use crate::purge::{Subject, Verdict};
use crate::store::Piece;
use crate::store::object::{Base, Object};
use crate::view::{Site, View};
use crate::worker::Worker;

/// How to ask for the missing parts of one body.
#[derive(Debug)]
pub struct Holes {
    worker: Arc<Worker>,
    view: Arc<View>,
    whose: Whose,
}

/// Whose body it is, and who reads it. Most bodies lack nothing: what is asked for is made of this once one does.
#[derive(Debug)]
pub struct Whose {
    /// Where its object is.
    pub key: StoreKey,
    /// The URL's id.
    pub url: UrlId,
    /// The site.
    pub site: Arc<Site>,
    /// The reader's side.
    pub peer: Peer,
    /// The reader's country, where it is part of the key and known.
    pub country: Option<String>,
    /// The reader's fields.
    pub fields: HeaderMap,
    /// Path and query that the origin is asked for, where those are not what is keyed.
    pub own_target: Option<String>,
    /// The URL's stored answers, when they vary.
    pub base: Option<Arc<Base>>,
}

impl Whose {
    /// What the request would fetch of `object`, which it was answered with.
    fn plan(&self, object: &Object, identity: &Identity, extent: Extent) -> Plan {
        let Self { key, url, site, peer, country, fields, own_target, base } = self;
        let forwarding =
            Forwarding { looked_up: true, keying: &site.keying, peer: *peer, identity, country: country.as_deref() };
        let headers = forwarding.fields(fields);
        let authorized = headers.contains_key(AUTHORIZATION);
        Plan {
            key: FillKey { store: *key, url: *url, authorized, extent },
            site: site.clone(),
            https: object.https,
            host: object.host.clone(),
            target: object.target.clone(),
            parts: object.parts.clone(),
            sent_target: own_target.as_ref().unwrap_or(&object.target).clone(),
            url: *url,
            headers: headers.into(),
            stored: None,
            base: base.clone(),
            needed: (0, 0),
            detached: false,
        }
    }
}

impl Holes {
    /// For the body of one object.
    pub fn new(worker: Arc<Worker>, view: Arc<View>, whose: Whose) -> Self {
        Self { worker, view, whose }
    }

    /// A reader of the missing bytes from `first` on, and where it ends; at `end` at the latest. `None` when the origin has
    /// them no more, or not of the same body.
    pub async fn fill(self: Arc<Self>, object: Arc<Object>, (first, end): (u64, u64)) -> Option<(FillReader, u64)> {
        let edge = &self.worker.edge;
        let Whose { site, url, .. } = &self.whose;
        let now = edge.clock.now();
        if !object.can_be_completed(now) || edge.is_purged(&site.name, *url, &object) {
            return None;
        }
        let (from, to) = object.hole((first, end));
        let plan = self.whose.plan(&object, &edge.identity, Extent::Missing { first: from, end: to });
        let covers = |fill: &Fill| {
            let subject = Subject { site: &site.name, tick: fill.tick, ..object.subject(*url) };
            edge.purges.verdict(&subject, now) == Verdict::Gone
        };
        let reader = match edge.fills.join(plan.key, covers, || false, || edge.purges.tick(), self.view.fills_max) {
            Joined::Follower(reader) => reader,
            Joined::Leader(reader, lead) => {
                // A purge before the fetch had its tick takes away what it would be put to.
                let alive = !edge.is_purged(&site.name, *url, &object);
                let stored = alive.then(|| object.clone());
                let plan = Plan { stored, needed: (first, end), ..plan };
                site.metrics.holes.inc();
                task::start(&self.worker, self.view.clone(), plan, lead.fill, lead.unshared);
                reader
            }
            // `Again` cannot be: nothing is looked for once more here.
            Joined::Again | Joined::Full => {
                site.metrics.filled(Filled::Refused);
                return None;
            }
        };
        // The timeouts of the origin bound this wait.
        let head = match reader.answer().await {
            Answer::Stream(head) => head,
            Answer::Uncacheable(_) => {
                self.drop_changed(&object).await;
                return None;
            }
            Answer::Confirmed(_) | Answer::StandIn(..) | Answer::Failed(_) => return None,
        };
        let (original, now) = (head.object.original_headers(), edge.clock.now());
        // Of another one the length may be unknown.
        if !head.length.is_some_and(|length| object.is_of_one_body_with(length, &original, now)) {
            self.drop_changed(&object).await;
            return None;
        }
        let to = head.coming.end?.min(end);
        if first < head.coming.first || to <= first {
            return None;
        }
        Some((reader.body(head, edge.store.clone(), first, Some(to)), to))
    }

    /// The origin has another body now, or none to share: what is stored of the old one cannot be completed any more, and whoever
    /// got it would be cut off at the hole.
    async fn drop_changed(&self, object: &Object) {
        let (store, key) = (&self.worker.edge.store, self.whose.key);
        if matches!(store.look(&key).await, Some(Piece::Object(now)) if now.tick == object.tick) {
            store.remove(&key);
        }
    }
}
