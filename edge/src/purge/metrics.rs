//! What is counted of purges.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::mark::Mode;
use super::scope::Kind;
use crate::metrics::Latency;

/// Who caused a purge, and how much it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Order(Mode),
    /// An unsafe request of a client.
    Invalidation,
}

impl Cause {
    fn token(self) -> &'static str {
        match self {
            Self::Order(Mode::Hard) => "hard",
            Self::Order(Mode::Soft) => "soft",
            Self::Invalidation => "invalidation",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    mode: &'static str,
}

/// The metrics of purges.
#[derive(Debug, Clone, Default)]
pub struct PurgeMetrics {
    purges: Family<Labels, Counter>,
    /// From the order until it was on disk.
    pub(super) commit: Latency,
    /// Writes of the log that failed.
    pub(super) log_errors: Counter,
    /// The last sequence that was given out.
    pub(super) sequence: Gauge,
}

impl PurgeMetrics {
    /// Registers all of them.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        registry.register("purges", "Entries purged, by kind and mode", all.purges.clone());
        let help = "Time from a purge's order until it was on disk";
        registry.register_with_unit("purge_commit", help, Unit::Seconds, all.commit.clone());
        registry.register("purge_log_errors", "Writes of the purge log that failed", all.log_errors.clone());
        registry.register("purge_sequence", "Sequence of the node's last purge record", all.sequence.clone());
        all
    }

    pub(super) fn count(&self, kind: Kind, cause: Cause) {
        self.purges.get_or_create(&Labels { kind: kind.token(), mode: cause.token() }).inc();
    }
}
