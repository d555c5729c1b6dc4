//! Where an address is: one or several mmdb files, read through maxminddb.
//!
//! Two shapes of record are understood: the City form of GeoIP2 and DB-IP (`location.latitude`, `country.iso_code`,
//! `continent.code`, `subdivisions`) and the flat form some packages use (`latitude`, `country_code`, `state1`). IPv4 and
//! IPv6 may come in one file or apart. ASN files have the number of an address's autonomous system.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use maxminddb::LookupResult;
use serde::Serialize;
use thiserror::Error;

use crate::net;

pub mod builtin;
pub mod centers;
pub mod continent;
pub mod distance;
mod file;
pub mod gate;
mod partition;
pub mod record;
mod walk;

#[cfg(test)]
mod fixture;

use continent::Continent;
pub use file::{Detail, GeoFileInfo, Use};
use file::{GeoFile, Subdivisions};
pub use partition::{AddressFamily, Atom, AtomKey};
use record::{Record, Worth};

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
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Place {
    /// `None`: unknown.
    pub coordinates: Option<Coordinates>,
    /// What the coordinates are worth.
    pub precision: Precision,
    /// ISO 3166-1 alpha-2 in upper case, where known.
    pub country: Option<String>,
    /// `US-CA` as in ISO 3166-2, or `US-California` where the data has names alone; where known.
    pub subdivision: Option<String>,
    /// Two-letter continent code in upper case, where known; that of the country where the data has none.
    pub continent: Option<String>,
    /// Length in bits, in the family of the address that was asked, of the longest prefix around it within which the
    /// data has the same place: what an ECS answer may be scoped to.
    pub depth: u8,
}

/// How well a place is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// The data has coordinates.
    Exact,
    /// Only the country is known: the coordinates are those of its middle.
    Country,
    /// There are no coordinates.
    #[default]
    Unknown,
}

impl Place {
    /// What `found` tells, without depth.
    fn of(found: Option<&LookupResult<'_, Vec<u8>>>) -> Self {
        let record = found.and_then(|found| found.decode::<Record<'_>>().ok().flatten()).unwrap_or_default();
        let country = record::code(record.country());
        let (coordinates, precision) = match record.coordinates() {
            Some(exact) => (Some(exact), Precision::Exact),
            None => match country.as_deref().and_then(centers::center) {
                Some(middle) => (Some(middle), Precision::Country),
                None => (None, Precision::Unknown),
            },
        };
        let subdivision = country.as_ref().zip(record.subdivision()).map(|(country, part)| format!("{country}-{part}"));
        let derived = || Some(Continent::of_country(country.as_deref()?)?.code().to_owned());
        Self {
            coordinates,
            precision,
            subdivision,
            continent: record::code(record.continent()).or_else(derived),
            country,
            depth: 0,
        }
    }
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
    places: Vec<GeoFile>,
    asns: Vec<GeoFile>,
}

impl GeoDb {
    /// Reads all files: of `places` the first that has coordinates of an address decides, or else the first that has its
    /// country; of `asns` the first that has a number.
    ///
    /// # Errors
    /// When any file is missing or not an mmdb.
    pub fn open(places: &[PathBuf], asns: &[PathBuf]) -> Result<Self, GeoError> {
        let read = |path: &PathBuf, read_for| {
            let bytes = std::fs::read(path).map_err(|source| GeoError::Read { path: path.clone(), source })?;
            GeoFile::parse(path, bytes, read_for)
        };
        Ok(Self {
            places: places.iter().map(|path| read(path, Use::Places)).collect::<Result<_, _>>()?,
            asns: asns.iter().map(|path| read(path, Use::Asn)).collect::<Result<_, _>>()?,
        })
    }

    /// Geo data from an mmdb that is already in memory; `name` stands in for its path in messages.
    ///
    /// # Errors
    /// When `bytes` is not an mmdb.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, GeoError> {
        Ok(Self { places: vec![GeoFile::parse(Path::new(name), bytes, Use::Places)?], asns: Vec::new() })
    }

    /// The same places, with the autonomous systems of the files at `paths`.
    ///
    /// # Errors
    /// When any file is missing or not an mmdb.
    pub fn with_asn(mut self, paths: &[PathBuf]) -> Result<Self, GeoError> {
        self.asns = Self::open(&[], paths)?.asns;
        Ok(self)
    }

    /// Geo data that knows no address.
    pub fn empty() -> Self {
        Self { places: Vec::new(), asns: Vec::new() }
    }

    /// What is loaded.
    pub fn files(&self) -> Vec<GeoFileInfo> {
        self.places.iter().chain(&self.asns).map(GeoFile::info).collect()
    }

    /// What an operator should know of the files: one sentence each, naming the file.
    pub fn warnings(&self) -> Vec<String> {
        let warning = |file: GeoFileInfo| {
            let says = match file.detail {
                Detail::Coordinates | Detail::Asn => return None,
                Detail::Country => "has no coordinates: distances count from the middle of a client's country",
                Detail::Nothing if file.nodes <= 1 => return None,
                Detail::Nothing => "has nothing of use in it, neither places nor autonomous systems where they belong",
            };
            Some(format!("{} {says}", file.path.display()))
        };
        self.files().into_iter().filter_map(warning).collect()
    }

    /// Whether it calls the parts of countries by their names alone, or does not know them, so that codes such as `US-CA`
    /// never count.
    pub fn lacks_subdivision_codes(&self) -> bool {
        self.places.iter().all(|file| file.subdivisions() != Subdivisions::Codes)
    }

    /// Where `address` is. IPv4-mapped, 6to4 and Teredo addresses are read as the IPv4 address inside.
    pub fn locate(&self, address: IpAddr) -> Place {
        let (inner, offset) = net::effective(address);
        let (found, depth) = decide(&self.places, inner, file::worth_of);
        Place { depth: outer(depth, offset), ..Place::of(found.as_ref()) }
    }

    /// The autonomous system that `address` is in, and the length of the longest prefix around it within which the data
    /// has the same: apart from [`Place::depth`], so that who does not ask keeps wide scopes.
    pub fn asn(&self, address: IpAddr) -> (Option<u32>, u8) {
        let (inner, offset) = net::effective(address);
        let (found, depth) = decide(&self.asns, inner, file::asn_worth);
        (found.as_ref().and_then(file::asn_in), outer(depth, offset))
    }
}

/// The record that decides, and the longest of the prefixes looked at to find it: an address of which one file knows
/// little may be known by the next, and then both prefixes must hold.
fn decide<'a>(
    files: &'a [GeoFile],
    address: IpAddr,
    judge: impl Fn(&LookupResult<'a, Vec<u8>>) -> Worth,
) -> (Option<LookupResult<'a, Vec<u8>>>, u8) {
    let mut best: Option<(Worth, LookupResult<'a, Vec<u8>>)> = None;
    let mut depth = 0;
    for (length, found) in files.iter().filter_map(|file| file.lookup(address)) {
        depth = depth.max(length);
        let Some(found) = found else { continue };
        let worth = judge(&found);
        if best.as_ref().is_none_or(|(most, _)| worth > *most) {
            best = Some((worth, found));
        }
        if worth == Worth::Coordinates {
            break;
        }
    }
    (best.map(|(_, found)| found), depth)
}

/// A depth as the address that was asked has it; see [`net::effective`].
fn outer(depth: u8, offset: Option<u8>) -> u8 {
    offset.map_or(128, |bits| depth.saturating_add(bits))
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
    fn without_coordinates_the_country_places_a_client() {
        let records = [
            ("10.0.0.0/8", serde_json::json!({ "country_code": "de", "state1": "Hesse" })),
            ("10.1.0.0/16", serde_json::json!({ "country": { "iso_code": "XX" } })),
            ("10.2.0.0/16", serde_json::json!({ "country_code": "US", "latitude": 1.0, "longitude": 2.0 })),
        ];
        let geo = GeoDb::from_bytes("test", fixture::mmdb(&records)).unwrap();
        let at = |address: &str| geo.locate(address.parse().unwrap());
        let (country, nowhere, exact) = (at("10.0.0.1"), at("10.1.0.1"), at("10.2.0.1"));
        assert_eq!((country.precision, country.coordinates), (Precision::Country, centers::center("DE")));
        assert_eq!(country.country.as_deref(), Some("DE"), "in upper case");
        assert_eq!((country.subdivision.as_deref(), country.continent.as_deref()), (Some("DE-Hesse"), Some("EU")));
        assert_eq!((nowhere.precision, nowhere.coordinates), (Precision::Unknown, None));
        assert_eq!((exact.precision, exact.continent.as_deref()), (Precision::Exact, Some("NA")));
    }

    #[test]
    fn files_say_what_they_lack() {
        let country = serde_json::json!({ "country_code": "DE" });
        let rows = [
            ("countries", country.clone(), "test has no coordinates: distances count from"),
            ("neither", serde_json::json!({ "autonomous_system_number": 1 }), "test has nothing of use"),
            ("coordinates", serde_json::json!({ "latitude": 1.0, "longitude": 2.0 }), ""),
        ];
        for (name, record, wanted) in rows {
            // Not all networks need tell the most.
            let networks = [("10.0.0.0/8", country.clone()), ("11.0.0.0/8", record)];
            let networks = if name == "neither" { &networks[1..] } else { &networks };
            let warnings = GeoDb::from_bytes("test", fixture::mmdb(networks)).unwrap().warnings();
            assert_eq!(
                (warnings.len(), wanted.is_empty()),
                (usize::from(!wanted.is_empty()), wanted.is_empty()),
                "{name}"
            );
            assert!(warnings.iter().all(|warning| warning.starts_with(wanted)), "{name}: {warnings:?}");
        }
    }

    #[test]
    fn codes_of_subdivisions_are_told_from_names() {
        let part =
            |part: serde_json::Value| serde_json::json!({ "country": { "iso_code": "US" }, "subdivisions": [part] });
        let rows = [
            ("codes", part(serde_json::json!({ "iso_code": "CA" })), false),
            ("names", part(serde_json::json!({ "names": { "en": "California" } })), true),
            ("flat names", serde_json::json!({ "country_code": "US", "state1": "Utah" }), true),
            ("nothing", serde_json::json!({ "country_code": "US" }), true),
        ];
        let rule = "[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n[[policy]]\nname = \"default\"\n\
                    [[policy.rule]]\nsubdivisions = [\"us-ca\"]\npops = [\"fra\"]\n\
                    [[policy.rule]]\nsubdivisions = [\"US-California\"]\npops = [\"fra\"]";
        let path = Path::new("test.toml");
        let config = crate::config::Config::parse(rule, path, &crate::config::Inputs::default()).unwrap();
        for (name, record, lacks) in rows {
            let geo = GeoDb::from_bytes("test", fixture::mmdb(&[("10.0.0.0/8", record)])).unwrap();
            assert_eq!(geo.lacks_subdivision_codes(), lacks, "{name}");
            let told = config.warnings_with(&geo);
            assert_eq!(told.len(), usize::from(lacks), "{name}: {told:?}");
            assert!(told.iter().all(|told| told.starts_with("policy `default`: `rule 1`: subdivisions = [\"US-CA\"]")));
        }
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
