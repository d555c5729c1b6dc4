//! Who carries how much, who moved where, and where on the globe.

use std::collections::HashMap;

use nearcast_shared::config::{Pick, Policy};
use nearcast_shared::geo::Coordinates;
use nearcast_shared::health::HealthTable;
use nearcast_shared::pop::{Pop, PopId};
use serde::Serialize;

use crate::steering::choose::Chosen;

/// PoPs of one answer at most; the config allows no more.
const PARTS_MAX: usize = 8;
/// Cells of the globe per degree.
const CELLS_PER_DEGREE: f64 = 2.0;

/// What a fleet would carry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Simulation {
    /// What all clients weigh: addresses, /48s or queries.
    pub weight: f64,
    /// The share of clients that are elsewhere than they would be with all PoPs up.
    pub moved: f64,
    /// Every PoP in the configured order, then whatever else clients are answered.
    pub loads: Vec<Load>,
    /// Where clients are, in cells of half a degree.
    #[serde(skip)]
    pub cells: Vec<Cell>,
}

/// What one PoP would carry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// The PoP, or what is answered instead.
    pub name: String,
    /// What it is.
    pub state: LoadState,
    /// Where the PoP is.
    pub location: Option<Coordinates>,
    /// Its share of all clients; all shares together are 1.
    pub share: f64,
    /// The same with all PoPs up.
    pub share_all_up: f64,
    /// Whose clients it has that it would not have with all up, the most first.
    pub took_over: Vec<Taken>,
}

/// What a [`Load`] is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadState {
    /// A PoP that is up.
    Up,
    /// One that is supposed to be down.
    Down,
    /// No PoP: what is answered when none is up, or when none has such an address.
    NoPop,
}

/// Clients that came over.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Taken {
    /// Whose they would be.
    pub from: String,
    /// Their share of all clients.
    pub share: f64,
}

/// Half a degree by half a degree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Its middle.
    pub at: Coordinates,
    /// Its share of all clients.
    pub share: f64,
    /// The position in `loads` of who has most of them.
    pub load: usize,
    /// Most of them would be elsewhere with all PoPs up.
    pub moved: bool,
}

/// What a client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Pop(PopId),
    Fallback,
    NoData,
    ServFail,
}

impl Outcome {
    /// Outcomes beside the PoPs, as they are named.
    const OTHERS: [&str; 3] = ["fallback addresses", "no data", "SERVFAIL"];

    /// Its position in the loads of a fleet of that size.
    fn position(self, fleet: usize) -> usize {
        match self {
            Self::Pop(pop) => pop.index(),
            Self::Fallback => fleet,
            Self::NoData => fleet + 1,
            Self::ServFail => fleet + 2,
        }
    }
}

/// Who has a client, each with an equal part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    outcomes: [Outcome; PARTS_MAX],
    count: usize,
    /// The client's network had a say.
    pub(super) by_network: bool,
    /// Chance may have had one.
    pub(super) by_chance: bool,
}

impl Parts {
    pub(super) fn one(outcome: Outcome) -> Self {
        Self { outcomes: [outcome; PARTS_MAX], count: 1, by_network: false, by_chance: false }
    }

    pub(super) fn of_pops(chosen: &Chosen, policy: &Policy) -> Self {
        let mut parts = Self::one(Outcome::Pop(chosen.first()));
        for (part, pop) in parts.outcomes.iter_mut().zip(chosen.pops()) {
            *part = Outcome::Pop(*pop);
        }
        let by_chance = policy.pick == Pick::Random;
        Self { count: chosen.pops().len(), by_network: chosen.by_network, by_chance, ..parts }
    }

    fn all(&self) -> &[Outcome] {
        &self.outcomes[..self.count]
    }

    fn part_of(&self, outcome: Outcome) -> f64 {
        if self.all().contains(&outcome) { 1.0 / self.count as f64 } else { 0.0 }
    }
}

/// Sums, while they are added up.
#[derive(Debug)]
pub(super) struct Tally {
    fleet: usize,
    weight: f64,
    before: Vec<f64>,
    after: Vec<f64>,
    /// From whom to whom, row by row.
    moved: Vec<f64>,
    cells: HashMap<(i16, i16), Sums>,
}

/// Of a cell.
#[derive(Debug, Default)]
struct Sums {
    by_load: Vec<(usize, f64)>,
    weight: f64,
    moved: f64,
}

impl Tally {
    pub(super) fn new(fleet: usize) -> Self {
        let loads = fleet + Outcome::OTHERS.len();
        Self {
            fleet,
            weight: 0.0,
            before: vec![0.0; loads],
            after: vec![0.0; loads],
            moved: vec![0.0; loads * loads],
            cells: HashMap::new(),
        }
    }

    /// Adds clients of that weight, who would be with the first of `parts` and are with the second.
    pub(super) fn add(&mut self, [before, after]: &[Parts; 2], weight: f64, at: Option<Coordinates>) {
        let fleet = self.fleet;
        self.weight += weight;
        before.all().iter().for_each(|of| self.before[of.position(fleet)] += weight * before.part_of(*of));
        after.all().iter().for_each(|of| self.after[of.position(fleet)] += weight * after.part_of(*of));
        let moved = self.add_moves(before, after, weight);
        let Some(at) = at else { return };
        let sums = self.cells.entry(cell_of(at)).or_default();
        sums.weight += weight;
        sums.moved += moved;
        for outcome in after.all() {
            let (load, part) = (outcome.position(fleet), weight * after.part_of(*outcome));
            match sums.by_load.iter_mut().find(|(of, _)| *of == load) {
                Some((_, sum)) => *sum += part,
                None => sums.by_load.push((load, part)),
            }
        }
    }

    /// What those lose who have less of them goes to those who have more, in proportion; returns what moved in all.
    fn add_moves(&mut self, before: &Parts, after: &Parts, weight: f64) -> f64 {
        if before.all() == after.all() {
            return 0.0;
        }
        let loads = self.before.len();
        let change = |of: Outcome| after.part_of(of) - before.part_of(of);
        let gained = || after.all().iter().map(|of| (*of, change(*of))).filter(|(_, gain)| *gain > 0.0);
        let all_gained: f64 = gained().map(|(_, gain)| gain).sum();
        let mut moved = 0.0;
        for (from, loss) in before.all().iter().map(|of| (*of, -change(*of))).filter(|(_, loss)| *loss > 0.0) {
            for (to, gain) in gained() {
                let part = weight * loss * gain / all_gained;
                self.moved[from.position(self.fleet) * loads + to.position(self.fleet)] += part;
                moved += part;
            }
        }
        moved
    }

    pub(super) fn finish(self, fleet: &[Pop], health: &HealthTable) -> Simulation {
        let loads = self.before.len();
        let share = |weight: f64| if self.weight > 0.0 { weight / self.weight } else { 0.0 };
        let name = |load: usize| match fleet.get(load) {
            Some(pop) => pop.name.clone(),
            None => Outcome::OTHERS[load - fleet.len()].to_owned(),
        };
        let taken = |to: usize| {
            let from = |from: usize| Taken { from: name(from), share: share(self.moved[from * loads + to]) };
            let mut taken: Vec<Taken> = (0..loads).map(from).filter(|taken| taken.share > 0.0).collect();
            taken.sort_by(|a, b| b.share.total_cmp(&a.share));
            taken
        };
        let load = |load: usize| Load {
            name: name(load),
            state: match u16::try_from(load).map(PopId) {
                Ok(pop) if load < fleet.len() && health.is_up(pop) => LoadState::Up,
                Ok(_) if load < fleet.len() => LoadState::Down,
                Ok(_) | Err(_) => LoadState::NoPop,
            },
            location: fleet.get(load).and_then(|pop| pop.location),
            share: share(self.after[load]),
            share_all_up: share(self.before[load]),
            took_over: taken(load),
        };
        let is_shown = |load: &usize| *load < fleet.len() || self.before[*load] > 0.0 || self.after[*load] > 0.0;
        let shown: Vec<usize> = (0..loads).filter(is_shown).collect();
        let position = |load: usize| shown.iter().position(|other| *other == load).unwrap_or(load);
        let mut cells: Vec<((i16, i16), Cell)> = self
            .cells
            .iter()
            .filter_map(|(key, sums)| {
                let most = sums.by_load.iter().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))?;
                let moved = sums.moved * 2.0 > sums.weight;
                let cell = Cell { at: middle_of(*key), share: share(sums.weight), load: position(most.0), moved };
                Some((*key, cell))
            })
            .collect();
        // From north to south, from west to east.
        cells.sort_by_key(|((row, column), _)| (-row, *column));
        Simulation {
            weight: self.weight,
            moved: share(self.moved.iter().sum()),
            loads: shown.iter().map(|position| load(*position)).collect(),
            cells: cells.into_iter().map(|(_, cell)| cell).collect(),
        }
    }
}

/// Its row, counted from the equator to the north, and its column, counted from Greenwich to the east.
fn cell_of(at: Coordinates) -> (i16, i16) {
    // At most 180 * 2.
    let cell = |degrees: f64| (degrees * CELLS_PER_DEGREE).round() as i16;
    (cell(at.latitude), cell(at.longitude))
}

fn middle_of((row, column): (i16, i16)) -> Coordinates {
    Coordinates { latitude: f64::from(row) / CELLS_PER_DEGREE, longitude: f64::from(column) / CELLS_PER_DEGREE }
}
