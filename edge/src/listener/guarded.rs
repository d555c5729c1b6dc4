//! A client's socket under timeouts that HTTP libraries do not have: a header that never ends, a connection that idles
//! between requests, and a client that takes nothing of its answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
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

/// How long a connection waits for the next request before nothing is kept for it but its socket.
const REST: Duration = Duration::from_millis(500);

/// So many times as long as for a byte is waited for a client to open a window of HTTP/2: that is done in large steps.
const WINDOW: u32 = 4;

/// A socket that gives up on slow clients.
#[derive(Debug)]
pub struct Guarded<S> {
    socket: S,
    /// What was read before it was known who would want it.
    ahead: Bytes,
    patience: Patience,
    activity: Arc<Activity>,
    reading: Alarm,
    writing: Alarm,
    /// What the read alarm is set for.
    waits_for: Waits,
    http2: bool,
    /// Bytes that the client took and sent since this was looked at.
    took: usize,
    sent: usize,
    /// Requests that had begun when this was looked at.
    begun: u32,
}

/// What a connection waits for while it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// Nothing: an answer is on its way.
    Nothing,
    /// The client, to let in more of the answers that are there: over HTTP/2 it can hold up all of them with nothing stuck here.
    Client,
    /// The next request.
    Request,
    /// The next request, since [`REST`].
    Rest,
    /// The rest of a header; `begun` requests came before it.
    Header { begun: u32 },
}

impl<S> Guarded<S> {
    /// Guards `socket`; `activity` says whether requests are being answered.
    pub fn new(socket: S, patience: Patience, activity: Arc<Activity>) -> Self {
        Self {
            socket,
            ahead: Bytes::new(),
            patience,
            activity,
            reading: Alarm::default(),
            writing: Alarm::default(),
            waits_for: Waits::Header { begun: 0 },
            http2: false,
            took: 0,
            sent: 0,
            begun: 0,
        }
    }

    /// Has `bytes` be read once more: the start of a header.
    pub fn unread(&mut self, bytes: Bytes) {
        debug_assert!(self.ahead.is_empty(), "one reader at a time");
        self.ahead = bytes;
        self.activity.rests(false);
        self.received();
    }

    /// The client speaks HTTP/2: its pings and settings are not the start of a header.
    pub fn speaks_http2(&mut self) {
        self.http2 = true;
        self.activity.has_streams();
        self.waits_for = Waits::Request;
        self.reading.clear();
    }

    /// Takes note of bytes that came.
    fn received(&mut self) {
        let begun = self.activity.begun();
        self.waits_for = match self.waits_for {
            Waits::Header { begun: before } if before == begun => return,
            // What opens a window is seen by what is written then.
            Waits::Client => return,
            _ if self.http2 => Waits::Request,
            _ => Waits::Header { begun },
        };
        self.reading.clear();
    }

    /// Sets the alarm for what is waited for now, and tells whether it rang.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (begun, Patience { header, idle, send }) = (self.activity.begun(), self.patience);
        // Answers to pings and settings are as long as these: they are no answer that the client takes.
        let news = self.took > self.sent || self.begun != begun;
        (self.took, self.sent, self.begun) = (0, 0, begun);
        // hyper does not read again by itself when an answer that it had to wait for is complete.
        if self.activity.is_busy_or_wakes(cx.waker()) {
            let waits_for = if self.http2 && self.activity.waits_for_client() { Waits::Client } else { Waits::Nothing };
            if news || self.waits_for != waits_for || waits_for == Waits::Nothing {
                self.waits_for = waits_for;
                self.reading.clear();
            }
            return match waits_for {
                Waits::Client => self.reading.poll(send.saturating_mul(WINDOW), send, cx),
                _ => Poll::Pending,
            };
        }
        let is_header = matches!(self.waits_for, Waits::Header { begun: before } if before == begun);
        // What was asked for meanwhile was answered at once; or the end of an answer is stuck, and the client is not idle.
        if (self.http2 && news) || (self.writing.is_set() && !is_header) {
            self.waits_for = Waits::Request;
            self.reading.clear();
        }
        let rest = REST.min(idle);
        match self.waits_for {
            // hyper reads ahead of the answer, and then no more: whether this is still a header must be looked at again.
            Waits::Header { .. } if is_header => return self.reading.poll(header, rest, cx),
            Waits::Request | Waits::Rest => {}
            Waits::Nothing | Waits::Client | Waits::Header { .. } => {
                self.waits_for = Waits::Request;
                self.reading.clear();
            }
        }
        if self.waits_for == Waits::Request {
            ready!(self.reading.poll(rest, rest, cx));
            self.waits_for = Waits::Rest;
            self.reading.clear();
        }
        // Whoever still has something to send is not at rest.
        self.activity.rests(!self.writing.is_set());
        self.reading.poll(idle - rest, idle, cx)
    }
}

/// A timer for what is waited for now. It is kept when there is nothing to wait for any more, and may ring in vain: to set
/// and to remove one for each request would cost more.
#[derive(Debug, Default)]
struct Alarm {
    due: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    fn clear(&mut self) {
        self.due = None;
    }

    fn is_set(&self) -> bool {
        self.due.is_some()
    }

    /// Rings `limit` after the first call since it was cleared. `look`: so much later the task is woken in any case.
    fn poll(&mut self, limit: Duration, look: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let due = *self.due.get_or_insert_with(|| Instant::now() + limit);
        let next = || due.min(Instant::now() + look);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next())));
        if timer.deadline() > due {
            timer.as_mut().reset(next());
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(next());
        }
    }
}

fn length(written: &Poll<io::Result<usize>>) -> usize {
    if let Poll::Ready(Ok(length)) = written { *length } else { 0 }
}

fn overdue(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.socket).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                self.activity.rests(false);
                self.sent += buffer.filled().len() - before;
                if buffer.filled().len() > before {
                    self.received();
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
                self.activity.rests(false);
                let limit = self.patience.send;
                ready!(self.writing.poll(limit, limit, cx));
                Poll::Ready(Err(overdue("the client took nothing in time")))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.took += length(&written);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.took += length(&written);
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
    use std::future::poll_fn;

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

    /// The same, of a client that has begun to speak HTTP/2.
    async fn pair_over_http2() -> (DuplexStream, Guarded<DuplexStream>, Connection) {
        let (mut client, mut guarded, connection) = pair();
        guarded.speaks_http2();
        client.write_all(b"PRI * HTTP/2.0").await.unwrap();
        assert!(guarded.read(&mut [0; 64]).await.unwrap() > 0);
        (client, guarded, connection)
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
        let mut busy = connection.busy();
        busy.waits_for_us(true);
        let waited = tokio::time::timeout(Duration::from_secs(1000), guarded.read(&mut buffer)).await;
        assert!(waited.is_err(), "not cut off");
    }

    #[tokio::test(start_paused = true)]
    async fn http2_may_ping_while_idle() {
        let (mut client, mut guarded, _connection) = pair_over_http2().await;
        let mut buffer = [0; 64];
        assert!(tokio::time::timeout(Duration::from_secs(50), guarded.read(&mut buffer)).await.is_err());
        client.write_all(b"ping").await.unwrap();
        assert_eq!(guarded.read(&mut buffer).await.unwrap(), 4);
        assert_eq!(seconds_until_cut_off(&mut guarded).await, 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_over_http2_that_lets_nothing_in() {
        let (mut client, mut guarded, connection) = pair_over_http2().await;
        let (mut busy, mut other) = (connection.busy(), connection.busy());
        busy.waits_for_us(false);
        // As long as one of them waits for us, it is our turn.
        other.waits_for_us(true);
        let wait = async |guarded: &mut Guarded<DuplexStream>, seconds| {
            tokio::time::timeout(Duration::from_secs(seconds), guarded.read(&mut [0; 64])).await.is_err()
        };
        assert!(wait(&mut guarded, 1000).await);
        other.waits_for_us(false);
        assert!(wait(&mut guarded, 239).await);
        guarded.write_all(b"frame").await.unwrap();
        assert!(wait(&mut guarded, 239).await, "it took something");
        drop(connection.busy());
        assert!(wait(&mut guarded, 239).await, "it asked for something");
        busy.waits_for_us(true);
        assert!(wait(&mut guarded, 1000).await);
        busy.waits_for_us(false);
        assert!(wait(&mut guarded, 200).await);
        client.write_all(b"ping").await.unwrap();
        assert_eq!(guarded.read(&mut [0; 64]).await.unwrap(), 4);
        guarded.write_all(b"pong").await.unwrap();
        assert_eq!(seconds_until_cut_off(&mut guarded).await, 40, "pings are no answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_the_end_of_an_answer_slowly_is_not_idle() {
        let (mut client, mut guarded, connection) = pair();
        client.write_all(b"GET").await.unwrap();
        assert!(guarded.read(&mut [0; 64]).await.unwrap() > 0);
        drop(connection.busy());
        for second in 0..20 {
            let sends_and_reads = poll_fn(|cx| {
                while let Poll::Ready(written) = Pin::new(&mut guarded).poll_write(cx, &[0; 64]) {
                    assert!(written.unwrap() > 0);
                }
                Pin::new(&mut guarded).poll_read(cx, &mut ReadBuf::new(&mut [0; 64]))
            });
            assert!(tokio::time::timeout(Duration::from_secs(30), sends_and_reads).await.is_err(), "{second}");
            client.read_exact(&mut [0; 9]).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_after_what_was_answered_at_once() {
        let (_client, mut guarded, connection) = pair_over_http2().await;
        let mut buffer = [0; 64];
        assert!(tokio::time::timeout(Duration::from_secs(74), guarded.read(&mut buffer)).await.is_err());
        drop(connection.busy());
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
