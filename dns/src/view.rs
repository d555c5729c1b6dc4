//! What the DNS knows, compiled once from the config and never changed: which name is where and what stands there.
//! A reload replaces it whole.
//!
//! ```text
//!   example.net            apex: SOA, NS; steered too, if a site has that very domain
//!   edge.example.net       steered, in every zone: what names outside the zones point a CNAME to
//!   fra.example.net        always PoP fra, for each PoP
//!   ns1.example.net        the addresses of its PoP
//!   www.shop.example.net   steered, since it is a site's domain
//!   shop.example.net       empty non-terminal: it exists, without data
//! ```
//!
//! When several of these claim one name, the first in this order has it: `edge`, PoP, name server, site (the config
//! refuses a site whose domain is one of the others'). A name belongs to the longest zone that holds it, so a zone within another needs no delegation.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nearcast_shared::config::{self, Config, Domain, PolicyId};
use nearcast_shared::geo::GeoDb;
use nearcast_shared::health::{FleetId, HealthTable};
use nearcast_shared::pop::{Pop, PopId};
use prometheus_client::metrics::counter::Counter;
use thiserror::Error;

use crate::map::Maps;
use crate::metrics::DnsMetrics;
use crate::name::{Lowered, Name, suffixes};
use crate::steering::Guide;

/// Everything that answers depend on but health.
#[derive(Debug)]
pub struct View {
    names: HashMap<Name, Node>,
    /// Labels of the longest name there is: what is longer need not be looked up.
    labels_max: usize,
    zones: Vec<Zone>,
    guide: Guide,
    /// What PoPs without addresses point to.
    cnames: Vec<Option<Name>>,
    fleet: FleetId,
    udp_size: u16,
    /// Steered answers, in the order of `pops`.
    steered: Vec<Counter>,
}

/// Why a config gives no view.
#[derive(Debug, Error)]
pub enum ViewError {
    /// A name that is made of a label and the zone's name is over 255 bytes.
    #[error("`{0}` is too long for a domain name; the zone's name must be shorter")]
    NameTooLong(String),
}

/// A zone's own records.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) apex: Name,
    /// Seconds, of every record.
    pub(crate) ttl: u32,
    pub(crate) soa: Soa,
    /// The NS set.
    pub(crate) nameservers: Vec<Name>,
}

/// RFC 1035 section 3.3.13. The timers are for secondaries, in seconds.
#[derive(Debug)]
pub(crate) struct Soa {
    pub(crate) primary: Name,
    pub(crate) contact: Name,
    pub(crate) serial: u32,
    pub(crate) refresh: u32,
    pub(crate) retry: u32,
    pub(crate) expire: u32,
    /// How long a negative answer is kept (RFC 2308 section 4).
    pub(crate) negative_ttl: u32,
}

/// What stands at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its zone, as an index.
    zone: usize,
    /// Whether it is the zone's own name, which has SOA and NS.
    pub(crate) apex: bool,
    pub(crate) target: Target,
}

/// Whose addresses a name has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nobody's.
    Nothing,
    /// Always this PoP's.
    Pop(PopId),
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
    /// Here.
    Node(&'v Zone, Node),
}

impl View {
    /// Compiles `config`; `metrics` gives each PoP its counter.
    ///
    /// # Errors
    /// When a zone's name is so long that names in it have no room.
    pub fn compile(config: &Config, geo: Arc<GeoDb>, metrics: &DnsMetrics) -> Result<Self, ViewError> {
        let mut names = Names { config, nodes: HashMap::new() };
        for (name, target) in claims(config) {
            names.add(&name, target)?;
        }
        Ok(Self {
            labels_max: names.nodes.keys().map(Name::labels).max().unwrap_or(0),
            names: names.nodes,
            zones: config.zones.iter().map(zone).collect::<Result<_, _>>()?,
            guide: Guide::new(config, geo),
            cnames: config
                .pops
                .iter()
                .map(|pop| pop.cname.as_deref().map(parse).transpose())
                .collect::<Result<_, _>>()?,
            fleet: FleetId::of(&config.pops),
            udp_size: config.dns.udp_size,
            steered: config.pops.iter().map(|pop| metrics.steered(&pop.name)).collect(),
        })
    }

    /// Makes the maps from which this view, and any that steers alike, can answer faster and with the widest scopes; gives
    /// up when `cancelled`. Takes seconds with a full City file; until they are given to [`View::use_maps`] every answer is
    /// worked out from the geo data.
    pub fn build_maps(&self, cancelled: &AtomicBool) -> Option<Arc<Maps>> {
        Maps::build(&self.guide, cancelled).map(Arc::new)
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

    /// Looks up a name as it came from the wire.
    pub(crate) fn find(&self, wire: &[u8]) -> Found<'_> {
        let lowered = Lowered::new(wire);
        if let Some(node) = self.names.get(lowered.wire()) {
            return Found::Node(&self.zones[node.zone], *node);
        }
        // Every name from a zone's own down to the existing ones is in the map: the first hit upward tells the zone.
        let surplus = suffixes(lowered.wire()).count().saturating_sub(self.labels_max);
        let above = suffixes(lowered.wire()).skip(surplus.max(1)).find_map(|suffix| self.names.get(suffix));
        above.map_or(Found::Outside, |node| Found::NoName(&self.zones[node.zone]))
    }

    /// The addresses that never change of one of our own names; nothing for a steered one.
    pub(crate) fn glue(&self, name: &Name) -> &[IpAddr] {
        match self.names.get(name).map(|node| node.target) {
            Some(Target::Pop(pop)) => &self.pop(pop).addresses,
            Some(Target::Nothing | Target::Steered(_)) | None => &[],
        }
    }

    /// `table` in the order of this view's PoPs; it may be that of the config before or after.
    pub(crate) fn health<'t>(&self, table: &'t HealthTable) -> Cow<'t, HealthTable> {
        table.seen_by(self.fleet, self.guide.pops())
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

    /// Bytes of the largest UDP answer.
    pub(crate) fn udp_size(&self) -> u16 {
        self.udp_size
    }

    /// Counts the answers that sent a client to this PoP.
    pub(crate) fn steered_counter(&self, pop: PopId) -> &Counter {
        &self.steered[pop.index()]
    }

    /// The first zone's name, for hints to people.
    pub(crate) fn first_zone(&self) -> Option<&Name> {
        self.zones.first().map(|zone| &zone.apex)
    }
}

/// Every name that should exist and what it should have, the strongest claim first.
fn claims(config: &Config) -> impl Iterator<Item = (String, Target)> {
    let zones = || config.zones.iter();
    let edges = zones().map(|zone| {
        let steered = Steered { policy: zone.policy, site: None, ecs: zone.ecs };
        (format!("edge.{}", zone.name), Target::Steered(steered))
    });
    let pops = zones().flat_map(|zone| {
        let ids = (0..).map(|index| Target::Pop(PopId(index)));
        config.pops.iter().zip(ids).map(|(pop, target)| (format!("{}.{}", pop.name, zone.name), target))
    });
    let nameservers = zones().flat_map(|zone| &zone.nameservers);
    let nameservers = nameservers.filter_map(|server| Some((server.name.clone(), Target::Pop(server.glue?))));
    let ecs_of = |name: &str| config.zone_of(name).is_none_or(|zone| zone.ecs);
    let domains = config.sites.iter().enumerate().flat_map(move |(site, of)| {
        of.domains.iter().filter_map(move |domain| match domain {
            Domain::Name(name) => {
                let steered = Steered { policy: of.policy, site: Some(site), ecs: of.ecs && ecs_of(name) };
                Some((name.clone(), Target::Steered(steered)))
            }
            Domain::Any => None,
        })
    });
    let named = zones().flat_map(move |zone| {
        zone.steered.iter().map(move |name| {
            let ecs = zone.ecs && name.site.is_none_or(|site| config.sites[site].ecs);
            (name.name.clone(), Target::Steered(Steered { policy: name.policy, site: name.site, ecs }))
        })
    });
    let apexes = zones().map(|zone| (zone.name.clone(), Target::Nothing));
    edges.chain(pops).chain(nameservers).chain(domains).chain(named).chain(apexes)
}

fn zone(zone: &config::Zone) -> Result<Zone, ViewError> {
    let primary = zone.nameservers.first().map_or(&zone.name, |server| &server.name);
    Ok(Zone {
        apex: parse(&zone.name)?,
        ttl: zone.ttl,
        soa: Soa {
            primary: parse(primary)?,
            contact: parse(&zone.contact)?,
            serial: zone.serial,
            // RIPE-203's recommendation for small and stable zones.
            refresh: 86_400,
            retry: 7_200,
            expire: 3_600_000,
            negative_ttl: zone.negative_ttl,
        },
        nameservers: zone.nameservers.iter().map(|server| parse(&server.name)).collect::<Result<_, _>>()?,
    })
}

fn parse(text: &str) -> Result<Name, ViewError> {
    Name::parse(text).ok_or_else(|| ViewError::NameTooLong(text.to_owned()))
}

/// The map while it is being filled.
struct Names<'c> {
    config: &'c Config,
    nodes: HashMap<Name, Node>,
}

impl Names<'_> {
    /// Adds a name, if it is in one of our zones, and the empty ones between it and the top of our zones.
    fn add(&mut self, name: &str, target: Target) -> Result<(), ViewError> {
        let mut next = Some((name, target));
        while let Some((name, target)) = next {
            let Some(zone) = self.zone_index(name) else { return Ok(()) };
            let node = Node { zone, apex: self.config.zones[zone].name == name, target };
            match self.nodes.entry(parse(name)?) {
                Entry::Vacant(vacant) => drop(vacant.insert(node)),
                Entry::Occupied(mut taken) if taken.get().target == Target::Nothing => taken.get_mut().target = target,
                Entry::Occupied(_) => {}
            }
            next = name.split_once('.').map(|(_, above)| (above, Target::Nothing));
        }
        Ok(())
    }

    fn zone_index(&self, name: &str) -> Option<usize> {
        let zone = self.config.zone_of(name)?;
        self.config.zones.iter().position(|other| other.name == zone.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    const TWO_ZONES: &str = r#"
        [[pop]]
        name = "fra"
        addresses = ["192.0.2.10"]
        [[pop]]
        name = "iad"
        addresses = ["198.51.100.10", "2001:db8:2::10"]
        [[zone]]
        name = "example.net"
        nameservers = ["ns1.example.net", "ns.deep.cdn.example.net", "ns.elsewhere.example"]
        [[zone]]
        name = "x.cdn.example.net"
        nameservers = ["fra.example.net"]
        [[site]]
        domains = ["x.cdn.example.net", "www.shop.example.net", "static.example.com"]
        origin = "http://origin.example.com"
        [[site]]
        domains = ["*"]
        origin = "http://other.example.com"
    "#;

    /// The inner zone's name server is said to be at `iad`, though its name is that of PoP `fra`.
    fn two_zones() -> View {
        let mut config = fixture::config(TWO_ZONES, "fra");
        config.zones[1].nameservers[0].glue = Some(PopId(1));
        fixture::compile(&config)
    }

    fn found(view: &View, name: &str) -> String {
        match view.find(Name::parse(name).unwrap().wire()) {
            Found::Outside => "outside".to_owned(),
            Found::NoName(zone) => format!("no name in {}", zone.apex),
            Found::Node(zone, node) => {
                let apex = if node.apex { " apex" } else { "" };
                let target = match node.target {
                    Target::Steered(_) => "Steered".to_owned(),
                    other => format!("{other:?}"),
                };
                format!("{target} in {}{apex}", zone.apex)
            }
        }
    }

    #[test]
    fn where_names_are() {
        let view = two_zones();
        let rows = [
            ("apex", "example.net", "Nothing in example.net apex"),
            ("apex of the inner zone, also a site", "x.cdn.example.net", "Steered in x.cdn.example.net apex"),
            ("edge", "edge.example.net", "Steered in example.net"),
            ("inner edge", "edge.x.cdn.example.net", "Steered in x.cdn.example.net"),
            ("letter case", "EDGE.Example.NET", "Steered in example.net"),
            ("PoP", "iad.example.net", "Pop(PopId(1)) in example.net"),
            ("PoP beats name server", "fra.example.net", "Pop(PopId(0)) in example.net"),
            ("name server", "ns1.example.net", "Pop(PopId(0)) in example.net"),
            ("name server of another PoP", "ns.deep.cdn.example.net", "Pop(PopId(1)) in example.net"),
            ("site", "www.shop.example.net", "Steered in example.net"),
            ("empty non-terminal above a site", "shop.example.net", "Nothing in example.net"),
            ("empty non-terminal above a name server", "deep.cdn.example.net", "Nothing in example.net"),
            ("empty non-terminal above the inner zone", "cdn.example.net", "Nothing in example.net"),
            ("missing", "nothing.example.net", "no name in example.net"),
            ("missing in the inner zone", "a.b.c.d.e.f.x.cdn.example.net", "no name in x.cdn.example.net"),
            ("missing below a site", "a.www.shop.example.net", "no name in example.net"),
            ("site outside", "static.example.com", "outside"),
            ("name server outside", "ns.elsewhere.example", "outside"),
            ("above the zones", "net", "outside"),
            ("not a suffix by label", "badexample.net", "outside"),
        ];
        for (name, given, wanted) in rows {
            assert_eq!(found(&view, given), wanted, "{name}");
        }
        assert!(matches!(view.find(&[0]), Found::Outside), "the root");
    }

    #[test]
    fn glue_is_what_the_name_itself_answers() {
        let view = two_zones();
        let glue = |name: &str| view.glue(&Name::parse(name).unwrap()).len();
        assert_eq!(glue("ns.deep.cdn.example.net"), 2);
        assert_eq!(glue("fra.example.net"), 1);
        assert_eq!(glue("ns.elsewhere.example"), 0);
        assert_eq!(glue("www.shop.example.net"), 0);
    }

    #[test]
    fn a_zone_without_room_for_names_is_refused() {
        let long = ["abcdefghi"; 24].join(".");
        let text = TWO_ZONES.replace("\"x.cdn.example.net\"\n", &format!("\"{long}\"\ncontact = \"me.example\"\n"));
        let config = fixture::config(&text, "fra");
        let made = View::compile(&config, Arc::new(GeoDb::empty()), &fixture::metrics());
        assert!(made.is_ok(), "edge. still fits");
        let text = text.replace("name = \"iad\"", "name = \"a-very-long-name-indeed\"");
        let made = View::compile(&fixture::config(&text, "fra"), Arc::new(GeoDb::empty()), &fixture::metrics());
        assert!(matches!(made, Err(ViewError::NameTooLong(name)) if name.starts_with("a-very-long-name-indeed.")));
    }
}
