//! A record of a zone, ready for the wire.

use crate::name::Name;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its owner.
    pub name: Name,
    /// Seconds.
    pub ttl: u32,
    /// Its type's number.
    pub rtype: u16,
    /// Its data on the wire, names uncompressed and in the letter case they were written in.
    pub rdata: Box<[u8]>,
}
