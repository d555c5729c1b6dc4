//! What the store has lost of a body, or never had, is fetched while the body is read; fetches have their limits.

use std::sync::Arc;
use std::thread;

use http_body_util::BodyExt;
use nearcast_edge::key::{Address, StoreKey, UrlId};
use nearcast_edge::store::Piece;
use nearcast_edge::store::object::{Body, CHUNK, Object};
use nearcast_shared::clock::{Clock, Timestamp};

use crate::harness::client::{Ask, HOST, Plain, RUNTIME};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};
use crate::harness::wire::End;
use crate::harness::{eventually, noise};
use crate::parts::{TAG, asked, part, serving};

const C: usize = CHUNK as usize;

const MIB: usize = 1 << 20;

/// Larger than what is looked for before an answer begins.
const LONG: usize = 70 * C + 5;

fn stored(node: &Node, target: &str) -> (UrlId, Arc<Object>) {
    let edge = &node.control().edge;
    let address = Address { site: HOST, https: false, host: HOST, target, parts: "" };
    let url = address.url_id(&edge.secret);
    let Some(Piece::Object(object)) = edge.store.peek(&StoreKey::primary(url, false, "", &edge.secret)) else {
        panic!("{target} is not stored");
    };
    (url, object)
}

/// Takes the chunks with these numbers out of the store.
fn lose(node: &Node, target: &str, chunks: &[usize]) {
    let (url, object) = stored(node, target);
    let Body::Spans(spans) = &object.body else { panic!("a body in chunks") };
    for number in chunks {
        let at = (number * C) as u64;
        let span = spans.iter().find(|span| span.first <= at && at < span.end).unwrap();
        node.control().edge.store.remove(&span.chunk(url, false, at));
    }
}

fn with_memory(origin: &Origin) -> Node {
    Setup::new(origin).set("cache.memory", "\"256 MiB\"").start()
}

fn range_of(first: usize, end: usize) -> Option<String> {
    Some(format!("bytes={}-{}", first * C, end * C - 1))
}

#[test]
fn what_is_lost_in_the_middle_of_a_hit_is_fetched() {
    let body = noise(LONG, 21);
    let origin = serving(&body, TAG);
    let node = with_memory(&origin);
    node.get("/a");
    lose(&node, "/a", &[66, 67, 69]);
    let hit = node.get("/a");
    assert_eq!((hit.status, hit.end, hit.is_hit(), hit.body == body), (200, End::Clean, true, true));
    node.settle();
    assert_eq!(asked(&origin), [None, range_of(66, 68), range_of(69, 70)], "the missing chunks alone");
    assert!(origin.seen()[1..].iter().all(|seen| seen.field("if-range").as_deref() == Some(TAG)));
    assert!(node.get("/a").body == body);
    assert_eq!(origin.count("/a"), 3, "they are here again");
    assert_eq!(node.metric("nearcast_fill_holes_total{site=\"www.cdn.test\"}"), Some(2.0));
}

#[test]
fn what_is_known_to_be_lost_is_asked_for_before_the_answer_begins() {
    let body = noise(5 * C, 22);
    let origin = serving(&body, TAG);
    let node = start(&origin);
    node.get("/a");
    lose(&node, "/a", &[0, 2]);
    let answer = node.get("/a");
    assert_eq!((answer.cache().as_str(), answer.body == body), ("fwd=partial; fwd-status=206; stored", true));
    node.settle();
    assert_eq!(asked(&origin), [None, range_of(0, 1), range_of(2, 3)]);
    assert!(node.get("/a").is_hit());
}

#[test]
fn two_versions_are_not_joined_in_the_middle_of_a_hit() {
    let (old, new) = (noise(LONG, 23), noise(LONG, 24));
    let (first, second) = (old.clone(), new.clone());
    let changed = Gate::default();
    let now = changed.clone();
    let origin =
        Origin::start(move |seen| if now.is_open() { part(seen, &second, "\"v2\"") } else { part(seen, &first, TAG) });
    let node = with_memory(&origin);
    node.get("/a");
    lose(&node, "/a", &[66]);
    changed.open();
    let broken = node.get("/a");
    assert_eq!((broken.status, broken.end), (200, End::Broken));
    assert!(broken.body == old[..66 * C], "what came before was right");
    node.settle();
    let answer = node.get("/a");
    assert_eq!((answer.end, answer.body == new), (End::Clean, true), "what the origin has now took its place");
}

/// Else each download would break off at the hole.
#[test]
fn a_body_that_the_origin_has_no_more_is_dropped() {
    let (old, new) = (noise(LONG, 27), noise(LONG, 28));
    for chunked in [true, false] {
        let (first, second) = (old.clone(), new.clone());
        let changed = Gate::default();
        let now = changed.clone();
        let origin = Origin::start(move |seen| match (now.is_open(), chunked) {
            (false, _) => part(seen, &first, TAG),
            (true, true) => Reply::ok(second.clone()).control("max-age=60").field("etag", "\"v2\"").chunked(),
            (true, false) => Reply::ok(second.clone()).control("private"),
        });
        let node = with_memory(&origin);
        node.get("/a");
        lose(&node, "/a", &[66]);
        changed.open();
        assert_eq!(node.get("/a").end, End::Broken, "chunked: {chunked}");
        node.settle();
        let answer = node.get("/a");
        assert_eq!((answer.end, answer.body == new), (End::Clean, true), "chunked: {chunked}");
    }
}

#[test]
fn without_a_strong_validator_what_is_lost_makes_it_a_miss() {
    let body = noise(LONG, 25);
    let origin = serving(&body, "W/\"v1\"");
    let node = with_memory(&origin);
    node.get("/a");
    lose(&node, "/a", &[66]);
    let answer = node.get("/a");
    assert_eq!((answer.end, answer.body == body), (End::Clean, true));
    assert_eq!(asked(&origin), [None, None]);
}

#[test]
fn what_came_of_a_fetch_that_nobody_reads_is_kept() {
    let body = noise(32 * C, 26);
    let gate = Gate::default();
    let (held, sent) = (gate.clone(), body.clone());
    let origin = Origin::start(move |seen| match seen.field("range") {
        None => {
            let (early, late) = (sent[..8 * C].to_vec(), sent[8 * C..].to_vec());
            Reply::ok(early).wait(&held).body(late).control("max-age=60").field("etag", TAG)
        }
        Some(_) => part(seen, &sent, TAG),
    });
    let node = start(&origin);
    let mut only = Plain::connect(node.http());
    let mut begun = only.begin(&Ask::get("/a"));
    only.some(&mut begun, 8 * C);
    drop(only);
    eventually("the client's leaving", || node.metric("nearcast_http_connections ") == Some(0.0));
    gate.open();
    node.settle();
    let answer = node.get("/a");
    assert_eq!((answer.cache().as_str(), answer.body == body), ("fwd=partial; fwd-status=206; stored", true));
    let rest = asked(&origin)[1].clone().unwrap();
    let first: usize = rest.strip_prefix("bytes=").and_then(|rest| rest.strip_suffix('-')).unwrap().parse().unwrap();
    assert!(first >= 8 * C && first.is_multiple_of(C), "{rest}");
}

#[test]
fn parts_that_come_at_once_are_all_kept() {
    let body = noise(16 * C, 27);
    let gate = Gate::default();
    let (held, sent) = (gate.clone(), body.clone());
    let origin = Origin::start(move |seen| part(seen, &sent, TAG).hold(&held));
    let node = start(&origin);
    thread::scope(|scope| {
        let node = &node;
        let ask = |range: String| scope.spawn(move || node.ask(&Ask::get("/a").field("range", &range)));
        let clients: Vec<_> = (0..4).map(|part| ask(range_of(4 * part, 4 * part + 4).unwrap())).collect();
        origin.wait_for("/a", 4);
        gate.open();
        for (part, client) in clients.into_iter().enumerate() {
            assert!(client.join().unwrap().body == body[4 * part * C..4 * (part + 1) * C]);
        }
    });
    node.settle();
    let whole = node.get("/a");
    assert_eq!((whole.is_hit(), whole.body == body), (true, true));
    assert_eq!(origin.count("/a"), 4, "no chunk was fetched twice");
}

#[test]
fn who_waits_too_long_goes_to_the_origin() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        let reply = Reply::ok("hello").control("max-age=60");
        if seen.field("x-first").is_some() { reply.hold(&held) } else { reply }
    });
    let node = Setup::new(&origin).set("cache.wait-max", "\"50ms\"").start();
    thread::scope(|scope| {
        let first = scope.spawn(|| node.ask(&Ask::get("/a").field("x-first", "1")));
        origin.wait_for("/a", 1);
        let second = node.get("/a");
        assert_eq!(
            (second.text().as_str(), second.cache().as_str()),
            ("hello", "fwd=uri-miss"),
            "and it is not stored"
        );
        gate.open();
        assert_eq!(first.join().unwrap().text(), "hello");
    });
    assert_eq!(origin.count("/a"), 2);
    node.settle();
    assert!(node.get("/a").is_hit());
}

#[test]
fn there_is_a_limit_of_fetches_that_run() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("hello").control("max-age=60").hold(&held));
    let node = Setup::new(&origin).set("limits.fills", "1").start();
    thread::scope(|scope| {
        let first = scope.spawn(|| node.get("/a"));
        origin.wait_for("/a", 1);
        let refused = node.get("/b");
        assert_eq!((refused.status, refused.field("retry-after").as_deref()), (503, Some("1")));
        assert_eq!(refused.field("proxy-status").as_deref(), Some("nearcast-fra; error=connection_limit_reached"));
        let follows = scope.spawn(|| node.get("/a"));
        gate.open();
        assert_eq!((first.join().unwrap().text(), follows.join().unwrap().text()), ("hello".into(), "hello".into()));
    });
    node.settle();
    assert_eq!(node.get("/b").text(), "hello");
}

#[test]
fn under_pressure_clients_get_small_pieces_and_all_of_them() {
    let body = noise(5 * C + 77, 28);
    let origin = serving(&body, TAG);
    let node = Setup::new(&origin).set("limits.pinned", "\"1 KiB\"").start();
    for _ in 0..2 {
        assert!(node.get("/a").body == body);
        assert!(node.ask_h2(&Ask::get("/a").field("range", "bytes=100000-900000")).body == body[100_000..=900_000]);
    }
    assert_eq!(origin.count("/a"), 1);
    eventually("nothing pinned", || node.control().edge.pinned.bytes() == 0);
}

fn start(origin: &Origin) -> Node {
    Setup::new(origin).start()
}

/// What a client gets of a large body over HTTP/2 that stops to take it, and goes on when `go` is told.
async fn stopping(to: std::net::SocketAddr, stopped: tokio::sync::oneshot::Sender<()>, go: &Gate) -> Vec<u8> {
    let stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
        .initial_stream_window_size(65_535)
        .handshake(hyper_util::rt::TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{HOST}/a");
    let request = http::Request::get(uri).body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    stopped.send(()).unwrap();
    let go = go.clone();
    tokio::task::spawn_blocking(move || go.wait()).await.unwrap();
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

#[test]
fn a_stream_that_takes_nothing_holds_no_fetch() {
    let body = noise(16 * MIB, 29);
    let origin = serving(&body, TAG);
    let node = Setup::new(&origin).set("limits.send-timeout", "\"200ms\"").start();
    let (go, to) = (Gate::default(), node.http());
    let (stopped, is_stopped) = tokio::sync::oneshot::channel();
    let going = go.clone();
    let client = RUNTIME.spawn(async move { stopping(to, stopped, &going).await });
    RUNTIME.block_on(is_stopped).unwrap();
    node.settle();
    assert!(node.metric("nearcast_fills_total{site=\"www.cdn.test\",result=\"given-up\"}") >= Some(1.0));
    go.open();
    assert!(RUNTIME.block_on(client).unwrap() == body, "the rest is asked for when it is wanted");
    assert!(asked(&origin).len() > 1);
}

#[test]
fn who_begins_further_on_does_not_wait_for_who_stopped() {
    let body = noise(16 * MIB, 30);
    let origin = serving(&body, TAG);
    let node = start(&origin);
    let mut stopped = Plain::narrow(node.http());
    let _begun = stopped.begin(&Ask::get("/a"));
    eventually("the fetch waits", || {
        let pinned = || node.control().edge.pinned.bytes();
        let before = pinned();
        before > 0
            && before == pinned()
            && node.metric("nearcast_origin_received_bytes_total{site=\"www.cdn.test\"}") > Some(0.0)
    });
    let range = format!("bytes={}-", 2 * MIB);
    let ahead = Ask::get("/a").field("range", &range).send(node.http());
    assert_eq!((ahead.status, ahead.body == body[2 * MIB..]), (206, true));
}

#[test]
fn what_was_purged_while_a_hole_was_asked_for_is_not_served() {
    let body = noise(4 * C, 31);
    let gate = Gate::default();
    let (held, sent) = (gate.clone(), body.clone());
    let origin = Origin::start(move |seen| {
        let reply = part(seen, &sent, TAG);
        if seen.field("if-range").is_some() { reply.hold(&held) } else { reply }
    });
    let node = start(&origin);
    node.ask(&Ask::get("/a").field("range", &range_of(0, 2).unwrap()));
    thread::scope(|scope| {
        let whole = scope.spawn(|| Ask::get("/a").send(node.http()));
        origin.wait_for("/a", 2);
        node.purge("{\"url\": \"http://www.cdn.test/a\"}");
        gate.open();
        let answer = whole.join().unwrap();
        assert_eq!((answer.status, answer.end, answer.body == body), (200, End::Clean, true));
    });
    assert!(origin.count("/a") >= 3, "what had been stored was asked for anew: {:?}", asked(&origin));
}

#[test]
fn a_large_body_is_refreshed_behind() {
    let (old, new) = (noise(16 * MIB, 32), noise(16 * MIB, 33));
    let (first, second) = (old.clone(), new.clone());
    let origin = Origin::start(move |seen| {
        let (body, tag) = if seen.field("if-none-match").is_some() { (&second, "\"v2\"") } else { (&first, TAG) };
        Reply::ok(body.clone()).control("max-age=60, stale-while-revalidate=600").field("etag", tag)
    });
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    let node = Setup::new(&origin).clock(&clock).start();
    assert!(node.get("/a").body == old);
    clock.advance(61_000);
    let stale = node.get("/a");
    assert_eq!((stale.is_hit(), stale.body == old), (true, true));
    node.settle();
    assert!(node.get("/a").body == new);
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn several_ranges_fetch_their_own_chunks() {
    let body = noise(16 * C, 34);
    let origin = serving(&body, TAG);
    let node = start(&origin);
    node.ask(&Ask::get("/a").field("range", "bytes=0-9"));
    let ranges = format!("bytes=0-9,{}-{}", 8 * C, 8 * C + 9);
    let ask = Ask::get("/a").field("range", &ranges);
    assert_eq!(node.ask(&ask.clone().field("cache-control", "only-if-cached")).status, 504);
    let answer = node.ask(&ask);
    assert_eq!((answer.status, answer.end), (206, End::Clean));
    assert!(answer.body.windows(10).any(|ten| ten == &body[8 * C..8 * C + 10]));
    assert_eq!(asked(&origin), [range_of(0, 1), range_of(8, 9)]);
}
