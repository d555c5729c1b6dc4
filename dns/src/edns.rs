//! EDNS(0) (RFC 6891): what the OPT record of a query says. Unknown options and flags are ignored.

use crate::cookie;
use crate::ecs::{self, ClientSubnet};
use crate::message::Fault;
use crate::metrics::Flaw;

/// The option code of name server identifiers, RFC 5001 section 2.3.
pub(crate) const NSID: u16 = 3;
/// The option code of a connection's timeout, RFC 7828 section 3.1.
pub(crate) const KEEPALIVE: u16 = 11;
/// The option code of padding, RFC 7830 section 3.
pub(crate) const PADDING: u16 = 12;

/// The OPT record of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edns<'a> {
    /// Bytes of the largest UDP answer the client takes, as it said.
    pub(crate) udp_size: u16,
    /// Only 0 exists.
    pub(crate) version: u8,
    /// RFC 3225: to be copied into the answer.
    pub(crate) dnssec_ok: bool,
    /// RFC 9824 section 5.1: the RCODE NXDOMAIN is understood beside a compact proof. To be copied into the answer.
    pub(crate) compact_ok: bool,
    /// For whom the query is asked.
    pub(crate) subnet: Option<ClientSubnet<'a>>,
    /// What may show that the client's address is its own, as on the wire: where cookies are off it is an option like any other.
    pub(crate) cookie: Option<&'a [u8]>,
    /// Whether it wants to know who answers.
    pub(crate) nsid: bool,
    /// Whether it wants to know how long a connection may be idle.
    pub(crate) keepalive: bool,
    /// Whether it hides its length, and wants the answer's hidden.
    pub(crate) padding: bool,
}

impl<'a> Edns<'a> {
    /// From the record's class and TTL fields, which OPT uses for its own ends; the options are read apart.
    pub(crate) fn new(class: u16, ttl: u32) -> Self {
        let [_extended_rcode, version, flags, _] = ttl.to_be_bytes();
        Self {
            udp_size: class,
            version,
            dnssec_ok: flags & 0x80 != 0,
            compact_ok: flags & 0x40 != 0,
            subnet: None,
            cookie: None,
            nsid: false,
            keepalive: false,
            padding: false,
        }
    }

    /// Takes in the options. A broken one is a format error: nothing after it can be trusted.
    pub(crate) fn read_options(&mut self, mut data: &'a [u8]) -> Result<(), Fault> {
        // RFC 6891 section 6.1.3: "If a responder does not implement the VERSION level of the request, then it MUST
        // respond with RCODE=BADVERS."
        if self.version > 0 {
            return Err(Fault::Version);
        }
        while !data.is_empty() {
            let Some((&[code_high, code_low, length_high, length_low], rest)) = data.split_first_chunk() else {
                return Err(Fault::Malformed(Flaw::Options));
            };
            let length = usize::from(u16::from_be_bytes([length_high, length_low]));
            let (value, after) = rest.split_at_checked(length).ok_or(Fault::Malformed(Flaw::Options))?;
            self.read_option(u16::from_be_bytes([code_high, code_low]), value).map_err(Fault::Malformed)?;
            data = after;
        }
        Ok(())
    }

    fn read_option(&mut self, code: u16, value: &'a [u8]) -> Result<(), Flaw> {
        match code {
            ecs::CODE => {
                let subnet = ClientSubnet::parse(value).map_err(|_| Flaw::Subnet)?;
                // Two would ask for two answers.
                if self.subnet.replace(subnet).is_some() {
                    return Err(Flaw::Subnet);
                }
            }
            // RFC 7873 section 5.2: "In all cases of multiple COOKIE options in a request, only the first [..] is
            // considered. All others are ignored."
            cookie::CODE => {
                self.cookie.get_or_insert(value);
            }
            // What a client puts into these says nothing; that they are there does.
            NSID => self.nsid = true,
            KEEPALIVE => self.keepalive = true,
            PADDING => self.padding = true,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ttl: u32, options: &[u8]) -> (Edns<'_>, Result<(), Fault>) {
        let mut edns = Edns::new(1232, ttl);
        let result = edns.read_options(options);
        (edns, result)
    }

    #[test]
    fn fields() {
        let (edns, result) = read(0x0000_8000, &[]);
        assert_eq!((edns.udp_size, edns.version, edns.dnssec_ok, result), (1232, 0, true, Ok(())));
        assert!(!read(0x0000_7fff, &[]).0.dnssec_ok);
        assert!(read(0x0000_4000, &[]).0.compact_ok && !read(0x0000_bfff, &[]).0.compact_ok);
    }

    #[test]
    fn options() {
        const SUBNET: [u8; 11] = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];
        const COOKIE: [u8; 12] = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
        let bad = |flaw| Err(Fault::Malformed(flaw));
        let rows: [(&str, Vec<u8>, Result<bool, Fault>); 10] = [
            ("none", vec![], Ok(false)),
            ("subnet", SUBNET.to_vec(), Ok(true)),
            ("cookie before subnet", [&COOKIE[..], &SUBNET].concat(), Ok(true)),
            // RFC 6891 section 6.1.2: "Any OPTION-CODE values not understood by a responder [..] MUST be ignored."
            ("unknown before subnet", [&[0xff, 0xfe, 0, 1, 7][..], &SUBNET].concat(), Ok(true)),
            ("empty unknown", vec![0xff, 0xfe, 0, 0], Ok(false)),
            ("two subnets", [SUBNET, SUBNET].concat(), bad(Flaw::Subnet)),
            ("cut in the head", SUBNET[..3].to_vec(), bad(Flaw::Options)),
            ("cut in the data", SUBNET[..10].to_vec(), bad(Flaw::Options)),
            ("bad subnet", vec![0, 8, 0, 4, 0, 1, 24, 0], bad(Flaw::Subnet)),
            ("bad cookie before subnet", [&[0, 10, 0, 1, 7][..], &SUBNET].concat(), Ok(true)),
        ];
        for (name, options, wanted) in rows {
            let (edns, result) = read(0, &options);
            assert_eq!(result.map(|()| edns.subnet.is_some()), wanted, "{name}");
        }
    }

    #[test]
    fn what_is_asked_for() {
        let flags = |edns: Edns<'_>| (edns.nsid, edns.keepalive, edns.padding, edns.cookie.is_some());
        let rows: [(&[u8], _); 5] = [
            (&[], (false, false, false, false)),
            (&[0, 3, 0, 0], (true, false, false, false)),
            // RFC 7828 has no timeout in a query; one that is there is not ours to take.
            (&[0, 11, 0, 2, 0, 9], (false, true, false, false)),
            (&[0, 12, 0, 3, 0, 0, 0], (false, false, true, false)),
            (&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8], (false, false, false, true)),
        ];
        for (options, wanted) in rows {
            let (edns, result) = read(0, options);
            assert_eq!((flags(edns), result), (wanted, Ok(())), "{options:?}");
        }
    }

    #[test]
    fn the_first_cookie_counts() {
        let (edns, result) = read(0, &[0, 10, 0, 1, 7, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((edns.cookie, result), (Some(&[7][..]), Ok(())), "however long it is");
    }

    #[test]
    fn another_version_is_not_looked_into() {
        assert_eq!(read(0x0001_0000, &[1, 2, 3]).1, Err(Fault::Version));
    }
}
