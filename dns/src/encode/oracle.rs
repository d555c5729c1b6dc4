//! The same by hickory-proto: what an answer's bytes have to be.

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{CNAME, MX, NS, NULL, PTR, SOA};
use hickory_proto::rr::{Name as ProtoName, RData, Record as ProtoRecord, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

use super::*;

/// The answer in hickory's bytes. It compares names letter by letter, so that it is asked in small ones; their case is put
/// back at the end.
pub(crate) fn encode(request: &Request<'_>, answer: &Answer<'_>, opt: &Opt<'_>, limit: usize) -> Vec<u8> {
    let mut message = message(request, answer, opt);
    let mut out = written(&message);
    if out.len() > limit && answer.outcome != Outcome::Referral {
        message.additionals.clear();
        out = written(&message);
    }
    if out.len() > limit {
        out = written(&message.truncate());
    }
    if let Some(question) = &request.question {
        out[HEADER..][..question.wire.len()].copy_from_slice(question.wire);
    }
    out
}

fn written(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.emit(&mut BinEncoder::new(&mut out)).unwrap();
    out
}

fn message(request: &Request<'_>, answer: &Answer<'_>, opt: &Opt<'_>) -> Message {
    let mut message = Message::response(request.id, OpCode::from_u8(request.opcode));
    message.metadata.recursion_desired = request.recursion_desired;
    message.metadata.truncation = answer.outcome == Outcome::Slipped;
    message.metadata.authoritative = answer.outcome.is_authoritative();
    message.metadata.response_code = ResponseCode::from(
        (answer.outcome.rcode().number() >> 4) as u8,
        (answer.outcome.rcode().number() & 0x0f) as u8,
    );
    let question = request.question.as_ref().map(|question| {
        let lowered = [question.name.wire(), &question.wire[question.name.wire().len()..]].concat();
        decode::<Query>(&lowered)
    });
    let records = |section: &[Set<'_>]| -> Vec<ProtoRecord> {
        section.iter().flat_map(|set| records_of(set, question.as_ref())).collect()
    };
    message.answers = records(&answer.answers);
    message.authorities = records(&answer.authority);
    message.additionals = records(&answer.additional);
    message.edns = edns(request, opt);
    message.queries.extend(question);
    message
}

fn edns(request: &Request<'_>, opt: &Opt<'_>) -> Option<Edns> {
    let asked = request.edns?;
    let mut edns = Edns::new();
    edns.set_max_payload(opt.udp_size).set_version(0).set_dnssec_ok(asked.dnssec_ok);
    edns.flags_mut().z = u16::from(asked.compact_ok) << 14;
    let mut rest = opt.options;
    while let Some((&[code_high, code_low, length_high, length_low], after)) = rest.split_first_chunk() {
        let (data, after) = after.split_at(usize::from(u16::from_be_bytes([length_high, length_low])));
        let code = u16::from_be_bytes([code_high, code_low]);
        edns.options_mut().insert(EdnsOption::Unknown(code, data.to_vec()));
        rest = after;
    }
    Some(edns)
}

fn records_of(set: &Set<'_>, question: Option<&Query>) -> Vec<ProtoRecord> {
    let owner = match set.owner {
        Owner::Question => question.expect("an answer has a question").name.clone(),
        Owner::Name(name) => decode::<ProtoName>(name.wire()),
        Owner::Wire(wire) => decode(wire),
    };
    let mut records = Vec::new();
    set.data.for_each(|rdata| {
        let data = data(set.data.rtype(), rdata);
        records.push(ProtoRecord::from_rdata(owner.clone(), set.ttl, data));
    });
    for signature in &set.signatures {
        records.push(ProtoRecord::from_rdata(owner.clone(), set.ttl, data(rtype::RRSIG, signature)));
    }
    records
}

/// It compresses the names of those types only that it is told of.
fn data(rtype: u16, wire: &[u8]) -> RData {
    match rtype {
        rtype::NS => RData::NS(NS(decode(wire))),
        rtype::CNAME => RData::CNAME(CNAME(decode(wire))),
        rtype::PTR => RData::PTR(PTR(decode(wire))),
        rtype::MX => RData::MX(decode::<MX>(wire)),
        rtype::SOA => RData::SOA(decode::<SOA>(wire)),
        other => {
            let code = RecordType::from(other);
            // `with` panics without bytes.
            let rdata = if wire.is_empty() { NULL::new() } else { NULL::with(wire.to_vec()) };
            RData::Unknown { code, rdata }
        }
    }
}

fn decode<'a, T: BinDecodable<'a>>(wire: &'a [u8]) -> T {
    T::read(&mut BinDecoder::new(wire)).expect("what our own reader let through")
}
