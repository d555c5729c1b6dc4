//! A fleet under a steady load of queries: PoPs die and freeze, configs and geo data change. No query is ever lost, and
//! nobody is sent to a dead PoP for longer than promised. `cargo bench --bench heavy -- steered` shows the same at five
//! times the rate, with the time that answers take.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::harness::fleet::{Fleet, POPS, PROMISED, status};
use crate::harness::load::{Load, Outcome, Pace};
use crate::harness::{eventually, geo};

const PACE: Pace = Pace { rate: 1000, open_max: 128 };

/// After what was promised, to see that it stays so.
const LOOK: Duration = Duration::from_millis(500);

/// None is lost, and each has one address of the fleet.
fn assert_all_answered(outcome: &Outcome) {
    assert_eq!((outcome.lost, outcome.strays), (0, 0));
    assert!(outcome.odd().is_none(), "{:?}", outcome.odd());
}

#[test]
fn a_dead_pop_and_a_frozen_one_are_out_of_the_answers_in_time() {
    let fleet = Fleet::start();
    let [fra, iad, sin] = fleet.addresses;
    let load = Load::start(fleet.dns, PACE, &Fleet::queries());
    let started = Instant::now();
    load.rounds(100);

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
    let outcome = load.stop();
    let ended = Instant::now();

    assert_all_answered(&outcome);
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
    let load = Load::start(fleet.dns, PACE, &Fleet::queries());
    let started = Instant::now();
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
    eprintln!("{} queries, p99 {:?}", outcome.answers.len(), outcome.percentile(99.0));
    for (pop, address) in [fra, iad].into_iter().enumerate() {
        assert_eq!(outcome.named(started..ended, pop), [address]);
    }
    assert_eq!(outcome.named(started..moving, 2), [sin]);
    assert_eq!(outcome.named(moved..ended, 2), [iad], "the new file says that they are near Washington");
}
