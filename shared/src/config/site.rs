//! What is served: domains, the origin behind them, how its answers are kept and what their keys are made of.

use std::time::Duration;

use http::{HeaderName, Uri};
use ipnet::IpNet;

use super::{Certificate, Pattern, PolicyId};

/// A site: domains and the origin behind them.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Unique; the first domain when not given.
    pub name: String,
    /// Exact names, lower case; or `*`.
    pub domains: Vec<Domain>,
    /// Scheme, host and port; nothing else.
    pub origin: Uri,
    /// The Host that the origin is sent.
    pub origin_host: OriginHost,
    /// For the TLS listener.
    pub tls: Option<Certificate>,
    /// Whether its steered names have HTTPS records, made from where PoPs listen (RFC 9460).
    pub https_record: bool,
    /// How its clients' PoPs are chosen.
    pub policy: PolicyId,
    /// Whether that goes by the client's subnet.
    pub ecs: bool,
    /// Whose X-Forwarded-For and X-Forwarded-Proto are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How its answers are kept, beyond what they say themselves.
    pub caching: Caching,
    /// What its answers may take of the store.
    pub storing: Storing,
    /// What its keys are made of.
    pub keying: Keying,
}

/// One of a site's domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// This name, lower case, without the trailing dot.
    Name(String),
    /// Every host that no other site takes.
    Any,
}

/// The Host that the origin is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginHost {
    /// The origin's own.
    Origin,
    /// The client's.
    Client,
    /// This one.
    Fixed(String),
}

/// How a site's answers are kept, beyond what they say themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caching {
    /// Answers that set a cookie.
    pub set_cookie: SetCookie,
    /// How far clients may force revalidation.
    pub client_revalidation: ClientRevalidation,
    /// How long beyond its lifetime an answer serves while it is refreshed, or while the origin fails, when it says nothing
    /// of that itself. Zero: not at all.
    pub grace: Duration,
    /// In the order of the file; for each setting the first rule that matches and names it decides.
    pub rules: Vec<Rule>,
}

/// What a site's answers may take of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storing {
    /// Which of them go to disk.
    pub disk: DiskUse,
    /// Bytes of the disk that they take at most.
    pub disk_max: Option<u64>,
    /// Bytes of the disk that others do not push out.
    pub pinned: Option<u64>,
    /// Bytes of memory of its own: others do not push out what is there, and it takes no more.
    pub memory: Option<u64>,
}

/// Which of a site's answers go to disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskUse {
    /// What was asked for twice.
    #[default]
    SecondHit,
    /// All that memory gives up, too.
    Always,
    /// None.
    Never,
}

/// What becomes of answers that set a cookie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SetCookie {
    /// They are not stored.
    #[default]
    Bypass,
    /// They are stored without the field.
    Strip,
    /// They are stored with it: every client gets the same cookie.
    Store,
}

/// How far clients may force revalidation of what is fresh (no-cache, max-age, min-fresh, Pragma).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientRevalidation {
    /// All clients together once a second per stored answer.
    #[default]
    Limit,
    /// Each time, as RFC 9111 says.
    Honor,
    /// Never.
    Ignore,
}

/// What an operator says of some of a site's answers. All conditions that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// For `explain`; `rule 1` and so on when not given.
    pub name: String,
    /// The path, without the query, matches one of these; empty: any.
    pub paths: Vec<Pattern>,
    /// The status is one of these; empty: any.
    pub statuses: Vec<StatusMatch>,
    /// The Content-Type, without parameters and in lower case, matches one of these; empty: any.
    pub content_types: Vec<Pattern>,
    /// Not stored; with a path alone, not even looked up.
    pub bypass: bool,
    /// Lifetime here of answers that do not say it themselves.
    pub ttl: Option<Duration>,
    /// `ttl` counts whatever the answer says of freshness, no-cache and no-store.
    pub force: bool,
    /// Lifetime that clients are told.
    pub browser_ttl: Option<Duration>,
}

/// Statuses of a rule: `404` or `"4xx"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusMatch {
    /// This one.
    Exact(u16),
    /// All with this first digit.
    Class(u16),
}

impl StatusMatch {
    /// Whether `status` is meant.
    pub fn matches(self, status: u16) -> bool {
        match self {
            Self::Exact(wanted) => status == wanted,
            Self::Class(digit) => status / 100 == digit,
        }
    }
}

/// What a site's keys are made of, beside scheme, host and path. Whatever is left out of the key is left out of the
/// request to the origin, too, so that equal keys mean equal requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keying {
    /// Query parameters in the order of their names.
    pub query_sort: bool,
    /// Only these query parameters; `None`: all.
    pub query_keep: Option<Vec<Pattern>>,
    /// Not these query parameters.
    pub query_drop: Vec<Pattern>,
    /// Request fields that are part of the key, lower case, sorted.
    pub headers: Vec<HeaderName>,
    /// Cookies that are part of the key, sorted; the others do not reach the origin. Empty: cookies are neither keyed nor
    /// touched.
    pub cookies: Vec<String>,
    /// The client's country is part of the key, and the origin is told it.
    pub country: bool,
    /// Whether the origin is asked for what is keyed. `false`: it gets the client's own query and cookies.
    pub rewrite: bool,
}

impl Default for Keying {
    fn default() -> Self {
        Self {
            query_sort: false,
            query_keep: None,
            query_drop: Vec::new(),
            headers: Vec::new(),
            cookies: Vec::new(),
            country: false,
            rewrite: true,
        }
    }
}
