//! From an HTTP request to a query, and from its answer to the response (RFC 8484).

use std::net::SocketAddr;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use domain::base::Message;
use domain::rdata::Soa;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request};

use crate::metrics::{Dropped, Transport};
use crate::respond::Desk;
use crate::server::{Plane, QUERY_MAX};

/// What queries and answers are called.
const DNS_MESSAGE: &str = "application/dns-message";

/// Said of a query that is.
pub(super) const TOO_LONG: &str = "No DNS query needs that many bytes.";

/// Why a request is no query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unasked {
    /// RFC 8484 section 4.1: "DoH servers MUST implement both the POST and GET methods." There are no others.
    Method,
    /// The body is something else.
    MediaType,
    /// A GET without `dns`, or `dns` is not base64url without padding.
    Variable,
    /// It has more than [`QUERY_MAX`] bytes.
    Long,
}

impl Plane {
    /// Answers a request whose path is that of DNS over HTTPS.
    ///
    /// RFC 8484 section 4.2.1: "A successful HTTP response with a 2xx status code [..] is used for any valid DNS response,
    /// regardless of the DNS response code."
    pub fn over_https(&self, parts: &request::Parts, body: &[u8], peer: SocketAddr) -> Response<Bytes> {
        let query = match query(parts, body) {
            Ok(query) => query,
            Err(Unasked::Method) => {
                let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "DNS queries come by GET or POST.");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
                return response;
            }
            Err(Unasked::MediaType) => {
                let text = "DNS queries are of type application/dns-message.";
                return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
            }
            Err(Unasked::Long) if parts.method == Method::POST => {
                return refusal(StatusCode::PAYLOAD_TOO_LARGE, TOO_LONG);
            }
            Err(Unasked::Long) => return refusal(StatusCode::URI_TOO_LONG, TOO_LONG),
            Err(Unasked::Variable) => {
                return refusal(
                    StatusCode::BAD_REQUEST,
                    "There is no DNS query in dns=, in base64url without padding.",
                );
            }
        };
        let mut answer = Vec::new();
        match self.respond(&query, peer, Transport::Https, &mut Desk::default(), &mut answer) {
            Ok(()) => success(answer, parts.method == Method::HEAD),
            Err(reason) => {
                self.count_drop(reason);
                match reason {
                    Dropped::Short | Dropped::Response => refusal(StatusCode::BAD_REQUEST, "That is not a DNS query."),
                    Dropped::Long | Dropped::Source | Dropped::Send | Dropped::Limited => {
                        refusal(StatusCode::INTERNAL_SERVER_ERROR, "There is no answer to that.")
                    }
                }
            }
        }
    }
}

/// A response that is not DNS.
pub(super) fn refusal(status: StatusCode, text: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// HEAD is GET without the body (RFC 9110 section 9.3.2).
fn success(answer: Vec<u8>, is_head: bool) -> Response<Bytes> {
    let (cache_control, length) = (cache_control(&answer), answer.len());
    let mut response = Response::new(if is_head { Bytes::new() } else { Bytes::from(answer) });
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(DNS_MESSAGE));
    headers.insert(CACHE_CONTROL, cache_control);
    response
}

/// The query that a request is.
fn query(parts: &request::Parts, body: &[u8]) -> Result<Vec<u8>, Unasked> {
    let query = match parts.method {
        Method::GET | Method::HEAD => {
            let mut variables = parts.uri.query().unwrap_or_default().split('&');
            let encoded = variables.find_map(|variable| variable.strip_prefix("dns=")).ok_or(Unasked::Variable)?;
            // RFC 8484 section 6: "[..] the data payload for this media type MUST be encoded with base64url [RFC4648] and
            // then provided as a variable named "dns" [..]. Padding characters for base64url MUST NOT be included."
            BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| Unasked::Variable)
        }
        Method::POST if is_dns_message(&parts.headers) => Ok(body.to_vec()),
        Method::POST => Err(Unasked::MediaType),
        _ => Err(Unasked::Method),
    }?;
    if query.len() > QUERY_MAX { Err(Unasked::Long) } else { Ok(query) }
}

fn is_dns_message(headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(DNS_MESSAGE)
}

/// RFC 8484 section 5.1: "The assigned freshness lifetime of a DoH HTTP response MUST be less than or equal to the smallest
/// TTL in the Answer section of the DNS response." Private: a steered answer is for whom it was made, which a shared cache does
/// not know.
fn cache_control(answer: &[u8]) -> HeaderValue {
    let lifetime = lifetime(answer).map(|seconds| HeaderValue::try_from(format!("private, max-age={seconds}")));
    lifetime.and_then(Result::ok).unwrap_or_else(|| HeaderValue::from_static("no-store"))
}

/// Seconds that an answer may be kept. Of one without data those that its SOA record says: "[..] the response freshness
/// lifetime MUST NOT be greater than the MINIMUM field from that SOA record" (RFC 8484 section 5.1).
fn lifetime(answer: &[u8]) -> Option<u32> {
    let message = Message::from_octets(answer).ok()?;
    let smallest = message.answer().ok()?.flatten().map(|record| record.ttl().as_secs()).min();
    smallest.or_else(|| {
        let soas = message.authority().ok()?.limit_to::<Soa<_>>().flatten();
        soas.map(|soa| soa.ttl().as_secs().min(soa.data().minimum().as_secs())).min()
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;

    fn ask(method: &str, target: &str, media_type: Option<&str>, body: &[u8]) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(media_type) = media_type {
            request = request.header(CONTENT_TYPE, media_type);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        fixture::plane(fixture::view()).over_https(&parts, body, (Ipv4Addr::LOCALHOST, 4000).into())
    }

    fn field(response: &Response<Bytes>, name: http::HeaderName) -> &str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn statuses() {
        let query = fixture::query("cdn.example.net", 6);
        let encoded = BASE64URL_NOPAD.encode(&query);
        let get = format!("/dns-query?dns={encoded}");
        let beside = format!("/dns-query?a=b&dns={encoded}&c");
        let padded = format!("/dns-query?dns={encoded}=");
        let mut response = query.clone();
        response[2] |= 0x80;
        let of_response = format!("/dns-query?dns={}", BASE64URL_NOPAD.encode(&response));
        let (post, dns) = ("/dns-query", Some(DNS_MESSAGE));
        type Row<'a> = (&'a str, &'a str, &'a str, Option<&'a str>, &'a [u8], u16);
        let (most, long) = (vec![0; 4096], vec![0; 4097]);
        let [get_most, get_long] =
            [&most, &long].map(|query| format!("/dns-query?dns={}", BASE64URL_NOPAD.encode(query)));
        let rows: [Row<'_>; 21] = [
            ("GET", "GET", &get, None, &[], 200),
            ("GET beside other variables", "GET", &beside, None, &[], 200),
            ("HEAD", "HEAD", &get, None, &[], 200),
            ("POST", "POST", post, dns, &query, 200),
            ("POST, in other letters", "POST", post, Some("Application/DNS-Message ; a=b"), &query, 200),
            ("POST, and dns= is not looked at", "POST", "/dns-query?dns=x", dns, &query, 200),
            ("no variable", "GET", "/dns-query", None, &[], 400),
            ("another variable", "GET", "/dns-query?xdns=AAAA", None, &[], 400),
            ("not base64url", "GET", "/dns-query?dns=a+b/", None, &[], 400),
            ("padding", "GET", &padded, None, &[], 400),
            ("no query", "GET", "/dns-query?dns=AAAA", None, &[], 400),
            ("an answer", "GET", &of_response, None, &[], 400),
            ("an empty body", "POST", post, dns, &[], 400),
            ("no media type", "POST", post, None, &query, 415),
            ("another media type", "POST", post, Some("application/dns-json"), &query, 415),
            ("PUT", "PUT", post, dns, &query, 405),
            ("DELETE", "DELETE", &get, None, &[], 405),
            ("as long as may be", "POST", post, dns, &most, 200),
            ("too long", "POST", post, dns, &long, 413),
            ("GET as long as may be", "GET", &get_most, None, &[], 200),
            ("GET too long", "GET", &get_long, None, &[], 414),
        ];
        for (name, method, target, media_type, body, status) in rows {
            let response = ask(method, target, media_type, body);
            assert_eq!(response.status().as_u16(), status, "{name}");
            let wanted = if status == 200 { DNS_MESSAGE } else { "text/plain" };
            assert_eq!(field(&response, CONTENT_TYPE), wanted, "{name}");
            assert_eq!(response.body().is_empty(), method == "HEAD", "{name}");
            assert_eq!(field(&response, ALLOW), if status == 405 { "GET, HEAD, POST" } else { "" }, "{name}");
        }
    }

    #[test]
    fn answers_are_kept_as_long_as_their_ttl() {
        // (name, name asked, type, Cache-Control)
        let rows = [
            ("data", "fra.cdn.example.net", 1, "private, max-age=60"),
            ("no data", "fra.cdn.example.net", 16, "private, max-age=20"),
            ("no name", "nobody.cdn.example.net", 1, "private, max-age=20"),
            ("refused", "example.org", 1, "no-store"),
        ];
        for (name, asked, kind, wanted) in rows {
            let response = ask("POST", "/dns-query", Some(DNS_MESSAGE), &fixture::query(asked, kind));
            assert_eq!((response.status().as_u16(), field(&response, CACHE_CONTROL)), (200, wanted), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_request_has_a_response(variable in "[a-zA-Z0-9_=&%-]{0,80}", body in proptest::collection::vec(any::<u8>(), 0..80)) {
            thread_local!(static PLANE: Plane = fixture::plane(fixture::view()));
            for (method, media_type) in [("GET", "text/plain"), ("POST", DNS_MESSAGE)] {
                let request = Request::builder().method(method).uri(format!("/?dns={variable}")).header(CONTENT_TYPE, media_type);
                let (parts, ()) = request.body(()).unwrap().into_parts();
                let response = PLANE.with(|plane| plane.over_https(&parts, &body, (Ipv4Addr::LOCALHOST, 4000).into()));
                prop_assert!([200, 400].contains(&response.status().as_u16()));
            }
        }

        #[test]
        fn any_bytes_have_a_lifetime_or_none(answer in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = cache_control(&answer);
            prop_assert!(text == "no-store" || text.to_str().unwrap().starts_with("private, max-age="));
        }
    }
}
