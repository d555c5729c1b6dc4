//! Following a fill: waiting for its answer, then reading its body at one's own pace.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{Answer, Ending, Fill, Following, Head};
use crate::body::BodyError;
use crate::store::Store;

/// A place at a fill; giving it up tells the fill.
#[derive(Debug)]
pub struct Reader {
    fill: Arc<Fill>,
    slot: usize,
}

impl Reader {
    pub(super) fn new(fill: Arc<Fill>) -> Self {
        let mut state = fill.state.lock();
        let slot = state.readers.iter().position(Option::is_none).unwrap_or_else(|| {
            state.readers.push(None);
            state.readers.len() - 1
        });
        let position = state.window.start();
        state.readers[slot] = Some(Following { position, ..Following::default() });
        drop(state);
        Self { fill, slot }
    }

    /// Waits for what came of asking the origin.
    pub async fn answer(&self) -> Answer {
        std::future::poll_fn(|cx| {
            let mut state = self.fill.state.lock();
            if let Some(answer) = &state.answer {
                return Poll::Ready(answer.clone());
            }
            if let Some(own) = &mut state.readers[self.slot] {
                own.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// The same, if it is there.
    pub(super) fn answered(&self) -> Option<Answer> {
        self.fill.state.lock().answer.clone()
    }

    /// Reads bytes `first..end` of the body; `end` is `None` when its length is not known.
    pub fn body(self, head: Arc<Head>, store: Store, first: u64, end: Option<u64>) -> FillReader {
        self.moved_to(first);
        FillReader { place: self, head, store, position: first, end, stored: None }
    }
}

impl Reader {
    /// It wants the byte at `position` next: the fill may wait for that.
    fn moved_to(&self, position: u64) {
        let mut state = self.fill.state.lock();
        if let Some(own) = &mut state.readers[self.slot] {
            own.position = position;
        }
        state.moves += 1;
        if let Some(producer) = state.producer.take() {
            producer.wake();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.fill.state.lock();
        state.readers[self.slot] = None;
        if let Some(producer) = state.producer.take() {
            producer.wake();
        }
    }
}

/// Lost chunks that are passed over at once.
const LOST_MAX: usize = 64;

type StoredChunk = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// The body of a fill, as one reader takes it.
pub struct FillReader {
    place: Reader,
    head: Arc<Head>,
    store: Store,
    position: u64,
    end: Option<u64>,
    /// A piece on its way from the store: the window has gone past it.
    stored: Option<StoredChunk>,
}

impl fmt::Debug for FillReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FillReader").field("position", &self.position).field("end", &self.end).finish()
    }
}

impl FillReader {
    /// Offset of the byte that is read next.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes still to come, when known.
    pub fn left(&self) -> Option<u64> {
        self.end.map(|end| end.saturating_sub(self.position))
    }

    /// After [`BodyError::Lost`]: goes on behind what has to be had elsewhere, and says where that ends.
    pub fn pass_over_lost(&mut self) -> u64 {
        let end = self.end.unwrap_or(self.position);
        let (start, last) = {
            let state = self.place.fill.state.lock();
            (state.window.start(), state.end.map(|_| state.window.end()))
        };
        let mut to = self.position;
        if last.is_some_and(|last| last <= to) {
            // Nothing more comes of it.
            to = end;
        }
        let is_here = |at: u64| {
            let span = self.head.place.at(at);
            start <= at || self.store.contains(&span.chunk(self.head.url, self.head.object.https, at))
        };
        for _ in 0..LOST_MAX {
            if to >= end {
                break;
            }
            to = self.head.place.at(to).chunk_end(to).min(end);
            if is_here(to) {
                break;
            }
        }
        self.position = to;
        self.place.moved_to(to);
        to
    }

    /// The next bytes, as many of them as `pin` lets through; `None` at a clean end.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        pin: impl FnOnce(Bytes) -> Bytes,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.left() == Some(0) {
            return Poll::Ready(None);
        }
        if self.stored.is_none() {
            match ready!(self.poll_window(cx)) {
                Next::Bytes(bytes) => return Poll::Ready(Some(Ok(self.take(bytes, pin)))),
                Next::End => return Poll::Ready(None),
                Next::Broken => return Poll::Ready(Some(Err(BodyError::FillFailed))),
                Next::Behind => self.stored = Some(self.load_chunk()),
            }
        }
        let Some(loading) = &mut self.stored else { return Poll::Ready(None) };
        let chunk = ready!(loading.as_mut().poll(cx));
        self.stored = None;
        let (_, skip) = self.head.place.at(self.position).place(self.position);
        Poll::Ready(Some(match chunk.filter(|chunk| chunk.len() > skip) {
            Some(chunk) => Ok(self.take(chunk.slice(skip..), pin)),
            None => Err(BodyError::Lost),
        }))
    }

    fn poll_window(&self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut state = self.place.fill.state.lock();
        if state.readers[self.place.slot].as_ref().is_none_or(|own| own.cut_off) {
            return Poll::Ready(Next::Broken);
        }
        if self.position < state.window.start() {
            return Poll::Ready(Next::Behind);
        }
        let bytes = state.window.from(self.position);
        if !bytes.is_empty() {
            return Poll::Ready(Next::Bytes(bytes));
        }
        match state.end {
            // A body shorter than the range it was asked for cannot end cleanly.
            Some(Ending::Complete) if self.end.is_none() => Poll::Ready(Next::End),
            Some(Ending::Complete | Ending::Broken | Ending::GivenUp) => Poll::Ready(Next::Broken),
            // The rest is asked for again, when it is wanted.
            Some(Ending::Paused) => Poll::Ready(Next::Behind),
            None => {
                if let Some(own) = &mut state.readers[self.place.slot] {
                    own.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn load_chunk(&self) -> StoredChunk {
        let key = self.head.place.at(self.position).chunk(self.head.url, self.head.object.https, self.position);
        let store = self.store.clone();
        Box::pin(async move { store.chunk(&key).await })
    }

    /// `bytes` cut to what is wanted; the fill learns how far this reader is.
    fn take(&mut self, mut bytes: Bytes, pin: impl FnOnce(Bytes) -> Bytes) -> Bytes {
        if let Some(left) = self.left() {
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        let bytes = pin(bytes);
        self.position += bytes.len() as u64;
        self.place.moved_to(self.position);
        bytes
    }
}

enum Next {
    Bytes(Bytes),
    End,
    Broken,
    /// The window has gone past; the store has it.
    Behind,
}
