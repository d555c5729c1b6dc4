//! Well-known addresses: what DNS answers, what is explained, and what brute force finds, with the built-in geo data and
//! with the full files it was made from.

use std::net::IpAddr;
use std::path::PathBuf;

use hickory_proto::rr::RecordType::A;
use nearcast_shared::geo::{Coordinates, GeoDb, builtin, distance};

use crate::harness::dns::Query;
use crate::harness::node::Setup;

/// Name, address, PoP.
const TABLE: &str = include_str!("../data/well-known-addresses.tsv");

/// Ten PoPs at airports.
const POPS: [(&str, f64, f64); 10] = [
    ("fra", 50.03, 8.57),
    ("lhr", 51.47, -0.45),
    ("iad", 38.95, -77.45),
    ("sjc", 37.36, -121.93),
    ("gru", -23.43, -46.47),
    ("jnb", -26.13, 28.24),
    ("bom", 19.09, 72.87),
    ("sin", 1.36, 103.99),
    ("nrt", 35.77, 140.39),
    ("syd", -33.95, 151.18),
];

fn rows() -> Vec<(&'static str, IpAddr, &'static str)> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let row = |line: &'static str| {
        let mut cells = line.split('\t');
        let mut cell = || cells.next().unwrap();
        (cell(), cell().parse().unwrap(), cell())
    };
    lines.map(row).collect()
}

fn setup() -> Setup {
    let mut setup = Setup::empty();
    let pop = |(index, (name, latitude, longitude)): (usize, &(&str, f64, f64))| {
        format!(
            "name = \"{name}\"\nlocation = [{latitude}, {longitude}]\naddresses = [\"192.0.2.{}\"]\nprobe = false",
            index + 1
        )
    };
    setup.pops = POPS.iter().enumerate().map(pop).collect();
    setup.pop("gru")
}

/// The nearest of all, one by one.
fn brute_force(geo: &GeoDb, address: IpAddr) -> Option<&'static str> {
    let client = geo.locate(address).coordinates?;
    let km = |pop: &(&str, f64, f64)| distance::km(client, Coordinates::new(pop.1, pop.2).unwrap());
    POPS.iter().min_by(|a, b| km(a).total_cmp(&km(b))).map(|pop| pop.0)
}

/// What is wrong with the answers of a node of `setup`, whose data is `geo`.
fn disagreements(setup: &Setup, geo: &GeoDb) -> Vec<String> {
    let node = setup.start();
    let rows = rows();
    assert_eq!(rows.len(), 20);
    let mut wrong = Vec::new();
    for (name, address, wanted) in rows {
        let (whole, customary) = if address.is_ipv4() { (32, 24) } else { (128, 56) };
        let mut found = vec![("brute force".to_owned(), brute_force(geo, address).unwrap_or("nowhere").to_owned())];
        for source in [whole, customary] {
            let reply = Query::from("edge.cdn.test", A, &cut(address, source)).udp(node.dns());
            let index: usize = reply.address().rsplit('.').next().unwrap().parse().unwrap();
            found.push((format!("DNS for a /{source}"), POPS[index - 1].0.to_owned()));
        }
        let explained = node.admin("GET", &format!("/v1/explain?name=edge.cdn.test&ip={address}"), "");
        let explained: serde_json::Value = serde_json::from_slice(&explained.body).unwrap();
        found.push(("explain".to_owned(), explained["pop"].as_str().unwrap_or("nothing").to_owned()));
        for (who, pop) in found {
            if pop != wanted {
                wrong.push(format!("{name}, {address}: {who} says {pop}, the table {wanted}"));
            }
        }
    }
    wrong
}

/// The first `bits` of `address`, as a network.
fn cut(address: IpAddr, bits: u8) -> String {
    ipnet::IpNet::new(address, bits).unwrap().trunc().to_string()
}

#[test]
fn the_built_in_data_and_the_table_agree() {
    let wrong = disagreements(&setup().built_in_geo(), &builtin::load().unwrap());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_full_files_and_the_table_agree() {
    let Some(files) = std::env::var_os("NEARCAST_FULL_GEO") else {
        eprintln!("SKIPPED: NEARCAST_FULL_GEO names no files; give full DB-IP files, separated by colons");
        return;
    };
    let paths: Vec<PathBuf> = std::env::split_paths(&files).collect();
    let list: Vec<String> = paths.iter().map(|path| format!("{:?}", path.display().to_string())).collect();
    let setup = setup().set("geo.database", &format!("[{}]", list.join(", ")));
    let wrong = disagreements(&setup, &GeoDb::open(&paths, &[]).unwrap());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
