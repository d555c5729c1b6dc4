//! The scripted origin of all cases: each case tells it what to answer next, and is told what it was asked.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::case::{Framing, Reply};
use crate::harness::gate::Gate;
use crate::harness::origin::{Origin, Reply as Script, Seen};

/// By the first two segments of the path, which are a file's and a case's.
#[derive(Debug, Clone, Default)]
pub(super) struct Desk(Arc<Mutex<HashMap<String, Page>>>);

#[derive(Debug, Default)]
struct Page {
    /// The last one stays.
    replies: Vec<Reply>,
    seen: Vec<Seen>,
    /// Closed while the step lasts.
    gate: Gate,
}

impl Desk {
    /// The origin that answers by it.
    pub(super) fn origin(&self) -> Origin {
        let desk = self.clone();
        Origin::start(move |seen| desk.answer(seen))
    }

    fn answer(&self, seen: &Seen) -> Script {
        let mut pages = self.0.lock();
        let page = pages.entry(case_of(&seen.target).to_owned()).or_default();
        page.seen.push(seen.clone());
        let reply = if page.replies.len() > 1 {
            page.replies.remove(0)
        } else {
            page.replies.first().cloned().unwrap_or(Reply::HangUp)
        };
        script(reply, &page.gate)
    }

    /// Begins a step of the case at `path`: these answers, in this order.
    pub(super) fn begin(&self, path: &str, replies: Vec<Reply>) {
        self.0.lock().insert(path.to_owned(), Page { replies, ..Page::default() });
    }

    /// What was asked since the step began.
    pub(super) fn seen(&self, path: &str) -> Vec<Seen> {
        self.0.lock()[path].seen.clone()
    }

    /// Lets an origin that says nothing hang up.
    pub(super) fn end(&self, path: &str) {
        self.0.lock()[path].gate.open();
    }
}

/// `/file/case` of `/file/case/and?more`.
fn case_of(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default();
    let end = path.match_indices('/').nth(2).map_or(path.len(), |(at, _)| at);
    &path[..end]
}

fn script(reply: Reply, gate: &Gate) -> Script {
    let (status, fields, body, framing) = match reply {
        Reply::Proper { status, fields, body, framing } => (status, fields, body.unwrap_or_default(), framing),
        Reply::Raw(bytes) => return Script::talk(move |talk| talk.write(bytes.as_bytes())),
        Reply::HangUp => return Script::hang_up(),
        Reply::Reset => return Script::talk(|talk| talk.reset()),
        Reply::Silence => return Script::waiting(gate),
    };
    let mut script = Script::new(status);
    for line in &fields {
        let (name, value) = line.split_once(':').expect("a field line");
        script = script.field(name, value.strip_prefix(' ').unwrap_or(value));
    }
    let length = body.len() as u64;
    script = match framing {
        Framing::Length => script,
        Framing::Chunked => script.chunked(),
        Framing::Short => script.announce(length + 5).cut(),
        Framing::ShortChunked => script.chunked().cut(),
        Framing::UntilClose => script.until_close(),
    };
    // An empty chunk would be the last one.
    if body.is_empty() || matches!(status, 204 | 304) { script } else { script.body(body) }
}
