use std::process::Command;
use std::time::Duration;

use nearcast_shared::metrics::Metrics;
use nearcast_shared::rtype;

use super::*;
use crate::dnssec::algorithm::Algorithm;
use crate::dnssec::key::Key;
use crate::dnssec::metrics::SignatureMetrics;
use crate::dnssec::times::Times;
use crate::fixture;
use crate::name::Name;

const START: Timestamp = Timestamp(1_800_000_000_000);
const DAY_MS: i64 = 86_400_000;
const ZONE: &str = "cdn.example.net";
const WWW: &[u8] = b"\x03www\x03cdn\x07example\x03net\x00";

/// A zone with a key, and someone who signs.
struct Bench {
    clock: Clock,
    keys: ZoneKeys,
    signers: Signers,
    metrics: Metrics,
}

fn config(change: impl FnOnce(&mut Dnssec)) -> Dnssec {
    let mut config = fixture::config(fixture::CONFIG, "fra").dnssec;
    change(&mut config);
    config
}

fn key(algorithm: Algorithm) -> Key {
    let since = Some(Timestamp(START.0 - 300 * DAY_MS));
    let times = Times { created: since, publish: since, activate: since, offer: since, ..Times::default() };
    Key::generate(&Name::parse(ZONE).unwrap(), algorithm, times).unwrap()
}

impl Bench {
    fn new(change: impl FnOnce(&mut Dnssec)) -> Self {
        Self::with(vec![key(Algorithm::EcdsaP256)], change)
    }

    fn with(keys: Vec<Key>, change: impl FnOnce(&mut Dnssec)) -> Self {
        let (config, metrics) = (config(change), Metrics::new());
        let counters = SignatureMetrics::register(&metrics);
        let keys = ZoneKeys::new(&Name::parse(ZONE).unwrap(), keys, &config, &counters).unwrap();
        let clock = Clock::manual(START);
        let signers = Signers::new(&config, clock.clone(), [7; 16], Timestamp(START.0 - 20 * DAY_MS));
        Self { clock, keys, signers, metrics }
    }

    fn sign(
        &self,
        local: &mut Local,
        owner: &[u8],
        rdatas: &[&[u8]],
        whose: (Pool, Asker),
    ) -> Result<Signatures, Refused> {
        let each = |each: &mut dyn FnMut(&[u8])| rdatas.iter().for_each(|rdata| each(rdata));
        let set = Set { owner, rtype: rtype::A, ttl: 60, rdatas: &each };
        self.signers.sign(&self.keys, local, &set, whose.0, whose.1, self.clock.now())
    }

    /// Of one address at www.
    fn www(&self, local: &mut Local) -> Result<Vec<u8>, Refused> {
        let made = self.sign(local, WWW, &[&[192, 0, 2, 1]], (Pool::Kept, Asker::Unverified))?;
        Ok(made[0].to_vec())
    }

    fn count(&self, outcome: &str) -> u64 {
        let line = format!("nearcast_dnssec_signatures_total{{zone=\"{ZONE}\",outcome=\"{outcome}\"}} ");
        let text = self.metrics.render();
        let found = text.lines().find_map(|have| have.strip_prefix(&line));
        found.unwrap_or_else(|| panic!("{line} is not in\n{text}")).parse().unwrap()
    }
}

/// When a signature begins and ends, in seconds after the start.
fn window(rdata: &[u8]) -> (i64, i64) {
    let at = |from: usize| i64::from(u32::from_be_bytes(rdata[from..from + 4].try_into().unwrap())) - START.seconds();
    (at(12), at(8))
}

#[test]
fn a_set_is_signed_once_whatever_its_order_and_case() {
    let bench = Bench::new(|_| {});
    let (a, b): (&[u8], &[u8]) = (&[192, 0, 2, 1], &[192, 0, 2, 2]);
    let whose = (Pool::Kept, Asker::Unverified);
    let sign = |owner: &[u8], rdatas: &[&[u8]]| {
        let made = bench.sign(&mut Local::default(), owner, rdatas, whose).unwrap();
        made.iter().map(|rdata| rdata.to_vec()).collect::<Vec<_>>()
    };
    let first = sign(WWW, &[a, b]);
    assert_eq!(first, sign(WWW, &[b, a]));
    assert_eq!(first, sign(b"\x03wWw\x03CDN\x07example\x03NET\x00", &[a, b]));
    assert_eq!((bench.count("made"), bench.count("cached")), (1, 2));
    for other in [sign(WWW, &[a]), sign(WWW, &[a, a]), sign(&WWW[4..], &[a, b])] {
        assert_ne!(first, other);
    }
    assert_eq!(bench.count("made"), 4);
    let both = |each: &mut dyn FnMut(&[u8])| [a, b].into_iter().for_each(each);
    let set = Set { owner: WWW, rtype: rtype::A, ttl: 61, rdatas: &both };
    bench.signers.sign(&bench.keys, &mut Local::default(), &set, whose.0, whose.1, START).unwrap();
    assert_eq!(bench.count("made"), 5, "another TTL is another set");
}

#[test]
fn a_worker_keeps_what_it_asks_for() {
    let bench = Bench::new(|_| {});
    let mut local = Local::of_worker();
    let first = bench.www(&mut local).unwrap();
    // Nothing is left of the node's own.
    bench.signers.held.iter().flatten().for_each(|shard| shard.lock().retain(|_| false));
    assert_eq!(bench.www(&mut local).unwrap(), first);
    assert_eq!((bench.count("made"), bench.count("cached")), (1, 1));
    assert_ne!(bench.www(&mut Local::default()).unwrap(), first);
}

#[test]
fn signatures_are_renewed_ahead_of_their_end() {
    let bench = Bench::new(|config| config.jitter = Duration::ZERO);
    let mut local = Local::of_worker();
    let first = bench.www(&mut local).unwrap();
    assert_eq!(window(&first), (-3600, 7 * 86_400));
    bench.clock.advance(5 * DAY_MS - 1);
    assert_eq!(bench.www(&mut local).unwrap(), first);
    bench.clock.advance(1);
    let second = bench.www(&mut local).unwrap();
    assert_eq!(window(&second), (5 * 86_400 - 3600, 12 * 86_400));
    assert_eq!((bench.count("made"), bench.count("renewed"), bench.count("due")), (1, 1, 0));
}

#[test]
fn while_one_renews_the_others_go_on_with_the_old_one() {
    let bench = Bench::new(|config| config.jitter = Duration::ZERO);
    let first = bench.www(&mut Local::default()).unwrap();
    bench.clock.advance(6 * DAY_MS);
    let held = || bench.signers.held.iter().flatten().find_map(|shard| shard.lock().values().next().cloned()).unwrap();
    held().claimed.store(true, Ordering::Relaxed);
    assert_eq!(bench.www(&mut Local::default()).unwrap(), first);
    assert_eq!((bench.count("renewed"), bench.count("due")), (0, 1));
    held().claimed.store(false, Ordering::Relaxed);
    assert_ne!(bench.www(&mut Local::default()).unwrap(), first);
}

#[test]
fn a_flood_of_names_is_refused_and_takes_nothing_from_the_rest() {
    let bench = Bench::new(|config| {
        config.signatures_per_second = 50;
        config.signatures_passing = 1000;
    });
    let first = bench.www(&mut Local::default()).unwrap();
    let mut local = Local::of_worker();
    let mut ask = |number: u32, asker| {
        let owner = [&[4], &number.to_be_bytes()[..], WWW].concat();
        bench.sign(&mut local, &owner, &[&[0]], (Pool::Passing, asker)).map(drop)
    };
    let made = (0..500).filter(|number| ask(*number, Asker::Unverified).is_ok()).count();
    assert_eq!((made, bench.count("limited")), (50, 450));
    assert_eq!(ask(0, Asker::Unverified), Ok(()), "what is there costs nothing");
    assert_eq!(ask(1000, Asker::Verified), Ok(()), "who has proven its address is not held back");
    // Much more than there is room for.
    for second in 0..100 {
        bench.clock.advance(1000);
        (0..50).for_each(|number| ask(10_000 + 50 * second + number, Asker::Unverified).unwrap());
    }
    let status = bench.signers.status();
    assert!(status.passing.count <= 1024 + SHARDS, "{status:?}");
    assert_eq!(status.kept.count, 1);
    assert_eq!(bench.www(&mut Local::default()).unwrap(), first, "the zone's own are where they were");
}

#[test]
fn what_cannot_be_renewed_serves_to_its_end_and_shows() {
    let bench = Bench::new(|config| {
        config.signatures_per_second = 1;
        config.jitter = Duration::ZERO;
    });
    let first = bench.www(&mut Local::default()).unwrap();
    bench.clock.advance(6 * DAY_MS);
    bench.sign(&mut Local::default(), WWW, &[&[9]], (Pool::Kept, Asker::Verified)).unwrap();
    assert_eq!(bench.www(&mut Local::default()).unwrap(), first, "the other one took all there was");
    assert_eq!((bench.count("due"), bench.count("renewed")), (1, 0));
    (0..SHARDS).for_each(|_| bench.signers.tick());
    assert_eq!(bench.signers.status().kept.ends, Some(Timestamp(START.0 + 7 * DAY_MS)), "it is asked for, so it shows");
    bench.clock.advance(DAY_MS);
    bench.sign(&mut Local::default(), WWW, &[&[8]], (Pool::Kept, Asker::Verified)).unwrap();
    assert_eq!(bench.www(&mut Local::default()), Err(Refused::Limited), "never one that has ended");
}

#[test]
fn what_nobody_asks_for_is_forgotten() {
    let bench = Bench::new(|_| {});
    bench.www(&mut Local::default()).unwrap();
    (0..SHARDS).for_each(|_| bench.signers.tick());
    assert_eq!(bench.signers.status().kept.count, 1);
    bench.clock.advance(6 * DAY_MS);
    (0..SHARDS).for_each(|_| bench.signers.tick());
    assert_eq!(bench.signers.status().kept, Held::default());
}

#[test]
fn a_clock_that_was_set_makes_signatures_that_are_good_by_both_times() {
    for set in [3 * DAY_MS, -3 * DAY_MS] {
        let bench = Bench::new(|config| config.jitter = Duration::ZERO);
        let first = bench.www(&mut Local::default()).unwrap();
        bench.clock.jump(set);
        bench.signers.tick();
        assert!(bench.signers.status().clock.unwrap().contains("was set by"), "{set}");
        assert_eq!(bench.signers.believed(), None);
        assert_eq!(bench.www(&mut Local::default()).unwrap(), first, "what is good by both times serves on");
        let made = bench.sign(&mut Local::default(), WWW, &[&[9]], (Pool::Kept, Asker::Verified)).unwrap();
        let (begins, ends) = window(&made[0]);
        let both = [0, set / 1000];
        let [earliest, latest] = [both.into_iter().min().unwrap(), both.into_iter().max().unwrap()];
        assert_eq!((begins, ends), (earliest - 3600, latest + 7 * 86_400), "{set}");
        bench.signers.reconfigure(&config(|_| {}), &Keys::default());
        assert!(bench.signers.status().clock.is_some(), "a reload says nothing of the clock");
        bench.signers.believe_clock();
        assert_eq!((bench.signers.status().clock, bench.signers.believed()), (None, Some(bench.clock.now())));
    }
}

#[test]
fn a_clock_that_was_set_back_does_not_make_old_signatures_good() {
    let bench = Bench::new(|config| config.jitter = Duration::ZERO);
    let first = bench.www(&mut Local::default()).unwrap();
    let mut local = Local::of_worker();
    bench.www(&mut local).unwrap();
    bench.clock.jump(-5 * DAY_MS);
    bench.signers.tick();
    bench.clock.advance(5 * DAY_MS);
    // By the machine's clock no time has passed, and it is to be renewed nonetheless.
    assert_ne!(bench.www(&mut local).unwrap(), first);
    assert_eq!(bench.count("renewed"), 1);
}

#[test]
fn too_far_apart_nothing_is_signed_but_what_there_is_serves_on() {
    let bench = Bench::new(|_| {});
    let first = bench.www(&mut Local::default()).unwrap();
    bench.clock.jump(100 * DAY_MS);
    assert_eq!(
        bench.sign(&mut Local::default(), WWW, &[&[9]], (Pool::Kept, Asker::Verified)).map(drop),
        Err(Refused::Clock)
    );
    assert_eq!(bench.www(&mut Local::default()).unwrap(), first);
    assert_eq!((bench.count("clock"), bench.count("due")), (1, 1));
}

#[test]
fn a_node_whose_clock_is_plainly_wrong_signs_nothing() {
    let bench = Bench::new(|_| {});
    let clock = Clock::manual(Timestamp(0));
    let signers = Signers::new(&config(|_| {}), clock.clone(), [7; 16], START);
    let one = |each: &mut dyn FnMut(&[u8])| each(&[1]);
    let set = Set { owner: WWW, rtype: rtype::A, ttl: 60, rdatas: &one };
    let sign = || {
        let made = signers.sign(&bench.keys, &mut Local::default(), &set, Pool::Kept, Asker::Verified, clock.now());
        made.map(drop)
    };
    assert_eq!(sign(), Err(Refused::Clock));
    clock.jump(START.0 + 1);
    assert_eq!(sign(), Ok(()));
}

#[test]
fn the_keys_that_sign_are_part_of_what_is_kept() {
    let bench = Bench::new(|_| {});
    let first = bench.www(&mut Local::default()).unwrap();
    let counters = SignatureMetrics::register(&Metrics::new());
    let other = ZoneKeys::new(&bench.keys.zone, vec![key(Algorithm::EcdsaP256)], &config(|_| {}), &counters).unwrap();
    let bench = Bench { keys: other, ..bench };
    let second = bench.www(&mut Local::default()).unwrap();
    assert_ne!(first[16..18], second[16..18], "the key's tag");
}

/// Where ldns's tools are installed: a zone of which each set was signed here.
#[test]
fn another_implementation_finds_the_signatures_good() {
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        // Two of them: the DNSKEY set and all else have two signatures.
        let mut standby = key(algorithm);
        standby.times.activate = None;
        let bench = Bench::with(vec![key(algorithm), standby], |_| {});
        let signers = Signers::new(&config(|_| {}), Clock::System, [7; 16], Timestamp(0));
        let bench = Bench { clock: Clock::System, signers, ..bench };
        let zone = signed_zone(&bench);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("zone");
        std::fs::write(&file, &zone).unwrap();
        let Ok(done) = Command::new("ldns-verify-zone").arg(&file).output() else {
            return eprintln!("skipped: ldns-verify-zone is not installed");
        };
        let told = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && told.contains("Zone is verified and complete"), "{told}\n{zone}");
        // And it does look.
        std::fs::write(&file, zone.replace("IN A \\# 4 c0000201", "IN A \\# 4 c0000209")).unwrap();
        assert!(!Command::new("ldns-verify-zone").arg(&file).output().unwrap().status.success());
    }
}

/// A zone file with names in mixed case, and with what comes of the keys.
fn signed_zone(bench: &Bench) -> String {
    let now = bench.clock.now();
    let apex = bench.keys.zone.wire();
    let wild = [b"\x01*", apex].concat();
    let soa = [b"\x03Ns1", apex, b"\x04HOST", apex, &[0; 20]].concat();
    let mail = [b"\x00\x0a\x04MAIL", apex].concat();
    let stage = bench.keys.at(now);
    let own = |rtype| {
        let set = stage.set(rtype).unwrap();
        (apex, rtype, set.rdata().map(<[u8]>::to_vec).collect::<Vec<_>>())
    };
    let nsec = |next: &[u8], types: &[u8]| vec![[next, types].concat()];
    /// A name, a type, and the data of its records.
    type Row<'a> = (&'a [u8], u16, Vec<Vec<u8>>);
    let sets: Vec<Row<'_>> = vec![
        (apex, rtype::SOA, vec![soa]),
        (apex, rtype::NS, vec![[b"\x02NS", apex].concat(), b"\x02ns\x07example\x00".to_vec()]),
        own(rtype::DNSKEY),
        own(rtype::CDS),
        own(rtype::CDNSKEY),
        // NS, SOA, RRSIG, NSEC, DNSKEY, CDS, CDNSKEY.
        (apex, rtype::NSEC, nsec(&wild, &[0, 8, 0x22, 0, 0, 0, 0, 0x03, 0x80, 0x18])),
        (&wild, rtype::TXT, vec![b"\x04Text".to_vec()]),
        // TXT, RRSIG, NSEC.
        (&wild, rtype::NSEC, nsec(WWW, &[0, 6, 0, 0, 0x80, 0, 0, 0x03])),
        (WWW, rtype::A, vec![vec![192, 0, 2, 2], vec![192, 0, 2, 1]]),
        (WWW, rtype::MX, vec![mail]),
        // A, MX, RRSIG, NSEC.
        (WWW, rtype::NSEC, nsec(apex, &[0, 6, 0x40, 0x01, 0, 0, 0, 0x03])),
    ];
    let mut zone = String::new();
    let mut line = |owner: &[u8], rtype: u16, rdata: &[u8]| {
        let hex: String = rdata.iter().map(|byte| format!("{byte:02x}")).collect();
        let (owner, rtype) = (Name::from_wire(owner).unwrap(), rtype::text(rtype));
        zone += &format!("{owner}. 60 IN {rtype} \\# {} {hex}\n", rdata.len());
    };
    for (owner, rtype, rdatas) in &sets {
        rdatas.iter().for_each(|rdata| line(owner, *rtype, rdata));
        let each = |each: &mut dyn FnMut(&[u8])| rdatas.iter().for_each(|rdata| each(rdata));
        let set = Set { owner, rtype: *rtype, ttl: 60, rdatas: &each };
        let made =
            bench.signers.sign(&bench.keys, &mut Local::default(), &set, Pool::Kept, Asker::Verified, now).unwrap();
        made.iter().for_each(|rdata| line(owner, rtype::RRSIG, rdata));
    }
    zone
}
