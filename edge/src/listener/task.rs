//! One connection's task: TLS, what the client speaks, and requests until it ends. A connection that is at rest is its
//! socket and little else: HTTP/1's buffers are there from a request's first byte on.

use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nearcast_shared::health::own::Open;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_rustls::server::TlsStream;

use super::connection::{Activity, Connection};
use super::gathered;
use super::guarded::{Guarded, Patience};
use super::protocols::{Protocols, Speaks, next, speaks};
use super::{Doors, Phase, Room, reached};
use crate::pipeline::{self, Answering};
use crate::worker::Worker;

/// Until a connection that is beyond the limit must have got its answer.
const BEYOND_TIMEOUT: Duration = Duration::from_secs(2);

/// What the connections of one listener share.
#[derive(Debug)]
pub(super) struct Hall {
    pub(super) worker: Arc<Worker>,
    pub(super) doors: Doors,
    pub(super) protocols: Protocols,
    pub(super) port: u16,
    pub(super) https: bool,
}

/// Counts as one for as long as it lives.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One connection's task.
pub(super) struct Task {
    pub(super) hall: Arc<Hall>,
    pub(super) peer: IpAddr,
    pub(super) room: Room,
    pub(super) _open: Option<Open>,
}

impl Task {
    pub(super) async fn run(self, stream: TcpStream) {
        let _counted = Counted::new(&self.hall.worker.edge.metrics.connections);
        if self.room.is_beyond() {
            let _cut_off = tokio::time::timeout(BEYOND_TIMEOUT, Box::pin(self.greet(stream))).await;
        } else {
            self.greet(stream).await;
        }
    }

    async fn greet(&self, stream: TcpStream) {
        if self.hall.https {
            self.handshake(stream).await;
        } else {
            self.serve(stream, None).await;
        }
    }

    async fn handshake(&self, stream: TcpStream) {
        match self.agreed(stream).await {
            Some((stream, name)) => self.serve(stream, name).await,
            None => {
                self.hall.worker.edge.metrics.tls_failures.inc();
            }
        }
    }

    /// The stream once both sides have agreed on its keys, and the name that the client asked for. A function of its own, and what is
    /// large behind pointers: else the task would have room for it for as long as it lives.
    async fn agreed(&self, stream: TcpStream) -> Option<(Box<TlsStream<TcpStream>>, Option<String>)> {
        let doors = &self.hall.doors;
        let accepts = Box::pin(tokio::time::timeout(doors.limits.tls_timeout, doors.tls.accept(stream)));
        let stream = Box::new(accepts.await.ok()?.ok()?);
        let name = stream.get_ref().1.server_name().map(str::to_ascii_lowercase);
        Some((stream, name))
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, name: Option<String>) {
        let Hall { worker, doors, port, https, .. } = &*self.hall;
        let limits = &doors.limits;
        let patience = Patience { header: limits.header_timeout, idle: limits.idle_timeout, send: limits.send_timeout };
        let activity = Arc::new(Activity::default());
        // Behind a pointer, since each step of what follows would have room of its own for it.
        let mut socket = Box::new(Guarded::new(stream, patience, activity.clone()));
        let connection = Connection::new(self.peer, *port, *https, name, activity.clone());
        let connection = Arc::new(connection.beyond(self.room.is_beyond()));
        let asked = Notify::new();
        let ask = |request: Request<Incoming>| {
            if connection.is_beyond() {
                asked.notify_one();
            }
            pipeline::serve(worker, &connection, request)
        };
        let leaves = pin!(leaves(doors.phase.clone(), &connection, &asked));
        let mut leave = Leave { phase: doors.phase.clone(), is_beyond: self.room.is_beyond(), told: None, leaves };
        let spoken = tokio::select! {
            spoken = speaks(&mut socket) => spoken,
            () = &mut leave => Ok(Speaks::Nothing),
        };
        match spoken {
            Ok(Speaks::Http1) => self.http1(socket, ask, &activity, &mut leave).await,
            Ok(Speaks::Http2) => Box::pin(self.http2(socket, ask, &mut leave)).await,
            Ok(Speaks::Nothing) => self.ended(socket.shutdown().await),
            Err(error) => self.ended(Err(error)),
        }
    }

    async fn http1<I>(
        &self,
        mut socket: Box<Guarded<I>>,
        ask: impl Fn(Request<Incoming>) -> Answering,
        activity: &Activity,
        leave: &mut Leave<'_, impl Future<Output = ()>>,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut service = service_fn(&ask);
        loop {
            let parts = {
                let serving = self.hall.protocols.http1.serve_connection(TokioIo::new(socket), service);
                let mut serving = Box::new(serving);
                // At rest nothing is on its way, in neither direction: hyper has tried to send all it had, and has been told
                // that nothing more is there to read.
                let serves = poll_fn(|cx| match Pin::new(&mut *serving).poll(cx) {
                    Poll::Ready(ended) => Poll::Ready(Some(ended)),
                    Poll::Pending if activity.is_at_rest() && !activity.is_busy() => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                });
                let ended = tokio::select! {
                    biased;
                    ended = serves => ended,
                    () = &mut *leave => {
                        Pin::new(serving.as_mut()).graceful_shutdown();
                        Some(serving.as_mut().await)
                    }
                };
                match ended {
                    Some(ended) => return self.ended(ended),
                    None => serving.into_parts(),
                }
            };
            (socket, service) = (parts.io.into_inner(), parts.service);
            let bytes = if parts.read_buf.is_empty() {
                // It is empty, but holds the buffer that it was a part of.
                drop(parts.read_buf);
                let at_rest = &self.hall.worker.edge.metrics.at_rest;
                at_rest.inc();
                let bytes = tokio::select! {
                    bytes = next(&mut socket) => bytes,
                    () = &mut *leave => Ok(Bytes::new()),
                };
                at_rest.dec();
                bytes
            } else {
                Ok(parts.read_buf)
            };
            match bytes {
                Ok(bytes) if bytes.is_empty() => return self.ended(socket.shutdown().await),
                Ok(bytes) => socket.unread(bytes),
                Err(error) => return self.ended(Err(error)),
            }
        }
    }

    async fn http2<I>(
        &self,
        socket: Box<Guarded<I>>,
        ask: impl Fn(Request<Incoming>) -> Answering,
        leave: &mut Leave<'_, impl Future<Output = ()>>,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let http2 = &self.hall.protocols.http2;
        let mut serving = gathered::turns(socket, |io| http2.serve_connection(TokioIo::new(io), service_fn(ask)));
        let ended = tokio::select! {
            biased;
            ended = &mut serving => ended,
            () = &mut *leave => {
                serving.connection().graceful_shutdown();
                serving.await
            }
        };
        self.ended(ended);
    }

    fn ended<E: fmt::Display>(&self, ended: Result<(), E>) {
        if let Err(error) = ended {
            // A peer's mistake, a timeout or a broken connection: data, not an error.
            tracing::debug!(peer = %self.peer, %error, "connection ended");
        }
    }
}

/// When a connection is to end after what it does now: the node closes, or there is no room for a second request.
async fn leaves(mut phase: watch::Receiver<Phase>, connection: &Connection, asked: &Notify) {
    tokio::select! {
        () = reached(&mut phase, Phase::Closing) => connection.drain(),
        () = asked.notified(), if connection.is_beyond() => {}
    }
}

/// The same, but looked at only when the phase is another, or the task was not told of yet: to look takes a lock that all
/// workers share, and a connection's task runs for each request.
struct Leave<'a, F> {
    phase: watch::Receiver<Phase>,
    is_beyond: bool,
    told: Option<Waker>,
    leaves: Pin<&'a mut F>,
}

impl<F: Future<Output = ()>> Future for Leave<'_, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let is_told = self.told.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        // An error says that the node is gone.
        if is_told && !self.is_beyond && matches!(self.phase.has_changed(), Ok(false)) {
            return Poll::Pending;
        }
        self.told = Some(cx.waker().clone());
        self.leaves.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_state_of_a_connection_is_small() {
        // It is there for each that is open, also at rest.
        assert!(size(Task::run) <= 1152, "{}", size(Task::run));
    }
}
