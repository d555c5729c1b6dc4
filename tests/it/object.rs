//! What is stored of a URL, and what runs for it, as operators see it.

use std::fs;

use serde_json::{Value, json};

use crate::harness::client::{Ask, Plain};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup, TOKEN};
use crate::harness::origin::{Origin, Reply, Seen};
use crate::harness::process::Process;
use crate::harness::{eventually, noise};

const CHUNK: usize = 256 << 10;

/// What `GET /v1/object` says of a URL.
pub(crate) fn object(node: &Node, url: &str, more: &str) -> Value {
    let url = url.replace(':', "%3A").replace('/', "%2F");
    let answer = node.admin("GET", &format!("/v1/object?url={url}{more}"), "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// A film of four chunks, of which ranges can be had.
fn film(seen: &Seen, body: &[u8]) -> Reply {
    let reply =
        |status| Reply::new(status).control("max-age=60").field("etag", "\"f\"").field("content-type", "video/mp4");
    let Some((first, last)) = seen.field("range").as_deref().and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().unwrap_or(body.len() - 1)))
    }) else {
        return reply(200).body(body);
    };
    let part = reply(206).field("content-range", &format!("bytes {first}-{last}/{}", body.len()));
    part.body(&body[first..=last])
}

#[test]
fn one_answer() {
    let origin = Origin::start(|_| {
        Reply::ok("hello")
            .control("public, max-age=60")
            .field("etag", "\"a\"")
            .field("content-type", "text/css")
            .field("surrogate-key", "x y")
    });
    let mut setup = Setup::new(&origin);
    setup.sites[0].push_str(
        "\n[[site.rule]]\nname = \"styles\"\ncontent-type = \"text/css\"\nttl = \"1h\"\n\
         [[site.rule]]\nname = \"pages\"\ncontent-type = \"text/html\"\nttl = \"1m\"\n\
         [[site.rule]]\nname = \"me\"\npath = \"/me*\"\nbypass = true",
    );
    let node = setup.start();
    let cold = object(&node, "http://www.cdn.test/a", "");
    assert_eq!((&cold["site"], &cold["key"]), (&json!("www.cdn.test"), &json!("http://www.cdn.test/a")));
    assert_eq!(cold["rules"], json!(["styles", "pages"]));
    assert_eq!(cold["schemes"][0], json!({ "scheme": "http", "selected_by": [], "answers": [] }));
    (0..3).for_each(|_| drop(node.get("/a")));
    let warm = object(&node, "http://www.cdn.test/a", "");
    let kept = &warm["schemes"][0]["answers"][0];
    assert_eq!((&kept["selected"], &kept["tiers"]), (&json!(true), &json!({ "memory": true, "disk": false })));
    let answer = &kept["answer"];
    assert_eq!(answer["hits"], 2, "the first was no hit, and looking is none");
    assert_eq!((&answer["status"], &answer["length"], &answer["etag"]), (&json!(200), &json!(5), &json!("\"a\"")));
    assert_eq!((&answer["lifetime"], &answer["lifetime_by"]), (&json!(60), &json!("max-age")));
    assert!(answer["fresh_for"].as_i64().is_some_and(|left| (50..=60).contains(&left)), "{answer}");
    assert_eq!((&answer["rules"], &answer["content_type"]), (&json!(["styles"]), &json!("text/css")));
    assert_eq!((&answer["purged"], &answer["body"]["inline"]), (&json!(false), &json!(true)));
    assert_eq!(warm["schemes"][1], json!({ "scheme": "https", "selected_by": [], "answers": [] }));
    assert_eq!(object(&node, "https://www.cdn.test/a", "")["schemes"][1]["answers"][0]["selected"], false);

    let purged = |order: Value| {
        node.purge(&order.to_string());
        let answer = object(&node, "http://www.cdn.test/a", "")["schemes"][0]["answers"][0]["answer"].clone();
        (
            answer["purged"].clone(),
            answer["softly_purged"].is_u64(),
            answer["fresh_for"].as_i64().is_some_and(|left| left <= 0),
        )
    };
    assert_eq!(answer["tags"], 2);
    assert_eq!(purged(json!({ "tag": "y", "soft": true })), (json!(false), true, true));
    assert_eq!(purged(json!({ "url": "http://www.cdn.test/a" })), (json!(true), false, true));
    assert_eq!(object(&node, "http://www.cdn.test/me", "")["bypassed_by"], "me");
}

#[test]
fn looking_changes_nothing() {
    let origin = Origin::start(|_| Reply::ok("hello").control("max-age=60"));
    let node = Setup::new(&origin).disk().start();
    let tiers = || object(&node, "http://www.cdn.test/a", "")["schemes"][0]["answers"][0]["tiers"].clone();
    node.get("/a");
    for _ in 0..3 {
        node.admin("GET", "/v1/explain?url=http%3A%2F%2Fwww.cdn.test%2Fa", "");
        assert_eq!(tiers(), json!({ "memory": true, "disk": false }), "seen once, which is not worth a write");
    }
    assert!(node.get("/a").is_hit());
    eventually("the write of what was seen twice", || tiers() == json!({ "memory": true, "disk": true }));
}

#[test]
fn variants_in_both_schemes() {
    let origin = Origin::start(|seen| {
        let language = seen.field("accept-language").unwrap_or_default();
        let reply = Reply::ok(language.clone()).control("max-age=60").field("vary", "accept-language");
        reply.field("content-language", &language).field("etag", &format!("\"{language}\""))
    });
    let mut setup = Setup::new(&origin);
    setup.sites[0].push_str("\ntrusted-proxies = [\"127.0.0.1\"]");
    let node = setup.start();
    for (language, proto) in [("de", "http"), ("fr", "http"), ("de", "https")] {
        node.ask(&Ask::get("/a").field("accept-language", language).field("x-forwarded-proto", proto));
    }
    let asked = object(&node, "http://www.cdn.test/a", "&field=accept-language%3A%20fr");
    let in_short = |scheme: &Value| -> Vec<(Value, Value)> {
        let answers = scheme["answers"].as_array().unwrap().iter();
        answers.map(|kept| (kept["answer"]["content_language"].clone(), kept["selected"].clone())).collect()
    };
    let [http, https] = [0, 1].map(|at| &asked["schemes"][at]);
    assert_eq!(http["selected_by"], json!(["accept-language: fr"]));
    assert_eq!(in_short(http), [(json!("de"), json!(false)), (json!("fr"), json!(true))]);
    assert_eq!((&https["scheme"], in_short(https)), (&json!("https"), vec![(json!("de"), json!(false))]));
    assert_eq!(http["answers"][0]["listed_etag"], "\"de\"");
}

#[test]
fn parts_of_a_large_body() {
    let body = noise(4 * CHUNK, 1);
    let origin = Origin::start(move |seen| film(seen, &body));
    let setup = Setup::new(&origin).disk();
    let node = setup.start();
    let chunks = |node: &Node| {
        let answer = object(node, "http://www.cdn.test/film", "")["schemes"][0]["answers"][0]["answer"].clone();
        (answer["body"].clone(), answer["complete"].clone())
    };
    node.ask(&Ask::get("/film").field("range", &format!("bytes={}-{}", CHUNK + 5, CHUNK + 9)));
    let (part, complete) = chunks(&node);
    assert_eq!(
        (&part["chunks"], &part["here"], &part["memory"], &complete),
        (&json!(4), &json!(1), &json!(1), &json!(false))
    );
    assert_eq!((&part["spans"][0]["first"], &part["spans"][0]["end"]), (&json!(CHUNK), &json!(2 * CHUNK)));
    assert_eq!((&part["inline"], &part["spans"][0]["on_grid"]), (&json!(false), &json!(true)));
    node.get("/film");
    node.settle();
    let (whole, complete) = chunks(&node);
    assert_eq!((&whole["here"], &complete), (&json!(4), &json!(true)));
    node.stop();
    // Found again on disk, which may take a moment; the chunks themselves are not read.
    let node = setup.start();
    eventually("what is on disk", || chunks(&node).0["disk"] == 4);
    assert_eq!(chunks(&node).0["memory"], 0);
}

#[test]
fn fetches_that_run() {
    let (header, rest) = (Gate::default(), Gate::default());
    let held = (header.clone(), rest.clone());
    let origin = Origin::start(move |_| {
        Reply::ok(vec![1; CHUNK]).wait(&held.1).body(vec![2; CHUNK]).control("max-age=60").hold(&held.0)
    });
    let node = Setup::new(&origin).start();
    let ask = || {
        let mut client = Plain::connect(node.http());
        client.write(b"GET /film HTTP/1.1\r\nhost: www.cdn.test\r\n\r\n");
        client
    };
    let fills = || object(&node, "https://www.cdn.test/film", "")["fills"].clone();
    let mut clients = [ask(), ask()];
    eventually("two who wait", || fills()[0]["readers"] == 2);
    let asking = fills()[0].clone();
    assert_eq!(
        (&asking["scheme"], &asking["kind"], &asking["stage"]),
        (&json!("http"), &json!("whole"), &json!("asking"))
    );
    header.open();
    eventually("half of the body", || fills()[0]["received"] == CHUNK);
    let streaming = fills()[0].clone();
    assert_eq!((&streaming["stage"], &streaming["expected"]), (&json!("streaming"), &json!(2 * CHUNK)));
    assert_eq!(streaming["tick"], asking["tick"]);
    rest.open();
    clients.iter_mut().for_each(|client| drop(client.answer("GET")));
    node.settle();
    assert_eq!(fills(), json!([]));
    let ended = "nearcast_fills_total{site=\"www.cdn.test\",result=\"complete\"} ";
    assert_eq!(node.metric(ended), Some(1.0));
}

#[test]
fn how_fetches_end_is_counted() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/same" if seen.field("if-none-match").is_some() => Reply::new(304).field("etag", "\"a\""),
        "/same" => Reply::ok("x").control("max-age=0").field("etag", "\"a\""),
        "/private" => Reply::ok("x").control("private"),
        "/broken" => Reply::ok("x").control("max-age=60").announce(9).cut(),
        _ => Reply::hang_up(),
    });
    let node = Setup::new(&origin).start();
    for target in ["/same", "/same", "/private", "/none"] {
        node.get(target);
    }
    assert!(
        Ask::get("/broken").over(node.http(), http::Version::HTTP_11, None).is_ok_and(|answer| answer.body == b"x")
    );
    let ended =
        |result: &str| node.metric(&format!("nearcast_fills_total{{site=\"www.cdn.test\",result=\"{result}\"}} "));
    for (result, count) in
        [("complete", 1.0), ("confirmed", 1.0), ("uncacheable", 1.0), ("failed", 1.0), ("broken", 1.0)]
    {
        eventually(result, || ended(result) == Some(count));
    }
    assert_eq!((ended("given-up"), ended("refused"), ended("stand-in")), (Some(0.0), Some(0.0), Some(0.0)));
    assert_eq!(node.metric("nearcast_pinned_bytes "), Some(0.0));
}

#[test]
fn what_cannot_be_asked() {
    let node = Setup::new(&Origin::start(|_| Reply::ok("x"))).start();
    let rows = [
        ("GET", "", 400),
        ("GET", "?url=www.cdn.test", 400),
        ("GET", "?url=ftp%3A%2F%2Fwww.cdn.test%2F", 400),
        ("GET", "?url=http%3A%2F%2Fwww.cdn.test%2F&field=x", 400),
        ("GET", "?url=http%3A%2F%2Fwww.cdn.test%2F&name=www.cdn.test", 400),
        ("GET", "?url=http%3A%2F%2Fother.test%2F", 404),
        ("POST", "?url=http%3A%2F%2Fwww.cdn.test%2F", 405),
    ];
    for (method, query, status) in rows {
        let answer = node.admin(method, &format!("/v1/object{query}"), "");
        assert_eq!(answer.status, status, "{method} {query}: {}", answer.text());
    }
}

#[test]
fn the_command() {
    let origin = Origin::start(|_| Reply::ok("hello").control("max-age=60").field("etag", "\"a\""));
    let setup = Setup::new(&origin);
    let node = setup.start();
    (0..2).for_each(|_| drop(node.get("/a")));
    fs::write(setup.folder().join("token"), TOKEN).unwrap();
    let admin = format!("http://{}", node.control().addresses.admin);
    let run = |words: &[&str]| {
        let nodes = ["--admin", &admin, "--token-file", "token"];
        Process::command(&[&["object"], words, &nodes].concat(), setup.folder())
    };
    let shown = run(&["http://www.cdn.test/a"]);
    assert_eq!(shown.exit_code(), Some(0));
    let text = shown.log();
    for part in [
        "http://www.cdn.test/a, ",
        "1 answer",
        "status 200, 5 B; fresh for ",
        "<- this request's",
        "hits while in memory: 1",
        "etag \"a\"",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let json = run(&["http://www.cdn.test/a", "--json"]);
    assert_eq!(json.exit_code(), Some(0));
    assert_eq!(serde_json::from_str::<Value>(&json.log()).unwrap()["site"], "www.cdn.test");
    let unknown = run(&["http://other.test/"]);
    assert_eq!(unknown.exit_code(), Some(1));
    unknown.wait_for("no site takes the host `other.test`");
    for bad in [&["/a"][..], &["http://www.cdn.test/", "-H", "x"], &[]] {
        assert_eq!(run(bad).exit_code(), Some(2), "{bad:?}");
    }
    let help = run(&["--help"]);
    assert_eq!(help.exit_code(), Some(0));
    help.wait_for("Each PoP has a cache of its own");
}
