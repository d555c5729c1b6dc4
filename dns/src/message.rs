//! From the bytes of a query to a [`Request`].
//!
//! Lenient where others are and nothing is lost: records in the answer and authority sections are skipped, and bytes
//! after the last record are ignored (as NSD and BIND do; Knot answers FORMERR); both are counted. Strict where a reading
//! would be a guess: a compression pointer in the question's name is a format error, as in NSD and Knot.

use crate::edns::Edns;
use crate::metrics::Flaw;
use crate::name::{Lowered, WIRE_MAX};

/// Bytes of the fixed header.
const HEADER: usize = 12;
/// The type number of the OPT pseudo-record.
const OPT: u16 = 41;

/// A query, as far as it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// To be copied into the answer.
    pub(crate) id: u16,
    /// Four bits, to be copied into the answer.
    pub(crate) opcode: u8,
    /// To be copied into the answer.
    pub(crate) recursion_desired: bool,
    /// The one question; `None` when there was not exactly one or it could not be read.
    pub(crate) question: Option<Question<'a>>,
    /// The OPT record, if there was one.
    pub(crate) edns: Option<Edns<'a>>,
    /// What was wrong, if anything: with the options, or else the first thing.
    pub(crate) fault: Option<Fault>,
    /// What is not as it should be and does no harm.
    pub(crate) surplus: Option<Surplus>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question<'a> {
    /// All of its bytes, to be echoed exactly, letter case and all.
    pub(crate) wire: &'a [u8],
    /// The name alone, uncompressed, in lower case.
    pub(crate) name: Lowered,
    /// QTYPE.
    pub(crate) qtype: u16,
    /// QCLASS.
    pub(crate) qclass: u16,
}

/// What is wrong with a query that must still be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An operation other than a query.
    Opcode,
    /// Nothing is asked. With a cookie that is a question, too (RFC 7873 section 5.4).
    NoQuestion,
    /// It does not follow the format.
    Malformed(Flaw),
    /// An EDNS version that does not exist yet.
    Version,
    /// A type that may not be asked for.
    QueryType,
}

impl Fault {
    /// Whether nothing that was read can be trusted.
    pub(crate) fn is_of_format(self) -> bool {
        match self {
            Self::Malformed(_) | Self::Version => true,
            Self::Opcode | Self::NoQuestion | Self::QueryType => false,
        }
    }

    /// For the counters.
    pub(crate) fn flaw(self) -> Flaw {
        match self {
            Self::Opcode => Flaw::Opcode,
            Self::NoQuestion => Flaw::NoQuestion,
            Self::Malformed(flaw) => flaw,
            Self::Version => Flaw::Version,
            Self::QueryType => Flaw::QueryType,
        }
    }
}

/// What a query has too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surplus {
    /// Records in the answer or authority section.
    Records,
    /// Bytes after the last record.
    Bytes,
}

/// Why a packet is not answered at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Not even a header.
    Short,
    /// An answer itself: answering it could go on for ever, or hit whoever is named as its sender.
    Response,
}

/// Reads a packet. Whatever has a header and is not itself an answer gives a request that can be answered.
pub(crate) fn decode(packet: &[u8]) -> Result<Request<'_>, Silence> {
    let mut reader = Reader { rest: packet };
    let header: &[u8; HEADER] = reader.chunk().ok_or(Silence::Short)?;
    let flags = header[2];
    if flags & 0x80 != 0 {
        return Err(Silence::Response);
    }
    let opcode = flags >> 3 & 0x0f;
    let mut request = Request {
        id: u16::from_be_bytes([header[0], header[1]]),
        opcode,
        recursion_desired: flags & 0x01 != 0,
        question: None,
        edns: None,
        fault: (opcode != 0).then_some(Fault::Opcode),
        surplus: None,
    };
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let counts = [count(4), count(6), count(8), count(10)];
    if let Err(fault) = read_sections(&mut request, reader, counts) {
        request.fault.get_or_insert(fault);
    }
    Ok(request)
}

fn read_sections<'a>(request: &mut Request<'a>, mut reader: Reader<'a>, counts: [u16; 4]) -> Result<(), Fault> {
    let [questions, answers, authorities, additionals] = counts;
    for _ in 0..questions {
        let question = reader.question().map_err(Fault::Malformed)?;
        // RFC 9619 section 4: "A DNS message with OPCODE = 0 and QDCOUNT > 1 MUST be treated as an incorrectly
        // formatted message." An OPT record is still wanted, for the answer's own.
        request.question = (questions == 1).then_some(question);
    }
    let result = match questions {
        0 => Err(Fault::NoQuestion),
        1 => Ok(()),
        2.. => Err(Fault::Malformed(Flaw::Questions)),
    };
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        let record = reader.record().ok_or(Fault::Malformed(Flaw::Cut))?;
        if record.rtype == OPT {
            return Err(Fault::Malformed(Flaw::MisplacedOpt));
        }
        request.surplus = Some(Surplus::Records);
    }
    let mut sound = Ok(());
    for _ in 0..additionals {
        let record = reader.record().ok_or(Fault::Malformed(Flaw::Cut))?;
        if record.rtype != OPT {
            continue;
        }
        // RFC 6891 section 6.1.1: "If a query message with more than one OPT RR is received, a FORMERR (RCODE=1) MUST
        // be returned." and section 6.1.2: NAME "MUST be 0 (root domain)".
        if request.edns.is_some() {
            return Err(Fault::Malformed(Flaw::TwoOpts));
        }
        if !record.owner_is_root {
            return Err(Fault::Malformed(Flaw::MisplacedOpt));
        }
        let mut edns = Edns::new(record.class, record.ttl);
        let options = edns.read_options(record.data);
        request.edns = Some(edns);
        sound = options;
    }
    // RFC 6891 section 6.1.3 wants BADVERS whatever is asked, and how; and what has broken options is no query for a cookie.
    if let Err(fault) = sound {
        request.fault = Some(fault);
    }
    if !reader.rest.is_empty() {
        request.surplus.get_or_insert(Surplus::Bytes);
    }
    result
}

/// A record, as far as anything here cares.
struct RawRecord<'a> {
    owner_is_root: bool,
    rtype: u16,
    class: u16,
    ttl: u32,
    data: &'a [u8],
}

/// What is left of the packet. Nothing is ever read twice: compression pointers are stepped over, not followed.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(chunk)
    }

    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(slice)
    }

    fn number(&mut self) -> Option<u16> {
        self.chunk().copied().map(u16::from_be_bytes)
    }

    fn question(&mut self) -> Result<Question<'a>, Flaw> {
        let start = self.rest;
        loop {
            let &[length] = self.chunk().ok_or(Flaw::Cut)?;
            match length {
                0 => break,
                1..=63 => self.slice(usize::from(length)).ok_or(Flaw::Cut)?,
                64.. => return Err(Flaw::Name),
            };
        }
        let name = &start[..start.len() - self.rest.len()];
        if name.len() > WIRE_MAX {
            return Err(Flaw::Name);
        }
        let (qtype, qclass) = (self.number().ok_or(Flaw::Cut)?, self.number().ok_or(Flaw::Cut)?);
        let wire = &start[..start.len() - self.rest.len()];
        Ok(Question { wire, name: Lowered::new(name), qtype, qclass })
    }

    fn record(&mut self) -> Option<RawRecord<'a>> {
        let owner_is_root = self.rest.first() == Some(&0);
        self.skip_name()?;
        let (rtype, class) = (self.number()?, self.number()?);
        let ttl = u32::from_be_bytes(*self.chunk()?);
        let length = self.number()?;
        Some(RawRecord { owner_is_root, rtype, class, ttl, data: self.slice(usize::from(length))? })
    }

    fn skip_name(&mut self) -> Option<()> {
        loop {
            let &[length] = self.chunk()?;
            match length {
                0 => return Some(()),
                1..=63 => self.slice(usize::from(length))?,
                // RFC 1035 section 4.1.4: a pointer is two bytes and ends the name.
                0xc0.. => return self.slice(1).map(|_| ()),
                64..0xc0 => return None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUESTION: &[u8] = b"\x03wWw\x07example\x03NET\x00\x00\x01\x00\x01";
    const PLAIN_OPT: &[u8] = &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    const A_RECORD: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1];

    fn packet(flags: u8, counts: [u8; 4], parts: &[&[u8]]) -> Vec<u8> {
        let [questions, answers, authorities, additionals] = counts;
        let header = [0xab, 0xcd, flags, 0, 0, questions, 0, answers, 0, authorities, 0, additionals];
        [&header[..], &parts.concat()].concat()
    }

    #[test]
    fn a_plain_query() {
        let packet = packet(0x01, [1, 0, 0, 1], &[QUESTION, PLAIN_OPT]);
        let request = decode(&packet).unwrap();
        assert_eq!((request.id, request.opcode, request.recursion_desired), (0xabcd, 0, true));
        let question = request.question.unwrap();
        assert_eq!((question.wire, question.name.wire()), (QUESTION, &b"\x03www\x07example\x03net\x00"[..]));
        assert_eq!((question.qtype, question.qclass), (1, 1));
        assert_eq!(request.edns.unwrap().udp_size, 1232);
        assert_eq!(request.fault, None);
    }

    #[test]
    fn silence() {
        assert_eq!(decode(&[]), Err(Silence::Short));
        assert_eq!(decode(&[0; 11]), Err(Silence::Short));
        assert_eq!(decode(&packet(0x80, [1, 0, 0, 0], &[QUESTION])), Err(Silence::Response));
        // Before the format is looked at: no amplification by broken answers either.
        assert_eq!(decode(&packet(0x80, [9, 9, 9, 9], &[])), Err(Silence::Response));
    }

    #[test]
    fn faults() {
        let long_name = [&[7; 8 * 32][..], &[0, 0, 1, 0, 1]].concat();
        let named_opt = [&[1, b'a'], PLAIN_OPT].concat();
        let pointed_opt = [&[0xc0, 4][..], &PLAIN_OPT[1..]].concat();
        let next_version = [0, 0, 41, 4, 208, 0, 1, 0, 0, 0, 0];
        let cut_option = [&PLAIN_OPT[..10], &[15, 0, 10, 0, 8, 7, 7, 7, 7, 7, 7, 7, 7, 0, 3, 0]].concat();
        let bad_subnet = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 8, 0, 8, 0, 4, 0, 1, 24, 0];
        // (name, packet, fault, has a question to echo, has an OPT to answer)
        type Row<'a> = (&'a str, Vec<u8>, Option<Fault>, bool, bool);
        let rows: [Row<'_>; 26] = [
            ("no question", packet(0, [0, 0, 0, 0], &[]), Some(Fault::NoQuestion), false, false),
            ("no question, OPT", packet(0, [0, 0, 0, 1], &[PLAIN_OPT]), Some(Fault::NoQuestion), false, true),
            (
                "two questions",
                packet(0, [2, 0, 0, 0], &[QUESTION, QUESTION]),
                Some(Fault::Malformed(Flaw::Questions)),
                false,
                false,
            ),
            (
                "question cut",
                packet(0, [1, 0, 0, 0], &[&QUESTION[..19]]),
                Some(Fault::Malformed(Flaw::Cut)),
                false,
                false,
            ),
            (
                "pointer in the question",
                packet(0, [1, 0, 0, 0], &[&[0xc0, 0, 0, 1, 0, 1]]),
                Some(Fault::Malformed(Flaw::Name)),
                false,
                false,
            ),
            (
                "label type 01",
                packet(0, [1, 0, 0, 0], &[&[0x41, 0, 0, 1, 0, 1]]),
                Some(Fault::Malformed(Flaw::Name)),
                false,
                false,
            ),
            (
                "name over 255 bytes",
                packet(0, [1, 0, 0, 0], &[&long_name]),
                Some(Fault::Malformed(Flaw::Name)),
                false,
                false,
            ),
            (
                "records that are not there",
                packet(0, [1, 0, 0, 1], &[QUESTION]),
                Some(Fault::Malformed(Flaw::Cut)),
                true,
                false,
            ),
            (
                "record cut",
                packet(0, [1, 0, 0, 1], &[QUESTION, &A_RECORD[..15]]),
                Some(Fault::Malformed(Flaw::Cut)),
                true,
                false,
            ),
            (
                "two OPT",
                packet(0, [1, 0, 0, 2], &[QUESTION, PLAIN_OPT, PLAIN_OPT]),
                Some(Fault::Malformed(Flaw::TwoOpts)),
                true,
                true,
            ),
            (
                "OPT with a name",
                packet(0, [1, 0, 0, 1], &[QUESTION, &named_opt]),
                Some(Fault::Malformed(Flaw::MisplacedOpt)),
                true,
                false,
            ),
            (
                "OPT with a pointer to a zero, in the header",
                packet(0, [1, 0, 0, 1], &[QUESTION, &pointed_opt]),
                Some(Fault::Malformed(Flaw::MisplacedOpt)),
                true,
                false,
            ),
            (
                "OPT as an answer",
                packet(0, [1, 1, 0, 0], &[QUESTION, PLAIN_OPT]),
                Some(Fault::Malformed(Flaw::MisplacedOpt)),
                true,
                false,
            ),
            (
                "OPT as authority",
                packet(0, [1, 0, 1, 0], &[QUESTION, PLAIN_OPT]),
                Some(Fault::Malformed(Flaw::MisplacedOpt)),
                true,
                false,
            ),
            ("OPT of version 1", packet(0, [1, 0, 0, 1], &[QUESTION, &next_version]), Some(Fault::Version), true, true),
            (
                "bad subnet",
                packet(0, [1, 0, 0, 1], &[QUESTION, &bad_subnet]),
                Some(Fault::Malformed(Flaw::Subnet)),
                true,
                true,
            ),
            ("NOTIFY", packet(4 << 3, [1, 0, 0, 0], &[QUESTION]), Some(Fault::Opcode), true, false),
            ("opcode 15, empty", packet(15 << 3, [0, 0, 0, 0], &[]), Some(Fault::Opcode), false, false),
            (
                "opcode 15 with OPT",
                packet(15 << 3, [1, 0, 0, 1], &[QUESTION, PLAIN_OPT]),
                Some(Fault::Opcode),
                true,
                true,
            ),
            (
                "records of all kinds",
                packet(0, [1, 1, 1, 2], &[QUESTION, A_RECORD, A_RECORD, A_RECORD, PLAIN_OPT]),
                None,
                true,
                true,
            ),
            (
                "no question, OPT of version 1",
                packet(0, [0, 0, 0, 1], &[&next_version]),
                Some(Fault::Version),
                false,
                true,
            ),
            (
                "two questions, OPT of version 1",
                packet(0, [2, 0, 0, 1], &[QUESTION, QUESTION, &next_version]),
                Some(Fault::Version),
                false,
                true,
            ),
            (
                "opcode 15, OPT of version 1",
                packet(15 << 3, [1, 0, 0, 1], &[QUESTION, &next_version]),
                Some(Fault::Version),
                true,
                true,
            ),
            (
                "no question, cut option",
                packet(0, [0, 0, 0, 1], &[&cut_option]),
                Some(Fault::Malformed(Flaw::Options)),
                false,
                true,
            ),
            (
                "opcode 15, cut option",
                packet(15 << 3, [1, 0, 0, 1], &[QUESTION, &cut_option]),
                Some(Fault::Malformed(Flaw::Options)),
                true,
                true,
            ),
            ("garbage at the end", packet(0, [1, 0, 0, 0], &[QUESTION, b"garbage"]), None, true, false),
        ];
        for (name, packet, fault, question, edns) in rows {
            let request = decode(&packet).unwrap();
            assert_eq!(request.fault, fault, "{name}");
            assert_eq!((request.question.is_some(), request.edns.is_some()), (question, edns), "{name}");
        }
    }

    #[test]
    fn what_is_too_much_is_seen() {
        let rows = [
            ("nothing", packet(0, [1, 0, 0, 1], &[QUESTION, PLAIN_OPT]), None),
            ("an answer", packet(0, [1, 1, 0, 0], &[QUESTION, A_RECORD]), Some(Surplus::Records)),
            ("authority", packet(0, [1, 0, 1, 0], &[QUESTION, A_RECORD, b"more"]), Some(Surplus::Records)),
            ("additional", packet(0, [1, 0, 0, 1], &[QUESTION, A_RECORD]), None),
            ("a byte", packet(0, [1, 0, 0, 1], &[QUESTION, PLAIN_OPT, &[0]]), Some(Surplus::Bytes)),
        ];
        for (name, packet, surplus) in rows {
            assert_eq!(decode(&packet).unwrap().surplus, surplus, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(packet in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(request) = decode(&packet) {
                prop_assert_eq!(request.id.to_be_bytes(), [packet[0], packet[1]]);
                prop_assert!(request.fault.is_some() || request.question.is_some());
            }
        }

        #[test]
        fn a_damaged_query_is_read_without_panic(at in 0usize..60, value in any::<u8>(), length in 0usize..60) {
            let mut packet = packet(0, [1, 1, 0, 1], &[QUESTION, A_RECORD, PLAIN_OPT]);
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
            }
            packet.truncate(length);
            let _either = decode(&packet);
        }
    }
}
