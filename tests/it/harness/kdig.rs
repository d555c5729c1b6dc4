//! Knot's kdig, a client of every transport.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{DEADLINE, peer};

/// kdig, as its package installs it.
pub(crate) struct Kdig(PathBuf);

impl Kdig {
    /// `None` where it is not installed.
    pub(crate) fn installed() -> Option<Self> {
        peer::installed("kdig").map(Self)
    }

    /// Whether it was built with QUIC: every build has the option, and some ask over plain UDP then.
    pub(crate) fn speaks_quic(&self) -> bool {
        let listener = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_read_timeout(Some(DEADLINE)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let mut command = Command::new(&self.0);
        command.args(["@127.0.0.1", "-p", &port, "+quic", "+retry=0", "+time=1", "."]).stdin(Stdio::null());
        let mut asking = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let length = listener.recv(&mut [0; 4096]).expect("it asks");
        let _ended_already = asking.kill();
        asking.wait().unwrap();
        // A client's first datagram over QUIC has 1200 bytes or more (RFC 9000 section 14.1).
        length >= 1200
    }

    /// What it prints when it asks `server`; fails when it does.
    pub(crate) fn ask(&self, server: SocketAddr, arguments: &[&str]) -> String {
        let port = server.port().to_string();
        let mut command = Command::new(&self.0);
        command.arg(format!("@{}", server.ip())).args(["-p", &port, "+retry=0", "+time=10"]).args(arguments);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kdig {arguments:?}: {text}{complaints}");
        text
    }
}
