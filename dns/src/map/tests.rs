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

/// Whether an IPv4 address within it is read in its place: what the map has there is no client's.
fn is_read_otherwise(address: IpAddr) -> bool {
    net::effective(address).0 != address
}

/// Where the map's parts begin, in order.
struct Starts {
    v4: Vec<u32>,
    v6: Vec<u128>,
}

impl Starts {
    fn of(map: &Map) -> Self {
        let Tables { v4, v6 } = &map.tables;
        Self { v4: v4.parts().map(|part| part.first).collect(), v6: v6.parts().map(|part| part.first).collect() }
    }

    /// Those in the other half of the prefix that is one bit shorter than this one. The first begins where that half does:
    /// one that began before would hold this prefix, too.
    fn across(&self, address: IpAddr, length: u8) -> Vec<IpAddr> {
        let distant = 1_u128 << (if address.is_ipv4() { 32 } else { 128 } - length);
        match address {
            IpAddr::V4(v4) => {
                let first = u128::from(v4.to_bits()) & !(distant - 1) ^ distant;
                let range = within(&self.v4, first as u32, (first | (distant - 1)) as u32);
                range.iter().map(|start| Ipv4Addr::from(*start).into()).collect()
            }
            IpAddr::V6(v6) => {
                let first = v6.to_bits() & !(distant - 1) ^ distant;
                within(&self.v6, first, first | (distant - 1))
                    .iter()
                    .map(|start| Ipv6Addr::from(*start).into())
                    .collect()
            }
        }
    }
}

/// Of sorted numbers those from `first` to `last`; the first must be among them.
fn within<B: Copy + Ord + std::fmt::Debug>(sorted: &[B], first: B, last: B) -> &[B] {
    let from = sorted.binary_search(&first);
    assert!(from.is_ok(), "a part goes over the border at {first:?}");
    let to = sorted.partition_point(|start| *start <= last);
    &sorted[from.unwrap_or(to)..to]
}

/// What this process took of memory at most, as the kernel says (proc_pid_status(5)).
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim().to_owned()
}

/// Compares for `count` addresses of each family.
fn agree(geo: GeoDb, count: usize) {
    let view = view(Arc::new(geo));
    let maps = view.build_maps(&AtomicBool::new(false)).unwrap();
    view.use_maps(maps.clone());
    let (guide, map) = (view.guide(), maps.of(PolicyId(0)).unwrap());
    let size = maps.size();
    eprintln!(
        "{} prefixes, {} rankings, {} KiB, made in {:?}; at most {} of memory until then, with the geo data",
        size.prefixes,
        size.rankings,
        size.bytes >> 10,
        maps.took(),
        peak()
    );
    assert!(size.bytes < 64 << 20);

    let mut noise = Noise(2_026);
    let starts = Starts::of(map);
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
    let answer_to = |address: IpAddr, source: u8, health: &HealthTable| {
        let asker = Asker { resolver: address, subnet: Some(Subnet { address, source }), now: Timestamp(0) };
        let decision = guide.decide(steered, asker, Family::V4, health, 30);
        let Verdict::Pops(chosen) = decision.verdict else { panic!("{:?}", decision.verdict) };
        (chosen.first().index(), decision.coverage.scope)
    };
    let answer =
        |address: IpAddr, health: &HealthTable| answer_to(address, if address.is_ipv4() { 32 } else { 128 }, health);
    let nearest = |address: IpAddr| brute_force(guide.geo(), address).map(|order| order[..DEPTH].to_vec());
    // What is beside a prefix takes a while to look at: for so many addresses of each family at most.
    const BORDERS: usize = 5_000;
    let stride = count.div_ceil(BORDERS);
    let (mut known, mut shorter, mut cut_off) = (0, 0, 0);
    for n in 0..2 * count {
        let address = if n < count {
            IpAddr::V4(Ipv4Addr::from(noise.next() as u32))
        } else {
            // Anywhere would be nowhere nearly always: somewhere after a border of the map.
            let start = starts.v6[noise.next() as usize % starts.v6.len()];
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
        if n % stride != 0 {
            continue;
        }
        // A bit shorter and there are two rankings.
        let (inner, offset) = net::effective(address);
        let length = map.tables.lookup(inner).1;
        if offset == Some(0) && length > 0 {
            let here = nearest(inner);
            let differs = |other| is_read_otherwise(other) || nearest(other) != here;
            assert!(starts.across(inner, length).into_iter().any(differs), "{inner} /{length} could be wider");
            shorter += 1;
        }
        // What resolvers send is shorter than an address, and what they get is no longer than what they may send.
        let (least, customary): (u8, u8) = if address.is_ipv4() { (8, 24) } else { (20, 56) };
        for source in [least + (noise.next() % u64::from(customary - least)) as u8, customary] {
            let network = net::masked(address, source);
            let (ranking, depth) = map.lookup(network);
            let (_, scope) = answer_to(network, source, &states[0].1);
            let wanted = depth.min(source.max(customary));
            let wanted = if ranking.known { wanted } else { wanted.max(source) };
            assert_eq!(scope, wanted, "{network}/{source}, in a /{depth} of the map");
            cut_off += usize::from(scope < depth);
        }
    }
    // Few networks of the data are longer than what resolvers send.
    assert!(known > count && shorter > count / stride && cut_off > 0, "{known} known, {shorter}, {cut_off}");
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
