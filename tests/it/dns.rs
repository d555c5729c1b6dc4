//! Who asks for a name is sent to the nearest PoP that is up.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use hickory_proto::rr::RecordType::{A, AAAA, ANY, HTTPS, MX, NS, SOA, TXT};

use crate::harness::client::Ask;
use crate::harness::dns::{ID, Query, Reply, Udp};
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply as Scripted};
use crate::harness::{eventually, noise};

const WWW: &str = "www.cdn.test";

/// Networks whose place is well known: Zurich, Boston, Singapore.
const NEAR: [(&str, &str, &str, &str); 3] = [
    ("129.132.19.0/24", "2001:67c:10ec::/48", "192.0.2.10", "2001:db8:1::10"),
    ("18.9.22.0/24", "2620:0:2d0::/48", "198.51.100.10", "2001:db8:2::10"),
    ("137.132.21.0/24", "2001:d98::/48", "203.0.113.10", "2001:db8:3::10"),
];

/// What the node's own address is known as: nothing.
const HERE: &str = "127.0.0.1";

fn setup() -> Setup {
    let mut setup = Setup::empty().built_in_geo();
    setup.sites.push("domains = [\"www.cdn.test\", \"a.b.cdn.test\"]\norigin = \"http://127.0.0.1:1\"".to_owned());
    setup
}

fn ask(node: &Node, name: &str, kind: RecordType) -> Reply {
    let query = Query::new(name, kind);
    let (udp, tcp) = (query.udp(node.dns()), query.tcp(node.dns()));
    assert_eq!(udp, tcp, "both transports say the same of {name} {kind}");
    udp
}

#[test]
fn the_nearest_pop_by_client_subnet() {
    let node = setup().start();
    for (v4, v6, a, aaaa) in NEAR {
        for network in [v4, v6] {
            let (address, source) = network.split_once('/').unwrap();
            for (kind, wanted) in [(A, a), (AAAA, aaaa)] {
                let query = Query::from(WWW, kind, network);
                for reply in [query.udp(node.dns()), query.tcp(node.dns())] {
                    assert_eq!(reply.address(), wanted, "{network} {kind}");
                    assert!(reply.0.metadata.authoritative);
                    assert_eq!(reply.0.answers[0].ttl, 30);
                    let (echoed, echoed_source, scope) = reply.subnet().unwrap();
                    assert_eq!((echoed.as_str(), echoed_source.to_string().as_str()), (address, source));
                    assert!((1..=56).contains(&scope), "{network}: scope {scope}");
                }
            }
        }
    }
}

#[test]
fn an_answer_holds_for_all_of_its_scope() {
    let node = setup().start();
    for (v4, _, a, _) in NEAR {
        let scope = Query::from(WWW, A, v4).udp(node.dns()).subnet().unwrap().2;
        let base: u32 = v4.split_once('/').unwrap().0.parse::<std::net::Ipv4Addr>().unwrap().into();
        let first = base & (u32::MAX << (32 - scope));
        for step in 0..16 {
            let inside = std::net::Ipv4Addr::from(first + (u32::MAX >> scope) / 16 * step);
            let reply = Query::from(WWW, A, &format!("{inside}/32")).udp(node.dns());
            assert_eq!(reply.address(), a, "{inside} in {v4} of scope {scope}");
        }
    }
}

#[test]
fn where_the_client_is_not_known_the_asked_pop_counts() {
    for (pop, (_, _, a, _)) in ["fra", "iad", "sin"].into_iter().zip(NEAR) {
        let node = setup().pop(pop).start();
        assert_eq!(ask(&node, WWW, A).address(), a, "{HERE} is nowhere");
        let reply = Query::from(WWW, A, "10.1.2.0/24").udp(node.dns());
        assert_eq!((reply.address().as_str(), reply.subnet().unwrap().2), (a, 24), "not for the whole world");
        assert!(reply.0.answers[0].ttl <= 10, "the data may soon know better");
        let private = Query::from(WWW, A, "0.0.0.0/0").udp(node.dns());
        assert_eq!((private.address().as_str(), private.subnet().unwrap().2), (a, 0));
        assert_eq!(ask(&node, WWW, A).subnet(), None, "never added");
    }
}

#[test]
fn what_else_a_zone_has() {
    let node = setup().start();
    let soa = ask(&node, "cdn.test", SOA);
    assert!(soa.address().starts_with("ns1.cdn.test. hostmaster.cdn.test. 1 "), "{}", soa.address());
    let ns = ask(&node, "cdn.test", NS);
    assert_eq!(ns.data(), ["ns1.cdn.test.", "ns2.cdn.test."]);
    let glue: Vec<String> = ns.0.additionals.iter().map(|r| format!("{} {}", r.name, r.data)).collect();
    let wanted = [
        "ns1.cdn.test. 192.0.2.10",
        "ns1.cdn.test. 2001:db8:1::10",
        "ns2.cdn.test. 198.51.100.10",
        "ns2.cdn.test. 2001:db8:2::10",
    ];
    assert_eq!(glue, wanted);
    assert_eq!(ask(&node, "ns2.cdn.test", A).address(), "198.51.100.10");
    for (pop, (_, _, a, aaaa)) in ["fra", "iad", "sin"].into_iter().zip(NEAR) {
        assert_eq!(ask(&node, &format!("{pop}.cdn.test"), A).address(), a);
        assert_eq!(ask(&node, &format!("{pop}.cdn.test"), AAAA).address(), aaaa);
        let elsewhere = Query::from(&format!("{pop}.cdn.test"), A, NEAR[1].0).udp(node.dns());
        assert_eq!((elsewhere.address().as_str(), elsewhere.subnet().unwrap().2), (a, 0), "the same for everyone");
    }
    assert_eq!(Query::from("edge.cdn.test", A, NEAR[2].0).udp(node.dns()).address(), NEAR[2].2);
    assert_eq!(Query::from("A.B.cdn.TEST", A, NEAR[1].0).udp(node.dns()).address(), NEAR[1].2);
}

#[test]
fn what_a_zone_has_not() {
    let node = setup().start();
    let rows = [
        ("another type", WWW, TXT, ResponseCode::NoError),
        ("HTTPS", WWW, HTTPS, ResponseCode::NoError),
        ("SOA below the apex", WWW, SOA, ResponseCode::NoError),
        ("the apex's own address", "cdn.test", A, ResponseCode::NoError),
        ("an empty name in between", "b.cdn.test", A, ResponseCode::NoError),
        ("no such name", "nobody.cdn.test", A, ResponseCode::NXDomain),
        ("below a name", "x.www.cdn.test", A, ResponseCode::NXDomain),
        ("no such name of another type", "nobody.cdn.test", MX, ResponseCode::NXDomain),
    ];
    for (name, asked, kind, code) in rows {
        let reply = ask(&node, asked, kind);
        assert_eq!((reply.code(), reply.0.answers.len()), (code, 0), "{name}");
        assert!(reply.0.metadata.authoritative, "{name}");
        let soa = &reply.0.authorities[0];
        assert_eq!((soa.record_type(), soa.name.to_string().as_str()), (SOA, "cdn.test."), "{name}");
        let with_subnet = Query::from(asked, kind, NEAR[0].0).udp(node.dns());
        assert_eq!(with_subnet.subnet().unwrap().2, 0, "{name}: never data for some and none for others");
    }
    for outside in ["test", "other.test", "xcdn.test", "."] {
        let reply = ask(&node, outside, A);
        assert_eq!((reply.code(), reply.0.metadata.authoritative), (ResponseCode::Refused, false), "{outside}");
        assert!(reply.0.answers.is_empty() && reply.0.authorities.is_empty(), "{outside}");
    }
    let any = ask(&node, WWW, ANY);
    assert_eq!((any.code(), any.0.answers.len()), (ResponseCode::NoError, 1), "minimal");
    assert_eq!(any.0.answers[0].record_type(), RecordType::HINFO);
}

#[test]
fn a_drained_pop_is_out_at_once_and_back_with_auto() {
    let node = setup().start();
    let boston = Query::from(WWW, A, NEAR[1].0);
    let now = || boston.udp(node.dns()).address();
    assert_eq!(now(), NEAR[1].2);
    for (state, wanted) in [("drain", NEAR[0].2), ("auto", NEAR[1].2), ("down", NEAR[0].2), ("up", NEAR[1].2)] {
        assert_eq!(node.admin("POST", &format!("/v1/pops/iad/{state}"), "").status, 200);
        assert_eq!((now().as_str(), boston.tcp(node.dns()).address().as_str()), (wanted, wanted), "{state}");
    }
    node.admin("POST", "/v1/pops/iad/drain", "");
    assert_eq!(ask(&node, "iad.cdn.test", A).address(), NEAR[1].2, "its own name is its own");
    node.admin("POST", "/v1/pops/fra/drain", "");
    assert_eq!(now(), NEAR[2].2);
    node.admin("POST", "/v1/pops/sin/down", "");
    assert_eq!(now(), NEAR[1].2, "all down: as if all were up");
}

#[test]
fn no_packet_kills_it() {
    let node = setup().start();
    let good = Query::from(WWW, A, NEAR[1].0).bytes();
    let client = Udp::connect(node.dns());
    let alive = |what: &str| {
        // The first reply is that to the good query: the packets before it had none.
        let reply = client.ask(&good);
        assert_eq!((reply.0.metadata.id, reply.code(), reply.data().len()), (ID, ResponseCode::NoError, 1), "{what}");
    };
    for length in 0..12 {
        client.send(&good[..length]);
    }
    alive("short packets");
    let mut response = good.clone();
    response[2] |= 0x80;
    client.send(&response);
    client.send(&[&response[..12], &[0xff; 40]].concat());
    alive("responses");
    for length in 12..good.len() {
        let reply = client.ask(&good[..length]);
        assert_eq!(reply.code(), ResponseCode::FormErr, "cut to {length}");
    }
    let mut opcode = good.clone();
    opcode[2] |= 0x28;
    assert_eq!(client.ask(&opcode).code(), ResponseCode::NotImp);
    let bad_subnets: [&[u8]; 6] = [
        &[0, 1, 24],
        &[0, 3, 0, 0],
        &[0, 1, 24, 24, 1, 2, 3],
        &[0, 1, 33, 0, 1, 2, 3, 4, 5],
        &[0, 1, 24, 0, 1],
        &[0, 1, 20, 0, 1, 2, 0xff],
    ];
    for subnet in bad_subnets {
        let query = Query::new(WWW, A).option(8, subnet);
        for reply in [client.ask(&query.bytes()), query.tcp(node.dns())] {
            assert_eq!((reply.code(), reply.data().len()), (ResponseCode::FormErr, 0), "{subnet:?}");
        }
    }
    // Whatever comes, with the bit of a response cleared, is answered: with the same id and some code.
    for seed in 0..500 {
        let mut packet = noise(12 + seed % 80, seed as u64);
        packet[2] &= 0x7f;
        let reply = client.ask(&packet);
        assert_eq!(reply.0.metadata.id.to_be_bytes(), packet[..2], "{packet:?}");
        let mut flipped = good.clone();
        let at = seed % (good.len() * 8);
        flipped[at / 8] ^= 1 << (at % 8);
        client.send(&flipped);
        // It is a response now, or it is answered.
        if at != 2 * 8 + 7 {
            client.receive();
        }
    }
    alive("noise");
    assert!(Query::new(WWW, A).tcp(node.dns()).code() == ResponseCode::NoError);
}

#[test]
fn tcp_keeps_a_connection_for_several_queries_and_closes_an_idle_one() {
    let node = setup().set("dns.tcp-timeout", "\"300ms\"").start();
    let mut client = crate::harness::dns::Tcp::connect(node.dns());
    for (v4, _, a, _) in NEAR {
        assert_eq!(client.ask(&Query::from(WWW, A, v4)).address(), a);
    }
    // RFC 7766 section 6.2.1.1: "clients SHOULD pipeline their queries".
    let replies = client.ask_all(&NEAR.map(|(v4, ..)| Query::from(WWW, A, v4)));
    assert_eq!(replies.map(|reply| reply.address()), NEAR.map(|(_, _, a, _)| a));
    assert!(client.is_closed());
}

#[test]
fn a_client_has_only_so_many_tcp_connections() {
    let node = setup().set("dns.tcp-per-client", "2").start();
    let query = Query::from(WWW, A, NEAR[0].0);
    let connect = || crate::harness::dns::Tcp::connect(node.dns());
    let mut held = [connect(), connect()];
    for client in &mut held {
        assert_eq!(client.ask(&query).address(), NEAR[0].2);
    }
    assert!(connect().is_closed(), "by whichever worker took it");
    assert_eq!(node.metric("nearcast_dns_connections_total{transport=\"tcp\",event=\"refused\"}"), Some(1.0));
    for client in &mut held {
        assert_eq!(client.ask(&query).address(), NEAR[0].2);
    }
    drop(held);
    eventually("a free place", || connect().try_ask(&query).is_some());
}

#[test]
fn several_workers_answer() {
    let node = setup().set("runtime.workers", "4").start();
    // The kernel spreads clients by their ports.
    for _ in 0..64 {
        let query = Query::from(WWW, A, NEAR[2].0);
        assert_eq!(
            (query.udp(node.dns()).address().as_str(), query.tcp(node.dns()).address().as_str()),
            (NEAR[2].2, NEAR[2].2)
        );
    }
    assert_eq!(node.metric("nearcast_dns_answers_total{pop=\"sin\",cause=\"first\"}"), Some(128.0));
    let udp = "nearcast_dns_queries_total{type=\"A\",rcode=\"NOERROR\",transport=\"udp\"}";
    assert_eq!(node.metric(udp), Some(64.0));
}

#[test]
fn every_local_address_answers_from_itself() {
    let node = setup().set("listen.dns", "[\":0\"]").set("listen.http", "[\":0\"]").start();
    let addresses = node.control().addresses.dns.clone();
    assert!(addresses.iter().any(|address| address.ip().is_loopback()), "{addresses:?}");
    for address in addresses.iter().filter(|address| address.is_ipv4()) {
        // The client's socket is connected: a reply from another address would not reach it.
        assert_eq!(Query::from(WWW, A, NEAR[0].0).udp(*address).address(), NEAR[0].2, "{address}");
    }
    let health = Ask::get("/.nearcast/health").send(([127, 0, 0, 1], node.http().port()).into());
    assert_eq!(health.status, 200);
}

#[test]
fn a_reload_changes_what_is_answered() {
    let origin = Origin::start(|_| Scripted::ok("x"));
    let mut setup = Setup::new(&origin).built_in_geo();
    let node = setup.start();
    assert_eq!(ask(&node, "new.cdn.test", A).code(), ResponseCode::NXDomain);
    setup.sites[0] = setup.sites[0].replace("www.cdn.test", "new.cdn.test");
    setup.pops[0] = setup.pops[0].replace("192.0.2.10", "192.0.2.99");
    setup.write();
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
    assert_eq!(Query::from("new.cdn.test", A, NEAR[0].0).udp(node.dns()).address(), "192.0.2.99");
    assert_eq!(ask(&node, WWW, A).code(), ResponseCode::NXDomain);
    assert_eq!(node.ask(&Ask::get("/").host("new.cdn.test")).status, 200);
    assert_eq!(node.ask(&Ask::get("/").host(WWW)).status, 421);
}
