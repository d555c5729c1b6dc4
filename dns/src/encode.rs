//! From an [`Answer`] to bytes that fit.
//!
//! A writer of our own, since this is what every query pays for: it allocates nothing, copies records as the view has them,
//! and compresses names as far as they end like one written before. The tests hold each answer to the very bytes that
//! hickory-proto makes of it.

use nearcast_shared::rtype;
use smallvec::SmallVec;

use crate::answer::{Answer, Data, Outcome, Owner, Set};
use crate::message::Request;
use crate::name;

/// Bytes of the fixed header.
const HEADER: usize = 12;
/// Bytes of the largest UDP answer to a client without EDNS (RFC 1035 section 4.2.1).
const PLAIN_UDP_MAX: u16 = 512;
/// Bytes of the largest message that a stream can frame.
pub(crate) const STREAM_LIMIT: usize = u16::MAX as usize;
/// Names to look for when one is written. More would find little.
const NAMES_MAX: usize = 64;
/// A pointer has 14 bits for where it points to.
const POINTED_MAX: usize = 0x3fff;

/// What the OPT record says beside what is the same in all answers.
pub(crate) struct Opt<'a> {
    /// Bytes of the largest query that we take.
    pub(crate) udp_size: u16,
    /// As on the wire.
    pub(crate) options: &'a [u8],
}

/// RFC 6891 section 6.2.3: "Values lower than 512 MUST be treated as equal to 512."
pub(crate) fn udp_limit(request: &Request<'_>, udp_size: u16) -> usize {
    request.edns.map_or(PLAIN_UDP_MAX, |edns| edns.udp_size.max(PLAIN_UDP_MAX).min(udp_size)).into()
}

/// Writes the answer to `request` into `out`, in at most `limit` bytes; returns how many of them are options, which end it.
///
/// What does not fit loses its additional records first, which nobody needs (RFC 2181 section 9), and then all others
/// and says so with TC. Only in a referral they are needed: RFC 9471 section 3.1: "When a name server generates a referral
/// response, it MUST include all available glue records for in-domain name servers in the additional section or MUST set
/// TC=1 [..]". Options that do not even fit beside the question are left out, the last ones first.
pub(crate) fn encode(
    request: &Request<'_>,
    answer: &Answer<'_>,
    opt: &Opt<'_>,
    limit: usize,
    out: &mut Vec<u8>,
) -> usize {
    out.clear();
    let question = request.question.as_ref();
    let lowered = question.map_or(&[0][..], |question| question.name.wire());
    let class = question.map_or(0, |question| question.qclass);
    let mut writer = Writer { out, question: lowered, class, names: SmallVec::new() };
    writer.out.extend([0; HEADER]);
    writer.out.extend(question.map_or(&[][..], |question| question.wire));
    let bare = writer.out.len();
    let answers = writer.section(&answer.answers);
    let authorities = writer.section(&answer.authority);
    let whole = writer.out.len();
    let additionals = writer.section(&answer.additional);
    let options = request.edns.map_or(&[][..], |_| fitting(opt.options, limit.saturating_sub(bare + OPT_HEAD)));
    let room = limit.saturating_sub(if request.edns.is_some() { OPT_HEAD + options.len() } else { 0 });
    let mut counts = [answers, authorities, additionals];
    let mut truncated = answer.outcome == Outcome::Slipped;
    if out.len() > room && answer.outcome != Outcome::Referral {
        out.truncate(whole);
        counts[2] = 0;
    }
    if out.len() > room {
        out.truncate(bare);
        counts = [0; 3];
        truncated = true;
    }
    let rcode = answer.outcome.rcode().number();
    if let Some(edns) = request.edns {
        let flags = u8::from(edns.dnssec_ok) << 7 | u8::from(edns.compact_ok) << 6;
        let [size_high, size_low] = opt.udp_size.to_be_bytes();
        let [length_high, length_low] = (options.len() as u16).to_be_bytes();
        out.extend([0, 0, 41, size_high, size_low, (rcode >> 4) as u8, 0, flags, 0, length_high, length_low]);
        out.extend(options);
        counts[2] += 1;
    }
    let [id_high, id_low] = request.id.to_be_bytes();
    let flags = 0x80
        | request.opcode << 3
        | u8::from(answer.outcome.is_authoritative()) << 2
        | u8::from(truncated) << 1
        | u8::from(request.recursion_desired);
    // RFC 4035 section 3.1.6: AD and CD are of resolvers; "A security-aware name server SHOULD clear the CD bit when composing
    // an authoritative response."
    let more_flags = (rcode & 0x0f) as u8;
    let head = [id_high, id_low, flags, more_flags, 0, u8::from(question.is_some())];
    out[..6].copy_from_slice(&head);
    for (at, count) in [6, 8, 10].into_iter().zip(counts) {
        out[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }
    options.len()
}

/// Those of the options that fit into so many bytes one after the other.
fn fitting(options: &[u8], room: usize) -> &[u8] {
    if options.len() <= room {
        return options;
    }
    let mut end = 0;
    while let Some(&[_, _, length_high, length_low]) = options.get(end..).and_then(<[u8]>::first_chunk) {
        let next = end + 4 + usize::from(u16::from_be_bytes([length_high, length_low]));
        if next > room {
            break;
        }
        end = next;
    }
    options.get(..end).unwrap_or_default()
}

/// Bytes of an OPT record without its options.
const OPT_HEAD: usize = 11;

/// A message while it is being written.
struct Writer<'o, 'n> {
    out: &'o mut Vec<u8>,
    /// The name asked for, in lower case: it stands at the end of the header.
    question: &'n [u8],
    /// All records are of the class asked for.
    class: u16,
    /// Names that were written and where, in the order of that; none before the first that needs them.
    names: SmallVec<[(u16, &'n [u8]); 16]>,
}

impl<'n> Writer<'_, 'n> {
    /// Writes all records of these sets, each with its signatures; returns how many.
    fn section(&mut self, sets: &'n [Set<'n>]) -> u16 {
        sets.iter().map(|set| self.set(set)).sum()
    }

    fn set(&mut self, set: &'n Set<'n>) -> u16 {
        let mut count = 0;
        let rtype = set.data.rtype();
        match &set.data {
            Data::Stored(stored) => stored.rdata().for_each(|rdata| {
                self.head(set, rtype);
                self.rdata(rtype, rdata);
                count += 1;
            }),
            Data::Cname(name) => {
                self.head(set, rtype);
                self.rdata(rtype, name.wire());
                count += 1;
            }
            Data::Addresses(..) | Data::Made(..) => set.data.for_each(|rdata| {
                self.head(set, rtype);
                self.copied(rdata);
                count += 1;
            }),
        }
        for signature in &set.signatures {
            self.head(set, rtype::RRSIG);
            self.copied(signature);
            count += 1;
        }
        count
    }

    /// Owner, type, class and TTL.
    fn head(&mut self, set: &Set<'n>, rtype: u16) {
        match set.owner {
            Owner::Question if self.question.len() > 1 => self.pointer(HEADER as u16),
            Owner::Question => self.out.push(0),
            Owner::Name(name) => self.name(name.wire()),
            Owner::Wire(wire) => self.name(wire),
        }
        let [type_high, type_low] = rtype.to_be_bytes();
        let [class_high, class_low] = self.class.to_be_bytes();
        let [a, b, c, d] = set.ttl.to_be_bytes();
        self.out.extend_from_slice(&[type_high, type_low, class_high, class_low, a, b, c, d]);
    }

    fn copied(&mut self, rdata: &[u8]) {
        self.out.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        self.out.extend_from_slice(rdata);
    }

    /// The data of a record with its length. RFC 3597 section 4: "To avoid such corruption, servers MUST NOT compress domain
    /// names embedded in the RDATA of types that are class-specific or not well-known." Those of RFC 1035 are.
    fn rdata(&mut self, rtype: u16, rdata: &'n [u8]) {
        let (before, names) = match rtype {
            rtype::NS | rtype::CNAME | rtype::PTR => (0, 1),
            rtype::MX => (2, 1),
            rtype::SOA => (0, 2),
            _ => return self.copied(rdata),
        };
        let start = self.out.len();
        let (before, mut rest) = rdata.split_at(before.min(rdata.len()));
        self.out.extend_from_slice(&[0; 2]);
        self.out.extend_from_slice(before);
        for _ in 0..names {
            let (name, after) = rest.split_at(name::length(rest).unwrap_or(rest.len()));
            self.name(name);
            rest = after;
        }
        self.out.extend_from_slice(rest);
        let length = (self.out.len() - start - 2) as u16;
        self.out[start..start + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// A name, up to where it ends like one that was written before.
    fn name(&mut self, name: &'n [u8]) {
        if self.names.is_empty() {
            self.remember(self.question, HEADER);
        }
        for suffix in name::suffixes(name) {
            // Of names with one length few differ, so this mostly looks at lengths.
            if let Some((at, _)) = self.names.iter().find(|(_, known)| *known == suffix) {
                let at = *at;
                return self.pointer(at);
            }
            self.remember_one(suffix, self.out.len());
            self.out.extend_from_slice(&suffix[..=usize::from(suffix[0])]);
        }
        self.out.push(0);
    }

    /// That the name stands at `at`, and those above it behind.
    fn remember(&mut self, name: &'n [u8], at: usize) {
        for suffix in name::suffixes(name) {
            self.remember_one(suffix, at + name.len() - suffix.len());
        }
    }

    fn remember_one(&mut self, suffix: &'n [u8], at: usize) {
        if at < POINTED_MAX && self.names.len() < NAMES_MAX {
            self.names.push((at as u16, suffix));
        }
    }

    /// RFC 1035 section 4.1.4.
    fn pointer(&mut self, at: u16) {
        self.out.extend_from_slice(&(0xc000 | at).to_be_bytes());
    }
}

#[cfg(test)]
pub(crate) mod oracle;
#[cfg(test)]
mod tests;
