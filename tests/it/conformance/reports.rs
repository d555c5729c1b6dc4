//! What a client is told of how its answer came about: Cache-Status, Proxy-Status, Via. All else here is judged by what
//! the origin saw; these are fields of their own right.

use super::case::{Case, PLAIN, Reply, Step, case, get, head, minute, ok, reply, send};

pub(super) const SITES: &[(&str, &str)] = &[];

/// `Cache-Status` of this node with these parameters.
fn says(step: Step, parameters: &str) -> Step {
    step.shows([format!("cache-status: nearcast-fra; {parameters}")])
}

pub(super) fn cases() -> Vec<Case> {
    status().into_iter().chain(errors()).chain(others()).collect()
}

/// RFC 9211 section 2.
fn status() -> Vec<Case> {
    let rule = "RFC 9211 section 2";
    let tagged = || get().origin(ok(["cache-control: max-age=60", "etag: \"a\""]));
    vec![
        case("miss", rule, [says(get().origin(minute(PLAIN)), "fwd=uri-miss; stored")]),
        case("miss-not-stored", rule, [says(get().origin(ok(["cache-control: no-store"])), "fwd=uri-miss")]),
        case("hit", rule, [get().origin(minute(PLAIN)), says(get().later(20).stored(), "hit; ttl=40")]),
        case("hit-for-head", rule, [get().origin(minute(PLAIN)), says(head().stored_from(0), "hit; ttl=60")]),
        case(
            "hit-for-304",
            rule,
            [tagged(), says(get().with(["if-none-match: \"a\""]).stored().status(304), "hit; ttl=60")],
        ),
        case(
            "hit-for-206",
            rule,
            [tagged(), says(get().with(["range: bytes=0-1"]).stored().status(206).body("an"), "hit; ttl=60")],
        ),
        case(
            "stale-and-replaced",
            rule,
            [get().origin(minute(PLAIN)), says(get().later(60).origin(minute(PLAIN)), "fwd=stale; stored")],
        ),
        case(
            "stale-and-confirmed",
            rule,
            [tagged(), says(get().later(60).validated(), "fwd=stale; fwd-status=304; ttl=60")],
        ),
        case(
            "stale-and-served",
            rule,
            [
                get().origin(ok(["cache-control: max-age=60, stale-while-revalidate=30", "etag: \"a\""])),
                says(get().later(70).refreshed(), "hit; ttl=-10"),
            ],
        ),
        case(
            "vary-miss",
            rule,
            [
                get().with(["foo: 1"]).origin(minute(["vary: foo"])),
                says(get().with(["foo: 2"]).origin(minute(["vary: foo"])), "fwd=vary-miss; stored"),
            ],
        ),
        case("method", rule, [says(send("POST").content("abc"), "fwd=method")]),
        case(
            "request",
            rule,
            [
                get().origin(minute(PLAIN)),
                says(get().with(["cache-control: no-cache"]).origin(minute(PLAIN)), "fwd=request; stored"),
            ],
        ),
        // RFC 9211 section 2: each cache adds its member at the end.
        case(
            "behind-another-cache",
            rule,
            [get()
                .origin(ok(["cache-status: OriginCache; hit; ttl=100", "cache-control: no-store"]))
                .shows(["cache-status: OriginCache; hit; ttl=100", "cache-status: nearcast-fra; fwd=uri-miss"])],
        ),
        case(
            "hit-behind-another-cache",
            rule,
            [
                get().origin(minute(["cache-status: OriginCache; hit"])),
                get().stored().shows(["cache-status: OriginCache; hit", "cache-status: nearcast-fra; hit; ttl=60"]),
            ],
        ),
        case(
            "nothing-is-told-of-keys",
            "RFC 9211 section 6",
            [says(get().with(["authorization: a"]).origin(minute(PLAIN)), "fwd=uri-miss")],
        ),
    ]
}

/// RFC 9209 section 2: errors that the node makes itself say so; those of origins do not.
fn errors() -> Vec<Case> {
    let rule = "RFC 9209 section 2.3";
    vec![
        case(
            "closed-without-an-answer",
            rule,
            [get().origin(Reply::HangUp).made(502).shows(["proxy-status: nearcast-fra; error=connection_terminated"])],
        ),
        case(
            "only-if-cached",
            "RFC 9111 section 5.2.1.7",
            [get().with(["cache-control: only-if-cached"]).made(504).asks(0).hides(["age"])],
        ),
        case("an-origins-error-is-its-own", rule, [get().origin(reply(502, PLAIN)).hides(["proxy-status"])]),
        case(
            "an-origins-proxy-status-passes",
            rule,
            [get()
                .origin(reply(502, ["proxy-status: other; error=dns_error"]))
                .shows(["proxy-status: other; error=dns_error"])],
        ),
        case("errors-are-not-stored", "RFC 9111 section 3", [get().origin(Reply::HangUp).made(502), get().fetched()]),
    ]
}

fn others() -> Vec<Case> {
    vec![
        case(
            "via",
            "RFC 9110 section 7.6.3",
            [
                get().origin(minute(PLAIN)).shows(["via: 1.1 nearcast-fra"]),
                get().stored().shows(["via: 1.1 nearcast-fra"]),
            ],
        ),
        case(
            "via-of-others",
            "RFC 9110 section 7.6.3",
            [
                get().origin(minute(["via: 1.1 before"])).shows(["via: 1.1 before", "via: 1.1 nearcast-fra"]),
                get().stored().shows(["via: 1.1 before", "via: 1.1 nearcast-fra"]),
            ],
        ),
        case(
            "no-warning",
            "RFC 9111 section 5.5",
            [
                get().origin(ok(["cache-control: max-age=10, stale-if-error=600"])),
                get().later(86_400 * 2).origin(reply(200, ["cache-control: max-age=10"])).hides(["warning"]),
                get().later(10).origin(ok(PLAIN)).hides(["warning"]),
            ],
        ),
        case("date-of-an-error", "RFC 9110 section 6.6.1", [get().origin(reply(500, PLAIN)).shows(["date: {any}"])]),
        case("date-of-a-post", "RFC 9110 section 6.6.1", [send("POST").content("abc").shows(["date: {any}"])]),
        // RFC 8586 section 2.
        case("cdn-loop-of-others", "RFC 8586 section 2", [get().with(["cdn-loop: another-cdn"]).fetched()]),
    ]
}
