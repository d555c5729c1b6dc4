//! Which PoP a client is sent to. Pure: the geo data's word on the client, the fleet and its health go in, PoPs come out.
//!
//! ```text
//!   address -> map (or rules + place -> ranking) -> the first that is up -> PoPs, scope, TTL
//! ```
//!
//! The map has rankings cut after some PoPs; when all of these are down, or before the map is made, the ranking is worked
//! out from the geo data. Either way the scope is that of a prefix in which the ranking used is the same.
//!
//! A PoP may lack addresses of the family asked for. Then it is passed over for that type, so the A and AAAA answers
//! of one name may name different PoPs. The other choice, NODATA for the clients who are near it, would let the data
//! depend on who asks, while resolvers keep a negative answer for everyone (RFC 7871 section 7.4), and would leave
//! clients of one family only without any address. A fleet whose PoPs all have both families never sees this. A family that no PoP
//! has gives NODATA to everyone.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::{AllDown, Config, Order, Policy, PolicyId};
use nearcast_shared::geo::{GeoDb, Place};
use nearcast_shared::health::HealthTable;
use nearcast_shared::net;
use nearcast_shared::pop::{Pop, PopId};

use crate::answer::Addresses;
use crate::ecs::{self, Coverage, Subnet};
use crate::map::Maps;
use crate::metrics::Cause;
use crate::view::Steered;

pub(crate) mod choose;
pub(crate) mod draw;
pub(crate) mod ranking;
pub(crate) mod rules;

use choose::{Chosen, Circumstances, Fit, Thrower};
use ranking::{FullRanking, Ranking, rank};
use rules::{Facts, Rules};

/// An address family, which is also a record type: A or AAAA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// All that steering goes by but health: the fleet, its policies, the geo data, and what is compiled of them.
#[derive(Debug)]
pub(crate) struct Guide {
    pops: Vec<Pop>,
    /// By PoP, for draws.
    seeds: Vec<u64>,
    this: PopId,
    geo: Arc<GeoDb>,
    policies: Vec<Compiled>,
    sites: Vec<String>,
    depth: usize,
    /// Seconds that an answer lives at most while a PoP that it hangs on changes its state.
    ttl_unsettled: u32,
    /// There once they are made.
    maps: OnceLock<Arc<Maps>>,
}

/// A policy, ready to be asked.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) policy: Policy,
    pub(crate) rules: Rules,
    /// PoPs of a ranking that are kept.
    pub(crate) depth: usize,
    /// A name is steered by it; else it needs no map.
    pub(crate) used: bool,
    /// All PoPs that it may choose are CNAMEs.
    always_points: bool,
    seed: u64,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) resolver: IpAddr,
    /// Whom it asks for, if it says and that counts.
    pub(crate) subnet: Option<Subnet>,
    pub(crate) now: Timestamp,
}

/// A client's ranking.
#[derive(Debug)]
pub(crate) struct Located<'g> {
    pub(crate) ranking: Cow<'g, Ranking>,
    /// Bits of the prefix around the client in which it is the same.
    pub(crate) depth: u8,
}

/// Everything there is to say of where a client is and how PoPs are ranked for it.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) place: Place,
    pub(crate) asn: Option<u32>,
    /// The position of the rule that is about it.
    pub(crate) rule: Option<usize>,
    pub(crate) ranking: FullRanking,
    pub(crate) known: bool,
    pub(crate) depth: u8,
}

/// What a client is answered.
#[derive(Debug)]
pub(crate) struct Decision<'g> {
    pub(crate) verdict: Verdict<'g>,
    pub(crate) coverage: Coverage,
    /// The resolver's address had a say, or could have had one.
    pub(crate) by_resolver: bool,
    /// The ranking is of the compiled map; else it was worked out from the geo data.
    pub(crate) mapped: bool,
}

/// Whom a client is sent to.
#[derive(Debug)]
pub(crate) enum Verdict<'g> {
    /// To these PoPs.
    Pops(Chosen),
    /// All are down: to these addresses, none of which need be of the family asked for.
    Addresses(&'g [IpAddr]),
    /// Nowhere: there is no data of the type for anybody.
    NoData,
    /// All are down, and then there is no data for anybody.
    AllDown,
    /// All are down.
    ServFail,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The addresses of this family, in their order.
    pub(crate) fn of_pop(self, pop: &Pop) -> impl Iterator<Item = IpAddr> {
        pop.addresses.iter().copied().filter(move |address| Self::of(*address) == self)
    }
}

impl Asker {
    /// The address that counts.
    pub(crate) fn client(&self) -> IpAddr {
        self.subnet.map_or(self.resolver, |subnet| subnet.address)
    }
}

impl Guide {
    /// `used` are the policies by which names are steered.
    pub(crate) fn new(config: &Config, geo: Arc<GeoDb>, used: &HashSet<PolicyId>) -> Self {
        let compiled = |(id, policy): (PolicyId, &Policy)| Compiled {
            rules: Rules::new(policy),
            used: used.contains(&id),
            always_points: policy.candidates().all(|pop| config.pops[pop.index()].cname.is_some()),
            depth: config.ranking_depth.max(policy.answers).max(if policy.spread > 1 { policy.spread + 1 } else { 1 }),
            seed: draw::seed(&policy.name),
            policy: policy.clone(),
        };
        Self {
            pops: config.pops.clone(),
            seeds: config.pops.iter().map(|pop| draw::seed(&pop.name)).collect(),
            this: config.this,
            geo,
            policies: (0..).map(PolicyId).zip(&config.policies).map(compiled).collect(),
            sites: config.sites.iter().map(|site| site.name.clone()).collect(),
            depth: config.ranking_depth,
            ttl_unsettled: config.health.ttl_unsettled,
            maps: OnceLock::new(),
        }
    }

    pub(crate) fn pops(&self) -> &[Pop] {
        &self.pops
    }

    pub(crate) fn this(&self) -> PopId {
        self.this
    }

    pub(crate) fn geo(&self) -> &Arc<GeoDb> {
        &self.geo
    }

    /// The name of the site at that position of the config.
    pub(crate) fn site(&self, position: usize) -> &str {
        &self.sites[position]
    }

    /// Whether a PoP that the policy may choose is a CNAME.
    pub(crate) fn may_point(&self, policy: PolicyId) -> bool {
        self.policy(policy).policy.candidates().any(|pop| self.pops[pop.index()].cname.is_some())
    }

    /// Whether all of them are.
    pub(crate) fn always_points(&self, policy: PolicyId) -> bool {
        self.policy(policy).always_points
    }

    pub(crate) fn policies(&self) -> &[Compiled] {
        &self.policies
    }

    pub(crate) fn policy(&self, id: PolicyId) -> &Compiled {
        &self.policies[id.index()]
    }

    pub(crate) fn maps(&self) -> Option<&Arc<Maps>> {
        self.maps.get()
    }

    /// From now on rankings come from `maps`, which must have been made of this very guide or one that is alike.
    pub(crate) fn set_maps(&self, maps: Arc<Maps>) {
        // Maps that are there already say the same.
        let _there_already = self.maps.set(maps);
    }

    /// Whether maps of the one are true for the other.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        let same_policy = |(a, b): (&Compiled, &Compiled)| a.used == b.used && a.policy == b.policy;
        let same_place = |(a, b): (&Pop, &Pop)| a.name == b.name && a.location == b.location;
        Arc::ptr_eq(&self.geo, &other.geo)
            && self.this == other.this
            && self.depth == other.depth
            && self.pops.len() == other.pops.len()
            && self.pops.iter().zip(&other.pops).all(same_place)
            && self.policies.len() == other.policies.len()
            && self.policies.iter().zip(&other.policies).all(same_policy)
    }

    /// The ranking for the client at `address`.
    pub(crate) fn locate(&self, policy: PolicyId, address: IpAddr) -> Located<'_> {
        match self.maps.get().and_then(|maps| maps.lookup(policy, address)) {
            Some((ranking, depth)) => Located { ranking: Cow::Borrowed(ranking), depth },
            None => self.survey(policy, address).whole(),
        }
    }

    /// The same in full, from the geo data.
    pub(crate) fn survey(&self, policy: PolicyId, address: IpAddr) -> Survey {
        let compiled = self.policy(policy);
        let (inner, offset) = net::effective(address);
        let (by_network, length) = compiled.rules.of_network(inner);
        let place = self.geo.locate(address);
        let mut depth = offset.map_or(128, |bits| length.saturating_add(bits));
        if compiled.policy.asks_place() {
            depth = depth.max(place.depth);
        }
        let mut asn = None;
        if compiled.policy.asks_asn() {
            let (number, length) = self.geo.asn(address);
            asn = number;
            depth = depth.max(length);
        }
        let rule = by_network.or_else(|| compiled.rules.of_facts(Facts { place: &place, asn }));
        let (ranking, known) = compiled.rank(self, &place, rule);
        Survey { place, asn, rule, ranking, known, depth }
    }

    /// Steers whoever asks for a name that lives `ttl` seconds.
    pub(crate) fn decide(
        &self,
        steered: Steered,
        asker: Asker,
        family: Family,
        health: &HealthTable,
        ttl: u32,
    ) -> Decision<'_> {
        let asker = Asker { subnet: asker.subnet.filter(|_| steered.ecs), ..asker };
        let (compiled, client) = (self.policy(steered.policy), asker.client());
        let mut located = self.locate(steered.policy, client);
        let circumstances = |located: &Located<'_>| {
            let coverage = ecs::coverage(asker.subnet, located.depth, located.ranking.known);
            let it = Circumstances {
                policy: &compiled.policy,
                seeds: &self.seeds,
                fleet: &self.pops,
                family,
                site: steered.site.map(|site| self.site(site)),
                health,
                thrower: Thrower {
                    client,
                    covered: if coverage.scope == 0 { asker.resolver } else { net::masked(client, coverage.scope) },
                    seed: compiled.seed,
                    now: asker.now,
                    ttl,
                },
            };
            (coverage, it)
        };
        let (mut coverage, mut it) = circumstances(&located);
        // Who throws for all is the resolver.
        let mut by_resolver = asker.subnet.is_none() || coverage.scope == 0;
        let mut choose = |fit: Fit| {
            let chosen = it.choose(&located.ranking, fit);
            let lacks = !located.ranking.complete && chosen.as_ref().is_none_or(|chosen| chosen.wants_more);
            if !lacks || !it.anybody_beyond(&located.ranking, fit) {
                return chosen;
            }
            // What comes after the PoPs that are kept may be another for each network of the geo data.
            located = self.survey(steered.policy, client).whole();
            (coverage, it) = circumstances(&located);
            it.choose(&located.ranking, fit)
        };
        let chosen = choose(Fit::Reaching).or_else(|| choose(Fit::Up));
        let open = chosen.is_none() && compiled.policy.all_down == AllDown::Open;
        let chosen = if open { choose(Fit::Any) } else { chosen };
        let verdict = match (chosen, &compiled.policy.all_down) {
            (Some(chosen), _) => Verdict::Pops(chosen),
            (None, _) if !it.anybody_has_family() => Verdict::NoData,
            (None, AllDown::Open) => Verdict::NoData,
            (None, AllDown::Addresses(addresses)) => Verdict::Addresses(addresses),
            (None, AllDown::NoData) => Verdict::AllDown,
            (None, AllDown::ServFail) => Verdict::ServFail,
        };
        by_resolver |= coverage.scope == 0;
        let coverage = self.covered(coverage, &verdict, asker);
        Decision { verdict, coverage, by_resolver, mapped: matches!(located.ranking, Cow::Borrowed(_)) }
    }

    /// The addresses of the chosen PoPs that are up; those of a CNAME are not among them. `turn` says who comes first where
    /// the policy has them rotate.
    pub(crate) fn addresses(
        &self,
        chosen: &Chosen,
        policy: PolicyId,
        family: Family,
        health: &HealthTable,
        turn: u16,
    ) -> Addresses {
        let mut addresses = Addresses::new();
        for pop in chosen.pops().iter().copied() {
            for (position, address) in self.pops[pop.index()].addresses.iter().enumerate() {
                let is_up = chosen.cause == Cause::FailOpen || health.address_is_up(pop, position);
                if is_up && Family::of(*address) == family {
                    addresses.push(*address);
                }
            }
        }
        if self.policy(policy).policy.rotate && !addresses.is_empty() {
            let turn = usize::from(turn) % addresses.len();
            addresses.rotate_left(turn);
        }
        addresses
    }

    /// What the choice leaves of what the ranking covers.
    fn covered(&self, mut coverage: Coverage, verdict: &Verdict<'_>, asker: Asker) -> Coverage {
        let short = |coverage: Coverage| coverage.ttl_max.map_or(self.ttl_unsettled, |max| max.min(self.ttl_unsettled));
        match verdict {
            Verdict::Pops(chosen) => {
                if let Some(subnet) = asker.subnet.filter(|_| chosen.by_network) {
                    coverage.scope = coverage.scope.max(draw::network_length(subnet.address));
                }
                if chosen.unsettled {
                    coverage.ttl_max = Some(short(coverage));
                }
            }
            // RFC 7871 section 7.4: negative answers are for everybody.
            Verdict::NoData | Verdict::ServFail => coverage.scope = 0,
            Verdict::AllDown => coverage = Coverage { scope: 0, ttl_max: Some(short(coverage)) },
            // By a rule with `only` those of some clients may be up, and of others not.
            Verdict::Addresses(_) => coverage.ttl_max = Some(short(coverage)),
        }
        coverage
    }
}

impl Compiled {
    /// Ranks for a client at `place` of whom the rule at that position speaks; and whether what that goes by is known.
    pub(crate) fn rank(&self, guide: &Guide, place: &Place, rule: Option<usize>) -> (FullRanking, bool) {
        let spoken = rule.and_then(|rule| self.policy.rules.get(rule));
        let ranking = rank(&self.policy, spoken, &guide.pops, guide.this, place.coordinates);
        let located = match &self.policy.order {
            Order::Nearest { .. } => place.coordinates.is_some(),
            Order::Failover | Order::Weighted => {
                !self.policy.asks_place() || place.country.is_some() || place.continent.is_some()
            }
        };
        (ranking, rule.is_some() || located)
    }
}

impl Survey {
    /// The whole ranking.
    fn whole<'g>(self) -> Located<'g> {
        Located { ranking: Cow::Owned(self.ranking.whole(self.known)), depth: self.depth }
    }
}

#[cfg(test)]
mod tests;
