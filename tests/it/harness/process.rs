//! The real binary, as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use serde_json::Value;

use super::eventually;
use super::node::{Setup, admin};

/// A running `nearcast`.
pub(crate) struct Process {
    child: Mutex<Child>,
    log: Arc<Mutex<Vec<String>>>,
    /// Threads that keep what it writes.
    keepers: Mutex<Vec<JoinHandle<()>>>,
    /// Its folder is there as long as this is.
    setup: Option<Setup>,
}

impl Process {
    /// Runs a node and waits until it serves.
    pub(crate) fn run(setup: &Setup) -> Self {
        let process = Self::spawn(setup);
        process.wait_for("serving");
        if setup.has_disk() {
            process.wait_for("the disk tier is ready");
        }
        process
    }

    /// Runs a node.
    pub(crate) fn spawn(setup: &Setup) -> Self {
        let file = setup.write();
        let arguments = ["run", "--config", &file.display().to_string(), "--pop", setup.name()];
        let mut process = Self::command(&arguments, setup.folder());
        process.setup = Some(setup.clone());
        process
    }

    /// Runs the binary with these arguments.
    pub(crate) fn command(arguments: &[&str], folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearcast"));
        command.args(arguments).current_dir(folder).env_remove("NEARCAST_ADMIN_TOKEN").env_remove("NEARCAST_POP");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let keepers = Mutex::new(vec![Self::keep(out, &log), Self::keep(err, &log)]);
        Self { child: Mutex::new(child), log, keepers, setup: None }
    }

    fn keep(from: impl std::io::Read + Send + 'static, log: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
        let log = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                log.lock().push(line.unwrap());
            }
        })
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().join("\n")
    }

    /// Waits until it has written that.
    pub(crate) fn wait_for(&self, text: &str) {
        eventually(&format!("`{text}` in the log"), || {
            let ended = self.ended().is_some();
            let there = self.log().contains(text);
            assert!(there || !ended, "it ended without `{text}`:\n{}", self.log());
            there
        });
    }

    /// How it ended, if it did; then all it wrote is in the log.
    fn ended(&self) -> Option<ExitStatus> {
        let status = self.child.lock().try_wait().unwrap()?;
        self.keepers.lock().drain(..).for_each(|keeper| keeper.join().unwrap());
        Some(status)
    }

    /// Sends it a signal such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.lock().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Kills it at once: no other process stands between.
    pub(crate) fn kill(&self) {
        self.child.lock().kill().unwrap();
    }

    /// KiB that it has in memory.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.proc_status("VmRSS:").trim_end_matches(" kB").parse().unwrap()
    }

    /// The same, once it has made its maps: that is done aside, after it has begun to serve, and takes as much as all else.
    pub(crate) fn settled_kib(&self) -> u64 {
        let metrics = || admin(self.admin(), "GET", "/metrics", "").text();
        eventually("the maps are made", || metrics().contains("nearcast_map_build_timestamp_seconds "));
        self.resident_kib()
    }

    /// KiB that it had in memory at most.
    pub(crate) fn resident_kib_max(&self) -> u64 {
        self.proc_status("VmHWM:").trim_end_matches(" kB").parse().unwrap()
    }

    /// Seconds that all of its threads have worked so far: fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.lock().id())).unwrap();
        // The second field, in parentheses, may hold anything.
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
        fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
    }

    /// What the kernel says of it (proc_pid_status(5)).
    fn proc_status(&self, key: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.lock().id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned()
    }

    /// Waits for its end; `None` when a signal ended it.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        let mut status = None;
        eventually("the process's end", || {
            status = self.ended();
            status.is_some()
        });
        let status = status.unwrap();
        assert_eq!(status.code().is_none(), status.signal().is_some());
        status.code()
    }

    /// The field of the "serving" line.
    fn address(&self, field: &str) -> SocketAddr {
        let log = self.log();
        let line: Value = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .find(|line: &Value| line["message"] == "serving")
            .expect("it serves");
        line[field].as_str().unwrap().trim_matches(['[', ']']).parse().unwrap()
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.address("http")
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.address("admin")
    }

    pub(crate) fn dns(&self) -> SocketAddr {
        self.address("dns")
    }

    pub(crate) fn dot(&self) -> SocketAddr {
        self.address("dot")
    }

    pub(crate) fn doq(&self) -> SocketAddr {
        self.address("doq")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child.lock();
        // It may have ended already.
        let _ended = child.kill();
        let _reaped = child.wait();
    }
}
