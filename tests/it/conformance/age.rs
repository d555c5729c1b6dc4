//! Age, as it comes and as it goes.

use super::case::{Case, PLAIN, case, get, head, minute, not_modified, ok};
use super::freshness::lasts;

pub(super) const SITES: &[(&str, &str)] = &[];

/// Lines of Age, and how long an answer with a lifetime of 60 s is fresh.
const AGES: &[(&str, &[&str], u32)] = &[
    ("some", &["50"], 10),
    ("zero", &["0"], 60),
    ("leading-zeros", &["050"], 10),
    ("spaces-around", &["  50  "], 10),
    ("the-lifetime", &["60"], 0),
    ("more-than-the-lifetime", &["7200"], 0),
    // RFC 9111 section 1.2.2: too large is as large as can be.
    ("first-32-bit", &["2147483648"], 0),
    ("thirty-digits", &["999999999999999999999999999999"], 0),
    // RFC 9111 section 5.1: the first member counts, the others are discarded ...
    ("list", &["50, 0"], 10),
    ("list-zero-first", &["0, 50"], 60),
    ("list-without-space", &["50,0"], 10),
    ("list-of-the-same", &["50, 50"], 10),
    ("two-lines", &["50", "0"], 10),
    ("two-lines-zero-first", &["0", "50"], 60),
    ("list-with-invalid-second", &["50, old"], 10),
    // ... and what is no number then is ignored.
    ("word", &["old"], 60),
    ("negative", &["-50"], 60),
    ("plus", &["+50"], 60),
    ("fraction", &["50.0"], 60),
    ("exponent", &["5e1"], 60),
    ("parameter", &["50;a=b"], 60),
    ("quoted", &["\"50\""], 60),
    ("two-numbers", &["50 10"], 60),
    ("number-and-unit", &["50s"], 60),
    ("empty", &[""], 60),
    ("list-with-invalid-first", &["old, 50"], 60),
];

pub(super) fn cases() -> Vec<Case> {
    let parsed = AGES.iter().flat_map(|(name, values, seconds)| {
        let ages = values.iter().map(|value| format!("age: {value}"));
        let lines: Vec<String> = ages.chain(["cache-control: max-age=60".to_owned()]).collect();
        let with_expires: Vec<String> =
            lines[..values.len()].iter().cloned().chain(["expires: {+60}".to_owned()]).collect();
        let plain: Vec<&str> = lines.iter().map(String::as_str).collect();
        let expires: Vec<&str> = with_expires.iter().map(String::as_str).collect();
        [
            lasts(name, "RFC 9111 section 5.1", &plain, *seconds),
            lasts(&format!("{name}-with-expires"), "RFC 9111 section 5.1", &expires, *seconds),
        ]
    });
    parsed.chain(generated()).collect()
}

/// RFC 9111 section 4: a cache MUST generate an Age field when it uses a stored answer.
fn generated() -> Vec<Case> {
    let rule = "RFC 9111 section 4";
    vec![
        case("told-at-once", rule, [get().origin(minute(PLAIN)), get().stored().shows(["age: 0"])]),
        case(
            "grows",
            rule,
            [
                get().origin(minute(PLAIN)),
                get().later(30).stored().shows(["age: 30"]),
                get().later(29).stored().shows(["age: 59"]),
            ],
        ),
        case(
            "grows-from-what-it-was",
            "RFC 9111 section 4.2.3",
            [get().origin(minute(["age: 30"])), get().later(20).stored().shows(["age: 50"])],
        ),
        case(
            "grows-with-expires",
            "RFC 9111 section 4.2.3",
            [get().origin(ok(["date: {0}", "expires: {+60}", "age: 30"])), get().later(20).stored().shows(["age: 50"])],
        ),
        case(
            "of-the-date",
            "RFC 9111 section 4.2.3",
            [get().origin(minute(["date: {-25}"])), get().later(5).stored().shows(["age: 30"])],
        ),
        case(
            "of-a-date-ahead",
            "RFC 9111 section 4.2.3",
            [get().origin(minute(["date: {+25}"])), get().later(5).stored().shows(["age: 5"])],
        ),
        case(
            "the-larger-of-age-and-date",
            "RFC 9111 section 4.2.3",
            [get().origin(minute(["date: {-25}", "age: 40"])), get().later(5).stored().shows(["age: 45"])],
        ),
        case(
            "one-line",
            "RFC 9111 section 5.1",
            [get().origin(minute(["age: 10", "age: 20"])), get().later(5).stored().shows(["age: 15"])],
        ),
        case("none-on-a-new-answer", "RFC 9111 section 5.1", [get().origin(minute(PLAIN)).hides(["age"])]),
        case("of-head", rule, [get().origin(minute(PLAIN)), head().later(7).stored_from(0).shows(["age: 7"])]),
        case(
            "of-304",
            rule,
            [
                get().origin(minute(["etag: \"a\""])),
                get().later(7).with(["if-none-match: \"a\""]).stored().status(304).shows(["age: 7"]),
            ],
        ),
        case(
            "of-206",
            rule,
            [
                get().origin(minute(PLAIN)),
                get().later(7).with(["range: bytes=0-1"]).stored().status(206).body("an").shows(["age: 7"]),
            ],
        ),
        case(
            "of-404",
            rule,
            [
                get().origin(super::case::reply(404, ["cache-control: max-age=60"])),
                get().later(7).stored().shows(["age: 7"]),
            ],
        ),
        case(
            "of-a-stale-answer",
            rule,
            [
                get().origin(minute(PLAIN)),
                get().later(70).origin(super::case::Reply::HangUp).stored_instead().shows(["age: 70"]),
            ],
        ),
        // RFC 9111 section 4.3.4: the 304's fields replace the stored ones, Age as well.
        case(
            "begins-anew-with-a-304",
            "RFC 9111 section 4.3.4",
            [
                get().origin(minute(["etag: \"a\"", "age: 30"])),
                get().later(30).origin(not_modified(["etag: \"a\""])).validated(),
                get().later(9).stored_from(0).shows(["age: 9"]),
            ],
        ),
        case(
            "is-that-of-the-304",
            "RFC 9111 section 4.3.4",
            [
                get().origin(minute(["etag: \"a\""])),
                get().later(60).origin(not_modified(["etag: \"a\"", "age: 20"])).validated(),
                get().later(9).stored_from(0).shows(["age: 29"]),
                get().later(31).validated_from(0),
            ],
        ),
    ]
}
