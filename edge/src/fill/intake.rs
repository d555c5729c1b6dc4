//! What a fill takes in: to its readers as it comes, and to the store.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::Head;
use super::task::Task;
use super::window::KEEP;
use crate::fill::Pace;
use crate::policy::storable::NotStored;
use crate::store::Piece;
use crate::store::object::{Body, CHUNK, INLINE_MAX, Object, Span, with_span};

/// A fetch that nobody reads is carried on when no more than this is missing.
const FINISH_ANYWAY: u64 = 1 << 20;

/// Nor when half is done and no more than this is missing.
const FINISH_HALF: u64 = 64 << 20;

/// Readers that keep up wait so long in all for those that do not.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked whether any wait.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What has come so far.
pub(super) struct Intake<'a> {
    task: &'a Task<'a>,
    head: &'a Head,
    chunk: BytesMut,
    /// Offset behind the last byte that comes, when known.
    end: Option<u64>,
    received: u64,
    stored: u64,
    storing: bool,
    pace: Option<Pace>,
    /// How long readers that keep up will still wait for others.
    patience: Duration,
    /// Whether what is missing of the body can be had again.
    completable: bool,
    /// Whether it has been taken from those that can be joined.
    parted: bool,
}

impl<'a> Intake<'a> {
    pub(super) fn new(task: &'a Task<'a>, head: &'a Head) -> Self {
        let completable = head.object.can_be_completed(task.worker.edge.clock.now());
        let pace = match head.is_large() {
            false => None,
            // What memory loses of it can be had again, if need be.
            true if completable => Some(Pace::Fastest(KEEP / 2)),
            true => Some(Pace::Slowest),
        };
        let end = head.coming.end;
        Self {
            task,
            head,
            chunk: BytesMut::new(),
            end,
            received: 0,
            stored: 0,
            storing: true,
            pace,
            patience: PATIENCE,
            completable,
            parted: false,
        }
    }

    /// Offset of the byte that comes next.
    pub(super) fn position(&self) -> u64 {
        self.head.coming.first + self.received
    }

    /// Offset behind the last byte, when known.
    pub(super) fn end(&self) -> Option<u64> {
        self.end
    }

    /// The body turned out to end there.
    pub(super) fn expect_end(&mut self, end: u64) {
        self.end = Some(end);
    }

    /// Bytes that have come.
    pub(super) fn reached(&self) -> u64 {
        self.received
    }

    /// Takes in what came; false when nobody took anything of what came before for too long.
    pub(super) async fn take(&mut self, bytes: Bytes) -> bool {
        self.received += bytes.len() as u64;
        if self.storing && self.head.length.is_none() && self.received > self.task.view.unannounced_max {
            self.storing = false;
            self.chunk = BytesMut::new();
            self.pace = Some(Pace::Slowest);
            self.task.leave();
            let now = self.task.worker.edge.clock.now();
            self.task.remember_uncacheable(NotStored::TooLarge, self.head.object.status, now);
        }
        if self.storing {
            self.gather(&bytes);
        }
        self.task.fill.push(bytes);
        if self.pace != Some(Pace::Slowest) {
            self.task.fill.trim(self.head.coming.first + self.stored);
        }
        if self.expected() == Some(self.received) {
            return true;
        }
        self.part_with_the_late();
        match self.pace {
            None => true,
            Some(pace @ Pace::Fastest(_)) => self.wait_for_fastest(pace).await,
            Some(Pace::Slowest) => {
                self.wait_for_slowest().await;
                true
            }
        }
    }

    /// Nobody joins any more who would miss the beginning of what cannot be had again.
    fn part_with_the_late(&mut self) {
        let first = self.head.coming.first;
        if self.parted || self.completable || !self.head.is_large() || !self.task.fill.has_gone_past(first) {
            return;
        }
        let beginning = self.head.place.at(first).chunk(self.head.url, self.head.object.https, first);
        if !self.task.worker.edge.store.contains(&beginning) {
            self.parted = true;
            self.task.leave();
        }
    }

    /// A connection need not be stuck while one of its streams is, so that nobody else looks after this.
    async fn wait_for_fastest(&self, pace: Pace) -> bool {
        loop {
            let moves = self.task.fill.moves();
            match tokio::time::timeout(self.task.view.send_timeout, self.room(pace)).await {
                Ok(()) => return true,
                Err(_) if moves == self.task.fill.moves() => return false,
                Err(_) => {}
            }
        }
    }

    async fn room(&self, pace: Pace) {
        std::future::poll_fn(|cx| self.task.fill.poll_room(pace, cx.waker())).await;
    }

    /// Waits until the slowest reader is near enough, but lets it not hold up others for long: they have their patience once,
    /// not with each piece, or a slow but steady one would set the pace for all.
    async fn wait_for_slowest(&mut self) {
        let fill = self.task.fill;
        let is_near = std::future::poll_fn(|cx| Poll::Ready(fill.poll_room(Pace::Slowest, cx.waker()).is_ready()));
        if is_near.await {
            return;
        }
        let limit = self.task.view.send_timeout;
        let mut waited = Duration::ZERO;
        while waited < limit {
            let others_wait = self.task.fill.is_waited_for();
            if others_wait && self.patience.is_zero() {
                break;
            }
            let began = Instant::now();
            let near = tokio::time::timeout(LOOK_EVERY.min(limit), self.room(Pace::Slowest)).await.is_ok();
            waited += began.elapsed();
            if others_wait {
                self.patience = self.patience.saturating_sub(began.elapsed());
            }
            if near {
                return;
            }
        }
        if self.storing {
            // It may find in the store what it misses, as long as that is there.
            self.pace = Some(Pace::Fastest(KEEP / 2));
        } else {
            self.task.fill.cut_off_slowest();
        }
    }

    fn gather(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.chunk.capacity() == 0 {
                // No more than it will take: what is stored keeps all of its buffer.
                let to_come = self.expected().map_or(0, |expected| expected.saturating_sub(self.stored));
                self.chunk.reserve(usize::try_from(to_come.min(CHUNK)).unwrap_or(0));
            }
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
        let bytes = exact(std::mem::take(&mut self.chunk));
        let head = self.head;
        let at = head.coming.first + self.stored;
        self.stored += bytes.len() as u64;
        let key = head.place.at(at).chunk(head.url, head.object.https, at);
        self.task.worker.edge.store.put(key, Piece::Chunk(bytes));
    }

    /// Bytes to come, when known.
    fn expected(&self) -> Option<u64> {
        self.end.map(|end| end.saturating_sub(self.head.coming.first))
    }

    /// Less came than was announced.
    pub(super) fn is_short(&self) -> bool {
        self.expected().is_some_and(|expected| self.received < expected)
    }

    /// More came than was announced: it will never be right.
    pub(super) fn is_too_much(&self) -> bool {
        self.expected().is_some_and(|expected| self.received > expected)
    }

    pub(super) fn is_nearly_done(&self) -> bool {
        let Some(expected) = self.expected() else { return self.received < FINISH_ANYWAY && self.is_soon() };
        let missing = expected.saturating_sub(self.received);
        missing <= FINISH_ANYWAY || (missing <= self.received && missing <= FINISH_HALF)
    }

    /// Whether a refresh goes on though nobody reads it: of what is stored, and does not take long.
    pub(super) fn may_run_alone(&self) -> bool {
        match self.expected() {
            Some(_) => self.received <= FINISH_HALF,
            None => self.storing && self.is_soon(),
        }
    }

    /// One without an end may be of any length, and take any time for it.
    fn is_soon(&self) -> bool {
        self.task.fill.began.elapsed() < self.task.worker.origins.read_timeout
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
        if whole && self.received <= INLINE_MAX {
            let body = Body::Inline(exact(std::mem::take(&mut self.chunk)));
            self.put(self.received, body).await;
            return Ok(());
        }
        if !self.chunk.is_empty() {
            self.put_chunk();
        }
        let length = if whole { self.received } else { self.head.object.length };
        self.put_spans(length, whole).await;
        Ok(())
    }

    /// Nobody reads it any more: what came is kept as a part, if it is of use without the rest. A refresh of which nothing is
    /// takes what is stored away, or the next hit would begin it again.
    pub(super) async fn keep_what_came(self) {
        let useful = self.storing && self.stored > 0 && self.completable;
        match self.head.length.filter(|_| useful && self.task.may_store(&self.head.key, &self.head.object)) {
            Some(length) => self.put_spans(length, false).await,
            None if self.task.plan.detached => self.task.worker.edge.store.remove(&self.task.plan.key.store),
            None => {}
        }
    }

    /// Stores the object with the parts that it has now; `whole`: of a body that is all here.
    async fn put_spans(&self, length: u64, whole: bool) {
        let edge = &self.task.worker.edge;
        let first = self.head.coming.first;
        let new = || self.head.place.spans(first, first + self.stored);
        if whole {
            let spans = new().fold(Vec::new(), |spans, span| with_span(&spans, span));
            return self.put(length, Body::Spans(spans)).await;
        }
        let found = edge.store.get(&self.head.key).await;
        let object = {
            // Of several fetches of parts, each finds what those before it brought.
            let _in_turn = edge.fills.turn(&self.head.key);
            let found = edge.store.peek(&self.head.key).or(found);
            let Some(known) = self.known_spans(found) else { return };
            let body = Body::Spans(new().fold(known, |spans, span| with_span(&spans, span)));
            let object = Arc::new(Object { length, body, ..Object::clone(&self.head.object) });
            edge.store.put(self.head.key, Piece::Object(object.clone()));
            object
        };
        self.task.add_variant(&self.head.vary, self.head.key, &object).await;
    }

    async fn put(&self, length: u64, body: Body) {
        let object = Arc::new(Object { length, body, ..Object::clone(&self.head.object) });
        self.task.put_whole(self.head, &object).await;
    }

    /// The parts of the same body in what is stored now.
    ///
    /// `None`: all of a body that is no older is stored by now, and a part would only take its place.
    fn known_spans(&self, found: Option<Piece>) -> Option<Vec<Span>> {
        let edge = &self.task.worker.edge;
        let plan = self.task.plan;
        let Some(Piece::Object(stored)) = found else { return Some(Vec::new()) };
        let object = &self.head.object;
        let alive = !edge.is_purged(&plan.site.name, plan.url, &stored);
        let same = stored.is_for(&plan.address())
            && stored.is_of_one_body_with(object.length, &object.original_headers(), object.exchange.response_time);
        let newer = stored.tick >= object.tick;
        if alive && newer && stored.is_complete() {
            return None;
        }
        Some(match &stored.body {
            Body::Spans(spans) if alive && same => spans.clone(),
            Body::Spans(_) | Body::Inline(_) => Vec::new(),
        })
    }
}

/// `bytes` without the room behind them, if that is of any size.
fn exact(bytes: BytesMut) -> Bytes {
    let room = bytes.capacity() - bytes.len();
    if room > bytes.len() / 16 { Bytes::copy_from_slice(&bytes) } else { bytes.freeze() }
}
