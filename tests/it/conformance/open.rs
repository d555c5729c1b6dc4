//! Rules of docs/rfc9111.md that are not kept yet, each with what would show that it is.

use super::bench::Bench;
use super::case::{Case, PLAIN, case, get, head, minute, ok, reply, send};

/// Where the proxy in front says how its client came.
const PROXIED: &str = "proxied.test";
const TLS: [&str; 1] = ["x-forwarded-proto: https"];

const SITES: &[(&str, &str)] = &[(PROXIED, "trusted-proxies = [\"127.0.0.0/8\"]")];

fn cases() -> Vec<Case> {
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

/// A rule that is kept by now belongs to `rules.rs`, and docs/rfc9111.md must say so.
#[test]
fn not_yet() {
    let cases = cases();
    let bench = Bench::here(SITES, &cases);
    let kept: Vec<&str> =
        cases.iter().filter(|case| bench.play("open", case).is_ok()).map(|case| case.name.as_str()).collect();
    assert!(kept.is_empty(), "kept by now: {kept:?}");
}
