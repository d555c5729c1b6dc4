//! Fetching what turns out to be missing of a stored body while it is read: parts that were never asked for, and chunks that
//! the store has lost.

use std::sync::Arc;

use super::reader::FillReader;
use super::task::{self, Plan};
use super::{Answer, Extent, Fill, FillKey, Joined};
use crate::metrics::Filled;
use crate::purge::{Subject, Verdict};
use crate::store::Piece;
use crate::store::object::Object;
use crate::view::View;
use crate::worker::Worker;

/// How to ask for the missing parts of one body.
#[derive(Debug)]
pub struct Holes {
    worker: Arc<Worker>,
    view: Arc<View>,
    /// What its request would fetch; the extent is each hole's own.
    plan: Plan,
}

impl Holes {
    /// For the body of `plan.stored`.
    pub fn new(worker: Arc<Worker>, view: Arc<View>, plan: Plan) -> Self {
        Self { worker, view, plan }
    }

    /// A reader of the missing bytes from `first` on, and where it ends; at `end` at the latest. `None` when the origin has
    /// them no more, or not of the same body.
    pub async fn fill(self: Arc<Self>, object: Arc<Object>, (first, end): (u64, u64)) -> Option<(FillReader, u64)> {
        let edge = &self.worker.edge;
        let plan = &self.plan;
        let now = edge.clock.now();
        if !object.can_be_completed(now) || edge.is_purged(&plan.site.name, plan.url, &object) {
            return None;
        }
        let (from, to) = object.hole((first, end));
        let key = FillKey { extent: Extent::Missing { first: from, end: to }, ..plan.key };
        let covers = |fill: &Fill| {
            let subject = Subject { site: &plan.site.name, tick: fill.tick, ..object.subject(plan.url) };
            edge.purges.verdict(&subject, now) == Verdict::Gone
        };
        let reader = match edge.fills.join(key, covers, || edge.purges.tick(), self.view.fills_max) {
            Joined::Follower(reader) => reader,
            Joined::Leader(reader, lead) => {
                // A purge before the fetch had its tick takes away what it would be put to.
                let alive = !edge.is_purged(&plan.site.name, plan.url, &object);
                let stored = alive.then(|| object.clone());
                let plan = Plan { key, stored, needed: (first, end), ..plan.clone() };
                plan.site.metrics.holes.inc();
                task::start(&self.worker, self.view.clone(), plan, lead.fill, lead.unshared);
                reader
            }
            Joined::Full => {
                plan.site.metrics.filled(Filled::Refused);
                return None;
            }
        };
        // The timeouts of the origin bound this wait.
        let Answer::Stream(head) = reader.answer().await else { return None };
        let length = head.length?;
        if !object.is_of_one_body_with(length, &head.object.original_headers(), edge.clock.now()) {
            self.drop_changed(&object);
            return None;
        }
        let to = head.coming.end?.min(end);
        if first < head.coming.first || to <= first {
            return None;
        }
        Some((reader.body(head, edge.store.clone(), first, Some(to)), to))
    }

    /// The origin has another body now: what is stored of the old one cannot be completed any more.
    fn drop_changed(&self, object: &Object) {
        let (store, key) = (&self.worker.edge.store, self.plan.key.store);
        if matches!(store.peek(&key), Some(Piece::Object(now)) if now.tick == object.tick) {
            store.remove(&key);
        }
    }
}
