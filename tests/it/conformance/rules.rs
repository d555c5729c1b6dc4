//! Rules of docs/rfc9111.md that no other topic has.

use super::case::{Case, Framing, PLAIN, Reply, case, get, head, minute, not_modified, ok, reply, send};

/// Where the proxy in front says how its client came.
const PROXIED: &str = "proxied.test";
const TLS: [&str; 1] = ["x-forwarded-proto: https"];

pub(super) const SITES: &[(&str, &str)] = &[
    (PROXIED, "trusted-proxies = [\"127.0.0.0/8\"]"),
    ("browser.test", "[[site.rule]]\npath = \"*\"\nbrowser-ttl = \"30s\""),
];

/// An answer that says one thing in its header and another in its trailer.
const TRAILED: &str = concat!(
    "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n",
    "transfer-encoding: chunked\r\ntrailer: cache-control, x-a\r\n\r\n",
    "5\r\nhello\r\n0\r\ncache-control: no-store\r\nx-a: 1\r\n\r\n",
);

pub(super) fn cases() -> Vec<Case> {
    storing()
        .into_iter()
        .chain(reusing())
        .chain(directives())
        .chain(targeted())
        .chain(reports())
        .chain(fine_points())
        .collect()
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
        // RFC 9111 section 3.3 allows to keep what broke off; we do not. Under a strong tag the rest is asked for at once.
        case(
            "what-broke-off-is-not-completed",
            "RFC 9111 section 3.3",
            [
                get().origin(minute(["etag: W/\"a\""]).sent(Framing::Short)),
                get().origin(minute(["etag: W/\"a\""])).fetched().origin_saw_no(["range", "if-range"]),
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

/// Rules that are easily missed, in their own words.
fn fine_points() -> Vec<Case> {
    let says = |parameters: &str| [format!("cache-status: nearcast-fra; {parameters}")];
    let part = || {
        reply(206, ["cache-control: max-age=60", "content-range: bytes 2-4/10", "etag: \"a\"", "vary: foo"]).text("234")
    };
    vec![
        // "although all date formats are specified to be case-sensitive, a cache recipient SHOULD match the field value
        // case-insensitively"
        case(
            "dates-in-any-case",
            "RFC 9111 section 4.2",
            [get().origin(ok(["expires: THU, 18 AUG 2050 02:01:18 gmt"])), get().later(3600).stored()],
        ),
        // "a cache MUST NOT trigger an invalidation under these conditions if the origin of the URI to be invalidated
        // differs from that of the target URI": another scheme is another origin.
        case(
            "the-other-scheme-stays",
            "RFC 9111 section 4.4",
            [get().with(TLS).origin(minute(PLAIN)), send("POST").content("abc"), get().with(TLS).stored_from(0)],
        )
        .at(PROXIED),
        // "when a cache has multiple stored responses for a target URI and one or more omits the Vary header field, the
        // cache SHOULD choose the most recent stored response with a valid Vary field value"
        case(
            "a-default-answer-without-vary",
            "RFC 9111 section 4.1",
            [
                get().with(["foo: 1"]).origin(minute(["vary: foo"])),
                get().origin(minute(PLAIN)),
                get().with(["foo: 1"]).stored_from(0),
            ],
        ),
        // "the cache MUST NOT use that stored response without revalidation unless all the presented request header
        // fields nominated by that Vary field value match": also when HEAD brought the Vary.
        case(
            "head-that-brings-vary",
            "RFC 9111 section 4.1",
            [
                get().origin(ok(["cache-control: max-age=10", "etag: \"a\""])),
                head().later(10).origin(minute(["etag: \"a\"", "vary: foo"]).text("answer 0")),
                get().with(["foo: 1"]).fetched(),
            ],
        ),
        // "if a stored response contains only partial content, the cache MUST NOT include its entity tag in the union"
        case(
            "the-tag-of-a-part-is-not-sent",
            "RFC 9111 section 4.3.2",
            [
                get().with(["foo: 1", "range: bytes=2-4"]).origin(part()),
                get().with(["foo: 2"]).origin(minute(["vary: foo"])).origin_saw_no(["if-none-match"]),
            ],
        ),
        // "unless the max-stale request directive is also present, the client does not wish to receive a stale
        // response"
        case(
            "max-age-of-a-client-against-stale",
            "RFC 9111 section 5.2.1.1",
            [
                get().origin(ok(["cache-control: max-age=60, stale-while-revalidate=30", "etag: \"a\""])),
                get().later(70).with(["cache-control: max-age=100"]).origin(minute(["etag: \"b\""])).fetched(),
            ],
        ),
        // "when used as a request Cache-Control extension, its scope of application is the request it appears in"
        case(
            "stale-if-error-of-a-client",
            "RFC 5861 section 4",
            [
                get().origin(minute(["etag: \"a\""])),
                get().later(70).with(["cache-control: stale-if-error=30"]).origin(reply(503, PLAIN)).stored_instead(),
            ],
        ),
        // "the most specific reason known to the cache SHOULD be used"; `request` is for when a fresh answer was there.
        case(
            "nothing-stored-is-uri-miss-for-no-store-too",
            "RFC 9211 section 2.2",
            [get().with(["cache-control: no-store"]).origin(minute(PLAIN)).shows(says("fwd=uri-miss"))],
        ),
        // fwd-status is "which status code the next-hop server returned"
        case(
            "the-status-of-a-part-is-206",
            "RFC 9211 section 2.3",
            [get().with(["range: bytes=2-4"]).origin(part()).body("234").shows(says("fwd=uri-miss; stored"))],
        ),
        // "hit .. indicates that .. it was not forwarded"
        case(
            "what-stands-in-after-an-error-is-no-hit",
            "RFC 9211 section 2.1",
            [
                get().origin(ok(["cache-control: max-age=60, stale-if-error=30", "etag: \"a\""])),
                get()
                    .later(70)
                    .origin(reply(503, PLAIN))
                    .stored_instead()
                    .shows(says("fwd=stale; fwd-status=503; ttl=-10")),
            ],
        ),
    ]
}
