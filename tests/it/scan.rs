//! Much that is asked for once goes through a small cache: what is asked for often stays. `benches/heavy` has the same
//! at full size.

use crate::harness::client::{Ask, Plain};
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};
use crate::harness::vast::Vast;
use crate::harness::wire::End;

const MIB: u64 = 1 << 20;

/// A quarter of the cache.
const HOT: u64 = 64;
const HOT_BYTES: u64 = 60 << 10;

/// Bytes that go through the cache, sixteen times as many as it holds.
const SCANNED: u64 = 256 * MIB;

/// Bytes of that between two rounds of the hot set.
const ROUND: u64 = 4 * MIB;

/// Serves `/hot/N` and whatever `/scan/..` asks for.
fn origin(scan: &Vast) -> Origin {
    let (hot, scan) = (Vast::new(HOT_BYTES, 1), scan.clone());
    Origin::start(move |seen| {
        let vast = if seen.target.starts_with("/hot/") { &hot } else { &scan };
        Reply::ranged(seen, vast, "\"v1\"")
    })
}

/// Asks for all of the hot set, and returns how much of it came from the store.
fn hits(client: &mut Plain) -> u64 {
    let hit = |number| client.ask(&Ask::get(&format!("/hot/{number}"))).is_hit();
    (0..HOT).map(hit).filter(|hit| *hit).count() as u64
}

fn warm(node: &Node) -> Plain {
    let mut client = Plain::connect(node.http());
    for _ in 0..3 {
        hits(&mut client);
        node.settle();
    }
    assert_eq!(hits(&mut client), HOT, "before the scan");
    client
}

/// The hits of the rounds between must be down by less than 5 points.
fn assert_stayed(hits: u64, rounds: u64) {
    let share = hits as f64 / (rounds * HOT) as f64;
    assert!(share > 0.95, "{:.1} % of the hot set hit", 100.0 * share);
}

#[test]
fn of_many_objects() {
    let scan = Vast::new(HOT_BYTES, 2);
    let origin = origin(&scan);
    let node = Setup::new(&origin).set("cache.memory", "\"16 MiB\"").start();
    let mut client = warm(&node);
    let (mut found, rounds, each) = (0, SCANNED / ROUND, ROUND / HOT_BYTES);
    for round in 0..rounds {
        for number in 0..each {
            let answer = client.ask(&Ask::get(&format!("/scan/{}", round * each + number)));
            assert!(answer.body.len() as u64 == HOT_BYTES && !answer.is_hit());
        }
        found += hits(&mut client);
    }
    assert_stayed(found, rounds);
}

#[test]
fn of_one_large_object() {
    let scan = Vast::new(SCANNED, 3);
    let origin = origin(&scan);
    let node = Setup::new(&origin).set("cache.memory", "\"16 MiB\"").start();
    let (mut client, mut large) = (warm(&node), Plain::connect(node.http()));
    let mut begun = large.begin(&Ask::get("/scan/large"));
    let (mut at, mut found, mut rounds) = (0, 0, 0);
    while at + ROUND < SCANNED {
        let mut round = 0;
        while round < ROUND {
            let bytes = large.some(&mut begun, 1);
            assert!(scan.has(at, &bytes));
            at += bytes.len() as u64;
            round += bytes.len() as u64;
        }
        found += hits(&mut client);
        rounds += 1;
    }
    assert_eq!(large.rest_of(begun, &scan, at), (SCANNED, End::Clean));
    assert_stayed(found, rounds);
    assert_eq!(origin.count("/scan/large"), 1);
}
