//! What a DNS server is asked by those who test it (RFC 8906 section 8), and what it should never be: each with the answer
//! that docs/dns-input.md gives, over UDP and TCP. `tests/interop` shows a line for each.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use hickory_proto::op::{Message, ResponseCode};

use crate::harness::dns::{Query, Tcp, Udp};
use crate::harness::node::Setup;

mod cases;
mod packet;

use packet::Packet;

/// One row of the document.
struct Row {
    name: String,
    /// Such as `NOERROR, data`.
    answer: String,
    /// A flaw, or nothing.
    counted: Option<String>,
}

/// The tables of docs/dns-input.md: case, answer, counted as, why.
fn rows() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dns-input.md");
    let text = fs::read_to_string(path).expect("docs/dns-input.md");
    let lines = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| sent |"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, answer, counted, _why] = cells.as_slice() else { panic!("four cells: {line}") };
        let counted = counted.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).map(str::to_owned);
        Row { name: (*name).to_owned(), answer: (*answer).to_owned(), counted }
    };
    lines.map(row).collect()
}

fn setup() -> Setup {
    let mut setup = Setup::empty().set("dns.nsid", "\"{pop}\"");
    // More than 512 bytes, less than 1232.
    let text = format!("\\\"{}\\\"", "x".repeat(200));
    let record = format!("[[zone.record]]\nname = \"@\"\ntype = \"TXT\"\ndata = \"{text} {text} {text}\"");
    setup.zones[0] = format!("{}\n{record}", setup.zones[0]);
    setup
}

#[test]
fn every_query_gets_its_documented_answer() {
    let node = setup().start();
    let mut rows: BTreeMap<String, Row> = rows().into_iter().map(|row| (row.name.clone(), row)).collect();
    let flaws = || -> BTreeMap<String, f64> {
        let text = node.admin("GET", "/metrics", "").text();
        let of = |line: &str| {
            let (flaw, count) = line.strip_prefix("nearcast_dns_flaws_total{flaw=\"")?.split_once("\"} ")?;
            Some((flaw.to_owned(), count.parse().ok()?))
        };
        text.lines().filter_map(of).collect()
    };
    let (mut wanted_flaws, mut wrong) = (flaws(), Vec::new());
    for (name, packet) in cases::cases() {
        let Some(row) = rows.remove(&name) else {
            wrong.push(format!("{name}: not in docs/dns-input.md"));
            continue;
        };
        let replies = if row.answer == "none" { 0 } else { 2 };
        if let Some(flaw) = &row.counted {
            *wanted_flaws.get_mut(flaw).unwrap_or_else(|| panic!("{name}: there is no flaw {flaw}")) += f64::from(replies);
        }
        for (transport, got) in [("UDP", over_udp(node.dns(), &packet)), ("TCP", over_tcp(node.dns(), &packet))] {
            let (answer, faults) = got.map_or(("none".to_owned(), Vec::new()), |reply| judge(&packet, &reply));
            // TCP has room for everything.
            let fits = row.answer.strip_prefix("TC").filter(|_| transport == "TCP").map(|_| "NOERROR, data");
            let is_right = answer == fits.unwrap_or(&row.answer) && faults.is_empty();
            println!("{} {transport} {name}: {answer} {}", if is_right { "ok    " } else { "WRONG " }, faults.join("; "));
            if !is_right {
                wrong.push(format!("{name} over {transport}: {answer}, not {}; {}", row.answer, faults.join("; ")));
            }
        }
    }
    wrong.extend(rows.keys().map(|name| format!("{name}: in docs/dns-input.md, but nothing sends it")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(flaws(), wanted_flaws, "each is counted as the document says");
    let dropped = |reason| node.metric(&format!("nearcast_dns_dropped_total{{reason=\"{reason}\"}}"));
    assert_eq!(dropped("response"), Some(4.0), "two answers, over UDP and TCP");
}

/// What is answered, as the document writes it, and what is wrong with it whatever was asked.
fn judge(packet: &Packet, reply: &[u8]) -> (String, Vec<String>) {
    let sent = packet.bytes(ID);
    let message = match Message::from_vec(reply) {
        Ok(message) => message,
        Err(error) => return ("unreadable".to_owned(), vec![error.to_string()]),
    };
    let code = message.metadata.response_code;
    let name = match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::BADVERS => "BADVERS",
        ResponseCode::BADCOOKIE => "BADCOOKIE",
        _ => "another",
    };
    let answer = match (name, message.metadata.truncation, message.answers.is_empty()) {
        ("NOERROR", true, _) => "TC".to_owned(),
        ("NOERROR", false, false) => "NOERROR, data".to_owned(),
        ("NOERROR", false, true) => "NOERROR, empty".to_owned(),
        _ => name.to_owned(),
    };
    let opcode = sent[2] & 0x78;
    let edns = message.edns.as_ref();
    let checks = [
        ("the id", reply[..2] == sent[..2]),
        ("QR", reply[2] & 0x80 != 0),
        ("the opcode", reply[2] & 0x78 == opcode),
        ("RD", reply[2] & 0x01 == sent[2] & 0x01),
        ("RA, AD and the reserved bit", reply[3] & 0xe0 == 0),
        ("an OPT record when asked with one, and only then", edns.is_some() == packet.opt),
        ("EDNS version 0", edns.is_none_or(|edns| edns.version() == 0)),
        ("flags that are known", edns.is_none_or(|edns| edns.flags().z & !0x4000 == 0)),
        ("options that were asked for", !has_option(reply, 100) && !has_option(reply, 9)),
        ("nothing but an error", code == ResponseCode::NoError || message.answers.is_empty()),
        ("the question", message.queries.is_empty() || reply[12..].starts_with(&question_of(&sent))),
    ];
    (answer, checks.iter().filter(|(_, right)| !right).map(|(what, _)| format!("not {what}")).collect())
}

/// The bytes of the one question of a query that has one that can be read.
fn question_of(sent: &[u8]) -> Vec<u8> {
    let mut at = 12;
    while sent[at] != 0 {
        at += 1 + usize::from(sent[at]);
    }
    sent[12..at + 5].to_vec()
}

fn has_option(reply: &[u8], code: u16) -> bool {
    let edns = Message::from_vec(reply).unwrap().edns;
    edns.is_some_and(|edns| edns.options().as_ref().iter().any(|(have, _)| u16::from(*have) == code))
}

const ID: u16 = 0xbeef;

/// The reply, or that there is none before that to a good query.
fn over_udp(to: SocketAddr, packet: &Packet) -> Option<Vec<u8>> {
    let client = Udp::connect(to);
    client.send(&packet.bytes(ID));
    client.send(&Packet::soa().bytes(1));
    Some(client.receive_raw()).filter(|reply| reply[..2] == ID.to_be_bytes())
}

fn over_tcp(to: SocketAddr, packet: &Packet) -> Option<Vec<u8>> {
    let mut client = Tcp::connect(to);
    client.send(&packet.bytes(ID));
    client.send(&Packet::soa().bytes(1));
    Some(client.receive().unwrap()).filter(|reply| reply[..2] == ID.to_be_bytes())
}

#[test]
fn packets_without_a_header_get_nothing() {
    let node = setup().start();
    let client = Udp::connect(node.dns());
    for length in 0..12 {
        client.send(&Packet::soa().bytes(ID)[..length]);
    }
    // The first reply is that to the good query.
    assert_eq!(client.ask(&Packet::soa().bytes(1)).0.metadata.id, 1);
    assert_eq!(node.metric("nearcast_dns_dropped_total{reason=\"short\"}"), Some(12.0));
    assert_eq!(Query::new("cdn.test", hickory_proto::rr::RecordType::SOA).udp(node.dns()).data().len(), 1);
}
