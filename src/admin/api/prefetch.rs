//! `POST /v1/prefetch`: URLs to fetch ahead of requests; a line of JSON comes for each when it is done.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Answer, NOBODY, Refusal, collected};
use crate::admin::lease::Lease;
use crate::control::Control;
use crate::prefetch::{Line, URLS_MAX};

/// An empty line comes when nothing else has for so long, so that the client knows that the node is there.
const BEAT: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    urls: Vec<String>,
    #[serde(default)]
    fields: BTreeMap<String, String>,
    client: Option<IpAddr>,
    jobs: Option<usize>,
}

pub(super) async fn prefetch(control: &Control, body: Incoming, lease: Arc<Lease>) -> Result<Answer, Refusal> {
    let place = control.place_for_prefetch()?;
    let bytes = collected(body).await?;
    let order = Order::parse(&bytes).map_err(Refusal::BadRequest)?;
    let fields = fields(&order.fields).map_err(Refusal::BadRequest)?;
    let client = order.client.unwrap_or(NOBODY);
    let lines = control.prefetch(place, &order.urls, fields, client, order.jobs.unwrap_or(usize::MAX))?;
    let mut answer = Response::new(StreamBody::new(pieces(lines, lease)).boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

impl Order {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let form = "give {\"urls\": [\"https://www.example.net/a\", ..]}, and perhaps \"fields\": {\"accept-encoding\": \"br\"}, \
                    \"client\": \"192.0.2.1\", \"jobs\": 4";
        let order: Self = serde_json::from_slice(bytes).map_err(|error| format!("{error}; {form}"))?;
        match order.urls.len() {
            0 => Err(format!("there are no urls; {form}")),
            1..=URLS_MAX if order.jobs == Some(0) => Err("jobs must be at least 1".to_owned()),
            1..=URLS_MAX => Ok(order),
            more => Err(format!("there are {more} urls, more than {URLS_MAX}: make several calls")),
        }
    }
}

fn fields(given: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let field = |(name, value): (&String, &String)| {
        let malformed = || format!("fields: `{name}: {value}` is not a field");
        let name = HeaderName::try_from(name.as_str()).map_err(|_| malformed())?;
        Ok((name, HeaderValue::try_from(value.as_str()).map_err(|_| malformed())?))
    };
    given.iter().map(field).collect()
}

/// The lines, and the beats between them.
fn pieces(
    lines: mpsc::Receiver<Line>,
    lease: Arc<Lease>,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    stream::unfold((lines, lease), async |(mut lines, lease)| {
        let piece = match timeout(BEAT, lines.recv()).await {
            Ok(Some(line)) => text(&line),
            Ok(None) => return None,
            Err(_) => Bytes::from_static(b"\n"),
        };
        lease.renew();
        Some((Ok(Frame::data(piece)), (lines, lease)))
    })
}

fn text(line: &Line) -> Bytes {
    // Our own type: it always serializes.
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    #[test]
    fn orders() {
        let parse = |text: &str| Order::parse(text.as_bytes());
        let order = parse(r#"{"urls": ["http://h/a"], "fields": {"x": "1"}, "client": "::1", "jobs": 3}"#).unwrap();
        assert_eq!((order.urls.len(), order.fields.len(), order.jobs), (1, 1, Some(3)));
        let urls = |count: usize| serde_json::json!({ "urls": vec!["http://h/"; count] }).to_string();
        assert!(parse(&urls(URLS_MAX)).is_ok());
        let rows = [
            (urls(URLS_MAX + 1), "10001 urls, more than 10000"),
            (urls(0), "there are no urls"),
            ("{}".to_owned(), "missing field `urls`"),
            (r#"{"urls": ["a"], "url": "b"}"#.to_owned(), "unknown field `url`"),
            (r#"{"urls": ["a"], "jobs": 0}"#.to_owned(), "jobs must be at least 1"),
            (r#"{"urls": ["a"], "client": "me"}"#.to_owned(), "invalid IP address"),
        ];
        for (text, wanted) in rows {
            let mistake = parse(&text).unwrap_err();
            assert!(mistake.contains(wanted), "{mistake}");
        }
    }

    #[test]
    fn malformed_fields() {
        let one = |name: &str, value: &str| fields(&BTreeMap::from([(name.to_owned(), value.to_owned())]));
        assert_eq!(one("Accept", "a").unwrap()["accept"], "a");
        assert!(one("a b", "c").is_err() && one("a", "b\nc").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_client_hears_something_all_the_time() {
        let (sender, lines) = mpsc::channel(1);
        let mut pieces = std::pin::pin!(pieces(lines, Arc::new(Lease::new())));
        let line = Line {
            url: "http://h/".to_owned(),
            outcome: "hit",
            status: Some(200),
            bytes: 5,
            stored: true,
            not_stored: None,
            error: None,
        };
        let mut next = async || pieces.next().await.map(|piece| piece.unwrap().into_data().unwrap());
        assert_eq!(next().await.unwrap(), "\n");
        sender.send(line).await.unwrap();
        let wanted = "{\"url\":\"http://h/\",\"outcome\":\"hit\",\"status\":200,\"bytes\":5,\"stored\":true}\n";
        assert_eq!(next().await.unwrap(), wanted);
        drop(sender);
        assert_eq!(next().await, None);
    }
}
