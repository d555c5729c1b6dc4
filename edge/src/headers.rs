//! Header fields on their way through: hop by hop ones end here, and the origin learns who asked.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA};
use http::header::{Entry, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use nearcast_shared::clock::Timestamp;
use nearcast_shared::net;
use smallvec::SmallVec;

mod overrides;

/// RFC 8586.
pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
/// RFC 9211.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Who asked, for origins.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// How the client came, for origins.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// What we understand of Surrogate-Control (Edge Architecture Specification), for origins.
pub const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");

/// Fields that end at each hop (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] =
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive")];

/// What else is between a client and its proxy begins so.
const PROXY_PREFIX: &str = "proxy-";

/// But this is for clients, whoever stands between (RFC 9209 section 2).
const PROXY_STATUS: &str = "proxy-status";

/// Fields that must never be dropped because Connection names them: a client could make us forget what they say.
const NEVER_NAMED: [&str; 9] =
    ["cdn-loop", "cache-control", "host", "content-length", "age", "vary", "set-cookie", "x-forwarded-for", "via"];

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
    remove_all(headers, |name| name.starts_with(PROXY_PREFIX) && name != PROXY_STATUS);
}

/// Removes the fields whose names are `unwanted`.
fn remove_all(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    names.iter().for_each(|name| drop(headers.remove(name)));
}

/// Who this node is, in header fields.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `nearcast-<pop>`, in Via and Cache-Status.
    pub name: String,
    /// `nearcast-<node id>`, in CDN-Loop: other nodes and fleets must not take it for their own.
    pub loop_id: String,
    /// What it says of itself in each request, made once.
    said: Said,
}

#[derive(Debug, Clone)]
struct Said {
    via_1_1: HeaderValue,
    via_2: HeaderValue,
    cdn_loop: HeaderValue,
    surrogate_capability: HeaderValue,
}

impl Identity {
    /// Of a node that is called so.
    ///
    /// # Panics
    /// When that is no words: names of PoPs and ids of nodes are.
    pub fn new(name: impl Into<String>, loop_id: impl Into<String>) -> Self {
        let (name, loop_id) = (name.into(), loop_id.into());
        let said = Said {
            via_1_1: Text::of(format_args!("1.1 {name}")),
            via_2: Text::of(format_args!("2.0 {name}")),
            cdn_loop: Text::of(format_args!("{loop_id}")),
            surrogate_capability: Text::of(format_args!("{name}=\"Surrogate/1.0\"")),
        };
        Self { name, loop_id, said }
    }

    /// An element of Via (RFC 9110 section 7.6.3); `version` is that of the message as it was received.
    fn via(&self, version: Version) -> HeaderValue {
        let protocol = match version {
            Version::HTTP_2 => return self.said.via_2.clone(),
            Version::HTTP_09 => "0.9",
            Version::HTTP_10 => "1.0",
            Version::HTTP_3 => "3.0",
            _ => return self.said.via_1_1.clone(),
        };
        Text::of(format_args!("{protocol} {}", self.name))
    }
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
    let told = if trusted { headers.get(X_FORWARDED_PROTO) } else { None };
    match told.map(HeaderValue::as_bytes) {
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

/// The client at the far end: the last address that X-Forwarded-For names before those of trusted proxies, as far as an
/// unbroken row of these says so; else the other end of the connection. Element by element from the right: what a client
/// wrote itself stands left of what the proxies know.
pub fn client_address(headers: &HeaderMap, connection: IpAddr, trusts: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = connection;
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    for element in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
        if !trusts(client) {
            break;
        }
        let Some(address) = std::str::from_utf8(element).ok().and_then(|element| address(element.trim())) else {
            break;
        };
        client = address;
    }
    client
}

/// An address, with a port or without: `192.0.2.1`, `192.0.2.1:8080`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:8080`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip())).ok()?;
    Some(net::unmapped(address))
}

/// Fields that [`for_origin`] adds.
pub const ADDED: usize = 5;

/// Turns a client's header fields into those for the origin. Of those that could make the origin answer for another URL,
/// only `keyed` ones pass.
pub fn for_origin(headers: &mut HeaderMap, peer: Peer, identity: &Identity, keyed: &[HeaderName]) {
    strip_hop_by_hop(headers);
    headers.remove(HOST);
    remove_all(headers, |name| {
        let unkeyed = overrides::is_override(name) && !keyed.iter().any(|keyed| keyed == name);
        unkeyed || (!peer.trusted && overrides::is_claim(name))
    });
    append_to_list(headers, X_FORWARDED_FOR, Text::of(format_args!("{}", peer.address)));
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if peer.https { "https" } else { "http" }));
    append_to_list(headers, CDN_LOOP, identity.said.cdn_loop.clone());
    add_via(headers, peer.version, identity);
    // Only ours: we act on what is addressed to us, and cannot vouch for who comes before.
    headers.insert(SURROGATE_CAPABILITY, identity.said.surrogate_capability.clone());
}

/// Adds this node to Via.
pub fn add_via(headers: &mut HeaderMap, version: Version, identity: &Identity) {
    append_to_list(headers, VIA, identity.via(version));
}

/// Adds an element to a list field, as one line with what was there.
fn append_to_list(headers: &mut HeaderMap, name: HeaderName, element: HeaderValue) {
    match headers.entry(name) {
        Entry::Vacant(none) => _ = none.insert(element),
        Entry::Occupied(mut lines) => {
            let mut text = Text::default();
            for line in lines.iter() {
                text.0.extend_from_slice(line.as_bytes());
                text.0.extend_from_slice(b", ");
            }
            text.0.extend_from_slice(element.as_bytes());
            if let Ok(value) = text.value() {
                lines.insert(value);
            }
        }
    }
}

/// "A recipient with a clock that receives a response message without a Date header field MUST record the time it was
/// received and append a corresponding Date header field to the message's header section if it is cached or forwarded
/// downstream" (RFC 9110 section 6.6.1).
pub fn record_date(fields: &mut HeaderMap, received: Timestamp) {
    if !fields.contains_key(DATE) {
        let date = httpdate::fmt_http_date(received.to_system_time());
        fields.insert(DATE, HeaderValue::try_from(date).expect("an HTTP-date is ASCII"));
    }
}

/// A field's value while it is written: it takes the one allocation that the value needs.
#[derive(Debug, Default)]
pub struct Text(SmallVec<[u8; 128]>);

impl Text {
    /// The value that is this text.
    fn of(text: fmt::Arguments<'_>) -> HeaderValue {
        let mut value = Self::default();
        // Writing to it cannot fail.
        let _infallible = value.write_fmt(text);
        value.value().expect("visible characters")
    }

    /// The value.
    ///
    /// # Errors
    /// When it has bytes that no value may have.
    pub fn value(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        HeaderValue::from_bytes(&self.0)
    }

    /// The value that is this number.
    pub fn number(number: u64) -> HeaderValue {
        Self::of(format_args!("{number}"))
    }
}

impl From<&[u8]> for Text {
    fn from(begun: &[u8]) -> Self {
        Self(begun.into())
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Gives the values one buffer of their own: as they were received they are slices of what was read at once, with the
/// beginning of the body in it, all of which they would keep in memory for as long as they are stored.
pub fn take_out_of_buffers(headers: &mut HeaderMap) {
    let mut all = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    for value in headers.values_mut() {
        all.extend_from_slice(value.as_bytes());
    }
    let mut all = all.freeze();
    for value in headers.values_mut() {
        let own = all.split_to(value.len());
        let mut own = HeaderValue::from_maybe_shared(own).expect("the same bytes were a value before");
        own.set_sensitive(value.is_sensitive());
        *value = own;
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
    use proptest::prelude::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn identity() -> Identity {
        Identity::new("nearcast-fra", "nearcast-1234")
    }

    fn peer(trusted: bool) -> Peer {
        Peer { address: "192.0.2.7".parse().unwrap(), trusted, https: true, version: Version::HTTP_11 }
    }

    #[test]
    fn hop_by_hop_fields_end_here() {
        let mut headers = map(&[
            ("proxy-authorization", "1"),
            ("proxy-anything", "1"),
            ("proxy-status", "cache; error=dns_error"),
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
        assert_eq!(left, ["cache-control", "proxy-status", "x-kept"]);
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
            ("true-client-ip", "10.0.0.1"),
            ("proxy", "http://evil"),
            ("surrogate-capability", "evil=\"Surrogate/1.0\""),
            ("host", "www"),
            ("via", "1.1 before"),
        ]);
        for_origin(&mut headers, peer(false), &identity(), &[]);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["via"], "1.1 before, 1.1 nearcast-fra");
        assert_eq!(headers["cdn-loop"], "nearcast-1234");
        assert_eq!(headers["surrogate-capability"], "nearcast-fra=\"Surrogate/1.0\"");
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cdn-loop", "surrogate-capability", "via", "x-forwarded-for", "x-forwarded-proto"]);
    }

    #[test]
    fn what_is_keyed_may_pass() {
        let mut headers = map(&[("x-forwarded-host", "a"), ("x-original-url", "/b"), ("x-real-ip", "10.0.0.1")]);
        let keyed = ["x-forwarded-host", "x-real-ip"].map(HeaderName::from_static);
        for_origin(&mut headers, peer(false), &identity(), &keyed);
        assert_eq!(headers["x-forwarded-host"], "a");
        assert!(!headers.contains_key("x-original-url"), "only that");
        assert!(!headers.contains_key("x-real-ip"), "who asks is not for the client to say");
    }

    #[test]
    fn out_of_buffers_they_are_the_same() {
        let mut headers = map(&[("a", "one"), ("b", ""), ("c", "three")]);
        headers.append("a", HeaderValue::from_static("two"));
        headers.append("a", HeaderValue::from_bytes(b"\xff\t").unwrap());
        headers.get_mut("c").unwrap().set_sensitive(true);
        let before = headers.clone();
        take_out_of_buffers(&mut headers);
        assert_eq!(headers, before);
        assert!(headers["c"].is_sensitive() && !headers["b"].is_sensitive());
    }

    #[test]
    fn a_trusted_proxy_is_believed() {
        let mut headers = map(&[("x-forwarded-for", "198.51.100.1"), ("x-forwarded-proto", "http")]);
        let https = came_over_tls(&headers, true, true);
        for_origin(&mut headers, Peer { https, ..peer(true) }, &identity(), &[]);
        assert_eq!(headers["x-forwarded-for"], "198.51.100.1, 192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
    }

    #[test]
    fn the_client_behind_proxies() {
        let trusted: [IpAddr; 3] = ["10.0.0.1", "10.0.0.2", "fd00::1"].map(|address| address.parse().unwrap());
        let rows: [(&str, &str, &[&str], &str); 14] = [
            ("a stranger", "192.0.2.1", &["198.51.100.1"], "192.0.2.1"),
            ("a proxy that says nothing", "10.0.0.1", &[], "10.0.0.1"),
            ("a proxy", "10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("what the client wrote", "10.0.0.1", &["203.0.113.1, 198.51.100.1"], "198.51.100.1"),
            ("what looks like a proxy before it", "10.0.0.1", &["10.0.0.2, 198.51.100.1"], "198.51.100.1"),
            ("two proxies", "10.0.0.1", &["203.0.113.1, 198.51.100.1,10.0.0.2"], "198.51.100.1"),
            ("several lines", "10.0.0.1", &["203.0.113.1", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
            ("none but proxies", "10.0.0.1", &["fd00::1, 10.0.0.2"], "fd00::1"),
            ("a port", "10.0.0.1", &["198.51.100.1:99"], "198.51.100.1"),
            ("IPv6", "fd00::1", &["2001:db8::1"], "2001:db8::1"),
            ("IPv6 in brackets, with a port", "fd00::1", &["[2001:db8::1]:99, [fd00::1]"], "2001:db8::1"),
            ("IPv4 in IPv6", "10.0.0.1", &["198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1"),
            ("unknown", "10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("an empty element", "10.0.0.1", &["198.51.100.1,"], "10.0.0.1"),
        ];
        for (name, connection, lines, wanted) in rows {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
            }
            let found = client_address(&headers, connection.parse().unwrap(), |address| trusted.contains(&address));
            assert_eq!(found, wanted.parse::<IpAddr>().unwrap(), "{name}");
        }
    }

    proptest! {
        /// Whatever a stranger writes, it stays who it is; and behind a proxy, what that proxy says it is.
        #[test]
        fn nobody_says_who_they_are(written in proptest::collection::vec(0x20..=0xff_u8, 0..40)) {
            let Ok(line) = HeaderValue::from_bytes(&written) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.append(X_FORWARDED_FOR, line);
            let [stranger, proxy, client]: [IpAddr; 3] = ["192.0.2.1", "10.0.0.1", "198.51.100.1"].map(|text| text.parse().unwrap());
            let trusts = |address| address == proxy;
            prop_assert_eq!(client_address(&headers, stranger, trusts), stranger);
            append_to_list(&mut headers, X_FORWARDED_FOR, HeaderValue::from_static("198.51.100.1"));
            prop_assert_eq!(client_address(&headers, proxy, trusts), client);
        }
    }

    #[test]
    fn loops_are_seen() {
        assert!(is_looping(&map(&[("cdn-loop", "other, nearcast-1234; v=1")]), &identity()));
        assert!(!is_looping(&map(&[("cdn-loop", "other, nearcast-12345")]), &identity()));
    }
}
