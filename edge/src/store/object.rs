//! What is stored of an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use nearcast_shared::clock::Timestamp;

use super::Store;
use super::prepared::Prepared;
use crate::key::{Address, GroupId, StoreKey, TagId, UrlId};
use crate::policy::control::Source;
use crate::policy::directives::ResponseDirectives;
use crate::policy::freshness::{self, Exchange, Lifetime};
use crate::policy::reuse::Standing;
use crate::policy::validator;
use crate::purge::{Subject, Verdict};

/// Bodies up to this many bytes are stored within the object: one lookup serves most assets.
pub const INLINE_MAX: u64 = 64 << 10;

/// Larger bodies are stored in pieces of this many bytes.
pub const CHUNK: u64 = 256 << 10;

/// Parts of one body that are kept; beyond, the smallest goes.
const SPANS_MAX: usize = 256;

/// Chunks of a body that can be completed which are looked for before an answer begins. Others are looked for as they are
/// read, and fetched when they are gone.
const LOOK_AHEAD: u64 = 64;

/// A stored answer: its header, its times, and its body or where that is.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The site's name; compared at each hit, so that no request is ever served another's bytes.
    pub site: String,
    /// Whether it was fetched for a client over TLS.
    pub https: bool,
    /// The host of its URL.
    pub host: String,
    /// The path and query of its URL.
    pub target: String,
    /// What else of the request is keyed; often empty.
    pub parts: String,
    /// The status; that of the whole, also when only parts of it are here.
    pub status: StatusCode,
    /// The header that clients get, without hop-by-hop fields.
    pub headers: HeaderMap,
    /// Fields as the origin sent them that clients do not get, or get otherwise: a 304 must find them.
    pub hidden: HeaderMap,
    /// When it was fetched or last confirmed.
    pub exchange: Exchange,
    /// Its age when it came.
    pub initial_age: Duration,
    /// Its freshness lifetime, and who says so.
    pub lifetime: Lifetime,
    /// The lifetime that clients are told instead.
    pub browser_ttl: Option<Duration>,
    /// What governs it, after the operator's rules had their say.
    pub directives: ResponseDirectives,
    /// Where that stands.
    pub source: Source,
    /// The groups it belongs to (RFC 9875).
    pub groups: Vec<GroupId>,
    /// The tags that it can be purged by.
    pub tags: Vec<TagId>,
    /// The tick of the fetch's start: purges with a later tick cover it.
    pub tick: u64,
    /// Bytes of the whole body.
    pub length: u64,
    /// The body.
    pub body: Body,
    /// How often it was a hit.
    pub hits: Hits,
    /// The header of its answers.
    pub prepared: Prepared,
}

/// How often an answer was a hit since it came into memory; one that is confirmed, or put together with more parts, counts
/// on. Not stored, and no part of what an answer is: all are equal.
#[derive(Debug, Clone, Default)]
pub struct Hits(Arc<AtomicU32>);

impl Hits {
    /// One more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn number(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for Hits {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Where the body is.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Here.
    Inline(Bytes),
    /// In chunks of the URL. Sorted by their first bytes; one that covers all is the usual case.
    Spans(Vec<Span>),
}

/// Bytes `first..end` of a body, in chunks of [`CHUNK`] bytes.
///
/// ```text
/// body    0         CHUNK      2 CHUNK    3 CHUNK
/// base 0  |----0----|----1----|----2----|--   the grid: fetches that begin and end at its borders fill one another's holes
/// base 9           9|----0----|----1----|--   a part as an origin saw fit to send it, in chunks of its own
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset behind the last byte.
    pub end: u64,
    /// Where its chunks are counted from: 0, or `first`.
    pub base: u64,
    /// Random; part of the keys of its chunks.
    pub version: u64,
    /// Whether its chunks are kept as those of a large body.
    pub large: bool,
}

impl Span {
    /// The number of the chunk that holds the byte at `offset`, and where in it.
    pub fn place(&self, offset: u64) -> (u32, usize) {
        let within = offset - self.base;
        let number = u32::try_from(within / CHUNK).unwrap_or(u32::MAX);
        (number, usize::try_from(within % CHUNK).unwrap_or(usize::MAX))
    }

    /// The key of the chunk that holds the byte at `offset`.
    pub fn chunk(&self, url: UrlId, https: bool, offset: u64) -> StoreKey {
        StoreKey::chunk(url, https, self.version, self.place(offset).0, self.large)
    }

    /// Where the chunk that holds the byte at `offset` ends within the span.
    pub fn chunk_end(&self, offset: u64) -> u64 {
        (offset - (offset - self.base) % CHUNK).saturating_add(CHUNK).min(self.end)
    }

    /// Whether both are in the same chunks, and nothing is between them.
    fn continues(&self, other: &Self) -> bool {
        (self.base, self.version, self.large) == (other.base, other.version, other.large)
            && self.first <= other.end
            && other.first <= self.end
    }

    /// What is left of it without the chunks that `is_here` does not know, of those that hold bytes of `first..end`.
    fn without_lost(self, (first, end): (u64, u64), mut is_here: impl FnMut(u64) -> bool) -> Vec<Self> {
        let mut left = Vec::new();
        let (mut at, mut from) = (self.first.max(first), self.first);
        while at < self.end.min(end) {
            let behind = self.chunk_end(at);
            if !is_here(at) {
                // The chunk goes whole, also what of it lies in front of `first`.
                let begin = (at - (at - self.base) % CHUNK).max(self.first);
                left.push(Self { first: from, end: begin, ..self });
                from = behind;
            }
            at = behind;
        }
        left.push(Self { first: from, ..self });
        left.retain(|span| span.first < span.end);
        left
    }
}

impl Object {
    /// Whether it is the answer to that address.
    pub fn is_for(&self, address: &Address<'_>) -> bool {
        self.https == address.https
            && self.site == address.site
            && self.host == address.host
            && self.target == address.target
            && self.parts == address.parts
    }

    /// Its age now.
    pub fn age(&self, now: Timestamp) -> Duration {
        freshness::current_age(self.initial_age, self.exchange, now)
    }

    /// How it stands now; `grace` is the site's, and `verdict` what purges say of it.
    pub fn standing(&self, now: Timestamp, grace: Duration, verdict: Verdict) -> Standing<'_> {
        let since = |tick| now.since(Timestamp(i64::try_from(tick).unwrap_or(i64::MAX)));
        let purged = match verdict {
            Verdict::Alive => None,
            Verdict::Soft { tick } => Some(since(tick)),
            // Whoever asks all the same gets what is as stale as can be.
            Verdict::Gone => Some(Duration::MAX),
        };
        Standing { age: self.age(now), lifetime: self.lifetime.duration, directives: &self.directives, grace, purged }
    }

    /// It as purges see it; `url` is its URL's.
    pub fn subject(&self, url: UrlId) -> Subject<'_> {
        let Self { site, https, target, groups, tags, tick, .. } = self;
        Subject { site, url, https: *https, target, groups, tags, tick: *tick }
    }

    /// The header as the origin sent it.
    pub fn original_headers(&self) -> HeaderMap {
        let mut all = self.headers.clone();
        for name in self.hidden.keys() {
            all.remove(name);
        }
        all.extend(self.hidden.clone());
        all
    }

    /// Whether the body is within it.
    pub fn is_inline(&self) -> bool {
        matches!(self.body, Body::Inline(_))
    }

    /// Whether all of the body is here.
    pub fn is_complete(&self) -> bool {
        match &self.body {
            Body::Inline(_) => true,
            Body::Spans(spans) => missing(spans, 0, self.length).is_none(),
        }
    }

    /// The first missing bytes of `first..end`; `None` when nothing is missing.
    pub fn missing(&self, first: u64, end: u64) -> Option<(u64, u64)> {
        match &self.body {
            Body::Inline(_) => None,
            Body::Spans(spans) => missing(spans, first, end),
        }
    }

    /// What to fetch for the missing bytes `first..end`: up to the borders of chunks, but nothing that is here.
    pub fn hole(&self, (first, end): (u64, u64)) -> (u64, u64) {
        let Body::Spans(spans) = &self.body else { return (first, end) };
        let before = spans.iter().map(|span| span.end).filter(|at| *at <= first).max().unwrap_or(0);
        let behind = spans.iter().map(|span| span.first).filter(|at| *at >= end).min().unwrap_or(self.length);
        let (down, up) = on_grid(first, end);
        (down.max(before), up.min(behind))
    }

    /// The version of its chunks on the grid, when it has some: of those around or next to `at`, if there are several.
    pub fn grid_version(&self, at: u64) -> Option<u64> {
        let Body::Spans(spans) = &self.body else { return None };
        let mut on_grid = spans.iter().filter(|span| span.base == 0);
        let near = on_grid.clone().find(|span| span.first <= at && at <= span.end);
        near.or_else(|| on_grid.next()).map(|span| span.version)
    }

    /// Whether what is missing can be fetched and put to the rest: "if they all share the same strong validator" (RFC 9111
    /// section 3.4).
    pub fn can_be_completed(&self, now: Timestamp) -> bool {
        // No validator is ever hidden.
        validator::for_if_range(&self.headers, now).is_some()
    }

    /// The same without what the store has lost of the bytes `needed`, as far as indexes tell. Of a body that can be
    /// completed only the first chunks are looked for. `None` when nothing is left.
    pub fn with_what_is_stored(
        self: Arc<Self>,
        needed: (u64, u64),
        url: UrlId,
        store: &Store,
        now: Timestamp,
    ) -> Option<Arc<Self>> {
        let Body::Spans(spans) = &self.body else { return Some(self) };
        let (first, end) = needed;
        let near = first.saturating_add(LOOK_AHEAD * CHUNK);
        let end = if end > near && self.can_be_completed(now) { near } else { end };
        let left: Vec<Span> = spans
            .iter()
            .flat_map(|span| span.without_lost((first, end), |at| store.contains(&span.chunk(url, self.https, at))))
            .collect();
        if left == *spans {
            return Some(self);
        }
        (!left.is_empty()).then(|| Self { body: Body::Spans(left), ..Self::clone(&self) }.into())
    }

    /// Whether parts of it and of an answer with that header are parts of one body: "if they all share the same strong
    /// validator" (RFC 9111 section 3.4).
    pub fn is_of_one_body_with(&self, length: u64, headers: &HeaderMap, now: Timestamp) -> bool {
        self.length == length && validator::same_strong(&self.original_headers(), headers, now)
    }
}

/// `first..end`, widened to the borders of chunks.
pub fn on_grid(first: u64, end: u64) -> (u64, u64) {
    (first - first % CHUNK, end.checked_next_multiple_of(CHUNK).unwrap_or(u64::MAX))
}

/// `spans` and one more: sorted, and none overlaps another. Where others have its bytes, they are its own from now on: it was
/// fetched because those are lost.
pub fn with_span(spans: &[Span], new: Span) -> Vec<Span> {
    let mut all: Vec<Span> = Vec::with_capacity(spans.len() + 2);
    let mut joined = new;
    for span in spans {
        if span.continues(&new) {
            (joined.first, joined.end) = (joined.first.min(span.first), joined.end.max(span.end));
        } else {
            all.push(*span);
        }
    }
    let new = joined;
    let parts = |span: Span| {
        let before = Span { end: span.end.min(new.first), ..span };
        let behind = Span { first: span.first.max(new.end), ..span };
        [before, behind].into_iter().filter(|part| part.first < part.end)
    };
    all = all.into_iter().flat_map(parts).collect();
    all.push(new);
    while all.len() > SPANS_MAX
        && let Some(smallest) =
            all.iter().filter(|span| **span != new).min_by_key(|span| span.end - span.first).copied()
    {
        all.retain(|span| *span != smallest);
    }
    all.sort_by_key(|span| (span.first, span.end));
    all
}

/// See [`Object::missing`]; `spans` are sorted.
fn missing(spans: &[Span], first: u64, end: u64) -> Option<(u64, u64)> {
    let mut at = first;
    for span in spans.iter().filter(|span| span.end > first && span.first < end) {
        if span.first > at {
            return Some((at, span.first));
        }
        at = at.max(span.end);
    }
    (at < end).then_some((at, end))
}

/// What the answers of a URL vary on, and which variants are stored, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The names of the selecting fields.
    pub vary: Vec<HeaderName>,
    /// The variants.
    pub variants: Vec<Variant>,
}

/// One stored answer of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its key.
    pub key: StoreKey,
    /// Its ETag: the origin is asked about all of them at once.
    pub tag: Option<HeaderValue>,
}

impl Base {
    /// With one more variant, and those that have to go for it, oldest first, when there are more than `max`.
    #[must_use]
    pub fn with(&self, new: Variant, max: usize) -> (Self, Vec<StoreKey>) {
        let mut variants: Vec<Variant> = self.variants.iter().filter(|known| known.key != new.key).cloned().collect();
        variants.push(new);
        let kept = variants.split_off(variants.len().saturating_sub(max));
        let dropped = variants.into_iter().map(|variant| variant.key).collect();
        (Self { vary: self.vary.clone(), variants: kept }, dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(first: u64, end: u64) -> Span {
        Span { first, end, base: first, version: first * 1000 + end, large: false }
    }

    fn on_the_grid(first: u64, end: u64) -> Span {
        Span { first, end, base: 0, version: 1, large: false }
    }

    #[test]
    fn holes() {
        let spans = [span(10, 20), span(15, 30), span(40, 50)];
        let rows = [
            ("all of a part", 10, 30, None),
            ("within two that overlap", 12, 28, None),
            ("before the first", 0, 5, Some((0, 5))),
            ("up to the first", 5, 12, Some((5, 10))),
            ("between", 25, 45, Some((30, 40))),
            ("the first of two", 0, 60, Some((0, 10))),
            ("behind the last", 45, 60, Some((50, 60))),
        ];
        for (name, first, end, wanted) in rows {
            assert_eq!(missing(&spans, first, end), wanted, "{name}");
        }
    }

    #[test]
    fn chunks_that_are_lost_are_taken_out() {
        const C: u64 = CHUNK;
        let grid = on_the_grid(C, 3 * C + 9);
        let own = Span { first: 5, end: C + 10, base: 5, ..grid };
        let part = |first, end| Span { first, end, ..grid };
        let rows = [
            ("none", grid, (0, u64::MAX), vec![], vec![grid]),
            ("the first", grid, (0, u64::MAX), vec![C], vec![part(2 * C, 3 * C + 9)]),
            ("one in the middle", grid, (0, u64::MAX), vec![2 * C], vec![part(C, 2 * C), part(3 * C, 3 * C + 9)]),
            ("the last", grid, (0, u64::MAX), vec![3 * C], vec![part(C, 3 * C)]),
            ("all", grid, (0, u64::MAX), vec![C, 2 * C, 3 * C], vec![]),
            ("nobody looks", grid, (0, 2 * C), vec![2 * C, 3 * C], vec![grid]),
            (
                "also in front of what is needed",
                grid,
                (2 * C + 5, 2 * C + 6),
                vec![2 * C],
                vec![part(C, 2 * C), part(3 * C, 3 * C + 9)],
            ),
            ("in chunks of its own", own, (0, u64::MAX), vec![5], vec![Span { first: C + 5, ..own }]),
        ];
        for (name, span, needed, lost, wanted) in rows {
            let number = |at: u64| span.place(at).0;
            let gone: Vec<u32> = lost.iter().map(|at| number(*at)).collect();
            assert_eq!(span.without_lost(needed, |at| !gone.contains(&number(at))), wanted, "{name}");
        }
    }

    #[test]
    fn what_continues_on_the_grid_is_one() {
        let other_version = Span { version: 2, ..on_the_grid(2 * CHUNK, 3 * CHUNK) };
        let first = with_span(&[], on_the_grid(0, CHUNK));
        let apart = with_span(&first, on_the_grid(3 * CHUNK, 4 * CHUNK));
        assert_eq!(apart.len(), 2);
        let joined = with_span(&apart, on_the_grid(CHUNK, 3 * CHUNK));
        assert_eq!(joined, [on_the_grid(0, 4 * CHUNK)]);
        assert_eq!(with_span(&apart, other_version).len(), 3);
        let healed = Span { version: 2, ..on_the_grid(CHUNK, 2 * CHUNK) };
        let rest = [on_the_grid(0, CHUNK), healed, on_the_grid(2 * CHUNK, 4 * CHUNK)];
        assert_eq!(with_span(&joined, healed), rest, "what is lost in one is had from the other");
        let large = Span { large: true, ..on_the_grid(CHUNK, 2 * CHUNK) };
        assert_eq!(with_span(&first, large).len(), 2);
    }

    proptest! {
        #[test]
        fn what_is_missing_comes_first_of_what_no_span_has(
            parts in proptest::collection::vec((0u64..60, 1u64..20, any::<bool>()), 0..8),
            first in 0u64..50,
            length in 1u64..30,
        ) {
            let of = |(at, len, grid): &(u64, u64, bool)| {
                if *grid { on_the_grid(*at, at + len) } else { span(*at, at + len) }
            };
            let spans = parts.iter().fold(Vec::new(), |all, part| with_span(&all, of(part)));
            let has = |byte: &u64| parts.iter().any(|(at, len, _)| (*at..at + len).contains(byte));
            let from = (first..first + length).find(|byte| !has(byte));
            let to = from.map(|from| (from..first + length).find(|byte| has(byte)).unwrap_or(first + length));
            prop_assert_eq!(missing(&spans, first, first + length), from.zip(to));
            prop_assert!(spans.windows(2).all(|two| two[0].end <= two[1].first), "sorted, and none overlaps another");
        }
    }
}
