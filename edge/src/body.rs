//! Bodies on their way through. A body that cannot be completed ends in an error, so that the client sees a broken answer
//! (HTTP/1: closed without the last chunk; HTTP/2: a reset) and never a clean end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::Sleep;

use crate::deliver::assembly::Assembly;
use crate::origin::Answer;
use crate::track::Tracker;

/// Why a body broke off.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The other side broke off, or sent what is not HTTP.
    #[error("the message broke off")]
    Broken(#[source] hyper::Error),
    /// Nothing came for too long.
    #[error("nothing came for too long")]
    Stalled,
    /// More than the configured limit.
    #[error("the body is larger than the limit")]
    TooLarge,
    /// A stored piece is gone.
    #[error("a stored piece is gone")]
    Lost,
    /// The fetch that this answer was read from failed.
    #[error("the fetch failed")]
    FillFailed,
}

/// What a client is sent.
#[derive(Debug)]
pub struct Body {
    source: Source,
    tracker: Option<Tracker>,
}

#[derive(Debug)]
enum Source {
    Bytes(Bytes),
    Assembled(Box<Assembly>),
    Origin(Box<Timed<Answer>>),
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Assembled(body) => body.poll(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
            Self::Origin(body) => Pin::new(body.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Assembled(body) => body.left() == Some(0),
            Self::Origin(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Assembled(body) => body.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Origin(body) => body.size_hint(),
        }
    }
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    /// These bytes.
    pub fn bytes(bytes: Bytes) -> Self {
        Self { source: Source::Bytes(bytes), tracker: None }
    }

    /// From the store, and from fetches.
    pub fn assembled(body: Assembly) -> Self {
        Self { source: Source::Assembled(Box::new(body)), tracker: None }
    }

    /// What the origin sends, as it comes.
    pub fn origin(body: Timed<Answer>) -> Self {
        Self { source: Source::Origin(Box::new(body)), tracker: None }
    }

    /// Lets `tracker` follow this body to its end.
    #[must_use]
    pub fn tracked(mut self, tracker: Tracker) -> Self {
        self.tracker = Some(tracker);
        self
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = self.source.poll(cx);
        let passed = matches!(self.source, Source::Origin(_));
        if let Some(tracker) = &mut self.tracker {
            tracker.waits_for_us(frame.is_pending());
            match &frame {
                Poll::Ready(Some(Ok(frame))) => tracker.sent(frame.data_ref().map_or(0, Bytes::len), passed),
                Poll::Ready(Some(Err(error))) => tracker.broke_off(error),
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}

/// What an origin is sent.
#[derive(Debug)]
pub enum RequestBody {
    /// Nothing.
    Empty,
    /// What the client sends, as it comes.
    Client(Timed<Incoming>),
}

impl RequestBody {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Client(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(body) => body.size_hint(),
        }
    }
}

/// A body from the network with a limit on its size and on the time between two pieces.
#[derive(Debug)]
pub struct Timed<B> {
    incoming: B,
    left: u64,
    pause_max: Duration,
    /// Armed only while nothing is there to read.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> Timed<B> {
    /// `incoming` with at most `bytes_max` bytes and `pause_max` between two pieces.
    pub fn new(incoming: B, bytes_max: u64, pause_max: Duration) -> Self {
        Self { incoming, left: bytes_max, pause_max, timer: None }
    }
}

impl<B: HttpBody<Data = Bytes, Error = hyper::Error> + Unpin> HttpBody for Timed<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(this.pause_max)));
            return timer.as_mut().poll(cx).map(|()| Some(Err(BodyError::Stalled)));
        };
        this.timer = None;
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                if length > this.left {
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
                this.left -= length;
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(BodyError::Broken(error))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
