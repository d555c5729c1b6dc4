//! Three nodes as processes, each on an address of its own, that watch each other: the addresses that DNS hands out are
//! those where they serve.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::rr::RecordType::A;
use serde_json::Value;

use super::dns::Query;
use super::node::{Setup, admin};
use super::process::Process;
use super::{eventually, geo, loopback};

/// Where the second PoP may be, too: not where clients near Boston, or near any other, would get another PoP.
const MIAMI: &str = "[25.8, -80.29]";

/// Between two probes; one may take as long, also on a busy machine.
const INTERVAL_MS: u64 = 400;

/// Bad probes until a PoP is down.
const FALL: u64 = 3;

/// From the moment that a PoP is gone until no answer names it.
pub(crate) const PROMISED: Duration = Duration::from_millis(FALL * INTERVAL_MS + 1000);

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
    /// Starts all of them with `city` as their geo data, and waits until each has its map and knows that all are up.
    pub(crate) fn start(city: &[u8]) -> Self {
        Self::start_with(|setup| {
            fs::write(setup.folder().join("city.mmdb"), city).unwrap();
            setup.set("geo.database", "\"city.mmdb\"")
        })
    }

    /// The same with geo data in two files: what the first, a small one, says of Singapore comes before what `city` says.
    pub(crate) fn start_with_geo_files(city: &[u8]) -> Self {
        Self::start_with(|setup| {
            fs::write(setup.folder().join("city.mmdb"), city).unwrap();
            write_first_file(&setup, 1_700_000_000, geo::place(1.3, 103.8));
            let setup = setup.set("geo.database", "[\"first.mmdb\", \"city.mmdb\"]").set("geo.watch", "\"100ms\"");
            // Health is not what is looked at here: nobody seems down, however busy the machine is.
            setup.set("health.fall", "100")
        })
    }

    fn start_with(change: impl Fn(Setup) -> Setup) -> Self {
        let addresses = POPS.map(|_| loopback::address());
        let setups: Vec<Setup> = setups(addresses).into_iter().map(change).collect();
        let nodes: Vec<Process> = setups.iter().map(Process::run).collect();
        for node in &nodes {
            eventually("a map, and all up by their probes", || {
                let status = status(node);
                let up = |pop| status["pops"][pop]["up"] == true && status["pops"][pop]["reason"] == "probes";
                !status["map"].is_null() && (0..3).all(up)
            });
        }
        let dns = nodes[0].dns();
        Self { nodes, addresses, setups, dns }
    }

    /// Moves the second PoP to Miami or back in the config of the first node, has it read that, and waits until its map is
    /// made anew.
    pub(crate) fn reload(&self) {
        let before = status(&self.nodes[0]);
        let next = before["config"]["generation"].as_u64().unwrap() + 1;
        let mut setup = self.setups[0].clone();
        if next.is_multiple_of(2) {
            setup.pops[1] = setup.pops[1].replace(POPS[1].1, MIAMI);
        }
        setup.write();
        self.renewed(
            "the reload",
            || self.nodes[0].signal("HUP"),
            |status| status["config"]["generation"] == next && status["map"]["prefixes"] != before["map"]["prefixes"],
        );
    }

    /// How many maps the first node has made so far.
    pub(crate) fn maps_made(&self) -> usize {
        self.nodes[0].log().lines().filter(|line| line.contains("\"maps compiled\"")).count()
    }

    /// Replaces the first file of the first node's geo data, which the node watches: those near Singapore are near
    /// Washington now. Waits until its map is made anew.
    pub(crate) fn move_singapore(&self) {
        const EPOCH: u64 = 1_700_086_400;
        let write = || write_first_file(&self.setups[0], EPOCH, geo::place(39.0, -77.5));
        self.renewed("the new file", write, |status| status["geo"][0]["build_epoch"] == EPOCH);
    }

    /// Does that, and waits until the first node says so and answers from a map made since.
    fn renewed(&self, what: &str, change: impl Fn(), said: impl Fn(&Value) -> bool) {
        let made = self.maps_made();
        change();
        eventually(what, || {
            let status = status(&self.nodes[0]);
            said(&status) && self.maps_made() > made && !status["map"].is_null()
        });
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

fn write_first_file(setup: &Setup, build_epoch: u64, place: Value) {
    let aside = setup.folder().join("first.new");
    fs::write(&aside, geo::mmdb(build_epoch, &[("137.132.0.0/16", place)])).unwrap();
    fs::rename(aside, setup.folder().join("first.mmdb")).unwrap();
}

fn setups(addresses: [IpAddr; 3]) -> Vec<Setup> {
    let pop = |((name, location, _), address): (&(&str, &str, &str), IpAddr)| {
        let [http, dns, admin] = loopback::ports(address);
        format!(
            "name = \"{name}\"\nlocation = {location}\naddresses = [\"{address}\"]\n\
             listen = {{ http = [\"{http}\"], https = [], dns = [\"{dns}\"], admin = \"{admin}\" }}"
        )
    };
    let pops: Vec<String> = POPS.iter().zip(addresses).map(pop).collect();
    let setup = |(name, ..): &(&str, &str, &str)| {
        let interval = format!("\"{INTERVAL_MS}ms\"");
        let mut setup = Setup::empty()
            .pop(name)
            .set("health.interval", &interval)
            .set("health.timeout", &interval)
            .set("health.fall", &FALL.to_string())
            .set("health.rise", "2");
        setup.pops.clone_from(&pops);
        setup
    };
    POPS.iter().map(setup).collect()
}
