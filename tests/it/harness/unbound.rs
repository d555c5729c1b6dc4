//! Debian's unbound, a resolver that keeps answers by their ECS scope.

use std::fs;
use std::net::SocketAddr;

use hickory_proto::rr::RecordType::SOA;
use tempfile::TempDir;

use super::dns::{Query, Udp};
use super::loopback;
use super::peer::{self, Peer};

/// The zone that it knows.
const ZONE: &str = "cdn.test";

/// A running unbound, whose cache is empty at first.
pub(crate) struct Unbound {
    _peer: Peer,
    _folder: TempDir,
    pub(crate) address: SocketAddr,
}

impl Unbound {
    /// Resolves what is in the zone of the node at `server`, and nothing else; `None` where it is not installed.
    pub(crate) fn start(server: SocketAddr) -> Option<Self> {
        Self::start_with(server, "  module-config: \"subnetcache iterator\"\n")
    }

    /// The same, and what it resolves must be proven by the key of `ds`; it takes `now` for the time, as in RRSIG records.
    pub(crate) fn validating(server: SocketAddr, ds: &str, now: &str) -> Option<Self> {
        Self::start_with(server, &validator(ds, now))
    }

    /// The same, and `child`, which is within the zone, is asked for at another server.
    pub(crate) fn validating_with(server: SocketAddr, ds: &str, now: &str, child: (&str, SocketAddr)) -> Option<Self> {
        let (name, at) = child;
        let stub = format!("stub-zone:\n  name: \"{name}\"\n  stub-addr: {}@{}\nserver:\n", at.ip(), at.port());
        Self::start_with(server, &(validator(ds, now) + &stub))
    }

    fn start_with(server: SocketAddr, lines: &str) -> Option<Self> {
        let program = peer::installed("unbound")?;
        let [address] = loopback::ports(loopback::address());
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("unbound.conf"), config(address, server, lines)).unwrap();
        let ready = || Udp::connect(address).try_ask(&Query::new(ZONE, SOA).bytes()).is_some();
        let peer = Peer::run(&program, &["-d", "-c", "unbound.conf"], folder.path(), ready);
        Some(Self { _peer: peer, _folder: folder, address })
    }
}

/// Lines of its config.
fn validator(ds: &str, now: &str) -> String {
    format!(
        "  module-config: \"subnetcache validator iterator\"\n  trust-anchor: \"{ds}\"\n  \
         val-override-date: \"{now}\"\n  harden-dnssec-stripped: yes\n  aggressive-nsec: yes\n"
    )
}

fn config(address: SocketAddr, server: SocketAddr, lines: &str) -> String {
    format!(
        "server:\n  interface: {ip}@{port}\n  access-control: 127.0.0.0/8 allow\n  do-ip6: no\n  num-threads: 1\n  \
         username: \"\"\n  chroot: \"\"\n  directory: \".\"\n  pidfile: \"\"\n  use-syslog: no\n  \
         do-not-query-localhost: no\n  local-zone: \"test.\" nodefault\n{lines}  \
         send-client-subnet: 127.0.0.0/8\n  client-subnet-zone: \"{ZONE}\"\n  client-subnet-always-forward: yes\n  \
         max-client-subnet-ipv4: 24\n  max-client-subnet-ipv6: 56\n  \
         max-ecs-tree-size-ipv4: 100000\n  max-ecs-tree-size-ipv6: 100000\n\
         remote-control:\n  control-enable: no\n\
         stub-zone:\n  name: \"{ZONE}\"\n  stub-addr: {server_ip}@{server_port}\n",
        ip = address.ip(),
        port = address.port(),
        server_ip = server.ip(),
        server_port = server.port(),
    )
}
