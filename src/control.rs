//! The handles by which a running node is seen and steered: by signals, by the admin API, by tests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use nearcast_dns as dns;
use nearcast_edge::explain::{self, Explanation};
use nearcast_edge::inspect::{self, Inspection};
use nearcast_edge::listener::Phase;
use nearcast_edge::question::{Located, NotServed, Question};
use nearcast_edge::view::View;
use nearcast_edge::worker::Edge;
use nearcast_shared::clock::{Clock, Timestamp};
use nearcast_shared::config::{Config, Inputs};
use nearcast_shared::geo::{GeoDb, GeoFileInfo};
use nearcast_shared::health::own::Says;
use nearcast_shared::health::{HealthBoard, OrphanedHold, PopStatus};
use nearcast_shared::metrics::Metrics;
use parking_lot::Mutex;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::dnssec::{self, DnssecStatus, RELEASE};
use crate::geo::maps::MapMaker;
use crate::geo::{GeoDesk, Refused};
use crate::prefetch::Prefetcher;
use crate::texts::TextDesk;

mod prefetch;
mod purge;

pub use purge::{PurgeOrder, Purged, What};

/// Where a node really listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// HTTP over TLS.
    pub https: Vec<SocketAddr>,
    /// DNS over UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// DNS over TLS.
    pub dot: Vec<SocketAddr>,
    /// DNS over HTTPS.
    pub doh: Vec<SocketAddr>,
    /// DNS over QUIC.
    pub doq: Vec<SocketAddr>,
    /// The admin API.
    pub admin: SocketAddr,
}

impl OrderError {
    /// The same, of one entry of a list: then nothing was done.
    fn at(self, place: &str) -> Self {
        let said = |text: String| format!("{place}: {text}; nothing was done");
        match self {
            Self::Malformed(text) => Self::Malformed(said(text)),
            Self::Unknown(text) => Self::Unknown(said(text)),
            failed @ Self::Failed(..) => failed,
        }
    }
}

/// A running node's handles.
#[derive(Debug)]
pub struct Control {
    /// What is in force.
    pub config: ArcSwap<Config>,
    pub(crate) inputs: Inputs,
    /// The edge.
    pub edge: Arc<Edge>,
    /// What DNS answers from.
    pub dns_view: Arc<ArcSwap<dns::View>>,
    pub(crate) dns_metrics: Arc<dns::DnsMetrics>,
    /// The certificate of encrypted DNS.
    pub(crate) dns_shown: Arc<dns::Shown>,
    /// How DNS answers.
    pub(crate) dns_manners: Arc<ArcSwap<dns::Manners>>,
    pub(crate) dns_seed: dns::Seed,
    pub(crate) query_log: dns::QueryLog,
    pub(crate) signers: Arc<dns::dnssec::Signers>,
    /// Where the time is noted.
    pub(crate) clock_file: PathBuf,
    pub(crate) signature_metrics: dns::dnssec::SignatureMetrics,
    /// Who is up.
    pub health: Arc<HealthBoard>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    pub(crate) prefetcher: Prefetcher,
    pub(crate) texts: TextDesk,
    pub(crate) geo: Arc<ArcSwap<GeoDb>>,
    pub(crate) geo_desk: Arc<GeoDesk>,
    pub(crate) maps: Arc<MapMaker>,
    /// Where `now` comes from.
    pub clock: Clock,
    /// Where the node listens.
    pub addresses: Addresses,
    /// Eight hexadecimal digits.
    pub node_id: String,
    /// Held while the world is read and swapped: one reload at a time.
    pub(crate) reloading: Mutex<()>,
    pub(crate) generation: Mutex<Generation>,
    pub(crate) probes: Mutex<JoinSet<()>>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) started: Instant,
}

/// Which config is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Counts reloads that took; 1 at the start.
    pub number: u64,
    /// Since when.
    pub loaded: Timestamp,
    /// Why the last reload did not take, if it did not.
    pub last_error: Option<String>,
}

/// Why an order of an operator cannot be followed.
#[derive(Debug, Error)]
pub enum OrderError {
    /// Malformed.
    #[error("{0}")]
    Malformed(String),
    /// What it names does not exist.
    #[error("{0}")]
    Unknown(String),
    /// It should work but does not.
    #[error("{0}: {1}")]
    Failed(&'static str, String),
}

impl Control {
    /// Why a client gets which PoP.
    ///
    /// # Errors
    /// When the name is not a steered one of ours.
    pub fn explain(&self, name: &str, client: std::net::IpAddr) -> Result<dns::Explanation, OrderError> {
        dns::explain(&self.dns_view.load(), name, client, &self.health.table(), self.clock.now()).map_err(|error| {
            match error {
                dns::ExplainError::NotAName(_) => OrderError::Malformed(error.to_string()),
                _ => OrderError::Unknown(error.to_string()),
            }
        })
    }

    /// What the cache would do with a GET, and why.
    ///
    /// # Errors
    /// When no site would take it.
    pub async fn explain_url(
        &self,
        url: &str,
        fields: &http::HeaderMap,
        client: std::net::IpAddr,
    ) -> Result<Explanation, OrderError> {
        let url = parsed(url)?;
        Ok(explain::explain(&self.edge, Question { url: &url, fields, client }).await?)
    }

    /// What is stored of a URL, and the fetches that run for it.
    ///
    /// # Errors
    /// When no site would take it.
    pub async fn inspect(
        &self,
        url: &str,
        fields: &http::HeaderMap,
        client: std::net::IpAddr,
    ) -> Result<Inspection, OrderError> {
        let url = parsed(url)?;
        Ok(inspect::inspect(&self.edge, Question { url: &url, fields, client }).await?)
    }

    /// The node at a glance.
    pub fn status(&self) -> Status {
        let config = self.config.load();
        let generation = self.generation.lock().clone();
        Status {
            pop: config.this_pop().name.clone(),
            node: self.node_id.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs(),
            phase: self.phase_name(),
            says_up: self.health.says().is_up(),
            says: self.health.says(),
            config: ConfigStatus {
                file: config.file.display().to_string(),
                generation: generation.number,
                loaded: date(generation.loaded),
                last_error: generation.last_error,
            },
            listeners: self.addresses.clone(),
            geo: self.geo.load().files(),
            geo_refused: self.geo_desk.refused(),
            map: self.dns_view.load().maps().map(MapStatus::from),
            dnssec: self.dnssec(),
            pops: self.health.status(),
            holds_orphaned: self.health.orphaned_holds(),
            cache: self.edge.store.usage(),
            fills_running: self.edge.fills.running(),
            purge_records: self.edge.purges.records(),
            origins_unreached: self.origins_unreached(),
        }
    }

    fn dnssec(&self) -> Option<DnssecStatus> {
        let view = self.dns_view.load();
        let zones = Some(view.keys().count()).filter(|count| *count > 0)?;
        let status = self.signers.status();
        let first_end = [status.kept.ends, status.passing.ends].into_iter().flatten().min().map(date);
        let (kept, passing) = (status.kept.count, status.passing.count);
        let warnings = view.keys().warnings(self.signers.latest());
        Some(DnssecStatus { zones, kept, passing, first_end, clock: status.clock, warnings })
    }

    /// An operator says that the clock is right, however it was set.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn believe_clock(&self) -> Result<(), OrderError> {
        if self.clock.now() < RELEASE {
            let earliest = dns::dnssec::stamp(RELEASE);
            return Err(OrderError::Malformed(format!("the clock is not right: it is before {earliest} (UTC)")));
        }
        self.signers.believe_clock();
        // Before a restart needs it.
        dnssec::note(&self.signers, &self.clock_file);
        Ok(())
    }

    fn origins_unreached(&self) -> Vec<OriginStatus> {
        let lost = self.edge.reach.lost(&self.edge.view.load());
        lost.into_iter().map(|(site, why)| OriginStatus { site, why: why.to_string() }).collect()
    }

    /// Geo files are looked at no more, and no maps are made.
    pub(crate) fn end_geo(&self) {
        self.geo_desk.end();
        self.maps.end();
    }

    fn phase_name(&self) -> &'static str {
        match *self.phase.borrow() {
            Phase::Running if self.health.is_leaving() => "lingering",
            Phase::Running => "running",
            Phase::Closing | Phase::Ended => "closing",
        }
    }
}

impl From<NotServed> for OrderError {
    fn from(error: NotServed) -> Self {
        match error {
            NotServed::NotAUrl(_) => Self::Malformed(error.to_string()),
            NotServed::NoSite(_) => Self::Unknown(error.to_string()),
        }
    }
}

/// All entries of a list, or the first that cannot be followed.
fn each<T>(
    list: &str,
    entries: &[String],
    follow: impl Fn(&str) -> Result<T, OrderError>,
) -> Result<Vec<T>, OrderError> {
    let named = |(at, entry): (usize, &String)| follow(entry).map_err(|error| error.at(&format!("{list}[{at}]")));
    entries.iter().enumerate().map(named).collect()
}

/// A URL and the site that takes it.
fn located(view: &View, text: &str) -> Result<(http::Uri, Located), OrderError> {
    let url = parsed(text)?;
    let located = Located::new(view, &url).map_err(|error| match error {
        NotServed::NotAUrl(_) => NotServed::NotAUrl(shortened(text)).into(),
        NotServed::NoSite(_) => OrderError::Unknown(format!("`{}`: {error}", shortened(text))),
    })?;
    Ok((url, located))
}

fn parsed(url: &str) -> Result<http::Uri, OrderError> {
    url.parse().map_err(|_| NotServed::NotAUrl(shortened(url)).into())
}

/// Enough of a text to tell it.
fn shortened(text: &str) -> String {
    const MOST: usize = 100;
    if text.chars().count() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain("..".chars()).collect() }
}

/// What `GET /v1/status` shows.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The PoP's name.
    pub pop: String,
    /// The node's id.
    pub node: String,
    /// The program's version.
    pub version: &'static str,
    /// Since the start.
    pub uptime_seconds: u64,
    /// `running`, `lingering` or `closing`.
    pub phase: &'static str,
    /// Whether it tells its probers that it is up.
    pub says_up: bool,
    /// And why not.
    pub says: Says,
    /// Which config is in force.
    pub config: ConfigStatus,
    /// Where it listens.
    pub listeners: Addresses,
    /// Geo data in force.
    pub geo: Vec<GeoFileInfo>,
    /// Geo data that was refused since.
    pub geo_refused: Option<Refused>,
    /// The compiled maps, once they are made.
    pub map: Option<MapStatus>,
    /// Signing, if some zone is signed.
    pub dnssec: Option<DnssecStatus>,
    /// The fleet as this node sees it.
    pub pops: Vec<PopStatus>,
    /// Holds of PoPs that the config does not have.
    pub holds_orphaned: Vec<OrphanedHold>,
    /// The store.
    pub cache: nearcast_edge::store::StoreUsage,
    /// Fetches that run.
    pub fills_running: usize,
    /// Purges in force.
    pub purge_records: usize,
    /// Sites whose origin this node does not reach.
    pub origins_unreached: Vec<OriginStatus>,
}

/// A site whose origin this node does not reach.
#[derive(Debug, Clone, Serialize)]
pub struct OriginStatus {
    /// The site.
    pub site: String,
    /// In words.
    pub why: String,
}

/// What the compiled maps amount to.
#[derive(Debug, Clone, Serialize)]
pub struct MapStatus {
    /// In memory.
    pub bytes: usize,
    /// Of both families and all policies.
    pub prefixes: usize,
    /// Different ones.
    pub rankings: usize,
    /// How long it took to make them.
    pub build_ms: u64,
}

impl From<&Arc<dns::Maps>> for MapStatus {
    fn from(maps: &Arc<dns::Maps>) -> Self {
        let dns::MapSize { bytes, prefixes, rankings } = maps.size();
        let build_ms = u64::try_from(maps.took().as_millis()).unwrap_or(u64::MAX);
        Self { bytes, prefixes, rankings, build_ms }
    }
}

/// Which config is in force.
#[derive(Debug, Clone, Serialize)]
pub struct ConfigStatus {
    /// The file.
    pub file: String,
    /// Counts reloads that took.
    pub generation: u64,
    /// RFC 3339.
    pub loaded: String,
    /// Why the last reload did not take, if it did not.
    pub last_error: Option<String>,
}

/// RFC 3339 in UTC.
pub(crate) fn date(time: Timestamp) -> String {
    humantime::format_rfc3339_millis(Timestamp(time.0.max(0)).to_system_time()).to_string()
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bad_entry_is_named() {
        let follow = |entry: &str| match entry {
            "bad" => Err(OrderError::Malformed("`bad` is bad".to_owned())),
            "gone" => Err(OrderError::Unknown("`gone` is gone".to_owned())),
            _ => Ok(entry.len()),
        };
        let of = |entries: &[&str]| {
            let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
            each("urls", &entries, follow).map_err(|error| error.to_string())
        };
        assert_eq!(of(&["a", "b"]), Ok(vec![1, 1]));
        assert_eq!(of(&["a", "bad", "gone"]), Err("urls[1]: `bad` is bad; nothing was done".to_owned()));
        assert_eq!(of(&["a", "b", "gone"]), Err("urls[2]: `gone` is gone; nothing was done".to_owned()));
    }

    #[test]
    fn long_texts_are_shortened() {
        assert_eq!(shortened("/a"), "/a");
        assert_eq!(shortened(&"ä".repeat(101)), format!("{}..", "ä".repeat(100)));
    }
}
