//! A resolver that keeps answers by their ECS scope, Debian's unbound, between clients and a node: whatever was asked
//! before and in whatever order, its cache gives each client what the node itself would.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::{self, A, AAAA, SOA};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use crate::harness::dns::{Query, Reply, Udp};
use crate::harness::loopback;
use crate::harness::node::{Node, Setup};
use crate::harness::peer::{self, Peer};

const SEED: u64 = 20_261_126;

/// Neighborhoods, and networks asked for in each.
const NEIGHBORHOODS: usize = 150;
const NETWORKS: usize = 12;

const NAMES: [(&str, RecordType); 7] = [
    ("edge.cdn.test", A),
    ("www.cdn.test", A),
    ("www.cdn.test", AAAA),
    ("fra.cdn.test", A),
    ("www.cdn.test", RecordType::TXT),
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

/// Runs unbound as the resolver of `node`'s zone alone.
fn unbound(program: &PathBuf, node: &Node) -> (Peer, SocketAddr) {
    let [address] = loopback::ports(loopback::address());
    let config = format!(
        r#"server:
    interface: {ip}@{port}
    access-control: 127.0.0.0/8 allow
    username: ""
    chroot: ""
    directory: "."
    pidfile: ""
    use-syslog: no
    num-threads: 1
    do-ip6: no
    do-not-query-localhost: no
    local-zone: "test." nodefault
    module-config: "subnetcache iterator"
    send-client-subnet: 127.0.0.0/8
    client-subnet-zone: "cdn.test"
    client-subnet-always-forward: yes
    max-client-subnet-ipv4: 24
    max-client-subnet-ipv6: 56
    max-ecs-tree-size-ipv4: 100000
    max-ecs-tree-size-ipv6: 100000
remote-control:
    control-enable: no
stub-zone:
    name: "cdn.test"
    stub-addr: {node_ip}@{node_port}
"#,
        ip = address.ip(),
        port = address.port(),
        node_ip = node.dns().ip(),
        node_port = node.dns().port(),
    );
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("unbound.conf"), config).unwrap();
    let ready = || Udp::connect(address).try_ask(&Query::new("cdn.test", SOA).bytes()).is_some();
    (Peer::run(program, &["-d", "-c", "unbound.conf"], folder, ready), address)
}

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

/// What an answer says, in an order of its own: addresses may come in any.
fn said(reply: &Reply) -> (ResponseCode, Vec<String>) {
    let mut data = reply.data();
    data.sort();
    (reply.code(), data)
}

/// Asks for all networks and names in a random order; those whose answers through the cache are not the node's own.
fn disagreements(program: &PathBuf, node: &Node, random: &mut StdRng) -> Vec<String> {
    let (_resolver, address) = unbound(program, node);
    let mut asked: Vec<(String, &str, RecordType)> = Vec::new();
    for network in networks(random) {
        let names = NAMES[..3].iter().chain(NAMES[3..].choose(random));
        asked.extend(names.map(|(name, kind)| (network.clone(), *name, *kind)));
    }
    asked.shuffle(random);
    let (through, direct) = (Udp::connect(address), Udp::connect(node.dns()));
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

/// Queries that the node has answered.
fn queries(node: &Node) -> f64 {
    let text = node.admin("GET", "/metrics", "").text();
    let lines = text.lines().filter(|line| line.starts_with("nearcast_dns_queries_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn a_cache_by_scopes_says_what_the_node_says() {
    let Some(program) = peer::installed("unbound") else { return };
    eprintln!("seed {SEED}");
    let mut random = StdRng::seed_from_u64(SEED);
    let mut setup = Setup::empty().built_in_geo();
    // Nothing expires while it runs.
    setup.zones[0] = setup.zones[0].replace("ttl = 30", "ttl = 3600");
    setup.sites.push("domains = [\"www.cdn.test\"]\norigin = \"http://127.0.0.1:1\"".to_owned());
    let node = setup.start();
    for state in ["auto", "drain"] {
        // A resolver cannot know that a PoP went: each state has a cache of its own.
        assert_eq!(node.admin("POST", &format!("/v1/pops/sin/{state}"), "").status, 200);
        let wrong = disagreements(&program, &node, &mut random);
        assert!(wrong.is_empty(), "with sin in {state}, {} differ: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    }
}
