//! What the tests of this crate share: a fleet of three PoPs, a little geo data, and its health.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use maxminddb_writer::Database;
use maxminddb_writer::metadata::IpVersion;
use maxminddb_writer::paths::IpAddrWithMask;
use nearcast_shared::clock::{Clock, Timestamp};
use nearcast_shared::config::{Config, Inputs};
use nearcast_shared::geo::GeoDb;
use nearcast_shared::health::{FleetId, HealthBoard, HealthTable, PopHealth, Reason};
use nearcast_shared::metrics::Metrics;
use serde::Serialize;

use crate::dnssec::{self, Algorithm, Key, Keys, SignatureMetrics, Signers, Times};
use crate::log::QueryLog;
use crate::manners::{Manners, Seed};
use crate::metrics::DnsMetrics;
use crate::server::Plane;
use crate::texts::Texts;
use crate::view::View;

/// Three PoPs, one zone.
pub(crate) const CONFIG: &str = r#"
    [[pop]]
    name = "fra"
    location = [50.03, 8.57]
    addresses = ["192.0.2.10", "2001:db8:1::10"]
    [[pop]]
    name = "iad"
    location = [38.94, -77.46]
    addresses = ["198.51.100.10", "198.51.100.11", "2001:db8:2::10"]
    [[pop]]
    name = "sin"
    location = [1.36, 103.99]
    addresses = ["203.0.113.10", "2001:db8:3::10"]
    [[zone]]
    name = "cdn.example.net"
    nameservers = ["ns1.cdn.example.net", "ns2.cdn.example.net", "ns.elsewhere.example"]
    ttl = 60
    negative-ttl = 20
    serial = 2026112201
    [[site]]
    domains = ["www.cdn.example.net", "a.b.cdn.example.net", "static.example.com"]
    origin = "http://origin.example.com"
"#;

/// An address in Frankfurt, in 5.0.0.0/10; the geo data has the same place in 2a00::/20 for IPv6.
pub(crate) const FRANKFURT: &str = "5.1.2.3";
/// An address in New York, in 3.16.0.0/20; 2600:1::/32 for IPv6.
pub(crate) const NEW_YORK: &str = "3.16.1.2";
/// An address in Jakarta, in 36.64.1.128/26.
pub(crate) const JAKARTA: &str = "36.64.1.130";
/// An address that the geo data does not have.
pub(crate) const UNKNOWN: &str = "10.1.2.3";

#[derive(Serialize)]
struct Record {
    location: Location,
    country: Country,
}

#[derive(Serialize)]
struct Location {
    latitude: f64,
    longitude: f64,
}

#[derive(Serialize)]
struct Country {
    iso_code: &'static str,
}

pub(crate) fn config(text: &str, pop: &str) -> Config {
    let inputs = Inputs { pop: Some(pop.to_owned()), ..Inputs::default() };
    Config::parse(text, Path::new("test.toml"), &inputs).unwrap()
}

pub(crate) fn geo() -> Arc<GeoDb> {
    let mut database = Database::default();
    database.metadata.ip_version = IpVersion::V6;
    database.metadata.binary_format_major_version = 2;
    let places = [
        (50.1, 8.7, "DE", ["5.0.0.0/10", "2a00::/20"].as_slice()),
        (40.7, -74.0, "US", &["3.16.0.0/20", "2600:1::/32"]),
        (-6.2, 106.8, "ID", &["36.64.1.128/26"]),
    ];
    for (latitude, longitude, iso_code, networks) in places {
        let record = Record { location: Location { latitude, longitude }, country: Country { iso_code } };
        let record = database.insert_value(record).unwrap();
        for network in networks {
            database.insert_node(network_in_v6(network), record);
        }
    }
    let bytes = database.write_to(Vec::new()).unwrap();
    Arc::new(GeoDb::from_bytes("test", bytes).unwrap())
}

/// An mmdb for both families keeps IPv4 in `::/96`.
fn network_in_v6(network: &str) -> IpAddrWithMask {
    let (address, length) = network.split_once('/').unwrap();
    match address.parse().unwrap() {
        IpAddr::V4(v4) => {
            let inside = Ipv6Addr::from(u128::from(u32::from(v4)));
            format!("{inside}/{}", 96 + length.parse::<u8>().unwrap()).parse().unwrap()
        }
        IpAddr::V6(_) => network.parse().unwrap(),
    }
}

pub(crate) fn metrics() -> DnsMetrics {
    DnsMetrics::register(&Metrics::new())
}

/// The fleet of [`CONFIG`] as its node in Singapore sees it.
pub(crate) fn view() -> View {
    view_of(CONFIG, "sin")
}

pub(crate) fn view_of(text: &str, pop: &str) -> View {
    compile(&config(text, pop))
}

pub(crate) fn compile(config: &Config) -> View {
    View::compile(config, geo(), &metrics()).unwrap()
}

/// Those of [`CONFIG`] with this before it.
pub(crate) fn manners(text: &str) -> Manners {
    Manners::new(&config(&format!("{text}{CONFIG}"), "sin"), Seed([7; 32]), None)
}

/// What listeners work with, for the fleet of [`CONFIG`].
pub(crate) fn plane(view: View) -> Plane {
    let config = config(CONFIG, "sin");
    Plane {
        view: Arc::new(ArcSwap::from_pointee(view)),
        health: HealthBoard::new(&config, None, &Clock::System).unwrap(),
        texts: Arc::default(),
        manners: Arc::new(ArcSwap::from_pointee(manners(""))),
        log: QueryLog::off(),
        signers: signers(),
        metrics: Arc::new(metrics()),
        clock: Clock::System,
    }
}

/// Who would sign, with nothing kept.
pub(crate) fn signers() -> Arc<Signers> {
    signers_by(Clock::System)
}

/// The same by that clock.
pub(crate) fn signers_by(clock: Clock) -> Arc<Signers> {
    Arc::new(Signers::new(&config(CONFIG, "sin").dnssec, clock, [0; 16], Timestamp(0)))
}

/// The view of `text` with all its zones signed.
pub(crate) fn signed_view(text: &str, pop: &str) -> View {
    signed_view_of(&text.replace("[[zone]]", "[[zone]]\ndnssec = true"), pop)
}

/// The same with those signed that say so.
pub(crate) fn signed_view_of(text: &str, pop: &str) -> View {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[dns.dnssec]\nkeys = {:?}\n{text}", folder.path().display().to_string());
    let config = config(&text, pop);
    let since = Some(Timestamp(0));
    for zone in config.zones.iter().filter(|zone| zone.dnssec) {
        let times = Times { created: since, publish: since, activate: since, offer: since, ..Times::default() };
        dnssec::write(folder.path(), &Key::generate(&zone.apex, Algorithm::EcdsaP256, times).unwrap()).unwrap();
    }
    let counters = SignatureMetrics::register(&Metrics::new());
    compile(&config).with_keys(Keys::load(&config, &counters, Timestamp(1)).unwrap())
}

/// No texts, for as long as any test lives.
pub(crate) fn no_texts() -> &'static Texts {
    static NONE: LazyLock<Texts> = LazyLock::new(Texts::default);
    &NONE
}

pub(crate) fn health(view: &View, down: &[&str]) -> HealthTable {
    let pops = view.pops().iter().map(|pop| PopHealth {
        up: !down.contains(&pop.name.as_str()),
        reason: Reason::Probes,
        ..PopHealth::unknown(pop)
    });
    HealthTable::new(FleetId::of(view.pops()), pops.collect())
}

/// The bytes of a query with id 0x1234 and RD set; letter case is kept.
pub(crate) fn query(name: &str, qtype: u16) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend(label.as_bytes());
    }
    packet.push(0);
    packet.extend(qtype.to_be_bytes());
    packet.extend([0, 1]);
    packet
}

/// [`query`] with an OPT record: 1232 bytes, DO set, these options.
pub(crate) fn query_with(name: &str, qtype: u16, options: &[u8]) -> Vec<u8> {
    let mut packet = query(name, qtype);
    packet[11] = 1;
    packet.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0]);
    packet.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
    packet.extend(options);
    packet
}

/// An ECS option for a network such as `192.0.2.0/24`.
pub(crate) fn subnet(network: &str) -> Vec<u8> {
    let (address, source) = network.split_once('/').unwrap();
    let source: u8 = source.parse().unwrap();
    let (family, octets) = match address.parse().unwrap() {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let octets = &octets[..usize::from(source).div_ceil(8)];
    let length = u8::try_from(4 + octets.len()).unwrap();
    [&[0, 8, 0, length, 0, family, source, 0], octets].concat()
}
