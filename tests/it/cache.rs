//! What is stored, for how long, and what a client is told of it.

use http::Version;
use nearcast_shared::clock::{Clock, Timestamp};

use crate::harness::client::{Answer, Ask};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};
use crate::harness::wire::End;
use crate::harness::{eventually, noise, sha256, tls};

/// Some day in 2027.
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// A node whose clock stands still until the test moves it.
fn start(origin: &Origin) -> (Node, Clock) {
    let clock = Clock::manual(NOW);
    (Setup::new(origin).clock(&clock).start(), clock)
}

fn seconds(clock: &Clock, seconds: i64) {
    clock.advance(seconds * 1000);
}

fn shown(answer: &Answer) -> (u16, String, String) {
    (answer.status, answer.text(), answer.cache())
}

fn is(status: u16, body: &str, cache: &str) -> (u16, String, String) {
    (status, body.to_owned(), cache.to_owned())
}

#[test]
fn a_miss_and_then_a_hit() {
    let origin = Origin::start(|_| Reply::ok("hello").control("max-age=60"));
    let (node, _) = start(&origin);
    let miss = node.get("/a");
    assert_eq!(shown(&miss), is(200, "hello", "fwd=uri-miss; stored"));
    assert_eq!((miss.field("age"), miss.field("via").as_deref()), (None, Some("1.1 nearcast-fra")));
    let hit = node.get("/a");
    assert_eq!(shown(&hit), is(200, "hello", "hit; ttl=60"));
    assert_eq!(hit.field("age").as_deref(), Some("0"));
    assert_eq!(hit.field("via").as_deref(), Some("1.1 nearcast-fra"));
    assert!(hit.field("date").is_some());
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn fresh_until_max_age_then_asked_again() {
    let origin = Origin::start(|_| Reply::ok("hello").control("max-age=60"));
    let (node, clock) = start(&origin);
    node.get("/a");
    seconds(&clock, 59);
    let hit = node.get("/a");
    assert_eq!((hit.cache().as_str(), hit.field("age").as_deref()), ("hit; ttl=1", Some("59")));
    assert_eq!(origin.count("/a"), 1);
    seconds(&clock, 1);
    assert_eq!(node.get("/a").cache(), "fwd=stale; stored");
    assert_eq!(origin.count("/a"), 2);
    assert_eq!(node.get("/a").cache(), "hit; ttl=60");
}

#[test]
fn without_a_word_on_freshness_a_tenth_of_its_age() {
    // A thousand seconds before `NOW`.
    let origin = Origin::start(|_| Reply::ok("hello").field("last-modified", "Fri, 15 Jan 2027 07:43:20 GMT"));
    let (node, clock) = start(&origin);
    node.get("/a");
    seconds(&clock, 99);
    assert_eq!(node.get("/a").cache(), "hit; ttl=1");
    seconds(&clock, 1);
    assert_eq!(node.get("/a").cache(), "fwd=stale; stored");
}

#[test]
fn the_age_an_answer_comes_with_counts() {
    let origin = Origin::start(|_| Reply::ok("hello").control("max-age=60").field("age", "50"));
    let (node, clock) = start(&origin);
    assert_eq!(node.get("/a").field("age").as_deref(), Some("50"), "as the origin sent it");
    seconds(&clock, 5);
    assert_eq!(node.get("/a").field("age").as_deref(), Some("55"));
    seconds(&clock, 5);
    assert_eq!(node.get("/a").cache(), "fwd=stale; stored");
}

#[test]
fn every_way_in_gives_the_same_20_mib() {
    let body = noise(20 << 20, 1);
    let digest = sha256(&body);
    let origin = Origin::start(move |_| Reply::ok(body.clone()).control("max-age=60"));
    let authority = tls::Authority::new();
    let memory_only = Setup::new(&origin).set("cache.memory", "\"128 MiB\"");
    // So little memory that most of the body must come back from disk.
    let mut with_disk = Setup::new(&origin).set("cache.memory", "\"8 MiB\"").disk();
    with_disk.sites[0].push_str("\ndisk = \"always\"");
    for mut setup in [memory_only, with_disk] {
        authority.certify(&mut setup, &["www.cdn.test", "static.other.test"]);
        let (node, trusted) = (setup.start(), authority.trusted());
        let asked = origin.count("/big");
        let ask = Ask::get("/big");
        let ways = || {
            [
                node.ask(&ask),
                node.ask_h2(&ask),
                node.ask_tls(&ask, Version::HTTP_11, &trusted).unwrap(),
                node.ask_tls(&ask, Version::HTTP_2, &trusted).unwrap(),
            ]
        };
        for answer in ways().into_iter().chain(ways()) {
            assert_eq!((answer.status, answer.end, sha256(&answer.body) == digest), (200, End::Clean, true));
        }
        assert_eq!(origin.count("/big") - asked, 2, "once per scheme");
        assert!(node.get("/big").is_hit());
        node.stop();
    }
}

#[test]
fn head_is_answered_from_what_get_stored() {
    let origin = Origin::start(|_| Reply::ok("hello").control("max-age=60").field("x-kind", "a"));
    let (node, _) = start(&origin);
    let cold = node.ask(&Ask::new("HEAD", "/a"));
    assert_eq!((cold.status, cold.field("content-length").as_deref(), cold.body.len()), (200, Some("5"), 0));
    assert_eq!(origin.last("/a").method, "HEAD");
    node.get("/a");
    let warm = node.ask(&Ask::new("HEAD", "/a"));
    assert_eq!(shown(&warm), is(200, "", "hit; ttl=60"));
    assert_eq!((warm.field("content-length").as_deref(), warm.field("x-kind").as_deref()), (Some("5"), Some("a")));
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn clients_that_have_it_get_304() {
    const MODIFIED: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
    let origin = Origin::start(|_| {
        Reply::ok("hello").control("max-age=60").field("etag", "\"v1\"").field("last-modified", MODIFIED)
    });
    let (node, _) = start(&origin);
    let ask = |name: &str, value: &str| node.ask(&Ask::get("/a").field(name, value));
    // Also of an answer that is just being fetched, for whose sake the origin is asked without the client's condition.
    assert_eq!(ask("if-none-match", "\"v1\"").status, 304);
    assert_eq!(origin.last("/a").field("if-none-match"), None);
    let rows = [
        ("same tag", "if-none-match", "W/\"v1\"", 304),
        ("another tag", "if-none-match", "\"v2\"", 200),
        ("any", "if-none-match", "*", 304),
        ("not modified since", "if-modified-since", MODIFIED, 304),
        ("modified since", "if-modified-since", "Wed, 31 Dec 2025 00:00:00 GMT", 200),
    ];
    for (name, field, value, status) in rows {
        let answer = ask(field, value);
        assert_eq!((answer.status, answer.is_hit()), (status, true), "{name}");
        assert_eq!(answer.body.is_empty(), status == 304, "{name}");
        assert_eq!(answer.field("etag").as_deref(), Some("\"v1\""), "{name}");
    }
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn an_origins_304_renews_what_is_stored() {
    let origin = Origin::start(|seen| match seen.field("if-none-match").as_deref() {
        Some("\"v1\"") => Reply::new(304).control("max-age=100").field("x-round", "2").field("etag", "\"v1\""),
        _ => Reply::ok("hello").control("max-age=60").field("x-round", "1").field("etag", "\"v1\""),
    });
    let (node, clock) = start(&origin);
    assert_eq!(node.get("/a").field("x-round").as_deref(), Some("1"));
    seconds(&clock, 60);
    let renewed = node.get("/a");
    assert_eq!(shown(&renewed), is(200, "hello", "fwd=stale; fwd-status=304; ttl=100"));
    assert_eq!(renewed.field("x-round").as_deref(), Some("2"));
    assert_eq!(renewed.field("content-length").as_deref(), Some("5"));
    let hit = node.get("/a");
    assert_eq!(shown(&hit), is(200, "hello", "hit; ttl=100"));
    assert_eq!((hit.field("age").as_deref(), hit.field("x-round").as_deref()), (Some("0"), Some("2")));
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn a_304_about_another_version_is_not_believed() {
    let origin = Origin::start(|seen| match seen.field("if-none-match") {
        Some(_) => Reply::new(304).field("etag", "\"v2\""),
        None => Reply::ok("hello").control("max-age=60").field("etag", "\"v1\""),
    });
    let (node, clock) = start(&origin);
    node.get("/a");
    seconds(&clock, 60);
    assert_eq!(shown(&node.get("/a")), is(200, "hello", "fwd=stale; stored"));
    assert_eq!(origin.count("/a"), 3, "asked whether, then for the whole");
}

#[test]
fn variants_are_kept_apart() {
    let origin = Origin::start(|seen| {
        let language = seen.field("accept-language").unwrap_or_else(|| "none".to_owned());
        Reply::ok(language).control("max-age=60").field("vary", "Accept-Language")
    });
    let (node, _) = start(&origin);
    let ask = |language: &str| node.ask(&Ask::get("/a").field("accept-language", language));
    assert_eq!(shown(&ask("de")), is(200, "de", "fwd=uri-miss; stored"));
    assert_eq!(shown(&ask("en")), is(200, "en", "fwd=vary-miss; stored"));
    assert_eq!(shown(&node.get("/a")), is(200, "none", "fwd=vary-miss; stored"));
    for language in ["de", "en"] {
        assert_eq!(shown(&ask(language)), is(200, language, "hit; ttl=60"));
    }
    assert_eq!(shown(&node.get("/a")), is(200, "none", "hit; ttl=60"));
    assert_eq!(origin.count("/a"), 3);
}

#[test]
fn accept_encoding_in_other_words_is_the_same_variant() {
    let origin = Origin::start(|seen| {
        Reply::ok(seen.field("accept-encoding").unwrap_or_default())
            .control("max-age=60")
            .field("vary", "accept-encoding")
    });
    let (node, _) = start(&origin);
    let ask = |codings: &str| node.ask(&Ask::get("/a").field("accept-encoding", codings));
    assert_eq!(ask("gzip, deflate, br").text(), "br,deflate,gzip", "what is keyed is what is forwarded");
    assert!(ask("br,GZIP,deflate;q=1.0").is_hit());
    assert!(!ask("gzip;q=0").is_hit());
}

#[test]
fn authorization_is_shared_only_where_the_answer_allows() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/public" => Reply::ok("for all").control("public, max-age=60"),
        _ => Reply::ok(seen.field("authorization").unwrap_or_else(|| "nobody".to_owned())).control("max-age=60"),
    });
    let (node, _) = start(&origin);
    let ask = |target: &str, who: &str| node.ask(&Ask::get(target).field("authorization", who));
    assert_eq!(ask("/own", "alice").text(), "alice");
    assert_eq!(ask("/own", "bob").text(), "bob", "not alice's");
    assert_eq!(node.get("/own").text(), "nobody", "nor stored for others");
    assert_eq!(origin.count("/own"), 3);
    ask("/public", "alice");
    assert!(node.get("/public").is_hit());
}

#[test]
fn what_must_not_be_stored_is_not() {
    let origin = Origin::start(|seen| {
        let fresh = Reply::ok("x").control("max-age=60");
        match seen.target.as_str() {
            "/no-store" => Reply::ok("x").control("no-store, max-age=60"),
            "/private" => Reply::ok("x").control("private, max-age=60"),
            "/cookie" => fresh.field("set-cookie", "a=b"),
            "/vary-all" => fresh.field("vary", "*"),
            "/silent" => Reply::ok("x"),
            "/error" => Reply::new(500).body("x").field("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
            "/bad" => Reply::new(400).body("x").field("etag", "\"a\""),
            _ => Reply::new(404),
        }
    });
    let (node, _) = start(&origin);
    for target in ["/no-store", "/private", "/cookie", "/vary-all", "/silent", "/error"] {
        let first = node.get(target);
        assert_eq!((first.text().as_str(), first.cache().as_str()), ("x", "fwd=uri-miss"), "{target}");
        assert_eq!(node.get(target).cache(), "fwd=bypass", "{target} is remembered");
        assert_eq!(origin.count(target), 2, "{target}");
    }
    // A client may have made the origin say so: nothing is remembered of the URL.
    for _ in 0..2 {
        assert_eq!(node.get("/bad").cache(), "fwd=uri-miss");
    }
}

#[test]
fn a_client_that_says_no_store_leaves_nothing() {
    let origin = Origin::start(|_| Reply::ok("x").control("max-age=60"));
    let (node, _) = start(&origin);
    node.ask(&Ask::get("/a").field("cache-control", "no-store"));
    assert_eq!(node.get("/a").cache(), "fwd=uri-miss; stored");
}

#[test]
fn a_client_may_ask_for_a_check() {
    let origin = Origin::start(|_| Reply::ok("x").control("max-age=60"));
    let (node, _) = start(&origin);
    node.get("/a");
    assert_eq!(node.ask(&Ask::get("/a").field("cache-control", "no-cache")).cache(), "fwd=request; stored");
    assert_eq!(origin.count("/a"), 2);
    assert!(node.get("/a").is_hit());
}

#[test]
fn stale_is_served_while_one_request_refreshes_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |seen| match seen.field("if-none-match") {
        None => Reply::ok("old").control("max-age=60, stale-while-revalidate=30").field("etag", "\"1\""),
        Some(_) => Reply::ok("new").control("max-age=60").field("etag", "\"2\"").hold(&held),
    });
    let (node, clock) = start(&origin);
    node.get("/a");
    seconds(&clock, 65);
    for _ in 0..5 {
        assert_eq!(shown(&node.get("/a")), is(200, "old", "hit; ttl=-5"));
    }
    origin.wait_for("/a", 2);
    gate.open();
    eventually("the refreshed answer", || node.get("/a").text() == "new");
    assert!(node.get("/a").is_hit());
    assert_eq!(origin.count("/a"), 2, "one refresh");
}

#[test]
fn stale_stands_in_for_an_origin_that_fails() {
    let origin = Origin::start(|seen| match (seen.target.as_str(), seen.field("if-none-match")) {
        (_, None) => Reply::ok("old").control("max-age=60, stale-if-error=30").field("etag", "\"1\""),
        ("/gone", Some(_)) => Reply::hang_up(),
        (_, Some(_)) => Reply::new(503).body("down"),
    });
    let (node, clock) = start(&origin);
    for target in ["/error", "/gone"] {
        node.get(target);
    }
    seconds(&clock, 80);
    for (target, received) in [("/error", "; fwd-status=503"), ("/gone", "")] {
        let status = format!("fwd=stale{received}; ttl=-20");
        assert_eq!(shown(&node.get(target)), is(200, "old", &status), "{target}");
    }
    seconds(&clock, 10);
    assert_eq!(shown(&node.get("/error")), is(503, "down", "fwd=stale"));
    // A 503 is an answer, a closed connection is none: then what is stale serves as long as `cache.stale-max` says.
    assert_eq!(shown(&node.get("/gone")), is(200, "old", "fwd=stale; ttl=-30"));
    seconds(&clock, 86_400);
    assert_eq!(node.get("/gone").status, 502);
}

/// Purges are kept as long as what is stale may serve, also when a reload makes that longer.
#[test]
fn stale_serves_longer_than_it_was_fresh() {
    const DAY: i64 = 86_400;
    let origin = Origin::start(|seen| match seen.field("if-none-match") {
        None => Reply::ok("old").control("max-age=3600").field("etag", "\"1\""),
        Some(_) => Reply::hang_up(),
    });
    let clock = Clock::manual(NOW);
    let setup = Setup::new(&origin).clock(&clock).set("cache.lifetime-max", "\"1h\"").set("cache.stale-max", "\"7d\"");
    let node = setup.start();
    node.get("/a");
    seconds(&clock, 3 * DAY);
    assert_eq!(node.get("/a").text(), "old");
    setup.set("cache.stale-max", "\"14d\"").write();
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
    seconds(&clock, 10 * DAY);
    assert_eq!(node.get("/a").text(), "old");
    seconds(&clock, 2 * DAY);
    assert_eq!(node.get("/a").status, 502);
}

#[test]
fn must_revalidate_forbids_stale() {
    let origin = Origin::start(|seen| match seen.field("if-none-match") {
        None => Reply::ok("old").control("max-age=60, stale-if-error=99, must-revalidate").field("etag", "\"1\""),
        Some(_) => Reply::new(503),
    });
    let (node, clock) = start(&origin);
    node.get("/a");
    seconds(&clock, 61);
    assert_eq!(node.get("/a").status, 503);
}

#[test]
fn only_if_cached() {
    let origin = Origin::start(|_| Reply::ok("x").control("max-age=60"));
    let (node, _) = start(&origin);
    let ask = Ask::get("/a").field("cache-control", "only-if-cached");
    assert_eq!((node.ask(&ask).status, origin.count("/a")), (504, 0));
    node.get("/a");
    assert_eq!((node.ask(&ask).status, origin.count("/a")), (200, 1));
}

#[test]
fn ranges_of_what_is_stored() {
    let body = noise(1_000_000, 2);
    let sent = body.clone();
    let origin = Origin::start(move |_| Reply::ok(sent.clone()).control("max-age=60").field("etag", "\"v1\""));
    let (node, _) = start(&origin);
    let range = |value: &str| Ask::get("/a").field("range", value);
    // A fill fetches the whole, whatever its first client wanted of it.
    let cold = node.ask(&range("bytes=0-9"));
    assert_eq!((cold.status, cold.body.as_slice()), (206, &body[..10]));
    type Row<'a> = (&'a str, &'a str, u16, &'a [u8], Option<&'a str>);
    let rows: [Row<'_>; 6] = [
        ("first bytes", "bytes=0-99", 206, &body[..100], Some("bytes 0-99/1000000")),
        ("across pieces", "bytes=262000-263000", 206, &body[262_000..263_001], Some("bytes 262000-263000/1000000")),
        ("open end", "bytes=999990-", 206, &body[999_990..], Some("bytes 999990-999999/1000000")),
        ("suffix", "bytes=-5", 206, &body[999_995..], Some("bytes 999995-999999/1000000")),
        ("beyond the end", "bytes=1000000-", 416, b"", Some("bytes */1000000")),
        ("another unit", "lines=0-1", 200, &body, None),
    ];
    for (name, value, status, bytes, content_range) in rows {
        let answer = node.ask(&range(value));
        assert_eq!((answer.status, answer.body == bytes), (status, true), "{name}");
        assert_eq!(answer.field("content-range").as_deref(), content_range, "{name}");
        assert!(answer.is_hit(), "{name}");
    }
    let if_range = |tag: &str| node.ask(&range("bytes=0-9").field("if-range", tag)).status;
    assert_eq!((if_range("\"v1\""), if_range("\"v2\"")), (206, 200));
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn a_clean_restart_is_warm() {
    let body = noise(3 << 20, 3);
    let sent = body.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/big" => Reply::ok(sent.clone()).control("max-age=3600"),
        _ => Reply::ok("small").control("max-age=3600").field("vary", "accept-language"),
    });
    let setup = Setup::new(&origin).disk();
    let node = setup.start();
    assert_eq!((node.get("/big").body == body, node.get("/small").text().as_str()), (true, "small"));
    node.stop();
    let again = setup.start();
    let (big, small) = (again.get("/big"), again.get("/small"));
    assert_eq!((big.is_hit(), big.body == body, big.end), (true, true, End::Clean));
    assert_eq!((small.is_hit(), small.text().as_str()), (true, "small"));
    assert_eq!((origin.count("/big"), origin.count("/small")), (1, 1));
}

#[test]
fn a_site_is_keyed_by_host_query_and_scheme() {
    let origin = Origin::start(|seen| Reply::ok(seen.target.clone()).control("max-age=60"));
    let (node, _) = start(&origin);
    for target in ["/a", "/a?b", "/a?c", "/A"] {
        assert_eq!(shown(&node.get(target)), is(200, target, "fwd=uri-miss; stored"));
    }
    assert!(node.get("/a?b").is_hit());
    assert!(!node.ask(&Ask::get("/a?b").host("static.other.test")).is_hit());
    assert!(node.ask(&Ask::get("/a?b").host("WWW.cdn.TEST:80")).is_hit());
}

#[test]
fn details_are_for_those_who_may_see_them() {
    let origin = Origin::start(|_| Reply::ok("x").control("no-store"));
    let node = Setup::new(&origin).set("cache.detail-to", "[\"127.0.0.0/8\"]").start();
    assert_eq!(node.get("/a").cache(), "fwd=uri-miss; key=\"http://www.cdn.test/a\"; detail=no-store");
}
