//! PoPs and zones, and names that are taken twice.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use toml::Spanned;

use super::super::file::{self, File, Nameserver as NameserverEntry, Probe as ProbeEntry};
use super::super::{Domain, Nameserver, PolicyId, Site, Zone};
use super::{Compiler, id_of, span_of};
use crate::geo::Coordinates;
use crate::pop::{Pop, Probe};

impl Compiler<'_> {
    pub(super) fn pop(&mut self, entry: &Spanned<file::Pop>, listen: &file::Listen) -> Pop {
        let (span, pop) = (Some(entry.span()), entry.get_ref());
        let name = self.required(span.clone(), "pop.name", pop.name.as_ref(), "a short name such as \"fra\"");
        let name = name.and_then(|name| self.label("pop.name", name)).unwrap_or_default();
        let location = pop.location.as_ref().and_then(|at| {
            let (latitude, longitude) = *at.get_ref();
            let found = Coordinates::new(latitude, longitude);
            if found.is_none() {
                let message = "must be [latitude, longitude] in degrees, -90 to 90 and -180 to 180";
                self.gather.at(Some(at.span()), "pop.location", message);
            }
            found
        });
        let addresses: Vec<IpAddr> = match &pop.addresses {
            Some(list) => {
                list.iter().filter_map(|a| self.parse("pop.addresses", a, "an IPv4 or IPv6 address")).collect()
            }
            None => Vec::new(),
        };
        let cname = pop.cname.as_ref().and_then(|cname| self.dns_name("pop.cname", cname));
        if let (Some(cname), Some(addresses)) = (&pop.cname, &pop.addresses)
            && !addresses.is_empty()
        {
            self.gather.at(Some(cname.span()), "pop.cname", "give addresses or cname, not both");
        }
        if addresses.is_empty() && pop.cname.is_none() && pop.addresses.as_ref().is_none_or(Vec::is_empty) {
            let message = "missing; at least one IPv4 or IPv6 address that DNS hands out, or cname = \"..\"";
            self.missing(span, "pop.addresses", message);
        }
        let capacity = self.number("pop.capacity", &pop.capacity, 0..=1_000_000, 100);
        let probe = self.probe(pop, listen, &addresses);
        let admin = pop.admin.as_ref().and_then(|url| self.base_url("pop.admin", url));
        Pop { name, location, addresses, cname, capacity, probe, admin }
    }

    pub(super) fn probe(&mut self, pop: &file::Pop, fleet: &file::Listen, addresses: &[IpAddr]) -> Probe {
        match pop.probe.as_ref().map(|p| (p.get_ref(), p.span())) {
            Some((ProbeEntry::Switch(false), _)) => Probe::Never,
            Some((ProbeEntry::Switch(true), span)) => {
                self.gather.at(Some(span), "pop.probe", "must be false, a URL, or left out for the default");
                Probe::Never
            }
            Some((ProbeEntry::Url(text), span)) => {
                let url = self.base_url("pop.probe", &Spanned::new(span, text.clone()));
                url.map_or(Probe::Never, |url| Probe::Urls(vec![url]))
            }
            // What a name points to is probed only where the operator says.
            None if pop.cname.is_some() => Probe::Never,
            None => {
                let http = pop.listen.as_ref().and_then(|l| l.http.clone()).or_else(|| fleet.http.clone());
                let first =
                    http.as_ref().map_or(Some("127.0.0.1:8080"), |list| list.first().map(|e| e.get_ref().as_str()));
                let Some(first) = first else {
                    let message = "without an HTTP listener give probe = \"https://..\", or false to never probe";
                    self.gather.at(span_of(&pop.name), "pop.probe", message);
                    return Probe::Never;
                };
                // An entry without a port is a mistake of its own.
                let Some(port) = first.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()) else {
                    return Probe::Never;
                };
                let url = |ip: &IpAddr| format!("http://{}", SocketAddr::new(*ip, port)).parse().ok();
                Probe::Urls(addresses.iter().filter_map(url).collect())
            }
        }
    }

    pub(super) fn zone(&mut self, entry: &Spanned<file::Zone>, pops: &[Pop]) -> Zone {
        let (span, zone) = (Some(entry.span()), entry.get_ref());
        let name = self.required(span.clone(), "zone.name", zone.name.as_ref(), "such as \"cdn.example.net\"");
        let name = name.and_then(|name| self.dns_name("zone.name", name)).unwrap_or_default();
        let ttl = self.number("zone.ttl", &zone.ttl, 1..=604_800, 30);
        let contact = zone.contact.as_ref().and_then(|contact| self.dns_name("zone.contact", contact));
        let mut made = Zone {
            nameservers: Vec::new(),
            ttl,
            negative_ttl: self.number("zone.negative-ttl", &zone.negative_ttl, 1..=86_400, ttl),
            serial: self.number("zone.serial", &zone.serial, 0..=u32::MAX, 1),
            contact: contact.unwrap_or_else(|| format!("hostmaster.{name}")),
            policy: PolicyId(0),
            ecs: zone.ecs.unwrap_or(true),
            steered: Vec::new(),
            name,
        };
        let given = zone.nameservers.as_deref().unwrap_or_default();
        if given.is_empty() {
            let message = format!(
                "missing; such as [\"ns1.{0}\", \"ns2.{0}\"], each taking the addresses of the PoP in its position",
                made.name
            );
            self.missing(span, "zone.nameservers", &message);
        }
        for (position, entry) in given.iter().enumerate() {
            let Some(nameserver) = self.nameserver(entry, position, &made, pops) else { continue };
            made.nameservers.push(nameserver);
        }
        made
    }

    pub(super) fn nameserver(
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

    /// Names that two things of a zone would have.
    pub(super) fn names_do_not_clash(&mut self, file: &File, pops: &[Pop], zones: &[Zone], sites: &[Site]) {
        for (entry, pop) in file.pop.iter().zip(pops).filter(|(_, pop)| pop.name == "edge") {
            let at = span_of(&entry.get_ref().name);
            self.gather.at(at, "pop.name", format!("`{}` stands for the steered name of each zone", pop.name));
        }
        for zone in zones {
            let taken = |name: &str| {
                let label = name.strip_suffix(&zone.name).and_then(|rest| rest.strip_suffix('.'));
                let pop = label.is_some_and(|label| label == "edge" || pops.iter().any(|pop| pop.name == label));
                pop || zone.nameservers.iter().any(|nameserver| nameserver.name == name)
            };
            for (entry, own) in file.zone.iter().zip(zones).filter(|(_, other)| other.name == zone.name) {
                for (place, steered) in entry.get_ref().steered.iter().zip(&own.steered) {
                    let site = sites.iter().any(|site| site.domains.contains(&Domain::Name(steered.name.clone())));
                    if taken(&steered.name) || site {
                        let message = format!("`{}` already names a PoP, a name server or a site", steered.name);
                        self.gather.at(Some(place.span()), "zone.steered.name", message);
                    }
                }
            }
            for (entry, site) in file.site.iter().zip(sites) {
                for domain in &site.domains {
                    if let Domain::Name(name) = domain
                        && taken(name)
                    {
                        let message =
                            format!("`{name}` already names a PoP, a name server or the steered name of {}", zone.name);
                        self.gather.at(Some(entry.span()), "site.domains", message);
                    }
                }
            }
        }
    }

    pub(super) fn names_are_unique<'v>(
        &mut self,
        table: &str,
        key: &str,
        names: impl Iterator<Item = Option<&'v Spanned<String>>>,
    ) {
        let mut seen = HashSet::new();
        for name in names.flatten() {
            if !seen.insert(name.get_ref().to_ascii_lowercase()) {
                let message = format!("`{}` is the name of two [[{table}]]", name.get_ref());
                self.gather.at(Some(name.span()), &format!("{table}.{key}"), message);
            }
        }
    }
}
