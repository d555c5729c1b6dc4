//! Connections of HTTP/1 to origins, kept by one worker. Whoever waits for an answer drives its connection, in the same
//! task: nothing is handed from task to task, and what nobody reads is not read from the origin either.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use nearcast_shared::config;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Failure;
use super::connect::{self, Connector, Place, Stream};
use super::upload::Upload;

/// How often it is looked which of the kept ones are of no use any more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Connections that wait for the next request.
#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    http: http1::Builder,
    idle_timeout: Duration,
    /// Of one origin.
    idle_max: usize,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// The one that was used last is the last one.
    idle: HashMap<Place, Vec<Idle>>,
    /// Whether somebody looks after them.
    tended: bool,
}

#[derive(Debug)]
struct Idle {
    link: Box<Link>,
    since: Instant,
}

/// One connection.
#[derive(Debug)]
struct Link {
    sender: http1::SendRequest<Upload>,
    /// `None`: it has ended.
    connection: Option<http1::Connection<Stream, Upload>>,
}

impl Link {
    /// Lets the connection do what it can. Its errors come with the answer, or with the answer's body.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// Whether it can take another request.
    fn is_idle(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Sends `request` and waits for the answer's header. What was not begun to be sent comes back in the error.
    async fn ask(&mut self, request: Request<Upload>) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        std::future::poll_fn(|cx| {
            self.drive(cx);
            let answered = answer.as_mut().poll(cx);
            if matches!(&answered, Poll::Ready(Ok(answer)) if answer.body().is_end_stream()) {
                // Bytes behind its end are found now.
                self.drive(cx);
            }
            answered
        })
        .await
    }
}

impl Pool {
    /// For connections by `connector`, which must not agree on HTTP/2.
    pub(super) fn new(connector: Connector, config: &config::Origin) -> Arc<Self> {
        let mut http = http1::Builder::new();
        http.max_buf_size(config.header_size).max_headers(config.header_count);
        Arc::new(Self {
            connector,
            http,
            idle_timeout: config.idle_timeout,
            idle_max: config.idle_connections,
            shelf: Mutex::default(),
        })
    }

    /// Asks over a kept connection, or a new one. `request` has its target in origin form.
    pub(super) async fn ask(
        self: &Arc<Self>,
        place: Place,
        mut request: Request<Upload>,
    ) -> Result<Response<Answer>, Failure> {
        loop {
            let (mut link, kept) = match self.take(&place) {
                Some(link) => (link, true),
                None => (self.connect(&place).await?, false),
            };
            match link.ask(request).await {
                Ok(answer) => {
                    return Ok(answer.map(|body| Answer::over(body, Lease { link, place, pool: self.clone() })));
                }
                Err(mut error) => match error.take_message() {
                    // It had been closed meanwhile.
                    Some(unsent) if kept => request = unsent,
                    Some(_) | None => return Err(Failure::of_exchange(&error.into_error())),
                },
            }
        }
    }

    async fn connect(&self, place: &Place) -> Result<Box<Link>, Failure> {
        let stream = connect::to(place, self.connector.clone()).await?;
        let (sender, connection) = self.http.handshake(stream).await.map_err(|error| Failure::of_exchange(&error))?;
        Ok(Box::new(Link { sender, connection: Some(connection) }))
    }

    fn take(&self, place: &Place) -> Option<Box<Link>> {
        let mut shelf = self.shelf.lock();
        let idle = shelf.idle.get_mut(place)?;
        let newest = idle.pop()?;
        if newest.since.elapsed() < self.idle_timeout {
            return Some(newest.link);
        }
        // The others wait for longer still.
        idle.clear();
        None
    }

    /// Keeps `link` for the next request.
    fn put(self: &Arc<Self>, place: Place, link: Box<Link>) {
        let mut shelf = self.shelf.lock();
        let idle = shelf.idle.entry(place).or_default();
        if idle.len() >= self.idle_max {
            return;
        }
        idle.push(Idle { link, since: Instant::now() });
        if !shelf.tended {
            shelf.tended = true;
            tokio::spawn(tend(Arc::downgrade(self)));
        }
    }

    /// Lets go of those that have been kept for too long or were closed. Says whether any are left.
    fn look(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut shelf = self.shelf.lock();
        shelf.idle.retain(|_, idle| {
            idle.retain_mut(|idle| {
                idle.link.drive(&mut cx);
                idle.link.is_idle() && idle.since.elapsed() < self.idle_timeout
            });
            !idle.is_empty()
        });
        shelf.tended = !shelf.idle.is_empty();
        shelf.tended
    }
}

/// Looks after the kept connections as long as there are any: nobody else polls them.
async fn tend(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match pool.upgrade() {
            Some(pool) if pool.look() => {}
            Some(_) | None => return,
        }
    }
}

/// The body of an origin's answer.
#[derive(Debug)]
pub struct Answer {
    incoming: Incoming,
    /// What it comes over, until it is all here; with HTTP/2 that is driven elsewhere.
    lease: Option<Lease>,
    /// What came already, or went wrong, and was not read yet.
    ahead: VecDeque<Result<Bytes, hyper::Error>>,
}

/// A connection in use, and where it goes.
#[derive(Debug)]
struct Lease {
    link: Box<Link>,
    place: Place,
    pool: Arc<Pool>,
}

impl Answer {
    /// One that comes over a connection that somebody else drives.
    pub(super) fn driven_elsewhere(incoming: Incoming) -> Self {
        Self { incoming, lease: None, ahead: VecDeque::new() }
    }

    fn over(incoming: Incoming, lease: Lease) -> Self {
        let mut answer = Self { incoming, lease: Some(lease), ahead: VecDeque::new() };
        if answer.incoming.is_end_stream() {
            answer.give_back();
        }
        answer
    }

    /// All of a body of `length` bytes, in a buffer of its own, if it has come already. Else what came is read later.
    pub async fn all_at_hand(&mut self, length: usize) -> Option<Bytes> {
        let mut bytes = BytesMut::with_capacity(length);
        let mut error = None;
        let is_over = loop {
            if bytes.len() >= length && self.incoming.is_end_stream() {
                break true;
            }
            match std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *self).poll_frame(cx))).await {
                Poll::Ready(Some(Ok(frame))) => bytes.extend(frame.into_data()),
                Poll::Ready(Some(Err(broken))) => {
                    error = Some(broken);
                    break false;
                }
                Poll::Ready(None) => break true,
                Poll::Pending => break false,
            }
        };
        let bytes = bytes.freeze();
        if is_over && bytes.len() == length {
            return Some(bytes);
        }
        self.ahead.extend(Some(bytes).filter(|bytes| !bytes.is_empty()).map(Ok));
        self.ahead.extend(error.map(Err));
        None
    }

    /// The answer is over: the next request may have the connection, if it can be used again.
    fn give_back(&mut self) {
        if let Some(Lease { link, place, pool }) = self.lease.take()
            && link.is_idle()
        {
            pool.put(place, link);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        if let Some(ahead) = this.ahead.pop_front() {
            return Poll::Ready(Some(ahead.map(Frame::data)));
        }
        let mut frame = Pin::new(&mut this.incoming).poll_frame(cx);
        if let Some(lease) = &mut this.lease {
            // Only what was asked for is handed over: the connection has its turn when that is known.
            if frame.is_pending() {
                lease.link.drive(cx);
                frame = Pin::new(&mut this.incoming).poll_frame(cx);
            }
            let is_last = match &frame {
                Poll::Ready(Some(Ok(_))) => this.incoming.is_end_stream(),
                Poll::Ready(None) => true,
                Poll::Ready(Some(Err(_))) | Poll::Pending => false,
            };
            if is_last {
                lease.link.drive(cx);
                this.give_back();
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead: u64 = self.ahead.iter().flatten().map(|bytes| bytes.len() as u64).sum();
        let rest = self.incoming.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + ahead);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}

#[cfg(test)]
mod tests;
