//! Reading a body from the store, piece by piece.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::body::BodyError;
use crate::key::{StoreKey, UrlId};
use crate::store::Store;
use crate::store::object::{Body, Object, Span};

type Loading = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// What is read next.
#[derive(Debug, Clone)]
enum Step {
    /// These bytes.
    Bytes(Bytes),
    /// Bytes `first..end` of the body, which lie within the span.
    Span { span: Span, first: u64, end: u64 },
}

impl Step {
    fn left(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Span { first, end, .. } => end - first,
        }
    }
}

/// Bytes of a stored body, and what is sent around them.
pub struct StoredReader {
    store: Store,
    url: UrlId,
    https: bool,
    steps: VecDeque<Step>,
    /// A piece on its way from disk.
    loading: Option<Loading>,
}

impl fmt::Debug for StoredReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredReader").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl StoredReader {
    /// Reads nothing yet.
    pub fn new(store: Store, url: UrlId, https: bool) -> Self {
        Self { store, url, https, steps: VecDeque::new(), loading: None }
    }

    /// Then these bytes.
    pub fn bytes(&mut self, bytes: impl Into<Bytes>) {
        self.steps.push_back(Step::Bytes(bytes.into()));
    }

    /// Then `first..end` of the body of `object`, of which nothing is missing.
    pub fn range(&mut self, object: &Object, first: u64, end: u64) {
        let spans = match &object.body {
            // Offsets within an inline body are within its length, which is a usize.
            Body::Inline(bytes) => return self.bytes(bytes.slice(first as usize..end as usize)),
            Body::Spans(spans) => spans,
        };
        let mut at = first;
        while at < end {
            let holds = |span: &&Span| span.first <= at && at < span.end;
            // The one that reaches farthest makes the fewest steps.
            let Some(span) = spans.iter().filter(holds).max_by_key(|span| span.end) else {
                debug_assert!(false, "a missing part is read");
                return;
            };
            let to = span.end.min(end);
            self.steps.push_back(Step::Span { span: *span, first: at, end: to });
            at = to;
        }
    }

    /// Bytes still to come.
    pub fn left(&self) -> u64 {
        self.steps.iter().map(Step::left).sum()
    }

    /// The next bytes; `None` at the end.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let (span, at, end) = match self.steps.front_mut() {
            None => return Poll::Ready(None),
            Some(Step::Bytes(bytes)) => {
                let bytes = std::mem::take(bytes);
                self.steps.pop_front();
                return Poll::Ready(Some(Ok(bytes)));
            }
            Some(Step::Span { span, first, end }) => (*span, first, *end),
        };
        let (number, skip) = span.place(*at);
        let chunk = match &mut self.loading {
            Some(loading) => ready!(loading.as_mut().poll(cx)),
            None => {
                let key = StoreKey::chunk(self.url, self.https, span.version, number, false);
                let store = self.store.clone();
                let mut loading: Loading = Box::pin(async move { store.chunk(&key).await });
                match loading.as_mut().poll(cx) {
                    Poll::Ready(chunk) => chunk,
                    Poll::Pending => {
                        self.loading = Some(loading);
                        return Poll::Pending;
                    }
                }
            }
        };
        self.loading = None;
        let Some(mut bytes) = chunk.filter(|chunk| chunk.len() > skip).map(|chunk| chunk.slice(skip..)) else {
            // The index does not know it any more: the next request fetches it again.
            self.steps.clear();
            return Poll::Ready(Some(Err(BodyError::Lost)));
        };
        bytes.truncate(usize::try_from(end - *at).unwrap_or(usize::MAX));
        *at += bytes.len() as u64;
        if *at == end {
            self.steps.pop_front();
        }
        Poll::Ready(Some(Ok(bytes)))
    }
}
