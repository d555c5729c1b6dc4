//! What targets share: a DNS plane with a little of everything.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use nearcast_dns::{DnsMetrics, Plane, View};
use nearcast_shared::clock::{Clock, Timestamp};
use nearcast_shared::config::{Config, Inputs};
use nearcast_shared::geo::GeoDb;
use nearcast_shared::health::HealthBoard;
use nearcast_shared::metrics::Metrics;

/// Steered names of several kinds, and records of several types.
const CONFIG: &str = include_str!("plane.toml");

/// A plane that answers from [`CONFIG`], in a moment that never passes.
pub fn plane() -> Plane {
    let inputs = Inputs { pop: Some("sin".to_owned()), ..Inputs::default() };
    let config =
        Config::parse(CONFIG, Path::new("plane.toml"), &inputs).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
    let metrics = Arc::new(DnsMetrics::register(&Metrics::new()));
    let view = View::compile(&config, Arc::new(GeoDb::empty()), &metrics).expect("the config is right");
    let health = HealthBoard::new(&config, None, &clock).expect("nothing is read");
    let view = Arc::new(ArcSwap::from_pointee(view));
    Plane { view, health, texts: Arc::default(), metrics, clock }
}
