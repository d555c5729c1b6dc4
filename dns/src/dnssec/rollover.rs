//! Rolling over a zone's key, so that every validator can validate at all times whatever it has in its cache (RFC 6781 section
//! 4.1.2, double signatures of the DNSKEY set, and section 4.1.1.1, a key that is published before it signs). Pure; what is
//! decided goes into the keys' times, where each node finds it.
//!
//! ```text
//!           old key   new key
//!   start   signs     published, both sign the DNSKEY set    until the new set is in all caches        `Introduced`
//!           signs                offered to the parent       until the parent has the new DS record    `Parent`
//!   confirm signs                                            until the old DS record is in no cache    `Confirmed`
//!           published signs all                              until the old signatures are in no cache  `Retiring`
//!           gone      signs all                                                                        `Over`
//! ```
//!
//! Each wait has the time in it that a change of the key folder needs to reach every node.

use std::time::Duration;

use nearcast_shared::clock::Timestamp;

use super::key::Key;
use super::times::Times;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// Until every node has the files.
    pub propagation: Duration,
    /// The DNSKEY set's TTL.
    pub dnskey_ttl: Duration,
    /// The longest TTL of all else that the zone has.
    pub ttl_max: Duration,
}

/// Where a rollover is. Keys are indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is no key.
    NoKey,
    /// One key does all.
    Idle {
        /// That key.
        key: usize,
    },
    /// The new key is there, and not yet known to all.
    Introduced {
        /// What signs.
        old: usize,
        /// What will.
        new: usize,
        /// Then its DS record may go to the parent.
        until: Timestamp,
    },
    /// The parent is to have the new DS record in place of the old one.
    Parent {
        /// What signs.
        old: usize,
        /// What will.
        new: usize,
    },
    /// The parent has it, and the old DS record may still be in caches.
    Confirmed {
        /// What signs.
        old: usize,
        /// What will.
        new: usize,
        /// Then it does.
        until: Timestamp,
    },
    /// The new key signs, and signatures of the old one may still be in caches.
    Retiring {
        /// What signed.
        old: usize,
        /// What signs.
        new: usize,
        /// Then the old key goes.
        until: Timestamp,
    },
    /// The old key is used no more: its files can go.
    Over {
        /// What signed.
        old: usize,
        /// What signs.
        new: usize,
    },
    /// The keys' times are not those of such a rollover.
    Unclear(&'static str),
}

/// Where the rollover of a zone with these keys is.
pub fn step(keys: &[Key], now: Timestamp) -> Step {
    step_of(&keys.iter().map(|key| (key.is_entry(), key.times)).collect::<Vec<_>>(), now)
}

fn step_of(keys: &[(bool, Times)], now: Timestamp) -> Step {
    let gone = |times: &Times| times.delete.is_some_and(|delete| delete <= now);
    let used = |times: &Times| times.publish.is_some() && !gone(times);
    let mut live: Vec<usize> = (0..keys.len()).filter(|index| used(&keys[*index].1)).collect();
    if live.iter().any(|index| !keys[*index].0) {
        return Step::Unclear(
            "the zone has a key-signing and a zone-signing key; roll such a pair over with dnssec-keygen and dnssec-settime",
        );
    }
    // The one that signs first is the old one; what has no such time comes last.
    live.sort_by_key(|index| keys[*index].1.activate.map_or((1, Timestamp(0)), |at| (0, at)));
    match live[..] {
        [] => Step::NoKey,
        [key] => match (0..keys.len()).find(|index| gone(&keys[*index].1)) {
            Some(old) => Step::Over { old, new: key },
            None => Step::Idle { key },
        },
        [old, new] => pair(old, new, &keys[old].1, &keys[new].1, now),
        _ => Step::Unclear(
            "the zone has more than two keys in use; set Delete of those that are not needed with dnssec-settime",
        ),
    }
}

fn pair(old: usize, new: usize, was: &Times, is: &Times, now: Timestamp) -> Step {
    match (is.offer, is.activate, was.inactive, was.delete) {
        (None, ..) => Step::Unclear(
            "the second key has no SyncPublish time, so nobody knows when its DS record may go to the parent; set one with \
             dnssec-settime, or take its files away",
        ),
        (Some(offer), None, None, None) if now < offer => Step::Introduced { old, new, until: offer },
        (Some(_), None, None, None) => Step::Parent { old, new },
        (Some(_), Some(activate), Some(inactive), Some(_)) if now < activate && activate <= inactive => {
            Step::Confirmed { old, new, until: activate }
        }
        (Some(_), Some(activate), Some(inactive), Some(delete)) if activate <= inactive => {
            Step::Retiring { old, new, until: delete }
        }
        (Some(_), Some(_) | None, _, _) => Step::Unclear(
            "the times of the two keys are not those of a rollover; `nearcast dnssec list` shows them, dnssec-settime sets them",
        ),
    }
}

impl Waits {
    /// The times of a zone's first key. Its DS record may go to the parent once no cache has what the zone was without it.
    pub fn first(&self, now: Timestamp) -> Times {
        let offer = now.plus(self.propagation).plus(self.ttl_max.max(self.dnskey_ttl));
        Times { created: Some(now), publish: Some(now), activate: Some(now), offer: Some(offer), ..Times::default() }
    }

    /// A new key comes beside `old`; its times.
    pub fn start(&self, old: &mut Times, now: Timestamp) -> Times {
        // Not while the parent is not to have that of the old one: caches may still have the zone as it was without a key.
        let offer = now.plus(self.propagation).plus(self.dnskey_ttl).max(old.offer.unwrap_or(now));
        old.withdraw = Some(offer);
        Times { created: Some(now), publish: Some(now), offer: Some(offer), ..Times::default() }
    }

    /// The parent has the new DS record everywhere, whose TTL, and that of the old one, is `ds_ttl`: the rest is planned.
    pub fn confirm(&self, old: &mut Times, new: &mut Times, now: Timestamp, ds_ttl: Duration) {
        let activate = now.plus(self.propagation).plus(ds_ttl);
        new.activate = Some(activate);
        old.inactive = Some(activate);
        // Nodes' clocks may differ, by less than the time that files need.
        old.delete = Some(activate.plus(self.propagation).plus(self.ttl_max.max(self.dnskey_ttl)));
    }
}

#[cfg(test)]
mod tests;
