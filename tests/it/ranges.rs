//! Requests for many ranges: refused or merged, never amplified, whatever of the body is here.

use crate::harness::client::{Answer, Ask};
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};
use crate::harness::vast::Vast;
use crate::harness::wire::End;

const LENGTH: u64 = 1_000_000;

/// So many that the header stays below its limit.
const RANGES: u64 = 1000;

/// Requests that ask for much with little.
fn floods() -> Vec<(&'static str, String)> {
    let list = |each: fn(u64) -> String| {
        let ranges: Vec<_> = (0..RANGES).map(each).collect();
        format!("bytes={}", ranges.join(","))
    };
    vec![
        ("all of it, each time", list(|_| "0-".to_owned())),
        ("overlapping", list(|n| format!("{n}-"))),
        ("overlapping from behind", list(|n| format!("-{}", RANGES - n))),
        ("one byte each", list(|n| format!("{0}-{0}", 2 * n))),
        ("one byte each, far apart", list(|n| format!("{0}-{0}", 900 * n))),
        ("backwards", list(|n| format!("{0}-{0}", 900 * (RANGES - n)))),
        ("the same byte", list(|_| "0-0".to_owned())),
        ("beyond the end", list(|n| format!("{}-", LENGTH + n))),
        ("nothing but commas", format!("bytes={}", ",".repeat(2000))),
        ("sixteen halves", format!("bytes={}", ["0-499999,500001-"; 8].join(","))),
        ("in lines of their own", "bytes=0-".to_owned()),
    ]
}

/// An origin that serves one range, and the whole for anything else.
fn serving(vast: &Vast, control: &'static str) -> Origin {
    let vast = vast.clone();
    Origin::start(move |seen| match control {
        "" => Reply::ranged(seen, &vast, "\"v1\""),
        control => Reply::new(200).control(control).vast(&vast, 0, vast.length),
    })
}

fn ask(node: &Node, name: &str, range: &str) -> Answer {
    let lines = if name == "in lines of their own" { 80 } else { 1 };
    node.ask(&(0..lines).fold(Ask::get("/a"), |ask, _| ask.field("range", range)))
}

/// No more than the whole, and a little around it.
fn assert_bounded(name: &str, vast: &Vast, answer: &Answer) {
    assert!(matches!(answer.status, 200 | 206 | 416), "{name}: {}", answer.status);
    assert_eq!(answer.end, End::Clean, "{name}");
    assert!(answer.body.len() as u64 <= LENGTH + 4096, "{name}: {} bytes", answer.body.len());
    if answer.status == 200 {
        assert!(answer.body.len() as u64 == LENGTH && vast.has(0, &answer.body), "{name}");
    }
}

#[test]
fn a_thousand_ranges_of_what_is_here() {
    let vast = Vast::new(LENGTH, 1);
    let origin = serving(&vast, "");
    let node = Setup::new(&origin).start();
    node.get("/a");
    for (name, range) in floods() {
        let answer = ask(&node, name, &range);
        assert_bounded(name, &vast, &answer);
        assert!(answer.is_hit(), "{name}");
    }
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn a_thousand_ranges_of_what_is_not_here() {
    let vast = Vast::new(LENGTH, 2);
    for (name, range) in floods() {
        let origin = serving(&vast, "");
        let node = Setup::new(&origin).start();
        let answer = ask(&node, name, &range);
        assert_bounded(name, &vast, &answer);
        assert!(origin.count("/a") <= 1, "{name}");
        assert!(origin.sent() <= LENGTH + 4096, "{name}: the origin sent {} bytes", origin.sent());
        // One range at most goes on.
        let asked = origin.seen().first().and_then(|seen| seen.field("range")).unwrap_or_default();
        assert!(!asked.contains(','), "{name}: the origin was asked for {} bytes of ranges", asked.len());
        assert_bounded(name, &vast, &ask(&node, name, &range));
        assert!(origin.sent() <= LENGTH + 8192, "{name}: fetched again");
    }
}

#[test]
fn a_thousand_ranges_of_what_is_here_in_part() {
    let vast = Vast::new(LENGTH, 3);
    for (name, range) in floods() {
        let origin = serving(&vast, "");
        let node = Setup::new(&origin).start();
        node.ask(&Ask::get("/a").field("range", "bytes=300000-300099"));
        let (asked, sent) = (origin.count("/a"), origin.sent());
        assert_bounded(name, &vast, &ask(&node, name, &range));
        assert!(origin.count("/a") - asked <= 2, "{name}: one for each side of what is here");
        assert!(origin.sent() - sent <= LENGTH + 4096, "{name}: the origin sent {} bytes", origin.sent() - sent);
    }
}

/// What goes past the cache is between the client and the origin, but an origin may know worse than to serve it.
#[test]
fn a_thousand_ranges_past_the_cache() {
    let vast = Vast::new(LENGTH, 4);
    let origin = serving(&vast, "no-store");
    let node = Setup::new(&origin).start();
    for (name, range) in floods() {
        for _ in 0..2 {
            assert_bounded(name, &vast, &ask(&node, name, &range));
            let asked = origin.last("/a").field("range").unwrap_or_default();
            assert!(asked.matches('-').count() <= 16, "{name}: {} ranges went on", asked.matches('-').count());
        }
    }
}
