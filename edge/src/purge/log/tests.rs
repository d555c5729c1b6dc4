//! The log, torn, damaged, grown, and of the version before.

use super::*;
use crate::key::{GroupId, TagId, UrlId};
use crate::purge::prefixes::Prefix;
use proptest::prelude::*;
use tempfile::TempDir;

const OWN: NodeId = NodeId(7);
const TERMS: Terms = Terms { node: OWN, oldest: 0, surely_later: 1_000, expected: false };

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("purge.log");
    (folder, path)
}

/// Records with ticks from 10 and sequences from 1.
fn records() -> Vec<Record> {
    let site = || "www.example.net".to_owned();
    let scopes = [
        Scope::Url(UrlId(9)),
        Scope::Site(site()),
        Scope::Group(GroupId(u128::MAX - 1)),
        Scope::Prefix(site(), Prefix { length: 3, id: 5 }),
        Scope::Tag(TagId(4)),
        Scope::All,
    ];
    let record = |(sequence, scope)| Record { node: OWN, sequence, tick: 9 + sequence, mode: Mode::Soft, scope };
    (1..).zip(scopes).map(record).collect()
}

fn open(path: &Path, terms: Terms) -> (Log, Vec<Record>) {
    let mut found = Vec::new();
    let log = Log::open(path, terms, |record| found.push(record.clone())).unwrap();
    (log, found)
}

fn written(path: &Path) -> Vec<u8> {
    open(path, TERMS).0.append(&records()).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn records_come_back_and_outdated_ones_go() {
    let (_folder, path) = folder();
    assert_eq!(open(&path, TERMS).1, []);
    written(&path);
    let (mut log, found) = open(&path, TERMS);
    assert_eq!((found, log.next_sequence()), (records(), 7));
    let (log, later) = open(&path, Terms { oldest: 11, ..TERMS });
    let instead = Record { node: OWN, sequence: 7, tick: 11, mode: Mode::Hard, scope: Scope::All };
    let wanted = [&records()[1..], &[instead]].concat();
    assert_eq!(later, wanted, "what is older than all records stays covered");
    assert_eq!(log.reserved, 15, "ticks go on behind what was forgotten");
    assert_eq!(open(&path, TERMS).1, wanted, "and it is written down");
}

#[test]
fn reservations_and_sequences_outlive_the_records() {
    let (_folder, path) = folder();
    let (mut log, _) = open(&path, TERMS);
    log.append(&records()).unwrap();
    log.sequence = 6;
    log.reserve(500).unwrap();
    log.shrink_at = 0;
    log.shrink(|_| false).unwrap();
    let (log, found) = open(&path, TERMS);
    assert_eq!((found.as_slice(), log.reserved, log.sequence), (&[][..], 500, 6));
}

#[test]
fn the_layout_stays() {
    let (_folder, path) = folder();
    let bytes = written(&path);
    assert!(bytes.starts_with(b"nearcast purges 2\n"));
    assert_eq!(checksum(b"nearcast"), 0x0fc1_3514_7915_b40b);
    let body = Line::Purge(records()[5].clone()).encode();
    let line = [&[body.len() as u8, 0, 0, 0][..], &checksum(&body).to_le_bytes(), &body].concat();
    assert!(bytes.ends_with(&line));
}

#[test]
fn version_1_is_converted() {
    let (_folder, path) = folder();
    let mut bytes = MAGIC_1.to_vec();
    let id = [&[9][..], &[0; 15]].concat();
    let bodies = [[&b"u"[..], &id].concat(), b"r".to_vec(), b"swww".to_vec()];
    for (tick, rest) in (10u8..).zip(bodies) {
        let body = [&[tick, 0, 0, 0, 0, 0, 0, 0][..], &rest].concat();
        bytes.extend([&[body.len() as u8, 0, 0, 0][..], &checksum(&body).to_le_bytes(), &body].concat());
    }
    std::fs::write(&path, bytes).unwrap();
    let record = |sequence, tick, scope| Record { node: OWN, sequence, tick, mode: Mode::Hard, scope };
    let wanted = [record(1, 10, Scope::Url(UrlId(9))), record(2, 12, Scope::Site("www".to_owned()))];
    for _ in 0..2 {
        let (log, found) = open(&path, TERMS);
        assert_eq!((found.as_slice(), log.reserved, log.sequence), (&wanted[..], 12, 2));
        assert!(std::fs::read(&path).unwrap().starts_with(MAGIC));
    }
}

#[test]
fn a_log_that_grew_is_rewritten_with_what_is_needed() {
    let (_folder, path) = folder();
    let (mut log, _) = open(&path, TERMS);
    let url = |tick| Record { node: OWN, sequence: tick, tick, mode: Mode::Hard, scope: Scope::Url(UrlId(1)) };
    let repeated: Vec<Record> = (1..=40_000).map(url).collect();
    log.append(&repeated).unwrap();
    let before = std::fs::metadata(&path).unwrap().len();
    log.shrink(|record| record.tick == 40_000).unwrap();
    assert!(before > SHRINK_MIN && std::fs::metadata(&path).unwrap().len() < 1_000);
    log.append(&records()).unwrap();
    let (log, found) = open(&path, TERMS);
    assert_eq!((found, log.reserved), ([&[url(40_000)], records().as_slice()].concat(), 40_000));
}

#[test]
fn a_log_that_was_damaged_meanwhile_is_not_rewritten() {
    let (_folder, path) = folder();
    let (mut log, _) = open(&path, TERMS);
    log.append(&records()).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[MAGIC.len() + 100] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    log.shrink_at = 1;
    assert!(log.shrink(|_| true).is_err());
    assert_eq!(
        (std::fs::read(&path).unwrap(), log.shrink_at),
        (bytes, 2),
        "what can be told of it at the next start is"
    );
}

#[test]
fn a_log_that_was_lost_purges_everything() {
    let (_folder, path) = folder();
    let everything = Record { node: OWN, sequence: 1, tick: 1_000, mode: Mode::Hard, scope: Scope::All };
    for _ in 0..2 {
        let (log, found) = open(&path, Terms { expected: true, ..TERMS });
        assert_eq!((found.as_slice(), log.reserved), (&[everything.clone()][..], 1_000), "once");
    }
}

#[test]
fn half_a_line_that_could_not_be_cut_off_stops_all_writing() {
    let (_folder, path) = folder();
    let (mut log, _) = open(&path, TERMS);
    log.append(&records()[..1]).unwrap();
    let file = std::mem::replace(&mut log.file, File::open(&path).unwrap());
    assert!(log.append(&records()[1..2]).is_err(), "it cannot be written");
    (&file).write_all(b"half a line").unwrap();
    assert!(log.append(&records()[1..2]).is_err(), "nor cut back");
    log.file = file;
    log.append(&records()[2..]).unwrap();
    assert_eq!(open(&path, TERMS).1, [&records()[..1], &records()[2..]].concat());
}

#[test]
fn a_file_whose_name_may_be_lost_is_not_written() {
    let (folder, _) = folder();
    let (state, aside) = (folder.path().join("state"), folder.path().join("aside"));
    std::fs::create_dir(&state).unwrap();
    let path = state.join("purge.log");
    let (mut log, _) = open(&path, TERMS);
    log.append(&records()[..1]).unwrap();
    log.is_unnamed = true;
    std::fs::rename(&state, &aside).unwrap();
    assert!(log.append(&records()[1..2]).is_err());
    std::fs::rename(&aside, &state).unwrap();
    log.append(&records()[2..]).unwrap();
    assert_eq!(open(&path, TERMS).1, [&records()[..1], &records()[2..]].concat());
}

#[test]
fn a_torn_end_loses_only_itself() {
    let (_folder, path) = folder();
    let bytes = written(&path);
    let last = Line::Purge(records()[5].clone()).encode().len() + HEAD;
    for cut in 1..last {
        std::fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
        let (mut log, found) = open(&path, TERMS);
        assert_eq!(found, records()[..5], "cut {cut}");
        let sequence = log.next_sequence();
        log.append(&[Record { sequence, ..records()[5].clone() }]).unwrap();
        assert_eq!(open(&path, TERMS).1, records(), "cut {cut}, and written on");
    }
}

#[test]
fn damage_purges_everything() {
    let (_folder, path) = folder();
    let bytes = written(&path);
    let start = MAGIC.len();
    let broken = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    let rows = [
        ("a checksum", broken(start + 5)),
        ("a length", broken(start)),
        ("a length beyond all bounds", broken(start + 3)),
        ("a body", broken(start + HEAD + 2)),
        ("another file", b"something else altogether".to_vec()),
        ("a later version", [b"nearcast purges 3\n", &bytes[start..]].concat()),
        ("an empty file", Vec::new()),
        ("zeros behind", [bytes.as_slice(), &[0; 5_000]].concat()),
    ];
    for (name, bytes) in rows {
        std::fs::write(&path, bytes).unwrap();
        for _ in 0..2 {
            let (_log, found) = open(&path, TERMS);
            assert!(found.iter().any(|record| record.tick == 1_000 && record.scope == Scope::All), "{name}: {found:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200), first in any::<bool>()) {
        let (_folder, path) = folder();
        let mut file = if first { MAGIC_1 } else { MAGIC }.to_vec();
        file.extend(bytes);
        std::fs::write(&path, file).unwrap();
        let (_log, once) = open(&path, TERMS);
        let (_log, again) = open(&path, TERMS);
        prop_assert_eq!(once, again, "what was read is what is kept");
    }
}
