//! What sites may take of the store, by the marks in their keys.

use std::collections::HashMap;

use nearcast_shared::config::{DiskUse, Site};

use crate::key::{HashSecret, SiteMark};

/// What one site may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Which of its pieces go to disk.
    pub(super) disk: DiskUse,
    /// Bytes of the disk that it takes at most.
    pub(super) disk_max: Option<u64>,
    /// Bytes of the disk that others do not push out.
    pub(super) pinned: u64,
}

/// All sites. Of two with one mark, the first in the config's order counts: one pair in some ten thousand.
#[derive(Debug, Default)]
pub(super) struct Sites(HashMap<SiteMark, Share>);

impl Sites {
    pub(super) fn new(sites: &[Site], secret: &HashSecret) -> Self {
        let mut all = HashMap::new();
        for site in sites {
            let storing = &site.storing;
            let share =
                Share { disk: storing.disk, disk_max: storing.disk_max, pinned: storing.pinned.unwrap_or_default() };
            all.entry(SiteMark::of(&site.name, secret)).or_insert(share);
        }
        Self(all)
    }

    /// What that site may take.
    pub(super) fn of(&self, site: SiteMark) -> Share {
        self.0.get(&site).copied().unwrap_or_default()
    }
}
