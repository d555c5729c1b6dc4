//! What is stored of an answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use nearcast_shared::clock::Timestamp;

use crate::key::{Address, StoreKey};
use crate::policy::directives::ResponseDirectives;
use crate::policy::freshness::{self, Exchange};
use crate::policy::reuse::Standing;

/// Bodies up to this many bytes are stored within the object: one lookup serves most assets.
pub const INLINE_MAX: u64 = 64 << 10;

/// Larger bodies are stored in pieces of this many bytes.
pub const CHUNK: u64 = 256 << 10;

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
    /// The status.
    pub status: StatusCode,
    /// The header as the origin sent it, without hop-by-hop fields.
    pub headers: HeaderMap,
    /// When it was fetched or last confirmed.
    pub exchange: Exchange,
    /// Its age when it came.
    pub initial_age: Duration,
    /// Its freshness lifetime.
    pub lifetime: Duration,
    /// The tick of the fetch's start: purges with a later tick cover it.
    pub tick: u64,
    /// Random per fill; part of the keys of its chunks.
    pub version: u64,
    /// Bytes of the body.
    pub length: u64,
    /// The body.
    pub body: Body,
    /// Parsed from `headers`; not stored itself.
    pub directives: ResponseDirectives,
}

/// Where the body is.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Here.
    Inline(Bytes),
    /// In chunks under the object's key.
    Chunks,
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

    /// How it stands now.
    pub fn standing(&self, now: Timestamp) -> Standing {
        Standing { age: self.age(now), lifetime: self.lifetime, directives: self.directives.clone() }
    }

    /// How many chunks its body has.
    pub fn chunks(&self) -> u32 {
        match self.body {
            Body::Inline(_) => 0,
            Body::Chunks => chunk_count(self.length),
        }
    }
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
    /// Keys of the variants.
    pub variants: Vec<StoreKey>,
}

impl Base {
    /// With one more variant, and those that have to go for it, oldest first, when there are more than `max`.
    #[must_use]
    pub fn with(&self, key: StoreKey, max: usize) -> (Self, Vec<StoreKey>) {
        let mut variants: Vec<StoreKey> = self.variants.iter().copied().filter(|known| *known != key).collect();
        variants.push(key);
        let kept = variants.split_off(variants.len().saturating_sub(max));
        (Self { vary: self.vary.clone(), variants: kept }, variants)
    }
}
