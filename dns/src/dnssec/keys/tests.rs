use std::fs;
use std::process::Command;

use nearcast_shared::metrics::Metrics;
use nearcast_shared::rtype;

use super::*;
use crate::dnssec::algorithm::Algorithm;
use crate::dnssec::file::write;
use crate::dnssec::times::Times;
use crate::fixture;

const ZONE: &str = "cdn.example.net";

fn config(folder: &Path, pop: &str) -> Config {
    let keys = format!("[dns.dnssec]\nkeys = {:?}\n{}", folder.display().to_string(), fixture::CONFIG);
    fixture::config(&keys.replacen("[[zone]]", "[[zone]]\ndnssec = true", 1), pop)
}

fn load(folder: &Path, now: i64) -> Result<Keys, String> {
    let metrics = SignatureMetrics::register(&Metrics::new());
    let loaded = Keys::load(&config(folder, "fra"), &metrics, Timestamp::from_seconds(now));
    loaded.map_err(|errors| errors.to_string())
}

fn make(folder: &Path, publish: i64, activate: i64, inactive: Option<i64>) -> Key {
    let at = Timestamp::from_seconds;
    let times = Times {
        created: Some(at(publish)),
        publish: Some(at(publish)),
        offer: Some(at(activate)),
        activate: Some(at(activate)),
        inactive: inactive.map(at),
        ..Times::default()
    };
    let key = Key::generate(&Name::parse(ZONE).unwrap(), Algorithm::EcdsaP256, times).unwrap();
    write(folder, &key).unwrap();
    key
}

#[test]
fn what_keeps_a_zone_from_being_signed_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let missing = load(&folder.path().join("nowhere"), 100).unwrap_err();
    assert!(missing.contains("nowhere has no key of it; make one with `nearcast dnssec keygen cdn"), "{missing}");
    let none = load(folder.path(), 100).unwrap_err();
    assert!(none.contains("make one with `nearcast dnssec keygen cdn.example.net`"), "{none}");
    let key = make(folder.path(), 100, 200, None);
    let idle = load(folder.path(), 199).unwrap_err();
    assert!(idle.contains("no key in") && idle.contains("signs now"), "{idle}");
    load(folder.path(), 200).unwrap();
    let stem = format!("K{ZONE}.+013+{:05}", key.tag());
    fs::remove_file(folder.path().join(format!("{stem}.key"))).unwrap();
    let half = load(folder.path(), 200).unwrap_err();
    assert!(half.contains("a key has two files"), "{half}");
    for _ in 0..17 {
        make(folder.path(), 1, 1, None);
    }
    assert!(load(folder.path(), 200).unwrap_err().contains("more than 16"));
}

#[test]
fn the_sets_at_the_apex_follow_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (make(folder.path(), 10, 20, Some(300)), make(folder.path(), 100, 300, None));
    let keys = load(folder.path(), 50).unwrap();
    let zone = keys.of(&Name::parse(ZONE).unwrap()).unwrap();
    let tags = |seconds| {
        let stage = zone.at(Timestamp::from_seconds(seconds));
        let of = |rtype| stage.signing(rtype).keys(zone).map(Key::tag).collect::<Vec<_>>();
        (stage.dnskey.len(), of(rtype::DNSKEY), of(rtype::A), of(rtype::CDS))
    };
    let both = {
        let mut both = vec![old.tag(), new.tag()];
        both.sort_unstable();
        both
    };
    let (old, new) = (old.tag(), new.tag());
    assert_eq!(tags(50), (1, vec![old], vec![old], vec![old]));
    assert_eq!(tags(100), (2, both.clone(), vec![old], both));
    assert_eq!(tags(300), (2, vec![new], vec![new], vec![new]));
    let cds = |seconds| zone.at(Timestamp::from_seconds(seconds)).set(rtype::CDS).map(|set| set.len());
    assert_eq!((cds(20), cds(299), cds(300)), (Some(1), Some(1), Some(1)));
    assert_eq!(keys.warnings(Timestamp::from_seconds(400)), Vec::<String>::new());
}

#[test]
fn an_end_without_a_successor_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), 10, 10, Some(5000));
    let keys = load(folder.path(), 50).unwrap();
    let warnings = keys.warnings(Timestamp::from_seconds(50));
    assert!(warnings[0].contains("from 19700101012320 (UTC) on no key is meant to sign"), "{warnings:?}");
    assert_eq!(warnings.len(), 1);
    let zone = keys.of(&Name::parse(ZONE).unwrap()).unwrap();
    assert_eq!(zone.at(Timestamp::from_seconds(9000)).signing(rtype::A).keys(zone).count(), 1, "it goes on");
    make(folder.path(), 10, 4000, None);
    assert_eq!(load(folder.path(), 50).unwrap().warnings(Timestamp::from_seconds(50)), Vec::<String>::new());
}

#[test]
fn a_zone_that_loses_its_keys_is_warned_of_once_its_parent_may_trust_them() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), 10, 100, None);
    let (signed, unsigned) = (load(folder.path(), 150).unwrap(), Keys::default());
    let zones = config(folder.path(), "fra").zones;
    let warnings =
        |before: &Keys, after, seconds| before.warnings_without(after, &zones, Timestamp::from_seconds(seconds));
    assert_eq!(warnings(&signed, &unsigned, 99), Vec::<String>::new(), "it is not offered yet");
    let [warning] = &warnings(&signed, &unsigned, 100)[..] else { panic!("one warning") };
    assert!(warning.starts_with("zone `cdn.example.net` is signed no more"), "{warning}");
    for (before, after) in [(&signed, &signed), (&unsigned, &signed), (&unsigned, &unsigned)] {
        assert_eq!(warnings(before, after, 100), Vec::<String>::new());
    }
    assert_eq!(
        signed.warnings_without(&unsigned, &[], Timestamp::from_seconds(100)),
        Vec::<String>::new(),
        "nor served"
    );
}

#[test]
fn a_key_of_tomorrow_is_used_and_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), 86_400, 86_400, None);
    // A machine that has just started and does not know the time.
    let keys = load(folder.path(), 0).unwrap();
    let warnings = keys.warnings(Timestamp::from_seconds(0));
    assert!(warnings[0].contains("a key was made at 19700102000000 (UTC), which is to come"), "{warnings:?}");
    assert_eq!(keys.warnings(Timestamp::from_seconds(86_400 - 300)), Vec::<String>::new(), "clocks differ a little");
}

/// Where BIND's tools are installed.
#[test]
fn keys_of_dnssec_keygen_are_read_and_ours_are_read_by_dnssec_settime() {
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let done = Command::new(program).arg("-K").arg(folder.path()).args(arguments).output();
        done.ok().map(|done| {
            assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).unwrap()
        })
    };
    for algorithm in ["ECDSAP256SHA256", "ED25519"] {
        if run("dnssec-keygen", &["-q", "-f", "KSK", "-a", algorithm, "-P", "sync", "+1h", ZONE]).is_none() {
            eprintln!("skipped: dnssec-keygen is not installed");
            return;
        }
    }
    let ours = make(folder.path(), 1_800_000_000, 1_800_000_000, Some(1_900_000_000));
    let keys = read(folder.path(), &Name::parse(ZONE).unwrap()).unwrap();
    assert_eq!(keys.len(), 3);
    for theirs in keys.iter().filter(|key| key.tag() != ours.tag()) {
        let Times { created, publish, offer, activate, .. } = theirs.times;
        assert!(created.is_some() && publish == created && activate == created && offer > created, "{theirs:?}");
    }
    let stem = format!("K{ZONE}.+013+{:05}", ours.tag());
    let shown = run("dnssec-settime", &["-u", "-p", "all", &stem]).unwrap();
    assert!(shown.contains("Publish: 1800000000") && shown.contains("Inactive: 1900000000"), "{shown}");
}
