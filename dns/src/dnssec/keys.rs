//! The keys of all signed zones, as the key folder has them.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::{Config, Zone};
use thiserror::Error;

use super::file::{KeyFile, KeyFileError};
use super::guard::TOLERANCE_MS;
use super::key::Key;
use super::metrics::SignatureMetrics;
use super::times::stamp;
use super::zone::ZoneKeys;
use crate::name::Name;

/// Keys of one zone, retired ones included.
const KEYS_MAX: usize = 16;

/// The keys of every signed zone. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    zones: Arc<HashMap<Name, Arc<ZoneKeys>>>,
}

/// Why a zone cannot be signed.
#[derive(Debug, Error)]
pub enum KeyError {
    /// A file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// Nobody made a key.
    #[error(
        "zone `{zone}`: dnssec = true, but {folder} has no key of it; make one with `nearcast dnssec keygen {zone}`"
    )]
    None {
        /// The zone.
        zone: String,
        /// Where keys are looked for.
        folder: PathBuf,
    },
    /// None of them may be used yet.
    #[error(
        "zone `{zone}`: no key in {folder} signs now: none is both published and active (`nearcast dnssec list` shows their \
             times); make one with `nearcast dnssec keygen {zone}`"
    )]
    Idle {
        /// The zone.
        zone: String,
        /// Where they are.
        folder: PathBuf,
    },
    /// More than anybody needs.
    #[error("zone `{zone}`: {folder} has {count} keys of it, more than 16; move away those that are used no more")]
    Many {
        /// The zone.
        zone: String,
        /// Where they are.
        folder: PathBuf,
        /// How many.
        count: usize,
    },
}

/// Everything that keeps zones from being signed.
#[derive(Debug)]
pub struct KeyErrors(pub Vec<KeyError>);

impl fmt::Display for KeyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            let between = if position == 0 { "" } else { "; " };
            write!(f, "{between}{error}")?;
            // Of several only here can their causes be told.
            if let Some(source) = error.source() {
                write!(f, ": {source}")?;
            }
        }
        Ok(())
    }
}

impl Error for KeyErrors {}

impl Keys {
    /// Reads the keys of all zones of `config` that are signed. `now` is what [`super::Signers::latest`] says.
    ///
    /// # Errors
    /// Everything that keeps a zone from being signed.
    pub fn load(config: &Config, metrics: &SignatureMetrics, now: Timestamp) -> Result<Self, KeyErrors> {
        let signed: Vec<&Name> = config.zones.iter().filter(|zone| zone.dnssec).map(|zone| &zone.apex).collect();
        if signed.is_empty() {
            return Ok(Self::default());
        }
        let folder = &config.dnssec.keys;
        if !folder.exists() {
            let none = |zone: &&Name| KeyError::None { zone: zone.to_string(), folder: folder.clone() };
            return Err(KeyErrors(signed.iter().map(none).collect()));
        }
        let files = Files::list(folder).map_err(|error| KeyErrors(vec![error.into()]))?;
        let (mut zones, mut errors) = (HashMap::new(), Vec::new());
        for zone in signed {
            let (name, folder) = (zone.to_string(), folder.clone());
            match files.read(zone) {
                Err(error) => errors.push(error),
                Ok(keys) if keys.is_empty() => errors.push(KeyError::None { zone: name, folder }),
                Ok(keys) => match ZoneKeys::new(zone, keys, &config.dnssec, metrics).filter(|keys| keys.has_begun(now))
                {
                    None => errors.push(KeyError::Idle { zone: name, folder }),
                    Some(keys) => {
                        zones.insert(zone.clone(), Arc::new(keys));
                    }
                },
            }
        }
        if errors.is_empty() { Ok(Self { zones: Arc::new(zones) }) } else { Err(KeyErrors(errors)) }
    }

    /// How many zones are signed.
    pub fn count(&self) -> usize {
        self.zones.len()
    }

    /// Those of `zone`, if it is signed.
    pub(crate) fn of(&self, zone: &Name) -> Option<&Arc<ZoneKeys>> {
        self.zones.get(zone)
    }

    /// One sentence for each zone that will not be signed as planned, and for each key that is of another time.
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        let gaps = self.zones.values().filter_map(|keys| Some((keys, keys.gap(now)?)));
        let gaps = gaps.map(|(keys, gap)| {
            format!(
                "zone `{0}`: from {1} (UTC) on no key is meant to sign, so the one before goes on; `nearcast dnssec \
                 list {0}` shows the keys' times",
                keys.zone,
                stamp(gap)
            )
        });
        let come = Timestamp(now.0.saturating_add(TOLERANCE_MS));
        let early = self.zones.values().filter_map(|keys| Some((keys, keys.newest().filter(|made| come < *made)?)));
        let early = early.map(|(keys, made)| {
            format!(
                "zone `{}`: a key was made at {} (UTC), which is to come: the clock of the machine that made it was ahead, \
                 or this one's is behind",
                keys.zone,
                stamp(made)
            )
        });
        let mut warnings: Vec<String> = gaps.chain(early).collect();
        warnings.sort();
        warnings
    }

    /// One sentence for each of `zones` that these keys signed and `next` does not, unless its parent cannot have its DS
    /// record yet.
    pub fn warnings_without(&self, next: &Self, zones: &[Zone], now: Timestamp) -> Vec<String> {
        let lost = zones.iter().filter(|zone| !next.zones.contains_key(&zone.apex));
        let lost = lost.filter(|zone| self.zones.get(&zone.apex).is_some_and(|keys| keys.may_be_trusted(now)));
        lost.map(|zone| {
            format!(
                "zone `{}` is signed no more: while its parent has a DS record, or a cache has that, validators take no answer \
                 of it; if so, set dnssec = true again, have the DS record removed, and wait for its TTL first",
                zone.name
            )
        })
        .collect()
    }
}

/// All keys of `zone` in `folder`, as they are; none when there is no folder.
///
/// # Errors
/// When a file of the zone cannot be used.
pub fn read(folder: &Path, zone: &Name) -> Result<Vec<Key>, KeyError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    Files::list(folder)?.read(zone)
}

/// The private keys of a folder, by zone.
struct Files {
    folder: PathBuf,
    by_zone: HashMap<String, Vec<KeyFile>>,
}

impl Files {
    fn list(folder: &Path) -> Result<Self, KeyFileError> {
        let mut by_zone: HashMap<String, Vec<KeyFile>> = HashMap::new();
        for (zone, file) in KeyFile::list(folder)? {
            by_zone.entry(zone).or_default().push(file);
        }
        Ok(Self { folder: folder.to_owned(), by_zone })
    }

    fn read(&self, zone: &Name) -> Result<Vec<Key>, KeyError> {
        let name = zone.to_string();
        let files = self.by_zone.get(&name).map(Vec::as_slice).unwrap_or_default();
        if files.len() > KEYS_MAX {
            return Err(KeyError::Many { zone: name, folder: self.folder.clone(), count: files.len() });
        }
        Ok(files.iter().map(|file| file.read(zone)).collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests;
