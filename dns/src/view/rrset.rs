//! All records of one name and type: they are answered together or not at all (RFC 2181 section 5).

use nearcast_shared::rtype;

/// A set of records, without the name that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RrSet {
    pub(crate) rtype: u16,
    /// Seconds.
    pub(crate) ttl: u32,
    count: u16,
    /// Of each record the length of its data, in two bytes, and the data, names uncompressed: as on the wire, and in one
    /// piece, so that answering touches little memory.
    wire: Vec<u8>,
}

impl RrSet {
    /// Of these data, on the wire, names uncompressed.
    pub(crate) fn new<'d>(rtype: u16, ttl: u32, rdata: impl IntoIterator<Item = &'d [u8]>) -> Self {
        let mut set = Self { rtype, ttl, count: 0, wire: Vec::new() };
        rdata.into_iter().for_each(|rdata| set.push(rdata));
        set
    }

    /// One more record. What no message could hold is left out: the config refuses it.
    pub(crate) fn push(&mut self, rdata: &[u8]) {
        if let Ok(length) = u16::try_from(rdata.len()) {
            self.wire.extend(length.to_be_bytes());
            self.wire.extend(rdata);
            self.count += 1;
        }
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// The data of each record.
    pub(crate) fn rdata(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.wire[..];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk()?;
            let (rdata, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            rest = after;
            Some(rdata)
        })
    }

    /// The names that its records point to.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &[u8]> {
        self.rdata().filter_map(|rdata| rtype::target(self.rtype, rdata))
    }
}
