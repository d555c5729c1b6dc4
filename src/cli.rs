//! The command line: one file a subcommand.

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};
use nearcast_shared::geo::builtin;

mod check;
mod client;
mod demo;
mod drain;
mod explain;
mod geo;
mod purge;
mod reload;
mod run;
mod status;
mod table;

/// A CDN edge node with GeoDNS in one binary: answers DNS with the nearest healthy point of presence, and serves that
/// PoP's HTTP traffic from a memory-plus-disk cache in front of your origin.
#[derive(Debug, Parser)]
#[command(name = "nearcast", version, long_version = long_version(), max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node.
    Run(run::RunArgs),
    /// Read the config, list every mistake in it, and say which CNAMEs to set.
    Check(check::CheckArgs),
    /// Run three PoPs and an origin on this machine, and print commands to try.
    Demo(demo::DemoArgs),
    /// Purge a URL, a site or everything, on one node or on every PoP.
    Purge(purge::PurgeArgs),
    /// Show nodes at a glance.
    Status(status::StatusArgs),
    /// Say which PoP a client gets, and why.
    Explain(explain::ExplainArgs),
    /// Take a PoP out of the answers, or force it up or down, or let probes decide again.
    Drain(drain::DrainArgs),
    /// Let nodes read their config again.
    Reload(reload::ReloadArgs),
    /// Work with geo databases.
    Geo(geo::GeoArgs),
}

fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{}\n{}", env!("CARGO_PKG_VERSION"), builtin::ATTRIBUTION));
    &TEXT
}

/// The program, but for the allocator.
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Purge(args) => purge::run(args),
        Command::Status(args) => status::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Drain(args) => drain::run(args),
        Command::Reload(args) => reload::run(args),
        Command::Geo(args) => geo::run(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("nearcast: {error:#}");
        ExitCode::FAILURE
    })
}
