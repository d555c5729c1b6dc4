//! Clients' connections: at rest, ended, and with many streams at once.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::harness::client::{Ask, HOST, Plain, RUNTIME, Trusted};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};
use crate::harness::tls::Authority;
use crate::harness::wire::End;
use crate::harness::{DEADLINE, eventually, noise};

fn hello() -> Origin {
    Origin::start(|_| Reply::ok("hello").control("max-age=60"))
}

fn at_rest(node: &Node, wanted: f64) {
    eventually("connections at rest", || node.metric("nearcast_http_connections_at_rest ") == Some(wanted));
}

#[test]
fn a_connection_at_rest_serves_again() {
    let origin = hello();
    let node = Setup::new(&origin).start();
    let mut client = Plain::connect(node.http());
    for round in 0..3 {
        assert_eq!(client.ask(&Ask::get("/a")).text(), "hello", "{round}");
        at_rest(&node, 1.0);
    }
    client.write(b"GET /a HTTP/1.1\r\nhost: www.c");
    at_rest(&node, 0.0);
    client.write(b"dn.test\r\n\r\nGET /a HTTP/1.1\r\nhost: www.cdn.test\r\n\r\n");
    for name in ["in two pieces", "right behind it"] {
        assert_eq!(client.answer("GET").unwrap().text(), "hello", "{name}");
    }
    at_rest(&node, 1.0);
    client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_ne!(client.answer("GET").map(|answer| answer.status), Some(200), "the protocol does not change");
    eventually("its end", || node.metric("nearcast_http_connections ") == Some(0.0));
    at_rest(&node, 0.0);
}

#[test]
fn a_connection_over_tls_rests_too() {
    let (origin, authority) = (hello(), Authority::new());
    let mut setup = Setup::new(&origin);
    authority.certify(&mut setup, &[HOST]);
    let (node, trusted) = (setup.start(), authority.trusted());
    RUNTIME.block_on(async {
        let stream = tokio::net::TcpStream::connect(node.https()).await.unwrap();
        let stream = trusted.handshake(stream, HOST, Version::HTTP_11).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        for _ in 0..3 {
            let request = Request::get("/a").header("host", HOST).body(Empty::<Bytes>::new()).unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
            tokio::task::block_in_place(|| at_rest(&node, 1.0));
        }
        drop(sender);
        connection.await.unwrap().unwrap();
    });
    at_rest(&node, 0.0);
}

#[test]
fn a_body_may_still_come_when_others_rest() {
    let (origin, gate) = (hello(), Gate::default());
    let held = gate.clone();
    let slow = Origin::start(move |_| Reply::waiting(&held).control("no-store"));
    let mut setup = Setup::new(&origin);
    setup.sites.push(format!("domains = [\"slow.test\"]\norigin = \"{}\"", slow.url()));
    let node = setup.start();
    let (mut waits, mut rests) = (Plain::connect(node.http()), Plain::connect(node.http()));
    waits.send(&Ask::get("/a").host("slow.test"));
    rests.ask(&Ask::get("/a"));
    at_rest(&node, 1.0);
    gate.open();
    assert_eq!(waits.answer("GET").unwrap().end, End::Clean);
    at_rest(&node, 2.0);
}

#[test]
fn rest_has_an_end() {
    let origin = hello();
    let node = Setup::new(&origin).set("limits.idle-timeout", "\"800ms\"").start();
    let mut client = Plain::connect(node.http());
    client.ask(&Ask::get("/a"));
    at_rest(&node, 1.0);
    assert!(client.is_closed(), "idle for too long");
    at_rest(&node, 0.0);
    let mut client = Plain::connect(node.http());
    client.ask(&Ask::get("/a"));
    at_rest(&node, 1.0);
    node.stop();
    assert!(client.is_closed(), "the node ends");
}

#[test]
fn what_came_too_early_is_the_start_of_a_header() {
    let origin = hello();
    let node = Setup::new(&origin).set("limits.header-timeout", "\"1s\"").start();
    let begin = "GET /a HTTP/1.1\r\nhost: www.cdn.test\r\n\r\nGET /a HTT";
    let (mut goes_on, mut stops) = (Plain::connect(node.http()), Plain::connect(node.http()));
    for client in [&mut goes_on, &mut stops] {
        client.write(begin.as_bytes());
        assert_eq!(client.answer("GET").unwrap().text(), "hello");
    }
    goes_on.write(b"P/1.1\r\nhost: www.cdn.test\r\n\r\n");
    assert_eq!(goes_on.answer("GET").unwrap().text(), "hello");
    assert!(stops.is_closed(), "it is no rest that lasts as long as one may idle");
    at_rest(&node, 1.0);
}

/// A connection over HTTP/2, and what becomes of it.
async fn h2(
    to: SocketAddr,
    tls: Option<&Trusted>,
    window: u32,
) -> (SendRequest<Empty<Bytes>>, tokio::task::JoinHandle<hyper::Result<()>>) {
    let stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window).initial_connection_window_size(4 * window);
    match tls {
        Some(trusted) => {
            let stream = trusted.handshake(stream, HOST, Version::HTTP_2).await.unwrap();
            let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
            (sender, tokio::spawn(connection))
        }
        None => {
            let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
            (sender, tokio::spawn(connection))
        }
    }
}

fn ask(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://{HOST}{path}")).body(Empty::new()).unwrap()
}

async fn body(answer: Response<Incoming>) -> Bytes {
    answer.into_body().collect().await.unwrap().to_bytes()
}

#[test]
fn many_streams_at_once() {
    const STREAMS: usize = 60;
    // From less than a frame to many of them.
    fn expected(stream: usize) -> Vec<u8> {
        noise([0, 1, 100, 1024, 16_384, 16_393, 70_000, 300_000][stream % 8] + stream, stream as u64)
    }
    let origin = Origin::start(|seen| {
        let stream = seen.target.rsplit('/').next().unwrap().parse().unwrap();
        Reply::ok(expected(stream)).control("max-age=60")
    });
    let authority = Authority::new();
    let mut setup = Setup::new(&origin);
    authority.certify(&mut setup, &[HOST]);
    let (node, trusted) = (setup.start(), authority.trusted());
    for (to, tls) in [(node.http(), None), (node.https(), Some(&trusted))] {
        // The first round fetches; a small window has streams wait for one another.
        for window in [1 << 20, 1 << 20, 20_000] {
            RUNTIME.block_on(async {
                let (mut sender, _connection) = h2(to, tls, window).await;
                let mut answers = Vec::new();
                for stream in 0..STREAMS {
                    sender.ready().await.unwrap();
                    answers.push(tokio::spawn(sender.send_request(ask(&format!("/{stream}")))));
                }
                let answers = answers.into_iter().map(|answer| async { body(answer.await.unwrap().unwrap()).await });
                let bodies = futures_util::future::join_all(answers);
                let bodies = tokio::time::timeout(DEADLINE, bodies).await.expect("all answers in time");
                for (stream, body) in bodies.iter().enumerate() {
                    assert!(*body == expected(stream), "{stream} with windows of {window}");
                }
            });
        }
    }
}

#[test]
fn what_runs_over_http_2_is_answered_before_the_end() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        held.wait();
        Reply::ok("hello")
    });
    let node = Setup::new(&origin).start();
    let (answer, connection) = RUNTIME.block_on(async {
        let (mut sender, connection) = h2(node.http(), None, 1 << 20).await;
        let answer = tokio::spawn(sender.send_request(ask("/a")));
        (answer, connection)
    });
    eventually("the request", || origin.count("/a") == 1);
    let stops = std::thread::spawn(move || node.stop());
    gate.open();
    RUNTIME.block_on(async {
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
        tokio::time::timeout(DEADLINE, connection).await.expect("the end in time").unwrap().unwrap();
    });
    stops.join().unwrap();
}

/// The preface, settings with that window for a stream, a large one for the connection, and a request for `/a` (RFC 9113;
/// RFC 7541 for its fields).
fn request_with_window(stream: u32) -> Vec<u8> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4][..], &stream.to_be_bytes()].concat();
    let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0];
    let host = HOST.as_bytes();
    let block = [&[0x82, 0x86, 0x04, 2][..], b"/a", &[0x01, host.len() as u8], host].concat();
    let headers = [&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1][..], &block].concat();
    [&preface[..], &settings, &window, &headers].concat()
}

fn greedy_request() -> Vec<u8> {
    request_with_window(0x7fff_ffff)
}

#[test]
fn a_client_over_http_2_that_lets_nothing_in_is_cut_off() {
    // RFC 9113 section 6.9.2: a client may set the windows of streams to nothing, and never open them.
    let origin = hello();
    let node = Setup::new(&origin).set("limits.send-timeout", "\"300ms\"").start();
    for (what, asked_before) in [("a miss", false), ("a hit", true)] {
        if asked_before {
            assert!(node.get("/a").is_hit());
        }
        let mut client = Plain::connect(node.http());
        client.write(&request_with_window(0));
        eventually(what, || node.metric("nearcast_http_connections ") == Some(1.0));
        assert!(client.reads_until_the_end().len() > 9, "{what}: settings and a header");
        eventually(what, || node.metric("nearcast_http_connections ") == Some(0.0));
    }
}

#[test]
fn a_client_over_http_2_that_reads_nothing_is_cut_off() {
    let large = noise(8 << 20, 5);
    let origin = Origin::start(move |_| Reply::ok(large.clone()).control("max-age=60"));
    let node = Setup::new(&origin).set("limits.send-timeout", "\"300ms\"").start();
    assert_eq!(node.get("/a").status, 200);
    let mut client = Plain::narrow(node.http());
    client.write(&greedy_request());
    eventually("it is there", || node.metric("nearcast_http_connections ") == Some(1.0));
    eventually("it is cut off", || node.metric("nearcast_http_connections ") == Some(0.0));
}

#[test]
fn a_client_over_http_2_that_closes_its_half() {
    let origin = hello();
    let node = Setup::new(&origin).start();
    let mut client = Plain::connect(node.http());
    client.write(&greedy_request());
    client.half_close();
    assert!(client.reads_until_the_end().len() > 9, "settings at least");
    eventually("its end", || node.metric("nearcast_http_connections ") == Some(0.0));
}
