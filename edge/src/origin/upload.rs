//! A request's body on its way to an origin: whoever it waits for has the timeout, and when the client spoils it, the
//! origin is not blamed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Failure;
use crate::body::{BodyError, RequestBody};

/// A request's body that tells how far it is.
#[derive(Debug)]
pub(super) struct Upload {
    body: RequestBody,
    turn: Turn,
}

/// Who is to do something next.
#[derive(Debug, Clone)]
pub(super) struct Turn(Arc<Mutex<State>>);

#[derive(Debug, Clone, Copy)]
enum State {
    /// The origin has to take or to answer, since then.
    Origins(Instant),
    /// The client has to send; its own timeout runs.
    Clients,
    /// The client failed.
    Failed(Failure),
}

impl Upload {
    /// `body`, and what becomes of it.
    pub(super) fn new(body: RequestBody) -> (Self, Turn) {
        let turn = Turn(Arc::new(Mutex::new(State::Origins(Instant::now()))));
        (Self { body, turn: turn.clone() }, turn)
    }
}

impl Turn {
    /// Waits until the origin has had its turn for `limit`.
    pub(super) async fn overdue(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let until = match *self.0.lock() {
                State::Origins(since) => since + limit,
                State::Clients | State::Failed(_) => now + limit,
            };
            if until <= now {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// What the client did wrong, if it did.
    pub(super) fn failure(&self) -> Option<Failure> {
        match *self.0.lock() {
            State::Failed(failure) => Some(failure),
            State::Origins(_) | State::Clients => None,
        }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        *this.turn.0.lock() = match &frame {
            Poll::Pending => State::Clients,
            Poll::Ready(Some(Ok(_)) | None) => State::Origins(Instant::now()),
            Poll::Ready(Some(Err(error))) => State::Failed(match error {
                BodyError::TooLarge => Failure::RequestTooLarge,
                BodyError::Stalled => Failure::RequestStalled,
                BodyError::Broken(_) | BodyError::Lost | BodyError::FillFailed => Failure::RequestBroken,
            }),
        };
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
