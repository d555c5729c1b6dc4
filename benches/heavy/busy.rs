//! DNS while everything else is at its limit.

use std::time::{Duration, Instant};

use crate::demand::Demands;
use crate::harness::fleet::Fleet;
use crate::harness::load::Load;
use crate::harness::node::Setup;
use crate::harness::process::Process;
use crate::harness::saturation::{self, Saturation};

/// Queries a second.
const RATE: u64 = 5000;

pub(crate) fn run(demands: &mut Demands, divisor: u64) {
    println!("  HTTP clients take all that the workers can do");
    http(demands, Duration::from_secs(20) / u32::try_from(divisor).unwrap());
}

fn http(demands: &mut Demands, look: Duration) {
    let origin = saturation::origin();
    let process = Process::run(&Setup::new(&origin).built_in_geo());
    let saturation = Saturation::start(process.http());
    let load = Load::start(process.dns(), RATE, &Fleet::queries());
    let (began, worked) = (Instant::now(), process.cpu_seconds());
    load.until(began + look);
    let busy = (process.cpu_seconds() - worked) / began.elapsed().as_secs_f64();
    let outcome = load.stop();
    let (requests, took) = saturation.stop();
    demands.exactly("queries lost", outcome.lost.len(), 0);
    demands.at_most("ms for 99 of 100 answers", outcome.percentile(99.0).as_secs_f64() * 1e3, 20.0);
    demands.tell("queries", outcome.answers.len());
    demands.tell(
        "ms for half, 99.9 %, all",
        [50.0, 99.9, 100.0].map(|p| format!("{:.1}", outcome.percentile(p).as_secs_f64() * 1e3)).join(", "),
    );
    demands.tell("requests a second meanwhile", format!("{:.0}", requests as f64 / took.as_secs_f64()));
    demands.tell("cores that the node had to itself", format!("{busy:.2}"));
}
