//! What answers are made of: sets of records, as they are in the view or made for this client.

use std::borrow::Cow;
use std::net::IpAddr;

use nearcast_shared::rtype;
use smallvec::SmallVec;

use crate::dnssec::Signatures;
use crate::name::Name;
use crate::steering::Family;
use crate::view::{RrSet, Zone};

/// A set of records of one name and type.
#[derive(Debug, Clone)]
pub(crate) struct Set<'v> {
    pub(crate) owner: Owner<'v>,
    /// Seconds.
    pub(crate) ttl: u32,
    /// Seconds that the zone gives it, which its signature is about (RFC 4034 section 3.1.4).
    pub(crate) ttl_original: u32,
    pub(crate) data: Data<'v>,
    /// Whose keys sign it; nobody's is what the zone has of others: glue, and the NS set of a delegation.
    pub(crate) zone: Option<&'v Zone>,
    /// It is made for this very name, such as by a wildcard, and another name has another one: there is no end to them.
    pub(crate) passing: bool,
    /// The data of its RRSIG records, for those who ask for them.
    pub(crate) signatures: Signatures,
}

/// Whose records they are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner<'v> {
    /// The name asked for, in the letter case it was asked in.
    Question,
    /// This name.
    Name(&'v Name),
    /// This name, as it is in another record's data.
    Wire(&'v [u8]),
}

/// What the records say.
#[derive(Debug, Clone)]
pub(crate) enum Data<'v> {
    /// As everyone gets them.
    Stored(&'v RrSet),
    /// Of PoPs, all of that family.
    Addresses(Family, Addresses),
    /// Of a PoP that is a CNAME.
    Cname(&'v Name),
    /// Of that type, on the wire, names uncompressed.
    Made(u16, Vec<Cow<'v, [u8]>>),
}

/// Few, so that they mostly need no allocation; sets are moved about, so no more of them in place.
pub(crate) type Addresses = SmallVec<[IpAddr; 2]>;

/// RFC 8482 section 4.2, in answer to ANY: CPU "RFC8482", OS empty.
const ANY_OBSOLETED: &[u8] = b"\x07RFC8482\x00";

impl<'v> Set<'v> {
    /// One that everyone gets, from `zone`.
    pub(crate) fn stored(owner: Owner<'v>, set: &'v RrSet, zone: &'v Zone) -> Self {
        Self { zone: Some(zone), ..Self::glue(owner, set) }
    }

    /// One that the zone has of others.
    pub(crate) fn glue(owner: Owner<'v>, set: &'v RrSet) -> Self {
        Self {
            owner,
            ttl: set.ttl,
            ttl_original: set.ttl,
            data: Data::Stored(set),
            zone: None,
            passing: false,
            signatures: Signatures::new(),
        }
    }

    /// One that is made for an answer, with the TTL of `zone`.
    pub(crate) fn made(owner: Owner<'v>, data: Data<'v>, zone: &'v Zone) -> Self {
        Self {
            owner,
            ttl: zone.ttl,
            ttl_original: zone.ttl,
            data,
            zone: Some(zone),
            passing: false,
            signatures: Signatures::new(),
        }
    }

    /// What stands for all that a name has.
    pub(crate) fn any(owner: Owner<'v>, zone: &'v Zone) -> Self {
        Self::made(owner, Data::Made(rtype::HINFO, vec![Cow::Borrowed(ANY_OBSOLETED)]), zone)
    }

    /// The same, not for longer than that.
    pub(crate) fn at_most(self, ttl_max: u32) -> Self {
        Self { ttl: self.ttl.min(ttl_max), ..self }
    }
}

impl Data<'_> {
    pub(crate) fn rtype(&self) -> u16 {
        match self {
            Self::Stored(set) => set.rtype,
            Self::Addresses(Family::V4, _) => rtype::A,
            Self::Addresses(Family::V6, _) => rtype::AAAA,
            Self::Cname(_) => rtype::CNAME,
            Self::Made(rtype, _) => *rtype,
        }
    }

    /// Hands over the data of each record in turn, on the wire, names uncompressed.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&[u8])) {
        match self {
            Self::Stored(set) => set.rdata().for_each(each),
            Self::Addresses(_, addresses) => addresses.iter().for_each(|address| match address {
                IpAddr::V4(v4) => each(&v4.octets()),
                IpAddr::V6(v6) => each(&v6.octets()),
            }),
            Self::Cname(name) => each(name.wire()),
            Self::Made(_, rdata) => rdata.iter().for_each(|rdata| each(rdata)),
        }
    }
}
