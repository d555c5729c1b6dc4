//! Which PoPs are up: raw probe results go through the pure [`verdict`] machine, forced states and the node's own
//! leaving on top, and the outcome is published whole as a [`HealthTable`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::pop::{PopId, Probe};

pub mod probe;
pub mod verdict;

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

/// What decided whether a PoP is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// An operator.
    Forced,
    /// This node is shutting down and it is this node's PoP.
    Leaving,
    /// Probes.
    Probes,
    /// Not all targets were probed once yet: nothing counts as down.
    FirstRound,
    /// It is configured never to be probed.
    NeverProbed,
}

/// One PoP, as published.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PopHealth {
    /// Whether DNS may hand it out.
    pub up: bool,
    /// What decided that.
    pub reason: Reason,
    /// The operator's word, if any.
    pub forced: Option<Forced>,
    /// Each probed address.
    pub targets: Vec<TargetHealth>,
}

/// One probed address, as published.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetHealth {
    /// What is probed.
    pub url: String,
    /// What the probes amount to.
    pub verdict: Verdict,
    /// The last result in words; `None` before the first.
    pub last: Option<String>,
    /// When the verdict last changed, in seconds since the epoch.
    pub since: Option<i64>,
}

/// All PoPs at one moment; replaced whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HealthTable {
    /// In the order of `Config::pops`.
    pub pops: Vec<PopHealth>,
}

impl HealthTable {
    /// Whether DNS may hand out `pop`. A PoP the table does not know yet is up: unknown is not down.
    pub fn is_up(&self, pop: PopId) -> bool {
        self.pops.get(pop.index()).is_none_or(|pop| pop.up)
    }
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
    names: Vec<String>,
    targets: Vec<Vec<Target>>,
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
        let state =
            State { this: config.this, names: Vec::new(), targets: Vec::new(), forced, first_round_done: false };
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
        state.names = config.pops.iter().map(|pop| pop.name.clone()).collect();
        state.this = config.this;
        self.publish(&mut state);
    }

    /// The present table: one atomic load.
    pub fn table(&self) -> Guard<Arc<HealthTable>> {
        self.table.load()
    }

    /// Each PoP's name and whether it is up, for people and metrics.
    pub fn summary(&self) -> Vec<(String, bool)> {
        let names = self.state.lock().names.clone();
        names.into_iter().zip(self.table.load().pops.iter().map(|pop| pop.up)).collect()
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
        if !state.names.iter().any(|known| known == name) {
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
            let own = state.names.get(state.this.index()).and_then(|name| state.forced.get(name));
            matches!(own, Some(Forced::Drain | Forced::Down))
        };
        !self.leaving.load(Ordering::SeqCst) && !drained()
    }

    fn publish(&self, state: &mut State) {
        state.first_round_done |= state.targets.iter().flatten().all(|target| target.last.is_some());
        let first_round = !state.first_round_done;
        let leaving = self.leaving.load(Ordering::SeqCst);
        let pops = state.names.iter().zip(&state.targets).enumerate().map(|(index, (name, targets))| {
            let forced = state.forced.get(name).copied();
            let is_this = index == state.this.index();
            let (up, reason) = judge(forced, leaving && is_this, first_round, targets);
            PopHealth { up, reason, forced, targets: targets.iter().map(Target::published).collect() }
        });
        self.table.store(Arc::new(HealthTable { pops: pops.collect() }));
    }
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
    fn published(&self) -> TargetHealth {
        TargetHealth {
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
