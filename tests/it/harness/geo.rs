//! Geo data made by hand.

use std::net::{IpAddr, Ipv6Addr};

use maxminddb_writer::Database;
use maxminddb_writer::metadata::IpVersion;
use maxminddb_writer::paths::IpAddrWithMask;
use serde_json::{Value, json};

/// An mmdb of that age which has these records for these networks.
pub(crate) fn mmdb(build_epoch: u64, rows: &[(&str, Value)]) -> Vec<u8> {
    let mut database = Database::default();
    database.metadata.ip_version = IpVersion::V6;
    database.metadata.binary_format_major_version = 2;
    database.metadata.build_epoch = build_epoch;
    for (network, record) in rows {
        let record = database.insert_value(record).unwrap();
        database.insert_node(within_v6(network), record);
    }
    database.write_to(Vec::new()).unwrap()
}

/// The record of a place, in the form of a City database.
pub(crate) fn place(latitude: f64, longitude: f64) -> Value {
    json!({ "location": { "latitude": latitude, "longitude": longitude } })
}

/// The built-in data as a file's content.
pub(crate) fn built_in() -> Vec<u8> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/geo/nearcast-city.mmdb.zst");
    zstd::decode_all(std::fs::File::open(file).unwrap()).unwrap()
}

/// An mmdb for both families keeps IPv4 in `::/96`.
fn within_v6(network: &str) -> IpAddrWithMask {
    let (address, length) = network.split_once('/').unwrap();
    match address.parse().unwrap() {
        IpAddr::V4(v4) => {
            let inside = Ipv6Addr::from(u128::from(u32::from(v4)));
            format!("{inside}/{}", 96 + length.parse::<u8>().unwrap()).parse().unwrap()
        }
        IpAddr::V6(_) => network.parse().unwrap(),
    }
}
