//! The admin API: who may, what it does, and what it shows.

use hickory_proto::rr::RecordType::{A, AAAA};
use serde_json::Value;

use crate::harness::client::{Ask, Plain};
use crate::harness::dns::Query;
use crate::harness::eventually;
use crate::harness::node::{Node, Setup, TOKEN};
use crate::harness::origin::{Origin, Reply};
use crate::harness::tls::Authority;

fn hello() -> Origin {
    Origin::start(|seen| match seen.target.as_str() {
        "/error" => Reply::new(500),
        _ => Reply::ok("hello").control("max-age=60"),
    })
}

fn json(node: &Node, target: &str) -> Value {
    let answer = node.admin("GET", target, "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn only_with_the_token() {
    let node = Setup::new(&hello()).start();
    let admin = node.control().addresses.admin;
    let paths = [
        ("GET", "/v1/status"),
        ("GET", "/v1/explain?name=www.cdn.test&ip=192.0.2.1"),
        ("GET", "/v1/object?url=http%3A%2F%2Fwww.cdn.test%2F"),
        ("POST", "/v1/purge"),
        ("POST", "/v1/prefetch"),
        ("POST", "/v1/reload"),
        ("POST", "/v1/pops/fra/drain"),
        ("GET", "/v1/whatever"),
    ];
    let wrong = [None, Some("Bearer wrong-horse".to_owned()), Some(format!("Basic {TOKEN}")), Some(TOKEN.to_owned())];
    for (method, path) in paths {
        for value in &wrong {
            let ask = Ask::new(method, path).host("admin");
            let ask = value.iter().fold(ask, |ask, value| ask.field("authorization", value));
            let answer = ask.send(admin);
            assert_eq!(answer.status, 401, "{method} {path} {value:?}");
            assert_eq!(answer.field("www-authenticate").as_deref(), Some("Bearer"));
        }
    }
    assert_eq!(json(&node, "/v1/status")["pops"][0]["forced"], Value::Null, "nothing was done");
}

#[test]
fn without_a_token_only_health_and_metrics() {
    let node = Setup::new(&hello()).unset("admin.token").start();
    let admin = node.control().addresses.admin;
    for (path, status) in [("/health", 200), ("/metrics", 200), ("/v1/status", 401)] {
        assert_eq!(Ask::get(path).host("admin").send(admin).status, status, "{path}");
        let with = Ask::get(path).host("admin").field("authorization", "Bearer ").send(admin);
        assert_eq!(with.status, status, "{path}");
    }
}

#[test]
fn what_does_not_exist() {
    let node = Setup::new(&hello()).start();
    let rows = [
        ("POST", "/v1/pops/xyz/drain", 404),
        ("POST", "/v1/pops/fra/sideways", 404),
        ("GET", "/v1/pops/fra/drain", 405),
        ("GET", "/v1/reload", 405),
        ("POST", "/v1/status", 405),
        ("POST", "/metrics", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/", 404),
        ("GET", "/v1/explain", 400),
        ("GET", "/v1/explain?name=www.cdn.test", 400),
        ("GET", "/v1/explain?name=www.cdn.test&ip=nowhere", 400),
        ("GET", "/v1/explain?name=www.cdn.test&ip=192.0.2.1&also=1", 400),
        ("GET", "/v1/explain?name=nobody.cdn.test&ip=192.0.2.1", 404),
        ("GET", "/v1/explain?name=www.other.test&ip=192.0.2.1", 404),
        ("GET", "/v1/explain?name=fra.cdn.test&ip=192.0.2.1", 404),
    ];
    for (method, path, status) in rows {
        let answer = node.admin(method, path, "");
        assert_eq!(answer.status, status, "{method} {path}");
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(json["error"].as_str().is_some_and(|text| text.len() > 10), "{method} {path}: {json}");
    }
}

#[test]
fn a_body_that_is_too_large_or_malformed() {
    let node = Setup::new(&hello()).start();
    let large = format!("{{\"url\": \"http://www.cdn.test/{}\"}}", "a".repeat(2 << 20));
    assert_eq!(node.admin("POST", "/v1/purge", &large).status, 400);
    let mut client = Plain::connect(node.control().addresses.admin);
    client.write(b"nonsense\r\n\r\n");
    assert_eq!(client.answer("GET").map(|answer| answer.status), Some(400));
    assert_eq!(node.admin("GET", "/health", "").status, 200);
}

#[test]
fn forced_states_outlive_a_restart() {
    let setup = Setup::new(&hello());
    let node = setup.start();
    for (pop, state) in [("fra", "drain"), ("iad", "down"), ("sin", "up")] {
        let answer = node.admin("POST", &format!("/v1/pops/{pop}/{state}"), "");
        assert_eq!((answer.status, answer.text().contains(state)), (200, true));
    }
    node.admin("POST", "/v1/pops/sin/auto", "");
    node.stop();
    let node = setup.start();
    let pops = json(&node, "/v1/status")["pops"].clone();
    let shown = |index: usize| {
        let pop = &pops[index];
        (pop["name"].as_str().unwrap().to_owned(), pop["up"] == true, pop["forced"].as_str().map(str::to_owned))
    };
    assert_eq!(shown(0), ("fra".to_owned(), false, Some("drain".to_owned())));
    assert_eq!(shown(1), ("iad".to_owned(), false, Some("down".to_owned())));
    assert_eq!(shown(2), ("sin".to_owned(), true, None));
    assert_eq!(node.admin("GET", "/health", "").status, 503);
    assert_eq!(node.get("/.nearcast/health").status, 503);
}

#[test]
fn explain_says_what_dns_does() {
    let node = Setup::new(&hello()).built_in_geo().start();
    let check = |address: &str| {
        let explained = json(&node, &format!("/v1/explain?name=WWW.cdn.test&ip={address}"));
        let network = if address.contains(':') { format!("{address}/128") } else { format!("{address}/32") };
        let mut answered = Query::from("www.cdn.test", A, &network).udp(node.dns()).data();
        answered.extend(Query::from("www.cdn.test", AAAA, &network).udp(node.dns()).data());
        assert_eq!(explained["addresses"], Value::from(answered), "{address}");
        explained
    };
    for address in ["129.132.19.216", "18.9.22.69", "2001:d98::1", "137.132.21.27", "10.0.0.1", "::1"] {
        check(address);
        node.admin("POST", "/v1/pops/iad/drain", "");
        check(address);
        node.admin("POST", "/v1/pops/iad/auto", "");
    }
    node.admin("POST", "/v1/pops/iad/drain", "");
    let boston = check("18.9.22.69");
    assert_eq!((boston["country"].as_str(), boston["pop"].as_str()), (Some("US"), Some("fra")));
    assert_eq!(boston["measured_from"], "client");
    let ranking: Vec<_> = boston["ranking"].as_array().unwrap().iter().map(|pop| pop["name"].clone()).collect();
    assert_eq!(ranking, ["iad", "fra", "sin"]);
    assert_eq!(
        (boston["ranking"][0]["up"].clone(), boston["ranking"][0]["reason"].clone()),
        (Value::from(false), Value::from("forced"))
    );
    assert!(boston["ranking"][0]["distance_km"].as_f64().is_some_and(|km| (400.0..800.0).contains(&km)));
    assert!(boston["why"].as_str().is_some_and(|why| why.contains("iad")));
    let nowhere = check("10.0.0.1");
    assert_eq!((nowhere["measured_from"].as_str(), nowhere["location"].is_null()), (Some("fra"), true));
}

#[test]
fn status_shows_the_node() {
    let node = Setup::new(&hello()).built_in_geo().start();
    node.get("/a");
    let status = json(&node, "/v1/status");
    assert_eq!(status["pop"], "fra");
    assert_eq!(status["node"], node.control().node_id);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["phase"], &status["says_up"]), (&Value::from("running"), &Value::from(true)));
    assert_eq!((&status["config"]["generation"], &status["config"]["last_error"]), (&Value::from(1), &Value::Null));
    assert_eq!(status["listeners"]["http"][0], node.http().to_string());
    assert_eq!(status["geo"][0]["path"], "built-in");
    assert_eq!(status["pops"][1]["name"], "iad");
    assert_eq!(status["pops"][1]["reason"], "never-probed");
    assert!(status["cache"]["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    assert_eq!(status["fills_running"], 0);
}

#[test]
fn metrics_after_traffic() {
    let node = Setup::new(&hello()).start();
    node.get("/a");
    (0..3).for_each(|_| drop(node.get("/a")));
    node.get("/error");
    node.ask(&Ask::new("POST", "/a").body("x"));
    node.ask(&Ask::get("/a").host("other.test"));
    Query::from("www.cdn.test", A, "10.0.0.0/24").udp(node.dns());
    Query::new("nobody.cdn.test", A).tcp(node.dns());
    let text = || node.admin("GET", "/metrics", "").text();
    let site = "site=\"www.cdn.test\"";
    let rows = [
        format!("nearcast_http_requests_total{{{site},outcome=\"miss\"}} 1"),
        format!("nearcast_http_requests_total{{{site},outcome=\"hit\"}} 3"),
        format!("nearcast_http_requests_total{{{site},outcome=\"pass\"}} 2"),
        "nearcast_http_requests_total{site=\"\",outcome=\"refused\"} 1".to_owned(),
        format!("nearcast_origin_fetches_total{{{site},result=\"answer\"}} 2"),
        format!("nearcast_origin_fetches_total{{{site},result=\"server-error\"}} 1"),
        format!("nearcast_http_sent_bytes_total{{{site}}} 25"),
        format!("nearcast_origin_received_bytes_total{{{site}}} 10"),
        format!("nearcast_http_first_byte_seconds_count{{{site}}} 6"),
        "nearcast_dns_answers_total{pop=\"fra\",cause=\"first\"} 1".to_owned(),
        "nearcast_dns_queries_total{type=\"A\",rcode=\"NXDOMAIN\",transport=\"tcp\"} 1".to_owned(),
        "nearcast_pop_up{pop=\"sin\"} 1".to_owned(),
        "nearcast_cache_memory_limit_bytes 67108864".to_owned(),
        "nearcast_fills_running 0".to_owned(),
    ];
    for row in rows {
        // Bytes are counted when an answer is over, which may be a moment after the client has it.
        eventually(&row, || text().lines().any(|line| line == row));
    }
    assert!(text().ends_with("# EOF\n"));
}

#[test]
fn off_loopback_it_takes_tls() {
    let origin = hello();
    let setup = Setup::new(&origin).set("listen.admin", "\"0.0.0.0:0\"");
    let mistakes = setup.load().unwrap_err().to_string();
    assert!(mistakes.contains("admin.tls") && mistakes.contains("not loopback"), "{mistakes}");

    let authority = Authority::new();
    authority.save(setup.folder(), "admin", &["localhost"]);
    let node = setup.set("admin.tls", "{ certificate = \"admin.pem\", key = \"admin.key\" }").start();
    let admin = ([127, 0, 0, 1], node.control().addresses.admin.port()).into();
    let ask = Ask::get("/v1/status").host("localhost").field("authorization", &format!("Bearer {TOKEN}"));
    let answer = ask.over(admin, http::Version::HTTP_11, Some(&authority.trusted())).unwrap();
    assert_eq!(answer.status, 200);
    let mut plain = Plain::connect(admin);
    plain.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(plain.answer("GET").is_none(), "plain HTTP gets nothing");
}

#[test]
fn explain_says_what_the_cache_does_with_a_url() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/own" => Reply::ok("x").control("max-age=60, stale-if-error=5").field("vary", "accept-language"),
        "/never" => Reply::ok("x").control("no-store"),
        _ => Reply::ok("x").field("content-type", "image/png"),
    });
    let mut setup = Setup::new(&origin);
    let rules = "path = \"/me*\"\nbypass = true\nname = \"people\"\n[[site.rule]]\nname = \"images\"\n\
                 content-type = \"image/*\"\nttl = \"1h\"\nbrowser-ttl = \"5m\"";
    setup.sites[0].push_str(&format!("\n[[site.rule]]\n{rules}"));
    let node = setup.start();
    let ask = |target: &str, more: &str| -> Value {
        let url = format!("http%3A%2F%2Fwww.cdn.test{}", target.replace('/', "%2F"));
        serde_json::from_slice(&node.admin("GET", &format!("/v1/explain?url={url}{more}"), "").body).unwrap()
    };
    assert_eq!(ask("/own", "")["verdict"], "the origin is asked: nothing is stored");
    for target in ["/own", "/never", "/a.png", "/me"] {
        node.ask(&Ask::get(target).field("accept-language", "de"));
    }
    let german = ask("/own", "&field=accept-language%3A%20DE");
    assert_eq!(
        (german["stored"]["lifetime_by"].as_str(), german["stored"]["lifetime"].as_u64()),
        (Some("max-age"), Some(60))
    );
    assert_eq!(german["selected_by"][0], "accept-language");
    assert_eq!(german["stored"]["directives"], serde_json::json!(["max-age=60", "stale-if-error=5"]));
    assert!(ask("/own", "")["stored"].is_null(), "another variant");
    let image = ask("/a.png", "");
    assert_eq!(
        (image["stored"]["lifetime_by"].as_str(), image["stored"]["browser_ttl"].as_u64()),
        (Some("rule `images`"), Some(300))
    );
    assert_eq!(
        (ask("/never", "")["not_stored"].as_str(), ask("/me", "")["bypassed_by"].as_str()),
        (Some("no-store"), Some("people"))
    );
    let other = node.admin("GET", "/v1/explain?url=http%3A%2F%2Fother.test%2F", "");
    assert_eq!(other.status, 404);
}
