//! From the config to names and what stands there.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use nearcast_shared::config::{self, Config, Domain, Record};
use nearcast_shared::pop::{Pop, PopId};
use nearcast_shared::rtype;

use super::{Names, Node, RrSet, Steered, Target, ViewError, Zone};
use crate::name::{Name, suffixes};

/// The zones in the config's order, and every name in them.
pub(super) fn compile(config: &Config) -> Result<(Vec<Zone>, Names), ViewError> {
    let zones = config.zones.iter().map(|zone| self::zone(zone, &config.zones)).collect();
    let by_apex = (0..).zip(&config.zones).map(|(index, zone)| (zone.apex.wire(), index)).collect();
    let mut names = Filling { zones: &config.zones, by_apex, nodes: Names::default() };
    for zone in &config.zones {
        names.make(&zone.apex);
        for record in &zone.records {
            names.add(zone, record);
        }
    }
    for (name, zone, claim) in claims(config) {
        let name = Name::parse(&name).ok_or(ViewError::NameTooLong(name))?;
        names.claim(&name, zone, claim, config);
    }
    names.find_wildcards();
    names.find_cuts();
    Ok((zones, names.nodes))
}

fn zone(zone: &config::Zone, all: &[config::Zone]) -> Zone {
    let above = all.iter().enumerate().filter(|(_, other)| other.name != zone.name && other.holds(&zone.name));
    let soa = zone.soa();
    let minimum = soa.last_chunk().map_or(zone.ttl, |bytes| u32::from_be_bytes(*bytes));
    let ttl = zone.at_apex(rtype::SOA).next().map_or(zone.ttl, |record| record.ttl);
    Zone {
        apex: zone.apex.clone(),
        ttl: zone.ttl,
        serial: zone.serial,
        soa: RrSet::new(rtype::SOA, ttl, [soa]),
        // RFC 2308 section 3: "[..] the TTL of this record is set from the minimum of the MINIMUM field of the SOA record
        // and the TTL of the SOA itself".
        negative_ttl: ttl.min(minimum),
        parent: above.max_by_key(|(_, other)| other.name.len()).map(|(index, _)| index),
        keys: None,
    }
}

/// Whose addresses a name has.
#[derive(Clone, Copy)]
enum Claim {
    Pop(PopId),
    Steered(Steered),
}

/// Every name that has addresses of PoPs, the strongest claim first, with its zone.
fn claims(config: &Config) -> impl Iterator<Item = (String, &config::Zone, Claim)> {
    let zones = || config.zones.iter();
    let edges = zones().map(|zone| {
        let steered = Steered { policy: zone.policy, site: None, ecs: zone.ecs };
        (format!("edge.{}", zone.name), zone, Claim::Steered(steered))
    });
    let pops = zones().flat_map(|zone| {
        let ids = (0..).map(|index| Claim::Pop(PopId(index)));
        config.pops.iter().zip(ids).map(move |(pop, claim)| (format!("{}.{}", pop.name, zone.name), zone, claim))
    });
    let nameservers = zones().flat_map(|zone| zone.nameservers.iter().map(move |server| (zone, server)));
    let nameservers =
        nameservers.filter_map(|(zone, server)| Some((server.name.clone(), zone, Claim::Pop(server.glue?))));
    let domains = config.sites.iter().enumerate().flat_map(move |(site, of)| {
        of.domains.iter().filter_map(move |domain| match domain {
            Domain::Name(name) => {
                let zone = config.zone_of(name)?;
                let steered = Steered { policy: of.policy, site: Some(site), ecs: of.ecs && zone.ecs };
                Some((name.clone(), zone, Claim::Steered(steered)))
            }
            Domain::Any => None,
        })
    });
    let named = zones().flat_map(move |zone| {
        zone.steered.iter().map(move |name| {
            let ecs = zone.ecs && name.site.is_none_or(|site| config.sites[site].ecs);
            let steered = Steered { policy: name.policy, site: name.site, ecs };
            (name.name.clone(), zone, Claim::Steered(steered))
        })
    });
    edges.chain(pops).chain(nameservers).chain(domains).chain(named)
}

/// The map while it is being filled.
struct Filling<'c> {
    zones: &'c [config::Zone],
    /// Their positions.
    by_apex: HashMap<&'c [u8], usize>,
    nodes: Names,
}

impl Filling<'_> {
    /// The longest zone that holds the name, as an index.
    fn zone_of(&self, name: &Name) -> Option<usize> {
        suffixes(name.wire()).find_map(|suffix| self.by_apex.get(suffix).copied())
    }

    /// Sees to it that the name and those between it and the top of our zones exist (RFC 4592 section 2.2.2). `None` when
    /// it is in no zone of ours.
    fn make(&mut self, name: &Name) -> Option<&mut Node> {
        let mut missing = Some(name.clone());
        while let Some(name) = missing.take().filter(|name| !self.nodes.contains_key(name)) {
            let Some(zone) = self.zone_of(&name) else { break };
            let node = Node {
                zone,
                apex: self.zones[zone].apex == name,
                target: Target::Nothing,
                sets: Vec::new(),
                parental: None,
                cut: None,
                above_wildcard: false,
                wildcard: name.is_wildcard(),
            };
            missing = name.parent();
            self.nodes.insert(name, node);
        }
        self.nodes.get_mut(name)
    }

    fn add(&mut self, zone: &config::Zone, record: &Record) {
        let own = self.zone_of(&record.name).is_some_and(|index| self.zones[index].apex == zone.apex);
        let Some(node) = self.make(&record.name) else { return };
        let set = || RrSet::new(record.rtype, record.ttl, []);
        let set = match (own, record.rtype) {
            // Of a zone of ours within this one the config leaves nothing else here.
            (false, rtype::DS) => node.parental.get_or_insert_with(set),
            (false, _) => return,
            (true, rtype) => {
                let at = node.sets.iter().position(|set| set.rtype == rtype).unwrap_or_else(|| {
                    node.sets.push(set());
                    node.sets.len() - 1
                });
                &mut node.sets[at]
            }
        };
        set.push(&record.rdata);
    }

    /// Gives the name its addresses, unless something stronger has it.
    fn claim(&mut self, name: &Name, zone: &config::Zone, claim: Claim, config: &Config) {
        let Some(node) = self.make(name) else { return };
        let taken = [rtype::A, rtype::AAAA, rtype::CNAME].iter().any(|rtype| node.set(*rtype).is_some());
        if taken || node.target != Target::Nothing {
            return;
        }
        match claim {
            Claim::Steered(steered) => node.target = Target::Steered(steered),
            Claim::Pop(pop) => node.sets.extend(own_sets(&config.pops[pop.index()], zone.ttl)),
        }
    }

    fn find_wildcards(&mut self) {
        let wildcards = self.nodes.keys().filter(|name| name.is_wildcard());
        let enclosers: Vec<Name> = wildcards.filter_map(Name::parent).collect();
        for encloser in enclosers {
            if let Some(node) = self.nodes.get_mut(&encloser) {
                node.above_wildcard = true;
            }
        }
    }

    fn find_cuts(&mut self) {
        let is_cut = |node: &Node| !node.apex && node.set(rtype::NS).is_some();
        let cuts: HashSet<Name> =
            self.nodes.iter().filter(|(_, node)| is_cut(node)).map(|(name, _)| name.clone()).collect();
        if cuts.is_empty() {
            return;
        }
        let topmost = |name: &Name, zone: &Name| {
            let inside = suffixes(name.wire()).take_while(|suffix| *suffix != zone.wire());
            inside.filter_map(|suffix| cuts.get(suffix)).last().cloned()
        };
        for (name, node) in &mut self.nodes {
            node.cut = topmost(name, &self.zones[node.zone].apex);
        }
    }
}

/// What a PoP's name and its name server's have.
fn own_sets(pop: &Pop, ttl: u32) -> Vec<RrSet> {
    if let Some(cname) = pop.cname.as_ref().and_then(|cname| Name::parse(cname)) {
        return vec![RrSet::new(rtype::CNAME, ttl, [cname.wire()])];
    }
    let (mut v4, mut v6) = (RrSet::new(rtype::A, ttl, []), RrSet::new(rtype::AAAA, ttl, []));
    for address in &pop.addresses {
        match address {
            IpAddr::V4(address) => v4.push(&address.octets()),
            IpAddr::V6(address) => v6.push(&address.octets()),
        }
    }
    [v4, v6].into_iter().filter(|set| set.len() > 0).collect()
}
