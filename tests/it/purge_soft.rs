//! A soft purge: what it covers is stale, and fetched anew where what is stale may not be served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use crate::harness::client::{Ask, Plain};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};
use crate::harness::{eventually, noise};
use crate::object::object;

const SOFTLY: &str = r#"{"url": "http://www.cdn.test/a", "soft": true}"#;

/// An origin that counts its answers.
fn counting(control: &'static str) -> Origin {
    let number = AtomicUsize::new(0);
    Origin::start(move |_| Reply::ok(format!("answer {}", number.fetch_add(1, Ordering::SeqCst))).control(control))
}

fn explain(node: &Node) -> String {
    let answer = node.admin("GET", "/v1/explain?url=http%3A%2F%2Fwww.cdn.test%2Fa", "");
    let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    told["verdict"].as_str().unwrap().to_owned()
}

#[test]
fn what_may_serve_stale_does_and_is_refreshed_once() {
    const CLIENTS: usize = 20;
    let (gate, number) = (Gate::default(), AtomicUsize::new(0));
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let n = number.fetch_add(1, Ordering::SeqCst);
        let reply = Reply::ok(format!("answer {n}")).control("max-age=3600, stale-while-revalidate=60");
        if n == 0 { reply } else { reply.hold(&held) }
    });
    let node = Setup::new(&origin).start();
    node.get("/a");
    for (order, kind) in [(SOFTLY, "url"), (r#"{"all": true, "soft": true}"#, "all")] {
        let before = origin.count("/a");
        node.purge(order);
        if before == 1 {
            assert!(
                explain(&node).starts_with("served from the cache though softly purged, and refreshed"),
                "{}",
                explain(&node)
            );
            thread::scope(|scope| {
                let ask = || Ask::get("/a").send(node.http());
                let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
                for client in clients {
                    let answer = client.join().unwrap();
                    assert_eq!(answer.text(), "answer 0");
                    assert!(
                        answer.is_hit() && answer.cache().contains("ttl=-") | answer.cache().contains("ttl=0"),
                        "{}",
                        answer.cache()
                    );
                }
            });
            gate.open();
        } else {
            Ask::get("/a").send(node.http());
        }
        eventually(&format!("the new one after {kind}"), || {
            node.settle();
            node.get("/a").text() == format!("answer {before}")
        });
        let hit = node.get("/a");
        assert!(hit.is_hit() && hit.cache().contains("ttl=3"), "{}", hit.cache());
        assert_eq!(origin.count("/a"), before + 1, "once, whoever asked");
    }
}

#[test]
fn what_may_not_serve_stale_is_validated() {
    let origin = Origin::start(|seen| {
        let reply = if seen.field("if-none-match").is_some() { Reply::new(304) } else { Reply::ok("x") };
        reply.field("etag", "\"a\"").control("max-age=3600")
    });
    let node = Setup::new(&origin).start();
    node.get("/a");
    node.purge(SOFTLY);
    assert!(explain(&node).starts_with("the origin is asked: softly purged "), "{}", explain(&node));
    assert_eq!(Ask::get("/a").field("cache-control", "only-if-cached").send(node.http()).status, 504);
    let takes_stale = Ask::get("/a").field("cache-control", "only-if-cached, max-stale=60").send(node.http());
    assert_eq!((takes_stale.status, takes_stale.text().as_str()), (200, "x"));
    let answer = node.get("/a");
    assert_eq!((answer.text().as_str(), answer.cache().as_str()), ("x", "fwd=stale; fwd-status=304; ttl=3600"));
    assert!(node.get("/a").is_hit(), "what was confirmed after the purge is fresh");
    assert_eq!(origin.count("/a"), 2);
    // A hard one goes before.
    node.purge(SOFTLY);
    node.purge(r#"{"url": "http://www.cdn.test/a"}"#);
    assert_eq!(node.get("/a").cache(), "fwd=uri-miss; stored");
    assert_eq!(origin.last("/a").field("if-none-match"), None, "nothing to ask about");
}

#[test]
fn it_stands_in_where_it_may() {
    let failing = Arc::new(AtomicBool::new(false));
    let fails = failing.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        _ if fails.load(Ordering::SeqCst) => Reply::new(503),
        "/a" => Reply::ok("x").control("max-age=3600, stale-if-error=60"),
        _ => Reply::ok("x").control("max-age=3600, must-revalidate"),
    });
    let node = Setup::new(&origin).start();
    ["/a", "/b"].iter().for_each(|target| drop(node.get(target)));
    failing.store(true, Ordering::SeqCst);
    assert!(node.get("/b").is_hit());
    node.purge(r#"{"site": "www.cdn.test", "soft": true}"#);
    assert_eq!((node.get("/a").status, node.get("/b").status), (200, 503));
    node.purge(r#"{"site": "www.cdn.test"}"#);
    assert_eq!(node.get("/a").status, 503, "what is purged stands in for nothing");
}

#[test]
fn a_fetch_that_was_running_is_stored_and_stale() {
    let (gate, number) = (Gate::default(), AtomicUsize::new(0));
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        let reply = match number.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::ok("old,").wait(&held).body("old"),
            _ if seen.field("if-none-match").is_some() => Reply::new(304),
            _ => Reply::ok("new"),
        };
        reply.field("etag", "\"a\"").control("max-age=3600")
    });
    let node = Setup::new(&origin).start();
    let mut early = Plain::connect(node.http());
    let mut begun = early.begin(&Ask::get("/a"));
    early.some(&mut begun, 4);
    node.purge(SOFTLY);
    gate.open();
    assert_eq!(early.rest(begun).text(), "old,old".split_at(4).1);
    node.settle();
    let after = node.get("/a");
    assert_eq!((after.text().as_str(), after.cache().as_str()), ("old,old", "fwd=stale; fwd-status=304; ttl=3600"));
    assert!(node.get("/a").is_hit());
}

#[test]
fn a_fetch_that_was_running_does_not_take_the_place_of_a_later_one() {
    let (gate, number) = (Gate::default(), AtomicUsize::new(0));
    let held = gate.clone();
    let origin = Origin::start(move |_| match number.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::ok("old,").wait(&held).body("old").control("max-age=3600"),
        _ => Reply::ok("new").control("max-age=3600"),
    });
    let node = Setup::new(&origin).start();
    let mut early = Plain::connect(node.http());
    let mut begun = early.begin(&Ask::get("/a"));
    early.some(&mut begun, 4);
    node.purge(SOFTLY);
    assert_eq!(Ask::get("/a").send(node.http()).text(), "new", "who comes later does not join it");
    gate.open();
    early.rest(begun);
    node.settle();
    let after = node.get("/a");
    assert_eq!((after.text().as_str(), after.is_hit()), ("new", true));
}

#[test]
fn a_soft_purge_outlives_a_restart() {
    let origin = counting("max-age=3600");
    let setup = Setup::new(&origin).disk();
    let node = setup.start();
    node.get("/a");
    assert!(node.get("/a").is_hit());
    node.purge(SOFTLY);
    node.stop();
    let node = setup.start();
    assert_eq!(node.get("/a").cache(), "fwd=stale; stored");
    assert!(node.get("/a").is_hit());
}

/// Wherever the later one is.
#[test]
fn what_was_fetched_before_does_not_take_the_place_of_what_is_on_disk() {
    let (gate, number) = (Gate::default(), AtomicUsize::new(0));
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        let reply = Reply::new(200).control("max-age=3600");
        match (seen.target.as_str(), number.load(Ordering::SeqCst)) {
            ("/a", 0) => {
                number.store(1, Ordering::SeqCst);
                reply.body("ol").wait(&held).body("d")
            }
            ("/a", _) => reply.body("new"),
            _ => reply.body(noise(60_000, 1)),
        }
    });
    let mut setup = Setup::new(&origin).set("cache.memory", "\"1 MiB\"").disk();
    setup.sites[0].push_str("\ndisk = \"always\"");
    let node = setup.start();
    let mut early = Plain::connect(node.http());
    let mut begun = early.begin(&Ask::get("/a"));
    early.some(&mut begun, 2);
    node.purge(SOFTLY);
    assert_eq!(Ask::get("/a").send(node.http()).text(), "new");
    // Far more than memory holds.
    (0..40).for_each(|n| drop(Ask::get(&format!("/{n}")).send(node.http())));
    let tiers = object(&node, "http://www.cdn.test/a", "")["schemes"][0]["answers"][0]["tiers"].clone();
    assert_eq!(tiers, json!({ "memory": false, "disk": true }));
    gate.open();
    early.rest(begun);
    node.settle();
    assert_eq!(node.get("/a").text(), "new");
    assert_eq!(origin.count("/a"), 2);
}
