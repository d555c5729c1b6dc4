//! Policies, as clients and resolvers see them: every answer here was given over UDP and over TCP.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::{self, A, AAAA};
use serde_json::{Value, json};

use crate::harness::dns::{Query, Reply};
use crate::harness::geo;
use crate::harness::node::{Node, Setup};

const FRA: &str = "192.0.2.10";
const IAD: &str = "198.51.100.10";
const SIN: &str = "203.0.113.10";

/// Networks of known places, one for each of the PoPs above, and one that nothing is known of.
const FRANKFURT: &str = "5.1.2.0/24";
const NEW_YORK: &str = "3.16.1.0/24";
const JAKARTA: &str = "36.64.1.0/24";
const NOWHERE: &str = "10.1.2.0/24";

/// Farther from all of them: iad is 3900 km away, fra 9100.
const CALIFORNIA: &str = "3.101.1.0/24";

fn place(latitude: f64, longitude: f64, continent: &str, country: &str, part: &str) -> Value {
    json!({
        "location": { "latitude": latitude, "longitude": longitude },
        "continent": { "code": continent },
        "country": { "iso_code": country },
        "subdivisions": [{ "iso_code": part }],
    })
}

/// Three PoPs, and geo data of a few networks.
fn setup() -> Setup {
    let setup = Setup::empty();
    let cities = [
        ("5.0.0.0/10", place(50.1, 8.7, "EU", "DE", "HE")),
        ("5.64.0.0/16", place(48.9, 2.4, "EU", "FR", "IDF")),
        ("3.16.0.0/16", place(40.7, -74.0, "NA", "US", "NY")),
        ("3.101.0.0/16", place(37.3, -121.9, "NA", "US", "CA")),
        ("36.64.0.0/16", place(-6.2, 106.8, "AS", "ID", "JK")),
        ("2a00::/20", place(50.1, 8.7, "EU", "DE", "HE")),
    ];
    let systems =
        ["5.1.0.0/16", "3.101.7.0/24"].map(|network| (network, json!({ "autonomous_system_number": 64_500 })));
    fs::write(setup.folder().join("city.mmdb"), geo::mmdb(1_700_000_000, &cities)).unwrap();
    fs::write(setup.folder().join("asn.mmdb"), geo::mmdb(1_700_000_000, &systems)).unwrap();
    setup.set("geo.database", "\"city.mmdb\"").set("geo.asn", "\"asn.mmdb\"")
}

/// The answer for a client in `network`.
fn ask(node: &Node, policy: &str, kind: RecordType, network: &str) -> Reply {
    let query = Query::from(&format!("{policy}.cdn.test"), kind, network);
    let (udp, tcp) = (query.udp(node.dns()), query.tcp(node.dns()));
    assert_eq!(udp, tcp, "{policy} from {network}");
    udp
}

fn address(node: &Node, policy: &str, network: &str) -> String {
    ask(node, policy, A, network).address()
}

fn scope(reply: &Reply) -> u8 {
    reply.subnet().unwrap().2
}

fn force(node: &Node, pops: &[&str], state: &str) {
    for pop in pops {
        assert_eq!(node.admin("POST", &format!("/v1/pops/{pop}/{state}"), "").status, 200);
    }
}

/// `count` networks of Frankfurt.
fn networks(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("5.{}.{}.0/24", number / 256 % 64, number % 256))
}

/// How many networks got which address.
fn shares(node: &Node, policy: &str, count: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for network in networks(count) {
        let reply = Query::from(&format!("{policy}.cdn.test"), A, &network).udp(node.dns());
        *shares.entry(reply.address()).or_default() += 1;
    }
    shares
}

#[test]
fn orders() {
    let node = setup()
        .policy("near", "")
        .policy("biased", "bias = { fra = 70 }")
        .policy("ordered", "order = \"failover\"\npops = [\"sin\", \"fra\"]")
        .policy("pinned", "order = \"failover\"\npops = [\"iad\"]")
        .policy("lost", "unknown = [\"sin\"]")
        .start();
    let from = [FRANKFURT, NEW_YORK, JAKARTA, NOWHERE, CALIFORNIA];
    let rows = [
        ("near", [FRA, IAD, SIN, FRA, IAD]),
        ("biased", [FRA, IAD, SIN, FRA, FRA]),
        ("ordered", [SIN; 5]),
        ("pinned", [IAD; 5]),
        ("lost", [FRA, IAD, SIN, SIN, IAD]),
    ];
    for (policy, wanted) in rows {
        assert_eq!(from.map(|network| address(&node, policy, network)), wanted, "{policy}");
    }
    assert_eq!(scope(&ask(&node, "near", A, FRANKFURT)), 10, "as wide as the data is the same");
    assert_eq!(scope(&ask(&node, "pinned", A, FRANKFURT)), 0, "the same for all");
    force(&node, &["sin"], "drain");
    assert_eq!(address(&node, "ordered", JAKARTA), FRA);
    assert_eq!(address(&node, "pinned", JAKARTA), IAD);
    force(&node, &["fra", "iad"], "drain");
    assert_eq!(address(&node, "ordered", JAKARTA), SIN, "as if all were up");
}

#[test]
fn weights_share_resolvers_and_leave_the_scope_alone() {
    let node = setup()
        .policy("weighted", "order = \"weighted\"\nweights = { fra = 300, iad = 100, sin = 0 }")
        .policy("groups", "order = \"failover\"\npops = [[\"fra\", \"iad\"], \"sin\"]")
        .start();
    // A resolver keeps an answer for all of its clients, so it is resolvers that are shared out.
    let shares = |policy: &str, count: u8| {
        let mut shares: BTreeMap<String, usize> = BTreeMap::new();
        let query = Query::from(&format!("{policy}.cdn.test"), A, FRANKFURT);
        for number in 0..=count {
            for high in 0..8 {
                let reply = query.udp_from(Ipv4Addr::new(127, 1, high, number).into(), node.dns());
                assert_eq!(scope(&reply), 0, "{policy}");
                *shares.entry(reply.address()).or_default() += 1;
            }
        }
        shares
    };
    let weighted = shares("weighted", 255);
    assert_eq!(weighted.keys().collect::<Vec<_>>(), [FRA, IAD], "nobody goes to a weight of 0");
    // Of 2048; six standard deviations of a fair draw are 118 and 136.
    assert!(weighted[FRA].abs_diff(1536) < 118, "{weighted:?}");
    let groups = shares("groups", 255);
    assert!(groups[FRA].abs_diff(1024) < 136 && !groups.contains_key(SIN), "{groups:?}");
    force(&node, &["fra"], "drain");
    assert_eq!(shares("weighted", 5).keys().collect::<Vec<_>>(), [IAD]);
    force(&node, &["iad"], "drain");
    assert_eq!(shares("groups", 5).keys().collect::<Vec<_>>(), [SIN], "the next group");
}

#[test]
fn sticky_clients_stay_where_they_are() {
    let node = setup().policy("sticky", "order = \"weighted\"\npick = \"sticky\"").start();
    let all = || -> Vec<String> { networks(300).map(|network| address(&node, "sticky", &network)).collect() };
    let before = all();
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 3, "all have some");
    assert_eq!(all(), before);
    let reply = ask(&node, "sticky", A, FRANKFURT);
    assert_eq!(scope(&reply), 24, "it holds for this network only");
    assert_eq!(reply, ask(&node, "sticky", A, FRANKFURT));
    let (a, aaaa) = (address(&node, "sticky", FRANKFURT), ask(&node, "sticky", AAAA, FRANKFURT).address());
    let pop = |address: &str| [FRA, IAD, SIN].iter().position(|v4| *v4 == address).unwrap() + 1;
    assert_eq!(aaaa, format!("2001:db8:{}::10", pop(&a)), "both families go to one PoP");
    assert_eq!(scope(&ask(&node, "sticky", A, "2a00:1::/56")), 48);

    force(&node, &["iad"], "drain");
    let moved = all();
    for (before, now) in before.iter().zip(&moved) {
        assert!(if before == IAD { now != IAD } else { now == before }, "{before} went to {now}");
    }
    force(&node, &["iad"], "auto");
    assert_eq!(all(), before, "and all come back");
}

#[test]
fn a_dead_pops_clients_are_spread() {
    let node = setup().policy("spread", "spread = 2").policy("near", "").start();
    assert_eq!(shares(&node, "spread", 400), BTreeMap::from([(FRA.to_owned(), 400)]));
    assert_eq!(scope(&ask(&node, "spread", A, FRANKFURT)), 10);
    force(&node, &["fra"], "drain");
    let spread = shares(&node, "spread", 400);
    assert!(spread[IAD].abs_diff(200) < 60 && spread[SIN].abs_diff(200) < 60, "{spread:?}");
    assert_eq!(scope(&ask(&node, "spread", A, FRANKFURT)), 24, "neighbors may have another");
    assert_eq!(shares(&node, "near", 50), BTreeMap::from([(IAD.to_owned(), 50)]));
    assert_eq!(address(&node, "spread", JAKARTA), SIN, "others are left alone");
}

#[test]
fn a_ring_makes_near_ones_equal() {
    // From New York: iad 350 km, fra 6200, sin 15300.
    let node = setup()
        .policy("wide", "ring = \"7000 km\"\npick = \"sticky\"")
        .policy("narrow", "ring = \"100 km\"")
        .policy("share", "ring = \"10 %\"")
        .start();
    let near = |policy: &str| -> BTreeSet<String> {
        (0..60).map(|number| address(&node, policy, &format!("3.16.{number}.0/24"))).collect()
    };
    assert_eq!(near("wide").into_iter().collect::<Vec<_>>(), [FRA, IAD]);
    for policy in ["narrow", "share"] {
        assert_eq!(near(policy).into_iter().collect::<Vec<_>>(), [IAD], "{policy}");
    }
}

#[test]
fn several_pops_in_an_answer() {
    let mut setup = setup().policy("two", "answers = 2").policy("turning", "answers = 3\nrotate = true");
    setup.pops[0] = setup.pops[0].replace("\"192.0.2.10\",", "\"192.0.2.10\", \"192.0.2.11\",");
    let node = setup.start();
    let data = |policy: &str, network: &str| ask(&node, policy, A, network).data();
    assert_eq!(data("two", NEW_YORK), [IAD, FRA, "192.0.2.11"], "the nearest first, and all addresses of each");
    assert_eq!(data("two", JAKARTA)[0], SIN);
    force(&node, &["fra"], "drain");
    assert_eq!(data("two", NEW_YORK), [IAD, SIN]);
    force(&node, &["fra"], "auto");
    let query = Query::from("turning.cdn.test", A, NEW_YORK);
    let answers: Vec<Vec<String>> = (0..40).map(|id| query.clone().id(id).udp(node.dns()).data()).collect();
    let firsts: BTreeSet<&String> = answers.iter().map(|answer| &answer[0]).collect();
    assert_eq!(firsts.len(), 4, "each comes first at times: {firsts:?}");
    for mut answer in answers {
        answer.sort();
        assert_eq!(answer, [FRA, "192.0.2.11", IAD, SIN]);
    }
}

#[test]
fn a_pop_that_is_a_name() {
    let mut setup = setup().policy("near", "");
    setup.pops[1] = "name = \"iad\"\nlocation = [38.95, -77.45]\ncname = \"iad.other.test\"\nprobe = false".to_owned();
    setup.zones[0] = setup.zones[0].replace("\"ns2.cdn.test\"", "{ name = \"ns2.cdn.test\", pop = \"sin\" }");
    let node = setup.start();
    assert_eq!(address(&node, "near", FRANKFURT), FRA);
    for kind in [A, AAAA] {
        let reply = ask(&node, "near", kind, NEW_YORK);
        assert_eq!(
            (reply.address().as_str(), reply.0.answers[0].record_type()),
            ("iad.other.test.", RecordType::CNAME)
        );
    }
    // Never data for some and none for others: only addresses are steered.
    for kind in [RecordType::TXT, RecordType::CNAME] {
        let reply = ask(&node, "near", kind, NEW_YORK);
        assert_eq!((reply.code(), reply.data().len(), scope(&reply)), (ResponseCode::NoError, 0, 0), "{kind}");
    }
    assert!(scope(&ask(&node, "near", A, NEW_YORK)) > 0, "it is for this network");
    force(&node, &["iad"], "drain");
    assert_eq!(address(&node, "near", NEW_YORK), FRA);
}

#[test]
fn all_down() {
    let node = setup()
        .policy("open", "all-down = \"open\"")
        .policy("elsewhere", "all-down = [\"192.0.2.99\", \"2001:db8:9::99\"]")
        .policy("nodata", "all-down = \"nodata\"")
        .policy("servfail", "all-down = \"servfail\"")
        .start();
    let policies = ["open", "elsewhere", "nodata", "servfail"];
    for policy in policies {
        assert_eq!(address(&node, policy, JAKARTA), SIN, "{policy}");
    }
    force(&node, &["fra", "iad", "sin"], "down");
    assert_eq!(address(&node, "open", JAKARTA), SIN);
    assert_eq!(address(&node, "elsewhere", JAKARTA), "192.0.2.99");
    assert_eq!(ask(&node, "elsewhere", AAAA, JAKARTA).address(), "2001:db8:9::99");
    let nodata = ask(&node, "nodata", A, JAKARTA);
    assert_eq!((nodata.code(), nodata.data().len()), (ResponseCode::NoError, 0));
    assert_eq!(nodata.0.authorities[0].record_type(), RecordType::SOA);
    assert_eq!(scope(&nodata), 0, "for everyone");
    let servfail = ask(&node, "servfail", A, JAKARTA);
    assert_eq!((servfail.code(), servfail.data().len()), (ResponseCode::ServFail, 0));
    force(&node, &["fra"], "up");
    for policy in policies {
        assert_eq!(address(&node, policy, JAKARTA), FRA, "{policy}");
    }
}

#[test]
fn the_closest_rule_counts() {
    let rule = |body: &str, pop: &str| format!("[[policy.rule]]\n{body}\npops = [\"{pop}\"]\n");
    let rules = [
        rule("continents = [\"EU\", \"NA\"]", "sin"),
        rule("countries = [\"DE\", \"ID\"]", "iad"),
        rule("subdivisions = [\"US-CA\"]", "fra"),
        rule("asns = [64500]", "sin"),
        rule("networks = [\"5.1.7.0/24\", \"36.64.1.128/25\"]", "fra"),
        rule("networks = [\"5.1.7.64/26\", \"10.0.0.0/8\"]", "iad"),
    ];
    let node = setup().policy("ruled", &rules.concat()).start();
    let rows = [
        ("a continent", "5.64.1.0/24", SIN),
        ("a country of it", "5.2.3.0/24", IAD),
        ("a country", "36.64.0.0/24", IAD),
        ("a continent", NEW_YORK, SIN),
        ("a subdivision of it", CALIFORNIA, FRA),
        ("an autonomous system in that", "3.101.7.0/24", SIN),
        ("an autonomous system in a country", FRANKFURT, SIN),
        ("a network in all of these", "5.1.7.0/26", FRA),
        ("a network in that", "5.1.7.64/32", IAD),
        ("half of a /24: by its first address", JAKARTA, IAD),
        ("the other half", "36.64.1.128/25", FRA),
        ("a network that nothing else is known of", NOWHERE, IAD),
        ("no rule", "192.0.2.0/24", FRA),
    ];
    for (name, network, wanted) in rows {
        assert_eq!(address(&node, "ruled", network), wanted, "{name}");
    }
    // A whole address is told apart within a /24; what comes before it as a /24 is not for all of it.
    assert_eq!(scope(&ask(&node, "ruled", A, "36.64.1.1/32")), 25);
    force(&node, &["iad"], "drain");
    assert_eq!(address(&node, "ruled", "36.64.0.0/24"), SIN, "then by distance");
}

#[test]
fn without_ecs_the_resolver_counts() {
    let mut setup = setup().policy("near", "").policy("blind", "");
    setup.sites[1].push_str("\necs = false");
    setup.zones.push("name = \"blind.test\"\nnameservers = [\"ns1.blind.test\"]\necs = false".to_owned());
    let node = setup.start();
    assert_eq!(address(&node, "near", JAKARTA), SIN);
    // The resolver's own address is known to be nowhere: the PoP that was asked.
    for name in ["blind.cdn.test", "edge.blind.test"] {
        let query = Query::from(name, A, JAKARTA);
        for reply in [query.udp(node.dns()), query.tcp(node.dns())] {
            assert_eq!((reply.address().as_str(), scope(&reply)), (FRA, 0), "{name}");
        }
    }
}

#[test]
fn malformed_subnets_are_refused_alike_over_both_transports() {
    let node = setup().policy("near", "").start();
    // RFC 7871 section 7.1.2 and 11: what is not in this form is answered FORMERR.
    let long = [&[0, 2, 129, 0][..], &[0x20; 17]].concat();
    let rows: [(&str, &[u8], ResponseCode); 16] = [
        ("nothing", &[], ResponseCode::FormErr),
        ("no address, no lengths", &[0, 1], ResponseCode::FormErr),
        ("no scope", &[0, 1, 24], ResponseCode::FormErr),
        ("a scope", &[0, 1, 24, 24, 5, 1, 2], ResponseCode::FormErr),
        ("33 bits of IPv4", &[0, 1, 33, 0, 5, 1, 2, 3, 4], ResponseCode::FormErr),
        ("129 bits of IPv6", &long, ResponseCode::FormErr),
        ("too few bytes", &[0, 1, 24, 0, 5, 1], ResponseCode::FormErr),
        ("too many bytes", &[0, 1, 24, 0, 5, 1, 2, 0], ResponseCode::FormErr),
        ("a bit too many", &[0, 1, 23, 0, 5, 1, 3], ResponseCode::FormErr),
        ("family 3", &[0, 3, 0, 0], ResponseCode::FormErr),
        ("family 0 with a source", &[0, 0, 8, 0, 5], ResponseCode::FormErr),
        ("family 0 with an address", &[0, 0, 0, 0, 5], ResponseCode::FormErr),
        ("family 0, as some tools send it", &[0, 0, 0, 0], ResponseCode::NoError),
        ("privacy", &[0, 1, 0, 0], ResponseCode::NoError),
        ("privacy of IPv6", &[0, 2, 0, 0], ResponseCode::NoError),
        ("a whole address", &[0, 1, 32, 0, 5, 1, 2, 3], ResponseCode::NoError),
    ];
    for (name, data, code) in rows {
        let query = Query::new("near.cdn.test", A).option(8, data);
        let (udp, tcp) = (query.raw_udp(node.dns()), query.raw_tcp(node.dns()));
        assert_eq!(udp, tcp, "{name}: byte for byte");
        assert_eq!((udp[3] & 0x0f, udp[7]), (code.low(), u8::from(code == ResponseCode::NoError)), "{name}");
        let echoed =
            data.len() >= 4 && udp.windows(data.len()).any(|have| [&have[..3], &have[4..]] == [&data[..3], &data[4..]]);
        assert_eq!(echoed, code == ResponseCode::NoError, "{name}: echoed");
    }
}
