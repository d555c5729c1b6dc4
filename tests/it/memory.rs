//! What the store counts is what it takes: with the tier full, and overfull, the process has no more than that and a little.

use crate::harness::client::{Ask, Plain};
use crate::harness::eventually;
use crate::harness::node::Setup;
use crate::harness::origin::{Origin, Reply};
use crate::harness::process::Process;
use crate::harness::vast::Vast;

const MIB: u64 = 1 << 20;

const TIER: u64 = 32 * MIB;

/// So much more than the tier the process may take, for what it has anyhow, and for the allocator's rounding.
const ALLOWANCE: u64 = 24 * MIB;

/// Sends half as much again as the tier takes, in bodies of `length`.
fn fill(length: u64, chunked: bool) {
    let vast = Vast::new(length, length);
    let origin = Origin::start(move |_| {
        let reply = Reply::new(200).control("max-age=3600").field("etag", "\"0123456789abcdef\"");
        let reply = (0..10).fold(reply, |reply, n| reply.field(&format!("x-field-{n}"), "a value of some length"));
        let reply = if chunked { reply.chunked() } else { reply };
        reply.vast(&vast, 0, vast.length)
    });
    let process = Process::run(&Setup::new(&origin).set("cache.memory", "\"32 MiB\""));
    let before = process.settled_kib();
    let mut client = Plain::connect(process.http());
    for number in 0..TIER * 3 / 2 / (length + 2048) {
        let answer = client.ask(&Ask::get(&format!("/{number}")));
        assert_eq!(answer.body.len() as u64, length);
    }
    // What is free goes back in a second or two, and is no part of it.
    eventually(&format!("bodies of {length} take no more than they are counted as"), || {
        process.resident_kib().saturating_sub(before) << 10 < TIER + ALLOWANCE
    });
}

#[test]
fn of_small_bodies() {
    fill(4 << 10, false);
}

#[test]
fn of_bodies_within_one_lookup() {
    fill(44 << 10, false);
}

#[test]
fn of_bodies_in_pieces() {
    fill(MIB + 1, false);
}

#[test]
fn of_bodies_of_unknown_length() {
    fill(33 << 10, true);
    fill(300 << 10, true);
}

#[test]
fn of_a_burst_goes_back() {
    const CLIENTS: u64 = 600;
    /// Of a connection at rest, with room to spare; one that is busy has twice as much.
    const EACH_KIB: u64 = 12;
    let origin = Origin::start(|_| Reply::new(200).control("max-age=3600"));
    let process = Process::run(&Setup::new(&origin));
    Plain::connect(process.http()).ask(&Ask::get("/"));
    let before = process.settled_kib();
    let mut clients: Vec<Plain> = (0..CLIENTS).map(|_| Plain::connect(process.http())).collect();
    for client in &mut clients {
        assert_eq!(client.ask(&Ask::get("/")).status, 200);
    }
    eventually("connections at rest take little", || {
        process.resident_kib().saturating_sub(before) < CLIENTS * EACH_KIB
    });
    drop(clients);
}
