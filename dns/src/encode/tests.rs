//! Headers, options, limits, and each answer beside what hickory-proto makes of it.

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::RData;
use nearcast_shared::clock::Timestamp;
use nearcast_shared::health::HealthTable;
use proptest::prelude::*;

use super::*;
use crate::answer::answer;
use crate::fixture;
use crate::message;
use crate::metrics::Transport;
use crate::view::View;

/// The answer, which is the same to the byte as hickory-proto's.
fn reply(view: &View, packet: &[u8]) -> Vec<u8> {
    let mut request = message::decode(packet).unwrap();
    let answer = answer(
        &request,
        fixture::FRANKFURT.parse().unwrap(),
        view,
        &HealthTable::default(),
        Timestamp(0),
        fixture::no_texts(),
    );
    let (mut out, mut options) = (Vec::new(), SmallVec::new());
    let manners = fixture::manners("[dns.cookies]\non = false\n");
    let peer = (fixture::FRANKFURT.parse::<std::net::IpAddr>().unwrap(), 53).into();
    let guest = manners.receive(&mut request, peer, Transport::Udp, Timestamp(0));
    manners.extras(&request, &guest, &answer, None).write(&mut options);
    let opt = Opt { udp_size: view.udp_size(), options: &options };
    for limit in [STREAM_LIMIT, udp_limit(&request, view.udp_size())] {
        encode(&request, &answer, &opt, limit, &mut out);
        assert_eq!(out, oracle::encode(&request, &answer, &opt, limit), "{request:?} {answer:?}");
    }
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
fn options_that_do_not_fit_are_left_out() {
    let view = fixture::view();
    let name = [63, 63, 63, 61].map(|length| "a".repeat(length)).join(".");
    let packet = fixture::query_with(&name, 1, &[]);
    let request = message::decode(&packet).unwrap();
    assert_eq!(request.question.as_ref().unwrap().name.wire().len(), 255);
    let cookie = [&[0, 10, 0, 24][..], &[7; 24]].concat();
    let nsid = |length: u8| [&[0, 3, 0, length][..], &vec![b'x'; length.into()]].concat();
    let answer = Answer::empty(Outcome::Fault(message::Fault::Opcode));
    // (bytes of the NSID, of the options that are there)
    for (length, wanted) in [(64, 28 + 68), (198, 28 + 202), (199, 28), (255, 28)] {
        let opt = Opt { udp_size: view.udp_size(), options: &[&cookie[..], &nsid(length)].concat() };
        let mut out = Vec::new();
        assert_eq!(encode(&request, &answer, &opt, 512, &mut out), wanted, "{length}");
        assert_eq!(out.len(), 12 + 259 + 11 + wanted, "{length}");
        let [.., high, low] = out[..12 + 259 + 11] else { panic!("a head") };
        assert_eq!(usize::from(u16::from_be_bytes([high, low])), wanted, "{length}");
        assert!(out[12 + 259 + 11..].starts_with(&cookie), "{length}");
    }
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
