//! A node of this process, and the config it is started with.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Version;
use nearcast::control::Control;
use nearcast::node::{Node as Inner, NodeError};
use nearcast_shared::clock::Clock;
use nearcast_shared::config::{Config, Inputs, Mistakes};
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Answer, Ask, Failed, Trusted};
use super::eventually;
use super::origin::Origin;

/// The admin token of every node here.
pub(crate) const TOKEN: &str = "correct-horse";

/// The fleet of every config here, unless told otherwise: nobody is probed.
const POPS: [&str; 3] = [
    "name = \"fra\"\nlocation = [50.03, 8.57]\naddresses = [\"192.0.2.10\", \"2001:db8:1::10\"]\nprobe = false",
    "name = \"iad\"\nlocation = [38.95, -77.45]\naddresses = [\"198.51.100.10\", \"2001:db8:2::10\"]\nprobe = false",
    "name = \"sin\"\nlocation = [1.36, 103.99]\naddresses = [\"203.0.113.10\", \"2001:db8:3::10\"]\nprobe = false",
];

/// A config to be started, and its folder.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    folder: Arc<TempDir>,
    pop: String,
    keys: BTreeMap<(String, String), String>,
    /// Bodies of `[[pop]]`.
    pub(crate) pops: Vec<String>,
    /// Bodies of `[[policy]]`.
    pub(crate) policies: Vec<String>,
    /// Bodies of `[[zone]]`.
    pub(crate) zones: Vec<String>,
    /// Bodies of `[[site]]`.
    pub(crate) sites: Vec<String>,
    clock: Clock,
}

impl Setup {
    /// Three PoPs, of which this is `fra`, one zone, and one site in front of `origin`.
    pub(crate) fn new(origin: &Origin) -> Self {
        let mut setup = Self::empty();
        setup.sites.push(format!("domains = [\"www.cdn.test\", \"static.other.test\"]\norigin = \"{}\"", origin.url()));
        setup
    }

    /// The same without a site.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("nowhere.mmdb"), empty_mmdb()).unwrap();
        let setup = Self {
            folder: Arc::new(folder),
            pop: "fra".to_owned(),
            keys: BTreeMap::new(),
            pops: POPS.map(str::to_owned).to_vec(),
            policies: Vec::new(),
            zones: vec!["name = \"cdn.test\"\nnameservers = [\"ns1.cdn.test\", \"ns2.cdn.test\"]\nttl = 30".to_owned()],
            sites: Vec::new(),
            clock: Clock::System,
        };
        setup
            .set("listen.http", "[\"127.0.0.1:0\"]")
            .set("listen.https", "[\"127.0.0.1:0\"]")
            .set("listen.dns", "[\"127.0.0.1:0\"]")
            .set("listen.admin", "\"127.0.0.1:0\"")
            .set("runtime.workers", "2")
            .set("admin.token", &format!("\"{TOKEN}\""))
            .set("cache.memory", "\"64 MiB\"")
            .set("geo.database", "\"nowhere.mmdb\"")
            .set("shutdown.linger", "\"0s\"")
            .set("shutdown.grace", "\"5s\"")
            .set("log.format", "\"json\"")
    }

    /// `table.key = value`, the value as TOML.
    #[must_use]
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        let (table, key) = key.split_once('.').unwrap();
        self.keys.insert((table.to_owned(), key.to_owned()), value.to_owned());
        self
    }

    /// Without that key.
    #[must_use]
    pub(crate) fn unset(mut self, key: &str) -> Self {
        let (table, key) = key.split_once('.').unwrap();
        self.keys.remove(&(table.to_owned(), key.to_owned()));
        self
    }

    /// With a disk tier.
    #[must_use]
    pub(crate) fn disk(self) -> Self {
        self.set("cache.disk", "{ path = \"cache/{pop}\", size = \"256 MiB\" }")
    }

    /// Whether it has one.
    pub(crate) fn has_disk(&self) -> bool {
        self.keys.contains_key(&("cache".to_owned(), "disk".to_owned()))
    }

    /// With a policy, a site that has it, and the name `<policy>.cdn.test`.
    #[must_use]
    pub(crate) fn policy(mut self, name: &str, body: &str) -> Self {
        self.policies.push(format!("name = \"{name}\"\n{body}"));
        let site = format!("domains = [\"{name}.cdn.test\"]\norigin = \"http://127.0.0.1:1\"\npolicy = \"{name}\"");
        self.sites.push(site);
        self
    }

    /// This one of the PoPs.
    #[must_use]
    pub(crate) fn pop(mut self, name: &str) -> Self {
        name.clone_into(&mut self.pop);
        self
    }

    /// With the built-in geo data.
    #[must_use]
    pub(crate) fn built_in_geo(self) -> Self {
        self.unset("geo.database")
    }

    /// With a clock in the test's hand.
    #[must_use]
    pub(crate) fn clock(mut self, clock: &Clock) -> Self {
        self.clock = clock.clone();
        self
    }

    /// Which PoP it is.
    pub(crate) fn name(&self) -> &str {
        &self.pop
    }

    /// Where the config and all else is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The config as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut last = "";
        for ((table, key), value) in &self.keys {
            if table != last {
                text.push_str(&format!("[{table}]\n"));
            }
            text.push_str(&format!("{key} = {value}\n"));
            last = table;
        }
        for (name, bodies) in
            [("pop", &self.pops), ("policy", &self.policies), ("zone", &self.zones), ("site", &self.sites)]
        {
            for body in bodies {
                text.push_str(&format!("[[{name}]]\n{body}\n"));
            }
        }
        text
    }

    /// Writes the config to its file and returns that.
    pub(crate) fn write(&self) -> PathBuf {
        let path = self.folder.path().join("nearcast.toml");
        fs::write(&path, self.text()).unwrap();
        path
    }

    fn inputs(&self) -> Inputs {
        Inputs { pop: Some(self.pop.clone()), ..Inputs::default() }
    }

    /// Judges the config.
    pub(crate) fn load(&self) -> Result<Config, Mistakes> {
        Config::load(&self.write(), &self.inputs())
    }

    /// Starts a node.
    pub(crate) fn start(&self) -> Node {
        self.try_start().unwrap()
    }

    /// Starts a node, or says why not.
    pub(crate) fn try_start(&self) -> Result<Node, NodeError> {
        let config = self.load().unwrap_or_else(|mistakes| panic!("{mistakes}"));
        nearcast_shared::telemetry::init(&config.log);
        let inner = Inner::start(config, self.inputs(), self.clock.clone())?;
        // What an earlier node left on disk is found again aside; tests begin when it is there.
        inner.block_on(inner.control.edge.store.opened());
        Ok(Node { inner: Some(inner), _folder: self.folder.clone() })
    }
}

/// A running node.
pub(crate) struct Node {
    inner: Option<Inner>,
    _folder: Arc<TempDir>,
}

impl Node {
    fn inner(&self) -> &Inner {
        self.inner.as_ref().expect("a node runs until it is stopped")
    }

    /// Its handles.
    pub(crate) fn control(&self) -> &Control {
        &self.inner().control
    }

    /// Plain HTTP.
    pub(crate) fn http(&self) -> SocketAddr {
        self.control().addresses.http[0]
    }

    /// HTTP over TLS.
    pub(crate) fn https(&self) -> SocketAddr {
        self.control().addresses.https[0]
    }

    /// DNS over UDP and TCP.
    pub(crate) fn dns(&self) -> SocketAddr {
        self.control().addresses.dns[0]
    }

    /// DNS over TLS.
    pub(crate) fn dot(&self) -> SocketAddr {
        self.control().addresses.dot[0]
    }

    /// DNS over HTTPS.
    pub(crate) fn doh(&self) -> SocketAddr {
        self.control().addresses.doh[0]
    }

    /// DNS over QUIC.
    pub(crate) fn doq(&self) -> SocketAddr {
        self.control().addresses.doq[0]
    }

    /// Waits until no fetch runs: what it stores is stored then, which may be a moment after a client has its last byte.
    pub(crate) fn settle(&self) {
        eventually("the end of all fetches", || self.control().edge.fills.running() == 0);
    }

    /// `answer`, once what it says is stored can be had.
    fn settled(&self, answer: Answer) -> Answer {
        if answer.cache().contains("stored") {
            self.settle();
        }
        answer
    }

    /// `GET` over plain HTTP/1.1.
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.ask(&Ask::get(target))
    }

    /// Over plain HTTP/1.1.
    pub(crate) fn ask(&self, ask: &Ask) -> Answer {
        self.settled(ask.send(self.http()))
    }

    /// Over plain HTTP/2.
    pub(crate) fn ask_h2(&self, ask: &Ask) -> Answer {
        self.settled(ask.over(self.http(), Version::HTTP_2, None).unwrap())
    }

    /// Over TLS.
    pub(crate) fn ask_tls(&self, ask: &Ask, version: Version, trusted: &Trusted) -> Result<Answer, Failed> {
        ask.over(self.https(), version, Some(trusted)).map(|answer| self.settled(answer))
    }

    /// Asks the admin API with the token.
    pub(crate) fn admin(&self, method: &str, target: &str, body: &str) -> Answer {
        admin(self.control().addresses.admin, method, target, body)
    }

    /// What `GET /v1/status` shows.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_slice(&self.admin("GET", "/v1/status", "").body).unwrap()
    }

    /// Purges; it holds when this returns.
    pub(crate) fn purge(&self, order: &str) {
        let answer = self.admin("POST", "/v1/purge", order);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// The value of one line of `GET /metrics`.
    pub(crate) fn metric(&self, line: &str) -> Option<f64> {
        let text = self.admin("GET", "/metrics", "").text();
        text.lines().find_map(|have| have.strip_prefix(line)?.trim().parse().ok())
    }

    /// Ends in order.
    pub(crate) fn stop(mut self) {
        self.inner.take().unwrap().stop(std::future::pending(), std::future::pending());
    }

    /// Ends in order, with the second and third signal in the test's hands.
    pub(crate) fn stop_with(mut self, skip: impl Future<Output = ()>, now: impl Future<Output = ()>) {
        self.inner.take().unwrap().stop(skip, now);
    }
}

/// Asks an admin API with the token.
pub(crate) fn admin(to: SocketAddr, method: &str, target: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {TOKEN}");
    Ask::new(method, target).host("admin").field("authorization", &bearer).body(body).send(to)
}

/// An mmdb that knows no address.
fn empty_mmdb() -> Vec<u8> {
    // One node, both of whose records say "nothing", and the separator before the (empty) data section.
    let mut bytes = vec![0, 0, 1, 0, 0, 1];
    bytes.extend([0; 16]);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    let text = |text: &str| [&[0x40 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let u16_of = |number: u8| vec![0xa1, number];
    let rows = [
        ("node_count", vec![0xc1, 1]),
        ("record_size", u16_of(24)),
        ("ip_version", u16_of(6)),
        ("database_type", text("empty")),
        ("languages", vec![0x00, 0x04]),
        ("binary_format_major_version", u16_of(2)),
        ("binary_format_minor_version", vec![0xa0]),
        ("build_epoch", vec![0x01, 0x02, 1]),
        ("description", vec![0xe0]),
    ];
    bytes.push(0xe0 | u8::try_from(rows.len()).unwrap());
    for (key, value) in rows {
        bytes.extend(text(key));
        bytes.extend(value);
    }
    bytes
}
