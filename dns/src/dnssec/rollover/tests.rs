use proptest::prelude::*;

use super::*;
use crate::dnssec::schedule::{Phase, Use, schedule};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

const WAITS: Waits = Waits {
    propagation: Duration::from_secs(10),
    dnskey_ttl: Duration::from_secs(100),
    ttl_max: Duration::from_secs(1000),
};

#[test]
fn steps_of_a_rollover() {
    let mut old = WAITS.first(at(0));
    assert_eq!(old.offer, Some(at(1010)));
    assert_eq!(step_of(&[(true, old)], at(5000)), Step::Idle { key: 0 });
    let mut new = WAITS.start(&mut old, at(5000));
    let step = |old, new, seconds| step_of(&[(true, new), (true, old)], at(seconds));
    // The old key is the second here: order is of no matter.
    let (o, n) = (1, 0);
    assert_eq!(step(old, new, 5000), Step::Introduced { old: o, new: n, until: at(5110) });
    assert_eq!(step(old, new, 5109), Step::Introduced { old: o, new: n, until: at(5110) });
    assert_eq!(step(old, new, 5110), Step::Parent { old: o, new: n });
    assert_eq!(step(old, new, 999_999), Step::Parent { old: o, new: n }, "for as long as nobody confirms");
    WAITS.confirm(&mut old, &mut new, at(6000), Duration::from_secs(500));
    assert_eq!(step(old, new, 6000), Step::Confirmed { old: o, new: n, until: at(6510) });
    assert_eq!(step(old, new, 6510), Step::Retiring { old: o, new: n, until: at(7520) });
    assert_eq!(step(old, new, 7520), Step::Over { old: o, new: n });
    assert_eq!(step_of(&[(true, new)], at(7520)), Step::Idle { key: 0 });
}

#[test]
fn a_rollover_of_a_key_that_the_parent_is_not_to_know_yet() {
    let mut old = WAITS.first(at(0));
    let new = WAITS.start(&mut old, at(5));
    assert_eq!(
        (new.offer, old.withdraw),
        (Some(at(1010)), Some(at(1010))),
        "caches have the zone without keys until then"
    );
}

#[test]
fn what_is_no_such_rollover_is_left_alone() {
    let first = WAITS.first(at(0));
    let unclear = |keys: &[(bool, Times)]| matches!(step_of(keys, at(5000)), Step::Unclear(_));
    assert_eq!(step_of(&[], at(0)), Step::NoKey);
    assert_eq!(step_of(&[(true, Times { created: first.created, ..Times::default() })], at(0)), Step::NoKey);
    assert!(unclear(&[(true, first), (false, first)]), "a pair of two kinds");
    assert!(unclear(&[(true, first), (true, first)]), "two that sign");
    assert!(unclear(&[(true, first), (true, first), (true, first)]));
    assert!(unclear(&[(true, first), (true, Times { offer: None, activate: None, ..first })]), "one that stands by");
}

/// What a validator may have in its cache, each of its own age, and from a node that may not have the newest files.
#[derive(Debug, Clone, Copy)]
struct Fetched {
    /// Seconds since.
    age: i64,
    /// Seconds that the node's files are behind.
    lag: i64,
}

/// A whole story: when the operator and the parent did what, in seconds.
#[derive(Debug, Clone)]
struct Story {
    waits: Waits,
    ds_ttl: i64,
    start: i64,
    parent: i64,
    confirm: i64,
}

impl Story {
    /// The keys, old and new, that a node has whose files are of `then`.
    fn files(&self, then: i64) -> Vec<Times> {
        let mut old = self.waits.first(at(-1_000_000));
        if then < self.start {
            return vec![old];
        }
        let mut new = self.waits.start(&mut old, at(self.start));
        if then >= self.confirm {
            self.waits.confirm(&mut old, &mut new, at(self.confirm), Duration::from_secs(self.ds_ttl.unsigned_abs()));
        }
        vec![old, new]
    }

    /// What a node does at `then`.
    fn phase(&self, then: i64, lag: i64) -> Phase {
        let uses: Vec<Use> = self.files(then - lag).into_iter().map(|times| Use { entry: true, times }).collect();
        let phases = schedule(&uses).phases;
        phases.into_iter().rfind(|phase| phase.from <= at(then)).unwrap()
    }

    /// The keys that the parent's DS set names.
    fn ds(&self, then: i64) -> usize {
        usize::from(then >= self.parent)
    }

    /// RFC 4035 section 5: a DS record names a key of the DNSKEY set that signs it, and the data's signer is in there.
    fn validates(&self, now: i64, ds: i64, keys: Fetched, data: Fetched) -> bool {
        let trusted = self.ds(now - ds);
        let keys = self.phase(now - keys.age, keys.lag);
        let data = self.phase(now - data.age, data.lag);
        let chain = keys.published.contains(&trusted) && keys.sign_keys.contains(&trusted);
        chain && data.sign_data.iter().any(|signer| keys.published.contains(signer))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn every_validator_can_validate_at_all_times(
        (propagation, dnskey_ttl, ttl_max, ds_ttl) in (0..60_i64, 1..300_i64, 1..300_i64, 1..300_i64),
        (parent_after, confirm_after) in (0..200_i64, 0..200_i64),
        ages in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64, 0.0..1.0_f64, any::<bool>(), any::<bool>(), 0..3000_i64), 1..60),
    ) {
        let seconds = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
        let waits = Waits { propagation: seconds(propagation), dnskey_ttl: seconds(dnskey_ttl), ttl_max: seconds(ttl_max) };
        let start = 1000;
        // The parent changes its DS set when the CDS set, or the command, says so; the operator confirms after that.
        let parent = start + propagation + dnskey_ttl + parent_after;
        let story = Story { waits, ds_ttl, start, parent, confirm: parent + confirm_after };
        let part = |share: f64, of: i64| (share * of as f64) as i64;
        for (ds, keys, data, keys_lag, data_lag, now) in ages {
            let now = 900 + now;
            let lag = |lags| if lags { propagation } else { 0 };
            let keys = Fetched { age: part(keys, dnskey_ttl), lag: lag(keys_lag) };
            let data = Fetched { age: part(data, ttl_max), lag: lag(data_lag) };
            prop_assert!(story.validates(now, part(ds, ds_ttl), keys, data), "{now} {ds} {keys:?} {data:?} {story:?}");
        }
    }
}

#[test]
fn the_model_notices_when_a_wait_is_left_out() {
    let waits = WAITS;
    let story = Story { waits, ds_ttl: 500, start: 1000, parent: 1110, confirm: 1110 };
    let fresh = Fetched { age: 0, lag: 0 };
    assert!(story.validates(1110, 0, Fetched { age: 100, lag: 10 }, fresh));
    // The DS record changed before the new DNSKEY set was everywhere.
    let hasty = Story { parent: 1050, ..story.clone() };
    assert!(!hasty.validates(1050, 0, Fetched { age: 60, lag: 0 }, fresh));
    // The old DS record is in caches for longer than was said.
    let mistaken = Story { ds_ttl: 5, ..story };
    assert!(!mistaken.validates(1200, 100, fresh, fresh));
}
