//! Plays cases through a node and compares.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nearcast_shared::clock::{Clock, Timestamp};

use super::case::{Case, Outcome, Reply, Step};
use super::desk::Desk;
use super::moment::Moment;
use crate::harness::client::{Answer, Ask, Plain};
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Seen, joined};
use crate::harness::process::Process;
use crate::harness::{DEADLINE, eventually};

/// Some day in 2027.
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// A node, and the origin behind it.
pub(super) struct Bench {
    desk: Desk,
    cache: Cache,
}

enum Cache {
    /// In this process, with a clock in our hand.
    Here(Node, Clock),
    /// The shipped program.
    Binary(Process),
}

impl Bench {
    /// A node in this process for `cases`; `sites` are hosts and the settings of their sites.
    pub(super) fn here(sites: &[(&str, &str)], cases: &[Case]) -> Self {
        let (desk, clock) = (Desk::default(), Clock::manual(NOW));
        let mut setup = setup(&desk.origin(), sites).clock(&clock);
        if cases.iter().any(Case::waits) {
            setup = setup.set("origin.response-timeout", "\"1s\"");
        }
        let node = setup.start();
        Self { desk, cache: Cache::Here(node, clock) }
    }

    /// The real binary and the real clock.
    pub(super) fn binary() -> Self {
        let desk = Desk::default();
        let process = Process::run(&setup(&desk.origin(), &[]));
        Self { desk, cache: Cache::Binary(process) }
    }

    /// What went wrong, if anything did.
    pub(super) fn play(&self, file: &str, case: &Case) -> Result<(), String> {
        let path = format!("/{file}/{}", case.name);
        let moment = Moment { host: case.host, path: &path, began: self.now() };
        let mut played = Vec::new();
        for (number, step) in case.steps.iter().enumerate() {
            let step = prepared(step, number, &moment);
            let tried = catch_unwind(AssertUnwindSafe(|| self.step(&moment, &step, &played)));
            let result = tried.unwrap_or_else(|panic| Err(panic_text(panic.as_ref())));
            result.map_err(|wrong| {
                let (method, suffix, later, rule) = (step.method, &step.suffix, step.later, case.rule);
                format!("{file}::{} ({rule})\n  step {number}, {method} {suffix} +{later} s: {wrong}", case.name)
            })?;
            played.push(step);
        }
        Ok(())
    }

    fn step(&self, moment: &Moment<'_>, step: &Step, played: &[Step]) -> Result<(), String> {
        self.pass(step.later);
        let mut ask = Ask::new(step.method, &format!("{}{}", moment.path, step.suffix));
        ask = ask.host(step.host.unwrap_or(moment.host)).body(step.content);
        for line in &step.fields {
            let (name, value) = line.split_once(':').expect("a field line");
            ask = ask.field(name, value);
        }
        self.desk.begin(moment.path, step.replies.clone());
        if let (Cache::Binary(process), Outcome::Stored(_)) = (&self.cache, step.outcome) {
            wait_until_stored(process, &ask);
        }
        let answer = Plain::connect(self.address()).exchange(&ask).ok_or("no answer")?;
        if step.outcome == Outcome::Refreshed {
            eventually("a request in the background", || !self.desk.seen(moment.path).is_empty());
        }
        self.desk.end(moment.path);
        if let Cache::Here(node, _) = &self.cache {
            node.settle();
        }
        let seen = self.desk.seen(moment.path);
        judge(step, &answer, &seen, source(step, played)).map_err(|wrong| {
            let asked: Vec<String> =
                seen.iter().map(|seen| format!("\n  asked: {} {}", seen.method, lines(&seen.fields))).collect();
            let body = answer.text().chars().take(200).collect::<String>();
            format!("{wrong}\n  answer: {} {}\n    {body:?}{}", answer.status, lines(&answer.fields), asked.concat())
        })
    }

    fn address(&self) -> std::net::SocketAddr {
        match &self.cache {
            Cache::Here(node, _) => node.http(),
            Cache::Binary(process) => process.http(),
        }
    }

    /// Seconds since the epoch, as the node has it.
    fn now(&self) -> i64 {
        match &self.cache {
            Cache::Here(_, clock) => clock.now().seconds(),
            Cache::Binary(_) => Clock::System.now().seconds(),
        }
    }

    fn pass(&self, seconds: u32) {
        match &self.cache {
            Cache::Here(_, clock) => clock.advance(i64::from(seconds) * 1000),
            Cache::Binary(_) => {
                let (begin, wanted) = (Instant::now(), Duration::from_secs(u64::from(seconds)));
                eventually("the time", || begin.elapsed() >= wanted);
            }
        }
    }
}

fn setup(origin: &Origin, sites: &[(&str, &str)]) -> Setup {
    let mut setup = Setup::new(origin);
    for (host, settings) in sites {
        setup.sites.push(format!("domains = [\"{host}\"]\norigin = \"{}\"\n{settings}", origin.url()));
    }
    setup
}

/// A client may have its last byte a moment before the answer is stored. This asks without ever reaching the origin.
fn wait_until_stored(process: &Process, ask: &Ask) {
    let ask = ask.clone().field("cache-control", "only-if-cached");
    let deadline = Instant::now() + DEADLINE / 10;
    while ask.send(process.http()).status == 504 && Instant::now() < deadline {
        std::thread::yield_now();
    }
}

/// The step with everything filled in that it leaves open.
fn prepared(step: &Step, number: usize, moment: &Moment<'_>) -> Step {
    let mut step = step.clone();
    if step.replies.is_empty() {
        let confirming = matches!(step.outcome, Outcome::Validated(_) | Outcome::Refreshed);
        let status = if confirming { 304 } else { 200 };
        step.replies.push(super::case::reply(status, super::case::PLAIN));
    }
    for reply in &mut step.replies {
        match reply {
            Reply::Proper { fields, body, .. } => {
                fields.iter_mut().for_each(|line| *line = moment.fill(line));
                body.get_or_insert_with(|| format!("answer {number}"));
            }
            Reply::Raw(bytes) => *bytes = moment.fill(bytes),
            Reply::HangUp | Reply::Reset | Reply::Silence => {}
        }
    }
    for line in step.fields.iter_mut().chain(&mut step.shows).chain(&mut step.saw) {
        *line = moment.fill(line);
    }
    step
}

/// The step whose answer the client is to get.
fn source<'a>(step: &'a Step, played: &'a [Step]) -> Option<&'a Step> {
    let latest = || {
        let earlier = |earlier: &&Step| {
            let same = (&earlier.suffix, earlier.host) == (&step.suffix, step.host);
            same && earlier.method == "GET" && earlier.outcome == Outcome::Fetched
        };
        played.iter().rfind(earlier)
    };
    match step.outcome {
        Outcome::Fetched => Some(step),
        Outcome::Stored(Some(number)) | Outcome::Validated(Some(number)) => Some(&played[number]),
        Outcome::Stored(None) | Outcome::Validated(None) | Outcome::Refreshed | Outcome::Instead => latest(),
        Outcome::Made => None,
    }
}

fn judge(step: &Step, answer: &Answer, seen: &[Seen], source: Option<&Step>) -> Result<(), String> {
    let expect = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
    let asked = seen.len();
    let last = seen.last();
    let (least, most) = match (step.asks, step.outcome) {
        (Some(times), _) => (times, times),
        (None, Outcome::Fetched | Outcome::Validated(_) | Outcome::Refreshed) => (1, 1),
        (None, Outcome::Stored(_)) => (0, 0),
        (None, Outcome::Instead) => (1, usize::MAX),
        (None, Outcome::Made) => (0, usize::MAX),
    };
    let outcome = step.outcome;
    expect((least..=most).contains(&asked), format!("{outcome:?} expected, but the origin was asked {asked} time(s)"))?;
    if let Outcome::Validated(_) = outcome {
        let conditions = ["if-none-match", "if-modified-since"];
        let conditional = seen.iter().all(|seen| conditions.iter().any(|name| seen.fields.contains_key(*name)));
        expect(conditional, "the origin was asked without a condition".to_owned())?;
    }
    let (status, body) = match source.map(|source| source.replies.last()) {
        Some(Some(Reply::Proper { status, body, .. })) => (Some(*status), body.clone()),
        _ => (None, None),
    };
    let status = step.status.or(status).unwrap_or(200);
    expect(answer.status == status, format!("{outcome:?} with status {status} expected"))?;
    let bodiless = step.method == "HEAD" || matches!(status, 204 | 304);
    if !step.parts.is_empty() {
        return expect(
            has_parts(answer, &step.parts, &body.unwrap_or_default()),
            format!("parts {:?} expected", step.parts),
        );
    }
    let body = if bodiless { Some(String::new()) } else { step.body.clone().or(body) };
    if let Some(body) = body {
        expect(answer.text() == body, format!("{outcome:?} with body {body:?} expected"))?;
    }
    for (name, wanted) in wanted(&step.shows) {
        let had = answer.field(&name);
        let holds = if wanted == "{any}" { had.is_some() } else { had.as_ref() == Some(&wanted) };
        expect(holds, format!("the answer should have {name}: {wanted}"))?;
    }
    for name in &step.hides {
        expect(answer.field(name).is_none(), format!("the answer should have no {name}"))?;
    }
    for (name, wanted) in wanted(&step.saw) {
        let had = last.and_then(|seen| seen.field(&name));
        // Lines may be joined, with or without a space: RFC 9110 section 5.3. One line is as it was.
        let several = step.saw.iter().filter(|line| line.starts_with(&format!("{name}:"))).count() > 1;
        let read = |list: &str| if several { list.replace(", ", ",") } else { list.to_owned() };
        let holds = had.is_some_and(|had| read(&had) == read(&wanted));
        expect(holds, format!("the origin should have seen {name}: {wanted}"))?;
    }
    for name in &step.saw_no {
        expect(last.is_some_and(|seen| seen.field(name).is_none()), format!("the origin should not have seen {name}"))?;
    }
    let method = last.map(|seen| seen.method.as_str());
    expect(
        step.saw_method.is_none_or(|wanted| method == Some(wanted)),
        "another method at the origin expected".to_owned(),
    )
}

/// RFC 9110 section 14.6: a boundary before each part and at the end; in each its Content-Range, a blank line, its
/// bytes.
fn has_parts(answer: &Answer, ranges: &[&str], whole: &str) -> bool {
    let kind = answer.field("content-type").unwrap_or_default();
    let Some(boundary) = kind.strip_prefix("multipart/byteranges; boundary=") else { return false };
    let text = answer.text();
    let parts: Vec<&str> = text.split(&format!("--{}", boundary.trim_matches('"'))).collect();
    let holds = |part: &str, range: &str| {
        let numbers: Vec<usize> = range.split([' ', '-', '/']).filter_map(|number| number.parse().ok()).collect();
        let bytes = &whole[numbers[0]..=numbers[1]];
        part.to_lowercase().contains(&format!("\r\ncontent-range: {range}\r\n"))
            && part.ends_with(&format!("\r\n\r\n{bytes}\r\n"))
    };
    let last = parts.last().is_some_and(|end| end.starts_with("--"));
    last && parts.len() == ranges.len() + 2 && parts[1..].iter().zip(ranges).all(|(part, range)| holds(part, range))
}

/// Names, each with all its lines as one list.
fn wanted(lines: &[String]) -> Vec<(String, String)> {
    let mut wanted: Vec<(String, String)> = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').expect("a field line");
        match wanted.iter_mut().find(|(known, _)| known == name) {
            Some((_, list)) => *list = format!("{list}, {}", value.trim()),
            None => wanted.push((name.to_owned(), value.trim().to_owned())),
        }
    }
    wanted
}

fn lines(fields: &http::HeaderMap) -> String {
    fields.keys().map(|name| format!("\n    {name}: {}", joined(fields, name.as_str()).unwrap_or_default())).collect()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
