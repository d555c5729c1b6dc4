//! DNS while everything else is at its limit: clients lose no query and do not wait. `cargo bench --bench heavy -- busy` shows
//! the same at full size.

use std::time::{Duration, Instant};

use crate::harness::fleet::Fleet;
use crate::harness::load::{Load, Outcome};
use crate::harness::node::Setup;
use crate::harness::origin::{Origin, Reply};
use crate::harness::process::Process;
use crate::harness::saturation::{self, Saturation};
use crate::harness::{eventually, strangers};

/// Queries a second.
const RATE: u64 = 1000;

/// How often each is asked.
const ROUNDS: usize = 1000;

/// For 99 of 100 answers, of a debug build too.
const PATIENCE: Duration = Duration::from_millis(20);

fn assert_unhurt(outcome: &Outcome) {
    assert_eq!((outcome.lost.len(), outcome.strays), (0, 0));
    assert!(outcome.odd().is_none(), "{:?}", outcome.odd());
    let [half, most, all] = [50.0, 99.0, 100.0].map(|percent| outcome.percentile(percent));
    eprintln!("{} queries: half within {half:?}, 99 % {most:?}, all {all:?}", outcome.answers.len());
    assert!(most < PATIENCE, "{most:?}");
}

#[test]
fn a_saturated_http_side_costs_no_query() {
    let origin = saturation::origin();
    let process = Process::run(&Setup::new(&origin).built_in_geo());
    let saturation = Saturation::start(process.http());
    let (began, worked) = (Instant::now(), process.cpu_seconds());
    let load = Load::start(process.dns(), RATE, &Fleet::queries());
    load.rounds(ROUNDS);
    let busy = (process.cpu_seconds() - worked) / began.elapsed().as_secs_f64();
    let outcome = load.stop();
    let (requests, took) = saturation.stop();
    eprintln!("{:.0} requests a second meanwhile, by {busy:.2} cores", requests as f64 / took.as_secs_f64());
    assert_unhurt(&outcome);
    assert!(requests > 10 * outcome.answers.len(), "{requests}");
    // Its clients and this test have to share two cores with it.
    assert!(busy > 0.5, "{busy:.2} cores");
}

#[test]
fn a_thousand_open_tcp_connections_cost_no_query() {
    let setup = Setup::new(&Origin::start(|_| Reply::ok("x"))).built_in_geo().set("dns.tcp-timeout", "\"2s\"");
    let process = Process::run(&setup);
    let load = Load::start(process.dns(), RATE, &Fleet::queries());
    let held = strangers::over_tcp(process.dns(), 1200);
    load.rounds(ROUNDS);
    assert_unhurt(&load.stop());
    // Those who hold on are cut off, so that there is room for others.
    let query = &Fleet::queries()[0];
    eventually("a connection of somebody else", || query.ask_tcp(process.dns()).is_some());
    drop(held);
}
