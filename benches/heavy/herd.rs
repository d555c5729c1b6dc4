//! A herd on a cold object: one request to the origin, and everybody's first byte as soon as ours.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::demand::Demands;
use crate::harness::client::{Ask, Begun, Plain};
use crate::harness::node::Setup;
use crate::harness::origin::{Origin, Reply};
use crate::harness::process::Process;
use crate::harness::vast::Vast;
use crate::harness::wire::End;

const CLIENTS: usize = 500;
const MIB: u64 = 1 << 20;

/// What the first of the clients does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Reads,
    /// Stops after the first byte, and leaves when the others are done with half of it.
    StopsAndLeaves,
    /// A byte a second until the others are done.
    Crawls,
}

pub(crate) fn run(demands: &mut Demands, divisor: u64) {
    for (name, first) in [
        ("all read", First::Reads),
        ("the first stops reading, then leaves", First::StopsAndLeaves),
        ("the first reads a byte a second", First::Crawls),
    ] {
        println!("  {name}");
        herd(demands, first, 100 * MIB / divisor);
    }
}

fn herd(demands: &mut Demands, first: First, length: u64) {
    let vast = Vast::new(length, 1);
    let (asked, began) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
    let origin = {
        let (vast, asked, began) = (vast.clone(), asked.clone(), began.clone());
        Origin::start(move |_| {
            let (vast, asked, began) = (vast.clone(), asked.clone(), began.clone());
            Reply::talk(move |talk| {
                // All are waiting by then.
                while asked.load(Ordering::SeqCst) < CLIENTS {
                    thread::sleep(Duration::from_millis(1));
                }
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\ncache-control: max-age=600\r\n", vast.length);
                let now = Instant::now();
                *began.lock().unwrap() = Some(now);
                talk.write(format!("{head}etag: \"1\"\r\n\r\n").as_bytes());
                paced(10 * MIB, vast.length, now, |from, to| talk.write(&vast.part(from, to)));
            })
        })
    };
    let process = Process::run(&Setup::new(&origin).unset("cache.memory"));
    let connect = |first: bool| if first { Plain::narrow(process.http()) } else { Plain::connect(process.http()) };
    let (times, done, wrong) = (Mutex::new(Vec::new()), AtomicUsize::new(0), AtomicUsize::new(0));
    let started = Instant::now();
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (vast, times, done, wrong, asked) = (&vast, &times, &done, &wrong, &asked);
            scope.spawn(move || {
                let odd = number == 0 && first != First::Reads;
                let mut client = connect(odd);
                client.send(&Ask::get("/big"));
                asked.fetch_add(1, Ordering::SeqCst);
                let mut begun = client.begun("GET").unwrap();
                let byte = client.up_to(&mut begun, 1);
                times.lock().unwrap().push(Instant::now());
                if odd {
                    return misbehave(first, &mut client, &mut begun, done);
                }
                let mut at = 1;
                let end = client.each(begun, |bytes| {
                    if !vast.has(at, bytes) {
                        wrong.fetch_add(1, Ordering::SeqCst);
                    }
                    at += bytes.len() as u64;
                });
                if (at, end) != (vast.length, End::Clean) || !vast.has(0, &byte) {
                    wrong.fetch_add(1, Ordering::SeqCst);
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    let took = started.elapsed();
    let began = began.lock().unwrap().unwrap();
    let latest = times.into_inner().unwrap().into_iter().max().unwrap() - began;
    demands.exactly("requests at the origin", origin.count("/big"), 1);
    demands.at_most("ms from the origin's first byte to the last client's", latest.as_secs_f64() * 1e3, 100.0);
    demands.exactly("clients with a wrong or missing byte", wrong.load(Ordering::SeqCst), 0);
    // The memory tier by default, and as much again as one large body may take.
    demands.at_most("MiB of memory at most", process.resident_kib_max() >> 10, 256 + 128);
    demands.tell("seconds until all were done", format!("{:.1}", took.as_secs_f64()));
}

fn misbehave(first: First, client: &mut Plain, begun: &mut Begun, done: &AtomicUsize) {
    match first {
        First::Reads => {}
        First::StopsAndLeaves => {
            while done.load(Ordering::SeqCst) < CLIENTS / 2 {
                thread::sleep(Duration::from_millis(10));
            }
        }
        First::Crawls => {
            while done.load(Ordering::SeqCst) < CLIENTS - 1 {
                client.up_to(begun, 1);
                thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

/// Sends `length` bytes, so many a second since `start`.
fn paced(rate: u64, length: u64, start: Instant, mut send: impl FnMut(u64, u64)) {
    let mut at = 0;
    while at < length {
        let due = (start.elapsed().as_millis() as u64 * rate / 1000 + 1).min(length);
        if due > at {
            send(at, due);
            at = due;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
