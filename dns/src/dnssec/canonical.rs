//! What is signed: a set in canonical form (RFC 4034 section 6). The `domain` crate knows the form of the types it knows,
//! which are not all that RFC 4034 lists; tests hold the two to one another.

use std::ops::Range;

use nearcast_shared::{name, rtype};

use super::rrsig::Rrsig;
use crate::name::Lowered;

const CLASS_IN: [u8; 2] = [0, 1];

/// Hands over the data of each record in turn, on the wire, names uncompressed, in any order.
pub(crate) type Rdatas<'a> = dyn Fn(&mut dyn FnMut(&[u8])) + 'a;

/// A set to be signed.
#[derive(Clone, Copy)]
pub(crate) struct Set<'a> {
    /// Its name on the wire, in any letter case.
    pub(crate) owner: &'a [u8],
    pub(crate) rtype: u16,
    /// Seconds that the zone gives it.
    pub(crate) ttl: u32,
    pub(crate) rdatas: &'a Rdatas<'a>,
}

/// RFC 4034 section 3.1.8.1: "signature = sign(RRSIG_RDATA | RR(1) | RR(2)... )".
pub(crate) fn signed_data(rrsig: &Rrsig<'_>, set: &Set<'_>) -> Vec<u8> {
    let owner = Lowered::new(set.owner);
    let mut rdatas: Vec<Vec<u8>> = Vec::new();
    (set.rdatas)(&mut |rdata| rdatas.push(canonical(set.rtype, rdata)));
    // RFC 4034 section 6.3: sorted "by treating the RDATA portion of the canonical form of each RR as a left-justified
    // unsigned octet sequence", and of duplicates there is one.
    rdatas.sort_unstable();
    rdatas.dedup();
    let each = owner.wire().len() + 10;
    let length: usize = rdatas.iter().map(|rdata| rdata.len() + each).sum();
    let mut data = Vec::with_capacity(length + 300);
    rrsig.write(&mut data);
    for rdata in rdatas {
        data.extend_from_slice(owner.wire());
        data.extend_from_slice(&set.rtype.to_be_bytes());
        data.extend_from_slice(&CLASS_IN);
        data.extend_from_slice(&set.ttl.to_be_bytes());
        data.extend_from_slice(&u16::try_from(rdata.len()).unwrap_or(u16::MAX).to_be_bytes());
        data.extend_from_slice(&rdata);
    }
    data
}

/// The data in canonical form: names in it in lower case, for the types that RFC 4034 section 6.2 lists and RFC 6840 section
/// 5.1 leaves in that list. Data that is not of its type's form stays as it is.
fn canonical(rtype: u16, rdata: &[u8]) -> Vec<u8> {
    let mut canonical = rdata.to_vec();
    if let Some(names) = names(rtype, rdata).and_then(|range| canonical.get_mut(range)) {
        // Length bytes are below any letter.
        names.make_ascii_lowercase();
    }
    canonical
}

/// Where the names in the data are, one after the other.
fn names(rtype: u16, rdata: &[u8]) -> Option<Range<usize>> {
    const MINFO: u16 = 14;
    const RP: u16 = 17;
    const PX: u16 = 26;
    const KX: u16 = 36;
    let (at, count) = match rtype {
        // MD and MF; MB, MG and MR; NXT.
        rtype::NS | rtype::CNAME | rtype::PTR | rtype::DNAME | 3 | 4 | 7..=9 | 30 => (0, 1),
        rtype::SOA | MINFO | RP => (0, 2),
        // AFSDB and RT.
        rtype::MX | KX | 18 | 21 => (2, 1),
        PX => (2, 2),
        rtype::SRV => (6, 1),
        rtype::NAPTR => (naptr(rdata)?, 1),
        // SIG and RRSIG: the signer's name.
        24 | 46 => (18, 1),
        _ => return None,
    };
    let mut end = at;
    for _ in 0..count {
        end += name::length(rdata.get(end..)?)?;
    }
    Some(at..end)
}

/// Where a NAPTR record's name begins: after two numbers and three strings (RFC 3403 section 4.1).
fn naptr(rdata: &[u8]) -> Option<usize> {
    let mut at = 4;
    for _ in 0..3 {
        at += 1 + usize::from(*rdata.get(at)?);
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use domain::base::rdata::{ComposeRecordData, ParseRecordData};
    use domain::base::{ParsedName, Rtype};
    use domain::dep::octseq::Parser;
    use domain::rdata::ZoneRecordData;
    use proptest::prelude::*;

    use super::*;

    /// As the library has it; `None` for what it does not know or cannot read.
    fn by_library(rtype: u16, rdata: &[u8]) -> Option<Vec<u8>> {
        let mut parser = Parser::from_ref(rdata);
        let data: Option<ZoneRecordData<&[u8], ParsedName<&[u8]>>> =
            ParseRecordData::parse_rdata(Rtype::from_int(rtype), &mut parser).ok()?;
        let mut composed = Vec::new();
        data.filter(|_| parser.remaining() == 0)?.compose_canonical_rdata(&mut composed).unwrap();
        Some(composed)
    }

    const NAME: &[u8] = b"\x03WwW\x07eXample\x00";

    #[test]
    fn names_are_lowered_where_the_list_says_so() {
        let lowered = NAME.to_ascii_lowercase();
        let rows: [(u16, &[u8], &[u8]); 14] = [
            (rtype::NS, b"", b""),
            (rtype::CNAME, b"", b""),
            (rtype::PTR, b"", b""),
            (rtype::DNAME, b"", b""),
            (rtype::MX, b"\x00\x41", b""),
            (rtype::SRV, b"\x00\x41\x00\x42\x00\x43", b""),
            (rtype::NAPTR, b"\x00\x41\x00\x42\x01U\x03E2U\x00", b""),
            (rtype::SOA, b"", b"\x00\x41BCDEFGHIJKLMNOPQRSTU"),
            (17, b"", b"\x00"),
            (18, b"\x00\x41", b""),
            (26, b"\x00\x41", b"\x00"),
            (36, b"\x00\x41", b""),
            (30, b"", b"\x00A"),
            (46, b"\x00\x01\x0d\x02AAAABBBBCCCCDD", b"SIGNATURE"),
        ];
        for (rtype, before, after) in rows {
            let rdata = [before, NAME, after].concat();
            let wanted = [before, &lowered, after].concat();
            // A second name of zero length follows the first of SOA, RP and PX.
            assert_eq!(canonical(rtype, &rdata), wanted, "{}", rtype::text(rtype));
        }
    }

    #[test]
    fn all_else_stays() {
        // RFC 6840 section 5.1: NSEC is not in the list. RFC 9460 section 2.2 and RFC 3597 section 7: nor is any new type.
        for rtype in [rtype::TXT, rtype::A, rtype::DS, rtype::HTTPS, rtype::SVCB, rtype::CAA, 47, 50, 4711] {
            assert_eq!(canonical(rtype, NAME), NAME, "{}", rtype::text(rtype));
        }
        let broken: [(u16, &[u8]); 4] = [
            (rtype::MX, b"\x00"),
            (rtype::NS, b"\x05A"),
            (rtype::NAPTR, b"\x00\x00\x00\x00\x09A"),
            (rtype::SOA, b"\x01A\x00"),
        ];
        for (rtype, rdata) in broken {
            assert_eq!(canonical(rtype, rdata), rdata);
        }
    }

    proptest! {
        #[test]
        fn the_library_agrees(
            rtype in prop::sample::select(vec![1_u16, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 28, 33, 35, 39, 43, 44, 47, 48, 52, 64, 65, 257]),
            before in prop::collection::vec(any::<u8>(), 0..8),
            labels in prop::collection::vec("[a-zA-Z]{1,8}", 0..4),
            after in prop::collection::vec(any::<u8>(), 0..24),
        ) {
            let mut name: Vec<u8> = labels.iter().flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
            name.push(0);
            for rdata in [[&before[..], &name, &after].concat(), [&name[..], &name, &after].concat(), [&name[..], &after].concat()] {
                if let Some(wanted) = by_library(rtype, &rdata) {
                    prop_assert_eq!(canonical(rtype, &rdata), wanted);
                }
            }
        }
    }
}
