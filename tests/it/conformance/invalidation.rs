//! What a change through the cache does to what it has stored.

use super::case::{Case, PLAIN, case, get, minute, reply, send};
use crate::harness::client::HOST;

pub(super) const SITES: &[(&str, &str)] = &[];

/// Unsafe methods, and ones whose safety nobody knows.
const METHODS: [&str; 9] = ["POST", "PUT", "PATCH", "DELETE", "M-SEARCH", "MKCOL", "LOCK", "FOO", "post"];
const SAFE: [&str; 2] = ["OPTIONS", "HEAD"];

/// The second host of the plain site.
const OTHER: &str = "static.other.test";

/// Values of Location and Content-Location that mean `/b` below the case's path, and no other.
const SAME: &[(&str, &str)] = &[
    ("path", "{path}/b"),
    ("url", "http://{host}{path}/b"),
    ("url-with-port", "http://{host}:80{path}/b"),
    ("url-in-upper-case", "HTTP://WWW.CDN.TEST{path}/b"),
    ("scheme-relative", "//{host}{path}/b"),
    ("fragment", "{path}/b#there"),
    ("dot-segments", "{path}/x/../b"),
];

/// Values that mean something else, or nothing.
const ELSEWHERE: &[(&str, &str)] = &[
    ("another-path", "{path}/c"),
    ("another-query", "{path}/b?c"),
    ("another-host", "http://static.other.test{path}/b"),
    ("a-host-nobody-knows", "http://www.example.test{path}/b"),
    ("another-scheme", "https://{host}{path}/b"),
    ("another-port", "http://{host}:8080{path}/b"),
    ("nonsense", "http://[{path}/b"),
    ("empty", ""),
];

pub(super) fn cases() -> Vec<Case> {
    let unsafe_ones = METHODS.into_iter().flat_map(|method| {
        let rule = "RFC 9111 section 4.4";
        let name = if method == "post" { "lower-case-post".to_owned() } else { method.to_lowercase() };
        let changed = move |status: u16| {
            [get().origin(minute(["etag: \"a\""])), send(method).content("abc").origin(reply(status, PLAIN))]
        };
        let invalidates = [200, 201, 204, 299, 303].map(|status| {
            let [first, second] = changed(status);
            // RFC 9111: it is removed, or never used again without being validated.
            case(format!("{name}-{status}"), rule, [first, second, get().fetched()])
        });
        let leaves = [400, 404, 412, 500, 503].map(|status| {
            let [first, second] = changed(status);
            case(format!("{name}-{status}"), rule, [first, second, get().stored_from(0)])
        });
        invalidates.into_iter().chain(leaves)
    });
    let safe_ones = SAFE.into_iter().map(|method| {
        case(
            format!("{}-is-safe", method.to_lowercase()),
            "RFC 9110 section 9.2.1",
            [
                get().origin(minute(PLAIN)),
                send(method).with(["cache-control: no-store"]).asks(usize::from(method == "OPTIONS")),
                get().stored_from(0),
            ],
        )
    });
    unsafe_ones.chain(safe_ones.map(head_is_stored)).chain(locations()).chain(others()).collect()
}

/// HEAD is answered from the store, which is what this is about only in passing.
fn head_is_stored(mut case: Case) -> Case {
    if case.steps[1].method == "HEAD" {
        case.steps[1] = case.steps[1].clone().stored_from(0);
        case.steps[1].asks = None;
    }
    case
}

/// RFC 9111 section 4.4: a cache MAY invalidate what Location and Content-Location name, of the same origin only.
fn locations() -> impl Iterator<Item = Case> {
    let rule = "RFC 9111 section 4.4";
    ["location", "content-location"].into_iter().flat_map(move |field| {
        let steps = move |method, status, value: &str, last| {
            let line = format!("{field}: {value}");
            [get().to("/b").origin(minute(PLAIN)), send(method).content("abc").origin(reply(status, [line])), last]
        };
        let same = SAME.iter().map(move |(name, value)| {
            case(format!("{field}-{name}"), rule, steps("POST", 201, value, get().to("/b").fetched()))
        });
        let elsewhere = ELSEWHERE.iter().map(move |(name, value)| {
            case(format!("{field}-{name}"), rule, steps("POST", 201, value, get().to("/b").stored()))
        });
        let methods = ["PUT", "DELETE", "PATCH", "M-SEARCH"].map(|method| {
            let name = format!("{field}-of-{}", method.to_lowercase());
            case(name, rule, steps(method, 200, "{path}/b", get().to("/b").fetched()))
        });
        let errors = [404, 500].map(|status| {
            case(format!("{field}-of-{status}"), rule, steps("POST", status, "{path}/b", get().to("/b").stored()))
        });
        let safe = case(
            format!("{field}-of-get"),
            rule,
            [
                get().to("/b").origin(minute(PLAIN)),
                get().origin(reply(301, [format!("{field}: {{path}}/b"), "cache-control: max-age=60".to_owned()])),
                get().to("/b").stored(),
            ],
        );
        same.chain(elsewhere).chain(methods).chain(errors).chain([safe])
    })
}

fn others() -> Vec<Case> {
    let rule = "RFC 9111 section 4.4";
    vec![
        case(
            "all-variants",
            rule,
            [
                get().with(["foo: 1"]).origin(minute(["vary: foo"])),
                get().with(["foo: 2"]).origin(minute(["vary: foo"])),
                send("POST").content("abc"),
                get().with(["foo: 1"]).fetched(),
                get().with(["foo: 2"]).fetched(),
            ],
        ),
        case(
            "not-other-queries",
            rule,
            [get().to("?b").origin(minute(PLAIN)), send("POST").content("abc"), get().to("?b").stored()],
        ),
        case(
            "with-its-own-query",
            rule,
            [get().to("?b").origin(minute(PLAIN)), send("POST").to("?b").content("abc"), get().to("?b").fetched()],
        ),
        case("not-other-paths", rule, [get().to("/b").origin(minute(PLAIN)), send("DELETE"), get().to("/b").stored()]),
        case(
            "not-other-hosts",
            rule,
            [get().host(OTHER).origin(minute(PLAIN)), send("POST").content("abc"), get().host(OTHER).stored()],
        ),
        case(
            "not-other-hosts-by-location",
            rule,
            [
                get().host(OTHER).origin(minute(PLAIN)),
                send("POST").content("abc").origin(reply(201, ["location: http://static.other.test{path}"])),
                get().host(OTHER).stored(),
            ],
        ),
        case(
            "what-is-fetched-later-is-stored",
            rule,
            [
                get().origin(minute(PLAIN)),
                send("PUT").content("abc"),
                get().origin(minute(PLAIN)),
                get().host(HOST).stored_from(2),
            ],
        ),
        case(
            "no-stale-answer-either",
            rule,
            [
                get().origin(minute(["etag: \"a\""])),
                send("DELETE").origin(reply(204, PLAIN)),
                get().origin(reply(404, PLAIN)).fetched(),
            ],
        ),
        case(
            "not-when-the-origin-is-gone",
            rule,
            [
                get().origin(minute(PLAIN)),
                send("POST").content("abc").origin(super::case::Reply::HangUp).made(502),
                get().stored_from(0),
            ],
        ),
        case(
            "a-304-to-nothing-is-no-change",
            rule,
            [
                get().origin(minute(["etag: \"a\""])),
                get().with(["if-none-match: \"a\""]).stored().status(304),
                get().stored_from(0),
            ],
        ),
        case(
            "ranges-too",
            rule,
            [
                get().origin(minute(PLAIN)),
                send("PUT").content("abc"),
                get().with(["range: bytes=0-1"]).origin(minute(PLAIN).text("other")).asks(1).status(206).body("ot"),
            ],
        ),
    ]
}
