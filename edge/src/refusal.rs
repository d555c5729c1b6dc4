//! Answers that we make ourselves because there is no better one: the one place that picks their status and what
//! Proxy-Status says of them.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};

use crate::body::Body;
use crate::headers::Identity;
use crate::origin::Failure;
use crate::proxy_status::{ErrorType, PROXY_STATUS};

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
    /// A PURGE without the token.
    NoToken,
    /// A PURGE with a token that is not ours.
    WrongToken,
    /// A purge that does not hold: it could not be written down.
    NotPurged,
    /// As many fetches run as may.
    Busy,
    /// As many connections are open as may.
    Full,
    /// There is no answer from the origin.
    Origin(Failure),
    /// There is none, and what is stored must not stand in for it.
    HeldBack(Failure),
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
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "This server fetches as much as it may. Try again soon."),
            Self::Full => {
                (StatusCode::SERVICE_UNAVAILABLE, "This server has no room for more clients. Try again soon.")
            }
            Self::TooLarge | Self::Origin(Failure::RequestTooLarge) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "The request's body is too large.")
            }
            Self::TooManyFields => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The request has too many header fields.")
            }
            Self::NoToken => (StatusCode::UNAUTHORIZED, "Give the admin token as Authorization: Bearer."),
            Self::WrongToken => (StatusCode::FORBIDDEN, "That is not the admin token."),
            Self::NotPurged => (StatusCode::SERVICE_UNAVAILABLE, "The purge does not hold; try again."),
            Self::Origin(Failure::RequestStalled) => {
                (StatusCode::REQUEST_TIMEOUT, "The request's body does not come in time.")
            }
            Self::Origin(Failure::RequestBroken) => (StatusCode::BAD_REQUEST, "The request's body broke off."),
            Self::Origin(
                Failure::NoName
                | Failure::Refused
                | Failure::Unroutable
                | Failure::Certificate
                | Failure::TlsAlert
                | Failure::Tls,
            ) => (StatusCode::BAD_GATEWAY, "The origin cannot be reached."),
            Self::Origin(Failure::Unreachable) => (StatusCode::SERVICE_UNAVAILABLE, "The origin cannot be reached."),
            Self::Origin(Failure::NameTimedOut | Failure::ConnectTimedOut) => {
                (StatusCode::GATEWAY_TIMEOUT, "The origin cannot be reached in time.")
            }
            Self::HeldBack(_) => {
                (StatusCode::GATEWAY_TIMEOUT, "What is stored must not be used without the origin's word.")
            }
            Self::Origin(Failure::TimedOut) => (StatusCode::GATEWAY_TIMEOUT, "The origin does not answer in time."),
            Self::Origin(Failure::Closed) => (StatusCode::BAD_GATEWAY, "The origin does not answer."),
            Self::Origin(Failure::Incomplete) => (StatusCode::BAD_GATEWAY, "The origin's answer broke off."),
            Self::Origin(Failure::Broken | Failure::HeaderTooLarge | Failure::Coding) => {
                (StatusCode::BAD_GATEWAY, "The origin's answer cannot be understood.")
            }
        }
    }

    /// As Proxy-Status calls it.
    fn error_type(self) -> ErrorType {
        match self {
            // "The intermediary is generating a client (4xx) response on the origin's behalf" (RFC 9209 section 2.3.16).
            Self::BadRequest(_)
            | Self::Misdirected
            | Self::Method
            | Self::TooLarge
            | Self::TooManyFields
            | Self::NoToken
            | Self::WrongToken => ErrorType::HttpRequestError,
            Self::Loop => ErrorType::ProxyLoopDetected,
            Self::OnlyIfCached | Self::NotPurged => ErrorType::ProxyInternalResponse,
            Self::Busy | Self::Full => ErrorType::ConnectionLimitReached,
            Self::Origin(failure) | Self::HeldBack(failure) => failure.error_type(),
        }
    }

    /// Whether it is the origin's doing.
    pub fn is_origins(self) -> bool {
        matches!(self, Self::Origin(failure) | Self::HeldBack(failure) if failure.fetched().is_some())
    }

    /// The answer of the node that `identity` names.
    pub fn response(self, identity: &Identity) -> Response<Body> {
        let (status, sentence) = self.says();
        let page = format!("{} {}\n{sentence}\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
        let mut response = Response::new(Body::bytes(Bytes::from(page)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(value) = self.error_type().value(identity) {
            headers.insert(PROXY_STATUS, value);
        }
        if self == Self::NoToken {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self, Self::Busy | Self::Full) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self == Self::Method {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILURES: [Failure; 18] = [
        Failure::NoName,
        Failure::NameTimedOut,
        Failure::Refused,
        Failure::Unroutable,
        Failure::Unreachable,
        Failure::ConnectTimedOut,
        Failure::Certificate,
        Failure::TlsAlert,
        Failure::Tls,
        Failure::Closed,
        Failure::TimedOut,
        Failure::Broken,
        Failure::HeaderTooLarge,
        Failure::Coding,
        Failure::Incomplete,
        Failure::RequestTooLarge,
        Failure::RequestStalled,
        Failure::RequestBroken,
    ];

    #[test]
    fn statuses_are_the_recommended_ones() {
        let own = [
            Refusal::BadRequest("x"),
            Refusal::Misdirected,
            Refusal::Method,
            Refusal::Loop,
            Refusal::OnlyIfCached,
            Refusal::TooLarge,
            Refusal::TooManyFields,
            Refusal::NoToken,
            Refusal::WrongToken,
            Refusal::NotPurged,
            Refusal::Busy,
            Refusal::Full,
        ];
        for refusal in own.into_iter().chain(FAILURES.map(Refusal::Origin)) {
            let (status, kind) = (refusal.says().0, refusal.error_type());
            match (refusal, kind.status()) {
                // 508 is what CDNs say to a loop, and says it by itself.
                (Refusal::Loop, _) => assert_eq!(status, StatusCode::LOOP_DETECTED),
                (_, Some(recommended)) => assert_eq!(status, recommended, "{refusal:?}"),
                (Refusal::NotPurged, None) => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE),
                (Refusal::OnlyIfCached, None) => assert_eq!(status, StatusCode::GATEWAY_TIMEOUT),
                (_, None) => assert!(status.is_client_error(), "{refusal:?}"),
            }
            assert_eq!(refusal.is_origins(), matches!(refusal, Refusal::Origin(_)) && status.is_server_error());
        }
    }

    #[test]
    fn every_refusal_says_who_and_why_and_no_more() {
        let identity = Identity::new("nearcast-fra", "");
        let response = Refusal::Origin(Failure::Refused).response(&identity);
        assert_eq!(response.headers()[PROXY_STATUS], "nearcast-fra; error=connection_refused");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    }
}
