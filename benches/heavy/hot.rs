//! What is asked for over and over, while something else goes through the cache.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::client::{Ask, Plain};
use crate::harness::process::Process;

/// Objects of it, and their bytes: a third of a gibibyte.
const OBJECTS: u64 = 8000;
pub(crate) const BYTES: u64 = 44 << 10;

/// Hits among requests.
#[derive(Debug, Default)]
pub(crate) struct Ratio {
    hits: AtomicU64,
    all: AtomicU64,
}

impl Ratio {
    fn count(&self, hit: bool) {
        self.hits.fetch_add(u64::from(hit), Ordering::Relaxed);
        self.all.fetch_add(1, Ordering::Relaxed);
    }

    /// Hits in a hundred.
    pub(crate) fn percent(&self) -> f64 {
        100.0 * self.hits.load(Ordering::Relaxed) as f64 / self.all.load(Ordering::Relaxed).max(1) as f64
    }
}

/// The popular ones more often: the rank is about inversely proportional to how often it is asked for.
struct Zipf {
    /// Sums of 1/1 .. 1/n, out of the last.
    sums: Vec<f64>,
    state: u64,
}

impl Zipf {
    fn new(seed: u64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=OBJECTS).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self { sums: sums.collect(), state: seed }
    }

    fn next(&mut self) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (self.state >> 11) as f64 / (1_u64 << 53) as f64;
        let wanted = share * self.sums.last().unwrap();
        self.sums.partition_point(|sum| *sum < wanted).min(self.sums.len() - 1)
    }
}

/// Asks for all of it until all of it is stored.
pub(crate) fn warm(process: &Process) {
    let mut client = Plain::connect(process.http());
    for _ in 0..3 {
        for number in 0..OBJECTS {
            client.ask(&Ask::get(&format!("/hot/{number}")));
        }
    }
}

/// The share of hits, of `requests`.
pub(crate) fn measure(process: &Process, requests: u64) -> f64 {
    let (mut client, mut zipf, ratio) = (Plain::connect(process.http()), Zipf::new(1), Ratio::default());
    for _ in 0..requests {
        ratio.count(client.ask(&Ask::get(&format!("/hot/{}", zipf.next()))).is_hit());
    }
    ratio.percent()
}

/// Goes on asking, some thousand times a second, until told to stop.
pub(crate) fn keep_asking(process: &Process, ratio: &Ratio, stop: &AtomicBool) {
    let (mut client, mut zipf) = (Plain::connect(process.http()), Zipf::new(2));
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..10 {
            ratio.count(client.ask(&Ask::get(&format!("/hot/{}", zipf.next()))).is_hit());
        }
        thread::sleep(Duration::from_millis(2));
    }
}
