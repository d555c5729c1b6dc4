//! Sites.

use std::collections::HashSet;
use std::time::Duration;

use toml::Spanned;

use super::super::file;
use super::super::{Cache, Caching, ClientRevalidation, Domain, OriginHost, Policy, SetCookie, Site};
use super::{Compiler, span_of};

/// Bytes of a name: it stands in each record of a purge of the site.
const NAME_MAX: usize = 255;

impl Compiler<'_> {
    pub(super) fn sites(
        &mut self,
        entries: &[Spanned<file::Site>],
        cache: &Cache,
        policies: &[Policy],
        https_everywhere: bool,
    ) -> Vec<Site> {
        let mut sites = Vec::new();
        let (mut names, mut domains) = (HashSet::new(), HashSet::new());
        for entry in entries {
            let (span, file) = (Some(entry.span()), entry.get_ref());
            let site = self.site(entry, cache, policies, https_everywhere);
            if !site.name.is_empty() && !names.insert(site.name.clone()) {
                let at = span_of(&file.name).or(span.clone());
                self.gather.at(at, "site.name", format!("`{}` names two sites", site.name));
            }
            if site.name.len() > NAME_MAX {
                let at = span_of(&file.name).or(span.clone());
                self.gather.at(at, "site.name", format!("must have at most {NAME_MAX} bytes"));
            }
            for domain in &site.domains {
                let text = match domain {
                    Domain::Name(name) => name.as_str(),
                    Domain::Any => "*",
                };
                if !domains.insert(text.to_owned()) {
                    self.gather.at(span.clone(), "site.domains", format!("`{text}` is taken by two sites"));
                }
            }
            sites.push(site);
        }
        self.shares_fit(entries, &sites, cache);
        sites
    }

    fn https_record(&mut self, site: &file::Site, https_everywhere: bool) -> bool {
        let possible = site.tls.is_some() && https_everywhere;
        match &site.https_record {
            None => possible,
            Some(given) => {
                if *given.get_ref() && !possible {
                    let message =
                        "needs tls, and a listen.https that is not on loopback, with a fixed port, at every PoP";
                    self.gather.at(Some(given.span()), "site.https-record", message);
                }
                *given.get_ref()
            }
        }
    }

    fn site(
        &mut self,
        entry: &Spanned<file::Site>,
        cache: &Cache,
        policies: &[Policy],
        https_everywhere: bool,
    ) -> Site {
        let (span, site) = (Some(entry.span()), entry.get_ref());
        let given = site.domains.as_deref().unwrap_or_default();
        if given.is_empty() {
            self.missing(
                span.clone(),
                "site.domains",
                "missing; such as [\"www.cdn.example.net\"], or [\"*\"] for every host",
            );
        }
        let domain = |c: &mut Self, entry: &Spanned<String>| match entry.get_ref().as_str() {
            "*" => Some(Domain::Any),
            _ => c.dns_name("site.domains", entry).map(Domain::Name),
        };
        let domains: Vec<Domain> = given.iter().filter_map(|entry| domain(self, entry)).collect();
        let first = domains.first().map(|domain| match domain {
            Domain::Name(name) => name.clone(),
            Domain::Any => "*".to_owned(),
        });
        let name = site.name.as_ref().map(|name| name.get_ref().clone()).or(first).unwrap_or_default();
        let origin = self.required(span, "site.origin", site.origin.as_ref(), "such as \"https://origin.example.com\"");
        let origin = origin.and_then(|url| self.base_url("site.origin", url)).unwrap_or_default();
        let origin_host = match site.origin_host.as_ref() {
            None => OriginHost::Origin,
            Some(text) => match text.get_ref().as_str() {
                "origin" => OriginHost::Origin,
                "client" => OriginHost::Client,
                _ => self.dns_name("site.origin-host", text).map_or(OriginHost::Origin, OriginHost::Fixed),
            },
        };
        Site {
            name,
            domains,
            origin,
            origin_host,
            policy: self.policy_named("site.policy", &site.policy, policies),
            ecs: site.ecs.unwrap_or(true),
            tls: site.tls.as_ref().and_then(|tls| self.certificate("site.tls", tls)),
            https_record: self.https_record(site, https_everywhere),
            trusted_proxies: self.networks("site.trusted-proxies", site.trusted_proxies.as_deref()),
            caching: self.caching(site, cache.lifetime_max),
            storing: self.storing(site, cache),
            keying: self.keying(site),
        }
    }

    fn caching(&mut self, site: &file::Site, lifetime_max: Duration) -> Caching {
        let set_cookie = [("bypass", SetCookie::Bypass), ("strip", SetCookie::Strip), ("store", SetCookie::Store)];
        let client_revalidation = [
            ("limit", ClientRevalidation::Limit),
            ("honor", ClientRevalidation::Honor),
            ("ignore", ClientRevalidation::Ignore),
        ];
        let grace = site.grace.as_ref().and_then(|grace| self.duration("site.grace", grace));
        let rules = site.rule.iter().zip(1..).map(|(entry, number)| self.rule(entry, number, lifetime_max)).collect();
        Caching {
            set_cookie: self.choice("site.set-cookie", &site.set_cookie, &set_cookie),
            client_revalidation: self.choice(
                "site.client-revalidation",
                &site.client_revalidation,
                &client_revalidation,
            ),
            grace: grace.unwrap_or_default(),
            rules,
        }
    }
}
