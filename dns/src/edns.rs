//! EDNS(0) (RFC 6891): what the OPT record of a query says. Unknown options and flags are ignored.

use crate::answer::Answer;
use crate::ecs::{self, ClientSubnet};
use crate::message::{Fault, Request};

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
}

impl<'a> Edns<'a> {
    /// From the record's class and TTL fields, which OPT uses for its own ends; the options are read apart.
    pub(crate) fn new(class: u16, ttl: u32) -> Self {
        let [_extended_rcode, version, flags, _] = ttl.to_be_bytes();
        Self { udp_size: class, version, dnssec_ok: flags & 0x80 != 0, compact_ok: flags & 0x40 != 0, subnet: None }
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
                return Err(Fault::Malformed);
            };
            let length = usize::from(u16::from_be_bytes([length_high, length_low]));
            let (value, after) = rest.split_at_checked(length).ok_or(Fault::Malformed)?;
            if u16::from_be_bytes([code_high, code_low]) == ecs::CODE {
                let subnet = ClientSubnet::parse(value).map_err(|_| Fault::Malformed)?;
                // Two would ask for two answers.
                if self.subnet.replace(subnet).is_some() {
                    return Err(Fault::Malformed);
                }
            }
            data = after;
        }
        Ok(())
    }
}

/// The option code of extended errors, RFC 8914 section 2.
const EXTENDED_ERROR: u16 = 15;

/// The options of the answer's OPT record.
pub(crate) fn answer_options(request: &Request<'_>, answer: &Answer<'_>, out: &mut impl Extend<u8>) {
    let Some(edns) = request.edns else { return };
    let mut push = |code: u16, data: &[&[u8]]| {
        let length = data.iter().map(|part| part.len()).sum::<usize>() as u16;
        out.extend(code.to_be_bytes());
        out.extend(length.to_be_bytes());
        data.iter().for_each(|part| out.extend(part.iter().copied()));
    };
    // A request with a fault has no subnet that could be trusted.
    if let Some(subnet) = edns.subnet.filter(|_| request.fault.is_none()) {
        let (head, address) = subnet.echo(answer.scope);
        push(ecs::CODE, &[&head, address]);
    }
    if let Some(code) = answer.outcome.extended_error() {
        push(EXTENDED_ERROR, &[&code.to_be_bytes()]);
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
    }

    #[test]
    fn options() {
        const SUBNET: [u8; 11] = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];
        const COOKIE: [u8; 12] = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
        let rows: [(&str, Vec<u8>, Result<bool, Fault>); 8] = [
            ("none", vec![], Ok(false)),
            ("subnet", SUBNET.to_vec(), Ok(true)),
            // RFC 6891 section 6.1.2: "Any OPTION-CODE values not understood by a responder [..] MUST be ignored."
            ("unknown before subnet", [&COOKIE[..], &SUBNET].concat(), Ok(true)),
            ("empty unknown", vec![0xff, 0xfe, 0, 0], Ok(false)),
            ("two subnets", [SUBNET, SUBNET].concat(), Err(Fault::Malformed)),
            ("cut in the head", SUBNET[..3].to_vec(), Err(Fault::Malformed)),
            ("cut in the data", SUBNET[..10].to_vec(), Err(Fault::Malformed)),
            ("bad subnet", vec![0, 8, 0, 4, 0, 1, 24, 0], Err(Fault::Malformed)),
        ];
        for (name, options, wanted) in rows {
            let (edns, result) = read(0, &options);
            assert_eq!(result.map(|()| edns.subnet.is_some()), wanted, "{name}");
        }
    }

    #[test]
    fn another_version_is_not_looked_into() {
        assert_eq!(read(0x0001_0000, &[1, 2, 3]).1, Err(Fault::Version));
    }
}
