//! Which keys do what, and from when on: worked out once from the keys' times, so that each step of a rollover happens by
//! itself on every node. Pure.

use nearcast_shared::clock::Timestamp;

use super::times::{Moment, Times};

/// What is known of a key here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    /// Whether the parent's DS record is about it (the SEP bit).
    pub(crate) entry: bool,
    pub(crate) times: Times,
}

/// What keys do from some moment on, until the next phase; they are indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) from: Timestamp,
    /// In the DNSKEY set.
    pub(crate) published: Vec<usize>,
    /// In the CDS and CDNSKEY sets.
    pub(crate) offered: Vec<usize>,
    /// Sign the DNSKEY, CDS and CDNSKEY sets.
    pub(crate) sign_keys: Vec<usize>,
    /// Sign all else.
    pub(crate) sign_data: Vec<usize>,
}

/// What comes of the keys' times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// In order of time; in each of them the zone is signed.
    pub(crate) phases: Vec<Phase>,
    /// From these moments on nobody would sign, until the next phase; the one before goes on instead: a zone that is
    /// bogus is worse than a key that is used for longer than planned.
    pub(crate) gaps: Vec<Timestamp>,
}

/// The schedule of a zone's keys.
pub(crate) fn schedule(keys: &[Use]) -> Schedule {
    let all = keys.iter().flat_map(|key| Moment::ALL.into_iter().filter_map(|moment| key.times.at(moment)));
    let mut moments: Vec<Timestamp> = all.collect();
    moments.sort_unstable();
    moments.dedup();
    let mut made = Schedule { phases: Vec::new(), gaps: Vec::new() };
    for from in moments {
        let phase = phase(keys, from);
        if phase.sign_data.is_empty() || phase.sign_keys.is_empty() {
            // Before the first one there is no gap: the zone is not signed yet.
            let last = made.phases.last().map(|last| last.from);
            if last.is_some_and(|last| made.gaps.last().is_none_or(|gap| *gap < last)) {
                made.gaps.push(from);
            }
        } else if made
            .phases
            .last()
            .is_none_or(|last| !does_the_same(last, &phase) || made.gaps.last() > Some(&last.from))
        {
            made.phases.push(phase);
        }
    }
    made
}

fn does_the_same(a: &Phase, b: &Phase) -> bool {
    let what = |phase: &Phase| {
        let Phase { from: _, published, offered, sign_keys, sign_data } = phase.clone();
        (published, offered, sign_keys, sign_data)
    };
    what(a) == what(b)
}

fn phase(keys: &[Use], from: Timestamp) -> Phase {
    let which = |does: &dyn Fn(&Use) -> bool| -> Vec<usize> {
        keys.iter().enumerate().filter(|(_, key)| does(key)).map(|(index, _)| index).collect()
    };
    let or = |first: Vec<usize>, second: Vec<usize>| if first.is_empty() { second } else { first };
    let active = |key: &Use| key.times.is_active(from);
    Phase {
        from,
        published: which(&|key| key.times.is_published(from)),
        offered: which(&|key| key.entry && key.times.is_offered(from)),
        // RFC 6781 section 4.1.2: while the parent's DS record changes, the DNSKEY set is signed by the old key and the new.
        sign_keys: or(which(&|key| key.entry && key.times.vouches(from)), which(&active)),
        // Of a pair of a key-signing and a zone-signing key the latter; a key alone signs all (RFC 6781 section 3.1).
        sign_data: or(which(&|key| !key.entry && active(key)), which(&|key| key.entry && active(key))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(publish: i64, offer: i64, activate: i64, withdraw: i64, inactive: i64, delete: i64) -> Times {
        let at = |seconds: i64| (seconds >= 0).then(|| Timestamp::from_seconds(seconds));
        Times {
            created: at(0),
            publish: at(publish),
            offer: at(offer),
            activate: at(activate),
            withdraw: at(withdraw),
            inactive: at(inactive),
            delete: at(delete),
        }
    }

    fn key(times: Times) -> Use {
        Use { entry: true, times }
    }

    /// From, published, offered, sign the keys, sign the data.
    type Row = (i64, &'static [usize], &'static [usize], &'static [usize], &'static [usize]);

    fn assert_phases(name: &str, keys: &[Use], wanted: &[Row], gaps: &[i64]) {
        let made = schedule(keys);
        let rows: Vec<_> = made
            .phases
            .iter()
            .map(|p| (p.from.seconds(), &p.published[..], &p.offered[..], &p.sign_keys[..], &p.sign_data[..]))
            .collect();
        assert_eq!(rows, wanted, "{name}");
        assert_eq!(made.gaps.iter().map(|at| at.seconds()).collect::<Vec<_>>(), gaps, "{name}");
    }

    #[test]
    fn phases() {
        assert_phases(
            "a key alone, offered to the parent some time after",
            &[key(times(10, 20, 10, -1, -1, -1))],
            &[(10, &[0], &[], &[0], &[0]), (20, &[0], &[0], &[0], &[0])],
            &[],
        );
        assert_phases(
            "a rollover",
            &[key(times(10, 20, 10, 120, 150, 200)), key(times(100, 120, 150, -1, -1, -1))],
            &[
                (10, &[0], &[], &[0], &[0]),
                (20, &[0], &[0], &[0], &[0]),
                // The new key is there and signs the keys.
                (100, &[0, 1], &[0], &[0, 1], &[0]),
                // Its DS record is asked for.
                (120, &[0, 1], &[1], &[0, 1], &[0]),
                // It signs.
                (150, &[0, 1], &[1], &[1], &[1]),
                // The old one goes.
                (200, &[1], &[1], &[1], &[1]),
            ],
            &[],
        );
        assert_phases(
            "a pair of two keys",
            &[key(times(1, -1, 1, -1, -1, -1)), Use { entry: false, times: times(1, -1, 1, -1, -1, -1) }],
            &[(1, &[0, 1], &[], &[0], &[1])],
            &[],
        );
        assert_phases(
            "a zone-signing key alone",
            &[Use { entry: false, times: times(1, 1, 1, -1, -1, -1) }],
            &[(1, &[0], &[], &[0], &[0])],
            &[],
        );
        assert_phases(
            "nobody signs for a while, which is bridged, and at last nobody at all",
            &[key(times(1, -1, 1, -1, 50, 60)), key(times(70, -1, 70, -1, 90, -1))],
            &[(1, &[0], &[], &[0], &[0]), (70, &[1], &[], &[1], &[1])],
            &[50, 90],
        );
        assert_phases("a key that is not used", &[key(times(-1, -1, -1, -1, -1, -1))], &[], &[]);
    }

    proptest! {
        #[test]
        fn whoever_signs_is_published(numbers in prop::collection::vec((-1..50_i64, -1..50_i64, -1..50_i64, -1..50_i64, -1..50_i64, -1..50_i64, any::<bool>()), 1..5)) {
            let keys: Vec<Use> = numbers.iter().map(|&(a, b, c, d, e, f, entry)| Use { entry, times: times(a, b, c, d, e, f) }).collect();
            let made = schedule(&keys);
            for phase in &made.phases {
                prop_assert!(!phase.sign_data.is_empty() && !phase.sign_keys.is_empty());
                for index in phase.sign_data.iter().chain(&phase.sign_keys).chain(&phase.offered) {
                    prop_assert!(phase.published.contains(index));
                }
            }
            prop_assert!(made.phases.is_sorted_by_key(|phase| phase.from));
        }
    }
}
