//! Clients of what may not be shared do not wait for one another.

use std::thread;
use std::time::{Duration, Instant};

use crate::demand::Demands;
use crate::harness::client::Plain;
use crate::harness::node::Setup;
use crate::harness::origin::{Origin, Reply};
use crate::harness::process::Process;

const CLIENTS: usize = 200;

pub(crate) fn run(demands: &mut Demands, _divisor: u64) {
    let origin = Origin::start(|_| {
        thread::sleep(Duration::from_secs(1));
        Reply::ok("own").control("no-store")
    });
    let process = Process::run(&Setup::new(&origin));
    // The first round finds out that it may not be shared; the second knows.
    for (round, most) in [("first", 2.5), ("second", 1.5)] {
        let started = Instant::now();
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Plain::connect(process.http())).collect();
        for client in &mut clients {
            client.write(b"GET /own HTTP/1.1\r\nhost: www.cdn.test\r\n\r\n");
        }
        let right = clients.iter_mut().filter_map(|client| client.answer("GET")).filter(|answer| answer.status == 200);
        let right = right.count();
        demands.at_most(&format!("seconds of the {round} round"), started.elapsed().as_secs_f64(), most);
        demands.exactly("answers", right, CLIENTS);
    }
    demands.exactly("requests at the origin", origin.count("/own"), 2 * CLIENTS);
}
