//! DNS while everything else is at its limit.

use std::time::{Duration, Instant};

use crate::demand::Demands;
use crate::harness::encrypted::encrypted;
use crate::harness::fleet::Fleet;
use crate::harness::hardship::{self, Busy, RandomNames, Spoofed};
use crate::harness::load::{Load, Outcome};
use crate::harness::node::Setup;
use crate::harness::process::Process;
use crate::harness::strangers;
use crate::harness::tls::Authority;

/// Queries a second of clients that must not notice anything.
const RATE: u64 = 5000;

/// Spoofed queries a second, and queries for names that nobody has.
const FLOOD: u64 = 200_000;
const NAMES: u64 = 50_000;

/// Signatures a second for such names: the default.
const SIGNATURES: u64 = 2000;

/// MiB that a node may grow by while a flood goes on.
const GROWTH: f64 = 16.0;

pub(crate) fn run(demands: &mut Demands, divisor: u64) {
    let look = Duration::from_secs(30) / u32::try_from(divisor).unwrap();
    println!("  HTTP clients take all that the workers can do");
    http(demands, look);
    println!("  {FLOOD} spoofed queries a second, rate limiting on");
    spoofed(demands, look);
    println!("  {NAMES} names a second that nobody has, of a signed zone");
    random_names(demands, look);
    println!("  3,600 connections over TCP, TLS and QUIC that say too little");
    strangers(demands, look);
}

fn http(demands: &mut Demands, look: Duration) {
    let Busy { outcome, requests_per_second, cores } = hardship::busy(RATE, look);
    served(demands, &outcome);
    demands.tell("requests a second meanwhile", format!("{requests_per_second:.0}"));
    demands.tell("cores that the node had to itself", format!("{cores:.2}"));
}

fn spoofed(demands: &mut Demands, look: Duration) {
    let Spoofed { with_cookie, over_tcp: (asked, unanswered), sent_per_second, limited_per_second, memory_kib } =
        hardship::spoofed(FLOOD, RATE, look);
    demands.at_most("% lost of clients with cookies", percent(with_cookie.lost.len(), with_cookie.answers.len()), 0.1);
    demands.at_most("% lost of clients over TCP", percent(unanswered, asked), 0.1);
    demands.at_most("spoofed queries short of that rate, in %", 100.0 - sent_per_second * 100.0 / FLOOD as f64, 5.0);
    demands.at_most("MiB more at the end", grown(memory_kib), GROWTH);
    demands.tell("queries with cookies, over TCP", format!("{}, {asked}", with_cookie.answers.len()));
    demands.tell("answers limited a second", format!("{limited_per_second:.0}"));
    times(demands, &with_cookie);
}

fn random_names(demands: &mut Demands, look: Duration) {
    let RandomNames { outcome, sent_per_second, signed_per_second, unsigned_per_second, memory_kib } =
        hardship::random_names(NAMES, RATE, SIGNATURES, look);
    served(demands, &outcome);
    // A second's worth may be saved up when it begins.
    let most = SIGNATURES as f64 * (1.05 + 1.0 / look.as_secs_f64());
    demands.at_most("signatures a second", signed_per_second, most);
    demands.at_most("MiB more at the end", grown(memory_kib), GROWTH);
    demands.tell("names a second, refused a signature", format!("{sent_per_second:.0}, {unsigned_per_second:.0}"));
}

fn strangers(demands: &mut Demands, look: Duration) {
    let process = Process::run(&encrypted(Setup::empty().built_in_geo(), &Authority::new()));
    let load = Load::start(process.dns(), RATE, &Fleet::queries());
    let began = Instant::now();
    let tcp = strangers::over_tcp(process.dns(), 1200);
    let tls = strangers::over_tls(process.dot(), 1200);
    let quic = strangers::over_quic(process.doq(), 1200);
    load.until(began + look);
    served(demands, &load.stop());
    drop((tcp, tls, quic));
}

/// All is answered, and soon.
fn served(demands: &mut Demands, outcome: &Outcome) {
    demands.exactly("queries lost", outcome.lost.len(), 0);
    demands.at_most("ms for 99 of 100 answers", millis(outcome, 99.0), 20.0);
    demands.tell("queries", outcome.answers.len());
    times(demands, outcome);
}

fn times(demands: &Demands, outcome: &Outcome) {
    let times = [50.0, 99.0, 99.9, 100.0].map(|percent| format!("{:.2}", millis(outcome, percent)));
    demands.tell("ms for half of the answers, 99 %, 99.9 %, all", times.join(", "));
}

fn millis(outcome: &Outcome, percent: f64) -> f64 {
    outcome.percentile(percent).as_secs_f64() * 1e3
}

fn percent(some: usize, others: usize) -> f64 {
    100.0 * some as f64 / (some + others).max(1) as f64
}

fn grown([early, late]: [u64; 2]) -> f64 {
    (late as f64 - early as f64) / 1024.0
}
