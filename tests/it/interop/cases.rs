//! What is sent; docs/dns-input.md says by the same names what is answered.

use super::packet::{A, OPT, Packet, SOA, option};

const DO: u16 = 0x8000;
/// Flags that mean nothing yet.
const UNKNOWN_FLAGS: u16 = 0x0040;
/// An option that does not exist.
const UNKNOWN_OPTION: &[u8] = &[0, 100, 0, 2, 7, 7];

/// By name: RFC 8906 section 8 first, then what is not a query or not a good one.
pub(super) fn cases() -> Vec<(String, Packet)> {
    let mut all: Vec<(String, Packet)> = Vec::new();
    let mut case = |name: &str, packet: Packet| all.push((name.to_owned(), packet));
    basic(&mut case);
    edns(&mut case);
    questions(&mut case);
    records(&mut case);
    options(&mut case);
    for opcode in 1..=15 {
        case(&format!("opcode {opcode}"), Packet::soa().opcode(opcode));
    }
    for class in [0, 2, 3, 4, 254, 255, 65_535] {
        case(&format!("class {class}"), Packet::of(6, class));
    }
    all
}

fn basic(case: &mut impl FnMut(&str, Packet)) {
    case("8.1.1 SOA", Packet::soa());
    case("8.1.2 unknown type", Packet::of(1000, 1));
    case("8.1.3.1 CD", Packet::soa().flags(0, 0x10));
    case("8.1.3.2 AD", Packet::soa().flags(0, 0x20));
    case("8.1.3.3 reserved bit", Packet::soa().flags(0, 0x40));
    case("8.1.3.4 RD", Packet::soa().flags(1, 0));
    case("AA and TC", Packet::soa().flags(0x06, 0));
    case("RA and an RCODE", Packet::soa().flags(0, 0x8f));
    case("8.1.4 unknown opcode", Packet::soa().opcode(15));
    case("an answer", Packet::soa().flags(0x80, 0));
    case("an answer of another opcode", Packet::soa().flags(0xf8, 0));
}

fn edns(case: &mut impl FnMut(&str, Packet)) {
    case("8.2.1 EDNS", Packet::soa().edns(0, 0, &[]));
    case("8.2.2 EDNS version 1", Packet::soa().edns(1, 0, &[]));
    case("EDNS version 255", Packet::soa().edns(255, 0, &[]));
    case("8.2.3 unknown option", Packet::soa().edns(0, 0, UNKNOWN_OPTION));
    case("8.2.4 unknown flags", Packet::soa().edns(0, UNKNOWN_FLAGS, &[]));
    case("8.2.5 EDNS version 1, unknown flags", Packet::soa().edns(1, UNKNOWN_FLAGS, &[]));
    case("8.2.6 EDNS version 1, unknown option", Packet::soa().edns(1, 0, UNKNOWN_OPTION));
    case("8.2.7 too large, 512 bytes", Packet::of(16, 1).edns(0, DO, &[]).size(512));
    case("too large, 0 bytes", Packet::of(16, 1).edns(0, 0, &[]).size(0));
    case("too large, no EDNS", Packet::of(16, 1));
    case("large, 65535 bytes", Packet::of(16, 1).edns(0, 0, &[]).size(65_535));
    case("8.2.8 DO", Packet::soa().edns(0, DO, &[]));
    case("8.2.9 EDNS version 1, DO", Packet::soa().edns(1, DO, &[]));
    // NSID, client subnet, EXPIRE, cookie.
    let several = [option(3, &[]), option(8, &[0, 1, 24, 0, 192, 0, 2]), option(9, &[]), option(10, &[7; 8])].concat();
    case("8.2.10 several options", Packet::soa().edns(0, 0, &several).gets(&[8, 10, 3]));
}

fn questions(case: &mut impl FnMut(&str, Packet)) {
    case("type 0", Packet::of(0, 1));
    case("type OPT", Packet::of(41, 1));
    case("type TKEY", Packet::of(249, 1));
    case("type IXFR", Packet::of(251, 1));
    case("type AXFR", Packet::of(252, 1));
    case("type ANY", Packet::of(255, 1));
    case("type 65535", Packet::of(65_535, 1));
    case("type RRSIG", Packet::of(46, 1).edns(0, 0, &[]).gets(&[15]));
    case("type NXNAME", Packet::of(128, 1).edns(0, 0, &[]).gets(&[15]));
    case("no question", Packet::asking(&[]).counts([0; 4]));
    case("no question, EDNS", Packet::asking(&[]).counts([0; 4]).edns(0, 0, &[]));
    case("no question, a cookie", Packet::asking(&[]).counts([0; 4]).option(10, &[7; 8]).gets(&[10]));
    case("no question, a bad cookie", Packet::asking(&[]).counts([0; 4]).option(10, &[7; 24]).gets(&[10]));
    let cut = [&option(10, &[7; 8])[..], &[0, 3, 0]].concat();
    case("no question, a cookie and a cut option", Packet::asking(&[]).counts([0; 4]).edns(0, 0, &cut));
    case("no question, EDNS version 1", Packet::asking(&[]).counts([0; 4]).edns(1, 0, &[]));
    case("two questions", Packet::asking(&[SOA, SOA].concat()).counts([2, 0, 0, 0]));
    case("two questions, EDNS version 1", Packet::asking(&[SOA, SOA].concat()).counts([2, 0, 0, 0]).edns(1, 0, &[]));
    case("opcode 15, EDNS version 1", Packet::soa().opcode(15).edns(1, 0, &[]));
    case("opcode 15, a cookie and a cut option", Packet::soa().opcode(15).edns(0, 0, &cut));
    case("nothing after the header", Packet::soa().cut(0));
    case("a label that is cut", Packet::soa().cut(3));
    case("a name that is cut", Packet::soa().cut(9));
    case("a type that is cut", Packet::soa().cut(11));
    case("a class that is cut", Packet::soa().cut(13));
    case("a pointer to itself", Packet::asking(&[0xc0, 12, 0, 6, 0, 1]));
    case("a pointer ahead", Packet::asking(&[0xc0, 18, 0, 6, 0, 1]).trailing(SOA));
    case("a pointer into the header", Packet::asking(&[0xc0, 0, 0, 6, 0, 1]));
    case("pointers in a loop", Packet::asking(&[1, b'a', 0xc0, 12, 0, 6, 0, 1]));
    case("a label of 63 bytes", Packet::named(&[&[b'a'; 63]]));
    case("a label of 64 bytes", Packet::named(&[&[b'a'; 64]]));
    case("a label of 128 bytes", Packet::named(&[&[b'a'; 128]]));
    let rest = |length| [[b'a'; 63].to_vec(), [b'a'; 63].to_vec(), [b'a'; 63].to_vec(), vec![b'a'; length]];
    let long = |length| Packet::named(&rest(length).each_ref().map(Vec::as_slice));
    // The zone's own name takes 10 bytes.
    case("a name of 255 bytes", long(52));
    case("a name of 256 bytes", long(53));
    case("a name of 300 labels", Packet::named(&[&b"a"[..]; 300]));
    case("a name of zeros", Packet::named(&[&[0; 20]]));
}

fn records(case: &mut impl FnMut(&str, Packet)) {
    case("an answer record", Packet::soa().record(1, A));
    case("an authority record", Packet::soa().record(2, A));
    case("an additional record", Packet::soa().record(3, A));
    case("an additional record after OPT", Packet::soa().edns(0, 0, &[]).record(3, A));
    case("a byte too many", Packet::soa().trailing(&[0]));
    case("a byte too many, EDNS", Packet::soa().edns(0, 0, &[]).trailing(&[0]));
    case("a second query behind", Packet::soa().trailing(&Packet::soa().bytes(7)));
    case("records that are not there", Packet::soa().counts([1, 0, 0, 1]));
    case("65535 records that are not there", Packet::soa().counts([1, 65_535, 65_535, 65_535]));
    case("65535 questions that are not there", Packet::soa().counts([65_535, 0, 0, 0]));
    case("a record that is cut", Packet::soa().record(3, &A[..15]));
    case("two OPT", Packet::soa().edns(0, 0, &[]).record(3, OPT));
    case("OPT as an answer", Packet::soa().record(1, OPT));
    case("OPT as authority", Packet::soa().record(2, OPT));
    case("OPT with a name", Packet::soa().record(3, &[&[1, b'a'], OPT].concat()));
    case("OPT with a pointer as its name", Packet::soa().record(3, &[&[0xc0, 12], &OPT[1..]].concat()));
    case("OPT that is cut", Packet::soa().record(3, &OPT[..10]));
}

fn options(case: &mut impl FnMut(&str, Packet)) {
    case("an option without a length", Packet::soa().edns(0, 0, &[0, 3, 0]));
    case("an option beyond the record", Packet::soa().edns(0, 0, &[0, 3, 0, 1]));
    for length in [0u8, 7, 8, 9, 15, 16, 24, 40, 41] {
        let gets = if matches!(length, 8 | 16 | 24 | 40) { &[10][..] } else { &[] };
        case(&format!("a cookie of {length} bytes"), Packet::soa().option(10, &vec![7; length.into()]).gets(gets));
    }
    let twice = [option(10, &[7; 8]), option(10, &[7; 7])].concat();
    case("two cookies", Packet::soa().edns(0, 0, &twice).gets(&[10]));
    case("a subnet of 3 bytes", Packet::soa().option(8, &[0, 1, 24]));
    case("a subnet of family 3", Packet::soa().option(8, &[0, 3, 0, 0]));
    case("a subnet of family 0", Packet::soa().option(8, &[0, 0, 0, 0]).gets(&[8]));
    case("a subnet with a scope", Packet::soa().option(8, &[0, 1, 24, 24, 192, 0, 2]));
    case("a subnet of 33 bits", Packet::soa().option(8, &[0, 1, 33, 0, 192, 0, 2, 1, 0]));
    case("a subnet with too few bytes", Packet::soa().option(8, &[0, 1, 24, 0, 192, 0]));
    case("a subnet with bits beyond", Packet::soa().option(8, &[0, 1, 20, 0, 192, 0, 0xff]));
    let subnet = option(8, &[0, 1, 24, 0, 192, 0, 2]);
    case("two subnets", Packet::soa().edns(0, 0, &[&subnet[..], &subnet].concat()));
    case("NSID with data", Packet::soa().option(3, b"x").gets(&[3]));
    case("keepalive with a timeout", Packet::soa().option(11, &[0, 9]).gets(&[11]));
    case("padding", Packet::soa().option(12, &[0; 20]));
}
