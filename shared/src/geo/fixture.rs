//! Small mmdb files for tests.

use std::net::{IpAddr, Ipv6Addr};

use maxminddb_writer::Database;
use maxminddb_writer::metadata::IpVersion;
use maxminddb_writer::paths::IpAddrWithMask;
use serde::Serialize;

/// The bytes of an mmdb for both families; later networks punch holes into earlier ones.
pub(super) fn mmdb<T: Serialize>(networks: &[(&str, T)]) -> Vec<u8> {
    let mut database = Database::default();
    database.metadata.ip_version = IpVersion::V6;
    database.metadata.binary_format_major_version = 2;
    database.metadata.build_epoch = 1_700_000_000;
    for (network, record) in networks {
        let record = database.insert_value(record).unwrap();
        database.insert_node(in_v6(network), record);
    }
    database.write_to(Vec::new()).unwrap()
}

/// An mmdb for both families keeps IPv4 in `::/96`.
fn in_v6(network: &str) -> IpAddrWithMask {
    let (address, length) = network.split_once('/').unwrap();
    match address.parse().unwrap() {
        IpAddr::V4(v4) => {
            let inside = Ipv6Addr::from(u128::from(v4.to_bits()));
            IpAddrWithMask::new(inside.into(), 96 + length.parse::<u8>().unwrap())
        }
        IpAddr::V6(v6) => IpAddrWithMask::new(v6.into(), length.parse().unwrap()),
    }
}
