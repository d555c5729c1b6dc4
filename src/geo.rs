//! What became of new geo data: whether it was taken, and if not, why; and the files in force, as metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use nearcast_dns as dns;
use nearcast_shared::clock::{Clock, Timestamp};
use nearcast_shared::geo::GeoDb;
use nearcast_shared::geo::gate::GeoRefusal;
use nearcast_shared::metrics::Metrics;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Serialize;
use tokio::sync::Notify;

pub(crate) mod maps;
pub(crate) mod watch;

use watch::Prints;

/// The desk over which new geo data goes.
#[derive(Debug)]
pub(crate) struct GeoDesk {
    changes: Family<ChangeLabels, Counter>,
    refused: Mutex<Option<Refused>>,
    /// Of the files in force, taken before they were read.
    prints: Mutex<Prints>,
    /// The node ends: maps that are being made are wanted no more.
    pub(crate) ending: AtomicBool,
    /// A config was taken over: it may have another interval.
    pub(crate) reloaded: Notify,
}

/// The last geo data that was not taken, until some is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// RFC 3339.
    pub at: String,
    /// Why.
    pub why: String,
}

/// What came of new geo data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    /// It is in force.
    Taken,
    /// It cannot be read.
    Unusable,
    /// It is older than what is in force.
    Older,
    /// It is much smaller.
    Smaller,
    /// It moves too much.
    Moved,
}

impl EncodeLabelValue for Change {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let token = match self {
            Self::Taken => "taken",
            Self::Unusable => "unusable",
            Self::Older => "older",
            Self::Smaller => "smaller",
            Self::Moved => "moved",
        };
        EncodeLabelValue::encode(&token, encoder)
    }
}

impl From<&GeoRefusal> for Change {
    fn from(refusal: &GeoRefusal) -> Self {
        match refusal {
            GeoRefusal::Older { .. } => Self::Older,
            GeoRefusal::Smaller { .. } => Self::Smaller,
            GeoRefusal::Moved { .. } => Self::Moved,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabels {
    outcome: Change,
}

impl GeoDesk {
    /// With the files in force as they were before they were read.
    pub(crate) fn new(metrics: &Metrics, prints: Prints) -> Self {
        let changes = Family::default();
        metrics.register(|registry| {
            registry.register("geo_changes", "New geo data, by what came of it", changes.clone());
        });
        Self {
            changes,
            refused: Mutex::new(None),
            prints: Mutex::new(prints),
            ending: AtomicBool::new(false),
            reloaded: Notify::new(),
        }
    }

    /// The files in force are these.
    pub(crate) fn take(&self, prints: Prints) {
        self.changes.get_or_create(&ChangeLabels { outcome: Change::Taken }).inc();
        *self.prints.lock() = prints;
        *self.refused.lock() = None;
    }

    pub(crate) fn refuse(&self, change: Change, why: String, now: Timestamp) {
        self.changes.get_or_create(&ChangeLabels { outcome: change }).inc();
        *self.refused.lock() = Some(Refused { at: crate::control::date(now), why });
    }

    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused.lock().clone()
    }

    pub(crate) fn prints(&self) -> Prints {
        self.prints.lock().clone()
    }

    /// Nothing is wanted any more.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
        self.reloaded.notify_one();
    }
}

/// Shows the files in force and the maps as they are at the moment of the scrape.
#[derive(Debug)]
pub(crate) struct GeoCollector {
    pub(crate) geo: Arc<ArcSwap<GeoDb>>,
    pub(crate) view: Arc<ArcSwap<dns::View>>,
    pub(crate) clock: Clock,
}

impl Collector for GeoCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let files = self.geo.load().files();
        let now = self.clock.now().0 / 1_000;
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let built = |epoch: u64| whole(epoch).min(now);
        let rows: [(&str, &str, Vec<i64>); 4] = [
            (
                "geo_file_build_timestamp_seconds",
                "When a geo file was built, since 1970",
                files.iter().map(|file| whole(file.build_epoch)).collect(),
            ),
            (
                "geo_file_age_seconds",
                "How long ago a geo file was built",
                files.iter().map(|file| now - built(file.build_epoch)).collect(),
            ),
            ("geo_file_bytes", "Size of a geo file", files.iter().map(|file| whole(file.bytes)).collect()),
            (
                "geo_file_networks",
                "Networks in a geo file, about",
                files.iter().map(|file| whole(file.nodes)).collect(),
            ),
        ];
        for (name, help, values) in rows {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (file, value) in files.iter().zip(values) {
                let path = file.path.display().to_string();
                ConstGauge::new(value).encode(family.encode_family(&[("file", path.as_str())])?)?;
            }
        }
        let view = self.view.load();
        let Some(maps) = view.maps() else { return Ok(()) };
        let size = maps.size();
        let rows = [
            ("map_bytes", "Bytes of the compiled maps", size.bytes as f64),
            ("map_prefixes", "Prefixes of the compiled maps", size.prefixes as f64),
            ("map_rankings", "Distinct rankings of the compiled maps", size.rankings as f64),
            ("map_build_seconds", "How long it took to compile the maps", maps.took().as_secs_f64()),
            ("map_build_timestamp_seconds", "When the maps were compiled, since 1970", maps.made().seconds() as f64),
        ];
        for (name, help, value) in rows {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
