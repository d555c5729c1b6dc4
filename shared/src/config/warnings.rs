//! What a right config may still do that its writer should know of.

use super::{Config, SetCookie, Site};

impl Config {
    /// One sentence for each risk that the config takes, with the site and key, or the file and line, that it is about. None of them is a mistake.
    pub fn warnings(&self) -> Vec<String> {
        let zones = self.zones.iter().flat_map(|zone| zone.warnings.iter().cloned());
        zones.chain(self.sites.iter().flat_map(warnings_of)).collect()
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
