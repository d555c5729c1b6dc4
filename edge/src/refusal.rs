//! Answers that we make ourselves because there is no better one: the one place that picks their status.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use crate::body::Body;
use crate::origin::Failure;

/// Why a request gets no answer of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It breaks HTTP's rules.
    BadRequest(&'static str),
    /// No site takes its host, or not on this port or certificate.
    Misdirected,
    /// CONNECT and TRACE are not served.
    Method,
    /// It has been here before.
    Loop,
    /// It wants what is stored or nothing, and nothing is.
    OnlyIfCached,
    /// Its body is larger than allowed.
    TooLarge,
    /// It has more fields than allowed.
    TooManyFields,
    /// There is no answer from the origin.
    Origin(Failure),
}

impl Refusal {
    /// The status, and a sentence for people.
    fn says(self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(why) => (StatusCode::BAD_REQUEST, why),
            Self::Misdirected => (StatusCode::MISDIRECTED_REQUEST, "This server does not serve that host."),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "This server does not serve that method."),
            Self::Loop => (StatusCode::LOOP_DETECTED, "This request has been here before."),
            Self::OnlyIfCached => (StatusCode::GATEWAY_TIMEOUT, "It is not in the cache."),
            Self::TooLarge | Self::Origin(Failure::RequestTooLarge) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "The request's body is too large.")
            }
            Self::TooManyFields => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The request has too many header fields.")
            }
            Self::Origin(Failure::RequestStalled) => {
                (StatusCode::REQUEST_TIMEOUT, "The request's body does not come in time.")
            }
            Self::Origin(Failure::RequestBroken) => (StatusCode::BAD_REQUEST, "The request's body broke off."),
            Self::Origin(Failure::Unreachable) => (StatusCode::BAD_GATEWAY, "The origin cannot be reached."),
            Self::Origin(Failure::Broken) => (StatusCode::BAD_GATEWAY, "The origin's answer cannot be understood."),
            Self::Origin(Failure::TimedOut) => (StatusCode::GATEWAY_TIMEOUT, "The origin does not answer in time."),
        }
    }

    /// Whether it is the origin's doing.
    pub fn is_origins(self) -> bool {
        matches!(self, Self::Origin(failure) if failure.fetched().is_some())
    }

    /// The answer.
    pub fn response(self) -> Response<Body> {
        let (status, sentence) = self.says();
        let page = format!("{} {}\n{sentence}\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
        let mut response = Response::new(Body::bytes(Bytes::from(page)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self == Self::Method {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE"));
        }
        response
    }
}
