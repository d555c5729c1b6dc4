//! PoPs, and names that are taken twice.

use std::collections::HashSet;
use std::net::IpAddr;

use toml::Spanned;

use super::super::file::{self, File};
use super::super::{Domain, Site, Zone};
use super::steered::whole_name;
use super::{Compiler, span_of};
use crate::geo::Coordinates;
use crate::pop::Pop;

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
                let mut seen = HashSet::new();
                for given in entry.get_ref().steered.iter().filter_map(|steered| steered.get_ref().name.as_ref()) {
                    let whole = whole_name(given.get_ref(), &zone.name).to_ascii_lowercase();
                    // What is no name has been told of.
                    let Some(steered) = own.steered.iter().find(|steered| steered.name == whole) else { continue };
                    let (at, key) = (Some(given.span()), "zone.steered.name");
                    let site = sites.iter().any(|site| site.domains.contains(&Domain::Name(steered.name.clone())));
                    if taken(&steered.name) || site {
                        let message = format!("`{}` already names a PoP, a name server or a site", steered.name);
                        self.gather.at(at, key, message);
                    } else if !seen.insert(&steered.name) {
                        self.gather.at(at, key, format!("`{}` is the name of two [[zone.steered]]", steered.name));
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
