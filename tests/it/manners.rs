//! Who may get how much, and what answers say beside their data.

use std::fs;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::{A, SOA, TXT};
use nearcast_shared::clock::{Clock, Timestamp};
use serde_json::Value;

use crate::harness::dns::{Query, Reply, Tcp, Udp};
use crate::harness::eventually;
use crate::harness::node::{Node, Setup};

const COOKIE: u16 = 10;
const NSID: u16 = 3;
const KEEPALIVE: u16 = 11;
const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
const NEXT_SECRET: &str = "445536bcd2513298075a5d379663c962";

fn soa() -> Query {
    Query::new("cdn.test", SOA)
}

/// What the node gives a client whose own part is this.
fn cookie_of(node: &Node) -> Vec<u8> {
    let cookie = soa().option(COOKIE, &[7; 8]).udp(node.dns()).option(COOKIE).unwrap();
    assert_eq!((cookie.len(), &cookie[..8]), (24, &[7; 8][..]));
    cookie
}

fn cookies(node: &Node, state: &str) -> f64 {
    node.metric(&format!("nearcast_dns_cookies_total{{state=\"{state}\"}}")).unwrap()
}

#[test]
fn a_client_learns_its_cookie_and_is_known_by_it() {
    let node = Setup::empty().start();
    let cookie = cookie_of(&node);
    for reply in [soa().option(COOKIE, &cookie).udp(node.dns()), soa().option(COOKIE, &cookie).tcp(node.dns())] {
        assert_eq!((reply.code(), reply.option(COOKIE)), (ResponseCode::NoError, Some(cookie.clone())));
    }
    let mut forged = cookie;
    forged[20] ^= 1;
    let reply = soa().option(COOKIE, &forged).udp(node.dns());
    assert_eq!((reply.code(), reply.data().len()), (ResponseCode::NoError, 1), "answered, and told a good one");
    assert_ne!(reply.option(COOKIE), Some(forged));
    assert_eq!(soa().udp(node.dns()).0.edns, None);
    assert_eq!(soa().option(COOKIE, &[7; 9]).udp(node.dns()).code(), ResponseCode::FormErr);
    let counted = ["none", "client-only", "valid", "invalid", "malformed"].map(|state| cookies(&node, state));
    assert_eq!(counted, [1.0, 1.0, 2.0, 1.0, 1.0]);
}

#[test]
fn nodes_that_share_secrets_know_each_others_cookies() {
    let shared = |secrets: &str| {
        let setup = Setup::empty().set("dns.cookies.secret-file", "\"secrets\"");
        fs::write(setup.folder().join("secrets"), secrets).unwrap();
        setup
    };
    let (setup, alone) = (shared(SECRET), Setup::empty().start());
    let (one, other) = (setup.start(), shared(&format!("# the next\n{NEXT_SECRET}\n{SECRET}\n")).start());
    let cookie = cookie_of(&one);
    let known = |node: &Node, cookie: &[u8]| {
        let before = cookies(node, "valid");
        soa().option(COOKIE, cookie).udp(node.dns());
        cookies(node, "valid") > before
    };
    assert!(known(&one, &cookie) && known(&other, &cookie) && !known(&alone, &cookie));
    let newer = cookie_of(&other);
    assert!(!known(&one, &newer), "not yet");
    fs::write(setup.folder().join("secrets"), NEXT_SECRET).unwrap();
    assert_eq!(one.admin("POST", "/v1/reload", "").status, 200);
    assert!(known(&one, &newer) && !known(&one, &cookie));
}

#[test]
fn without_a_good_cookie_there_may_be_no_answer() {
    let node = Setup::empty().set("dns.cookies.required", "true").start();
    let reply = soa().option(COOKIE, &[7; 8]).udp(node.dns());
    assert_eq!((reply.code(), reply.data().len()), (ResponseCode::BADCOOKIE, 0));
    let good = reply.option(COOKIE).unwrap();
    assert_eq!(soa().option(COOKIE, &good).udp(node.dns()).code(), ResponseCode::NoError);
    assert_eq!(soa().option(COOKIE, &[7; 8]).tcp(node.dns()).code(), ResponseCode::NoError, "TCP is proof enough");
    assert_eq!(soa().udp(node.dns()).code(), ResponseCode::NoError, "who knows no cookies is served");
}

#[test]
fn cookies_can_be_off() {
    let node = Setup::empty().set("dns.cookies.on", "false").start();
    let reply = soa().option(COOKIE, &[7; 8]).udp(node.dns());
    assert_eq!((reply.code(), reply.option(COOKIE)), (ResponseCode::NoError, None));
}

#[test]
fn less_for_clients_without_a_cookie() {
    let mut setup = Setup::empty().set("dns.udp-size-without-cookie", "512");
    let record = "[[zone.record]]\nname = \"@\"\ntype = \"TXT\"\ndata = ";
    let text = format!("\\\"{}\\\"", "x".repeat(200));
    setup.zones[0] = format!("{}\n{record}\"{text} {text} {text}\"", setup.zones[0]);
    let node = setup.start();
    let large = Query::new("cdn.test", TXT);
    let without = large.clone().option(COOKIE, &[7; 8]).udp(node.dns());
    assert!(without.0.metadata.truncation && without.option(COOKIE).is_some());
    let with = large.option(COOKIE, &cookie_of(&node)).udp(node.dns());
    assert!(!with.0.metadata.truncation && with.data().len() == 1);
}

/// A clock that stands still, so that nobody's share comes back by itself.
fn limited(clock: &Clock) -> Node {
    let setup = Setup::empty().clock(clock).set("dns.rate-limit.answers", "5").set("dns.rate-limit.errors", "2");
    setup.set("dns.rate-limit.all", "0").set("dns.rate-limit.slip", "3").start()
}

#[test]
fn a_network_gets_so_much_and_real_clients_come_back() {
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    let node = limited(&clock);
    let ask = |query: &Query, count: u16| {
        let client = Udp::connect(node.dns());
        // Each with its own id: who slips is drawn by it.
        let replies = (0..count).filter_map(|id| client.try_ask(&query.clone().id(id).bytes()));
        replies.collect::<Vec<Reply>>()
    };
    let replies = ask(&soa(), 35);
    let (whole, slipped): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| !reply.0.metadata.truncation);
    assert_eq!(whole.len(), 5);
    assert!(whole.iter().all(|reply| reply.data().len() == 1));
    assert!((1..30).contains(&slipped.len()) && slipped.iter().all(|reply| reply.data().is_empty()));
    assert_eq!(soa().tcp(node.dns()).data().len(), 1, "over TCP as before");
    let metric = |action| {
        node.metric(&format!("nearcast_dns_limited_total{{kind=\"answers\",action=\"{action}\"}}")).unwrap() as usize
    };
    assert_eq!((metric("slip"), metric("drop")), (slipped.len(), 30 - slipped.len()));
    assert_eq!(node.metric("nearcast_dns_dropped_total{reason=\"rate-limit\"}"), Some(metric("drop") as f64));

    // Another kind of answer has a share of its own.
    assert_eq!(ask(&Query::new("elsewhere.test", A), 10).iter().filter(|r| !r.0.metadata.truncation).count(), 2);

    // Who has a client's part alone is told the rest, and is limited no more.
    let told = ask(&soa().option(COOKIE, &[7; 8]), 30);
    assert!(!told.is_empty() && told.iter().all(|reply| reply.code() == ResponseCode::BADCOOKIE));
    let cookie = told[0].option(COOKIE).unwrap();
    let with = ask(&soa().option(COOKIE, &cookie), 30);
    assert!(with.len() == 30 && with.iter().all(|reply| reply.data().len() == 1));

    clock.advance(400);
    assert_eq!(ask(&soa(), 10).iter().filter(|reply| !reply.0.metadata.truncation).count(), 2);
}

#[test]
fn a_reload_changes_limits_and_keeps_what_was_counted() {
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    let mut setup = Setup::empty().clock(&clock).set("dns.rate-limit.answers", "1").set("dns.rate-limit.slip", "0");
    let node = setup.start();
    let answered = || Udp::connect(node.dns()).try_ask(&soa().bytes()).is_some();
    assert_eq!([answered(), answered()], [true, false]);
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
    assert!(!answered(), "the same limit, the same table");
    setup = setup.set("dns.rate-limit.exempt", "[\"127.0.0.0/8\"]");
    setup.write();
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
    assert_eq!([answered(), answered()], [true, true]);
}

#[test]
fn the_server_says_of_itself_what_it_may() {
    let about = |name: &str| {
        let mut packet = Query::new(name, TXT).bytes();
        *packet.last_mut().unwrap() = 3;
        packet
    };
    let silent = Setup::empty().start();
    let open =
        Setup::empty().set("dns.version", "\"nearcast\"").set("dns.id", "\"{pop}-1\"").set("dns.nsid", "\"{pop}\"");
    let open = open.start();
    let rows = [
        ("version.bind", "nearcast"),
        ("VERSION.server", "nearcast"),
        ("hostname.bind", "fra-1"),
        ("id.server", "fra-1"),
    ];
    for (name, text) in rows {
        let refused = Udp::connect(silent.dns()).ask(&about(name));
        assert_eq!((refused.code(), refused.data().len()), (ResponseCode::Refused, 0), "{name}");
        let told = Udp::connect(open.dns()).ask(&about(name));
        assert_eq!((told.code(), told.address().trim_matches('"')), (ResponseCode::NoError, text), "{name}");
        assert_eq!((u16::from(told.0.answers[0].dns_class), told.0.answers[0].ttl), (3, 0), "{name}");
    }
    assert_eq!(Udp::connect(open.dns()).ask(&about("authors.bind")).code(), ResponseCode::Refused);
    let nsid = |node: &Node| soa().option(NSID, &[]).udp(node.dns()).option(NSID);
    assert_eq!((nsid(&silent), nsid(&open)), (None, Some(b"fra".to_vec())));
    assert_eq!(soa().option(12, &[]).udp(open.dns()).option(NSID), None, "only who asks is told");
}

#[test]
fn what_is_dropped_is_seen() {
    let setup = Setup::empty().clock(&Clock::manual(Timestamp(1_800_000_000_000))).set("dns.rate-limit.answers", "1");
    let setup = setup.set("dns.rate-limit.slip", "0").set("dns.query-log.to", "\"queries\"");
    let setup = setup.set("dns.query-log.sample", "1.0");
    let node = setup.start();
    let client = Udp::connect(node.dns());
    assert_eq!(client.ask(&soa().bytes()).data().len(), 1);
    assert!(client.try_ask(&soa().option(NSID, &[]).bytes()).is_none());
    let seen = |metric: &str| node.metric(&format!("nearcast_dns_{metric}\"}}"));
    assert_eq!(seen("dropped_total{reason=\"rate-limit"), Some(1.0));
    assert_eq!((seen("edns_total{version=\"0"), seen("cookies_total{state=\"none")), (Some(1.0), Some(2.0)));
    let lines = || fs::read_to_string(setup.folder().join("queries")).unwrap_or_default();
    eventually("two lines", || lines().lines().count() == 2);
    let line: Value = serde_json::from_str(lines().lines().last().unwrap()).unwrap();
    assert_eq!((&line["reason"], &line["bytes"], line.get("rcode")), (&"rate-limit".into(), &0.into(), None), "{line}");
}

#[test]
fn connections_say_how_long_they_may_be_idle() {
    let node = Setup::empty().set("dns.tcp-timeout", "\"7s\"").start();
    let query = soa().option(KEEPALIVE, &[]);
    assert_eq!(Tcp::connect(node.dns()).ask(&query).option(KEEPALIVE), Some(vec![0, 70]));
    assert_eq!(query.udp(node.dns()).option(KEEPALIVE), None);
}

#[test]
fn queries_are_logged() {
    let mut setup =
        Setup::empty().built_in_geo().set("dns.query-log.to", "\"queries\"").set("dns.query-log.sample", "1.0");
    setup.sites.push("domains = [\"www.cdn.test\"]\norigin = \"http://127.0.0.1:1\"".to_owned());
    let node = setup.start();
    Query::from("wWw.cdn.test", A, "18.9.22.0/24").udp(node.dns());
    Query::new("nobody.cdn.test", A).tcp(node.dns());
    let log = setup.folder().join("queries");
    let lines = || -> Vec<Value> {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    eventually("two lines", || lines().len() == 2);
    let wanted = [
        r#"{"client":"127.0.0.1","subnet":"18.9.22.0/24","name":"www.cdn.test","type":"A","transport":"udp","cookie":"none","rcode":"NOERROR","pop":"iad","reason":"first"}"#,
        r#"{"client":"127.0.0.1","name":"nobody.cdn.test","type":"A","transport":"tcp","cookie":"none","rcode":"NXDOMAIN","reason":"no-name"}"#,
    ];
    for (line, wanted) in lines().iter().zip(wanted) {
        let wanted: Value = serde_json::from_str(wanted).unwrap();
        for (key, value) in wanted.as_object().unwrap() {
            assert_eq!(line.get(key), Some(value), "{key} of {line}");
        }
        assert!(line["bytes"].as_u64().unwrap() > 30 && line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    assert!(lines()[0]["scope"].as_u64().unwrap() > 0);
    fs::rename(&log, setup.folder().join("older")).unwrap();
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
    soa().udp(node.dns());
    eventually("a line in the new file", || lines().len() == 1);
}
