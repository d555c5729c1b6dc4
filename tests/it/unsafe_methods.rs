//! What unsafe requests do to what is stored.

use std::sync::atomic::{AtomicUsize, Ordering};

use nearcast_edge::key::{Address, StoreKey};

use crate::harness::client::{Ask, HOST, Plain};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};

fn start(origin: &Origin) -> Node {
    Setup::new(origin).start()
}

fn post(target: &str) -> Ask {
    Ask::new("POST", target).body("x")
}

#[test]
fn other_urls_that_the_answer_names_are_fetched_anew() {
    let origin = Origin::start(|seen| match (seen.method.as_str(), seen.target.as_str()) {
        ("POST", "/fails") => Reply::new(500).field("location", "/a"),
        ("POST", "/far") => Reply::new(201).field("location", "http://other.test/a"),
        ("POST", _) => Reply::new(201).field("location", "/a").field("content-location", "../b?c"),
        _ => Reply::ok("x").control("max-age=60"),
    });
    let node = start(&origin);
    let warm = || ["/a", "/b?c"].map(|target| node.get(target).is_hit());
    warm();
    for harmless in ["/fails", "/far"] {
        node.ask(&post(harmless));
        assert_eq!(warm(), [true, true], "{harmless}");
    }
    node.ask(&post("/list/new"));
    assert_eq!(warm(), [false, false]);
}

#[test]
fn groups_that_the_answer_names_are_fetched_anew() {
    let origin = Origin::start(|seen| match (seen.method.as_str(), seen.target.as_str()) {
        ("GET", "/c") => Reply::ok("x").control("max-age=60").field("cache-groups", "\"other\""),
        ("GET", "/news") => Reply::ok("x").control("max-age=60").field("cache-group-invalidation", "\"shop\""),
        ("GET", _) => Reply::ok("x").control("max-age=60").field("cache-groups", "\"x\", \"shop\""),
        _ => Reply::new(204).field("cache-group-invalidation", "\"shop\", \"y\""),
    });
    let node = start(&origin);
    let warm = || ["/a", "/b", "/c"].map(|target| node.get(target).is_hit());
    warm();
    node.get("/news");
    assert_eq!(warm(), [true; 3], "only unsafe requests invalidate");
    node.ask(&post("/cart"));
    assert_eq!(warm(), [false, false, true]);
    assert_eq!(node.ask(&Ask::get("/a").host("static.other.test")).cache(), "fwd=uri-miss; stored");
    node.ask(&post("/cart").host("static.other.test"));
    assert_eq!(warm(), [true; 3], "groups are of one host");
}

#[test]
fn an_answer_to_post_that_is_the_urls_own_serves_later_gets() {
    let origin = Origin::start(|seen| match (seen.method.as_str(), seen.target.as_str()) {
        ("POST", "/own") => Reply::ok("posted").control("max-age=60").field("content-location", "/own"),
        ("POST", "/other") => Reply::ok("posted").control("max-age=60").field("content-location", "/own"),
        ("POST", "/vague") => Reply::ok("posted").field("content-location", "/vague").field("etag", "\"1\""),
        ("POST", "/private") => {
            Reply::ok("posted").control("private, max-age=60").field("content-location", "/private")
        }
        _ => Reply::ok("got").control("max-age=60"),
    });
    let node = start(&origin);
    for (target, later) in [("/own", "posted"), ("/vague", "got"), ("/private", "got")] {
        node.get(target);
        assert_eq!(node.ask(&post(target)).text(), "posted", "{target}");
        node.settle();
        assert_eq!(node.get(target).text(), later, "{target}");
    }
    assert!(node.get("/own").is_hit());
    node.ask(&post("/other"));
    assert_eq!(node.get("/own").text(), "got", "an answer elsewhere only invalidates");
}

/// Without the list that names them nobody knows of the variants of a URL, and nothing of an unsafe request is noted.
#[test]
fn a_variant_that_no_list_names_does_not_outlive_it() {
    let (gate, number) = (Gate::default(), AtomicUsize::new(0));
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        let reply = Reply::new(200).control("max-age=60").field("vary", "accept-language");
        match (seen.method.as_str(), seen.field("accept-language").as_deref()) {
            ("POST", _) => Reply::new(204),
            (_, Some("en")) => reply.body("e").wait(&held).body("n"),
            _ => reply.body(format!("answer {}", number.fetch_add(1, Ordering::SeqCst))),
        }
    });
    let node = start(&origin);
    let of = |language| Ask::get("/a").field("accept-language", language);
    node.ask(&of("de"));
    assert_eq!(node.ask(&of("de")).text(), "answer 0");
    // As when memory gives up the list, and keeps what it names.
    let edge = &node.control().edge;
    let url = Address { site: HOST, https: false, host: HOST, target: "/a", parts: "" }.url_id(&edge.secret);
    edge.store.remove(&StoreKey::primary(url, false, "", &edge.secret));
    node.ask(&post("/a"));
    // Whoever waits for this learns what the URL varies on.
    let mut english = Plain::connect(node.http());
    let mut begun = english.begin(&of("en"));
    english.some(&mut begun, 1);
    assert_eq!(Ask::send(&of("de"), node.http()).text(), "answer 1");
    gate.open();
}
