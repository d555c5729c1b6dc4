//! `nearcast map diff`: whose PoP a change would change, before it is made.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use nearcast_dns::{DnsMetrics, Moves, View};
use nearcast_shared::config::{Config, Inputs};
use nearcast_shared::geo::{AddressFamily, GeoDb, Use};
use nearcast_shared::metrics::Metrics;

use super::run::BAD_CONFIG;
use super::table::table;
use crate::control::chain;
use crate::reload;

/// Look at the compiled map: which PoP gets which part of the address space.
#[derive(Debug, Args)]
pub(super) struct MapArgs {
    #[command(subcommand)]
    command: MapCommand,
}

/// What to do with maps.
#[derive(Debug, Subcommand)]
enum MapCommand {
    /// Tell which share of the address space a change moves from which PoP to which other
    Diff(DiffArgs),
}

/// Tell which share of the address space a change moves from which PoP to which other.
///
/// Compiles both configs with their geo data, asks no node and changes nothing. Counted is what either of them knows a
/// place of: addresses of IPv4, /48s of IPv6. All PoPs are supposed to be up. Exit code 2: a config or its geo data cannot be
/// used.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nearcast map diff nearcast.toml new.toml\n  \
                        nearcast map diff nearcast.toml nearcast.toml --new-geo City.mmdb")]
struct DiffArgs {
    /// The config in force
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The config that may follow it
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Geo data in place of the geo.database that the configs name; as often as needed
    #[arg(long, value_name = "FILE")]
    geo: Vec<PathBuf>,
    /// The same for NEW alone
    #[arg(long, value_name = "FILE")]
    new_geo: Vec<PathBuf>,
    /// The PoP from which clients without a known place are counted; default: the first
    #[arg(long)]
    pop: Option<String>,
}

pub(super) fn run(args: MapArgs) -> anyhow::Result<ExitCode> {
    let MapCommand::Diff(args) = args.command;
    let new_geo = if args.new_geo.is_empty() { &args.geo } else { &args.new_geo };
    let old = Side::open(&args.old, &args.geo, args.pop.as_deref(), None);
    // The same files are read once: that saves time, and maps that are alike need making once.
    let sharable = old.as_ref().ok().filter(|_| args.geo == *new_geo);
    let new = Side::open(&args.new, new_geo, args.pop.as_deref(), sharable);
    let (old, new) = match (old, new) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            [old.err(), new.err()].into_iter().flatten().for_each(|mistakes| eprintln!("{mistakes}"));
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    make_maps(&old, &new)?;
    print!("{}", show(&old.view.moves(&new.view)));
    Ok(ExitCode::SUCCESS)
}

/// One of the two configs, compiled.
struct Side {
    view: View,
    files: Vec<(Use, PathBuf)>,
    geo: Arc<GeoDb>,
    networks: u64,
    policies: u64,
}

impl Side {
    /// The mistakes as text, one a line.
    fn open(path: &Path, geo: &[PathBuf], pop: Option<&str>, like: Option<&Self>) -> Result<Self, String> {
        let pop = pop.map(str::to_owned).or_else(|| Config::pop_names(path).into_iter().next());
        // Only what needs a token asks for it.
        let inputs = Inputs { pop, admin_token: Some("not-asked-for".to_owned()) };
        let mut config = Config::load(path, &inputs).map_err(|mistakes| mistakes.to_string())?;
        if !geo.is_empty() {
            config.geo.database = geo.to_vec();
        }
        let told = |error: &dyn std::error::Error| format!("{}: {}", path.display(), chain(error));
        let files: Vec<(Use, PathBuf)> = config.geo.files().map(|(read_for, path)| (read_for, path.clone())).collect();
        let geo = match like.filter(|other| other.files == files) {
            Some(other) => other.geo.clone(),
            None => Arc::new(reload::load_geo(&config).map_err(|error| told(&error))?),
        };
        let metrics = DnsMetrics::register(&Metrics::new());
        let view = View::compile(&config, geo.clone(), &metrics).map_err(|error| told(&error))?;
        let networks = geo.files().iter().map(|file| file.nodes).sum();
        Ok(Self { view, files, geo, networks, policies: config.policies.len() as u64 })
    }
}

/// Both at once, with a bar that tells how far they are.
fn make_maps(old: &Side, new: &Side) -> anyhow::Result<()> {
    let (never, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let alike = new.view.steers_like(&old.view);
    let total = old.networks * old.policies + if alike { 0 } else { new.networks * new.policies };
    let bar = ProgressBar::new(total);
    bar.set_style(ProgressStyle::with_template("mapping {wide_bar} {percent:>3} %")?);
    let make = |side: &Side| -> anyhow::Result<()> {
        side.view.use_maps(side.view.build_maps_counting(&never, &done).context("the maps cannot be made")?);
        Ok(())
    };
    thread::scope(|scope| {
        let makers =
            [Some(old), Some(new).filter(|_| !alike)].map(|side| side.map(|side| scope.spawn(move || make(side))));
        let running = || makers.iter().flatten().any(|maker| !maker.is_finished());
        while running() {
            bar.set_position(done.load(Ordering::Relaxed).min(total));
            thread::sleep(Duration::from_millis(50));
        }
        makers.into_iter().flatten().try_for_each(|maker| {
            maker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("making the maps ended in a panic, which is a bug")))
        })
    })?;
    bar.finish_and_clear();
    if let Some(maps) = old.view.maps().filter(|_| alike) {
        new.view.use_maps(maps.clone());
    }
    Ok(())
}

fn show(all: &[Moves]) -> String {
    let mut out = String::new();
    for moves in all {
        let family = reload::family_name(moves.family);
        let unit = match moves.family {
            AddressFamily::V4 => "addresses",
            AddressFamily::V6 => "/48s",
        };
        let of = HumanCount(moves.known.round() as u64);
        out.push_str(&match moves.moved.is_empty() {
            true => format!("policy {}, {family}: nothing moves, of {of} known {unit}\n", moves.policy),
            false => {
                format!("policy {}, {family}: {:.3} % of {of} known {unit}\n", moves.policy, moves.share() * 100.0)
            }
        });
        let mut rows: Vec<_> = moves.moved.iter().collect();
        rows.sort_by(|a, b| b.1.total_cmp(a.1));
        let row = |((from, to), amount): &(&(String, String), &f64)| {
            let share = format!("{:>8.3} %", *amount / moves.known * 100.0);
            [from.clone(), "->".to_owned(), to.clone(), share, HumanCount(amount.round() as u64).to_string()]
        };
        out.push_str(&table("  ", &rows.iter().map(row).collect::<Vec<_>>()));
    }
    if all.is_empty() {
        out.push_str("the configs have no policy in common\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_as_a_table() {
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let moved = [(pair("fra", "iad"), 25.0), (pair("sin", "fra"), 1_000.0)].into_iter().collect();
        let some = Moves { policy: "default".to_owned(), family: AddressFamily::V4, known: 100_000.0, moved };
        let none = Moves { family: AddressFamily::V6, moved: Default::default(), ..some.clone() };
        let wanted = "\
policy default, IPv4: 1.025 % of 100,000 known addresses
  sin  ->  fra     1.000 %  1,000
  fra  ->  iad     0.025 %  25
policy default, IPv6: nothing moves, of 100,000 known /48s
";
        assert_eq!(show(&[some, none]), wanted);
        assert_eq!(show(&[]), "the configs have no policy in common\n");
    }
}
