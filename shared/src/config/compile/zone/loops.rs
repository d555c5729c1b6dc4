//! CNAMEs that lead back to themselves, through any of our zones: whoever asks for such a name learns nothing. Pure.

use std::collections::{HashMap, HashSet};

use super::super::super::mistake::Place;
use super::Placed;
use super::checks::Claim;
use crate::name::{Name, suffixes};
use crate::rtype;

/// Names that a message shows.
const SHOWN_MAX: usize = 8;

/// A CNAME.
struct Alias {
    place: Place,
    owner: Name,
    target: Name,
}

/// By owner.
type Links<'a> = HashMap<&'a [u8], &'a Alias>;

/// Every name of the zones, with what its CNAME points to.
#[derive(Default)]
pub(super) struct Aliases {
    /// In the order of the zones.
    aliases: Vec<Alias>,
    /// What exists (RFC 4592 section 2.2.2): no wildcard stands for it.
    names: HashSet<Name>,
}

impl Aliases {
    /// Takes note of a zone's records and claims.
    pub(super) fn add(&mut self, placed: &Placed, claims: &[Claim]) {
        let owners = placed.iter().map(|(_, record)| &record.name);
        for name in owners.chain(claims.iter().map(|claim| &claim.name)) {
            let mut next = Some(name.clone());
            while let Some(name) = next.take().filter(|name| !self.names.contains(name)) {
                next = name.parent();
                self.names.insert(name);
            }
        }
        let cnames = placed.iter().filter(|(_, record)| record.rtype == rtype::CNAME);
        self.aliases.extend(cnames.filter_map(|(place, record)| {
            let target = Name::from_wire(&record.rdata)?;
            Some(Alias { place: place.clone(), owner: record.name.clone(), target })
        }));
    }

    /// Each loop once: the place of one of its CNAMEs, and what to tell.
    pub(super) fn loops(&self) -> Vec<(Place, String)> {
        // Of several at one name, which is a mistake of its own, the first counts.
        let links: Links<'_> = self.aliases.iter().rev().map(|alias| (alias.owner.wire(), alias)).collect();
        let mut done: HashSet<&[u8]> = HashSet::new();
        let mut loops = Vec::new();
        for start in &self.aliases {
            let mut path: Vec<&Alias> = Vec::new();
            let mut positions: HashMap<&[u8], usize> = HashMap::new();
            let mut next = links.get(start.owner.wire()).copied();
            while let Some(alias) = next.filter(|alias| !done.contains(alias.owner.wire())) {
                if let Some(first) = positions.insert(alias.owner.wire(), path.len()) {
                    loops.push(told(&path[first..]));
                    break;
                }
                path.push(alias);
                next = self.at(&alias.target, &links);
            }
            done.extend(path.iter().map(|alias| alias.owner.wire()));
        }
        loops
    }

    /// The CNAME at a name: its own, or that of the wildcard which stands for it (RFC 4592 section 3.3.1).
    fn at<'a>(&self, name: &Name, links: &Links<'a>) -> Option<&'a Alias> {
        if self.names.contains(name) {
            return links.get(name.wire()).copied();
        }
        let encloser = suffixes(name.wire()).find(|suffix| self.names.contains(*suffix))?;
        links.get([b"\x01*", encloser].concat().as_slice()).copied()
    }
}

fn told(around: &[&Alias]) -> (Place, String) {
    let Alias { place, owner, .. } = around[0];
    let mut targets: Vec<&Name> = around.iter().map(|alias| &alias.target).collect();
    // A loop through a wildcard ends at a name that it stands for.
    targets.pop_if(|last| *last == owner);
    if targets.is_empty() {
        return (place.clone(), format!("{owner} is a CNAME to itself"));
    }
    let mut shown: Vec<String> = targets.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if targets.len() > SHOWN_MAX {
        shown.push("..".to_owned());
    }
    (place.clone(), format!("{owner} is a CNAME that leads back to itself, by way of {}", shown.join(", ")))
}
