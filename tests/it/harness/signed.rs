//! Zones that are signed, with keys as files.

use hickory_proto::rr::RecordType;
use nearcast_dns::dnssec::{Algorithm, Key, Times, write};
use nearcast_shared::clock::Timestamp;
use nearcast_shared::name::Name;

use super::node::Setup;

/// The zone of every node here.
pub(crate) const ZONE: &str = "cdn.test";

/// Records of the kinds that answers differ by.
const RECORDS: &str = "
[[zone.record]]
name = \"a\"
type = \"A\"
data = \"192.0.2.1\"
[[zone.record]]
name = \"*.w\"
type = \"TXT\"
data = \"\\\"wild\\\"\"
[[zone.record]]
name = \"alias\"
type = \"CNAME\"
data = \"a\"
[[zone.record]]
name = \"far\"
type = \"CNAME\"
data = \"edge\"
[[zone.record]]
name = \"deep.er.empty\"
type = \"MX\"
data = \"10 a\"
[[zone.record]]
name = \"child\"
type = \"NS\"
data = \"ns.child\"
[[zone.record]]
name = \"ns.child\"
type = \"A\"
data = \"192.0.2.9\"
[[zone.record]]
name = \"safe\"
type = \"NS\"
data = \"ns.child\"
[[zone.record]]
name = \"safe\"
type = \"DS\"
data = \"12345 13 2 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F\"
";

/// A question of each kind, all of whose answers must be proven.
pub(crate) const QUESTIONS: [(&str, &str, RecordType); 24] = [
    ("steered", "edge.cdn.test", RecordType::A),
    ("steered, IPv6", "edge.cdn.test", RecordType::AAAA),
    ("a PoP's own name", "fra.cdn.test", RecordType::A),
    ("a name server", "ns1.cdn.test", RecordType::AAAA),
    ("static", "a.cdn.test", RecordType::A),
    ("static, in odd letters", "A.cDn.TeSt", RecordType::A),
    ("wildcard", "x.w.cdn.test", RecordType::TXT),
    ("wildcard, two labels", "x.y.w.cdn.test", RecordType::TXT),
    ("no data of a wildcard", "x.w.cdn.test", RecordType::A),
    ("the wildcard itself", "*.w.cdn.test", RecordType::TXT),
    ("SOA", "cdn.test", RecordType::SOA),
    ("NS", "cdn.test", RecordType::NS),
    ("DNSKEY", "cdn.test", RecordType::DNSKEY),
    ("CDS", "cdn.test", RecordType::CDS),
    ("CDNSKEY", "cdn.test", RecordType::CDNSKEY),
    ("no data at the apex", "cdn.test", RecordType::MX),
    ("no data", "a.cdn.test", RecordType::MX),
    ("no data of a steered name", "edge.cdn.test", RecordType::TXT),
    ("an empty name", "er.empty.cdn.test", RecordType::A),
    ("no name", "nobody.cdn.test", RecordType::A),
    ("no name below one", "x.a.cdn.test", RecordType::A),
    ("CNAME", "alias.cdn.test", RecordType::A),
    ("CNAME to a steered name", "far.cdn.test", RecordType::A),
    ("DS", "safe.cdn.test", RecordType::DS),
];

/// No key for the child: that is proven, and so its data is not.
pub(crate) const NO_DS: (&str, RecordType) = ("child.cdn.test", RecordType::DS);

/// The zone of `setup` with these records, to be signed.
pub(crate) fn signed(mut setup: Setup) -> Setup {
    setup.zones[0].push_str("\ndnssec = true\n");
    setup.zones[0].push_str(RECORDS);
    setup
}

/// A new key of the zone.
pub(crate) fn key(algorithm: Algorithm, times: Times) -> Key {
    Key::generate(&Name::parse(ZONE).unwrap(), algorithm, times).unwrap()
}

/// Times of a key that is in full use from then on.
pub(crate) fn since(moment: Timestamp) -> Times {
    let moment = Some(moment);
    Times { created: moment, publish: moment, offer: moment, activate: moment, ..Times::default() }
}

/// Puts a key where the node looks for it.
pub(crate) fn save(setup: &Setup, key: &Key) {
    write(&setup.folder().join("keys"), key).unwrap();
}
