//! States that operators hold PoPs in: who, why and until when; written down, so that a restart does not forget them.
//!
//! ```json
//! { "iad": { "state": "drain", "who": "ann@desk", "why": "work on the switch", "since": 1764165600, "until": 1764172800 } }
//! ```
//!
//! A file of before that was `{ "iad": "drain" }` is read, too.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// A state that an operator holds a PoP in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forced {
    /// Out of the answers, though well; its node also says so to its own probers.
    Drain,
    /// Up, whatever the probes say.
    Up,
    /// Down, whatever the probes say.
    Down,
}

impl Forced {
    /// As in JSON.
    pub fn token(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A forced state and its story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What it is held in.
    pub state: Forced,
    /// By whom.
    #[serde(default)]
    pub who: Option<String>,
    /// What for.
    #[serde(default)]
    pub why: Option<String>,
    /// Since when, in seconds since the epoch.
    #[serde(default)]
    pub since: Option<i64>,
    /// It ends by itself then, in seconds since the epoch.
    #[serde(default)]
    pub until: Option<i64>,
}

impl From<Forced> for Hold {
    fn from(state: Forced) -> Self {
        Self { state, who: None, why: None, since: None, until: None }
    }
}

impl Hold {
    /// In words, such as `drain by ann@desk: work on the switch`.
    pub fn words(&self) -> String {
        let who = self.who.as_ref().map(|who| format!(" by {who}"));
        let why = self.why.as_ref().map(|why| format!(": {why}"));
        [self.state.token(), &who.unwrap_or_default(), &why.unwrap_or_default()].concat()
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now.seconds())
    }
}

/// All holds, by the PoP's name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Holds(BTreeMap<String, Hold>);

/// One hold as it stands in a file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Bare(Forced),
    Told(Hold),
}

impl Holds {
    /// The hold of the PoP of that name.
    pub fn of(&self, pop: &str) -> Option<&Hold> {
        self.0.get(pop)
    }

    /// All of them, by the PoP's name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Hold)> {
        self.0.iter().map(|(pop, hold)| (pop.as_str(), hold))
    }

    /// Sets or, with `None`, takes away the hold of a PoP.
    pub fn set(&mut self, pop: &str, hold: Option<Hold>) {
        match hold {
            Some(hold) => self.0.insert(pop.to_owned(), hold),
            None => self.0.remove(pop),
        };
    }

    /// Takes away what has ended, and returns it.
    pub fn expire(&mut self, now: Timestamp) -> Vec<(String, Hold)> {
        self.0.extract_if(.., |_, hold| hold.is_over(now)).collect()
    }

    /// What `path` holds; nothing when there is no such file.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let written: BTreeMap<String, Written> = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::other)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let told = |written| match written {
            Written::Bare(state) => Hold::from(state),
            Written::Told(hold) => hold,
        };
        Ok(Self(written.into_iter().map(|(pop, written)| (pop, told(written))).collect()))
    }

    /// Written aside and renamed, so that a crash leaves the old or the new file, never half of one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let aside = path.with_extension("new");
        let file = std::fs::File::create(&aside)?;
        serde_json::to_writer(&file, self).map_err(std::io::Error::other)?;
        file.sync_all()?;
        std::fs::rename(&aside, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(until: Option<i64>) -> Hold {
        Hold {
            who: Some("ann@desk".to_owned()),
            why: Some("work".to_owned()),
            since: Some(1),
            until,
            ..Hold::from(Forced::Drain)
        }
    }

    #[test]
    fn files_of_before_and_of_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forced.json");
        assert_eq!(Holds::read(&path).unwrap(), Holds::default());
        let text = r#"{"fra":"up","iad":{"state":"down"},"sin":{"state":"drain","who":"a","until":9}}"#;
        std::fs::write(&path, text).unwrap();
        let holds = Holds::read(&path).unwrap();
        assert_eq!(holds.of("fra"), Some(&Forced::Up.into()));
        assert_eq!(holds.of("iad"), Some(&Forced::Down.into()));
        let sin = Hold { who: Some("a".to_owned()), until: Some(9), ..Forced::Drain.into() };
        assert_eq!(holds.of("sin"), Some(&sin));
        let mut more = holds.clone();
        more.set("gru", Some(hold(Some(7))));
        more.set("iad", None);
        more.write(&path).unwrap();
        assert_eq!(Holds::read(&path).unwrap(), more);
        for bad in ["{", "[]", r#"{"fra":"sideways"}"#, r#"{"fra":{"who":"a"}}"#] {
            std::fs::write(&path, bad).unwrap();
            assert!(Holds::read(&path).is_err(), "{bad}");
        }
    }

    #[test]
    fn holds_end() {
        let mut holds = Holds::default();
        holds.set("fra", Some(hold(None)));
        holds.set("iad", Some(hold(Some(10))));
        assert!(holds.expire(Timestamp(9_999)).is_empty());
        let over = holds.expire(Timestamp(10_000));
        assert_eq!(over, [("iad".to_owned(), hold(Some(10)))]);
        assert!(holds.of("fra").is_some() && holds.of("iad").is_none());
    }

    #[test]
    fn words() {
        assert_eq!(hold(None).words(), "drain by ann@desk: work");
        assert_eq!(Hold::from(Forced::Up).words(), "up");
    }
}
