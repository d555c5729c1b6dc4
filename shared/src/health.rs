//! Which PoPs are up: raw probe results go through the pure [`verdict`] machine, forced states and the node's own
//! leaving on top, and the outcome is published whole as a [`HealthTable`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::pop::{Pop, PopId, Probe};

pub mod probe;
pub mod sites;
pub mod table;
pub mod verdict;

pub use table::{FleetId, HealthTable, PopHealth, Reason};
use verdict::{Machine, Verdict};

/// The path of the public health answer, before any host routing.
pub const HEALTH_PATH: &str = "/.nearcast/health";

/// A state that an operator holds a PoP in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forced {
    /// Out of the answers, though well; its node also says so to its own probers.
    Drain,
    /// Up, whatever the probes say.
    Up,
    /// Down, whatever the probes say.
    Down,
}

/// One PoP, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PopStatus {
    /// Its name.
    pub name: String,
    /// Whether DNS may hand it out.
    pub up: bool,
    /// What decided that.
    pub reason: Reason,
    /// The operator's word, if any.
    pub forced: Option<Forced>,
    /// Each probed address.
    pub targets: Vec<TargetStatus>,
}

/// One probed address, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetStatus {
    /// What is probed.
    pub url: String,
    /// What the probes amount to.
    pub verdict: Verdict,
    /// The last result in words; `None` before the first.
    pub last: Option<String>,
    /// When the verdict last changed, in seconds since the epoch.
    pub since: Option<i64>,
}

/// Why a forced state could not be set.
#[derive(Debug, Error)]
pub enum ForceError {
    /// No such PoP.
    #[error("no PoP is named `{0}`")]
    UnknownPop(String),
    /// It holds now, but would be forgotten at a restart.
    #[error("the state holds, but {path} could not be written, so a restart forgets it")]
    Persist {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// Keeps the verdicts and publishes them.
#[derive(Debug)]
pub struct HealthBoard {
    table: ArcSwap<HealthTable>,
    state: Mutex<State>,
    leaving: AtomicBool,
    forced_file: Option<PathBuf>,
    /// Held while the file is written, and never by who only asks.
    forced_writer: Mutex<()>,
}

#[derive(Debug)]
struct State {
    this: PopId,
    fleet: FleetId,
    pops: Vec<Pop>,
    /// Of each PoP.
    targets: Vec<Vec<Target>>,
    /// What was last known of PoPs that the last reload took out.
    gone: Vec<PopHealth>,
    forced: HashMap<String, Forced>,
    /// Every target of the first config was probed once.
    first_round_done: bool,
}

#[derive(Debug, Clone)]
struct Target {
    url: String,
    machine: Machine,
    last: Option<String>,
    since: Option<Timestamp>,
}

impl HealthBoard {
    /// A board for `config`. Forced states are read from, and kept in, `forced_file`.
    ///
    /// # Errors
    /// When `forced_file` exists but cannot be read or understood.
    pub fn new(config: &Config, forced_file: Option<&Path>) -> std::io::Result<Arc<Self>> {
        let forced = forced_file.map(read_forced).transpose()?.unwrap_or_default();
        let state = State {
            this: config.this,
            fleet: FleetId::default(),
            pops: Vec::new(),
            targets: Vec::new(),
            gone: Vec::new(),
            forced,
            first_round_done: false,
        };
        let board = Self {
            table: ArcSwap::default(),
            state: Mutex::new(state),
            leaving: AtomicBool::new(false),
            forced_file: forced_file.map(Path::to_owned),
            forced_writer: Mutex::new(()),
        };
        board.reconfigure(config);
        Ok(Arc::new(board))
    }

    /// Takes over a new config; what is known of targets that stay is kept.
    pub fn reconfigure(&self, config: &Config) {
        let mut state = self.state.lock();
        let mut old: HashMap<String, Target> =
            state.targets.drain(..).flatten().map(|target| (target.url.clone(), target)).collect();
        let mut target = |url: String| {
            let machine = Machine::new(config.health.rise, config.health.fall);
            match old.remove(&url) {
                Some(known) => {
                    Target { machine: known.machine.with_limits(config.health.rise, config.health.fall), ..known }
                }
                None => Target { url, machine, last: None, since: None },
            }
        };
        state.targets = config
            .pops
            .iter()
            .map(|pop| match &pop.probe {
                Probe::Never => Vec::new(),
                Probe::Urls(urls) => urls.iter().map(|url| target(url.to_string())).collect(),
            })
            .collect();
        let stays = |known: &&PopHealth| config.pop_named(&known.name).is_some();
        state.gone = self.table.load().pops.iter().filter(|known| !stays(known)).cloned().collect();
        state.pops.clone_from(&config.pops);
        state.fleet = FleetId::of(&config.pops);
        state.this = config.this;
        self.publish(&mut state);
    }

    /// The present table: one atomic load.
    pub fn table(&self) -> Guard<Arc<HealthTable>> {
        self.table.load()
    }

    /// Each PoP in full, for people.
    pub fn status(&self) -> Vec<PopStatus> {
        let state = self.state.lock();
        let table = self.table.load();
        let pops = table.pops.iter().zip(&state.targets).map(|(pop, targets)| PopStatus {
            name: pop.name.to_string(),
            up: pop.up,
            reason: pop.reason,
            forced: pop.forced,
            targets: targets.iter().map(Target::status).collect(),
        });
        pops.collect()
    }

    /// Takes in the result of one probe of `url`; the error is in words.
    pub fn report(&self, url: &str, result: Result<(), String>, now: Timestamp) {
        let mut state = self.state.lock();
        for target in state.targets.iter_mut().flatten().filter(|target| target.url == url) {
            let before = target.machine.verdict();
            let after = target.machine.step(result.is_ok());
            target.last = Some(result.as_ref().err().cloned().unwrap_or_else(|| "ok".to_owned()));
            if before != after {
                target.since = Some(now);
                tracing::info!(url, ?before, ?after, cause = target.last, "health verdict changed");
            }
        }
        self.publish(&mut state);
    }

    /// Holds the PoP of that name in a state, or with `None` lets the probes decide again.
    ///
    /// # Errors
    /// When there is no such PoP, or when the state could not be written down.
    pub fn force(&self, name: &str, forced: Option<Forced>) -> Result<(), ForceError> {
        let _one_at_a_time = self.forced_writer.lock();
        let mut state = self.state.lock();
        if !state.pops.iter().any(|known| known.name == name) {
            return Err(ForceError::UnknownPop(name.to_owned()));
        }
        match forced {
            Some(forced) => state.forced.insert(name.to_owned(), forced),
            None => state.forced.remove(name),
        };
        tracing::info!(pop = name, ?forced, "forced state changed");
        self.publish(&mut state);
        let forced = state.forced.clone();
        drop(state);
        match &self.forced_file {
            Some(path) => {
                write_forced(path, &forced).map_err(|source| ForceError::Persist { path: path.clone(), source })
            }
            None => Ok(()),
        }
    }

    /// From now on this node says no to its probers and its own PoP is out of its own answers.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        self.publish(&mut self.state.lock());
    }

    /// Whether this node is on its way out.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    /// What this node tells whoever probes it.
    pub fn says_up(&self) -> bool {
        let drained = || {
            let state = self.state.lock();
            let own = state.pops.get(state.this.index()).and_then(|pop| state.forced.get(&pop.name));
            matches!(own, Some(Forced::Drain | Forced::Down))
        };
        !self.leaving.load(Ordering::SeqCst) && !drained()
    }

    fn publish(&self, state: &mut State) {
        state.first_round_done |= state.targets.iter().flatten().all(|target| target.last.is_some());
        let first_round = !state.first_round_done;
        let leaving = self.leaving.load(Ordering::SeqCst);
        let pops = state.pops.iter().zip(&state.targets).enumerate().map(|(index, (pop, targets))| {
            let forced = state.forced.get(&pop.name).copied();
            let is_this = index == state.this.index();
            let (up, reason) = judge(forced, leaving && is_this, first_round, targets);
            PopHealth {
                up,
                reason,
                forced,
                unsettled: targets.iter().any(|target| target.machine.is_undecided()),
                addresses: addresses(pop, up, first_round, targets),
                ..PopHealth::unknown(pop)
            }
        });
        let table = HealthTable::new(state.fleet, pops.collect()).with_gone(state.gone.clone());
        self.table.store(Arc::new(table));
    }
}

/// Which addresses of a PoP may be handed out. Of a PoP that is up although all of them are down, each may.
fn addresses(pop: &Pop, up: bool, first_round: bool, targets: &[Target]) -> Vec<(IpAddr, bool)> {
    // A single target speaks for all addresses.
    let of = |position: usize| if targets.len() == 1 { targets.first() } else { targets.get(position) };
    let down =
        |position: usize| !first_round && of(position).is_some_and(|target| target.machine.verdict() == Verdict::Down);
    let all_down = (0..pop.addresses.len()).all(down);
    let numbered = pop.addresses.iter().enumerate();
    numbered.map(|(position, address)| (*address, (up && all_down) || !down(position))).collect()
}

/// Whether a PoP is up and what decided it. A PoP is up when any of its targets is.
fn judge(forced: Option<Forced>, leaving: bool, first_round: bool, targets: &[Target]) -> (bool, Reason) {
    match forced {
        _ if leaving => (false, Reason::Leaving),
        Some(Forced::Up) => (true, Reason::Forced),
        Some(Forced::Drain | Forced::Down) => (false, Reason::Forced),
        None if targets.is_empty() => (true, Reason::NeverProbed),
        None if first_round => (true, Reason::FirstRound),
        None => (targets.iter().any(|target| target.machine.verdict() != Verdict::Down), Reason::Probes),
    }
}

impl Target {
    fn status(&self) -> TargetStatus {
        TargetStatus {
            url: self.url.clone(),
            verdict: self.machine.verdict(),
            last: self.last.clone(),
            since: self.since.map(Timestamp::seconds),
        }
    }
}

fn read_forced(path: &Path) -> std::io::Result<HashMap<String, Forced>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::other),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(HashMap::new()),
        Err(error) => Err(error),
    }
}

/// Written aside and renamed, so that a crash leaves the old or the new file, never half of one.
fn write_forced(path: &Path, forced: &HashMap<String, Forced>) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    let file = std::fs::File::create(&aside)?;
    serde_json::to_writer(&file, forced).map_err(std::io::Error::other)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Inputs;

    fn config(pops: &str) -> Config {
        let inputs = Inputs { pop: Some("fra".to_owned()), admin_token: None };
        Config::parse(pops, Path::new("test.toml"), &inputs).unwrap()
    }

    fn three() -> Config {
        let pop = |name: &str, octet: u8| {
            format!("[[pop]]\nname = \"{name}\"\nlocation = [0, 0]\naddresses = [\"192.0.2.{octet}\"]\n")
        };
        config(&[pop("fra", 1), pop("iad", 2), pop("sin", 3)].concat())
    }

    fn url(octet: u8) -> String {
        format!("http://192.0.2.{octet}:8080/")
    }

    fn ups(board: &HealthBoard) -> Vec<bool> {
        board.table().pops.iter().map(|pop| pop.up).collect()
    }

    fn bad() -> Result<(), String> {
        Err("refused".to_owned())
    }

    #[test]
    fn nothing_is_down_before_a_full_first_round() {
        let board = HealthBoard::new(&three(), None).unwrap();
        for _ in 0..5 {
            board.report(&url(1), bad(), Timestamp(1));
        }
        assert_eq!(ups(&board), [true, true, true]);
        board.report(&url(2), Ok(()), Timestamp(2));
        board.report(&url(3), Ok(()), Timestamp(3));
        assert_eq!(ups(&board), [false, true, true]);
    }

    #[test]
    fn forced_states_beat_probes_and_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("forced.json");
        let board = HealthBoard::new(&three(), Some(&file)).unwrap();
        board.force("iad", Some(Forced::Drain)).unwrap();
        assert_eq!(ups(&board), [true, false, true]);
        assert!(board.says_up());
        board.force("fra", Some(Forced::Drain)).unwrap();
        assert!(!board.says_up(), "a drained node says so to its probers");

        let again = HealthBoard::new(&three(), Some(&file)).unwrap();
        assert_eq!(ups(&again), [false, false, true]);
        again.force("iad", None).unwrap();
        again.force("fra", Some(Forced::Up)).unwrap();
        assert_eq!(ups(&again), [true, true, true]);
        assert!(matches!(again.force("nowhere", None), Err(ForceError::UnknownPop(_))));
    }

    #[test]
    fn addresses_that_are_down_are_left_out_of_a_pop_that_is_up() {
        let pop = "[[pop]]\nname = \"fra\"\nlocation = [0, 0]\naddresses = [\"192.0.2.1\", \"192.0.2.2\"]\n";
        let board = HealthBoard::new(&config(pop), None).unwrap();
        let seen = || {
            let table = board.table();
            let addresses = [0, 1].map(|position| table.address_is_up(PopId(0), position));
            (table.is_up(PopId(0)), addresses, table.is_unsettled(PopId(0)))
        };
        for (octet, result) in [(1, Ok(())), (2, Ok(())), (2, bad())] {
            board.report(&url(octet), result, Timestamp(1));
        }
        assert_eq!(seen(), (true, [true, true], true));
        board.report(&url(2), bad(), Timestamp(1));
        board.report(&url(2), bad(), Timestamp(1));
        assert_eq!(seen(), (true, [true, false], false));
        for _ in 0..3 {
            board.report(&url(1), bad(), Timestamp(1));
        }
        assert_eq!(seen(), (false, [false, false], false));
        board.force("fra", Some(Forced::Up)).unwrap();
        assert_eq!(seen(), (true, [true, true], false));
    }

    #[test]
    fn a_leaving_node_is_out_of_its_own_answers() {
        let board = HealthBoard::new(&three(), None).unwrap();
        board.leave();
        assert_eq!(ups(&board), [false, true, true]);
        assert!(!board.says_up());
    }

    #[test]
    fn a_new_target_does_not_bring_back_those_that_are_down() {
        let config = three();
        let board = HealthBoard::new(&config, None).unwrap();
        for octet in 1..=3 {
            for _ in 0..3 {
                board.report(&url(octet), if octet == 2 { bad() } else { Ok(()) }, Timestamp(1));
            }
        }
        let mut more = config.clone();
        let mut new = more.pops[0].clone();
        new.name = "gru".to_owned();
        new.probe = Probe::Urls(vec!["http://192.0.2.4:8080".parse().unwrap()]);
        more.pops.push(new);
        board.reconfigure(&more);
        assert_eq!(ups(&board), [true, false, true, true]);
    }

    #[test]
    fn what_is_known_survives_a_reload() {
        let config = three();
        let board = HealthBoard::new(&config, None).unwrap();
        for octet in 1..=3 {
            for _ in 0..3 {
                board.report(&url(octet), if octet == 2 { bad() } else { Ok(()) }, Timestamp(1));
            }
        }
        assert_eq!(ups(&board), [true, false, true]);
        board.reconfigure(&config);
        assert_eq!(ups(&board), [true, false, true]);
    }
}
