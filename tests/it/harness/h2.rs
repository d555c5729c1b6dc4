//! An origin that speaks HTTP/2, over TLS.

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
