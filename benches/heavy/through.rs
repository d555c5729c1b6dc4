//! Far more than it holds goes through a cache: its memory is bounded, and what is asked for often stays.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use crate::demand::Demands;
use crate::harness::client::{Ask, Plain};
use crate::harness::node::Setup;
use crate::harness::origin::{Origin, Reply};
use crate::harness::process::Process;
use crate::harness::vast::Vast;
use crate::harness::wire::End;
use crate::hot::{self, Ratio};

const GIB: u64 = 1 << 30;

/// Clients that ask for what is asked for once.
const SCANNERS: u64 = 4;

/// One file, first with a strong validator and then without any.
pub(crate) fn stream(demands: &mut Demands, divisor: u64) {
    let vast = Vast::new(20 * GIB / divisor, 1);
    for tag in [Some("\"1\""), None] {
        println!("  {}", if tag.is_some() { "with a strong validator" } else { "without a validator" });
        let sent = vast.clone();
        let origin = serving(move |seen| match tag {
            Some(tag) => Reply::ranged(seen, &sent, tag),
            None => Reply::new(200).control("max-age=3600").vast(&sent, 0, sent.length),
        });
        through(demands, &origin, |process| {
            let mut client = Plain::connect(process.http());
            let begun = client.begin(&Ask::get("/once/file"));
            let (length, end) = client.rest_of(begun, &vast, 0);
            (length, u64::from((length, end) != (vast.length, End::Clean)))
        });
        demands.exactly("requests for it at the origin", origin.count("/once/file"), 1);
    }
}

/// Many objects, each of them once.
pub(crate) fn scan(demands: &mut Demands, divisor: u64) {
    const BYTES: u64 = 4096;
    let each = 1_000_000 / divisor / SCANNERS;
    let vast = Vast::new(BYTES, 2);
    let sent = vast.clone();
    let origin = serving(move |_| Reply::new(200).control("max-age=3600").vast(&sent, 0, BYTES));
    through(demands, &origin, |process| {
        let wrong: u64 = thread::scope(|scope| {
            let scan = |number| {
                let (process, vast) = (process, &vast);
                scope.spawn(move || {
                    let mut client = Plain::connect(process.http());
                    let asks = (0..each).map(|one| Ask::get(&format!("/once/{number}/{one}")));
                    asks.map(|ask| client.ask(&ask)).filter(|answer| !vast.has(0, &answer.body)).count() as u64
                })
            };
            let scanners: Vec<_> = (0..SCANNERS).map(scan).collect();
            scanners.into_iter().map(|scanner| scanner.join().unwrap()).sum()
        });
        (each * SCANNERS * BYTES, wrong)
    });
}

/// An origin with the hot set, and `once` for all else.
fn serving(once: impl Fn(&crate::harness::origin::Seen) -> Reply + Send + Sync + 'static) -> Origin {
    let hot = Vast::new(hot::BYTES, 3);
    Origin::start(move |seen| match seen.target.starts_with("/hot/") {
        true => Reply::new(200).control("max-age=36000").vast(&hot, 0, hot.length),
        false => once(seen),
    })
}

/// Does `work`, which returns how many bytes went through and how many of its answers were wrong, beside the hot set.
fn through(demands: &mut Demands, origin: &Origin, work: impl FnOnce(&Process) -> (u64, u64)) {
    const REQUESTS: u64 = 50_000;
    let process = Process::run(&Setup::new(origin).set("cache.memory", "\"1 GiB\""));
    hot::warm(&process);
    let before = hot::measure(&process, REQUESTS);
    let (ratio, stop) = (Ratio::default(), AtomicBool::new(false));
    let started = Instant::now();
    let (bytes, wrong) = thread::scope(|scope| {
        scope.spawn(|| hot::keep_asking(&process, &ratio, &stop));
        let done = work(&process);
        stop.store(true, Ordering::Relaxed);
        done
    });
    let seconds = started.elapsed().as_secs_f64();
    let after = hot::measure(&process, REQUESTS);
    demands.exactly("wrong answers", wrong, 0);
    demands.at_most("MiB of memory at most", process.resident_kib_max() >> 10, 1024 + 128);
    demands.at_most("points by which hits of the hot set went down meanwhile", before - ratio.percent(), 5.0);
    demands.at_most("and afterwards", before - after, 5.0);
    demands
        .tell("hits before, meanwhile, afterwards", format!("{before:.1} %, {:.1} %, {after:.1} %", ratio.percent()));
    demands.tell("went through", format!("{:.1} MiB/s", bytes as f64 / seconds / (1 << 20) as f64));
}
