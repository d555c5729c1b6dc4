//! The command line: one file a subcommand.

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};
use nearcast_shared::geo::builtin;

mod check;
mod client;
mod demo;
mod dnssec;
mod drain;
mod explain;
mod explain_url;
mod geo;
mod list;
mod map;
mod object;
mod prefetch;
mod purge;
mod reload;
mod run;
mod simulate;
mod status;
mod table;
mod txt;

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
    Run(run::RunArgs),
    Check(check::CheckArgs),
    Demo(demo::DemoArgs),
    Purge(purge::PurgeArgs),
    Prefetch(prefetch::PrefetchArgs),
    Status(status::StatusArgs),
    Explain(explain::ExplainArgs),
    Simulate(simulate::SimulateArgs),
    Object(object::ObjectArgs),
    Drain(drain::DrainArgs),
    Txt(txt::TxtArgs),
    Dnssec(dnssec::DnssecArgs),
    Reload(reload::ReloadArgs),
    Geo(geo::GeoArgs),
    Map(map::MapArgs),
}

fn long_version() -> &'static str {
    static TEXT: LazyLock<String> =
        LazyLock::new(|| format!("{}\n{}", env!("CARGO_PKG_VERSION"), builtin::ATTRIBUTION));
    &TEXT
}

/// The program, but for the allocator.
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Purge(args) => purge::run(args),
        Command::Prefetch(args) => prefetch::run(args),
        Command::Status(args) => status::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Simulate(args) => simulate::run(args),
        Command::Object(args) => object::run(args),
        Command::Drain(args) => drain::run(args),
        Command::Txt(args) => txt::run(args),
        Command::Dnssec(args) => dnssec::run(args),
        Command::Reload(args) => reload::run(args),
        Command::Geo(args) => geo::run(args),
        Command::Map(args) => map::run(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("nearcast: {error:#}");
        ExitCode::FAILURE
    })
}
