//! What a fill takes in: to its readers as it comes, and to the store.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Head;
use super::task::Task;
use crate::key::StoreKey;
use crate::policy::storable::NotStored;
use crate::store::Piece;
use crate::store::object::{Body, CHUNK, INLINE_MAX, Object, Span, with_span};

/// A fetch that nobody reads is carried on when no more than this is missing.
const FINISH_ANYWAY: u64 = 1 << 20;

/// What has come so far.
pub(super) struct Intake<'a> {
    task: &'a Task<'a>,
    head: &'a Head,
    chunk: BytesMut,
    received: u64,
    stored: u64,
    storing: bool,
}

impl<'a> Intake<'a> {
    pub(super) fn new(task: &'a Task<'a>, head: &'a Head) -> Self {
        Self { task, head, chunk: BytesMut::new(), received: 0, stored: 0, storing: true }
    }

    pub(super) async fn take(&mut self, bytes: Bytes) {
        self.received += bytes.len() as u64;
        if self.storing && self.received > self.task.view.object_max {
            self.storing = false;
            self.chunk = BytesMut::new();
            self.task.leave();
            let now = self.task.worker.edge.clock.now();
            self.task.remember_uncacheable(NotStored::TooLarge, self.head.object.status, now);
        }
        if self.storing {
            self.gather(&bytes);
        }
        self.task.fill.push(bytes);
        if self.storing {
            self.task.fill.trim(self.head.coming.first + self.stored);
        } else {
            // What is not stored must wait for its readers, but not for one that holds up all others.
            let room = std::future::poll_fn(|cx| self.task.fill.poll_room(cx.waker()));
            if tokio::time::timeout(self.task.view.send_timeout, room).await.is_err() {
                self.task.fill.cut_off_slowest();
            }
        }
    }

    fn gather(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(CHUNK).unwrap_or(usize::MAX) - self.chunk.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() as u64 == CHUNK {
                self.put_chunk();
            }
        }
    }

    fn put_chunk(&mut self) {
        let number = u32::try_from(self.stored / CHUNK).unwrap_or(u32::MAX);
        let bytes = std::mem::take(&mut self.chunk).freeze();
        self.stored += bytes.len() as u64;
        let head = self.head;
        let key = StoreKey::chunk(head.url, head.object.https, head.version, number, false);
        self.task.worker.edge.store.put(key, Piece::Chunk(bytes));
    }

    /// Bytes to come, when known.
    fn expected(&self) -> Option<u64> {
        self.head.coming.end.map(|end| end - self.head.coming.first)
    }

    /// More came than was announced: it will never be right.
    pub(super) fn is_too_much(&self) -> bool {
        self.expected().is_some_and(|expected| self.received > expected)
    }

    pub(super) fn is_nearly_done(&self) -> bool {
        let Some(expected) = self.expected() else { return self.received < FINISH_ANYWAY };
        self.received >= expected / 2 || expected - self.received <= FINISH_ANYWAY
    }

    /// The body came to its sure end: stores the object, last.
    pub(super) async fn complete(mut self) -> Result<(), &'static str> {
        if self.expected().is_some_and(|expected| expected != self.received) {
            return Err("another length than announced");
        }
        if !self.storing || !self.task.may_store(&self.head.key, &self.head.object) {
            return Ok(());
        }
        let whole = self.head.is_whole();
        let body = if whole && self.received <= INLINE_MAX {
            Body::Inline(std::mem::take(&mut self.chunk).freeze())
        } else {
            if !self.chunk.is_empty() {
                self.put_chunk();
            }
            let span = self.head.span(self.head.coming.first + self.received);
            let known = if whole { Some(Vec::new()) } else { self.known_spans().await };
            let Some(known) = known else { return Ok(()) };
            if self.received == 0 { Body::Spans(known) } else { Body::Spans(with_span(&known, span)) }
        };
        let length = if whole { self.received } else { self.head.object.length };
        let object = Arc::new(Object { length, body, ..self.head.object.clone() });
        self.task.worker.edge.store.put(self.head.key, Piece::Object(object.clone()));
        self.task.add_variant(&self.head.vary, self.head.key, &object).await;
        Ok(())
    }

    /// The parts that are stored of the same body. Looked up now, since other parts may have come meanwhile; what two fills
    /// store at the same instant is one of both, and the other is fetched again.
    ///
    /// `None`: all of a body that is no older is stored by now, and a part would only take its place.
    async fn known_spans(&self) -> Option<Vec<Span>> {
        let edge = &self.task.worker.edge;
        let plan = self.task.plan;
        let Some(Piece::Object(stored)) = edge.store.get(&self.head.key).await else { return Some(Vec::new()) };
        let object = &self.head.object;
        let alive = !edge.is_purged(&plan.site.name, plan.url, &stored);
        let same = stored.is_for(&plan.address())
            && stored.is_of_one_body_with(object.length, &object.original_headers(), object.exchange.response_time);
        let newer = stored.exchange.request_time >= object.exchange.request_time;
        if alive && newer && stored.is_complete() {
            return None;
        }
        Some(match &stored.body {
            Body::Spans(spans) if alive && same => spans.clone(),
            Body::Spans(_) | Body::Inline(_) => Vec::new(),
        })
    }
}
