//! Small City files for tests.

use std::fs;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::compact::data::Data;
use crate::compact::format::{self, Metadata};
use crate::compact::tree::{IPV4_PREFIX_LEN, Tree};
use crate::compact::{Options, compact};

/// A record of a test file.
#[derive(Debug, Clone, Copy)]
pub(super) struct City {
    country: &'static str,
    coordinates: Option<(f32, f32)>,
}

impl City {
    /// With coordinates, and a country that does not matter.
    pub(super) fn at(latitude: f32, longitude: f32) -> Self {
        Self { country: "DE", coordinates: Some((latitude, longitude)) }
    }

    /// Without coordinates.
    pub(super) fn country(country: &'static str) -> Self {
        Self { country, coordinates: None }
    }
}

/// Makes a file of the flat shape.
pub(super) fn save(dir: &Path, networks: &[(&str, City)]) -> PathBuf {
    let mut tree = Tree::new();
    let mut data = Data::default();
    let mut offsets = Vec::new();
    for (number, (network, city)) in networks.iter().enumerate() {
        match network.parse().unwrap() {
            IpNet::V4(net) => tree.insert(net.network().to_bits().into(), IPV4_PREFIX_LEN + net.prefix_len(), number),
            IpNet::V6(net) => tree.insert(net.network().to_bits(), net.prefix_len(), number),
        }
        offsets.push(data.bytes().len());
        data.map(if city.coordinates.is_some() { 3 } else { 1 });
        data.string("country_code");
        data.string(city.country);
        if let Some((latitude, longitude)) = city.coordinates {
            data.string("latitude");
            data.float(latitude);
            data.string("longitude");
            data.float(longitude);
        }
    }
    let metadata = Metadata { database_type: "city", description: "test", build_epoch: 1_700_000_000 };
    let path = dir.join(format!("{}.mmdb", networks.len()));
    fs::write(&path, format::encode_raw(&tree, &data, &offsets, &metadata)).unwrap();
    path
}

/// Compacts files with the default options.
pub(super) fn compacted(dir: &Path, inputs: &[PathBuf]) -> PathBuf {
    let output = dir.join("compact.mmdb");
    compact(inputs, &output, &Options::default(), &mut |_| {}).unwrap();
    output
}
