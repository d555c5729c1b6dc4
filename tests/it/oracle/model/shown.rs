//! Whether a client saw what it should.

use super::rules::Sure;
use super::{Model, Shown, Stored};
use crate::oracle::answer::{Given, joined};
use crate::oracle::ask::{AskSpec, Method};
use crate::oracle::sites::Cookies;

/// Fields that are handed on as they came.
const INTACT: [&str; 9] = [
    "cache-control",
    "cdn-cache-control",
    "expires",
    "etag",
    "last-modified",
    "vary",
    "x-serial",
    "location",
    "content-location",
];

/// Fields that a 304 must have if the 200 would (RFC 9110 section 15.4.5).
const OF_304: [&str; 5] = ["cache-control", "content-location", "expires", "etag", "vary"];

/// An error of the node's own.
pub(super) fn is_gateway_error(shown: &Shown) -> Result<(), String> {
    match (shown.status, joined(&shown.lines, "x-serial")) {
        (502 | 504, None) => Ok(()),
        (status, serial) => Err(format!("the client got {status} (serial {serial:?}) and no 502 or 504")),
    }
}

/// The origin's own answer.
pub(super) fn passes(given: &Given, ask: &AskSpec, shown: &Shown) -> Result<(), String> {
    is_status(shown, given.status)?;
    is_body(shown, ask, given.status, &given.body())?;
    has_lines(shown, given, &INTACT)?;
    is_same(shown, "x-secret", given.line("x-secret"))
}

fn is_status(shown: &Shown, status: u16) -> Result<(), String> {
    if shown.status == status { Ok(()) } else { Err(format!("the status is {}, not {status}", shown.status)) }
}

fn is_body(shown: &Shown, ask: &AskSpec, status: u16, body: &str) -> Result<(), String> {
    let wanted = if ask.method == Method::Head || status == 204 || status == 304 { "" } else { body };
    if shown.body == wanted { Ok(()) } else { Err(format!("the body is {:?}, not {wanted:?}", shown.body)) }
}

fn has_lines(shown: &Shown, given: &Given, names: &[&str]) -> Result<(), String> {
    names.iter().try_for_each(|name| is_same(shown, name, given.line(name)))
}

fn is_same(shown: &Shown, name: &str, wanted: Option<String>) -> Result<(), String> {
    let got = joined(&shown.lines, name);
    if got == wanted { Ok(()) } else { Err(format!("{name} is {got:?}, not {wanted:?}")) }
}

fn is_304(shown: &Shown, given: &Given) -> Result<(), String> {
    is_status(shown, 304)?;
    has_lines(shown, given, &OF_304)?;
    if shown.body.is_empty() { Ok(()) } else { Err("a 304 has a body".to_owned()) }
}

fn starts(shown: &Shown, word: &str) -> Result<(), String> {
    if shown.cache.starts_with(word) { Ok(()) } else { Err(format!("Cache-Status says {:?}", shown.cache)) }
}

impl Model {
    /// Whether the client has what it asks for.
    ///
    /// > A server MUST ignore all received preconditions if its response to the same request without those conditions
    /// > [..] would have been a status code other than a 2xx (Successful) or 412 (RFC 9110 section 13.2.1).
    fn is_had(&self, ask: &AskSpec, given: &Given) -> Sure {
        match (given.status, ask.has(given.etag, given.modified, given.date, self.began)) {
            (_, false) | (300.., _) => Sure::No,
            (200, true) => Sure::Yes,
            (_, true) => Sure::Either,
        }
    }

    /// The origin's answer to a request that was made for this client's sake.
    pub(super) fn shows_whole(&self, given: &Given, ask: &AskSpec, shown: &Shown, stored: bool) -> Result<(), String> {
        starts(shown, "fwd")?;
        let had = self.is_had(ask, given);
        // Nobody need look at the conditions of what is not stored.
        let had = if stored { had } else { had.at_most_may() };
        match had {
            Sure::Yes => is_304(shown, given),
            Sure::No => passes(given, ask, shown),
            Sure::Either => is_304(shown, given).or_else(|_| passes(given, ask, shown)),
        }
    }

    /// A stored answer; `hit`: without a word from the origin.
    pub(super) fn shows_stored(
        &self,
        stored: &Stored,
        ask: &AskSpec,
        now: i64,
        shown: &Shown,
        hit: bool,
    ) -> Result<(), String> {
        let says = &stored.says;
        let whole = || {
            is_status(shown, says.status)?;
            is_body(shown, ask, says.status, &stored.body)?;
            has_lines(shown, says, &INTACT)
        };
        match self.is_had(ask, says) {
            Sure::Yes => is_304(shown, says)?,
            Sure::No => whole()?,
            Sure::Either => is_304(shown, says).or_else(|_| whole())?,
        }
        self.is_aged(stored, now, shown, hit)?;
        if !hit {
            return Ok(());
        }
        starts(shown, "hit")?;
        if self.site.cookies == Cookies::Strip {
            is_same(shown, "set-cookie", None)?;
        }
        if shown.status != 304 {
            is_same(shown, "x-secret", stored.secret.then(|| "s".to_owned()))?;
        }
        Ok(())
    }

    /// > When a stored response is used to satisfy a request without validation, a cache MUST generate an Age header field
    /// > (Section 5.1), replacing any present in the response with a value equal to the stored response's current_age (RFC
    /// > 9111 section 4).
    fn is_aged(&self, stored: &Stored, now: i64, shown: &Shown, hit: bool) -> Result<(), String> {
        let got = joined(&shown.lines, "age");
        match self.age_s(&stored.says, now) {
            Some(age) if got == Some(age.to_string()) => Ok(()),
            _ if got.is_none() && (!hit || shown.status == 304) => Ok(()),
            None if got.as_ref().is_some_and(|got| got.parse::<u64>().is_ok()) => Ok(()),
            age => Err(format!("Age is {got:?}, not {age:?}")),
        }
    }
}
