//! What is keyed is what is forwarded: a site's rules for keys, as the origin and clients see them.

use http::Version;

use crate::harness::client::Ask;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply, Seen};

/// An origin whose answers are fresh for an hour and say what it was asked.
fn origin() -> Origin {
    Origin::start(|seen| Reply::ok(said(seen)).control("max-age=3600"))
}

fn said(seen: &Seen) -> String {
    let field = |name| seen.field(name).unwrap_or_else(|| "none".to_owned());
    format!("{} tier={} cookie={} country={}", seen.target, field("x-tier"), field("cookie"), field("x-country"))
}

/// A node whose site has these keys, too.
fn node(origin: &Origin, keys: &str) -> Node {
    setup(origin, keys).start()
}

fn setup(origin: &Origin, keys: &str) -> Setup {
    let mut setup = Setup::new(origin);
    setup.sites[0].push_str(&format!("\n{keys}"));
    setup
}

/// The first is fetched, the others are hits with the same body.
fn share(node: &Node, asks: &[Ask], body: &str) {
    for (number, ask) in asks.iter().enumerate() {
        let answer = node.ask(ask);
        assert_eq!((answer.text().as_str(), answer.is_hit()), (body, number > 0), "{ask:?}");
    }
}

fn gets<const N: usize>(targets: [&str; N]) -> [Ask; N] {
    targets.map(Ask::get)
}

#[test]
fn by_default_the_query_stays_as_it_is() {
    let origin = origin();
    let node = node(&origin, "");
    for target in ["/a?b=1&a=2", "/a?a=2&b=1", "/a?", "/a", "/a?&a=2&b=1", "/a?%61=2&b=1", "/a?utm_source=x"] {
        share(&node, &gets([target, target]), &format!("{target} tier=none cookie=none country=none"));
        assert_eq!(origin.count(target), 1);
    }
}

#[test]
fn dropped_parameters_reach_nobody() {
    let origin = origin();
    let node = node(&origin, "query = { drop = [\"utm_*\", \"fbclid\"] }");
    let b = ["/a?b=1", "/a?utm_source=x&b=1", "/a?b=1&fbclid=2", "/a?utm%5Fid=1&b=1"];
    share(&node, &gets(b), "/a?b=1 tier=none cookie=none country=none");
    share(&node, &gets(["/a?utm_id=1", "/a", "/a?"]), "/a tier=none cookie=none country=none");
    assert_eq!(origin.seen().len(), 2);
}

#[test]
fn kept_and_sorted_parameters() {
    let origin = origin();
    let node = node(&origin, "query = { sort = true, keep = [\"v\", \"page\"] }");
    let both = ["/a?v=2&page=1", "/a?page=1&v=2", "/a?x=9&v=2&y&page=1"];
    share(&node, &gets(both), "/a?page=1&v=2 tier=none cookie=none country=none");
    share(&node, &gets(["/a?v=2&v=1", "/a?x&v=2&v=1"]), "/a?v=2&v=1 tier=none cookie=none country=none");
    share(&node, &gets(["/a?v=1&v=2"]), "/a?v=1&v=2 tier=none cookie=none country=none");
}

#[test]
fn a_field_as_part_of_the_key() {
    let origin = origin();
    let node = node(&origin, "key-headers = [\"x-tier\"]");
    let ask = |tier: &str| Ask::get("/a").field("x-tier", tier);
    share(&node, &[ask("gold"), ask("gold")], "/a tier=gold cookie=none country=none");
    share(&node, &[ask("a, b"), ask("a").field("x-tier", "b")], "/a tier=a, b cookie=none country=none");
    share(&node, &[Ask::get("/a"), Ask::get("/a")], "/a tier=none cookie=none country=none");
    let hidden = Ask::get("/a").field("x-tier", "gold").field("connection", "x-tier");
    assert_eq!(node.ask(&hidden).text(), "/a tier=none cookie=none country=none", "it is keyed as the origin gets it");
}

#[test]
fn only_keyed_cookies_reach_the_origin() {
    let origin = origin();
    let node = node(&origin, "key-cookies = [\"lang\", \"theme\"]");
    let ask = |cookies: &str| Ask::get("/a").field("cookie", cookies);
    let both =
        [ask("theme=dark; sid=1; lang=de"), ask("lang=de;theme=dark"), ask("lang=de").field("cookie", "theme=dark")];
    share(&node, &both, "/a tier=none cookie=lang=de; theme=dark country=none");
    share(&node, &[ask("sid=2"), Ask::get("/a"), ask("Lang=de")], "/a tier=none cookie=none country=none");
    share(&node, &[ask("lang=en")], "/a tier=none cookie=lang=en country=none");
}

#[test]
fn what_is_not_looked_up_goes_on_as_it_came() {
    let origin = origin();
    let rule = "[[site.rule]]\npath = \"/account*\"\nbypass = true";
    let keys =
        format!("query = {{ drop = [\"utm_*\"] }}\nkey-cookies = [\"lang\"]\nkey-headers = [\"x-tier\"]\n{rule}");
    let node = node(&origin, &keys);
    let account = Ask::get("/account?utm_id=1").field("cookie", "sid=1; lang=de");
    let own = "/account?utm_id=1 tier=none cookie=sid=1; lang=de country=none";
    assert_eq!(node.ask(&account).text(), own);
    let tiers = ["gold", "iron"].map(|tier| Ask::get("/a").field("x-tier", tier));
    for ask in &tiers {
        node.ask(ask);
        assert!(node.ask(ask).is_hit());
    }
    let post = Ask::new("POST", "/a?utm_id=1").field("cookie", "sid=1; lang=de").body("x");
    assert_eq!(node.ask(&post).text(), "/a?utm_id=1 tier=none cookie=sid=1; lang=de country=none");
    assert!(tiers.iter().all(|ask| !node.ask(ask).is_hit()), "and the URL is invalidated under all parts of the key");
}

#[test]
fn what_an_unsafe_request_names_goes_through_the_rules() {
    let origin = Origin::start(|seen| match seen.method.as_str() {
        "POST" => Reply::ok("posted").field("location", "/a?utm_id=1&b"),
        _ => Reply::ok("page").control("max-age=3600"),
    });
    let node = node(&origin, "query = { drop = [\"utm_*\"] }");
    let ask = Ask::get("/a?b");
    node.ask(&ask);
    assert!(node.ask(&ask).is_hit());
    node.ask(&Ask::new("POST", "/form").body("x"));
    assert!(!node.ask(&ask).is_hit());
}

#[test]
fn an_answer_to_a_post_is_kept_only_where_a_get_would_have_asked_the_same() {
    let origin =
        Origin::start(|seen| Reply::ok(said(seen)).control("max-age=3600").field("content-location", &seen.target));
    for (keys, target, kept) in [
        ("", "/a?utm_id=1", true),
        ("query = { drop = [\"utm_*\"] }", "/a?b=1", true),
        ("query = { drop = [\"utm_*\"] }", "/a?utm_id=1", false),
        ("key-cookies = [\"lang\"]", "/a", false),
    ] {
        let node = node(&origin, keys);
        node.ask(&Ask::new("POST", target).field("cookie", "sid=1").body("x"));
        node.settle();
        let answer = node.get(target);
        assert_eq!(answer.is_hit(), kept, "{keys} {target}");
    }
}

#[test]
fn the_country_as_part_of_the_key() {
    let origin = origin();
    let setup = setup(&origin, "key-country = true\ntrusted-proxies = [\"127.0.0.0/8\"]").built_in_geo();
    let node = setup.start();
    let from = |address: &str| Ask::get("/a").field("x-forwarded-for", address).field("x-country", "XX");
    // Nearest to us is what counts: what stands before it the client may have written itself.
    let dutch = [from("193.0.0.1"), from("8.8.8.8, 193.0.0.1"), from("193.0.0.2, 127.0.0.9")];
    share(&node, &dutch, "/a tier=none cookie=none country=NL");
    share(&node, &[from("127.0.0.1"), Ask::get("/a"), from("unknown")], "/a tier=none cookie=none country=-");
    node.purge("{\"url\": \"http://www.cdn.test/a\"}");
    assert!(!node.ask(&dutch[0]).is_hit());
}

#[test]
fn nobody_says_which_country_they_are_of() {
    let origin = origin();
    let by_country = setup(&origin, "key-country = true").built_in_geo().start();
    let ask = Ask::get("/a").field("x-forwarded-for", "193.0.0.1").field("x-country", "NL");
    assert_eq!(by_country.ask(&ask).text(), "/a tier=none cookie=none country=-", "not from a trusted proxy");
    assert_eq!(node(&origin, "").ask(&ask).text(), "/a tier=none cookie=none country=none", "nor where nobody asks");
}

#[test]
fn a_site_may_opt_out_of_the_rewriting() {
    let origin = origin();
    let keys = "query = { drop = [\"utm_*\"] }\nkey-cookies = [\"lang\"]\nkey-rewrite = false";
    let node = node(&origin, keys);
    let ask = |query: &str, cookie: &str| Ask::get(&format!("/a?{query}")).field("cookie", cookie);
    let asks = [ask("utm_id=1&b", "sid=1; lang=de"), ask("b&utm_id=2", "lang=de; sid=2"), ask("b", "lang=de")];
    share(&node, &asks, "/a?utm_id=1&b tier=none cookie=sid=1; lang=de country=none");
    share(&node, &[ask("b", "lang=en")], "/a?b tier=none cookie=lang=en country=none");
}

#[test]
fn cookies_of_http2_go_on_in_one_line() {
    let origin = origin();
    let node = node(&origin, "");
    for method in ["GET", "POST"] {
        let ask = Ask::new(method, "/a").field("cookie", "a=1").field("cookie", "b=2");
        ask.over(node.http(), Version::HTTP_2, None).unwrap();
        let seen = origin.last("/a");
        let lines: Vec<_> = seen.fields.get_all("cookie").iter().collect();
        assert_eq!(lines, ["a=1; b=2"], "{method}");
    }
}

#[test]
fn other_words_for_the_same_are_one_variant() {
    let origin = Origin::start(|seen| {
        let field = |name| seen.field(name).unwrap_or_default();
        let body = ["accept", "accept-encoding", "accept-language", "x-list"].map(field).join("|");
        Reply::ok(body).control("max-age=3600").field("vary", "accept, accept-encoding, accept-language, x-list")
    });
    let node = node(&origin, "");
    let ask = |accept: &str, encoding: &str, language: &str, list: &str| {
        let ask = Ask::get("/a").field("accept", accept).field("accept-encoding", encoding);
        ask.field("accept-language", language).field("x-list", list)
    };
    let same = [
        ask("Text/HTML, */*;q=0.50", "br;q=0.8, gzip", "de-DE, en;q=0.8", "a, b"),
        ask("text/html,*/*; q=0.5", "GZIP,br;q=0.1", "en;q=0.80,de-de", "a").field("x-list", "b"),
    ];
    share(&node, &same, "text/html,*/*;q=0.5|gzip,br;q=0.9|de-de,en;q=0.8|a, b");
    let other = ask("*/*;q=0.5, text/html", "br, gzip;q=0.8", "en, de-DE;q=0.8", "b,a");
    share(&node, &[other], "*/*;q=0.5,text/html|br,gzip;q=0.9|en,de-de;q=0.8|b,a");
}

#[test]
fn what_frameworks_believe_does_not_reach_them() {
    let origin = origin();
    let node = node(&origin, "");
    let believed =
        ["x-forwarded-host", "x-original-url", "x-rewrite-url", "x-http-method-override", "proxy", "true-client-ip"];
    let ask = believed.into_iter().fold(Ask::get("/a"), |ask, name| ask.field(name, "evil"));
    node.ask(&ask.field("surrogate-capability", "evil=\"Surrogate/1.0\""));
    let seen = origin.last("/a");
    assert!(believed.iter().all(|name| !seen.fields.contains_key(*name)), "{:?}", seen.fields);
    assert_eq!(seen.field("surrogate-capability").unwrap(), "nearcast-fra=\"Surrogate/1.0\"");
}
