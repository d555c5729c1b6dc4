//! What one client's request must never do to another's answer.

use std::thread;

use crate::harness::client::{Ask, Plain};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};
use crate::harness::wire::End;
use crate::harness::{noise, sha256};
use nearcast_shared::clock::{Clock, Timestamp};

const MIB: usize = 1 << 20;

fn start(origin: &Origin) -> Node {
    Setup::new(origin).start()
}

/// The page of whoever the cookie says, as application servers send it: with a validator and no freshness.
#[test]
fn who_waits_does_not_get_the_page_of_another() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        let who = seen.field("cookie").unwrap_or_default();
        Reply::ok(format!("page of {who}")).field("etag", &format!("\"{who}\"")).hold(&held)
    });
    let node = start(&origin);
    thread::scope(|scope| {
        let clients: Vec<_> = ["alice", "bob", "carol"]
            .into_iter()
            .map(|who| {
                let mut client = Plain::connect(node.http());
                client.write(format!("GET /me HTTP/1.1\r\nhost: www.cdn.test\r\ncookie: {who}\r\n\r\n").as_bytes());
                (who, scope.spawn(move || client.answer("GET").unwrap()))
            })
            .collect();
        origin.wait_for("/me", 1);
        gate.open();
        for (who, client) in clients {
            assert_eq!(client.join().unwrap().text(), format!("page of {who}"));
        }
    });
}

#[test]
fn a_304_does_not_hand_a_cookie_or_a_private_page_to_others() {
    let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
    let origin = Origin::start(|seen| match seen.field("if-none-match") {
        Some(_) => {
            Reply::new(304).field("etag", "\"a\"").field("set-cookie", "session=alice").control("private, max-age=60")
        }
        None if seen.field("cookie").is_some() => Reply::ok("alice").control("private"),
        None => Reply::ok("all").field("etag", "\"a\"").control("max-age=60"),
    });
    let node = Setup::new(&origin).clock(&clock).start();
    assert_eq!(node.get("/a").text(), "all");
    clock.advance(61_000);
    assert_eq!(node.ask(&Ask::get("/a").field("cookie", "alice")).text(), "alice");
    let other = node.get("/a");
    assert_eq!((other.text().as_str(), other.field("set-cookie"), other.is_hit()), ("all", None, false));
}

#[test]
fn connection_does_not_take_a_field_from_the_origin_but_not_from_the_key() {
    let origin = Origin::start(|seen| {
        let allowed = seen.field("origin").unwrap_or_else(|| "none".to_owned());
        Reply::ok(allowed).field("vary", "origin").control("max-age=60")
    });
    let node = start(&origin);
    let attack = Ask::get("/a").field("origin", "https://good.test").field("connection", "origin");
    assert_eq!(node.ask(&attack).text(), "none");
    assert_eq!(node.ask(&Ask::get("/a").field("origin", "https://good.test")).text(), "https://good.test");
}

#[test]
fn a_host_in_other_letters_is_the_same_host_to_the_origin() {
    let origin = Origin::start(|seen| Reply::ok(seen.field("host").unwrap_or_default()).control("max-age=60"));
    let mut setup = Setup::new(&origin);
    setup.sites[0].push_str("\norigin-host = \"client\"");
    let node = setup.start();
    assert_eq!(node.ask(&Ask::get("/a").host("WWW.CDN.test.")).text(), "www.cdn.test");
    assert!(node.get("/a").is_hit());
}

#[test]
fn a_client_that_makes_the_origin_refuse_it_takes_nothing_from_others() {
    let origin = Origin::start(|seen| match seen.field("x-bad") {
        Some(_) => Reply::new(400).body("bad").control("no-store"),
        None => Reply::ok("good").control("max-age=60"),
    });
    let node = start(&origin);
    node.get("/a");
    let attack = Ask::get("/a").field("cache-control", "no-cache").field("x-bad", "1");
    assert_eq!(node.ask(&attack).status, 400);
    assert!(node.get("/a").is_hit(), "still stored, still shared");
}

#[test]
fn an_identity_coded_body_has_no_sure_end() {
    let origin = Origin::start(|_| {
        Reply::talk(|talk| {
            talk.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ncache-control: max-age=60\r\n\r\nhalf");
        })
    });
    let node = start(&origin);
    assert_eq!(node.get("/a").text(), "half");
    assert!(!node.get("/a").is_hit());
}

#[test]
fn a_large_body_of_unknown_length_comes_whole_though_it_is_not_stored() {
    // In pieces of uneven size, well beyond both the limit and what a fill keeps in hand.
    let body = noise(24 * MIB, 77);
    let sent = body.clone();
    let origin = Origin::start(move |_| {
        let pieces = [1, 70_001, 3 * MIB + 5, 11 * MIB - 3, 24 * MIB];
        let mut reply = Reply::new(200).control("max-age=60").chunked();
        let mut from = 0;
        for to in pieces {
            reply = reply.body(sent[from..to].to_vec());
            from = to;
        }
        reply
    });
    let node = Setup::new(&origin).set("cache.object-max", "\"2 MiB\"").start();
    for _ in 0..2 {
        let answer = node.get("/a");
        assert_eq!((answer.end, sha256(&answer.body) == sha256(&body), answer.is_hit()), (End::Clean, true, false));
    }
}

/// The end of an HTTP/1.0 answer of unknown length is the end of the connection, also of a broken one.
#[test]
fn an_old_client_gets_a_body_of_unknown_length_whole_or_not_at_all() {
    let origin = Origin::start(|seen| {
        let reply = Reply::ok("first half").control("max-age=60").chunked();
        if seen.target == "/cut" { reply.cut() } else { reply }
    });
    let node = start(&origin);
    for (target, wanted) in [("/whole", (200, "first half")), ("/cut", (502, ""))] {
        let mut client = Plain::connect(node.http());
        client.write(format!("GET {target} HTTP/1.0\r\nhost: www.cdn.test\r\n\r\n").as_bytes());
        let answer = client.answer("GET").unwrap();
        assert_eq!((answer.status, answer.text().starts_with(wanted.1)), (wanted.0, true), "{target}");
        assert!(answer.field("content-length").is_some());
    }
}
