//! `nearcast simulate`: what each PoP would carry, with some of them down.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use nearcast_dns::{AddressType, LoadState, Simulation, Simulator};
use nearcast_shared::config::{Config, Inputs};
use nearcast_shared::geo::AddressFamily;
use serde_json::json;

use super::explain::{compile, pops_named};
use super::run::{BAD_CONFIG, ConfigArgs};
use super::table::table;

mod log;
mod picture;

use log::{Replay, ReplayError};

/// Say what share of the clients each PoP would carry, with some PoPs down and with all up.
///
/// The clients are the world: every network of the geo data, IPv4 by its addresses, IPv6 by its /48s, but none for more
/// than a /32. Or those of a query log, one a line:
///
///   `ADDRESS[/LENGTH] [NAME] [COUNT]`
///
/// where NAME is --name and COUNT is 1 when left out, and "#" begins a comment. Where chance or a client's network has a say
/// it is drawn often enough for an error under 0.2 points; an answer with several PoPs counts for each with an equal
/// part. Origins count as reached from everywhere. Nothing is asked of any node. Exit code 2: the command line, the config or
/// the log cannot be followed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nearcast simulate --down iad\n  \
    nearcast simulate --config new.toml --name www.cdn.example.net --down iad --down sin --svg map.svg\n  \
    zcat queries.gz | nearcast simulate --log - --down fra --json")]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A PoP that is supposed to be down; as often as needed.
    #[arg(long, value_name = "POP")]
    down: Vec<String>,
    /// The steered name that clients ask for; default: `edge.<zone>` of the first zone.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Which addresses they ask for.
    #[arg(long, value_name = "TYPE", default_value = "A", ignore_case = true)]
    r#type: Type,
    /// The clients of the world: those with IPv4 or with IPv6 addresses.
    #[arg(long, value_name = "FAMILY", default_value = "v4", conflicts_with = "log")]
    clients: Clients,
    /// A query log instead of the world; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Draw a map of the world into this file: where clients are and who has them.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    #[value(name = "A")]
    A,
    #[value(name = "AAAA")]
    Aaaa,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Clients {
    V4,
    V6,
}

pub(super) fn run(args: SimulateArgs) -> anyhow::Result<ExitCode> {
    let mut inputs = Inputs { offline: true, ..args.config.inputs() };
    if inputs.pop.is_none() {
        // Which one it is matters only for clients whose location is not known.
        inputs.pop = Config::pop_names(&args.config.config).into_iter().next();
    }
    match simulated(&args, &inputs) {
        Ok((what, simulation)) => {
            if let Some(path) = &args.svg {
                let svg = picture::svg(&simulation, &what.title());
                std::fs::write(path, svg).with_context(|| format!("{}: cannot be written", path.display()))?;
            }
            print(&args, &what, &simulation);
            Ok(ExitCode::SUCCESS)
        }
        Err(mistakes) => {
            eprintln!("{mistakes:#}");
            Ok(ExitCode::from(BAD_CONFIG))
        }
    }
}

/// What was simulated.
struct What {
    name: String,
    r#type: &'static str,
    clients: String,
    down: Vec<String>,
    skipped: u64,
}

impl What {
    /// Such as `edge.cdn.test, A, for the world's IPv4 addresses: iad is down`.
    fn title(&self) -> String {
        let state = match self.down.as_slice() {
            [] => "all PoPs are up".to_owned(),
            [one] => format!("{one} is down"),
            [first @ .., last] => format!("{} and {last} are down", first.join(", ")),
        };
        format!("{}, {}, for {}: {state}", self.name, self.r#type, self.clients)
    }
}

/// Whatever is wrong is a mistake of who asks.
fn simulated(args: &SimulateArgs, inputs: &Inputs) -> anyhow::Result<(What, Simulation)> {
    let config = Config::load(&args.config.config, inputs)?;
    let down = pops_named(&config, &args.down)?;
    let name = match (&args.name, config.zones.first()) {
        (Some(name), _) => name.clone(),
        (None, Some(zone)) => format!("edge.{}", zone.name),
        (None, None) => anyhow::bail!("{}: has no [[zone]], so that nothing is steered", config.file.display()),
    };
    let bar = bar();
    bar.set_message("compiling");
    let view = compile(&config).with_context(|| config.file.display().to_string())?;
    if let Some(maps) = view.build_maps(&AtomicBool::new(false)) {
        view.use_maps(maps);
    }
    let (asks, r#type) = match args.r#type {
        Type::A => (AddressType::A, "A"),
        Type::Aaaa => (AddressType::Aaaa, "AAAA"),
    };
    let simulator = Simulator::new(&view, asks, &down);
    bar.set_message("steering");
    let (simulation, clients, skipped) = match &args.log {
        Some(path) => replayed(simulator, path, &name, &bar)?,
        None => world(simulator, args.clients, &name, &bar)?,
    };
    bar.finish_and_clear();
    let down = config.pops.iter().map(|pop| pop.name.clone()).filter(|pop| args.down.contains(pop)).collect();
    Ok((What { name, r#type, clients, down, skipped }, simulation))
}

fn world(
    mut simulator: Simulator<'_>,
    clients: Clients,
    name: &str,
    bar: &ProgressBar,
) -> anyhow::Result<(Simulation, String, u64)> {
    let (family, what) = match clients {
        Clients::V4 => (AddressFamily::V4, "the world's IPv4 addresses"),
        Clients::V6 => (AddressFamily::V6, "the world's IPv6 networks"),
    };
    bar.set_length(STEPS);
    simulator.world(name, family, |done| bar.set_position((done * STEPS as f64) as u64))?;
    let simulation = simulator.finish();
    anyhow::ensure!(
        simulation.weight > 0.0,
        "the geo data places nobody in this family, so there is no world to steer"
    );
    Ok((simulation, what.to_owned(), 0))
}

fn replayed(
    simulator: Simulator<'_>,
    path: &std::path::Path,
    name: &str,
    bar: &ProgressBar,
) -> anyhow::Result<(Simulation, String, u64)> {
    let replay = if path.as_os_str() == "-" {
        log::replay(std::io::stdin().lock(), simulator, name, |_| bar.tick())
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        bar.set_length(file.metadata().map_or(0, |data| data.len()));
        log::replay(std::io::BufReader::new(file), simulator, name, |bytes| bar.set_position(bytes))
    };
    let told = |error: ReplayError| anyhow::anyhow!(error.in_file(&path.display().to_string()));
    let Replay { simulation, queries, skipped } = replay.map_err(told)?;
    anyhow::ensure!(queries > 0, "{}: no line asks for a steered name", path.display());
    Ok((simulation, format!("{} queries", HumanCount(queries)), skipped))
}

/// Positions of the bar, where it has no better ones.
const STEPS: u64 = 1000;

fn bar() -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{msg:10} {wide_bar} {percent:>3} %").expect("a valid template");
    bar.set_style(style);
    bar
}

fn print(args: &SimulateArgs, what: &What, simulation: &Simulation) {
    if args.json {
        let mut value = json!({
            "name": what.name, "type": what.r#type, "clients": what.clients, "down": what.down, "skipped": what.skipped,
        });
        let result = serde_json::to_value(simulation).unwrap_or_default();
        if let (Some(into), Some(from)) = (value.as_object_mut(), result.as_object()) {
            into.extend(from.clone());
        }
        println!("{value}");
        return;
    }
    println!("{}; {} of the clients move", what.title(), percent(simulation.moved));
    if what.skipped > 0 {
        println!("{} queries were for names that are not steered", HumanCount(what.skipped));
    }
    print!("{}", table("  ", &rows(simulation)));
}

fn rows(simulation: &Simulation) -> Vec<[String; 6]> {
    let mut rows = vec![["", "state", "   share", "  all up", " change", "takes over"].map(str::to_owned)];
    for load in &simulation.loads {
        let state = match load.state {
            LoadState::Up => "up",
            LoadState::Down => "DOWN",
            LoadState::NoPop => "-",
        };
        let taken = load.took_over.iter().map(|taken| format!("{} of {}", percent(taken.share).trim(), taken.from));
        rows.push([
            load.name.clone(),
            state.to_owned(),
            format!("{:>8}", percent(load.share)),
            format!("{:>8}", percent(load.share_all_up)),
            change(load.share - load.share_all_up),
            taken.collect::<Vec<_>>().join(", "),
        ]);
    }
    rows
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn change(share: f64) -> String {
    let points = share * 100.0;
    if points.abs() < 0.005 { format!("{:>7}", "-") } else { format!("{points:>+7.2}") }
}

#[cfg(test)]
mod tests {
    use nearcast_dns::{Load, Taken};

    use super::*;

    fn load(name: &str, state: LoadState, shares: (f64, f64), took_over: &[(&str, f64)]) -> Load {
        let took_over = took_over.iter().map(|(from, share)| Taken { from: (*from).to_owned(), share: *share });
        let (share, share_all_up) = shares;
        Load { name: name.to_owned(), state, location: None, share, share_all_up, took_over: took_over.collect() }
    }

    #[test]
    fn the_table() {
        let loads = vec![
            load("fra", LoadState::Up, (0.75, 0.5), &[("iad", 0.2), ("sin", 0.05)]),
            load("iad", LoadState::Down, (0.0, 0.2), &[]),
            load("no data", LoadState::NoPop, (0.25, 0.25), &[]),
        ];
        let simulation = Simulation { weight: 4.0, moved: 0.25, loads, cells: Vec::new() };
        let wanted = "           state     share    all up   change  takes over
  fra      up      75.00 %   50.00 %   +25.00  20.00 % of iad, 5.00 % of sin
  iad      DOWN     0.00 %   20.00 %   -20.00
  no data  -       25.00 %   25.00 %        -
";
        assert_eq!(table("  ", &rows(&simulation)), wanted);
    }

    #[test]
    fn titles() {
        let what = |down: &[&str]| What {
            name: "a.test".to_owned(),
            r#type: "A",
            clients: "3 queries".to_owned(),
            down: down.iter().map(|pop| (*pop).to_owned()).collect(),
            skipped: 0,
        };
        assert_eq!(what(&[]).title(), "a.test, A, for 3 queries: all PoPs are up");
        assert_eq!(what(&["fra"]).title(), "a.test, A, for 3 queries: fra is down");
        assert_eq!(what(&["fra", "iad", "sin"]).title(), "a.test, A, for 3 queries: fra, iad and sin are down");
    }
}
