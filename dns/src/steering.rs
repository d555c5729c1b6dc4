//! Which PoP a client is sent to. Pure: the geo data's word on the client, the fleet and its health go in, a PoP
//! comes out.
//!
//! All PoPs are ranked ([`nearest`]), and the first that is up has the client. When none is up the answer is as if
//! all were (fail-open): a wrong verdict must not take a site off the Internet.
//!
//! A PoP may lack addresses of the family asked for. Then it is passed over for that type, so the A and AAAA answers
//! of one name may name different PoPs. The other choice, NODATA for the clients who are near it, would let the data
//! depend on who asks, while resolvers keep a negative answer for everyone (RFC 7871 section 7.4), and would leave
//! clients of one family only without any address. A fleet whose PoPs all have both families never sees this. A family that no PoP
//! has gives NODATA to everyone.

use std::net::IpAddr;

use nearcast_shared::geo::Place;
use nearcast_shared::health::HealthTable;
use nearcast_shared::pop::{Pop, PopId};

use crate::ecs::{self, Coverage, Subnet};
use crate::view::{View, Zone};

pub(crate) mod nearest;

use nearest::Ranking;

/// An address family, which is also a record type: A or AAAA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// All that steering has to say of one client.
#[derive(Debug)]
pub(crate) struct Steering {
    pub(crate) place: Place,
    pub(crate) ranking: Ranking,
    pub(crate) coverage: Coverage,
}

/// The PoP that a client is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) pop: PopId,
    pub(crate) cause: Cause,
}

/// What made it that PoP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It is the first of all that have the family.
    First,
    /// Those before it are down.
    Failover,
    /// It is the first of all that have the family, and they are all down.
    FailOpen,
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

/// Steers whoever is at `client`: the subnet that the query names, else the resolver that sent it.
pub(crate) fn steer(view: &View, resolver: IpAddr, subnet: Option<Subnet>) -> Steering {
    let place = view.geo().locate(subnet.map_or(resolver, |subnet| subnet.address));
    let ranking = nearest::rank(view.pops(), view.this(), place.coordinates);
    let coverage = ecs::coverage(subnet, &place);
    Steering { place, ranking, coverage }
}

impl Steering {
    /// Seconds that a steered answer in this zone may be kept.
    pub(crate) fn ttl(&self, zone: &Zone) -> u32 {
        self.coverage.ttl_max.map_or(zone.ttl, |max| zone.ttl.min(max))
    }

    /// The first PoP of the ranking that has the family and is up; `None` when no PoP has the family.
    pub(crate) fn choose(&self, pops: &[Pop], family: Family, health: &HealthTable) -> Option<Choice> {
        let able = || self.ranking.order().filter(|id| family.of_pop(&pops[id.index()]).next().is_some());
        let first = able().next()?;
        Some(match able().find(|id| health.is_up(*id)) {
            Some(pop) if pop == first => Choice { pop, cause: Cause::First },
            Some(pop) => Choice { pop, cause: Cause::Failover },
            None => Choice { pop: first, cause: Cause::FailOpen },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    /// (PoP of the A answer, of the AAAA answer) for a client in Frankfurt, with these PoPs down.
    fn choices(view: &View, down: &[&str]) -> [Option<(String, Cause)>; 2] {
        let health = fixture::health(view, down);
        let steering = steer(view, fixture::FRANKFURT.parse().unwrap(), None);
        [Family::V4, Family::V6].map(|family| {
            let choice = steering.choose(view.pops(), family, &health)?;
            Some((view.pop(choice.pop).name.clone(), choice.cause))
        })
    }

    fn one(name: &str, cause: Cause) -> Option<(String, Cause)> {
        Some((name.to_owned(), cause))
    }

    #[test]
    fn the_first_that_is_up() {
        let view = fixture::view();
        let rows: [(&str, &[&str], &str, Cause); 5] = [
            ("all up", &[], "fra", Cause::First),
            ("a far one down", &["sin"], "fra", Cause::First),
            ("the nearest down", &["fra"], "iad", Cause::Failover),
            ("two down", &["fra", "iad"], "sin", Cause::Failover),
            ("all down", &["fra", "iad", "sin"], "fra", Cause::FailOpen),
        ];
        for (name, down, pop, cause) in rows {
            assert_eq!(choices(&view, down), [one(pop, cause), one(pop, cause)], "{name}");
        }
    }

    #[test]
    fn a_pop_without_the_family_is_passed_over() {
        let text = fixture::CONFIG.replace(", \"2001:db8:1::10\"", "");
        let view = fixture::view_of(&text, "sin");
        assert_eq!(choices(&view, &[]), [one("fra", Cause::First), one("iad", Cause::First)]);
        assert_eq!(choices(&view, &["iad"]), [one("fra", Cause::First), one("sin", Cause::Failover)]);
        // Those that could answer are all down: fail-open within the family, rather than data for some only.
        assert_eq!(choices(&view, &["iad", "sin"]), [one("fra", Cause::First), one("iad", Cause::FailOpen)]);
    }

    #[test]
    fn a_family_that_no_pop_has() {
        let text = fixture::CONFIG.replace(", \"2001:db8:1::10\"", "").replace(", \"2001:db8:2::10\"", "");
        let view = fixture::view_of(&text.replace(", \"2001:db8:3::10\"", ""), "sin");
        assert_eq!(choices(&view, &[]), [one("fra", Cause::First), None]);
    }
}
