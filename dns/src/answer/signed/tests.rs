//! What of an answer is signed, and what proves that something is not there.

use nearcast_shared::clock::Clock;
use nearcast_shared::health::HealthTable;
use nearcast_shared::rtype;
use proptest::prelude::*;

use super::super::{Outcome, Set, answer};
use super::*;
use crate::encode::{self, Opt, oracle};
use crate::extras::Extras;
use crate::fixture;
use crate::message::decode;
use crate::name::Name;
use crate::view::View;

const CONFIG: &str = r#"
[[pop]]
name = "fra"
location = [50.03, 8.57]
addresses = ["192.0.2.10", "2001:db8:1::10"]
[[pop]]
name = "sin"
location = [1.36, 103.99]
addresses = ["203.0.113.10"]
[[site]]
domains = ["www.a.test"]
origin = "http://origin.example.com"
[[zone]]
name = "a.test"
nameservers = ["ns1.a.test"]
ttl = 60
negative-ttl = 20
serial = 1
record = [
    { name = "mail", type = "A", data = "192.0.2.77" },
    { name = "x.ent", type = "TXT", data = "deep" },
    { name = "*.w", type = "TXT", data = "wild" },
    { name = "*.c", type = "CNAME", data = "Mail" },
    { name = "alias", type = "CNAME", data = "www" },
    { name = "gone", type = "CNAME", data = "nowhere" },
    { name = "@", type = "MX", data = "10 mail" },
    { name = "plain", type = "NS", data = "ns.plain" },
    { name = "ns.plain", type = "A", data = "192.0.2.53" },
    { name = "safe", type = "NS", data = "ns.elsewhere.example." },
    { name = "safe", type = "DS", data = "12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" },
]
[[zone]]
name = "inner.a.test"
nameservers = ["ns1.a.test"]
serial = 1
"#;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const DO: u16 = 0x8000;
const DO_CO: u16 = 0xc000;

/// A query with an OPT record that has these flags.
fn query(name: &str, qtype: u16, flags: u16, options: &[u8]) -> Vec<u8> {
    let mut packet = fixture::query_with(name, qtype, options);
    let at = packet.len() - options.len() - 4;
    packet[at..at + 2].copy_from_slice(&flags.to_be_bytes());
    packet
}

/// The bytes of the signed answer, which are also those that hickory-proto makes; and what `tell` has to say of it.
fn signed<T>(view: &View, packet: &[u8], tell: impl Fn(&Answer<'_>) -> T) -> T {
    let request = decode(packet).unwrap();
    let (health, client) = (HealthTable::default(), fixture::FRANKFURT.parse().unwrap());
    let now = NOW;
    let mut answer = answer(&request, client, view, &health, now, fixture::no_texts());
    thread_local!(static SIGNERS: std::sync::Arc<Signers> = fixture::signers_by(Clock::manual(NOW)));
    SIGNERS.with(|signers| {
        answer.sign(&request, signers, &mut Local::default(), Asker::Verified, now).unwrap();
    });
    let mut options = smallvec::SmallVec::new();
    let subnet = request.edns.and_then(|edns| edns.subnet).map(|subnet| (subnet, answer.scope));
    Extras { subnet, ..Extras::default() }.write(&mut options);
    let opt = Opt { udp_size: 1232, options: &options };
    for limit in [512, 1232, encode::STREAM_LIMIT] {
        let mut out = Vec::new();
        encode::encode(&request, &answer, &opt, limit, &mut out);
        assert_eq!(out, oracle::encode(&request, &answer, &opt, limit), "{request:?} {answer:?}");
        assert!(out.len() <= limit);
    }
    tell(&answer)
}

/// The type bitmap of NSEC data as names of types.
fn types(rdata: &[u8]) -> String {
    let (_, mut rest) = rdata.split_at(crate::name::length(rdata).unwrap());
    let mut found = Vec::new();
    while let [block, length, bits @ ..] = rest {
        let (bits, after) = bits.split_at(usize::from(*length));
        for (at, byte) in bits.iter().enumerate() {
            let set = (0..8).filter(|bit| byte & (0x80 >> bit) != 0);
            found.extend(set.map(|bit| rtype::text(u16::from(*block) << 8 | (at * 8 + bit) as u16)));
        }
        rest = after;
    }
    found.join(" ")
}

fn set(set: &Set<'_>) -> String {
    let owner = match set.owner {
        Owner::Question => "@".to_owned(),
        Owner::Name(name) => name.to_string(),
        Owner::Wire(wire) => Name::from_wire(wire).unwrap().to_string(),
    };
    let mut proof = String::new();
    if set.data.rtype() == rtype::NSEC {
        set.data.for_each(|rdata| proof = format!("({})", types(rdata)));
    }
    let signed = ["", " signed", " signed twice"][set.signatures.len()];
    let passing = if set.passing { " passing" } else { "" };
    format!("{owner} {} {}{proof}{signed}{passing}", set.ttl, rtype::text(set.data.rtype()))
}

fn shown(view: &View, name: &str, qtype: u16, flags: u16) -> String {
    signed(view, &query(name, qtype, flags, &[]), |answer| {
        let sets = |of: &[Set<'_>]| of.iter().map(set).collect::<Vec<_>>().join(", ");
        let rest =
            if answer.additional.is_empty() { String::new() } else { format!(" | {}", sets(&answer.additional)) };
        format!("{:?}: {} | {}{rest}", answer.outcome.rcode(), sets(&answer.answers), sets(&answer.authority))
    })
}

#[test]
fn what_is_signed_and_what_proves() {
    let view = fixture::signed_view(CONFIG, "fra");
    let soa = "a.test 20 SOA signed";
    let rows = [
        ("www.a.test", rtype::A, "NoError: @ 60 A signed | ".to_owned()),
        ("WWW.a.test", rtype::AAAA, "NoError: @ 60 AAAA signed | ".to_owned()),
        // RFC 4035 section 3.1.1: additional sets would need signatures, too.
        ("a.test", rtype::MX, "NoError: @ 60 MX signed | ".to_owned()),
        ("a.test", rtype::DNSKEY, "NoError: @ 3600 DNSKEY signed | ".to_owned()),
        ("a.test", rtype::CDS, "NoError: @ 3600 CDS signed | ".to_owned()),
        ("a.test", rtype::ANY, "NoError: @ 60 HINFO signed | ".to_owned()),
        // A wildcard's sets are signed for the name itself: RFC 9824 needs no proof that there is no closer one.
        ("y.w.a.test", rtype::TXT, "NoError: @ 60 TXT signed passing | ".to_owned()),
        ("y.c.a.test", rtype::A, "NoError: @ 60 CNAME signed passing, mail.a.test 60 A signed | ".to_owned()),
        // RFC 9824 section 3.2: NODATA.
        ("mail.a.test", rtype::TXT, format!("NoError:  | {soa}, @ 20 NSEC(A RRSIG NSEC) signed")),
        ("www.a.test", rtype::TXT, format!("NoError:  | {soa}, @ 20 NSEC(A AAAA RRSIG NSEC) signed")),
        ("a.test", rtype::TXT, format!("NoError:  | {soa}, @ 20 NSEC(NS SOA MX RRSIG NSEC DNSKEY CDS CDNSKEY) signed")),
        ("y.w.a.test", rtype::A, format!("NoError:  | {soa}, @ 20 NSEC(TXT RRSIG NSEC) signed passing")),
        // RFC 9824 section 3.3: empty non-terminals.
        ("ent.a.test", rtype::A, format!("NoError:  | {soa}, @ 20 NSEC(RRSIG NSEC) signed")),
        // RFC 9824 section 3.1: the name does not exist.
        ("no.a.test", rtype::A, format!("NoError:  | {soa}, @ 20 NSEC(RRSIG NSEC NXNAME) signed passing")),
        (
            "gone.a.test",
            rtype::A,
            format!("NoError: @ 60 CNAME signed | {soa}, nowhere.a.test 20 NSEC(RRSIG NSEC NXNAME) signed passing"),
        ),
        // RFC 9824 section 3.4: the record itself.
        ("mail.a.test", rtype::NSEC, "NoError: @ 20 NSEC(A RRSIG NSEC) signed | ".to_owned()),
        ("alias.a.test", rtype::NSEC, "NoError: @ 20 NSEC(CNAME RRSIG NSEC) signed | ".to_owned()),
        // RFC 4035 section 3.1.4: with the DS set, or the proof that there is none; the NS set and glue are not the zone's.
        ("x.safe.a.test", rtype::A, "NoError:  | safe.a.test 60 NS, safe.a.test 60 DS signed".to_owned()),
        (
            "x.plain.a.test",
            rtype::A,
            "NoError:  | plain.a.test 60 NS, plain.a.test 20 NSEC(NS RRSIG NSEC) signed | ns.plain.a.test 60 A"
                .to_owned(),
        ),
        ("plain.a.test", rtype::DS, format!("NoError:  | {soa}, @ 20 NSEC(NS RRSIG NSEC) signed")),
        ("safe.a.test", rtype::DS, "NoError: @ 60 DS signed | ".to_owned()),
        // Of a zone of ours the parent of ours has what that one offers.
        ("inner.a.test", rtype::DS, "NoError: @ 3600 DS signed | ".to_owned()),
        ("no.example", rtype::A, "Refused:  | ".to_owned()),
        ("a.test", rtype::RRSIG, "Refused:  | ".to_owned()),
        ("a.test", rtype::NXNAME, "FormErr:  | ".to_owned()),
    ];
    for (name, qtype, wanted) in rows {
        assert_eq!(shown(&view, name, qtype, DO), wanted, "{name} {}", rtype::text(qtype));
    }
    let compact = shown(&view, "no.a.test", rtype::A, DO_CO);
    assert_eq!(compact, format!("NxDomain:  | {soa}, @ 20 NSEC(RRSIG NSEC NXNAME) signed passing"));
}

/// RFC 4035 section 3.1: nothing of DNSSEC for those who do not ask for it; only what they name is given to them.
#[test]
fn without_do_nothing_changes() {
    let (signed, plain) = (fixture::signed_view(CONFIG, "fra"), fixture::view_of(CONFIG, "fra"));
    for name in ["www.a.test", "a.test", "y.w.a.test", "no.a.test", "ent.a.test", "x.plain.a.test", "gone.a.test"] {
        for qtype in [rtype::A, rtype::TXT, rtype::MX] {
            assert_eq!(shown(&signed, name, qtype, 0), shown(&plain, name, qtype, 0), "{name}");
        }
    }
    assert_eq!(shown(&signed, "a.test", rtype::DNSKEY, 0), "NoError: @ 3600 DNSKEY | ");
    assert_eq!(shown(&signed, "mail.a.test", rtype::NSEC, 0), "NoError: @ 20 NSEC(A RRSIG NSEC) | ");
}

#[test]
fn an_unsigned_zone_within_a_signed_one_is_proved_to_be_so() {
    let view = fixture::signed_view_of(&CONFIG.replacen("[[zone]]", "[[zone]]\ndnssec = true", 1), "fra");
    let wanted = "NoError:  | a.test 20 SOA signed, @ 20 NSEC(NS RRSIG NSEC) signed";
    assert_eq!(shown(&view, "inner.a.test", rtype::DS, DO), wanted);
    assert!(shown(&view, "inner.a.test", rtype::SOA, DO).starts_with("NoError: @ 30 SOA | "));
}

const PREFIXES: &[&str] = &[
    "", "www.", "WwW.", "y.w.", "y.c.", "alias.", "gone.", "ent.", "x.plain.", "plain.", "x.safe.", "ns1.", "x.ns1.",
    "inner.",
];

/// RFC 8198: a validator may deny whatever the record does not list, so it must list what is there at other times.
#[test]
fn names_that_are_cnames_of_pops() {
    let far = "[[pop]]\nname = \"far\"\nlocation = [50.1, 8.7]\ncname = \"far.example.org\"\n";
    let policy = "[[policy]]\nname = \"default\"\norder = \"failover\"\npops = [\"far\"]\nall-down = [\"192.0.2.9\"]\n";
    let view = fixture::signed_view(&format!("{CONFIG}{far}{policy}"), "fra");
    assert_eq!(shown(&view, "www.a.test", rtype::TXT, DO), "NoError: @ 60 CNAME signed | ");
    assert_eq!(shown(&view, "www.a.test", rtype::NSEC, DO), "NoError: @ 20 NSEC(CNAME RRSIG NSEC) signed | ");
    let proof = |qtype| {
        let packet = query("www.a.test", qtype, DO, &[]);
        let request = decode(&packet).unwrap();
        let health = fixture::health(&view, &["far"]);
        let answer = answer(&request, fixture::FRANKFURT.parse().unwrap(), &view, &health, NOW, fixture::no_texts());
        answer.authority.iter().map(set).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(proof(rtype::AAAA), "a.test 5 SOA, @ 5 NSEC(A RRSIG NSEC)");
    assert_eq!(proof(rtype::TXT), "a.test 5 SOA, @ 5 NSEC(A AAAA RRSIG NSEC)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is asked: the same bytes as hickory-proto's ([`signed`]), and each set of a signed zone is signed.
    #[test]
    fn all_of_it_is_signed(
        prefix in prop_oneof![
            4 => proptest::sample::select(PREFIXES).prop_map(str::to_owned),
            1 => "[a-z*]{1,63}[.]",
        ],
        qtype in prop_oneof![
            Just(rtype::A), Just(rtype::AAAA), Just(rtype::NS), Just(rtype::SOA), Just(rtype::MX), Just(rtype::TXT),
            Just(rtype::DS), Just(rtype::DNSKEY), Just(rtype::NSEC), Just(rtype::HTTPS), Just(rtype::ANY), any::<u16>(),
        ],
        flags in prop_oneof![Just(DO), Just(DO_CO), Just(0)],
        with_subnet in any::<bool>(),
    ) {
        thread_local!(static VIEW: View = fixture::signed_view(CONFIG, "fra"));
        let options = if with_subnet { fixture::subnet("5.1.2.0/24") } else { Vec::new() };
        let packet = query(&format!("{prefix}a.test"), qtype, flags, &options);
        VIEW.with(|view| signed(view, &packet, |answer| {
            let wants = flags & DO != 0;
            for set in answer.answers.iter().chain(&answer.authority) {
                assert_eq!(set.signatures.is_empty(), !wants || set.zone.is_none(), "{set:?}");
            }
            let denied = matches!(answer.outcome, Outcome::NoData | Outcome::NoName | Outcome::NoNameCompact);
            let proofs = answer.authority.iter().filter(|set| set.data.rtype() == rtype::NSEC).count();
            assert!(!denied || proofs == usize::from(wants), "{answer:?}");
        }));
    }
}
