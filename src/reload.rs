//! A whole new world, or the old one: everything is read and compiled first, and only when all of it is good is it
//! swapped in.

use std::sync::Arc;

use nearcast_dns as dns;
use nearcast_edge::view::View;
use nearcast_shared::config::{Config, Mistakes};
use nearcast_shared::geo::{self, GeoDb, GeoError};
use nearcast_shared::health::probe;
use nearcast_shared::metrics::Metrics;
use nearcast_shared::trust;
use thiserror::Error;

use crate::control::{Control, Generation, chain};

/// Why the old world stays.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The file has mistakes.
    #[error(transparent)]
    Config(#[from] Mistakes),
    /// What changed needs a restart.
    #[error("these changed and need a restart: {}; the old config stays in force", .0.join(", "))]
    NeedsRestart(Vec<&'static str>),
    /// Geo data cannot be used.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] nearcast_edge::tls::CertificateError),
    /// A zone cannot be used.
    #[error(transparent)]
    Dns(#[from] dns::ViewError),
    /// The configured authorities cannot be used.
    #[error(transparent)]
    Trust(#[from] trust::TrustError),
}

/// The geo data that `config` names, or the built-in.
///
/// # Errors
/// When a file cannot be used.
pub fn load_geo(config: &Config) -> Result<GeoDb, GeoError> {
    let (places, asns) = (&config.geo.database, &config.geo.asn);
    if places.is_empty() { geo::builtin::load()?.with_asn(asns) } else { GeoDb::open(places, asns) }
}

/// What of all that `config` names cannot be used: geo data, certificates, authorities, zones. Reads what a node reads.
pub fn unusable(config: &Config) -> Vec<String> {
    let mut mistakes = Vec::new();
    let geo = load_geo(config).map_err(|error| mistakes.push(chain(&error))).unwrap_or_else(|()| GeoDb::empty());
    if let Err(error) = dns::View::compile(config, geo.into(), &dns::DnsMetrics::register(&Metrics::new())) {
        mistakes.push(chain(&error));
    }
    let sites = config.sites.iter().filter_map(|site| site.tls.as_ref());
    for files in sites.chain(&config.admin.tls) {
        mistakes.extend(nearcast_edge::tls::load(files).err().map(|error| chain(&error)));
    }
    mistakes.extend(trust::client_config(config.origin.ca.as_deref(), &[]).err().map(|error| chain(&error)));
    mistakes
}

/// How long purges are kept, in milliseconds.
pub fn purges_kept_ms(config: &Config) -> u64 {
    u64::try_from(config.cache.purges_kept().as_millis()).unwrap_or(u64::MAX)
}

/// Logs the risks that `config` takes.
pub fn log_warnings(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!(warning, "the config takes a risk");
    }
}

/// A reload that took.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Reloaded {
    /// Which one it is.
    pub generation: u64,
    /// What the operator should know of it.
    pub warnings: Vec<String>,
}

impl Control {
    /// Reads the config file again and swaps the world, or says why not. Blocks: it reads files.
    ///
    /// # Errors
    /// With the old world left as it was.
    pub fn reload(&self) -> Result<u64, ReloadError> {
        let _one_at_a_time = self.reloading.lock();
        let outcome = self.try_reload();
        let mut generation = self.generation.lock();
        match &outcome {
            Ok(config) => {
                let number = generation.number + 1;
                *generation = Generation { number, loaded: self.clock.now(), last_error: None };
                tracing::info!(generation = number, file = %config.file.display(), "config reloaded");
                log_warnings(config);
            }
            Err(error) => {
                let text = chain(error);
                tracing::error!(error = text, "reload refused: the old config stays in force");
                generation.last_error = Some(text);
            }
        }
        outcome.map(|_| generation.number)
    }

    fn try_reload(&self) -> Result<Arc<Config>, ReloadError> {
        let old = self.config.load_full();
        let config = Arc::new(Config::load(&old.file, &self.inputs)?);
        let restart = old.needs_restart(&config);
        if !restart.is_empty() {
            return Err(ReloadError::NeedsRestart(restart));
        }
        // The built-in data does not change while the process runs.
        let keep_geo = old.geo.files().chain(config.geo.files()).next().is_none();
        let geo = if keep_geo { self.geo.load_full() } else { Arc::new(load_geo(&config)?) };
        let edge_view = View::compile(&config, &self.edge.metrics)?;
        let dns_view = dns::View::compile(&config, geo.clone(), &self.dns_metrics)?;
        let tls = trust::client_config(config.origin.ca.as_deref(), &[])?;

        // Nothing fails from here on. Health first: it must know the PoPs that the new view names.
        self.health.reconfigure(&config);
        self.dns_view.store(Arc::new(dns_view));
        self.edge.view.store(Arc::new(edge_view));
        self.edge.store.set_sites(&config.sites);
        self.edge.purges.set_keep(purges_kept_ms(&config));
        self.edge.access_log.reopen();
        self.geo.store(geo);
        let _in_control_runtime = self.runtime.enter();
        *self.probes.lock() = probe::spawn(&config, &self.health, &self.clock, &tls);
        self.config.store(config.clone());
        Ok(config)
    }
}
