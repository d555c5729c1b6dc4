//! What a node finds out about PoPs of every kind, told by servers that answer as the test says.

use std::net::TcpListener;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use crate::harness::client::{Ask, Plain};
use crate::harness::eventually;
use crate::harness::loopback;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply, Seen};
use crate::harness::tls::Authority;

fn setup() -> Setup {
    Setup::empty()
        .set("health.interval", "\"100ms\"")
        .set("health.timeout", "\"100ms\"")
        .set("health.rise", "2")
        .set("health.fall", "2")
}

/// Probes the PoP at `index` so.
fn probing(mut setup: Setup, index: usize, probe: &str) -> Setup {
    setup.pops[index] = setup.pops[index].replace("probe = false", &format!("probe = {probe}"));
    setup
}

fn pop(node: &Node, index: usize) -> Value {
    node.status()["pops"][index].clone()
}

fn last(node: &Node, index: usize) -> String {
    pop(node, index)["targets"][0]["last"].as_str().unwrap_or_default().to_owned()
}

/// How a server answers.
type Answering = fn(&Seen) -> Reply;

/// A server that answers with what is in the returned place at the time.
fn scripted(first: Answering) -> (Origin, Arc<Mutex<Answering>>) {
    let place = Arc::new(Mutex::new(first));
    let shared = place.clone();
    (Origin::start(move |seen| (*shared.lock())(seen)), place)
}

#[test]
fn status_body_and_fields() {
    let (server, answer) = scripted(|seen| match (seen.target.as_str(), seen.field("x-token").as_deref()) {
        ("/ping?a", Some("hunter2")) => Reply::new(202).body("-pong-"),
        _ => Reply::new(400),
    });
    let probe = format!(
        "{{ url = \"{}\", path = \"/ping?a\", host = \"probe.test\", status = [\"2xx\"], body = \"pong\", \
         headers = {{ x-token = \"hunter2\" }} }}",
        server.url()
    );
    let node = probing(setup(), 1, &probe).start();
    eventually("the first round", || pop(&node, 1)["reason"] == "probes");
    assert_eq!((pop(&node, 1)["up"].clone(), last(&node, 1)), (true.into(), "ok".to_owned()));
    assert_eq!(server.last("/ping?a").field("host").as_deref(), Some("probe.test"));

    let turns: [(Answering, &str); 3] = [
        (|_| Reply::new(200).body("ping"), "answered 200 without the text"),
        (|_| Reply::new(304), "answered 304"),
        (|_| Reply::hang_up(), "http: "),
    ];
    for (turn, wanted) in turns {
        *answer.lock() = turn;
        eventually(wanted, || last(&node, 1).starts_with(wanted) && pop(&node, 1)["up"] == false);
    }
    let shown = format!("{}{}", node.status(), node.admin("GET", "/metrics", "").text());
    assert!(!shown.contains("hunter2"));

    *answer.lock() = |_| Reply::ok("pong");
    eventually("its return", || pop(&node, 1)["up"] == true);
    let history = pop(&node, 1)["history"].clone();
    assert_eq!((history[0]["up"].clone(), history[1]["up"].clone()), (true.into(), false.into()), "{history}");
    assert_eq!(history[1]["why"], "probes: 0 of 1 well");
    assert!(node.metric("nearcast_pop_changes_total{pop=\"iad\"}") >= Some(2.0));
}

#[test]
fn each_address_over_tcp() {
    let [one, two] = [loopback::address(), loopback::address()];
    let first = TcpListener::bind((one, 0)).unwrap();
    let port = first.local_addr().unwrap().port();
    let second = TcpListener::bind((two, port)).unwrap();
    let mut setup = probing(setup(), 1, &format!("{{ type = \"tcp\", port = {port} }}"));
    let addresses = "addresses = [\"198.51.100.10\", \"2001:db8:2::10\"]";
    setup.pops[1] = setup.pops[1].replace(addresses, &format!("addresses = [\"{one}\", \"{two}\"]"));
    let node = setup.start();
    let seen = || {
        let pop = pop(&node, 1);
        [&pop["up"], &pop["addresses"][0]["up"], &pop["addresses"][1]["up"]].map(|up| up == true)
    };
    eventually("the first round", || pop(&node, 1)["reason"] == "probes" && seen() == [true; 3]);
    drop(second);
    eventually("the second is out", || seen() == [true, true, false]);
    let up = format!("nearcast_pop_address_up{{pop=\"iad\",address=\"{two}\"}}");
    assert_eq!(node.metric(&up), Some(0.0));
    drop(first);
    eventually("both are out", || seen() == [false; 3]);
    let _second = TcpListener::bind((two, port)).unwrap();
    eventually("the second is back", || seen() == [true, false, true]);

    // The PoP needs both now.
    setup.clone().set("health.addresses-min", "\"100%\"").write();
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
    assert!(!seen()[0], "by what was known before the reload");
}

#[test]
fn certificates_are_checked_or_not() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let good = Origin::start_tls(ours.server("pop.test"), |_| Reply::ok("up"));
    let bad = Origin::start_tls(theirs.server("pop.test"), |_| Reply::ok("up"));
    let table = |server: &Origin, rest: &str| format!("{{ url = \"{}\", sni = \"pop.test\"{rest} }}", server.url());
    let setup = probing(setup(), 0, &table(&good, ""));
    let setup = probing(setup, 1, &table(&bad, ""));
    let setup = probing(setup, 2, &table(&bad, ", verify = false"));
    std::fs::write(setup.folder().join("ca.pem"), ours.pem()).unwrap();
    let node = setup.set("origin.ca", "\"ca.pem\"").start();
    eventually("the bad one is out", || pop(&node, 1)["up"] == false);
    assert!(last(&node, 1).starts_with("tls: invalid peer certificate"), "{}", last(&node, 1));
    for index in [0, 2] {
        assert_eq!((pop(&node, index)["up"].clone(), last(&node, index)), (true.into(), "ok".to_owned()));
    }
}

#[test]
fn overload_takes_out_a_share_of_the_pops_only() {
    let tired = |_: &Seen| Reply::new(503).field("nearcast-health", "overloaded");
    let servers = [(); 4].map(|()| scripted(tired));
    let mut setup = setup();
    setup.pops.push(setup.pops[2].replace("\"sin\"", "\"gru\""));
    for (index, (server, _)) in servers.iter().enumerate() {
        setup = probing(setup, index, &format!("\"{}\"", server.url()));
    }
    let node = setup.start();
    let ups = || [0, 1, 2, 3].map(|index| pop(&node, index)["up"] == true);
    eventually("a quarter of four", || ups() == [false, true, true, true]);
    assert_eq!(pop(&node, 0)["reason"], "overloaded");
    assert_eq!(last(&node, 1), "overloaded");
    *servers[0].1.lock() = |_| Reply::ok("up");
    eventually("the next in its place", || ups() == [true, false, true, true]);
    // Who is down does not count: a quarter of three is nobody.
    *servers[3].1.lock() = |_| Reply::new(503);
    eventually("all who are not down", || ups() == [true, true, true, false]);
    assert_eq!(pop(&node, 3)["reason"], "probes");
}

#[test]
fn a_node_with_nearly_all_its_connections_open_says_so() {
    let node = Setup::empty().set("limits.connections", "40").start();
    let health = Ask::get("/.nearcast/health");
    assert_eq!(node.ask(&health).status, 200);
    let idle: Vec<Plain> = (0..38).map(|_| Plain::connect(node.http())).collect();
    eventually("overload", || node.status()["says"] == "overloaded");
    let answer = node.ask(&health);
    assert_eq!((answer.status, answer.field("nearcast-health").as_deref()), (503, Some("overloaded")));
    assert_eq!(answer.text(), "down\n");
    assert_eq!(node.metric("nearcast_health_says_up{says=\"overloaded\"}"), Some(0.0));
    // When all are open there is still an answer for who probes, and for nobody else.
    let more: Vec<Plain> = (0..20).map(|_| Plain::connect(node.http())).collect();
    eventually("no room", || node.metric("nearcast_http_connections_beyond_total") > Some(0.0));
    let answer = node.ask(&health);
    assert_eq!((answer.status, answer.field("nearcast-health").as_deref()), (503, Some("overloaded")));
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
    let answer = node.ask(&Ask::get("/"));
    assert_eq!((answer.status, answer.field("retry-after").as_deref()), (503, Some("1")));
    drop(more);
    // That it is to be out comes first.
    node.admin("POST", "/v1/pops/fra/drain", "");
    let answer = node.ask(&health);
    assert_eq!((answer.status, answer.field("nearcast-health").as_deref()), (503, Some("leaving")));
    drop(idle);
}
