//! Fetching ahead of requests: what clients ask for then is there.

use std::fs;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use http::HeaderMap;
use nearcast::prefetch::URLS_MAX;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::client::{Ask, Plain};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup, TOKEN, admin};
use crate::harness::origin::{Origin, Reply};
use crate::harness::process::Process;
use crate::harness::{eventually, noise};

const MIB: usize = 1 << 20;

fn url(target: &str) -> String {
    format!("http://www.cdn.test{target}")
}

fn lines(body: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(body.to_vec()).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn prefetch(node: &Node, order: Value) -> Vec<Value> {
    let answer = node.admin("POST", "/v1/prefetch", &order.to_string());
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/x-ndjson".to_owned())));
    lines(&answer.body)
}

#[test]
fn what_was_prefetched_hits() {
    let body = noise(8 * MIB, 1);
    let large = body.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/large" => Reply::ok(large.clone()).control("max-age=60"),
        _ => Reply::ok("hello").control("max-age=60"),
    });
    let setup = Setup::new(&origin).set("cache.memory", "\"128 MiB\"").set("log.access", "\"access.log\"");
    let node = setup.start();
    let done = prefetch(&node, json!({ "urls": [url("/a"), url("/large"), "https://static.other.test/b"] }));
    assert_eq!(done.len(), 3);
    let of = |url: &str| done.iter().find(|line| line["url"] == url).unwrap();
    assert_eq!(
        of(&url("/large")),
        &json!({ "url": url("/large"), "outcome": "miss", "status": 200, "bytes": 8 * MIB, "stored": true })
    );
    let fetches = || node.metric("nearcast_prefetched_total{outcome=\"miss\"} ");
    assert_eq!(fetches(), Some(3.0));
    assert_eq!(node.metric("nearcast_http_requests_total{site=\"www.cdn.test\",outcome=\"miss\"} "), Some(0.0));
    let again = prefetch(&node, json!({ "urls": [url("/a")] }));
    assert_eq!((&again[0]["outcome"], &again[0]["bytes"]), (&json!("hit"), &json!(5)));
    let got = node.get("/large");
    assert!(got.is_hit() && got.body == body);
    assert_eq!((origin.count("/a"), origin.count("/large"), origin.count("/b")), (1, 1, 1));
    assert!(!node.get("/b").is_hit(), "another host and scheme");
    node.stop();
    let logged = fs::read_to_string(setup.folder().join("access.log")).unwrap();
    assert_eq!(logged.lines().count(), 2, "the clients' requests alone:\n{logged}");
}

#[test]
fn what_is_not_stored_and_why() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/never" => Reply::ok("x").control("no-store"),
        "/gone" => Reply::new(404).body("no").control("max-age=60"),
        "/cut" => Reply::ok(vec![1; 1000]).control("max-age=60").announce(2000).cut(),
        "/none" => Reply::hang_up(),
        _ => Reply::ok("x").control("max-age=60"),
    });
    let mut setup = Setup::new(&origin);
    setup.sites[0].push_str("\n[[site.rule]]\nname = \"people\"\npath = \"/me*\"\nbypass = true");
    let node = setup.start();
    let one = |target: &str| {
        let line = prefetch(&node, json!({ "urls": [url(target)] })).remove(0);
        ["outcome", "status", "stored", "not_stored", "error"].map(|key| line[key].clone())
    };
    let rows = [
        ("/never", [json!("pass"), json!(200), json!(false), json!("no-store"), Value::Null]),
        ("/me", [json!("pass"), json!(200), json!(false), json!("rule `people`"), Value::Null]),
        ("/gone", [json!("miss"), json!(404), json!(true), Value::Null, Value::Null]),
        ("/cut", [json!("miss"), json!(200), json!(false), Value::Null, json!("the fetch failed")]),
        ("/none", [json!("failed"), json!(502), json!(false), Value::Null, json!("The origin does not answer.")]),
    ];
    for (target, wanted) in rows {
        assert_eq!(one(target), wanted, "{target}");
    }
}

#[test]
fn the_variant_that_the_fields_select() {
    let origin = Origin::start(|seen| {
        Reply::ok(seen.field("accept-language").unwrap_or_default())
            .control("max-age=60")
            .field("vary", "accept-language")
    });
    let mut setup = Setup::new(&origin);
    setup.sites[0].push_str("\nkey-country = true");
    let node = setup.built_in_geo().start();
    let fields = json!({ "accept-language": "de" });
    let done = prefetch(&node, json!({ "urls": [url("/a")], "fields": fields, "client": "18.9.22.69" }));
    assert_eq!((&done[0]["stored"], origin.last("/a").field("x-country").as_deref()), (&json!(true), Some("US")));
    let shown = |ip: &str, language: &str| {
        let query = format!("url=http%3A%2F%2Fwww.cdn.test%2Fa&ip={ip}&field=accept-language%3A{language}");
        serde_json::from_slice::<Value>(&node.admin("GET", &format!("/v1/explain?{query}"), "").body).unwrap()
    };
    assert_eq!(shown("18.9.22.69", "de")["stored"]["status"], 200);
    assert!(shown("18.9.22.69", "fr")["stored"].is_null() && shown("129.132.19.216", "de")["stored"].is_null());
}

#[test]
fn nothing_is_done_when_an_entry_is_wrong() {
    let origin = Origin::start(|_| Reply::ok("x").control("max-age=60"));
    let node = Setup::new(&origin).start();
    let good = url("/a");
    let rows = [
        (json!({ "urls": [good, "/b"] }), 400, "urls[1]: `/b` is not a URL"),
        (json!({ "urls": [good, "http://"] }), 400, "urls[1]: `http://` is not a URL"),
        (
            json!({ "urls": [good, good, "http://other.test/"] }),
            404,
            "urls[2]: `http://other.test/`: no site takes the host `other.test`; nothing was done",
        ),
        (json!({ "urls": vec![good.clone(); URLS_MAX + 1] }), 400, "10001 urls, more than 10000"),
        (json!({ "urls": [] }), 400, "there are no urls"),
        (json!({ "urls": [good], "fields": { "Range": "bytes=0-0" } }), 400, "range is not for a fetch of all"),
        (json!({ "urls": [good], "fields": { "a b": "c" } }), 400, "is not a field"),
        (json!({ "urls": [good], "soft": true }), 400, "unknown field `soft`"),
    ];
    for (order, status, says) in rows {
        let answer = node.admin("POST", "/v1/prefetch", &order.to_string());
        assert_eq!((answer.status, answer.text().contains(says)), (status, true), "{says}: {}", answer.text());
    }
    assert_eq!(node.admin("GET", "/v1/prefetch", "").status, 405);
    assert_eq!(Ask::new("POST", "/v1/prefetch").host("admin").send(node.control().addresses.admin).status, 401);
    assert_eq!(origin.seen().len(), 0);
}

#[test]
fn what_is_larger_than_is_stored_is_not_read_to_its_end() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin =
        Origin::start(move |_| Reply::ok(vec![1; 2 * MIB]).chunked().wait(&held).body("end").control("max-age=60"));
    let node = Setup::new(&origin).set("cache.object-max", "\"1 MiB\"").start();
    let done = prefetch(&node, json!({ "urls": [url("/stream")] }));
    assert_eq!((&done[0]["outcome"], &done[0]["not_stored"]), (&json!("miss"), &json!("too-large")));
    assert!(done[0]["bytes"].as_u64().is_some_and(|bytes| bytes < 2 * MIB as u64 + 1), "{done:?}");
    gate.open();
}

#[test]
fn only_so_many_calls_run() {
    let node = Setup::new(&Origin::start(|_| Reply::ok("x"))).start();
    let places: Vec<_> = std::iter::from_fn(|| node.control().place_for_prefetch().ok()).collect();
    let order = json!({ "urls": [url("/a")] });
    let declined = node.admin("POST", "/v1/prefetch", &order.to_string());
    assert_eq!((declined.status, declined.text().contains("too many calls run")), (503, true), "{}", declined.text());
    drop(places);
    assert_eq!(prefetch(&node, order).len(), 1);
}

#[test]
fn clients_share_the_fetch() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok(vec![1; MIB]).wait(&held).body(vec![2; MIB]).control("max-age=60"));
    let node = Setup::new(&origin).start();
    thread::scope(|scope| {
        let prefetching = scope.spawn(|| prefetch(&node, json!({ "urls": [url("/big")] })));
        origin.wait_for("/big", 1);
        let mut client = Plain::connect(node.http());
        let mut begun = client.begin(&Ask::get("/big"));
        assert_eq!(client.some(&mut begun, MIB).len(), MIB, "before the origin has finished");
        gate.open();
        assert_eq!(client.rest(begun).body.len(), MIB);
        assert_eq!(prefetching.join().unwrap()[0]["stored"], true);
    });
    assert_eq!(origin.count("/big"), 1);
}

#[test]
fn no_more_at_once_than_configured() {
    let gate = Gate::default();
    let held = gate.clone();
    let (running, most) = (Arc::new(Mutex::new((0, 0))), 3);
    let counted = running.clone();
    let origin = Origin::start(move |_| {
        let (gate, counted) = (held.clone(), counted.clone());
        Reply::talk(move |talk| {
            {
                let (now, max) = &mut *counted.lock();
                *now += 1;
                *max = (*max).max(*now);
            }
            gate.wait();
            counted.lock().0 -= 1;
            talk.write(
                b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx",
            );
        })
    });
    let node = Setup::new(&origin).set("admin.prefetch-jobs", &most.to_string()).start();
    let urls: Vec<String> = (0..20).map(|n| url(&format!("/{n}"))).collect();
    let (one, other) = urls.split_at(10);
    thread::scope(|scope| {
        let node = &node;
        let calls = [one, other].map(|urls| scope.spawn(move || prefetch(node, json!({ "urls": urls, "jobs": 1000 }))));
        eventually("as many as may run", || running.lock().0 == most);
        gate.open();
        let done: Vec<Value> = calls.into_iter().flat_map(|call| call.join().unwrap()).collect();
        assert!(done.len() == 20 && done.iter().all(|line| line["stored"] == true), "{done:?}");
    });
    assert_eq!(running.lock().1, most, "over both calls");
}

#[test]
fn nothing_begins_any_more_once_nobody_waits() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("x").control("max-age=60").hold(&held));
    let node = Setup::new(&origin).set("admin.prefetch-jobs", "1").start();
    let call = |targets: &[&str]| {
        let urls: Vec<String> = targets.iter().map(|target| url(target)).collect();
        let place = node.control().place_for_prefetch().unwrap();
        node.control().prefetch(place, &urls, HeaderMap::new(), [127, 0, 0, 1].into(), 8).unwrap()
    };
    let leaving = call(&["/0", "/1", "/2"]);
    origin.wait_for("/0", 1);
    drop(leaving);
    gate.open();
    let mut staying = call(&["/3"]);
    assert!(staying.blocking_recv().is_some_and(|line| line.stored));
    assert_eq!(["/0", "/1", "/2", "/3"].map(|target| origin.count(target)), [1, 0, 0, 1]);
    assert!(node.get("/0").is_hit(), "what had begun was finished");
}

#[test]
fn a_leaving_node_finishes_what_it_has_begun() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("x").control("max-age=60").hold(&held));
    let setup = Setup::new(&origin).set("admin.prefetch-jobs", "1");
    let node = Process::run(&setup);
    thread::scope(|scope| {
        let to = node.admin();
        let order = json!({ "urls": [url("/0"), url("/1")] }).to_string();
        let call = scope.spawn(move || admin(to, "POST", "/v1/prefetch", &order));
        origin.wait_for("/0", 1);
        node.signal("TERM");
        eventually("closed listeners", || TcpStream::connect(node.http()).is_err());
        gate.open();
        let answer = call.join().unwrap();
        let done = lines(&answer.body);
        assert!(done.len() == 1 && done[0]["url"] == url("/0") && done[0]["stored"] == true, "{done:?}");
    });
    assert_eq!((node.exit_code(), origin.count("/1")), (Some(0), 0));
}

#[test]
fn the_command() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/missing" => Reply::new(404),
        "/never" => Reply::ok("x").control("no-store"),
        _ => Reply::ok("hello").control("max-age=60"),
    });
    let setup = Setup::new(&origin);
    let node = setup.start();
    let file = |name: &str, text: &str| fs::write(setup.folder().join(name), text).unwrap();
    file("token", TOKEN);
    file("list", &format!("# two\n{}\n\n{}\n", url("/a"), url("/b")));
    file("wrong", &format!("{}\n/b\n", url("/c")));
    let admin = format!("http://{}", node.control().addresses.admin);
    let run = |words: &[&str]| {
        let nodes = ["--admin", &admin, "--token-file", "token"];
        Process::command(&[&["prefetch"], words, &nodes].concat(), setup.folder())
    };
    let good = run(&["list", &url("/never"), "-H", "accept-language: de", "--jobs", "2"]);
    assert_eq!(good.exit_code(), Some(0), "{}", good.log());
    good.wait_for("3 of 3 URLs: 2 miss, 1 pass; 10 B; 2 stored; not stored: 1 no-store");
    good.wait_for("prefetch: 3 of 3 URLs, 10 B at ");
    assert!(node.get("/a").is_hit());
    assert_eq!(origin.last("/b").field("accept-language").as_deref(), Some("de"));

    let failing = run(&["--file", "list", &url("/missing")]);
    assert_eq!(failing.exit_code(), Some(1));
    failing.wait_for(&format!("FAILED  {}: status 404", url("/missing")));
    failing.wait_for("3 of 3 URLs: 2 hit, 1 ");
    failing.wait_for("1 FAILED");
    let unknown = run(&["http://other.test/"]);
    assert_eq!(unknown.exit_code(), Some(1));
    unknown.wait_for("urls[0]: `http://other.test/`: no site takes the host `other.test`");

    let seen = origin.seen().len();
    for (words, says) in [
        (&["wrong"][..], "wrong, line 2: `/b` must have scheme and host"),
        (&["nowhere"], "nowhere: No such file"),
        (&["-"], "there is nothing to fetch"),
        (&[], "required"),
        (&["list", "--jobs", "0"], "--jobs"),
        (&["list", "-H", "x"], "must be such as"),
    ] {
        let refused = run(words);
        assert_eq!(refused.exit_code(), Some(2), "{words:?}");
        refused.wait_for(says);
    }
    assert_eq!(origin.seen().len(), seen, "nothing was fetched");
    let help = run(&["--help"]);
    assert_eq!(help.exit_code(), Some(0));
    help.wait_for("under the same key and rules");
}
