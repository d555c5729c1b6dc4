//! The purges in force, for the hit path: work that does not grow with their number, and no lock that spans all keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

use super::ids::Ids;
use super::mark::{Mark, Marks, Mode, Verdict};
use super::prefixes::Prefixes;
use super::record::Record;
use super::scope::{Kind, Scope, Subject};
use crate::key::{HashSecret, TagSpace};
use crate::policy::rules;

/// The latest purges per scope.
#[derive(Debug)]
pub(super) struct Tables {
    /// The latest tick of all: what was fetched later needs no further look.
    newest: AtomicU64,
    all: AtomicMarks,
    /// The latest hard one of everything that the log has.
    all_logged: AtomicU64,
    /// Few, and rarely new ones: replaced whole.
    sites: ArcSwap<HashMap<String, Arc<SiteTable>>>,
    sites_writer: Mutex<()>,
    /// Of all sites.
    prefixes: AtomicUsize,
    urls: Ids,
    groups: Ids,
    tags: Ids,
    secret: HashSecret,
}

/// The purges of one site, and of its paths.
#[derive(Debug, Default)]
struct SiteTable {
    marks: AtomicMarks,
    newest_prefix: AtomicU64,
    prefixes: RwLock<Prefixes>,
}

impl Tables {
    pub(super) fn new(secret: HashSecret) -> Self {
        Self {
            newest: AtomicU64::new(0),
            all: AtomicMarks::default(),
            all_logged: AtomicU64::new(0),
            sites: ArcSwap::default(),
            sites_writer: Mutex::default(),
            prefixes: AtomicUsize::new(0),
            urls: Ids::default(),
            groups: Ids::default(),
            tags: Ids::default(),
            secret,
        }
    }

    /// What the purges say of a fetch.
    pub(super) fn verdict(&self, subject: &Subject<'_>) -> Verdict {
        if self.newest.load(Ordering::SeqCst) < subject.tick {
            return Verdict::Alive;
        }
        let tick = subject.tick;
        let mut latest = self.all.load().and(self.of_site(subject));
        for url in [subject.url, subject.url.of_scheme(subject.https)] {
            latest = latest.and(self.urls.latest(url.0, tick));
        }
        for group in subject.groups {
            latest = latest.and(self.groups.latest(group.0, tick));
        }
        if !subject.tags.is_empty() && self.tags.len() > 0 {
            let space = TagSpace::of(subject.site);
            for tag in subject.tags.iter().flat_map(|tag| [*tag, tag.within(space)]) {
                latest = latest.and(self.tags.latest(tag.0, tick));
            }
        }
        latest.verdict(tick)
    }

    /// What the purges of its site and of prefixes of its path say. A path counts as it stands and as an origin may read
    /// it: a prefix must not miss what is asked for in another spelling.
    fn of_site(&self, subject: &Subject<'_>) -> Marks {
        let sites = self.sites.load();
        if sites.is_empty() {
            return Marks::default();
        }
        let Some(site) = sites.get(subject.site) else { return Marks::default() };
        let mut latest = site.marks.load();
        if site.newest_prefix.load(Ordering::SeqCst) >= subject.tick {
            let path = subject.target.split('?').next().unwrap_or_default();
            let prefixes = site.prefixes.read();
            latest = latest.and(prefixes.latest(path, &self.secret, subject.tick));
            if rules::may_be_read_otherwise(path) {
                latest = latest.and(prefixes.latest(&rules::as_origins_read(path), &self.secret, subject.tick));
            }
        }
        latest
    }

    /// Puts a record in force; `logged`: the log has it.
    pub(super) fn apply(&self, record: &Record, logged: bool) {
        let (mode, mark) = (record.mode, Mark::new(record.tick, logged));
        self.newest.fetch_max(record.tick, Ordering::SeqCst);
        match &record.scope {
            Scope::All => {
                self.all.raise(mode, mark);
                if logged && mode == Mode::Hard {
                    self.all_logged.fetch_max(record.tick, Ordering::SeqCst);
                }
            }
            Scope::Site(site) => self.site(site).marks.raise(mode, mark),
            Scope::Prefix(site, prefix) => {
                let site = self.site(site);
                site.newest_prefix.fetch_max(record.tick, Ordering::SeqCst);
                if site.prefixes.write().raise(*prefix, mode, mark) {
                    self.prefixes.fetch_add(1, Ordering::SeqCst);
                }
            }
            Scope::Url(url) => self.urls.raise(url.0, mode, mark),
            Scope::Group(group) => self.groups.raise(group.0, mode, mark),
            Scope::Tag(tag) => self.tags.raise(tag.0, mode, mark),
        }
    }

    /// Whether a record that the log has says something that no later one there says.
    pub(super) fn needs(&self, record: &Record) -> bool {
        let marks = match &record.scope {
            Scope::All => self.all.load(),
            Scope::Site(site) => self.sites.load().get(site).map_or_else(Marks::default, |site| site.marks.load()),
            Scope::Prefix(site, prefix) => {
                let sites = self.sites.load();
                sites.get(site).map_or_else(Marks::default, |site| site.prefixes.read().marks(*prefix))
            }
            Scope::Url(url) => self.urls.marks(url.0),
            Scope::Group(group) => self.groups.marks(group.0),
            Scope::Tag(tag) => self.tags.marks(tag.0),
        };
        !marks.supersede(record.mode, record.tick)
    }

    /// Forgets all purges before `oldest` but for those of everything: one of these has to stand in for them.
    pub(super) fn forget(&self, oldest: u64) {
        [&self.urls, &self.groups, &self.tags].into_iter().for_each(|ids| ids.forget(oldest));
        // Sites stay in the map, of which there are few: another thread may be about to raise one.
        for site in self.sites.load().values() {
            site.marks.forget(oldest);
            let forgotten = site.prefixes.write().forget(oldest);
            self.prefixes.fetch_sub(forgotten, Ordering::SeqCst);
        }
    }

    /// The tick up to which everything is purged, as far as the log has it.
    pub(super) fn all_purged(&self) -> u64 {
        self.all_logged.load(Ordering::SeqCst)
    }

    /// The ticks of all purges but those of everything, in no order.
    pub(super) fn ticks(&self) -> Vec<u64> {
        let mut ticks = Vec::with_capacity(self.len());
        for ids in [&self.urls, &self.groups, &self.tags] {
            ids.for_each_tick(|tick| ticks.push(tick));
        }
        for site in self.sites.load().values() {
            ticks.extend(Some(site.marks.load().newest()).filter(|tick| *tick > 0));
            ticks.extend(site.prefixes.read().ticks());
        }
        ticks
    }

    /// How many scopes of that kind have a purge in force.
    pub(super) fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::All => usize::from(self.all.load() != Marks::default()),
            Kind::Site => self.sites.load().values().filter(|site| site.marks.load() != Marks::default()).count(),
            Kind::Prefix => self.prefixes.load(Ordering::SeqCst),
            Kind::Url => self.urls.len(),
            Kind::Group => self.groups.len(),
            Kind::Tag => self.tags.len(),
        }
    }

    /// How many scopes have a purge in force, each known site counted as one.
    pub(super) fn len(&self) -> usize {
        let ids = self.urls.len() + self.groups.len() + self.tags.len();
        ids + self.count(Kind::Prefix) + self.sites.load().len() + self.count(Kind::All)
    }

    fn site(&self, name: &str) -> Arc<SiteTable> {
        if let Some(site) = self.sites.load().get(name) {
            return site.clone();
        }
        let _one_at_a_time = self.sites_writer.lock();
        let mut sites = HashMap::clone(&self.sites.load());
        let site = sites.entry(name.to_owned()).or_default().clone();
        self.sites.store(Arc::new(sites));
        site
    }
}

/// [`Marks`] that many threads read.
#[derive(Debug, Default)]
struct AtomicMarks {
    hard: AtomicU64,
    soft: AtomicU64,
}

impl AtomicMarks {
    fn load(&self) -> Marks {
        Marks { hard: Mark(self.hard.load(Ordering::SeqCst)), soft: Mark(self.soft.load(Ordering::SeqCst)) }
    }

    fn raise(&self, mode: Mode, mark: Mark) {
        let own = match mode {
            Mode::Hard => &self.hard,
            Mode::Soft => &self.soft,
        };
        own.fetch_max(mark.0, Ordering::SeqCst);
    }

    fn forget(&self, oldest: u64) {
        for own in [&self.hard, &self.soft] {
            let before = |mark| (Mark(mark).tick() < oldest).then_some(0);
            // `Err`: it is not before.
            let _kept = own.fetch_update(Ordering::SeqCst, Ordering::SeqCst, before);
        }
    }
}

#[cfg(test)]
mod tests;
