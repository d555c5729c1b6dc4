//! The header of all answers from a stored object, as far as it is the same each time. What is asked for often is asked for
//! several times in one second: then all of the header is the same, age and all, and only copied.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue};
use parking_lot::RwLock;

use crate::headers::CACHE_STATUS;

/// The header, kept from the second hit on: much of what is stored is a hit once, and then given up. Not stored, and no part of
/// what an answer is: all are equal, and a copy that is about to be changed makes its own.
#[derive(Debug)]
pub struct Prepared {
    kept: OnceLock<Box<Kept>>,
    /// The age of the last answer that was not as the kept one. Of what is a hit once in a while none needs to be kept anew.
    noted: AtomicU64,
}

/// No answer is so old.
const NEVER: u64 = u64::MAX;

#[derive(Debug)]
struct Kept {
    /// The Cache-Status that each answer goes on with.
    begun: Option<HeaderValue>,
    latest: RwLock<Latest>,
}

/// One header for all answers of a moment.
#[derive(Debug)]
struct Latest {
    moment: Option<Moment>,
    header: HeaderMap,
}

/// What the headers of an object's hits differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Its age, in seconds.
    pub age: u64,
    /// What is left of its lifetime, in seconds.
    pub ttl: i64,
}

impl Prepared {
    /// The header of an answer at that moment; `None`: it is like no other. `begin` makes what answers have in common, with
    /// every field that they have, and `complete` makes the header of any answer into this one's, given the Cache-Status
    /// that was begun.
    pub fn header(
        &self,
        moment: Option<Moment>,
        begin: impl FnOnce() -> HeaderMap,
        complete: impl FnOnce(&mut HeaderMap, Option<&HeaderValue>),
    ) -> HeaderMap {
        if self.kept.get().is_none() && self.is_first(moment) {
            let mut header = begin();
            let begun = header.get(CACHE_STATUS).cloned();
            complete(&mut header, begun.as_ref());
            return header;
        }
        let kept = self.kept.get_or_init(|| Box::new(Kept::new(begin())));
        let (mut header, same) = {
            let latest = kept.latest.read();
            (latest.header.clone(), moment.is_some() && latest.moment == moment)
        };
        if !same {
            complete(&mut header, kept.begun.as_ref());
            if let Some(Moment { age, .. }) = moment
                && self.noted.swap(age, Ordering::Relaxed) == age
            {
                let latest = Latest { moment, header: header.clone() };
                let _before = std::mem::replace(&mut *kept.latest.write(), latest);
            }
        }
        header
    }

    fn is_first(&self, moment: Option<Moment>) -> bool {
        moment.is_none_or(|Moment { age, .. }| self.noted.swap(age, Ordering::Relaxed) == NEVER)
    }
}

impl Default for Prepared {
    fn default() -> Self {
        Self { kept: OnceLock::new(), noted: AtomicU64::new(NEVER) }
    }
}

impl Kept {
    fn new(header: HeaderMap) -> Self {
        let begun = header.get(CACHE_STATUS).cloned();
        Self { begun, latest: RwLock::new(Latest { moment: None, header }) }
    }
}

impl Clone for Prepared {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Prepared {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::AGE;

    /// The Age and Cache-Status of an answer, and whether it had to be completed.
    fn answer(prepared: &Prepared, age: u64, ttl: i64, alone: bool) -> (String, bool) {
        let mut completed = false;
        let begin = || {
            let mut header = HeaderMap::new();
            header.insert(AGE, HeaderValue::from_static("0"));
            header.insert(CACHE_STATUS, HeaderValue::from_static("us"));
            header
        };
        let moment = Some(Moment { age, ttl }).filter(|_| !alone);
        let header = prepared.header(moment, begin, |header, begun| {
            completed = true;
            header.insert(AGE, age.into());
            let status = format!("{}; ttl={ttl}", begun.unwrap().to_str().unwrap());
            header.insert(CACHE_STATUS, HeaderValue::try_from(status).unwrap());
        });
        let text = |name| header[name].to_str().unwrap().to_owned();
        (format!("{} {}", text(AGE), text(CACHE_STATUS)), completed)
    }

    #[test]
    fn what_is_kept_is_that_of_a_moment_with_several_answers() {
        let prepared = Prepared::default();
        let rows = [
            ("the first", 5, 55, false, "5 us; ttl=55", true),
            ("the second of its second", 5, 55, false, "5 us; ttl=55", true),
            ("the third", 5, 55, false, "5 us; ttl=55", false),
            ("one like no other", 5, 55, true, "5 us; ttl=55", true),
            ("the fourth", 5, 55, false, "5 us; ttl=55", false),
            ("softly purged meanwhile", 5, 0, false, "5 us; ttl=0", true),
            ("a second later", 6, 54, false, "6 us; ttl=54", true),
            ("two later", 7, 53, false, "7 us; ttl=53", true),
            ("the clock went back", 5, 55, false, "5 us; ttl=55", true),
            ("and stays", 5, 55, false, "5 us; ttl=55", true),
            ("there", 5, 55, false, "5 us; ttl=55", false),
        ];
        for (number, (name, age, ttl, alone, wanted, completed)) in rows.into_iter().enumerate() {
            assert_eq!(prepared.kept.get().is_some(), number > 1, "before {name}");
            assert_eq!(answer(&prepared, age, ttl, alone), (wanted.to_owned(), completed), "{name}");
        }
        assert!(answer(&prepared.clone(), 5, 55, false).1, "a copy has its own");
    }
}
