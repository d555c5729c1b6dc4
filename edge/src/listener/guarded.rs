//! A client's socket under timeouts that HTTP libraries do not have: a header that never ends, a connection that idles
//! between requests, and a client that takes nothing of its answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::connection::Activity;

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From a request's first byte to the end of its header; also for the first byte of a connection.
    pub header: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without taking a byte of an answer.
    pub send: Duration,
}

/// A socket that gives up on slow clients.
#[derive(Debug)]
pub struct Guarded<S> {
    socket: S,
    patience: Patience,
    activity: Arc<Activity>,
    reading: Alarm,
    writing: Alarm,
    /// What the read alarm is set for.
    waits_for: Waits,
    http2: Option<bool>,
}

/// What a connection waits for while it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// Nothing: an answer is on its way.
    Nothing,
    /// The next request, which is the one after so many.
    Request,
    /// The rest of a header; `begun` requests came before it.
    Header { begun: u32 },
}

impl<S> Guarded<S> {
    /// Guards `socket`; `activity` says whether requests are being answered.
    pub fn new(socket: S, patience: Patience, activity: Arc<Activity>) -> Self {
        Self {
            socket,
            patience,
            activity,
            reading: Alarm::default(),
            writing: Alarm::default(),
            waits_for: Waits::Header { begun: 0 },
            http2: None,
        }
    }

    /// Takes note of bytes that came.
    fn received(&mut self, bytes: &[u8]) {
        // The preface of HTTP/2: its pings and settings must not count as the start of a header.
        let http2 = *self.http2.get_or_insert_with(|| bytes.starts_with(b"PRI "));
        let begun = self.activity.begun();
        self.waits_for = match self.waits_for {
            Waits::Header { begun: before } if before == begun && !http2 => return,
            _ if http2 => Waits::Request,
            _ => Waits::Header { begun },
        };
        self.reading.clear();
    }

    /// Sets the alarm for what is waited for now, and tells whether it rang.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // hyper does not read again by itself when an answer that it had to wait for is complete.
        if self.activity.is_busy_or_wakes(cx.waker()) {
            self.waits_for = Waits::Nothing;
            self.reading.clear();
            return Poll::Pending;
        }
        let begun = self.activity.begun();
        let limit = match self.waits_for {
            Waits::Header { begun: before } if before == begun => self.patience.header,
            Waits::Request => self.patience.idle,
            Waits::Nothing | Waits::Header { .. } => {
                self.waits_for = Waits::Request;
                self.reading.clear();
                self.patience.idle
            }
        };
        self.reading.poll(limit, cx)
    }
}

/// A timer that exists only while it is needed.
#[derive(Debug, Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    fn clear(&mut self) {
        self.0 = None;
    }

    fn poll(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        sleep.as_mut().poll(cx)
    }
}

fn overdue(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.socket).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                if buffer.filled().len() > before {
                    self.received(&buffer.filled()[before..]);
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                ready!(self.poll_overdue(cx));
                Poll::Ready(Err(overdue("the client sent no request in time")))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(result) => {
                self.writing.clear();
                Poll::Ready(result)
            }
            Poll::Pending => {
                let limit = self.patience.send;
                ready!(self.writing.poll(limit, cx));
                Poll::Ready(Err(overdue("the client took nothing in time")))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.watch(cx, closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::connection::Connection;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    const PATIENCE: Patience =
        Patience { header: Duration::from_secs(10), idle: Duration::from_secs(75), send: Duration::from_secs(60) };

    fn pair() -> (DuplexStream, Guarded<DuplexStream>, Connection) {
        let (client, server) = tokio::io::duplex(64);
        let activity = Arc::new(Activity::default());
        let connection = Connection::new([127, 0, 0, 1].into(), 80, false, None, activity.clone());
        (client, Guarded::new(server, PATIENCE, activity), connection)
    }

    async fn seconds_until_cut_off(guarded: &mut Guarded<DuplexStream>) -> u64 {
        let start = Instant::now();
        let mut buffer = [0; 64];
        while guarded.read(&mut buffer).await.is_ok() {}
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_from_the_start() {
        let (_client, mut guarded, _connection) = pair();
        assert_eq!(seconds_until_cut_off(&mut guarded).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_byte_by_byte() {
        let (mut client, mut guarded, _connection) = pair();
        let drip = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        });
        let elapsed = seconds_until_cut_off(&mut guarded).await;
        assert!((10..=11).contains(&elapsed), "{elapsed}");
        drop(guarded);
        drip.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn idle_between_requests() {
        let (mut client, mut guarded, connection) = pair();
        client.write_all(b"GET").await.unwrap();
        let mut buffer = [0; 64];
        assert!(guarded.read(&mut buffer).await.unwrap() > 0);
        drop(connection.busy());
        assert_eq!(seconds_until_cut_off(&mut guarded).await, 75);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_its_time() {
        let (mut client, mut guarded, connection) = pair();
        client.write_all(b"GET").await.unwrap();
        let mut buffer = [0; 64];
        assert!(guarded.read(&mut buffer).await.unwrap() > 0);
        let _busy = connection.busy();
        let waited = tokio::time::timeout(Duration::from_secs(1000), guarded.read(&mut buffer)).await;
        assert!(waited.is_err(), "not cut off");
    }

    #[tokio::test(start_paused = true)]
    async fn http2_may_ping_while_idle() {
        let (mut client, mut guarded, _connection) = pair();
        client.write_all(b"PRI * HTTP/2.0").await.unwrap();
        let mut buffer = [0; 64];
        assert!(guarded.read(&mut buffer).await.unwrap() > 0);
        assert_eq!(seconds_until_cut_off(&mut guarded).await, 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing() {
        let (_client, mut guarded, connection) = pair();
        let _busy = connection.busy();
        let start = Instant::now();
        assert!(guarded.write_all(&[0; 1000]).await.is_err());
        assert_eq!(start.elapsed().as_secs(), 60);
    }
}
