//! Requests to origins: a keep-alive pool per worker, so that no lock is shared, with a timeout on every step.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::HOST;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use nearcast_shared::config;
use nearcast_shared::trust::{self, TrustError};

use crate::body::RequestBody;
use crate::metrics::Fetched;
use crate::view::{Site, View};

mod connect;
mod failure;
mod framing;
pub mod reach;
mod upload;

use connect::Connector;
pub use failure::Failure;
pub use framing::has_a_sure_end;
use reach::Reach;
use upload::Upload;

/// What to ask an origin.
#[derive(Debug)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// The host the client asked for, as it is keyed, for sites that pass it on.
    pub client_host: String,
    /// All fields but Host.
    pub headers: HeaderMap,
}

/// One worker's connections to origins.
#[derive(Debug, Clone)]
pub struct Origins {
    client: Client<Connector, Upload>,
    /// For sites whose Host is not the origin's own: in HTTP/2 the name in the URL is the host.
    http1: Client<Connector, Upload>,
    header_count_max: usize,
    response_timeout: Duration,
    reach: Arc<Reach>,
    /// Between two pieces of an answer's body.
    pub read_timeout: Duration,
}

impl Origins {
    /// A pool for the thread that will use it. What it learns of who can be reached goes to `reach`.
    ///
    /// # Errors
    /// When the configured authorities cannot be used.
    pub fn new(config: &config::Origin, reach: Arc<Reach>) -> Result<Self, TrustError> {
        let [both, one] = connectors(config)?;
        let client = |connector| {
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(config.idle_timeout)
                .pool_max_idle_per_host(config.idle_connections)
                .http1_max_buf_size(config.header_size)
                .http1_max_headers(config.header_count)
                .http2_max_header_list_size(u32::try_from(config.header_size).unwrap_or(u32::MAX))
                .http2_initial_stream_window_size(1 << 20)
                .http2_initial_connection_window_size(4 << 20)
                // Else a connection that leads nowhere stays in use until TCP gives up.
                .http2_keep_alive_interval(Duration::from_secs(10))
                .http2_keep_alive_timeout(Duration::from_secs(5))
                .set_host(false)
                .build(connector)
        };
        let (client, http1) = (client(both), client(one));
        Ok(Self {
            client,
            http1,
            header_count_max: config.header_count,
            response_timeout: config.response_timeout,
            reach,
            read_timeout: config.read_timeout,
        })
    }

    /// Asks, and waits for the answer's header. Interim answers are never taken for the final one.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ask(&self, site: &Site, ask: Ask, body: RequestBody) -> Result<Response<Incoming>, Failure> {
        // A kept connection may be closed by the origin just as we use it: what is safe to repeat is asked once more.
        let again = (ask.method.is_safe() && body.is_empty()).then(|| ask_again(&ask));
        let first = self.send(site, ask, body).await;
        let result = match (first, again) {
            (Err(Failure::Closed), Some(again)) => self.send(site, again, RequestBody::Empty).await,
            (first, _) => first,
        };
        let counted = match &result {
            Ok(answer) if answer.status() == StatusCode::NOT_MODIFIED => Some(Fetched::NotModified),
            Ok(answer) if answer.status().is_server_error() => Some(Fetched::ServerError),
            Ok(_) => Some(Fetched::Answer),
            Err(failure) => failure.fetched(),
        };
        counted.into_iter().for_each(|fetched| site.metrics.fetch(fetched));
        match &result {
            Ok(_) => self.reach.answered(site),
            Err(failure) if failure.is_unconnected() => self.reach.failed(site, *failure),
            // It was connected to, or nobody tried.
            Err(_) => {}
        }
        result
    }

    async fn send(&self, site: &Site, ask: Ask, body: RequestBody) -> Result<Response<Incoming>, Failure> {
        let uri = Uri::builder()
            .scheme(site.origin_scheme.clone())
            .authority(site.origin.clone())
            .path_and_query(ask.target)
            .build()
            .map_err(|_| Failure::Broken)?;
        let (upload, turn) = Upload::new(body);
        let mut request = Request::new(upload);
        *request.method_mut() = ask.method;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = ask.headers;
        let host = site.origin_host.clone().or_else(|| ask.client_host.parse().ok()).ok_or(Failure::Broken)?;
        let own = host.as_bytes().eq_ignore_ascii_case(site.origin.as_str().as_bytes());
        let client = if own { &self.client } else { &self.http1 };
        request.headers_mut().insert(HOST, host);
        let answer = tokio::select! {
            biased;
            answer = client.request(request) => answer,
            () = turn.overdue(self.response_timeout) => return Err(Failure::TimedOut),
        };
        let answer = answer.map_err(|error| {
            tracing::debug!(site = site.name, error = &error as &dyn std::error::Error, "origin failed");
            turn.failure().unwrap_or_else(|| Failure::of(&error))
        })?;
        // HTTP/1 counts as it reads; of HTTP/2 only the size is bounded there.
        if answer.headers().len() > self.header_count_max {
            tracing::debug!(site = site.name, fields = answer.headers().len(), "origin's answer has too many fields");
            return Err(Failure::HeaderTooLarge);
        }
        framing::checked(answer)
    }
}

/// For HTTP/2 and HTTP/1.1, and for HTTP/1.1 alone.
fn connectors(config: &config::Origin) -> Result<[Connector; 2], TrustError> {
    let tls = trust::client_config(config.ca.as_deref(), &[])?;
    let https = || HttpsConnectorBuilder::new().with_tls_config(rustls::ClientConfig::clone(&tls)).https_or_http();
    let both = https().enable_all_versions().wrap_connector(connect::tcp(config.connect_timeout));
    let one = https().enable_http1().wrap_connector(connect::tcp(config.connect_timeout));
    Ok([both, one].map(|inner| Connector::new(inner, config.connect_timeout)))
}

/// Tries the origins that `reach` doubts, as long as it is polled.
///
/// # Errors
/// When the configured authorities cannot be used.
pub fn watch(
    config: &config::Origin,
    reach: Arc<Reach>,
    view: Arc<ArcSwap<View>>,
) -> Result<impl Future<Output = ()> + Send + 'static, TrustError> {
    let [both, _] = connectors(config)?;
    Ok(reach::watch(reach, view, both))
}

fn ask_again(ask: &Ask) -> Ask {
    Ask {
        method: ask.method.clone(),
        target: ask.target.clone(),
        client_host: ask.client_host.clone(),
        headers: ask.headers.clone(),
    }
}
