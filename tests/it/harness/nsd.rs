//! NSD, Debian's authoritative name server, as the reference for what a zone's records mean.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use hickory_proto::rr::RecordType::SOA;

use super::dns::Query;
use super::loopback;
use super::peer::{self, Peer};

/// A running NSD.
pub(crate) struct Nsd {
    _peer: Peer,
    pub(crate) address: SocketAddr,
}

impl Nsd {
    /// Serves the file `zonefile` of `folder` as `zone`; `None` where NSD is not installed.
    pub(crate) fn start(folder: &Path, zone: &str, zonefile: &str) -> Option<Self> {
        let program = peer::installed("nsd")?;
        let [address] = loopback::ports(loopback::address());
        let (ip, port, at) = (address.ip(), address.port(), folder.display());
        let config = format!(
            "server:\n  ip-address: {ip}@{port}\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"{at}/nsd.pid\"\n  \
             zonesdir: \"{at}\"\n  zonelistfile: \"{at}/zone.list\"\n  xfrdfile: \"{at}/xfrd.state\"\n  \
             xfrdir: \"{at}\"\n  database: \"\"\n  logfile: \"{at}/nsd.log\"\n  server-count: 1\n  \
             minimal-responses: yes\n  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\n\
             zone:\n  name: {zone}\n  zonefile: \"{at}/{zonefile}\"\n"
        );
        fs::write(folder.join("nsd.conf"), config).unwrap();
        let ready = || Query::new(zone, SOA).try_tcp(address).is_some();
        Some(Self { _peer: Peer::run(&program, &["-d", "-c", "nsd.conf"], folder, ready), address })
    }
}
