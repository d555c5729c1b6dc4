//! What another map changes: the share of the address space that goes to another PoP.
//!
//! Compared is by name: the map of the policy that a name has now, and that of the policy it will have. Names that have
//! the same two are told together.
//!
//! IPv4 counts by addresses. Of IPv6 nearly all is unused, so what counts is space that either map knows something of, by
//! /48s, the size of a site's network; the same holds for IPv4.

use std::collections::{BTreeMap, HashMap};

use nearcast_shared::config::{Order, Pick, Policy, PolicyId, Ring};
use nearcast_shared::geo::AddressFamily;
use nearcast_shared::pop::PopId;

use super::Map;
use crate::name::Name;
use crate::steering::ranking::Ranking;
use crate::view::{Steered, View};

/// What another view changes for the names that are steered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// One for each two policies that names have, one after the other.
    pub groups: Vec<Group>,
    /// Names that are steered by the new view only.
    pub added: Vec<String>,
    /// Names that are steered by the old one only.
    pub removed: Vec<String>,
}

/// Names whose clients move alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Their policy by the old view.
    pub old_policy: String,
    /// Their policy by the new one.
    pub new_policy: String,
    /// Sorted.
    pub names: Vec<String>,
    /// Of each family; empty when a policy has too many rankings for a map.
    pub moves: Vec<Moves>,
    /// Keys of the policy, besides, that have other values: which of equals is answered, for one, is in no map.
    pub keys: Vec<&'static str>,
}

/// Where a group's clients of one family move.
#[derive(Debug, Clone, PartialEq)]
pub struct Moves {
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
    /// What changes when `new` takes the place of this view. `None` unless both have maps.
    pub fn changes(&self, new: &Self) -> Option<Changes> {
        let (ours, theirs) = (self.guide().maps()?, new.guide().maps()?);
        let mut changes = Changes::default();
        let mut groups: BTreeMap<(PolicyId, PolicyId), Vec<String>> = BTreeMap::new();
        let news: HashMap<&Name, Steered> = new.steered_names().collect();
        let olds: HashMap<&Name, Steered> = self.steered_names().collect();
        for (name, old) in &olds {
            match news.get(name) {
                Some(new) => groups.entry((old.policy, new.policy)).or_default().push(name.to_string()),
                None => changes.removed.push(name.to_string()),
            }
        }
        changes.added = news.keys().filter(|name| !olds.contains_key(*name)).map(|name| name.to_string()).collect();
        changes.added.sort_unstable();
        changes.removed.sort_unstable();
        for ((before, after), mut names) in groups {
            names.sort_unstable();
            let moves = ours.of(before).zip(theirs.of(after)).map(|(old_map, new_map)| {
                let sides = (Side::new(self, old_map), Side::new(new, new_map));
                [AddressFamily::V4, AddressFamily::V6].map(|family| moves_of(family, &sides)).to_vec()
            });
            let policies = (&self.guide().policy(before).policy, &new.guide().policy(after).policy);
            changes.groups.push(Group {
                old_policy: policies.0.name.clone(),
                new_policy: policies.1.name.clone(),
                names,
                moves: moves.unwrap_or_default(),
                keys: keys((self, policies.0), (new, policies.1)),
            });
        }
        Some(changes)
    }
}

/// Keys that have other values and say what no map does.
fn keys((old_view, old): (&View, &Policy), (new_view, new): (&View, &Policy)) -> Vec<&'static str> {
    let has_equals = |policy: &Policy| {
        let grouped =
            policy.pops.iter().chain(policy.rules.iter().flat_map(|rule| &rule.pops)).any(|group| group.len() > 1);
        grouped || !matches!(policy.order, Order::Nearest { ring: Ring::None, .. } | Order::Failover)
    };
    let draws = |policy: &Policy| has_equals(policy) && policy.pick != Pick::First;
    let weights = |view: &View, policy: &Policy| {
        let of = |pop: PopId| (view.pop(pop).name.clone(), policy.weights[pop.index()]);
        policy.candidates().map(of).collect::<BTreeMap<_, _>>()
    };
    let rows = [
        ("pick", (has_equals(old) || has_equals(new)) && old.pick != new.pick),
        ("weights", (draws(old) || draws(new)) && weights(old_view, old) != weights(new_view, new)),
        // It is part of what a network draws.
        ("name", has_equals(old) && has_equals(new) && new.pick == Pick::Sticky && old.name != new.name),
        ("spread", old.spread != new.spread),
        ("answers", old.answers != new.answers),
        ("rotate", old.rotate != new.rotate),
        ("all-down", old.all_down != new.all_down),
    ];
    rows.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
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

fn moves_of(family: AddressFamily, (old, new): &(Side<'_>, Side<'_>)) -> Moves {
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
    Moves { family, known, moved: named }
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

    fn changes(old: &str, new: &str) -> Changes {
        mapped(old).changes(&mapped(new)).unwrap()
    }

    #[test]
    fn a_pop_that_moves_away_takes_its_networks_along() {
        let same = changes(fixture::CONFIG, fixture::CONFIG);
        let [group] = &same.groups[..] else { panic!("{same:?}") };
        assert!(group.moves.iter().all(|moves| moves.share() == 0.0 && moves.moved.is_empty()), "{same:?}");
        // Frankfurt's clients (5.0.0.0/10 and 2a00::/20) have New York's nearest PoP next, once it is in Sydney.
        let away = fixture::CONFIG.replace("[50.03, 8.57]", "[-33.95, 151.18]");
        assert_ne!(away, fixture::CONFIG);
        let changes = changes(fixture::CONFIG, &away);
        let [v4, v6] = &changes.groups[0].moves[..] else { panic!("{changes:?}") };
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
    fn a_name_that_gets_another_policy_moves() {
        let eu = "[[policy]]\nname = \"eu\"\norder = \"failover\"\npops = [\"sin\", \"fra\"]\n";
        let site = "domains = [\"www.cdn.example.net\", \"a.b.cdn.example.net\"";
        assert!(fixture::CONFIG.contains(site));
        let text =
            fixture::CONFIG.replace(site, "policy = \"eu\"\ndomains = [\"www.cdn.example.net\", \"c.cdn.example.net\"");
        let changes = changes(fixture::CONFIG, &format!("{text}\n{eu}"));
        let told: Vec<_> =
            changes.groups.iter().map(|group| (group.new_policy.as_str(), group.names.join(" "))).collect();
        assert_eq!(told, [("default", "edge.cdn.example.net".to_owned()), ("eu", "www.cdn.example.net".to_owned())]);
        let moved = |group: &Group| {
            let moved = group.moves[0].moved.iter();
            moved.map(|((from, to), amount)| format!("{from} {to} {amount}")).collect::<Vec<_>>()
        };
        assert_eq!(moved(&changes.groups[0]), [""; 0]);
        // Whoever is in Frankfurt (a /10) or New York (a /20).
        assert_eq!(moved(&changes.groups[1]), ["fra sin 4194304", "iad sin 4096"]);
        assert_eq!(changes.added, ["c.cdn.example.net"]);
        assert_eq!(changes.removed, ["a.b.cdn.example.net"]);
    }

    #[test]
    fn what_maps_do_not_say_is_told_by_key() {
        let with = |policy: &str| format!("{}\n[[policy]]\nname = \"default\"\n{policy}", fixture::CONFIG);
        let weighted = with("order = \"weighted\"\nweights = { fra = 1, iad = 1, sin = 1 }");
        let rows: [(&str, &str, &[&str]); 5] = [
            ("the same", "order = \"weighted\"\nweights = { fra = 1, iad = 1, sin = 1 }", &[]),
            ("weights", "order = \"weighted\"\nweights = { fra = 9, iad = 1, sin = 1 }", &["weights"]),
            ("pick", "order = \"weighted\"\nweights = { fra = 1, iad = 1, sin = 1 }\npick = \"sticky\"", &["pick"]),
            (
                "answers",
                "order = \"weighted\"\nweights = { fra = 1, iad = 1, sin = 1 }\nanswers = 2\nrotate = true",
                &["answers", "rotate"],
            ),
            ("nobody is equal", "order = \"failover\"\npops = [\"fra\", \"iad\"]", &["weights"]),
        ];
        for (name, policy, wanted) in rows {
            assert_eq!(changes(&weighted, &with(policy)).groups[0].keys[..], *wanted, "{name}");
        }
        let capacity = fixture::CONFIG.replace("name = \"fra\"", "name = \"fra\"\ncapacity = 7");
        assert_eq!(changes(fixture::CONFIG, &capacity).groups[0].keys, [""; 0], "no draw, no weight");
    }

    #[test]
    fn a_policy_that_no_name_has_gets_no_map() {
        let eu = "[[policy]]\nname = \"eu\"\norder = \"failover\"\npops = [\"sin\"]\n";
        let plain = mapped(fixture::CONFIG);
        let unused = mapped(&format!("{}\n{eu}", fixture::CONFIG));
        assert_eq!(unused.policies_used(), 1);
        assert_eq!(unused.maps().unwrap().size(), plain.maps().unwrap().size());
        assert!(unused.maps().unwrap().of(PolicyId(1)).is_none());
    }

    #[test]
    fn without_maps_there_is_nothing_to_tell() {
        let bare = fixture::view();
        assert_eq!((bare.changes(&mapped(fixture::CONFIG)), mapped(fixture::CONFIG).changes(&bare)), (None, None));
    }
}
