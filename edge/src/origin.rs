//! Requests to origins: a keep-alive pool per worker, so that no lock is shared, with a timeout on every step.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
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
mod pool;
pub mod reach;
mod upload;

use connect::Connector;
pub use failure::Failure;
pub use framing::has_a_sure_end;
pub use pool::Answer;
use pool::Pool;
use reach::Reach;
use upload::Upload;

/// What to ask an origin.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: &'a str,
    /// The host the client asked for, as it is keyed, for sites that pass it on.
    pub client_host: &'a str,
    /// All fields but Host.
    pub headers: &'a HeaderMap,
}

/// One worker's connections to origins.
#[derive(Debug, Clone)]
pub struct Origins {
    /// For origins that may speak HTTP/2.
    both: Client<Connector, Upload>,
    /// For all others.
    http1: Arc<Pool>,
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
        let both = Client::builder(TokioExecutor::new())
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
            .build(both);
        Ok(Self {
            both,
            http1: Pool::new(one, config),
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
    pub async fn ask(&self, site: &Site, ask: &Ask<'_>, body: RequestBody) -> Result<Response<Answer>, Failure> {
        // A kept connection may be closed by the origin just as we use it: what is safe to repeat is asked once more.
        let may_repeat = ask.method.is_safe() && body.is_empty();
        let result = match self.send(site, ask, body).await {
            Err(Failure::Closed) if may_repeat => self.send(site, ask, RequestBody::Empty).await,
            first => first,
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

    async fn send(&self, site: &Site, ask: &Ask<'_>, body: RequestBody) -> Result<Response<Answer>, Failure> {
        let host = site.origin_host.clone().or_else(|| ask.client_host.parse().ok()).ok_or(Failure::Broken)?;
        // In HTTP/2 the name in the URL is the host, so that it can be spoken only where that is the origin's own.
        let is_own = host.as_bytes().eq_ignore_ascii_case(site.origin.as_str().as_bytes());
        let maybe_http2 = site.origin_scheme == Scheme::HTTPS && is_own;
        let uri = Uri::builder().path_and_query(ask.target);
        let uri = match maybe_http2 {
            true => uri.scheme(site.origin_scheme.clone()).authority(site.origin.clone()),
            // It goes out as it is here.
            false => uri,
        };
        let uri = uri.build().map_err(|_| Failure::Broken)?;
        let (upload, turn) = Upload::new(body);
        let mut request = Request::new(upload);
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = ask.headers.clone();
        request.headers_mut().insert(HOST, host);
        let asked = async {
            match maybe_http2 {
                true => self
                    .both
                    .request(request)
                    .await
                    .map(|answer| answer.map(Answer::driven_elsewhere))
                    .map_err(|error| Failure::of(&error)),
                false => self.http1.ask(connect::place(site), request).await,
            }
        };
        let answer = tokio::select! {
            biased;
            answer = asked => answer,
            () = turn.overdue(self.response_timeout) => return Err(Failure::TimedOut),
        };
        let answer = answer.map_err(|failure| {
            tracing::debug!(site = site.name, %failure, "origin failed");
            turn.failure().unwrap_or(failure)
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
