//! Knot's kdig, a client of every transport.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use super::peer;

/// kdig, as its package installs it.
pub(crate) struct Kdig(PathBuf);

impl Kdig {
    /// `None` where it is not installed.
    pub(crate) fn installed() -> Option<Self> {
        peer::installed("kdig").map(Self)
    }

    /// Whether it was built with QUIC: all builds have the option, some take it for another transport's.
    pub(crate) fn speaks_quic(&self) -> bool {
        let output =
            Command::new(&self.0).args(["@127.0.0.1", "-p", "1", "+quic", "+retry=0", "+time=1", "."]).output();
        let output = output.unwrap();
        let told = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&told).contains("(QUIC)")
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
