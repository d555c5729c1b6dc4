//! Parts that the origin sends: combined with each other, and completed.

use super::case::{Case, PLAIN, case, get, minute};
use super::partial::{BODY, TAG, asks, held, part, sent};

pub(super) const SITES: &[(&str, &str)] = &[];

pub(super) fn cases() -> Vec<Case> {
    combined().into_iter().chain(completed()).collect()
}

/// RFC 9111 section 3.4: parts are combined only under the same strong validator.
fn combined() -> Vec<Case> {
    let rule = "RFC 9111 section 3.4";
    let dated: &[&str] = &["date: {0}", "last-modified: {-100}"];
    let joined = |name: &str, fields: &[&'static str]| {
        case(name, rule, [part(0, 4, fields), part(5, 9, fields), asks(3, 7).stored_from(0).status(206).body("34567")])
    };
    let apart = |name: &str, first: &[&'static str], second: &[&'static str]| {
        let whole = minute(PLAIN).text("another..!");
        case(name, rule, [part(0, 4, first), part(5, 9, second), get().origin(whole).origin_saw_no(["range"])])
    };
    vec![
        joined("combined-by-tag", TAG),
        joined("combined-by-date", dated),
        case(
            "combined-out-of-order",
            rule,
            [part(5, 9, TAG), part(0, 4, TAG), get().stored_from(0).status(200).body(BODY)],
        ),
        case(
            "combined-with-overlap",
            rule,
            [part(0, 6, TAG), part(4, 9, TAG), get().stored_from(0).status(200).body(BODY)],
        ),
        case(
            "combined-of-three",
            rule,
            [
                part(0, 2, TAG),
                part(7, 9, TAG),
                part(3, 6, TAG),
                get().stored_from(0).status(200).body(BODY).shows(["content-length: 10"]).hides(["content-range"]),
            ],
        ),
        case(
            "newer-fields-count",
            rule,
            [
                part(0, 4, &["etag: \"a\"", "x-a: 1"]),
                part(5, 9, &["etag: \"a\"", "x-a: 2"]),
                get().stored_from(0).status(200).body(BODY).shows(["x-a: 2"]),
            ],
        ),
        case("both-parts-are-kept", rule, [part(0, 2, TAG), part(7, 9, TAG), held(0, 2), held(7, 9)]),
        apart("not-by-weak-tags", &["etag: W/\"a\""], &["etag: W/\"a\""]),
        apart("not-without-validators", &[], &[]),
        apart("not-by-weak-dates", &["date: {0}", "last-modified: {0}"], &["date: {0}", "last-modified: {0}"]),
        case(
            "not-under-another-tag",
            rule,
            [
                part(0, 4, TAG),
                asks(5, 9).origin(minute(["etag: \"b\""]).text("abcdefghij")).status(206).body("fghij"),
                asks(3, 7).stored_from(1).status(206).body("defgh"),
            ],
        ),
        case(
            "not-with-another-length",
            rule,
            [
                part(0, 4, TAG),
                asks(5, 9).origin(minute(TAG.iter().copied()).text("ABCDEFGHIJKL")).status(206).body("FGHIJ"),
                get().stored_from(1).body("ABCDEFGHIJKL"),
            ],
        ),
    ]
}

/// RFC 9110 section 13.1.5: the missing bytes, if it is still the same.
fn completed() -> Vec<Case> {
    let rule = "RFC 9111 section 3.4";
    vec![
        case(
            "completed",
            rule,
            [
                part(0, 4, TAG),
                get()
                    .origin(sent("bytes 5-9/10", "56789", TAG))
                    .status(200)
                    .body(BODY)
                    .origin_saw(["if-range: \"a\"", "range: bytes=5-"]),
                get().stored_from(0).status(200).body(BODY),
            ],
        ),
        case(
            "completed-at-the-front",
            rule,
            [
                part(5, 9, TAG),
                get()
                    .origin(sent("bytes 0-4/10", "01234", TAG))
                    .status(200)
                    .body(BODY)
                    .origin_saw(["if-range: \"a\"", "range: bytes=0-4"]),
            ],
        ),
        case(
            "completed-by-date",
            rule,
            [
                part(0, 4, &["date: {0}", "last-modified: {-100}"]),
                get()
                    .origin(sent("bytes 5-9/10", "56789", &["date: {0}", "last-modified: {-100}"]))
                    .status(200)
                    .body(BODY)
                    .origin_saw(["if-range: {-100}", "range: bytes=5-"]),
            ],
        ),
        case(
            "changed-meanwhile",
            rule,
            [
                part(0, 4, TAG),
                get().origin(minute(["etag: \"b\""]).text("all of it new")).status(200).body("all of it new"),
                get().stored(),
            ],
        ),
        case(
            "changed-although-asked-not-to",
            rule,
            [
                part(0, 4, TAG),
                get()
                    .origin(sent("bytes 5-9/10", "fghij", &["etag: \"b\""]))
                    .origin(minute(["etag: \"b\""]).text("abcdefghij"))
                    .asks(2),
            ],
        ),
    ]
}
