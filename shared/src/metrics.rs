//! The registry that every room registers its metrics in at wiring, and the metrics of health.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::health::HealthBoard;

/// All metrics of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    registry: Mutex<Registry>,
}

impl Metrics {
    /// An empty registry whose names begin with `nearcast_`.
    pub fn new() -> Self {
        Self { registry: Mutex::new(Registry::with_prefix("nearcast")) }
    }

    /// Lets `register` add its metrics.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock())
    }

    /// Everything in the text format that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _infallible = encode(&mut text, &self.registry.lock());
        text
    }
}

/// Shows the health table as it is at the moment of the scrape.
#[derive(Debug)]
pub struct HealthCollector {
    /// The board to read.
    pub board: Arc<HealthBoard>,
}

impl Collector for HealthCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "pop_up",
            "Whether DNS may hand out the PoP",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        for pop in &self.board.table().pops {
            let labels = [("pop", pop.name.as_ref())];
            let metric = ConstGauge::new(i64::from(pop.up));
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
