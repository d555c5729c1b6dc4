//! The demo's PoPs as child processes.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::LOOK;
use super::layout::{DemoPop, Layout, POPS};

/// For a child to end after SIGTERM: its linger and grace, and some.
const STOP_MAX: Duration = Duration::from_secs(12);

/// What must not reach the children from this process's environment.
pub(super) const VARIABLES: [&str; 3] = ["NEARCAST_CONFIG", "NEARCAST_POP", "NEARCAST_ADMIN_TOKEN"];

/// The children. Whoever still runs when it is dropped is killed.
#[derive(Debug)]
pub(super) struct Fleet {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    pop: DemoPop,
    child: Child,
    running: bool,
}

/// The path of this program.
///
/// # Errors
/// When the system does not say.
pub(super) fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("the path of this program is unknown")
}

/// Turns this process into the node of `pop`. On Linux it ends when its parent does, in whatever way that ends: a demo
/// that is killed leaves nobody behind. Returns only if that fails.
pub(super) fn become_node(layout: &Layout, pop: &str) -> anyhow::Error {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::TERM)) {
        return anyhow::Error::new(error).context("the parent's death cannot be watched");
    }
    match program() {
        Ok(program) => {
            let error =
                Command::new(program).arg("run").arg("--config").arg(layout.config()).args(["--pop", pop]).exec();
            anyhow::Error::new(error).context("the node cannot be started")
        }
        Err(error) => error,
    }
}

impl Fleet {
    /// Starts all of them.
    ///
    /// # Errors
    /// When one cannot be started; those before it are killed.
    pub(super) fn start(layout: &Layout) -> anyhow::Result<Self> {
        let mut fleet = Self { members: Vec::new() };
        for pop in POPS {
            let child = start(layout, &pop).with_context(|| format!("{} cannot be started", pop.name))?;
            fleet.members.push(Member { pop, child, running: true });
        }
        Ok(fleet)
    }

    /// In the order of the PoPs.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.child.id()).collect()
    }

    /// Who has ended since the last look, and how.
    ///
    /// # Errors
    /// When the system does not say.
    pub(super) fn ended(&mut self) -> anyhow::Result<Vec<(DemoPop, u32, ExitStatus)>> {
        let mut ended = Vec::new();
        for member in self.members.iter_mut().filter(|member| member.running) {
            if let Some(status) = member.child.try_wait()? {
                member.running = false;
                ended.push((member.pop, member.child.id(), status));
            }
        }
        Ok(ended)
    }

    /// Asks all of them to end and waits a bounded time for it.
    pub(super) async fn stop(&mut self) {
        for member in self.members.iter().filter(|member| member.running) {
            let pid = Pid::from_child(&member.child);
            // It cannot be gone for good: a child that was not waited for keeps its id. A stopped one must go on to end.
            let _ended = kill_process(pid, Signal::TERM).and_then(|()| kill_process(pid, Signal::CONT));
        }
        let deadline = Instant::now() + STOP_MAX;
        while self.ended().is_ok() && self.members.iter().any(|member| member.running) && Instant::now() < deadline {
            sleep(LOOK).await;
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for member in self.members.iter_mut().filter(|member| member.running) {
            let _ended = member.child.kill().and_then(|()| member.child.wait());
        }
    }
}

fn start(layout: &Layout, pop: &DemoPop) -> anyhow::Result<Child> {
    let log = layout.new_log(pop)?;
    let mut command = Command::new(program()?);
    command.args(["demo", "--become", pop.name, "--dir"]).arg(&layout.dir);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    for name in VARIABLES {
        command.env_remove(name);
    }
    // A group of its own: the terminal's Ctrl-C is for the demo, which then ends the children in order.
    Ok(command.process_group(0).spawn()?)
}
