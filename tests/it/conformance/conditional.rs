//! Conditions of clients, judged by what is stored.

use super::case::{Case, case, get, head, minute, reply};

pub(super) const SITES: &[(&str, &str)] = &[];

/// The stored tag, lines of If-None-Match, and whether they match: RFC 9110 section 13.1.2, by weak comparison.
const TAGS: &[(&str, &str, &[&str], bool)] = &[
    ("strong", "\"a\"", &["\"a\""], true),
    ("strong-and-weak", "\"a\"", &["W/\"a\""], true),
    ("weak-and-strong", "W/\"a\"", &["\"a\""], true),
    ("weak", "W/\"a\"", &["W/\"a\""], true),
    ("another", "\"a\"", &["\"b\""], false),
    ("another-case", "\"a\"", &["\"A\""], false),
    ("prefix", "\"ab\"", &["\"a\""], false),
    ("empty-tags", "\"\"", &["\"\""], true),
    ("any", "\"a\"", &["*"], true),
    ("any-with-spaces", "\"a\"", &["  *  "], true),
    ("first-of-list", "\"a\"", &["\"a\", \"b\", \"c\""], true),
    ("middle-of-list", "\"a\"", &["\"b\", \"a\", \"c\""], true),
    ("last-of-list", "\"a\"", &["\"b\", \"c\", \"a\""], true),
    ("list-without-spaces", "\"a\"", &["\"b\",\"a\",\"c\""], true),
    ("list-with-tabs", "\"a\"", &["\"b\"\t,\t\"a\""], true),
    ("list-with-empty-elements", "\"a\"", &[",, \"b\", , \"a\","], true),
    ("list-of-weak-ones", "\"a\"", &["W/\"b\", W/\"a\""], true),
    ("list-of-others", "\"a\"", &["\"b\", \"c\""], false),
    ("second-line", "\"a\"", &["\"b\"", "\"a\""], true),
    ("comma-inside", "\"a, b\"", &["\"a, b\""], true),
    ("comma-inside-of-list", "\"a, b\"", &["\"c\", \"a, b\""], true),
    ("part-before-a-comma", "\"a\"", &["\"x,a\", \"b\""], false),
    ("backslash-inside", "\"a\\\"", &["\"a\\\", \"b\""], true),
    ("obs-text", "\"é\"", &["\"é\""], true),
    ("signs", "\"!#$%&'()*+-./:;<=>?@[]^_`{|}~\"", &["\"!#$%&'()*+-./:;<=>?@[]^_`{|}~\""], true),
    // Not entity tags: what cannot be read matches nothing.
    ("unquoted", "\"a\"", &["a"], false),
    ("half-quoted", "\"a\"", &["\"a"], false),
    ("lower-case-weak", "\"a\"", &["w/\"a\""], false),
    ("weak-with-backslash", "\"a\"", &["W\\\"a\""], false),
    ("single-quoted", "\"a\"", &["'a'"], false),
    ("empty-field", "\"a\"", &[""], false),
];

/// Lines of a stored answer, a condition on its date, and whether a client has what is stored.
const DATES: &[(&str, &[&str], &[&str], bool)] = &[
    ("same-date", &["last-modified: {-100}"], &["if-modified-since: {-100}"], true),
    ("later-date", &["last-modified: {-100}"], &["if-modified-since: {-50}"], true),
    ("earlier-date", &["last-modified: {-100}"], &["if-modified-since: {-101}"], false),
    ("invalid-date", &["last-modified: {-100}"], &["if-modified-since: now"], false),
    ("two-dates", &["last-modified: {-100}"], &["if-modified-since: {-50}, {-50}"], false),
    // RFC 9111 section 4.3.2: without Last-Modified, the Date, or else the time of receipt.
    ("no-last-modified-later", &["date: {-30}"], &["if-modified-since: {-20}"], true),
    ("no-last-modified-earlier", &["date: {-30}"], &["if-modified-since: {-40}"], false),
    ("no-date-either-later", &[], &["if-modified-since: {+1}"], true),
    ("no-date-either-earlier", &[], &["if-modified-since: {-10}"], false),
    // RFC 9110 section 13.2.2: If-None-Match is judged instead of If-Modified-Since.
    (
        "tag-wins-by-matching",
        &["etag: \"a\"", "last-modified: {-100}"],
        &["if-none-match: \"a\"", "if-modified-since: {-200}"],
        true,
    ),
    (
        "tag-wins-by-not-matching",
        &["etag: \"a\"", "last-modified: {-100}"],
        &["if-none-match: \"b\"", "if-modified-since: {-100}"],
        false,
    ),
    (
        "tag-that-is-not-there",
        &["last-modified: {-100}"],
        &["if-none-match: \"a\"", "if-modified-since: {-100}"],
        false,
    ),
    ("any-without-a-tag", &[], &["if-none-match: *"], true),
    ("tag-without-a-tag", &[], &["if-none-match: \"a\""], false),
];

pub(super) fn cases() -> Vec<Case> {
    let tags = TAGS.iter().map(|(name, tag, lines, matches)| {
        let asked = get().with(lines.iter().map(|line| format!("if-none-match: {line}"))).stored();
        let asked = if *matches { asked.status(304) } else { asked };
        case(
            format!("tag-{name}"),
            "RFC 9110 section 13.1.2",
            [get().origin(minute([format!("etag: {tag}")])), asked.shows([format!("etag: {tag}")])],
        )
    });
    let dates = DATES.iter().map(|(name, first, condition, matches)| {
        let asked = get().with(condition.iter().copied()).stored();
        let asked = if *matches { asked.status(304) } else { asked };
        case(*name, "RFC 9111 section 4.3.2", [get().origin(minute(first.iter().copied())), asked])
    });
    tags.chain(dates).chain(answers()).collect()
}

fn answers() -> Vec<Case> {
    // RFC 9110 section 15.4.5: these fields MUST be in a 304 if a 200 would have them.
    let telling = [
        "cache-control: max-age=60",
        "content-location: /a",
        "date: {-5}",
        "etag: \"a\"",
        "expires: {+60}",
        "vary: foo",
    ];
    let first = || get().origin(super::case::ok(telling.into_iter().chain(["content-type: text/plain"])));
    let has = ["if-none-match: \"a\""];
    vec![
        case(
            "fields-of-a-304",
            "RFC 9110 section 15.4.5",
            [first(), get().with(has).stored().status(304).shows(telling)],
        ),
        case(
            "no-representation-fields-in-a-304",
            "RFC 9110 section 15.4.5",
            [first(), get().with(has).stored().status(304).hides(["content-type"])],
        ),
        case("head", "RFC 9110 section 13.2.1", [first(), head().with(has).stored_from(0).status(304)]),
        case(
            "head-without-a-match",
            "RFC 9110 section 13.2.1",
            [first(), head().with(["if-none-match: \"b\""]).stored_from(0).shows(["content-length: 8"])],
        ),
        case(
            "again-and-again",
            "RFC 9111 section 4.3.2",
            [
                first(),
                get().with(has).stored().status(304),
                get().later(10).with(has).stored().status(304).shows(["age: 15"]),
                get().stored(),
            ],
        ),
        // RFC 9110 section 13.2.1: conditions count only where the answer without them would be a 2xx.
        case(
            "of-a-404",
            "RFC 9110 section 13.2.1",
            [get().origin(reply(404, ["cache-control: max-age=60", "etag: \"a\""])), get().with(has).stored()],
        ),
        case(
            "of-a-301",
            "RFC 9110 section 13.2.1",
            [
                get().origin(reply(301, ["cache-control: max-age=60", "etag: \"a\"", "location: /a"])),
                get().with(has).stored(),
            ],
        ),
        case(
            "before-a-range",
            "RFC 9110 section 13.2.2",
            [first(), get().with(has).with(["range: bytes=0-1"]).stored().status(304)],
        ),
        case(
            "not-matching-before-a-range",
            "RFC 9110 section 13.2.2",
            [first(), get().with(["if-none-match: \"b\"", "range: bytes=0-1"]).stored().status(206).body("an")],
        ),
        case(
            "only-of-the-selected-variant",
            "RFC 9111 section 4.3.2",
            [
                get().with(["foo: 1"]).origin(minute(["vary: foo", "etag: \"a\""])),
                get().with(["foo: 2"]).origin(minute(["vary: foo", "etag: \"b\""])),
                get().with(["foo: 2", "if-none-match: \"a\""]).stored_from(1),
                get().with(["foo: 1", "if-none-match: \"a\""]).stored_from(0).status(304),
            ],
        ),
    ]
}
