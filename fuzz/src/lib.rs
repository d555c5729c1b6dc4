//! What targets share: a DNS plane with a little of everything.

use std::sync::Arc;

use arc_swap::ArcSwap;
use nearcast_dns::dnssec::{Algorithm, Key, Keys, SignatureMetrics, Signers, Times, write};
use nearcast_dns::{DnsMetrics, Manners, Plane, QueryLog, Seed, View};
use nearcast_shared::clock::{Clock, Timestamp};
use nearcast_shared::config::{Config, Inputs};
use nearcast_shared::geo::GeoDb;
use nearcast_shared::health::HealthBoard;
use nearcast_shared::metrics::Metrics;
use nearcast_shared::name::Name;

/// Steered names of several kinds, and records of several types.
const CONFIG: &str = include_str!("plane.toml");

/// A plane that answers from [`CONFIG`], and signs what it says, in a moment that never passes.
pub fn plane() -> Plane {
    plane_of(CONFIG)
}

/// The same without limits, so that it remembers.
pub fn unlimited() -> Plane {
    let (before, limits) = CONFIG.split_once("[dns.rate-limit]").expect("limits");
    let (_, after) = limits.split_once("\n[").expect("what is behind them");
    plane_of(&format!("{before}[{after}"))
}

fn plane_of(text: &str) -> Plane {
    let now = Timestamp::from_seconds(1_800_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let times =
        Times { created: Some(now), publish: Some(now), activate: Some(now), offer: Some(now), ..Times::default() };
    let zone = Name::parse("cdn.test").expect("a name");
    let key = Key::generate(&zone, Algorithm::Ed25519, times).expect("randomness");
    write(&folder.path().join("keys"), &key).expect("a file");

    let inputs = Inputs { pop: Some("sin".to_owned()), ..Inputs::default() };
    let file = folder.path().join("plane.toml");
    let config = Config::parse(text, &file, &inputs).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let (clock, registry) = (Clock::manual(now), Metrics::new());
    let metrics = Arc::new(DnsMetrics::register(&registry));
    let keys =
        Keys::load(&config, &SignatureMetrics::register(&registry), now).unwrap_or_else(|errors| panic!("{errors}"));
    let signers = Arc::new(Signers::new(&config.dnssec, clock.clone(), [1; 16], now));
    signers.use_keys(&keys);
    let view = View::compile(&config, Arc::new(GeoDb::empty()), &metrics).expect("the config is right").with_keys(keys);
    Plane {
        view: Arc::new(ArcSwap::from_pointee(view)),
        health: HealthBoard::new(&config, None, &clock).expect("nothing is read"),
        texts: Arc::default(),
        manners: Arc::new(ArcSwap::from_pointee(Manners::new(&config, Seed([2; 32]), None))),
        log: QueryLog::off(),
        signers,
        metrics,
        clock,
    }
}
