//! A query as it is read: just as the `domain` crate and hickory-proto read it, where they can, and refused for what our own
//! rules refuse and for nothing else.
#![no_main]

use domain::base::iana::Rtype;
use domain::base::opt::UnknownOptData;
use domain::base::{Message, ParsedName, ParsedRecord, ToName};
use domain::rdata::AllRecordData;
use hickory_proto::op::Message as ProtoMessage;
use hickory_proto::serialize::binary::BinEncodable;
use libfuzzer_sys::fuzz_target;
use nearcast_dns::fuzzing::{Read, Wrong, read, subnet};

/// EDNS Client Subnet.
const SUBNET: u16 = 8;

type Question = (Vec<u8>, u16, u16);
type Edns = (u16, u8, bool);

/// What `domain` reads, and what our rules find wrong with it.
struct Reading {
    question: Option<Question>,
    edns: Option<Edns>,
    faults: Vec<Wrong>,
}

fuzz_target!(|packet: &[u8]| {
    let Some(ours) = read(packet) else {
        assert!(packet.len() < 12 || packet[2] & 0x80 != 0, "a header of a query");
        return;
    };
    assert!(packet.len() >= 12 && packet[2] & 0x80 == 0, "no query");
    assert_eq!(ours.id.to_be_bytes(), packet[..2]);
    assert_eq!((ours.opcode, ours.recursion_desired), (packet[2] >> 3 & 15, packet[2] & 1 == 1));
    assert!(ours.question.is_some() || ours.fault.is_some(), "there is a question, or something is wrong");
    if let Some(theirs) = by_domain(packet) {
        compare(&ours, &theirs);
    }
    if ours.fault.is_none() {
        compare_with_hickory(&ours, packet);
    }
});

fn compare(ours: &Read, theirs: &Reading) {
    match ours.fault {
        Some(fault) => assert!(theirs.faults.contains(&fault), "{ours:?}: there is {:?}", theirs.faults),
        None => {
            assert_eq!(theirs.faults, []);
            assert_eq!((&ours.question, ours.edns), (&theirs.question, theirs.edns));
        }
    }
    if ours.question.is_some() {
        assert_eq!(ours.question, theirs.question);
    }
    if ours.edns.is_some() {
        assert_eq!(ours.edns, theirs.edns);
    }
}

fn by_domain(packet: &[u8]) -> Option<Reading> {
    let message = Message::from_octets(packet).ok()?;
    let (questions, answers, authority, mut additional) = message.sections().ok()?;
    let questions: Vec<Question> = questions
        .map(|question| {
            let question = question.ok()?;
            let name = question.qname().to_vec().as_slice().to_vec();
            Some((name, question.qtype().to_int(), question.qclass().to_int()))
        })
        .collect::<Option<_>>()?;
    let before: Vec<ParsedRecord<'_, _>> = answers.chain(authority).collect::<Result<_, _>>().ok()?;
    let is_opt = |record: &ParsedRecord<'_, _>| record.rtype() == Rtype::OPT;
    let mut opts = Vec::new();
    loop {
        let begin = additional.pos();
        let Some(record) = additional.next() else { break };
        let record = record.ok()?;
        if is_opt(&record) {
            opts.push((begin, record));
        }
    }
    let mut faults = Vec::new();
    if message.header().opcode().to_int() != 0 {
        faults.push(Wrong::Opcode);
    }
    // A name that is compressed is shorter than it reads, and RFC 6891 section 6.1.1 wants one OPT, in this section.
    let whole = |question: &Question| packet[12..].starts_with(&question.0);
    if questions.len() != 1 || !questions.iter().all(whole) || opts.len() > 1 || before.iter().any(is_opt) {
        faults.push(Wrong::Malformed);
    }
    let mut edns = None;
    for (begin, opt) in &opts {
        let [_, version, flags, _] = opt.ttl().as_secs().to_be_bytes();
        edns.get_or_insert((opt.class().to_int(), version, flags & 0x80 != 0));
        if version > 0 {
            faults.push(Wrong::Version);
        } else if !is_right(opt) {
            faults.push(Wrong::Malformed);
        }
        // RFC 6891 section 6.1.2: NAME "MUST be 0 (root domain)": a pointer to a 0 is read as the root, too, and is not one.
        if packet[*begin] != 0 {
            faults.push(Wrong::Malformed);
        }
    }
    let question = if let [one] = &questions[..] { Some(one.clone()) } else { None };
    Some(Reading { question, edns, faults })
}

/// Whether its options are what we take.
fn is_right(opt: &ParsedRecord<'_, &[u8]>) -> bool {
    type Data<'a> = AllRecordData<&'a [u8], ParsedName<&'a [u8]>>;
    let Ok(record) = opt.to_any_record::<Data<'_>>() else { return false };
    let AllRecordData::Opt(opt) = record.data() else { return false };
    let mut subnets = 0;
    for option in opt.iter::<UnknownOptData<&[u8]>>() {
        let Ok(option) = option else { return false };
        if option.code().to_int() == SUBNET {
            subnets += 1;
            if subnets > 1 || subnet(option.data()).is_err() {
                return false;
            }
        }
    }
    true
}

fn compare_with_hickory(ours: &Read, packet: &[u8]) {
    let Ok(theirs) = ProtoMessage::from_vec(packet) else { return };
    let (Some((name, qtype, qclass)), [query]) = (&ours.question, &theirs.queries[..]) else {
        panic!("{ours:?}, {theirs:?}")
    };
    assert_eq!(&query.name().to_bytes().expect("it was read"), name);
    assert_eq!((u16::from(query.query_type()), u16::from(query.query_class())), (*qtype, *qclass));
    let edns = theirs.edns.as_ref();
    let edns = edns.map(|edns| (edns.max_payload(), edns.version(), edns.flags().dnssec_ok));
    // RFC 6891 section 6.2.3: "Values lower than 512 MUST be treated as equal to 512."
    assert_eq!(ours.edns.map(|(size, version, dnssec_ok)| (size.max(512), version, dnssec_ok)), edns);
}
