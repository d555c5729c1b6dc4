//! PoPs that watch each other: one that stops is out of everyone's answers in time, and back when it is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType::A;

use crate::harness::dns::Query;
use crate::harness::eventually;
use crate::harness::node::{Node, Setup};
use crate::harness::process::Process;

const INTERVAL: Duration = Duration::from_millis(150);
const TIMEOUT: Duration = Duration::from_millis(150);
const FALL: u32 = 3;

/// From the moment that a PoP is gone until answers leave it, and something for a busy machine.
const NOTICED: Duration = Duration::from_millis(3 * 150 + 150 + 1500);

/// A network near Singapore, and the addresses of the PoPs.
const SINGAPORE: &str = "137.132.21.0/24";
const FRA: &str = "192.0.2.10";
const SIN: &str = "203.0.113.10";

fn setup(pop: &str) -> Setup {
    Setup::empty()
        .built_in_geo()
        .pop(pop)
        .set("health.interval", &format!("\"{}ms\"", INTERVAL.as_millis()))
        .set("health.timeout", &format!("\"{}ms\"", TIMEOUT.as_millis()))
        .set("health.rise", "2")
        .set("health.fall", &FALL.to_string())
}

/// Lets `setup` probe the PoPs where they turned out to listen.
fn probing(mut setup: Setup, addresses: [SocketAddr; 3]) -> Setup {
    for (pop, address) in setup.pops.iter_mut().zip(addresses) {
        *pop = pop.replace("probe = false", &format!("probe = \"http://{address}\""));
    }
    setup
}

fn reload(node: &Node, setup: &Setup) {
    setup.write();
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
}

fn answered(node: &Node) -> String {
    Query::from("edge.cdn.test", A, SINGAPORE).udp(node.dns()).address()
}

fn is_up(node: &Node, index: usize) -> bool {
    let pop = node.status()["pops"][index].clone();
    pop["up"] == true && pop["reason"] == "probes"
}

#[test]
fn three_nodes_watch_each_other() {
    let setups = ["fra", "iad", "sin"].map(setup);
    let [fra, iad, sin] = setups.clone().map(|setup| setup.start());
    let addresses = [fra.http(), iad.http(), sin.http()];
    let setups = setups.map(|setup| probing(setup, addresses));
    for (node, setup) in [&fra, &iad, &sin].into_iter().zip(&setups) {
        reload(node, setup);
    }
    for node in [&fra, &iad, &sin] {
        eventually("all three up by their probes", || (0..3).all(|pop| is_up(node, pop)));
        assert_eq!(answered(node), SIN);
    }

    // Drained by its own operator alone: the others learn it by its answers.
    sin.admin("POST", "/v1/pops/sin/drain", "");
    assert_ne!(answered(&sin), SIN, "at once where it was said");
    eventually("the drain", || answered(&fra) != SIN && answered(&iad) != SIN);
    sin.admin("POST", "/v1/pops/sin/auto", "");
    eventually("its return", || answered(&fra) == SIN && answered(&iad) == SIN);

    let started = Instant::now();
    sin.stop();
    for node in [&fra, &iad] {
        eventually("another PoP's address", || answered(node) == FRA);
    }
    assert!(started.elapsed() < NOTICED, "{:?}", started.elapsed());
    let target = fra.status()["pops"][2]["targets"][0].clone();
    assert_eq!(target["verdict"], "down");
    assert!(target["last"].as_str().is_some_and(|last| last.contains("connect")), "{target}");
    assert_eq!(fra.metric("nearcast_pop_up{pop=\"sin\"}"), Some(0.0));

    let back = setups[2].clone().set("listen.http", &format!("[\"{}\"]", addresses[2])).start();
    for node in [&fra, &iad, &back] {
        eventually("its return", || answered(node) == SIN);
    }
}

#[test]
fn a_frozen_process_is_noticed() {
    let fra_setup = setup("fra");
    let fra = fra_setup.start();
    let sin = Process::run(&setup("sin"));
    // Two of the three are this node: only the frozen one matters here.
    let fra_setup = probing(fra_setup, [fra.http(), fra.http(), sin.http()]);
    reload(&fra, &fra_setup);
    eventually("all three up by their probes", || (0..3).all(|pop| is_up(&fra, pop)));
    assert_eq!(answered(&fra), SIN);

    // It still accepts connections, but never answers.
    let started = Instant::now();
    sin.signal("STOP");
    eventually("another PoP's address", || answered(&fra) == FRA);
    assert!(started.elapsed() < NOTICED, "{:?}", started.elapsed());
    assert_eq!(fra.status()["pops"][2]["targets"][0]["last"], "timed out");
    sin.signal("CONT");
    eventually("its return", || answered(&fra) == SIN);

    let started = Instant::now();
    sin.signal("KILL");
    eventually("another PoP's address", || answered(&fra) == FRA);
    assert!(started.elapsed() < NOTICED, "{:?}", started.elapsed());
}

#[test]
fn nothing_counts_as_down_before_all_were_asked() {
    // Accepts connections and never answers; another that nobody is behind.
    let frozen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let setup = setup("fra").set("health.timeout", "\"10s\"").set("health.interval", "\"10s\"");
    let setup = probing(setup, [frozen.local_addr().unwrap(), nobody, nobody]).set("health.fall", "1");
    let node = setup.start();
    eventually("the first results", || node.status()["pops"][2]["targets"][0]["verdict"] == "down");
    for index in 0..3 {
        let pop = node.status()["pops"][index].clone();
        assert_eq!((pop["up"].as_bool(), pop["reason"].as_str()), (Some(true), Some("first-round")), "{pop}");
    }
    assert_eq!(answered(&node), SIN);
    // The last one answers: badly, so that all are down, and it is as if all were up.
    drop(frozen.accept().unwrap());
    eventually("the end of the first round", || node.status()["pops"][0]["reason"] == "probes");
    assert_eq!(node.status()["pops"][2]["up"], false);
    assert_eq!(answered(&node), SIN);
}
