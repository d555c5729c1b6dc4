//! What the PoPs of a fleet would carry, with some of them down and with all up: a world of clients, or those of a query
//! log, are steered by the very [`crate::steering`] that answers queries.
//!
//! ```text
//!   geo data (a world) -> crowds: prefixes within which all have one ranking --.
//!   query log          -> one address and how often it asked -----------------+-> draws -> decide, twice -> tally
//! ```
//!
//! A crowd is one draw where all of it is answered alike. Where chance or the client's network has a say it is as many
//! draws as it has weight, each with another of its networks and at another moment: so small crowds, of which there are
//! many, err for themselves and cancel out, and the error of a PoP's share stays under 0.2 points (one standard
//! deviation; a draw stands for 2^-17 of the family's space). Both states of health see the same draws, so that nobody
//! moves between them by chance. An answer that names several PoPs counts for each with an equal part.

use std::collections::HashMap;
use std::net::IpAddr;

use nearcast_shared::clock::Timestamp;
use nearcast_shared::geo::{AddressFamily, AtomKey, Coordinates};
use nearcast_shared::health::{FleetId, HealthTable, PopHealth, Reason};
use nearcast_shared::pop::{Pop, PopId};

use crate::ecs::Subnet;
use crate::explain::{ExplainError, steered_name};
use crate::steering::draw::network_length;
use crate::steering::{Asker, Family, Verdict};
use crate::view::{Steered, View};

mod crowd;
mod tally;

use crowd::{Crowd, crowds_of_stretch};
pub use tally::{Cell, Load, LoadState, Simulation, Taken};
use tally::{Outcome, Parts, Tally};

/// Draws that one line of a log is at most.
const DRAWS_MAX: u64 = 4096;
/// Atoms between two words on the progress.
const PATIENCE: usize = 4096;

/// Which addresses clients ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressType {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

/// Steers clients in two states of health and adds up who carries them.
#[derive(Debug)]
pub struct Simulator<'v> {
    view: &'v View,
    family: Family,
    all_up: HealthTable,
    supposed: HealthTable,
    tally: Tally,
}

/// A name that is steered.
#[derive(Debug, Clone, Copy)]
struct Asked {
    steered: Steered,
    ttl: u32,
}

impl<'v> Simulator<'v> {
    /// Of clients that ask `view` for addresses of type `asks`, while the PoPs of `down` are down.
    pub fn new(view: &'v View, asks: AddressType, down: &[PopId]) -> Self {
        let fleet = view.guide().pops();
        Self {
            view,
            family: match asks {
                AddressType::A => Family::V4,
                AddressType::Aaaa => Family::V6,
            },
            all_up: supposed(fleet, &[]),
            supposed: supposed(fleet, down),
            tally: Tally::new(fleet.len()),
        }
    }

    /// Adds every client of `family` whom the geo data knows, all asking for `name`; `progress` is told which share is done.
    ///
    /// IPv4 counts by addresses. IPv6 counts by /48s, but no stretch of the data for more than a /32, which is what a
    /// provider gets at least: beyond, the size of an allocation says nothing of how many use it.
    ///
    /// # Errors
    /// When `name` is not one that is steered.
    pub fn world(
        &mut self,
        name: &str,
        family: AddressFamily,
        mut progress: impl FnMut(f64),
    ) -> Result<(), ExplainError> {
        let asked = self.asked(name)?;
        let guide = self.view.guide();
        let asks_asn = guide.policy(asked.steered.policy).policy.asks_asn();
        let mut places: HashMap<AtomKey, Option<Option<Coordinates>>> = HashMap::new();
        for (count, atom) in guide.geo().partition(family, asks_asn).enumerate() {
            if count % PATIENCE == 0 {
                progress(crowd::share_before(atom.first));
            }
            let known = || {
                let place = guide.geo().place_of(&atom);
                let somewhere = place.coordinates.is_some() || place.country.is_some() || place.continent.is_some();
                somewhere.then_some(place.coordinates)
            };
            let Some(coordinates) = *places.entry(atom.key).or_insert_with(known) else { continue };
            let depth = |address| guide.locate(asked.steered.policy, address).depth;
            for crowd in crowds_of_stretch(atom.first, atom.length, depth) {
                self.add(asked, crowd, coordinates);
            }
        }
        progress(1.0);
        Ok(())
    }

    /// Adds a client that asked for `name` `count` times, by a resolver that named the first `length` bits of `address`.
    ///
    /// # Errors
    /// When `name` is not one that is steered.
    pub fn client(&mut self, name: &str, address: IpAddr, length: u8, count: u64) -> Result<(), ExplainError> {
        let asked = self.asked(name)?;
        let coordinates = self.view.guide().geo().locate(address).coordinates;
        let draws = count.clamp(1, DRAWS_MAX).next_power_of_two();
        self.add(asked, Crowd { first: address, length, whole: false, weight: count as f64, draws }, coordinates);
        Ok(())
    }

    /// What it came to.
    pub fn finish(self) -> Simulation {
        self.tally.finish(self.view.guide().pops(), &self.supposed)
    }

    fn asked(&self, name: &str) -> Result<Asked, ExplainError> {
        let (_, ttl, steered) = steered_name(self.view, name)?;
        Ok(Asked { steered, ttl })
    }

    fn add(&mut self, asked: Asked, crowd: Crowd, at: Option<Coordinates>) {
        let first = self.decide(asked, crowd, crowd.first, 0);
        // Within a crowd the ranking is the same, so what has a say is, too.
        let by_network = first.iter().any(|parts| parts.by_network);
        let by_chance = first.iter().any(|parts| parts.by_chance);
        if !(by_chance || by_network && crowd.networks() > 1) {
            return self.tally.add(&first, crowd.weight, at);
        }
        let draws = if by_chance { crowd.draws } else { crowd.draws.min(crowd.networks()) };
        for draw in 0..draws {
            let parts = self.decide(asked, crowd, crowd.network(draw, draws), draw);
            self.tally.add(&parts, crowd.weight / draws as f64, at);
        }
    }

    /// Who has the client at `address` in the `draw`th lifetime of an answer, with all up and as supposed.
    fn decide(&self, asked: Asked, crowd: Crowd, address: IpAddr, draw: u64) -> [Parts; 2] {
        let guide = self.view.guide();
        let source = if crowd.whole { network_length(address).max(crowd.length) } else { crowd.length };
        let now = Timestamp::from_seconds(i64::try_from(draw * u64::from(asked.ttl.max(1))).unwrap_or(i64::MAX));
        let subnet = (source > 0).then_some(Subnet { address, source });
        let asker = Asker { resolver: address, subnet, now };
        let policy = &guide.policy(asked.steered.policy).policy;
        [&self.all_up, &self.supposed].map(|health| {
            match guide.decide(asked.steered, asker, self.family, health, asked.ttl).verdict {
                Verdict::Pops(chosen) => Parts::of_pops(&chosen, policy),
                Verdict::Addresses(_) => Parts::one(Outcome::Fallback),
                Verdict::NoData | Verdict::AllDown => Parts::one(Outcome::NoData),
                Verdict::ServFail => Parts::one(Outcome::ServFail),
            }
        })
    }
}

/// All PoPs are up but those.
pub fn supposed(fleet: &[Pop], down: &[PopId]) -> HealthTable {
    let health = |(id, pop): (PopId, &Pop)| PopHealth {
        up: !down.contains(&id),
        reason: Reason::Supposed,
        ..PopHealth::unknown(pop)
    };
    HealthTable::new(FleetId::of(fleet), (0..).map(PopId).zip(fleet).map(health).collect())
}

#[cfg(test)]
mod tests;
