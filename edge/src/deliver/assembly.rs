//! A body put together: from chunks of the store, from a fetch that runs, and from fetches of what turns out to be missing.
//!
//! ```text
//! Bytes ---------------------------------------------------> client
//! Span --- chunk in memory or on disk ---------------------> client
//!   `--- the store has lost it --> Hole
//! Hole --- fetch by range, If-Range --> Fill
//! Fill --- what comes -------------------------------------> client
//!   `--- too far behind, and the store has lost it --> Hole
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::body::BodyError;
use crate::fill::holes::Holes;
use crate::fill::reader::FillReader;
use crate::key::{StoreKey, UrlId};
use crate::store::object::{Body, Object, Span};
use crate::worker::Edge;

/// What is read next.
#[derive(Debug)]
enum Step {
    /// These bytes.
    Bytes(Bytes),
    /// Bytes `first..end` of the body, which lie within the span.
    Span { span: Span, first: u64, end: u64 },
    /// Bytes `first..end` of the body, which are not here.
    Hole { first: u64, end: u64 },
    /// A fetch that runs.
    Fill(FillReader),
}

impl Step {
    fn left(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Span { first, end, .. } | Self::Hole { first, end } => Some(end - first),
            Self::Fill(reader) => reader.left(),
        }
    }
}

/// Lost chunks that are looked for at once behind one that is.
const WIDEN_MAX: usize = 64;

type Loading = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;
type Filling = Pin<Box<dyn Future<Output = Option<(FillReader, u64)>> + Send>>;

/// A body, as one client reads it.
pub struct Assembly {
    edge: Arc<Edge>,
    url: UrlId,
    https: bool,
    pinned_max: u64,
    steps: VecDeque<Step>,
    /// Pieces on their way from disk: the one that is read, and the next.
    loading: VecDeque<(StoreKey, Loading)>,
    filling: Option<Filling>,
    /// What is missing of this object can be fetched so.
    holes: Option<(Arc<Holes>, Arc<Object>)>,
}

impl fmt::Debug for Assembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl Assembly {
    /// Of a body of that URL; reads nothing yet.
    pub fn new(edge: Arc<Edge>, url: UrlId, https: bool) -> Self {
        let pinned_max = edge.view.load().pinned_max;
        let (steps, loading) = (VecDeque::new(), VecDeque::new());
        Self { edge, url, https, pinned_max, steps, loading, filling: None, holes: None }
    }

    /// What is missing of `object` is fetched.
    #[must_use]
    pub fn completed_by(mut self, holes: Option<Arc<Holes>>, object: &Arc<Object>) -> Self {
        self.holes = holes.map(|holes| (holes, object.clone()));
        self
    }

    /// Then these bytes.
    pub fn bytes(&mut self, bytes: impl Into<Bytes>) {
        self.steps.push_back(Step::Bytes(bytes.into()));
    }

    /// Then what a fetch brings, as far as its reader goes.
    pub fn fill(&mut self, reader: FillReader) {
        self.steps.push_back(Step::Fill(reader));
    }

    /// Then `first..end` of the body of `object`.
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
            let (step, to) = match spans.iter().filter(holds).max_by_key(|span| span.end) {
                Some(span) => {
                    let to = span.end.min(end);
                    (Step::Span { span: *span, first: at, end: to }, to)
                }
                None => {
                    let next = spans.iter().map(|span| span.first).filter(|next| *next > at).min();
                    let to = next.unwrap_or(end).min(end);
                    (Step::Hole { first: at, end: to }, to)
                }
            };
            self.steps.push_back(step);
            at = to;
        }
    }

    /// Bytes still to come, when known.
    pub fn left(&self) -> Option<u64> {
        self.steps.iter().map(Step::left).sum()
    }

    /// The next bytes; `None` at the end.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let next = match self.steps.front_mut() {
                None => return Poll::Ready(None),
                Some(Step::Bytes(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    self.steps.pop_front();
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Step::Span { span, first, end }) => {
                    let (span, first, end) = (*span, *first, *end);
                    ready!(self.poll_span(span, first, end, cx))
                }
                Some(Step::Hole { first, end }) => {
                    let hole = (*first, *end);
                    ready!(self.poll_hole(hole, cx))
                }
                Some(Step::Fill(_)) => ready!(self.poll_fill(cx)),
            };
            if let Some(next) = next {
                if next.is_err() {
                    self.steps.clear();
                }
                return Poll::Ready(Some(next));
            }
        }
    }

    /// `Ready(None)`: the steps have changed.
    fn poll_span(&mut self, span: Span, first: u64, end: u64, cx: &mut Context<'_>) -> Polled {
        let key = span.chunk(self.url, self.https, first);
        let (_, skip) = span.place(first);
        let chunk = match self.edge.store.peek_chunk(&key) {
            Some(chunk) => {
                self.loading.retain(|(loading, _)| *loading != key);
                Some(chunk)
            }
            None => {
                if self.loading.front().is_none_or(|(loading, _)| *loading != key) {
                    // It is read in order: what was to come next is not this.
                    self.loading.clear();
                    self.load(key);
                }
                self.read_ahead(span, first, end, cx);
                let Some((_, loading)) = self.loading.front_mut() else { return Poll::Ready(None) };
                let chunk = ready!(loading.as_mut().poll(cx));
                self.loading.pop_front();
                chunk
            }
        };
        let chunk_end = span.chunk_end(first).min(end);
        let Some(mut bytes) = chunk.filter(|chunk| chunk.len() > skip).map(|chunk| chunk.slice(skip..)) else {
            // The index does not know it any more.
            self.steps.pop_front();
            if chunk_end < end {
                self.steps.push_front(Step::Span { span, first: chunk_end, end });
            }
            self.steps.push_front(Step::Hole { first, end: chunk_end });
            return Poll::Ready(None);
        };
        bytes.truncate(usize::try_from(chunk_end - first).unwrap_or(usize::MAX));
        let bytes = self.edge.pinned.pin(bytes, self.pinned_max);
        let at = first + bytes.len() as u64;
        match self.steps.front_mut() {
            Some(Step::Span { first, .. }) if at < end => *first = at,
            _ => drop(self.steps.pop_front()),
        }
        Poll::Ready(Some(Ok(bytes)))
    }

    fn load(&mut self, key: StoreKey) {
        let edge = self.edge.clone();
        self.loading.push_back((key, Box::pin(async move { edge.store.chunk(&key).await })));
    }

    /// Has the chunk behind the one that is read looked for, too.
    fn read_ahead(&mut self, span: Span, first: u64, end: u64, cx: &mut Context<'_>) {
        let next = span.chunk_end(first);
        if self.loading.len() > 1 || next >= end {
            return;
        }
        let key = span.chunk(self.url, self.https, next);
        if self.edge.store.peek_chunk(&key).is_some() {
            return;
        }
        self.load(key);
        if let Some((_, loading)) = self.loading.back_mut()
            && let Poll::Ready(chunk) = loading.as_mut().poll(cx)
        {
            // It was there at once.
            *loading = Box::pin(std::future::ready(chunk));
        }
    }

    fn poll_hole(&mut self, hole: (u64, u64), cx: &mut Context<'_>) -> Polled {
        if self.filling.is_none() {
            // What lies behind it may be lost, too: then one fetch brings both.
            let hole = self.widened(hole);
            let Some((holes, object)) = &self.holes else { return Poll::Ready(Some(Err(BodyError::Lost))) };
            self.filling = Some(Box::pin(holes.clone().fill(object.clone(), hole)));
        }
        let Some(filling) = &mut self.filling else { return Poll::Ready(None) };
        let filled = ready!(filling.as_mut().poll(cx));
        self.filling = None;
        let Some((reader, to)) = filled else { return Poll::Ready(Some(Err(BodyError::Lost))) };
        if let Some(Step::Hole { end, .. }) = self.steps.pop_front()
            && to < end
        {
            self.steps.push_front(Step::Hole { first: to, end });
        }
        self.steps.push_front(Step::Fill(reader));
        Poll::Ready(None)
    }

    /// Makes one hole of a hole and the lost chunks behind it.
    fn widened(&mut self, (first, mut end): (u64, u64)) -> (u64, u64) {
        for _ in 0..WIDEN_MAX {
            let Some(Step::Span { span, first: at, end: to }) = self.steps.get(1) else { break };
            let (span, at, to) = (*span, *at, *to);
            if self.edge.store.contains(&span.chunk(self.url, self.https, at)) {
                break;
            }
            end = span.chunk_end(at).min(to);
            match self.steps.get_mut(1) {
                Some(Step::Span { first, .. }) if end < to => *first = end,
                _ => drop(self.steps.remove(1)),
            }
        }
        if let Some(Step::Hole { end: own, .. }) = self.steps.front_mut() {
            *own = end;
        }
        (first, end)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Polled {
        let Some(Step::Fill(reader)) = self.steps.front_mut() else { return Poll::Ready(None) };
        let pin = |bytes| self.edge.pinned.pin(bytes, self.pinned_max);
        match ready!(reader.poll(cx, pin)) {
            Some(Ok(bytes)) => Poll::Ready(Some(Ok(bytes))),
            None => {
                self.steps.pop_front();
                Poll::Ready(None)
            }
            Some(Err(BodyError::Lost)) if self.holes.is_some() && reader.left().is_some() => {
                let first = reader.position();
                let end = reader.pass_over_lost();
                self.steps.push_front(Step::Hole { first, end });
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
        }
    }
}

/// `None`: look again.
type Polled = Poll<Option<Result<Bytes, BodyError>>>;
