//! Types of records: their numbers and names, and where a record's data names another.

use std::ops::Range;
use std::str::FromStr;

use domain::base::iana::Rtype;

use crate::name;

/// An IPv4 address.
pub const A: u16 = 1;
/// A name server.
pub const NS: u16 = 2;
/// Another name for the same.
pub const CNAME: u16 = 5;
/// What a zone begins with.
pub const SOA: u16 = 6;
/// A pointer to another name.
pub const PTR: u16 = 12;
/// What RFC 8482 answers ANY with.
pub const HINFO: u16 = 13;
/// Where mail goes.
pub const MX: u16 = 15;
/// Texts.
pub const TXT: u16 = 16;
/// An IPv6 address.
pub const AAAA: u16 = 28;
/// Where a service is.
pub const SRV: u16 = 33;
/// How a name is rewritten.
pub const NAPTR: u16 = 35;
/// Another name for all below.
pub const DNAME: u16 = 39;
/// EDNS.
pub const OPT: u16 = 41;
/// A delegation's key.
pub const DS: u16 = 43;
/// A signature of DNSSEC.
pub const RRSIG: u16 = 46;
/// What DNSSEC says does not exist.
pub const NSEC: u16 = 47;
/// A zone's keys.
pub const DNSKEY: u16 = 48;
/// What the parent's DS set is to become.
pub const CDS: u16 = 59;
/// The keys that it is to be made of.
pub const CDNSKEY: u16 = 60;
/// RFC 9824 section 4: in an NSEC record, that the name does not exist.
pub const NXNAME: u16 = 128;
/// The fingerprint of a host's key.
pub const SSHFP: u16 = 44;
/// What a TLS server has to show.
pub const TLSA: u16 = 52;
/// How a service is reached.
pub const SVCB: u16 = 64;
/// How a web server is reached.
pub const HTTPS: u16 = 65;
/// The question for whatever there is.
pub const ANY: u16 = 255;
/// Who may issue certificates.
pub const CAA: u16 = 257;

/// `MX`, or `TYPE4711` for what has no name.
pub fn text(rtype: u16) -> String {
    Rtype::from_int(rtype).to_string()
}

/// From `MX`, `mx` or `TYPE15` (RFC 3597 section 5).
pub fn parse(text: &str) -> Option<u16> {
    Rtype::from_str(text).ok().map(Rtype::to_int)
}

/// OPT and those from 128 to 255: they are asked for, but no name has one (RFC 6895 section 3.1).
pub fn is_meta(rtype: u16) -> bool {
    matches!(rtype, 0 | OPT | 128..=255)
}

/// The name that the data of a record points to, where the type has one that clients go on with.
pub fn target(rtype: u16, rdata: &[u8]) -> Option<&[u8]> {
    rdata.get(target_range(rtype, rdata)?)
}

/// Where in the data that name is.
pub fn target_range(rtype: u16, rdata: &[u8]) -> Option<Range<usize>> {
    let at = match rtype {
        NS | CNAME | PTR => 0,
        MX | SVCB | HTTPS => 2,
        SRV => 6,
        _ => return None,
    };
    Some(at..at + name::length(rdata.get(at..)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types() {
        for (number, text) in [(MX, "MX"), (HTTPS, "HTTPS"), (CAA, "CAA"), (4711, "TYPE4711")] {
            assert_eq!((super::text(number).as_str(), parse(text)), (text, Some(number)));
        }
        assert_eq!((parse("mx"), parse("type15"), parse("IN"), parse("MXX")), (Some(MX), Some(MX), None, None));
    }

    #[test]
    fn targets() {
        let name: &[u8] = b"\x01a\x01b\x00";
        let with = |before: &[u8], after: &[u8]| [before, name, after].concat();
        let rows = [
            (CNAME, with(&[], &[])),
            (MX, with(&[0, 10], &[])),
            (SRV, with(&[0, 1, 0, 2, 1, 187], &[])),
            (HTTPS, with(&[0, 1], &[0, 3, 0, 2, 1, 187])),
        ];
        for (rtype, rdata) in rows {
            assert_eq!(target(rtype, &rdata), Some(name), "{}", text(rtype));
        }
        assert_eq!(target(TXT, name), None);
        assert_eq!(target(MX, &[0]), None);
    }
}
