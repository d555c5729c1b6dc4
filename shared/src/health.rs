//! Which PoPs are up: raw probe results go through the pure [`verdict`] machine, forced states, overload and the node's
//! own leaving on top ([`judge`]), and the outcome is published whole as a [`HealthTable`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use thiserror::Error;

use crate::clock::{Clock, Timestamp};
use crate::config::{self, Config};
use crate::pop::{self, Pop, PopId, Probe};

pub mod forced;
pub mod history;
pub mod judge;
pub mod keeper;
pub mod overload;
pub mod own;
pub mod probe;
pub mod sites;
pub mod status;
pub mod table;
mod target;
pub mod verdict;

use forced::Holds;
pub use forced::{Forced, Hold};
use history::History;
use judge::{PopFacts, TargetFacts};
use own::{OwnFacts, Says, Vitals};
use sites::{Shared, SiteHash};
pub use status::{OrphanedHold, PopStatus, TargetStatus};
pub use table::{FleetId, HealthTable, PopHealth, Reason};
use target::Target;
pub use target::{Report, TargetId};
use verdict::Verdict;

/// The path of the public health answer, before any host routing.
pub const HEALTH_PATH: &str = "/.nearcast/health";

/// Beside a 503 of [`HEALTH_PATH`], of a node that does well.
pub const HEALTH_FIELD: &str = "nearcast-health";
/// Its value: asked for by more than it can take.
pub const OVERLOADED: &str = "overloaded";
/// Its value: on its way out, or held down by an operator.
pub const LEAVING: &str = "leaving";

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
    drained: AtomicBool,
    clock: Clock,
    /// What this node knows of itself.
    pub vitals: Arc<Vitals>,
    forced_file: Option<PathBuf>,
    /// Held while the file is written, and never by who only asks.
    forced_writer: Mutex<()>,
}

#[derive(Debug)]
struct State {
    this: PopId,
    fleet: FleetId,
    settings: config::Health,
    pops: Vec<PopState>,
    /// What was last known of PoPs that the last reload took out.
    gone: Vec<PopHealth>,
    holds: Holds,
    /// Names of sites, for people.
    sites: HashMap<SiteHash, String>,
    shared: Shared,
    /// Every target of the first config was probed once.
    first_round_done: bool,
    targets_made: u64,
}

/// One PoP and what is known of it.
#[derive(Debug)]
struct PopState {
    pop: Pop,
    targets: Vec<Target>,
    /// Whether it and each of its addresses is up, as last published.
    shown: Option<(bool, Vec<bool>)>,
    /// When that changed.
    changed: Option<Timestamp>,
    history: History,
}

impl HealthBoard {
    /// A board for `config`. Forced states are read from, and kept in, `forced_file`.
    ///
    /// # Errors
    /// When `forced_file` exists but cannot be read or understood.
    pub fn new(config: &Config, forced_file: Option<&Path>, clock: &Clock) -> std::io::Result<Arc<Self>> {
        let holds = forced_file.map(Holds::read).transpose()?.unwrap_or_default();
        let state = State {
            this: config.this,
            fleet: FleetId::default(),
            settings: config.health.clone(),
            pops: Vec::new(),
            gone: Vec::new(),
            holds,
            sites: HashMap::new(),
            shared: Shared::default(),
            first_round_done: false,
            targets_made: 0,
        };
        let board = Self {
            table: ArcSwap::default(),
            state: Mutex::new(state),
            leaving: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            clock: clock.clone(),
            vitals: Arc::new(Vitals::new(config.limits.connections)),
            forced_file: forced_file.map(Path::to_owned),
            forced_writer: Mutex::new(()),
        };
        board.reconfigure(config);
        board.tick();
        Ok(Arc::new(board))
    }

    /// Takes over a new config. What is known of an address stays known, also when it is asked in another way now.
    pub fn reconfigure(&self, config: &Config) {
        let mut state = self.state.lock();
        let mut old: HashMap<String, PopState> =
            std::mem::take(&mut state.pops).into_iter().map(|pop| (pop.pop.name.clone(), pop)).collect();
        for pop in &config.pops {
            let before = old.remove(&pop.name);
            let asked = match &pop.probe {
                Probe::Never => &[][..],
                Probe::Targets(targets) => targets,
            };
            let made = &mut state.targets_made;
            let target = |asked: &pop::Target| {
                *made += 1;
                let known =
                    before.iter().flat_map(|before| &before.targets).find(|known| known.asked.address == asked.address);
                match known {
                    Some(known) => known.asked_as(TargetId(*made), asked, &config.health),
                    None => Target::new(TargetId(*made), asked, &config.health),
                }
            };
            let targets = asked.iter().map(target).collect();
            let known = match before {
                Some(before) if before.pop.addresses == pop.addresses => {
                    PopState { pop: pop.clone(), targets, ..before }
                }
                Some(before) => {
                    let shown = None;
                    PopState { pop: pop.clone(), targets, shown, ..before }
                }
                None => PopState { pop: pop.clone(), targets, shown: None, changed: None, history: History::default() },
            };
            state.pops.push(known);
        }
        let stays = |known: &&PopHealth| config.pop_named(&known.name).is_some();
        state.gone = self.table.load().pops.iter().filter(|known| !stays(known)).cloned().collect();
        state.sites = config.sites.iter().map(|site| (SiteHash::of(&site.name), site.name.clone())).collect();
        state.shared = Shared::of(&config.sites);
        state.fleet = FleetId::of(&config.pops);
        state.settings.clone_from(&config.health);
        state.this = config.this;
        self.publish(&mut state);
    }

    /// The present table: one atomic load.
    pub fn table(&self) -> Guard<Arc<HealthTable>> {
        self.table.load()
    }

    /// What is to be probed.
    pub fn targets(&self) -> Vec<(TargetId, pop::Target)> {
        let state = self.state.lock();
        state.pops.iter().flat_map(|pop| &pop.targets).map(|target| (target.id, target.asked.clone())).collect()
    }

    /// Takes in the result of one probe. One of a target that is no more is passed over.
    pub fn report(&self, id: TargetId, report: Report) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let State { pops, holds, .. } = &mut *state;
        for pop in pops {
            let is_held = holds.of(&pop.pop.name).is_some();
            for target in pop.targets.iter_mut().filter(|target| target.id == id) {
                target.take_in(&report, &pop.pop.name, is_held, now);
            }
        }
        self.publish(&mut state);
    }

    /// Holds the PoP of that name in a state, or with `None` lets the probes decide again.
    ///
    /// # Errors
    /// When there is no such PoP, or when the state could not be written down.
    pub fn force(&self, name: &str, hold: Option<Hold>) -> Result<(), ForceError> {
        let _one_at_a_time = self.forced_writer.lock();
        let mut state = self.state.lock();
        let is_known = state.pops.iter().any(|known| known.pop.name == name);
        // A hold may outlive its PoP, and would be in force when that comes back.
        if !is_known && (hold.is_some() || state.holds.of(name).is_none()) {
            return Err(ForceError::UnknownPop(name.to_owned()));
        }
        let since = Some(self.clock.now().seconds());
        let hold = hold.map(|hold| Hold { since, ..hold });
        tracing::info!(pop = name, forced = hold.as_ref().map(Hold::words), "forced state changed");
        state.holds.set(name, hold);
        self.publish(&mut state);
        let holds = state.holds.clone();
        drop(state);
        self.write_down(&holds)
    }

    /// To be called once a second or so: what ends or changes by itself does. Blocks for a file when a hold ended.
    pub fn tick(&self) {
        let now = self.clock.now();
        self.vitals.sample();
        // Who holds it writes the file just now; the next time will do.
        let Some(_one_at_a_time) = self.forced_writer.try_lock() else { return };
        let mut state = self.state.lock();
        let over = state.holds.expire(now);
        self.publish(&mut state);
        if over.is_empty() {
            return;
        }
        let holds = state.holds.clone();
        drop(state);
        for (pop, hold) in over {
            tracing::info!(pop, forced = hold.words(), "a forced state has come to its end");
        }
        if let Err(ForceError::Persist { path, source }) = self.write_down(&holds) {
            // It carries its end: the next start will drop it, too.
            tracing::warn!(path = %path.display(), error = %source, "forced states could not be written");
        }
    }

    fn write_down(&self, holds: &Holds) -> Result<(), ForceError> {
        let Some(path) = &self.forced_file else { return Ok(()) };
        holds.write(path).map_err(|source| ForceError::Persist { path: path.clone(), source })
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

    /// What this node tells whoever probes it, and why.
    pub fn says(&self) -> Says {
        own::says(&OwnFacts {
            leaving: self.is_leaving(),
            drained: self.drained.load(Ordering::SeqCst),
            ..self.vitals.facts()
        })
    }

    fn publish(&self, state: &mut State) {
        let now = self.clock.now();
        let leaving = self.is_leaving();
        state.first_round_done |= state.pops.iter().flat_map(|pop| &pop.targets).all(|target| target.last.is_some());
        let first_round = !state.first_round_done;
        let settings = &state.settings;
        let targets: Vec<Vec<TargetFacts>> =
            state.pops.iter().map(|pop| pop.targets.iter().map(Target::facts).collect()).collect();
        let facts: Vec<PopFacts<'_>> = state
            .pops
            .iter()
            .zip(&targets)
            .enumerate()
            .map(|(index, (pop, targets))| PopFacts {
                forced: state.holds.of(&pop.pop.name).map(|hold| hold.state),
                leaving: leaving && index == state.this.index(),
                first_round,
                targets,
            })
            .collect();
        let judged: Vec<(bool, Reason)> =
            facts.iter().map(|facts| judge::judge(facts, settings.addresses_min)).collect();
        let overloaded: Vec<bool> = targets.iter().map(|targets| judge::is_overloaded(targets)).collect();
        let out = judge::shed(&judged, &overloaded, settings.overload_share);

        let mut pops = Vec::with_capacity(facts.len());
        for (index, (pop, facts)) in state.pops.iter_mut().zip(&facts).enumerate() {
            let (up, reason) = if out[index] { (false, Reason::Overloaded) } else { judged[index] };
            let addresses = judge::addresses(pop.pop.addresses.len(), up, facts);
            let hold = state.holds.of(&pop.pop.name);
            pop.show(up, reason, &addresses, hold, now);
            // Of one that is held no probe changes anything.
            let is_near = facts.forced.is_none() && pop.targets.iter().any(|target| target.machine.is_undecided());
            pops.push(PopHealth {
                up,
                reason,
                forced: facts.forced,
                unsettled: is_near || pop.changed.is_some_and(|changed| now.is_within(settings.settle, changed)),
                addresses: pop.pop.addresses.iter().copied().zip(addresses).collect(),
                unreached: state.shared.widen(&target::unreached(&pop.targets)),
                ..PopHealth::unknown(&pop.pop)
            });
        }
        let own = pops.get(state.this.index()).and_then(|pop| pop.forced);
        self.drained.store(matches!(own, Some(Forced::Drain | Forced::Down)), Ordering::SeqCst);
        let table = HealthTable::new(state.fleet, pops).with_gone(state.gone.clone());
        if **self.table.load() != table {
            self.table.store(Arc::new(table));
        }
    }
}

impl PopState {
    /// Notes what is published of it, and whether that is a change.
    fn show(&mut self, up: bool, reason: Reason, addresses: &[bool], hold: Option<&Hold>, now: Timestamp) {
        let before = self.shown.replace((up, addresses.to_vec()));
        let Some((was_up, before)) = before else { return };
        if was_up != up || before != addresses {
            self.changed = Some(now);
        }
        if was_up == up {
            return;
        }
        let why = match reason {
            Reason::Forced => hold.map_or_else(|| "forced".to_owned(), Hold::words),
            Reason::Probes => {
                let well = self.targets.iter().filter(|target| target.machine.verdict() != Verdict::Down).count();
                format!("probes: {well} of {} well", self.targets.len())
            }
            Reason::Leaving | Reason::Overloaded | Reason::FirstRound | Reason::NeverProbed | Reason::Supposed => {
                reason.token().to_owned()
            }
        };
        tracing::info!(pop = self.pop.name, up, why, "a PoP's state changed");
        self.history.note(up, why, now);
    }
}

#[cfg(test)]
mod tests;
