//! From a ranking and the health of the fleet to the PoPs of an answer.

use std::net::IpAddr;

use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::{Pick, Policy};
use nearcast_shared::health::HealthTable;
use nearcast_shared::pop::{Pop, PopId};

use super::Family;
use super::draw::Dice;
use super::ranking::Ranking;
use crate::metrics::Cause;

/// PoPs of one answer at most; the config allows no more.
const CHOSEN_MAX: usize = 8;

/// The PoPs that a client is sent to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chosen {
    pops: [PopId; CHOSEN_MAX],
    count: usize,
    pub(crate) cause: Cause,
    /// The client's network had a say: others in the ranking's prefix may get another PoP.
    pub(crate) by_network: bool,
    /// More PoPs than the ranking has would have had a say.
    pub(crate) wants_more: bool,
    /// A PoP that it hangs on is about to change its state, or just did.
    pub(crate) unsettled: bool,
}

/// What a choice goes by beside the ranking.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) policy: &'a Policy,
    /// By PoP, for draws.
    pub(crate) seeds: &'a [u64],
    pub(crate) fleet: &'a [Pop],
    pub(crate) family: Family,
    /// The name of the site behind the name asked for.
    pub(crate) site: Option<&'a str>,
    pub(crate) health: &'a HealthTable,
    pub(crate) thrower: Thrower,
}

/// Who throws, and when; most answers need no throw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thrower {
    pub(crate) client: IpAddr,
    /// The first address of all whom the answer covers. They throw alike, so that its scope need not be narrower.
    pub(crate) covered: IpAddr,
    pub(crate) seed: u64,
    pub(crate) now: Timestamp,
    /// Seconds that the answer lives.
    pub(crate) ttl: u32,
}

impl Thrower {
    /// The same for its network as long as the policy's name stays.
    fn by_network(&self) -> Dice {
        Dice::of_network(self.client, self.seed)
    }

    /// The same while an answer lives.
    fn by_moment(&self) -> Dice {
        Dice::of_moment(self.covered, self.seed, self.now.seconds(), self.ttl)
    }
}

/// Which PoPs will do, from the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Up, and the site's origin can be reached from there.
    Reaching,
    /// Up.
    Up,
    /// Whatever has the family.
    Any,
}

impl PartialEq for Chosen {
    /// What is behind the last one is nobody.
    fn eq(&self, other: &Self) -> bool {
        let said = |chosen: &Self| (chosen.cause, chosen.by_network, chosen.wants_more, chosen.unsettled);
        self.pops() == other.pops() && said(self) == said(other)
    }
}

impl Chosen {
    /// At least one, the best first.
    pub(crate) fn pops(&self) -> &[PopId] {
        &self.pops[..self.count]
    }

    /// The best.
    pub(crate) fn first(&self) -> PopId {
        self.pops[0]
    }
}

impl Circumstances<'_> {
    /// Whether it could answer for the family at all, whatever its health.
    pub(crate) fn has_family(&self, pop: PopId) -> bool {
        let pop = &self.fleet[pop.index()];
        pop.cname.is_some() || pop.addresses.iter().any(|address| Family::of(*address) == self.family)
    }

    /// Whether any candidate could.
    pub(crate) fn anybody_has_family(&self) -> bool {
        self.policy.candidates().any(|pop| self.has_family(pop))
    }

    /// Whether any candidate fits that the ranking has not.
    pub(crate) fn anybody_beyond(&self, ranking: &Ranking, fit: Fit) -> bool {
        self.policy.candidates().any(|pop| !ranking.pops().contains(&pop) && self.fits(pop, fit))
    }

    pub(crate) fn fits(&self, pop: PopId, fit: Fit) -> bool {
        match fit {
            Fit::Any => self.has_family(pop),
            Fit::Up => self.health.is_up(pop) && self.has_address_up(pop),
            Fit::Reaching => {
                self.fits(pop, Fit::Up) && self.site.is_none_or(|site| self.health.reaches_origin(pop, site))
            }
        }
    }

    fn has_address_up(&self, id: PopId) -> bool {
        let pop = &self.fleet[id.index()];
        let up = |(position, address)| Family::of(address) == self.family && self.health.address_is_up(id, position);
        pop.cname.is_some() || pop.addresses.iter().copied().enumerate().any(up)
    }

    /// The PoPs that fit, as many as the policy wants or as there are; `None` when none does.
    pub(crate) fn choose(&self, ranking: &Ranking, fit: Fit) -> Option<Chosen> {
        let Some(first) = self.choose_first(ranking, fit) else { return self.choose_among(ranking, fit) };
        debug_assert_eq!(Some(first), self.choose_among(ranking, fit), "the short way leads elsewhere");
        Some(first)
    }

    /// What nearly every query is about, found without a look at all the others: one PoP is wanted, the best, and that one fits.
    fn choose_first(&self, ranking: &Ranking, fit: Fit) -> Option<Chosen> {
        let best = *ranking.pops().first()?;
        if self.policy.answers != 1 || self.policy.pick != Pick::First || fit == Fit::Any || !self.fits(best, fit) {
            return None;
        }
        let mut equals = ranking.groups().next().unwrap_or_default().iter();
        Some(Chosen {
            pops: [best; CHOSEN_MAX],
            count: 1,
            cause: Cause::First,
            by_network: false,
            wants_more: false,
            unsettled: equals.any(|pop| self.health.is_unsettled(*pop)),
        })
    }

    fn choose_among(&self, ranking: &Ranking, fit: Fit) -> Option<Chosen> {
        let members = |group: &[PopId], fit| group.iter().any(|pop| self.fits(*pop, fit));
        let (home, start) = ranking.groups().enumerate().find(|(_, group)| members(group, fit))?;
        let would_be = ranking.groups().position(|group| members(group, Fit::Any));
        let moved = would_be != Some(home);
        let spreads = moved && self.policy.spread > 1 && fit != Fit::Any;
        let cause = match (fit, moved, spreads) {
            (Fit::Any, ..) => Cause::FailOpen,
            (_, false, _) if self.fits_first(start, fit) => Cause::First,
            (_, _, true) => Cause::Spread,
            (_, _, false) => Cause::Failover,
        };
        let empty = [PopId(0); CHOSEN_MAX];
        let mut chosen =
            Chosen { pops: empty, count: 0, cause, by_network: false, wants_more: false, unsettled: false };
        while chosen.count < self.policy.answers.min(CHOSEN_MAX) {
            let next = if spreads { self.next_of_spread(ranking, home, fit, &mut chosen) } else { None };
            let Some(next) = next.or_else(|| self.next_of_groups(ranking, home, fit, &mut chosen)) else { break };
            chosen.pops[chosen.count] = next;
            chosen.count += 1;
        }
        chosen.wants_more |= chosen.count < self.policy.answers;
        let unsettled = |pop: &PopId| self.health.is_unsettled(*pop);
        chosen.unsettled =
            ranking.groups().take(home + 1).flatten().any(unsettled) || chosen.pops().iter().any(unsettled);
        Some(chosen)
    }

    /// Whether all of the group that could answer do fit, so that nobody's clients are with others.
    fn fits_first(&self, group: &[PopId], fit: Fit) -> bool {
        match self.policy.pick {
            Pick::First => group.iter().find(|pop| self.has_family(**pop)).is_some_and(|pop| self.fits(*pop, fit)),
            Pick::Random | Pick::Sticky => {
                group.iter().filter(|pop| self.has_family(**pop)).all(|pop| self.fits(*pop, fit))
            }
        }
    }

    /// The next one by draw among the first PoPs that fit.
    fn next_of_spread(&self, ranking: &Ranking, home: usize, fit: Fit, chosen: &mut Chosen) -> Option<PopId> {
        let fitting = || ranking.groups().skip(home).flatten().copied().filter(|pop| self.fits(*pop, fit));
        chosen.wants_more |= fitting().take(self.policy.spread).count() < self.policy.spread;
        let free = fitting().take(self.policy.spread).filter(|pop| !chosen.pops().contains(pop));
        let next = self.draw(self.thrower.by_network(), free);
        chosen.by_network |= next.is_some();
        next
    }

    /// The next one by the policy's pick, from the first group that has one left.
    fn next_of_groups(&self, ranking: &Ranking, home: usize, fit: Fit, chosen: &mut Chosen) -> Option<PopId> {
        for group in ranking.groups().skip(home) {
            let free = || group.iter().copied().filter(|pop| self.fits(*pop, fit) && !chosen.pops().contains(pop));
            let (next, by_network) = match self.policy.pick {
                Pick::First => (free().next(), false),
                Pick::Random => (self.draw(self.thrower.by_moment(), free()), false),
                // Of one there is no choice.
                Pick::Sticky => (self.draw(self.thrower.by_network(), free()), free().nth(1).is_some()),
            };
            chosen.by_network |= by_network;
            if next.is_some() {
                return next;
            }
        }
        None
    }

    fn draw(&self, dice: Dice, among: impl Iterator<Item = PopId>) -> Option<PopId> {
        let score = |pop: PopId| dice.score(self.seeds[pop.index()], self.policy.weights[pop.index()]);
        among.map(|pop| (pop, score(pop))).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(pop, _)| pop)
    }
}
