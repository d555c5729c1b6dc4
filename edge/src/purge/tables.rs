//! The purges in force, for the hit path: constant work, and no lock that spans all keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

use super::Record;
use crate::key::UrlId;

const SHARDS: usize = 64;

/// The latest tick per scope.
#[derive(Debug)]
pub(super) struct Tables {
    all: AtomicU64,
    /// Few, and rarely written: replaced whole.
    sites: ArcSwap<HashMap<String, u64>>,
    sites_writer: Mutex<()>,
    urls: [RwLock<HashMap<UrlId, u64>>; SHARDS],
    url_count: AtomicUsize,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            all: AtomicU64::new(0),
            sites: ArcSwap::default(),
            sites_writer: Mutex::default(),
            urls: std::array::from_fn(|_| RwLock::default()),
            url_count: AtomicUsize::new(0),
        }
    }
}

impl Tables {
    /// The latest tick of any purge that covers that site and URL; 0 when there is none.
    pub(super) fn latest(&self, site: &str, url: UrlId) -> u64 {
        let mut tick = self.all.load(Ordering::Acquire);
        let sites = self.sites.load();
        if !sites.is_empty() {
            tick = tick.max(sites.get(site).copied().unwrap_or(0));
        }
        if self.url_count.load(Ordering::Acquire) > 0 {
            tick = tick.max(self.shard(url).read().get(&url).copied().unwrap_or(0));
        }
        tick
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
            Record::Url { tick, url } => {
                let mut shard = self.shard(*url).write();
                let before = shard.len();
                raise(shard.entry(*url).or_default(), *tick);
                self.url_count.fetch_add(shard.len() - before, Ordering::AcqRel);
            }
        }
    }

    /// All that is in force.
    pub(super) fn records(&self) -> Vec<Record> {
        let all = Record::All { tick: self.all.load(Ordering::Acquire) };
        let sites = self.sites.load();
        let sites = sites.iter().map(|(site, tick)| Record::Site { tick: *tick, site: site.clone() });
        let mut records: Vec<Record> = std::iter::once(all).filter(|all| all.tick() > 0).chain(sites).collect();
        for shard in &self.urls {
            records.extend(shard.read().iter().map(|(url, tick)| Record::Url { tick: *tick, url: *url }));
        }
        records
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        let all = usize::from(self.all.load(Ordering::Relaxed) > 0);
        all + self.sites.load().len() + self.url_count.load(Ordering::Relaxed)
    }

    fn shard(&self, url: UrlId) -> &RwLock<HashMap<UrlId, u64>> {
        &self.urls[url.0 as usize % SHARDS]
    }
}

fn raise(tick: &mut u64, to: u64) {
    *tick = (*tick).max(to);
}
