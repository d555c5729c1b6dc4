//! A policy's rules: some clients, and the PoPs that come first for them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use toml::Spanned;

use super::super::super::PolicyRule;
use super::super::super::file::{self, File};
use super::super::Compiler;
use crate::net;
use crate::pop::Pop;

/// Rules of one policy.
const RULES_MAX: usize = 10_000;
/// Networks of one policy.
const NETWORKS_MAX: usize = 1_000_000;

/// Where a network stands, if in a file of its own.
#[derive(Debug, Clone)]
struct NetworkLine(Option<(Arc<Path>, usize)>);

impl NetworkLine {
    /// The message with that before it.
    fn told(&self, message: String) -> String {
        match &self.0 {
            Some((path, line)) => format!("{}:{line}: {message}", path.display()),
            None => message,
        }
    }
}

impl Compiler<'_> {
    pub(super) fn rules(&mut self, policy: &file::Policy, fleet: &[Pop]) -> Vec<PolicyRule> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut networks = 0;
        let mut rules: Vec<PolicyRule> = Vec::with_capacity(policy.rule.len());
        for (number, entry) in policy.rule.iter().enumerate() {
            let placed = self.rule_networks(entry.get_ref());
            let rule = self.policy_rule(number, entry, &placed, fleet);
            networks += rule.networks.len();
            // What a client may be told by: each says where it stands, so that no client has two.
            let nowhere = NetworkLine(None);
            let all = placed.iter().map(|(network, line)| (network.trunc().to_string(), line));
            let all = all.chain(rule.asns.iter().map(|asn| (format!("AS{asn}"), &nowhere)));
            let places = [&rule.subdivisions, &rule.countries, &rule.continents];
            let kinds = ["subdivision", "country", "continent"];
            let all = all.chain(
                places
                    .iter()
                    .zip(kinds)
                    .flat_map(|(list, kind)| list.iter().map(move |code| format!("{kind} {code}")))
                    .map(|what| (what, &nowhere)),
            );
            for (what, line) in all {
                match seen.entry(what) {
                    Entry::Vacant(free) => drop(free.insert(number)),
                    Entry::Occupied(taken) => {
                        let message = if *taken.get() == number {
                            format!("`{}` stands twice in this rule", taken.key())
                        } else {
                            format!("`{}` stands in `{}` already", taken.key(), rules[*taken.get()].name)
                        };
                        self.gather.at(Some(entry.span()), "policy.rule", line.told(message));
                    }
                }
            }
            rules.push(rule);
        }
        if policy.rule.len() > RULES_MAX {
            let message = format!("a policy has at most {RULES_MAX} rules, not {}", policy.rule.len());
            self.gather.at(policy.rule.get(RULES_MAX).map(Spanned::span), "policy.rule", message);
        }
        if networks > NETWORKS_MAX {
            let message = format!("a policy has at most {NETWORKS_MAX} networks, not {networks}");
            self.gather.at(policy.rule.first().map(Spanned::span), "policy.rule", message);
        }
        rules
    }

    /// The networks of a rule, each with where it stands.
    fn rule_networks(&mut self, rule: &file::PolicyRule) -> Vec<(IpNet, NetworkLine)> {
        let inline = self.networks("policy.rule.networks", rule.networks.as_deref());
        let mut placed: Vec<_> = inline.into_iter().map(|network| (network, NetworkLine(None))).collect();
        if let Some(file) = &rule.networks_file {
            placed.extend(self.networks_file(file));
        }
        placed
    }

    fn policy_rule(
        &mut self,
        number: usize,
        entry: &Spanned<file::PolicyRule>,
        placed: &[(IpNet, NetworkLine)],
        fleet: &[Pop],
    ) -> PolicyRule {
        let rule = entry.get_ref();
        let networks: Vec<IpNet> = placed.iter().map(|(network, _)| *network).collect();
        for (network, line) in placed {
            let address = network.addr();
            let message = if net::effective(address).0 != address {
                format!("`{network}` never counts: its addresses are read as the IPv4 address inside; give that")
            } else if network.trunc() != *network {
                format!("`{network}` is an address within a network: give `{}`, or `{address}` alone", network.trunc())
            } else {
                continue;
            };
            self.gather.at(Some(entry.span()), "policy.rule.networks", line.told(message));
        }
        let codes =
            |c: &mut Self, key: &str, given: &Option<Vec<Spanned<String>>>, form: &str, good: fn(&str) -> bool| {
                let mut code = |text: &Spanned<String>| {
                    let upper = text.get_ref().to_uppercase();
                    if !good(&upper) {
                        c.gather.at(Some(text.span()), key, format!("`{}` is not {form}", text.get_ref()));
                    }
                    upper
                };
                given.as_deref().unwrap_or_default().iter().map(&mut code).collect::<Vec<_>>()
            };
        let is_continent = |code: &str| ["AF", "AN", "AS", "EU", "NA", "OC", "SA"].contains(&code);
        let is_country = |code: &str| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
        let is_subdivision = |code: &str| code.split_once('-').is_some_and(|(a, b)| a.len() == 2 && !b.is_empty());
        let made = PolicyRule {
            name: rule.name.as_ref().map_or_else(|| format!("rule {}", number + 1), |name| name.get_ref().clone()),
            networks,
            asns: rule.asns.as_deref().unwrap_or_default().iter().map(|asn| *asn.get_ref()).collect(),
            subdivisions: codes(
                self,
                "policy.rule.subdivisions",
                &rule.subdivisions,
                "a country's part such as \"US-CA\"",
                is_subdivision,
            ),
            countries: codes(self, "policy.rule.countries", &rule.countries, "a country such as \"DE\"", is_country),
            continents: codes(
                self,
                "policy.rule.continents",
                &rule.continents,
                "one of AF, AN, AS, EU, NA, OC, SA",
                is_continent,
            ),
            pops: rule.pops.as_ref().map(|pops| self.groups("policy.rule.pops", pops, fleet)).unwrap_or_default(),
            only: rule.only.unwrap_or_default(),
        };
        if rule.pops.is_none() {
            self.missing(Some(entry.span()), "policy.rule.pops", "missing; the PoPs that come first for these clients");
        }
        let nobody = made.networks.is_empty()
            && made.asns.is_empty()
            && made.subdivisions.is_empty()
            && made.countries.is_empty()
            && made.continents.is_empty();
        if nobody && rule.networks.is_none() && rule.networks_file.is_none() {
            let message = "says of nobody: give networks, networks-file, asns, subdivisions, countries or continents";
            self.missing(Some(entry.span()), "policy.rule", message);
        }
        made
    }

    /// One network a line; `#` begins a comment.
    fn networks_file(&mut self, file: &Spanned<String>) -> Vec<(IpNet, NetworkLine)> {
        let Some(path) = self.path("policy.rule.networks-file", file) else { return Vec::new() };
        let key = "policy.rule.networks-file";
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                self.gather.at(Some(file.span()), key, format!("{}: cannot be read: {error}", path.display()));
                return Vec::new();
            }
        };
        let mut networks = Vec::new();
        let path: Arc<Path> = path.into();
        for (number, line) in text.lines().enumerate() {
            let text = line.split('#').next().unwrap_or_default().trim();
            let line = NetworkLine(Some((path.clone(), number + 1)));
            if text.is_empty() {
                continue;
            }
            match text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(network) => networks.push((network, line)),
                Err(_) => {
                    let message = format!("`{text}` is not a network such as 10.0.0.0/8 or an address");
                    self.gather.at(Some(file.span()), key, line.told(message));
                }
            }
        }
        networks
    }

    /// A rule for autonomous systems that nobody can be found to be in would never count.
    pub(in super::super) fn asns_are_known(&mut self, file: &File) {
        if file.geo.asn.as_ref().is_some_and(|files| !files.get_ref().all().is_empty()) {
            return;
        }
        let rules = file.policy.iter().flat_map(|policy| &policy.get_ref().rule);
        for asn in rules.filter_map(|rule| rule.get_ref().asns.as_ref()?.first()) {
            let message = "needs geo.asn, an mmdb of autonomous systems: without it the rule never counts";
            self.gather.at(Some(asn.span()), "policy.rule.asns", message);
        }
    }
}
