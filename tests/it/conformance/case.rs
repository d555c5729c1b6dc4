//! The language that cases are written in.
//!
//! ```text
//! case("max-age", "RFC 9111 section 4.2.1", [
//!     get().origin(ok(["cache-control: max-age=60"])),         the origin is asked and answers so
//!     get().later(59).stored().shows(["age: 59"]),             59 s later the origin is not asked
//!     get().later(1).fetched(),                                1 s later it is
//! ])
//! ```
//!
//! Every case has a URL path of its own. An origin's answer whose body is not given has the number of its step as its
//! body, so that the body tells which answer a client got. Lines may contain `{-60}`, `{0}`, `{+60}` (that many seconds
//! after the case began, as an HTTP date), `{rfc850 +60}`, `{asctime +60}`, `{host}` and `{path}` (of the case), and
//! where an answer is judged `{any}`.

use crate::harness::client::HOST;

use super::reply::owned;
pub(super) use super::reply::{Framing, Lines, PLAIN, Reply, minute, not_modified, ok, reply};

/// A name, the rule that is kept, and what happens.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) rule: &'static str,
    pub(crate) host: &'static str,
    pub(crate) steps: Vec<Step>,
}

pub(super) fn case(name: impl Into<String>, rule: &'static str, steps: impl Into<Vec<Step>>) -> Case {
    Case { name: name.into(), rule, host: HOST, steps: steps.into() }
}

impl Case {
    /// At the site with this host.
    pub(super) fn at(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    /// Whether an origin says nothing in it until the node gives up.
    pub(crate) fn waits(&self) -> bool {
        self.steps.iter().flat_map(|step| &step.replies).any(|reply| matches!(reply, Reply::Silence))
    }

    /// How long it takes.
    pub(crate) fn seconds(&self) -> u32 {
        self.steps.iter().map(|step| step.later).sum()
    }

    /// Whether it needs no clock of the test's own, no setting of a site's, and no look into the node. A second may
    /// pass; what is fresh for no longer than that is not looked at before, as a busy machine may take longer.
    pub(crate) fn suits_the_binary(&self) -> bool {
        let exact = |step: &Step| step.shows.iter().any(|line| line.starts_with("age:"));
        let plain = |step: &Step| matches!(step.outcome, Outcome::Fetched | Outcome::Stored(_) | Outcome::Made);
        let steps = match self.steps.iter().position(|step| step.later > 0) {
            Some(pause) if self.steps[..pause].iter().any(|step| step.outcome != Outcome::Fetched) => return false,
            Some(pause) => &self.steps[pause + 1..],
            None => &self.steps[..],
        };
        let own = self.host == HOST && !self.waits() && !self.steps.iter().any(exact);
        own && self.seconds() <= 1 && steps.iter().all(plain)
    }
}

/// What a client is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The origin is asked, and its answer is passed on.
    Fetched,
    /// The origin is not asked; the answer is that of an earlier step (the latest, or the one with this number).
    Stored(Option<usize>),
    /// The origin is asked on a condition and confirms what is stored.
    Validated(Option<usize>),
    /// The stored answer, while the origin is asked in the background.
    Refreshed,
    /// The origin is asked and fails; the stored answer stands in for it.
    Instead,
    /// The cache makes the answer itself.
    Made,
}

/// One request, what the origin would answer, and what the client gets.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) method: &'static str,
    pub(crate) suffix: String,
    pub(crate) host: Option<&'static str>,
    pub(crate) fields: Vec<String>,
    pub(crate) content: &'static str,
    pub(crate) later: u32,
    pub(crate) replies: Vec<Reply>,
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<u16>,
    pub(crate) body: Option<String>,
    pub(crate) parts: Vec<&'static str>,
    pub(crate) shows: Vec<String>,
    pub(crate) hides: Vec<&'static str>,
    pub(crate) saw: Vec<String>,
    pub(crate) saw_no: Vec<&'static str>,
    pub(crate) saw_method: Option<&'static str>,
    pub(crate) asks: Option<usize>,
}

pub(super) fn get() -> Step {
    send("GET")
}

pub(super) fn head() -> Step {
    send("HEAD")
}

pub(super) fn send(method: &'static str) -> Step {
    Step {
        method,
        suffix: String::new(),
        host: None,
        fields: Vec::new(),
        content: "",
        later: 0,
        replies: Vec::new(),
        outcome: Outcome::Fetched,
        status: None,
        body: None,
        parts: Vec::new(),
        shows: Vec::new(),
        hides: Vec::new(),
        saw: Vec::new(),
        saw_no: Vec::new(),
        saw_method: None,
        asks: None,
    }
}

/// The request.
impl Step {
    /// For the case's path with this appended.
    pub(super) fn to(mut self, suffix: impl Into<String>) -> Self {
        self.suffix = suffix.into();
        self
    }

    /// With another Host.
    pub(super) fn host(mut self, host: &'static str) -> Self {
        self.host = Some(host);
        self
    }

    /// With these fields.
    pub(super) fn with(mut self, lines: impl Lines) -> Self {
        self.fields.extend(owned(lines));
        self
    }

    /// With this content.
    pub(super) fn content(mut self, content: &'static str) -> Self {
        self.content = content;
        self
    }

    /// So many seconds after the step before.
    pub(super) fn later(mut self, seconds: u32) -> Self {
        self.later = seconds;
        self
    }
}

/// The origin.
impl Step {
    /// Answers so, if it is asked; a second time the next one, if there is one.
    pub(super) fn origin(mut self, reply: Reply) -> Self {
        self.replies.push(reply);
        self
    }

    /// The last request it got in this step has these fields.
    pub(super) fn origin_saw(mut self, lines: impl Lines) -> Self {
        self.saw.extend(owned(lines));
        self
    }

    /// The last request it got in this step has no such fields.
    pub(super) fn origin_saw_no<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        self.saw_no.extend(names);
        self
    }

    /// The last request it got in this step has this method.
    pub(super) fn origin_saw_method(mut self, method: &'static str) -> Self {
        self.saw_method = Some(method);
        self
    }

    /// It is asked so many times.
    pub(super) fn asks(mut self, times: usize) -> Self {
        self.asks = Some(times);
        self
    }
}

/// The answer.
impl Step {
    fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// From the origin. This is the default.
    pub(super) fn fetched(self) -> Self {
        self.outcome(Outcome::Fetched)
    }

    /// From the store, without the origin.
    pub(super) fn stored(self) -> Self {
        self.outcome(Outcome::Stored(None))
    }

    /// The same, and it is the answer of that step.
    pub(super) fn stored_from(self, step: usize) -> Self {
        self.outcome(Outcome::Stored(Some(step)))
    }

    /// From the store, once the origin has confirmed it (unless told otherwise: by a 304 without fields).
    pub(super) fn validated(self) -> Self {
        self.outcome(Outcome::Validated(None))
    }

    /// The same, and it is the answer of that step.
    pub(super) fn validated_from(self, step: usize) -> Self {
        self.outcome(Outcome::Validated(Some(step)))
    }

    /// From the store, and the origin is asked meanwhile.
    pub(super) fn refreshed(self) -> Self {
        self.outcome(Outcome::Refreshed)
    }

    /// From the store, after the origin has failed.
    pub(super) fn stored_instead(self) -> Self {
        self.outcome(Outcome::Instead)
    }

    /// By the cache itself.
    pub(super) fn made(self, status: u16) -> Self {
        self.outcome(Outcome::Made).status(status)
    }

    /// With this status, when it is not the one of the origin's answer.
    pub(super) fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// With this body, when it is not the whole of the origin's answer.
    pub(super) fn body(mut self, body: impl Into<String>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// As multipart/byteranges with these Content-Ranges, and the bytes they mean of the origin's whole answer.
    pub(super) fn parts(mut self, ranges: &[&'static str]) -> Self {
        self.parts.extend(ranges);
        self
    }

    /// With these fields; of each named field, these and no other lines.
    pub(super) fn shows(mut self, lines: impl Lines) -> Self {
        self.shows.extend(owned(lines));
        self
    }

    /// Without these fields.
    pub(super) fn hides<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        self.hides.extend(names);
        self
    }
}
