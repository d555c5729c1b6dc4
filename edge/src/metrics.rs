//! What is counted. One enum is at once the metric's label, the log's field and the root of Cache-Status.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::purge::PurgeMetrics;

/// How a request ended, as far as the cache is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Served from the store, fresh.
    Hit,
    /// Served from the store though stale.
    Stale,
    /// Served from the store after the origin confirmed it.
    Revalidated,
    /// Fetched, and stored if allowed.
    Miss,
    /// Served from another request's fetch.
    Collapsed,
    /// Passed to the origin without the cache.
    Pass,
    /// A purge: the request asked for no answer of the site.
    Purge,
    /// A DNS query, which asked for no answer of the site either.
    Dns,
    /// Refused by us: a bad request or a host that is not served.
    Refused,
    /// The origin failed and nothing stored could stand in.
    Failed,
}

impl Outcome {
    const ALL: [Self; 10] = [
        Self::Hit,
        Self::Stale,
        Self::Revalidated,
        Self::Miss,
        Self::Collapsed,
        Self::Pass,
        Self::Purge,
        Self::Dns,
        Self::Refused,
        Self::Failed,
    ];

    /// The word for it.
    pub fn token(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Pass => "pass",
            Self::Purge => "purge",
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// How a fetch from an origin ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// A final answer below 500.
    Answer,
    /// 304 to our condition.
    NotModified,
    /// 5xx.
    ServerError,
    /// No answer: refused, reset, malformed.
    Broken,
    /// No answer in time.
    TimedOut,
}

impl Fetched {
    const ALL: [Self; 5] = [Self::Answer, Self::NotModified, Self::ServerError, Self::Broken, Self::TimedOut];

    fn token(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::NotModified => "not-modified",
            Self::ServerError => "server-error",
            Self::Broken => "broken",
            Self::TimedOut => "timed-out",
        }
    }
}

/// What came of going on with a body that broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// The rest of the same body comes.
    Same,
    /// No answer, or another body.
    Failed,
}

impl Resumed {
    const ALL: [Self; 2] = [Self::Same, Self::Failed];

    fn token(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Failed => "failed",
        }
    }
}

/// How a fetch ended that was shared or stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// The body came to its end.
    Complete,
    /// The origin confirmed what is stored.
    Confirmed,
    /// The origin failed, and what is stored stood in.
    StandIn,
    /// The answer must not be shared.
    Uncacheable,
    /// Nobody read the body any more.
    GivenUp,
    /// The body broke off for good, or was not right.
    Broken,
    /// There was no answer.
    Failed,
    /// It did not begin: as many ran as may.
    Refused,
}

impl Filled {
    const ALL: [Self; 8] = [
        Self::Complete,
        Self::Confirmed,
        Self::StandIn,
        Self::Uncacheable,
        Self::GivenUp,
        Self::Broken,
        Self::Failed,
        Self::Refused,
    ];

    fn token(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Confirmed => "confirmed",
            Self::StandIn => "stand-in",
            Self::Uncacheable => "uncacheable",
            Self::GivenUp => "given-up",
            Self::Broken => "broken",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    site: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabels {
    site: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SiteLabel {
    site: String,
}

/// The metrics of the edge.
#[derive(Debug, Clone, Default)]
pub struct EdgeMetrics {
    requests: Family<RequestLabels, Counter>,
    sent: Family<SiteLabel, Counter>,
    first_byte: Family<SiteLabel, Latency>,
    fetches: Family<FetchLabels, Counter>,
    fetched: Family<SiteLabel, Counter>,
    fills: Family<FetchLabels, Counter>,
    tags_truncated: Family<SiteLabel, Counter>,
    /// Purges.
    pub purges: PurgeMetrics,
    resumptions: Family<FetchLabels, Counter>,
    holes: Family<SiteLabel, Counter>,
    prefetched: Family<OutcomeLabel, Counter>,
    /// Open client connections.
    pub connections: Gauge,
    /// Those of them that are at rest.
    pub at_rest: Gauge,
    /// Connections for which there was no room.
    pub beyond: Counter,
    /// TLS handshakes that failed.
    pub tls_failures: Counter,
    /// Access-log lines that were dropped because the disk was slower than the traffic.
    pub log_dropped: Counter,
}

impl EdgeMetrics {
    /// Registers all of them.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self { purges: PurgeMetrics::register(registry), ..Self::default() };
        registry.register("http_requests", "Requests by site and cache outcome", all.requests.clone());
        registry.register_with_unit("http_sent", "Body bytes sent to clients", Unit::Bytes, all.sent.clone());
        let help = "Time until the header of the answer was ready";
        registry.register_with_unit("http_first_byte", help, Unit::Seconds, all.first_byte.clone());
        registry.register("origin_fetches", "Requests to origins by site and result", all.fetches.clone());
        registry.register_with_unit("origin_received", "Body bytes from origins", Unit::Bytes, all.fetched.clone());
        let help = "Fetches that were shared or stored, by site and how they ended";
        registry.register("fills", help, all.fills.clone());
        let help = "Answers with more tags than cache.tags-max or cache.tags-size allow";
        registry.register("cache_tags_truncated", help, all.tags_truncated.clone());
        let help = "Bodies that broke off and were asked for again from there, by site and result";
        registry.register("fill_resumptions", help, all.resumptions.clone());
        let help = "Fetches of parts of stored bodies that turned out to be missing while they were read";
        registry.register("fill_holes", help, all.holes.clone());
        let help = "URLs fetched ahead of requests, by cache outcome";
        registry.register("prefetched", help, all.prefetched.clone());
        registry.register("http_connections", "Open client connections", all.connections.clone());
        let text = "Open HTTP/1 connections that wait for a request and hold no buffers";
        registry.register("http_connections_at_rest", text, all.at_rest.clone());
        let text = "Connections beyond limits.connections, which got the health answer or a 503";
        registry.register("http_connections_beyond", text, all.beyond.clone());
        registry.register("tls_handshake_failures", "TLS handshakes that failed", all.tls_failures.clone());
        registry.register("access_log_dropped", "Access-log lines dropped", all.log_dropped.clone());
        Outcome::ALL.iter().for_each(|outcome| drop(all.prefetched(*outcome)));
        all
    }

    /// URLs fetched ahead of requests that ended so.
    pub fn prefetched(&self, outcome: Outcome) -> Counter {
        self.prefetched.get_or_create(&OutcomeLabel { outcome: outcome.token() }).clone()
    }

    /// The counters of one site, looked up once per reload and not once per request.
    pub fn site(&self, site: &str) -> SiteMetrics {
        let label = SiteLabel { site: site.to_owned() };
        let request = |outcome: Outcome| {
            let labels = RequestLabels { site: site.to_owned(), outcome: outcome.token() };
            self.requests.get_or_create(&labels).clone()
        };
        let fetch = |result: Fetched| {
            let labels = FetchLabels { site: site.to_owned(), result: result.token() };
            self.fetches.get_or_create(&labels).clone()
        };
        let filled = |result: Filled| {
            let labels = FetchLabels { site: site.to_owned(), result: result.token() };
            self.fills.get_or_create(&labels).clone()
        };
        let resumed = |result: Resumed| {
            let labels = FetchLabels { site: site.to_owned(), result: result.token() };
            self.resumptions.get_or_create(&labels).clone()
        };
        SiteMetrics {
            fills: Filled::ALL.map(filled),
            resumptions: Resumed::ALL.map(resumed),
            holes: self.holes.get_or_create(&label).clone(),
            requests: Outcome::ALL.map(request),
            fetches: Fetched::ALL.map(fetch),
            sent: self.sent.get_or_create(&label).clone(),
            fetched: self.fetched.get_or_create(&label).clone(),
            tags_truncated: self.tags_truncated.get_or_create(&label).clone(),
            first_byte: self.first_byte.get_or_create(&label).clone(),
        }
    }
}

/// The counters of one site.
#[derive(Debug, Clone)]
pub struct SiteMetrics {
    requests: [Counter; Outcome::ALL.len()],
    fetches: [Counter; Fetched::ALL.len()],
    fills: [Counter; Filled::ALL.len()],
    resumptions: [Counter; Resumed::ALL.len()],
    /// Fetches of parts of stored bodies that turned out to be missing while they were read.
    pub holes: Counter,
    /// Body bytes sent to clients.
    pub sent: Counter,
    /// Body bytes from the origin.
    pub fetched: Counter,
    /// Answers of whose tags some do not count.
    pub tags_truncated: Counter,
    /// Time until the header of the answer was ready.
    pub first_byte: Latency,
}

impl SiteMetrics {
    /// Counts a request.
    pub fn request(&self, outcome: Outcome) {
        self.requests[outcome as usize].inc();
    }

    /// Counts the end of a fetch that was shared or stored.
    pub fn filled(&self, result: Filled) {
        self.fills[result as usize].inc();
    }

    /// Counts a try to go on with a body that broke off.
    pub fn resumed(&self, result: Resumed) {
        self.resumptions[result as usize].inc();
    }

    /// Counts a fetch.
    pub fn fetch(&self, result: Fetched) {
        self.fetches[result as usize].inc();
    }
}

/// Upper bounds of the latency buckets, in microseconds.
const BOUNDS: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

/// A histogram of atomics: prometheus-client's own takes a lock per observation, which all threads would share.
#[derive(Debug, Clone, Default)]
pub struct Latency(Arc<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Latency {
    /// Takes in one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.0.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl prometheus_client::metrics::TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.0.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        let bounds = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let sum = self.0.sum_micros.load(Ordering::Relaxed) as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_can_be_scraped() {
        let mut registry = Registry::default();
        let metrics = EdgeMetrics::register(&mut registry);
        let site = metrics.site("www");
        site.request(Outcome::Hit);
        site.fetch(Fetched::TimedOut);
        site.filled(Filled::GivenUp);
        site.first_byte.observe(Duration::from_micros(70));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "http_requests_total{site=\"www\",outcome=\"hit\"} 1",
            "origin_fetches_total{site=\"www\",result=\"timed-out\"} 1",
            "fills_total{site=\"www\",result=\"given-up\"} 1",
            "fills_total{site=\"www\",result=\"refused\"} 0",
            "prefetched_total{outcome=\"miss\"} 0",
            "http_first_byte_seconds_bucket{le=\"0.00005\",site=\"www\"} 0",
            "http_first_byte_seconds_bucket{le=\"0.0001\",site=\"www\"} 1",
            "http_first_byte_seconds_bucket{le=\"+Inf\",site=\"www\"} 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
