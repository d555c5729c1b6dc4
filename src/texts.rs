//! The TXT records that an operator adds while the node runs: kept in the state folder, published to the DNS.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use nearcast_dns::{Text, Texts};
use nearcast_shared::clock::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Texts of a node.
pub const TEXTS_MAX: usize = 1000;
/// A text's time to live, in seconds, when none is given.
pub const TTL_DEFAULT: u32 = 30;
/// And at most.
pub const TTL_MAX: u32 = 86_400;
/// Seconds until a text is gone, when none are given.
pub const EXPIRES_DEFAULT: u64 = 3600;
/// And at most.
pub const EXPIRES_MAX: u64 = 30 * 86_400;

/// Why a text is not added or taken away.
#[derive(Debug, Error)]
pub enum TextsError {
    /// There are [`TEXTS_MAX`].
    #[error("there are {TEXTS_MAX} texts already; remove some, or wait until they expire")]
    Full,
    /// It could not be written down, and is not in force.
    #[error("texts.json of the state folder cannot be written")]
    Persist(#[source] io::Error),
}

/// The node's texts.
#[derive(Debug)]
pub struct TextDesk {
    file: PathBuf,
    kept: Mutex<Vec<Kept>>,
    published: Arc<ArcSwap<Texts>>,
}

/// One text, as it is in the file and in answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Lower case, without the trailing dot.
    pub name: String,
    /// What it says.
    pub value: String,
    /// Seconds.
    pub ttl: u32,
    /// Milliseconds since the Unix epoch.
    pub until_ms: i64,
}

impl TextDesk {
    /// With what is in `file`.
    ///
    /// # Errors
    /// When it is there but cannot be read or understood.
    pub fn open(file: PathBuf) -> io::Result<Self> {
        let kept: Vec<Kept> = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let published = Arc::new(ArcSwap::from_pointee(ready(&kept)));
        Ok(Self { file, kept: Mutex::new(kept), published })
    }

    /// What the DNS answers from.
    pub fn published(&self) -> Arc<ArcSwap<Texts>> {
        self.published.clone()
    }

    /// Adds a text for so long, or gives one that is there already another end. Blocks: it writes a file.
    ///
    /// # Errors
    /// With nothing changed.
    pub fn add(
        &self,
        name: &str,
        value: &str,
        ttl: u32,
        expires: Duration,
        now: Timestamp,
    ) -> Result<Kept, TextsError> {
        let name = plain(name);
        let text = Kept { name, value: value.to_owned(), ttl, until_ms: now.plus(expires).0 };
        let mut kept = self.kept.lock();
        let mut next: Vec<Kept> = alive(&kept, now).filter(|other| !same(other, &text.name, value)).collect();
        if next.len() >= TEXTS_MAX {
            return Err(TextsError::Full);
        }
        next.push(text.clone());
        self.put(&mut kept, next)?;
        Ok(text)
    }

    /// Takes away the name's texts, or only the one that says `value`; returns how many. Blocks: it writes a file.
    ///
    /// # Errors
    /// With nothing changed.
    pub fn remove(&self, name: &str, value: Option<&str>, now: Timestamp) -> Result<usize, TextsError> {
        let name = plain(name);
        let mut kept = self.kept.lock();
        let is_meant = |text: &Kept| value.map_or(text.name == name, |value| same(text, &name, value));
        let removed = alive(&kept, now).filter(&is_meant).count();
        let next = alive(&kept, now).filter(|text| !is_meant(text)).collect();
        self.put(&mut kept, next)?;
        Ok(removed)
    }

    /// All that have not expired.
    pub fn list(&self, now: Timestamp) -> Vec<Kept> {
        alive(&self.kept.lock(), now).collect()
    }

    /// First the file, then the answers.
    fn put(&self, kept: &mut Vec<Kept>, next: Vec<Kept>) -> Result<(), TextsError> {
        let bytes = serde_json::to_vec(&next).map_err(|error| TextsError::Persist(error.into()))?;
        let aside = self.file.with_extension("new");
        let write = || {
            let mut file = File::create(&aside)?;
            file.write_all(&bytes).and_then(|()| file.sync_all())?;
            fs::rename(&aside, &self.file)
        };
        write().map_err(TextsError::Persist)?;
        self.published.store(Arc::new(ready(&next)));
        *kept = next;
        Ok(())
    }
}

fn alive(kept: &[Kept], now: Timestamp) -> impl Iterator<Item = Kept> {
    kept.iter().filter(move |text| text.until_ms > now.0).cloned()
}

fn same(text: &Kept, name: &str, value: &str) -> bool {
    text.name == name && text.value == value
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn ready(kept: &[Kept]) -> Texts {
    let text = |text: &Kept| Text {
        name: text.name.clone(),
        value: text.value.clone(),
        ttl: text.ttl,
        until: Timestamp(text.until_ms),
    };
    Texts::new(&kept.iter().map(text).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn they_are_kept_and_expire() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("texts.json");
        let desk = TextDesk::open(file.clone()).unwrap();
        let values = |desk: &TextDesk, now| -> Vec<String> {
            desk.list(Timestamp(now)).into_iter().map(|text| text.value).collect()
        };
        desk.add("_a.Test.", "one", 30, HOUR, Timestamp(0)).unwrap();
        desk.add("_a.test", "two", 30, HOUR * 2, Timestamp(0)).unwrap();
        desk.add("_a.test", "one", 30, HOUR, Timestamp(10)).unwrap();
        assert_eq!(values(&desk, 10), ["two", "one"], "once each");
        let again = TextDesk::open(file.clone()).unwrap();
        assert_eq!(again.list(Timestamp(10)), desk.list(Timestamp(10)));
        assert_eq!(values(&again, 3_600_010), ["two"]);
        assert_eq!(again.remove("_A.test", Some("one"), Timestamp(20)).unwrap(), 1);
        assert_eq!(again.remove("_a.test", None, Timestamp(20)).unwrap(), 1);
        assert_eq!(again.remove("_a.test", None, Timestamp(20)).unwrap(), 0);
        assert_eq!(values(&TextDesk::open(file.clone()).unwrap(), 0), Vec::<String>::new());
        fs::write(&file, "not json").unwrap();
        assert!(TextDesk::open(file).is_err());
    }

    #[test]
    fn what_cannot_be_written_is_not_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let desk = TextDesk::open(folder.path().join("missing/texts.json")).unwrap();
        assert!(matches!(desk.add("a.test", "x", 1, HOUR, Timestamp(0)), Err(TextsError::Persist(_))));
        assert_eq!(desk.list(Timestamp(0)), []);
    }

    #[test]
    fn they_are_limited() {
        let folder = tempfile::tempdir().unwrap();
        let desk = TextDesk::open(folder.path().join("texts.json")).unwrap();
        let full: Vec<Kept> = (0..TEXTS_MAX)
            .map(|number| Kept { name: "a.test".to_owned(), value: number.to_string(), ttl: 1, until_ms: 1000 })
            .collect();
        *desk.kept.lock() = full;
        assert!(matches!(desk.add("a.test", "x", 1, HOUR, Timestamp(0)), Err(TextsError::Full)));
        assert!(desk.add("a.test", "5", 1, HOUR, Timestamp(0)).is_ok(), "one that is there");
        assert!(desk.add("a.test", "x", 1, HOUR, Timestamp(2000)).is_ok(), "others have expired");
    }
}
