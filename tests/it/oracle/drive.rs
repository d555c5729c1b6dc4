//! Plays histories against a whole node and holds what is seen against the model.

use std::sync::Arc;
use std::thread;

use nearcast_shared::clock::{Clock, Timestamp};
use parking_lot::Mutex;

use super::answer::{Given, Mood, Reaction, Tag};
use super::ask::{AskSpec, Tags};
use super::history::{History, Step};
use super::model::{Conditions, Exchange, Mistake, Model, Said, Shown, State};
use super::{sites, spelling};
use crate::harness::client::{Answer, Ask, Plain};
use crate::harness::node::Node;
use crate::harness::origin::{Origin, Reply, Seen};
use crate::harness::wire::End;

/// Some day in 2027.
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// A node, its origin, its clock and one client.
pub(super) struct Player {
    clock: Clock,
    origin: Origin,
    node: Node,
    client: Plain,
    stage: Arc<Mutex<Stage>>,
    played: u64,
}

/// What the origin goes by.
#[derive(Default)]
struct Stage {
    urls: Vec<String>,
    began: i64,
    serial: u32,
    reaction: Option<Reaction>,
    log: Vec<(Exchange, String)>,
}

/// What a history came to.
#[derive(Debug, Default)]
pub(super) struct Played {
    /// Step by step.
    pub(super) transcript: String,
    /// Why the node is wrong, if it is.
    pub(super) difference: Option<String>,
    /// Its answers' `Cache-Status`, without numbers.
    pub(super) kinds: Vec<String>,
}

impl Player {
    /// Starts a node in front of an origin that answers as the present step says.
    pub(super) fn start() -> Self {
        let (stage, clock) = (Arc::new(Mutex::new(Stage::default())), Clock::manual(NOW));
        let (acting, time) = (stage.clone(), clock.clone());
        let origin = Origin::start(move |seen| acting.lock().answer(seen, time.now().0));
        let node = sites::setup(&origin).clock(&clock).start();
        let client = Plain::connect(node.http());
        Self { clock, origin, node, client, stage, played: 0 }
    }

    /// Plays one history, up to the first difference.
    pub(super) fn play(&mut self, history: &History, mistake: Option<Mistake>) -> Played {
        self.played += 1;
        self.origin.forget();
        let began = self.clock.now().0;
        let urls: Vec<String> = ["a", "b"].iter().map(|name| format!("/{}/{name}", self.played)).collect();
        *self.stage.lock() = Stage { urls, began, ..Stage::default() };
        let model = Model { site: history.site, began, mistake };
        let (mut states, mut played) = (vec![State::default()], Played::default());
        played.tell(&format!("site {:?}", history.site));
        for step in &history.steps {
            match step {
                Step::Wait(seconds) => self.clock.advance(seconds * 1000),
                Step::Ask(ask, reaction) => {
                    let now = self.clock.now().0;
                    played.tell(&format!("{:>7} s  {}", (now - began) / 1000, self.shown_ask(ask)));
                    let (seen, shown) = self.ask(history, ask, reaction, &mut played);
                    played.kinds.push(kind(&shown));
                    let (mut next, mut against) = (Vec::new(), Vec::new());
                    for state in &states {
                        let (more, why) = model.step(state, ask, now, &seen, &shown);
                        more.into_iter()
                            .filter(|state| !next.contains(state))
                            .collect::<Vec<_>>()
                            .into_iter()
                            .for_each(|state| next.push(state));
                        against.extend(why);
                    }
                    if next.is_empty() {
                        against.sort();
                        against.dedup();
                        played.difference = Some(against.join("\n"));
                        return played;
                    }
                    states = next;
                }
            }
        }
        played
    }

    /// One request: what the origin saw of it, and what the client did.
    fn ask(
        &mut self,
        history: &History,
        ask: &AskSpec,
        reaction: &Reaction,
        played: &mut Played,
    ) -> (Vec<Exchange>, Shown) {
        let (url, began) = {
            let mut stage = self.stage.lock();
            stage.reaction = Some(reaction.clone());
            stage.log.clear();
            (stage.urls[ask.url].clone(), stage.began)
        };
        let mut request = Ask::new(ask.method.text(), &url).host(history.site.host);
        for (name, value) in spelling::ask(ask, began) {
            request = request.field(&name, &value);
        }
        let answer = self.client.ask(&request);
        assert_eq!(answer.end, End::Clean, "{}", played.transcript);
        if answer.field("connection").is_some_and(|value| value.contains("close")) {
            self.client = Plain::connect(self.node.http());
        }
        self.settle();
        let log = std::mem::take(&mut self.stage.lock().log);
        let shown = show(&answer);
        for (_, told) in &log {
            played.tell(&format!("             origin: {told}"));
        }
        played.tell(&format!("             client: {}", told(&shown)));
        (log.into_iter().map(|(exchange, _)| exchange).collect(), shown)
    }

    /// Waits until nothing is fetched any more; mostly nothing is.
    fn settle(&self) {
        for _ in 0..100 {
            if self.node.control().edge.fills.running() == 0 {
                return;
            }
            thread::yield_now();
        }
        self.node.settle();
    }

    fn shown_ask(&self, ask: &AskSpec) -> String {
        let stage = self.stage.lock();
        let fields: Vec<String> =
            spelling::ask(ask, stage.began).iter().map(|(name, value)| format!("{name}: {value}")).collect();
        format!("{} {}  {}", ask.method.text(), stage.urls[ask.url], fields.join(" | "))
    }
}

impl Played {
    fn tell(&mut self, line: &str) {
        self.transcript.push_str(line);
        self.transcript.push('\n');
    }
}

impl Stage {
    /// Answers a request of the node, and notes it.
    fn answer(&mut self, seen: &Seen, now: i64) -> Reply {
        let conditions = Conditions {
            tags: seen.field("if-none-match").map(|tags| read_tags(&tags)),
            since: seen.field("if-modified-since").map(|date| read_date(&date)),
        };
        let reaction = self.reaction.clone().expect("a step is played");
        self.serial += 1;
        let mut given = reaction.answer.give(self.serial, now, self.began);
        given.lines = spelling::answer(&reaction.answer, now, self.began, &self.urls);
        given.lines.push(("x-serial".to_owned(), self.serial.to_string()));
        let conditional = conditions != Conditions::default() && matches!(seen.method.as_str(), "GET" | "HEAD");
        let not_modified = conditional
            && match reaction.mood {
                Mood::Honest => given.status == 200 && has(&conditions, &given),
                Mood::Unchanged | Mood::UnchangedBare => true,
                Mood::Blind | Mood::HangUp => false,
            };
        if not_modified && reaction.mood == Mood::UnchangedBare {
            (given.etag, given.modified) = (None, None);
            given.lines.retain(|(name, _)| name != "etag" && name != "last-modified");
        }
        let told = |status: u16, given: &Given| {
            let fields: Vec<String> = given.lines.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            format!("{} {:?} {:?} -> {status}  {}", seen.method, conditions.tags, conditions.since, fields.join(" | "))
        };
        let (said, told, reply) = if reaction.mood == Mood::HangUp {
            (Said::Nothing, format!("{} -> closes the connection", seen.method), Reply::hang_up())
        } else if not_modified {
            let reply = with(Reply::new(304), &given);
            (Said::NotModified(given.clone()), told(304, &given), reply)
        } else {
            let body = if given.status == 204 { String::new() } else { given.body() };
            let reply = with(Reply::new(given.status), &given).body(body);
            (Said::Whole(given.clone()), told(given.status, &given), reply)
        };
        self.log.push((Exchange { method: seen.method.clone(), conditions, said }, told));
        reply
    }
}

fn with(reply: Reply, given: &Given) -> Reply {
    given.lines.iter().fold(reply, |reply, (name, value)| reply.field(name, value))
}

/// What an honest origin makes of conditions (RFC 9110 section 13.2.2).
fn has(conditions: &Conditions, given: &Given) -> bool {
    match &conditions.tags {
        Some(Tags::Any) => true,
        Some(Tags::Of(tags)) => given.etag.is_some_and(|tag| tags.contains(&tag)),
        None => conditions.since.is_some_and(|since| given.modified.is_some_and(|modified| modified <= since)),
    }
}

/// The tags of a list, by the few there are.
fn read_tags(text: &str) -> Tags {
    let (mut rest, mut tags) = (text, Vec::new());
    if rest == "*" {
        return Tags::Any;
    }
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        let Some(at) = Tag::ALL.iter().find_map(|tag| {
            let strong = tag.text().trim_start_matches("W/");
            let after = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix(strong)?;
            Some((*tag, after))
        }) else {
            assert!(rest.is_empty(), "If-None-Match: {text}");
            tags.sort();
            return Tags::Of(tags);
        };
        tags.push(at.0);
        rest = at.1;
    }
}

fn read_date(text: &str) -> i64 {
    let at = httpdate::parse_http_date(text).expect("a date");
    i64::try_from(at.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()).expect("in time")
}

fn show(answer: &Answer) -> Shown {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Shown {
        status: answer.status,
        body: answer.text(),
        lines: answer.fields.iter().map(line).collect(),
        cache: answer.cache(),
    }
}

fn told(shown: &Shown) -> String {
    const LESS: [&str; 6] = ["cache-status", "via", "content-length", "date", "content-type", "server"];
    let fields = shown.lines.iter().filter(|(name, _)| !LESS.contains(&name.as_str()));
    let fields: Vec<String> = fields.map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{} {:?} [{}]  {}", shown.status, shown.body, shown.cache, fields.join(" | "))
}

/// `Cache-Status` without its numbers, and the class of the status.
fn kind(shown: &Shown) -> String {
    let words = shown.cache.split("; ").filter(|word| !word.starts_with("ttl=") && !word.starts_with("detail="));
    let stale = if shown.cache.contains("ttl=-") { " stale" } else { "" };
    format!("{}{stale} ({}xx)", words.collect::<Vec<_>>().join("; "), shown.status / 100)
}
