//! What the DNS knows, compiled once from the config and never changed: which name is where and what stands there.
//! A reload replaces it whole.
//!
//! ```text
//!   example.net            apex: SOA, NS and whatever the zone's records have; steered too, if a site has that very domain
//!   edge.example.net       steered, in every zone: what names outside the zones point a CNAME to
//!   fra.example.net        always PoP fra, for each PoP
//!   ns1.example.net        the addresses of its PoP, if the config names it
//!   www.shop.example.net   steered, since it is a site's domain; its MX, TXT and the like are the zone's records
//!   shop.example.net       empty non-terminal: it exists, without data
//!   *.example.net          whatever has no better match (RFC 4592)
//!   far.example.net        a delegation, if the zone's records have NS there: what is below is somebody else's
//! ```
//!
//! When several claim one name's addresses, the first in this order has it: `edge`, PoP, name server, site (the config
//! refuses most of that). A name belongs to the longest zone that holds it, so a zone within another needs no delegation.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use ipnet::IpNet;
use nearcast_shared::config::{Config, PolicyId};
use nearcast_shared::geo::GeoDb;
use nearcast_shared::health::{FleetId, HealthTable};
use nearcast_shared::pop::{Pop, PopId};
use thiserror::Error;

use crate::dnssec::{Keys, ZoneKeys};
use crate::map::Maps;
use crate::metrics::{Cause, CauseCounters, Counter, DnsMetrics};
use crate::name::{Lowered, Name, suffixes};
use crate::steering::Guide;

mod compile;
mod rrset;
mod serial;

pub(crate) use rrset::RrSet;

/// What stands where. Hashed fast: names in it are the operator's, so nobody can choose them to collide.
pub(crate) type Names = HashMap<Name, Node, foldhash::fast::RandomState>;

/// Everything that answers depend on but health.
#[derive(Debug)]
pub struct View {
    names: Names,
    /// Labels of the longest name there is: what is longer need not be looked up.
    labels_max: usize,
    zones: Vec<Zone>,
    keys: Keys,
    guide: Guide,
    /// What PoPs without addresses point to.
    cnames: Vec<Option<Name>>,
    fleet: FleetId,
    udp_size: u16,
    /// By site of the config: whether its names have HTTPS records.
    https_records: Vec<bool>,
    /// By PoP: where it listens for TLS.
    https_ports: Vec<Option<u16>>,
    /// Steered answers, in the order of `pops`.
    steered: Vec<CauseCounters>,
    /// Who may ask why.
    explain_to: Vec<IpNet>,
}

/// Why a config gives no view.
#[derive(Debug, Error)]
pub enum ViewError {
    /// A name that is made of a label and the zone's name is over 255 bytes.
    #[error("`{0}` is too long for a domain name; the zone's name must be shorter")]
    NameTooLong(String),
}

/// What holds for all of a zone.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) apex: Name,
    /// Seconds, of steered answers.
    pub(crate) ttl: u32,
    /// The SOA's serial.
    pub(crate) serial: u32,
    pub(crate) soa: RrSet,
    /// Seconds that resolvers keep a negative answer (RFC 2308 section 5).
    pub(crate) negative_ttl: u32,
    /// The zone of ours that this one lies in, as an index.
    parent: Option<usize>,
    /// What its answers are signed with.
    pub(crate) keys: Option<Arc<ZoneKeys>>,
}

impl Zone {
    pub(crate) fn is_signed(&self) -> bool {
        self.keys.is_some()
    }
}

/// What stands at a name.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its zone, as an index.
    zone: usize,
    /// Whether it is the zone's own name.
    pub(crate) apex: bool,
    /// Whose addresses it has beside `sets`.
    pub(crate) target: Target,
    /// What it has for everyone, by type.
    sets: Vec<RrSet>,
    /// At a zone's own name: its DS set, which is the parent zone's (RFC 4035 section 3.1.4.1).
    parental: Option<RrSet>,
    /// The delegation at this name or above it, the topmost.
    cut: Option<Name>,
    /// Whether it is the closest encloser of a wildcard.
    above_wildcard: bool,
    /// Whether its first label is the asterisk.
    wildcard: bool,
}

/// Whose addresses a name has that depend on who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nobody's: what it has, everyone gets.
    Nothing,
    /// Those of the PoP that steering chooses.
    Steered(Steered),
}

/// How the PoP of a name is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steered {
    pub(crate) policy: PolicyId,
    /// The site behind the name, as an index into the config's: PoPs that do not reach its origin are passed over.
    pub(crate) site: Option<usize>,
    /// Whether the client's subnet counts.
    pub(crate) ecs: bool,
}

/// Where a name is.
#[derive(Debug)]
pub(crate) enum Found<'v> {
    /// In none of our zones.
    Outside,
    /// In this zone, where it does not exist.
    NoName(&'v Zone),
    /// At or below a delegation of this zone.
    Delegated(&'v Zone, Delegation<'v>),
    /// Here, or a wildcard stands for it.
    Node(&'v Zone, &'v Node),
}

/// Where a zone hands over.
#[derive(Debug)]
pub(crate) struct Delegation<'v> {
    /// The name that is delegated.
    pub(crate) cut: &'v Name,
    /// What stands there.
    pub(crate) node: &'v Node,
    /// Whether it is that very name that was looked up.
    pub(crate) exact: bool,
}

impl Node {
    /// What it has of that type.
    pub(crate) fn set(&self, rtype: u16) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    /// The DS set that the parent zone has for it.
    pub(crate) fn parental(&self) -> Option<&RrSet> {
        self.parental.as_ref()
    }

    /// How the PoP of the name is chosen, if it is steered.
    fn steered(&self) -> Option<Steered> {
        match self.target {
            Target::Steered(steered) if self.cut.is_none() => Some(steered),
            Target::Steered(_) | Target::Nothing => None,
        }
    }

    /// The types of its own sets.
    pub(crate) fn types(&self) -> impl Iterator<Item = u16> {
        self.sets.iter().map(|set| set.rtype)
    }

    /// Whether its zone hands over at or above it.
    pub(crate) fn is_delegated(&self) -> bool {
        self.cut.is_some()
    }

    /// Whether it stands for the names that have no better match (RFC 4592).
    pub(crate) fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Whether it exists only because of names below it.
    pub(crate) fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.target == Target::Nothing
    }
}

impl View {
    /// Compiles `config`; `metrics` gives each PoP its counter.
    ///
    /// # Errors
    /// When a zone's name is so long that names in it have no room.
    pub fn compile(config: &Config, geo: Arc<GeoDb>, metrics: &DnsMetrics) -> Result<Self, ViewError> {
        let (zones, names) = compile::compile(config)?;
        let used = names.values().filter_map(Node::steered).map(|steered| steered.policy).collect();
        Ok(Self {
            labels_max: names.keys().map(Name::labels).max().unwrap_or(0),
            names,
            zones,
            keys: Keys::default(),
            guide: Guide::new(config, geo, &used),
            cnames: config.pops.iter().map(|pop| pop.cname.as_deref().and_then(Name::parse)).collect(),
            fleet: FleetId::of(&config.pops),
            https_records: config.sites.iter().map(|site| site.https_record).collect(),
            https_ports: config.https_ports.clone(),
            udp_size: config.dns.udp_size,
            steered: config.pops.iter().map(|pop| metrics.steered(&pop.name)).collect(),
            explain_to: config.explain_to.clone(),
        })
    }

    /// The same, with zones signed by `keys`.
    #[must_use]
    pub fn with_keys(mut self, keys: Keys) -> Self {
        for zone in &mut self.zones {
            zone.keys = keys.of(&zone.apex).cloned();
        }
        Self { keys, ..self }
    }

    /// What its zones are signed with.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Makes the maps from which this view, and any that steers alike, can answer faster and with the widest scopes; gives
    /// up when `cancelled`. Takes seconds with a full City file; until they are given to [`View::use_maps`] every answer is
    /// worked out from the geo data.
    pub fn build_maps(&self, cancelled: &AtomicBool) -> Option<Arc<Maps>> {
        Maps::build(&self.guide, cancelled).map(Arc::new)
    }

    /// The same; `done` counts the prefixes of the geo data as they are done with, once for each policy.
    pub fn build_maps_counting(&self, cancelled: &AtomicBool, done: &AtomicU64) -> Option<Arc<Maps>> {
        Maps::build_counting(&self.guide, cancelled, done).map(Arc::new)
    }

    /// Answers from `maps` from now on; they must have been made by this view or one that steers alike.
    pub fn use_maps(&self, maps: Arc<Maps>) {
        self.guide.set_maps(maps);
    }

    /// The maps in use.
    pub fn maps(&self) -> Option<&Arc<Maps>> {
        self.guide.maps()
    }

    /// Whether maps made for `other` are true for this view: same PoPs, policies and geo data.
    pub fn steers_like(&self, other: &Self) -> bool {
        self.guide.is_alike(&other.guide)
    }

    /// Looks up a name in lower case, on the wire (RFC 1034 section 4.3.2, RFC 4592 section 3.3.1).
    pub(crate) fn find(&self, name: &[u8]) -> Found<'_> {
        if let Some(node) = self.names.get(name) {
            return self.at(node, name);
        }
        // Every name from a zone's own down to the existing ones is in the map: the first hit upward is the closest
        // encloser and tells the zone.
        let surplus = suffixes(name).count().saturating_sub(self.labels_max);
        let above = suffixes(name).skip(surplus.max(1));
        let Some((encloser, node)) = above.filter_map(|suffix| Some((suffix, self.names.get(suffix)?))).next() else {
            return Found::Outside;
        };
        let zone = &self.zones[node.zone];
        if node.cut.is_some() {
            return self.at(node, name);
        }
        if node.above_wildcard
            && let Some(wildcard) = self.names.get([b"\x01*", encloser].concat().as_slice())
            && wildcard.cut.is_none()
        {
            return Found::Node(zone, wildcard);
        }
        Found::NoName(zone)
    }

    fn at<'v>(&'v self, node: &'v Node, wire: &[u8]) -> Found<'v> {
        let zone = &self.zones[node.zone];
        let Some(cut) = &node.cut else { return Found::Node(zone, node) };
        let at_cut = self.names.get(cut).unwrap_or(node);
        Found::Delegated(zone, Delegation { cut, node: at_cut, exact: cut.wire() == wire })
    }

    /// What everyone gets of that type at a name of ours, also below a delegation: for the additional section.
    pub(crate) fn set_at(&self, wire: &[u8], rtype: u16) -> Option<(&Name, &RrSet)> {
        let lowered = Lowered::new(wire);
        let (name, node) = self.names.get_key_value(lowered.wire())?;
        Some((name, node.set(rtype)?))
    }

    /// The zone that has the node.
    pub(crate) fn zone_of(&self, node: &Node) -> &Zone {
        &self.zones[node.zone]
    }

    /// The zone of ours that `zone` lies in.
    pub(crate) fn parent_of(&self, zone: &Zone) -> Option<&Zone> {
        zone.parent.map(|parent| &self.zones[parent])
    }

    /// `table` in the order of this view's PoPs; it may be that of the config before or after.
    pub(crate) fn health<'t>(&self, table: &'t HealthTable) -> Cow<'t, HealthTable> {
        table.seen_by(self.fleet, self.guide.pops())
    }

    /// All names that are steered, and how.
    pub(crate) fn steered_names(&self) -> impl Iterator<Item = (&Name, Steered)> {
        self.names.iter().filter_map(|(name, node)| Some((name, node.steered()?)))
    }

    /// Policies by which names are steered: so many maps are made.
    pub fn policies_used(&self) -> usize {
        self.guide.policies().iter().filter(|compiled| compiled.used).count()
    }

    /// What steering goes by.
    pub(crate) fn guide(&self) -> &Guide {
        &self.guide
    }

    /// The fleet, in the configured order.
    #[cfg(test)]
    pub(crate) fn pops(&self) -> &[Pop] {
        self.guide.pops()
    }

    /// One PoP of the fleet.
    pub(crate) fn pop(&self, id: PopId) -> &Pop {
        &self.guide.pops()[id.index()]
    }

    /// What the PoP points to instead of having addresses.
    pub(crate) fn cname(&self, id: PopId) -> Option<&Name> {
        self.cnames[id.index()].as_ref()
    }

    /// Whether a name of that site, by its position in the config, has an HTTPS record.
    pub(crate) fn has_https_record(&self, site: Option<usize>) -> bool {
        site.and_then(|site| self.https_records.get(site)).is_some_and(|has| *has)
    }

    /// Where the PoP listens for TLS.
    pub(crate) fn https_port(&self, pop: PopId) -> Option<u16> {
        self.https_ports.get(pop.index()).copied().flatten()
    }

    /// Bytes of the largest UDP answer.
    pub(crate) fn udp_size(&self) -> u16 {
        self.udp_size
    }

    /// Counts the answers that sent a client to this PoP for that reason.
    pub(crate) fn steered_counter(&self, pop: PopId, cause: Cause) -> &Counter {
        &self.steered[pop.index()][cause as usize]
    }

    /// Whether whoever asks from there may know why clients are answered what they are.
    pub(crate) fn may_explain_to(&self, resolver: IpAddr) -> bool {
        self.explain_to.iter().any(|network| network.contains(&resolver))
    }

    /// The first zone's name, for hints to people.
    pub(crate) fn first_zone(&self) -> Option<&Name> {
        self.zones.first().map(|zone| &zone.apex)
    }
}

#[cfg(test)]
mod tests;
