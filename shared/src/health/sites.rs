//! Which sites' origins a node does not reach, as its public health answer tells it to those who probe it: a list of
//! hashes, that says nothing to others, in one field. Of the sites that share an origin it names one, and who reads it takes
//! it for all of them ([`Shared`]). Not the origin's own hash: that an address were easily found by.
//!
//! ```text
//! nearcast-sites: 5f0a1c22e4b79d03, 91c4e07a55d2fb18
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use twox_hash::XxHash64;

use crate::config::Site;

/// The field.
pub const SITES_FIELD: &str = "nearcast-sites";

/// More origins are not told, nor read: beyond it one counts as reached. All of it is less than the 4 KiB of a header that
/// any proxy before a node takes.
pub const SITES_MAX: usize = 128;

/// A site's name, hashed the same on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteHash(u64);

impl SiteHash {
    /// Of the site of that name.
    pub fn of(site: &str) -> Self {
        Self(XxHash64::oneshot(0, site.as_bytes()))
    }
}

/// Sites that share an origin with others, of one config.
#[derive(Debug, Default)]
pub struct Shared(HashMap<SiteHash, Arc<[SiteHash]>>);

impl Shared {
    /// Of `sites`.
    pub fn of(sites: &[Site]) -> Self {
        let mut by_origin: HashMap<_, Vec<SiteHash>> = HashMap::new();
        for site in sites {
            let origin = (site.origin.scheme(), site.origin.authority());
            by_origin.entry(origin).or_default().push(SiteHash::of(&site.name));
        }
        let groups = by_origin.into_values().filter(|group| group.len() > 1).map(Arc::<[SiteHash]>::from);
        Self(groups.flat_map(|group| group.to_vec().into_iter().map(move |site| (site, group.clone()))).collect())
    }

    /// `told`, and all that share an origin with any of it, sorted.
    pub fn widen(&self, told: &Arc<[SiteHash]>) -> Arc<[SiteHash]> {
        if !told.iter().any(|site| self.0.contains_key(site)) {
            return told.clone();
        }
        let with_others = |site: &SiteHash| self.0.get(site).map_or_else(|| vec![*site], |group| group.to_vec());
        let mut all: Vec<SiteHash> = told.iter().flat_map(with_others).collect();
        all.sort_unstable();
        all.dedup();
        all.into()
    }
}

/// The field's value; `None` when there is nothing to tell.
pub fn write(mut sites: Vec<SiteHash>) -> Option<String> {
    sites.sort_unstable();
    sites.dedup();
    sites.truncate(SITES_MAX);
    let texts: Vec<String> = sites.iter().map(|site| format!("{:016x}", site.0)).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// The hashes in a field's value, sorted. What is not a hash is passed over.
pub fn read(value: &[u8]) -> Vec<SiteHash> {
    let parsed = |part: &[u8]| {
        let text = std::str::from_utf8(part.trim_ascii()).ok()?;
        let hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(SiteHash)
    };
    let mut sites: Vec<SiteHash> = value.split(|byte| *byte == b',').filter_map(parsed).take(SITES_MAX).collect();
    sites.sort_unstable();
    sites.dedup();
    sites
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hashes_do_not_change() {
        // Nodes of different versions must agree.
        assert_eq!(write(vec![SiteHash::of("www.example.net")]).unwrap(), "9a9a576a0653f66e");
    }

    #[test]
    fn hostile_values() {
        let rows: [(&[u8], usize); 5] = [
            (b"", 0),
            (b"5f0a1c22e4b79d03", 1),
            (b"5f0a1c22e4b79d03,,5f0a1c22e4b79d03 , x, +f0a1c22e4b79d03", 1),
            (b"\xff\xfe", 0),
            (&b"5f0a1c22e4b79d0,".repeat(1000), 0),
        ];
        for (value, wanted) in rows {
            assert_eq!(read(value).len(), wanted, "{}", value.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(names in proptest::collection::vec("[a-z]{1,8}", 0..100)) {
            let mut sites: Vec<SiteHash> = names.iter().map(|name| SiteHash::of(name)).collect();
            let read = write(sites.clone()).map(|value| read(value.as_bytes())).unwrap_or_default();
            sites.sort_unstable();
            sites.dedup();
            sites.truncate(SITES_MAX);
            prop_assert_eq!(read, sites);
        }
    }
}
