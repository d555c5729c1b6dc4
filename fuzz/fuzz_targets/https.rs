//! DNS over HTTPS: a query in a URL is answered as over any stream, and what is none is a 400.
#![no_main]

use std::net::SocketAddr;
use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD;
use http::{Method, Request, StatusCode, Uri};
use libfuzzer_sys::fuzz_target;
use nearcast_dns::Plane;
use nearcast_dns::fuzzing::respond;
use nearcast_fuzz::plane;

static PLANE: LazyLock<Plane> = LazyLock::new(plane);

fuzz_target!(|data: &[u8]| {
    let peer: SocketAddr = "192.0.2.1:443".parse().expect("an address");
    // As it is, where it can stand in a URL.
    let uri = [b"/dns-query?dns=", data].concat();
    if let Ok(uri) = Uri::try_from(uri) {
        let (status, body) = ask(Method::GET, uri, &[], peer);
        let first = data.split(|byte| matches!(byte, b'&' | b'#')).next().unwrap_or_default();
        assert_eq!((status, body), wanted(BASE64URL_NOPAD.decode(first).ok(), peer));
    }
    // As a query, well encoded, and as a body.
    let encoded: Uri = format!("/?x=1&dns={}", BASE64URL_NOPAD.encode(data)).parse().expect("a URL");
    if data.len() < 512 {
        assert_eq!(ask(Method::GET, encoded, &[], peer), wanted(Some(data.to_vec()), peer));
        assert_eq!(ask(Method::POST, Uri::from_static("/"), data, peer), wanted(Some(data.to_vec()), peer));
    }
});

/// The status, and the body if it is DNS.
fn ask(method: Method, uri: Uri, body: &[u8], peer: SocketAddr) -> (StatusCode, Option<Vec<u8>>) {
    let request = Request::builder().method(method).uri(uri).header("content-type", "application/dns-message");
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    let response = PLANE.over_https(&parts, body, peer);
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    assert_eq!(kind, Some(if response.status() == StatusCode::OK { "application/dns-message" } else { "text/plain" }));
    let body = (response.status() == StatusCode::OK).then(|| response.body().to_vec());
    (response.status(), body)
}

fn wanted(query: Option<Vec<u8>>, peer: SocketAddr) -> (StatusCode, Option<Vec<u8>>) {
    let said = query.map(|query| respond(&PLANE, &query, peer)).unwrap_or_default();
    let reply = said.into_iter().find(|said| said.is_https).and_then(|said| said.reply);
    (if reply.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST }, reply)
}
