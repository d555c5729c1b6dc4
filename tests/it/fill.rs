//! Fetching an object once, however many ask, and never passing off a part of it as the whole.

use std::net::TcpListener;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use http::Version;

use crate::harness::client::{Answer, Ask, Failed, HOST, Plain};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};
use crate::harness::process::Process;
use crate::harness::wire::End;
use crate::harness::{eventually, noise, sha256};
use crate::object::object;

const MIB: usize = 1 << 20;

fn start(origin: &Origin) -> Node {
    Setup::new(origin).start()
}

/// So many clients who ask for the same, once all of them wait for it.
fn waiting<'a>(scope: &'a Scope<'a, '_>, node: &Node, target: &str, count: usize) -> Vec<ScopedJoinHandle<'a, Answer>> {
    let ask = Ask::get(target);
    let begin = |_| {
        let mut client = Plain::connect(node.http());
        client.send(&ask);
        scope.spawn(move || client.answer("GET").unwrap())
    };
    let clients = (0..count).map(begin).collect();
    let url = format!("https://{HOST}{target}");
    eventually("all wait", || object(node, &url, "")["fills"][0]["readers"] == count);
    clients
}

#[test]
fn fifty_clients_make_one_request() {
    let body = noise(20 * MIB, 1);
    let digest = sha256(&body);
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok(body.clone()).control("max-age=60").hold(&held));
    // By default one object may take no more than a quarter of the cache.
    let node = Setup::new(&origin).set("cache.memory", "\"128 MiB\"").start();
    thread::scope(|scope| {
        let clients = waiting(scope, &node, "/big", 50);
        gate.open();
        let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        for answer in &answers {
            assert_eq!((answer.status, answer.end, sha256(&answer.body) == digest), (200, End::Clean, true));
        }
        let first = answers.iter().filter(|answer| answer.cache() == "fwd=uri-miss; stored").count();
        assert_eq!(first, 1, "one fetched, the others followed");
    });
    assert_eq!(origin.count("/big"), 1);
    assert!(node.get("/big").is_hit());
}

/// What they wait for is fetched once more for all of them, not for each.
#[test]
fn a_herd_whose_fetch_is_purged_follows_another() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("x").control("max-age=60").hold(&held));
    let node = start(&origin);
    thread::scope(|scope| {
        let clients = waiting(scope, &node, "/a", 20);
        node.purge(r#"{"url": "http://www.cdn.test/a"}"#);
        gate.open();
        assert!(clients.into_iter().all(|client| client.join().unwrap().text() == "x"));
    });
    assert_eq!(origin.count("/a"), 2);
    assert!(node.get("/a").is_hit());
}

#[test]
fn who_comes_later_reads_before_the_origin_has_finished() {
    let body = noise(8 * MIB, 2);
    let (early, late) = (body[..6 * MIB].to_vec(), body[6 * MIB..].to_vec());
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok(early.clone()).wait(&held).body(late.clone()).control("max-age=60"));
    let node = start(&origin);
    let mut clients = Vec::new();
    for wave in 0..3 {
        for _ in 0..3 {
            let mut client = Plain::connect(node.http());
            let mut begun = client.begin(&Ask::get("/big"));
            let some = client.some(&mut begun, 6 * MIB);
            assert!(some == body[..6 * MIB], "wave {wave}");
            clients.push((client, begun));
        }
    }
    // A range of what is already there needs no waiting either.
    let part = Ask::get("/big").field("range", "bytes=1000000-1000099").send(node.http());
    assert_eq!((part.status, part.body == body[1_000_000..1_000_100]), (206, true));
    assert_eq!(part.cache(), "fwd=uri-miss; fwd-status=200; stored; collapsed");
    gate.open();
    for (mut client, begun) in clients {
        let rest = client.rest(begun);
        assert_eq!((rest.end, rest.body == body[6 * MIB..]), (End::Clean, true));
    }
    assert_eq!(origin.count("/big"), 1);
}

#[test]
fn the_first_client_may_leave() {
    let body = noise(4 * MIB, 3);
    let (early, late) = (body[..MIB].to_vec(), body[MIB..].to_vec());
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok(early.clone()).wait(&held).body(late.clone()).control("max-age=60"));
    let node = start(&origin);
    let mut first = Plain::connect(node.http());
    let mut begun = first.begin(&Ask::get("/big"));
    first.some(&mut begun, MIB);
    let mut second = Plain::connect(node.http());
    let mut begun = second.begin(&Ask::get("/big"));
    let mut whole = second.some(&mut begun, MIB);
    drop(first);
    gate.open();
    let rest = second.rest(begun);
    whole.extend(rest.body);
    assert_eq!((rest.end, whole == body), (End::Clean, true));
    node.settle();
    assert!(node.get("/big").is_hit());
    assert_eq!(origin.count("/big"), 1);
}

#[test]
fn a_fetch_that_nobody_reads_is_given_up_or_finished() {
    // With little done of a large body it is given up; with little missing it is finished and stored.
    for (done, stored) in [(2 * MIB, false), (7 * MIB, true)] {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |_| {
            let (early, late) = (noise(done, 4), noise(8 * MIB - done, 5));
            Reply::ok(early).wait(&held).body(late).control("max-age=60")
        });
        let node = start(&origin);
        let mut only = Plain::connect(node.http());
        let mut begun = only.begin(&Ask::get("/big"));
        only.some(&mut begun, done);
        drop(only);
        eventually("the client's leaving", || node.metric("nearcast_http_connections ") == Some(0.0));
        gate.open();
        node.settle();
        assert_eq!(node.get("/big").is_hit(), stored);
    }
}

#[test]
fn an_answer_that_must_not_be_shared_releases_all_who_wait() {
    let gate = Gate::default();
    let held = gate.clone();
    let number = std::sync::atomic::AtomicUsize::new(0);
    let origin = Origin::start(move |_| {
        let own = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let reply = Reply::ok(format!("answer {own}")).control("private");
        if own == 0 { reply.hold(&held) } else { reply }
    });
    let node = start(&origin);
    let mut clients: Vec<_> = (0..20).map(|_| Plain::connect(node.http())).collect();
    for client in &mut clients {
        client.write(b"GET /own HTTP/1.1\r\nhost: www.cdn.test\r\n\r\n");
    }
    origin.wait_for("/own", 1);
    gate.open();
    let mut bodies: Vec<_> = clients.iter_mut().map(|client| client.answer("GET").unwrap().text()).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 20, "each has its own");
    assert_eq!(node.get("/own").cache(), "fwd=bypass", "and it is remembered");
    assert_eq!(origin.count("/own"), 21);
}

#[test]
fn what_the_origin_cuts_off_is_cut_off_for_clients_and_not_stored() {
    let origin = Origin::start(|seen| {
        let body = noise(300_000, 6);
        let reply = Reply::ok(body).control("max-age=60");
        match seen.target.as_str() {
            "/short" => reply.announce(300_001).cut(),
            "/no-last-chunk" => reply.chunked().cut(),
            "/short-private" => reply.announce(300_001).control("private").cut(),
            _ => reply.chunked().control("private").cut(),
        }
    });
    let node = start(&origin);
    for target in ["/short", "/no-last-chunk", "/short-private", "/no-last-chunk-private"] {
        for (way, answer) in [("h1", node.get(target)), ("h2", node.ask_h2(&Ask::get(target)))] {
            assert_eq!((answer.status, answer.end), (200, End::Broken), "{target} over {way}");
            assert!(!answer.is_hit());
            node.settle();
        }
        assert_eq!(origin.count(target), 2, "{target} is asked again");
    }
}

#[test]
fn more_than_announced_is_not_joined_to_the_answer() {
    let origin = Origin::start(|_| Reply::ok("hello, and more").control("max-age=60").announce(5));
    let node = start(&origin);
    assert_eq!(node.get("/a").text(), "hello");
    assert_eq!(node.get("/a").text(), "hello");
    assert_eq!(node.get("/b").text(), "hello", "the rest is not taken for the next answer");
}

#[test]
fn all_who_follow_a_fetch_that_breaks_off_are_told() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::ok(noise(MIB, 7)).wait(&held).announce(2 * MIB as u64).control("max-age=60").cut()
    });
    let node = start(&origin);
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let mut client = Plain::connect(node.http());
            let begun = client.begin(&Ask::get("/a"));
            (client, begun)
        })
        .collect();
    gate.open();
    for (mut client, begun) in clients {
        let answer = client.rest(begun);
        assert_eq!((answer.end, answer.body.len() < 2 * MIB), (End::Broken, true));
    }
    assert_eq!(origin.count("/a"), 1);
    node.settle();
    assert!(!node.get("/a").is_hit());
}

#[test]
fn a_body_that_ends_with_the_connection_is_passed_but_not_stored() {
    let origin = Origin::start(|_| Reply::ok("hello").control("max-age=60").until_close());
    let node = start(&origin);
    for _ in 0..2 {
        let answer = node.get("/a");
        assert_eq!((answer.text().as_str(), answer.end), ("hello", End::Clean));
        assert!(!answer.is_hit());
    }
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn chunks_with_their_end_are_stored() {
    let origin = Origin::start(|_| Reply::ok("one ").body("two").chunked().control("max-age=60"));
    let node = start(&origin);
    node.get("/a");
    node.settle();
    let hit = node.get("/a");
    assert_eq!(
        (hit.is_hit(), hit.text().as_str(), hit.field("content-length").as_deref()),
        (true, "one two", Some("7"))
    );
}

#[test]
fn an_origin_that_cannot_be_reached_is_502() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut setup = Setup::empty();
    setup.sites.push(format!("domains = [\"www.cdn.test\"]\norigin = \"http://{nobody}\""));
    let node = setup.start();
    for ask in [Ask::get("/a"), Ask::new("POST", "/a").body("x")] {
        let answer = node.ask(&ask);
        assert_eq!((answer.status, answer.field("cache-control").as_deref()), (502, Some("no-store")));
        assert!(answer.text().contains("cannot be reached"));
    }
}

#[test]
fn an_origin_that_does_not_speak_http_is_502() {
    let origin = Origin::start(|_| Reply::talk(|talk| talk.write(b"220 mail.test ESMTP\r\n")));
    let node = start(&origin);
    assert_eq!(node.get("/a").status, 502);
    assert_eq!(node.ask_h2(&Ask::get("/a")).status, 502);
}

#[test]
fn an_origin_that_stalls_is_504_or_breaks_the_body_off() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/header" => Reply::ok("x").hold(&held),
        "/body" => Reply::ok("x").control("max-age=60").wait(&held).body("y"),
        _ => Reply::ok("x").control("private").wait(&held).body("y"),
    });
    let node =
        Setup::new(&origin).set("origin.response-timeout", "\"300ms\"").set("origin.read-timeout", "\"300ms\"").start();
    assert_eq!(node.get("/header").status, 504);
    for target in ["/body", "/own-body"] {
        let answer = node.get(target);
        assert_eq!((answer.status, answer.text().as_str(), answer.end), (200, "x", End::Broken), "{target}");
    }
    gate.open();
}

#[test]
fn a_304_that_nobody_asked_for_is_502() {
    let origin = Origin::start(|_| Reply::new(304).field("etag", "\"a\""));
    let node = start(&origin);
    assert_eq!(node.get("/a").status, 502);
    assert_eq!(node.ask(&Ask::get("/a").field("if-none-match", "\"a\"")).status, 502);
}

#[test]
fn post_streams_both_ways() {
    let origin = Origin::start(|_| {
        Reply::talk(|talk| {
            talk.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            // Each piece comes back before the next is sent.
            while let Some(piece) = talk.read().ok().filter(|piece| !piece.is_empty()) {
                talk.write(format!("{:x}\r\n", piece.len()).as_bytes());
                talk.write(&piece);
                talk.write(b"\r\n");
            }
            talk.write(b"0\r\n\r\n");
        })
    });
    let node = start(&origin);
    let mut client = Plain::connect(node.http());
    client.write(b"POST /echo HTTP/1.1\r\nhost: www.cdn.test\r\ntransfer-encoding: chunked\r\n\r\n");
    client.write(b"5\r\nfirst\r\n");
    let mut begun = client.begun("POST").unwrap();
    assert_eq!(client.some(&mut begun, 5), b"first");
    client.write(b"6\r\nsecond\r\n");
    assert_eq!(client.some(&mut begun, 6), b"second");
    client.write(b"0\r\n\r\n");
    let rest = client.rest(begun);
    assert_eq!((rest.body.len(), rest.end, rest.cache().as_str()), (0, End::Clean, "fwd=method"));
}

#[test]
fn an_upload_may_take_longer_than_an_origin_may_to_answer() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/slow" => Reply::ok("taken"),
        // Takes nothing of the body.
        _ => Reply::waiting(&held),
    });
    let limit = Duration::from_millis(300);
    let node = Setup::new(&origin).set("origin.response-timeout", "\"300ms\"").start();
    let mut client = Plain::connect(node.http());
    client.write(b"POST /slow HTTP/1.1\r\nhost: www.cdn.test\r\ntransfer-encoding: chunked\r\n\r\n");
    let started = Instant::now();
    let mut pieces = 0;
    eventually("an upload that takes longer than the limit", || {
        client.write(b"1\r\nx\r\n");
        pieces += 1;
        started.elapsed() > 3 * limit
    });
    client.write(b"0\r\n\r\n");
    assert_eq!(client.answer("POST").unwrap().text(), "taken");
    assert_eq!(origin.last("/slow").body.len(), pieces);
    let stalled = Ask::new("POST", "/stalls").body(noise(20 * MIB, 10));
    assert_eq!(node.ask_h2(&stalled).status, 504, "an origin that takes nothing is given up");
    gate.open();
}

#[test]
fn a_client_that_spoils_its_body_is_told_so() {
    let origin = Origin::start(|_| Reply::ok("taken"));
    let node = Setup::new(&origin).set("limits.receive-timeout", "\"300ms\"").start();
    let mut client = Plain::connect(node.http());
    client.write(b"POST /stalls HTTP/1.1\r\nhost: www.cdn.test\r\ncontent-length: 10\r\n\r\nhalf");
    assert_eq!(client.answer("POST").unwrap().status, 408);
    assert!(client.is_closed());
    let mut client = Plain::connect(node.http());
    client.write(b"POST /broken HTTP/1.1\r\nhost: www.cdn.test\r\ntransfer-encoding: chunked\r\n\r\nzzz\r\n");
    assert_eq!(client.answer("POST").map(|answer| answer.status), Some(400));
    assert!(client.is_closed());
    let broken = "nearcast_origin_fetches_total{site=\"www.cdn.test\",result=\"broken\"}";
    assert_eq!(node.metric(broken), Some(0.0), "the origin is not blamed");
}

#[test]
fn a_client_that_waits_for_100_is_told_to_continue() {
    let origin = Origin::start(|_| Reply::ok("taken"));
    let node = start(&origin);
    let mut client = Plain::connect(node.http());
    client.write(b"POST /a HTTP/1.1\r\nhost: www.cdn.test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
    let interim = client.begun("HEAD").unwrap();
    assert_eq!(interim.head.first, "HTTP/1.1 100 Continue");
    client.write(b"body");
    assert_eq!(
        (client.answer("POST").unwrap().text().as_str(), origin.last("/a").body.as_slice()),
        ("taken", &b"body"[..])
    );
}

#[test]
fn a_successful_post_invalidates_the_url() {
    let origin = Origin::start(|seen| match (seen.method.as_str(), seen.target.as_str()) {
        ("POST", "/refused") => Reply::new(403),
        ("POST", _) => Reply::new(201),
        _ => Reply::ok(seen.field("accept-language").unwrap_or_default())
            .control("max-age=60")
            .field("vary", "accept-language"),
    });
    let node = start(&origin);
    for target in ["/a", "/refused"] {
        let variants = [Ask::get(target), Ask::get(target).field("accept-language", "de")];
        variants.iter().for_each(|ask| assert!(!node.ask(ask).is_hit()));
        assert!(variants.iter().all(|ask| node.ask(ask).is_hit()));
        node.ask(&Ask::new("POST", target).body("x"));
        let after = variants.iter().map(|ask| node.ask(ask).is_hit());
        assert_eq!(after.collect::<Vec<_>>(), vec![target == "/refused"; 2], "{target}");
    }
}

#[test]
fn a_successful_post_keeps_what_is_being_fetched_from_being_stored() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |seen| match seen.method.as_str() {
        "POST" => Reply::new(204),
        _ => Reply::ok("be").wait(&held).body("fore").control("max-age=60"),
    });
    let node = start(&origin);
    let mut client = Plain::connect(node.http());
    let mut begun = client.begin(&Ask::get("/a"));
    client.some(&mut begun, 2);
    assert_eq!(node.ask(&Ask::new("POST", "/a").body("x")).status, 204);
    gate.open();
    assert_eq!(client.rest(begun).text(), "fore");
    node.settle();
    assert!(!node.get("/a").is_hit());
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let origin = Origin::start(|_| Reply::ok("taken"));
    let node = Setup::new(&origin).set("limits.request-body", "\"1000 B\"").start();
    let post = |length: usize| Ask::new("POST", "/a").body(vec![b'x'; length]);
    assert_eq!(node.ask(&post(1000)).text(), "taken");
    assert_eq!(origin.last("/a").body.len(), 1000);
    assert_eq!((node.ask(&post(1001)).status, node.ask_h2(&post(1001)).status), (413, 413));
    let mut chunked = Plain::connect(node.http());
    chunked.write(b"POST /chunked HTTP/1.1\r\nhost: www.cdn.test\r\ntransfer-encoding: chunked\r\n\r\n");
    chunked.write(format!("400\r\n{}\r\n0\r\n\r\n", "x".repeat(1024)).as_bytes());
    assert_eq!(chunked.answer("POST").unwrap().status, 413, "also when its length is not announced");
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn an_object_over_the_limit_is_passed_whole_but_not_stored() {
    let body = noise(3 * MIB, 8);
    let sent = body.clone();
    let origin = Origin::start(move |seen| {
        let reply = Reply::ok(sent.clone()).control("max-age=60");
        if seen.target == "/chunked" { reply.chunked() } else { reply }
    });
    let node = Setup::new(&origin).set("cache.object-max", "\"2 MiB\"").start();
    for target in ["/announced", "/chunked"] {
        for _ in 0..2 {
            let answer = node.get(target);
            assert_eq!((answer.end, answer.body == body, answer.is_hit()), (End::Clean, true, false), "{target}");
            node.settle();
        }
        assert_eq!(origin.count(target), 2, "{target}");
    }
}

#[test]
fn a_kept_connection_that_the_origin_closes_is_tried_once_more() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/first" => Reply::ok("first").control("no-store"),
        _ => Reply::hang_up(),
    });
    let node = start(&origin);
    assert_eq!(node.get("/first").text(), "first");
    assert_eq!(node.get("/hang-up").status, 502);
    assert_eq!(origin.count("/hang-up"), 2, "GET is safe to repeat");
    assert_eq!(node.ask(&Ask::new("POST", "/post").body("x")).status, 502);
    assert_eq!(origin.count("/post"), 1, "POST is not");
}

#[test]
fn https_origins_are_checked_against_the_configured_authority() {
    let authority = crate::harness::tls::Authority::new();
    let rows = [("right name", "127.0.0.1", true), ("another name", "other.test", false)];
    for (name, certified, reachable) in rows {
        let origin = Origin::start_tls(authority.server(certified), |_| Reply::ok("secret").control("max-age=60"));
        let setup = Setup::new(&origin).set("origin.ca", "\"ca.pem\"");
        std::fs::write(setup.folder().join("ca.pem"), authority.pem()).unwrap();
        let answer = setup.start().get("/a");
        assert_eq!(
            (answer.status, answer.text() == "secret"),
            if reachable { (200, true) } else { (502, false) },
            "{name}"
        );
        let without = setup.unset("origin.ca").start();
        assert_eq!(without.get("/a").status, 502, "{name}, but the authority is unknown");
    }
}

#[test]
fn a_large_body_takes_no_room_of_its_own() {
    const LENGTH: usize = 100 * MIB;
    let origin = Origin::start(|_| {
        Reply::talk(|talk| {
            talk.write(
                format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\ncache-control: private\r\n\r\n").as_bytes(),
            );
            let piece = noise(MIB, 9);
            (0..LENGTH / MIB).for_each(|_| talk.write(&piece));
        })
    });
    let process = Process::run(&Setup::new(&origin));
    let mut client = Plain::connect(process.http());
    let mut begun = client.begin(&Ask::get("/huge"));
    let before = process.settled_kib();
    let piece = noise(MIB, 9);
    let mut grown = 0;
    for _ in 0..LENGTH / MIB {
        let mut got = 0;
        while got < MIB {
            // Not `some`: that may read into the next piece.
            let bytes = client.up_to(&mut begun, MIB - got);
            assert!(bytes == piece[got..got + bytes.len()]);
            got += bytes.len();
        }
        grown = grown.max(process.resident_kib().saturating_sub(before));
    }
    assert!(grown < 32 << 10, "the process grew by {grown} KiB");
}

#[test]
fn a_refused_handshake_is_no_answer() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let node = start(&origin);
    let trusted = crate::harness::tls::Authority::new().trusted();
    let answer = Ask::get("/").over(node.https(), Version::HTTP_11, Some(&trusted));
    assert_eq!(answer.unwrap_err(), Failed::Handshake, "no site has a certificate");
}
