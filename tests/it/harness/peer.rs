//! Other people's programs, as their packages install them. Each runs in a temporary folder and is killed when dropped.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use parking_lot::Mutex;
use tempfile::TempDir;

use super::eventually;

/// A running program.
pub(crate) struct Peer {
    child: Mutex<Child>,
    program: String,
    folder: TempDir,
}

/// Where `program` is, if it is installed; else says that the test is skipped. Daemons are often not in a user's PATH.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    let found =
        std::env::split_paths(&path).chain(usual).map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

impl Peer {
    /// Runs the program in `folder`, where its files are, and waits until it is `ready`.
    pub(crate) fn run(program: &PathBuf, arguments: &[&str], folder: TempDir, ready: impl Fn() -> bool) -> Self {
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder.path());
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let peer = Self { child: Mutex::new(child), program: program.display().to_string(), folder };
        eventually(&format!("{} is ready", peer.program), || {
            let ended = peer.child.lock().try_wait().unwrap();
            assert!(ended.is_none(), "{} ended: {ended:?}\n{}", peer.program, peer.log());
            ready()
        });
        peer
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("log")).unwrap()).into_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut child = self.child.lock();
        // It may have ended already.
        let _ended = child.kill();
        let _reaped = child.wait();
    }
}
