use std::fs;

use clap::Parser;
use nearcast_dns::dnssec::Times;
use tempfile::TempDir;

use super::*;

const ZONE: &str = "cdn.example.net";
const HOUR_MS: i64 = 3_600_000;
const START: Timestamp = Timestamp(1_800_000_000_000);

const CONFIG: &str = r#"
    [dns.dnssec]
    keys = "keys"
    [[pop]]
    name = "fra"
    location = [50.03, 8.57]
    addresses = ["192.0.2.10"]
    [[zone]]
    name = "cdn.example.net"
    dnssec = true
    nameservers = ["ns1.cdn.example.net"]
    [[zone]]
    name = "sub.cdn.example.net"
    nameservers = ["ns1.cdn.example.net"]
"#;

fn ground() -> (TempDir, Ground) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nearcast.toml");
    fs::write(&file, CONFIG).unwrap();
    let ground = Ground { config: Config::load(&file, &Inputs { offline: true, ..Inputs::default() }).unwrap() };
    (folder, ground)
}

fn at(hours: i64) -> Timestamp {
    Timestamp(START.0 + hours * HOUR_MS)
}

fn tags(ground: &Ground) -> Vec<u16> {
    ground.keys(ground.zone(ZONE).unwrap()).unwrap().iter().map(Key::tag).collect()
}

#[test]
fn the_first_key() {
    let (_folder, ground) = ground();
    let missing = ds(&ground, ZONE, at(0)).unwrap_err().to_string();
    assert!(missing.contains("`nearcast dnssec keygen cdn.example.net` makes one"), "{missing}");
    let told = keygen(&ground, "CDN.example.net.", Algorithm::EcdsaP256, at(0)).unwrap();
    let [tag] = tags(&ground)[..] else { panic!("one key") };
    assert!(told.starts_with(&format!("made key {tag} of {ZONE}: ")), "{told}");
    // An hour for the files, and a day for texts of the longest TTL.
    assert!(told.contains(&format!("Not before {}", when(at(25)))), "{told}");
    let again = keygen(&ground, ZONE, Algorithm::EcdsaP256, at(1)).unwrap_err().to_string();
    assert!(again.contains("`nearcast dnssec rollover cdn.example.net` replaces it"), "{again}");
    let (records, told) = ds(&ground, ZONE, at(1)).unwrap();
    assert!(
        records.starts_with(&format!("{ZONE}. IN DS {tag} 13 2 ")) && told.contains("Not before"),
        "{records}{told}"
    );
    assert!(ds(&ground, ZONE, at(25)).unwrap().1.contains("this DS record and no other"));
    let other = keygen(&ground, "example.org", Algorithm::EcdsaP256, at(0)).unwrap_err().to_string();
    assert!(other.contains("no [[zone]] is named `example.org`; there are: cdn.example.net, sub."), "{other}");
}

#[test]
fn a_zone_that_is_not_signed_yet_and_its_parent() {
    let (_folder, ground) = ground();
    let told = keygen(&ground, "sub.cdn.example.net", Algorithm::Ed25519, at(0)).unwrap();
    assert!(told.contains("set dnssec = true in the [[zone]] `sub.cdn.example.net` first"), "{told}");
    let (records, told) = ds(&ground, "sub.cdn.example.net", at(90)).unwrap();
    assert!(records.contains(" 15 2 "), "{records}");
    assert!(told.contains("The parent zone `cdn.example.net` is in this config"), "{told}");
}

#[test]
fn a_rollover_from_begin_to_end() {
    let (_folder, ground) = ground();
    keygen(&ground, ZONE, Algorithm::EcdsaP256, at(0)).unwrap();
    let old = tags(&ground)[0];
    let roll =
        |hours, confirmed| rollover::rollover(&ground, ZONE, confirmed, at(hours)).map_err(|error| error.to_string());
    let ds_ttl = Some(Duration::from_secs(3600));
    assert!(roll(99, ds_ttl).unwrap_err().contains("no rollover waits for the parent"));

    let begun = roll(100, None).unwrap();
    let new = tags(&ground).into_iter().find(|tag| *tag != old).unwrap();
    assert!(
        begun.starts_with(&format!("step 1 of 4: key {new} is published beside {old}; until {}", when(at(102)))),
        "{begun}"
    );
    assert!(begun.contains("say `nearcast reload`"), "{begun}");
    assert!(roll(101, None).unwrap().starts_with("step 1 of 4"), "nothing more is done");
    assert!(roll(101, ds_ttl).unwrap_err().starts_with("not before"));
    assert!(ds(&ground, ZONE, at(101)).unwrap().0.contains(&format!("DS {old} ")));

    let due = roll(102, None).unwrap();
    let record = ds(&ground, ZONE, at(102)).unwrap().0;
    assert!(record.contains(&format!("DS {new} ")) && due.contains(record.trim()), "{due}");
    assert!(due.contains("--parent-has-new-ds"), "{due}");

    let confirmed = roll(110, ds_ttl).unwrap();
    assert!(
        confirmed.starts_with(&format!("step 3 of 4: the old DS record goes from caches; at {}", when(at(112)))),
        "{confirmed}"
    );
    assert!(roll(111, ds_ttl).unwrap_err().starts_with("that was said before"));
    assert!(roll(112, None).unwrap().starts_with(&format!("step 4 of 4: key {new} signs")));
    let shown = list(&ground, None, at(112)).unwrap();
    let line = |tag| shown.lines().find(|line| line.contains(&format!("key {tag} "))).unwrap().to_owned();
    assert!(line(new).contains("in the DNSKEY set, signs it, signs the zone, offered to the parent"), "{shown}");
    let words: Vec<String> =
        line(old).split("  ").filter(|word| !word.is_empty()).map(|word| word.trim().to_owned()).collect();
    assert_eq!(
        words[2..],
        ["in the DNSKEY set".to_owned(), format!("{}: leaves the DNSKEY set", when(at(137)))],
        "{shown}"
    );

    assert!(roll(136, None).unwrap().starts_with("step 4 of 4"));
    assert!(roll(137, None).unwrap().contains("the rollover is over"));
    assert_eq!(tags(&ground), [new]);
    assert!(list(&ground, Some(ZONE), at(137)).unwrap().contains(&format!("key {new} does all")));
}

#[test]
fn a_key_whose_end_is_planned_is_not_rolled_over() {
    let (_folder, ground) = ground();
    keygen(&ground, ZONE, Algorithm::EcdsaP256, at(0)).unwrap();
    let keys = || ground.keys(ground.zone(ZONE).unwrap()).unwrap();
    for end in [|times: &mut Times| times.inactive = Some(at(900)), |times: &mut Times| times.delete = Some(at(900))] {
        let mut key = keys().remove(0);
        (key.times.inactive, key.times.delete) = (None, None);
        end(&mut key.times);
        write(&ground.config.dnssec.keys, &key).unwrap();
        let refused = rollover::rollover(&ground, ZONE, None, at(100)).unwrap_err().to_string();
        assert!(refused.contains(&format!("is planned for {} already", when(at(900)))), "{refused}");
        assert_eq!(keys().len(), 1);
    }
}

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    dnssec: DnssecArgs,
}

#[test]
fn the_ttl_goes_with_the_parent_s_word() {
    let parse = |arguments: &[&str]| Line::try_parse_from([&["nearcast", "rollover", ZONE], arguments].concat());
    assert!(parse(&[]).is_ok() && parse(&["--parent-has-new-ds", "--ds-ttl", "60"]).is_ok());
    assert!(parse(&["--ds-ttl", "60"]).is_err() && parse(&["--parent-has-new-ds", "--ds-ttl", "0"]).is_err());
}
