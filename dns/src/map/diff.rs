//! What another map changes: the share of the address space that goes to another PoP.
//!
//! IPv4 counts by addresses. Of IPv6 nearly all is unused, so what counts is space that either map knows something of, by
//! /48s, the size of a site's network; the same holds for IPv4.

use std::collections::{BTreeMap, HashMap};

use nearcast_shared::config::PolicyId;
use nearcast_shared::geo::AddressFamily;

use super::Map;
use crate::steering::ranking::Ranking;
use crate::view::View;

/// Where one policy's clients of one family move.
#[derive(Debug, Clone, PartialEq)]
pub struct Moves {
    /// The policy's name.
    pub policy: String,
    /// Whose addresses.
    pub family: AddressFamily,
    /// What either map knows: addresses of IPv4, /48s of IPv6.
    pub known: f64,
    /// How much of it goes from which PoP to which other. Where several are equals, all of them are named.
    pub moved: BTreeMap<(String, String), f64>,
}

impl Moves {
    /// The share that moves, 0 to 1.
    pub fn share(&self) -> f64 {
        if self.known > 0.0 { self.moved.values().sum::<f64>() / self.known } else { 0.0 }
    }
}

impl View {
    /// What moves when `new` takes the place of this view: two entries for each policy that both have, by its name. Both
    /// must have maps, else there is nothing to tell.
    pub fn moves(&self, new: &Self) -> Vec<Moves> {
        let (Some(ours), Some(theirs)) = (self.guide().maps(), new.guide().maps()) else { return Vec::new() };
        let mut all = Vec::new();
        for (id, compiled) in (0..).map(PolicyId).zip(self.guide().policies()) {
            let name = &compiled.policy.name;
            let other = (0..).map(PolicyId).zip(new.guide().policies()).find(|(_, other)| other.policy.name == *name);
            // A policy with too many rankings has no map.
            let maps = other.and_then(|(other, _)| Some((ours.of(id)?, theirs.of(other)?)));
            let Some((old_map, new_map)) = maps else { continue };
            let sides = (Side::new(self, old_map), Side::new(new, new_map));
            for family in [AddressFamily::V4, AddressFamily::V6] {
                all.push(moves_of(name, family, &sides));
            }
        }
        all
    }
}

/// A map with the names behind its numbers.
struct Side<'m> {
    map: &'m Map,
    /// By ranking: who is first, and whether that is more than a guess.
    firsts: Vec<(String, bool)>,
}

impl<'m> Side<'m> {
    fn new(view: &View, map: &'m Map) -> Self {
        Self { map, firsts: map.rankings.iter().map(|ranking| (first(view, ranking), ranking.known)).collect() }
    }

    /// First address (that of IPv4 in the high bits), length and ranking of each prefix.
    fn parts(&self, family: AddressFamily) -> Box<dyn Iterator<Item = (u128, u8, usize)> + '_> {
        let tables = &self.map.tables;
        match family {
            AddressFamily::V4 => {
                Box::new(tables.v4.parts().map(|part| (u128::from(part.first) << 96, part.length, part.leaf.into())))
            }
            AddressFamily::V6 => Box::new(tables.v6.parts().map(|part| (part.first, part.length, part.leaf.into()))),
        }
    }
}

/// The first of a ranking, and its equals.
fn first(view: &View, ranking: &Ranking) -> String {
    let mut names: Vec<&str> =
        ranking.groups().next().unwrap_or_default().iter().map(|pop| view.pop(*pop).name.as_str()).collect();
    names.sort_unstable();
    if names.is_empty() { "nowhere".to_owned() } else { names.join("|") }
}

fn moves_of(policy: &str, family: AddressFamily, (old, new): &(Side<'_>, Side<'_>)) -> Moves {
    // 1 is an address of IPv4 or a /48 of IPv6.
    let unit = match family {
        AddressFamily::V4 => 32,
        AddressFamily::V6 => 48,
    };
    let mut known = 0.0;
    let mut moved: HashMap<(usize, usize), f64> = HashMap::new();
    let (mut olds, mut news) = (old.parts(family), new.parts(family));
    let (mut left, mut right) = (olds.next(), news.next());
    // Prefixes of two partitions hold one another or do not meet: what both share is the longer one.
    while let (Some(of_old), Some(of_new)) = (left, right) {
        let weight = f64::from(unit - i32::from(of_old.1.max(of_new.1))).exp2();
        let ((from, knew), (to, knows)) = (&old.firsts[of_old.2], &new.firsts[of_new.2]);
        if *knew || *knows {
            known += weight;
            if from != to {
                *moved.entry((of_old.2, of_new.2)).or_default() += weight;
            }
        }
        let (old_last, new_last) = (last(of_old), last(of_new));
        if old_last <= new_last {
            left = olds.next();
        }
        if new_last <= old_last {
            right = news.next();
        }
    }
    let mut named: BTreeMap<(String, String), f64> = BTreeMap::new();
    for ((from, to), weight) in moved {
        *named.entry((old.firsts[from].0.clone(), new.firsts[to].0.clone())).or_default() += weight;
    }
    Moves { policy: policy.to_owned(), family, known, moved: named }
}

fn last((first, length, _): (u128, u8, usize)) -> u128 {
    first | u128::MAX.checked_shr(u32::from(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::fixture;

    fn mapped(text: &str) -> View {
        let view = fixture::view_of(text, "sin");
        view.use_maps(view.build_maps(&AtomicBool::new(false)).unwrap());
        view
    }

    #[test]
    fn a_pop_that_moves_away_takes_its_networks_along() {
        let old = mapped(fixture::CONFIG);
        let same = old.moves(&mapped(fixture::CONFIG));
        assert!(same.iter().all(|moves| moves.share() == 0.0 && moves.moved.is_empty()), "{same:?}");
        // Frankfurt's clients (5.0.0.0/10 and 2a00::/20) have New York's nearest PoP next, once it is in Sydney.
        let away = fixture::CONFIG.replace("[50.03, 8.57]", "[-33.95, 151.18]");
        assert_ne!(away, fixture::CONFIG);
        let moves = old.moves(&mapped(&away));
        let [v4, v6] = &moves[..2] else { panic!("{moves:?}") };
        assert_eq!((v4.family, v6.family), (AddressFamily::V4, AddressFamily::V6));
        let all = f64::from(1 << 22) + f64::from(1 << 12) + 64.0;
        assert_eq!(v4.known, all);
        let key = ("fra".to_owned(), "iad".to_owned());
        assert_eq!(v4.moved.iter().collect::<Vec<_>>(), [(&key, &f64::from(1 << 22))]);
        assert!((v4.share() - f64::from(1 << 22) / all).abs() < 1e-12);
        assert_eq!(
            (v6.known, v6.moved.get(&key)),
            (f64::from(1 << 28) + f64::from(1 << 16), Some(&f64::from(1 << 28)))
        );
    }

    #[test]
    fn without_maps_there_is_nothing_to_tell() {
        let bare = fixture::view();
        assert!(bare.moves(&mapped(fixture::CONFIG)).is_empty() && mapped(fixture::CONFIG).moves(&bare).is_empty());
    }
}
