//! Answers past their lifetime: when they serve, and when they must not.

use super::case::{Case, PLAIN, Reply, Step, case, get, minute, not_modified, ok, reply};

pub(super) const SITES: &[(&str, &str)] = &[("grace.test", "grace = \"30s\"")];

/// How an origin fails.
fn failures() -> [(&'static str, Reply); 8] {
    [
        ("500", reply(500, PLAIN)),
        ("502", reply(502, PLAIN)),
        ("503", reply(503, PLAIN)),
        ("504", reply(504, PLAIN)),
        ("hangs-up", Reply::HangUp),
        ("resets", Reply::Reset),
        ("says-nothing", Reply::Silence),
        ("says-nonsense", Reply::Raw("nonsense\r\n\r\n".to_owned())),
    ]
}

/// Answers that are no failures: RFC 5861 section 4.
const NO_FAILURES: [u16; 7] = [400, 403, 404, 410, 429, 501, 505];

/// RFC 9111 section 4.2.4: a cache MUST NOT serve a stale answer where one of these is.
const FORBIDDING: [&str; 4] = ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=60"];

fn stored(control: &str) -> Step {
    get().origin(ok([format!("cache-control: {control}"), "etag: \"a\"".to_owned()]))
}

pub(super) fn cases() -> Vec<Case> {
    let on_error = failures().into_iter().flat_map(|(name, failure)| {
        let rule = "RFC 5861 section 4";
        let late = if name.parse::<u16>().is_ok() {
            let steps = [stored("max-age=60, stale-if-error=30"), get().later(90).origin(failure.clone()).fetched()];
            Some(case(format!("stale-if-error-{name}-too-late"), rule, steps))
        } else {
            None
        };
        let steps = [
            stored("max-age=60, stale-if-error=30"),
            get().later(89).origin(failure).stored_instead().shows(["age: 89"]).hides(["warning"]),
        ];
        [case(format!("stale-if-error-{name}"), rule, steps)].into_iter().chain(late)
    });
    let no_failure = NO_FAILURES.map(|status| {
        case(
            format!("stale-if-error-not-{status}"),
            "RFC 5861 section 4",
            [stored("max-age=60, stale-if-error=30"), get().later(61).origin(reply(status, PLAIN)).fetched()],
        )
    });
    let gone = failures().into_iter().skip(4).take(3).map(|(name, failure)| {
        // RFC 9111 section 4.2.4: a cache that is disconnected may serve stale; here for a day at most.
        case(
            format!("disconnected-{name}"),
            "RFC 9111 section 4.2.4",
            [stored("max-age=60"), get().later(3660).origin(failure).stored_instead().shows(["age: 3660"])],
        )
    });
    let forbidden = FORBIDDING.iter().flat_map(|directive| {
        let (name, rule) = (directive.replace('=', "-"), "RFC 9111 section 4.2.4");
        [
            case(
                format!("{name}-forbids-when-disconnected"),
                rule,
                [
                    stored(&format!("max-age=60, {directive}")),
                    // RFC 9111 section 5.2.2.2: an error, which SHOULD be 504.
                    get().later(61).origin(Reply::HangUp).made(504),
                ],
            ),
            case(
                format!("{name}-forbids-stale-if-error"),
                rule,
                [
                    stored(&format!("max-age=60, stale-if-error=600, {directive}")),
                    get().later(61).origin(reply(503, PLAIN)).fetched(),
                ],
            ),
            case(
                format!("{name}-forbids-stale-while-revalidate"),
                rule,
                [stored(&format!("max-age=60, stale-while-revalidate=600, {directive}")), get().later(61).validated()],
            ),
            case(
                format!("{name}-forbids-grace"),
                rule,
                [stored(&format!("max-age=60, {directive}")), get().later(61).origin(reply(503, PLAIN)).fetched()],
            )
            .at("grace.test"),
        ]
    });
    let rest = while_revalidating().into_iter().chain(other()).chain(grace());
    on_error.chain(no_failure).chain(gone).chain(forbidden).chain(rest).collect()
}

/// RFC 5861 section 3.
fn while_revalidating() -> Vec<Case> {
    let rule = "RFC 5861 section 3";
    let first = || stored("max-age=60, stale-while-revalidate=30");
    vec![
        case(
            "stale-while-revalidate",
            rule,
            [
                first(),
                get().later(60).refreshed().shows(["age: 60"]).hides(["warning"]).origin_saw(["if-none-match: \"a\""]),
                get().later(59).stored_from(0),
            ],
        ),
        case("stale-while-revalidate-at-its-end", rule, [first(), get().later(89).refreshed().shows(["age: 89"])]),
        case("stale-while-revalidate-too-late", rule, [first(), get().later(90).validated()]),
        case("stale-while-revalidate-not-while-fresh", rule, [first(), get().later(59).stored()]),
        case(
            "stale-while-revalidate-zero",
            rule,
            [stored("max-age=60, stale-while-revalidate=0"), get().later(60).validated()],
        ),
        case(
            "stale-while-revalidate-invalid",
            rule,
            [stored("max-age=60, stale-while-revalidate=a"), get().later(60).validated()],
        ),
        case(
            "stale-while-revalidate-quoted",
            rule,
            [stored("max-age=60, stale-while-revalidate=\"30\""), get().later(60).refreshed()],
        ),
        case(
            "stale-while-revalidate-upper-case",
            rule,
            [stored("max-age=60, STALE-WHILE-REVALIDATE=30"), get().later(60).refreshed()],
        ),
        case(
            "stale-while-revalidate-without-a-validator",
            rule,
            [
                get().origin(ok(["cache-control: max-age=60, stale-while-revalidate=30"])),
                get().later(60).origin(minute(PLAIN)).refreshed(),
                get().stored_from(1),
            ],
        ),
        case(
            "stale-while-revalidate-brings-the-new-one",
            rule,
            [
                first(),
                get().later(70).origin(minute(["etag: \"b\""])).refreshed(),
                get().stored_from(1).shows(["etag: \"b\"", "age: 0"]),
            ],
        ),
        case(
            "stale-while-revalidate-brings-an-error",
            rule,
            [first(), get().later(70).origin(reply(503, PLAIN)).refreshed(), get().later(19).refreshed()],
        ),
        case(
            "stale-while-revalidate-of-max-age-zero",
            rule,
            [stored("max-age=0, stale-while-revalidate=30"), get().later(10).refreshed()],
        ),
        case(
            "stale-while-revalidate-with-expires",
            rule,
            [
                get().origin(ok([
                    "cache-control: stale-while-revalidate=30",
                    "date: {0}",
                    "expires: {+60}",
                    "etag: \"a\"",
                ])),
                get().later(60).refreshed(),
            ],
        ),
        case(
            "stale-while-revalidate-for-head",
            rule,
            [first(), super::case::head().later(70).origin(not_modified(PLAIN)).refreshed()],
        ),
        case(
            "stale-while-revalidate-not-for-a-forced-check",
            "RFC 9111 section 5.2.1.4",
            [first(), get().later(70).with(["cache-control: no-cache"]).validated()],
        ),
        case(
            "stale-while-revalidate-gives-304",
            rule,
            [first(), get().later(70).with(["if-none-match: \"a\""]).refreshed().status(304)],
        ),
    ]
}

fn other() -> Vec<Case> {
    vec![
        case(
            "disconnected-for-longer-than-a-day",
            "RFC 9111 section 4.2.4",
            [stored("max-age=60"), get().later(86_461).origin(Reply::HangUp).made(502)],
        ),
        case(
            "disconnected-without-a-validator",
            "RFC 9111 section 4.2.4",
            [get().origin(minute(PLAIN)), get().later(61).origin(Reply::HangUp).stored_instead()],
        ),
        case("disconnected-with-nothing-stored", "RFC 9110 section 15.6.3", [get().origin(Reply::HangUp).made(502)]),
        case("silent-with-nothing-stored", "RFC 9110 section 15.6.5", [get().origin(Reply::Silence).made(504)]),
        case(
            "an-error-is-an-answer",
            "RFC 9111 section 4.2.4",
            [stored("max-age=60"), get().later(61).origin(reply(503, PLAIN)).fetched()],
        ),
        case(
            "an-origin-that-is-back",
            "RFC 5861 section 4",
            [
                stored("max-age=60, stale-if-error=600"),
                get().later(61).origin(reply(503, PLAIN)).stored_instead(),
                get().later(5).validated(),
                get().later(59).stored_from(0),
            ],
        ),
        case(
            "an-error-does-not-freshen",
            "RFC 5861 section 4",
            [
                stored("max-age=60, stale-if-error=600"),
                get().later(61).origin(reply(500, ["cache-control: max-age=60"])).stored_instead(),
                get().later(5).validated(),
            ],
        ),
        case(
            "stale-if-error-of-a-404",
            "RFC 5861 section 4",
            [
                get().origin(reply(404, ["cache-control: max-age=60, stale-if-error=600"])),
                get().later(61).origin(reply(503, PLAIN)).stored_instead(),
            ],
        ),
        case(
            "stale-if-error-invalid",
            "RFC 5861 section 4",
            [stored("max-age=60, stale-if-error=a"), get().later(61).origin(reply(503, PLAIN)).fetched()],
        ),
    ]
}

/// A site whose origin says nothing of staleness.
fn grace() -> Vec<Case> {
    let rule = "RFC 9111 section 4.2.4";
    [
        case("grace-while-revalidating", rule, [stored("max-age=60"), get().later(89).refreshed()]),
        case("grace-is-over", rule, [stored("max-age=60"), get().later(90).validated()]),
        case(
            "grace-and-its-own-shorter-time",
            rule,
            [stored("max-age=60, stale-while-revalidate=10"), get().later(70).validated()],
        ),
        case(
            "grace-while-the-origin-fails",
            rule,
            [
                stored("max-age=60"),
                get().later(70).origin(reply(503, PLAIN)).refreshed(),
                get().later(19).origin(reply(500, PLAIN)).refreshed(),
            ],
        ),
        case(
            "grace-and-its-own-longer-error-time",
            rule,
            [
                stored("max-age=60, stale-while-revalidate=0, stale-if-error=100"),
                get().later(150).origin(reply(503, PLAIN)).stored_instead(),
            ],
        ),
        case(
            "grace-and-its-own-shorter-error-time",
            rule,
            [
                stored("max-age=60, stale-while-revalidate=0, stale-if-error=10"),
                get().later(70).origin(reply(503, PLAIN)).fetched(),
            ],
        ),
    ]
    .map(|case| case.at("grace.test"))
    .into()
}
