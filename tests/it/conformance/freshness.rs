//! How long an answer is fresh, and which of its fields decides.

use super::case::{Case, case, get, minute, ok};

pub(super) const SITES: &[(&str, &str)] = &[];

/// Lines of an answer, and for how many seconds it is fresh.
const LIFETIMES: &[(&str, &[&str], u32)] = &[
    ("max-age", &["cache-control: max-age=60"], 60),
    ("max-age-one", &["cache-control: max-age=1"], 1),
    ("max-age-zero", &["cache-control: max-age=0"], 0),
    ("s-maxage", &["cache-control: s-maxage=60"], 60),
    ("s-maxage-zero", &["cache-control: s-maxage=0"], 0),
    // RFC 9111 section 4.2.1: the first match of s-maxage, max-age, Expires, heuristics.
    ("s-maxage-longer-than-max-age", &["cache-control: max-age=10, s-maxage=60"], 60),
    ("s-maxage-shorter-than-max-age", &["cache-control: max-age=60, s-maxage=10"], 10),
    ("s-maxage-first", &["cache-control: s-maxage=10, max-age=60"], 10),
    ("s-maxage-on-another-line", &["cache-control: max-age=60", "cache-control: s-maxage=10"], 10),
    ("s-maxage-zero-beats-max-age", &["cache-control: max-age=60, s-maxage=0"], 0),
    ("s-maxage-beats-max-age-zero", &["cache-control: max-age=0, s-maxage=60", "expires: {-10}"], 60),
    ("max-age-beats-later-expires", &["cache-control: max-age=10", "date: {0}", "expires: {+3600}"], 10),
    ("max-age-beats-past-expires", &["cache-control: max-age=60", "date: {0}", "expires: {-3600}"], 60),
    ("max-age-beats-invalid-expires", &["cache-control: max-age=60", "expires: 0"], 60),
    ("max-age-zero-beats-expires", &["cache-control: max-age=0", "date: {0}", "expires: {+3600}"], 0),
    ("s-maxage-beats-expires", &["cache-control: s-maxage=10", "date: {0}", "expires: {+3600}"], 10),
    ("expires", &["date: {0}", "expires: {+60}"], 60),
    ("expires-now", &["date: {0}", "expires: {0}"], 0),
    ("expires-past", &["date: {0}", "expires: {-60}"], 0),
    ("expires-without-date", &["expires: {+60}"], 60),
    ("expires-with-public", &["cache-control: public", "date: {0}", "expires: {+60}"], 60),
    // The lifetime is Expires minus Date, whatever the clock here says; then the answer's apparent age counts.
    ("expires-of-an-origin-behind", &["date: {-100}", "expires: {0}"], 0),
    ("expires-of-an-origin-ahead", &["date: {+100}", "expires: {+160}"], 60),
    ("expires-before-its-date", &["date: {+200}", "expires: {+160}"], 0),
    ("expires-of-an-answer-on-its-way", &["date: {-40}", "expires: {+60}"], 60),
    // RFC 9111 section 4.2.3: apparent_age = max(0, response_time - date_value).
    ("date-past", &["cache-control: max-age=60", "date: {-50}"], 10),
    ("date-long-past", &["cache-control: max-age=60", "date: {-60}"], 0),
    ("date-future", &["cache-control: max-age=60", "date: {+3600}"], 60),
    ("date-invalid", &["cache-control: max-age=60", "date: yesterday"], 60),
    ("date-older-than-age", &["cache-control: max-age=60", "date: {-50}", "age: 30"], 10),
    ("date-younger-than-age", &["cache-control: max-age=60", "date: {-10}", "age: 30"], 30),
    ("nothing", &[], 0),
    ("nothing-but-public", &["cache-control: public"], 0),
    ("nothing-but-an-empty-line", &["cache-control:"], 0),
    // RFC 8246: immutable is about reloads while fresh; it makes nothing fresh.
    ("immutable", &["cache-control: max-age=60, immutable"], 60),
    ("immutable-alone", &["cache-control: immutable"], 0),
    // RFC 9111 section 5.4: Pragma has no meaning in an answer.
    ("pragma-in-the-answer", &["cache-control: max-age=60", "pragma: no-cache"], 60),
    // Directives that say what happens after the lifetime do not change it.
    ("must-revalidate", &["cache-control: max-age=60, must-revalidate"], 60),
    ("proxy-revalidate", &["cache-control: max-age=60, proxy-revalidate"], 60),
    ("no-transform", &["cache-control: max-age=60, no-transform"], 60),
];

/// Fresh for just so many seconds.
pub(super) fn lasts(name: &str, rule: &'static str, lines: &[&str], seconds: u32) -> Case {
    let first = get().origin(ok(lines.iter().copied()));
    match seconds {
        0 => case(name, rule, [first, get().fetched()]),
        _ => case(name, rule, [first, get().later(seconds - 1).stored(), get().later(1).fetched()]),
    }
}

pub(super) fn cases() -> Vec<Case> {
    let rows = LIFETIMES.iter().map(|(name, lines, seconds)| lasts(name, "RFC 9111 section 4.2", lines, *seconds));
    rows.chain([
        case(
            "again-and-again",
            "RFC 9111 section 4",
            [
                get().origin(minute(["etag: \"a\""])),
                get().later(20).stored(),
                get().later(20).stored(),
                get().later(19).stored(),
            ],
        ),
        case(
            "no-store",
            "RFC 9111 section 5.2.2.5",
            [
                get().origin(ok(["cache-control: no-store", "etag: \"a\""])),
                get().fetched().origin_saw_no(["if-none-match"]),
            ],
        ),
        case(
            "private",
            "RFC 9111 section 5.2.2.7",
            [
                get().origin(ok(["cache-control: private, max-age=60", "etag: \"a\""])),
                get().fetched().origin_saw_no(["if-none-match"]),
            ],
        ),
        case(
            "no-cache",
            "RFC 9111 section 5.2.2.4",
            [
                get().origin(ok(["cache-control: no-cache, max-age=60", "etag: \"a\""])),
                get().validated(),
                get().validated(),
            ],
        ),
        case(
            "no-cache-without-a-validator",
            "RFC 9111 section 5.2.2.4",
            [get().origin(ok(["cache-control: no-cache, max-age=60"])), get().fetched()],
        ),
        case(
            "no-cache-beats-expires",
            "RFC 9111 section 5.2.2.4",
            [
                get().origin(ok(["cache-control: no-cache", "date: {0}", "expires: {+60}", "etag: \"a\""])),
                get().validated(),
            ],
        ),
        case(
            "max-age-zero-is-kept-for-validation",
            "RFC 9111 section 4.3",
            [get().origin(ok(["cache-control: max-age=0", "etag: \"a\""])), get().validated()],
        ),
        case(
            "must-revalidate-once-stale",
            "RFC 9111 section 5.2.2.2",
            [
                get().origin(ok(["cache-control: max-age=10, must-revalidate", "etag: \"a\""])),
                get().later(10).validated(),
            ],
        ),
        case(
            "immutable-once-stale",
            "RFC 8246 section 2",
            [get().origin(ok(["cache-control: max-age=10, immutable", "etag: \"a\""])), get().later(10).validated()],
        ),
        case(
            "a-new-answer-takes-the-old-ones-place",
            "RFC 9111 section 4",
            [
                get().origin(minute(["x: 1"])),
                get().later(60).origin(minute(["x: 2"])),
                get().later(59).stored_from(1).shows(["x: 2"]),
            ],
        ),
        case(
            "a-new-answer-that-is-not-stored",
            "RFC 9111 section 4",
            [
                get().origin(minute(["etag: \"a\""])),
                get().later(60).origin(ok(["cache-control: no-store"])),
                get().fetched(),
            ],
        ),
    ])
    .collect()
}
