//! What is known of all PoPs at one moment, as DNS reads it: replaced whole, never changed.
//!
//! A view of the DNS and a table are loaded one after the other, and a reload replaces one after the other. A table says
//! by a [`FleetId`] which PoPs in which order it speaks of; to a view of another fleet it is turned by name
//! ([`HealthTable::seen_by`]), so that in the instant of a reload no PoP is taken for another.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::Forced;
use super::sites::SiteHash;
use crate::pop::{Pop, PopId};

/// What decided whether a PoP is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// An operator.
    Forced,
    /// This node is shutting down and it is this node's PoP.
    Leaving,
    /// Probes.
    Probes,
    /// Its nodes say that they are overloaded, and not too many PoPs are out for that already.
    Overloaded,
    /// Not all targets were probed once yet: nothing counts as down.
    FirstRound,
    /// It is configured never to be probed.
    NeverProbed,
    /// Somebody asks what would be if.
    Supposed,
}

impl Reason {
    /// As in JSON, metrics and logs.
    pub fn token(self) -> &'static str {
        match self {
            Self::Forced => "forced",
            Self::Leaving => "leaving",
            Self::Probes => "probes",
            Self::Overloaded => "overloaded",
            Self::FirstRound => "first-round",
            Self::NeverProbed => "never-probed",
            Self::Supposed => "supposed",
        }
    }
}

/// One PoP, as published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopHealth {
    /// Its name.
    pub name: Arc<str>,
    /// Whether DNS may hand it out.
    pub up: bool,
    /// What decided that.
    pub reason: Reason,
    /// The operator's word, if any.
    pub forced: Option<Forced>,
    /// Its state is about to change or just did.
    pub unsettled: bool,
    /// Its addresses, and whether each may be handed out, given that the PoP is.
    pub addresses: Vec<(IpAddr, bool)>,
    /// Sites whose origin none of its nodes reaches, sorted.
    pub unreached: Arc<[SiteHash]>,
}

impl PopHealth {
    /// A PoP of which nothing is known: up, and so are its addresses.
    pub fn unknown(pop: &Pop) -> Self {
        Self {
            name: pop.name.as_str().into(),
            up: true,
            reason: Reason::FirstRound,
            forced: None,
            unsettled: false,
            addresses: pop.addresses.iter().map(|address| (*address, true)).collect(),
            unreached: Arc::default(),
        }
    }

    /// The same, for the addresses that `pop` has and in its order.
    fn readdressed(&self, pop: &Pop) -> Self {
        let up = |address: &IpAddr| self.addresses.iter().find(|known| known.0 == *address).is_none_or(|known| known.1);
        Self { addresses: pop.addresses.iter().map(|address| (*address, up(address))).collect(), ..self.clone() }
    }
}

/// Which PoPs there are, with which addresses, in which order. Means nothing outside of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FleetId(u64);

impl FleetId {
    /// Of `Config::pops`.
    pub fn of(pops: &[Pop]) -> Self {
        // Its keys are constant, so that equal fleets are equal.
        let mut hasher = DefaultHasher::new();
        for pop in pops {
            (&pop.name, &pop.addresses).hash(&mut hasher);
        }
        Self(hasher.finish())
    }
}

/// All PoPs at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealthTable {
    fleet: FleetId,
    /// In the order of `Config::pops`.
    pub pops: Vec<PopHealth>,
    /// Those of the config before that the present one does not have.
    gone: Vec<PopHealth>,
}

impl HealthTable {
    /// Of a fleet, in its order.
    pub fn new(fleet: FleetId, pops: Vec<PopHealth>) -> Self {
        Self { fleet, pops, gone: Vec::new() }
    }

    /// The same, with what was known of PoPs that are no longer of the fleet.
    #[must_use]
    pub(super) fn with_gone(self, gone: Vec<PopHealth>) -> Self {
        Self { gone, ..self }
    }

    /// The table for a view whose fleet is `fleet`, made of `pops`: nearly always this one.
    pub fn seen_by(&self, fleet: FleetId, pops: &[Pop]) -> Cow<'_, Self> {
        if self.fleet == fleet {
            return Cow::Borrowed(self);
        }
        let known = |pop: &Pop| self.pops.iter().chain(&self.gone).find(|known| *known.name == *pop.name);
        let turned = |pop: &Pop| known(pop).map_or_else(|| PopHealth::unknown(pop), |known| known.readdressed(pop));
        Cow::Owned(Self::new(fleet, pops.iter().map(turned).collect()))
    }

    /// Whether DNS may hand out `pop`. A PoP the table does not know yet is up: unknown is not down.
    pub fn is_up(&self, pop: PopId) -> bool {
        self.pops.get(pop.index()).is_none_or(|pop| pop.up)
    }

    /// Whether the address at `position` of `Pop::addresses` is among those that answer for `pop` while it is up. Unknown is not
    /// down, and of a PoP that is up against the word of all its addresses each is.
    pub fn address_is_up(&self, pop: PopId, position: usize) -> bool {
        let address = self.pops.get(pop.index()).and_then(|pop| pop.addresses.get(position));
        address.is_none_or(|(_, up)| *up)
    }

    /// Whether the state of `pop` is about to change or just did: answers that depend on it should be short-lived.
    pub fn is_unsettled(&self, pop: PopId) -> bool {
        self.pops.get(pop.index()).is_some_and(|pop| pop.unsettled)
    }

    /// Whether any node of `pop` reaches the origin of the site of that name, as far as is known.
    pub fn reaches_origin(&self, pop: PopId, site: &str) -> bool {
        let Some(pop) = self.pops.get(pop.index()) else { return true };
        pop.unreached.is_empty() || pop.unreached.binary_search(&SiteHash::of(site)).is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pop::Probe;

    fn pop(name: &str, addresses: &[&str]) -> Pop {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Pop {
            name: name.to_owned(),
            location: None,
            addresses,
            cname: None,
            capacity: 100,
            probe: Probe::Never,
            admin: None,
        }
    }

    fn health(pop: &Pop, up: &[bool]) -> PopHealth {
        let addresses = pop.addresses.iter().zip(up).map(|(address, up)| (*address, *up)).collect();
        PopHealth { up: up.contains(&true), addresses, reason: Reason::Probes, ..PopHealth::unknown(pop) }
    }

    #[test]
    fn unknown_is_not_down() {
        let table = HealthTable::default();
        assert!(table.is_up(PopId(7)) && table.address_is_up(PopId(7), 3) && table.reaches_origin(PopId(7), "a"));
        assert!(!table.is_unsettled(PopId(7)));
        let fra = pop("fra", &["192.0.2.1"]);
        let table = HealthTable::new(FleetId::default(), vec![health(&fra, &[false])]);
        assert!(!table.is_up(PopId(0)) && !table.address_is_up(PopId(0), 0) && table.address_is_up(PopId(0), 1));
    }

    #[test]
    fn a_view_of_another_fleet_reads_by_name_and_address() {
        let (fra, iad) = (pop("fra", &["192.0.2.1", "192.0.2.2"]), pop("iad", &["198.51.100.1"]));
        let old = [fra.clone(), iad.clone()];
        let table = HealthTable::new(FleetId::of(&old), vec![health(&fra, &[true, false]), health(&iad, &[false])]);
        assert!(matches!(table.seen_by(FleetId::of(&old), &old), Cow::Borrowed(_)));

        let turned = pop("fra", &["192.0.2.2", "192.0.2.1"]);
        let new = [pop("sin", &["203.0.113.1"]), iad.clone(), turned.clone()];
        let seen = table.seen_by(FleetId::of(&new), &new);
        assert_eq!([0, 1, 2].map(|id| seen.is_up(PopId(id))), [true, false, true]);
        assert_eq!([0, 1].map(|position| seen.address_is_up(PopId(2), position)), [false, true]);

        // The other way around: the table is newer than the view, which still has a PoP that went.
        let newer = HealthTable::new(FleetId::of(&new[2..]), vec![health(&turned, &[false, true])])
            .with_gone(vec![health(&iad, &[false])]);
        let seen = newer.seen_by(FleetId::of(&old), &old);
        assert_eq!([0, 1].map(|id| seen.is_up(PopId(id))), [true, false]);
        assert_eq!([0, 1].map(|position| seen.address_is_up(PopId(0), position)), [true, false]);
    }

    #[test]
    fn fleets_differ_by_order_names_and_addresses() {
        let (fra, iad) = (pop("fra", &["192.0.2.1"]), pop("iad", &["198.51.100.1"]));
        let id = FleetId::of(&[fra.clone(), iad.clone()]);
        assert_eq!(id, FleetId::of(&[fra.clone(), iad.clone()]));
        for other in [vec![iad.clone(), fra.clone()], vec![fra.clone()], vec![pop("fra", &["192.0.2.9"]), iad]] {
            assert_ne!(id, FleetId::of(&other));
        }
    }

    #[test]
    fn origins_are_per_site() {
        let fra = pop("fra", &["192.0.2.1"]);
        let mut health = health(&fra, &[true]);
        let mut unreached = vec![SiteHash::of("shop"), SiteHash::of("www.example.net")];
        unreached.sort_unstable();
        health.unreached = unreached.into();
        let table = HealthTable::new(FleetId::default(), vec![health]);
        assert!(!table.reaches_origin(PopId(0), "shop") && !table.reaches_origin(PopId(0), "www.example.net"));
        assert!(table.reaches_origin(PopId(0), "blog"));
    }
}
