//! One mmdb file in memory.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use maxminddb::{LookupResult, Reader};
use serde::Serialize;

use super::GeoError;
use super::record::{self, AsnRecord, Record, Worth};

/// A file that was read and looked into.
#[derive(Debug)]
pub(super) struct GeoFile {
    pub(super) path: PathBuf,
    pub(super) reader: Reader<Vec<u8>>,
    /// Whether IPv4 is a tree of its own at `::/96`.
    pub(super) ipv4_inside: bool,
    bytes: u64,
    detail: Detail,
    subdivisions: Subdivisions,
    read_for: Use,
}

/// How the countries' parts are called by what was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subdivisions {
    /// Not at all.
    Absent,
    /// By names, such as `California`.
    Names,
    /// By the codes of ISO 3166-2, such as `CA`.
    Codes,
}

/// What a file is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// `geo.database`.
    Places,
    /// `geo.asn`.
    Asn,
}

/// The best that is known of a client by a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detail {
    /// Coordinates.
    Coordinates,
    /// Countries without coordinates.
    Country,
    /// The number of its network.
    Asn,
    /// Nothing that is of use here.
    Nothing,
}

/// What the status shows of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GeoFileInfo {
    /// The path, or `built-in`.
    pub path: PathBuf,
    /// What it is read for.
    pub read_for: Use,
    /// The file's own name for its type.
    pub database_type: String,
    /// Seconds since the Unix epoch.
    pub build_epoch: u64,
    /// 4 or 6.
    pub ip_version: u16,
    /// Its size.
    pub bytes: u64,
    /// Nodes of its search tree: about as many as it has networks.
    pub nodes: u64,
    /// What it tells at best.
    pub detail: Detail,
}

/// Networks looked at to tell what a file knows: far more than have nothing in a row in any that knows something.
const LOOKED_AT: usize = 2_000;
/// The same to tell how it calls the countries' parts: the first in it may be of countries without any.
const LOOKED_AT_FOR_PARTS: usize = 20_000;

impl GeoFile {
    pub(super) fn parse(path: &Path, bytes: Vec<u8>, read_for: Use) -> Result<Self, GeoError> {
        let format = |source| GeoError::Format { path: path.to_owned(), source };
        let size = bytes.len() as u64;
        let reader = Reader::from_source(bytes).map_err(format)?;
        // A truncated file still has valid metadata only if its end is intact; a damaged data section shows here.
        for probe in ["1.1.1.1", "193.0.0.1", "2001:4860::1"] {
            let address: IpAddr = probe.parse().expect("a literal address");
            if address.is_ipv6() && reader.metadata().ip_version == 4 {
                continue;
            }
            let found = reader.lookup(address).map_err(format)?;
            match read_for {
                Use::Places => found.decode::<Record<'_>>().map(drop),
                Use::Asn => found.decode::<AsnRecord>().map(drop),
            }
            .map_err(format)?;
        }
        let start = IpAddr::from([0, 0, 0, 0]);
        let ipv4_inside = reader.metadata().ip_version == 6
            && reader.lookup(start).and_then(|found| found.network()).is_ok_and(|network| network.is_ipv4());
        let detail = detail(&reader, read_for).map_err(format)?;
        let subdivisions = subdivisions(&reader, read_for).map_err(format)?;
        Ok(Self { path: path.to_owned(), reader, ipv4_inside, bytes: size, detail, subdivisions, read_for })
    }

    pub(super) fn info(&self) -> GeoFileInfo {
        let meta = self.reader.metadata();
        GeoFileInfo {
            path: self.path.clone(),
            read_for: self.read_for,
            database_type: meta.database_type.clone(),
            build_epoch: meta.build_epoch,
            ip_version: meta.ip_version,
            bytes: self.bytes,
            nodes: u64::from(meta.node_count),
            detail: self.detail,
        }
    }

    pub(super) fn subdivisions(&self) -> Subdivisions {
        self.subdivisions
    }

    /// Whether it can know addresses of this family.
    pub(super) fn covers(&self, ipv4: bool) -> bool {
        ipv4 || self.reader.metadata().ip_version == 6
    }

    /// The matched prefix length in the family of `address`, and the record found, if any. `None` when the file cannot
    /// know.
    pub(super) fn lookup(&self, address: IpAddr) -> Option<(u8, Option<LookupResult<'_, Vec<u8>>>)> {
        if !self.covers(address.is_ipv4()) {
            return None;
        }
        if self.ipv4_inside && matches!(address, IpAddr::V6(v6) if v6.to_bits() >> 32 == 0) {
            // The tree's place for IPv4, and no address of anybody (RFC 4291 section 2.5.5.1).
            return Some((96, None));
        }
        let found = self.reader.lookup(address).ok()?;
        let network = found.network().ok()?;
        let depth = match (address, network.is_ipv4()) {
            // An IPv4 address in an IPv6 tree whose IPv4 part is empty higher up: nothing in all of IPv4.
            (IpAddr::V4(_), false) => network.prefix().saturating_sub(96),
            _ => network.prefix(),
        };
        Some((depth, found.has_data().then_some(found)))
    }
}

/// A record that cannot be read tells nothing.
pub(super) fn worth_of(found: &LookupResult<'_, Vec<u8>>) -> Worth {
    let record = found.decode::<Record<'_>>().ok().flatten();
    record.map_or(Worth::Little, |record| record.worth())
}

/// The number in a record of an ASN file.
pub(super) fn asn_in(found: &LookupResult<'_, Vec<u8>>) -> Option<u32> {
    found.decode::<AsnRecord>().ok().flatten()?.number()
}

/// A number is all that is looked for: it is worth as much as coordinates.
pub(super) fn asn_worth(found: &LookupResult<'_, Vec<u8>>) -> Worth {
    asn_in(found).map_or(Worth::Little, |_| Worth::Coordinates)
}

fn subdivisions(reader: &Reader<Vec<u8>>, read_for: Use) -> Result<Subdivisions, maxminddb::MaxMindDbError> {
    let mut best = Subdivisions::Absent;
    if read_for == Use::Asn {
        return Ok(best);
    }
    for found in reader.networks(maxminddb::WithinOptions::default())?.take(LOOKED_AT_FOR_PARTS) {
        let record = found?.decode::<Record<'_>>().ok().flatten();
        match record.and_then(|record| record.subdivision()) {
            Some(part) if record::is_subdivision_code(part) => return Ok(Subdivisions::Codes),
            Some(_) => best = Subdivisions::Names,
            None => {}
        }
    }
    Ok(best)
}

fn detail(reader: &Reader<Vec<u8>>, read_for: Use) -> Result<Detail, maxminddb::MaxMindDbError> {
    let mut best = Detail::Nothing;
    for found in reader.networks(maxminddb::WithinOptions::default())?.take(LOOKED_AT) {
        let found = found?;
        match read_for {
            Use::Asn if asn_in(&found).is_some() => return Ok(Detail::Asn),
            Use::Asn => {}
            Use::Places => match worth_of(&found) {
                Worth::Coordinates => return Ok(Detail::Coordinates),
                Worth::Country => best = Detail::Country,
                Worth::Little => {}
            },
        }
    }
    Ok(best)
}
