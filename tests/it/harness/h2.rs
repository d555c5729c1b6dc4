//! Origins that speak HTTP/2, over TLS: by hyper, or frame by frame.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::client::RUNTIME;
use super::origin::Talk;

type Route = Arc<dyn Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync>;

/// Answers by `route` with the certificate of `tls`, and returns where. It ends with the test's process.
pub(crate) fn origin(
    tls: &Arc<rustls::ServerConfig>,
    route: impl Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
) -> SocketAddr {
    let mut tls = rustls::ServerConfig::clone(tls);
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let (acceptor, route): (_, Route) = (TlsAcceptor::from(Arc::new(tls)), Arc::new(route));
    let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    RUNTIME.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, acceptor.clone(), route.clone()));
        }
    });
    address
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, route: Route) {
    // Whoever does not trust us or has seen enough goes; the test sees that in its own answers.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request| {
        let answer = route(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _gone = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// What a script of frames does after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    GoOn,
    Close,
}

/// Reads the rest of a client's HTTP/2 preface, which the harness took for a request, and answers each request with what
/// `answer` makes for its stream. It reads on until the client closes, since what is unread then resets the connection.
///
/// # Errors
/// When the client closes.
pub(crate) fn answer_streams(
    talk: &mut Talk<'_>,
    mut answer: impl FnMut(u8) -> (Vec<u8>, Then),
) -> std::io::Result<()> {
    const HEADERS: u8 = 1;
    talk.take("SM\r\n\r\n".len())?;
    talk.write(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    loop {
        let head = talk.take(9)?;
        talk.take(usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]))?;
        if head[3] == HEADERS {
            let (bytes, then) = answer(head[8]);
            talk.write(&bytes);
            if then == Then::Close {
                return Ok(());
            }
        }
    }
}

/// A frame of that type and with these flags (RFC 9113 section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}
