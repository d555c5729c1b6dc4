//! What a query costs from its bytes to its answer's, without the kernel: in batches, as a thread of UDP answers them, with as many
//! answers remembered as stands in brackets: with none each is made, with many all but the first are remembered.
//!
//! ```sh
//! cargo bench --workspace --bench query
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use nearcast_dns::dnssec::{Algorithm, Key, Keys, SignatureMetrics, Signers, Times, write};
use nearcast_dns::fuzzing::Datagrams;
use nearcast_dns::{DnsMetrics, Manners, Plane, QueryLog, Seed, View};
use nearcast_shared::clock::{Clock, Timestamp};
use nearcast_shared::config::{Config, Inputs};
use nearcast_shared::geo::builtin;
use nearcast_shared::health::HealthBoard;
use nearcast_shared::metrics::Metrics;
use nearcast_shared::name::Name;

/// Queries of one call.
const BATCH: usize = 64;

/// Answers that are remembered by default.
const REMEMBERED: usize = 32_768;

const CONFIG: &str = r#"
[dns.dnssec]
keys = "keys"
[[pop]]
name = "fra"
location = [50.03, 8.57]
addresses = ["192.0.2.10", "2001:db8:1::10"]
probe = false
[[pop]]
name = "iad"
location = [38.94, -77.46]
addresses = ["198.51.100.10", "2001:db8:2::10"]
probe = false
[[pop]]
name = "sin"
location = [1.36, 103.99]
addresses = ["203.0.113.10", "2001:db8:3::10"]
probe = false
[[zone]]
name = "cdn.test"
nameservers = ["ns1.cdn.test", "ns2.cdn.test"]
dnssec = true
[[zone.record]]
name = "static"
type = "A"
data = "192.0.2.1"
[[site]]
domains = ["www.cdn.test"]
origin = "http://127.0.0.1:1"
"#;

static PLANE: LazyLock<Plane> = LazyLock::new(plane);

fn main() {
    LazyLock::force(&PLANE);
    divan::main();
}

#[divan::bench(args = [0, REMEMBERED])]
fn fixed(bencher: Bencher<'_, '_>, remembered: usize) {
    ask(bencher, remembered, |_| query("static.cdn.test", &opt(false, &[])), false);
}

#[divan::bench(args = [0, REMEMBERED])]
fn steered_with_ecs(bencher: Bencher<'_, '_>, remembered: usize) {
    ask(bencher, remembered, |n| query("www.cdn.test", &opt(false, &subnet(n))), false);
}

#[divan::bench(args = [0, REMEMBERED])]
fn steered_by_source(bencher: Bencher<'_, '_>, remembered: usize) {
    ask(bencher, remembered, |_| query("www.cdn.test", &opt(false, &[])), true);
}

#[divan::bench(args = [0, REMEMBERED])]
fn no_name(bencher: Bencher<'_, '_>, remembered: usize) {
    ask(bencher, remembered, |n| query(&format!("no-{n}.cdn.test"), &opt(false, &[])), false);
}

#[divan::bench(args = [0, REMEMBERED])]
fn signed(bencher: Bencher<'_, '_>, remembered: usize) {
    ask(bencher, remembered, |_| query("static.cdn.test", &opt(true, &[])), false);
}

#[divan::bench(args = [0, REMEMBERED])]
fn signed_steered_with_ecs(bencher: Bencher<'_, '_>, remembered: usize) {
    ask(bencher, remembered, |n| query("www.cdn.test", &opt(true, &subnet(n))), false);
}

/// Has a batch of queries answered, the number of each of which makes it; from one address, or from many.
fn ask(bencher: Bencher<'_, '_>, remembered: usize, query: impl Fn(usize) -> Vec<u8>, spread: bool) {
    let ip = |n: usize| if spread { IpAddr::from(network(n)) } else { Ipv4Addr::LOCALHOST.into() };
    let queries: Vec<(Vec<u8>, SocketAddr)> =
        (0..BATCH * 64).map(|n| (query(n), SocketAddr::new(ip(n), 5353))).collect();
    let mut datagrams = Datagrams::new(&PLANE, remembered);
    // What comes for the third time is remembered, if it can be.
    for batch in queries.chunks(BATCH).chain(queries.chunks(BATCH)) {
        datagrams.answer(batch, |_| {});
    }
    let mut batches = queries.chunks(BATCH).cycle();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let batch = batches.next().unwrap_or_default();
        datagrams.answer(batch, |reply| {
            black_box(reply);
        });
    });
}

/// Any network of the Internet, another one for each number.
fn network(n: usize) -> Ipv4Addr {
    let mixed = (n as u32).wrapping_mul(0x9e37_79b9);
    Ipv4Addr::new(1 + (mixed >> 24) as u8 % 222, (mixed >> 16) as u8, (mixed >> 8) as u8, 0)
}

fn query(name: &str, opt: &[u8]) -> Vec<u8> {
    let name = Name::parse(name).expect("a name");
    [&[0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1][..], name.wire(), &[0, 1, 0, 1], opt].concat()
}

fn opt(dnssec_ok: bool, options: &[u8]) -> Vec<u8> {
    [&[0, 0, 41, 4, 208, 0, 0, u8::from(dnssec_ok) << 7, 0, 0, options.len() as u8], options].concat()
}

fn subnet(n: usize) -> Vec<u8> {
    let [a, b, c, _] = network(n).octets();
    vec![0, 8, 0, 7, 0, 1, 24, 0, a, b, c]
}

fn plane() -> Plane {
    let now = Timestamp::from_seconds(1_800_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let times =
        Times { created: Some(now), publish: Some(now), activate: Some(now), offer: Some(now), ..Times::default() };
    let key =
        Key::generate(&Name::parse("cdn.test").expect("a name"), Algorithm::EcdsaP256, times).expect("randomness");
    write(&folder.path().join("keys"), &key).expect("a file");
    let inputs = Inputs { pop: Some("sin".to_owned()), ..Inputs::default() };
    let config = Config::parse(CONFIG, &folder.path().join("bench.toml"), &inputs).expect("the config is right");
    let (clock, registry) = (Clock::manual(now), Metrics::new());
    let metrics = Arc::new(DnsMetrics::register(&registry));
    let keys = Keys::load(&config, &SignatureMetrics::register(&registry), now).expect("keys");
    let signers = Arc::new(Signers::new(&config.dnssec, clock.clone(), [1; 16], now));
    signers.use_keys(&keys);
    let geo = Arc::new(builtin::load().expect("the built-in data"));
    let view = View::compile(&config, geo, &metrics).expect("the config is right").with_keys(keys);
    view.use_maps(view.build_maps(&AtomicBool::new(false)).expect("a map"));
    Plane {
        view: Arc::new(ArcSwap::from_pointee(view)),
        health: HealthBoard::new(&config, None, &clock).expect("nothing is read"),
        texts: Arc::default(),
        manners: Arc::new(ArcSwap::from_pointee(Manners::new(&config, Seed([2; 32]), None))),
        log: QueryLog::off(),
        signers,
        metrics,
        clock,
    }
}
