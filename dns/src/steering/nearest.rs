//! All PoPs in order of great-circle distance.

use nearcast_shared::geo::{Coordinates, distance};
use nearcast_shared::pop::{Pop, PopId};

/// Every PoP of the fleet, the nearest first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ranking {
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
    /// `None` when either end's location is not known.
    pub(crate) distance_km: Option<f64>,
}

impl Ranking {
    /// The PoPs, nearest first.
    pub(crate) fn order(&self) -> impl Iterator<Item = PopId> {
        self.pops.iter().map(|ranked| ranked.pop)
    }
}

/// Ranks `pops` for a client at `client`, or for one of whom nothing is known but that it asked the PoP `this`: then
/// `this` is first. PoPs without a location are last. Equal distances keep the configured order.
pub(crate) fn rank(pops: &[Pop], this: PopId, client: Option<Coordinates>) -> Ranking {
    let (basis, start) = match client {
        Some(client) => (Basis::Client, Some(client)),
        None => (Basis::ThisPop, pops[this.index()].location),
    };
    let distance = |pop: &Pop| Some(distance::km(start?, pop.location?));
    let ids = (0..).map(PopId);
    let mut ranked: Vec<Ranked> =
        pops.iter().zip(ids).map(|(pop, id)| Ranked { pop: id, distance_km: distance(pop) }).collect();
    let is_second = |ranked: &Ranked| basis == Basis::Client || ranked.pop != this;
    let by_distance = |ranked: &Ranked| ranked.distance_km.unwrap_or(f64::INFINITY);
    // A stable sort: ties stay as configured.
    ranked.sort_by(|a, b| is_second(a).cmp(&is_second(b)).then(by_distance(a).total_cmp(&by_distance(b))));
    Ranking { basis, pops: ranked }
}

#[cfg(test)]
mod tests {
    use nearcast_shared::pop::Probe;

    use super::*;

    fn pop(location: Option<(f64, f64)>) -> Pop {
        Pop {
            name: String::new(),
            location: location.and_then(|(latitude, longitude)| Coordinates::new(latitude, longitude)),
            addresses: Vec::new(),
            cname: None,
            capacity: 100,
            probe: Probe::Never,
            admin: None,
        }
    }

    #[test]
    fn order() {
        let frankfurt = Some((50.03, 8.57));
        let virginia = Some((38.94, -77.46));
        let singapore = Some((1.36, 103.99));
        let tokyo = Some((35.77, 140.39));
        let at = |latitude, longitude| Coordinates::new(latitude, longitude);
        type Row<'a> = (&'a str, Vec<Option<(f64, f64)>>, u16, Option<Coordinates>, &'a [u16]);
        let rows: [Row<'_>; 9] = [
            ("London", vec![singapore, virginia, frankfurt], 0, at(51.5, -0.1), &[2, 1, 0]),
            // Flat degrees would send it to Singapore.
            ("central China", vec![singapore, tokyo], 0, at(36.06, 103.83), &[1, 0]),
            // Across the date line: Virginia is 12,500 km away, Tokyo 7,300.
            ("Fiji", vec![virginia, tokyo], 0, at(-17.7, 178.0), &[1, 0]),
            ("a PoP without a location is last", vec![None, singapore, frankfurt], 0, at(51.5, -0.1), &[2, 1, 0]),
            ("ties keep the configured order", vec![frankfurt, tokyo, frankfurt], 0, at(50.0, 8.0), &[0, 2, 1]),
            ("all without a location", vec![None, None, None], 1, at(50.0, 8.0), &[0, 1, 2]),
            ("unknown: from this PoP", vec![singapore, virginia, frankfurt], 2, None, &[2, 1, 0]),
            ("unknown: this PoP before its twin", vec![frankfurt, tokyo, frankfurt], 2, None, &[2, 0, 1]),
            ("unknown, and this PoP is nowhere", vec![frankfurt, None, tokyo], 1, None, &[1, 0, 2]),
        ];
        for (name, locations, this, client, wanted) in rows {
            let pops: Vec<Pop> = locations.into_iter().map(pop).collect();
            let order: Vec<u16> = rank(&pops, PopId(this), client).order().map(|id| id.0).collect();
            assert_eq!(order, wanted, "{name}");
        }
    }

    #[test]
    fn distances_say_from_where() {
        let pops = [pop(Some((50.03, 8.57))), pop(None)];
        let known = rank(&pops, PopId(1), Coordinates::new(50.03, 8.57));
        assert_eq!(
            (known.basis, known.pops[0].distance_km, known.pops[1].distance_km),
            (Basis::Client, Some(0.0), None)
        );
        let unknown = rank(&pops, PopId(0), None);
        assert_eq!((unknown.basis, unknown.pops[0].distance_km), (Basis::ThisPop, Some(0.0)));
    }
}
