//! Three nodes as processes, each on an address of its own, that watch each other: the addresses that DNS hands out are
//! those where they serve.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::RecordType::A;
use serde_json::Value;

use super::dns::Query;
use super::node::{Setup, admin};
use super::process::Process;
use super::{eventually, loopback};

/// Name, location, and a network near it: Zurich, Boston, Singapore.
pub(crate) const POPS: [(&str, &str, &str); 3] = [
    ("fra", "[50.03, 8.57]", "129.132.19.0/24"),
    ("iad", "[38.95, -77.45]", "18.9.22.0/24"),
    ("sin", "[1.36, 103.99]", "137.132.21.0/24"),
];

/// The steered name.
pub(crate) const EDGE: &str = "edge.cdn.test";

/// Running nodes, in the order of [`POPS`].
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Process>,
    /// The address of each of them.
    pub(crate) addresses: [IpAddr; 3],
    pub(crate) setups: Vec<Setup>,
    pub(crate) dns: SocketAddr,
}

impl Fleet {
    /// Starts all of them with the built-in geo data, changed by `change`, and waits until each knows that all are up.
    pub(crate) fn start(change: impl Fn(Setup) -> Setup) -> Self {
        let addresses = POPS.map(|_| loopback::address());
        let setups: Vec<Setup> = setups(addresses).into_iter().map(change).collect();
        let nodes: Vec<Process> = setups.iter().map(Process::run).collect();
        for node in &nodes {
            eventually("all up by their probes", || {
                let pops = status(node)["pops"].clone();
                (0..3).all(|pop| pops[pop]["up"] == true && pops[pop]["reason"] == "probes")
            });
        }
        let dns = nodes[0].dns();
        Self { nodes, addresses, setups, dns }
    }

    /// What clients near each PoP ask.
    pub(crate) fn queries() -> [Query; 3] {
        POPS.map(|(_, _, network)| Query::from(EDGE, A, network))
    }
}

/// What `GET /v1/status` shows.
pub(crate) fn status(node: &Process) -> Value {
    serde_json::from_slice(&admin(node.admin(), "GET", "/v1/status", "").body).unwrap()
}

fn setups(addresses: [IpAddr; 3]) -> Vec<Setup> {
    let pop = |((name, location, _), address): (&(&str, &str, &str), IpAddr)| {
        let (http, dns, admin) = (loopback::port(address), loopback::port(address), loopback::port(address));
        format!(
            "name = \"{name}\"\nlocation = {location}\naddresses = [\"{address}\"]\n\
             listen = {{ http = [\"{http}\"], https = [], dns = [\"{dns}\"], admin = \"{admin}\" }}"
        )
    };
    let pops: Vec<String> = POPS.iter().zip(addresses).map(pop).collect();
    let setup = |(name, ..): &(&str, &str, &str)| {
        let mut setup = Setup::empty().built_in_geo().pop(name);
        setup.pops.clone_from(&pops);
        setup
    };
    POPS.iter().map(setup).collect()
}
