//! What the admin API answers.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use nearcast_shared::bearer;
use nearcast_shared::config::Secret;
use serde::Serialize;
use serde_json::json;

use super::lease::Lease;
use crate::control::{Control, OrderError, chain};
use crate::reload::Force;

mod hold;
mod prefetch;
mod purge;
mod text;

pub(crate) use purge::ENTRIES_MAX as PURGE_ENTRIES_MAX;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Why an admin request is not followed: the one place that picks its status.
#[derive(Debug)]
enum Refusal {
    BadRequest(String),
    Unauthorized,
    NotFound(String),
    Method,
    TooLarge(String),
    Conflict(String),
    Unavailable(String),
}

impl Refusal {
    fn answer(self) -> Answer {
        let (status, text) = match self {
            Self::BadRequest(text) => (StatusCode::BAD_REQUEST, text),
            Self::Unauthorized => {
                (StatusCode::UNAUTHORIZED, "give the admin token as Authorization: Bearer".to_owned())
            }
            Self::NotFound(text) => (StatusCode::NOT_FOUND, text),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "another method is needed here".to_owned()),
            Self::TooLarge(text) => (StatusCode::PAYLOAD_TOO_LARGE, text),
            Self::Conflict(text) => (StatusCode::CONFLICT, text),
            Self::Unavailable(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
        };
        let mut answer = json_answer(status, &json!({ "error": text }));
        if status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

impl From<OrderError> for Refusal {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Malformed(text) => Self::BadRequest(text),
            OrderError::Unknown(text) => Self::NotFound(text),
            OrderError::Failed(..) => Self::Unavailable(error.to_string()),
        }
    }
}

/// Answers one request.
pub(super) async fn answer(control: &Arc<Control>, request: Request<Incoming>, lease: Arc<Lease>) -> Answer {
    match route(control, request, lease).await {
        Ok(answer) => answer,
        Err(refusal) => refusal.answer(),
    }
}

async fn route(control: &Arc<Control>, request: Request<Incoming>, lease: Arc<Lease>) -> Result<Answer, Refusal> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    if let ["health"] | ["metrics"] = segments.as_slice() {
        require(&parts.method, &Method::GET)?;
        return Ok(if segments == ["health"] { health(control) } else { metrics(control) });
    }
    authorize(control.config.load().admin.token.as_ref(), &parts.headers)?;
    match segments.as_slice() {
        ["v1", "status"] => {
            require(&parts.method, &Method::GET)?;
            Ok(json_answer(StatusCode::OK, &control.status()))
        }
        ["v1", "explain"] => {
            require(&parts.method, &Method::GET)?;
            explain(control, parts.uri.query().unwrap_or_default()).await
        }
        ["v1", "object"] => {
            require(&parts.method, &Method::GET)?;
            object(control, parts.uri.query().unwrap_or_default()).await
        }
        ["v1", "purge"] => {
            require(&parts.method, &Method::POST)?;
            purge::purge(control, body).await
        }
        ["v1", "prefetch"] => {
            require(&parts.method, &Method::POST)?;
            prefetch::prefetch(control, body, lease).await
        }
        ["v1", "txt"] => text::text(control, &parts.method, parts.uri.query().unwrap_or_default(), body).await,
        ["v1", "reload"] => {
            require(&parts.method, &Method::POST)?;
            reload(control, parts.uri.query().unwrap_or_default()).await
        }
        ["v1", "pops", name, state] => {
            require(&parts.method, &Method::POST)?;
            hold::hold(control, name, state, parts.uri.query(), &collected(body).await?).await
        }
        _ => Err(Refusal::NotFound(format!("there is no {path}"))),
    }
}

/// Bytes of a request's body.
const BODY_MAX: usize = 16 << 20;

/// For all of it to come.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// All of a request's body.
async fn collected(body: Incoming) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIME_MAX, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal::TooLarge(format!("the body is larger than {} MiB; make several calls", BODY_MAX >> 20)))
        }
        Ok(Err(_)) => Err(Refusal::BadRequest("the body broke off".to_owned())),
        Err(_) => Err(Refusal::BadRequest("the body did not come in time".to_owned())),
    }
}

fn require(method: &Method, wanted: &Method) -> Result<(), Refusal> {
    if method == wanted { Ok(()) } else { Err(Refusal::Method) }
}

/// Without a token configured nothing but health and metrics is answered.
fn authorize(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Refusal> {
    match (token, bearer::given(headers)) {
        (Some(token), Some(given)) if token.is(given) => Ok(()),
        _ => Err(Refusal::Unauthorized),
    }
}

fn health(control: &Control) -> Answer {
    let up = control.health.says().is_up();
    let status = if up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text_answer(status, "text/plain; charset=utf-8", if up { "up\n" } else { "down\n" }.to_owned())
}

fn metrics(control: &Control) -> Answer {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    text_answer(StatusCode::OK, kind, control.metrics.render())
}

async fn explain(control: &Control, query: &str) -> Result<Answer, Refusal> {
    let form = || {
        let of_cache = "/v1/explain?url=https%3A%2F%2Fwww.example.net%2Fa&field=accept-language%3A%20de";
        Refusal::BadRequest(format!("ask as /v1/explain?name=www.example.net&ip=192.0.2.1 or as {of_cache}"))
    };
    let Asked { name, ip, url, fields, value: None } = Asked::parse(query).ok_or_else(form)? else {
        return Err(form());
    };
    match (name, ip, url) {
        (None, ip, Some(url)) => {
            let client = ip.unwrap_or(NOBODY);
            Ok(json_answer(StatusCode::OK, &control.explain_url(&url, &fields, client).await?))
        }
        (Some(name), Some(ip), None) if fields.is_empty() => {
            Ok(json_answer(StatusCode::OK, &control.explain(&name, ip)?))
        }
        _ => Err(form()),
    }
}

async fn object(control: &Control, query: &str) -> Result<Answer, Refusal> {
    let form = || {
        let example = "/v1/object?url=https%3A%2F%2Fwww.example.net%2Fa&field=accept-language%3A%20de";
        Refusal::BadRequest(format!("ask as {example}"))
    };
    match Asked::parse(query).ok_or_else(form)? {
        Asked { name: None, ip, url: Some(url), fields, value: None } => {
            let client = ip.unwrap_or(NOBODY);
            Ok(json_answer(StatusCode::OK, &control.inspect(&url, &fields, client).await?))
        }
        _ => Err(form()),
    }
}

/// The client that is asked about when none is named.
const NOBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// What a query asks about.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    name: Option<String>,
    value: Option<String>,
    ip: Option<IpAddr>,
    url: Option<String>,
    fields: HeaderMap,
}

impl Asked {
    fn parse(query: &str) -> Option<Self> {
        let mut asked = Self::default();
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=')?;
            let value = unescape(value)?;
            match key {
                "name" => asked.name = Some(value),
                "value" => asked.value = Some(value),
                "ip" => asked.ip = Some(value.parse().ok()?),
                "url" => asked.url = Some(value),
                "field" => {
                    let (name, value) = value.split_once(':')?;
                    asked
                        .fields
                        .append(HeaderName::try_from(name.trim()).ok()?, HeaderValue::try_from(value.trim()).ok()?);
                }
                _ => return None,
            }
        }
        Some(asked)
    }
}

/// Percent-decoding of a query value.
fn unescape(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

async fn reload(control: &Arc<Control>, query: &str) -> Result<Answer, Refusal> {
    let (mut force, mut clock_is_right) = (Force::No, false);
    for word in query.split('&').filter(|word| !word.is_empty()) {
        match word {
            "force=0" => force = Force::No,
            "force=1" => force = Force::Yes,
            "clock=right" => clock_is_right = true,
            _ => {
                let allowed = "post to /v1/reload, with force=1, clock=right, both or none";
                return Err(Refusal::BadRequest(allowed.to_owned()));
            }
        }
    }
    let control = control.clone();
    let reloading = move || {
        if clock_is_right {
            control.believe_clock()?;
        }
        control.reload(force).map_err(|error| Refusal::Conflict(chain(&error)))
    };
    match tokio::task::spawn_blocking(reloading).await {
        Ok(Ok(reloaded)) => Ok(json_answer(StatusCode::OK, &reloaded)),
        Ok(Err(refusal)) => Err(refusal),
        Err(panicked) => Err(Refusal::Unavailable(panicked.to_string())),
    }
}

fn json_answer(status: StatusCode, value: &impl Serialize) -> Answer {
    // The values are our own types: they always serialize.
    let text = serde_json::to_string(value).unwrap_or_default();
    text_answer(status, "application/json", text + "\n")
}

fn text_answer(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::from(text).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::AUTHORIZATION;

    #[test]
    fn tokens() {
        let token = Secret::new("correct-horse".to_owned());
        let rows = [
            ("right", Some(&token), Some("Bearer correct-horse"), true),
            ("the scheme's case does not matter", Some(&token), Some("bearer correct-horse"), true),
            ("wrong", Some(&token), Some("Bearer correct-house"), false),
            ("longer", Some(&token), Some("Bearer correct-horse2"), false),
            ("another scheme", Some(&token), Some("Basic correct-horse"), false),
            ("none given", Some(&token), None, false),
            ("none configured", None, Some("Bearer "), false),
        ];
        for (name, token, given, wanted) in rows {
            let headers = given.map(|value| (AUTHORIZATION, HeaderValue::from_static(value))).into_iter().collect();
            assert_eq!(authorize(token, &headers).is_ok(), wanted, "{name}");
        }
    }

    #[test]
    fn query_values() {
        assert_eq!(unescape("2001%3Adb8%3a%3A1").as_deref(), Some("2001:db8::1"));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }
}
