//! A fleet under 5,000 queries a second: PoPs die and freeze, configs and geo data change.

use std::time::{Duration, Instant};

use crate::demand::Demands;
use crate::harness::eventually;
use crate::harness::fleet::{Fleet, PROMISED, status};
use crate::harness::load::{Load, Outcome};

/// Queries a second.
const RATE: u64 = 5000;

pub(crate) fn run(demands: &mut Demands, divisor: u64) {
    println!("  a PoP is killed, another one freezes");
    gone(demands, Duration::from_secs(5) / u32::try_from(divisor).unwrap());
    println!("  reloads, and a file of the geo data is replaced");
    renewed(demands, 20 / divisor);
}

fn gone(demands: &mut Demands, look: Duration) {
    let fleet = Fleet::start(&built_in_geo());
    let [_, iad, sin] = fleet.addresses;
    let load = Load::start(fleet.dns, RATE, &Fleet::queries());
    load.until(Instant::now() + look);
    let killed = Instant::now();
    fleet.nodes[2].kill();
    load.until(killed + PROMISED + look);
    let frozen = Instant::now();
    fleet.nodes[1].signal("STOP");
    load.until(frozen + PROMISED + look);
    let thawed = Instant::now();
    fleet.nodes[1].signal("CONT");
    eventually("its return", || status(&fleet.nodes[0])["pops"][1]["up"] == true);
    let outcome = load.stop();
    served(demands, &outcome);
    let promised = PROMISED.as_secs_f64() * 1e3;
    for (what, when, address) in [("dead", killed..frozen, sin), ("frozen", frozen..thawed, iad)] {
        let last = outcome.last_named(when, address).as_secs_f64() * 1e3;
        demands.at_most(&format!("ms until no answer named the {what} PoP"), last, promised);
    }
}

fn renewed(demands: &mut Demands, reloads: u64) {
    let fleet = Fleet::start_with_geo_files(&built_in_geo());
    let load = Load::start(fleet.dns, RATE, &Fleet::queries());
    let started = Instant::now();
    let made = fleet.maps_made();
    load.rounds(1000);
    for _ in 0..reloads {
        fleet.reload();
        load.rounds(500);
    }
    let moving = Instant::now();
    fleet.move_singapore();
    let moved = Instant::now();
    load.rounds(1000);
    let outcome = load.stop();
    served(demands, &outcome);
    demands.at_most("ms for 99 of 100 answers", outcome.percentile(99.0).as_secs_f64() * 1e3, 5.0);
    let [_, iad, sin] = fleet.addresses;
    let ended = Instant::now();
    let named = |when| format!("{:?}", outcome.named(when, 2));
    demands.exactly("PoPs near Singapore before", named(started..moving), format!("[{sin}]"));
    demands.exactly("and by the new file", named(moved..ended), format!("[{iad}]"));
    demands.exactly("maps made meanwhile", (fleet.maps_made() - made) as u64, reloads + 1);
}

/// The built-in data as a file's content.
fn built_in_geo() -> Vec<u8> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/geo/nearcast-city.mmdb.zst");
    zstd::decode_all(std::fs::File::open(file).unwrap()).unwrap()
}

/// All is answered, and with one address.
fn served(demands: &mut Demands, outcome: &Outcome) {
    demands.exactly("queries lost", outcome.lost.len(), 0);
    demands.exactly("answers that nobody waited for", outcome.strays, 0);
    demands.exactly("answers without one address", outcome.odd().map_or(0, |_| 1), 0);
    let [half, most, all] = [50.0, 99.0, 100.0].map(|percent| outcome.percentile(percent).as_secs_f64() * 1e3);
    demands.tell(
        "queries, ms for half of them, 99 %, all",
        format!("{}, {half:.2}, {most:.2}, {all:.2}", outcome.answers.len()),
    );
}
