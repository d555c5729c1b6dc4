//! A resolver that keeps answers by their ECS scope, Debian's unbound, between clients and a node: whatever was asked
//! before and in whatever order, its cache gives each client what the node itself would.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::{self, A, AAAA, CNAME, HTTPS, SOA};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use crate::harness::dns::{Query, Reply, Udp};
use crate::harness::loopback;
use crate::harness::node::{Node, Setup};
use crate::harness::tls::Authority;
use crate::harness::unbound::Unbound;

const SEED: u64 = 20_261_126;

/// Neighborhoods, networks asked for in each, and names asked for by each.
const NEIGHBORHOODS: usize = 150;
const NETWORKS: usize = 12;
const QUERIES: usize = 5;

/// Seconds that answers live: none expires while it runs.
const TTL: u32 = 3600;

/// A name with HTTPS records.
const BOUND: &str = "bound.cdn.test";

/// Policies whose answers hang on the client alone: none that draws anew with each moment.
const POLICIES: [(&str, &str); 7] = [
    ("near", ""),
    ("sticky", "order = \"weighted\"\npick = \"sticky\""),
    ("spread", "spread = 2"),
    ("ring", "ring = \"3000 km\"\npick = \"sticky\""),
    ("two", "answers = 2"),
    ("ordered", "order = \"failover\"\npops = [\"sin\", \"iad\", \"fra\"]"),
    (
        "ruled",
        "[[policy.rule]]\nnetworks = [\"16.0.0.0/5\", \"33.128.0.0/9\", \"64.0.0.0/14\", \"2a00::/13\", \"2600:8000::/17\"]\npops = [\"gru\"]\n\
         [[policy.rule]]\ncountries = [\"US\", \"FR\"]\npops = [\"sin\"]\n\
         [[policy.rule]]\ncontinents = [\"EU\", \"AS\"]\npops = [\"iad\"]",
    ),
];

const NAMES: [(&str, RecordType); 17] = [
    ("edge.cdn.test", A),
    ("near.cdn.test", A),
    ("near.cdn.test", AAAA),
    ("sticky.cdn.test", A),
    ("spread.cdn.test", AAAA),
    ("ring.cdn.test", A),
    ("two.cdn.test", A),
    ("ordered.cdn.test", A),
    ("ruled.cdn.test", A),
    ("fra.cdn.test", A),
    (BOUND, A),
    (BOUND, AAAA),
    (BOUND, HTTPS),
    // Whatever the client's subnet, as for the resolver.
    ("plain.cdn.test", A),
    // Of a policy without a PoP that is a CNAME: a resolver that knows one gives it for any type.
    ("ordered.cdn.test", RecordType::TXT),
    ("nobody.cdn.test", A),
    ("cdn.test", SOA),
];

/// Where the registries' networks are, so that most of what is asked for is known.
const ALLOCATED: [(Ipv6Addr, u8); 6] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 20),
    (Ipv6Addr::new(0x2400, 0, 0, 0, 0, 0, 0, 0), 12),
    (Ipv6Addr::new(0x2600, 0, 0, 0, 0, 0, 0, 0), 12),
    (Ipv6Addr::new(0x2800, 0, 0, 0, 0, 0, 0, 0), 12),
    (Ipv6Addr::new(0x2a00, 0, 0, 0, 0, 0, 0, 0), 12),
    (Ipv6Addr::new(0x2c00, 0, 0, 0, 0, 0, 0, 0), 12),
];

/// The first `bits` of `address` and the rest at random.
fn scatter(random: &mut StdRng, address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
            Ipv4Addr::from(u32::from(v4) & !mask | random.random::<u32>() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
            Ipv6Addr::from(u128::from(v6) & !mask | random.random::<u128>() & mask).into()
        }
    }
}

/// Networks in neighborhoods, so that one answer may hold for another network: as long as resolvers send at most, or shorter.
fn networks(random: &mut StdRng) -> Vec<String> {
    let mut networks = Vec::new();
    for number in 0..NEIGHBORHOODS {
        let (place, near, longest) = if number % 3 == 0 {
            let (registry, bits) = *ALLOCATED.choose(random).unwrap();
            (scatter(random, registry.into(), bits), 20..=55, 56)
        } else {
            (scatter(random, Ipv4Addr::new(0, 0, 0, 0).into(), 0), 8..=23, 24)
        };
        for _ in 0..NETWORKS {
            let bits = random.random_range(near.clone());
            let source = if random.random_ratio(3, 4) { longest } else { random.random_range(near.clone()) };
            let address = scatter(random, place, bits);
            networks.push(ipnet::IpNet::new(address, source).unwrap().trunc().to_string());
        }
    }
    networks
}

/// What an answer says, in an order of its own: addresses may come in any. What a CNAME leads to is added by resolvers.
fn said(reply: &Reply) -> (ResponseCode, Vec<String>) {
    let led = reply.0.answers.iter().any(|record| record.record_type() == CNAME);
    let records = reply.0.answers.iter().filter(|record| !led || record.record_type() == CNAME);
    let mut data: Vec<String> = records.map(|record| record.data.to_string()).collect();
    data.sort();
    (reply.code(), data)
}

/// Asks for all networks and names in a random order; those whose answers through the cache are not the node's own.
fn disagreements(node: &Node, resolver: &Unbound, random: &mut StdRng) -> Vec<String> {
    let mut asked: Vec<(String, &str, RecordType)> = Vec::new();
    for network in networks(random) {
        asked.extend(NAMES.sample(random, QUERIES).map(|(name, kind)| (network.clone(), *name, *kind)));
    }
    asked.shuffle(random);
    let (through, direct) = (Udp::connect(resolver.address), Udp::connect(node.dns()));
    let before = queries(node);
    let mut wrong = Vec::new();
    for (network, name, kind) in &asked {
        let query = Query::from(name, *kind, network).bytes();
        let (cached, own) = (said(&through.ask(&query)), said(&direct.ask(&query)));
        if cached != own {
            wrong.push(format!("{name} {kind} from {network}: the cache says {cached:?}, the node {own:?}"));
        }
    }
    let all = asked.len() as f64;
    let forwarded = queries(node) - before - all;
    eprintln!("{all} queries, {forwarded} of them asked of the node");
    assert!(forwarded > all * 0.05 && forwarded < all * 0.9, "some are cached and some are not: {forwarded} of {all}");
    wrong
}

/// Where the answers to A, AAAA and HTTPS that the cache has for one client do not name one PoP.
fn torn(resolver: &Unbound, random: &mut StdRng) -> Vec<String> {
    let through = Udp::connect(resolver.address);
    let mut torn = Vec::new();
    for network in networks(random) {
        let mut kinds = [A, AAAA, HTTPS];
        kinds.shuffle(random);
        let mut says = kinds.map(|kind| (kind, said(&through.ask(&Query::from(BOUND, kind, &network).bytes())).1));
        says.sort_by_key(|(kind, _)| u16::from(*kind));
        let [(_, v4), (_, v6), (_, https)] = &says;
        let one = match (&v4[..], &v6[..], &https[..]) {
            ([v4], [v6], [https]) => {
                v4 == v6 && v6 == https || https.contains(v4.as_str()) && https.contains(v6.as_str())
            }
            _ => false,
        };
        if !one {
            torn.push(format!("{network}: {says:?}"));
        }
    }
    torn
}

/// Queries that the node has answered.
fn queries(node: &Node) -> f64 {
    let text = node.admin("GET", "/metrics", "").text();
    let lines = text.lines().filter(|line| line.starts_with("nearcast_dns_queries_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn a_cache_by_scopes_says_what_the_node_says() {
    eprintln!("seed {SEED}");
    let mut random = StdRng::seed_from_u64(SEED);
    // The port of HTTPS records has to be known. A drained PoP must not shorten what lives in the cache.
    let [https]: [SocketAddr; 1] = loopback::ports(loopback::address());
    let mut setup = Setup::empty().built_in_geo().set("listen.https", &format!("[\":{}\"]", https.port()));
    setup = setup.set("health.settle", "\"0s\"");
    setup.zones[0] = setup.zones[0].replace("ttl = 30", &format!("ttl = {TTL}"));
    Authority::new().save(setup.folder(), "bound", &[BOUND]);
    for keys in [
        "domains = [\"plain.cdn.test\"]\necs = false",
        "domains = [\"bound.cdn.test\"]\ntls = { certificate = \"bound.pem\", key = \"bound.key\" }",
    ] {
        setup.sites.push(format!("{keys}\norigin = \"http://127.0.0.1:1\""));
    }
    let gru = "name = \"gru\"\nlocation = [-23.43, -46.47]\ncname = \"ns1.cdn.test\"\nprobe = false";
    setup.pops.push(gru.to_owned());
    for (name, body) in POLICIES {
        setup = setup.policy(name, body);
    }
    let node = setup.start();
    for drained in ["nobody", "sin", "fra"] {
        if drained != "nobody" {
            assert_eq!(node.admin("POST", &format!("/v1/pops/{drained}/drain"), "").status, 200);
        }
        let singapore = Query::from("near.cdn.test", A, "137.132.21.0/24").udp(node.dns());
        assert_eq!(singapore.0.answers[0].ttl, TTL);
        // A resolver cannot know that a PoP went: each state has a cache of its own.
        let Some(resolver) = Unbound::start(node.dns()) else { return };
        let wrong = disagreements(&node, &resolver, &mut random);
        let some = &wrong[..wrong.len().min(20)];
        assert!(wrong.is_empty(), "{drained} was drained last, and {} differ: {some:#?}", wrong.len());
        assert_eq!(torn(&resolver, &mut random), Vec::<String>::new());
    }
}
