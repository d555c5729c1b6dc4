//! The registry that every room registers its metrics in at wiring, and the metrics of health.

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

mod health;

pub use health::HealthCollector;

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
