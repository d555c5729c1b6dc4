//! HTTP/1.1 and HTTP/2 with every limit set by name, and which of them a client speaks.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use nearcast_shared::config::Limits;
use tokio::io::{AsyncRead, ReadBuf};

use super::guarded::Guarded;

/// What a client that speaks HTTP/2 sends first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How connections are served.
#[derive(Debug)]
pub(super) struct Protocols {
    /// HTTP/1.1 and HTTP/1.0.
    pub(super) http1: http1::Builder,
    /// HTTP/2.
    pub(super) http2: http2::Builder<AtOnce>,
}

impl Protocols {
    /// Under these limits.
    pub(super) fn new(limits: &Limits) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            // `Guarded` tells an idle connection from a header that does not end; hyper's own timer does not.
            .header_read_timeout(None)
            .max_buf_size(limits.header_size)
            .max_headers(limits.header_count)
            .keep_alive(true);
        let mut http2 = http2::Builder::new(AtOnce);
        // Pings of hyper's would cost locks and looks at the clock with each request. The kernel finds out who is gone, `Guarded` who takes nothing.
        http2
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.header_size).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(256)
            .initial_stream_window_size(256 << 10)
            .initial_connection_window_size(1 << 20)
            .max_send_buf_size(256 << 10);
        Self { http1, http2 }
    }
}

/// Runs a stream as far as it comes without waiting, and makes a task of what is left. What memory has is answered in its
/// connection's own turn: no task, no wake-up, and the frames of all such answers are together.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtOnce;

impl<F> Executor<F> for AtOnce
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut stream = Box::pin(stream);
        // Nobody is woken for this poll: the task polls again with a waker of its own.
        if stream.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::spawn(stream);
        }
    }
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP/1.1 or 1.0, or what is neither.
    Http1,
    /// HTTP/2.
    Http2,
    /// Nothing: it closed the connection.
    Nothing,
}

/// Waits until it is known what a client speaks. Whoever serves it reads from the beginning.
///
/// # Errors
/// When nothing can be read, or nothing came in time.
pub(super) async fn speaks<S: AsyncRead + Unpin>(socket: &mut Guarded<S>) -> io::Result<Speaks> {
    let mut begun = BytesMut::new();
    let speaks = loop {
        let bytes = next(socket).await?;
        let is_over = bytes.is_empty();
        begun.extend_from_slice(&bytes);
        let compared = begun.len().min(PREFACE.len());
        match begun[..compared] == PREFACE[..compared] {
            _ if begun.is_empty() => break Speaks::Nothing,
            true if compared == PREFACE.len() => break Speaks::Http2,
            true if !is_over => {}
            _ => break Speaks::Http1,
        }
    };
    socket.unread(begun.freeze());
    if speaks == Speaks::Http2 {
        socket.speaks_http2();
    }
    Ok(speaks)
}

/// Waits for bytes, without a buffer that would be held until some come. Empty: there will be none.
///
/// # Errors
/// When nothing can be read, or nothing came in time.
pub(super) async fn next<S: AsyncRead + Unpin>(socket: &mut Guarded<S>) -> io::Result<Bytes> {
    poll_fn(|cx| {
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut *socket).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
    })
    .await
}
