//! Parts of what is stored whole.

use super::case::{Case, Lines, Step, case, get, minute, ok, reply};

pub(super) const SITES: &[(&str, &str)] = &[];

/// Ten bytes.
const BODY: &str = "0123456789";

/// Range, status, body, Content-Range: RFC 9110 section 14.
const RANGES: &[(&str, &str, u16, &str, &str)] = &[
    ("first", "bytes=0-0", 206, "0", "bytes 0-0/10"),
    ("some", "bytes=2-4", 206, "234", "bytes 2-4/10"),
    ("all", "bytes=0-9", 206, BODY, "bytes 0-9/10"),
    ("last", "bytes=9-9", 206, "9", "bytes 9-9/10"),
    ("open", "bytes=7-", 206, "789", "bytes 7-9/10"),
    ("open-all", "bytes=0-", 206, BODY, "bytes 0-9/10"),
    ("suffix", "bytes=-3", 206, "789", "bytes 7-9/10"),
    ("suffix-all", "bytes=-10", 206, BODY, "bytes 0-9/10"),
    ("suffix-beyond", "bytes=-99", 206, BODY, "bytes 0-9/10"),
    ("end-beyond", "bytes=8-99", 206, "89", "bytes 8-9/10"),
    ("end-far-beyond", "bytes=8-99999999999999999999999", 206, "89", "bytes 8-9/10"),
    ("leading-zeros", "bytes=002-0004", 206, "234", "bytes 2-4/10"),
    ("unit-in-upper-case", "BYTES=2-4", 206, "234", "bytes 2-4/10"),
    ("begin-at-the-end", "bytes=10-", 416, "", "bytes */10"),
    ("begin-beyond", "bytes=20-30", 416, "", "bytes */10"),
    ("begin-far-beyond", "bytes=99999999999999999999999-", 416, "", "bytes */10"),
    ("suffix-of-nothing", "bytes=-0", 416, "", "bytes */10"),
    ("none-of-two", "bytes=10-11, 20-", 416, "", "bytes */10"),
    ("one-of-two", "bytes=20-, 2-4", 206, "234", "bytes 2-4/10"),
    // A unit that is not known, and what is no range at all, MUST be ignored.
    ("another-unit", "lines=0-1", 200, BODY, ""),
    ("no-unit", "0-1", 200, BODY, ""),
    ("no-ranges", "bytes=", 200, BODY, ""),
    ("backwards", "bytes=4-2", 200, BODY, ""),
    ("letters", "bytes=a-b", 200, BODY, ""),
    ("one-number", "bytes=4", 200, BODY, ""),
    ("dash", "bytes=-", 200, BODY, ""),
    ("two-dashes", "bytes=1--2", 200, BODY, ""),
    ("negative", "bytes=-1-2", 200, BODY, ""),
    ("inner-space", "bytes=1 - 2", 200, BODY, ""),
    ("one-bad-of-two", "bytes=0-1, x", 200, BODY, ""),
];

/// Fields of the stored answer, If-Range, and whether the part is sent: RFC 9110 section 13.1.5, by strong comparison.
const IF_RANGES: &[(&str, &[&str], &str, bool)] = &[
    ("tag", &["etag: \"a\""], "\"a\"", true),
    ("another-tag", &["etag: \"a\""], "\"b\"", false),
    ("weak-tag-asked", &["etag: \"a\""], "W/\"a\"", false),
    ("weak-tag-stored", &["etag: W/\"a\""], "\"a\"", false),
    ("weak-tags", &["etag: W/\"a\""], "W/\"a\"", false),
    ("tag-where-none-is", &["last-modified: {-100}"], "\"a\"", false),
    ("unquoted", &["etag: \"a\""], "a", false),
    ("list", &["etag: \"a\""], "\"b\", \"a\"", false),
    ("date", &["date: {0}", "last-modified: {-100}"], "{-100}", true),
    ("later-date", &["date: {0}", "last-modified: {-100}"], "{-50}", false),
    ("earlier-date", &["date: {0}", "last-modified: {-100}"], "{-150}", false),
    ("date-where-none-is", &["etag: \"a\""], "{-100}", false),
    // RFC 9110 section 8.8.2.2: modified in the second of its Date, it may have changed again within it.
    ("weak-date", &["date: {0}", "last-modified: {0}"], "{0}", false),
    ("nonsense", &["etag: \"a\""], "soon", false),
];

fn whole(lines: impl Lines) -> Step {
    get().origin(minute(lines).text(BODY))
}

pub(super) fn cases() -> Vec<Case> {
    let ranges = RANGES.iter().map(|(name, range, status, body, content_range)| {
        let asked = get().with([format!("range: {range}")]).stored().status(*status).shows(match *content_range {
            "" => vec![],
            content_range => vec![format!("content-range: {content_range}")],
        });
        let asked = match status {
            200 => asked.hides(["content-range"]),
            206 => asked.body(*body).shows([format!("content-length: {}", body.len())]),
            _ => asked.body(""),
        };
        case(*name, "RFC 9110 section 14.2", [whole(["etag: \"a\""]), asked])
    });
    let if_ranges = IF_RANGES.iter().map(|(name, lines, condition, holds)| {
        let asked = get().with(["range: bytes=2-4".to_owned(), format!("if-range: {condition}")]).stored();
        let asked = if *holds { asked.status(206).body("234") } else { asked.hides(["content-range"]) };
        case(format!("if-range-{name}"), "RFC 9110 section 13.1.5", [whole(lines.iter().copied()), asked])
    });
    ranges.chain(if_ranges).chain(others()).collect()
}

/// Several ranges of a thousand bytes, too far from each other to be sent as one.
fn parts(name: &str, range: &str, parts: &[&'static str]) -> Case {
    case(
        name,
        "RFC 9110 section 15.3.7.2",
        [
            get().origin(minute(["content-type: text/plain"]).text(BODY.repeat(100))),
            get().with([format!("range: {range}")]).stored().status(206).parts(parts).hides(["content-range"]),
        ],
    )
}

fn others() -> Vec<Case> {
    let rule = "RFC 9110 section 15.3.7";
    let range = ["range: bytes=2-4"];
    let telling = [
        "cache-control: max-age=60",
        "date: {-5}",
        "etag: \"a\"",
        "expires: {+60}",
        "content-location: /a",
        "vary: foo",
    ];
    vec![
        case(
            "fields-of-a-206",
            rule,
            [get().origin(ok(telling).text(BODY)), get().with(range).stored().status(206).body("234").shows(telling)],
        ),
        case(
            "type-of-a-206",
            rule,
            [
                whole(["content-type: text/plain"]),
                get().with(range).stored().status(206).body("234").shows(["content-type: text/plain"]),
            ],
        ),
        parts("multipart", "bytes=0-1, 998-999", &["bytes 0-1/1000", "bytes 998-999/1000"]),
        parts(
            "multipart-of-three",
            "bytes=0-0,500-509,999-",
            &["bytes 0-0/1000", "bytes 500-509/1000", "bytes 999-999/1000"],
        ),
        parts("multipart-with-a-suffix", "bytes=0-1, -2", &["bytes 0-1/1000", "bytes 998-999/1000"]),
        parts("multipart-with-an-open-end", "bytes=0-1, 990-", &["bytes 0-1/1000", "bytes 990-999/1000"]),
        parts(
            "multipart-without-what-is-not-there",
            "bytes=0-1, 500-501, 5000-",
            &["bytes 0-1/1000", "bytes 500-501/1000"],
        ),
        case(
            "ranges-by-and-by",
            rule,
            [
                whole(["etag: \"a\""]),
                get().with(["range: bytes=0-4"]).stored().status(206).body("01234"),
                get().with(["range: bytes=5-"]).stored().status(206).body("56789"),
                get().stored(),
            ],
        ),
        case(
            "of-a-404",
            "RFC 9110 section 14.2",
            [get().origin(reply(404, ["cache-control: max-age=60"])), get().with(range).stored()],
        ),
        case(
            "of-a-301",
            "RFC 9110 section 14.2",
            [get().origin(reply(301, ["cache-control: max-age=60", "location: /a"])), get().with(range).stored()],
        ),
        case(
            "of-nothing",
            "RFC 9110 section 14.1.2",
            [
                get().origin(minute(["etag: \"a\""]).text("")),
                get().with(["range: bytes=0-0"]).stored().status(416).body("").shows(["content-range: bytes */0"]),
            ],
        ),
        case(
            "if-range-without-a-range",
            "RFC 9110 section 13.1.5",
            [whole(["etag: \"a\""]), get().with(["if-range: \"a\""]).stored()],
        ),
        case(
            "if-range-beyond-the-end",
            "RFC 9110 section 13.2.2",
            [whole(["etag: \"a\""]), get().with(["range: bytes=20-", "if-range: \"b\""]).stored()],
        ),
        case(
            "of-a-confirmed-answer",
            "RFC 9111 section 4.3.4",
            [
                get().origin(ok(["cache-control: max-age=10", "etag: \"a\""]).text(BODY)),
                get().later(10).with(range).validated().status(206).body("234"),
            ],
        ),
        case(
            "of-a-chunked-answer",
            rule,
            [
                get().origin(minute(["etag: \"a\""]).text(BODY).sent(super::case::Framing::Chunked)),
                get().with(["range: bytes=-2"]).stored().status(206).body("89").shows(["content-range: bytes 8-9/10"]),
            ],
        ),
    ]
}
