//! The purges in force, for the hit path: constant work, and no lock that spans all keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

use super::Record;
use crate::key::{GroupId, UrlId};

const SHARDS: usize = 64;

/// The latest tick per scope.
#[derive(Debug, Default)]
pub(super) struct Tables {
    all: AtomicU64,
    /// Few, and rarely written: replaced whole.
    sites: ArcSwap<HashMap<String, u64>>,
    sites_writer: Mutex<()>,
    urls: Ids,
    groups: Ids,
}

impl Tables {
    /// The latest tick of any purge that covers that site, that URL or one of those groups; 0 when there is none.
    pub(super) fn latest(&self, site: &str, url: UrlId, https: bool, groups: &[GroupId]) -> u64 {
        let mut tick = self.all.load(Ordering::Acquire);
        let sites = self.sites.load();
        if !sites.is_empty() {
            tick = tick.max(sites.get(site).copied().unwrap_or(0));
        }
        tick = tick.max(self.urls.latest(url.0)).max(self.urls.latest(url.of_scheme(https).0));
        groups.iter().fold(tick, |tick, group| tick.max(self.groups.latest(group.0)))
    }

    /// Puts a record in force.
    pub(super) fn apply(&self, record: &Record) {
        match record {
            Record::Reserve { .. } => {}
            Record::All { tick } => {
                self.all.fetch_max(*tick, Ordering::AcqRel);
            }
            Record::Site { tick, site } => {
                let _one_at_a_time = self.sites_writer.lock();
                let mut sites = HashMap::clone(&self.sites.load());
                raise(sites.entry(site.clone()).or_default(), *tick);
                self.sites.store(Arc::new(sites));
            }
            Record::Url { tick, url } => self.urls.raise(url.0, *tick),
            Record::Group { tick, group } => self.groups.raise(group.0, *tick),
        }
    }

    /// All that is in force.
    pub(super) fn records(&self) -> Vec<Record> {
        let all = Record::All { tick: self.all.load(Ordering::Acquire) };
        let sites = self.sites.load();
        let sites = sites.iter().map(|(site, tick)| Record::Site { tick: *tick, site: site.clone() });
        let mut records: Vec<Record> = std::iter::once(all).filter(|all| all.tick() > 0).chain(sites).collect();
        self.urls.for_each(|id, tick| records.push(Record::Url { tick, url: UrlId(id) }));
        self.groups.for_each(|id, tick| records.push(Record::Group { tick, group: GroupId(id) }));
        records
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        let all = usize::from(self.all.load(Ordering::Relaxed) > 0);
        all + self.sites.load().len() + self.urls.len() + self.groups.len()
    }
}

/// The latest tick per id. While there is none, looking costs one load.
#[derive(Debug)]
struct Ids {
    shards: [RwLock<HashMap<u128, u64>>; SHARDS],
    count: AtomicUsize,
}

impl Default for Ids {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()), count: AtomicUsize::new(0) }
    }
}

impl Ids {
    fn latest(&self, id: u128) -> u64 {
        if self.count.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.shard(id).read().get(&id).copied().unwrap_or(0)
    }

    fn raise(&self, id: u128, tick: u64) {
        let mut shard = self.shard(id).write();
        let before = shard.len();
        raise(shard.entry(id).or_default(), tick);
        self.count.fetch_add(shard.len() - before, Ordering::AcqRel);
    }

    fn for_each(&self, mut tell: impl FnMut(u128, u64)) {
        for shard in &self.shards {
            shard.read().iter().for_each(|(id, tick)| tell(*id, *tick));
        }
    }

    fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn shard(&self, id: u128) -> &RwLock<HashMap<u128, u64>> {
        &self.shards[id as usize % SHARDS]
    }
}

fn raise(tick: &mut u64, to: u64) {
    *tick = (*tick).max(to);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> impl Strategy<Value = Record> {
        (1u64..100, 0u128..3, 0..4).prop_map(|(tick, id, kind)| match kind {
            0 => Record::All { tick: tick / 10 },
            1 => Record::Site { tick, site: id.to_string() },
            2 => Record::Url { tick, url: UrlId(id) },
            _ => Record::Group { tick, group: GroupId(id) },
        })
    }

    fn touches(record: &Record, site: &str, url: UrlId, groups: &[GroupId]) -> bool {
        match record {
            Record::All { .. } => true,
            Record::Site { site: covered, .. } => covered == site,
            Record::Url { url: covered, .. } => *covered == url,
            Record::Group { group, .. } => groups.contains(group),
            Record::Reserve { .. } => false,
        }
    }

    proptest! {
        #[test]
        fn the_latest_of_all_that_covers_counts(
            records in proptest::collection::vec(record(), 0..20),
            (site, url) in ("[0-3]", 0u128..4),
            groups in proptest::collection::vec((0u128..4).prop_map(GroupId), 0..3),
        ) {
            let url = UrlId(url);
            let wanted = records.iter().filter(|record| touches(record, &site, url, &groups)).map(Record::tick).max();
            let tables = Tables::default();
            records.iter().for_each(|record| tables.apply(record));
            prop_assert_eq!(tables.latest(&site, url, false, &groups), wanted.unwrap_or(0));

            let again = Tables::default();
            tables.records().iter().for_each(|record| again.apply(record));
            prop_assert_eq!(again.latest(&site, url, false, &groups), wanted.unwrap_or(0), "from what is in force");
            prop_assert_eq!((again.len(), tables.records().len()), (tables.len(), tables.len()));
        }
    }
}
