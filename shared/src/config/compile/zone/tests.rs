//! Zones as they are written, and what is told of them.

use std::path::Path;

use super::super::super::{Config, Inputs, Mistakes};
use super::*;

const HEAD: &str = r#"
[[pop]]
name = "fra"
addresses = ["192.0.2.1"]
[[site]]
domains = ["www.a.test", "a.test"]
origin = "http://origin.test"
[[zone]]
name = "a.test"
"#;

fn parse_in(folder: &Path, zone: &str) -> Result<Config, Mistakes> {
    Config::parse(&format!("{HEAD}{zone}"), &folder.join("nearcast.toml"), &Inputs::default())
}

fn parse(zone: &str) -> Result<Config, Mistakes> {
    parse_in(Path::new("/nowhere"), zone)
}

/// What a zone with that file is told, each with the file's line.
fn told(file: &str) -> (Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.zone"), file).unwrap();
    let (mistakes, warnings) = match parse_in(folder.path(), "file = \"a.zone\"\n") {
        Ok(config) => (String::new(), config.warnings()),
        Err(mistakes) => (mistakes.to_string(), Vec::new()),
    };
    let start = format!("{}/", folder.path().display());
    let short = |line: &str| line.replace(&start, "");
    (mistakes.lines().map(short).collect(), warnings.iter().map(|line| short(line)).collect())
}

/// Every record as `name ttl type`.
fn records(config: &Config) -> Vec<String> {
    let shown = |record: &Record| format!("{} {} {}", record.name, record.ttl, rtype::text(record.rtype));
    config.zones[0].records.iter().map(shown).collect()
}

#[test]
fn keys_make_soa_and_ns() {
    let config = parse("nameservers = [\"ns1.a.test\"]\nttl = 60\nnegative-ttl = 7\nserial = 9\n").unwrap();
    assert_eq!(records(&config), ["a.test 60 NS", "a.test 60 SOA"]);
    let numbers: Vec<u8> = [9, 86_400, 7_200, 3_600_000, 7].into_iter().flat_map(u32::to_be_bytes).collect();
    let names = [&b"\x03ns1\x01a\x04test\x00"[..], b"\x0ahostmaster\x01a\x04test\x00"].concat();
    assert_eq!(config.zones[0].soa(), [names, numbers].concat());
}

#[test]
fn records_in_toml() {
    let zone = r#"
nameservers = ["ns1.a.test"]
[[zone.record]]
type = "MX"
data = ["10 mail", "20 mail.b.test."]
[[zone.record]]
name = "mail"
type = "a"
ttl = 300
data = "192.0.2.7"
[[zone.record]]
name = "_dmarc"
type = "TXT"
data = '"v=DMARC1; p=none"'
"#;
    let config = parse(zone).unwrap();
    let wanted =
        ["_dmarc.a.test 30 TXT", "mail.a.test 300 A", "a.test 30 NS", "a.test 30 SOA", "a.test 30 MX", "a.test 30 MX"];
    let mut made = records(&config);
    made.sort_unstable();
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    assert_eq!(made, wanted);
}

#[test]
fn mistakes_of_toml_records_have_their_lines() {
    let zone = r#"
nameservers = ["ns1.a.test"]
[[zone.record]]
type = "MX"
data = "mail"
[[zone.record]]
name = "b..c"
type = "A"
data = "192.0.2.1"
[[zone.record]]
name = "b"
data = "192.0.2.1"
[[zone.record]]
type = "A"
[[zone.record]]
type = "FOO"
data = "x"
[[zone.record]]
name = "c.test."
type = "A"
data = "192.0.2.1"
color = 1
"#;
    let told = parse(zone).unwrap_err().to_string();
    let line = HEAD.lines().count();
    for (at, words) in [
        (5, "zone.record: MX: "),
        (9, "zone.record: `b..c` is not a domain name"),
        (10, "zone.record.type: missing"),
        (13, "zone.record.data: missing"),
        (17, "zone.record: `FOO` is no type of records"),
        (21, "zone.record: `c.test` is not in the zone a.test"),
        (22, "zone.record.color: unknown key; allowed in [zone.record]: name, type, ttl, data"),
    ] {
        let wanted = format!(":{}: {words}", line + at);
        assert!(told.contains(&wanted), "{wanted}\nin\n{told}");
    }
    assert_eq!(told.lines().count(), 7, "{told}");
}

const AUTHORITY: &str = "@ SOA ns1 me 5 1 2 3 4\n@ NS ns1\nns1 A 192.0.2.9\n";

#[test]
fn a_file_with_soa_and_ns_needs_no_keys() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.zone"), format!("$TTL 5m\n{AUTHORITY}")).unwrap();
    let zone = |keys: &str| parse_in(folder.path(), &format!("file = \"a.zone\"\n{keys}"));
    let config = zone("").unwrap();
    assert_eq!(records(&config), ["a.test 300 NS", "a.test 300 SOA", "ns1.a.test 300 A"]);
    assert_eq!((config.zones[0].serial, config.zones[0].ttl, config.zones[0].nameservers.len()), (5, 30, 0));
    let config = zone("serial = 77\nttl = 10\n").unwrap();
    assert_eq!((config.zones[0].serial, config.zones[0].ttl), (77, 10));
    assert_eq!(&config.zones[0].soa()[config.zones[0].soa().len() - 20..][..4], [0, 0, 0, 77]);

    let line = HEAD.lines().count() + 2;
    for (keys, words) in [
        ("nameservers = [\"ns1.a.test\"]\n", "zone.nameservers: the zone's records have its name servers"),
        ("contact = \"me.a.test\"\n", "zone.contact: the zone's SOA record has it"),
        ("negative-ttl = 5\n", "zone.negative-ttl: the zone's SOA record has it"),
    ] {
        let told = zone(keys).unwrap_err().to_string();
        assert!(told.contains(&format!(":{line}: {words}")), "{told}");
    }
}

#[test]
fn without_name_servers_there_is_no_zone() {
    let (mistakes, _) = told("b A 192.0.2.1\n");
    assert!(mistakes[0].contains("zone.nameservers: missing"), "{mistakes:?}");
    let missing = parse("file = \"missing.zone\"\n").unwrap_err().to_string();
    assert!(missing.contains("/nowhere/missing.zone: cannot be read: "), "{missing}");
}

#[test]
fn what_is_refused() {
    // (name, records beside SOA and NS, lines of the file, of which AUTHORITY has three, words)
    let rows: [(&str, &str, &[usize], &str); 20] = [
        ("outside", "b.other. A 192.0.2.1", &[4], "`b.other` is not in the zone a.test"),
        ("CNAME and other data", "b CNAME c\nb TXT x", &[4], "b.a.test has a CNAME and also TXT; a CNAME is alone"),
        ("two CNAMEs", "b CNAME c\nb CNAME d", &[4, 5], "b.a.test has 2 CNAMEs"),
        ("CNAME at the apex, which is steered, too", "@ CNAME c", &[4, 4], "CNAME"),
        ("CNAME to itself", "b CNAME B.A.test.", &[4], "b.a.test is a CNAME to itself"),
        ("TTLs apart", "b 1 A 192.0.2.1\nb 2 A 192.0.2.2", &[5], "has a TTL of 2, but the first of its type 1"),
        ("SOA elsewhere", "b SOA ns1 me 1 1 1 1 1", &[4], "b.a.test has a SOA record, but the zone is a.test"),
        ("two SOAs", "@ SOA ns1 me 2 1 1 1 1", &[1, 4], "there may be one SOA record"),
        (
            "A at a steered name",
            "www A 192.0.2.1",
            &[4],
            "www.a.test is a domain of site `www.a.test`, and it is steered",
        ),
        ("AAAA at the steered apex", "@ AAAA 2001:db8::1", &[4], "a.test is a domain of site"),
        ("CNAME at the steered name", "edge CNAME b", &[4], "edge.a.test is the steered name of the zone"),
        ("HTTPS at a steered name", "www HTTPS 1 .", &[4], "it cannot have HTTPS records of its own"),
        ("NS at a steered name", "www NS ns1", &[4], "it cannot have NS records of its own"),
        ("A at a PoP's name", "fra A 192.0.2.1", &[4], "fra.a.test is PoP `fra`, and it has that PoP's addresses"),
        (
            "data below a delegation",
            "b NS ns.b\nns.b A 192.0.2.1\nc.b TXT x",
            &[6],
            "c.b.a.test TXT is never answered: b.a.test is delegated",
        ),
        ("data at a delegation", "b NS ns1\nb MX 10 ns1", &[5], "b.a.test MX is never answered"),
        ("no glue", "b NS ns.b", &[4], "b.a.test NS points to ns.b.a.test, which has no address in this zone"),
        (
            "a steered name below a delegation",
            "a.www NS ns1\nwww.a NS ns1\nedge NS ns1",
            &[6],
            "edge.a.test is the steered name",
        ),
        ("a wildcard delegation", "*.b NS ns1", &[4], "*.b.a.test: a wildcard cannot be delegated"),
        ("DS without a delegation", "b DS 1 13 2 00", &[4], "b.a.test has a DS record but is no delegation"),
    ];
    for (name, text, lines, words) in rows {
        let (mistakes, _) = told(&format!("{AUTHORITY}{text}\n"));
        assert_eq!(mistakes.len(), lines.len(), "{name}: {mistakes:?}");
        for (mistake, line) in mistakes.iter().zip(lines) {
            let start = format!("a.zone:{line}: ");
            assert!(mistake.starts_with(&start), "{name}: {mistake} does not start with {start}");
            assert!(mistake.contains(words), "{name}: {mistake} has no {words}");
        }
    }
}

#[test]
fn what_is_fine() {
    let text = "@ MX 10 mail\n@ TXT x\n@ CAA 0 issue \"ca\"\nmail A 192.0.2.1\nwww TXT x\nwww MX 10 mail\nfra TXT x\n\
                b NS ns.b\nb DS 1 13 2 00\nns.b A 192.0.2.1\nc NS ns.other.\n*.d CNAME mail\n_sip._tcp SRV 0 5 5060 fra\n";
    assert_eq!(told(&format!("{AUTHORITY}{text}")), (Vec::new(), Vec::new()));
}

/// Bytes of numbers and texts that would be letters of either case are no letters: 8001 ends in "A", 8033 in "a".
#[test]
fn only_names_have_a_letter_case() {
    let text = "_a SRV 0 0 8001 fra\n_a SRV 0 0 8033 fra\nb HTTPS 1 c alpn=H2\nb HTTPS 1 c alpn=h2\n";
    assert_eq!(told(&format!("{AUTHORITY}{text}")), (Vec::new(), Vec::new()));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.zone"), format!("{AUTHORITY}{text}")).unwrap();
    let config = parse_in(folder.path(), "file = \"a.zone\"\n").unwrap();
    let of = |wanted| config.zones[0].records.iter().filter(|record| record.rtype == wanted).count();
    assert_eq!((of(rtype::SRV), of(rtype::HTTPS)), (2, 2));
    let (_, warnings) = told(&format!("{AUTHORITY}b HTTPS 1 c alpn=h2\nb HTTPS 1 C alpn=h2\n"));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

/// A resolver that is led around a loop gets nothing.
#[test]
fn loops_of_cnames() {
    // (name, records beside SOA and NS, line of the file, words; 0 where there is no loop)
    let rows: [(&str, &str, usize, &str); 9] = [
        ("to itself", "b CNAME B", 4, "b.a.test is a CNAME to itself"),
        ("two", "c CNAME d\nd CNAME C", 4, "c.a.test is a CNAME that leads back to itself, by way of d.a.test"),
        ("led to", "b CNAME c\nc CNAME d\nd CNAME c", 5, "c.a.test is a CNAME that leads back to itself"),
        ("three", "z CNAME y\nx CNAME z\ny CNAME x", 5, "by way of z.a.test, y.a.test"),
        ("wildcard", "*.w CNAME x.w", 4, "*.w.a.test is a CNAME that leads back to itself, by way of x.w.a.test"),
        ("wildcard and name", "*.w CNAME b\nb CNAME x.y.w", 4, "back to itself"),
        ("a name where the wildcard is not", "*.w CNAME x.w\nx.w A 192.0.2.1", 0, ""),
        ("a name above one, neither", "*.w CNAME x.w\ny.x.w A 192.0.2.1", 0, ""),
        ("no loop", "b CNAME c\nc CNAME d\nd CNAME c.other.", 0, ""),
    ];
    for (name, text, line, words) in rows {
        let (mistakes, _) = told(&format!("{AUTHORITY}{text}\n"));
        assert_eq!(mistakes.len(), usize::from(line > 0), "{name}: {mistakes:?}");
        for mistake in mistakes {
            assert!(mistake.starts_with(&format!("a.zone:{line}: ")) && mistake.contains(words), "{name}: {mistake}");
        }
    }
    let alias =
        |name: &str, data: &str| format!("[[zone.record]]\nname = \"{name}\"\ntype = \"CNAME\"\ndata = \"{data}\"\n");
    let zones = |back: &str| {
        let (there, back) = (alias("x", "y.b.test."), alias("y", back));
        let other = "[[zone]]\nname = \"b.test\"\nnameservers = [\"fra.a.test\"]";
        parse(&format!("nameservers = [\"fra.a.test\"]\n{there}{other}\n{back}"))
    };
    let told = zones("x.a.test.").unwrap_err().to_string();
    assert!(told.contains("x.a.test is a CNAME that leads back to itself, by way of y.b.test"), "{told}");
    assert!(zones("fra.a.test.").is_ok());
}

#[test]
fn what_is_warned_of() {
    let rows = [
        ("b A 192.0.2.1\nb A 192.0.2.1", 2, "b.a.test A is there twice (the first: a.zone:4)"),
        ("b MX 10 C\nb MX 10 c\nc A 192.0.2.1", 2, "b.a.test MX is there twice"),
        ("b MX 10 c\nc CNAME ns1", 1, "b.a.test MX points to c.a.test, which is a CNAME"),
        ("b MX 10 c", 1, "b.a.test MX points to c.a.test, which has no address"),
        ("b NS c", 1, "b.a.test NS points to c.a.test, which has no address in this zone"),
    ];
    for (text, line, words) in rows {
        let (mistakes, warnings) = told(&format!("{AUTHORITY}{text}\n"));
        assert_eq!((mistakes, warnings.len()), (Vec::new(), 1), "{text}: {warnings:?}");
        let start = format!("a.zone:{}: ", 3 + line);
        assert!(warnings[0].starts_with(&start) && warnings[0].contains(words), "{text}: {warnings:?}");
    }
}

/// RFC 1034 section 3.6.2 once more: a PoP's CNAME is alone, too.
#[test]
fn where_a_pop_is_a_cname() {
    let zone = "nameservers = [{ name = \"ns1.a.test\", pop = \"fra\" }]\n[[zone.record]]\nname = \"NAME\"\ntype = \"TXT\"\ndata = 'x'\n";
    let alias = "[[pop]]\nname = \"iad\"\ncname = \"iad.cloud.test\"\n[[policy]]\nname = \"near\"\npops = [\"fra\"]\n";
    let inputs = Inputs { pop: Some("fra".to_owned()), ..Inputs::default() };
    let told = |name: &str, policy: &str| {
        let head = HEAD.replace("\"www.a.test\", \"a.test\"", "\"www.a.test\"");
        let head = head.replace("origin = ", &format!("policy = \"{policy}\"\norigin = "));
        let text = format!("{alias}{head}{}", zone.replace("NAME", name));
        Config::parse(&text, Path::new("/nowhere/a.toml"), &inputs).err().map(|told| told.to_string())
    };
    let words = "www.a.test is a domain of site `www.a.test`, and its policy may choose a PoP that is a CNAME";
    assert!(told("www", "default").unwrap().contains(words));
    assert!(told("iad", "default").unwrap().contains("iad.a.test is PoP `iad`, and it is a CNAME"));
    assert_eq!(told("www", "near"), None);
    assert_eq!(told("fra", "default"), None);
}

#[test]
fn zones_within_one_another() {
    let second = "nameservers = [\"ns1.a.test\"]\n[[zone]]\nname = \"b.a.test\"\nnameservers = [\"fra.a.test\"]\n";
    let record = |name: &str, rtype: &str, data: &str| {
        let record = format!("[[zone.record]]\nname = \"{name}\"\ntype = \"{rtype}\"\ndata = '{data}'\n");
        parse(&second.replacen("[[zone]]", &format!("{record}[[zone]]"), 1))
    };
    assert_eq!(record("b", "NS", "fra").unwrap().zones[0].records.len(), 2, "the child's own NS set counts");
    assert_eq!(record("b", "DS", "1 13 2 00").unwrap().zones[0].records.len(), 3, "the DS set is the parent's");
    assert_eq!(record("ns.b", "A", "192.0.2.1").unwrap().zones[0].records.len(), 2);
    let told = record("c.b", "TXT", "x").unwrap_err().to_string();
    assert!(told.contains("`c.b.a.test` is in the zone b.a.test, which is one of ours"), "{told}");
}
