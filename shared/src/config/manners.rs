//! How DNS answers are given, whatever they say: cookies, limits, what is told of the server.

use std::num::NonZeroU32;

use ipnet::IpNet;

/// What a reload may change of how queries are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manners {
    /// Who answers, for those who ask by EDNS (RFC 5001).
    pub nsid: Option<String>,
    /// TXT of `version.bind` and `version.server` in class CHAOS; `None`: REFUSED.
    pub version: Option<String>,
    /// TXT of `hostname.bind` and `id.server` in class CHAOS; `None`: REFUSED.
    pub id: Option<String>,
    /// Cookies; `None`: they are not understood.
    pub cookies: Option<Cookies>,
    /// Bytes of the largest UDP answer to a client that did not show that its address is its own.
    pub udp_size_without_cookie: Option<u16>,
    /// Off unless it is there.
    pub rate_limit: Option<RateLimit>,
}

/// DNS cookies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookies {
    /// What they are made and known by, the one that makes them first; empty: each node has its own.
    pub secrets: Vec<CookieSecret>,
    /// Whether a query that has a cookie but not a good one gets BADCOOKIE over UDP, not an answer.
    pub required: bool,
}

/// What cookies are made by. Never shows in Debug or logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CookieSecret(pub [u8; 16]);

impl std::fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieSecret(..)")
    }
}

/// Response rate limiting: what a network of clients gets over UDP, a second. `None`: no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Answers of all kinds.
    pub all: Option<NonZeroU32>,
    /// Answers with data, and referrals.
    pub answers: Option<NonZeroU32>,
    /// NXDOMAIN and NODATA.
    pub negative: Option<NonZeroU32>,
    /// REFUSED and all other errors.
    pub errors: Option<NonZeroU32>,
    /// Each n-th answer that is too much is an empty one with TC; 0: none is.
    pub slip: u32,
    /// Clients that are alike in so many bits are one network.
    pub v4_prefix: u8,
    /// The same of IPv6.
    pub v6_prefix: u8,
    /// Clients that are never limited.
    pub exempt: Vec<IpNet>,
    /// Only counted, for trying it out.
    pub log_only: bool,
    /// Bytes of what is remembered.
    pub table_size: usize,
}

/// A sample of the queries, one JSON object per line.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryLog {
    /// Where it goes.
    pub to: super::LogTarget,
    /// The share that is logged, 0 to 1.
    pub sample: f64,
}
