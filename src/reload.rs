//! A whole new world, or the old one: everything is read and compiled first, and only when all of it is good is it
//! swapped in.

use std::sync::Arc;

use nearcast_dns as dns;
use nearcast_dns::dnssec::{Keys, SignatureMetrics};
use nearcast_edge::view::View;
use nearcast_shared::clock::Clock;
use nearcast_shared::config::{Config, Mistakes};
use nearcast_shared::geo::gate::{self, GeoRefusal};
use nearcast_shared::geo::{self, AddressFamily, GeoDb, GeoError};
use nearcast_shared::health::probe;
use nearcast_shared::metrics::Metrics;
use nearcast_shared::trust;
use rustls::sign::CertifiedKey;
use thiserror::Error;

use crate::control::{Control, Generation, chain};
use crate::geo::watch::{self, Prints};
use crate::geo::{Change, maps};

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
    /// Geo data should not be used.
    #[error("{0}; the old geo data stays in force unless you say `nearcast reload --force`")]
    Refused(#[from] GeoRefusal),
    /// The node ends.
    #[error("the node is about to end")]
    Ending,
    /// A certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] nearcast_edge::tls::CertificateError),
    /// A zone cannot be used.
    #[error(transparent)]
    Dns(#[from] dns::ViewError),
    /// A signed zone's keys cannot be used.
    #[error(transparent)]
    Keys(#[from] dns::dnssec::KeyErrors),
    /// The configured authorities cannot be used.
    #[error(transparent)]
    Trust(#[from] trust::TrustError),
}

impl ReloadError {
    /// Whether it is the geo data that is bad, and nothing else.
    fn is_of_geo(&self) -> bool {
        match self {
            Self::Geo(_) | Self::Refused(_) => true,
            Self::Config(_)
            | Self::NeedsRestart(_)
            | Self::Ending
            | Self::Certificate(_)
            | Self::Dns(_)
            | Self::Keys(_)
            | Self::Trust(_) => false,
        }
    }
}

/// Why the geo data in force stays although the config is taken, as a warning.
fn kept_geo(error: &ReloadError) -> String {
    match error {
        // It says so itself.
        ReloadError::Refused(_) => chain(error),
        _ => format!("{}; the old geo data stays in force", chain(error)),
    }
}

/// The geo data that `config` names, or the built-in.
///
/// # Errors
/// When a file cannot be used.
pub fn load_geo(config: &Config) -> Result<GeoDb, GeoError> {
    let (places, asns) = (&config.geo.database, &config.geo.asn);
    if places.is_empty() { geo::builtin::load()?.with_asn(asns) } else { GeoDb::open(places, asns) }
}

/// The certificate that `config` names for encrypted DNS, if there is one.
///
/// # Errors
/// When it cannot be used.
pub fn load_dns_certificate(config: &Config) -> Result<Option<Arc<CertifiedKey>>, ReloadError> {
    Ok(config.dns_certificate.as_ref().map(nearcast_edge::tls::load).transpose()?)
}

/// What of all that `config` names cannot be used: geo data, certificates, authorities, zones. Reads what a node reads.
pub fn unusable(config: &Config) -> Vec<String> {
    let mut mistakes = Vec::new();
    let geo = load_geo(config).map_err(|error| mistakes.push(chain(&error))).unwrap_or_else(|()| GeoDb::empty());
    if let Err(error) = dns::View::compile(config, geo.into(), &dns::DnsMetrics::register(&Metrics::new())) {
        mistakes.push(chain(&error));
    }
    let counters = SignatureMetrics::register(&Metrics::new());
    if let Err(errors) = Keys::load(config, &counters, Clock::System.now()) {
        mistakes.extend(errors.0.iter().map(|error| chain(error)));
    }
    let sites = config.sites.iter().filter_map(|site| site.tls.as_ref());
    for files in sites.chain(&config.admin.tls).chain(&config.dns_certificate) {
        mistakes.extend(nearcast_edge::tls::load(files).err().map(|error| chain(&error)));
    }
    mistakes.extend(trust::client_config(config.origin.ca.as_deref(), &[]).err().map(|error| chain(&error)));
    mistakes
}

/// What is not as planned with the keys of `config`'s zones, which can be used.
pub fn key_warnings(config: &Config) -> Vec<String> {
    let (counters, now) = (SignatureMetrics::register(&Metrics::new()), Clock::System.now());
    Keys::load(config, &counters, now).map(|keys| keys.warnings(now)).unwrap_or_default()
}

/// How long purges are kept, in milliseconds.
pub fn purges_kept_ms(config: &Config) -> u64 {
    u64::try_from(config.cache.purges_kept().as_millis()).unwrap_or(u64::MAX)
}

/// Logs the risks that `config` takes with `geo`.
pub fn log_warnings(config: &Config, geo: &GeoDb) {
    for warning in config.warnings().into_iter().chain(config.warnings_with(geo)) {
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

/// Whether what looks wrong with geo data stops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// It does.
    No,
    /// An operator knows better.
    Yes,
}

/// What the geo files have.
enum GeoFiles {
    /// What is in force.
    Same,
    /// What may come into force.
    New(Box<NextGeo>),
    /// What cannot or should not be used.
    Bad(ReloadError),
}

/// A reload on its way: the config, and what its operator should know.
type Taken = (Arc<Config>, Vec<String>);

/// Geo data that was read but is not in force yet.
struct NextGeo {
    geo: Arc<GeoDb>,
    prints: Prints,
    /// A view with maps of it under the config in force, if they were made to judge it.
    judged: Option<dns::View>,
}

impl Control {
    /// Reads the config file again and swaps the world, or says why not. Blocks: it reads files, and makes maps of new geo
    /// data to judge it by.
    ///
    /// # Errors
    /// With the old world left as it was.
    pub fn reload(&self, force: Force) -> Result<Reloaded, ReloadError> {
        let _one_at_a_time = self.reloading.lock();
        let outcome = self.try_reload(force);
        let mut generation = self.generation.lock();
        match &outcome {
            Ok((config, warnings)) => {
                let number = generation.number + 1;
                *generation = Generation { number, loaded: self.clock.now(), last_error: None };
                tracing::info!(generation = number, file = %config.file.display(), "config reloaded");
                log_warnings(config, &self.geo.load());
                for warning in warnings {
                    tracing::warn!(warning, "the config is taken, but not all is well");
                }
            }
            Err(error) => {
                let text = chain(error);
                tracing::error!(error = text, "reload refused: the old config stays in force");
                self.note_refused_geo(error);
                generation.last_error = Some(text);
            }
        }
        outcome.map(|(config, warnings)| Reloaded {
            generation: generation.number,
            warnings: warnings
                .into_iter()
                .chain(config.warnings())
                .chain(config.warnings_with(&self.geo.load()))
                .collect(),
        })
    }

    /// Takes over what the geo files have now, under the config in force, or says why not. Blocks as a reload does.
    ///
    /// # Errors
    /// With the old geo data left in force.
    pub fn take_geo(&self) -> Result<(), ReloadError> {
        let _one_at_a_time = self.reloading.lock();
        let outcome = self.try_take_geo();
        if let Err(error) = &outcome {
            tracing::error!(error = chain(error), "new geo data refused: the old stays in force");
            self.note_refused_geo(error);
        }
        outcome
    }

    fn try_take_geo(&self) -> Result<(), ReloadError> {
        let config = self.config.load_full();
        let next = match self.next_geo(&config, &config, Force::No) {
            GeoFiles::Same => return Ok(()),
            GeoFiles::New(next) => next,
            GeoFiles::Bad(error) => return Err(error),
        };
        let view = match next.judged {
            Some(judged) => judged,
            None => dns::View::compile(&config, next.geo.clone(), &self.dns_metrics)?,
        };
        let keys = self.dns_view.load().keys().clone();
        self.swap_view(view.with_keys(keys));
        self.swap_geo(next.geo, next.prints);
        Ok(())
    }

    fn try_reload(&self, force: Force) -> Result<Taken, ReloadError> {
        let old = self.config.load_full();
        let config = Arc::new(Config::load(&old.file, &self.inputs)?);
        let restart = old.needs_restart(&config);
        if !restart.is_empty() {
            return Err(ReloadError::NeedsRestart(restart));
        }
        let edge_view = View::compile(&config, &self.edge.metrics, &self.edge.secret)?;
        let tls = trust::client_config(config.origin.ca.as_deref(), &[])?;
        let dns_certificate = load_dns_certificate(&config)?;
        let mut warnings = Vec::new();
        let next = match self.next_geo(&old, &config, force) {
            GeoFiles::Same => None,
            GeoFiles::New(next) => Some(next),
            // A bad download, which is not what this reload is about and must not stop it.
            GeoFiles::Bad(error) if error.is_of_geo() && old.geo == config.geo => {
                self.note_refused_geo(&error);
                warnings.push(kept_geo(&error));
                None
            }
            GeoFiles::Bad(error) => return Err(error),
        };
        let geo = next.as_ref().map_or_else(|| self.geo.load_full(), |next| next.geo.clone());
        let now = self.signers.latest();
        let keys = Keys::load(&config, &self.signature_metrics, now)?;
        warnings.extend(keys.warnings(now));
        warnings.extend(self.dns_view.load().keys().warnings_without(&keys, &config.zones, now));
        let dns_view = dns::View::compile(&config, geo, &self.dns_metrics)?.with_keys(keys.clone());
        if let Some(judged) = next.as_ref().and_then(|next| next.judged.as_ref()) {
            maps::adopt(&dns_view, judged);
        }
        warnings.extend(dns_view.serial_warnings(&self.dns_view.load()));

        // Nothing fails from here on. Health first: it must know the PoPs that the new view names.
        self.health.reconfigure(&config);
        self.signers.reconfigure(&config.dnssec, &keys);
        self.swap_view(dns_view);
        self.edge.view.store(Arc::new(edge_view));
        self.edge.store.set_sites(&config.sites);
        self.edge.purges.set_keep(purges_kept_ms(&config));
        self.edge.access_log.reopen();
        self.dns_shown.replace(dns_certificate);
        let manners = dns::Manners::new(&config, self.dns_seed, Some(&self.dns_manners.load()));
        self.dns_manners.store(Arc::new(manners));
        self.query_log.reopen();
        if let Some(next) = next {
            self.swap_geo(next.geo, next.prints);
        }
        let _in_control_runtime = self.runtime.enter();
        *self.probes.lock() = probe::spawn(&config, &self.health, &tls);
        self.config.store(config.clone());
        self.geo_desk.reloaded.notify_one();
        Ok((config, warnings))
    }

    /// What the geo files of `config` have. `old` is the config in force.
    fn next_geo(&self, old: &Config, config: &Config, force: Force) -> GeoFiles {
        // Before they are read: what changes meanwhile is a change.
        let prints = watch::prints(config);
        if prints == self.geo_desk.prints() {
            return GeoFiles::Same;
        }
        match self.read_geo(old, config, force) {
            Ok((geo, judged)) => GeoFiles::New(Box::new(NextGeo { geo, prints, judged })),
            Err(error) => GeoFiles::Bad(error),
        }
    }

    fn read_geo(
        &self,
        old: &Config,
        config: &Config,
        force: Force,
    ) -> Result<(Arc<GeoDb>, Option<dns::View>), ReloadError> {
        let geo = Arc::new(load_geo(config)?);
        if force == Force::Yes {
            return Ok((geo, None));
        }
        gate::may_follow(&self.geo.load().files(), &geo.files(), config.geo.size_min)?;
        let judged = self.judge_moves(old, geo.clone(), config.geo.moved_max)?;
        Ok((geo, Some(judged)))
    }

    /// Refuses geo data by which too much would get another PoP. What counts is what the data alone moves: both maps are of
    /// the config in force.
    fn judge_moves(&self, old: &Config, geo: Arc<GeoDb>, moved_max: f64) -> Result<dns::View, ReloadError> {
        let in_force = self.dns_view.load_full();
        let judged = dns::View::compile(old, geo, &self.dns_metrics)?;
        let ending = &self.geo_desk.ending;
        if !maps::make(&in_force, ending) || !maps::make(&judged, ending) {
            return Err(ReloadError::Ending);
        }
        let changes = in_force.changes(&judged).unwrap_or_default();
        let all = changes.groups.iter().flat_map(|group| group.moves.iter().map(|moves| (&group.new_policy, moves)));
        let worst = all.max_by(|a, b| a.1.share().total_cmp(&b.1.share()));
        match worst.filter(|(_, worst)| worst.share() > moved_max) {
            Some((policy, worst)) => Err(GeoRefusal::Moved {
                family: family_name(worst.family),
                policy: policy.clone(),
                share: worst.share(),
            }
            .into()),
            None => Ok(judged),
        }
    }

    /// Answers come from `view` from now on; its maps are made elsewhere unless those in force are true for it.
    fn swap_view(&self, view: dns::View) {
        maps::adopt(&view, &self.dns_view.load());
        let view = Arc::new(view);
        self.dns_view.store(view.clone());
        if view.maps().is_none() {
            self.maps.order(view);
        }
    }

    fn swap_geo(&self, geo: Arc<GeoDb>, prints: Prints) {
        tracing::info!(files = ?geo.files(), "geo data taken");
        log_geo_warnings(&geo);
        self.geo.store(geo);
        self.geo_desk.take(prints);
    }

    fn note_refused_geo(&self, error: &ReloadError) {
        let change = match error {
            ReloadError::Geo(_) => Change::Unusable,
            ReloadError::Refused(refusal) => Change::from(refusal),
            ReloadError::Config(_)
            | ReloadError::NeedsRestart(_)
            | ReloadError::Ending
            | ReloadError::Certificate(_)
            | ReloadError::Dns(_)
            | ReloadError::Keys(_)
            | ReloadError::Trust(_) => return,
        };
        self.geo_desk.refuse(change, chain(error), self.clock.now());
    }
}

/// As people call it.
pub(crate) fn family_name(family: AddressFamily) -> &'static str {
    match family {
        AddressFamily::V4 => "IPv4",
        AddressFamily::V6 => "IPv6",
    }
}

/// Logs what the geo data lacks.
pub fn log_geo_warnings(geo: &GeoDb) {
    for warning in geo.warnings() {
        tracing::warn!(warning, "the geo data lacks something");
    }
}
