//! TXT records that come and go while the node runs, for proofs such as ACME's dns-01 (RFC 8555 section 8.4). They stand
//! aside from the [`crate::View`], so that one more neither compiles a view nor waits for a reload.
//!
//! They only ever add. A name that has one exists, and so do those above it (RFC 4592 section 2.2.2); but where a wildcard
//! gives the name, or one above it, other records, it goes on doing so: a proof for a site must not take the site away.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use nearcast_shared::clock::Timestamp;
use nearcast_shared::rtype;

use crate::name::{Name, suffixes};
use crate::view::{Found, Node, Target, View};

/// Bytes of one text.
const LENGTH_MAX: usize = 1024;

/// All texts, ready to be answered.
#[derive(Debug, Default)]
pub struct Texts {
    of: HashMap<Name, Vec<Entry>>,
    /// Names that exist since one below them has a text.
    above: HashSet<Name>,
}

/// One text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The name that has it; letter case does not matter.
    pub name: String,
    /// What it says.
    pub value: String,
    /// Seconds.
    pub ttl: u32,
    /// From then on it is gone.
    pub until: Timestamp,
}

/// Why a name cannot have a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not a domain name.
    #[error("`{0}` is not a domain name")]
    NotAName(String),
    /// Empty, or too long.
    #[error("a text must have from 1 to {LENGTH_MAX} bytes")]
    Length,
    /// The name is in none of our zones.
    #[error("`{0}` is in none of the zones")]
    Outside(String),
    /// The name is somebody else's.
    #[error("`{0}` is not ours to answer: `{1}` is delegated to other name servers")]
    Delegated(String, String),
    /// RFC 1034 section 3.6.2: a CNAME is alone.
    #[error("`{0}` is a CNAME: add the text at the name it points to")]
    Alias(String),
    /// The same of a steered name, for some clients.
    #[error("`{0}` is steered by a policy that may choose a PoP that is a CNAME, so it cannot have a text")]
    MayBeAlias(String),
}

#[derive(Debug)]
struct Entry {
    ttl: u32,
    until: Timestamp,
    rdata: Box<[u8]>,
}

/// The TXT records of a name. They have one TTL (RFC 2181 section 5.2).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Alive<'t> {
    /// Whole seconds, at least 1; ends with the first of them.
    pub(crate) ttl: u32,
    /// The same while none of them is near its end.
    pub(crate) ttl_original: u32,
    /// On the wire.
    pub(crate) rdata: Vec<&'t [u8]>,
}

impl Texts {
    /// Those of `texts` whose names are names.
    pub fn new(texts: &[Text]) -> Self {
        let mut made = Self::default();
        for text in texts {
            let Some(name) = Name::parse(&text.name) else { continue };
            let mut above = name.parent();
            while let Some(next) = above {
                above = next.parent();
                made.above.insert(next);
            }
            let entry = Entry { ttl: text.ttl, until: text.until, rdata: rdata(&text.value) };
            made.of.entry(name).or_default().push(entry);
        }
        made
    }

    /// The TXT records at that name, which is in lower case.
    pub(crate) fn at(&self, name: &[u8], now: Timestamp) -> Option<Alive<'_>> {
        if self.of.is_empty() {
            return None;
        }
        let alive = || self.of.get(name).into_iter().flatten().filter(|text| text.until > now);
        Some(Alive {
            ttl: alive().map(|text| text.ttl.min(seconds(text.until.since(now)))).min()?,
            ttl_original: alive().map(|text| text.ttl).min()?,
            rdata: alive().map(|text| &*text.rdata).collect(),
        })
    }

    /// Whether the name, in lower case, exists because of a text.
    pub(crate) fn has(&self, name: &[u8], now: Timestamp) -> bool {
        if self.of.is_empty() {
            return false;
        }
        let alive = |entries: &[Entry]| entries.iter().any(|text| text.until > now);
        if self.of.get(name).is_some_and(|entries| alive(entries)) {
            return true;
        }
        let below = |other: &Name| suffixes(other.wire()).any(|suffix| suffix == name);
        self.above.contains(name) && self.of.iter().any(|(other, entries)| below(other) && alive(entries))
    }
}

fn seconds(left: Duration) -> u32 {
    u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1)
}

/// As many strings of at most 255 bytes as it takes (RFC 1035 section 3.3.14).
fn rdata(value: &str) -> Box<[u8]> {
    let string = |part: &[u8]| [&[u8::try_from(part.len()).unwrap_or(u8::MAX)], part].concat();
    value.as_bytes().chunks(255).flat_map(string).collect()
}

impl View {
    /// Whether a text could be answered there.
    ///
    /// # Errors
    /// Why not.
    pub fn judge_text(&self, name: &str, value: &str) -> Result<(), TextError> {
        let wire = Name::parse(name).ok_or_else(|| TextError::NotAName(name.to_owned()))?;
        if value.is_empty() || value.len() > LENGTH_MAX {
            return Err(TextError::Length);
        }
        match self.find(wire.wire()) {
            Found::Outside => Err(TextError::Outside(wire.to_string())),
            Found::Delegated(_, delegation) => Err(TextError::Delegated(wire.to_string(), delegation.cut.to_string())),
            Found::Node(_, node) if node.set(rtype::CNAME).is_some() => Err(TextError::Alias(wire.to_string())),
            Found::Node(_, Node { target: Target::Steered(steered), .. }) if self.guide().may_point(steered.policy) => {
                Err(TextError::MayBeAlias(wire.to_string()))
            }
            Found::Node(..) | Found::NoName(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn text(name: &str, value: &str, ttl: u32, until: i64) -> Text {
        Text { name: name.to_owned(), value: value.to_owned(), ttl, until: Timestamp::from_seconds(until) }
    }

    #[test]
    fn they_live_until_their_end() {
        let texts = Texts::new(&[text("_a.WWW.test.", "one", 60, 100), text("_a.www.test", "two", 30, 200)]);
        let at = |name: &str, now| {
            let found = texts.at(Name::parse(name).unwrap().wire(), Timestamp::from_seconds(now))?;
            assert_eq!(found.ttl_original, 30, "it does not shrink");
            Some((found.ttl, found.rdata.iter().map(|rdata| rdata[1..].to_vec()).collect::<Vec<_>>()))
        };
        assert_eq!(at("_A.www.test", 0), Some((30, vec![b"one".to_vec(), b"two".to_vec()])));
        assert_eq!(at("_a.www.test", 100), Some((30, vec![b"two".to_vec()])));
        // No resolver keeps it for longer than it lives.
        assert_eq!(at("_a.www.test", 85).map(|(ttl, _)| ttl), Some(15));
        assert_eq!(at("_a.www.test", 199).map(|(ttl, _)| ttl), Some(1));
        let last = texts.at(Name::parse("_a.www.test").unwrap().wire(), Timestamp(199_999));
        assert_eq!(last.map(|last| last.ttl), Some(1));
        assert_eq!(at("_a.www.test", 200), None);
        assert_eq!(at("www.test", 0), None);
        let has = |name: &str, now| texts.has(Name::parse(name).unwrap().wire(), Timestamp::from_seconds(now));
        assert!(has("_a.www.test", 0) && has("WWW.test", 0) && has("test", 199));
        assert!(!has("www.test", 200) && !has("_a.www.test", 200) && !has("x.www.test", 0) && !has("x._a.www.test", 0));
    }

    #[test]
    fn long_texts_are_several_strings() {
        let rdata = rdata(&"x".repeat(300));
        assert_eq!((rdata.len(), rdata[0], rdata[256]), (302, 255, 45));
    }

    #[test]
    fn where_a_text_may_be() {
        let record = "\n[[zone.record]]\nname = \"alias\"\ntype = \"CNAME\"\ndata = \"www\"\n[[zone.record]]\nname = \"sub\"\n\
                      type = \"NS\"\ndata = \"ns.far.example.\"\n[[site]]";
        let view = fixture::view_of(&fixture::CONFIG.replacen("[[site]]", record, 1), "sin");
        let judge = |name: &str| view.judge_text(name, "x");
        for name in
            ["cdn.example.net", "_acme-challenge.www.cdn.example.net", "WWW.cdn.example.net.", "no.cdn.example.net"]
        {
            assert_eq!(judge(name), Ok(()), "{name}");
        }
        assert_eq!(judge("a..b"), Err(TextError::NotAName("a..b".to_owned())));
        assert_eq!(judge("www.example.org"), Err(TextError::Outside("www.example.org".to_owned())));
        assert_eq!(judge("alias.cdn.example.net"), Err(TextError::Alias("alias.cdn.example.net".to_owned())));
        for name in ["sub.cdn.example.net", "a.sub.cdn.example.net"] {
            assert!(matches!(judge(name), Err(TextError::Delegated(..))), "{name}");
        }
        let far =
            "[[pop]]\nname = \"far\"\ncname = \"far.example.org\"\n[[policy]]\nname = \"near\"\npops = [\"fra\"]\n";
        let near = "[[site]]\ndomains = [\"near.cdn.example.net\"]\norigin = \"http://o.test\"\npolicy = \"near\"\n";
        let steered = fixture::view_of(&format!("{}{far}{near}", fixture::CONFIG), "sin");
        let www = "www.cdn.example.net";
        assert_eq!(steered.judge_text(www, "x"), Err(TextError::MayBeAlias(www.to_owned())));
        for name in ["near.cdn.example.net", "_acme-challenge.www.cdn.example.net"] {
            assert_eq!(steered.judge_text(name, "x"), Ok(()), "{name}");
        }
        assert_eq!(view.judge_text("cdn.example.net", ""), Err(TextError::Length));
        assert_eq!(view.judge_text("cdn.example.net", &"x".repeat(LENGTH_MAX + 1)), Err(TextError::Length));
    }
}
