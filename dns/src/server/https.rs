//! DNS over HTTPS (RFC 8484) on a listener of its own: HTTP/2 and HTTP/1.1, by hyper.
//!
//! hyper has no timer for a connection whose client asks for nothing, or sends headers that never end, or takes no
//! answer. All three are the same here: no whole query came for the timeout. Then the connection is closed, and whatever
//! it still had to say or to hear is cut off a moment later. Each body has as long for itself, however many others come: what was
//! read of it is no longer in HTTP/2's windows, but waits in memory of ours, of each stream at most a query.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::streams::Streams;
use super::{Plane, QUERY_MAX};
use crate::metrics::{ConnectionEvent, Transport};

mod exchange;

use exchange::{TOO_LONG, refusal};

/// Queries of one connection that may run at once.
const STREAMS_MAX: u32 = 100;

/// Bytes of a request's header: a GET has its query there, 4/3 times as long.
const HEADER_MAX: usize = 16 << 10;

/// Fields of a request.
const FIELDS_MAX: usize = 64;

/// Bytes of answers that may wait for a client to take them.
const SEND_MAX: usize = 64 << 10;

/// For a connection that is asked to end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Answers the requests of one connection until it ends.
pub(super) async fn serve<S>(stream: S, peer: SocketAddr, plane: &Plane, streams: &Streams)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (shared, asked) = (Arc::new(plane.clone()), Arc::new(Mutex::new(Instant::now())));
    let service = service_fn(|request: Request<Incoming>| {
        let patience = streams.patience(Transport::Https);
        let (plane, path, asked) = (shared.clone(), streams.doh_path.clone(), asked.clone());
        async move {
            let response = respond(&plane, peer, &path, request, patience).await;
            if response.status().is_success() {
                *asked.lock() = Instant::now();
            }
            Ok::<_, Infallible>(response.map(Full::new))
        }
    });
    let server = server();
    let serving = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = loop {
        let since = *asked.lock();
        let Some(wake) = streams.wake(Transport::Https, since) else {
            plane.metrics.connection(Transport::Https, ConnectionEvent::Idle).inc();
            serving.as_mut().graceful_shutdown();
            break timeout(FAREWELL, serving).await.unwrap_or(Ok(()));
        };
        tokio::select! {
            ended = serving.as_mut() => break ended,
            () = sleep_until(wake) => {}
        }
    };
    if let Err(error) = ended {
        debug!(%error, "HTTPS connection ended");
    }
}

/// HTTP with every limit set by name.
fn server() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(HEADER_MAX)
        .max_headers(FIELDS_MAX)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_MAX as u32)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        // More than a query has, and of all together less than of all the streams: they are read at once.
        .initial_stream_window_size(16 << 10)
        .initial_connection_window_size(64 << 10)
        .max_send_buf_size(SEND_MAX);
    builder
}

async fn respond(
    plane: &Plane,
    peer: SocketAddr,
    path: &str,
    request: Request<Incoming>,
    patience: Duration,
) -> Response<Bytes> {
    if request.uri().path() != path {
        return refusal(StatusCode::NOT_FOUND, "DNS queries go to another path.");
    }
    let (parts, body) = request.into_parts();
    let body = if parts.method == Method::POST {
        match timeout(patience, read(Limited::new(body, QUERY_MAX))).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return refusal(StatusCode::PAYLOAD_TOO_LARGE, TOO_LONG);
            }
            Ok(Err(_)) => return refusal(StatusCode::BAD_REQUEST, "The request's body broke off."),
            Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "The request's body did not come in time."),
        }
    } else {
        Vec::new()
    };
    plane.over_https(&parts, &body, peer)
}

/// All of a body. It is copied: the pieces that hyper has keep what else came with them.
async fn read(mut body: Limited<Incoming>) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}
