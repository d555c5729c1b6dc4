//! Surrogate-Control, as the W3C's Edge Architecture Specification 1.0 has it.

use super::case::{Case, PLAIN, case, get, head, ok, reply};
use super::freshness::lasts;

pub(super) const SITES: &[(&str, &str)] = &[];

const RULE: &str = "Edge Architecture section 2.2";

/// Lines of Surrogate-Control, and for how many seconds the answer is fresh, beside `Cache-Control: max-age=10`.
const BESIDE: &[(&str, &[&str], u32)] = &[
    ("longer", &["max-age=60"], 60),
    ("shorter", &["max-age=5"], 5),
    ("zero", &["max-age=0"], 0),
    ("no-store", &["no-store"], 0),
    ("no-store-and-max-age", &["max-age=60, no-store"], 0),
    ("upper-case", &["MAX-AGE=60"], 60),
    ("mixed-case", &["MaX-aGe=60"], 60),
    ("no-store-upper-case", &["NO-STORE"], 0),
    ("unknown-before", &["foobar, max-age=60"], 60),
    ("unknown-after", &["max-age=60, content=\"ESI/1.0\""], 60),
    ("two-lines", &["foobar", "max-age=60"], 60),
    ("empty-elements", &[",, max-age=60 ,"], 60),
    ("in-a-string", &["content=\"max-age=60, no-store\", max-age=20"], 20),
    // A parameter is the device that the directive is meant for.
    ("for-us", &["max-age=60;nearcast-fra"], 60),
    ("for-us-with-spaces", &["max-age=60 ; nearcast-fra"], 60),
    ("for-another", &["max-age=60;elsewhere"], 10),
    ("no-store-for-another", &["no-store;elsewhere"], 10),
    ("for-another-and-for-all", &["max-age=5;elsewhere, max-age=60"], 60),
    ("for-another-and-for-us", &["max-age=5;elsewhere, max-age=60;nearcast-fra"], 60),
    ("no-store-for-another-and-max-age", &["no-store;elsewhere, max-age=60"], 60),
    // What cannot be read says nothing.
    ("space-before-equals", &["max-age =60"], 10),
    ("space-after-equals", &["max-age= 60"], 10),
    ("empty", &[""], 10),
    ("only-unknown", &["content=\"ESI/1.0\""], 10),
];

pub(super) fn cases() -> Vec<Case> {
    let beside = BESIDE.iter().map(|(name, values, seconds)| {
        let lines: Vec<String> = values.iter().map(|value| format!("surrogate-control: {value}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).chain(["cache-control: max-age=10"]).collect();
        lasts(name, RULE, &lines, *seconds)
    });
    let alone = [
        lasts("alone", RULE, &["surrogate-control: max-age=60"], 60),
        lasts("alone-for-us", RULE, &["surrogate-control: max-age=60;nearcast-fra"], 60),
        lasts("alone-for-another", RULE, &["surrogate-control: max-age=60;elsewhere"], 0),
        lasts("no-store-alone", RULE, &["surrogate-control: no-store", "etag: \"a\""], 0),
        lasts("beats-no-store", RULE, &["surrogate-control: max-age=60", "cache-control: no-store"], 60),
        lasts("beats-private", RULE, &["surrogate-control: max-age=60", "cache-control: private"], 60),
        lasts("beats-no-cache", RULE, &["surrogate-control: max-age=60", "cache-control: no-cache"], 60),
        lasts("beats-s-maxage", RULE, &["surrogate-control: max-age=60", "cache-control: s-maxage=10"], 60),
        lasts("beats-past-expires", RULE, &["surrogate-control: max-age=60", "date: {0}", "expires: {-10}"], 60),
        lasts("beats-invalid-expires", RULE, &["surrogate-control: max-age=60", "expires: 0"], 60),
        lasts("zero-beats-expires", RULE, &["surrogate-control: max-age=0", "date: {0}", "expires: {+60}"], 0),
        lasts("no-store-beats-expires", RULE, &["surrogate-control: no-store", "date: {0}", "expires: {+60}"], 0),
        lasts("age-counts", RULE, &["surrogate-control: max-age=60", "age: 50"], 10),
        lasts("age-beyond", RULE, &["surrogate-control: max-age=60", "age: 7200"], 0),
        lasts(
            "cdn-cache-control-beats-it",
            "RFC 9213 section 2.2",
            &["surrogate-control: max-age=10", "cdn-cache-control: max-age=60"],
            60,
        ),
        lasts(
            "invalid-cdn-cache-control-does-not",
            "RFC 9213 section 2.2",
            &["surrogate-control: max-age=60", "cdn-cache-control: MAX-AGE=10"],
            60,
        ),
        lasts(
            "cdn-no-store-beats-it",
            "RFC 9213 section 2.2",
            &["surrogate-control: max-age=60", "cdn-cache-control: no-store"],
            0,
        ),
    ];
    let large = ["2147483648", "99999999999", "99999999999999999999999999"].map(|seconds| {
        case(
            format!("large-{seconds}"),
            RULE,
            [get().origin(ok([format!("surrogate-control: max-age={seconds}")])), get().later(86_400).stored()],
        )
    });
    beside.chain(alone).chain(large).chain(rest()).collect()
}

fn rest() -> Vec<Case> {
    let removed = "Edge Architecture section 2.2.1";
    let control = || ok(["cache-control: max-age=60", "surrogate-control: max-age=60, foo"]);
    let tagged = |value: &str| get().origin(ok([format!("surrogate-control: {value}"), "etag: \"a\"".to_owned()]));
    vec![
        case(
            "removed",
            removed,
            [
                get().origin(control()).hides(["surrogate-control"]),
                get().stored().hides(["surrogate-control"]).shows(["cache-control: max-age=60"]),
            ],
        ),
        case(
            "removed-when-nothing-is-stored",
            removed,
            [get().origin(ok(["surrogate-control: no-store"])).hides(["surrogate-control"])],
        ),
        case(
            "removed-when-unknown",
            removed,
            [get().origin(ok(["surrogate-control: foo"])).hides(["surrogate-control"])],
        ),
        case("removed-from-head", removed, [head().origin(control()).hides(["surrogate-control"])]),
        case(
            "removed-from-304",
            removed,
            [
                tagged("max-age=60"),
                get().with(["if-none-match: \"a\""]).stored().status(304).hides(["surrogate-control"]),
            ],
        ),
        case(
            "announced",
            "Edge Architecture section 2.1",
            [get().origin_saw(["surrogate-capability: nearcast-fra=\"Surrogate/1.0\""])],
        ),
        case(
            "announced-for-head",
            "Edge Architecture section 2.1",
            [head().origin_saw(["surrogate-capability: nearcast-fra=\"Surrogate/1.0\""])],
        ),
        case(
            "announced-instead-of-what-clients-say",
            "Edge Architecture section 2.1",
            [get()
                .with(["surrogate-capability: abc=\"ESI/1.0\""])
                .origin_saw(["surrogate-capability: nearcast-fra=\"Surrogate/1.0\""])],
        ),
        // `N+M`: fresh for N, and M more while it is refreshed or the origin fails.
        case("stale-while-revalidate", RULE, [tagged("max-age=10+30"), get().later(39).refreshed()]),
        case("stale-while-revalidate-too-late", RULE, [tagged("max-age=10+30"), get().later(40).validated()]),
        case("still-fresh", RULE, [tagged("max-age=10+30"), get().later(9).stored()]),
        case(
            "stale-while-revalidate-for-us",
            RULE,
            [tagged("max-age=10+30;nearcast-fra"), get().later(39).refreshed()],
        ),
        case(
            "stale-if-error",
            RULE,
            [
                get().origin(ok(["surrogate-control: max-age=0+30"])),
                get().later(29).origin(reply(503, PLAIN)).refreshed(),
                get().later(1).origin(reply(503, PLAIN)).fetched(),
            ],
        ),
        case(
            "must-revalidate-of-the-other-does-not-count",
            RULE,
            [
                get().origin(ok(["surrogate-control: max-age=10+30", "cache-control: must-revalidate", "etag: \"a\""])),
                get().later(39).refreshed(),
            ],
        ),
        case(
            "public-of-the-other-and-authorization",
            "RFC 9111 section 3.5",
            [
                get().with(["authorization: a"]).origin(ok(["surrogate-control: max-age=60"])),
                get().with(["authorization: a"]).fetched(),
            ],
        ),
    ]
}
