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

/// A few thousand networks all over the world, and those near the PoPs of the tests' fleet: a map of it is made quickly
/// also by a debug build.
pub(crate) fn city() -> Vec<u8> {
    let number = |high: u32, low: u32| f64::from((high * 7 + low * 13) % 1000) / 1000.0;
    let mut rows = Vec::new();
    for high in 60..92 {
        for low in 0..128 {
            let place = place(number(high, low) * 120.0 - 60.0, number(low, high) * 360.0 - 180.0);
            rows.push((format!("{high}.{low}.0.0/16"), place));
        }
    }
    let near = [("129.132.0.0/16", 47.4, 8.5), ("18.9.0.0/16", 42.4, -71.1), ("137.132.0.0/16", 1.3, 103.8)];
    rows.extend(near.map(|(network, latitude, longitude)| (network.to_owned(), place(latitude, longitude))));
    let rows: Vec<(&str, Value)> = rows.iter().map(|(network, place)| (network.as_str(), place.clone())).collect();
    mmdb(1_700_000_000, &rows)
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
