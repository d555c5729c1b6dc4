//! What is there of a URL: its stored answers in both schemes, where their bodies are, and the fetches that run for it, for
//! `nearcast object`. What would become of a request says [`crate::explain`]. Nothing is fetched, and nothing counts as a
//! hit.

use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use nearcast_shared::clock::Timestamp;
use serde::Serialize;

use crate::explain::Stored;
use crate::fill::{Extent, Running, Stage};
use crate::key::{StoreKey, UrlId};
use crate::policy::reuse::Standing;
use crate::policy::rules;
use crate::purge::Verdict;
use crate::question::{Asked, NotServed, Question};
use crate::store::object::{Body, Object, Span};
use crate::store::{Piece, Store, Whereabouts};
use crate::variant;
use crate::worker::Edge;

/// What is there of a URL.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The site that takes the host.
    pub site: String,
    /// What the request is stored under: the URL, and what else of the request the site keys.
    pub key: String,
    /// The path and query that the origin is asked for.
    pub sent: String,
    /// The site's rule that keeps the request from the cache.
    pub bypassed_by: Option<String>,
    /// The site's rules that match by path; what else they ask is up to the answer.
    pub rules: Vec<String>,
    /// Why the last answer was not stored, while that is remembered.
    pub not_stored: Option<&'static str>,
    /// What is stored of it in each scheme, the request's own first.
    pub schemes: [InScheme; 2],
    /// Fetches that run for it.
    pub fills: Vec<RunningFill>,
}

/// What is stored of a URL in one scheme.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InScheme {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// What answers are selected by, as the request has it: names and values. Empty when they do not vary.
    pub selected_by: Vec<String>,
    /// The stored answers, oldest first.
    pub answers: Vec<Kept>,
}

/// One of a URL's answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kept {
    /// Whether it is the one that the request selects.
    pub selected: bool,
    /// Its ETag, when the URL's list of answers has it.
    pub listed_etag: Option<String>,
    /// Where its header is.
    pub tiers: Whereabouts,
    /// The answer; none when the store has lost it.
    pub answer: Option<Detail>,
}

/// A stored answer in detail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detail {
    /// What `explain` says of it, too.
    #[serde(flatten)]
    pub stored: Stored,
    /// Seconds of freshness left; negative: stale for so long.
    pub fresh_for: i64,
    /// The site's rules that match the answer.
    pub rules: Vec<String>,
    /// Its Content-Type.
    pub content_type: Option<String>,
    /// Its Content-Encoding.
    pub content_encoding: Option<String>,
    /// Its Content-Language.
    pub content_language: Option<String>,
    /// How often it was a hit since it came into memory.
    pub hits: u32,
    /// When it was fetched or last confirmed; RFC 3339.
    pub fetched: String,
    /// The tick of the fetch's start: purges with a later tick cover it.
    pub tick: u64,
    /// How many tags it can be purged by. Only their ids are stored.
    pub tags: usize,
    /// How many Cache-Groups it belongs to.
    pub groups: usize,
    /// Where its body is.
    pub body: Parts,
}

/// Where a body is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Parts {
    /// With the header, in one piece.
    pub inline: bool,
    /// Chunks of all of the body.
    pub chunks: u64,
    /// Chunks that are in memory.
    pub memory: u64,
    /// Chunks that are on disk.
    pub disk: u64,
    /// Chunks that are here, in memory or on disk or both.
    pub here: u64,
    /// The parts that were fetched.
    pub spans: Vec<Part>,
}

/// A part of a body.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset behind the last.
    pub end: u64,
    /// Names its chunks, in hexadecimal digits.
    pub version: String,
    /// Whether its chunks are on the grid that other parts share.
    pub on_grid: bool,
    /// Its chunks.
    pub chunks: u64,
    /// Those that are here.
    pub here: u64,
}

/// A fetch that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunningFill {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// `whole`, `part`, `last bytes` or `missing`.
    pub kind: &'static str,
    /// Whether it is for requests with Authorization alone.
    pub authorized: bool,
    /// The bytes that were asked for, where that is known.
    pub asked: Option<(u64, Option<u64>)>,
    /// `asking`, `streaming` or `ending`.
    pub stage: &'static str,
    /// Bytes of the body so far.
    pub received: u64,
    /// Bytes in all, when known.
    pub expected: Option<u64>,
    /// Who waits or reads.
    pub readers: usize,
    /// Its start: purges with a later tick cover it.
    pub tick: u64,
    /// Since its start.
    pub seconds: u64,
}

/// Says what is there.
///
/// # Errors
/// When no site would take the request.
pub async fn inspect(edge: &Edge, question: Question<'_>) -> Result<Inspection, NotServed> {
    let asked = Asked::new(edge, question, None)?;
    let twin = Asked::new(edge, question, Some(!asked.https))?;
    let (own, key) = in_scheme(edge, &asked, true).await;
    let (other, _) = in_scheme(edge, &twin, false).await;
    let bypass = asked.bypass();
    let names = rules::applying(&asked.site.caching.rules, path(&asked), None).into_iter();
    Ok(Inspection {
        site: asked.site.name.clone(),
        key: asked.address().to_string(),
        sent: asked.keyed.sent_target().to_owned(),
        bypassed_by: bypass.map(|rule| rule.name.clone()),
        rules: names.map(|rule| rule.name.clone()).collect(),
        not_stored: edge.uncacheable.of(&key, edge.clock.now()).map(|reason| reason.token()),
        schemes: [own, other],
        fills: edge.fills.list(asked.url).into_iter().map(RunningFill::from).collect(),
    })
}

/// What is stored in the scheme of `asked`, and the key of what the request selects; `own`: it is the request's.
async fn in_scheme(edge: &Edge, asked: &Asked, own: bool) -> (InScheme, StoreKey) {
    let mut told = InScheme { scheme: scheme(asked.https), selected_by: Vec::new(), answers: Vec::new() };
    let primary = asked.primary(edge);
    let tiers = edge.store.whereabouts(&primary);
    match edge.store.look(&primary).await {
        Some(Piece::Object(object)) if object.is_for(&asked.address()) => {
            let answer = Some(detail(edge, asked, &object).await);
            told.answers.push(Kept { selected: own, listed_etag: None, tiers, answer });
            (told, primary)
        }
        Some(Piece::Base(base)) => {
            let selecting = variant::selecting_text(&base.vary, &asked.fields);
            let selected = asked.variant(&selecting, edge);
            told.selected_by = base.vary.iter().map(|name| shown(name, &asked.fields)).collect();
            for listed in &base.variants {
                let tiers = edge.store.whereabouts(&listed.key);
                let answer = match edge.store.look(&listed.key).await {
                    Some(Piece::Object(object)) if object.is_for(&asked.address()) => {
                        Some(detail(edge, asked, &object).await)
                    }
                    Some(Piece::Object(_) | Piece::Base(_) | Piece::Chunk(_)) | None => None,
                };
                let listed_etag = listed.tag.as_ref().map(text);
                told.answers.push(Kept { selected: own && listed.key == selected, listed_etag, tiers, answer });
            }
            (told, selected)
        }
        Some(Piece::Object(_) | Piece::Chunk(_)) | None => (told, primary),
    }
}

async fn detail(edge: &Edge, asked: &Asked, object: &Object) -> Detail {
    let site = &asked.site;
    let now = edge.clock.now();
    let purges = edge.verdict(&site.name, asked.url, object, now);
    let standing = object.standing(now, site.caching.grace, purges);
    let field = |name: HeaderName| object.headers.get(name).map(text);
    let rules = rules::applying(&site.caching.rules, path(asked), Some((object.status, &object.headers)));
    Detail {
        stored: Stored::of(object, standing, purges == Verdict::Gone),
        fresh_for: fresh_for(&standing),
        rules: rules.into_iter().map(|rule| rule.name.clone()).collect(),
        content_type: field(CONTENT_TYPE),
        content_encoding: field(CONTENT_ENCODING),
        content_language: field(CONTENT_LANGUAGE),
        hits: object.hits.number(),
        fetched: date(object.exchange.response_time),
        tick: object.tick,
        tags: object.tags.len(),
        groups: object.groups.len(),
        body: parts(object, asked.url, &edge.store).await,
    }
}

/// Chunks that are looked for in a row: a body may have millions, and others wait for this thread.
const CHUNKS_IN_A_ROW: u64 = 4096;

async fn parts(object: &Object, url: UrlId, store: &Store) -> Parts {
    let Body::Spans(spans) = &object.body else { return Parts { inline: true, ..Parts::default() } };
    let chunks = object.length.div_ceil(crate::store::object::CHUNK);
    let mut all = Parts { chunks, ..Parts::default() };
    for span in spans {
        let mut part = Part {
            first: span.first,
            end: span.end,
            version: format!("{:016x}", span.version),
            on_grid: span.base == 0,
            chunks: 0,
            here: 0,
        };
        for at in borders(*span) {
            let tiers = store.whereabouts(&span.chunk(url, object.https, at));
            part.chunks += 1;
            part.here += u64::from(tiers.is_somewhere());
            all.memory += u64::from(tiers.memory);
            all.disk += u64::from(tiers.disk);
            if part.chunks.is_multiple_of(CHUNKS_IN_A_ROW) {
                tokio::task::yield_now().await;
            }
        }
        all.here += part.here;
        all.spans.push(part);
    }
    all
}

/// Where the chunks of a span begin, within it.
fn borders(span: Span) -> impl Iterator<Item = u64> {
    let first = Some(span.first).filter(|first| *first < span.end);
    std::iter::successors(first, move |at| Some(span.chunk_end(*at)).filter(|next| *next < span.end))
}

impl From<Running> for RunningFill {
    fn from(fill: Running) -> Self {
        let Running { https, authorized, extent, stage, readers, tick, runs_for } = fill;
        let (kind, asked) = match extent {
            Extent::Whole => ("whole", None),
            Extent::Part { first, end, .. } => ("part", Some((first, end))),
            Extent::Own(_) => ("last bytes", None),
            Extent::Missing { first, end } => ("missing", Some((first, Some(end)))),
        };
        let (stage, received, expected) = match stage {
            Stage::Asking => ("asking", 0, None),
            Stage::Streaming { received, expected, .. } => ("streaming", received, expected),
            Stage::Ending => ("ending", 0, None),
        };
        let (scheme, seconds) = (scheme(https), runs_for.as_secs());
        Self { scheme, kind, authorized, asked, stage, received, expected, readers, tick, seconds }
    }
}

fn fresh_for(standing: &Standing<'_>) -> i64 {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    if standing.is_fresh() { seconds(standing.left()) } else { -seconds(standing.staleness()) }
}

fn date(time: Timestamp) -> String {
    humantime::format_rfc3339_millis(Timestamp(time.0.max(0)).to_system_time()).to_string()
}

fn path(asked: &Asked) -> &str {
    asked.keyed.target.split('?').next().unwrap_or_default()
}

fn scheme(https: bool) -> &'static str {
    if https { "https" } else { "http" }
}

/// A selecting field as the request has it.
fn shown(name: &HeaderName, fields: &HeaderMap) -> String {
    let lines: Vec<String> = fields.get_all(name).iter().map(text).collect();
    if lines.is_empty() { name.to_string() } else { format!("{name}: {}", lines.join(", ")) }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::directives::ResponseDirectives;
    use crate::store::object::CHUNK;

    #[test]
    fn chunks_of_a_span() {
        let span = |first, end, base| Span { first, end, base, version: 1, large: false };
        let rows = [
            ("one", span(0, 5, 0), vec![0]),
            ("on the grid, not from a border on", span(7, 2 * CHUNK + 1, 0), vec![7, CHUNK, 2 * CHUNK]),
            ("in chunks of its own", span(7, 7 + 2 * CHUNK, 7), vec![7, 7 + CHUNK]),
            ("none", span(7, 7, 0), vec![]),
        ];
        for (name, span, wanted) in rows {
            assert_eq!(borders(span).collect::<Vec<_>>(), wanted, "{name}");
        }
    }

    #[test]
    fn freshness_left() {
        let (seconds, directives) = (Duration::from_secs, ResponseDirectives::default());
        let rows = [
            (60, 10, None, 50),
            (60, 60, None, 0),
            (60, 70, None, -10),
            (60, 10, Some(5), -5),
            (u64::MAX, 0, None, i64::MAX),
            (0, u64::MAX, None, -i64::MAX),
        ];
        for (lifetime, age, purged, wanted) in rows {
            let (lifetime, age, grace) = (seconds(lifetime), seconds(age), Duration::ZERO);
            let standing = Standing { age, lifetime, directives: &directives, grace, purged: purged.map(seconds) };
            assert_eq!(fresh_for(&standing), wanted);
        }
    }

    #[test]
    fn kinds_of_fetches() {
        let fill = |extent, stage| {
            RunningFill::from(Running {
                https: true,
                authorized: false,
                extent,
                stage,
                readers: 3,
                tick: 9,
                runs_for: Duration::from_millis(1900),
            })
        };
        let streaming = Stage::Streaming { first: 5, received: 7, expected: Some(95) };
        let part = fill(Extent::Part { first: 5, end: Some(100), condition: 0 }, streaming);
        let wanted = RunningFill {
            scheme: "https",
            kind: "part",
            authorized: false,
            asked: Some((5, Some(100))),
            stage: "streaming",
            received: 7,
            expected: Some(95),
            readers: 3,
            tick: 9,
            seconds: 1,
        };
        assert_eq!(part, wanted);
        assert_eq!(
            (fill(Extent::Whole, Stage::Asking).kind, fill(Extent::Own(1), Stage::Ending).kind),
            ("whole", "last bytes")
        );
    }
}
