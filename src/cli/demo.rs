//! `nearcast demo`: an origin and a fleet of three PoPs on this machine, with commands to try.
//!
//! ```text
//! this process: origin 127.0.0.10 <--- fills --- child processes: fra 127.0.0.11, iad 127.0.0.12, sin 127.0.0.13
//! ```

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, value_parser};
use futures_util::future::join_all;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::{Client, Nodes};
use super::status::{self, Status};

mod assets;
mod fleet;
mod guide;
mod layout;
mod origin;

use assets::Assets;
use fleet::Fleet;
use guide::Guide;
use layout::{Layout, POPS};

/// For all three PoPs to see each other up.
const START_MAX: Duration = Duration::from_secs(60);

/// Between two looks at the children.
const LOOK: Duration = Duration::from_millis(200);

/// Run an origin and a fleet of three PoPs on this machine, and print commands to try.
///
/// The PoPs stand in Frankfurt, Virginia and Singapore, and listen on 127.0.0.11, 127.0.0.12 and 127.0.0.13; the origin is
/// 127.0.0.10. Nothing needs to be set up, and nothing outside this machine is asked. Ctrl-C ends all of it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nearcast demo\n  \
    nearcast demo --dir /tmp/nearcast    the caches stay warm from one demo to the next")]
pub(super) struct DemoArgs {
    /// Folder for config, caches and logs; it is kept [default: a temporary one, removed at the end].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Port of the origin's and the PoPs' HTTP listeners.
    #[arg(long, value_name = "PORT", default_value_t = 8080, value_parser = value_parser!(u16).range(1..))]
    http_port: u16,
    /// Port of the PoPs' DNS listeners.
    #[arg(long, value_name = "PORT", default_value_t = 5300, value_parser = value_parser!(u16).range(1..))]
    dns_port: u16,
    /// Port of the PoPs' admin listeners.
    #[arg(long, value_name = "PORT", default_value_t = 9053, value_parser = value_parser!(u16).range(1..))]
    admin_port: u16,
    /// Become the node of this PoP: how the demo starts its children.
    #[arg(long, value_name = "POP", hide = true, requires = "dir")]
    r#become: Option<String>,
}

pub(super) fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let folder = Folder::new(args.dir.as_deref())?;
    let layout = Layout {
        dir: folder.path().to_owned(),
        http_port: args.http_port,
        dns_port: args.dns_port,
        admin_port: args.admin_port,
    };
    if let Some(pop) = &args.r#become {
        return Err(fleet::become_node(&layout, pop));
    }
    layout.check_free()?;
    layout.write()?;
    let assets = Arc::new(Assets::new());
    // On this very thread: a child that ends with its parent ends with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_all(&layout, assets))?;
    Ok(ExitCode::SUCCESS)
}

/// Where the demo keeps its files.
enum Folder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn new(kept: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = kept else {
            let made = tempfile::Builder::new().prefix("nearcast-demo-").tempdir();
            return made.map(Self::Temporary).context("no temporary folder; name one with --dir");
        };
        std::fs::create_dir_all(path).with_context(|| format!("{}: cannot be made", path.display()))?;
        Ok(Self::Kept(std::path::absolute(path)?))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }
}

async fn run_all(layout: &Layout, assets: Arc<Assets>) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let address = SocketAddr::new(layout::ORIGIN.into(), layout.http_port);
    let listener = tokio::net::TcpListener::bind(address).await.with_context(|| format!("origin at {address}"))?;
    let mut origin = JoinSet::new();
    origin.spawn(origin::serve(listener, assets.clone()));

    let mut fleet = Fleet::start(layout)?;
    let outcome = tokio::select! {
        () = signals.end() => Ok(()),
        Err(error) = live(layout, &mut fleet, &assets) => Err(error),
    };
    say("\nending; a second Ctrl-C ends it at once");
    tokio::select! {
        () = fleet.stop() => {}
        () = signals.end() => {}
    }
    outcome
}

/// Brings the fleet up, says what to try, and then says who dies, until it is dropped.
async fn live(layout: &Layout, fleet: &mut Fleet, assets: &Assets) -> anyhow::Result<()> {
    say(format_args!("starting {} in {}", layout::names(), layout.dir.display()));
    let forced = started(layout, fleet).await?;
    let guide = Guide { program: fleet::program()?, layout, pids: fleet.pids(), video: assets.video_sha256() };
    say(&guide);
    for pop in forced {
        let undo = guide.command(format_args!("drain --config CONFIG {pop} --auto"));
        say(format_args!("{pop} is still held by an earlier `nearcast drain`; to undo that:\n  {undo}\n"));
    }
    loop {
        for (pop, pid, status) in fleet.ended()? {
            say(format_args!("{} (pid {pid}) has ended: {status}", pop.name));
        }
        sleep(LOOK).await;
    }
}

/// Waits until every node has probed every PoP and none is down. Returns those that an operator holds in a state.
async fn started(layout: &Layout, fleet: &mut Fleet) -> anyhow::Result<Vec<String>> {
    let client = Nodes::of_config(layout.config(), Duration::from_secs(2))?;
    let deadline = Instant::now() + START_MAX;
    loop {
        if let Some((pop, _, status)) = fleet.ended()?.first() {
            bail!("{} did not start ({status}); its log:\n{}", pop.name, layout.log_end(pop));
        }
        match look(&client).await {
            Ok(forced) => return Ok(forced),
            Err(waiting) if Instant::now() >= deadline => {
                bail!("not all is up after {} s: {waiting}; see {}", START_MAX.as_secs(), layout.logs())
            }
            Err(_) => sleep(LOOK).await,
        }
    }
}

/// One look at all nodes: what there is to wait for, else the PoPs that are held in a state.
async fn look(client: &Client) -> Result<Vec<String>, String> {
    let call = status::call();
    let answers = join_all(client.nodes.iter().map(|node| client.ask(node, &call))).await;
    let mut forced = Vec::new();
    for (node, answer) in client.nodes.iter().zip(answers) {
        let answer = answer.map_err(|failure| format!("{}: {failure}", node.name))?;
        let status = Status::deserialize(&answer).map_err(|error| format!("{}: {error}", node.name))?;
        if status.pops.len() != POPS.len() {
            return Err(format!("{} knows {} PoPs", node.name, status.pops.len()));
        }
        for pop in status.pops {
            match pop.forced {
                Some(_) => forced.push(pop.name),
                None if pop.up && pop.reason == "probes" => {}
                None => return Err(format!("{} does not see {} up", node.name, pop.name)),
            }
        }
    }
    forced.sort();
    forced.dedup();
    Ok(forced)
}

/// What ends the demo.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    async fn end(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// A line on standard output; nobody has to read it.
fn say(line: impl fmt::Display) {
    let _closed = writeln!(io::stdout().lock(), "{line}");
}
