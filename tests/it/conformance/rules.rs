//! Rules of docs/rfc9111.md that no other topic has.

use super::case::{Case, Framing, PLAIN, Reply, case, get, minute, not_modified, ok, reply, send};

pub(super) const SITES: &[(&str, &str)] = &[("browser.test", "[[site.rule]]\npath = \"*\"\nbrowser-ttl = \"30s\"")];

/// An answer that says one thing in its header and another in its trailer.
const TRAILED: &str = concat!(
    "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n",
    "transfer-encoding: chunked\r\ntrailer: cache-control, x-a\r\n\r\n",
    "5\r\nhello\r\n0\r\ncache-control: no-store\r\nx-a: 1\r\n\r\n",
);

pub(super) fn cases() -> Vec<Case> {
    storing().into_iter().chain(reusing()).chain(directives()).chain(targeted()).chain(reports()).collect()
}

fn storing() -> Vec<Case> {
    vec![
        case(
            "a-trailer-is-no-header",
            "RFC 9111 section 3.1",
            [
                get()
                    .origin(Reply::Raw(TRAILED.to_owned()))
                    .body("hello")
                    .shows(["cache-control: max-age=60"])
                    .hides(["x-a"]),
                get().stored().body("hello").shows(["cache-control: max-age=60"]).hides(["x-a"]),
            ],
        ),
        // RFC 9111 section 3.3 allows to keep what broke off; we do not.
        case(
            "what-broke-off-is-not-completed",
            "RFC 9111 section 3.3",
            [
                get().origin(minute(["etag: \"a\""]).sent(Framing::Short)),
                get().origin(minute(["etag: \"a\""])).fetched().origin_saw_no(["range", "if-range"]),
            ],
        ),
        case(
            "a-second-of-the-same-is-the-only-one",
            "RFC 9111 section 4",
            [
                get().origin(minute(["date: {0}", "etag: \"a\""])),
                get().with(["cache-control: no-cache"]).origin(minute(["date: {-5}", "etag: \"b\""])),
                get().stored_from(1).shows(["etag: \"b\""]),
            ],
        ),
    ]
}

fn reusing() -> Vec<Case> {
    let tagged = || get().origin(minute(["etag: \"a\"", "last-modified: {-100}"]));
    vec![
        // RFC 9110 sections 13.1.1 and 13.1.4: a cache may ignore them, since they are for an origin.
        case(
            "if-match-is-not-for-a-cache",
            "RFC 9111 section 4.3.2",
            [tagged(), get().with(["if-match: \"b\""]).stored(), get().with(["if-unmodified-since: {-200}"]).stored()],
        ),
        case(
            "if-match-does-not-go-along-with-a-fetch",
            "RFC 9111 section 4.3.2",
            [get().with(["if-match: \"b\""]).origin(minute(PLAIN)).origin_saw_no(["if-match"]), get().stored()],
        ),
        case(
            "a-condition-on-what-is-not-stored",
            "RFC 9111 section 4.3.2",
            [
                get().with(["if-none-match: \"a\""]).origin(ok(["cache-control: no-store", "etag: \"a\""])).fetched(),
                get()
                    .with(["if-none-match: \"a\""])
                    .origin_saw(["if-none-match: \"a\""])
                    .origin(not_modified(["etag: \"a\""])),
            ],
        ),
        case(
            "a-condition-on-a-part",
            "RFC 9111 section 4.3.2",
            [
                get().with(["range: bytes=2-4"]).origin(
                    reply(206, ["cache-control: max-age=60", "content-range: bytes 2-4/10", "etag: \"a\""]).text("234"),
                ),
                get().with(["range: bytes=2-4", "if-none-match: \"a\""]).stored().status(304),
            ],
        ),
        // Wider than the third item of section 4.3.4: what was asked about alone is what a bare 304 is about.
        case(
            "a-bare-304-about-the-only-one-asked",
            "RFC 9111 section 4.3.4",
            [
                get().origin(ok(["cache-control: max-age=10", "etag: \"a\""])),
                get().later(10).origin(not_modified(["x-a: 1"])).validated().shows(["x-a: 1", "etag: \"a\""]),
            ],
        ),
        case(
            "a-bare-304-about-one-of-two",
            "RFC 9111 section 4.3.4",
            [
                get().with(["foo: 1"]).origin(minute(["vary: foo", "etag: \"a\""])),
                get().with(["foo: 2"]).origin(minute(["vary: foo", "etag: \"b\""])),
                get()
                    .with(["foo: 3"])
                    .origin(not_modified(["vary: foo"]))
                    .origin(minute(["vary: foo", "etag: \"c\""]))
                    .asks(2)
                    .origin_saw_no(["if-none-match"]),
                get().with(["foo: 1"]).stored_from(0),
            ],
        ),
    ]
}

fn directives() -> Vec<Case> {
    let rule = "RFC 9111 section 5.2";
    vec![
        case(
            "request-directives-pass",
            rule,
            [
                get()
                    .with(["cache-control: max-age=9, foo=\"a, b\", no-transform"])
                    .origin_saw(["cache-control: max-age=9, foo=\"a, b\", no-transform"]),
                send("POST").with(["cache-control: no-store"]).content("abc").origin_saw(["cache-control: no-store"]),
            ],
        ),
        case(
            "connection-cannot-keep-request-directives-back",
            rule,
            [get()
                .with(["connection: cache-control", "cache-control: no-transform"])
                .origin_saw(["cache-control: no-transform"])],
        ),
        case(
            "no-transform",
            "RFC 9111 section 5.2.2.6",
            [
                get()
                    .with(["accept-encoding: br"])
                    .origin(
                        minute(["content-encoding: gzip", "content-type: text/plain", "etag: \"a\""])
                            .text("not really gzip"),
                    )
                    .shows(["content-encoding: gzip", "content-type: text/plain", "etag: \"a\""]),
                get().stored().shows(["content-encoding: gzip", "content-type: text/plain", "etag: \"a\""]),
            ],
        ),
        // RFC 9111 section 5.2.2.4: a 304 may bring the named fields anew; we go on without them.
        case(
            "no-cache-fields-after-a-304",
            "RFC 9111 section 5.2.2.4",
            [
                get().origin(ok(["cache-control: max-age=10, no-cache=\"x-a\"", "etag: \"a\"", "x-a: 1", "x-b: 1"])),
                get().later(10).origin(not_modified(["x-a: 2"])).validated().hides(["x-a"]).shows(["x-b: 1"]),
                get().stored_from(0).hides(["x-a"]),
            ],
        ),
        // An operator may give browsers a lifetime of their own; only then is the field not passed on as it came.
        case(
            "a-lifetime-for-browsers",
            rule,
            [
                get().origin(minute(["cache-control: public"])).shows(["cache-control: public, max-age=30"]),
                get().later(20).stored().shows(["cache-control: public, max-age=50", "age: 20"]),
            ],
        )
        .at("browser.test"),
        case(
            "an-extension-does-not-lift-private",
            "RFC 9111 section 5.2.3",
            [get().origin(ok(["cache-control: private, max-age=60, community=\"UCI\""])), get().fetched()],
        ),
    ]
}

fn targeted() -> Vec<Case> {
    vec![
        case(
            "other-targets-pass-as-they-came",
            "RFC 9213 section 2.2",
            [
                get()
                    .origin(minute(["examplecdn-cache-control: no-store", "browser-cache-control: max-age=5"]))
                    .shows(["examplecdn-cache-control: no-store", "browser-cache-control: max-age=5"]),
                get()
                    .later(59)
                    .stored()
                    .shows(["examplecdn-cache-control: no-store", "browser-cache-control: max-age=5"]),
            ],
        ),
        case(
            "none-allows-the-cdn-alone",
            "RFC 9213 section 3.1",
            [
                get().origin(ok(["cache-control: no-store", "cdn-cache-control: none", "etag: \"a\""])),
                get().validated(),
            ],
        ),
    ]
}

fn reports() -> Vec<Case> {
    vec![
        // RFC 9211 section 2 says SHOULD NOT; operators asked for the field on every answer.
        case(
            "our-own-answers-say-who-made-them",
            "RFC 9211 section 2",
            [get().with(["cache-control: only-if-cached"]).made(504).asks(0).shows(["cache-status: nearcast-fra"])],
        ),
        case(
            "lines-of-others-stay",
            "RFC 9211 section 2",
            [
                get().origin(minute(["cache-status: A; hit", "cache-status: \"B, c\"; fwd=uri-miss; stored"])),
                get().stored().shows([
                    "cache-status: A; hit",
                    "cache-status: \"B, c\"; fwd=uri-miss; stored",
                    "cache-status: nearcast-fra; hit; ttl=60",
                ]),
            ],
        ),
    ]
}
