//! What sites may take of the store.

use toml::Spanned;

use super::super::file::{self, At};
use super::super::units::format_size;
use super::super::{Cache, DiskUse, Site, Storing};
use super::Compiler;

impl Compiler<'_> {
    pub(super) fn storing(&mut self, site: &file::Site, cache: &Cache) -> Storing {
        let uses = [("second-hit", DiskUse::SecondHit), ("always", DiskUse::Always), ("never", DiskUse::Never)];
        let disk = self.choice("site.disk", &site.disk, &uses);
        if disk != DiskUse::default() && cache.disk.is_none() {
            self.without_disk("site.disk", site.disk.as_ref());
        }
        let limit = cache.disk.as_ref().map(|disk| disk.size);
        Storing {
            disk,
            disk_max: self.share("site.disk-max", &site.disk_max, limit, 16 << 20),
            pinned: self.share("site.pinned", &site.pinned, limit, 1),
            memory: self.share("site.memory", &site.memory, Some(cache.memory), 1 << 20),
        }
    }

    /// Together sites leave enough for all others.
    pub(super) fn shares_fit(&mut self, entries: &[Spanned<file::Site>], sites: &[Site], cache: &Cache) {
        let last = |key: fn(&file::Site) -> &At<String>| {
            entries.iter().rev().find_map(|entry| key(entry.get_ref()).as_ref().map(Spanned::span))
        };
        let memory: u64 = sites.iter().filter_map(|site| site.storing.memory).fold(0, u64::saturating_add);
        if memory > cache.memory / 4 * 3 {
            let message =
                "all sites together take more than three quarters of cache.memory: too little is left for the others";
            self.gather.at(last(|site| &site.memory), "site.memory", message);
        }
        let pinned: u64 = sites.iter().filter_map(|site| site.storing.pinned).fold(0, u64::saturating_add);
        if cache.disk.as_ref().is_some_and(|disk| pinned > disk.size / 2) {
            let message = "all sites together pin more than half of cache.disk.size: the rest must be able to turn";
            self.gather.at(last(|site| &site.pinned), "site.pinned", message);
        }
    }

    /// A size from `least` to `limit`; without a limit there is nothing to share.
    fn share(&mut self, key: &str, value: &At<String>, limit: Option<u64>, least: u64) -> Option<u64> {
        let value = value.as_ref()?;
        let bytes = self.size(key, value)?;
        let Some(limit) = limit else {
            self.without_disk(key, Some(value));
            return None;
        };
        if !(least..=limit).contains(&bytes) {
            let (least, limit) = (format_size(least), format_size(limit));
            self.gather.at(Some(value.span()), key, format!("must be from {least} to {limit}, which is all there is"));
        }
        Some(bytes)
    }

    fn without_disk(&mut self, key: &str, value: Option<&Spanned<String>>) {
        // One that is there in a wrong shape was told of already.
        if !self.is_taken_out("cache.disk") {
            self.gather.at(value.map(Spanned::span), key, "there is no cache.disk");
        }
    }
}
