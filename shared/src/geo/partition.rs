//! The whole address space, cut where any file cuts it: what a compiled map is made from.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::file::{GeoFile, asn_in, asn_worth, worth_of};
use super::record::Worth;
use super::walk::{Stretch, Walk, ones};
use super::{GeoDb, Place};

/// A prefix within which every address has the same place and, where asked for, the same autonomous system; with the
/// length that [`GeoDb::locate`] calls its depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Atom {
    /// Its first address.
    pub first: IpAddr,
    /// Its prefix length.
    pub length: u8,
    /// What the data has for it: equal keys, equal places.
    pub key: AtomKey,
}

/// The records that decide: far fewer than atoms, so that each needs decoding once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct AtomKey {
    place: Option<RecordKey>,
    asn: Option<RecordKey>,
}

/// A record: the file's number and where in its data section it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct RecordKey {
    file: u16,
    offset: u32,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressFamily {
    /// 32 bits.
    V4,
    /// 128 bits.
    V6,
}

impl AddressFamily {
    /// Bits of its addresses.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    fn address(self, bits: u128) -> IpAddr {
        match self {
            // Walks of IPv4 stay within 32 bits.
            Self::V4 => Ipv4Addr::from(bits as u32).into(),
            Self::V6 => Ipv6Addr::from(bits).into(),
        }
    }
}

impl GeoDb {
    /// Every address of `family` in order, as disjoint atoms without gaps. Takes constant memory but for one word for
    /// each distinct record where there are several files.
    ///
    /// IPv6 prefixes that embed IPv4 addresses (mapped, 6to4, Teredo) are among them, but what the data has there means
    /// nothing: `locate` reads such addresses as the IPv4 ones.
    pub fn partition(&self, family: AddressFamily, with_asn: bool) -> impl Iterator<Item = Atom> + '_ {
        Partition {
            family,
            next: Some(0),
            places: Lanes::new(&self.places, family, worth_of),
            asns: Lanes::new(if with_asn { &self.asns } else { &[] }, family, asn_worth),
        }
    }

    /// Where the addresses of `atom` are, as [`GeoDb::locate`] says it; decoded anew, so callers keep it by the key.
    pub fn place_of(&self, atom: &Atom) -> Place {
        let found = atom.key.place.and_then(|key| {
            let (_, found) = self.places.get(usize::from(key.file))?.lookup(atom.first)?;
            found
        });
        Place { depth: atom.length, ..Place::of(found.as_ref()) }
    }

    /// The autonomous system that the addresses of `atom` are in; `None` when the partition was asked for without.
    pub fn asn_of(&self, atom: &Atom) -> Option<u32> {
        let key = atom.key.asn?;
        let (_, found) = self.asns.get(usize::from(key.file))?.lookup(atom.first)?;
        asn_in(&found?)
    }
}

struct Partition<'a> {
    family: AddressFamily,
    next: Option<u128>,
    places: Lanes<'a>,
    asns: Lanes<'a>,
}

impl Iterator for Partition<'_> {
    type Item = Atom;

    fn next(&mut self) -> Option<Atom> {
        let at = self.next?;
        let (place, place_length) = self.places.decide(at, self.family);
        let (asn, asn_length) = self.asns.decide(at, self.family);
        let length = place_length.max(asn_length);
        let bits = self.family.bits();
        self.next = (at | ones(bits - length)).checked_add(1).filter(|next| *next <= ones(bits));
        Some(Atom { first: self.family.address(at), length, key: AtomKey { place, asn } })
    }
}

/// Files side by side.
struct Lanes<'a> {
    files: &'a [GeoFile],
    lanes: Vec<Lane<'a>>,
    judge: Judge,
    /// What each record is worth, as soon as it was needed.
    known: HashMap<RecordKey, Worth>,
}

type Judge = fn(&maxminddb::LookupResult<'_, Vec<u8>>) -> Worth;

struct Lane<'a> {
    file: u16,
    walk: Walk<'a>,
    current: Option<Stretch>,
    bits: u8,
}

impl<'a> Lanes<'a> {
    fn new(files: &'a [GeoFile], family: AddressFamily, judge: Judge) -> Self {
        let bits = family.bits();
        let covering = files.iter().zip(0_u16..).filter(|(file, _)| file.covers(family == AddressFamily::V4));
        let lane = |(file, number)| Lane { file: number, walk: Walk::new(file, bits), current: None, bits };
        Self { files, lanes: covering.map(lane).collect(), judge, known: HashMap::new() }
    }

    /// The record that decides at `at`, and the longest of the prefixes that were looked at to find it: exactly as
    /// [`super::decide`] does it for one address.
    fn decide(&mut self, at: u128, family: AddressFamily) -> (Option<RecordKey>, u8) {
        let (mut best, mut length): (Option<(Worth, RecordKey)>, u8) = (None, 0);
        let alone = self.lanes.len() == 1;
        for lane in &mut self.lanes {
            let Some(stretch) = lane.at(at) else { continue };
            length = length.max(stretch.length);
            let Some(offset) = stretch.record else { continue };
            let key = RecordKey { file: lane.file, offset };
            if alone {
                return (Some(key), length);
            }
            let worth = *self.known.entry(key).or_insert_with(|| {
                let found = self.files[usize::from(lane.file)].lookup(family.address(at));
                found.and_then(|(_, found)| found).map_or(Worth::Little, |found| (self.judge)(&found))
            });
            if best.is_none_or(|(most, _)| worth > most) {
                best = Some((worth, key));
            }
            if worth == Worth::Coordinates {
                break;
            }
        }
        (best.map(|(_, key)| key), length)
    }
}

impl Lane<'_> {
    /// The stretch that holds `at`, which never goes back.
    fn at(&mut self, at: u128) -> Option<Stretch> {
        while self.current.is_none_or(|stretch| stretch.last(self.bits) < at) {
            self.current = Some(self.walk.next()?);
        }
        self.current
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::file::Use;
    use super::super::fixture::mmdb;
    use super::*;
    use crate::geo::builtin;

    const FAMILIES: [AddressFamily; 2] = [AddressFamily::V4, AddressFamily::V6];

    fn db(places: &[Vec<u8>], asns: &[Vec<u8>]) -> GeoDb {
        let open = |files: &[Vec<u8>], read_for| {
            files.iter().map(|bytes| GeoFile::parse("test".as_ref(), bytes.clone(), read_for).unwrap()).collect()
        };
        GeoDb { places: open(places, Use::Places), asns: open(asns, Use::Asn) }
    }

    fn bits(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(v4) => v4.to_bits().into(),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    /// Whether `locate` reads the address as the IPv4 one inside, or the tree keeps IPv4 there.
    fn embeds(address: IpAddr) -> bool {
        crate::net::effective(address).0.is_ipv4() && address.is_ipv6()
    }

    /// Fails unless the atoms cover all addresses once, and each says what `locate` and `asn` say of its addresses.
    fn check(geo: &GeoDb, probes: &[u128]) {
        for (family, with_asn) in FAMILIES.into_iter().flat_map(|family| [(family, false), (family, true)]) {
            let atoms: Vec<Atom> = geo.partition(family, with_asn).collect();
            let mut next = Some(0);
            for atom in &atoms {
                assert_eq!(Some(bits(atom.first)), next, "{family:?}");
                let last = bits(atom.first) | ones(family.bits() - atom.length);
                next = last.checked_add(1).filter(|next| *next <= ones(family.bits()));
                let first_last_middle = [bits(atom.first), last, bits(atom.first) + (last - bits(atom.first)) / 3];
                for address in first_last_middle.map(|bits| family.address(bits)) {
                    agrees(geo, atom, address, with_asn);
                }
            }
            assert_eq!(next, None, "{family:?}: to the last address");
            for probe in probes {
                let address = family.address(probe & ones(family.bits()));
                let holder = atoms.partition_point(|atom| bits(atom.first) <= bits(address)) - 1;
                agrees(geo, &atoms[holder], address, with_asn);
            }
        }
    }

    fn agrees(geo: &GeoDb, atom: &Atom, address: IpAddr, with_asn: bool) {
        if embeds(address) {
            return;
        }
        let (mut wanted, (asn, asn_depth)) = (geo.locate(address), geo.asn(address));
        if with_asn {
            wanted.depth = wanted.depth.max(asn_depth);
            assert_eq!(geo.asn_of(atom), asn, "{address}");
        }
        assert_eq!(geo.place_of(atom), wanted, "{address} in {atom:?}");
    }

    fn city(latitude: f64, country: &str) -> Value {
        json!({ "location": { "latitude": latitude, "longitude": 8.0 }, "country": { "iso_code": country } })
    }

    #[test]
    fn files_without_data_are_one_atom() {
        for family in FAMILIES {
            let atoms: Vec<Atom> = GeoDb::empty().partition(family, true).collect();
            assert_eq!(atoms, [Atom { first: family.address(0), length: 0, key: AtomKey::default() }]);
        }
    }

    #[test]
    fn a_second_file_cuts_only_where_the_first_does_not_decide() {
        let first = mmdb(&[
            ("10.0.0.0/8", city(1.0, "DE")),
            ("10.1.0.0/16", json!({ "country": { "iso_code": "FR" } })),
            ("2001:db8::/32", json!({ "country": { "iso_code": "FR" } })),
        ]);
        let second = mmdb(&[("10.1.2.0/24", city(2.0, "IT")), ("10.2.0.0/24", city(2.0, "IT"))]);
        let geo = db(&[first, second], &[]);
        check(&geo, &[]);
        let at = |address: &str| geo.locate(address.parse().unwrap());
        assert_eq!((at("10.2.0.1").country.as_deref(), at("10.2.0.1").depth), (Some("DE"), 15));
        assert_eq!((at("10.1.2.1").country.as_deref(), at("10.1.2.1").depth), (Some("IT"), 24));
        assert_eq!((at("10.1.3.1").country.as_deref(), at("10.1.3.1").depth), (Some("FR"), 24));
    }

    #[test]
    fn a_record_at_the_place_of_ipv4_may_be_elsewhere_too() {
        let one = || json!({ "country": { "iso_code": "FR" } });
        let geo = db(&[mmdb(&[("::/3", one()), ("2000::/4", one()), ("3000::/4", city(1.0, "DE"))])], &[]);
        check(&geo, &[]);
        let france = |atom: &Atom| geo.place_of(atom).country.as_deref() == Some("FR");
        assert_eq!(geo.partition(AddressFamily::V6, false).filter(france).count(), 2);
    }

    #[test]
    fn autonomous_systems_cut_only_where_asked_for() {
        let places = mmdb(&[("10.0.0.0/8", city(1.0, "DE"))]);
        let asns = mmdb(&[
            ("10.0.0.0/12", json!({ "autonomous_system_number": 64_496 })),
            ("10.0.5.0/24", json!({ "autonomous_system_number": 64_497, "autonomous_system_organization": "Example" })),
        ]);
        let geo = db(&[places], &[asns]);
        check(&geo, &[]);
        let address = "10.0.5.1".parse().unwrap();
        let place = geo.locate(address);
        assert_eq!((place.depth, geo.asn(address)), (8, (Some(64_497), 24)));
        let mapped = "::ffff:10.0.5.1".parse().unwrap();
        assert_eq!(geo.asn(mapped), (Some(64_497), 120));
        assert_eq!(geo.partition(AddressFamily::V4, false).count(), 9);
    }

    #[test]
    fn the_built_in_data_is_covered() {
        let geo = builtin::load().unwrap();
        for family in FAMILIES {
            let (mut next, mut count) = (Some(0), 0_u32);
            for atom in geo.partition(family, false) {
                assert_eq!(Some(bits(atom.first)), next);
                let last = bits(atom.first) | ones(family.bits() - atom.length);
                next = last.checked_add(1).filter(|next| *next <= ones(family.bits()));
                count += 1;
                if count.is_multiple_of(997) {
                    agrees(&geo, &atom, atom.first, false);
                }
            }
            assert_eq!(next, None, "{family:?}");
            assert!(count > 500_000, "{family:?}: {count}");
        }
    }

    fn network() -> impl Strategy<Value = String> {
        let v4 = (any::<u32>(), 1_u8..=32).prop_map(|(address, length)| {
            // Few distinct addresses, so that networks meet.
            let address = address & 0xc3c3_0003;
            format!("{}/{length}", crate::net::masked(Ipv4Addr::from(address).into(), length))
        });
        let v6 = (any::<u128>(), 1_u8..=128).prop_map(|(address, length)| {
            let address = address & 0xe003_c000_0000_0000_0000_0000_0000_0003 | 1 << 125;
            format!("{}/{length}", crate::net::masked(Ipv6Addr::from(address).into(), length))
        });
        prop_oneof![v4, v6]
    }

    fn record() -> impl Strategy<Value = Value> {
        let country = prop_oneof!["DE", "FR", "XX", ""].prop_map(|code| code.to_owned());
        prop_oneof![
            (0_i8..4, country.clone()).prop_map(|(latitude, country)| city(latitude.into(), &country)),
            country.prop_map(|country| json!({ "country": { "iso_code": country } })),
            Just(json!({})),
        ]
    }

    fn file(record: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec((network(), record), 1..12).prop_map(|mut networks| {
            // The writer takes narrower networks after wider ones only.
            networks.sort_by_key(|(network, _)| network.split_once('/').unwrap().1.parse::<u8>().unwrap());
            let v4_first: Vec<_> = networks.iter().map(|(network, record)| (network.as_str(), record)).collect();
            mmdb(&v4_first)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn atoms_say_what_lookups_say(
            places in proptest::collection::vec(file(record()), 0..3),
            asns in proptest::collection::vec(file((1_u32..4).prop_map(|n| json!({ "autonomous_system_number": n }))), 0..3),
            probes in proptest::collection::vec(any::<u128>(), 50),
        ) {
            check(&db(&places, &asns), &probes);
        }
    }
}
