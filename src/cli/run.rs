//! `nearcast run`: a node, until a signal ends it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use nearcast_shared::clock::Clock;
use nearcast_shared::config::{Config, Inputs};
use nearcast_shared::telemetry;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::control::chain;
use crate::node::{Node, NodeError};
use crate::reload::{self, Force};

/// Where the config is and which PoP this is.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The config file, the same on every node of the fleet.
    #[arg(long, value_name = "FILE", env = "NEARCAST_CONFIG", default_value = "nearcast.toml")]
    pub(super) config: PathBuf,
    /// Which PoP of the config this node is; may be left out when there is just one.
    #[arg(long, value_name = "NAME", env = "NEARCAST_POP")]
    pub(super) pop: Option<String>,
}

impl ConfigArgs {
    pub(super) fn inputs(&self) -> Inputs {
        Inputs { pop: self.pop.clone(), admin_token: std::env::var("NEARCAST_ADMIN_TOKEN").ok(), offline: false }
    }
}

/// Exit code for a config with mistakes.
pub(super) const BAD_CONFIG: u8 = 2;

/// Run a node.
///
/// SIGHUP reads the config again. SIGTERM and SIGINT end the node in order: its health turns bad so that DNS steers away,
/// it serves on for shutdown.linger, then running requests get shutdown.grace to end, and the cache is written out. A
/// second signal skips the linger, a third ends at once. Exit code 2: the config has mistakes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearcast run --config /etc/nearcast/nearcast.toml --pop fra")]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let inputs = args.config.inputs();
    let config = match Config::load(&args.config.config, &inputs) {
        Ok(config) => config,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    telemetry::init(&config.log);
    let again = config.clone();
    // Each connection takes a file descriptor, and so does each file of the cache: the shell's default is too few.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    // Listened for from before the node says that it serves: whoever reads that may send one at once.
    let signals = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("signals")
        .enable_all()
        .build()
        .context("threads cannot be started")?;
    let listening = async { anyhow::Ok((Ends::new()?, Ends::new()?, Ends::new()?, listen(SignalKind::hangup())?)) };
    let (mut first, second, third, mut hangup) = signals.block_on(listening)?;
    let node = match Node::start(config, inputs, Clock::System) {
        Ok(node) => node,
        // What the config names cannot be used: as much a mistake in it as any, and seldom the only one.
        Err(NodeError::World(first)) => {
            let mut mistakes = reload::unusable(&again);
            if mistakes.is_empty() {
                // It was mended in this moment.
                mistakes.push(chain(&first));
            }
            mistakes.iter().for_each(|mistake| eprintln!("{}: {mistake}", again.file.display()));
            return Ok(ExitCode::from(BAD_CONFIG));
        }
        Err(error) => return Err(error).context("the node cannot start"),
    };
    let failed = signals.block_on(async {
        loop {
            tokio::select! {
                () = first.next() => return None,
                why = node.failed() => return Some(why),
                _ = hangup.recv() => {
                    let control = node.control.clone();
                    // Its outcome is logged and shown in the status.
                    tokio::task::spawn_blocking(move || drop(control.reload(Force::No)));
                }
            }
        }
    });
    if let Some(why) = failed {
        anyhow::bail!("the node failed: {why}");
    }
    // All of them saw the first.
    node.stop(wait(second, 2), wait(third, 3));
    Ok(ExitCode::SUCCESS)
}

/// Waits for the `count`th signal to end.
async fn wait(mut ends: Ends, count: usize) {
    for _ in 0..count {
        ends.next().await;
    }
}

fn listen(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("signals cannot be listened for")
}

/// The signals that ask a node to end.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
