//! How a client's PoP is chosen.
//!
//! A policy ranks PoPs for a client, in groups of equals; the answer is of the first group that has a PoP which is up.
//!
//! ```text
//!   rules (network > ASN > subdivision > country > continent)   these PoPs first
//!   then the order: nearest | failover | weighted               the rest (unless `only`)
//!   then, in the first group with one that is up: pick          first | random | sticky
//! ```

use std::net::IpAddr;

use ipnet::IpNet;

use crate::pop::PopId;

/// The index of a policy in [`super::Config::policies`]; 0 is the default one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PolicyId(pub u16);

impl PolicyId {
    /// The position in `Config::policies`.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A steered name of a zone besides the sites' domains and `edge.<zone>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteeredName {
    /// The whole name, lower case, without the trailing dot.
    pub name: String,
    /// How its PoP is chosen.
    pub policy: PolicyId,
    /// The site behind it, as an index into `Config::sites`: a PoP that cannot reach its origin is passed over.
    pub site: Option<usize>,
}

/// How a client's PoP is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Unique.
    pub name: String,
    /// How the candidates are ranked.
    pub order: Order,
    /// Groups of equals: the candidates. One PoP a group, unless the order is failover.
    pub pops: Vec<Vec<PopId>>,
    /// Per PoP of the fleet, by its id: its share among equals.
    pub weights: Vec<u32>,
    /// Which of equals is answered.
    pub pick: Pick,
    /// Over how many of the next PoPs the clients of one that is down are spread; 1: all go to the next.
    pub spread: usize,
    /// PoPs that an answer names, at most.
    pub answers: usize,
    /// Whether the addresses of an answer change places from answer to answer.
    pub rotate: bool,
    /// Who comes first for clients whose location is not known; empty: the PoP that was asked.
    pub unknown: Vec<PopId>,
    /// What is answered when no candidate is up.
    pub all_down: AllDown,
    /// In the order of the file.
    pub rules: Vec<PolicyRule>,
}

/// How candidates are ranked.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// By great-circle distance.
    Nearest {
        /// Per PoP of the fleet, by its id: what its distance is multiplied with.
        stretch: Vec<f64>,
        /// How far beyond the nearest counts as equal.
        ring: Ring,
    },
    /// As they are given.
    Failover,
    /// All are equal.
    Weighted,
}

/// How far beyond the nearest PoP others count as equal.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Ring {
    /// None does.
    #[default]
    None,
    /// By this share of the nearest one's distance.
    Share(f64),
    /// By so many kilometers.
    Km(f64),
}

/// Which of equal PoPs is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Pick {
    /// The first that is up.
    #[default]
    First,
    /// By weight, anew with each lifetime of the answer.
    Random,
    /// By weight, the same for a client's network as long as it is up.
    Sticky,
}

/// What is answered when no candidate is up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AllDown {
    /// As if all were up.
    #[default]
    Open,
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// No data.
    NoData,
    /// SERVFAIL.
    ServFail,
}

/// Some clients and the PoPs that come first for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyRule {
    /// For `explain`; `rule 1` and so on when not given.
    pub name: String,
    /// Clients of these networks; none twice in a policy.
    pub networks: Vec<IpNet>,
    /// Of these autonomous systems.
    pub asns: Vec<u32>,
    /// Of these subdivisions, such as `US-CA`, upper case.
    pub subdivisions: Vec<String>,
    /// Of these countries, two upper-case letters.
    pub countries: Vec<String>,
    /// Of these continents, two upper-case letters.
    pub continents: Vec<String>,
    /// Groups of equals.
    pub pops: Vec<Vec<PopId>>,
    /// No other PoP than these.
    pub only: bool,
}

impl Policy {
    /// What holds for who says nothing: the nearest of `pops` PoPs, all of them alike.
    pub fn nearest(name: &str, capacities: Vec<u32>) -> Self {
        let ids = (0..).map(PopId).take(capacities.len());
        Self {
            name: name.to_owned(),
            order: Order::Nearest { stretch: vec![1.0; capacities.len()], ring: Ring::None },
            pops: ids.map(|id| vec![id]).collect(),
            weights: capacities,
            pick: Pick::First,
            spread: 1,
            answers: 1,
            rotate: false,
            unknown: Vec::new(),
            all_down: AllDown::Open,
            rules: Vec::new(),
        }
    }

    /// Every PoP that it may choose; some more than once.
    pub fn candidates(&self) -> impl Iterator<Item = PopId> {
        self.pops.iter().chain(self.rules.iter().flat_map(|rule| &rule.pops)).flatten().copied()
    }

    /// Whether any rule asks for the client's autonomous system.
    pub fn asks_asn(&self) -> bool {
        self.rules.iter().any(|rule| !rule.asns.is_empty())
    }

    /// Whether where a client is makes any difference.
    pub fn asks_place(&self) -> bool {
        let by_place = |rule: &PolicyRule| {
            !(rule.subdivisions.is_empty() && rule.countries.is_empty() && rule.continents.is_empty())
        };
        matches!(self.order, Order::Nearest { .. }) || self.rules.iter().any(by_place)
    }
}
