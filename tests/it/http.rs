//! What may come in, what goes on to the origin, and what comes back.

use http::{Response, Version};
use http_body_util::Full;

use crate::harness::client::{Answer, Ask, Plain};
use crate::harness::h2;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};
use crate::harness::tls::Authority;
use crate::harness::wire::End;

fn hello() -> Origin {
    Origin::start(|_| Reply::ok("hello").control("max-age=60"))
}

/// Sends `request` as it is; the answer, and the connection.
fn raw(node: &Node, request: &str) -> (Option<Answer>, Plain) {
    let mut client = Plain::connect(node.http());
    client.write(request.as_bytes());
    (client.answer("GET"), client)
}

fn status(node: &Node, request: &str) -> Option<u16> {
    raw(node, request).0.map(|answer| answer.status)
}

#[test]
fn both_versions_on_one_plain_port() {
    let origin = hello();
    let node = Setup::new(&origin).start();
    let answers = [node.ask(&Ask::get("/a")), node.ask_h2(&Ask::get("/a"))];
    assert!(answers.iter().all(|answer| answer.text() == "hello" && answer.end == End::Clean));
    assert!(answers[1].is_hit());
    assert_eq!(origin.seen()[0].field("via").as_deref(), Some("1.1 nearcast-fra"));
    node.ask_h2(&Ask::get("/b"));
    assert_eq!(origin.last("/b").field("via").as_deref(), Some("2.0 nearcast-fra"));
    let old = status(&node, "GET /a HTTP/1.0\r\nhost: www.cdn.test\r\n\r\n");
    assert_eq!(old, Some(200));
}

#[test]
fn hosts_that_are_not_served() {
    let origin = hello();
    let node = Setup::new(&origin).start();
    let port = node.http().port();
    let right = format!("www.cdn.test:{port}");
    let rows = [
        ("a site's", "www.cdn.test", 200),
        ("its other domain", "static.other.test", 200),
        ("this listener's port", right.as_str(), 200),
        ("the scheme's port", "www.cdn.test:80", 200),
        ("another port", "www.cdn.test:1", 421),
        ("the other scheme's port", "www.cdn.test:443", 421),
        ("a name within a site's", "a.www.cdn.test", 421),
        ("the zone's steered name", "edge.cdn.test", 421),
        ("an address", "127.0.0.1", 421),
        ("nothing", "", 400),
        ("with userinfo", "a@www.cdn.test", 400),
    ];
    for (name, host, status) in rows {
        let answer = node.ask(&Ask::get("/a").host(host));
        assert_eq!(answer.status, status, "{name}");
        if status == 421 {
            assert_eq!(node.ask_h2(&Ask::get("/a").host(host)).status, 421, "{name} over h2");
        }
    }
    let refused = "nearcast_http_requests_total{site=\"\",outcome=\"refused\"}";
    assert_eq!(node.metric(refused), Some(12.0));
}

#[test]
fn requests_that_contradict_themselves() {
    let origin = hello();
    let node = Setup::new(&origin).start();
    let rows = [
        ("two Hosts", "GET /a HTTP/1.1\r\nhost: www.cdn.test\r\nhost: www.cdn.test\r\n\r\n", 400),
        ("no Host", "GET /a HTTP/1.1\r\n\r\n", 400),
        ("target against Host", "GET http://static.other.test/a HTTP/1.1\r\nhost: www.cdn.test\r\n\r\n", 400),
        ("target as Host", "GET http://www.cdn.test/a HTTP/1.1\r\nhost: www.cdn.test\r\n\r\n", 200),
        ("CONNECT", "CONNECT www.cdn.test:80 HTTP/1.1\r\nhost: www.cdn.test:80\r\n\r\n", 405),
        ("TRACE", "TRACE /a HTTP/1.1\r\nhost: www.cdn.test\r\n\r\n", 405),
        ("asterisk", "OPTIONS * HTTP/1.1\r\nhost: www.cdn.test\r\n\r\n", 400),
    ];
    for (name, request, wanted) in rows {
        assert_eq!(status(&node, request), Some(wanted), "{name}");
    }
    assert_eq!(node.ask_h2(&Ask::get("/a").field("host", "static.other.test")).status, 400, "authority against Host");
}

#[test]
fn what_is_not_http_gets_400_and_the_connection_closed() {
    let origin = hello();
    let node = Setup::new(&origin).start();
    let rows = [
        ("no request line", "hello\r\n\r\n"),
        ("space before the colon", "GET /a HTTP/1.1\r\nhost : www.cdn.test\r\n\r\n"),
        ("no colon", "GET /a HTTP/1.1\r\nhost: www.cdn.test\r\nx\r\n\r\n"),
        ("folded line", "GET /a HTTP/1.1\r\nhost: www.cdn.test\r\nx: 1\r\n 2\r\n\r\n"),
        ("NUL in a value", "GET /a HTTP/1.1\r\nhost: www.cdn.test\r\nx: \0\r\n\r\n"),
        ("bare CR in a value", "GET /a HTTP/1.1\r\nhost: www.cdn.test\r\nx: a\rb\r\n\r\n"),
        ("space in the target", "GET /a b HTTP/1.1\r\nhost: www.cdn.test\r\n\r\n"),
        ("two lengths", "POST /a HTTP/1.1\r\nhost: www.cdn.test\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"),
        ("a negative length", "POST /a HTTP/1.1\r\nhost: www.cdn.test\r\ncontent-length: -1\r\n\r\n"),
        ("a signed length", "POST /a HTTP/1.1\r\nhost: www.cdn.test\r\ncontent-length: +1\r\n\r\nx"),
        ("another coding", "POST /a HTTP/1.1\r\nhost: www.cdn.test\r\ntransfer-encoding: gzip\r\n\r\n"),
        ("chunked, but not last", "POST /a HTTP/1.1\r\nhost: www.cdn.test\r\ntransfer-encoding: chunked, gzip\r\n\r\n"),
        ("chunked in 1.0", "POST /a HTTP/1.0\r\nhost: www.cdn.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("another version", "GET /a HTTP/3.0\r\nhost: www.cdn.test\r\n\r\n"),
    ];
    for (name, request) in rows {
        let (answer, mut client) = raw(&node, request);
        assert_eq!(answer.map(|answer| answer.status), Some(400), "{name}");
        assert!(client.is_closed(), "{name}");
    }
    assert_eq!(origin.seen().len(), 0);
    assert_eq!(node.get("/a").status, 200, "the node goes on");
}

#[test]
fn one_request_is_never_taken_for_two() {
    let origin = Origin::start(|_| Reply::ok("x").control("no-store"));
    let node = Setup::new(&origin).start();
    let hidden = "GET /smuggled HTTP/1.1\r\nhost: www.cdn.test\r\n\r\n";
    let both = format!(
        "POST /both HTTP/1.1\r\nhost: www.cdn.test\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        5 + hidden.len()
    );
    let (answer, mut client) = raw(&node, &both);
    let status = answer.map(|answer| answer.status);
    assert!(matches!(status, Some(200 | 400)), "{status:?}");
    assert!(client.is_closed());
    for seen in origin.seen() {
        let framings = ["content-length", "transfer-encoding"].map(|name| seen.field(name).is_some());
        assert_ne!(framings, [true; 2], "never both to the origin");
    }
    assert_eq!(origin.count("/smuggled"), 0);

    let get = format!("GET /get HTTP/1.1\r\nhost: www.cdn.test\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len());
    assert_eq!(raw(&node, &get).0.unwrap().status, 200);
    let seen = origin.last("/get");
    assert_eq!((seen.field("content-length"), seen.field("transfer-encoding"), seen.body.len()), (None, None, 0));
    assert_eq!(node.ask_h2(&Ask::get("/get2").body("body")).status, 200);
    assert_eq!(origin.last("/get2").body.len(), 0, "a body of a GET is not forwarded");
    assert_eq!(origin.count("/smuggled"), 0);
}

#[test]
fn requests_in_a_row_on_one_connection() {
    let origin = Origin::start(|seen| Reply::ok(seen.target.clone()).control("max-age=60"));
    let node = Setup::new(&origin).start();
    let mut client = Plain::connect(node.http());
    for target in ["/a", "/b", "/a"] {
        client.write(format!("GET {target} HTTP/1.1\r\nhost: www.cdn.test\r\n\r\n").as_bytes());
    }
    let texts: Vec<_> = (0..3).map(|_| client.answer("GET").unwrap().text()).collect();
    assert_eq!(texts, ["/a", "/b", "/a"]);
}

#[test]
fn fields_of_one_hop_end_here() {
    let origin = Origin::start(|_| {
        Reply::ok("x")
            .field("connection", "x-named, keep-alive")
            .field("keep-alive", "timeout=5")
            .field("x-named", "1")
            .field("proxy-authenticate", "Basic")
            .field("upgrade", "h2c")
            .field("x-kept", "1")
            .control("max-age=60")
    });
    let node = Setup::new(&origin).start();
    let ask = Ask::get("/a")
        .field("connection", "x-named, cache-control")
        .field("x-named", "1")
        .field("cache-control", "x=1")
        .field("te", "trailers")
        .field("upgrade", "websocket")
        .field("keep-alive", "5")
        .field("proxy-connection", "keep-alive")
        .field("proxy-authorization", "Basic x")
        .field("x-kept", "1");
    let answers = [node.ask(&ask), node.get("/a")];
    let seen = origin.last("/a");
    let gone = ["x-named", "te", "upgrade", "keep-alive", "proxy-connection", "proxy-authorization"];
    assert!(gone.iter().all(|name| seen.field(name).is_none()), "{:?}", seen.fields);
    assert_eq!((seen.field("x-kept").as_deref(), seen.field("cache-control").as_deref()), (Some("1"), Some("x=1")));
    for answer in answers {
        let gone = ["x-named", "keep-alive", "proxy-authenticate", "upgrade", "connection", "transfer-encoding"];
        assert!(gone.iter().all(|name| answer.field(name).is_none()), "{:?}", answer.fields);
        assert_eq!(answer.field("x-kept").as_deref(), Some("1"));
    }
}

#[test]
fn the_origin_learns_who_asked_and_is_not_lied_to() {
    let origin = Origin::start(|_| Reply::ok("x").control("no-store"));
    let lies = |target: &str| {
        Ask::get(target)
            .field("x-forwarded-for", "203.0.113.9")
            .field("x-forwarded-proto", "https")
            .field("forwarded", "for=203.0.113.9")
            .field("x-real-ip", "203.0.113.9")
            .field("x-forwarded-host", "evil.test")
            .field("x-original-url", "/admin")
            .field("x-rewrite-url", "/admin")
            .field("x-http-method-override", "DELETE")
    };
    let never = ["x-forwarded-host", "x-original-url", "x-rewrite-url", "x-http-method-override"];

    let mut setup = Setup::new(&origin);
    setup.start().ask(&lies("/stranger"));
    let seen = origin.last("/stranger");
    assert_eq!(seen.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(seen.field("host").unwrap(), origin.address.to_string(), "the origin's own name by default");
    for name in never.iter().chain(&["forwarded", "x-real-ip"]) {
        assert_eq!(seen.field(name), None, "{name}");
    }

    setup.sites[0].push_str("\ntrusted-proxies = [\"127.0.0.0/8\"]\norigin-host = \"client\"");
    setup.start().ask(&lies("/proxy"));
    let seen = origin.last("/proxy");
    assert_eq!(seen.field("x-forwarded-for").as_deref(), Some("203.0.113.9, 127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(seen.field("host").as_deref(), Some("www.cdn.test"));
    for name in never {
        assert_eq!(seen.field(name), None, "{name}, not even from a trusted proxy");
    }
}

#[test]
fn a_request_that_comes_back_is_a_loop() {
    let origin = Origin::start(|_| Reply::ok("x").control("no-store"));
    let node = Setup::new(&origin).start();
    node.ask(&Ask::get("/a").field("cdn-loop", "other-cdn; v=1"));
    let id = origin.last("/a").field("cdn-loop").unwrap();
    let own = id.strip_prefix("other-cdn; v=1, ").unwrap();
    assert_eq!(own, format!("nearcast-{}", node.control().node_id));
    for ask in [Ask::get("/a"), Ask::new("POST", "/a").body("x")] {
        assert_eq!(node.ask(&ask.field("cdn-loop", &id)).status, 508);
    }
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn headers_over_the_limit_are_refused() {
    let origin = hello();
    let node = Setup::new(&origin).set("limits.header-size", "\"16 KiB\"").start();
    let ask = |bytes: usize| Ask::get("/a").field("x-long", &"x".repeat(bytes));
    assert_eq!(node.ask(&ask(15_000)).status, 200);
    assert_eq!(node.ask_h2(&ask(15_000)).status, 200);
    let asked = origin.seen().len();
    let mut client = Plain::connect(node.http());
    client.write(format!("GET /b HTTP/1.1\r\nhost: www.cdn.test\r\nx-long: {}\r\n\r\n", "x".repeat(40_000)).as_bytes());
    assert_eq!(client.answer("GET").map(|answer| answer.status), Some(431));
    assert!(client.is_closed());
    let over_h2 = Ask::get("/b").field("x-long", &"x".repeat(40_000)).over(node.http(), Version::HTTP_2, None);
    assert!(over_h2.map_or(true, |answer| answer.status == 431));
    assert_eq!(origin.seen().len(), asked);
}

#[test]
fn an_origins_header_over_the_limit_is_502() {
    let origin = Origin::start(|_| Reply::ok("x").field("x-long", &"x".repeat(40_000)));
    let node = Setup::new(&origin).set("origin.header-size", "\"16 KiB\"").start();
    assert_eq!(node.get("/a").status, 502);
}

/// `ask` with so many fields beside Host.
fn with_fields(mut ask: Ask, count: usize) -> Ask {
    for number in 0..count {
        ask = ask.field(&format!("x-{number}"), "1");
    }
    ask
}

#[test]
fn fields_beyond_the_limit_are_refused() {
    let origin = hello();
    let node = Setup::new(&origin).set("limits.header-count", "16").start();
    assert_eq!(node.ask(&with_fields(Ask::get("/a"), 15)).status, 200, "Host is one of the 16");
    assert_eq!(node.ask_h2(&with_fields(Ask::get("/a"), 16)).status, 200, ":authority is none of them");
    let mut client = Plain::connect(node.http());
    assert_eq!(client.ask(&with_fields(Ask::get("/b"), 16)).status, 431);
    assert!(client.is_closed());
    let answer = node.ask_h2(&with_fields(Ask::get("/b"), 17));
    assert_eq!((answer.status, answer.field("cache-control").as_deref()), (431, Some("no-store")));
    assert_eq!(origin.count("/b"), 0);
    assert_eq!(node.metric("nearcast_http_requests_total{site=\"\",outcome=\"refused\"}"), Some(1.0));

    let crumbs = |count: usize| (0..count).fold(Ask::get("/c"), |ask, n| ask.field("cookie", &format!("c{n}=1")));
    assert_eq!(node.ask_h2(&crumbs(40)).status, 200, "HTTP/2 may send a Cookie in many pieces");
    assert_eq!(node.ask_h2(&with_fields(crumbs(40), 16)).status, 431);
}

#[test]
fn the_default_limit_of_fields_is_100() {
    let origin = hello();
    let node = Setup::new(&origin).start();
    for (count, status) in [(99, 200), (100, 431)] {
        assert_eq!(node.ask(&with_fields(Ask::get("/a"), count)).status, status, "{count} fields and Host");
    }
}

#[test]
fn an_origins_fields_beyond_the_limit_are_502() {
    const LIMIT: usize = 16;
    // Beside them: Content-Length over HTTP/1.1; Content-Length and Date over HTTP/2.
    let count =
        |target: &str| LIMIT - if target.starts_with("/h1") { 1 } else { 2 } + usize::from(target.ends_with("more"));
    let names = move |target: &str| (0..count(target)).map(|number| format!("x-{number}"));
    let h1 = Origin::start(move |seen| names(&seen.target).fold(Reply::ok("x"), |reply, name| reply.field(&name, "1")));
    let authority = Authority::new();
    let h2 = h2::origin(&authority.server("127.0.0.1"), move |request| {
        assert_eq!(request.version(), Version::HTTP_2);
        let builder = names(request.uri().path()).fold(Response::builder(), |builder, name| builder.header(name, "1"));
        builder.body(Full::from("x")).unwrap()
    });
    let mut setup = Setup::new(&h1).set("origin.header-count", &LIMIT.to_string()).set("origin.ca", "\"ca.pem\"");
    std::fs::write(setup.folder().join("ca.pem"), authority.pem()).unwrap();
    setup.sites.push(format!("domains = [\"h2.test\"]\norigin = \"https://{h2}\""));
    let node = setup.start();
    for (host, just, more) in [("www.cdn.test", "/h1", "/h1-more"), ("h2.test", "/h2", "/h2-more")] {
        assert_eq!(node.ask(&Ask::get(just).host(host)).status, 200, "{just}");
        assert_eq!(node.ask(&Ask::get(more).host(host)).status, 502, "{more}");
    }
}

#[test]
fn slow_clients_are_cut_off() {
    let origin = hello();
    let setup = Setup::new(&origin).set("limits.header-timeout", "\"200ms\"").set("limits.idle-timeout", "\"200ms\"");
    let node = setup.start();
    let connect = || Plain::connect(node.http());
    let (mut silent, mut slow, mut idle, mut idle_after_a_hit) = (connect(), connect(), connect(), connect());
    slow.write(b"GET /a HTTP/1.1\r\nhost: www.cdn.test\r\n");
    assert!(!idle.ask(&Ask::get("/a")).is_hit());
    assert!(idle_after_a_hit.ask(&Ask::get("/a")).is_hit());
    for (name, client) in [
        ("silent", &mut silent),
        ("in the middle of a header", &mut slow),
        ("idle after a miss", &mut idle),
        ("idle after a hit", &mut idle_after_a_hit),
    ] {
        assert!(client.is_closed(), "{name}");
    }
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn a_site_for_every_host() {
    let origin = hello();
    let mut setup = Setup::new(&origin);
    setup.sites.push(format!("domains = [\"*\"]\norigin = \"{}\"", origin.url()));
    let node = setup.start();
    for host in ["anything.test", "127.0.0.1", "[::1]"] {
        assert_eq!(node.ask(&Ask::get("/a").host(host)).status, 200, "{host}");
        assert!(node.ask(&Ask::get("/a").host(host)).is_hit(), "{host}");
        for port in [1, 443, 8000] {
            let host = format!("{host}:{port}");
            assert!(node.ask(&Ask::get("/a").host(&host)).is_hit(), "{host}: the port is not part of the host");
            assert!(node.ask_h2(&Ask::get("/a").host(&host)).is_hit(), "{host} over h2");
        }
    }
    assert_eq!(origin.count("/a"), 3, "each host is its own");
    let own_port = origin.address.to_string();
    assert!(origin.seen().iter().all(|seen| seen.field("host").as_ref() == Some(&own_port)));
    assert_eq!(node.ask(&Ask::get("/a").host("www.cdn.test:1")).status, 421, "of another site");
}

#[test]
fn a_foreign_test_suite_needs_no_setting_but_the_site() {
    let origin = hello();
    let mut setup = Setup::empty();
    setup.sites.push(format!("domains = [\"*\"]\norigin = \"{}\"", origin.url()));
    let node = setup.start();
    for host in ["localhost", "localhost:8000", "127.0.0.1:9999", "[::1]:1", "www.web-platform.test:8001"] {
        assert_eq!(node.ask(&Ask::get("/a?b=c").host(host)).text(), "hello", "{host}");
    }
}

#[test]
fn health_is_answered_before_host_routing() {
    let origin = hello();
    let node = Setup::new(&origin).start();
    let health = Ask::get("/.nearcast/health").host("whatever.test");
    for answer in [node.ask(&health), node.ask_h2(&health)] {
        assert_eq!((answer.status, answer.text().as_str()), (200, "up\n"));
        assert_eq!(answer.field("cache-control").as_deref(), Some("no-store"));
    }
    for state in ["drain", "down"] {
        assert_eq!(node.admin("POST", &format!("/v1/pops/fra/{state}"), "").status, 200);
        let answer = node.ask(&health);
        assert_eq!((answer.status, answer.text().as_str()), (503, "down\n"), "{state}");
    }
    node.admin("POST", "/v1/pops/fra/auto", "");
    assert_eq!(node.ask(&health).status, 200);
    assert_eq!(origin.seen().len(), 0);
}

#[test]
fn interim_answers_are_not_the_answer() {
    let origin = Origin::start(|_| {
        Reply::talk(|talk| {
            talk.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
            talk.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncache-control: max-age=60\r\n\r\nhello");
        })
    });
    let node = Setup::new(&origin).start();
    assert_eq!((node.get("/a").text().as_str(), node.get("/a").is_hit()), ("hello", true));
}
