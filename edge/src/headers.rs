//! Header fields on their way through: hop by hop ones end here, and the origin learns who asked.

use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

/// RFC 8586.
pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
/// RFC 9211.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Who asked, for origins.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// How the client came, for origins.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Fields that end at each hop (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authorization"),
];

/// Fields that must never be dropped because Connection names them: a client could make us forget what they say.
const NEVER_NAMED: [&str; 9] =
    ["cdn-loop", "cache-control", "host", "content-length", "age", "vary", "set-cookie", "x-forwarded-for", "via"];

/// Fields that some frameworks let override the URL, host or method; they are not part of the key, so they do not pass.
/// So is every X-Forwarded-* but the two that we write ourselves.
const OVERRIDES: [&str; 10] = [
    "x-host",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-url-scheme",
    "x-scheme",
    "front-end-https",
];

/// Removes what ends at this hop, also what Connection names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().filter(|name| !NEVER_NAMED.contains(&name.as_str())) {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove("proxy-authenticate");
    headers.remove("proxy-authentication-info");
}

/// Who this node is, in header fields.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `nearcast-<pop>`, in Via and Cache-Status.
    pub name: String,
    /// `nearcast-<node id>`, in CDN-Loop: other nodes and fleets must not take it for their own.
    pub loop_id: String,
}

/// What is known of the client's side of a request.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The other end of the connection.
    pub address: IpAddr,
    /// Whether it is one of the site's trusted proxies.
    pub trusted: bool,
    /// Whether the client came over TLS, as far as we or its trusted proxy know; part of the key.
    pub https: bool,
    /// The request's HTTP version.
    pub version: Version,
}

/// Whether a client came over TLS: its connection says so, or the trusted proxy before it.
pub fn came_over_tls(headers: &HeaderMap, connection: bool, trusted: bool) -> bool {
    match headers.get(X_FORWARDED_PROTO).filter(|_| trusted).map(HeaderValue::as_bytes) {
        Some(b"https") => true,
        Some(b"http") => false,
        Some(_) | None => connection,
    }
}

/// Whether this node already handled the request (RFC 8586).
pub fn is_looping(headers: &HeaderMap, identity: &Identity) -> bool {
    let lines = headers.get_all(CDN_LOOP).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|item| {
        let id = item.split(';').next().unwrap_or_default();
        id.trim() == identity.loop_id
    })
}

/// Turns a client's header fields into those for the origin.
pub fn for_origin(headers: &mut HeaderMap, peer: Peer, identity: &Identity) {
    strip_hop_by_hop(headers);
    headers.remove(HOST);
    for name in OVERRIDES {
        headers.remove(name);
    }
    let ours = [X_FORWARDED_FOR, X_FORWARDED_PROTO];
    let others = headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-") && !ours.contains(name));
    let others: Vec<HeaderName> = others.cloned().collect();
    others.iter().for_each(|name| drop(headers.remove(name)));
    if !peer.trusted {
        for name in ["forwarded", "x-real-ip", "x-forwarded-for"] {
            headers.remove(name);
        }
    }
    append_to_list(headers, X_FORWARDED_FOR, &peer.address.to_string());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if peer.https { "https" } else { "http" }));
    append_to_list(headers, CDN_LOOP, &identity.loop_id);
    add_via(headers, peer.version, identity);
}

/// Adds this node to Via (RFC 9110 section 7.6.3); `version` is that of the message as it was received.
pub fn add_via(headers: &mut HeaderMap, version: Version, identity: &Identity) {
    let protocol = match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        Version::HTTP_3 => "3.0",
        _ => "1.1",
    };
    append_to_list(headers, VIA, &format!("{protocol} {}", identity.name));
}

/// Adds an element to a list field, as one line with what was there.
fn append_to_list(headers: &mut HeaderMap, name: HeaderName, element: &str) {
    let mut value = Vec::new();
    for line in headers.get_all(&name) {
        value.extend_from_slice(line.as_bytes());
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(element.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&value) {
        headers.insert(name, value);
    }
}

/// The one valid Content-Length, if any.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    line.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn identity() -> Identity {
        Identity { name: "nearcast-fra".to_owned(), loop_id: "nearcast-1234".to_owned() }
    }

    fn peer(trusted: bool) -> Peer {
        Peer { address: "192.0.2.7".parse().unwrap(), trusted, https: true, version: Version::HTTP_11 }
    }

    #[test]
    fn hop_by_hop_fields_end_here() {
        let mut headers = map(&[
            ("connection", "close, X-Secret, Cache-Control"),
            ("x-secret", "1"),
            ("cache-control", "no-store"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("keep-alive", "timeout=5"),
            ("x-kept", "1"),
        ]);
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cache-control", "x-kept"]);
    }

    #[test]
    fn a_stranger_cannot_say_who_it_is() {
        let mut headers = map(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-scheme", "nothttps"),
            ("x-original-url", "/admin"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("host", "www"),
            ("via", "1.1 before"),
        ]);
        for_origin(&mut headers, peer(false), &identity());
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["via"], "1.1 before, 1.1 nearcast-fra");
        assert_eq!(headers["cdn-loop"], "nearcast-1234");
        for gone in ["x-forwarded-host", "x-forwarded-scheme", "x-original-url", "x-real-ip", "forwarded", "host"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn a_trusted_proxy_is_believed() {
        let mut headers = map(&[("x-forwarded-for", "198.51.100.1"), ("x-forwarded-proto", "http")]);
        let https = came_over_tls(&headers, true, true);
        for_origin(&mut headers, Peer { https, ..peer(true) }, &identity());
        assert_eq!(headers["x-forwarded-for"], "198.51.100.1, 192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
    }

    #[test]
    fn loops_are_seen() {
        assert!(is_looping(&map(&[("cdn-loop", "other, nearcast-1234; v=1")]), &identity()));
        assert!(!is_looping(&map(&[("cdn-loop", "other, nearcast-12345")]), &identity()));
    }
}
