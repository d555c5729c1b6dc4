//! What DNS must bear without its clients noticing: each is a node, a load that must not suffer, and something that could
//! make it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType::{A, SOA};
use nearcast_dns::dnssec::Algorithm;
use nearcast_shared::clock::Clock;

use super::dns::{Query, Tcp};
use super::fleet::{EDGE, Fleet};
use super::flood::Flood;
use super::load::{Load, Outcome};
use super::node::{Setup, admin};
use super::process::Process;
use super::saturation::{self, Saturation};
use super::signed;

/// The option code of cookies.
const COOKIE: u16 = 10;

/// A node that has little else to do.
fn setup() -> Setup {
    Setup::empty().built_in_geo()
}

/// What was seen while HTTP clients took all that the workers could do.
pub(crate) struct Busy {
    pub(crate) outcome: Outcome,
    pub(crate) requests_per_second: f64,
    /// What the node had of the machine's, on which its clients are, too.
    pub(crate) cores: f64,
}

/// Asks `rate` queries a second for as long as `look`.
pub(crate) fn busy(rate: u64, look: Duration) -> Busy {
    let origin = saturation::origin();
    let process = Process::run(&Setup::new(&origin).built_in_geo());
    let saturation = Saturation::start(process.http());
    let (began, worked) = (Instant::now(), process.cpu_seconds());
    let load = Load::start(process.dns(), rate, &Fleet::queries());
    load.until(began + look);
    let cores = (process.cpu_seconds() - worked) / began.elapsed().as_secs_f64();
    let outcome = load.stop();
    let (requests, took) = saturation.stop();
    Busy { outcome, requests_per_second: requests as f64 / took.as_secs_f64(), cores }
}

/// What was seen while somebody sent queries from addresses that are not its own.
pub(crate) struct Spoofed {
    /// Of clients over UDP that have a cookie.
    pub(crate) with_cookie: Outcome,
    /// Of clients over TCP: those asked, and those not answered.
    pub(crate) over_tcp: (usize, usize),
    pub(crate) sent_per_second: f64,
    /// Answers that were too many, in a second.
    pub(crate) limited_per_second: f64,
    /// KiB that the node has, soon after the beginning and at the end.
    pub(crate) memory_kib: [u64; 2],
}

/// Sends `flood` queries a second, beside `rate` of clients with cookies.
pub(crate) fn spoofed(flood: u64, rate: u64, look: Duration) -> Spoofed {
    let process = Process::run(&setup().set("dns.rate-limit", "{}"));
    let baked = Query::new(EDGE, A).option(COOKIE, &[7; 8]).udp(process.dns()).option(COOKIE).unwrap();
    let queries = Fleet::queries().map(|query| query.option(COOKIE, &baked));
    // One that is worth it: a name with data, to be asked for again and again.
    let packet = Query::new("cdn.test", SOA).option(0xfde9, &[]).bytes();
    let flood = Flood::start(process.dns(), flood, &packet, |number, packet| {
        packet[..2].copy_from_slice(&(number as u16).to_be_bytes());
    });
    let began = Instant::now();
    let load = Load::start(process.dns(), rate, &queries);
    let streams = Streams::start(process.dns());
    load.until(began + look / 5);
    let early = process.resident_kib();
    load.until(began + look);
    let memory_kib = [early, process.resident_kib()];
    let (with_cookie, over_tcp) = (load.stop(), streams.stop());
    let limited_per_second = counted(&process, "nearcast_dns_limited_total{") / began.elapsed().as_secs_f64();
    Spoofed { with_cookie, over_tcp, sent_per_second: flood.stop(), limited_per_second, memory_kib }
}

/// What was seen while somebody asked a signed zone for names that nobody has.
pub(crate) struct RandomNames {
    /// Of clients that ask for what there is.
    pub(crate) outcome: Outcome,
    pub(crate) sent_per_second: f64,
    pub(crate) signed_per_second: f64,
    /// Answers without a signature that would have had to be made, in a second.
    pub(crate) unsigned_per_second: f64,
    pub(crate) memory_kib: [u64; 2],
}

/// Sends `flood` queries a second, each for another name, beside `rate` of clients. No more than `signatures` a second shall
/// be made for such names.
pub(crate) fn random_names(flood: u64, rate: u64, signatures: u64, look: Duration) -> RandomNames {
    let setup = signed::signed(setup()).set("dns.dnssec", &format!("{{ signatures-per-second = {signatures} }}"));
    signed::save(&setup, &signed::key(Algorithm::EcdsaP256, signed::since(Clock::System.now())));
    let process = Process::run(&setup);
    let packet = Query::new("0123456789abcdef.cdn.test", A).wanting_signatures().bytes();
    let queries = Fleet::queries().map(Query::wanting_signatures);
    let load = Load::start(process.dns(), rate, &queries);
    load.rounds(10);
    let [made, limited] = signatures_so_far(&process);
    let began = Instant::now();
    let flood = Flood::start(process.dns(), flood, &packet, |number, packet| {
        let label = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        packet[13..29].copy_from_slice(label.as_bytes());
    });
    load.until(began + look / 5);
    let early = process.resident_kib();
    load.until(began + look);
    let took = began.elapsed().as_secs_f64();
    let [made_since, limited_since] = signatures_so_far(&process);
    let sent_per_second = flood.stop();
    let memory_kib = [early, process.resident_kib()];
    RandomNames {
        outcome: load.stop(),
        sent_per_second,
        signed_per_second: (made_since - made) / took,
        unsigned_per_second: (limited_since - limited) / took,
        memory_kib,
    }
}

fn signatures_so_far(process: &Process) -> [f64; 2] {
    ["made", "limited"].map(|outcome| {
        let line = format!("nearcast_dnssec_signatures_total{{zone=\"cdn.test\",outcome=\"{outcome}\"}}");
        counted(process, &line)
    })
}

/// The sum of all lines of `GET /metrics` that begin so.
fn counted(process: &Process, beginning: &str) -> f64 {
    let text = admin(process.admin(), "GET", "/metrics", "").text();
    let lines = text.lines().filter(|line| line.starts_with(beginning));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Clients over TCP that ask now and then, and begin anew when a connection ends.
struct Streams {
    stopping: Arc<AtomicBool>,
    clients: Vec<thread::JoinHandle<(usize, usize)>>,
}

impl Streams {
    const CLIENTS: usize = 4;
    const PAUSE: Duration = Duration::from_millis(10);

    fn start(to: SocketAddr) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let ask = move |stopping: Arc<AtomicBool>| {
            let (mut asked, mut lost) = (0, 0);
            let mut client = Tcp::connect(to);
            while !stopping.load(Ordering::SeqCst) {
                asked += 1;
                if client.try_ask(&Query::new(EDGE, A)).is_none_or(|reply| reply.data().len() != 1) {
                    lost += 1;
                    client = Tcp::connect(to);
                }
                thread::sleep(Self::PAUSE);
            }
            (asked, lost)
        };
        let clients = (0..Self::CLIENTS).map(|_| {
            let stopping = stopping.clone();
            thread::spawn(move || ask(stopping))
        });
        Self { clients: clients.collect(), stopping }
    }

    /// Those asked, and those not answered.
    fn stop(self) -> (usize, usize) {
        self.stopping.store(true, Ordering::SeqCst);
        let counts = self.clients.into_iter().map(|client| client.join().unwrap());
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    }
}
