//! Tables over [`answer`]: each row a query, and what must come back.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::fixture;
use crate::message::decode;
use crate::name;
use crate::texts::Text;

const A: u16 = 1;
const NS: u16 = 2;
const SOA: u16 = 6;
const HINFO: u16 = 13;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const OPT: u16 = 41;
const HTTPS: u16 = 65;
const AXFR: u16 = 252;
const ANY: u16 = 255;

/// The answer to `packet` from `resolver` with these PoPs down: RCODE, then AA, then the sections.
fn shown(view: &View, packet: &[u8], resolver: &str, down: &[&str]) -> String {
    shown_with(view, packet, resolver, down, fixture::no_texts())
}

fn shown_with(view: &View, packet: &[u8], resolver: &str, down: &[&str], texts: &Texts) -> String {
    let request = decode(packet).unwrap();
    let answer = answer(&request, resolver.parse().unwrap(), view, &fixture::health(view, down), Timestamp(0), texts);
    let mut text = format!("{:?}", answer.outcome.rcode());
    if answer.outcome.is_authoritative() {
        text.push_str(" aa");
    }
    for (name, section) in [("", &answer.answers), (" authority", &answer.authority), (" glue", &answer.additional)] {
        if !section.is_empty() {
            let records: Vec<String> = section.iter().flat_map(records).collect();
            text.push_str(&format!("{name}: {}", records.join(", ")));
        }
    }
    text
}

/// Each record of a set.
fn records(set: &Set<'_>) -> Vec<String> {
    let owner = match set.owner {
        Owner::Question => "@".to_owned(),
        Owner::Name(name) => name.to_string(),
        Owner::Wire(wire) => Name::from_wire(wire).unwrap().to_string(),
    };
    let mut all = Vec::new();
    set.data.for_each(|rdata| all.push(format!("{owner} {} {}", set.ttl, text(set.data.rtype(), rdata))));
    all
}

/// Data of the types that are asked for here.
fn text(rtype: u16, rdata: &[u8]) -> String {
    let number = |at: usize| u32::from_be_bytes(rdata[rdata.len() - at..][..4].try_into().unwrap());
    match (rtype, rdata) {
        (rtype::A, [a, b, c, d]) => Ipv4Addr::new(*a, *b, *c, *d).to_string(),
        (rtype::AAAA, _) => Ipv6Addr::from(<[u8; 16]>::try_from(rdata).unwrap()).to_string(),
        (rtype::SOA, _) => {
            let primary = name::length(rdata).unwrap();
            let contact = primary + name::length(&rdata[primary..]).unwrap();
            let name = |wire| Name::from_wire(wire).unwrap();
            let (primary, contact) = (name(&rdata[..primary]), name(&rdata[primary..contact]));
            format!("SOA {primary} {contact} {} {}", number(20), number(4))
        }
        (rtype::HINFO, _) => "HINFO RFC8482".to_owned(),
        (rtype::TXT, [_, text @ ..]) => format!("TXT {}", text.escape_ascii()),
        _ => {
            let target = rtype::target(rtype, rdata).map(|wire| Name::from_wire(wire).unwrap().to_string());
            format!("{} {}", rtype::text(rtype), target.unwrap_or_else(|| format!("{rdata:02x?}")))
        }
    }
}

const SOA_TEXT: &str = "SOA ns1.cdn.example.net hostmaster.cdn.example.net 2026112201 20";
const NEGATIVE: &str = "authority: cdn.example.net 20 SOA ns1.cdn.example.net hostmaster.cdn.example.net 2026112201 20";

#[test]
fn names_and_types() {
    let view = fixture::view();
    let nodata = format!("NoError aa {NEGATIVE}");
    let nxdomain = format!("NxDomain aa {NEGATIVE}");
    let soa = format!("NoError aa: @ 60 {SOA_TEXT}");
    let servers = "NoError aa: @ 60 NS ns1.cdn.example.net, @ 60 NS ns2.cdn.example.net, @ 60 NS ns.elsewhere.example \
                   glue: ns1.cdn.example.net 60 192.0.2.10, ns1.cdn.example.net 60 2001:db8:1::10, \
                   ns2.cdn.example.net 60 198.51.100.10, ns2.cdn.example.net 60 198.51.100.11, \
                   ns2.cdn.example.net 60 2001:db8:2::10";
    let fra = "NoError aa: @ 60 192.0.2.10";
    let iad = "NoError aa: @ 60 198.51.100.10, @ 60 198.51.100.11";
    let minimal = "NoError aa: @ 60 HINFO RFC8482";
    let rows: [(&str, &str, u16, &str); 31] = [
        ("SOA", "cdn.example.net", SOA, &soa),
        ("NS with glue for our own", "cdn.example.net", NS, servers),
        ("letter case does not matter", "CDN.example.NET", NS, servers),
        ("apex A", "cdn.example.net", A, &nodata),
        ("steered A", "www.cdn.example.net", A, fra),
        ("steered AAAA", "www.cdn.example.net", AAAA, "NoError aa: @ 60 2001:db8:1::10"),
        ("edge", "edge.cdn.example.net", A, fra),
        ("PoP name A", "iad.cdn.example.net", A, iad),
        ("PoP name AAAA", "iad.cdn.example.net", AAAA, "NoError aa: @ 60 2001:db8:2::10"),
        ("name server", "ns2.cdn.example.net", A, iad),
        // RFC 2308 section 2.2: "NODATA is indicated by an answer with the RCODE set to NOERROR and no relevant
        // answers in the answer section. The authority section will contain an SOA record [..]"
        ("steered TXT", "www.cdn.example.net", TXT, &nodata),
        ("steered HTTPS", "www.cdn.example.net", HTTPS, &nodata),
        ("steered HINFO", "www.cdn.example.net", HINFO, &nodata),
        ("steered NS", "www.cdn.example.net", NS, &nodata),
        ("steered SOA", "www.cdn.example.net", SOA, &nodata),
        ("a type that nobody knows", "www.cdn.example.net", 0xff00, &nodata),
        ("type 0", "www.cdn.example.net", 0, &nodata),
        // RFC 8020 section 2: NXDOMAIN would deny all names below too, so an empty non-terminal is NODATA.
        ("empty non-terminal A", "b.cdn.example.net", A, &nodata),
        ("empty non-terminal ANY", "b.cdn.example.net", ANY, &nodata),
        // RFC 2308 section 3: "Name servers authoritative for a zone MUST include the SOA record of the zone in the
        // authority section of the response when reporting an NXDOMAIN [..]"
        ("missing", "no.cdn.example.net", A, &nxdomain),
        ("missing below a steered name", "x.www.cdn.example.net", AAAA, &nxdomain),
        ("missing ANY", "no.cdn.example.net", ANY, &nxdomain),
        // RFC 8482 section 4.2: "[..] a single HINFO resource record SHOULD be returned."
        ("ANY steered", "www.cdn.example.net", ANY, minimal),
        ("ANY apex", "cdn.example.net", ANY, minimal),
        ("ANY PoP name", "fra.cdn.example.net", ANY, minimal),
        ("outside", "www.example.com", A, "Refused"),
        ("a site outside", "static.example.com", A, "Refused"),
        ("above", "example.net", A, "Refused"),
        ("root", "", NS, "Refused"),
        ("transfer", "cdn.example.net", AXFR, "Refused"),
        ("OPT as a question", "cdn.example.net", OPT, "Refused"),
    ];
    for (name, qname, qtype, wanted) in rows {
        assert_eq!(shown(&view, &fixture::query(qname, qtype), fixture::FRANKFURT, &[]), wanted, "{name}");
    }
}

#[test]
fn an_apex_that_is_a_site_is_steered_beside_soa_and_ns() {
    let text = fixture::CONFIG.replace("\"static.example.com\"", "\"cdn.example.net\"");
    let view = fixture::view_of(&text, "sin");
    let ask = |qtype| shown(&view, &fixture::query("cdn.example.net", qtype), fixture::JAKARTA, &[]);
    assert_eq!(ask(A), "NoError aa: @ 60 203.0.113.10");
    assert_eq!(ask(SOA), format!("NoError aa: @ 60 {SOA_TEXT}"));
    assert!(ask(NS).starts_with("NoError aa: @ 60 NS ns1.cdn.example.net, "));
}

/// A zone with something of everything that is followed, and a steered name with records beside its addresses.
const RECORDS: &str = r#"
    [[pop]]
    name = "fra"
    location = [50.03, 8.57]
    addresses = ["192.0.2.10"]
    [[pop]]
    name = "iad"
    location = [38.94, -77.46]
    addresses = ["198.51.100.10"]
    [[site]]
    domains = ["a.test", "www.a.test"]
    origin = "http://origin.test"
    [[zone]]
    name = "a.test"
    nameservers = ["ns.other.test"]
    ttl = 60
    negative-ttl = 20
    [[zone.record]]
    type = "MX"
    data = ["10 mail", "20 www", "30 mail.other.test."]
    [[zone.record]]
    name = "mail"
    type = "A"
    ttl = 300
    data = "192.0.2.77"
    [[zone.record]]
    name = "www"
    type = "TXT"
    data = "beside"
    [[zone.record]]
    name = "c1"
    type = "CNAME"
    data = "C2"
    [[zone.record]]
    name = "c2"
    type = "CNAME"
    data = "mail"
    [[zone.record]]
    name = "cout"
    type = "CNAME"
    data = "www.other.test."
    [[zone.record]]
    name = "cnone"
    type = "CNAME"
    data = "none.mail"
    [[zone.record]]
    name = "cwww"
    type = "CNAME"
    data = "www"
    [[zone.record]]
    name = "cdel"
    type = "CNAME"
    data = "x.del"
    [[zone.record]]
    name = "_sip._tcp"
    type = "SRV"
    data = ["0 5 5060 mail", "0 5 5061 MAIL"]
    [[zone.record]]
    name = "*.w"
    type = "CNAME"
    data = "mail"
    [[zone.record]]
    name = "del"
    type = "NS"
    data = ["ns.del", "ns.other.test."]
    [[zone.record]]
    name = "del"
    type = "DS"
    data = "1 13 2 ab"
    [[zone.record]]
    name = "ns.del"
    type = "A"
    data = "192.0.2.88"
    [[zone]]
    name = "child.a.test"
    nameservers = ["ns.other.test"]
    ttl = 7
"#;

#[test]
fn static_records() {
    let view = fixture::view_of(RECORDS, "fra");
    let soa = "a.test 20 SOA ns.other.test hostmaster.a.test 1 20";
    let nodata = format!("NoError aa authority: {soa}");
    let referral =
        "authority: del.a.test 60 NS ns.del.a.test, del.a.test 60 NS ns.other.test glue: ns.del.a.test 60 192.0.2.88";
    let rows: [(&str, &str, u16, String); 26] = [
        (
            "MX at a steered apex; the address of a steered name is nobody's glue",
            "a.test",
            rtype::MX,
            "NoError aa: @ 60 MX mail.a.test, @ 60 MX www.a.test, @ 60 MX mail.other.test glue: mail.a.test 300 192.0.2.77"
                .to_owned(),
        ),
        (
            "records that point to one name",
            "_sip._tcp.a.test",
            rtype::SRV,
            "NoError aa: @ 60 SRV mail.a.test, @ 60 SRV mail.a.test glue: mail.a.test 300 192.0.2.77".to_owned(),
        ),
        ("steered apex", "a.test", A, "NoError aa: @ 60 192.0.2.10".to_owned()),
        ("TXT beside steered", "www.a.test", TXT, "NoError aa: @ 60 TXT beside".to_owned()),
        ("MX at a steered name without", "www.a.test", rtype::MX, nodata.clone()),
        (
            "CNAMEs are followed",
            "c1.a.test",
            A,
            "NoError aa: @ 60 CNAME c2.a.test, c2.a.test 60 CNAME mail.a.test, mail.a.test 300 192.0.2.77".to_owned(),
        ),
        ("CNAME asked for", "c1.a.test", rtype::CNAME, "NoError aa: @ 60 CNAME c2.a.test".to_owned()),
        ("ANY at a CNAME", "c1.a.test", ANY, "NoError aa: @ 60 HINFO RFC8482".to_owned()),
        ("CNAME out of our zones", "cout.a.test", A, "NoError aa: @ 60 CNAME www.other.test".to_owned()),
        // RFC 6604 section 3: "[..] the RCODE in the ultimate DNS response MUST BE set based on the final query cycle
        // leading to that response."
        (
            "CNAME to what does not exist",
            "cnone.a.test",
            A,
            format!("NxDomain aa: @ 60 CNAME none.mail.a.test authority: {soa}"),
        ),
        (
            "CNAME to a name without the type",
            "c2.a.test",
            AAAA,
            format!("NoError aa: @ 60 CNAME mail.a.test authority: {soa}"),
        ),
        (
            "CNAME to a steered name",
            "cwww.a.test",
            A,
            "NoError aa: @ 60 CNAME www.a.test, www.a.test 60 192.0.2.10".to_owned(),
        ),
        (
            "CNAME to a steered name's record",
            "cwww.a.test",
            TXT,
            "NoError aa: @ 60 CNAME www.a.test, www.a.test 60 TXT beside".to_owned(),
        ),
        ("CNAME to below a delegation", "cdel.a.test", A, format!("NoError aa: @ 60 CNAME x.del.a.test {referral}")),
        (
            "wildcard CNAME",
            "x.y.w.a.test",
            A,
            "NoError aa: @ 60 CNAME mail.a.test, mail.a.test 300 192.0.2.77".to_owned(),
        ),
        ("above a wildcard", "w.a.test", A, nodata.clone()),
        ("delegation", "x.del.a.test", A, format!("NoError {referral}")),
        ("delegation itself", "del.a.test", A, format!("NoError {referral}")),
        ("NS of a delegation", "del.a.test", NS, format!("NoError {referral}")),
        ("SOA of a delegation", "del.a.test", SOA, format!("NoError {referral}")),
        ("ANY of a delegation", "del.a.test", ANY, format!("NoError {referral}")),
        ("glue is not ours to answer", "ns.del.a.test", A, format!("NoError {referral}")),
        ("DS of a delegation", "del.a.test", rtype::DS, "NoError aa: @ 60 DS [00, 01, 0d, 02, ab]".to_owned()),
        ("DS below a delegation", "x.del.a.test", rtype::DS, format!("NoError {referral}")),
        // RFC 4035 section 3.1.4.1: the parent's word.
        ("DS of a zone within", "child.a.test", rtype::DS, nodata.clone()),
        ("DS of a zone whose parent is not ours", "a.test", rtype::DS, nodata.clone()),
    ];
    for (name, qname, qtype, wanted) in rows {
        assert_eq!(shown(&view, &fixture::query(qname, qtype), fixture::FRANKFURT, &[]), wanted, "{name}");
    }
}

/// The config refuses loops; what is left of them, and what is long, ends.
#[test]
fn cnames_without_end() {
    let mut config = fixture::config(RECORDS, "fra");
    let long: Vec<(String, String)> = (0..20).map(|link| (format!("l{link}"), format!("l{}", link + 1))).collect();
    let loops = [("loop0", "loop1"), ("loop1", "LOOP2"), ("loop2", "loop1"), ("self", "SELF"), ("*.v", "x.v")];
    let loops = loops.map(|(name, target)| (name.to_owned(), target.to_owned()));
    config.zones[0].records.extend(loops.into_iter().chain(long).map(|(name, target)| {
        let name = Name::parse(&format!("{name}.a.test")).unwrap();
        let labels = target.split('.').chain(["a", "test", ""]);
        let rdata = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
        nearcast_shared::config::Record { name, ttl: 60, rtype: rtype::CNAME, rdata }
    }));
    let view = fixture::compile(&config);
    let at = |name: &str| shown(&view, &fixture::query(name, A), fixture::FRANKFURT, &[]);
    let rows = [
        ("self.a.test", "NoError aa: @ 60 CNAME self.a.test"),
        ("loop1.a.test", "NoError aa: @ 60 CNAME loop2.a.test, loop2.a.test 60 CNAME loop1.a.test"),
        (
            "LOOP0.a.test",
            "NoError aa: @ 60 CNAME loop1.a.test, loop1.a.test 60 CNAME loop2.a.test, loop2.a.test 60 CNAME loop1.a.test",
        ),
        ("x.v.a.test", "NoError aa: @ 60 CNAME x.v.a.test"),
        ("y.v.a.test", "NoError aa: @ 60 CNAME x.v.a.test, x.v.a.test 60 CNAME x.v.a.test"),
    ];
    for (name, wanted) in rows {
        assert_eq!(at(name), wanted, "{name}");
    }
    let long = at("l0.a.test");
    assert_eq!(long.matches("CNAME").count(), LINKS_MAX + 1, "{long}");
}

/// The outcome, the scope, and each answer's TTL and data, for a client whose whole address is known.
fn made_for<'v>(view: &'v View, client: &str, qtype: u16, down: &[&str]) -> (Outcome, u8, Vec<(u32, Data<'v>)>) {
    let packet = fixture::query_with("www.cdn.example.net", qtype, &fixture::subnet(&format!("{client}/32")));
    let request = decode(&packet).unwrap();
    let (health, resolver) = (fixture::health(view, down), fixture::UNKNOWN.parse().unwrap());
    let answer = answer(&request, resolver, view, &health, Timestamp(0), fixture::no_texts());
    let data = answer.answers.into_iter().map(|record| (record.ttl, record.data));
    (answer.outcome, answer.scope, data.collect())
}

/// RFC 9460 section 7.3: hints "MUST NOT be empty" and name where the service is; ours are the addresses that A and AAAA have.
#[test]
fn https_records_are_of_the_same_pop_as_addresses() {
    let tls = "tls = { certificate = \"a\", key = \"b\" }\norigin = \"http://origin";
    let listen = "[listen]\nhttps = [\":8443\"]\n";
    let text = format!("{listen}{}", fixture::CONFIG.replace("origin = \"http://origin", tls));
    let text = text.replace("[1.36, 103.99]", "[1.36, 103.99]\nlisten = { https = [\":443\"] }");
    let view = fixture::view_of(&text, "sin");
    let ask = made_for;
    for client in [fixture::FRANKFURT, fixture::NEW_YORK, fixture::JAKARTA, fixture::UNKNOWN] {
        for down in [&[][..], &["fra"], &["sin", "iad"], &["fra", "iad", "sin"]] {
            let [a, aaaa] = [A, AAAA].map(|qtype| ask(&view, client, qtype, down));
            let https = ask(&view, client, HTTPS, down);
            let addresses = |data: &Data<'_>| match data {
                Data::Addresses(_, addresses) => addresses.to_vec(),
                other => panic!("{other:?}"),
            };
            let hints: Vec<IpAddr> = a.2.iter().chain(&aaaa.2).flat_map(|(_, data)| addresses(data)).collect();
            let Outcome::Steered(Sent { pop, .. }) = a.0 else { panic!("{a:?}") };
            let port = if view.pop(pop).name == "sin" { 443 } else { 8443 };
            assert_eq!((https.0, https.1), (a.0, a.1), "{client} {down:?}");
            let [(ttl, Data::Made(HTTPS, rdata))] = &https.2[..] else { panic!("{https:?}") };
            assert_eq!((*ttl, &*rdata[0]), (a.2[0].0, &binding::rdata(port, &hints)[..]), "{client} {down:?}");
        }
    }
    let off = fixture::view_of(&text.replace("tls = {", "https-record = false\ntls = {"), "sin");
    assert_eq!(ask(&off, fixture::FRANKFURT, HTTPS, &[]).0, Outcome::NoData);
    let edge = shown(&view, &fixture::query("edge.cdn.example.net", HTTPS), fixture::FRANKFURT, &[]);
    assert!(edge.starts_with("NoError aa authority"), "of which site is not known: {edge}");
    // Only Frankfurt has an IPv4 address in this fleet, and only others an IPv6 one, on another port.
    let split = text
        .replace("[50.03, 8.57]", "[50.03, 8.57]\nlisten = { https = [\":444\"] }")
        .replace(", \"2001:db8:1::10\"", "");
    let split = fixture::view_of(&split, "sin");
    let https = ask(&split, fixture::FRANKFURT, HTTPS, &[]);
    let [(_, Data::Made(HTTPS, rdata))] = &https.2[..] else { panic!("{https:?}") };
    assert_eq!(*rdata[0], binding::rdata(444, &["192.0.2.10".parse().unwrap()]));
}

/// Texts add, and take nothing away.
#[test]
fn texts_that_come_and_go() {
    let view = fixture::view_of(RECORDS, "fra");
    let text = |name: &str, ttl, until| Text {
        name: name.to_owned(),
        value: "proof".to_owned(),
        ttl,
        until: Timestamp::from_seconds(until),
    };
    let texts = Texts::new(&[
        text("_acme-challenge.deep.A.test", 30, 1000),
        text("www.a.test", 90, 1000),
        text("x.w.a.test", 30, 1000),
        text("x.del.a.test", 30, 1000),
        text("gone.a.test", 30, 0),
        text("soon.a.test", 30, 7),
    ]);
    let soa = "authority: a.test 20 SOA ns.other.test hostmaster.a.test 1 20";
    let mail = "mail.a.test 300 192.0.2.77";
    let rows = [
        ("a name that was not there", "_ACME-challenge.deep.a.test", TXT, "NoError aa: @ 30 TXT proof".to_owned()),
        ("another type", "_acme-challenge.deep.a.test", A, format!("NoError aa {soa}")),
        ("ANY", "_acme-challenge.deep.a.test", ANY, "NoError aa: @ 60 HINFO RFC8482".to_owned()),
        ("the name above", "deep.a.test", TXT, format!("NoError aa {soa}")),
        ("the name below", "x._acme-challenge.deep.a.test", TXT, format!("NxDomain aa {soa}")),
        // RFC 2181 section 5.2: one TTL.
        ("beside the zone's own", "www.a.test", TXT, "NoError aa: @ 60 TXT beside, @ 60 TXT proof".to_owned()),
        ("steering goes on", "www.a.test", A, "NoError aa: @ 60 192.0.2.10".to_owned()),
        ("where a wildcard is", "x.w.a.test", TXT, "NoError aa: @ 30 TXT proof".to_owned()),
        ("and the wildcard goes on", "x.w.a.test", A, format!("NoError aa: @ 60 CNAME mail.a.test, {mail}")),
        (
            "through a CNAME",
            "cwww.a.test",
            TXT,
            "NoError aa: @ 60 CNAME www.a.test, www.a.test 60 TXT beside, www.a.test 60 TXT proof".to_owned(),
        ),
        ("no longer than it lives", "soon.a.test", TXT, "NoError aa: @ 7 TXT proof".to_owned()),
        ("expired", "gone.a.test", TXT, format!("NxDomain aa {soa}")),
    ];
    for (name, qname, qtype, wanted) in rows {
        let packet = fixture::query(qname, qtype);
        assert_eq!(shown_with(&view, &packet, fixture::FRANKFURT, &[], &texts), wanted, "{name}");
    }
    let referral = shown_with(&view, &fixture::query("x.del.a.test", TXT), fixture::FRANKFURT, &[], &texts);
    assert!(referral.starts_with("NoError authority: del.a.test 60 NS"), "{referral}");
}

/// RFC 7871 section 7.2.1: a resolver keeps all of an answer for its scope, or only its first record for everyone.
#[test]
fn no_answer_mixes_what_is_for_all_with_what_is_for_some() {
    let view = fixture::view_of(RECORDS, "fra");
    let whole = "NoError aa: @ 60 CNAME www.a.test, www.a.test 60 198.51.100.10";
    let alone = "NoError aa: @ 60 CNAME www.a.test";
    let rows = [
        ("without ECS", Vec::new(), whole),
        ("ECS", fixture::subnet("5.1.2.0/24"), alone),
        ("ECS that is unknown", fixture::subnet("10.1.2.0/24"), alone),
        ("ECS source 0", vec![0, 8, 0, 4, 0, 1, 0, 0], whole),
    ];
    for (name, options, wanted) in rows {
        let packet = fixture::query_with("cwww.a.test", A, &options);
        assert_eq!(shown(&view, &packet, fixture::NEW_YORK, &[]), wanted, "{name}");
        let request = decode(&packet).unwrap();
        let health = HealthTable::default();
        let answer =
            answer(&request, fixture::NEW_YORK.parse().unwrap(), &view, &health, Timestamp(0), fixture::no_texts());
        assert_eq!(answer.scope, 0, "{name}");
    }
}

#[test]
fn classes() {
    let view = fixture::view();
    for (name, class, wanted) in
        [("IN", 1, "NoError aa: @ 60 192.0.2.10"), ("CHAOS", 3, "Refused"), ("ANY", 255, "Refused")]
    {
        let mut packet = fixture::query("www.cdn.example.net", A);
        *packet.last_mut().unwrap() = class;
        assert_eq!(shown(&view, &packet, fixture::FRANKFURT, &[]), wanted, "{name}");
    }
}

#[test]
fn faults_have_their_codes() {
    let view = fixture::view();
    let query = fixture::query("www.cdn.example.net", A);
    let changed = |at: usize, value: u8| {
        let mut packet = query.clone();
        packet[at] = value;
        packet
    };
    let mut next_version = fixture::query_with("www.cdn.example.net", A, &[]);
    let version_at = next_version.len() - 5;
    next_version[version_at] = 1;
    let rows = [
        ("no question", changed(5, 0), "FormErr"),
        ("two questions", changed(5, 2), "FormErr"),
        ("NOTIFY", changed(2, 4 << 3), "NotImp"),
        ("UPDATE", changed(2, 5 << 3), "NotImp"),
        ("EDNS version 1", next_version, "BadVers"),
        ("bad ECS", fixture::query_with("www.cdn.example.net", A, &[0, 8, 0, 1, 0]), "FormErr"),
    ];
    for (name, packet, wanted) in rows {
        assert_eq!(shown(&view, &packet, fixture::FRANKFURT, &[]), wanted, "{name}");
    }
}

/// (PoP, TTL, scope) of the A answer for www.
fn steered(view: &View, resolver: &str, options: &[u8], down: &[&str]) -> (String, u32, u8) {
    let packet = fixture::query_with("www.cdn.example.net", A, options);
    let request = decode(&packet).unwrap();
    let answer = answer(
        &request,
        resolver.parse().unwrap(),
        view,
        &fixture::health(view, down),
        Timestamp(0),
        fixture::no_texts(),
    );
    let Outcome::Steered(Sent { pop, .. }) = answer.outcome else { panic!("not steered: {:?}", answer.outcome) };
    (view.pop(pop).name.clone(), answer.answers[0].ttl, answer.scope)
}

#[test]
fn whom_an_answer_is_for() {
    let view = fixture::view();
    let ecs = fixture::subnet;
    let none = Vec::new();
    let privacy = vec![0, 8, 0, 4, 0, 1, 0, 0];
    let family_0 = vec![0, 8, 0, 4, 0, 0, 0, 0];
    // (name, resolver, options, down, PoP, TTL, scope)
    type Row<'a> = (&'a str, &'a str, Vec<u8>, &'a [&'a str], &'a str, u32, u8);
    let all: &[&str] = &["fra", "iad", "sin"];
    let rows: [Row<'_>; 24] = [
        // Without ECS the resolver's address decides.
        ("by resolver", fixture::NEW_YORK, none.clone(), &[], "iad", 60, 0),
        ("by IPv6 resolver", "2600:1::53", none.clone(), &[], "iad", 60, 0),
        ("mapped resolver", "::ffff:5.1.2.3", none.clone(), &[], "fra", 60, 0),
        ("6to4 resolver", "2002:0501:0203::1", none.clone(), &[], "fra", 60, 0),
        ("unknown resolver: this PoP", fixture::UNKNOWN, none.clone(), &[], "sin", 60, 0),
        ("unknown resolver, this PoP down", fixture::UNKNOWN, none.clone(), &["sin"], "fra", 60, 0),
        ("unknown resolver, all down", fixture::UNKNOWN, none, all, "sin", 60, 0),
        // With ECS the subnet decides, and scope = min(depth, max(source, 24 or 56)).
        ("wide data", fixture::NEW_YORK, ecs("5.1.2.0/24"), &[], "fra", 60, 10),
        ("scope over source", fixture::FRANKFURT, ecs("3.16.0.0/16"), &[], "iad", 60, 20),
        ("narrow data", fixture::NEW_YORK, ecs("36.64.1.128/26"), &[], "sin", 60, 26),
        ("whole address", fixture::NEW_YORK, ecs("36.64.1.130/32"), &[], "sin", 60, 26),
        ("IPv6", fixture::NEW_YORK, ecs("2a00:800::/56"), &[], "fra", 60, 20),
        ("6to4 subnet", fixture::NEW_YORK, ecs("2002:501:200::/40"), &[], "fra", 60, 26),
        ("mapped subnet", fixture::NEW_YORK, ecs("::ffff:5.1.2.0/120"), &[], "fra", 60, 106),
        // Health does not change the scope: the answer is short-lived anyway.
        ("failover", fixture::NEW_YORK, ecs("5.1.2.0/24"), &["fra"], "iad", 60, 10),
        ("drained twice", fixture::NEW_YORK, ecs("5.1.2.0/24"), &["fra", "iad"], "sin", 60, 10),
        ("all down", fixture::NEW_YORK, ecs("5.1.2.0/24"), all, "fra", 60, 10),
        // An unknown subnet is not the resolver's place: from this PoP, scope = source, briefly.
        ("unknown subnet", fixture::NEW_YORK, ecs("10.1.2.0/24"), &[], "sin", 10, 24),
        ("unknown subnet, this PoP down", fixture::NEW_YORK, ecs("10.1.2.0/24"), &["sin"], "fra", 10, 24),
        ("unknown IPv6 subnet", fixture::NEW_YORK, ecs("fd00::/48"), &[], "sin", 10, 48),
        // The client's IPv4 address is in the last bits: all of the /32 is many places.
        ("Teredo subnet", fixture::NEW_YORK, ecs("2001::/32"), &[], "sin", 10, 56),
        // RFC 7871 section 7.1.2: privacy. Decided by the resolver's address, for all.
        ("source 0", fixture::NEW_YORK, privacy, &[], "iad", 60, 0),
        ("family 0", fixture::NEW_YORK, family_0.clone(), &[], "iad", 60, 0),
        ("family 0, unknown resolver", fixture::UNKNOWN, family_0, &[], "sin", 60, 0),
    ];
    for (name, resolver, options, down, pop, ttl, scope) in rows {
        assert_eq!(steered(&view, resolver, &options, down), (pop.to_owned(), ttl, scope), "{name}");
    }
}

#[test]
fn static_answers_hold_for_everyone() {
    let view = fixture::view();
    let rows = [
        ("SOA", "cdn.example.net", SOA),
        ("NS", "cdn.example.net", NS),
        ("PoP name", "fra.cdn.example.net", A),
        ("NODATA", "www.cdn.example.net", TXT),
        ("NXDOMAIN", "no.cdn.example.net", A),
        ("REFUSED", "www.example.com", A),
    ];
    for (name, qname, qtype) in rows {
        let packet = fixture::query_with(qname, qtype, &fixture::subnet("5.1.2.0/24"));
        let request = decode(&packet).unwrap();
        let answer = answer(
            &request,
            fixture::NEW_YORK.parse().unwrap(),
            &view,
            &HealthTable::default(),
            Timestamp(0),
            fixture::no_texts(),
        );
        assert_eq!(answer.scope, 0, "{name}");
    }
}

#[test]
fn a_zone_with_a_shorter_ttl_keeps_it() {
    let view = fixture::view_of(&fixture::CONFIG.replace("ttl = 60", "ttl = 5"), "sin");
    assert_eq!(steered(&view, fixture::NEW_YORK, &fixture::subnet("10.1.2.0/24"), &[]).1, 5);
    let nodata = shown(&view, &fixture::query("www.cdn.example.net", TXT), fixture::NEW_YORK, &[]);
    assert!(nodata.contains("cdn.example.net 5 SOA"), "min(SOA's TTL, negative TTL): {nodata}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// RFC 7871 section 7.3.1: a resolver gives the answer to every client within the scope.
    #[test]
    fn inside_a_scope_the_answer_is_the_same(
        network in prop_oneof![Just("5.0.0.0/8"), Just("3.16.0.0/18"), Just("36.64.1.0/24"), Just("0.0.0.0/0"),
                               Just("2a00::/16"), Just("2600::/28"), Just("2002:500::/24")],
        (bits, other) in any::<(u128, u128)>(),
    ) {
        let view = fixture::view();
        let (base, length) = network.split_once('/').unwrap();
        let (base, length): (IpAddr, u32) = (base.parse().unwrap(), length.parse().unwrap());
        let first = within(base, length, bits);
        let size = if first.is_ipv4() { 32 } else { 128 };
        let ask = |address: IpAddr| steered(&view, fixture::UNKNOWN, &fixture::subnet(&format!("{address}/{size}")), &[]);
        let (pop, ttl, scope) = ask(first);
        let second = within(first, u32::from(scope), other);
        prop_assert_eq!(ask(second), (pop, ttl, scope), "{} and {}", first, second);
    }
}

/// The address that begins like `base` for `length` bits and goes on like `bits`.
fn within(base: IpAddr, length: u32, bits: u128) -> IpAddr {
    match base {
        IpAddr::V4(v4) => {
            let free = u32::MAX.checked_shr(length).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & !free | bits as u32 & free))
        }
        IpAddr::V6(v6) => {
            let free = u128::MAX.checked_shr(length).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !free | bits & free))
        }
    }
}

fn explaining() -> View {
    let text = format!("[dns]\nexplain-to = [\"198.18.0.0/15\"]\n{}", fixture::CONFIG);
    fixture::view_of(&text, "sin")
}

/// RCODE, the strings, the scope.
fn told(view: &View, name: &str, qtype: u16, resolver: &str, options: &[u8]) -> (Rcode, Vec<String>, u8) {
    let packet = fixture::query_with(name, qtype, options);
    let request = decode(&packet).unwrap();
    let health = fixture::health(view, &["fra"]);
    let answer = answer(&request, resolver.parse().unwrap(), view, &health, Timestamp(0), fixture::no_texts());
    let mut texts = Vec::new();
    for set in &answer.answers {
        set.data.for_each(|mut rdata| {
            while let Some((length, rest)) = rdata.split_first() {
                let (text, rest) = rest.split_at(usize::from(*length));
                texts.push(String::from_utf8(text.to_vec()).unwrap());
                rdata = rest;
            }
        });
    }
    (answer.outcome.rcode(), texts, answer.scope)
}

#[test]
fn why_for_those_who_may_know() {
    let view = explaining();
    let subnet = fixture::subnet("5.1.2.0/24");
    let (rcode, texts, scope) = told(&view, "_Explain.WWW.cdn.example.net", TXT, "198.18.0.1", &subnet);
    assert_eq!((rcode, scope), (Rcode::NoError, 24), "it is about this very client");
    let wanted = [
        "client 5.1.2.0",
        "location 50.10, 8.70 DE",
        "policy default",
        "answer iad: 198.51.100.10, 198.51.100.11, 2001:db8:2::10",
        "scope /10, ttl 60 s",
        "1. fra 12 km group 1 DOWN (probes)",
        "2. iad 6556 km group 2 up (probes)",
        "3. sin 10268 km group 3 up (probes)",
    ];
    assert_eq!(texts[..wanted.len()], wanted);
    assert!(
        texts[wanted.len()].starts_with("5.1.2.0 is known to be near 50.10, 8.70 (DE); iad is the first that is up")
    );
    let (_, texts, scope) = told(&view, "_explain.edge.cdn.example.net", TXT, "198.18.0.1", &[]);
    assert_eq!((texts[0].as_str(), scope), ("client 198.18.0.1", 0), "without a subnet the resolver is the client");
}

#[test]
fn for_others_there_is_no_such_name() {
    let (open, closed) = (explaining(), fixture::view());
    let subnet = fixture::subnet("198.18.0.0/24");
    let name = "_explain.www.cdn.example.net";
    let rows = [
        ("another resolver", &open, name, TXT, "203.0.113.7", Rcode::NxDomain),
        ("a resolver that claims another subnet", &open, name, TXT, "5.1.2.3", Rcode::NxDomain),
        ("nobody is allowed", &closed, name, TXT, "198.18.0.1", Rcode::NxDomain),
        ("not a steered name", &open, "_explain.fra.cdn.example.net", TXT, "198.18.0.1", Rcode::NxDomain),
        ("outside", &open, "_explain.www.example.com", TXT, "198.18.0.1", Rcode::Refused),
        ("another type", &open, name, A, "198.18.0.1", Rcode::NoError),
    ];
    for (case, view, name, qtype, resolver, rcode) in rows {
        assert_eq!(told(view, name, qtype, resolver, &subnet), (rcode, Vec::new(), 0), "{case}");
    }
}

#[test]
fn pops_that_are_cnames() {
    let far = "[[pop]]\nname = \"far\"\nlocation = [50.1, 8.7]\ncname = \"far.example.org\"\n";
    let policy = "[[policy]]\nname = \"default\"\norder = \"failover\"\npops = [\"far\"]\n";
    let at = |policy: &str, rtype, down: &[&str]| {
        let view = fixture::view_of(&format!("{}{far}{policy}", fixture::CONFIG), "sin");
        shown(&view, &fixture::query("www.cdn.example.net", rtype), fixture::FRANKFURT, down)
    };
    let cname = "NoError aa: @ 60 CNAME far.example.org";
    for rtype in [A, AAAA, TXT, rtype::CNAME] {
        assert_eq!(at(policy, rtype, &[]), cname, "{rtype}: all of them are");
    }
    // RFC 7871 section 7.4: resolvers keep "no data" for everybody.
    for rtype in [TXT, rtype::CNAME] {
        assert!(at("", rtype, &[]).starts_with("NoError aa authority: "), "{rtype}: only some of them are");
    }
    assert_eq!((at("", A, &[]).as_str(), at("", A, &["far"]).as_str()), (cname, "NoError aa: @ 60 192.0.2.10"));
    let view = fixture::view_of(&format!("{}{far}", fixture::CONFIG), "sin");
    assert_eq!(shown(&view, &fixture::query("far.cdn.example.net", A), fixture::FRANKFURT, &[]), cname);
}

#[test]
fn when_all_are_down_there_is_no_data_for_a_short_time() {
    let policy = "[[policy]]\nname = \"default\"\nall-down = \"nodata\"\n";
    let view = fixture::view_of(&format!("{}{policy}", fixture::CONFIG), "sin");
    let told = shown(&view, &fixture::query("www.cdn.example.net", A), fixture::FRANKFURT, &["fra", "iad", "sin"]);
    assert!(told.starts_with("NoError aa authority: cdn.example.net 5 SOA "), "{told}");
}
