//! Parts of bodies: what an origin sends in parts is kept, put together and completed; what clients ask for in parts is
//! cut out.

use nearcast_shared::clock::{Clock, Timestamp};

use crate::harness::client::{Answer, Ask};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply, Seen};
use crate::harness::wire::End;
use crate::harness::{eventually, noise};
use crate::object::object;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
pub(crate) const TAG: &str = "\"v1\"";

fn start(origin: &Origin) -> Node {
    Setup::new(origin).clock(&Clock::manual(NOW)).start()
}

/// What an origin that serves ranges answers: `first..end` of `body`, under `tag`.
pub(crate) fn part(seen: &Seen, body: &[u8], tag: &str) -> Reply {
    let reply = |status| Reply::new(status).control("max-age=60").field("etag", tag);
    let holds = seen.field("if-range").is_none_or(|wanted| wanted == tag);
    let wanted = seen.field("range").filter(|_| holds).and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some(match (first.parse::<usize>().ok(), last.parse::<usize>().ok()) {
            (Some(first), last) => (first, last.map_or(body.len(), |last| (last + 1).min(body.len()))),
            (None, last) => (body.len() - last?, body.len()),
        })
    });
    match wanted {
        Some((first, end)) => reply(206)
            .field("content-range", &format!("bytes {first}-{}/{}", end - 1, body.len()))
            .body(body[first..end].to_vec()),
        None => reply(200).body(body.to_vec()),
    }
}

pub(crate) fn serving(body: &[u8], tag: &'static str) -> Origin {
    let body = body.to_vec();
    Origin::start(move |seen| part(seen, &body, tag))
}

fn range(node: &Node, value: &str) -> Answer {
    node.ask(&Ask::get("/a").field("range", value))
}

pub(crate) fn asked(origin: &Origin) -> Vec<Option<String>> {
    origin.seen().iter().map(|seen| seen.field("range")).collect()
}

#[test]
fn a_cold_range_fetches_that_part_alone() {
    let body = noise(1_000_000, 5);
    let origin = serving(&body, TAG);
    let node = start(&origin);
    let cold = range(&node, "bytes=-500000");
    assert_eq!((cold.status, cold.body == body[500_000..], cold.cache().as_str()), (206, true, "fwd=uri-miss; stored"));
    assert_eq!(cold.field("content-range").as_deref(), Some("bytes 500000-999999/1000000"));
    for (value, first, end) in [
        ("bytes=600000-600009", 600_000, 600_010),
        ("bytes=999990-", 999_990, 1_000_000),
        ("bytes=-5", 999_995, 1_000_000),
    ] {
        let answer = range(&node, value);
        assert_eq!((answer.status, answer.is_hit(), answer.body == body[first..end]), (206, true, true), "{value}");
    }
    assert_eq!(asked(&origin), [Some("bytes=-500000".to_owned())]);
}

#[test]
fn parts_are_put_together_and_completed() {
    let body = noise(2_000_000, 6);
    let origin = serving(&body, TAG);
    let node = start(&origin);
    range(&node, "bytes=0-99");
    range(&node, "bytes=1900000-");
    assert!(range(&node, "bytes=50-199").is_hit(), "what is around it came, too");
    let middle = range(&node, "bytes=200000-300000");
    assert_eq!((middle.status, middle.body == body[200_000..=300_000], middle.end), (206, true, End::Clean));
    assert_eq!(middle.cache(), "fwd=partial; stored");
    let whole = node.get("/a");
    assert_eq!((whole.status, whole.end, whole.body == body), (200, End::Clean, true));
    assert_eq!(whole.field("content-range"), None);
    assert_eq!(whole.cache(), "fwd=partial; fwd-status=206; stored");
    let wanted = ["bytes=0-262143", "bytes=1835008-", "bytes=262144-524287", "bytes=524288-1835007"];
    assert_eq!(asked(&origin), wanted.map(|range| Some(range.to_owned())), "by chunks, and nothing twice");
    assert!(origin.seen()[1..].iter().all(|seen| seen.field("if-range").as_deref() == Some(TAG)));
    let again = node.get("/a");
    assert_eq!((again.is_hit(), again.body == body), (true, true));
}

#[test]
fn parts_of_two_versions_are_never_joined() {
    let (old, new) = (noise(600_000, 7), noise(600_000, 8));
    let (first, second) = (old.clone(), new.clone());
    let origin = Origin::start(move |seen| match seen.field("range").as_deref() {
        Some("bytes=0-262143") => part(seen, &first, TAG),
        _ => part(seen, &second, "\"v2\""),
    });
    let node = start(&origin);
    assert!(range(&node, "bytes=0-99").body == old[..100]);
    let rest = range(&node, "bytes=50-299999");
    assert_eq!(
        (rest.status, rest.body == new[50..300_000]),
        (206, true),
        "If-Range failed: the whole came, and was cut"
    );
    assert!(node.get("/a").body == new);
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn a_part_that_does_not_fit_what_is_stored_is_not_used() {
    let body = noise(600_000, 9);
    let whole = body.clone();
    // Says that If-Range holds, and sends another version's part.
    let origin = Origin::start(move |seen| match seen.field("if-range") {
        Some(_) => Reply::new(206)
            .control("max-age=60")
            .field("etag", "\"v3\"")
            .field("content-range", "bytes 262144-599999/600000")
            .body(noise(337_856, 1)),
        None => part(seen, &whole, TAG),
    });
    let node = start(&origin);
    range(&node, "bytes=0-99");
    let answer = node.get("/a");
    assert_eq!((answer.status, answer.body == body), (200, true));
    assert_eq!(asked(&origin).last(), Some(&None), "asked again for all of it");
}

#[test]
fn without_a_strong_validator_nothing_is_put_together() {
    let body = noise(600_000, 10);
    let origin = serving(&body, "W/\"v1\"");
    let node = start(&origin);
    range(&node, "bytes=0-99");
    assert!(range(&node, "bytes=10-19").is_hit(), "a part of a part needs none");
    assert_eq!(range(&node, "bytes=50-299999").cache(), "fwd=partial; stored");
    assert!(node.get("/a").body == body);
    assert_eq!(asked(&origin), [Some("bytes=0-262143".to_owned()), Some("bytes=0-524287".to_owned()), None]);
}

#[test]
fn a_part_that_may_not_be_shared_is_the_one_that_was_asked_for() {
    let body = noise(600_000, 15);
    let sent = body.clone();
    let origin = Origin::start(move |seen| part(seen, &sent, TAG).control("no-store"));
    let node = start(&origin);
    for _ in 0..2 {
        let answer = range(&node, "bytes=300000-300009");
        assert_eq!((answer.status, answer.body == body[300_000..300_010]), (206, true));
        assert_eq!(answer.field("content-range").as_deref(), Some("bytes 300000-300009/600000"));
    }
    let own = Some("bytes=300000-300009".to_owned());
    assert_eq!(asked(&origin), [Some("bytes=262144-524287".to_owned()), own.clone(), own], "and it is remembered");
}

#[test]
fn an_origin_may_send_less_than_was_asked_for() {
    let body = noise(600_000, 16);
    let sent = body.clone();
    let origin = Origin::start(move |_| {
        let reply = Reply::new(206).control("max-age=60").field("content-range", "bytes 262144-300000/600000");
        reply.body(sent[262_144..=300_000].to_vec())
    });
    let answer = range(&start(&origin), "bytes=299999-400000");
    assert_eq!((answer.status, answer.body == body[299_999..=300_000]), (206, true));
    assert_eq!(answer.field("content-range").as_deref(), Some("bytes 299999-300000/600000"));
}

#[test]
fn a_part_that_contradicts_itself_is_passed_on_but_not_kept() {
    let origin =
        Origin::start(|_| Reply::new(206).control("max-age=60").field("content-range", "bytes 4-9/10").body("01234"));
    let node = start(&origin);
    for _ in 0..2 {
        let answer = range(&node, "bytes=-5");
        assert_eq!((answer.status, answer.text().as_str(), answer.is_hit()), (206, "01234", false));
    }
}

#[test]
fn a_part_that_nobody_asked_for_is_an_error() {
    let origin =
        Origin::start(|_| Reply::new(206).control("max-age=60").field("content-range", "bytes 0-4/10").body("01234"));
    assert_eq!(start(&origin).get("/a").status, 502);
}

#[test]
fn who_asks_for_the_same_part_waits_for_one_fetch() {
    let gate = Gate::default();
    let (held, body) = (gate.clone(), noise(1_000, 11));
    let sent = body.clone();
    let origin = Origin::start(move |seen| part(seen, &sent, TAG).hold(&held));
    let node = start(&origin);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..5).map(|_| scope.spawn(|| range(&node, "bytes=10-19"))).collect();
        // One that looked into the store before all of it was there, and joins after that, would fetch for itself.
        eventually("all five wait", || object(&node, "https://www.cdn.test/a", "")["fills"][0]["readers"] == 5);
        gate.open();
        for client in clients {
            let answer = client.join().unwrap();
            assert_eq!((answer.status, answer.body == body[10..20]), (206, true));
        }
    });
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn several_ranges_in_one_answer() {
    let body = noise(1_000_000, 12);
    let origin = Origin::start({
        let body = body.clone();
        move |_| Reply::ok(body.clone()).control("max-age=60").field("content-type", "text/x").field("etag", TAG)
    });
    let node = start(&origin);
    let cold = range(&node, "bytes=0-9,500000-500009");
    assert_eq!((cold.status, cold.body == body), (200, true), "on a miss the whole, which is always allowed");
    let answer = range(&node, "bytes=500000-500009,0-9,-1");
    let kind = answer.field("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut wanted = Vec::new();
    for (first, end) in [(500_000, 500_010), (0, 10), (999_999, 1_000_000)] {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: text/x\r\nContent-Range: bytes {first}-{}/1000000\r\n\r\n",
            end - 1
        );
        wanted.extend_from_slice(head.as_bytes());
        wanted.extend_from_slice(&body[first..end]);
    }
    wanted.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert_eq!((answer.status, answer.body == wanted, answer.field("content-range")), (206, true, None));
    assert_eq!(answer.field("content-length"), Some(wanted.len().to_string()));
    assert_eq!(range(&node, "bytes=0-400000,500000-999999").status, 206);
    assert_eq!(range(&node, "bytes=0-0,1-999999").field("content-range").as_deref(), Some("bytes 0-999999/1000000"));
}

#[test]
fn parts_come_back_after_a_restart() {
    let body = noise(3_000_000, 13);
    let origin = serving(&body, TAG);
    let setup = Setup::new(&origin).clock(&Clock::manual(NOW)).disk();
    let node = setup.start();
    range(&node, "bytes=300000-799999");
    node.stop();
    let node = setup.start();
    let answer = range(&node, "bytes=400000-600000");
    assert_eq!((answer.is_hit(), answer.body == body[400_000..=600_000]), (true, true));
    assert!(node.get("/a").body == body);
    let wanted = ["bytes=262144-1048575", "bytes=0-262143", "bytes=1048576-"];
    assert_eq!(asked(&origin), wanted.map(|range| Some(range.to_owned())), "what is missing on both sides");
}

#[test]
fn a_stale_part_is_asked_about_and_used_again() {
    let body = noise(1_000, 14);
    let sent = body.clone();
    let origin = Origin::start(move |seen| match seen.field("if-none-match") {
        Some(_) => Reply::new(304).field("etag", TAG).control("max-age=60"),
        None => part(seen, &sent, TAG),
    });
    let clock = Clock::manual(NOW);
    let node = Setup::new(&origin).clock(&clock).start();
    range(&node, "bytes=0-99");
    clock.advance(61_000);
    let answer = range(&node, "bytes=10-19");
    assert_eq!((answer.status, answer.body == body[10..20]), (206, true));
    assert_eq!(answer.cache(), "fwd=stale; fwd-status=304; ttl=60");
    assert!(range(&node, "bytes=20-29").is_hit());
    assert_eq!(origin.count("/a"), 2);
}
