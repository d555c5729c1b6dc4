//! What clients learn when there is no answer of the site (RFC 9209): who says so and what kind of error it was, and
//! nothing of where the origin is.

use std::io::Write;
use std::net::TcpListener;

use crate::harness::client::{Answer, Ask, Plain};
use crate::harness::gate::Gate;
use crate::harness::h2::{self, Then};
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};
use crate::harness::tls::Authority;

/// A node before the origin at `url`, which it knows by `authority` if any.
fn node_before(url: &str, authority: Option<&Authority>) -> Node {
    let mut setup = Setup::empty()
        .set("origin.connect-timeout", "\"200ms\"")
        .set("origin.response-timeout", "\"800ms\"")
        .set("origin.header-size", "\"16 KiB\"");
    if let Some(authority) = authority {
        std::fs::write(setup.folder().join("ca.pem"), authority.pem()).unwrap();
        setup = setup.set("origin.ca", "\"ca.pem\"");
    }
    setup.sites.push(format!("domains = [\"www.cdn.test\"]\norigin = \"{url}\""));
    setup.start()
}

fn assert_kind(name: &str, answer: &Answer, status: u16, kind: &str) {
    let said = format!("nearcast-fra; error={kind}");
    assert_eq!((answer.status, answer.field("proxy-status")), (status, Some(said)), "{name}");
    assert_eq!(answer.field("cache-control").as_deref(), Some("no-store"), "{name}");
    let shown = format!("{:?} {}", answer.fields, answer.text());
    assert!(!shown.contains("127.0.0.1") && !shown.contains("rigin.test"), "{name}: {shown}");
}

fn assert_both(name: &str, node: &Node, status: u16, kind: &str) {
    assert_kind(name, &node.get("/a"), status, kind);
    assert_kind(&format!("{name}, a POST"), &node.ask(&Ask::new("POST", "/a").body("x")), status, kind);
}

#[test]
fn no_connection() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_both("refused", &node_before(&format!("http://{refusing}"), None), 502, "connection_refused");
    // No label may be so long, so that nobody needs to be asked.
    let nowhere = format!("http://{}.origin.test", "x".repeat(64));
    assert_both("no name", &node_before(&nowhere, None), 502, "dns_error");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    assert_both("TLS that never begins", &node_before(&url, None), 504, "connection_timeout");
}

#[test]
fn no_trust() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let start = |config| Origin::start_tls(config, |_| Reply::ok("x"));
    let origin = start(theirs.server("127.0.0.1"));
    assert_both("unknown authority", &node_before(&origin.url(), Some(&ours)), 502, "tls_certificate_error");
    let origin = start(ours.server("other.test"));
    assert_both("another name", &node_before(&origin.url(), Some(&ours)), 502, "tls_certificate_error");
    let origin = start(ours.server_of("127.0.0.1", "other"));
    assert_both("no common protocol", &node_before(&origin.url(), Some(&ours)), 502, "tls_alert_received");
}

#[test]
fn no_tls_behind_an_https_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _closed = stream.unwrap().write_all(b"220 mail.origin.test ready\r\n");
        }
    });
    assert_both("another protocol", &node_before(&url, None), 502, "tls_protocol_error");
}

#[test]
fn no_answer() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::waiting(&held));
    assert_both("no answer in time", &node_before(&origin.url(), None), 504, "http_response_timeout");
    gate.open();
    let origin = Origin::start(|_| Reply::hang_up());
    assert_both("closed", &node_before(&origin.url(), None), 502, "connection_terminated");
    let origin = Origin::start(|_| Reply::raw(b"HTTP/1.1 200 OK\r\ncontent-le"));
    assert_both("closed within the header", &node_before(&origin.url(), None), 502, "connection_terminated");
}

#[test]
fn no_right_answer() {
    let rows: [(&str, &[u8], &str); 4] = [
        ("another protocol", b"220 mail.origin.test ready\r\n\r\n", "http_protocol_error"),
        ("a bad field", b"HTTP/1.1 200 OK\r\nx y: z\r\n\r\n", "http_protocol_error"),
        ("a switch that nobody asked for", b"HTTP/1.1 101 Sure\r\nupgrade: x\r\n\r\n", "http_protocol_error"),
        (
            "another coding",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "http_response_transfer_coding",
        ),
    ];
    for (name, answer, kind) in rows {
        let origin = Origin::start(move |_| Reply::raw(answer));
        assert_both(name, &node_before(&origin.url(), None), 502, kind);
    }
    let origin = Origin::start(|_| Reply::ok("x").field("x-long", &"x".repeat(40_000)));
    assert_both("a long header", &node_before(&origin.url(), None), 502, "http_response_header_section_size");
}

#[test]
fn no_answer_over_http_2() {
    let authority = Authority::new();
    let config = authority.server_of("127.0.0.1", "h2");
    type Frame = fn(u8) -> Vec<u8>;
    let rows: [(&str, Frame, &str); 4] = [
        ("resets the stream", |stream| vec![0, 0, 4, 3, 0, 0, 0, 0, stream, 0, 0, 0, 2], "connection_terminated"),
        ("goes away", |_| vec![0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], "connection_terminated"),
        ("closes", |_| Vec::new(), "connection_terminated"),
        ("data of no stream", |_| vec![0; 9], "http_protocol_error"),
    ];
    for (name, frame, kind) in rows {
        let origin = Origin::start_tls(config.clone(), move |_| {
            Reply::talk(move |talk| {
                let _closed = h2::answer_streams(talk, |stream| {
                    let bytes = frame(stream);
                    let then = if bytes.is_empty() { Then::Close } else { Then::GoOn };
                    (bytes, then)
                });
            })
        });
        assert_kind(name, &node_before(&origin.url(), Some(&authority)).get("/a"), 502, kind);
    }
}

#[test]
fn half_an_answer_for_a_client_that_could_not_tell() {
    let origin = Origin::start(|_| Reply::ok("half").chunked().cut());
    let node = node_before(&origin.url(), None);
    let mut client = Plain::connect(node.http());
    client.write(b"GET /a HTTP/1.0\r\nhost: www.cdn.test\r\n\r\n");
    assert_kind("over HTTP/1.0", &client.answer("GET").unwrap(), 502, "http_response_incomplete");
}

#[test]
fn what_never_goes_to_the_origin() {
    let origin = Origin::start(|_| Reply::ok("x").control("max-age=60"));
    let node = Setup::new(&origin).set("limits.request-body", "\"1 KiB\"").start();
    let looping = format!("nearcast-{}", node.control().node_id);
    let rows = [
        ("no host of ours", Ask::get("/a").host("other.test"), 421, "http_request_error"),
        ("a bad host", Ask::get("/a").host("a@b"), 400, "http_request_error"),
        ("a method", Ask::new("TRACE", "/a"), 405, "http_request_error"),
        ("a large body", Ask::new("POST", "/a").body("x".repeat(2048)), 413, "http_request_error"),
        ("a loop", Ask::get("/a").field("cdn-loop", &looping), 508, "proxy_loop_detected"),
        ("nothing stored", Ask::get("/a").field("cache-control", "only-if-cached"), 504, "proxy_internal_response"),
    ];
    for (name, ask, status, kind) in rows {
        assert_kind(name, &node.ask(&ask), status, kind);
    }
    assert_eq!(origin.seen().len(), 0);
}

#[test]
fn answers_of_the_site_are_none_of_ours() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/other" => Reply::new(502).field("proxy-status", "inner; error=dns_error"),
        _ => Reply::new(502),
    });
    let node = Setup::new(&origin).start();
    assert_eq!(node.get("/a").field("proxy-status"), None);
    assert_eq!(node.get("/other").field("proxy-status").as_deref(), Some("inner; error=dns_error"));
}
