//! Fetching ahead of requests: a URL goes through the cache as a client's GET would, under the same key and rules and in
//! company with others' fetches, and nobody gets the answer.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, Request, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt, Collected};

use super::cached::Known;
use super::exchange::ClientExchange;
use crate::body::{Body, BodyError};
use crate::listener::connection::{Activity, Connection};
use crate::metrics::Outcome;
use crate::policy::storable::NotStored;
use crate::question::{Located, NotServed};
use crate::request::Admitted;
use crate::worker::Worker;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefetched {
    /// The same as a client's request would count as.
    pub outcome: Outcome,
    /// What a client would have got.
    pub status: StatusCode,
    /// Bytes of the body that went by.
    pub bytes: u64,
    /// Whether all of the answer is stored now.
    pub stored: bool,
    /// Why the answer was not stored, where that is known.
    pub not_stored: Option<String>,
    /// Why there is no answer, or not all of it.
    pub error: Option<String>,
}

/// The field that may not be among those of a prefetch: what is fetched is the whole answer to one GET of the URL.
pub fn forbidden(fields: &HeaderMap) -> Option<&'static HeaderName> {
    static FORBIDDEN: [HeaderName; 11] = [
        HOST,
        RANGE,
        IF_RANGE,
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        CONNECTION,
        UPGRADE,
    ];
    FORBIDDEN.iter().find(|name| fields.contains_key(*name))
}

/// Fetches `url` as a client at that address would, with these fields.
///
/// # Errors
/// When no site takes it.
pub async fn prefetch(
    worker: &Arc<Worker>,
    url: &Uri,
    fields: &HeaderMap,
    client: IpAddr,
) -> Result<Prefetched, NotServed> {
    let view = worker.edge.view.load_full();
    let Located { site, https, host, target } = Located::new(&view, url)?;
    let port = url.port_u16().unwrap_or(if https { 443 } else { 80 });
    let connection = Connection::new(client, port, https, Some(host.clone()), Arc::<Activity>::default());
    let mut request = Request::new(());
    *request.uri_mut() = url.clone();
    *request.headers_mut() = fields.clone();
    let admitted = Admitted { site: &site, host: host.into(), target: target.into() };
    let (parts, ()) = request.into_parts();
    let exchange = ClientExchange::new(worker, &view, &connection, admitted, &parts);
    let (response, outcome) = exchange.cached(Known::Nothing).await;
    worker.edge.metrics.prefetched(outcome).inc();
    let status = response.status();
    let mut told = Prefetched { outcome, status, bytes: 0, stored: false, not_stored: None, error: None };
    match outcome {
        Outcome::Hit | Outcome::Stale | Outcome::Revalidated | Outcome::Miss | Outcome::Collapsed => {
            match drain(response.into_body(), view.unannounced_max, &mut told.bytes).await {
                Ok(Drained::All) => {}
                Ok(Drained::TooLarge) => {
                    told.not_stored = Some(NotStored::TooLarge.token().to_owned());
                    return Ok(told);
                }
                Err(error) => told.error = Some(error.to_string()),
            }
        }
        // It is not stored, so that reading it is of no use. (No GET is a purge, and no prefetch comes over TLS.)
        Outcome::Pass | Outcome::Purge | Outcome::Dns => {}
        Outcome::Refused | Outcome::Failed => told.error = Some(sentence(response.into_body()).await),
    }
    // The last byte comes before the fetch is over. One that others' slow reading holds up is not waited for.
    let _held_up = tokio::time::timeout(view.wait_max, worker.edge.fills.over_for(exchange.url)).await;
    (told.stored, told.not_stored) = exchange.kept().await;
    Ok(told)
}

enum Drained {
    All,
    /// What comes beyond is not stored, and may never end.
    TooLarge,
}

/// Takes all of a body, as fast as it comes; of one of unknown length no more than is stored.
async fn drain(mut body: Body, unannounced_max: u64, bytes: &mut u64) -> Result<Drained, BodyError> {
    let most = if body.size_hint().exact().is_some() { u64::MAX } else { unannounced_max };
    while let Some(frame) = body.frame().await {
        *bytes += frame?.data_ref().map_or(0, Bytes::len) as u64;
        if *bytes > most {
            return Ok(Drained::TooLarge);
        }
    }
    Ok(Drained::All)
}

/// What an answer of our own says, behind its status line.
async fn sentence(body: Body) -> String {
    let bytes = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let page = String::from_utf8_lossy(&bytes);
    page.lines().nth(1).unwrap_or_default().to_owned()
}

impl ClientExchange<'_> {
    /// Whether all of an answer to this request is stored now; else why not, where that is known.
    async fn kept(&self) -> (bool, Option<String>) {
        if let Some(rule) = self.bypass() {
            return (false, Some(format!("rule `{}`", rule.name)));
        }
        let (key, object) = self.stored().await;
        if object.is_some_and(|object| object.is_complete()) {
            return (true, None);
        }
        let reason = self.worker.edge.uncacheable.of(&key, self.now());
        (false, reason.map(|reason| reason.token().to_owned()))
    }
}
