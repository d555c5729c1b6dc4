//! NSD, Debian's authoritative name server, as the reference for what a zone's records mean.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hickory_proto::rr::RecordType;

use super::dns::Query;
use super::eventually;

/// A running NSD; ends when dropped.
pub(crate) struct Nsd {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Nsd {
    /// Serves the file `zonefile` of `folder` as `zone`, or `None` where NSD is not installed.
    pub(crate) fn start(folder: &Path, zone: &str, zonefile: &str) -> Option<Self> {
        let program = ["/usr/sbin/nsd", "/usr/local/sbin/nsd"].into_iter().find(|path| Path::new(path).exists())?;
        let address = free_port();
        let (ip, port, folder) = (address.ip(), address.port(), folder.display());
        let config = format!(
            "server:\n  ip-address: {ip}@{port}\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"{folder}/nsd.pid\"\n  \
             zonesdir: \"{folder}\"\n  zonelistfile: \"{folder}/zone.list\"\n  xfrdfile: \"{folder}/xfrd.state\"\n  \
             xfrdir: \"{folder}\"\n  database: \"\"\n  logfile: \"{folder}/nsd.log\"\n  server-count: 1\n  \
             minimal-responses: yes\n  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\n\
             zone:\n  name: {zone}\n  zonefile: \"{folder}/{zonefile}\"\n"
        );
        let file = format!("{folder}/nsd.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command.args(["-d", "-c", &file]).stdout(Stdio::null()).stderr(Stdio::null());
        let nsd = Self { child: command.spawn().unwrap(), address };
        eventually("an answer from NSD", || Query::new(zone, RecordType::SOA).try_tcp(address).is_some());
        Some(nsd)
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        // The process that was started ends its own children at SIGTERM, but not when it is killed.
        if let Ok(pid) = i32::try_from(self.child.id())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _status = self.child.wait();
    }
}

/// A port that was free for UDP and TCP a moment ago.
fn free_port() -> SocketAddr {
    loop {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if std::net::UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}
