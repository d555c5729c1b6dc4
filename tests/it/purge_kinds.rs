//! What each kind of purge covers, and what it leaves alone.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::client::{Ask, Plain};
use crate::harness::eventually;
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply, Seen};

const OTHER: &str = "other.test";

/// An origin that counts its answers and gives them the tags that the query names: `key`, `tag` and `group`, with `+` for
/// a space.
fn tagging() -> Origin {
    let number = AtomicUsize::new(0);
    Origin::start(move |seen: &Seen| {
        let mut reply = Reply::ok(format!("answer {}", number.fetch_add(1, Ordering::SeqCst))).control("max-age=3600");
        for (name, value) in seen.target.split(['?', '&']).filter_map(|part| part.split_once('=')) {
            let value = value.replace('+', " ").replace("%22", "\"");
            let field = match name {
                "key" => "surrogate-key",
                "tag" => "cache-tag",
                _ => "cache-groups",
            };
            reply = reply.field(field, &value);
        }
        reply
    })
}

/// A node with two sites before that origin.
fn two_sites(origin: &Origin) -> Node {
    let mut setup = Setup::new(origin);
    setup.sites.push(format!("name = \"other\"\ndomains = [\"{OTHER}\"]\norigin = \"{}\"", origin.url()));
    setup.start()
}

/// Fetches all of them, purges, and says which are still hits.
fn left(node: &Node, asks: &[Ask], order: &str) -> Vec<bool> {
    for ask in asks {
        node.ask(ask);
        assert!(node.ask(ask).is_hit(), "{ask:?}");
    }
    node.purge(order);
    let stored = |ask: &Ask| node.ask(&ask.clone().field("cache-control", "only-if-cached")).status == 200;
    asks.iter().map(stored).collect()
}

#[test]
fn a_prefix_of_the_path_on_all_hosts_of_a_site() {
    let node = two_sites(&tagging());
    let paths = ["/p/1", "/p/10?x", "/p/1/a", "/p/2", "/P/1", "/%70/1", "/./p/1", "/p", "/?/p/1"];
    let mut asks: Vec<Ask> = paths.iter().map(|path| Ask::get(path)).collect();
    asks.push(Ask::get("/p/1").host("static.other.test"));
    asks.push(Ask::get("/p/1").host(OTHER));
    let left = |order: &str| left(&node, &asks, order);
    let wanted = [false, false, false, true, true, false, false, true, true, false, true];
    assert_eq!(left(r#"{"prefix": "/p/1", "site": "static.other.test"}"#), wanted);
    let wanted = [true, false, true, true, true, true, true, true, true, true, true];
    assert_eq!(left(r#"{"prefix": "/p/10", "site": "www.cdn.test"}"#), wanted);
    let all_of_the_site: Vec<bool> = (0..asks.len()).map(|at| at == asks.len() - 1).collect();
    assert_eq!(left(r#"{"prefix": "/", "site": "www.cdn.test"}"#), all_of_the_site);
    assert_eq!(left(r#"{"prefix": "/nothing/here", "site": "www.cdn.test"}"#), vec![true; asks.len()]);
}

#[test]
fn tags_of_all_sites_or_of_one() {
    let node = two_sites(&tagging());
    let targets = ["/a?key=shoes+red", "/b?tag=shoes,+blue+sky", "/c?group=%22shoes%22,%22x%22", "/d?key=shoe", "/e"];
    let mut asks: Vec<Ask> = targets.iter().map(|target| Ask::get(target)).collect();
    asks.push(Ask::get(targets[0]).host(OTHER));
    let rows = [
        (r#"{"tag": "shoes"}"#, [false, false, false, true, true, false]),
        (r#"{"tag": "shoes", "site": "other.test"}"#, [true, true, true, true, true, false]),
        (r#"{"tag": "shoes", "site": "www.cdn.test"}"#, [false, false, false, true, true, true]),
        (r#"{"tags": ["red", "blue sky"]}"#, [false, false, true, true, true, false]),
        (r#"{"tags": ["x", "red"], "site": "www.cdn.test"}"#, [false, true, false, true, true, true]),
        (r#"{"tag": "Shoes"}"#, [true; 6]),
        (r#"{"tag": "sh"}"#, [true; 6]),
    ];
    for (order, wanted) in rows {
        assert_eq!(left(&node, &asks, order), wanted, "{order}");
    }
}

#[test]
fn a_batch_is_done_whole_or_not_at_all() {
    let origin = tagging();
    let node = two_sites(&origin);
    let (a, b, c) = (Ask::get("/a"), Ask::get("/b").host(OTHER), Ask::get("/c"));
    let asks = [a, b, c];
    let urls = r#"{"urls": ["http://www.cdn.test/a", "https://other.test/b"]}"#;
    assert_eq!(left(&node, &asks, urls), [false, false, true]);
    for ask in &asks {
        node.ask(ask);
    }
    let many = |count: usize| {
        format!("{{\"urls\": [\"http://www.cdn.test/a\"{}]}}", ", \"http://www.cdn.test/b\"".repeat(count))
    };
    let tags = format!("{{\"tags\": [\"a\", \"{}\"]}}", "x".repeat(2000));
    let rows = [
        (r#"{"urls": ["http://www.cdn.test/a", "/b", "c"]}"#.to_owned(), 400, "urls[1]: `/b` is not a URL"),
        (
            r#"{"urls": ["http://www.cdn.test/a", "http://nobody.test/"]}"#.to_owned(),
            404,
            "urls[1]: `http://nobody.test/`",
        ),
        (r#"{"urls": ["http://www.cdn.test/a", 7]}"#.to_owned(), 400, "expected a string"),
        (tags, 400, "tags[1]: `xxx"),
        (many(10_000), 400, "has 10001 entries"),
    ];
    for (order, status, says) in rows {
        let answer = node.admin("POST", "/v1/purge", &order);
        assert_eq!(answer.status, status, "{says}");
        assert!(answer.text().contains(says), "{} has no {says}", answer.text());
        assert!(asks.iter().all(|ask| node.ask(ask).is_hit()), "nothing was done: {says}");
    }
    let answer = node.admin("POST", "/v1/purge", &many(9_999));
    let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&told["kind"], &told["entries"], &told["fills_cut_out"]), (&"url".into(), &10_000.into(), &0.into()));
    assert!(!node.ask(&asks[0]).is_hit());
    let large = format!("{{\"urls\": [\"{}\"]}}", "x".repeat(17 << 20));
    assert_eq!(node.admin("POST", "/v1/purge", &large).status, 413);
}

#[test]
fn tags_are_not_for_clients() {
    let origin = Origin::start(|seen| {
        let tagged = Reply::ok("x").field("surrogate-key", "a").field("cache-tag", "b").field("cache-groups", "\"c\"");
        tagged.control(if seen.target == "/pass" { "no-store" } else { "max-age=3600" })
    });
    let node = Setup::new(&origin).start();
    for target in ["/a", "/a", "/pass"] {
        let answer = node.get(target);
        assert_eq!(answer.field("surrogate-key"), None, "{target}");
        assert_eq!(answer.field("cache-tag"), None, "{target}");
        assert_eq!(answer.field("cache-groups").as_deref(), Some("\"c\""), "that is for other caches as well");
    }
}

#[test]
fn a_304_keeps_tags_and_brings_new_ones() {
    let origin = Origin::start(|seen| {
        let number = seen.field("if-none-match").map_or(1, |tag| tag.trim_matches('"').parse::<u32>().unwrap() + 1);
        let reply = if number > 1 { Reply::new(304) } else { Reply::ok("x").field("surrogate-key", "first") };
        let reply = if seen.target == "/new" && number > 1 { reply.field("surrogate-key", "second") } else { reply };
        reply.field("etag", "\"1\"").control("max-age=3600")
    });
    let node = Setup::new(&origin).start();
    for target in ["/same", "/new"] {
        node.get(target);
        node.purge(&format!("{{\"url\": \"http://www.cdn.test{target}\", \"soft\": true}}"));
        assert_eq!(node.get(target).cache(), "fwd=stale; fwd-status=304; ttl=3600");
    }
    let hits = || ["/same", "/new"].map(|target| node.get(target).is_hit());
    node.purge(r#"{"tag": "first", "soft": true}"#);
    assert_eq!(hits(), [false, true], "it has the second one now, and no more the first");
    node.purge(r#"{"tag": "second", "soft": true}"#);
    assert_eq!(hits(), [true, false]);
}

#[test]
fn more_tags_than_count_are_cut_and_counted() {
    let many: Vec<String> = (0..8192).map(|n| format!("t{n:06}")).collect();
    let header = many.join(" ");
    let origin = Origin::start(move |seen| {
        let tags = if seen.target == "/few" { "t000000 t008191" } else { header.as_str() };
        Reply::ok("x").control("max-age=3600").field("surrogate-key", tags)
    });
    let node = Setup::new(&origin).set("origin.header-size", "\"128 KiB\"").start();
    let asks = [Ask::get("/many"), Ask::get("/few")];
    assert_eq!(left(&node, &asks, r#"{"tag": "t000999"}"#), [false, true]);
    assert_eq!(left(&node, &asks, r#"{"tag": "t001000"}"#), [true, true], "beyond cache.tags-max");
    assert_eq!(left(&node, &asks, r#"{"tag": "t008191"}"#), [true, false]);
    assert_eq!(node.metric("nearcast_cache_tags_truncated_total{site=\"www.cdn.test\"}"), Some(2.0));
}

#[test]
fn purges_are_counted() {
    let node = Setup::new(&tagging()).start();
    node.purge(r#"{"url": "http://www.cdn.test/a"}"#);
    node.purge(r#"{"tags": ["a", "b"], "soft": true}"#);
    node.purge(r#"{"prefix": "/a", "site": "www.cdn.test"}"#);
    let rows = [
        ("nearcast_purges_total{kind=\"url\",mode=\"hard\"}", 1.0),
        ("nearcast_purges_total{kind=\"tag\",mode=\"soft\"}", 2.0),
        ("nearcast_purge_records{kind=\"tag\"}", 2.0),
        ("nearcast_purge_records{kind=\"prefix\"}", 1.0),
        ("nearcast_purge_records{kind=\"all\"}", 0.0),
        ("nearcast_purge_commit_seconds_count", 3.0),
        ("nearcast_purge_log_errors_total", 0.0),
    ];
    for (line, wanted) in rows {
        assert_eq!(node.metric(line), Some(wanted), "{line}");
    }
    crate::harness::eventually("the last sequence", || node.metric("nearcast_purge_sequence") == Some(4.0));
}

#[test]
fn a_fetch_whose_tag_was_purged_is_joined_by_nobody_any_more() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        let reply = Reply::new(200).control("max-age=60").field("surrogate-key", "news").announce(10).body("first");
        if seen.field("x-first").is_some() { reply.wait(&held).body("first") } else { reply.body("again") }
    });
    let node = Setup::new(&origin).start();
    let mut first = Plain::connect(node.http());
    let mut begun = first.begin(&Ask::get("/a").field("x-first", "1"));
    first.some(&mut begun, 5);
    node.purge("{\"tag\": \"news\"}");
    let second = || Ask::get("/a").send(node.http());
    assert_eq!(second().text(), "firstagain");
    eventually("what came second is stored, and not passed", || second().is_hit());
    gate.open();
    assert_eq!(first.rest(begun).text(), "first");
    node.settle();
    assert_eq!(node.get("/a").text(), "firstagain");
    assert_eq!(origin.count("/a"), 2);
}
