//! `nearcast object URL`: what is stored of it, where, and what is being fetched, on every PoP.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use indicatif::HumanBytes;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Call, Nodes, encode};
use super::list;

/// Show what is stored of a URL: its answers in both schemes, how fresh they are, where their bodies are, and the fetches
/// that run for it.
///
/// Each PoP has a cache of its own, so all are asked. What would become of a request says `nearcast explain`. Exit code 1:
/// at least one node did not answer, or knows no such site; 2: the command line or the config cannot be followed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nearcast object https://www.cdn.example.net/logo.png\n  \
    nearcast object https://www.cdn.example.net/ -H 'accept-encoding: br' -H 'accept-language: de'\n  \
    nearcast object https://www.cdn.example.net/film.mp4 --json | jq '.schemes[0].answers[0].body'")]
pub(super) struct ObjectArgs {
    /// The URL, with scheme and host.
    #[arg(value_parser = list::url)]
    url: String,
    /// A field of the request, as `name: value`, where the answers vary or the site keys it; as often as needed.
    #[arg(short = 'H', long = "field", value_name = "FIELD", value_parser = list::field)]
    fields: Vec<String>,
    /// Print what each node answers as it is, one line of JSON per node; nodes that do not answer go to standard error.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nodes: Nodes,
}

pub(super) fn run(args: ObjectArgs) -> anyhow::Result<ExitCode> {
    let client = match args.nodes.client() {
        Ok(client) => client,
        Err(unusable) => return Ok(unusable.exit()),
    };
    let answers = client.ask_all(&call(&args))?;
    for (node, answer) in &answers {
        match answer {
            Ok(value) if args.json => println!("{value}"),
            Ok(value) => match show(value, &format!("{} has", node.name)) {
                Some(text) => print!("{text}"),
                None => println!("{} answers as another version does: see --json", node.name),
            },
            Err(failure) => eprintln!("{}  FAILED  {failure}", node.name),
        }
    }
    let good = answers.iter().all(|(_, answer)| answer.is_ok());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn call(args: &ObjectArgs) -> Call {
    let mut target = format!("/v1/object?url={}", encode(&args.url));
    args.fields.iter().for_each(|field| target.push_str(&format!("&field={}", encode(field))));
    Call::get(target)
}

/// What is there, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    site: String,
    key: String,
    sent: String,
    bypassed_by: Option<String>,
    rules: Vec<String>,
    not_stored: Option<String>,
    schemes: Vec<InScheme>,
    fills: Vec<Fill>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InScheme {
    scheme: String,
    selected_by: Vec<String>,
    answers: Vec<Kept>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kept {
    selected: bool,
    listed_etag: Option<String>,
    tiers: Tiers,
    answer: Option<Answer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tiers {
    memory: bool,
    disk: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    status: u16,
    length: u64,
    age: u64,
    lifetime: u64,
    lifetime_by: String,
    governed_by: String,
    directives: Vec<String>,
    etag: Option<String>,
    last_modified: Option<String>,
    purged: bool,
    softly_purged: Option<u64>,
    fresh_for: i64,
    rules: Vec<String>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    content_language: Option<String>,
    hits: u64,
    fetched: String,
    tick: u64,
    tags: u64,
    groups: u64,
    body: Body,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    inline: bool,
    chunks: u64,
    memory: u64,
    disk: u64,
    here: u64,
    spans: Vec<Part>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part {
    first: u64,
    end: u64,
    version: String,
    chunks: u64,
    here: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fill {
    scheme: String,
    kind: String,
    authorized: bool,
    asked: Option<(u64, Option<u64>)>,
    stage: String,
    received: u64,
    expected: Option<u64>,
    readers: u64,
    tick: u64,
    seconds: u64,
}

/// Parts of a body that are listed; a file that many ranges were asked of has hundreds.
const PARTS_SHOWN: usize = 16;

/// For people; `None` when it is another version's.
fn show(value: &Value, who: &str) -> Option<String> {
    let it = Shown::deserialize(value).ok().filter(|it| !it.key.is_empty())?;
    let mut lines = Lines(format!("{}, {who}:\n", it.key));
    lines.fact("site", &it.site);
    lines.fact("origin", &format!("is asked for {}", it.sent));
    if let Some(rule) = &it.bypassed_by {
        lines.fact("bypassed", &format!("by rule `{rule}`"));
    }
    if !it.rules.is_empty() {
        lines.fact("rules", &format!("match by path: {}", it.rules.join(", ")));
    }
    if let Some(reason) = &it.not_stored {
        lines.fact("lately", &format!("an answer was not stored: {reason}"));
    }
    for scheme in &it.schemes {
        show_scheme(&mut lines, scheme);
    }
    for fill in &it.fills {
        lines.fact("fetching", &fill.in_words());
    }
    Some(lines.0)
}

/// Facts below one another.
struct Lines(String);

impl Lines {
    fn fact(&mut self, label: &str, text: &str) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "  {label:<9} {text}");
    }
}

fn show_scheme(lines: &mut Lines, scheme: &InScheme) {
    let count = scheme.answers.len();
    let by = if scheme.selected_by.is_empty() {
        String::new()
    } else {
        format!(", selected by {}", scheme.selected_by.join(" | "))
    };
    let number = match count {
        0 => "nothing".to_owned(),
        1 => "1 answer".to_owned(),
        _ => format!("{count} answers"),
    };
    lines.fact(&scheme.scheme, &format!("{number}{by}"));
    for (number, kept) in scheme.answers.iter().enumerate() {
        let mark = if kept.selected { "  <- this request's" } else { "" };
        let label = format!("  {}.", number + 1);
        let Some(answer) = &kept.answer else {
            let etag = kept.listed_etag.as_deref().unwrap_or("without a strong ETag");
            lines.fact(&label, &format!("lost by the store: {etag}{mark}"));
            continue;
        };
        lines.fact(&label, &format!("{}{mark}", answer.title()));
        answer.facts(&kept.tiers).iter().for_each(|fact| lines.fact("", fact));
    }
}

impl Answer {
    fn title(&self) -> String {
        let of_content = [&self.content_type, &self.content_encoding, &self.content_language];
        let content: String = of_content.into_iter().flatten().map(|value| format!(", {value}")).collect();
        let standing = match (self.purged, self.fresh_for) {
            (true, _) => "PURGED since it was fetched: not used".to_owned(),
            (false, left @ 1..) => format!("fresh for {left} s more"),
            (false, left) => format!("stale since {} s", left.unsigned_abs()),
        };
        format!("status {}{content}, {}; {standing}", self.status, HumanBytes(self.length))
    }

    fn facts(&self, header: &Tiers) -> Vec<String> {
        let said = if self.directives.is_empty() { "nothing".to_owned() } else { self.directives.join(", ") };
        let mut facts = vec![
            format!(
                "age {} s of {} s, by {}; {} says {said}",
                self.age, self.lifetime, self.lifetime_by, self.governed_by
            ),
            format!("fetched {}, tick {}; hits while in memory: {}", self.fetched, self.tick, self.hits),
        ];
        let validators = [("etag", &self.etag), ("modified", &self.last_modified)];
        facts.extend(validators.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?))));
        if !self.rules.is_empty() {
            facts.push(format!("rules {}", self.rules.join(", ")));
        }
        if let Some(ago) = self.softly_purged {
            facts.push(format!("softly purged {ago} s ago: it counts as stale"));
        }
        if self.tags + self.groups > 0 {
            facts.push(format!("{} tags, {} cache groups", self.tags, self.groups));
        }
        if self.body.inline {
            facts.push(format!("header and body {}", header.in_words()));
            return facts;
        }
        let Body { chunks, memory, disk, here, spans, .. } = &self.body;
        facts.push(format!(
            "header {}; {here} of {chunks} chunks here: {memory} in memory, {disk} on disk",
            header.in_words()
        ));
        facts.extend(spans.iter().take(PARTS_SHOWN).map(|part| {
            let last = part.end.saturating_sub(1);
            format!("bytes {}-{last}: {} of {} chunks, version {}", part.first, part.here, part.chunks, part.version)
        }));
        if let Some(more @ 1..) = spans.len().checked_sub(PARTS_SHOWN) {
            facts.push(format!("and {more} more parts"));
        }
        facts
    }
}

impl Tiers {
    fn in_words(&self) -> &'static str {
        match (self.memory, self.disk) {
            (true, true) => "in memory and on disk",
            (true, false) => "in memory",
            (false, true) => "on disk",
            (false, false) => "gone meanwhile",
        }
    }
}

impl Fill {
    fn in_words(&self) -> String {
        let asked = match self.asked {
            None => String::new(),
            Some((first, None)) => format!(" from byte {first} on"),
            Some((first, Some(end))) => format!(" bytes {first}-{}", end.saturating_sub(1)),
        };
        let all = self.expected.map(|expected| format!(" of {}", HumanBytes(expected))).unwrap_or_default();
        let authorized = if self.authorized { " (with Authorization)" } else { "" };
        format!(
            "{} {}{asked}{authorized}, {}: {}{all}, read by {}, for {} s, tick {}",
            self.scheme,
            self.kind,
            self.stage,
            HumanBytes(self.received),
            self.readers,
            self.seconds,
            self.tick
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        object: ObjectArgs,
    }

    #[test]
    fn the_question_is_encoded() {
        let parse = |words: &[&str]| Line::try_parse_from([&["nearcast"], words].concat());
        let line = parse(&["https://www.test/a?b", "-H", "accept: a/b"]).unwrap();
        let wanted = "/v1/object?url=https%3A%2F%2Fwww.test%2Fa%3Fb&field=accept%3A%20a%2Fb";
        assert_eq!(call(&line.object), Call::get(wanted));
        for bad in [&["www.test"][..], &[], &["https://www.test/", "-H", "accept"], &["ftp://www.test/"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn all_there_is() {
        let part =
            |first: u64, end: u64| json!({ "first": first, "end": end, "version": "0b", "chunks": 2, "here": 1 });
        let large = json!({
            "status": 200, "length": 1_048_576, "age": 70, "lifetime": 60, "lifetime_by": "rule `films`",
            "governed_by": "cache-control", "directives": [], "etag": "\"a\"", "purged": false, "fresh_for": -10,
            "rules": ["films"], "content_type": "video/mp4", "hits": 7, "fetched": "2026-11-22T10:00:00.000Z", "tick": 9,
            "groups": 2, "tags": 3, "softly_purged": 10,
            "body": { "inline": false, "chunks": 4, "memory": 1, "disk": 2, "here": 2,
                      "spans": [part(0, 524_288), part(786_432, 1_048_576)] }
        });
        let small = json!({
            "status": 404, "length": 11, "age": 1, "lifetime": 60, "lifetime_by": "max-age", "governed_by": "cache-control",
            "directives": ["max-age=60"], "fresh_for": 59, "purged": true, "fetched": "x", "tick": 8, "hits": 0,
            "body": { "inline": true }
        });
        let value = json!({
            "site": "www", "key": "https://www.test/a", "sent": "/a", "bypassed_by": null, "rules": ["films", "rest"],
            "not_stored": "no-store",
            "schemes": [
                { "scheme": "https", "selected_by": ["accept-encoding: br", "x"], "answers": [
                    { "selected": true, "tiers": { "memory": true, "disk": true }, "answer": large },
                    { "selected": false, "listed_etag": "\"b\"", "tiers": {}, "answer": null },
                    { "selected": false, "tiers": { "memory": true }, "answer": small },
                ] },
                { "scheme": "http", "selected_by": [], "answers": [] }
            ],
            "fills": [
                { "scheme": "http", "kind": "part", "asked": [5, 100], "stage": "streaming", "received": 7,
                  "expected": 95, "readers": 3, "tick": 10, "seconds": 2, "authorized": false },
                { "scheme": "http", "kind": "whole", "stage": "asking", "readers": 1, "tick": 11, "authorized": true }
            ]
        });
        let wanted = "\
https://www.test/a, fra has:
  site      www
  origin    is asked for /a
  rules     match by path: films, rest
  lately    an answer was not stored: no-store
  https     3 answers, selected by accept-encoding: br | x
    1.      status 200, video/mp4, 1.00 MiB; stale since 10 s  <- this request's
            age 70 s of 60 s, by rule `films`; cache-control says nothing
            fetched 2026-11-22T10:00:00.000Z, tick 9; hits while in memory: 7
            etag \"a\"
            rules films
            softly purged 10 s ago: it counts as stale
            3 tags, 2 cache groups
            header in memory and on disk; 2 of 4 chunks here: 1 in memory, 2 on disk
            bytes 0-524287: 1 of 2 chunks, version 0b
            bytes 786432-1048575: 1 of 2 chunks, version 0b
    2.      lost by the store: \"b\"
    3.      status 404, 11 B; PURGED since it was fetched: not used
            age 1 s of 60 s, by max-age; cache-control says max-age=60
            fetched x, tick 8; hits while in memory: 0
            header and body in memory
  http      nothing
  fetching  http part bytes 5-99, streaming: 7 B of 95 B, read by 3, for 2 s, tick 10
  fetching  http whole (with Authorization), asking: 0 B, read by 1, for 0 s, tick 11
";
        assert_eq!(show(&value, "fra has").as_deref(), Some(wanted));
        assert_eq!(show(&json!({ "answer": "b" }), "fra has"), None);
    }
}
