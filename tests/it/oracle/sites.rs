//! The sites that histories play on: one for each way of being set up that changes what a cache does.

use crate::harness::node::Setup;
use crate::harness::origin::Origin;

/// How a site is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Site {
    /// Its host.
    pub(crate) host: &'static str,
    pub(crate) revalidation: Revalidation,
    pub(crate) cookies: Cookies,
    /// Seconds; 0: none.
    pub(crate) grace: i64,
}

/// `client-revalidation`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revalidation {
    Limit,
    Honor,
    Ignore,
}

/// `set-cookie`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cookies {
    Bypass,
    Strip,
    Store,
}

const PLAIN: Site = Site { host: "plain.test", revalidation: Revalidation::Limit, cookies: Cookies::Bypass, grace: 0 };

/// All of them.
pub(crate) const SITES: [Site; 4] = [
    PLAIN,
    Site { host: "honor.test", revalidation: Revalidation::Honor, cookies: Cookies::Strip, ..PLAIN },
    Site { host: "ignore.test", revalidation: Revalidation::Ignore, cookies: Cookies::Store, ..PLAIN },
    Site { host: "grace.test", revalidation: Revalidation::Honor, grace: 20, ..PLAIN },
];

/// A config with all of them.
pub(crate) fn setup(origin: &Origin) -> Setup {
    // What was not to be shared is not remembered: for that while all answers of a URL would pass by the store.
    let mut setup = Setup::empty().set("runtime.workers", "1").set("cache.uncacheable-for", "\"0s\"");
    for site in SITES {
        let mut text = format!("domains = [\"{}\"]\norigin = \"{}\"", site.host, origin.url());
        match site.revalidation {
            Revalidation::Limit => {}
            Revalidation::Honor => text.push_str("\nclient-revalidation = \"honor\""),
            Revalidation::Ignore => text.push_str("\nclient-revalidation = \"ignore\""),
        }
        match site.cookies {
            Cookies::Bypass => {}
            Cookies::Strip => text.push_str("\nset-cookie = \"strip\""),
            Cookies::Store => text.push_str("\nset-cookie = \"store\""),
        }
        if site.grace > 0 {
            text.push_str(&format!("\ngrace = \"{}s\"", site.grace));
        }
        setup.sites.push(text);
    }
    setup
}
