//! DNS while everything else is at its limit: clients lose no query and do not wait. `cargo bench --bench heavy -- busy` shows
//! the same at full size.

use std::time::Duration;

use crate::harness::encrypted::encrypted;
use crate::harness::fleet::Fleet;
use crate::harness::hardship::{self, Busy, RandomNames, Spoofed};
use crate::harness::load::{Load, Outcome};
use crate::harness::node::Setup;
use crate::harness::process::Process;
use crate::harness::tls::Authority;
use crate::harness::{eventually, strangers};

/// Queries a second.
const RATE: u64 = 1000;

/// For so long each.
const LOOK: Duration = Duration::from_secs(3);

/// For 99 of 100 answers, of a debug build on a machine that others use.
const PATIENCE: Duration = Duration::from_millis(50);

/// How much more memory floods may take, once they run.
const MEMORY_KIB: u64 = 8 << 10;

fn assert_unhurt(outcome: &Outcome) {
    assert_eq!((outcome.lost.len(), outcome.strays), (0, 0));
    assert!(outcome.odd().is_none(), "{:?}", outcome.odd());
    let [half, most, all] = [50.0, 99.0, 100.0].map(|percent| outcome.percentile(percent));
    eprintln!("{} queries: half within {half:?}, 99 % {most:?}, all {all:?}", outcome.answers.len());
    assert!(most < PATIENCE, "{most:?}");
}

fn assert_flat([early, late]: [u64; 2]) {
    eprintln!("memory: {early} KiB, then {late}");
    assert!(late < early + MEMORY_KIB, "{early} KiB, then {late}");
}

#[test]
fn a_saturated_http_side_costs_no_query() {
    let Busy { outcome, requests_per_second, cores } = hardship::busy(RATE, LOOK);
    eprintln!("{requests_per_second:.0} requests a second meanwhile, by {cores:.2} cores");
    assert_unhurt(&outcome);
    assert!(requests_per_second > 5.0 * RATE as f64, "{requests_per_second}");
    // Its clients and this test have to share two cores with it.
    assert!(cores > 0.5, "{cores:.2} cores");
}

#[test]
fn a_flood_of_spoofed_queries_is_held_off() {
    const FLOOD: u64 = 10_000;
    let Spoofed { with_cookie, over_tcp: (asked, unanswered), sent_per_second, limited_per_second, memory_kib } =
        hardship::spoofed(FLOOD, RATE, LOOK);
    eprintln!("{sent_per_second:.0} spoofed a second, {limited_per_second:.0} of them limited");
    assert_unhurt(&with_cookie);
    assert_eq!((asked > 100, unanswered), (true, 0), "{asked} over TCP");
    assert!(sent_per_second > FLOOD as f64 / 2.0 && limited_per_second > sent_per_second / 4.0);
    assert_flat(memory_kib);
}

#[test]
fn a_flood_of_random_names_is_not_signed_to_the_end() {
    const FLOOD: u64 = 5000;
    const SIGNATURES: u64 = 100;
    let RandomNames { outcome, sent_per_second, signed_per_second, unsigned_per_second, memory_kib } =
        hardship::random_names(FLOOD, RATE, SIGNATURES, LOOK);
    eprintln!("{sent_per_second:.0} names a second, {signed_per_second:.0} signed, {unsigned_per_second:.0} not");
    assert_unhurt(&outcome);
    // What is saved up may go at once.
    assert!(signed_per_second < 2.0 * SIGNATURES as f64 && signed_per_second > 1.0);
    assert!(unsigned_per_second > FLOOD as f64 / 2.0);
    assert_flat(memory_kib);
}

#[test]
fn a_thousand_open_tcp_connections_cost_no_query() {
    let setup = Setup::empty().built_in_geo().set("dns.tcp-timeout", "\"2s\"");
    let process = Process::run(&setup);
    let load = Load::start(process.dns(), RATE, &Fleet::queries());
    let held = strangers::over_tcp(process.dns(), 1200);
    load.rounds(1000);
    assert_unhurt(&load.stop());
    // Those who hold on are cut off, so that there is room for others.
    let query = &Fleet::queries()[0];
    eventually("a connection of somebody else", || query.ask_tcp(process.dns()).is_some());
    drop(held);
}

#[test]
fn a_thousand_handshakes_that_never_end_cost_no_query() {
    let setup = Setup::empty().built_in_geo().set("dns.tcp-timeout", "\"2s\"");
    let process = Process::run(&encrypted(setup, &Authority::new()));
    let load = Load::start(process.dns(), RATE, &Fleet::queries());
    let (over_tls, over_quic) = (strangers::over_tls(process.dot(), 1200), strangers::over_quic(process.doq(), 1200));
    load.rounds(1000);
    assert_unhurt(&load.stop());
    drop((over_tls, over_quic));
}
