//! DNS over HTTPS on a site's listener, where the operator turned it on: the path is not the site's own then.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Method, request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use nearcast_shared::doh::{Doh, QUERY_BYTES_MAX};

use super::exchange::Answered;
use crate::body::{Body, BodyError, Timed};
use crate::metrics::Outcome;
use crate::origin::Failure;
use crate::refusal::Refusal;
use crate::view::View;
use crate::worker::Worker;

/// Answers a query of `client`, whom DNS takes for who asks: fields that name another are for sites.
pub(super) async fn answer(
    doh: &Doh,
    worker: &Worker,
    view: &View,
    client: IpAddr,
    parts: &request::Parts,
    body: Incoming,
) -> Answered {
    let query = if parts.method == Method::POST { read(view, body).await } else { Ok(Bytes::new()) };
    match query {
        Ok(query) => ((doh.respond)(parts, &query, client).map(Body::bytes), Outcome::Dns),
        Err(error) => (refusal(&error).response(&worker.edge.identity), Outcome::Refused),
    }
}

async fn read(view: &View, body: Incoming) -> Result<Bytes, BodyError> {
    let body = Timed::new(body, QUERY_BYTES_MAX as u64, view.receive_timeout);
    // A query is one piece, so that there is no time between several.
    let read = tokio::time::timeout(view.receive_timeout, body.collect()).await;
    Ok(read.map_err(|_| BodyError::Stalled)??.to_bytes())
}

fn refusal(error: &BodyError) -> Refusal {
    match error {
        BodyError::TooLarge => Refusal::TooLarge,
        BodyError::Stalled => Refusal::Origin(Failure::RequestStalled),
        BodyError::Broken(_) | BodyError::Lost | BodyError::FillFailed => Refusal::Origin(Failure::RequestBroken),
    }
}
