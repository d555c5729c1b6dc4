//! The validated truth. A [`Config`] that exists is right: parsed, not checked again anywhere else.
//!
//! One file serves the whole fleet; `--pop NAME` says which PoP a node is, and `{pop}` in a path stands for it.

use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use subtle::ConstantTimeEq;

use crate::name::Name;
use crate::pop::{Pop, PopId};

mod compile;
mod dnssec;
mod encrypted;
mod file;
mod geo;
mod manners;
mod mistake;
mod pattern;
mod policy;
mod record;
mod site;
pub mod units;
mod warnings;
mod zone;
mod zonefile;

#[cfg(test)]
mod tests;

pub use dnssec::Dnssec;
pub use encrypted::Encrypted;
pub use geo::Geo;
pub use manners::{CookieSecret, Cookies, Manners, QueryLog, RateLimit};
pub use mistake::{Mistake, Mistakes};
pub use pattern::Pattern;
pub use policy::{AllDown, Order, Pick, Policy, PolicyId, PolicyRule, Ring, SteeredName};
pub use record::Record;
pub use site::{
    Caching, ClientRevalidation, DiskUse, Domain, Keying, OriginHost, Rule, SetCookie, Site, StatusMatch, Storing,
};
pub use units::Share;
pub use zone::{Nameserver, Zone};

/// The records of a zone file's text, and how many mistakes are told of it: for its fuzz target.
#[doc(hidden)]
pub fn zone_text(text: &[u8], zone: &Name, ttl: u32) -> (Vec<Record>, usize) {
    let content = zonefile::read_text(text, Path::new("fuzzing/zone"), zone, ttl);
    (content.records.into_iter().map(|(_, record)| record).collect(), content.mistakes.len())
}

/// Everything a node needs to know, for this PoP.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// Which of `pops` this node is.
    pub this: PopId,
    /// Where to listen.
    pub listen: Listen,
    /// Data-plane threads.
    pub workers: usize,
    /// Folder of the node's own state.
    pub state: PathBuf,
    /// The admin listener's secret and certificate.
    pub admin: Admin,
    /// The store.
    pub cache: Cache,
    /// Where clients are.
    pub geo: Geo,
    /// Probing.
    pub health: Health,
    /// Leaving.
    pub shutdown: Shutdown,
    /// Logging.
    pub log: Log,
    /// What clients may do.
    pub limits: Limits,
    /// How origins are reached.
    pub origin: Origin,
    /// DNS listeners.
    pub dns: Dns,
    /// What they show over TLS and QUIC: there, if any of them is.
    pub dns_certificate: Option<Certificate>,
    /// How DNS answers.
    pub manners: Manners,
    /// How signed zones are signed.
    pub dnssec: Dnssec,
    /// The fleet, at least one PoP.
    pub pops: Vec<Pop>,
    /// Where clients reach each PoP over TLS, in the order of `pops`: port 443 if it is listened on, else the first listener's.
    /// `None` where there is none, where the system chooses the port, and where they listen on loopback only while the PoP has
    /// other addresses.
    pub https_ports: Vec<Option<u16>>,
    /// PoPs of a ranking that the compiled map keeps.
    pub ranking_depth: usize,
    /// Resolvers that may ask for TXT records of `_explain.<steered name>`.
    pub explain_to: Vec<IpNet>,
    /// How PoPs are chosen. The first is that of whoever names none.
    pub policies: Vec<Policy>,
    /// Zones this fleet is authoritative for.
    pub zones: Vec<Zone>,
    /// What is served.
    pub sites: Vec<Site>,
}

/// Where to listen, after this PoP's own overrides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Plain HTTP/1.1 and HTTP/2.
    pub http: Vec<ListenAddress>,
    /// HTTP over TLS.
    pub https: Vec<ListenAddress>,
    /// DNS over UDP and TCP.
    pub dns: Vec<ListenAddress>,
    /// DNS over TLS, RFC 7858.
    pub dot: Vec<ListenAddress>,
    /// DNS over HTTPS, RFC 8484.
    pub doh: Vec<ListenAddress>,
    /// DNS over QUIC, RFC 9250.
    pub doq: Vec<ListenAddress>,
    /// The admin API.
    pub admin: SocketAddr,
}

/// One address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenAddress {
    /// Exactly this one.
    Socket(SocketAddr),
    /// `":8080"`: every local address.
    Any(u16),
}

impl FromStr for ListenAddress {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix(':').and_then(|port| port.parse().ok()) {
            Some(port) => Ok(Self::Any(port)),
            None => text.parse().map(Self::Socket),
        }
    }
}

impl ListenAddress {
    /// The configured port; 0 lets the system choose.
    pub fn port(self) -> u16 {
        match self {
            Self::Socket(address) => address.port(),
            Self::Any(port) => port,
        }
    }
}

/// A string that never shows in Debug or logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether `given` is it, in a time that tells nothing of where they differ.
    pub fn is(&self, given: &[u8]) -> bool {
        bool::from(self.0.as_bytes().ct_eq(given))
    }

    /// The secret itself; never to be logged.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Without one, admin answers health and metrics only.
    pub token: Option<Secret>,
    /// Whether sites take PURGE with the token.
    pub purge_method: bool,
    /// Required off loopback.
    pub tls: Option<Certificate>,
    /// URLs that are fetched ahead of requests at once.
    pub prefetch_jobs: usize,
}

/// Paths of a certificate chain and its key, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The store and what may enter it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Bytes of the memory tier.
    pub memory: u64,
    /// The disk tier.
    pub disk: Option<Disk>,
    /// Bytes of the largest body that is stored. It may be larger than what holds it: then parts of it are.
    pub object_max: u64,
    /// The same of bodies whose length nobody announced: they may have no end.
    pub unannounced_max: u64,
    /// Upper bound of any freshness lifetime; purge records outlive it, and `stale_max` after it.
    pub lifetime_max: Duration,
    /// Upper bound of a heuristic lifetime (RFC 9111 section 4.2.2).
    pub heuristic_max: Duration,
    /// Upper bound of a heuristic lifetime of an error.
    pub heuristic_error_max: Duration,
    /// How long a key whose answer could not be stored is fetched without waiting for others.
    pub uncacheable_for: Duration,
    /// A request waits so long for another one's fetch of the same object; then it goes to the origin itself.
    pub wait_max: Duration,
    /// How long beyond its lifetime an answer serves while the origin cannot be reached, unless it forbids that. Together
    /// with `lifetime_max` and a day it bounds what an answer allows by itself, too.
    pub stale_max: Duration,
    /// Stored answers per URL.
    pub variants_max: usize,
    /// Tags of an answer that count.
    pub tags_max: usize,
    /// Their bytes in all.
    pub tags_size: usize,
    /// Purges in force.
    pub purges_max: usize,
    /// Clients that see `key` and `detail` in Cache-Status.
    pub detail_to: Vec<IpNet>,
}

impl Cache {
    /// How long purges are kept: what is stored is used no longer than its lifetime and what is allowed beyond, and clocks
    /// differ by a day at most.
    pub fn purges_kept(&self) -> Duration {
        const MARGIN: Duration = Duration::from_secs(86_400);
        self.lifetime_max.saturating_add(self.stale_max).saturating_add(MARGIN)
    }
}

/// The disk tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its folder.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes that may wait to be written.
    pub write_queue: u64,
    /// Bytes that are written a second at most.
    pub write_rate: Option<u64>,
    /// Records it holds at most; each takes a line of memory.
    pub entries_max: usize,
}

/// Probing of PoPs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Between two probes of one address.
    pub interval: Duration,
    /// For one probe.
    pub timeout: Duration,
    /// Good probes in a row until a PoP that is down counts as up.
    pub rise: u32,
    /// Bad probes in a row until a PoP that is up counts as down.
    pub fall: u32,
    /// Falls within it make coming back harder: each but the first doubles `rise`.
    pub flap_window: Duration,
    /// But never to more than this.
    pub rise_max: u32,
    /// A PoP is up with this share of its addresses; `None`: with one.
    pub addresses_min: Option<Share>,
    /// So long after a change a PoP counts as unsettled.
    pub settle: Duration,
    /// Seconds, of answers that depend on an unsettled PoP.
    pub ttl_unsettled: u32,
    /// Of the PoPs that are up, so many may be out at once because they are overloaded.
    pub overload_share: Share,
}

/// How a node leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// Still serving while its health says no: longer than the zone's TTL.
    pub linger: Duration,
    /// Then for running requests to end.
    pub grace: Duration,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info` or `debug`.
    pub level: tracing::Level,
    /// How lines look.
    pub format: LogFormat,
    /// One line per request.
    pub access: LogTarget,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
}

/// What clients may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open client connections of the node.
    pub connections: usize,
    /// Until a request's header is complete.
    pub header_timeout: Duration,
    /// Between two requests of a connection.
    pub idle_timeout: Duration,
    /// A client that takes no byte of an answer for so long is cut off.
    pub send_timeout: Duration,
    /// A client that sends no byte of its body for so long is cut off.
    pub receive_timeout: Duration,
    /// For a TLS handshake.
    pub tls_timeout: Duration,
    /// Bytes of a request's header.
    pub header_size: usize,
    /// Fields of a request.
    pub header_count: usize,
    /// Bytes of a request's body.
    pub request_body: u64,
    /// Concurrent HTTP/2 streams of a connection.
    pub streams: u32,
    /// Fetches from origins that run at once and are shared or stored.
    pub fills: usize,
    /// Bytes of bodies that clients may keep in memory by being slow to take them, all together.
    pub pinned: u64,
}

/// How origins are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the request until the answer's header.
    pub response_timeout: Duration,
    /// Between two pieces of the answer's body.
    pub read_timeout: Duration,
    /// An unused connection is closed after so long.
    pub idle_timeout: Duration,
    /// Unused connections kept per origin and worker.
    pub idle_connections: usize,
    /// Bytes of an answer's header.
    pub header_size: usize,
    /// Fields of an answer.
    pub header_count: usize,
    /// A body that breaks off is asked for again from there so many times in a row.
    pub resumes: u32,
    /// PEM file of further certificate authorities.
    pub ca: Option<PathBuf>,
}

/// The DNS listeners.
#[derive(Debug, Clone, PartialEq)]
pub struct Dns {
    /// Largest UDP answer to clients with EDNS, 512 to 4096.
    pub udp_size: u16,
    /// Bytes that each UDP socket may hold back: queries that came and were not looked at yet.
    pub udp_receive_buffer: usize,
    /// Answers over UDP that each worker remembers; 0: none.
    pub remembered_answers: usize,
    /// A connection, encrypted or not, is closed when no whole query came for so long.
    pub tcp_timeout: Duration,
    /// Open TCP connections of the node.
    pub tcp_connections: usize,
    /// Open TCP connections of one client: an IPv4 address or a /64.
    pub tcp_per_client: usize,
    /// DNS over TLS, HTTPS and QUIC.
    pub encrypted: Encrypted,
    /// Which queries are logged.
    pub query_log: QueryLog,
}

/// What comes from outside the file.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// `--pop` or NEARCAST_POP. May be left out when the fleet is one PoP.
    pub pop: Option<String>,
    /// NEARCAST_ADMIN_TOKEN.
    pub admin_token: Option<String>,
    /// For a look at what a node would do, anywhere: without its token, whose file is not read.
    pub offline: bool,
}

impl Config {
    /// Reads and judges the file at `path`.
    ///
    /// # Errors
    /// Every mistake in it, not just the first.
    pub fn load(path: &Path, inputs: &Inputs) -> Result<Self, Mistakes> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path, inputs),
            Err(error) => {
                let message = format!("cannot be read: {error}; name the config file with --config");
                let list = vec![Mistake { file: None, line: None, key: String::new(), message }];
                Err(Mistakes { file: path.to_owned(), list })
            }
        }
    }

    /// Judges `text` as if it stood in a file at `path`; relative paths in it are relative to that file.
    ///
    /// # Errors
    /// Every mistake in it, not just the first.
    pub fn parse(text: &str, path: &Path, inputs: &Inputs) -> Result<Self, Mistakes> {
        compile::compile(text, path, inputs)
    }

    /// The names of the PoPs in the file at `path`, whatever else is wrong with it.
    pub fn pop_names(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).map(|text| compile::pop_names(&text)).unwrap_or_default()
    }

    /// The PoP that this node is.
    pub fn this_pop(&self) -> &Pop {
        &self.pops[self.this.index()]
    }

    /// The PoP of that name.
    pub fn pop_named(&self, name: &str) -> Option<PopId> {
        let position = self.pops.iter().position(|pop| pop.name == name)?;
        u16::try_from(position).ok().map(PopId)
    }

    /// The zone that holds `name`, the longest if several do.
    pub fn zone_of(&self, name: &str) -> Option<&Zone> {
        self.zones.iter().filter(|zone| zone.holds(name)).max_by_key(|zone| zone.name.len())
    }

    /// The keys in which `new` differs and which only a restart can change.
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let own_memory = |config: &Self| -> Vec<(String, u64)> {
            config.sites.iter().filter_map(|site| Some((site.name.clone(), site.storing.memory?))).collect()
        };
        let rows = [
            ("this PoP", self.this_pop().name == new.this_pop().name),
            ("listen", self.listen == new.listen),
            ("runtime.workers", self.workers == new.workers),
            ("state.path", self.state == new.state),
            ("cache.memory", self.cache.memory == new.cache.memory),
            ("cache.disk", self.cache.disk == new.cache.disk),
            ("cache.purges-max", self.cache.purges_max == new.cache.purges_max),
            ("site.memory", own_memory(self) == own_memory(new)),
            ("log", self.log == new.log),
            ("limits", self.limits == new.limits),
            ("admin.tls", self.admin.tls == new.admin.tls),
            ("admin.prefetch-jobs", self.admin.prefetch_jobs == new.admin.prefetch_jobs),
            ("origin", self.origin == new.origin),
            ("dns", self.dns == new.dns),
        ];
        rows.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }

    /// For each domain outside all zones: the domain and the CNAME to set for it.
    pub fn cnames_to_set(&self) -> Vec<(String, String)> {
        let Some(zone) = self.zones.first() else { return Vec::new() };
        let names = self.sites.iter().flat_map(|site| &site.domains).filter_map(|domain| match domain {
            Domain::Name(name) if self.zone_of(name).is_none() => Some(name.clone()),
            Domain::Name(_) | Domain::Any => None,
        });
        names.filter(|name| name.parse::<IpAddr>().is_err()).map(|name| (name, format!("edge.{}", zone.name))).collect()
    }
}
