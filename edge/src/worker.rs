//! What requests are served with: the node's edge, shared by all workers, and each worker's own connections to origins.

use std::sync::Arc;

use arc_swap::ArcSwap;
use nearcast_shared::clock::{Clock, Timestamp};
use nearcast_shared::doh::Doh;
use nearcast_shared::geo::GeoDb;
use nearcast_shared::health::HealthBoard;
use tokio_util::task::TaskTracker;

use crate::access_log::AccessLog;
use crate::fill::Fills;
use crate::headers::Identity;
use crate::key::{HashSecret, UrlId};
use crate::metrics::EdgeMetrics;
use crate::origin::Origins;
use crate::origin::reach::Reach;
use crate::pinned::Pinned;
use crate::policy::reuse::Standing;
use crate::policy::storable::NotStored;
use crate::purge::{Purges, Subject, Verdict};
use crate::remembered::Remembered;
use crate::store::Store;
use crate::store::object::Object;
use crate::view::{Site, View};

/// The edge of a node.
#[derive(Debug)]
pub struct Edge {
    /// The config's view; loaded once per request.
    pub view: Arc<ArcSwap<View>>,
    /// Where answers are kept.
    pub store: Store,
    /// Purges in force.
    pub purges: Arc<Purges>,
    /// Fetches that run.
    pub fills: Fills,
    /// Bytes of bodies that are with connections.
    pub pinned: Arc<Pinned>,
    /// Keys that are not worth waiting for, and why.
    pub uncacheable: Remembered<NotStored>,
    /// Keys whose fresh answers clients had checked just now.
    pub forced: Remembered<()>,
    /// Where `now` comes from.
    pub clock: Clock,
    /// What this node tells its probers.
    pub health: Arc<HealthBoard>,
    /// Which origins it does not reach.
    pub reach: Arc<Reach>,
    /// Counters.
    pub metrics: EdgeMetrics,
    /// Where clients are; replaced whole by a reload, for DNS and HTTP alike.
    pub geo: Arc<ArcSwap<GeoDb>>,
    /// Who this node is.
    pub identity: Identity,
    /// For keys.
    pub secret: HashSecret,
    /// One line per request.
    pub access_log: AccessLog,
    /// DNS over HTTPS, where sites take it.
    pub doh: Option<Doh>,
}

impl Edge {
    /// What purges say at `now` of what is stored of that site and URL.
    pub fn verdict(&self, site: &str, url: UrlId, object: &Object, now: Timestamp) -> Verdict {
        self.purges.verdict(&Subject { site, ..object.subject(url) }, now)
    }

    /// Whether it must not be used, or stored, any more. What is softly purged may: it is stale.
    pub fn is_purged(&self, site: &str, url: UrlId, object: &Object) -> bool {
        self.verdict(site, url, object, self.clock.now()) == Verdict::Gone
    }

    /// How a stored answer of `site` stands now.
    pub fn standing<'o>(&self, site: &Site, url: UrlId, object: &'o Object, now: Timestamp) -> Standing<'o> {
        object.standing(now, site.caching.grace, self.verdict(&site.name, url, object, now))
    }
}

/// One data-plane thread's part.
#[derive(Debug)]
pub struct Worker {
    /// Shared by all workers.
    pub edge: Arc<Edge>,
    /// Its own.
    pub origins: Origins,
    /// The fills that run on it: it must not end before they do.
    pub fills: TaskTracker,
}
