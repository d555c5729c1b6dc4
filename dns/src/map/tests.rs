//! The map beside a reference that knows nothing of maps: for many addresses, states of health, and both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use nearcast_shared::clock::Timestamp;
use nearcast_shared::geo::{GeoDb, builtin, distance};
use nearcast_shared::health::HealthTable;

use super::*;
use crate::ecs::Subnet;
use crate::fixture;
use crate::metrics::DnsMetrics;
use crate::steering::{Asker, Family, Verdict};
use crate::view::{Steered, View};

/// Where CDNs have their sites.
const SITES: [(&str, f64, f64); 12] = [
    ("fra", 50.03, 8.57),
    ("lhr", 51.47, -0.45),
    ("cdg", 49.01, 2.55),
    ("iad", 38.95, -77.45),
    ("ord", 41.98, -87.90),
    ("sjc", 37.36, -121.93),
    ("gru", -23.43, -46.47),
    ("jnb", -26.13, 28.24),
    ("bom", 19.09, 72.87),
    ("sin", 1.36, 103.99),
    ("nrt", 35.77, 140.39),
    ("syd", -33.95, 151.18),
];

/// PoPs that the map keeps.
const DEPTH: usize = 3;

fn view(geo: Arc<GeoDb>) -> View {
    let pops = SITES.iter().zip(1..).map(|((name, latitude, longitude), n)| {
        format!(
            "[[pop]]\nname = \"{name}\"\nlocation = [{latitude}, {longitude}]\n\
             addresses = [\"192.0.2.{n}\", \"2001:db8::{n:x}\"]\n"
        )
    });
    let zone = "[[zone]]\nname = \"cdn.test\"\nnameservers = [\"ns1.cdn.test\"]\n";
    let config = fixture::config(&(pops.collect::<String>() + zone), "gru");
    assert_eq!(config.ranking_depth, DEPTH);
    View::compile(&config, geo, &DnsMetrics::register(&nearcast_shared::metrics::Metrics::new())).unwrap()
}

/// All PoPs by distance, the nearest first; nothing when the client is nowhere.
fn brute_force(geo: &GeoDb, address: IpAddr) -> Option<Vec<usize>> {
    let client = geo.locate(address).coordinates?;
    let at = |site: usize| {
        let (_, latitude, longitude) = SITES[site];
        distance::km(client, nearcast_shared::geo::Coordinates::new(latitude, longitude).unwrap())
    };
    let mut order: Vec<usize> = (0..SITES.len()).collect();
    order.sort_by(|a, b| at(*a).total_cmp(&at(*b)));
    Some(order)
}

/// Numbers that look random, the same each time: SplitMix64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

fn inside(address: IpAddr, length: u8, noise: u128) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from(v4.to_bits() ^ (noise as u32).checked_shr(length.into()).unwrap_or(0)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(v6.to_bits() ^ noise.checked_shr(length.into()).unwrap_or(0)).into(),
    }
}

/// The first addresses of all that the map has in the other half of the prefix that is one bit shorter.
fn across(map: &Map, address: IpAddr, length: u8) -> Vec<IpAddr> {
    fn of<B: Bits>(table: &Table<B>, address: B, length: u8) -> Vec<B> {
        let kept =
            |bits: B| bits.head(length - 1) == address.head(length - 1) && bits.head(length) != address.head(length);
        table.parts().map(|part| part.first).filter(|first| kept(*first)).collect()
    }
    match address {
        IpAddr::V4(v4) => {
            of(&map.tables.v4, v4.to_bits(), length).into_iter().map(|bits| Ipv4Addr::from(bits).into()).collect()
        }
        IpAddr::V6(v6) => {
            of(&map.tables.v6, v6.to_bits(), length).into_iter().map(|bits| Ipv6Addr::from(bits).into()).collect()
        }
    }
}

/// Compares for `count` addresses of each family.
fn agree(geo: GeoDb, count: usize) {
    let view = view(Arc::new(geo));
    let maps = view.build_maps(&AtomicBool::new(false)).unwrap();
    view.use_maps(maps.clone());
    let (guide, map) = (view.guide(), maps.of(PolicyId(0)).unwrap());
    let size = maps.size();
    eprintln!(
        "{} prefixes, {} rankings, {} KiB, made in {:?}",
        size.prefixes,
        size.rankings,
        size.bytes >> 10,
        maps.took()
    );
    assert!(size.bytes < 64 << 20);

    let mut noise = Noise(2_026);
    let starts: Vec<u128> = map.tables.v6.parts().map(|part| part.first).collect();
    let mut states: Vec<(Vec<&str>, HealthTable)> = vec![(Vec::new(), fixture::health(&view, &[]))];
    for _ in 0..9 {
        let bits = noise.next();
        let down: Vec<&str> =
            SITES.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, site)| site.0).collect();
        states.push((down.clone(), fixture::health(&view, &down)));
    }
    let all: Vec<&str> = SITES.iter().map(|site| site.0).collect();
    states.push((all.clone(), fixture::health(&view, &all)));

    let steered = Steered { policy: PolicyId(0), site: None, ecs: true };
    let answer = |address: IpAddr, health: &HealthTable| {
        let source = if address.is_ipv4() { 32 } else { 128 };
        let asker = Asker { resolver: address, subnet: Some(Subnet { address, source }), now: Timestamp(0) };
        let decision = guide.decide(steered, asker, Family::V4, health, 30);
        let Verdict::Pops(chosen) = decision.verdict else { panic!("{:?}", decision.verdict) };
        (chosen.first().index(), decision.coverage.scope)
    };
    let (mut known, mut shorter) = (0, 0);
    for n in 0..2 * count {
        let address = if n < count {
            IpAddr::V4(Ipv4Addr::from(noise.next() as u32))
        } else {
            // Anywhere would be nowhere nearly always: somewhere after a border of the map.
            let start = starts[noise.next() as usize % starts.len()];
            IpAddr::V6(Ipv6Addr::from(start | noise.wide() >> (noise.next() % 128)))
        };
        let order = brute_force(guide.geo(), address);
        known += usize::from(order.is_some());
        for state in [0, 1 + n % (states.len() - 1)] {
            let (down, health) = &states[state];
            let (pop, scope) = answer(address, health);
            if let Some(order) = &order {
                let up = order.iter().find(|site| !down.contains(&SITES[**site].0)).unwrap_or(&order[0]);
                assert_eq!(SITES[pop].0, SITES[*up].0, "{address} with {down:?} down");
            }
            for _ in 0..2 {
                let other = inside(address, scope, noise.wide());
                assert_eq!(answer(other, health).0, pop, "{other} in the /{scope} of {address} with {down:?} down");
            }
        }
        // A bit shorter and there are two rankings: looked at for some, since it walks the whole map.
        let (inner, offset) = net::effective(address);
        let length = map.tables.lookup(inner).1;
        if n % (2 * count / 200) == 0 && offset == Some(0) && length > 0 {
            let cut = |address| brute_force(guide.geo(), address).map(|order| order[..DEPTH].to_vec());
            let others = across(map, address, length);
            // One whose part begins before the other half is not among them, but then it is the other half and more.
            assert!(others.is_empty() || others.iter().any(|other| cut(*other) != cut(address)), "{address} /{length}");
            shorter += usize::from(!others.is_empty());
        }
    }
    assert!(known > count && shorter > 50, "{known} of {count} known, {shorter}");
}

#[test]
fn the_built_in_data_and_its_map_agree() {
    agree(builtin::load().unwrap(), 5_000);
}

#[test]
fn the_full_files_and_their_map_agree() {
    let Some(files) = std::env::var_os("NEARCAST_FULL_GEO") else {
        eprintln!("SKIPPED: NEARCAST_FULL_GEO names no files; give full DB-IP files, separated by colons");
        return;
    };
    let paths: Vec<PathBuf> = std::env::split_paths(&files).collect();
    agree(GeoDb::open(&paths, &[]).unwrap(), 100_000);
}
