//! Where an address is: one or several mmdb files, read through maxminddb.
//!
//! Two shapes of record are understood: the City form of GeoIP2 and DB-IP (`location.latitude`, `country.iso_code`,
//! `continent.code`) and the flat form some packages use (`latitude`, `country_code`). IPv4 and IPv6 may come in one
//! file or apart.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use maxminddb::Reader;
use serde::Serialize;
use thiserror::Error;

use crate::net;

pub mod builtin;
pub mod distance;
pub mod record;

use record::Record;

/// A point on the globe, in degrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Coordinates {
    /// -90 to 90, north is positive.
    pub latitude: f64,
    /// -180 to 180, east is positive.
    pub longitude: f64,
}

impl Coordinates {
    /// `None` unless both are finite and in range.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let valid = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        valid.then_some(Self { latitude, longitude })
    }
}

/// What the data says of an address.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// `None`: unknown.
    pub coordinates: Option<Coordinates>,
    /// ISO 3166-1 alpha-2, where known.
    pub country: Option<String>,
    /// Two-letter continent code, where known.
    pub continent: Option<String>,
    /// Length in bits, in the family of the address that was asked, of the longest prefix around it within which the
    /// data says the same: what an ECS answer may be scoped to.
    pub depth: u8,
}

/// Why geo data could not be had.
#[derive(Debug, Error)]
pub enum GeoError {
    /// The file could not be read.
    #[error("{path}: cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not an mmdb, or a damaged one.
    #[error("{path}: not a usable mmdb file; check that it was downloaded and unpacked whole")]
    Format {
        /// The file, or `built-in`.
        path: PathBuf,
        /// The cause.
        source: maxminddb::MaxMindDbError,
    },
}

/// The geo data of a node: its files in the configured order.
#[derive(Debug)]
pub struct GeoDb {
    files: Vec<GeoFile>,
}

#[derive(Debug)]
struct GeoFile {
    path: PathBuf,
    reader: Reader<Vec<u8>>,
}

/// What the status shows of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GeoFileInfo {
    /// The path, or `built-in`.
    pub path: PathBuf,
    /// The file's own name for its type.
    pub database_type: String,
    /// Seconds since the Unix epoch.
    pub build_epoch: u64,
    /// 4 or 6.
    pub ip_version: u16,
}

impl GeoDb {
    /// Reads all of `paths`; the first file that knows an address decides.
    ///
    /// # Errors
    /// When any file is missing or not an mmdb.
    pub fn open(paths: &[PathBuf]) -> Result<Self, GeoError> {
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let bytes = std::fs::read(path).map_err(|source| GeoError::Read { path: path.clone(), source })?;
            files.push(GeoFile::parse(path, bytes)?);
        }
        Ok(Self { files })
    }

    /// Geo data from an mmdb that is already in memory; `name` stands in for its path in messages.
    ///
    /// # Errors
    /// When `bytes` is not an mmdb.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, GeoError> {
        Ok(Self { files: vec![GeoFile::parse(Path::new(name), bytes)?] })
    }

    /// Geo data that knows no address.
    pub fn empty() -> Self {
        Self { files: Vec::new() }
    }

    /// What is loaded.
    pub fn files(&self) -> Vec<GeoFileInfo> {
        let info = |file: &GeoFile| {
            let meta = file.reader.metadata();
            GeoFileInfo {
                path: file.path.clone(),
                database_type: meta.database_type.clone(),
                build_epoch: meta.build_epoch,
                ip_version: meta.ip_version,
            }
        };
        self.files.iter().map(info).collect()
    }

    /// Where `address` is. IPv4-mapped, 6to4 and Teredo addresses are read as the IPv4 address inside.
    pub fn locate(&self, address: IpAddr) -> Place {
        let (inner, offset) = net::effective(address);
        let mut place = Place { coordinates: None, country: None, continent: None, depth: 0 };
        for file in &self.files {
            let Some((depth, record)) = file.lookup(inner) else { continue };
            // An address without a location here may have one in the next file: then both prefixes must hold.
            place.depth = place.depth.max(depth);
            if let Some(record) = record {
                place.coordinates = record.coordinates();
                place.country = record.country().map(str::to_owned);
                place.continent = record.continent().map(str::to_owned);
                if place.coordinates.is_some() {
                    break;
                }
            }
        }
        place.depth = match offset {
            Some(bits) => place.depth.saturating_add(bits),
            None => 128,
        };
        place
    }
}

impl GeoFile {
    fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, GeoError> {
        let format = |source| GeoError::Format { path: path.to_owned(), source };
        let reader = Reader::from_source(bytes).map_err(format)?;
        // A truncated file still has valid metadata only if its end is intact; a damaged data section shows here.
        for probe in ["1.1.1.1", "193.0.0.1", "2001:4860::1"] {
            let address: IpAddr = probe.parse().expect("a literal address");
            if address.is_ipv6() && reader.metadata().ip_version == 4 {
                continue;
            }
            let found = reader.lookup(address).map_err(format)?;
            found.decode::<Record<'_>>().map_err(format)?;
        }
        Ok(Self { path: path.to_owned(), reader })
    }

    /// The matched prefix length in the family of `address`, and the record. `None` when the file cannot know.
    fn lookup(&self, address: IpAddr) -> Option<(u8, Option<Record<'_>>)> {
        if address.is_ipv6() && self.reader.metadata().ip_version == 4 {
            return None;
        }
        let found = self.reader.lookup(address).ok()?;
        let network = found.network().ok()?;
        let depth = match (address, network.is_ipv4()) {
            // An IPv4 address in an IPv6 tree whose IPv4 part is empty higher up: nothing in all of IPv4.
            (IpAddr::V4(_), false) => network.prefix().saturating_sub(96),
            _ => network.prefix(),
        };
        Some((depth, found.decode::<Record<'_>>().ok().flatten()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_data_knows_the_world() {
        let geo = builtin::load().unwrap();
        let place = geo.locate("193.0.0.1".parse().unwrap());
        assert_eq!(place.country.as_deref(), Some("NL"));
        assert!(place.depth > 0 && place.depth <= 24);
        let mapped = geo.locate("::ffff:193.0.0.1".parse().unwrap());
        assert_eq!((mapped.coordinates, mapped.depth), (place.coordinates, place.depth + 96));
        assert_eq!(geo.locate("127.0.0.1".parse().unwrap()).coordinates, None);
    }

    #[test]
    fn garbage_is_refused() {
        assert!(GeoDb::from_bytes("junk", b"not an mmdb".to_vec()).is_err());
    }

    #[test]
    fn coordinates_out_of_range_are_refused() {
        for (latitude, longitude) in [(91.0, 0.0), (0.0, 181.0), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(Coordinates::new(latitude, longitude), None);
        }
    }

    #[test]
    fn without_data_nothing_is_known_and_the_whole_family_is_alike() {
        let place = GeoDb::empty().locate("192.0.2.1".parse().unwrap());
        assert_eq!((place.coordinates, place.depth), (None, 0));
    }
}
