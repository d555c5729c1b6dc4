//! PURGE on the data plane.

use http::Version;

use crate::harness::client::Ask;
use crate::harness::node::{Node, Setup, TOKEN};
use crate::harness::origin::{Origin, Reply};

fn origin() -> Origin {
    Origin::start(|_| Reply::ok("x").control("max-age=3600").field("etag", "\"a\""))
}

fn on(setup: Setup) -> Node {
    setup.set("admin.purge-method", "true").start()
}

fn purge(target: &str) -> Ask {
    Ask::new("PURGE", target)
}

fn with_token(ask: Ask, token: &str) -> Ask {
    ask.field("authorization", &format!("Bearer {token}"))
}

/// Whether `/a` is stored, and fresh.
fn is_stored(node: &Node) -> bool {
    node.ask(&Ask::get("/a").field("cache-control", "only-if-cached")).status == 200
}

fn no_purge_reached(origin: &Origin) {
    assert!(origin.seen().iter().all(|seen| seen.method == "GET"), "{:?}", origin.seen());
}

#[test]
fn off_it_is_refused() {
    let origin = origin();
    let node = Setup::new(&origin).start();
    node.get("/a");
    for ask in [purge("/a"), with_token(purge("/a"), TOKEN)] {
        let answer = node.ask(&ask);
        assert_eq!((answer.status, answer.field("allow").is_some()), (405, true));
    }
    assert!(is_stored(&node));
    no_purge_reached(&origin);
}

#[test]
fn on_it_takes_the_token_and_nothing_else() {
    let origin = origin();
    let node = on(Setup::new(&origin));
    node.get("/a");
    let none = node.ask(&purge("/a"));
    assert_eq!((none.status, none.field("www-authenticate").as_deref()), (401, Some("Bearer")));
    assert_eq!(node.ask(&with_token(purge("/a"), "correct-house")).status, 403);
    assert_eq!(node.ask(&with_token(purge("/a"), TOKEN).host("nobody.test")).status, 421);
    assert!(is_stored(&node));
    let answer = node.ask(&with_token(purge("/a"), TOKEN));
    let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(answer.status == 200 && told["id"].is_string() && told["time"].is_string(), "{told}");
    assert!(!is_stored(&node));
    assert!(!node.get("/a").is_hit() && node.get("/a").is_hit());
    no_purge_reached(&origin);
    let counted =
        |outcome| node.metric(&format!("nearcast_http_requests_total{{site=\"www.cdn.test\",outcome=\"{outcome}\"}}"));
    assert_eq!(counted("purge"), Some(1.0));
}

#[test]
fn it_covers_the_url_as_it_is_keyed() {
    let origin = origin();
    let mut setup = Setup::new(&origin);
    setup.sites[0].push_str("\nquery = { sort = true, drop = [\"utm_*\"] }\nkey-headers = [\"x-tier\"]");
    let node = on(setup);
    let asks = [Ask::get("/a?b=1&a=2"), Ask::get("/a?b=1&a=2").field("x-tier", "gold")];
    for ask in &asks {
        node.ask(ask);
        assert!(node.ask(ask).is_hit());
    }
    node.ask_h2(&with_token(purge("/a?utm_id=7&a=2&b=1"), TOKEN));
    assert!(asks.iter().all(|ask| !node.ask(ask).is_hit()));
    let over_h2 = with_token(purge("/a"), TOKEN).over(node.http(), Version::HTTP_2, None).unwrap();
    assert_eq!(over_h2.status, 200);
}

#[test]
fn softly() {
    let origin = origin();
    let node = on(Setup::new(&origin));
    for name in ["soft-purge", "fastly-soft-purge"] {
        node.get("/a");
        assert!(node.get("/a").is_hit());
        assert_eq!(node.ask(&with_token(purge("/a"), TOKEN).field(name, "1")).status, 200);
        assert!(node.get("/a").cache().starts_with("fwd=stale"), "{name}");
        assert_eq!(origin.last("/a").field("if-none-match").as_deref(), Some("\"a\""), "{name}");
    }
}

#[test]
fn it_needs_a_token_to_be_turned_on() {
    let mistakes = Setup::new(&origin()).unset("admin.token").set("admin.purge-method", "true").load().unwrap_err();
    assert!(mistakes.to_string().contains("admin.purge-method: needs admin.token"), "{mistakes}");
}
