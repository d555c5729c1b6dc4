//! CDN-Cache-Control.

use super::case::{Case, PLAIN, Step, case, get, ok, reply};
use super::freshness::lasts;

pub(super) const SITES: &[(&str, &str)] = &[];

/// Lines of CDN-Cache-Control, and for how many seconds the answer is fresh, beside `Cache-Control: max-age=10`.
const BESIDE: &[(&str, &[&str], u32)] = &[
    ("longer", &["max-age=60"], 60),
    ("shorter", &["max-age=5"], 5),
    ("zero", &["max-age=0"], 0),
    ("s-maxage", &["max-age=5, s-maxage=60"], 60),
    ("no-store", &["no-store, max-age=60"], 0),
    ("private", &["private, max-age=60"], 0),
    ("no-cache", &["no-cache, max-age=60"], 0),
    ("two-lines", &["public", "max-age=60"], 60),
    ("unknown-directives", &["foo, max-age=60, bar=\"a, b\", baz=1.5"], 60),
    ("parameters", &["max-age=60;foo=bar, no-transform;a"], 60),
    ("inner-list", &["foo=(a b), max-age=60"], 60),
    ("large", &["max-age=999999999999999"], 3600),
    ("no-spaces", &["max-age=60,public"], 60),
    ("tabs", &["max-age=60\t,\tpublic"], 60),
    ("leading-zeros", &["max-age=060"], 60),
    // RFC 9651 section 4.2.2: of a key that is there twice the last one counts.
    ("twice", &["max-age=5, max-age=60"], 60),
    ("twice-on-lines", &["max-age=60", "max-age=5"], 5),
    // RFC 9213 section 2.2: valid and not empty, it stands for all; what it does not say is not said.
    ("nothing-of-freshness", &["public"], 0),
    ("only-unknown-directives", &["foo=bar"], 0),
    // RFC 9213 section 2.1: a directive of another type is ignored.
    ("string", &["max-age=\"60\""], 0),
    ("token", &["max-age=a"], 0),
    ("decimal", &["max-age=60.0"], 0),
    ("true", &["max-age"], 0),
    ("negative", &["max-age=-60"], 0),
    ("in-a-string", &["foo=\"max-age=60\""], 0),
    ("no-store-in-a-string", &["foo=\"no-store\", max-age=60"], 60),
    // RFC 9651 section 4.2: what is no Structured Field, and what is empty, is ignored as a whole.
    ("empty", &[""], 10),
    ("trailing-comma", &["max-age=60,"], 10),
    ("leading-comma", &[",max-age=60"], 10),
    ("empty-element", &["max-age=60,,public"], 10),
    ("upper-case", &["MAX-AGE=60"], 10),
    ("mixed-case", &["max-age=60, Public"], 10),
    ("no-comma", &["max-age=60 public"], 10),
    ("space-before-equals", &["max-age =60"], 10),
    ("space-after-equals", &["max-age= 60"], 10),
    ("empty-argument", &["max-age="], 10),
    ("single-quotes", &["max-age='60'"], 10),
    ("open-string", &["max-age=60, foo=\"a"], 10),
    ("semicolon", &["max-age=60; Public"], 10),
    ("sixteen-digits", &["max-age=1000000000000000"], 10),
    ("plus", &["max-age=+60"], 10),
    ("obs-text", &["max-age=60, foo=\"é\""], 10),
    ("invalid-no-store", &["no-store, MAX-AGE=60"], 10),
];

fn answer(lines: &[&'static str]) -> Step {
    get().origin(ok(lines.iter().copied()))
}

pub(super) fn cases() -> Vec<Case> {
    let beside = BESIDE.iter().map(|(name, values, seconds)| {
        let lines: Vec<String> = values.iter().map(|value| format!("cdn-cache-control: {value}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).chain(["cache-control: max-age=10"]).collect();
        if *seconds == 3600 {
            return case(*name, "RFC 9213 section 2.1", [get().origin(ok(lines)), get().later(3600).stored()]);
        }
        lasts(name, "RFC 9213 section 2", &lines, *seconds)
    });
    let rule = "RFC 9213 section 2.2";
    let others = [
        lasts("alone", rule, &["cdn-cache-control: max-age=60"], 60),
        lasts("beats-no-store", rule, &["cdn-cache-control: max-age=60", "cache-control: no-store"], 60),
        lasts("beats-private", rule, &["cdn-cache-control: max-age=60", "cache-control: private"], 60),
        lasts("beats-no-cache", rule, &["cdn-cache-control: max-age=60", "cache-control: no-cache"], 60),
        lasts("beats-s-maxage", rule, &["cdn-cache-control: max-age=60", "cache-control: s-maxage=10"], 60),
        lasts("beats-past-expires", rule, &["cdn-cache-control: max-age=60", "date: {0}", "expires: {-10}"], 60),
        lasts("beats-invalid-expires", rule, &["cdn-cache-control: max-age=60", "expires: 0"], 60),
        lasts("beats-later-expires", rule, &["cdn-cache-control: max-age=10", "date: {0}", "expires: {+60}"], 10),
        lasts("expires-is-not-looked-at", rule, &["cdn-cache-control: public", "date: {0}", "expires: {+60}"], 0),
        lasts("invalid-beside-expires", rule, &["cdn-cache-control: MAX-AGE=5", "date: {0}", "expires: {+60}"], 60),
        lasts("invalid-beside-no-store", rule, &["cdn-cache-control: max-age=60,", "cache-control: no-store"], 0),
        lasts("age-counts", rule, &["cdn-cache-control: max-age=60", "age: 50"], 10),
        lasts("date-counts", rule, &["cdn-cache-control: max-age=60", "date: {-50}"], 10),
        lasts("another-target", rule, &["foo-cache-control: max-age=60", "cache-control: max-age=10"], 10),
        lasts("pragma-does-not-matter", rule, &["cdn-cache-control: max-age=60", "pragma: no-cache"], 60),
    ];
    beside.chain(others).chain(rest()).collect()
}

fn rest() -> Vec<Case> {
    let rule = "RFC 9213 section 2.2";
    vec![
        case(
            "passed-on-as-it-came",
            "RFC 9213 section 3.1",
            [
                answer(&["cdn-cache-control: max-age=60, foo", "cache-control: max-age=10"])
                    .shows(["cdn-cache-control: max-age=60, foo", "cache-control: max-age=10"]),
                get().stored().shows(["cdn-cache-control: max-age=60, foo", "cache-control: max-age=10"]),
            ],
        ),
        case(
            "invalid-passed-on-as-it-came",
            "RFC 9213 section 3.1",
            [
                answer(&["cdn-cache-control: MAX-AGE", "cache-control: max-age=10"]),
                get().stored().shows(["cdn-cache-control: MAX-AGE"]),
            ],
        ),
        case(
            "stale-while-revalidate",
            rule,
            [
                answer(&["cdn-cache-control: max-age=10, stale-while-revalidate=30", "etag: \"a\""]),
                get().later(20).refreshed(),
            ],
        ),
        case(
            "stale-while-revalidate-of-the-other-does-not-count",
            rule,
            [
                answer(&["cdn-cache-control: max-age=10", "cache-control: stale-while-revalidate=30", "etag: \"a\""]),
                get().later(20).validated(),
            ],
        ),
        case(
            "stale-if-error",
            rule,
            [
                answer(&["cdn-cache-control: max-age=10, stale-if-error=30"]),
                get().later(20).origin(reply(503, PLAIN)).stored_instead(),
            ],
        ),
        case(
            "must-revalidate",
            rule,
            [
                answer(&["cdn-cache-control: max-age=10, stale-if-error=30, must-revalidate"]),
                get().later(20).origin(reply(503, PLAIN)).fetched(),
            ],
        ),
        case(
            "must-revalidate-of-the-other-does-not-count",
            rule,
            [
                answer(&["cdn-cache-control: max-age=10, stale-if-error=30", "cache-control: must-revalidate"]),
                get().later(20).origin(reply(503, PLAIN)).stored_instead(),
            ],
        ),
        case(
            "no-cache-is-validated",
            rule,
            [answer(&["cdn-cache-control: no-cache", "cache-control: max-age=60", "etag: \"a\""]), get().validated()],
        ),
        case(
            "public-and-authorization",
            rule,
            [
                get().with(["authorization: a"]).origin(ok(["cdn-cache-control: public, max-age=60"])),
                get().with(["authorization: a"]).stored(),
            ],
        ),
        case(
            "public-of-the-other-and-authorization",
            rule,
            [
                get().with(["authorization: a"]).origin(ok(["cdn-cache-control: max-age=60", "cache-control: public"])),
                get().with(["authorization: a"]).fetched(),
            ],
        ),
        case("of-a-503", rule, [get().origin(reply(503, ["cdn-cache-control: max-age=60"])), get().later(59).stored()]),
        case(
            "a-304-can-change-it",
            "RFC 9111 section 4.3.4",
            [
                answer(&["cdn-cache-control: max-age=10", "etag: \"a\""]),
                get().later(10).origin(super::case::not_modified(["cdn-cache-control: max-age=60"])).validated(),
                get().later(59).stored_from(0).shows(["cdn-cache-control: max-age=60"]),
            ],
        ),
        // RFC 9213 section 2.2: the heuristic is for answers without a lifetime, whoever might have said it.
        lasts(
            "no-lifetime-and-a-heuristic",
            "RFC 9111 section 4.2.2",
            &["cdn-cache-control: public", "date: {0}", "last-modified: {-600}"],
            60,
        ),
    ]
}
