//! Parts of large bodies: what is fetched for a range is little more than that, and no byte is fetched twice.

use std::thread;

use crate::harness::client::{Answer, Ask, Plain};
use crate::harness::eventually;
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};
use crate::harness::vast::Vast;
use crate::harness::wire::End;

const GIB: u64 = 1 << 30;

/// As much as may be fetched for one byte.
const CHUNK: u64 = 1 << 20;

/// All that is around bodies.
const HEADERS: u64 = 64 << 10;

const TAG: &str = "\"v1\"";

fn serving(vast: &Vast) -> Origin {
    let vast = vast.clone();
    Origin::start(move |seen| Reply::ranged(seen, &vast, TAG))
}

/// A node that may store a gibibyte, though not in memory.
fn with_disk(origin: &Origin) -> Node {
    Setup::new(origin).set("cache.disk", "{ path = \"cache\", size = \"8 GiB\" }").start()
}

fn range(node: &Node, first: u64, end: u64) -> Answer {
    node.ask(&Ask::get("/big").field("range", &format!("bytes={first}-{}", end - 1)))
}

fn assert_part(vast: &Vast, answer: &Answer, first: u64, end: u64) {
    let content_range = format!("bytes {first}-{}/{}", end - 1, vast.length);
    assert_eq!((answer.status, answer.end), (206, End::Clean), "{content_range}");
    assert_eq!(answer.field("content-range"), Some(content_range.clone()));
    assert_eq!(answer.body.len() as u64, end - first, "{content_range}");
    assert!(vast.has(first, &answer.body), "{content_range}");
}

/// That the ranges asked for have no byte in common.
fn assert_nothing_twice(origin: &Origin, vast: &Vast) {
    let mut asked: Vec<_> =
        origin.seen().iter().map(|seen| seen.range(vast.length).unwrap_or((0, vast.length))).collect();
    asked.sort_unstable();
    for pair in asked.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "asked for twice: {:?} and {:?}", pair[0], pair[1]);
    }
}

#[test]
fn a_byte_of_a_gibibyte_takes_no_more_than_a_chunk() {
    let vast = Vast::new(GIB, 1);
    for (first, end) in [(0, 1), (GIB - 1, GIB), (GIB / 2 + 7, GIB / 2 + 8)] {
        let origin = serving(&vast);
        let node = with_disk(&origin);
        assert_part(&vast, &range(&node, first, end), first, end);
        node.settle();
        assert!(origin.sent() <= CHUNK + HEADERS, "{first}: the origin sent {} bytes", origin.sent());
        assert_eq!(origin.count("/big"), 1);
        assert!(range(&node, first, end).is_hit(), "{first}");
    }
}

#[test]
fn who_asks_for_the_same_part_of_a_gibibyte_waits_for_one_fetch() {
    const CLIENTS: u64 = 10;
    let (vast, gate) = (Vast::new(GIB, 6), Gate::default());
    let (sent, held) = (vast.clone(), gate.clone());
    let origin = Origin::start(move |seen| Reply::ranged(seen, &sent, TAG).hold(&held));
    let node = with_disk(&origin);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Plain::connect(node.http())).collect();
    let ask = Ask::get("/big").field("range", "bytes=500000000-500000999");
    clients.iter_mut().for_each(|client| client.send(&ask));
    eventually("waiting clients", || node.metric("nearcast_http_connections ") >= Some(CLIENTS as f64));
    gate.open();
    for client in &mut clients {
        assert_part(&vast, &client.answer("GET").unwrap(), 500_000_000, 500_001_000);
    }
    assert_eq!(origin.count("/big"), 1);
}

#[test]
fn the_last_bytes_take_no_more_than_a_chunk_either() {
    let vast = Vast::new(GIB, 2);
    let origin = serving(&vast);
    let node = with_disk(&origin);
    let answer = node.ask(&Ask::get("/big").field("range", "bytes=-100"));
    assert_part(&vast, &answer, GIB - 100, GIB);
    node.settle();
    assert!(origin.sent() <= CHUNK + HEADERS, "the origin sent {} bytes", origin.sent());
}

/// It sends all of it whatever is asked for; who has its byte leaves, and so does the fetch.
#[test]
fn an_origin_without_parts_does_not_send_a_gibibyte_for_a_byte() {
    let vast = Vast::new(GIB, 3);
    let sent = vast.clone();
    let origin =
        Origin::start(move |_| Reply::new(200).control("max-age=60").field("etag", TAG).vast(&sent, 0, sent.length));
    let node = with_disk(&origin);
    assert_part(&vast, &range(&node, 0, 1), 0, 1);
    node.settle();
    assert!(origin.sent() < GIB / 8, "the origin sent {} bytes", origin.sent());
}

#[test]
fn halves_and_then_the_whole() {
    // Halves that meet within a chunk.
    let vast = Vast::new(6_000_001, 4);
    let half = vast.length / 2;
    for at_once in [false, true] {
        let origin = serving(&vast);
        let node = Setup::new(&origin).start();
        let halves = [(0, half), (half, vast.length)];
        if at_once {
            thread::scope(|scope| {
                for (first, end) in halves {
                    let (node, vast) = (&node, &vast);
                    scope.spawn(move || assert_part(vast, &range(node, first, end), first, end));
                }
            });
        } else {
            halves.iter().for_each(|(first, end)| assert_part(&vast, &range(&node, *first, *end), *first, *end));
        }
        node.settle();
        let asked = origin.count("/big");
        let whole = node.get("/big");
        assert_eq!((whole.status, whole.end, whole.is_hit()), (200, End::Clean, true), "at once: {at_once}");
        assert!(whole.body.len() as u64 == vast.length && vast.has(0, &whole.body));
        assert_eq!(origin.count("/big"), asked, "at once: {at_once}");
        // Those that begin together cannot know of each other's chunk in the middle.
        let twice = if at_once { CHUNK } else { 0 };
        assert!(origin.sent() <= vast.length + twice + HEADERS, "at once: {at_once}: {} bytes", origin.sent());
        if !at_once {
            assert_nothing_twice(&origin, &vast);
        }
    }
}

#[test]
fn ranges_here_and_there_and_then_the_whole() {
    let vast = Vast::new(20_000_003, 5);
    let origin = serving(&vast);
    let node = Setup::new(&origin).set("cache.memory", "\"256 MiB\"").start();
    let mut state = 7_u64;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    for _ in 0..40 {
        let first = below(vast.length);
        let end = (first + 1 + below(1_000_000)).min(vast.length);
        assert_part(&vast, &range(&node, first, end), first, end);
    }
    let mut client = Plain::connect(node.http());
    let begun = client.begin(&Ask::get("/big"));
    assert_eq!(client.rest_of(begun, &vast, 0), (vast.length, End::Clean));
    node.settle();
    assert_nothing_twice(&origin, &vast);
    assert!(origin.sent() <= vast.length + HEADERS, "{} bytes", origin.sent());
    let asked = origin.asked();
    assert!(node.get("/big").is_hit());
    assert_eq!(origin.asked(), asked);
}

#[test]
fn a_byte_of_what_is_too_large_to_be_stored() {
    let vast = Vast::new(1 << 30, 1);
    let sent = vast.clone();
    let origin = Origin::start(move |seen| Reply::ranged(seen, &sent, "\"v1\""));
    // A quarter of the memory, far less than a gibibyte, is the most that is stored.
    let node = Setup::new(&origin).start();
    for (value, place) in [("bytes=0-0", "bytes 0-0"), ("bytes=1000-1999", "bytes 1000-1999")] {
        for _ in 0..2 {
            let answer = node.ask(&Ask::get("/big").field("range", value));
            assert_eq!(answer.status, 206, "{value}");
            assert_eq!(answer.field("content-range"), Some(format!("{place}/{}", vast.length)), "{value}");
        }
    }
}
