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
use nearcast_dns::{Changes, DnsMetrics, Group, Moves, View};
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
/// Compiles both configs with their geo data, asks no node and changes nothing. Each steered name's policy in OLD is compared with
/// its policy in NEW; names that have the same two stand together. Counted is what either of them knows a
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
    print!("{}", show(&old.view.changes(&new.view).context("the maps cannot be made")?));
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
        let inputs = Inputs { pop, offline: true, ..Inputs::default() };
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
        let policies = view.policies_used() as u64;
        let networks = geo.files().iter().map(|file| file.nodes).sum();
        Ok(Self { view, files, geo, networks, policies })
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

/// Names of a list that are told.
const NAMES_MAX: usize = 5;

fn show(changes: &Changes) -> String {
    let mut out: String = changes.groups.iter().map(show_group).collect();
    for (names, why) in [(&changes.added, "only the new config"), (&changes.removed, "only the old config")] {
        if !names.is_empty() {
            out.push_str(&format!("not compared, since {why} steers them: {}\n", listed(names)));
        }
    }
    if out.is_empty() {
        out.push_str("neither config steers any name\n");
    }
    out
}

fn show_group(group: &Group) -> String {
    let policy = match group.old_policy == group.new_policy {
        true => format!("policy {}", group.new_policy),
        false => format!("policy {}, then {}", group.old_policy, group.new_policy),
    };
    let mut out = format!("{policy}: {}\n", listed(&group.names));
    if group.moves.is_empty() {
        out.push_str("  not compared: there are too many different rankings for a map\n");
    }
    group.moves.iter().for_each(|moves| out.push_str(&show_moves(moves)));
    if !group.keys.is_empty() {
        out.push_str(&format!("  not counted, but different: {}\n", group.keys.join(", ")));
    }
    out
}

fn show_moves(moves: &Moves) -> String {
    let family = reload::family_name(moves.family);
    let unit = match moves.family {
        AddressFamily::V4 => "addresses",
        AddressFamily::V6 => "/48s",
    };
    let of = HumanCount(moves.known.round() as u64);
    if moves.moved.is_empty() {
        return format!("  {family}: nothing moves, of {of} known {unit}\n");
    }
    let mut rows: Vec<_> = moves.moved.iter().collect();
    rows.sort_by(|a, b| b.1.total_cmp(a.1));
    let row = |((from, to), amount): &(&(String, String), &f64)| {
        let share = format!("{:>8.3} %", *amount / moves.known * 100.0);
        [from.clone(), "->".to_owned(), to.clone(), share, HumanCount(amount.round() as u64).to_string()]
    };
    let table = table("    ", &rows.iter().map(row).collect::<Vec<_>>());
    format!("  {family}: {:.3} % of {of} known {unit}\n{table}", moves.share() * 100.0)
}

/// The first of them, and how many more there are.
fn listed(names: &[String]) -> String {
    let told = names.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_as_a_table() {
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let moved = [(pair("fra", "iad"), 25.0), (pair("sin", "fra"), 1_000.0)].into_iter().collect();
        let some = Moves { family: AddressFamily::V4, known: 100_000.0, moved };
        let none = Moves { family: AddressFamily::V6, moved: Default::default(), ..some.clone() };
        let group = Group {
            old_policy: "default".to_owned(),
            new_policy: "default".to_owned(),
            names: (1..=7).map(|number| format!("{number}.cdn.test")).collect(),
            moves: vec![some, none],
            keys: Vec::new(),
        };
        let other = Group {
            new_policy: "eu".to_owned(),
            names: vec!["www.cdn.test".to_owned()],
            moves: Vec::new(),
            keys: vec!["pick", "weights"],
            ..group.clone()
        };
        let changes = Changes {
            groups: vec![group, other],
            added: vec!["new.cdn.test".to_owned()],
            removed: vec!["old.cdn.test".to_owned()],
        };
        let wanted = "\
policy default: 1.cdn.test, 2.cdn.test, 3.cdn.test, 4.cdn.test, 5.cdn.test and 2 more
  IPv4: 1.025 % of 100,000 known addresses
    sin  ->  fra     1.000 %  1,000
    fra  ->  iad     0.025 %  25
  IPv6: nothing moves, of 100,000 known /48s
policy default, then eu: www.cdn.test
  not compared: there are too many different rankings for a map
  not counted, but different: pick, weights
not compared, since only the new config steers them: new.cdn.test
not compared, since only the old config steers them: old.cdn.test
";
        assert_eq!(show(&changes), wanted);
        assert_eq!(show(&Changes::default()), "neither config steers any name\n");
    }
}
