//! The handles by which a running node is seen and steered: by signals, by the admin API, by tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use nearcast_dns as dns;
use nearcast_edge::explain::{self, Explanation};
use nearcast_edge::inspect::{self, Inspection};
use nearcast_edge::key::Address;
use nearcast_edge::keying::query;
use nearcast_edge::listener::Phase;
use nearcast_edge::pipeline::prefetch;
use nearcast_edge::purge::{Receipt, Scope};
use nearcast_edge::question::{Located, NotServed, Question};
use nearcast_edge::worker::Edge;
use nearcast_shared::clock::{Clock, Timestamp};
use nearcast_shared::config::{Config, Domain, Inputs};
use nearcast_shared::geo::{GeoDb, GeoFileInfo};
use nearcast_shared::health::{HealthBoard, PopHealth};
use nearcast_shared::metrics::Metrics;
use parking_lot::Mutex;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::prefetch::{Declined, Line, Place, Prefetcher, Wishes};

/// Where a node really listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// HTTP over TLS.
    pub https: Vec<SocketAddr>,
    /// DNS over UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// The admin API.
    pub admin: SocketAddr,
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
    /// Who is up.
    pub health: Arc<HealthBoard>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    pub(crate) prefetcher: Prefetcher,
    pub(crate) geo: Arc<ArcSwap<GeoDb>>,
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

/// What a purge is about, in an operator's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurgeOrder {
    /// A URL.
    Url(String),
    /// A site, by its name or any of its domains.
    Site(String),
    /// Everything.
    All,
}

impl Control {
    /// Purges; when it returns, the purge holds.
    ///
    /// # Errors
    /// When nothing of that name is served here, or the purge log cannot be written.
    pub async fn purge(&self, order: PurgeOrder) -> Result<Receipt, OrderError> {
        let scope = match order {
            PurgeOrder::All => Scope::All,
            PurgeOrder::Site(name) => Scope::Site(self.site_named(&name)?),
            PurgeOrder::Url(url) => self.url_scope(&url)?,
        };
        tracing::info!(?scope, "purge");
        let failed = |error| OrderError::Failed("the purge does not hold", chain(&error));
        self.edge.purges.purge(scope).await.map_err(failed)
    }

    fn site_named(&self, name: &str) -> Result<String, OrderError> {
        let config = self.config.load();
        let domain = name.trim_end_matches('.').to_ascii_lowercase();
        let named = |domains: &[Domain]| domains.iter().any(|d| matches!(d, Domain::Name(own) if *own == domain));
        let site = config
            .sites
            .iter()
            .find(|site| site.name == name)
            .or_else(|| config.sites.iter().find(|site| named(&site.domains)));
        let unknown = || OrderError::Unknown(format!("no site has the name or domain `{name}`"));
        site.map(|site| site.name.clone()).ok_or_else(unknown)
    }

    fn url_scope(&self, url: &str) -> Result<Scope, OrderError> {
        let malformed =
            || OrderError::Malformed(format!("`{url}` is not a URL such as \"https://www.example.net/a?b\""));
        let uri: http::Uri = url.parse().map_err(|_| malformed())?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(malformed()),
        };
        let host = uri.host().ok_or_else(malformed)?.trim_end_matches('.').to_ascii_lowercase();
        let view = self.edge.view.load();
        let site = view.site(&host).ok_or_else(|| OrderError::Unknown(format!("no site takes the host `{host}`")))?;
        let target = nearcast_edge::request::target(&uri).ok_or_else(malformed)?;
        let target = query::canonical(&site.keying, target);
        let address = Address { site: &site.name, https, host: &host, target: &target, parts: "" };
        Ok(Scope::Url(address.url_id(&self.edge.secret)))
    }

    /// A place for a call of [`Control::prefetch`].
    ///
    /// # Errors
    /// When no more can be taken on.
    pub fn place_for_prefetch(&self) -> Result<Place, OrderError> {
        Ok(self.prefetcher.place()?)
    }

    /// Fetches URLs through the cache, ahead of requests, at most `jobs` at once. A line comes for each when it is done.
    ///
    /// # Errors
    /// When one of them is not a site's, or no more can be taken on: nothing is done then.
    pub fn prefetch(
        &self,
        place: Place,
        urls: &[String],
        fields: http::HeaderMap,
        client: std::net::IpAddr,
        jobs: usize,
    ) -> Result<mpsc::Receiver<Line>, OrderError> {
        let view = self.edge.view.load();
        if let Some(name) = prefetch::forbidden(&fields) {
            return Err(OrderError::Malformed(format!("fields: {name} is not for a fetch of all of a URL")));
        }
        if fields.len() > view.header_count_max {
            return Err(OrderError::Malformed(format!(
                "fields: more than limits.header-count, {}",
                view.header_count_max
            )));
        }
        let located = |(number, text): (usize, &String)| {
            let named = |error: OrderError| match error {
                OrderError::Malformed(text) => OrderError::Malformed(format!("urls[{number}]: {text}")),
                OrderError::Unknown(text) => OrderError::Unknown(format!("urls[{number}]: {text}")),
                failed @ OrderError::Failed(..) => failed,
            };
            let url = parsed(text).map_err(named)?;
            Located::new(&view, &url).map_err(|error| named(error.into()))?;
            Ok(url)
        };
        let urls = urls.iter().enumerate().map(located).collect::<Result<Vec<_>, OrderError>>()?;
        let jobs = jobs.min(self.config.load().admin.prefetch_jobs);
        let count = urls.len();
        let lines = self.prefetcher.call(place, Wishes { urls, fields, client, jobs })?;
        tracing::info!(urls = count, "prefetch");
        Ok(lines)
    }

    /// Why a client gets which PoP.
    ///
    /// # Errors
    /// When the name is not a steered one of ours.
    pub fn explain(&self, name: &str, client: std::net::IpAddr) -> Result<dns::Explanation, OrderError> {
        dns::explain(&self.dns_view.load(), name, client, &self.health.table()).map_err(|error| match error {
            dns::ExplainError::NotAName(_) => OrderError::Malformed(error.to_string()),
            _ => OrderError::Unknown(error.to_string()),
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
        let health = self.health.table();
        let pops = config.pops.iter().zip(health.pops.iter());
        Status {
            pop: config.this_pop().name.clone(),
            node: self.node_id.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs(),
            phase: self.phase_name(),
            says_up: self.health.says_up(),
            config: ConfigStatus {
                file: config.file.display().to_string(),
                generation: generation.number,
                loaded: date(generation.loaded),
                last_error: generation.last_error,
            },
            listeners: self.addresses.clone(),
            geo: self.geo.load().files(),
            pops: pops.map(|(pop, health)| PopStatus { name: pop.name.clone(), health: health.clone() }).collect(),
            cache: self.edge.store.usage(),
            fills_running: self.edge.fills.running(),
            purge_records: self.edge.purges.records(),
        }
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

impl From<Declined> for OrderError {
    fn from(declined: Declined) -> Self {
        Self::Failed("nothing is prefetched", declined.to_string())
    }
}

fn parsed(url: &str) -> Result<http::Uri, OrderError> {
    url.parse().map_err(|_| NotServed::NotAUrl(url.to_owned()).into())
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
    /// What it tells its probers.
    pub says_up: bool,
    /// Which config is in force.
    pub config: ConfigStatus,
    /// Where it listens.
    pub listeners: Addresses,
    /// Geo data in force.
    pub geo: Vec<GeoFileInfo>,
    /// The fleet as this node sees it.
    pub pops: Vec<PopStatus>,
    /// The store.
    pub cache: nearcast_edge::store::StoreUsage,
    /// Fetches that run.
    pub fills_running: usize,
    /// Purges in force.
    pub purge_records: usize,
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

/// One PoP as this node sees it.
#[derive(Debug, Clone, Serialize)]
pub struct PopStatus {
    /// Its name.
    pub name: String,
    /// Its health.
    #[serde(flatten)]
    pub health: PopHealth,
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
