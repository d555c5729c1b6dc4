//! An oracle: thousands of random histories of a shared cache's life, played against a whole node and against a small model
//! that was written from the RFCs' words alone. They must agree at each step.
//!
//! `NEARCAST_HISTORIES` says how many, `NEARCAST_SEED` which. 100,000 take minutes:
//! `NEARCAST_HISTORIES=100000 cargo test --release --test it oracle -- --nocapture`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

mod answer;
mod ask;
mod drive;
mod history;
mod model;
mod sites;
mod spelling;

use drive::{Played, Player};
use history::histories;
use model::Mistake;

/// How many histories when nobody says.
const DEFAULT: usize = 1500;

/// A node lives for so many: none then has to forget.
const PER_NODE: usize = 2500;

/// Strategies of strategies go deep in builds without optimization.
const STACK_BYTES: usize = 32 << 20;

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// What all the histories came to.
#[derive(Default)]
struct Total {
    done: AtomicUsize,
    failed: AtomicBool,
    difference: Mutex<Option<String>>,
    kinds: Mutex<BTreeMap<String, usize>>,
}

/// Plays `count` histories on as many threads as there are cores; the first difference, at its shortest, ends it.
fn play(count: usize, mistake: Option<Mistake>) -> Total {
    let total = Total::default();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(8);
    thread::scope(|scope| {
        for number in 0..threads {
            let (total, share) = (&total, count / threads + usize::from(number < count % threads));
            let builder = thread::Builder::new().stack_size(STACK_BYTES);
            builder.spawn_scoped(scope, move || play_share(number, share, mistake, total)).expect("a thread");
        }
    });
    total
}

fn play_share(thread: usize, share: usize, mistake: Option<Mistake>, total: &Total) {
    let seed = number("NEARCAST_SEED", 1);
    for (round, first) in (0..share).step_by(PER_NODE).enumerate() {
        let mut bytes = [0; 32];
        for (place, number) in [seed, thread, round].iter().enumerate() {
            bytes[place * 8..][..8].copy_from_slice(&(*number as u64).to_le_bytes());
        }
        let cases = u32::try_from(PER_NODE.min(share - first)).expect("few");
        // Of a mistake on purpose nobody wants the shortest history.
        let max_shrink_iters = if mistake.is_some() { 0 } else { 4000 };
        let config = Config { cases, failure_persistence: None, max_shrink_iters, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let player = Mutex::new(Player::start());
        let (mine, last) = (AtomicBool::new(false), Mutex::new(String::new()));
        let result = runner.run(&histories(sites::SITES.to_vec()), |history| {
            if total.failed.load(Ordering::Relaxed) && !mine.load(Ordering::Relaxed) {
                return Ok(());
            }
            let played = player.lock().play(&history, mistake);
            total.count(&played);
            match played.difference {
                None => Ok(()),
                Some(why) => {
                    if !mine.load(Ordering::Relaxed) && total.failed.swap(true, Ordering::Relaxed) {
                        return Ok(());
                    }
                    mine.store(true, Ordering::Relaxed);
                    *last.lock() = played.transcript;
                    Err(TestCaseError::fail(why))
                }
            }
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(why, history)) => {
                let again = player.lock().play(&history, mistake);
                let seen = match again.difference {
                    Some(_) => again.transcript,
                    None => format!("It does not happen each time.\n{}", last.into_inner()),
                };
                let text = format!("the node and the model differ\n\n{seen}\nThe model would have it:\n{why}\n");
                *total.difference.lock() = Some(text);
                return;
            }
            Err(TestError::Abort(why)) => panic!("the histories ended: {why}"),
        }
    }
}

impl Total {
    fn count(&self, played: &Played) {
        let mut kinds = self.kinds.lock();
        for kind in &played.kinds {
            *kinds.entry(kind.clone()).or_default() += 1;
        }
        drop(kinds);
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(10_000) {
            println!("{done} histories");
        }
    }
}

#[test]
fn the_oracle_agrees() {
    let total = play(number("NEARCAST_HISTORIES", DEFAULT), None);
    if let Some(difference) = total.difference.into_inner() {
        panic!("{difference}");
    }
    for (kind, count) in total.kinds.into_inner() {
        println!("{count:>8}  {kind}");
    }
}

/// An oracle that cannot be contradicted says nothing.
#[test]
fn a_wrong_rule_is_noticed() {
    let mistakes = [
        Mistake::LifetimeLonger,
        Mistake::AgeForgotten,
        Mistake::MaxAgeFirst,
        Mistake::VaryForgotten,
        Mistake::PrivateForgotten,
        Mistake::AuthorizationForgotten,
        Mistake::MustRevalidateForgotten,
        Mistake::StaleIfErrorForgotten,
        Mistake::InvalidationForgotten,
        Mistake::UpdateForgotten,
    ];
    let unnoticed: Vec<Mistake> =
        mistakes.into_iter().filter(|mistake| play(DEFAULT, Some(*mistake)).difference.lock().is_none()).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
