//! What a DNS server is asked by those who test it (RFC 8906 section 8), and what it should never be: each with the answer
//! that docs/dns-input.md gives, over UDP and TCP. `tests/interop` shows a line for each.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::harness::dns::{Query, Tcp, Udp};
use crate::harness::node::Setup;

mod cases;
mod packet;
mod reply;

use packet::Packet;
use reply::Reply;

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
            *wanted_flaws.get_mut(flaw).unwrap_or_else(|| panic!("{name}: there is no flaw {flaw}")) +=
                f64::from(replies);
        }
        for (transport, got) in [("UDP", over_udp(node.dns(), &packet)), ("TCP", over_tcp(node.dns(), &packet))] {
            let (answer, faults) =
                got.map_or(("none".to_owned(), Vec::new()), |reply| judge(&packet, &reply, transport));
            // TCP has room for everything.
            let fits = row.answer.strip_prefix("TC").filter(|_| transport == "TCP").map(|_| "NOERROR, data");
            let is_right = answer == fits.unwrap_or(&row.answer) && faults.is_empty();
            println!(
                "{} {transport} {name}: {answer} {}",
                if is_right { "ok    " } else { "WRONG " },
                faults.join("; ")
            );
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
fn judge(packet: &Packet, bytes: &[u8], transport: &str) -> (String, Vec<String>) {
    let sent = packet.bytes(ID);
    let Some(reply) = Reply::read(bytes) else { return ("unreadable".to_owned(), Vec::new()) };
    let data = if reply.answers > 0 { "data" } else { "empty" };
    let answer = match (reply.rcode, reply.truncated) {
        (0, true) => "TC".to_owned(),
        (0, false) => format!("NOERROR, {data}"),
        (1, _) => "FORMERR".to_owned(),
        (2, _) => "SERVFAIL".to_owned(),
        (3, _) => "NXDOMAIN".to_owned(),
        (4, _) => "NOTIMP".to_owned(),
        (5, _) => "REFUSED".to_owned(),
        (16, _) => "BADVERS".to_owned(),
        (23, _) => "BADCOOKIE".to_owned(),
        (other, _) => other.to_string(),
    };
    let opt = reply.opt.as_ref();
    // DO, and CO of RFC 9824.
    let flags = packet.opt.map(|flags| flags & 0xc000);
    // RFC 7828 section 3.3.2: keepalive is for connections.
    let is_there = |code: &u16| *code != 11 || transport == "TCP";
    let options: Vec<u16> = packet.gets.iter().copied().filter(is_there).collect();
    let checks = [
        ("the id", bytes[..2] == sent[..2]),
        ("QR", bytes[2] & 0x80 != 0),
        ("the opcode", bytes[2] & 0x78 == sent[2] & 0x78),
        ("RD", bytes[2] & 0x01 == sent[2] & 0x01),
        ("RA, AD and the reserved bit", bytes[3] & 0xe0 == 0),
        // We speak for the zone that all of them ask about.
        ("AA", (bytes[2] & 0x04 != 0) == (matches!(reply.rcode, 0 | 3) && !packet.question().is_empty())),
        ("the question", reply.question == packet.question()),
        ("an OPT record when asked with one, and only then", opt.is_some() == packet.opt.is_some()),
        ("EDNS version 0", opt.is_none_or(|opt| opt.version == 0)),
        ("the flags that are copied", opt.map(|opt| opt.flags) == flags),
        ("the options that are due", opt.map_or(&[][..], |opt| &opt.options) == options),
        ("nothing but an error", reply.rcode == 0 || reply.answers == 0),
    ];
    (answer, checks.iter().filter(|(_, right)| !right).map(|(what, _)| format!("not {what}")).collect())
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
