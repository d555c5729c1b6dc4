//! Answers of origins that are framed oddly (RFC 9112 section 6): taken for what they are, or not at all.

use std::sync::Arc;

use http::Version;
use parking_lot::Mutex;

use crate::harness::client::{Answer, Ask, Plain};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};
use crate::harness::wire::End;

const FRESH: &str = "cache-control: max-age=60\r\n";

/// A node before an origin that answers `/a` with these bytes, and then closes.
fn before(answer: impl Into<Vec<u8>>) -> (Node, Origin) {
    let answer = answer.into();
    let origin = Origin::start(move |_| Reply::raw(answer.clone()));
    (Setup::new(&origin).start(), origin)
}

fn shown(answer: &Answer) -> (u16, String, End) {
    (answer.status, answer.text(), answer.end)
}

fn whole(status: u16, text: &str) -> (u16, String, End) {
    (status, text.to_owned(), End::Clean)
}

#[test]
fn answers_that_are_taken() {
    let rows = [
        ("a length", "HTTP/1.1 200 OK\r\n{}content-length: 5\r\n\r\nhello", true),
        ("the same length twice", "HTTP/1.1 200 OK\r\n{}content-length: 5\r\ncontent-length: 5\r\n\r\nhello", true),
        ("the same length twice on a line", "HTTP/1.1 200 OK\r\n{}content-length: 5, 5\r\n\r\nhello", true),
        ("chunks", "HTTP/1.1 200 OK\r\n{}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true),
        ("chunks in capitals", "HTTP/1.1 200 OK\r\n{}transfer-encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true),
        (
            "chunks with extensions and trailers",
            "HTTP/1.1 200 OK\r\n{}transfer-encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0;z\r\nx-later: 1\r\n\r\n",
            true,
        ),
        ("an old version", "HTTP/1.0 200 OK\r\n{}content-length: 5\r\n\r\nhello", true),
        // Where it ends cannot be told from where it broke off.
        ("an old version without a length", "HTTP/1.0 200 OK\r\n{}\r\nhello", false),
        ("until it closes", "HTTP/1.1 200 OK\r\n{}\r\nhello", false),
        ("identity", "HTTP/1.1 200 OK\r\n{}transfer-encoding: identity\r\n\r\nhello", false),
    ];
    for (name, answer, stored) in rows {
        let (node, origin) = before(answer.replace("{}", FRESH));
        // First: this origin closes each connection, and a POST that finds a kept one closing is not sent again.
        let passed = node.ask(&Ask::new("POST", "/b"));
        assert_eq!(shown(&passed), whole(200, "hello"), "{name} to a POST");
        assert!(passed.field("content-length").is_none_or(|length| length == "5"), "{name} to a POST");
        for time in [1, 2] {
            let answer = node.get("/a");
            assert_eq!((shown(&answer), answer.is_hit()), (whole(200, "hello"), stored && time == 2), "{name}");
            assert!(answer.field("content-length").is_none_or(|length| length == "5"), "{name}");
        }
        assert_eq!(shown(&node.ask_h2(&Ask::get("/a"))), whole(200, "hello"), "{name} to HTTP/2");
        assert_eq!(origin.count("/a"), if stored { 1 } else { 3 }, "{name}");
    }
}

#[test]
fn answers_that_are_refused() {
    let rows = [
        ("two lengths", "content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
        ("two lengths on a line", "content-length: 5, 6\r\n\r\nhello!"),
        ("a negative length", "content-length: -5\r\n\r\nhello"),
        ("a signed length", "content-length: +5\r\n\r\nhello"),
        ("no length", "content-length: \r\n\r\nhello"),
        ("a length in words", "content-length: five\r\n\r\nhello"),
        ("a length beyond all", "content-length: 99999999999999999999\r\n\r\nhello"),
        ("chunks and a length", "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("chunks and less", "transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("identity and a length", "transfer-encoding: identity\r\ncontent-length: 3\r\n\r\nhello"),
        ("gzip within chunks", "transfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        (
            "gzip on a line before",
            "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        ("gzip around chunks", "transfer-encoding: chunked, gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("an unknown coding", "transfer-encoding: foo\r\n\r\nhello"),
        ("an unknown coding and a length", "transfer-encoding: foo\r\ncontent-length: 5\r\n\r\nhello"),
        ("no coding", "transfer-encoding:\r\ncontent-length: 5\r\n\r\nhello"),
        ("chunks in chunks", "transfer-encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("chunked hidden by a tab", "transfer-encoding: \x0bchunked\r\ncontent-length: 5\r\n\r\nhello"),
    ];
    for (name, rest) in rows {
        let (node, origin) = before(format!("HTTP/1.1 200 OK\r\n{FRESH}{rest}"));
        assert_eq!((node.get("/a").status, node.ask_h2(&Ask::get("/a")).status), (502, 502), "{name}");
        assert_eq!(origin.count("/a"), 2, "{name}");
    }
    let (node, _) =
        before(format!("HTTP/1.0 200 OK\r\n{FRESH}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
    assert_eq!(node.get("/a").status, 502, "chunks in an old version");
}

#[test]
fn bodies_that_break_off() {
    let rows = [
        ("less than the length", "content-length: 9\r\n\r\nhello"),
        ("no last chunk", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        ("half a chunk", "transfer-encoding: chunked\r\n\r\n9\r\nhello"),
        ("a bad chunk size", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n\r\n"),
        ("a chunk size beyond all", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nfffffffffffffffff\r\n\r\n"),
        ("a chunk longer than it says", "transfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n"),
        ("trailers that break off", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-later: 1\r\n"),
    ];
    for (name, rest) in rows {
        let (node, origin) = before(format!("HTTP/1.1 200 OK\r\n{FRESH}{rest}"));
        for time in [1, 2] {
            let answer = node.get("/a");
            assert_eq!((answer.status, answer.end), (200, End::Broken), "{name}");
            node.settle();
            assert_eq!(origin.count("/a"), time, "{name}");
        }
    }
}

/// What stands behind the end of an answer must not be the next one: "A client MUST NOT process, cache, or forward such
/// extra data as a separate response, since such behavior would be vulnerable to cache poisoning" (RFC 9112
/// section 6.3).
#[test]
fn what_is_too_much_is_not_the_next_answer() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\n\r\nevil";
    let rows = [
        ("behind a length", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", (200, "hello")),
        ("behind no body", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", (200, "")),
        (
            "behind chunks",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            (200, "hello"),
        ),
        ("a 204 with a body", "HTTP/1.1 204 No Content\r\n\r\n", (204, "")),
        ("a 204 with a length", "HTTP/1.1 204 No Content\r\ncontent-length: 70\r\n\r\n", (204, "")),
        ("a 204 in chunks", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n", (204, "")),
    ];
    for (name, first, (status, text)) in rows {
        for together in [true, false] {
            let sent = Gate::default();
            let reused = Arc::new(Mutex::new(false));
            let (told, noted) = (sent.clone(), reused.clone());
            let origin = Origin::start(move |seen| {
                if seen.target != "/a" {
                    return Reply::ok("right").control("no-store");
                }
                let (told, noted) = (told.clone(), noted.clone());
                Reply::talk(move |talk| {
                    if together {
                        talk.write(&[first.as_bytes(), EVIL.as_bytes()].concat());
                    } else {
                        talk.write(first.as_bytes());
                        talk.write(EVIL.as_bytes());
                    }
                    told.open();
                    *noted.lock() = talk.take(1).is_ok();
                })
            });
            let node = Setup::new(&origin).set("runtime.workers", "1").start();
            let mut client = Plain::connect(node.http());
            let answer = client.ask(&Ask::get("/a"));
            assert_eq!(shown(&answer), whole(status, text), "{name}");
            assert!(status != 204 || answer.field("content-length").is_none(), "{name}");
            sent.wait();
            for _ in 0..3 {
                assert_eq!(shown(&client.ask(&Ask::get("/b"))), whole(200, "right"), "{name}");
            }
            assert!(!*reused.lock(), "{name}: the connection was used again");
            assert_eq!(origin.count("/b"), 3, "{name}");
        }
    }
}

#[test]
fn a_304_with_a_body_confirms_and_no_more() {
    let origin = Origin::start(|seen| match seen.field("if-none-match") {
        None => Reply::ok("hello").control("max-age=0").field("etag", "\"1\""),
        Some(_) => Reply::talk(|talk| {
            talk.write(b"HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 4\r\n\r\nevil");
            let _until_it_closes = talk.take(1);
        }),
    });
    let node = Setup::new(&origin).set("runtime.workers", "1").start();
    for _ in 0..4 {
        assert_eq!(shown(&node.get("/a")), whole(200, "hello"));
        assert_eq!(shown(&node.get("/b")), whole(200, "hello"));
    }
}

/// Where no body follows, hyper looks at none of this.
#[test]
fn heads_of_odd_framing() {
    let rows = [
        ("a length", "content-length: 5", Some("5")),
        ("the same length twice", "content-length: 5\r\ncontent-length: 5", Some("5")),
        ("two lengths", "content-length: 5\r\ncontent-length: 6", None),
        ("no number", "content-length: five", None),
        ("chunks and a length", "content-length: 5\r\ntransfer-encoding: chunked", None),
        ("an unknown coding", "transfer-encoding: foo", None),
    ];
    for (name, fields, length) in rows {
        let (node, _origin) = before(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"));
        let answer = node.ask(&Ask::new("HEAD", "/a"));
        assert_eq!(shown(&answer), whole(200, ""), "{name}");
        assert_eq!(answer.field("content-length").as_deref(), length, "{name}");
    }
}

#[test]
fn interim_answers_are_neither_the_answer_nor_stored() {
    let last = format!("HTTP/1.1 200 OK\r\n{FRESH}content-length: 5\r\n\r\nhello");
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\ncache-control: no-store\r\n\r\n";
    let rows = [
        ("100", "HTTP/1.1 100 Continue\r\n\r\n".to_owned()),
        ("102", "HTTP/1.1 102 Processing\r\ncontent-length: 3\r\n\r\n".to_owned()),
        ("103", hints.to_owned()),
        ("an unknown one", "HTTP/1.1 199 Whatever\r\n\r\n".to_owned()),
        ("several", format!("HTTP/1.1 100 Continue\r\n\r\n{hints}{hints}")),
        ("many", hints.repeat(50)),
    ];
    for (name, interim) in rows {
        let (node, origin) = before(format!("{interim}{last}"));
        for time in [1, 2] {
            let answer = node.get("/a");
            assert_eq!(shown(&answer), whole(200, "hello"), "{name}");
            assert_eq!((answer.field("link"), answer.is_hit()), (None, time == 2), "{name}");
        }
        let posted = node.ask(&Ask::new("POST", "/b").body("x"));
        assert_eq!(shown(&posted), whole(200, "hello"), "{name} to a POST");
        assert_eq!(origin.count("/a"), 1, "{name}");
    }
}

#[test]
fn interim_answers_and_nothing_else() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let last = format!("HTTP/1.1 200 OK\r\n{FRESH}content-length: 5\r\n\r\nhello");
    let rows = [
        ("closed behind one", hints.to_owned()),
        ("closed within one", hints[..30].to_owned()),
        ("a switch that nobody asked for", switch.to_owned()),
        ("and an answer behind it", format!("{switch}{last}")),
        ("and one before it", format!("{hints}{switch}")),
    ];
    for (name, answer) in rows {
        let (node, _origin) = before(answer);
        let upgrade = Ask::get("/a").field("connection", "upgrade").field("upgrade", "websocket");
        for ask in [Ask::get("/a"), upgrade] {
            let answer = node.ask(&ask);
            assert_eq!((answer.status, answer.field("upgrade"), answer.field("link")), (502, None, None), "{name}");
        }
        let over_h2 = Ask::get("/a").over(node.http(), Version::HTTP_2, None).unwrap();
        assert_eq!(over_h2.status, 502, "{name} to HTTP/2");
    }
}
