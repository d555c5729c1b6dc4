//! What became of signatures, by zone; and what is kept of them, at the moment of the scrape.

use std::sync::Arc;

use nearcast_shared::metrics::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;

use super::signers::Signers;
use crate::metrics::Counter;

/// What became of a set that was to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// There was no signature, so one was made.
    Made,
    /// It was made anew ahead of its end.
    Renewed,
    /// It was there.
    Cached,
    /// It was to be renewed, which somebody else does or which cannot be done now, and is good still.
    Due,
    /// Too many are made this second.
    Limited,
    /// The time of day is not known.
    Clock,
    /// The cryptographic library failed.
    Failed,
}

impl Outcome {
    const ALL: [Self; 7] =
        [Self::Made, Self::Renewed, Self::Cached, Self::Due, Self::Limited, Self::Clock, Self::Failed];
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let token = match self {
            Self::Made => "made",
            Self::Renewed => "renewed",
            Self::Cached => "cached",
            Self::Due => "due",
            Self::Limited => "limited",
            Self::Clock => "clock",
            Self::Failed => "failed",
        };
        EncodeLabelValue::encode(&token, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    zone: String,
    outcome: Outcome,
}

/// Counters of a zone, by [`Outcome`].
pub(crate) type ZoneCounters = [Counter; Outcome::ALL.len()];

/// `dnssec_signatures_total`.
#[derive(Debug, Clone, Default)]
pub struct SignatureMetrics {
    outcomes: Family<OutcomeLabels, Counter>,
}

impl SignatureMetrics {
    /// Registers the counters; once in a process.
    pub fn register(metrics: &Metrics) -> Self {
        let made = Self::default();
        metrics.register(|registry| {
            let help = "Sets that were to be signed, by what became of it";
            registry.register("dnssec_signatures", help, made.outcomes.clone());
        });
        made
    }

    /// The counters of a zone, to be kept: this takes a lock.
    pub(crate) fn zone(&self, zone: &str) -> ZoneCounters {
        Outcome::ALL.map(|outcome| self.outcomes.get_or_create_owned(&OutcomeLabels { zone: zone.to_owned(), outcome }))
    }
}

/// Shows what [`Signers`] keeps, and what it thinks of the clock.
#[derive(Debug)]
pub struct SignersCollector {
    /// Whom to ask.
    pub signers: Arc<Signers>,
}

impl Collector for SignersCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = self.signers.status();
        let pools = [("kept", &status.kept), ("passing", &status.passing)];
        let help = "Sets whose signatures are kept";
        let mut family = encoder.encode_descriptor("dnssec_signatures_held", help, None, MetricType::Gauge)?;
        for (pool, held) in pools {
            let count = i64::try_from(held.count).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(family.encode_family(&[("pool", pool)])?)?;
        }
        let help = "When the signature that ends first does, in seconds since the epoch";
        let mut family = encoder.encode_descriptor("dnssec_signatures_end_seconds", help, None, MetricType::Gauge)?;
        for (pool, held) in pools {
            let Some(ends) = held.ends else { continue };
            ConstGauge::new(ends.seconds()).encode(family.encode_family(&[("pool", pool)])?)?;
        }
        let help = "Whether signatures are made by the time of day as it is: 0 while the clock is not believed";
        let family = encoder.encode_descriptor("dnssec_clock_believed", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::from(status.clock.is_none())).encode(family)
    }
}
