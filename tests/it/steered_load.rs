//! A fleet under a steady load of queries: PoPs die and freeze, configs and geo data change. No query is lost but on a
//! node that is gone, and nobody is sent to a dead PoP for longer than promised. `cargo bench --bench heavy -- steered`
//! shows the same at five times the rate, with the time that answers take.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::harness::fleet::{Fleet, POPS, PROMISED, status};
use crate::harness::load::{Load, Outcome};
use crate::harness::{eventually, geo};

/// Queries a second to the first node, which lives all the time, and to each of the others.
const RATE: u64 = 1000;
const RATE_OTHERS: u64 = 200;

/// An answer that was on its way, when its node was gone, is lost, too.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// After what was promised, to see that it stays so.
const LOOK: Duration = Duration::from_millis(500);

/// None is lost.
fn assert_all_answered(outcome: &Outcome) {
    assert_eq!(outcome.lost.len(), 0);
    assert_well_answered(outcome);
}

/// Each answer is the only one to its query, and has one address of the fleet.
fn assert_well_answered(outcome: &Outcome) {
    assert_eq!(outcome.strays, 0);
    assert!(outcome.odd().is_none(), "{:?}", outcome.odd());
}

/// None is lost that was asked before `gone` or after `back`, and some of those between are.
fn assert_lost_between(outcome: &Outcome, gone: Instant, back: Instant) {
    let lost = |sent: &&Instant| **sent + ON_ITS_WAY > gone && **sent < back;
    assert_eq!(outcome.lost.iter().filter(lost).count(), outcome.lost.len());
    assert!(!outcome.lost.is_empty());
    assert_well_answered(outcome);
}

#[test]
fn a_dead_pop_and_a_frozen_one_are_out_of_the_answers_in_time() {
    let fleet = Fleet::start(&geo::city());
    let [fra, iad, sin] = fleet.addresses;
    let load = Load::start(fleet.dns, RATE, &Fleet::queries());
    let [of_iad, of_sin] = [1, 2].map(|node| Load::start(fleet.nodes[node].dns(), RATE_OTHERS, &Fleet::queries()));
    let started = Instant::now();
    for load in [&load, &of_iad, &of_sin] {
        load.rounds(100);
    }

    let killed = Instant::now();
    fleet.nodes[2].kill();
    load.until(killed + PROMISED + LOOK);

    let frozen = Instant::now();
    fleet.nodes[1].signal("STOP");
    load.until(frozen + PROMISED + LOOK);

    let thawed = Instant::now();
    fleet.nodes[1].signal("CONT");
    eventually("its return", || status(&fleet.nodes[0])["pops"][1]["up"] == true);
    let back = Instant::now();
    load.rounds(100);
    of_iad.rounds(100);
    let outcome = load.stop();
    let ended = Instant::now();

    assert_all_answered(&outcome);
    let (of_iad, of_sin) = (of_iad.stop(), of_sin.stop());
    assert_lost_between(&of_iad, frozen, back);
    assert_lost_between(&of_sin, killed, Instant::now());
    for (pop, wanted) in [fra, iad, fra].into_iter().enumerate() {
        assert_eq!(
            of_iad.named(killed + PROMISED..frozen, pop),
            [wanted],
            "the frozen node before, near {}",
            POPS[pop].0
        );
        assert_eq!(of_iad.named(back..ended, pop), [wanted], "and after, near {}", POPS[pop].0);
    }
    eprintln!(
        "{} queries, p99 {:?}; of {PROMISED:?} the dead PoP took {:?}, the frozen one {:?}",
        outcome.answers.len(),
        outcome.percentile(99.0),
        outcome.last_named(killed..frozen, sin),
        outcome.last_named(frozen..thawed, iad),
    );
    let rows: [(_, _, _, &[IpAddr]); 4] = [
        ("all is well", started..killed, [fra, iad, sin], &[]),
        ("sin is dead", killed + PROMISED..frozen, [fra, iad, fra], &[sin]),
        ("iad is frozen, too", frozen + PROMISED..thawed, [fra, fra, fra], &[sin, iad]),
        ("iad is back", back..ended, [fra, iad, fra], &[sin]),
    ];
    for (name, when, wanted, gone) in rows {
        for (pop, wanted) in wanted.into_iter().enumerate() {
            let named = outcome.named(when.clone(), pop);
            assert!(named.contains(&wanted), "{name}: {named:?} near {}", POPS[pop].0);
            assert!(!named.iter().any(|address| gone.contains(address)), "{name}: {named:?} near {}", POPS[pop].0);
        }
    }
}

#[test]
fn reloads_new_geo_data_and_new_maps_lose_no_query() {
    let fleet = Fleet::start_with_geo_files(&geo::city());
    let [fra, iad, sin] = fleet.addresses;
    let load = Load::start(fleet.dns, RATE, &Fleet::queries());
    let started = Instant::now();
    let made = fleet.maps_made();
    load.rounds(100);
    for _ in 0..3 {
        fleet.reload();
        load.rounds(50);
    }
    let moving = Instant::now();
    fleet.move_singapore();
    let moved = Instant::now();
    load.rounds(100);
    let outcome = load.stop();
    let ended = Instant::now();

    assert_all_answered(&outcome);
    assert_eq!(fleet.maps_made() - made, 4, "one for each reload, and one for the file");
    eprintln!("{} queries, p99 {:?}", outcome.answers.len(), outcome.percentile(99.0));
    for (pop, address) in [fra, iad].into_iter().enumerate() {
        assert_eq!(outcome.named(started..ended, pop), [address]);
    }
    assert_eq!(outcome.named(started..moving, 2), [sin]);
    assert_eq!(outcome.named(moved..ended, 2), [iad], "the new file says that they are near Washington");
}
