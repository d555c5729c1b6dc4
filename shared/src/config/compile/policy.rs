//! Policies: how PoPs are chosen.

use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;

use super::super::file::{self, At, File, Group};
use super::super::{AllDown, Order, Pick, Policy, PolicyId, Ring};
use super::Compiler;
use crate::pop::{Pop, PopId};

mod rules;

/// What policies are called that need no name.
const DEFAULT: &str = "default";
/// PoPs of one answer.
const ANSWERS_MAX: u32 = 8;

impl Compiler<'_> {
    /// All policies, the default one first.
    pub(super) fn policies(&mut self, file: &File, pops: &[Pop]) -> Vec<Policy> {
        self.names_are_unique("policy", "name", file.policy.iter().map(|p| p.get_ref().name.as_ref()));
        let mut policies: Vec<Policy> = file.policy.iter().map(|entry| self.policy(entry, pops)).collect();
        match policies.iter().position(|policy| policy.name == DEFAULT) {
            Some(position) => policies[..=position].rotate_right(1),
            None => policies.insert(0, Policy::nearest(DEFAULT, pops.iter().map(|pop| pop.capacity).collect())),
        }
        policies
    }

    /// The policy of that name; the default one when none is named.
    pub(super) fn policy_named(&mut self, key: &str, name: &At<String>, policies: &[Policy]) -> PolicyId {
        let Some(name) = name else { return PolicyId(0) };
        let found = policies.iter().position(|policy| policy.name == *name.get_ref());
        if found.is_none() {
            let known: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
            let message = format!("no [[policy]] is named `{}`; there are: {}", name.get_ref(), known.join(", "));
            self.gather.at(Some(name.span()), key, message);
        }
        found.and_then(|position| u16::try_from(position).ok()).map(PolicyId).unwrap_or_default()
    }

    fn policy(&mut self, entry: &Spanned<file::Policy>, fleet: &[Pop]) -> Policy {
        let (span, given) = (entry.span(), entry.get_ref());
        let form = "a name for sites to choose it by, or \"default\"";
        let name = self.required(Some(span.clone()), "policy.name", given.name.as_ref(), form);
        let name = name.map(|name| name.get_ref().clone()).unwrap_or_default();
        let plain = Policy::nearest(&name, fleet.iter().map(|pop| pop.capacity).collect());
        let pops = match &given.pops {
            Some(pops) => self.groups("policy.pops", pops, fleet),
            None => plain.pops.clone(),
        };
        let order = self.order(given, fleet);
        if let (Order::Nearest { .. } | Order::Weighted, Some(given)) = (&order, &given.pops)
            && pops.iter().any(|group| group.len() > 1)
        {
            let message = "groups of equals go with order = \"failover\"; otherwise all PoPs stand in one list";
            self.gather.at(Some(given.span()), "policy.pops", message);
        }
        let weights = self.weights(&given.weights, plain.weights, fleet);
        let equals = !matches!(order, Order::Nearest { ring: Ring::None, .. });
        let pick = match &given.pick {
            None if equals => Pick::Random,
            _ => {
                let allowed = [("first", Pick::First), ("random", Pick::Random), ("sticky", Pick::Sticky)];
                self.choice("policy.pick", &given.pick, &allowed)
            }
        };
        let unknown = self.unknown(&given.unknown, &order, &pops, fleet);
        let made = Policy {
            name,
            order,
            pops,
            weights,
            pick,
            spread: self.number("policy.spread", &given.spread, 1..=16, 1) as usize,
            answers: self.number("policy.answers", &given.answers, 1..=ANSWERS_MAX, 1) as usize,
            rotate: given.rotate.unwrap_or_default(),
            unknown,
            all_down: self.all_down(&given.all_down),
            rules: self.rules(given, fleet),
        };
        self.nobody_is_left_out(span, given, &made, fleet);
        made
    }

    fn order(&mut self, given: &file::Policy, fleet: &[Pop]) -> Order {
        #[derive(Clone, Copy, Default, PartialEq)]
        enum Kind {
            #[default]
            Nearest,
            Failover,
            Weighted,
        }
        let allowed = [("nearest", Kind::Nearest), ("failover", Kind::Failover), ("weighted", Kind::Weighted)];
        let kind = self.choice("policy.order", &given.order, &allowed);
        let mut stretch = vec![1.0; fleet.len()];
        for (name, percent) in &given.bias {
            if !(-90.0..=90.0).contains(percent.get_ref()) {
                let message = "must be from -90 to 90: by how many percent the PoP seems nearer, or below zero farther";
                self.gather.at(Some(percent.span()), "policy.bias", message);
            }
            if let Some(pop) = self.pop_of("policy.bias", name, percent.span(), fleet) {
                stretch[pop.index()] = 1.0 - percent.get_ref() / 100.0;
            }
        }
        let ring = given.ring.as_ref().and_then(|text| self.judge("policy.ring", text.span(), ring(text.get_ref())));
        if kind != Kind::Nearest {
            let bias = given.bias.values().next().map(|percent| ("policy.bias", percent.span()));
            let ring = given.ring.as_ref().map(|ring| ("policy.ring", ring.span()));
            for (key, span) in bias.into_iter().chain(ring) {
                self.gather.at(Some(span), key, "goes with order = \"nearest\" only");
            }
        }
        match kind {
            Kind::Nearest => Order::Nearest { stretch, ring: ring.unwrap_or_default() },
            Kind::Failover => Order::Failover,
            Kind::Weighted => Order::Weighted,
        }
    }

    fn weights(
        &mut self,
        given: &std::collections::BTreeMap<String, Spanned<u32>>,
        mut weights: Vec<u32>,
        fleet: &[Pop],
    ) -> Vec<u32> {
        for (name, weight) in given {
            if *weight.get_ref() > 1_000_000 {
                self.gather.at(Some(weight.span()), "policy.weights", "must be from 0 to 1000000");
            }
            if let Some(pop) = self.pop_of("policy.weights", name, weight.span(), fleet) {
                weights[pop.index()] = *weight.get_ref();
            }
        }
        weights
    }

    fn all_down(&mut self, given: &At<file::Texts>) -> AllDown {
        let Some(given) = given else { return AllDown::Open };
        match given.get_ref().all() {
            [word] if word == "open" => AllDown::Open,
            [word] if word == "nodata" => AllDown::NoData,
            [word] if word == "servfail" => AllDown::ServFail,
            texts => match texts.iter().map(|text| text.parse()).collect::<Result<Vec<IpAddr>, _>>() {
                Ok(addresses) if !addresses.is_empty() => AllDown::Addresses(addresses),
                Ok(_) | Err(_) => {
                    let message = "must be \"open\", \"nodata\", \"servfail\", or addresses such as [\"192.0.2.99\"]";
                    self.gather.at(Some(given.span()), "policy.all-down", message);
                    AllDown::Open
                }
            },
        }
    }

    fn groups(&mut self, key: &str, given: &Spanned<Vec<Group>>, fleet: &[Pop]) -> Vec<Vec<PopId>> {
        let mut seen = Vec::new();
        let mut groups = Vec::with_capacity(given.get_ref().len());
        for group in given.get_ref() {
            let mut members = Vec::with_capacity(group.all().len());
            for name in group.all() {
                let Some(pop) = self.pop_of(key, name, given.span(), fleet) else { continue };
                if seen.contains(&pop) {
                    self.gather.at(Some(given.span()), key, format!("`{name}` stands twice"));
                }
                seen.push(pop);
                members.push(pop);
            }
            if !members.is_empty() {
                groups.push(members);
            }
        }
        if given.get_ref().iter().all(|group| group.all().is_empty()) {
            self.gather.at(Some(given.span()), key, "names no PoP: clients would be left without any");
        }
        groups
    }

    /// Who comes first for clients whose location is not known: some of the candidates.
    fn unknown(
        &mut self,
        given: &At<file::Texts>,
        order: &Order,
        candidates: &[Vec<PopId>],
        fleet: &[Pop],
    ) -> Vec<PopId> {
        let key = "policy.unknown";
        let Some(given) = given else { return Vec::new() };
        if !matches!(order, Order::Nearest { .. }) {
            self.gather.at(Some(given.span()), key, "goes with order = \"nearest\" only");
        }
        let mut list = Vec::new();
        for name in given.get_ref().all() {
            let Some(pop) = self.pop_of(key, name, given.span(), fleet) else { continue };
            if !candidates.iter().flatten().any(|candidate| *candidate == pop) {
                self.gather.at(Some(given.span()), key, format!("`{name}` is not among the policy's pops"));
            }
            list.push(pop);
        }
        list
    }

    fn pop_of(&mut self, key: &str, name: &str, span: Range<usize>, fleet: &[Pop]) -> Option<PopId> {
        let position = fleet.iter().position(|pop| pop.name == name);
        let found = position.and_then(|position| u16::try_from(position).ok()).map(PopId);
        if found.is_none() {
            self.gather.at(Some(span), key, format!("no [[pop]] is named `{name}`"));
        }
        found
    }

    /// A policy by which some clients would have no PoP, or none of a family that others have, is refused.
    fn nobody_is_left_out(&mut self, span: Range<usize>, given: &file::Policy, made: &Policy, fleet: &[Pop]) {
        let pop = |id: &PopId| &fleet[id.index()];
        let has = |id: &PopId, v4: bool| {
            pop(id).cname.is_some() || pop(id).addresses.iter().any(|address| address.is_ipv4() == v4)
        };
        let equals = matches!(made.order, Order::Weighted) || made.pops.iter().any(|group| group.len() > 1);
        let weighty = |group: &Vec<PopId>| group.iter().any(|pop| made.weights[pop.index()] > 0);
        if equals && made.pick != Pick::First && !made.pops.iter().any(weighty) && !made.pops.is_empty() {
            self.gather.at(Some(span.clone()), "policy.weights", "all are 0: clients would be left without any PoP");
        }
        for (v4, family) in [(true, "IPv4"), (false, "IPv6")] {
            if !made.candidates().any(|id| has(&id, v4)) {
                continue;
            }
            if !made.pops.iter().flatten().any(|id| has(id, v4)) {
                let message = format!("none of its PoPs has an {family} address, but PoPs of its rules have: add one");
                self.gather.at(Some(span.clone()), "policy.pops", message);
            }
            for (entry, rule) in given.rule.iter().zip(&made.rules) {
                if rule.only && !rule.pops.iter().flatten().any(|id| has(id, v4)) {
                    let message = format!(
                        "only = true with PoPs of which none has an {family} address: its clients would be left \
                         without any PoP; add one or leave out `only`"
                    );
                    self.gather.at(Some(entry.span()), "policy.rule.pops", message);
                }
            }
        }
        self.negative_answers_are_for_all(given, made, fleet);
    }

    /// RFC 7871 section 7.4: negative answers are kept for everybody, so none may be for some clients alone.
    fn negative_answers_are_for_all(&mut self, given: &file::Policy, made: &Policy, fleet: &[Pop]) {
        let common: Vec<PopId> = made.pops.iter().flatten().copied().collect();
        let has = |id: PopId, v4: bool| {
            let pop = &fleet[id.index()];
            pop.cname.is_some() || pop.addresses.iter().any(|address| address.is_ipv4() == v4)
        };
        for (entry, rule) in given.rule.iter().zip(&made.rules) {
            let others = rule.pops.iter().flatten().any(|pop| !common.contains(pop));
            let fewer = rule.only && common.iter().any(|pop| !rule.pops.iter().flatten().any(|other| other == pop));
            if !others && !fewer {
                continue;
            }
            let why = "its clients have other PoPs than the rest, which may be up when the rest's are down, or the other \
                       way round, and resolvers keep \"no data\" for everybody";
            match &made.all_down {
                AllDown::NoData => {
                    let message = format!(
                        "does not go with all-down = \"nodata\": {why}; choose \"open\", \"servfail\" or addresses"
                    );
                    self.gather.at(Some(entry.span()), "policy.rule.pops", message);
                }
                AllDown::Addresses(addresses) => {
                    for (v4, family) in [(true, "IPv4"), (false, "IPv6")] {
                        let wanted = made.candidates().any(|pop| has(pop, v4));
                        if wanted && !addresses.iter().any(|address| address.is_ipv4() == v4) {
                            let message = format!("needs an {family} address in all-down, too: {why}");
                            self.gather.at(Some(entry.span()), "policy.rule.pops", message);
                        }
                    }
                }
                AllDown::Open | AllDown::ServFail => {}
            }
        }
    }
}

/// `"10 %"` or `"200 km"`.
fn ring(text: &str) -> Result<Ring, String> {
    let text = text.trim();
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| (0.0..=20_000.0).contains(number));
    let share = text.strip_suffix('%').and_then(number).map(|percent| Ring::Share(percent / 100.0));
    let km = text.strip_suffix("km").and_then(number).map(Ring::Km);
    share.or(km).ok_or_else(|| format!("`{text}` is not a share such as \"10 %\" or a distance such as \"200 km\""))
}
