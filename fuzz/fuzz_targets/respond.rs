//! Whatever comes, over whatever transport: a query is answered, once, with an answer that is one, and the same again by who remembers it;
//! what is no query is not.
#![no_main]

use std::net::SocketAddr;
use std::sync::LazyLock;

use domain::base::iana::{OptionCode, Rtype};
use domain::base::opt::UnknownOptData;
use domain::base::{Message, ParsedName, ToName};
use domain::rdata::AllRecordData;
use hickory_proto::op::Message as ProtoMessage;
use libfuzzer_sys::fuzz_target;
use nearcast_dns::Plane;
use nearcast_dns::fuzzing::{Read, Said, read, repeated, respond};
use nearcast_fuzz::{plane, unlimited};

static PLANE: LazyLock<Plane> = LazyLock::new(plane);
static UNLIMITED: LazyLock<Plane> = LazyLock::new(unlimited);

/// Who may ask for explanations, and two who may not.
const PEERS: [&str; 3] = ["192.0.2.1:53", "198.51.100.1:1024", "[2001:db8:100::1]:65535"];

/// Bytes of a datagram to a client that says nothing, and to one that says much.
const PLAIN_MAX: u16 = 512;
const EDNS_MAX: u16 = 1232;

const BAD_COOKIE: u16 = 23;

fuzz_target!(|packet: &[u8]| {
    let peer: SocketAddr = PEERS[usize::from(packet.first().copied().unwrap_or_default()) % 3].parse().expect("one");
    let query = read(packet);
    let mut codes = Vec::new();
    for said in respond(&PLANE, packet, peer) {
        match (&query, &said.reply) {
            (None, None) => {}
            (Some(query), Some(reply)) => {
                let code = check(packet, query, &said, reply);
                // What is too much, or has no good cookie, is answered so.
                let instead = said.is_datagram && (code == BAD_COOKIE || code == 0 && reply[2] & 2 != 0);
                codes.extend((!instead).then_some(code));
            }
            other => panic!("{other:?}"),
        }
    }
    let [first, second, third] = repeated(&UNLIMITED, packet, peer);
    assert!(first == second && second == third, "what was answered before: {first:?} {second:?} {third:?}");
    assert!(codes.windows(2).all(|pair| pair[0] == pair[1]), "by transport: {codes:?}");
});

/// Its response code.
fn check(packet: &[u8], query: &Read, said: &Said, reply: &[u8]) -> u16 {
    let size = query.edns.map_or(PLAIN_MAX, |(size, ..)| size.clamp(PLAIN_MAX, EDNS_MAX));
    let most = if said.is_datagram { size } else { u16::MAX };
    assert!((12..=usize::from(most)).contains(&reply.len()), "{} of {most}", reply.len());
    assert_eq!(reply[..2], packet[..2], "the id");
    assert_eq!(reply[2] & 0xf9, 0x80 | packet[2] & 0x79 | reply[2] & 4 & 0xf9, "QR, opcode and RD");
    assert_eq!(reply[3] & 0xc0, 0, "neither RA nor the reserved bit");
    let code = read_by_domain(query, reply);
    // hickory takes no client subnet of family 0, which we echo.
    if let Err(error) = ProtoMessage::from_vec(reply) {
        assert!(echoes_family_0(reply), "hickory: {error}");
    }
    code
}

/// All of it can be read; the question is the one asked, and there is an OPT record where there was one.
fn read_by_domain(query: &Read, reply: &[u8]) -> u16 {
    type Data<'a> = AllRecordData<&'a [u8], ParsedName<&'a [u8]>>;
    let message = Message::from_octets(reply).expect("a message");
    let (questions, answers, authority, additional) = message.sections().expect("sections");
    let mut asked = Vec::new();
    for question in questions {
        let question = question.expect("a question");
        let name = question.qname().to_vec().as_slice().to_vec();
        asked.push((name, question.qtype().to_int(), question.qclass().to_int()));
    }
    assert_eq!(asked, query.question.iter().cloned().collect::<Vec<_>>(), "letter by letter");
    let mut opts = 0;
    for record in answers.chain(authority) {
        let record = record.expect("a record").to_any_record::<Data<'_>>().expect("its data");
        assert_ne!(record.rtype(), Rtype::OPT);
    }
    for record in additional {
        let record = record.expect("a record").to_any_record::<Data<'_>>().expect("its data");
        opts += usize::from(record.rtype() == Rtype::OPT);
    }
    assert_eq!(opts, usize::from(query.edns.is_some()), "RFC 6891 section 7");
    let mut rest = message.additional().expect("a section");
    while rest.next().is_some() {}
    assert_eq!(rest.pos(), reply.len(), "nothing behind it");
    message.opt_rcode().to_int()
}

fn echoes_family_0(reply: &[u8]) -> bool {
    let opt = Message::from_octets(reply).ok().and_then(|message| message.opt());
    opt.is_some_and(|opt| {
        let mut options = opt.opt().iter::<UnknownOptData<&[u8]>>().flatten();
        options.any(|option| option.code() == OptionCode::CLIENT_SUBNET && option.data().starts_with(&[0, 0]))
    })
}
