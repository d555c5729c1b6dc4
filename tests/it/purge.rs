//! Nothing purged is ever served after the purge was acknowledged.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use http::Version;
use nearcast_shared::clock::{Clock, Timestamp};

use crate::harness::client::{Ask, Plain};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup, admin};
use crate::harness::origin::{Origin, Reply};
use crate::harness::process::Process;
use crate::harness::tls::Authority;
use crate::harness::{eventually, noise};

/// An origin that counts its answers, fresh for an hour.
fn counting() -> Origin {
    let number = AtomicUsize::new(0);
    Origin::start(move |_| {
        let body = format!("answer {}", number.fetch_add(1, Ordering::SeqCst));
        Reply::ok(body).control("max-age=3600").field("vary", "accept-language")
    })
}

/// Asks until it is a hit, then returns the body.
fn warm(node: &Node, ask: &Ask) -> String {
    node.ask(ask);
    let hit = node.ask(ask);
    assert!(hit.is_hit());
    hit.text()
}

#[test]
fn a_url_in_both_schemes_and_all_variants() {
    let origin = counting();
    let authority = Authority::new();
    let mut setup = Setup::new(&origin);
    authority.certify(&mut setup, &["www.cdn.test"]);
    let (node, trusted) = (setup.start(), authority.trusted());
    let tls = |ask: &Ask| node.ask_tls(ask, Version::HTTP_11, &trusted).unwrap();
    let variants = [Ask::get("/a?b"), Ask::get("/a?b").field("accept-language", "de")];
    let (other_query, other_host) = (Ask::get("/a"), Ask::get("/a?b").host("static.other.test"));
    for ask in variants.iter().chain([&other_query, &other_host]) {
        warm(&node, ask);
    }
    tls(&variants[0]);
    assert!(tls(&variants[0]).is_hit());
    node.purge(r#"{"url": "http://WWW.cdn.test/a?b"}"#);
    assert!(variants.iter().all(|ask| !node.ask(ask).is_hit()));
    assert!(!tls(&variants[0]).is_hit());
    assert!(node.ask(&other_query).is_hit() && node.ask(&other_host).is_hit());
    node.purge(r#"{"url": "https://www.cdn.test/a?b"}"#);
    assert!(variants.iter().all(|ask| !node.ask(ask).is_hit()));
}

#[test]
fn a_url_as_the_sites_rules_have_it() {
    let origin = counting();
    let mut setup = Setup::new(&origin);
    setup.sites[0].push_str("\nquery = { sort = true, drop = [\"utm_*\"] }\nkey-headers = [\"x-tier\"]");
    let node = setup.start();
    let asks = [Ask::get("/a?b=1&a=2"), Ask::get("/a?b=1&a=2").field("x-tier", "gold")];
    for url in ["/a?a=2&b=1", "/a?b=1&utm_source=x&a=2", "/a?utm_id=1&a=2&b=1"] {
        asks.iter().for_each(|ask| drop(warm(&node, ask)));
        let other = Ask::get("/a?b=1");
        warm(&node, &other);
        node.purge(&format!("{{\"url\": \"https://www.cdn.test{url}\"}}"));
        assert!(asks.iter().all(|ask| !node.ask(ask).is_hit()), "{url}: every part of the key");
        assert!(node.ask(&other).is_hit(), "{url}");
    }
}

#[test]
fn a_site_by_any_of_its_names() {
    let origin = counting();
    let mut setup = Setup::new(&origin);
    setup.sites[0].push_str("\nname = \"shop\"");
    setup.sites.push(format!("domains = [\"other.test\"]\norigin = \"{}\"", origin.url()));
    let node = setup.start();
    let asks = ["www.cdn.test", "static.other.test"].map(|host| Ask::get("/a").host(host));
    let other = Ask::get("/a").host("other.test");
    warm(&node, &other);
    for name in ["shop", "www.cdn.test", "STATIC.other.test."] {
        asks.iter().for_each(|ask| drop(warm(&node, ask)));
        node.purge(&format!("{{\"site\": \"{name}\"}}"));
        assert!(asks.iter().all(|ask| !node.ask(ask).is_hit()), "{name}");
    }
    assert!(node.ask(&other).is_hit());
    node.purge(r#"{"all": true}"#);
    assert!(!node.ask(&other).is_hit());
}

#[test]
fn orders_that_cannot_be_followed() {
    let node = Setup::new(&counting()).start();
    let rows = [
        ("a host that nobody takes", r#"{"url": "http://other.test/"}"#, 404),
        ("a site that does not exist", r#"{"site": "other.test"}"#, 404),
        ("a path alone", r#"{"url": "/a"}"#, 400),
        ("another scheme", r#"{"url": "ftp://www.cdn.test/a"}"#, 400),
        ("no URL at all", r#"{"url": "http://www.cdn.test/a b"}"#, 400),
        ("an unknown field", r#"{"uri": "http://www.cdn.test/"}"#, 400),
        ("an unknown field beside a known one", r#"{"all": true, "mild": true}"#, 400),
        ("two fields", r#"{"all": true, "site": "www.cdn.test"}"#, 400),
        ("none", "{}", 400),
        ("all, but not true", r#"{"all": false}"#, 400),
        ("no JSON", "all", 400),
        ("nothing", "", 400),
        ("a prefix of no site", r#"{"prefix": "/a/"}"#, 400),
        ("a prefix of an unknown site", r#"{"prefix": "/a/", "site": "other.test"}"#, 404),
        ("a prefix that begins no path", r#"{"prefix": "a/", "site": "www.cdn.test"}"#, 400),
        ("a prefix with a query", r#"{"prefix": "/a?b", "site": "www.cdn.test"}"#, 400),
        ("an empty tag", r#"{"tag": ""}"#, 400),
        ("a tag of an unknown site", r#"{"tag": "a", "site": "other.test"}"#, 404),
        ("a site beside a URL", r#"{"url": "http://www.cdn.test/", "site": "www.cdn.test"}"#, 400),
        ("no URLs", r#"{"urls": []}"#, 400),
        ("softly, and nothing", r#"{"soft": true}"#, 400),
        ("a good one", r#"{"url": "http://www.cdn.test/a"}"#, 200),
        ("a good soft one", r#"{"urls": ["http://www.cdn.test/a"], "soft": true}"#, 200),
    ];
    for (name, order, status) in rows {
        let answer = node.admin("POST", "/v1/purge", order);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let keys = if status == 200 { ["id", "time"].as_slice() } else { &["error"] };
        assert!(keys.iter().all(|key| json[key].is_string()), "{name}: {json}");
    }
    assert_eq!(node.admin("GET", "/v1/purge", "").status, 405);
}

#[test]
fn what_is_being_fetched_during_a_purge_is_not_served_after_it() {
    let gate = Gate::default();
    let (held, number) = (gate.clone(), AtomicUsize::new(0));
    let origin = Origin::start(move |_| match number.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::ok("old,").wait(&held).body("old").control("max-age=3600"),
        _ => Reply::ok("new").control("max-age=3600"),
    });
    let node = Setup::new(&origin).start();
    let mut early = Plain::connect(node.http());
    let mut begun = early.begin(&Ask::get("/a"));
    early.some(&mut begun, 4);
    node.purge(r#"{"url": "http://www.cdn.test/a"}"#);
    // Not `node.get`, which waits for the end of all fetches.
    assert_eq!(Ask::get("/a").send(node.http()).text(), "new", "who comes later does not join it");
    gate.open();
    assert_eq!(early.rest(begun).text(), "old", "who was there may finish");
    node.settle();
    let after = node.get("/a");
    assert_eq!((after.text().as_str(), after.is_hit()), ("new", true), "and it is not stored over the new one");
}

#[test]
fn ten_thousand_requests_and_a_purge_in_the_middle() {
    const CONNECTIONS: usize = 8;
    const REQUESTS: usize = 10_000 / CONNECTIONS;
    let changed = std::sync::Arc::new(AtomicBool::new(false));
    let seen = changed.clone();
    let origin = Origin::start(move |_| {
        let seed = u64::from(seen.load(Ordering::SeqCst));
        Reply::ok(noise(1024, seed)).control("max-age=3600")
    });
    let node = Setup::new(&origin).start();
    let (old, new) = (noise(1024, 0), noise(1024, 1));
    let (done, purged) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Plain::connect(node.http());
                    let mut olds = 0;
                    for _ in 0..REQUESTS {
                        let after = purged.load(Ordering::SeqCst);
                        let answer = client.ask(&Ask::get("/a"));
                        assert!(answer.body == new || (!after && answer.body == old), "an old byte after the purge");
                        olds += usize::from(answer.body == old);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                    olds
                })
            })
            .collect();
        eventually("half of the requests", || done.load(Ordering::SeqCst) >= CONNECTIONS * REQUESTS / 2);
        changed.store(true, Ordering::SeqCst);
        node.purge(r#"{"url": "http://www.cdn.test/a"}"#);
        purged.store(true, Ordering::SeqCst);
        let olds: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!((1000..CONNECTIONS * REQUESTS).contains(&olds), "{olds} old answers");
    });
    // Only the old one's fetch and the new one's, though a request may have fallen between them.
    assert!((2..=3).contains(&origin.count("/a")));
}

#[test]
fn a_purge_outlives_kill_9() {
    let (origin, setup) = {
        let origin = counting();
        let setup = Setup::new(&origin).disk();
        (origin, setup)
    };
    // A clean stop, so that the object is on disk.
    let first = Process::run(&setup);
    assert_eq!(Ask::get("/a").send(first.http()).text(), "answer 0");
    first.signal("TERM");
    assert_eq!(first.exit_code(), Some(0));
    let second = Process::run(&setup);
    let warm = Ask::get("/a").send(second.http());
    assert_eq!((warm.text().as_str(), warm.is_hit()), ("answer 0", true));
    assert_eq!(admin(second.admin(), "POST", "/v1/purge", r#"{"site": "www.cdn.test"}"#).status, 200);
    second.signal("KILL");
    assert_eq!(second.exit_code(), None);
    let third = Process::run(&setup);
    let after = Ask::get("/a").send(third.http());
    assert_eq!((after.text().as_str(), after.is_hit()), ("answer 1", false));
    eventually("a hit again", || Ask::get("/a").send(third.http()).is_hit());
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn a_purge_holds_though_the_clock_is_set_back() {
    let origin = counting();
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    let setup = Setup::new(&origin).disk().clock(&clock);
    let node = setup.start();
    assert_eq!(warm(&node, &Ask::get("/a")), "answer 0");
    node.purge(r#"{"all": true}"#);
    node.stop();
    clock.advance(-3_600_000);
    let node = setup.start();
    assert_eq!(warm(&node, &Ask::get("/a")), "answer 1", "the old one is gone, and the new one is not");
    node.purge(r#"{"all": true}"#);
    assert_eq!(warm(&node, &Ask::get("/a")), "answer 2");
}
