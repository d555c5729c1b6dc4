//! Many clients on one object: each has its bytes as soon as we do, the origin is asked once, and what one client does
//! harms no other. `benches/heavy` shows the same at full size and by the clock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::client::{Ask, Plain};
use crate::harness::eventually;
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};
use crate::harness::process::Process;
use crate::harness::vast::Vast;
use crate::harness::wire::End;

const MIB: u64 = 1 << 20;

/// With a strong validator, what a client is too slow to take as it comes can be asked for again.
const TAG: &str = "\"v1\"";

/// Sends `early` bytes of `vast`, and the rest when the gate opens. With `tag`, parts of it at any time.
fn in_two(vast: &Vast, early: u64, gate: &Gate, tag: Option<&'static str>) -> Origin {
    let (vast, gate) = (vast.clone(), gate.clone());
    Origin::start(move |seen| match tag {
        Some(tag) if seen.field("range").is_some() => Reply::ranged(seen, &vast, tag),
        _ => {
            let reply = Reply::new(200).control("max-age=600");
            let reply = tag.into_iter().fold(reply, |reply, tag| reply.field("etag", tag));
            reply.vast(&vast, 0, early).wait(&gate).vast(&vast, early, vast.length)
        }
    })
}

/// One whose memory has room for all of such a body.
fn node(origin: &Origin) -> Node {
    Setup::new(origin).set("cache.memory", "\"256 MiB\"").start()
}

/// How often all of it was asked for.
fn fetched(origin: &Origin) -> usize {
    origin.seen().iter().filter(|seen| seen.field("range").is_none()).count()
}

#[test]
fn three_hundred_clients_have_the_first_bytes_while_the_rest_is_still_to_come() {
    const CLIENTS: usize = 300;
    let (vast, gate) = (Vast::new(3 * MIB, 1), Gate::default());
    let origin = in_two(&vast, 64 << 10, &gate, None);
    let process = Process::run(&Setup::new(&origin));
    let before = process.settled_kib();
    let begun = AtomicUsize::new(0);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Plain::connect(process.http());
                    let mut body = client.begin(&Ask::get("/big"));
                    let first = client.some(&mut body, 64 << 10);
                    assert!(vast.has(0, &first));
                    begun.fetch_add(1, Ordering::SeqCst);
                    client.rest_of(body, &vast, first.len() as u64)
                })
            })
            .collect();
        eventually("first bytes at all clients", || begun.load(Ordering::SeqCst) == CLIENTS);
        gate.open();
        for client in clients {
            assert_eq!(client.join().unwrap(), (vast.length, End::Clean));
        }
    });
    assert_eq!(origin.count("/big"), 1);
    // One body each would be 900 MiB.
    let grown = process.resident_kib_max().saturating_sub(before) >> 10;
    assert!(grown < 64, "it grew by {grown} MiB");
}

/// Without a validator, who is too slow is cut off in the end; the others must not feel it either way.
const VALIDATORS: [Option<&str>; 2] = [Some(TAG), None];

#[test]
fn the_first_client_stops_reading_and_then_leaves() {
    for tag in VALIDATORS {
        let (vast, gate) = (Vast::new(12 * MIB, 2), Gate::default());
        let origin = in_two(&vast, MIB, &gate, tag);
        let node = node(&origin);
        let mut first = Plain::narrow(node.http());
        let mut stopped = first.begin(&Ask::get("/big"));
        first.up_to(&mut stopped, 1);
        thread::scope(|scope| {
            let read = |_| {
                let mut client = Plain::connect(node.http());
                let mut begun = client.begin(&Ask::get("/big"));
                let some = client.some(&mut begun, 1);
                (client, begun, some.len() as u64)
            };
            // Those that came while it ran end although the first takes nothing.
            let readers: Vec<_> = (0..20).map(read).collect();
            gate.open();
            let end = |(mut client, begun, some): (Plain, _, _)| {
                let vast = &vast;
                scope.spawn(move || client.rest_of(begun, vast, some))
            };
            let readers: Vec<_> = readers.into_iter().map(end).collect();
            for reader in readers {
                assert_eq!(reader.join().unwrap(), (vast.length, End::Clean), "{tag:?}");
            }
        });
        node.settle();
        drop(first);
        let mut client = Plain::connect(node.http());
        let begun = client.begin(&Ask::get("/big"));
        assert_eq!(client.rest_of(begun, &vast, 0), (vast.length, End::Clean), "{tag:?}");
        assert_eq!(fetched(&origin), 1, "{tag:?}");
    }
}

#[test]
fn a_client_that_reads_byte_by_byte_harms_nobody() {
    for tag in VALIDATORS {
        let (vast, gate) = (Vast::new(8 * MIB, 3), Gate::default());
        gate.open();
        let origin = in_two(&vast, MIB, &gate, tag);
        // Two workers: some of the others share one with the slow client.
        let node = node(&origin);
        let mut slow = Plain::narrow(node.http());
        let mut crawling = slow.begin(&Ask::get("/big"));
        for round in 0..12 {
            let byte = slow.up_to(&mut crawling, 1);
            assert!(vast.has(round, &byte));
            let mut client = Plain::connect(node.http());
            let begun = client.begin(&Ask::get("/big"));
            assert_eq!(client.rest_of(begun, &vast, 0), (vast.length, End::Clean), "{tag:?}");
        }
        let (length, end) = slow.rest_of(crawling, &vast, 12);
        if tag.is_some() {
            assert_eq!((length, end), (vast.length, End::Clean), "it gets all of it, when it cares");
        }
        assert_eq!((length == vast.length, end == End::Clean), (end == End::Clean, length == vast.length));
        assert_eq!(fetched(&origin), 1, "{tag:?}");
    }
}

/// Nobody can wait for a body that is not stored but those who read it.
#[test]
fn a_client_that_stops_reading_does_not_hold_up_a_body_that_is_not_stored() {
    let (vast, gate) = (Vast::new(24 * MIB, 4), Gate::default());
    let (sent, held) = (vast.clone(), gate.clone());
    let origin = Origin::start(move |_| {
        let reply = Reply::new(200).control("max-age=600").chunked();
        reply.vast(&sent, 0, MIB).wait(&held).vast(&sent, MIB, sent.length)
    });
    let node = Setup::new(&origin).set("cache.object-max", "\"2 MiB\"").start();
    let mut first = Plain::narrow(node.http());
    let mut stopped = first.begin(&Ask::get("/big"));
    first.up_to(&mut stopped, 1);
    let mut second = Plain::connect(node.http());
    let begun = second.begin(&Ask::get("/big"));
    gate.open();
    assert_eq!(second.rest_of(begun, &vast, 0), (vast.length, End::Clean));
    let (length, end) = first.rest_of(stopped, &vast, 1);
    assert_eq!((length < vast.length, end), (true, End::Broken), "who holds up the others is cut off");
    assert_eq!(origin.count("/big"), 1);
}

#[test]
fn clients_of_what_must_not_be_shared_do_not_wait_for_each_other() {
    const CLIENTS: usize = 200;
    let gates = [Gate::default(), Gate::default()];
    let (held, number) = (gates.clone(), AtomicUsize::new(0));
    let origin = Origin::start(move |_| {
        let own = number.fetch_add(1, Ordering::SeqCst);
        let reply = Reply::ok(format!("answer {own}")).control("no-store");
        // Only by the first one's header can be known what it is.
        if own == 0 { reply } else { reply.hold(&held[own / CLIENTS]) }
    });
    let node = Setup::new(&origin).start();
    let mut bodies = Vec::new();
    // In the first round all but one are released at once; in the second nobody waits to begin with.
    for (round, gate) in gates.iter().enumerate() {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Plain::connect(node.http())).collect();
        for client in &mut clients {
            client.write(b"GET /own HTTP/1.1\r\nhost: www.cdn.test\r\n\r\n");
        }
        // Were they asked for one after the other, the second would be stuck at the gate.
        origin.wait_for("/own", (round + 1) * CLIENTS);
        gate.open();
        for client in &mut clients {
            let answer = client.answer("GET").unwrap();
            assert_eq!((answer.status, answer.end), (200, End::Clean));
            bodies.push(answer.text());
        }
    }
    bodies.sort();
    bodies.dedup();
    assert_eq!((bodies.len(), origin.count("/own")), (2 * CLIENTS, 2 * CLIENTS), "each has its own");
}
