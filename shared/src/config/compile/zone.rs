//! Zones: their own keys, and their records from both the zone file and the TOML.

use std::path::Path;

use toml::Spanned;

use self::checks::{Claim, Finding, Grounds, Kind, Severity};
use self::loops::Aliases;
use super::super::file::{self, Nameserver as NameserverEntry};
use super::super::mistake::Place;
use super::super::zonefile;
use super::super::{Domain, Nameserver, Policy, PolicyId, Record, Site, Zone};
use super::{Compiler, id_of, span_of};
use crate::name::Name;
use crate::pop::Pop;
use crate::rtype;

mod checks;
mod loops;

/// Seconds, of the SOA's refresh, retry and expire: RIPE-203's recommendation for small and stable zones.
const SOA_TIMERS: [u32; 3] = [86_400, 7_200, 3_600_000];

/// Records with their places.
pub(super) type Placed = Vec<(Place, Record)>;

impl Compiler<'_> {
    /// A zone without its records, which need all the rest of the config to be judged.
    pub(super) fn zone(&mut self, entry: &Spanned<file::Zone>, pops: &[Pop]) -> Zone {
        let (span, zone) = (Some(entry.span()), entry.get_ref());
        let name = self.required(span, "zone.name", zone.name.as_ref(), "such as \"cdn.example.net\"");
        let name = name.and_then(|name| self.dns_name("zone.name", name)).unwrap_or_default();
        let mut made = Zone {
            apex: Name::parse(&name).unwrap_or_else(Name::root),
            nameservers: Vec::new(),
            ttl: self.number("zone.ttl", &zone.ttl, 1..=604_800, 30),
            serial: self.number("zone.serial", &zone.serial, 0..=u32::MAX, 1),
            policy: PolicyId(0),
            ecs: zone.ecs.unwrap_or(true),
            dnssec: zone.dnssec.unwrap_or(false),
            steered: Vec::new(),
            records: Vec::new(),
            warnings: Vec::new(),
            name,
        };
        for (position, entry) in zone.nameservers.iter().flatten().enumerate() {
            let Some(nameserver) = self.nameserver(entry, position, &made, pops) else { continue };
            made.nameservers.push(nameserver);
        }
        made
    }

    fn nameserver(
        &mut self,
        entry: &Spanned<NameserverEntry>,
        position: usize,
        zone: &Zone,
        pops: &[Pop],
    ) -> Option<Nameserver> {
        let (key, span) = ("zone.nameservers", entry.span());
        let (name, pop) = match entry.get_ref() {
            NameserverEntry::Name(name) => (Some(name), None),
            NameserverEntry::Table(table) => (table.name.as_ref(), table.pop.as_ref()),
        };
        let name = name.map(|name| Spanned::new(span.clone(), name.clone()));
        let name = self.required(Some(span.clone()), key, name.as_ref(), "its name")?.clone();
        let name = self.dns_name(key, &name)?;
        let glue = match pop {
            Some(pop) => {
                let found = pops.iter().position(|p| p.name == *pop).and_then(id_of);
                if found.is_none() {
                    self.gather.at(Some(span.clone()), key, format!("no [[pop]] is named `{pop}`"));
                }
                found
            }
            None if zone.holds(&name) => {
                if position >= pops.len() {
                    let message =
                        format!("`{name}` has no PoP in its position; write {{ name = \"{name}\", pop = \"..\" }}");
                    self.gather.at(Some(span.clone()), key, message);
                }
                id_of(position).filter(|_| position < pops.len())
            }
            None => None,
        };
        if let Some(pop) = glue.map(|id| &pops[id.index()])
            && pop.cname.is_some()
        {
            let message = format!("PoP `{}` has no addresses but a CNAME, which a name server cannot have", pop.name);
            self.gather.at(Some(span), key, message);
        }
        Some(Nameserver { name, glue })
    }

    /// Gives each of `zones` its records. `path` is the config's file.
    pub(super) fn zone_records(
        &mut self,
        entries: &[Spanned<file::Zone>],
        zones: &mut [Zone],
        fleet: (&[Pop], &[Policy], &[Site]),
        path: &Path,
    ) {
        let names: Vec<String> = zones.iter().map(|zone| zone.name.clone()).collect();
        let mut aliases = Aliases::default();
        for (entry, zone) in entries.iter().zip(zones).filter(|(_, zone)| !zone.name.is_empty()) {
            let mut placed = self.records_of_file(entry.get_ref(), zone, path);
            placed.extend(entry.get_ref().record.iter().filter_map(|entry| self.record(entry, zone)).flatten());
            self.authority(entry, zone, &mut placed);
            let grounds =
                Grounds { apex: &zone.apex, claims: claims(zone, &names, fleet), children: children(zone, &names) };
            let (placed, findings) = checks::check(&grounds, placed);
            for Finding { place, severity, message, first } in findings {
                let first = first.map(|first| format!(" (the first: {})", self.gather.show(&first, path)));
                let message = message + &first.unwrap_or_default();
                match severity {
                    Severity::Mistake => self.gather.place(place, "zone.record", message),
                    Severity::Warning => zone.warnings.push(format!("{}: {message}", self.gather.show(&place, path))),
                }
            }
            aliases.add(&placed, &grounds.claims);
            zone.records = placed.into_iter().map(|(_, record)| record).collect();
        }
        for (place, message) in aliases.loops() {
            self.gather.place(place, "zone.record", message);
        }
    }

    fn records_of_file(&mut self, entry: &file::Zone, zone: &Zone, path: &Path) -> Placed {
        let Some(file) = &entry.file else { return Vec::new() };
        // As it was named, so that mistakes in it are shown as those of the config are.
        let named = path.parent().unwrap_or(Path::new("")).join(file.get_ref());
        let content = zonefile::read(&named, &self.base, &zone.apex, zone.ttl);
        for (line, message) in content.mistakes {
            self.gather.place(Place::Line(line), "", message);
        }
        content.records.into_iter().map(|(line, record)| (Place::Line(line), record)).collect()
    }

    /// One `[[zone.record]]`, which may be several.
    fn record(&mut self, entry: &Spanned<file::Record>, zone: &Zone) -> Option<Placed> {
        let (span, record) = (Some(entry.span()), entry.get_ref());
        let name = record.name.as_ref().map_or("@", |name| name.get_ref().as_str());
        let rtype = self.required(span.clone(), "zone.record.type", record.r#type.as_ref(), "such as \"MX\"").cloned();
        if record.data.is_none() {
            self.missing(span, "zone.record.data", "missing; such as \"10 mail.example.net.\", or a list of such");
        }
        let (rtype, data) = (rtype?, record.data.as_ref()?);
        let ttl = self.number("zone.record.ttl", &record.ttl, 0..=i32::MAX as u32, zone.ttl);
        let mut made = Vec::new();
        for data_of_one in data.get_ref().all() {
            match zonefile::record(&zone.apex, name, ttl, rtype.get_ref(), data_of_one) {
                Ok(record) => made.push((Place::Toml(data.span()), record)),
                Err(message) => self.gather.at(Some(data.span()), "zone.record", message),
            }
        }
        Some(made)
    }

    /// Sees to it that `placed` has NS and SOA records: its own, or those that the zone's keys make.
    fn authority(&mut self, entry: &Spanned<file::Zone>, zone: &mut Zone, placed: &mut Placed) {
        let keys = entry.get_ref();
        let has =
            |placed: &Placed, rtype| placed.iter().any(|(_, record)| record.rtype == rtype && record.name == zone.apex);
        match (has(placed, rtype::NS), &keys.nameservers) {
            (true, Some(given)) => {
                let message = "the zone's records have its name servers: leave out this key, or the NS records";
                let at = given.first().map_or(entry.span(), Spanned::span);
                self.gather.at(Some(at), "zone.nameservers", message);
            }
            (false, None) => {
                let message = format!(
                    "missing; such as [\"ns1.{0}\", \"ns2.{0}\"], each taking the addresses of the PoP in its position; \
                     or NS records in the zone's file",
                    zone.name
                );
                self.missing(Some(entry.span()), "zone.nameservers", &message);
            }
            (true, None) | (false, Some(_)) => {}
        }
        let made = |rtype, rdata: Vec<u8>| {
            let record = Record { name: zone.apex.clone(), ttl: zone.ttl, rtype, rdata: rdata.into() };
            (Place::Toml(entry.span()), record)
        };
        if !has(placed, rtype::NS) {
            let names = zone.nameservers.iter().filter_map(|server| Name::parse(&server.name));
            let records: Placed = names.map(|name| made(rtype::NS, name.wire().to_vec())).collect();
            placed.extend(records);
        }
        if has(placed, rtype::SOA) {
            for (key, given) in
                [("zone.contact", span_of(&keys.contact)), ("zone.negative-ttl", span_of(&keys.negative_ttl))]
            {
                if given.is_some() {
                    let message = "the zone's SOA record has it: leave out this key, or the SOA record";
                    self.gather.at(given, key, message);
                }
            }
            self.serial(keys, zone, placed);
        } else {
            let contact = keys.contact.as_ref().and_then(|contact| self.dns_name("zone.contact", contact));
            let contact = contact.unwrap_or_else(|| format!("hostmaster.{}", zone.name));
            let Some(contact) = Name::parse(&contact) else {
                let message = format!("`{contact}` is too long for a domain name; give the SOA's mailbox as a name");
                return self.gather.at(Some(entry.span()), "zone.contact", message);
            };
            let negative_ttl = self.number("zone.negative-ttl", &keys.negative_ttl, 1..=86_400, zone.ttl);
            let primary = placed.iter().find(|(_, record)| record.rtype == rtype::NS && record.name == zone.apex);
            let primary = primary.map_or_else(|| zone.apex.wire().to_vec(), |(_, record)| record.rdata.to_vec());
            let numbers = [&[zone.serial][..], &SOA_TIMERS, &[negative_ttl]].concat();
            let numbers: Vec<u8> = numbers.into_iter().flat_map(u32::to_be_bytes).collect();
            placed.push(made(rtype::SOA, [primary, contact.wire().to_vec(), numbers].concat()));
        }
    }

    /// The serial is the config's, if it has one.
    fn serial(&self, keys: &file::Zone, zone: &mut Zone, placed: &mut Placed) {
        let soas = placed.iter_mut().filter(|(_, record)| record.rtype == rtype::SOA && record.name == zone.apex);
        for (_, record) in soas {
            // What follows the names is five numbers of four bytes, the serial first.
            let Some(at) = record.rdata.len().checked_sub(20) else { continue };
            let Some(serial) = record.rdata.get_mut(at..at + 4) else { continue };
            if keys.serial.is_some() {
                serial.copy_from_slice(&zone.serial.to_be_bytes());
            } else {
                zone.serial = serial.try_into().map_or(0, u32::from_be_bytes);
            }
        }
    }
}

/// Names in the zone that have addresses of their own, from elsewhere in the config.
fn claims(zone: &Zone, zones: &[String], (pops, policies, sites): (&[Pop], &[Policy], &[Site])) -> Vec<Claim> {
    let own = |name: &str| {
        let longest = zones.iter().filter(|zone| *zone == name || is_below(name, zone)).max_by_key(|zone| zone.len());
        longest == Some(&zone.name)
    };
    let mut claims = Vec::new();
    let mut claim = |name: &str, kind: Kind, owner: String| {
        if let Some(name) = Name::parse(name).filter(|_| own(name)) {
            claims.push(Claim { name, kind, owner });
        }
    };
    let steered = |policy: PolicyId| {
        let policy = &policies[policy.index()];
        let chosen = policy.pops.iter().chain(policy.rules.iter().flat_map(|rule| &rule.pops)).flatten();
        let alias = chosen.into_iter().any(|pop| pops[pop.index()].cname.is_some());
        Kind::Steered { alias }
    };
    claim(&format!("edge.{}", zone.name), steered(zone.policy), "the steered name of the zone".to_owned());
    for pop in pops {
        let name = format!("{}.{}", pop.name, zone.name);
        claim(&name, Kind::Pop { alias: pop.cname.is_some() }, format!("PoP `{}`", pop.name));
    }
    for server in zone.nameservers.iter().filter(|server| server.glue.is_some()) {
        claim(&server.name, Kind::Pop { alias: false }, "a name server with a PoP's addresses".to_owned());
    }
    for name in &zone.steered {
        claim(&name.name, steered(name.policy), "one of the zone's steered names".to_owned());
    }
    for site in sites {
        for domain in &site.domains {
            if let Domain::Name(domain) = domain {
                claim(domain, steered(site.policy), format!("a domain of site `{}`", site.name));
            }
        }
    }
    claims
}

/// Our own zones within this one.
fn children(zone: &Zone, zones: &[String]) -> Vec<Name> {
    zones.iter().filter(|name| is_below(name, &zone.name)).filter_map(|name| Name::parse(name)).collect()
}

fn is_below(name: &str, zone: &str) -> bool {
    !zone.is_empty() && name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests;
