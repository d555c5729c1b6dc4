//! `/v1/txt`: TXT records that come and go.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Asked, Refusal, collected, json_answer};
use crate::control::{Control, chain};
use crate::texts::{EXPIRES_DEFAULT, EXPIRES_MAX, TTL_DEFAULT, TTL_MAX, TextsError};

/// What is to be added.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    name: String,
    value: String,
    #[serde(default)]
    ttl: Option<u32>,
    /// Seconds from now.
    #[serde(default)]
    expires: Option<u64>,
}

pub(super) async fn text(
    control: &Arc<Control>,
    method: &Method,
    query: &str,
    body: Incoming,
) -> Result<Answer, Refusal> {
    match *method {
        Method::GET => Ok(json_answer(StatusCode::OK, &json!({ "texts": control.texts.list(control.clock.now()) }))),
        Method::POST | Method::PUT => add(control, body).await,
        Method::DELETE => remove(control, query).await,
        _ => Err(Refusal::Method),
    }
}

async fn add(control: &Arc<Control>, body: Incoming) -> Result<Answer, Refusal> {
    let form = |why: serde_json::Error| {
        let example =
            "{ \"name\": \"_acme-challenge.www.example.net\", \"value\": \"..\", \"ttl\": 30, \"expires\": 3600 }";
        Refusal::BadRequest(format!("give {example}; ttl and expires are seconds and may be left out: {why}"))
    };
    let order: Order = serde_json::from_slice(&collected(body).await?).map_err(form)?;
    let (ttl, expires) = (order.ttl.unwrap_or(TTL_DEFAULT), order.expires.unwrap_or(EXPIRES_DEFAULT));
    if ttl > TTL_MAX || !(1..=EXPIRES_MAX).contains(&expires) {
        let text = format!("ttl must be from 0 to {TTL_MAX}, expires from 1 to {EXPIRES_MAX} seconds");
        return Err(Refusal::BadRequest(text));
    }
    let judged = control.dns_view.load().judge_text(&order.name, &order.value);
    judged.map_err(|error| Refusal::BadRequest(error.to_string()))?;
    let desk = control.clone();
    let adding = move || desk.texts.add(&order.name, &order.value, ttl, Duration::from_secs(expires), desk.clock.now());
    let added = written(adding).await?;
    Ok(json_answer(StatusCode::OK, &json!({ "name": added.name, "expires": expires })))
}

async fn remove(control: &Arc<Control>, query: &str) -> Result<Answer, Refusal> {
    let form = || {
        Refusal::BadRequest(
            "ask as DELETE /v1/txt?name=_acme-challenge.www.example.net, perhaps with &value=..".to_owned(),
        )
    };
    let asked = Asked::parse(query).ok_or_else(form)?;
    let Asked { name: Some(name), value, ip: None, url: None, .. } = asked else { return Err(form()) };
    let desk = control.clone();
    let removed = written(move || desk.texts.remove(&name, value.as_deref(), desk.clock.now())).await?;
    Ok(json_answer(StatusCode::OK, &json!({ "removed": removed })))
}

/// Writes to disk where that may block.
async fn written<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TextsError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error @ TextsError::Full)) => Err(Refusal::Conflict(error.to_string())),
        Ok(Err(error @ TextsError::Persist(_))) => Err(Refusal::Unavailable(chain(&error))),
        Err(panicked) => Err(Refusal::Unavailable(panicked.to_string())),
    }
}
