//! PoPs in the order in which they may have a client, in groups of equals.
//!
//! ```text
//!   rule's PoPs | the policy's order:  nearest   by distance x stretch, those within the ring of a group's first are its equals
//!               |                      failover  as given
//!               |                      weighted  all equal
//! ```

use std::iter;

use nearcast_shared::config::{Order, Pick, Policy, PolicyRule, Ring};
use nearcast_shared::geo::{Coordinates, distance};
use nearcast_shared::pop::{Pop, PopId};

/// Every candidate, with what put it in its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FullRanking {
    /// From where distances are measured.
    pub(crate) basis: Basis,
    pub(crate) pops: Vec<Ranked>,
}

/// From where distances are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// The client's location.
    Client,
    /// It is unknown: the PoP that received the query, being somewhere near the client's resolver.
    ThisPop,
}

/// A PoP and how far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ranked {
    pub(crate) pop: PopId,
    /// Great-circle, without the policy's bias; `None` when either end's location is not known.
    pub(crate) distance_km: Option<f64>,
    /// Which group of equals, counted from 0.
    pub(crate) group: u16,
    /// A rule or the list for unknown clients put it there, not the policy's order.
    pub(crate) given: bool,
}

/// A ranking as it is kept, cut after some PoPs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Ranking {
    pops: Box<[PopId]>,
    /// Where each group ends in `pops`.
    ends: Box<[u16]>,
    /// What it goes by is known of the client.
    pub(crate) known: bool,
    /// Nothing was cut.
    pub(crate) complete: bool,
}

impl Ranking {
    /// No PoP at all.
    pub(crate) fn nobody() -> Self {
        Self { pops: Box::default(), ends: Box::default(), known: false, complete: true }
    }

    /// The groups of equals, the best first.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[PopId]> {
        let starts = iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| &self.pops[usize::from(from)..usize::from(*to)])
    }

    /// All PoPs, the best first.
    pub(crate) fn pops(&self) -> &[PopId] {
        &self.pops
    }
}

impl FullRanking {
    /// The first `depth` PoPs at least: groups are not cut, unless their order counts, too.
    pub(crate) fn cut(&self, depth: usize, pick: Pick, known: bool) -> Ranking {
        let (mut pops, mut ends) = (Vec::new(), Vec::new());
        for group in self.pops.chunk_by(|a, b| a.group == b.group) {
            if pops.len() >= depth {
                break;
            }
            let room = if pick == Pick::First { depth - pops.len() } else { group.len() };
            pops.extend(group.iter().take(room).map(|ranked| ranked.pop));
            ends.push(u16::try_from(pops.len()).unwrap_or(u16::MAX));
        }
        let complete = pops.len() == self.pops.len();
        Ranking { pops: pops.into(), ends: ends.into(), known, complete }
    }

    /// All of it.
    pub(crate) fn whole(&self, known: bool) -> Ranking {
        self.cut(usize::MAX, Pick::First, known)
    }
}

/// Ranks the candidates of `policy` for a client at `client`, or for one of whom nothing is known but that it asked the PoP
/// `this`, and of whom `rule` speaks.
///
/// PoPs without a location are last. Equal distances keep the configured order.
pub(crate) fn rank(
    policy: &Policy,
    rule: Option<&PolicyRule>,
    fleet: &[Pop],
    this: PopId,
    client: Option<Coordinates>,
) -> FullRanking {
    let (basis, start) = match client {
        Some(client) => (Basis::Client, Some(client)),
        None => (Basis::ThisPop, fleet[this.index()].location),
    };
    let distance = |pop: PopId| Some(distance::km(start?, fleet[pop.index()].location?));
    let mut made = Made { pops: Vec::with_capacity(fleet.len()), groups: 0 };
    for group in rule.map(|rule| rule.pops.as_slice()).unwrap_or_default() {
        made.add(group.iter().map(|pop| (*pop, distance(*pop))), true);
    }
    if rule.is_none_or(|rule| !rule.only) {
        match &policy.order {
            Order::Failover => {
                policy.pops.iter().for_each(|group| made.add(group.iter().map(|pop| (*pop, distance(*pop))), false));
            }
            Order::Weighted => made.add(policy.pops.iter().flatten().map(|pop| (*pop, distance(*pop))), false),
            Order::Nearest { stretch, ring } => {
                let candidates = || policy.pops.iter().flatten().copied();
                let mut ring = *ring;
                if basis == Basis::ThisPop && rule.is_none() {
                    let first = if policy.unknown.is_empty() { vec![this] } else { policy.unknown.clone() };
                    for pop in first.into_iter().filter(|pop| candidates().any(|candidate| candidate == *pop)) {
                        made.add(iter::once((pop, distance(pop))), true);
                    }
                    // Who is only guessed to be somewhere near this PoP is equally near to nobody.
                    ring = Ring::None;
                }
                let stretched = |pop: PopId| Some(distance(pop)? * stretch[pop.index()]);
                let mut sorted: Vec<(PopId, Option<f64>)> = candidates().map(|pop| (pop, stretched(pop))).collect();
                let far = |distance: &Option<f64>| distance.unwrap_or(f64::INFINITY);
                // A stable sort: ties stay as configured.
                sorted.sort_by(|a, b| far(&a.1).total_cmp(&far(&b.1)));
                for group in rings(&sorted, ring) {
                    made.add(group.iter().map(|(pop, _)| (*pop, distance(*pop))), false);
                }
            }
        }
    }
    FullRanking { basis, pops: made.pops }
}

/// A ranking while it is made.
struct Made {
    pops: Vec<Ranked>,
    groups: u16,
}

impl Made {
    /// Adds those of a group that are not there already.
    fn add(&mut self, group: impl Iterator<Item = (PopId, Option<f64>)>, given: bool) {
        let before = self.pops.len();
        for (pop, distance_km) in group {
            if self.pops[..before].iter().all(|ranked| ranked.pop != pop) {
                self.pops.push(Ranked { pop, distance_km, group: self.groups, given });
            }
        }
        self.groups += u16::from(self.pops.len() > before);
    }
}

/// Splits PoPs in the order of their distances where one is beyond the ring of the first before it.
fn rings(mut sorted: &[(PopId, Option<f64>)], ring: Ring) -> Vec<&[(PopId, Option<f64>)]> {
    let mut groups = Vec::new();
    while let Some((_, nearest)) = sorted.first() {
        let reach = nearest.map(|nearest| match ring {
            Ring::None => f64::NEG_INFINITY,
            Ring::Share(share) => nearest * (1.0 + share),
            Ring::Km(km) => nearest + km,
        });
        let within = |(_, distance): &(PopId, Option<f64>)| {
            distance.zip(reach).is_some_and(|(distance, reach)| distance <= reach)
        };
        let end = sorted.iter().skip(1).position(|pop| !within(pop)).map_or(sorted.len(), |others| others + 1);
        let (group, rest) = sorted.split_at(end);
        groups.push(group);
        sorted = rest;
    }
    groups
}

#[cfg(test)]
mod tests {
    use nearcast_shared::pop::Probe;

    use super::*;

    const FRANKFURT: Option<(f64, f64)> = Some((50.03, 8.57));
    const LONDON: Option<(f64, f64)> = Some((51.47, -0.45));
    const VIRGINIA: Option<(f64, f64)> = Some((38.94, -77.46));
    const SINGAPORE: Option<(f64, f64)> = Some((1.36, 103.99));
    const TOKYO: Option<(f64, f64)> = Some((35.77, 140.39));

    fn fleet(locations: &[Option<(f64, f64)>]) -> Vec<Pop> {
        let pop = |location: &Option<(f64, f64)>| Pop {
            name: String::new(),
            location: location.and_then(|(latitude, longitude)| Coordinates::new(latitude, longitude)),
            addresses: Vec::new(),
            cname: None,
            capacity: 100,
            probe: Probe::Never,
            admin: None,
        };
        locations.iter().map(pop).collect()
    }

    fn nearest(count: usize) -> Policy {
        Policy::nearest("p", vec![100; count])
    }

    fn at(latitude: f64, longitude: f64) -> Option<Coordinates> {
        Coordinates::new(latitude, longitude)
    }

    fn ids(groups: &[&[u16]]) -> Vec<Vec<PopId>> {
        groups.iter().map(|group| group.iter().copied().map(PopId).collect()).collect()
    }

    /// The groups, such as `[[2], [1, 0]]`.
    fn groups(ranking: &FullRanking) -> String {
        let groups = ranking.whole(true);
        let ids: Vec<Vec<u16>> = groups.groups().map(|group| group.iter().map(|id| id.0).collect()).collect();
        format!("{ids:?}")
    }

    #[test]
    fn nearest_first() {
        type Row<'a> = (&'a str, Vec<Option<(f64, f64)>>, u16, Option<Coordinates>, &'a str);
        let rows: [Row<'_>; 9] = [
            ("London", vec![SINGAPORE, VIRGINIA, FRANKFURT], 0, at(51.5, -0.1), "[[2], [1], [0]]"),
            // Flat degrees would send it to Singapore.
            ("central China", vec![SINGAPORE, TOKYO], 0, at(36.06, 103.83), "[[1], [0]]"),
            // Across the date line: Virginia is 12,500 km away, Tokyo 7,300.
            ("Fiji", vec![VIRGINIA, TOKYO], 0, at(-17.7, 178.0), "[[1], [0]]"),
            (
                "a PoP without a location is last",
                vec![None, SINGAPORE, FRANKFURT],
                0,
                at(51.5, -0.1),
                "[[2], [1], [0]]",
            ),
            ("ties keep the configured order", vec![FRANKFURT, TOKYO, FRANKFURT], 0, at(50.0, 8.0), "[[0], [2], [1]]"),
            ("all without a location", vec![None, None, None], 1, at(50.0, 8.0), "[[0], [1], [2]]"),
            ("unknown: from this PoP", vec![SINGAPORE, VIRGINIA, FRANKFURT], 2, None, "[[2], [1], [0]]"),
            ("unknown: this PoP before its twin", vec![FRANKFURT, TOKYO, FRANKFURT], 2, None, "[[2], [0], [1]]"),
            ("unknown, and this PoP is nowhere", vec![FRANKFURT, None, TOKYO], 1, None, "[[1], [0], [2]]"),
        ];
        for (name, locations, this, client, wanted) in rows {
            let ranking = rank(&nearest(locations.len()), None, &fleet(&locations), PopId(this), client);
            assert_eq!(groups(&ranking), wanted, "{name}");
        }
    }

    #[test]
    fn distances_say_from_where() {
        let fleet = fleet(&[FRANKFURT, None]);
        let known = rank(&nearest(2), None, &fleet, PopId(1), at(50.03, 8.57));
        let distances = [known.pops[0].distance_km, known.pops[1].distance_km];
        assert_eq!((known.basis, distances), (Basis::Client, [Some(0.0), None]));
        let unknown = rank(&nearest(2), None, &fleet, PopId(0), None);
        assert_eq!((unknown.basis, unknown.pops[0].distance_km), (Basis::ThisPop, Some(0.0)));
    }

    #[test]
    fn bias_and_rings() {
        // From Paris: London 350 km, Frankfurt 450, Virginia 6,190.
        let fleet = fleet(&[FRANKFURT, LONDON, VIRGINIA, None]);
        let paris = at(48.86, 2.35);
        let order = |stretch: [f64; 4], ring| {
            let policy = Policy { order: Order::Nearest { stretch: stretch.to_vec(), ring }, ..nearest(4) };
            groups(&rank(&policy, None, &fleet, PopId(0), paris))
        };
        let rows = [
            ("as it is", [1.0; 4], Ring::None, "[[1], [0], [2], [3]]"),
            ("Frankfurt seems nearer", [0.7, 1.0, 1.0, 1.0], Ring::None, "[[0], [1], [2], [3]]"),
            ("London seems farther", [1.0, 1.9, 1.0, 1.0], Ring::None, "[[0], [1], [2], [3]]"),
            ("a ring by share", [1.0; 4], Ring::Share(0.5), "[[1, 0], [2], [3]]"),
            ("a ring too small", [1.0; 4], Ring::Share(0.1), "[[1], [0], [2], [3]]"),
            ("a ring by distance", [1.0; 4], Ring::Km(150.0), "[[1, 0], [2], [3]]"),
            ("a ring around everything with a place", [1.0; 4], Ring::Km(20_000.0), "[[1, 0, 2], [3]]"),
        ];
        for (name, stretch, ring, wanted) in rows {
            assert_eq!(order(stretch, ring), wanted, "{name}");
        }
    }

    #[test]
    fn given_orders_and_rules() {
        let fleet = fleet(&[FRANKFURT, VIRGINIA, SINGAPORE]);
        let rule = |pops: &[&[u16]], only| Some(PolicyRule { pops: ids(pops), only, ..PolicyRule::default() });
        let failover = |pops: &[&[u16]]| Policy { order: Order::Failover, pops: ids(pops), ..nearest(3) };
        let weighted = Policy { order: Order::Weighted, ..nearest(3) };
        let some = Policy { pops: ids(&[&[2], &[1]]), ..nearest(3) };
        let unknown = Policy { unknown: vec![PopId(2)], ..nearest(3) };
        let (london, nowhere) = (at(51.5, -0.1), None);
        let rows = [
            ("failover", failover(&[&[2], &[0]]), None, london, "[[2], [0]]"),
            ("failover with equals", failover(&[&[2, 0], &[1]]), None, london, "[[2, 0], [1]]"),
            ("weighted", weighted, None, london, "[[0, 1, 2]]"),
            ("candidates", some.clone(), None, london, "[[1], [2]]"),
            ("this PoP is no candidate", some, None, nowhere, "[[1], [2]]"),
            ("a rule first", nearest(3), rule(&[&[2]], false), london, "[[2], [0], [1]]"),
            ("a rule with equals", nearest(3), rule(&[&[2, 1]], false), london, "[[2, 1], [0]]"),
            ("a rule alone", nearest(3), rule(&[&[2], &[1]], true), london, "[[2], [1]]"),
            ("a rule before failover", failover(&[&[2, 0], &[1]]), rule(&[&[0]], false), london, "[[0], [2], [1]]"),
            ("a list for the unknown", unknown.clone(), None, nowhere, "[[2], [0], [1]]"),
            ("a rule before that", unknown, rule(&[&[1]], false), nowhere, "[[1], [0], [2]]"),
        ];
        for (name, policy, rule, client, wanted) in rows {
            assert_eq!(groups(&rank(&policy, rule.as_ref(), &fleet, PopId(0), client)), wanted, "{name}");
        }
    }

    #[test]
    fn cuts() {
        let fleet = fleet(&[FRANKFURT, VIRGINIA, SINGAPORE, TOKYO]);
        let policy = Policy { order: Order::Failover, pops: ids(&[&[0], &[1, 2], &[3]]), ..nearest(4) };
        let full = rank(&policy, None, &fleet, PopId(0), None);
        let cut = |depth, pick| {
            let ranking = full.cut(depth, pick, true);
            let ids: Vec<Vec<u16>> = ranking.groups().map(|group| group.iter().map(|id| id.0).collect()).collect();
            (format!("{ids:?}"), ranking.complete)
        };
        assert_eq!(cut(1, Pick::First), ("[[0]]".to_owned(), false));
        assert_eq!(cut(2, Pick::First), ("[[0], [1]]".to_owned(), false), "the order in the group is all there is");
        assert_eq!(cut(2, Pick::Sticky), ("[[0], [1, 2]]".to_owned(), false), "equals stay together");
        assert_eq!(cut(4, Pick::Sticky), ("[[0], [1, 2], [3]]".to_owned(), true));
    }
}
