//! A zone: its records, and what makes the rest of them.

use super::{PolicyId, Record, SteeredName};
use crate::name::Name;
use crate::pop::PopId;
use crate::rtype;

/// A zone we are authoritative for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Lower case, without the trailing dot.
    pub name: String,
    /// The same.
    pub apex: Name,
    /// Those that the config names itself; their addresses are those of PoPs. The NS records are in `records` anyway.
    pub nameservers: Vec<Nameserver>,
    /// Seconds, of steered names and of PoPs' and name servers' addresses.
    pub ttl: u32,
    /// The SOA's serial.
    pub serial: u32,
    /// How the PoP of `edge.<zone>` is chosen.
    pub policy: PolicyId,
    /// Whether steered answers in it go by the client's subnet.
    pub ecs: bool,
    /// Whether its answers are signed.
    pub dnssec: bool,
    /// Further steered names.
    pub steered: Vec<SteeredName>,
    /// What does not depend on who asks, each once: one SOA and at least one NS at the apex, and what the zone's file and
    /// its `[[zone.record]]` have. Sorted by name and type.
    pub records: Vec<Record>,
    /// What its writer should know of. None of it is a mistake.
    pub warnings: Vec<String>,
}

/// A name server of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nameserver {
    /// Lower case, without the trailing dot.
    pub name: String,
    /// The PoP whose addresses it has; `None` for a name outside the zone.
    pub glue: Option<PopId>,
}

impl Zone {
    /// Whether `name` (lower case, no trailing dot) is the zone's own or below it.
    pub fn holds(&self, name: &str) -> bool {
        name == self.name || name.strip_suffix(self.name.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }

    /// The records of that type at the apex.
    pub fn at_apex(&self, rtype: u16) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| record.rtype == rtype && record.name == self.apex)
    }

    /// Seconds, of the set that resolvers keep longest; keys apart.
    pub fn ttl_max(&self) -> u32 {
        self.records.iter().map(|record| record.ttl).fold(self.ttl, u32::max)
    }

    /// The data of its SOA record.
    pub fn soa(&self) -> &[u8] {
        self.at_apex(rtype::SOA).next().map_or(&[], |record| &record.rdata)
    }
}
