//! Reading a body from the store, piece by piece.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::body::BodyError;
use crate::key::StoreKey;
use crate::store::Store;
use crate::store::object::CHUNK;

type Loading = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// Bytes `position..end` of a body in chunks.
pub struct StoredReader {
    store: Store,
    key: StoreKey,
    version: u64,
    position: u64,
    end: u64,
    /// A piece on its way from disk.
    loading: Option<Loading>,
}

impl fmt::Debug for StoredReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredReader").field("position", &self.position).field("end", &self.end).finish()
    }
}

impl StoredReader {
    /// Reads `first..end` of the body of the object under `key`.
    pub fn new(store: Store, key: StoreKey, version: u64, first: u64, end: u64) -> Self {
        Self { store, key, version, position: first, end, loading: None }
    }

    /// Bytes still to come.
    pub fn left(&self) -> u64 {
        self.end - self.position
    }

    /// The next bytes; `None` at the end.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.left() == 0 {
            return Poll::Ready(None);
        }
        let chunk = match &mut self.loading {
            Some(loading) => ready!(loading.as_mut().poll(cx)),
            None => {
                let number = u32::try_from(self.position / CHUNK).unwrap_or(u32::MAX);
                let (key, store) = (self.key.chunk(self.version, number), self.store.clone());
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
        let skip = usize::try_from(self.position % CHUNK).unwrap_or(usize::MAX);
        let Some(mut bytes) = chunk.filter(|chunk| chunk.len() > skip).map(|chunk| chunk.slice(skip..)) else {
            // The next request is then a miss.
            self.store.remove(&self.key);
            return Poll::Ready(Some(Err(BodyError::Lost)));
        };
        bytes.truncate(usize::try_from(self.left()).unwrap_or(usize::MAX));
        self.position += bytes.len() as u64;
        Poll::Ready(Some(Ok(bytes)))
    }
}
