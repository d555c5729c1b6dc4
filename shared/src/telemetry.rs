//! Logs: for people or as JSON, to standard error.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// Starts logging. A second call in one process is ignored: tests start many nodes.
pub fn init(log: &Log) {
    let filter = filter(log.level);
    let registry = tracing_subscriber::registry().with(filter);
    let layer =
        tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let _already_set = match log.format {
        LogFormat::Text => registry.with(layer.with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
}

/// Libraries speak at `warn`.
fn filter(level: Level) -> EnvFilter {
    let libraries = level.min(Level::WARN);
    EnvFilter::new(format!(
        "{libraries},nearcast={level},nearcast_shared={level},nearcast_dns={level},nearcast_edge={level}"
    ))
}
