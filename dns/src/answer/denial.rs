//! What does not exist: the SOA record that says how long that may be kept, and in signed zones the proof.
//!
//! The proof is compact (RFC 9824): one NSEC record for the very name, whose interval ends right behind it. It gives nothing
//! else away, and needs no order of names.

use std::borrow::Cow;

use nearcast_shared::rtype;

use super::{Answer, Asked, Data, Outcome, Owner, Place, Set};
use crate::name::WIRE_MAX;
use crate::view::{Target, Zone};

/// Bytes of the longest label, RFC 1035 section 2.3.4.
const LABEL_MAX: u8 = 63;

impl<'v> Asked<'_, 'v> {
    /// RFC 2308 section 3: "Name servers authoritative for a zone MUST include the SOA record of the zone in the authority
    /// section of the response when reporting an NXDOMAIN or indicating that no data of the requested type exists."
    pub(super) fn deny(&self, answer: &mut Answer<'v>, place: Place<'v>, outcome: Outcome) {
        self.deny_for(answer, place, outcome, u32::MAX);
    }

    /// The same, for so many seconds at most.
    pub(super) fn deny_for(&self, answer: &mut Answer<'v>, place: Place<'v>, outcome: Outcome, ttl_max: u32) {
        let zone = place.zone;
        let soa = Set::stored(Owner::Name(&zone.apex), &zone.soa, zone);
        answer.authority.push(soa.at_most(zone.negative_ttl.min(ttl_max)));
        answer.outcome = outcome;
        if self.wants_proof(zone) {
            let has_name = outcome != Outcome::NoName;
            let mut types = if has_name { self.types_at(place) } else { vec![rtype::NXNAME] };
            types.retain(|rtype| *rtype != self.question.qtype);
            answer.authority.push(self.proof(place, types).at_most(ttl_max));
            // RFC 9824 section 5.1: the RCODE tells only those who say that they do not mistake it for a proof.
            let may_tell = self.request.edns.is_some_and(|edns| edns.compact_ok);
            if !has_name && !may_tell {
                answer.outcome = Outcome::NoNameCompact;
            }
        }
    }

    /// Whether what `zone` says is to be proved to whoever asks. RFC 4035 section 3.1: only "upon receiving a relevant query
    /// that has the [..] DO bit [..] set".
    pub(super) fn wants_proof(&self, zone: &Zone) -> bool {
        zone.is_signed() && self.request.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// What a referral needs beside the NS set: the DS set, or that there is none (RFC 4035 section 3.1.4).
    pub(super) fn proof_of_delegation(&self, cut: Place<'v>) -> Set<'v> {
        match cut.node.and_then(|node| node.set(rtype::DS)) {
            Some(keys) => cut.stored(keys),
            None => self.proof(cut, self.types_at(cut)),
        }
    }

    /// The NSEC record of the name itself, for those who ask for that (RFC 9824 section 3.4).
    pub(super) fn own_proof(&self, place: Place<'v>) -> Set<'v> {
        let mut types = self.types_at(place);
        types.extend(place.node.and_then(|node| node.set(rtype::CNAME)).map(|cname| cname.rtype));
        if let Some(Target::Steered(steered)) = place.node.map(|node| node.target)
            && self.view.guide().always_points(steered.policy)
        {
            types = vec![rtype::CNAME];
        }
        self.proof(place, types)
    }

    fn proof(&self, place: Place<'v>, mut types: Vec<u16>) -> Set<'v> {
        types.extend([rtype::RRSIG, rtype::NSEC]);
        let name = self.wire(place.owner).to_ascii_lowercase();
        let rdata = [successor(&name, place.zone.apex.wire()), bitmap(types)].concat();
        let ttl = place.zone.negative_ttl;
        Set { ttl, ttl_original: ttl, ..place.set(Data::Made(rtype::NSEC, vec![Cow::Owned(rdata)])) }
    }

    /// Types that the name has, or has for some clients or at some times: a validator may take it from the record that there are
    /// no others (RFC 8198). CNAME is never among them: then there would be nothing to deny.
    fn types_at(&self, place: Place<'v>) -> Vec<u16> {
        let mut types = Vec::new();
        let name = self.wire(place.owner).to_ascii_lowercase();
        if self.texts_at(&name).is_some() || place.node.is_none() && self.explains(&name) {
            types.push(rtype::TXT);
        }
        let Some(node) = place.node else { return types };
        if node.apex && !std::ptr::eq(self.view.zone_of(node), place.zone) {
            // From above it is a delegation.
            return [rtype::NS].into_iter().chain(node.parental().map(|set| set.rtype)).collect();
        }
        if node.is_delegated() {
            // RFC 4035 section 2.3: "[..] the NSEC RR's type bitmap at a delegation point" has NS, and DS if there is one.
            return node.types().filter(|rtype| matches!(*rtype, rtype::NS | rtype::DS)).collect();
        }
        types.extend(node.types().filter(|rtype| *rtype != rtype::CNAME));
        if node.apex {
            let keys = self.keys(place.zone);
            let of_keys = [rtype::DNSKEY, rtype::CDS, rtype::CDNSKEY];
            types.extend(of_keys.into_iter().filter(|rtype| keys.is_some_and(|keys| keys.set(*rtype).is_some())));
        }
        if let Target::Steered(steered) = node.target {
            types.extend([rtype::A, rtype::AAAA]);
            types.extend(self.view.has_https_record(steered.site).then_some(rtype::HTTPS));
        }
        types
    }
}

/// The name that comes right after `name` in the canonical order (RFC 4034 section 6.1), in lower case: with one more label,
/// of a single zero (RFC 9824 section 3.1), if that fits. Behind the last name of the zone comes its first.
fn successor(name: &[u8], apex: &[u8]) -> Vec<u8> {
    if name.len() + 2 <= WIRE_MAX {
        return [b"\x01\x00", name].concat();
    }
    let mut rest = name;
    while rest.len() > apex.len() {
        let (label, parent) = rest[1..].split_at(usize::from(rest[0]));
        // Nothing fits below it any more, so what comes next has a longer or greater label.
        let mut label = label.to_vec();
        if rest.len() < WIRE_MAX && rest[0] < LABEL_MAX {
            label.push(0);
        } else {
            while label.last() == Some(&u8::MAX) {
                label.pop();
            }
            match label.last_mut() {
                // Capital letters count as small ones.
                Some(last @ b'@') => *last = b'[',
                Some(last) => *last += 1,
                None => {
                    rest = parent;
                    continue;
                }
            }
        }
        return [&[label.len() as u8], &label[..], parent].concat();
    }
    apex.to_vec()
}

/// RFC 4034 section 4.1.2: for each block of 256 types its number, and as many bytes as it takes up to its last bit.
fn bitmap(mut types: Vec<u16>) -> Vec<u8> {
    types.sort_unstable();
    types.dedup();
    let mut wire = Vec::new();
    for block in types.chunk_by(|a, b| a >> 8 == b >> 8) {
        let mut bits = [0u8; 32];
        for rtype in block {
            let [_, low] = rtype.to_be_bytes();
            bits[usize::from(low / 8)] |= 0x80 >> (low % 8);
        }
        let used = bits.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let [number, _] = block[0].to_be_bytes();
        wire.extend([number, used as u8]);
        wire.extend(&bits[..used]);
    }
    wire
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bitmaps() {
        // RFC 4034 section 4.3: A MX RRSIG NSEC TYPE1234.
        let wanted = [&[0x00, 0x06, 0x40, 0x01, 0x00, 0x00, 0x00, 0x03, 0x04, 0x1b][..], &[0; 26], &[0x20]];
        assert_eq!(bitmap(vec![1234, rtype::NSEC, rtype::A, rtype::RRSIG, rtype::MX, rtype::A]), wanted.concat());
        assert_eq!(bitmap(vec![rtype::NXNAME, rtype::NSEC, rtype::RRSIG])[..2], [0, 17]);
    }

    /// A name of labels of that length and content below `z`.
    fn long(lengths: &[usize], byte: u8) -> Vec<u8> {
        let label = |length: &usize| [vec![*length as u8], vec![byte; *length]].concat();
        [lengths.iter().flat_map(label).collect(), b"\x01z\x00".to_vec()].concat()
    }

    #[test]
    fn successors() {
        let apex = b"\x01z\x00";
        assert_eq!(successor(apex, apex), b"\x01\x00\x01z\x00");
        assert_eq!(successor(b"\x01a\x01z\x00", apex), b"\x01\x00\x01a\x01z\x00");
        // 253 bytes: a label of one zero just fits.
        let name = long(&[63, 63, 63, 57], b'a');
        assert_eq!((name.len(), successor(&name, apex).len()), (253, 255));
        // 254 bytes: it does not, one more byte in the label does.
        let name = long(&[62, 63, 63, 59], b'a');
        let next = successor(&name, apex);
        assert_eq!((name.len(), next.len(), next[0], next[63]), (254, 255, 63, 0));
        // 255 bytes: the last letter of the first label.
        let name = long(&[63, 63, 63, 59], b'a');
        let next = successor(&name, apex);
        assert_eq!((name.len(), next[0], next[63]), (255, 63, b'b'));
        let next = successor(&long(&[63, 63, 63, 59], b'@'), apex);
        assert_eq!(next[63], b'[', "not A, which is a");
        let next = successor(&long(&[59, 63, 63, 63], u8::MAX), apex);
        assert_eq!(next, apex, "it was the last name of the zone");
        let next = successor(&long(&[63, 63, 63, 59], u8::MAX), apex);
        assert_eq!((next.len(), next[0], next[60]), (64, 60, 0), "the names above it are full but for the last");
        let mut name = long(&[63, 63, 63, 59], u8::MAX);
        name[64 + 5] = 7;
        let next = successor(&name, apex);
        assert_eq!(next[..7], [5, 255, 255, 255, 255, 8, 63], "the name above it, whose label is full");
    }

    fn canonical(wire: &[u8]) -> Vec<Vec<u8>> {
        let labels = crate::name::suffixes(wire).map(|suffix| suffix[1..=usize::from(suffix[0])].to_vec());
        let mut labels: Vec<_> = labels.collect();
        labels.reverse();
        labels
    }

    proptest! {
        #[test]
        fn a_successor_comes_right_after(
            lengths in prop_oneof![Just(vec![63, 63, 63, 59]), Just(vec![62, 63, 63, 59]), Just(vec![3]), Just(vec![60, 63, 63, 62])],
            bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(b'@'), Just(b'a'), Just(u8::MAX), any::<u8>()], 260),
        ) {
            let apex = b"\x01z\x00";
            let mut bytes = bytes.into_iter().map(|byte| byte.to_ascii_lowercase());
            let mut label = |length: &usize| [vec![*length as u8], bytes.by_ref().take(*length).collect()].concat();
            let name: Vec<u8> = [lengths.iter().flat_map(&mut label).collect(), apex.to_vec()].concat();
            let next = successor(&name, apex);
            prop_assert!(next.len() <= WIRE_MAX && crate::name::length(&next) == Some(next.len()));
            prop_assert_eq!(next.to_ascii_lowercase(), next.clone());
            prop_assert!(next == apex || canonical(&next) > canonical(&name));
        }
    }
}
