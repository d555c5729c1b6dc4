//! Other people's programs, as their packages install them, run by a test in a folder of its own.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// For a program to end when it is asked to.
const END_MAX: Duration = Duration::from_secs(5);

/// A running program; it ends when this is dropped.
pub(crate) struct Peer {
    child: Mutex<Child>,
    log: PathBuf,
}

/// Where `program` is; else says that the test goes without. Servers are often not in a user's PATH.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let found = env::split_paths(&path).chain(usual).map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

impl Peer {
    /// Runs `program` in `folder`, where its files are, and waits until it is `ready`.
    pub(crate) fn run(program: &Path, arguments: &[&str], folder: &Path, ready: impl Fn() -> bool) -> Self {
        let log = folder.join("peer.log");
        let (out, err) = (File::create(&log).unwrap(), File::options().append(true).open(&log).unwrap());
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(out).stderr(err);
        let peer = Self { child: Mutex::new(command.spawn().unwrap()), log };
        eventually(&format!("an answer from {}", program.display()), || {
            let ended = peer.ended();
            assert!(ended.is_none(), "{} ended: {ended:?}\n{}", program.display(), peer.log());
            ready()
        });
        peer
    }

    fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().try_wait().unwrap()
    }

    /// What it has written so far.
    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut child = self.child.lock();
        // At SIGTERM a program ends its own children too, but not when it is killed.
        let _asked = kill_process(Pid::from_child(&child), Signal::TERM);
        let deadline = Instant::now() + END_MAX;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _killed = child.kill();
        let _reaped = child.wait();
    }
}
