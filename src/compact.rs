//! Makes a compact City file for locating clients.
//!
//! Choosing the nearest PoP needs a place to within some tens of kilometers, a country and a
//! continent. A City file has much more: names in eight languages, postal codes, coordinates
//! to the meter. [`compact`] keeps what routing needs, so that the file can be part of a
//! repository and takes an edge node a tenth of the memory.
//!
//! The output is an ordinary mmdb file with the field names of GeoIP2 City, readable by every
//! reader of the format. How much accuracy it costs is not a matter of belief: [`compare`]
//! counts the addresses that get another PoP.
//!
//! ```text
//! inputs ─▶ input ─▶ place (rounded) ─▶ tree ─▶ reduction ─▶ format ─▶ output
//! ```

mod centers;
mod comparison;
mod data;
#[cfg(test)]
mod fixture;
mod format;
mod input;
mod options;
mod output;
mod place;
mod reduction;
mod tree;

use nearcast_shared::geo::record::Record;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use crate::compact::centers::centers;
pub use crate::compact::comparison::{Comparison, ParsePopError, Pop, Share, compare};
use crate::compact::format::Metadata;
use crate::compact::input::Input;
pub use crate::compact::options::Options;
use crate::compact::place::Place;
use crate::compact::reduction::Limits;
use crate::compact::tree::Tree;

/// Kind of file in the output's metadata. Readers of City files check for the word `City`.
const DATABASE_TYPE: &str = "Nearcast-Compact-City";

/// Networks read between two reports of progress.
const REPORT_EVERY: u64 = 1 << 16;

/// What [`compact`] is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reads an input; counts networks, of a total known only roughly.
    Reading,
    /// Makes the tree small; counts nothing.
    Reducing,
    /// Writes the output, compressing it if asked to; counts bytes.
    Writing,
    /// Compares two files; counts networks, of a total known only roughly.
    Comparing,
}

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// Units done in it.
    pub done: u64,
    /// Units in all; 0 if the stage does not count.
    pub total: u64,
}

/// What [`compact`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Networks in the inputs that say anything.
    pub input_networks: u64,
    /// IPv4 networks in the output.
    pub ipv4_networks: u64,
    /// IPv6 networks in the output.
    pub ipv6_networks: u64,
    /// Distinct places in the output.
    pub places: usize,
    /// Nodes of the output's search tree.
    pub nodes: usize,
    /// Bytes of the mmdb file before compression.
    pub unpacked_bytes: u64,
    /// Bytes of the output.
    pub bytes: u64,
    /// When the newest input was made, in seconds since 1970; the output says the same.
    pub build_epoch: u64,
}

/// Why a file could not be compacted or compared.
#[derive(Debug, Error)]
pub enum CompactError {
    /// An input cannot be read or unpacked.
    #[error("cannot read {}; check the path and that the file is complete", path.display())]
    Read {
        /// The input.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// An input is something else.
    #[error(
        "{} is not an mmdb file; give a City file in MaxMind DB format, as such or packed with zstd",
        path.display()
    )]
    NotMmdb {
        /// The input.
        path: PathBuf,
        /// What went wrong.
        source: maxminddb::MaxMindDbError,
    },
    /// An input is an mmdb file, but its networks or records cannot be read.
    #[error("{} is damaged or no City file; download it again", path.display())]
    Damaged {
        /// The input.
        path: PathBuf,
        /// What went wrong.
        source: maxminddb::MaxMindDbError,
    },
    /// No network in the inputs has coordinates.
    #[error("no network in the inputs has coordinates; give City files, not Country or ASN files")]
    NoCoordinates,
    /// An option is out of its range.
    #[error("{option} is {value}; give a value from {min} to {max}")]
    Option {
        /// The option.
        option: &'static str,
        /// What was given.
        value: f64,
        /// The least possible value.
        min: f64,
        /// The greatest possible value.
        max: f64,
    },
    /// The result does not fit the format.
    #[error("the result is too large for an mmdb file; round to more degrees or cap prefixes lower")]
    TooLarge,
    /// The output cannot be written.
    #[error("cannot write {}; check that its directory exists and has room", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// Unites City files into one compact City file, compressed if its name ends in `.zst`.
///
/// Of several inputs that know an address the first one counts. The output depends on the
/// inputs and options alone, not on the time, so that it can be reproduced to the byte. It
/// replaces `output` only when complete.
///
/// # Errors
/// When an input cannot be read or is no City file, an option is out of range, or the output cannot be written.
pub fn compact(
    inputs: &[PathBuf],
    output: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, CompactError> {
    options.check()?;
    let mut tree = Tree::new();
    let mut places: Vec<Place> = Vec::new();
    let mut numbers: HashMap<Place, usize> = HashMap::new();
    let mut input_networks = 0;
    let mut build_epoch = 0;
    for path in inputs {
        let input = Input::open(path)?;
        build_epoch = build_epoch.max(input.build_epoch());
        tree.reserve(input.nodes() as usize);
        let number_of_place = |record: &Record<'_>| {
            let place = Place::new(record, options.degrees)?;
            Some(*numbers.entry(place).or_insert_with(|| {
                places.push(place);
                places.len() - 1
            }))
        };
        let mut done = 0;
        for network in input.networks(number_of_place)? {
            let (address, prefix_len, place) = network?;
            tree.insert(address, prefix_len, place);
            done += 1;
            if done % REPORT_EVERY == 0 {
                progress(Progress { stage: Stage::Reading, done, total: u64::from(input.nodes()).max(done) });
            }
        }
        input_networks += done;
    }
    if places.iter().all(|place| place.coordinates().is_none()) {
        return Err(CompactError::NoCoordinates);
    }

    progress(Progress { stage: Stage::Reducing, done: 0, total: 0 });
    let limits = Limits { ipv4: options.ipv4_prefix, ipv6: options.ipv6_prefix };
    let mut reduced = reduction::reduce(&tree, limits);
    drop(tree);
    // Not before the reduction, which would cap IPv4 below an alias like IPv6; and not after
    // sharing, where a new link would show in all places that share the node.
    reduced.alias_ipv4();
    let (ipv4_networks, ipv6_networks) = reduced.networks();
    let metadata = Metadata { database_type: DATABASE_TYPE, description: &options.attribution, build_epoch };
    let encoded = format::encode(&reduction::share(&reduced), &places, &metadata).ok_or(CompactError::TooLarge)?;

    let bytes = output::write(output, &encoded.bytes, progress)
        .map_err(|source| CompactError::Write { path: output.to_owned(), source })?;
    Ok(Summary {
        input_networks,
        ipv4_networks,
        ipv6_networks,
        places: encoded.records,
        nodes: encoded.nodes,
        unpacked_bytes: encoded.bytes.len() as u64,
        bytes,
        build_epoch,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::IpAddr;

    use maxminddb::Reader;
    use maxminddb::geoip2;

    use super::*;
    use crate::compact::fixture::{City, compacted, save};

    type Answer = (Option<String>, Option<String>, Option<(f64, f64)>);

    /// Country, continent and coordinates of an address, by the standard GeoIP2 names.
    fn lookup(path: &Path, address: &str) -> Option<Answer> {
        let reader = Reader::open_readfile(path).unwrap();
        let address: IpAddr = address.parse().unwrap();
        let city: geoip2::City<'_> = reader.lookup(address).unwrap().decode().unwrap()?;
        Some((
            city.country.iso_code.map(str::to_owned),
            city.continent.code.map(str::to_owned),
            city.location.latitude.zip(city.location.longitude),
        ))
    }

    fn answer(country: &str, continent: &str, coordinates: Option<(f64, f64)>) -> Option<Answer> {
        Some((Some(country.to_owned()), Some(continent.to_owned()), coordinates))
    }

    #[test]
    fn ipv4_and_ipv6_are_united() {
        let dir = tempfile::tempdir().unwrap();
        let ipv4 = save(dir.path(), &[("192.0.2.0/24", City::at(-33.87, 151.21))]);
        let ipv6 = save(dir.path(), &[("2a00::/32", City::at(50.11, 8.68)), ("2a02::/32", City::country("FR"))]);
        let output = compacted(dir.path(), &[ipv4, ipv6]);
        let sydney = answer("DE", "EU", Some((-34.0, 151.0)));
        for address in ["192.0.2.1", "::ffff:192.0.2.1", "2002:c000:201::1", "2001:0:c000:201::1"] {
            assert_eq!(lookup(&output, address), sydney, "{address}");
        }
        assert_eq!(lookup(&output, "2a00::1"), answer("DE", "EU", Some((50.0, 8.5))));
        assert_eq!(lookup(&output, "2a02::1"), answer("FR", "EU", None));
        assert_eq!(lookup(&output, "192.0.3.1"), None);
        assert_eq!(lookup(&output, "2a01::1"), None);

        let reader = Reader::open_readfile(&output).unwrap();
        reader.verify().unwrap();
        let metadata = reader.metadata();
        assert!(metadata.database_type.contains("City"));
        assert!(metadata.description["en"].contains("DB-IP"));
        assert_eq!((metadata.ip_version, metadata.build_epoch), (6, 1_700_000_000));
    }

    #[test]
    fn compacting_again_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let full = save(
            dir.path(),
            &[
                ("192.0.2.0/25", City::at(50.1, 8.7)),
                ("192.0.2.128/26", City::at(51.5, -0.1)),
                ("2a00::/40", City::at(-17.7, 179.9)),
                ("2a00:0:100::/40", City::at(-17.7, -179.9)),
            ],
        );
        let once = fs::read(compacted(dir.path(), &[full])).unwrap();
        // This input has the GeoIP2 shape, and is compressed.
        let input = dir.path().join("once.mmdb.zst");
        fs::write(&input, zstd::encode_all(once.as_slice(), 1).unwrap()).unwrap();
        let packed = dir.path().join("twice.mmdb.zst");
        let summary = compact(&[input], &packed, &Options::default(), &mut |_| {}).unwrap();
        let twice = zstd::decode_all(fs::read(&packed).unwrap().as_slice()).unwrap();
        assert_eq!(twice, once);
        assert_eq!((summary.ipv4_networks, summary.ipv6_networks, summary.places), (1, 1, 2));
        assert_eq!(summary.unpacked_bytes, once.len() as u64);
        assert_eq!(summary.bytes, fs::metadata(&packed).unwrap().len());
    }

    #[test]
    fn failures_say_which_file_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("out.mmdb");
        let run = |input: PathBuf, options: &Options| {
            let error = compact(&[input], &output, options, &mut |_| {}).unwrap_err();
            assert!(!output.exists());
            error
        };
        let text = dir.path().join("notes.txt");
        fs::write(&text, "not a database").unwrap();
        let error = run(text, &Options::default());
        assert!(matches!(error, CompactError::NotMmdb { .. }), "{error}");
        assert!(error.to_string().contains("notes.txt"));

        let error = run(dir.path().join("absent.mmdb"), &Options::default());
        assert!(matches!(error, CompactError::Read { .. }), "{error}");

        let countries = save(dir.path(), &[("192.0.2.0/24", City::country("DE"))]);
        let error = run(countries.clone(), &Options::default());
        assert!(matches!(error, CompactError::NoCoordinates), "{error}");

        for options in [
            Options { degrees: 0.0, ..Options::default() },
            Options { degrees: f64::NAN, ..Options::default() },
            Options { ipv4_prefix: 33, ..Options::default() },
            Options { ipv6_prefix: 0, ..Options::default() },
        ] {
            let error = run(countries.clone(), &options);
            assert!(matches!(error, CompactError::Option { .. }), "{error}");
        }
    }

    #[test]
    fn an_output_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let input = save(dir.path(), &[("192.0.2.0/24", City::at(50.1, 8.7))]);
        let output = dir.path().join("absent/out.mmdb");
        let error = compact(&[input], &output, &Options::default(), &mut |_| {}).unwrap_err();
        assert!(matches!(error, CompactError::Write { .. }), "{error}");
        assert!(error.to_string().contains("absent/out.mmdb"));
    }
}
