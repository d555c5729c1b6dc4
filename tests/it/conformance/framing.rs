//! Interim answers, and answers whose length is odd.

use super::case::{Case, Framing, PLAIN, Reply, case, get, head, minute, reply};

pub(super) const SITES: &[(&str, &str)] = &[];

/// An answer that is fresh for a minute and has the body `hello`, behind these bytes.
fn behind(before: &str) -> Reply {
    raw(&format!("{before}{FRESH}content-length: 5\r\n\r\nhello"))
}

const FRESH: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n";

fn raw(bytes: &str) -> Reply {
    Reply::Raw(bytes.to_owned())
}

/// Interim answers before the final one: RFC 9110 section 15.2.
const INTERIM: &[(&str, &str)] = &[
    ("100", "HTTP/1.1 100 Continue\r\n\r\n"),
    ("102", "HTTP/1.1 102 Processing\r\n\r\n"),
    ("103", "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"),
    ("unknown", "HTTP/1.1 199 Something\r\nx-a: 1\r\n\r\n"),
    (
        "several",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nx-a: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
    ),
    ("with-cache-control", "HTTP/1.1 103 Early Hints\r\ncache-control: no-store\r\nage: 60\r\nvary: *\r\n\r\n"),
];

/// What is not an answer: RFC 9112. The client is told so, and nothing is stored.
const NONSENSE: &[(&str, &str)] = &[
    ("nothing-like-http", "hello\r\n\r\n"),
    ("status-of-two-digits", "HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n"),
    ("status-of-letters", "HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n"),
    ("http-9", "HTTP/9.9 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("length-of-letters", "HTTP/1.1 200 OK\r\ncontent-length: abc\r\n\r\nhello"),
    ("negative-length", "HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello"),
    ("two-lengths", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
    ("list-of-lengths", "HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\nhello!"),
    ("nul-in-a-value", "HTTP/1.1 200 OK\r\nx-a: a\0b\r\ncontent-length: 5\r\n\r\nhello"),
    ("space-in-a-name", "HTTP/1.1 200 OK\r\nx a: b\r\ncontent-length: 5\r\n\r\nhello"),
    ("end-within-the-header", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n"),
];

pub(super) fn cases() -> Vec<Case> {
    let interim = INTERIM.iter().flat_map(|(name, before)| {
        [
            case(
                format!("interim-{name}"),
                "RFC 9110 section 15.2",
                [
                    get()
                        .origin(behind(before))
                        .body("hello")
                        .shows(["cache-control: max-age=60"])
                        .hides(["x-a", "link"]),
                    get().later(59).stored().body("hello").hides(["x-a", "link"]),
                ],
            ),
            case(
                format!("interim-{name}-alone"),
                "RFC 9111 section 3",
                [get().origin(raw(before)).made(502), get().origin(minute(PLAIN))],
            ),
        ]
    });
    let nonsense = NONSENSE.iter().map(|(name, bytes)| {
        case(*name, "RFC 9110 section 15.6.3", [get().origin(raw(bytes)).made(502), get().fetched()])
    });
    interim.chain(nonsense).chain(lengths()).chain(bodiless()).collect()
}

fn lengths() -> Vec<Case> {
    let rule = "RFC 9112 section 6.3";
    let hello = |headers: &str, body: &str| raw(&format!("{FRESH}{headers}\r\n{body}"));
    vec![
        case("chunked", rule, [get().origin(minute(PLAIN).sent(Framing::Chunked)), get().stored()]),
        case(
            "chunks-with-extensions",
            "RFC 9112 section 7.1.1",
            [
                get()
                    .origin(hello("transfer-encoding: chunked\r\n", "2;a=b\r\nhe\r\n3;c\r\nllo\r\n0\r\n\r\n"))
                    .body("hello"),
                get().stored().body("hello"),
            ],
        ),
        case(
            "chunks-with-trailers",
            "RFC 9112 section 7.1.2",
            [
                get()
                    .origin(hello("transfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\nx-a: 1\r\n\r\n"))
                    .body("hello"),
                get().stored().body("hello").hides(["x-a"]),
            ],
        ),
        // RFC 9112 section 6.3: Transfer-Encoding overrides Content-Length; either that, or an error.
        case(
            "chunked-in-upper-case",
            rule,
            [
                get().origin(hello("Transfer-Encoding: Chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")).body("hello"),
                get().stored().body("hello"),
            ],
        ),
        case(
            "more-than-its-length",
            rule,
            [
                get()
                    .origin(hello("content-length: 5\r\n", "hello and more"))
                    .body("hello")
                    .shows(["content-length: 5"]),
                get().stored().body("hello"),
            ],
        ),
        case(
            "another-answer-behind-it",
            "RFC 9112 section 6.3",
            [
                get()
                    .origin(hello("content-length: 5\r\n", "helloHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"))
                    .body("hello"),
                get().to("/b").origin(minute(PLAIN)),
            ],
        ),
        case(
            "two-equal-lengths",
            rule,
            [get().origin(hello("content-length: 5\r\ncontent-length: 5\r\n", "hello")).body("hello")],
        ),
        case(
            "http-1-0",
            "RFC 9112 section 2.5",
            [
                get()
                    .origin(raw("HTTP/1.0 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n\r\nhello"))
                    .body("hello"),
                get().stored().body("hello"),
            ],
        ),
        case("until-the-connection-ends", rule, [get().origin(minute(PLAIN).sent(Framing::UntilClose))]),
        // RFC 9111 section 3.3: incomplete, and without a range of its own it is of no use.
        case(
            "short-of-its-length",
            "RFC 9111 section 3.3",
            [get().origin(minute(PLAIN).sent(Framing::Short)), get().fetched()],
        ),
        case(
            "short-of-its-last-chunk",
            "RFC 9111 section 3.3",
            [get().origin(minute(PLAIN).sent(Framing::ShortChunked)), get().fetched()],
        ),
        case(
            "fields-on-folded-lines",
            "RFC 9112 section 5.2",
            [get().origin(raw("HTTP/1.1 200 OK\r\nx-a: a\r\n b\r\ncontent-length: 5\r\n\r\nhello")).made(502)],
        ),
        case(
            "unknown-transfer-coding",
            "RFC 9112 section 6.1",
            [get().origin(hello("transfer-encoding: foo\r\n", "hello")).made(502), get().fetched()],
        ),
    ]
}

/// RFC 9112 section 6.3: no content, whatever the fields say.
fn bodiless() -> Vec<Case> {
    let rule = "RFC 9112 section 6.3";
    vec![
        case(
            "204-with-a-body",
            rule,
            [
                get().origin(raw("HTTP/1.1 204 No Content\r\ncache-control: max-age=60\r\n\r\nhello")).status(204),
                get().stored().status(204),
                get().to("/b").origin(minute(PLAIN)),
            ],
        ),
        case(
            "204",
            "RFC 9110 section 15.3.5",
            [
                get().origin(reply(204, ["cache-control: max-age=60", "x-a: 1"])).hides(["content-length"]),
                get().stored().shows(["x-a: 1"]).hides(["content-length"]),
            ],
        ),
        case(
            "empty-200",
            "RFC 9110 section 8.6",
            [
                get().origin(minute(PLAIN).text("")).shows(["content-length: 0"]),
                get().stored().shows(["content-length: 0"]),
            ],
        ),
        case(
            "head-with-a-body",
            rule,
            [head().origin(behind("")).body("").shows(["content-length: 5"]), get().to("/b").origin(minute(PLAIN))],
        ),
        case(
            "304-with-content-length",
            "RFC 9110 section 8.6",
            [
                get().origin(super::case::ok(["cache-control: max-age=10", "etag: \"a\""])),
                get()
                    .later(10)
                    .origin(raw("HTTP/1.1 304 Not Modified\r\ncontent-length: 5000\r\n\r\n"))
                    .validated()
                    .status(200)
                    .shows(["content-length: 8"]),
                get().stored_from(0).shows(["content-length: 8"]),
            ],
        ),
    ]
}
