//! `[[zone.steered]]`: steered names besides the sites' domains.

use toml::Spanned;

use super::super::file::{self, File};
use super::super::{Policy, PolicyId, Site, SteeredName, Zone};
use super::{Compiler, span_of};
use crate::pop::Pop;

impl Compiler<'_> {
    /// `[[zone.steered]]`.
    pub(super) fn steered_names(&mut self, file: &File, zones: &mut [Zone], sites: &[Site], policies: &[Policy]) {
        for (entry, zone) in file.zone.iter().zip(zones) {
            zone.policy = self.policy_named("zone.policy", &entry.get_ref().policy, policies);
            for steered in &entry.get_ref().steered {
                let made = self.steered_name(steered, zone, sites, policies);
                zone.steered.extend(made);
            }
        }
    }

    fn steered_name(
        &mut self,
        entry: &Spanned<file::Steered>,
        zone: &Zone,
        sites: &[Site],
        policies: &[Policy],
    ) -> Option<SteeredName> {
        let (span, given) = (entry.span(), entry.get_ref());
        let form = "relative to the zone, such as \"img\", or \"@\" for the zone itself";
        let name = self.required(Some(span.clone()), "zone.steered.name", given.name.as_ref(), form)?;
        let whole = whole_name(name.get_ref(), &zone.name);
        let whole = self.dns_name("zone.steered.name", &Spanned::new(name.span(), whole))?;
        if !zone.holds(&whole) {
            let message = format!("`{whole}` is not in the zone {}", zone.name);
            self.gather.at(Some(name.span()), "zone.steered.name", message);
        }
        if let (Some(_), Some(site)) = (&given.policy, &given.site) {
            let message = "give policy or site, not both: a site has its own policy";
            self.gather.at(Some(site.span()), "zone.steered.site", message);
        }
        let site = given.site.as_ref().and_then(|name| {
            let found = sites.iter().position(|site| site.name == *name.get_ref());
            if found.is_none() {
                let message = format!("no [[site]] is named `{}`", name.get_ref());
                self.gather.at(Some(name.span()), "zone.steered.site", message);
            }
            found
        });
        let policy = match site {
            Some(site) => sites[site].policy,
            None => self.policy_named("zone.steered.policy", &given.policy, policies),
        };
        Some(SteeredName { name: whole, policy, site })
    }

    /// A name that has other records by its nature cannot be a CNAME (RFC 1034 section 3.6.2).
    pub(super) fn cnames_have_room(&mut self, file: &File, config: (&[Pop], &[Policy], &[Zone], &[Site])) {
        let (pops, policies, zones, sites) = config;
        let points = |policy: &PolicyId| {
            let mut candidates = policies[policy.index()].candidates().map(|id| &pops[id.index()]);
            candidates.find(|pop| pop.cname.is_some()).map(|pop| pop.name.clone())
        };
        for (entry, zone) in file.zone.iter().zip(zones) {
            let site = sites.iter().find(|site| {
                site.domains.iter().any(|domain| *domain == super::super::Domain::Name(zone.name.clone()))
            });
            let steered = zone.steered.iter().find(|steered| steered.name == zone.name).map(|steered| steered.policy);
            let pop = site.map(|site| site.policy).or(steered).and_then(|policy| points(&policy));
            if let Some(pop) = pop {
                let message = format!(
                    "`{}` is a zone's own name, which cannot be a CNAME, but its policy may choose PoP `{pop}`, which is \
                     one: give that PoP addresses or the name a policy without it",
                    zone.name
                );
                self.gather.at(span_of(&entry.get_ref().name), "zone.name", message);
            }
        }
    }
}

/// A steered name of that zone as it is written: relative, `@`, or whole with a dot at its end.
pub(super) fn whole_name(text: &str, zone: &str) -> String {
    match text {
        "@" => zone.to_owned(),
        absolute if absolute.ends_with('.') => absolute.trim_end_matches('.').to_owned(),
        relative => format!("{relative}.{zone}"),
    }
}
