//! The keys of a signed zone and what comes of them: the sets at its apex, and who signs what when.

use std::hash::Hasher;

use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::Dnssec;
use nearcast_shared::rtype;
use siphasher::sip::SipHasher13;

use super::key::Key;
use super::metrics::{Outcome, SignatureMetrics, ZoneCounters};
use super::rrsig::Terms;
use super::schedule::{Phase, Use, schedule};
use crate::name::Name;
use crate::view::RrSet;

/// The keys of a zone, at least one of which signs.
#[derive(Debug)]
pub(crate) struct ZoneKeys {
    pub(super) zone: Name,
    keys: Vec<Key>,
    /// In order of time, at least one.
    stages: Vec<Stage>,
    gaps: Vec<Timestamp>,
    pub(super) terms: Terms,
    counters: ZoneCounters,
}

/// What the keys do from some moment on.
#[derive(Debug)]
pub(crate) struct Stage {
    from: Timestamp,
    /// The DNSKEY set.
    pub(crate) dnskey: RrSet,
    /// The CDS and CDNSKEY sets (RFC 7344), if there is something to ask the parent for.
    pub(crate) offers: Option<(RrSet, RrSet)>,
    keys: Signing,
    data: Signing,
}

/// Keys that sign together.
#[derive(Debug)]
pub(super) struct Signing {
    /// Tells their signatures from those of others.
    pub(super) id: u64,
    members: Vec<usize>,
}

impl ZoneKeys {
    /// `None` when no key ever signs.
    pub(super) fn new(zone: &Name, keys: Vec<Key>, config: &Dnssec, metrics: &SignatureMetrics) -> Option<Self> {
        let uses: Vec<Use> = keys.iter().map(|key| Use { entry: key.is_entry(), times: key.times }).collect();
        let schedule = schedule(&uses);
        let stages: Vec<Stage> =
            schedule.phases.iter().map(|phase| stage(zone, &keys, phase, config.dnskey_ttl)).collect();
        let Dnssec { validity, jitter, refresh, backdate, .. } = *config;
        (!stages.is_empty()).then(|| Self {
            zone: zone.clone(),
            keys,
            stages,
            gaps: schedule.gaps,
            terms: Terms { validity, jitter, refresh, backdate },
            counters: metrics.zone(&zone.to_string()),
        })
    }

    /// What the keys do now. `now` is what [`super::Signers::now`] makes of the clock.
    pub(crate) fn at(&self, now: Timestamp) -> &Stage {
        let begun = self.stages.partition_point(|stage| stage.from <= now);
        // Before the first moment the first stage counts: a view is not made then, but a clock may be set back.
        &self.stages[begun.saturating_sub(1)]
    }

    /// Whether the zone is signed yet. It is not earlier than when a key was made: the clock of a machine that has just
    /// started may not know.
    pub(super) fn has_begun(&self, now: Timestamp) -> bool {
        let now = self.newest().map_or(now, |made| made.max(now));
        self.stages.first().is_some_and(|stage| stage.from <= now)
    }

    /// Whether the parent may have a DS record of one of them: it was asked to, or nobody knows.
    pub(super) fn may_be_trusted(&self, now: Timestamp) -> bool {
        self.keys.iter().any(|key| key.is_entry() && key.times.offer.is_none_or(|offer| offer <= now))
    }

    /// From when on nobody would sign, if that is so now or planned.
    pub(super) fn gap(&self, now: Timestamp) -> Option<Timestamp> {
        let next = |gap: Timestamp| self.stages.iter().find(|stage| stage.from > gap).map(|stage| stage.from);
        self.gaps.iter().copied().find(|gap| next(*gap).is_none_or(|next| next > now))
    }

    /// When the latest key was made.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.keys.iter().filter_map(Key::created).max()
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.counters[outcome as usize].inc();
    }
}

impl Stage {
    /// Who signs sets of that type. RFC 7344 section 4.1: CDS and CDNSKEY sets are signed "with a key that is represented in both
    /// the current DNSKEY and DS RRsets", and which one that is, only the parent knows while it changes.
    pub(super) fn signing(&self, rtype: u16) -> &Signing {
        match rtype {
            rtype::DNSKEY | rtype::CDS | rtype::CDNSKEY => &self.keys,
            _ => &self.data,
        }
    }

    /// The set of that type that comes of the keys.
    pub(crate) fn set(&self, rtype: u16) -> Option<&RrSet> {
        let (cds, cdnskey) = self.offers.as_ref().map(|(cds, cdnskey)| (cds, cdnskey)).unzip();
        match rtype {
            rtype::DNSKEY => Some(&self.dnskey),
            rtype::CDS => cds,
            rtype::CDNSKEY => cdnskey,
            _ => None,
        }
    }
}

impl Signing {
    pub(super) fn keys<'k>(&self, of: &'k ZoneKeys) -> impl Iterator<Item = &'k Key> {
        self.members.iter().map(|index| &of.keys[*index])
    }
}

fn stage(zone: &Name, keys: &[Key], phase: &Phase, ttl: u32) -> Stage {
    let set = |rtype, members: &[usize], rdata: fn(&Key) -> Box<[u8]>| {
        let rdatas: Vec<Box<[u8]>> = members.iter().map(|index| rdata(&keys[*index])).collect();
        RrSet::new(rtype, ttl, rdatas.iter().map(|rdata| &**rdata))
    };
    let signing = |members: &[usize]| {
        let mut hasher = SipHasher13::new();
        hasher.write(zone.wire());
        members.iter().for_each(|index| hasher.write(&keys[*index].dnskey()));
        Signing { id: hasher.finish(), members: members.to_vec() }
    };
    let offered = &phase.offered[..];
    Stage {
        from: phase.from,
        dnskey: set(rtype::DNSKEY, &phase.published, Key::dnskey),
        offers: (!offered.is_empty())
            .then(|| (set(rtype::CDS, offered, Key::ds), set(rtype::CDNSKEY, offered, Key::dnskey))),
        keys: signing(&phase.sign_keys),
        data: signing(&phase.sign_data),
    }
}
