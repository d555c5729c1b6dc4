//! What is stored of an answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use nearcast_shared::clock::Timestamp;

use super::Store;
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
const SPANS_MAX: usize = 64;

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
}

/// Where the body is.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Here.
    Inline(Bytes),
    /// In chunks of the URL. Sorted by their first bytes; one that covers all is the usual case.
    Spans(Vec<Span>),
}

/// Bytes `first..end` of a body, in chunks of [`CHUNK`] bytes counted from `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset behind the last byte.
    pub end: u64,
    /// Random per fill; part of the keys of its chunks.
    pub version: u64,
}

impl Span {
    /// The chunk that holds the byte at `offset`, and where in it.
    pub fn place(&self, offset: u64) -> (u32, usize) {
        let within = offset - self.first;
        let number = u32::try_from(within / CHUNK).unwrap_or(u32::MAX);
        (number, usize::try_from(within % CHUNK).unwrap_or(usize::MAX))
    }

    fn is_stored(&self, url: UrlId, https: bool, store: &Store) -> bool {
        (0..chunk_count(self.end - self.first))
            .all(|number| store.contains(&StoreKey::chunk(url, https, self.version, number, false)))
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

    /// Whether all of the body is here.
    pub fn is_complete(&self) -> bool {
        match &self.body {
            Body::Inline(_) => true,
            Body::Spans(spans) => missing(spans, 0, self.length).is_none(),
        }
    }

    /// The smallest range that holds all missing bytes of `first..end`; `None` when nothing is missing.
    pub fn missing(&self, first: u64, end: u64) -> Option<(u64, u64)> {
        match &self.body {
            Body::Inline(_) => None,
            Body::Spans(spans) => missing(spans, first, end),
        }
    }

    /// The same without the parts of which the store has lost something, as far as indexes tell; `None` when nothing is
    /// left.
    pub fn with_what_is_stored(self: std::sync::Arc<Self>, url: UrlId, store: &Store) -> Option<std::sync::Arc<Self>> {
        let Body::Spans(spans) = &self.body else { return Some(self) };
        let is_stored = |span: &Span| span.is_stored(url, self.https, store);
        if spans.iter().all(is_stored) {
            return Some(self);
        }
        let left: Vec<Span> = spans.iter().copied().filter(is_stored).collect();
        (!left.is_empty()).then(|| Self { body: Body::Spans(left), ..Self::clone(&self) }.into())
    }

    /// Whether parts of it and of an answer with that header are parts of one body: "if they all share the same strong
    /// validator" (RFC 9111 section 3.4).
    pub fn is_of_one_body_with(&self, length: u64, headers: &HeaderMap, now: Timestamp) -> bool {
        self.length == length && validator::same_strong(&self.original_headers(), headers, now)
    }
}

/// `spans` and one more: sorted, without those that lie within another.
pub fn with_span(spans: &[Span], new: Span) -> Vec<Span> {
    let within = |a: &Span, b: &Span| b.first <= a.first && a.end <= b.end;
    let mut all: Vec<Span> = spans.iter().copied().filter(|span| !within(span, &new)).collect();
    if !all.iter().any(|span| within(&new, span)) {
        all.push(new);
    }
    if all.len() > SPANS_MAX
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
    let (mut hole, mut at) = (None, first);
    for span in spans.iter().filter(|span| span.end > first && span.first < end) {
        if span.first > at {
            hole = Some((hole.map_or(at, |(from, _)| from), span.first));
        }
        at = at.max(span.end);
    }
    if at < end {
        hole = Some((hole.map_or(at, |(from, _)| from), end));
    }
    hole
}

/// How many chunks a body of `length` bytes has.
pub fn chunk_count(length: u64) -> u32 {
    u32::try_from(length.div_ceil(CHUNK)).unwrap_or(u32::MAX)
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
        Span { first, end, version: first * 1000 + end }
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
            ("on both sides", 0, 60, Some((0, 60))),
            ("behind the last", 45, 60, Some((50, 60))),
        ];
        for (name, first, end, wanted) in rows {
            assert_eq!(missing(&spans, first, end), wanted, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_missing_is_the_hull_of_what_no_span_has(
            parts in proptest::collection::vec((0u64..60, 1u64..20), 0..8), first in 0u64..50, length in 1u64..30,
        ) {
            let spans = parts.iter().fold(Vec::new(), |all, (at, len)| with_span(&all, span(*at, at + len)));
            let has = |byte: u64| parts.iter().any(|(at, len)| (*at..at + len).contains(&byte));
            let holes: Vec<u64> = (first..first + length).filter(|byte| !has(*byte)).collect();
            let wanted = holes.first().zip(holes.last()).map(|(a, b)| (*a, b + 1));
            prop_assert_eq!(missing(&spans, first, first + length), wanted);
            prop_assert!(spans.is_sorted_by_key(|span| span.first));
        }
    }
}
