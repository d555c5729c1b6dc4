//! A fleet under a steady load of queries: PoPs die and freeze, configs and geo data change. No query is ever lost, and
//! nobody is sent to a dead PoP for longer than promised. `cargo bench --bench heavy -- steered` shows the same at five
//! times the rate, in a release build, with the time that answers take.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::harness::fleet::{Fleet, POPS, status};
use crate::harness::load::{Load, Outcome, Pace};
use crate::harness::node::Setup;
use crate::harness::{eventually, geo};

const PACE: Pace = Pace { rate: 1000, open_max: 128 };

const INTERVAL_MS: u64 = 200;
const FALL: u64 = 3;

/// From the moment that a PoP is gone until no answer names it.
const PROMISED: Duration = Duration::from_millis(FALL * INTERVAL_MS + 1000);

fn fleet(change: impl Fn(Setup) -> Setup) -> Fleet {
    let interval = format!("\"{INTERVAL_MS}ms\"");
    Fleet::start(|setup| {
        change(setup)
            .set("health.interval", &interval)
            .set("health.timeout", &interval)
            .set("health.fall", &FALL.to_string())
            .set("health.rise", "2")
    })
}

/// The addresses that those near a PoP were given when they asked in that time.
fn named(outcome: &Outcome, when: Range<Instant>, pop: usize) -> Vec<IpAddr> {
    let asked = outcome.answers.iter().filter(|answer| answer.query == pop && when.contains(&answer.sent));
    asked.flat_map(|answer| answer.addresses.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// How long after `signal` the last query was asked that named what was no more.
fn last_wrong(outcome: &Outcome, signal: Instant, until: Instant, address: IpAddr) -> Duration {
    let wrong = outcome.answers.iter().filter(|answer| answer.addresses == [address] && answer.sent < until);
    wrong.map(|answer| answer.sent.saturating_duration_since(signal)).max().unwrap_or_default()
}

/// None is lost, and each has one address of the fleet.
fn assert_all_answered(outcome: &Outcome) {
    assert_eq!((outcome.lost, outcome.strays), (0, 0));
    assert!(outcome.odd().is_none(), "{:?}", outcome.odd());
}

#[test]
fn a_dead_pop_and_a_frozen_one_are_out_of_the_answers_in_time() {
    const LOOK: Duration = Duration::from_millis(500);
    let fleet = fleet(|setup| setup);
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
        last_wrong(&outcome, killed, frozen, sin),
        last_wrong(&outcome, frozen, thawed, iad),
    );
    let rows = [
        ("all is well", started..killed, [fra, iad, sin]),
        ("sin is dead", killed + PROMISED..frozen, [fra, iad, fra]),
        ("iad is frozen, too", frozen + PROMISED..thawed, [fra, fra, fra]),
        ("iad is back", back..ended, [fra, iad, fra]),
    ];
    for (name, when, wanted) in rows {
        for (pop, wanted) in wanted.into_iter().enumerate() {
            assert_eq!(named(&outcome, when.clone(), pop), [wanted], "{name}: near {}", POPS[pop].0);
        }
    }
}

#[test]
fn reloads_and_new_geo_data_lose_no_query() {
    // What it says of a network near Singapore comes before what the larger file says.
    let rows = |latitude, longitude| [("137.132.0.0/16", geo::place(latitude, longitude))];
    let fleet = fleet(|setup| {
        fs::write(setup.folder().join("city.mmdb"), geo::built_in()).unwrap();
        fs::write(setup.folder().join("moved.mmdb"), geo::mmdb(1_700_000_000, &rows(1.3, 103.8))).unwrap();
        setup.set("geo.database", "[\"moved.mmdb\", \"city.mmdb\"]")
    });
    let [_, iad, sin] = fleet.addresses;
    let (node, setup) = (&fleet.nodes[0], &fleet.setups[0]);
    let load = Load::start(fleet.dns, PACE, &Fleet::queries());
    let started = Instant::now();
    load.rounds(100);
    let reloaded = |generation: u64| {
        node.signal("HUP");
        eventually("the reload", || status(node)["config"]["generation"] == generation);
        load.rounds(50);
    };
    (2..5).for_each(&reloaded);

    let moving = Instant::now();
    fs::write(setup.folder().join("new.mmdb"), geo::mmdb(1_700_086_400, &rows(39.0, -77.5))).unwrap();
    fs::rename(setup.folder().join("new.mmdb"), setup.folder().join("moved.mmdb")).unwrap();
    reloaded(5);
    let moved = Instant::now();
    load.rounds(100);
    let outcome = load.stop();
    let ended = Instant::now();

    assert_all_answered(&outcome);
    eprintln!("{} queries, p99 {:?}", outcome.answers.len(), outcome.percentile(99.0));
    for pop in 0..2 {
        assert_eq!(named(&outcome, started..ended, pop), [fleet.addresses[pop]]);
    }
    assert_eq!(named(&outcome, started..moving, 2), [sin]);
    assert_eq!(named(&outcome, moved..ended, 2), [iad], "the new file says that they are near Washington");
}
