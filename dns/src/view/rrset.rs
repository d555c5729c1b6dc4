//! All records of one name and type: they are answered together or not at all (RFC 2181 section 5).

use nearcast_shared::rtype;

/// A set of records, without the name that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RrSet {
    pub(crate) rtype: u16,
    /// Seconds.
    pub(crate) ttl: u32,
    /// On the wire, names uncompressed.
    pub(crate) rdata: Vec<Box<[u8]>>,
}

impl RrSet {
    /// The names that its records point to.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &[u8]> {
        self.rdata.iter().filter_map(|rdata| rtype::target(self.rtype, rdata))
    }
}
