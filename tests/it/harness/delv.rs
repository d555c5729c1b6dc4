//! BIND's delv: a validator without a cache, which says of each set of records whether it is proven.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use hickory_proto::rr::RecordType;
use tempfile::TempDir;

use super::peer;

/// What it says of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// All of it is proven.
    Secure,
    /// It is proven that nothing of it can be.
    Insecure,
    /// Neither: what it wrote.
    Bogus(String),
}

/// An installed delv, and the key it trusts.
pub(crate) struct Delv {
    program: PathBuf,
    folder: TempDir,
    zone: String,
}

impl Delv {
    /// Trusts the key of a DS record such as `cdn.test. IN DS 12345 13 2 0A0B`; `None` where it is not installed.
    pub(crate) fn trusting(ds: &str) -> Option<Self> {
        let program = peer::installed("delv")?;
        let folder = tempfile::tempdir().unwrap();
        let [zone, _, _, tag, algorithm, kind, digest] = ds.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let anchor = format!("trust-anchors {{ {zone} static-ds {tag} {algorithm} {kind} \"{digest}\"; }};\n");
        fs::write(folder.path().join("anchors"), anchor).unwrap();
        Some(Self { program, folder, zone: zone.to_owned() })
    }

    /// Asks `server` and judges its answer.
    pub(crate) fn ask(&self, server: SocketAddr, name: &str, kind: RecordType) -> Proof {
        let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
        let (kind, root) = (kind.to_string(), format!("+root={}", self.zone));
        let mut command = Command::new(&self.program);
        command.args([&at, "-p", &port, "-a", "anchors", &root, "+multiline", name, &kind]);
        let output = command.current_dir(self.folder.path()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        match (said.contains("fully validated"), said.contains("unsigned answer")) {
            (true, false) => Proof::Secure,
            (false, true) => Proof::Insecure,
            _ => Proof::Bogus(said),
        }
    }
}
