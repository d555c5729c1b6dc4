//! Connecting to an origin: name, TCP and TLS, under one timeout.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiAddrs, GaiResolver, Name};
use thiserror::Error;
use tower_service::Service;

use super::Failure;
use crate::view::Site;

/// Why there is no connection, where the system does not say so itself.
#[derive(Debug, Error)]
pub(super) enum ConnectError {
    /// The name has no address.
    #[error("the name has no address")]
    NoName(#[source] io::Error),
    /// The name had no address in time.
    #[error("the name was not resolved in time")]
    NameTimedOut,
    /// All of it together took too long.
    #[error("connecting took too long")]
    TimedOut,
}

/// hyper-rustls' connector under one timeout for all of its steps.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<HttpConnector<Names>>,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(inner: HttpsConnector<HttpConnector<Names>>, timeout: Duration) -> Self {
        Self { inner, timeout }
    }
}

/// TCP, to whichever of a name's addresses answers first.
pub(super) fn tcp(timeout: Duration) -> HttpConnector<Names> {
    let mut http = HttpConnector::new_with_resolver(Names { system: GaiResolver::new(), timeout: share(timeout) });
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_happy_eyeballs_timeout(Some(Duration::from_millis(300)));
    http
}

/// What a name may take of all the time: beyond it the rest would not be enough to connect, and it is said what failed.
fn share(timeout: Duration) -> Duration {
    timeout - timeout / 10
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection, with TLS where it is spoken.
pub(super) type Stream = <HttpsConnector<HttpConnector<Names>> as Service<Uri>>::Response;

/// Where an origin is.
pub(super) type Place = (Scheme, Authority);

/// Where the origin of `site` is.
pub(super) fn place(site: &Site) -> Place {
    (site.origin_scheme.clone(), site.origin.clone())
}

/// Connects to an origin.
pub(super) async fn to((scheme, authority): &Place, mut connector: Connector) -> Result<Stream, Failure> {
    let uri = Uri::builder().scheme(scheme.clone()).authority(authority.clone()).path_and_query("/").build();
    let uri = uri.map_err(|_| Failure::Unreachable)?;
    let connected = async {
        std::future::poll_fn(|cx| connector.poll_ready(cx)).await?;
        connector.call(uri).await
    };
    connected.await.map_err(|error| Failure::of_connecting(&*error))
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let timeout = self.timeout;
        Box::pin(async move {
            match tokio::time::timeout(timeout, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(ConnectError::TimedOut.into()),
            }
        })
    }
}

/// The system's resolver, with a timeout and errors of its own.
#[derive(Debug, Clone)]
pub(super) struct Names {
    system: GaiResolver,
    timeout: Duration,
}

impl Service<Name> for Names {
    type Response = GaiAddrs;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<GaiAddrs, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(resolved(self.system.call(name), self.timeout))
    }
}

async fn resolved<A>(lookup: impl Future<Output = io::Result<A>>, timeout: Duration) -> Result<A, ConnectError> {
    match tokio::time::timeout(timeout, lookup).await {
        Ok(found) => found.map_err(ConnectError::NoName),
        Err(_) => Err(ConnectError::NameTimedOut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_name_is_told_from_a_slow_connection() {
        let limit = Duration::from_secs(5);
        let lookup = resolved(std::future::pending::<io::Result<()>>(), share(limit));
        let outcome = tokio::time::timeout(limit, lookup).await.expect("the name's own time ends first");
        assert!(matches!(outcome, Err(ConnectError::NameTimedOut)));
        let lookup = resolved(async { Err::<(), _>(io::ErrorKind::NotFound.into()) }, limit);
        assert!(matches!(lookup.await, Err(ConnectError::NoName(_))));
        assert!(resolved(async { Ok(()) }, limit).await.is_ok());
    }
}
