//! The purged prefixes of one site's paths. A prefix is a plain one of the text: `/p/1` takes `/p/10`.
//!
//! Of a prefix only its length and keyed hash are kept. A path is hashed once from its beginning, with a look into the map
//! of each length that is in use: work that grows with the path and not with the number of prefixes.

use std::collections::BTreeMap;
use std::hash::Hasher;

use percent_encoding::percent_decode_str;
use siphasher::sip128::{Hasher128, SipHasher24};

use super::ids::{ById, retain};
use super::mark::{Mark, Marks, Mode};
use crate::key::HashSecret;
use crate::policy::rules;

/// A prefix, as far as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Its bytes.
    pub length: u16,
    /// Its keyed hash.
    pub id: u128,
}

impl Prefix {
    /// Bytes of the longest.
    pub const LENGTH_MAX: usize = 4096;

    /// What is kept of `text`; `None` when it is too long.
    pub fn of(text: &str, secret: &HashSecret) -> Option<Self> {
        let length = u16::try_from(text.len()).ok().filter(|length| usize::from(*length) <= Self::LENGTH_MAX)?;
        let mut hasher = hasher(secret);
        hasher.write(text.as_bytes());
        Some(Self { length, id: hasher.finish128().as_u128() })
    }

    /// What is kept of `text` as an origin reads it, where that is another: paths are compared in both readings. What
    /// decodes to a text that could be read in yet another way has none, since the reading of a prefix of it is no prefix.
    pub fn as_origins_read(text: &str, secret: &HashSecret) -> Option<Self> {
        let read = percent_decode_str(text).decode_utf8().ok()?;
        if read == text || rules::may_be_read_otherwise(&read) { None } else { Self::of(&read, secret) }
    }
}

fn hasher(secret: &HashSecret) -> SipHasher24 {
    SipHasher24::new_with_key(&secret.0)
}

/// The prefixes of one length, and their latest tick.
#[derive(Debug, Default)]
struct Row {
    newest: u64,
    prefixes: ById,
}

/// The purged prefixes of a site.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    by_length: BTreeMap<u16, Row>,
}

impl Prefixes {
    /// Whether the prefix is a new one.
    pub(super) fn raise(&mut self, prefix: Prefix, mode: Mode, mark: Mark) -> bool {
        let row = self.by_length.entry(prefix.length).or_default();
        row.newest = row.newest.max(mark.tick());
        let before = row.prefixes.len();
        row.prefixes.entry(prefix.id).or_default().raise(mode, mark);
        row.prefixes.len() > before
    }

    /// The latest purges of any prefix of `path`, as far as they matter to what was fetched at `tick`.
    pub(super) fn latest(&self, path: &str, secret: &HashSecret, tick: u64) -> Marks {
        let (mut hasher, mut hashed) = (hasher(secret), 0);
        let mut latest = Marks::default();
        let most = u16::try_from(path.len()).unwrap_or(u16::MAX);
        for (length, row) in self.by_length.range(..=most).filter(|(_, row)| row.newest >= tick) {
            let end = usize::from(*length);
            hasher.write(&path.as_bytes()[hashed..end]);
            hashed = end;
            latest = latest.and(row.prefixes.get(&hasher.finish128().as_u128()).copied().unwrap_or_default());
        }
        latest
    }

    /// The latest purges of just that prefix.
    pub(super) fn marks(&self, prefix: Prefix) -> Marks {
        let row = self.by_length.get(&prefix.length);
        row.and_then(|row| row.prefixes.get(&prefix.id)).copied().unwrap_or_default()
    }

    /// Forgets what is before `oldest`, and says how many that were.
    pub(super) fn forget(&mut self, oldest: u64) -> usize {
        let mut forgotten = 0;
        self.by_length.retain(|_, row| {
            let before = row.prefixes.len();
            retain(&mut row.prefixes, oldest);
            forgotten += before - row.prefixes.len();
            !row.prefixes.is_empty()
        });
        forgotten
    }

    /// The latest tick of each prefix.
    pub(super) fn ticks(&self) -> impl Iterator<Item = u64> {
        self.by_length.values().flat_map(|row| row.prefixes.values()).map(|marks| marks.newest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: HashSecret = HashSecret([7; 16]);

    fn prefix(text: &str) -> Prefix {
        Prefix::of(text, &SECRET).unwrap()
    }

    #[test]
    fn a_plain_prefix_of_the_text() {
        let rows = [
            ("itself", "/p/1", "/p/1", true),
            ("what goes on behind a slash", "/p/1", "/p/1/a", true),
            ("what goes on without one", "/p/1", "/p/10", true),
            ("all", "/", "/p/1", true),
            ("another", "/p/1", "/p/2", false),
            ("the folder without its slash", "/a/", "/a", false),
            ("another case", "/A", "/a", false),
        ];
        for (name, purged, path, wanted) in rows {
            let mut prefixes = Prefixes::default();
            prefixes.raise(prefix(purged), Mode::Hard, Mark::new(5, true));
            assert_eq!(prefixes.latest(path, &SECRET, 1) != Marks::default(), wanted, "{name}");
        }
        assert_eq!(Prefix::of(&"/".repeat(Prefix::LENGTH_MAX + 1), &SECRET), None);
    }

    #[test]
    fn a_prefix_as_an_origin_reads_it() {
        let rows = [
            ("the same", "/p/1", None),
            ("one spelling", "/caf%C3%A9/", Some("/caf\u{e9}/")),
            ("another", "/caf%c3%a9/", Some("/caf\u{e9}/")),
            ("a slash", "/a%2Fb", Some("/a/b")),
            ("half a character", "/caf%C3", None),
            ("encoded twice", "/a%2541", None),
            ("dots", "/a/%2e", None),
            ("a second slash", "/a/%2f", None),
        ];
        for (name, text, wanted) in rows {
            assert_eq!(Prefix::as_origins_read(text, &SECRET), wanted.map(prefix), "{name}");
        }
    }

    proptest! {
        #[test]
        fn as_if_each_were_compared(
            purges in proptest::collection::vec(("/[ab/]{0,4}", 1u64..100, any::<bool>()), 0..20),
            path in "/[ab/]{0,6}", tick in 0u64..100, oldest in 0u64..50,
        ) {
            let mut prefixes = Prefixes::default();
            let mut known = 0;
            for (text, at, soft) in &purges {
                let mode = if *soft { Mode::Soft } else { Mode::Hard };
                known += usize::from(prefixes.raise(prefix(text), mode, Mark::new(*at, true)));
            }
            prop_assert_eq!(known, prefixes.ticks().count());
            let forgotten = prefixes.forget(oldest);
            prop_assert_eq!(known - forgotten, prefixes.ticks().count());
            let latest = |wanted: bool| {
                let matching = purges.iter().filter(|(text, at, soft)| path.starts_with(text) && *soft == wanted && *at >= oldest);
                matching.map(|(_, at, _)| *at).max().unwrap_or(0)
            };
            let wanted = Marks { hard: Mark::new(latest(false), true), soft: Mark::new(latest(true), true) };
            prop_assert_eq!(prefixes.latest(&path, &SECRET, tick).verdict(tick), wanted.verdict(tick));
        }
    }
}
