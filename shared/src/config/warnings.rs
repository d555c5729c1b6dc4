//! What a right config may still do that its writer should know of.

use crate::geo::GeoDb;
use crate::geo::record::is_subdivision_code;

use super::{Config, Order, Pick, Policy, PolicyId, Ring, SetCookie, Site};

/// Seconds of a TTL under which resolvers ask all the time, and some keep answers longer anyway.
const TTL_MIN: u32 = 5;

impl Config {
    /// One sentence for each risk that the config takes, with the site and key, or the file and line, that it is about. None of them is a mistake.
    pub fn warnings(&self) -> Vec<String> {
        let zones = self.zones.iter().flat_map(|zone| zone.warnings.iter().cloned());
        let short = self.zones.iter().filter(|zone| zone.ttl < TTL_MIN).map(|zone| {
            format!(
                "zone `{}`: ttl = {}: resolvers ask for nearly every client, and some keep answers for {TTL_MIN} s and \
                 more anyway",
                zone.name, zone.ttl
            )
        });
        let refresh = self.dnssec.refresh.as_secs();
        let long = self.zones.iter().filter(|zone| zone.dnssec && u64::from(zone.ttl_max()) > refresh).map(|zone| {
            format!(
                "zone `{}`: a record's TTL of {} s is longer than dns.dnssec.refresh: signatures may end while resolvers \
                 keep it, which then ask again sooner",
                zone.name,
                zone.ttl_max()
            )
        });
        let policies = self.policies.iter().zip((0..).map(PolicyId)).flat_map(|(policy, id)| self.risks_of(policy, id));
        zones.chain(short).chain(long).chain(policies).chain(self.sites.iter().flat_map(warnings_of)).collect()
    }

    /// One sentence for each rule that is unlikely to count with `geo`.
    pub fn warnings_with(&self, geo: &GeoDb) -> Vec<String> {
        if !geo.lacks_subdivision_codes() {
            return Vec::new();
        }
        let is_code = |part: &&String| part.split_once('-').is_some_and(|(_, part)| is_subdivision_code(part));
        let rules = self.policies.iter().flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)));
        let coded = rules.filter_map(|(policy, rule)| Some((policy, rule, rule.subdivisions.iter().find(is_code)?)));
        let told = coded.map(|(policy, rule, code)| {
            format!(
                "policy `{}`: `{}`: subdivisions = [\"{code}\"] probably never counts: the geo data seems to have no such codes; \
                 where it has names, give these, as `nearcast explain` shows them",
                policy.name, rule.name
            )
        });
        told.collect()
    }

    fn risks_of(&self, policy: &Policy, id: PolicyId) -> Vec<String> {
        let of_zones = self.zones.iter().map(|zone| (zone.policy, zone.ecs));
        let of_sites = self.sites.iter().map(|site| (site.policy, site.ecs));
        let of_names = self.zones.iter().flat_map(|zone| zone.steered.iter().map(|name| (name.policy, zone.ecs)));
        let uses: Vec<bool> =
            of_zones.chain(of_sites).chain(of_names).filter(|(of, _)| *of == id).map(|(_, ecs)| ecs).collect();
        let mut all = Vec::new();
        let mut warn = |what: String| all.push(format!("policy `{}`: {what}", policy.name));
        // The first one is there whether it is wanted or not.
        if uses.is_empty() {
            if id != PolicyId(0) {
                warn("nobody uses it: no zone, site or steered name has it as its policy".to_owned());
            }
            return all;
        }
        let candidates = || policy.pops.iter().flatten().map(|pop| &self.pops[pop.index()]);
        if matches!(policy.order, Order::Nearest { .. }) && candidates().any(|pop| pop.location.is_some()) {
            for pop in candidates().filter(|pop| pop.location.is_none()) {
                warn(format!("PoP `{}` has no location, so it is nearest to nobody, only the last resort", pop.name));
            }
        }
        let draws = policy.pick == Pick::Sticky && !matches!(policy.order, Order::Nearest { ring: Ring::None, .. });
        if draws && uses.contains(&true) {
            warn(
                "pick = \"sticky\" narrows answers to a /24 or /48 wherever there are equals: resolvers that send client \
                 subnets keep one for each such network, and ask as often"
                    .to_owned(),
            );
        }
        all
    }
}

fn warnings_of(site: &Site) -> Vec<String> {
    let mut all = Vec::new();
    let mut warn = |what: String| all.push(format!("site `{}`: {what}", site.name));
    let keying = &site.keying;
    let left_out = [
        ("query.sort", keying.query_sort),
        ("query.keep", keying.query_keep.is_some()),
        ("query.drop", !keying.query_drop.is_empty()),
        ("key-cookies", !keying.cookies.is_empty()),
    ];
    let left_out: Vec<&str> = left_out.into_iter().filter(|(_, used)| *used).map(|(key, _)| key).collect();
    if !keying.rewrite && !left_out.is_empty() {
        warn(format!(
            "key-rewrite = false with {}: the origin sees what the key does not, so one client can choose what others \
             get (cache poisoning)",
            left_out.join(", ")
        ));
    }
    if site.caching.set_cookie == SetCookie::Store {
        warn("set-cookie = \"store\": a stored answer gives every client the same cookie, sessions too".to_owned());
    }
    for rule in site.caching.rules.iter().filter(|rule| rule.force) {
        warn(format!(
            "rule `{}`: force = true stores and shares answers whatever they say themselves, no-store too",
            rule.name
        ));
    }
    all
}
