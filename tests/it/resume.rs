//! A fetch that breaks off goes on where it did, if what comes then is surely of the same body; clients notice nothing. Else
//! they are told, and bytes of two bodies never meet.

use std::thread;

use nearcast_shared::clock::{Clock, Timestamp};

use crate::harness::client::{Answer, Ask, Plain};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply, Seen};
use crate::harness::vast::Vast;
use crate::harness::wire::End;

const LENGTH: u64 = 1000;
const DONE: u64 = 600;
const TAG: &str = "\"a\"";

fn body() -> Vast {
    Vast::new(LENGTH, 1)
}

/// What the origin has instead, in the end.
fn other() -> Vast {
    Vast::new(LENGTH, 2)
}

/// The first `DONE` bytes of what should be all of it, then the end of the connection.
fn cut(tag: &str) -> Reply {
    let reply = Reply::new(200).control("max-age=60").field("etag", tag);
    reply.vast(&body(), 0, DONE).announce(LENGTH).cut()
}

/// Asks once over each protocol, for targets of their own.
fn both_ways(node: &Node) -> [(&'static str, Option<Answer>); 2] {
    let h1 = Plain::connect(node.http()).exchange(&Ask::get("/h1"));
    let h2 = Ask::get("/h2").over(node.http(), http::Version::HTTP_2, None).ok();
    node.settle();
    [("/h1", h1), ("/h2", h2)]
}

fn asked(origin: &Origin, target: &str) -> Vec<(Option<String>, Option<String>)> {
    let seen = origin.seen().into_iter().filter(|seen| seen.target == target);
    seen.map(|seen| (seen.field("range"), seen.field("if-range"))).collect()
}

fn is_all_of(vast: &Vast, answer: &Answer) -> bool {
    answer.status == 200 && answer.end == End::Clean && answer.body == vast.part(0, vast.length)
}

#[test]
fn clients_get_the_whole() {
    type First = fn() -> Reply;
    let rows: [(&str, First); 4] = [
        ("closed at 600 of 1,000", || cut(TAG)),
        ("chunks without the last", || {
            Reply::new(200).control("max-age=60").field("etag", TAG).chunked().vast(&body(), 0, DONE).cut()
        }),
        ("a stall", || {
            Reply::talk(|talk| {
                talk.write(
                    b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\netag: \"a\"\r\ncontent-length: 1000\r\n\r\n",
                );
                talk.write(&body().part(0, DONE));
                talk.is_closed();
            })
        }),
        ("by its date", || {
            let reply = Reply::new(200).control("max-age=60").field("date", "Thu, 01 Jan 2026 02:00:00 GMT");
            let reply = reply.field("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT");
            reply.vast(&body(), 0, DONE).announce(LENGTH).cut()
        }),
    ];
    for (name, first) in rows {
        let origin = Origin::start(move |seen| match seen.field("range") {
            None => first(),
            Some(_) if name == "by its date" => {
                let reply = Reply::new(206).field("content-range", "bytes 600-999/1000").control("max-age=60");
                let reply = reply.field("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT");
                reply.field("date", "Thu, 01 Jan 2026 02:00:01 GMT").vast(&body(), DONE, LENGTH)
            }
            Some(_) => Reply::ranged(seen, &body(), TAG),
        });
        let clock = Clock::manual(Timestamp::from_seconds(1_767_232_800));
        let node = Setup::new(&origin).set("origin.read-timeout", "\"300ms\"").clock(&clock).start();
        for (target, answer) in both_ways(&node) {
            let answer = answer.unwrap_or_else(|| panic!("{name}: no answer to {target}"));
            assert!(is_all_of(&body(), &answer), "{name} to {target}: {:?}, {}", answer.end, answer.body.len());
            let asked = asked(&origin, target);
            assert_eq!(asked.len(), 2, "{name}: {asked:?}");
            assert_eq!(asked[1].0.as_deref(), Some("bytes=600-"), "{name}");
            let validator = if name == "by its date" { "Thu, 01 Jan 2026 00:00:00 GMT" } else { TAG };
            assert_eq!(asked[1].1.as_deref(), Some(validator), "{name}");
            let hit = node.get(target);
            assert!(hit.is_hit() && is_all_of(&body(), &hit), "{name}: stored as if nothing had happened");
        }
    }
}

#[test]
fn all_who_follow_get_the_whole() {
    let gate = Gate::default();
    let held = gate.clone();
    let vast = Vast::new(2 << 20, 3);
    let sent = vast.clone();
    let origin = Origin::start(move |seen| match seen.field("range") {
        None => {
            let reply = Reply::new(200).control("max-age=60").field("etag", TAG);
            reply.vast(&sent, 0, 100_000).wait(&held).vast(&sent, 100_000, 1_000_000).announce(sent.length).cut()
        }
        Some(_) => Reply::ranged(seen, &sent, TAG),
    });
    let node = Setup::new(&origin).start();
    let readers: Vec<_> = (0..10)
        .map(|_| {
            let mut client = Plain::connect(node.http());
            let begun = client.begin(&Ask::get("/a"));
            (client, begun)
        })
        .collect();
    gate.open();
    thread::scope(|scope| {
        for (mut client, begun) in readers {
            let vast = &vast;
            scope.spawn(move || assert_eq!(client.rest_of(begun, vast, 0), (vast.length, End::Clean)));
        }
    });
    assert_eq!(asked(&origin, "/a").len(), 2);
}

#[test]
fn an_origin_without_parts_sends_all_of_it_again() {
    let number = std::sync::atomic::AtomicUsize::new(0);
    let origin = Origin::start(move |_| match number.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => cut(TAG),
        _ => Reply::new(200).control("max-age=60").field("etag", TAG).vast(&body(), 0, LENGTH),
    });
    let node = Setup::new(&origin).start();
    let answer = node.get("/a");
    assert!(is_all_of(&body(), &answer), "what came already is not sent twice");
    assert_eq!(origin.count("/a"), 2);
    assert!(node.get("/a").is_hit());
}

#[test]
fn it_goes_on_as_often_as_that_helps() {
    // Each time a little more.
    const STEP: u64 = 300_000;
    let vast = Vast::new(4_000_000, 4);
    let sent = vast.clone();
    let origin = Origin::start(move |seen| {
        let (first, end) = seen.range(sent.length).unwrap_or((0, sent.length));
        if first + STEP >= end {
            return Reply::ranged(seen, &sent, TAG);
        }
        let reply = Reply::new(if first == 0 { 200 } else { 206 }).control("max-age=60").field("etag", TAG);
        let reply = match first {
            0 => reply,
            _ => reply.field("content-range", &format!("bytes {first}-{}/{}", end - 1, sent.length)),
        };
        reply.vast(&sent, first, first + STEP).announce(end - first).cut()
    });
    let node = Setup::new(&origin).start();
    let answer = node.get("/a");
    assert!(is_all_of(&vast, &answer), "{:?} after {} bytes", answer.end, answer.body.len());
    assert_eq!(origin.count("/a") as u64, vast.length.div_ceil(STEP));
    assert!(origin.sent() < vast.length + 20_000, "nothing twice");
}

/// What comes then is not surely the rest of the same body.
#[test]
fn bytes_of_two_bodies_never_meet() {
    type Rest = fn(&Seen) -> Reply;
    const PLACE: &str = "bytes 600-999/1000";
    let rows: [(&str, Rest); 11] = [
        ("another tag, and all of it", |seen| Reply::ranged(seen, &other(), "\"b\"")),
        ("another tag, and a part though If-Range fails", |_| part("\"b\"", PLACE).vast(&other(), DONE, LENGTH)),
        ("a weak tag", |_| part("W/\"a\"", PLACE).vast(&other(), DONE, LENGTH)),
        ("no tag", |_| part("", PLACE).vast(&other(), DONE, LENGTH)),
        ("all of it without a tag", |_| Reply::new(200).control("max-age=60").vast(&other(), 0, LENGTH)),
        ("another part", |_| part(TAG, "bytes 500-999/1000").vast(&body(), 500, LENGTH)),
        ("a part of another length", |_| part(TAG, "bytes 600-1099/1100").vast(&Vast::new(1100, 1), DONE, 1100)),
        ("a part without a place", |_| {
            Reply::new(206).control("max-age=60").field("etag", TAG).vast(&body(), DONE, LENGTH)
        }),
        ("no such part", |_| Reply::new(416).field("content-range", "bytes */600")),
        ("an error", |_| Reply::new(500).body("x".repeat(400))),
        ("no answer", |_| Reply::hang_up()),
    ];
    for (name, rest) in rows {
        let origin = Origin::start(move |seen| {
            let first = seen.field("range").is_none() && seen.field("x-second").is_none();
            if first {
                cut(TAG)
            } else if seen.field("range").is_some() {
                rest(seen)
            } else {
                right(&other())
            }
        });
        let node = Setup::new(&origin).start();
        for (target, answer) in both_ways(&node) {
            let body = answer.map(|answer| {
                assert_eq!((answer.status, answer.end), (200, End::Broken), "{name} to {target}");
                answer.body
            });
            assert!(self::body().has(0, &body.unwrap_or_default()), "{name} to {target}");
            assert!(asked(&origin, target).len() <= 8, "{name}: tried for ever");
            let next = node.ask(&Ask::get(target).field("x-second", "1"));
            assert!(is_all_of(&other(), &next) && !next.is_hit(), "{name} to {target}: nothing was stored");
        }
    }
}

fn part(tag: &str, place: &str) -> Reply {
    let reply = Reply::new(206).control("max-age=60").field("content-range", place);
    if tag.is_empty() { reply } else { reply.field("etag", tag) }
}

fn right(vast: &Vast) -> Reply {
    Reply::new(200).control("max-age=60").field("etag", "\"b\"").vast(vast, 0, vast.length)
}

#[test]
fn without_a_strong_validator_it_is_broken_off() {
    for (name, tag) in [("a weak tag", Some("W/\"a\"")), ("none", None)] {
        let origin = Origin::start(move |_| match tag {
            Some(tag) => cut(tag),
            None => Reply::new(200).control("max-age=60").vast(&body(), 0, DONE).announce(LENGTH).cut(),
        });
        let node = Setup::new(&origin).start();
        for (target, answer) in both_ways(&node) {
            assert!(answer.is_none_or(|answer| answer.end == End::Broken), "{name}");
            assert_eq!(asked(&origin, target), [(None, None)], "{name}");
        }
    }
}

#[test]
fn an_operator_may_forbid_it() {
    let origin = Origin::start(|_| cut(TAG));
    let node = Setup::new(&origin).set("origin.resumes", "0").start();
    assert_eq!(node.get("/a").end, End::Broken);
    assert_eq!(origin.count("/a"), 1);
}
