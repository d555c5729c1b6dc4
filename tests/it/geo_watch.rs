//! Geo files that change under a running node: taken when settled, refused when they look wrong, taken when forced.

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use hickory_proto::rr::RecordType::A;
use maxminddb_writer::Database;
use maxminddb_writer::metadata::IpVersion;
use maxminddb_writer::paths::IpAddrWithMask;
use nearcast_shared::clock::Clock;
use serde_json::{Value, json};

use crate::harness::dns::Query;
use crate::harness::eventually;
use crate::harness::node::{Node, Setup};
use crate::harness::process::Process;

const FRANKFURT: (f64, f64) = (50.1, 8.7);
const NEW_YORK: (f64, f64) = (40.7, -74.0);
const SINGAPORE: (f64, f64) = (1.3, 103.9);

/// Puts a file in its place as a whole, as downloads should be: networks and where they are, built at `epoch`.
fn put(folder: &Path, epoch: u64, networks: &[(&str, (f64, f64))]) {
    let mut database = Database::default();
    database.metadata.ip_version = IpVersion::V6;
    database.metadata.binary_format_major_version = 2;
    database.metadata.build_epoch = epoch;
    for (network, (latitude, longitude)) in networks {
        let record = json!({ "location": { "latitude": latitude, "longitude": longitude } });
        let record = database.insert_value(record).unwrap();
        let (address, length) = network.split_once('/').unwrap();
        let IpAddr::V4(v4) = address.parse().unwrap() else { panic!("{network} is not of IPv4") };
        let inside = Ipv6Addr::from(u128::from(v4.to_bits()));
        database.insert_node(IpAddrWithMask::new(inside.into(), 96 + length.parse::<u8>().unwrap()), record);
    }
    let unfinished = folder.join("city.part");
    fs::write(&unfinished, database.write_to(Vec::new()).unwrap()).unwrap();
    fs::rename(unfinished, folder.join("city.mmdb")).unwrap();
}

/// 64 networks from 10.0.0.0/14 on, of which the first `moved` are in New York and the others in Frankfurt.
fn world(moved: usize) -> Vec<(String, (f64, f64))> {
    let place = |number| if number < moved { NEW_YORK } else { FRANKFURT };
    (0..64).map(|number| (format!("{}.{}.0.0/14", 10 + number / 64, number * 4 % 256), place(number))).collect()
}

fn put_world(folder: &Path, epoch: u64, moved: usize) {
    let world = world(moved);
    let networks: Vec<(&str, (f64, f64))> = world.iter().map(|(network, place)| (network.as_str(), *place)).collect();
    put(folder, epoch, &networks);
}

fn start(watch: &str) -> (Setup, Node) {
    let setup = Setup::empty().set("geo.database", "\"city.mmdb\"").set("geo.watch", watch);
    put_world(setup.folder(), 1_000_000, 0);
    let node = setup.start();
    (setup, node)
}

fn pop_of(node: &Node, network: &str) -> String {
    Query::from("edge.cdn.test", A, network).udp(node.dns()).address()
}

fn refused(node: &Node) -> Option<String> {
    node.status()["geo_refused"]["why"].as_str().map(str::to_owned)
}

fn changes(node: &Node, outcome: &str) -> Option<f64> {
    node.metric(&format!("nearcast_geo_changes_total{{outcome=\"{outcome}\"}}"))
}

#[test]
fn a_file_that_is_replaced_is_taken() {
    let (setup, node) = start("\"20ms\"");
    assert_eq!(pop_of(&node, "10.0.0.0/24"), "192.0.2.10");
    put_world(setup.folder(), 1_000_001, 4);
    eventually("the new file counts", || pop_of(&node, "10.0.0.0/24") == "198.51.100.10");
    assert_eq!(pop_of(&node, "10.128.0.0/24"), "192.0.2.10");
    let status = node.status();
    assert_eq!((&status["geo"][0]["build_epoch"], &status["geo_refused"]), (&Value::from(1_000_001), &Value::Null));
    assert_eq!(changes(&node, "taken"), Some(1.0));
    assert_eq!(status["config"]["generation"], 1, "the config is as it was");
}

#[test]
fn files_that_look_wrong_are_refused_once() {
    let rows: [(&str, u64, usize, &str); 2] =
        [("older", 999_999, 0, "before the one in force"), ("moved", 1_000_001, 32, "would get another PoP")];
    for (kind, epoch, moved, why) in rows {
        let (setup, node) = start("\"20ms\"");
        put_world(setup.folder(), epoch, moved);
        eventually(kind, || refused(&node).is_some_and(|text| text.contains(why)));
        assert_eq!(pop_of(&node, "10.0.0.0/24"), "192.0.2.10", "{kind}: the old file is in force");
        // What is right again is taken, and the refusal forgotten.
        put_world(setup.folder(), 1_000_002, 4);
        eventually("the next file counts", || pop_of(&node, "10.0.0.0/24") == "198.51.100.10");
        eventually("the refusal is forgotten", || refused(&node).is_none());
        assert_eq!(changes(&node, kind), Some(1.0), "{kind}: tried once");
    }
}

#[test]
fn what_is_much_smaller_or_unreadable_is_refused() {
    let (setup, node) = start("\"20ms\"");
    put(setup.folder(), 1_000_001, &[("10.0.0.0/8", FRANKFURT)]);
    eventually("smaller", || refused(&node).is_some_and(|text| text.contains("less than geo.size-min")));
    fs::write(setup.folder().join("city.mmdb"), "a page that says that the download is over quota").unwrap();
    eventually("unreadable", || refused(&node).is_some_and(|text| text.contains("not a usable mmdb")));
    assert_eq!(pop_of(&node, "10.0.0.0/24"), "192.0.2.10");
    for kind in ["smaller", "unusable"] {
        assert_eq!(changes(&node, kind), Some(1.0), "{kind}");
    }
}

/// Posts a reload; the warnings of its answer.
fn warned(node: &Node, target: &str) -> Vec<String> {
    let answer = node.admin("POST", target, "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    serde_json::from_value(answer["warnings"].clone()).unwrap()
}

/// `setup` with one site more.
fn with_a_site(setup: &Setup) -> Setup {
    let mut setup = setup.clone();
    setup.sites.push("domains = [\"more.cdn.test\"]\norigin = \"http://127.0.0.1:9\"".to_owned());
    setup
}

#[test]
fn bad_geo_data_does_not_stop_another_change_and_can_be_forced() {
    let (setup, node) = start("\"0s\"");
    put_world(setup.folder(), 1_000_001, 64);
    with_a_site(&setup).write();
    let warnings = warned(&node, "/v1/reload").join("\n");
    assert!(warnings.contains("100.0 % of the known IPv4") && warnings.contains("--force"), "{warnings}");
    assert_eq!(pop_of(&node, "10.0.0.0/24"), "192.0.2.10", "the old geo data");
    assert_eq!(Query::from("more.cdn.test", A, "10.0.0.0/24").udp(node.dns()).address(), "192.0.2.10", "the new site");
    let status = node.status();
    assert_eq!((&status["config"]["generation"], &status["config"]["last_error"]), (&Value::from(2), &Value::Null));
    assert!(refused(&node).is_some_and(|why| why.contains("another PoP")));
    assert_eq!(node.admin("POST", "/v1/reload?force=perhaps", "").status, 400);
    assert_eq!(warned(&node, "/v1/reload?force=1"), Vec::<String>::new());
    assert_eq!(pop_of(&node, "10.0.0.0/24"), "198.51.100.10");
    assert_eq!(refused(&node), None);
}

#[test]
fn an_unreadable_file_does_not_stop_another_change_even_if_forced() {
    for target in ["/v1/reload", "/v1/reload?force=1"] {
        let (setup, node) = start("\"0s\"");
        fs::write(setup.folder().join("city.mmdb"), "a page that says that the download is over quota").unwrap();
        with_a_site(&setup).write();
        let warnings = warned(&node, target).join("\n");
        assert!(warnings.contains("not a usable mmdb") && warnings.contains("old geo data stays"), "{warnings}");
        assert_eq!(Query::from("more.cdn.test", A, "10.0.0.0/24").udp(node.dns()).address(), "192.0.2.10", "{target}");
        // Asked for by the config, it is another matter.
        setup.clone().set("geo.database", "[\"city.mmdb\", \"city.mmdb\"]").write();
        assert_eq!(node.admin("POST", target, "").status, 409, "{target}");
    }
}

#[test]
fn a_config_that_asks_for_other_files_is_judged_by_them() {
    let setup = Setup::empty().set("geo.database", "\"city.mmdb\"").set("geo.moved-max", "\"100 %\"");
    put_world(setup.folder(), 1_000_000, 0);
    let node = setup.start();
    put(setup.folder(), 1_000_001, &[("10.0.0.0/14", SINGAPORE), ("10.4.0.0/14", NEW_YORK)]);
    fs::copy(setup.folder().join("city.mmdb"), setup.folder().join("dated.mmdb")).unwrap();
    let dated = setup.clone().set("geo.database", "\"dated.mmdb\"");
    dated.write();
    let answer = node.admin("POST", "/v1/reload", "");
    assert_eq!(answer.status, 409, "it is smaller: {}", answer.text());
    assert!(node.status()["config"]["last_error"].as_str().is_some_and(|error| error.contains("geo.size-min")));
    dated.set("geo.size-min", "\"0 %\"").write();
    assert_eq!(warned(&node, "/v1/reload"), Vec::<String>::new());
    assert_eq!(pop_of(&node, "10.0.0.0/24"), "203.0.113.10");
}

#[test]
fn a_file_that_is_read_for_something_else_is_taken_anew() {
    let (setup, node) = start("\"0s\"");
    setup.clone().set("geo.database", "[]").set("geo.asn", "\"city.mmdb\"").write();
    assert_eq!(node.admin("POST", "/v1/reload?force=1", "").status, 200);
    let geo = node.status()["geo"].clone();
    assert_eq!((&geo[0]["path"], &geo[1]["read_for"]), (&Value::from("built-in"), &Value::from("asn")), "{geo}");
}

#[test]
fn map_diff_tells_what_would_move() {
    let (setup, _node) = start("\"0s\"");
    let folder = setup.folder();
    fs::copy(folder.join("city.mmdb"), folder.join("old.mmdb")).unwrap();
    put_world(folder, 1_000_001, 16);
    let file = setup.write();
    let file = file.to_str().unwrap();
    let diff = |arguments: &[&str]| {
        let process = Process::command(&[&["map", "diff", file, file], arguments].concat(), folder);
        (process.exit_code(), process.log())
    };
    let (code, text) = diff(&["--geo", "old.mmdb", "--new-geo", "city.mmdb"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("policy default: edge.cdn.test\n  IPv4: 25.000 % of 16,777,216 known addresses"), "{text}");
    assert!(text.contains("fra  ->  iad    25.000 %  4,194,304"), "{text}");
    assert!(text.contains("IPv6: nothing moves"), "{text}");
    let (code, text) = diff(&[]);
    assert_eq!((code, text.contains("IPv4: nothing moves")), (Some(0), true), "{text}");
    let (code, text) = diff(&["--new-geo", "missing.mmdb"]);
    assert_eq!((code, text.contains("missing.mmdb")), (Some(2), true), "{text}");
}

#[test]
fn maps_are_made_aside_and_shown() {
    let started = Clock::System.now();
    let (setup, node) = start("\"0s\"");
    let map = || node.status()["map"].clone();
    eventually("the maps are made", || !map().is_null());
    assert!(map()["prefixes"].as_u64().is_some_and(|count| count > 2), "{}", map());
    assert_eq!(pop_of(&node, "10.0.0.0/24"), "192.0.2.10");
    let metrics = node.admin("GET", "/metrics", "").text();
    for name in ["map_bytes", "map_prefixes", "map_rankings", "map_build_seconds", "geo_file_networks{file="] {
        assert!(metrics.contains(&format!("\nnearcast_{name}")), "{name}\n{metrics}");
    }
    assert!(metrics.contains("nearcast_geo_file_build_timestamp_seconds{file="), "{metrics}");
    let made = node.metric("nearcast_map_build_timestamp_seconds");
    let while_it_ran = started.seconds() as f64..=Clock::System.now().seconds() as f64;
    assert!(made.is_some_and(|made| while_it_ran.contains(&made)), "{made:?} is not in {while_it_ran:?}");
    // A PoP elsewhere needs other maps.
    let mut moved = setup.clone();
    moved.pops[0] = moved.pops[0].replace("[50.03, 8.57]", "[-33.9, 151.2]");
    moved.write();
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
    eventually("the new maps are made", || !map().is_null());
    assert_eq!(pop_of(&node, "10.0.0.0/24"), "198.51.100.10");
}
