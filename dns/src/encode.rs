//! From an [`Answer`] to hickory's message, and for UDP on to bytes that fit.

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HINFO, MX, NS, NULL, PTR, SOA, TXT};
use hickory_proto::rr::{Name as ProtoName, RData, Record as ProtoRecord, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

use nearcast_shared::rtype;

use crate::answer::{Answer, Data, Owner, Record};
use crate::ecs;
use crate::message::Request;
use crate::metrics::Rcode;

/// Bytes of the largest UDP answer to a client without EDNS (RFC 1035 section 4.2.1).
const PLAIN_UDP_MAX: u16 = 512;
/// The option code of extended errors, RFC 8914 section 2.
const EXTENDED_ERROR: u16 = 15;

/// The answer as hickory's message. `udp_size` is what we say we take.
pub(crate) fn message(request: &Request<'_>, answer: &Answer<'_>, udp_size: u16) -> Message {
    let mut message = Message::response(request.id, OpCode::from_u8(request.opcode));
    message.metadata.recursion_desired = request.recursion_desired;
    message.metadata.authoritative = answer.outcome.is_authoritative();
    message.metadata.response_code = response_code(answer.outcome.rcode());
    let question = request.question.map(|question| decode::<Query>(question.wire));
    let records = |section: &[Record<'_>]| -> Vec<ProtoRecord> {
        let owner = question.as_ref().map(|question| &question.name);
        section.iter().filter_map(|record| proto_record(record, owner)).collect()
    };
    message.answers = records(&answer.answers);
    if let (false, Some(question)) = (answer.texts.is_empty(), &question) {
        // For this very query, so not to be kept.
        let text = RData::TXT(TXT::new(answer.texts.clone()));
        message.answers.push(ProtoRecord::from_rdata(question.name.clone(), 0, text));
    }
    message.authorities = records(&answer.authority);
    message.additionals = records(&answer.additional);
    message.edns = edns(request, answer, udp_size);
    message.queries.extend(question);
    message
}

/// Writes `message` into `out`, in at most as many bytes as the client of `request` takes in a datagram.
pub(crate) fn datagram(
    message: Message,
    request: &Request<'_>,
    udp_size: u16,
    out: &mut Vec<u8>,
) -> Result<(), ProtoError> {
    fit(message, limit(request, udp_size), out)
}

/// Writes `message` into `out`, without the length that goes before it in a stream.
pub(crate) fn stream(message: Message, out: &mut Vec<u8>) -> Result<(), ProtoError> {
    fit(message, u16::MAX, out)
}

/// What does not fit loses its additional records first, which nobody needs (RFC 2181 section 9), and then all others
/// and says so with TC. Only in a referral they are needed: RFC 9471 section 3.1: "When a name server generates a referral
/// response, it MUST include all available glue records for in-domain name servers in the additional section or MUST set
/// TC=1 [..]".
fn fit(mut message: Message, limit: u16, out: &mut Vec<u8>) -> Result<(), ProtoError> {
    let limit = usize::from(limit);
    let is_referral = !message.metadata.authoritative && !message.authorities.is_empty();
    write(&message, out)?;
    if out.len() > limit && !is_referral && !message.additionals.is_empty() {
        message.additionals.clear();
        write(&message, out)?;
    }
    if out.len() > limit {
        write(&message.truncate(), out)?;
    }
    Ok(())
}

/// RFC 6891 section 6.2.3: "Values lower than 512 MUST be treated as equal to 512."
fn limit(request: &Request<'_>, udp_size: u16) -> u16 {
    request.edns.map_or(PLAIN_UDP_MAX, |edns| edns.udp_size.max(PLAIN_UDP_MAX).min(udp_size))
}

fn write(message: &Message, out: &mut Vec<u8>) -> Result<(), ProtoError> {
    out.clear();
    message.emit(&mut BinEncoder::new(out))
}

fn edns(request: &Request<'_>, answer: &Answer<'_>, udp_size: u16) -> Option<Edns> {
    let asked = request.edns?;
    let mut edns = Edns::new();
    edns.set_max_payload(udp_size).set_version(0).set_dnssec_ok(asked.dnssec_ok);
    // A request with a fault has no subnet that could be trusted.
    if let Some(subnet) = asked.subnet.filter(|_| request.fault.is_none()) {
        edns.options_mut().insert(EdnsOption::Unknown(ecs::CODE, subnet.echo(answer.scope)));
    }
    if let Some(code) = answer.outcome.extended_error() {
        edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, code.to_be_bytes().to_vec()));
    }
    Some(edns)
}

fn response_code(rcode: Rcode) -> ResponseCode {
    match rcode {
        Rcode::NoError => ResponseCode::NoError,
        Rcode::FormErr => ResponseCode::FormErr,
        Rcode::ServFail => ResponseCode::ServFail,
        Rcode::NxDomain => ResponseCode::NXDomain,
        Rcode::NotImp => ResponseCode::NotImp,
        Rcode::Refused => ResponseCode::Refused,
        Rcode::BadVers => ResponseCode::BADVERS,
    }
}

/// `None` only for a record of the question's name when there is no question, which no answer has.
fn proto_record(record: &Record<'_>, question: Option<&ProtoName>) -> Option<ProtoRecord> {
    let owner = match record.owner {
        Owner::Question => question?.clone(),
        Owner::Name(name) => decode(name.wire()),
        Owner::Wire(wire) => decode(wire),
    };
    let data = match &record.data {
        Data::A(address) => RData::A(A(*address)),
        Data::Aaaa(address) => RData::AAAA(AAAA(*address)),
        Data::Wire(rtype, wire) => proto_data(*rtype, wire),
        Data::Https(wire) => proto_data(rtype::HTTPS, wire),
        Data::Cname(name) => RData::CNAME(CNAME(decode(name.wire()))),
        Data::AnyObsoleted => RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new())),
    };
    Some(ProtoRecord::from_rdata(owner, record.ttl, data))
}

/// RFC 3597 section 4: "To avoid such corruption, servers MUST NOT compress domain names embedded in the RDATA of types
/// that are class-specific or not well-known." Those of RFC 1035 are, so only their names are told to hickory.
fn proto_data(rtype: u16, wire: &[u8]) -> RData {
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

/// Reads a name, question or data that our own stricter readers have let through.
fn decode<'a, T: BinDecodable<'a>>(wire: &'a [u8]) -> T {
    T::read(&mut BinDecoder::new(wire)).expect("a name that was checked on its way in")
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::MessageType;
    use nearcast_shared::clock::Timestamp;
    use nearcast_shared::health::HealthTable;
    use proptest::prelude::*;

    use super::*;
    use crate::answer::answer;
    use crate::fixture;
    use crate::message;
    use crate::view::View;

    fn reply(view: &View, packet: &[u8]) -> Vec<u8> {
        let request = message::decode(packet).unwrap();
        let answer = answer(
            &request,
            fixture::FRANKFURT.parse().unwrap(),
            view,
            &HealthTable::default(),
            Timestamp(0),
            fixture::no_texts(),
        );
        let mut out = Vec::new();
        datagram(super::message(&request, &answer, view.udp_size()), &request, view.udp_size(), &mut out).unwrap();
        out
    }

    fn read(bytes: &[u8]) -> Message {
        Message::from_vec(bytes).unwrap()
    }

    #[test]
    fn the_header_and_the_question_are_echoed() {
        let packet = fixture::query("wWw.cDn.Example.NET", 1);
        let bytes = reply(&fixture::view(), &packet);
        let end = packet.len();
        assert_eq!(bytes[12..end], packet[12..], "byte for byte");
        assert_eq!(bytes[end..end + 2], [0xc0, 12], "the owner is a pointer to it");
        let message = read(&bytes);
        assert_eq!((message.id, message.message_type), (0x1234, MessageType::Response));
        assert!(message.recursion_desired && !message.recursion_available && message.authoritative);
        assert!(!message.truncation && message.edns.is_none(), "no OPT without being asked");
    }

    #[test]
    fn edns_is_answered_with_ours() {
        let options = [&fixture::subnet("5.1.2.0/24")[..], &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
        let message = read(&reply(&fixture::view(), &fixture::query_with("www.cdn.example.net", 1, &options)));
        let edns = message.edns.unwrap();
        // RFC 3225 section 3: "The DO bit of the query MUST be copied in the response."
        assert_eq!((edns.version(), edns.max_payload(), edns.flags().dnssec_ok), (0, 1232, true));
        assert_eq!(edns.options().as_ref().len(), 1, "the cookie is not echoed");
        let bytes = reply(&fixture::view(), &fixture::query_with("www.cdn.example.net", 1, &options));
        assert!(bytes.ends_with(&[0, 8, 0, 7, 0, 1, 24, 10, 5, 1, 2]), "as sent, with scope 10");
    }

    #[test]
    fn family_0_is_echoed() {
        let option = [0, 8, 0, 4, 0, 0, 0, 0];
        let bytes = reply(&fixture::view(), &fixture::query_with("www.cdn.example.net", 1, &option));
        assert!(bytes.ends_with(&option));
        assert_eq!(bytes[3] & 0x0f, 0, "NOERROR");
    }

    #[test]
    fn an_explanation_is_one_record_that_nobody_keeps() {
        let text = format!("[dns]\nexplain-to = [\"5.1.2.3\"]\n{}", fixture::CONFIG);
        let packet = fixture::query_with("_explain.www.cdn.example.net", 16, &fixture::subnet("3.16.1.0/24"));
        let bytes = reply(&fixture::view_of(&text, "sin"), &packet);
        let message = read(&bytes);
        let [record] = message.answers.as_slice() else { panic!("{message:?}") };
        let RData::TXT(text) = &record.data else { panic!("{record:?}") };
        assert_eq!((record.ttl, record.name.to_string().as_str()), (0, "_explain.www.cdn.example.net."));
        assert_eq!(&*text.txt_data[0], b"client 3.16.1.0");
        assert!(bytes.ends_with(&[0, 8, 0, 7, 0, 1, 24, 24, 3, 16, 1]), "for this very client");
        let plain = fixture::query("_explain.www.cdn.example.net", 16);
        let plain = reply(&fixture::view_of(&text_of_many(), "sin"), &plain);
        assert!(plain.len() <= 512 && read(&plain).truncation);
    }

    /// A fleet of so many PoPs that an explanation has no room in 512 bytes.
    fn text_of_many() -> String {
        let pop = |n: usize| format!("[[pop]]\nname = \"pop{n}\"\naddresses = [\"192.0.2.{}\"]\n", 100 + n);
        let pops: String = (0..20).map(pop).collect();
        format!("[dns]\nexplain-to = [\"0.0.0.0/0\"]\n{pops}{}", fixture::CONFIG)
    }

    #[test]
    fn failures() {
        let view = fixture::view();
        // RFC 8914 section 4.21: Not Authoritative.
        let refused = reply(&view, &fixture::query_with("www.example.com", 1, &[]));
        assert!(refused.ends_with(&[0, 15, 0, 2, 0, 20]));
        assert!(!read(&refused).authoritative);
        assert!(read(&reply(&view, &fixture::query("www.example.com", 1))).edns.is_none());

        let mut packet = fixture::query_with("www.cdn.example.net", 1, &[]);
        let version_at = packet.len() - 5;
        packet[version_at] = 9;
        let message = read(&reply(&view, &packet));
        assert_eq!(u16::from(message.response_code), 16, "BADVERS");
        assert_eq!(message.edns.map(|edns| edns.version()), Some(0));

        let bad_subnet = reply(&view, &fixture::query_with("www.cdn.example.net", 1, &[0, 8, 0, 4, 0, 1, 24, 0]));
        let message = read(&bad_subnet);
        assert_eq!((message.response_code, message.queries.len()), (ResponseCode::FormErr, 1));
        assert_eq!(message.edns.map(|edns| edns.options().as_ref().len()), Some(0));

        let mut notify = fixture::query("www.cdn.example.net", 6);
        notify[2] = 7 << 3 | 1;
        let message = read(&reply(&view, &notify));
        assert_eq!((message.response_code, message.op_code), (ResponseCode::NotImp, OpCode::Unknown(7)));
    }

    /// A PoP with so many addresses that its answer takes about 16 bytes each.
    fn crowded(addresses: usize) -> View {
        let many: Vec<String> = (0..addresses).map(|n| format!("\"192.0.2.{n}\"")).collect();
        fixture::view_of(&fixture::CONFIG.replace("\"192.0.2.10\"", &many.join(", ")), "sin")
    }

    fn query_of_size(size: u16) -> Vec<u8> {
        let mut packet = fixture::query_with("www.cdn.example.net", 1, &[]);
        let at = packet.len() - 8;
        packet[at..at + 2].copy_from_slice(&size.to_be_bytes());
        packet
    }

    #[test]
    fn truncation() {
        let plain = fixture::query("www.cdn.example.net", 1);
        // (name, addresses, query, whether it is truncated)
        let rows = [
            ("plain, 512 suffice", 29, plain.clone(), false),
            ("plain, 512 do not", 30, plain, true),
            ("EDNS 1232", 60, query_of_size(1232), false),
            ("EDNS 1232, too many", 80, query_of_size(1232), true),
            ("EDNS 600", 40, query_of_size(600), true),
            // RFC 6891 section 6.2.3: "Values lower than 512 MUST be treated as equal to 512."
            ("EDNS 100 is 512", 25, query_of_size(100), false),
            ("EDNS 4096 is ours, 1232", 80, query_of_size(4096), true),
        ];
        for (name, addresses, packet, truncated) in rows {
            let message = read(&reply(&crowded(addresses), &packet));
            assert_eq!(message.truncation, truncated, "{name}");
            assert_eq!(message.answers.len(), if truncated { 0 } else { addresses }, "{name}");
            assert_eq!(message.edns.is_some(), packet[11] == 1, "{name}: OPT stays");
            assert_eq!(message.queries.len(), 1, "{name}: the question stays");
        }
    }

    #[test]
    fn glue_gives_way_without_truncation() {
        let message = read(&reply(&crowded(40), &fixture::query("cdn.example.net", 2)));
        assert!(!message.truncation);
        assert_eq!((message.answers.len(), message.additionals.len()), (3, 0));
    }

    proptest! {
        #[test]
        fn every_reply_fits_and_belongs_to_its_query(
            base in prop_oneof![
                Just(fixture::query("www.cdn.example.net", 1)),
                Just(fixture::query("cdn.example.net", 2)),
                Just(fixture::query_with("www.cdn.example.net", 28, &fixture::subnet("5.1.2.0/24"))),
                Just(query_of_size(700)),
            ],
            changes in proptest::collection::vec((0usize..90, any::<u8>()), 0..4),
            cut in 12usize..120,
        ) {
            thread_local!(static VIEW: View = crowded(70));
            let mut packet = base;
            for (at, value) in changes {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = value;
                }
            }
            packet[2] &= 0x7f;
            packet.truncate(cut);
            let bytes = VIEW.with(|view| reply(view, &packet));
            prop_assert_eq!(&bytes[..2], &packet[..2]);
            prop_assert_eq!(bytes[2] & 0x80, 0x80);
            let edns = message::decode(&packet).unwrap().edns;
            prop_assert!(bytes.len() <= edns.map_or(512, |edns| usize::from(edns.udp_size.clamp(512, 1232))));
        }

        #[test]
        fn random_bytes_are_answered(packet in proptest::collection::vec(any::<u8>(), 12..300)) {
            thread_local!(static VIEW: View = fixture::view());
            let mut packet = packet;
            packet[2] &= 0x7f;
            let bytes = VIEW.with(|view| reply(view, &packet));
            prop_assert_eq!(&bytes[..2], &packet[..2]);
            prop_assert!(bytes.len() <= 512 && bytes[2] & 0x80 != 0);
        }
    }
}
