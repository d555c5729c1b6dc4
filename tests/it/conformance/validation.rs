//! What the origin is asked about a stale answer, and what becomes of its answer.

use super::case::{Case, PLAIN, Reply, case, get, minute, not_modified, ok, reply};

pub(super) const SITES: &[(&str, &str)] = &[];

/// Validators of a stored answer, and the conditions that the origin is sent: RFC 9111 section 4.3.1.
const CONDITIONS: &[(&str, &[&str], &[&str])] = &[
    ("etag", &["etag: \"a\""], &["if-none-match: \"a\""]),
    ("weak-etag", &["etag: W/\"a\""], &["if-none-match: W/\"a\""]),
    ("empty-etag", &["etag: \"\""], &["if-none-match: \"\""]),
    ("etag-with-comma", &["etag: \"a, b\""], &["if-none-match: \"a, b\""]),
    ("etag-with-obs-text", &["etag: \"é\""], &["if-none-match: \"é\""]),
    ("etag-with-backslash", &["etag: \"a\\b\""], &["if-none-match: \"a\\b\""]),
    ("last-modified", &["last-modified: {-100}"], &["if-modified-since: {-100}"]),
    ("both", &["etag: \"a\"", "last-modified: {-100}"], &["if-none-match: \"a\"", "if-modified-since: {-100}"]),
];

fn stale(lines: &[&'static str]) -> super::case::Step {
    get().origin(ok(["cache-control: max-age=10"].into_iter().chain(lines.iter().copied())))
}

pub(super) fn cases() -> Vec<Case> {
    let conditions = CONDITIONS.iter().map(|(name, validators, conditions)| {
        case(
            *name,
            "RFC 9111 section 4.3.1",
            [stale(validators), get().later(10).validated().origin_saw(conditions.iter().copied())],
        )
    });
    conditions.chain(answers()).chain(clients()).chain(variants()).collect()
}

/// RFC 9111 section 4.3.3: a 304 confirms, any other full answer replaces, an error may be passed on.
fn answers() -> Vec<Case> {
    let rule = "RFC 9111 section 4.3.3";
    let tagged = || stale(&["etag: \"a\""]);
    vec![
        case(
            "without-a-validator",
            "RFC 9111 section 4.3.1",
            [stale(&[]), get().later(10).fetched().origin_saw_no(["if-none-match", "if-modified-since"])],
        ),
        case(
            "200-replaces",
            rule,
            [
                tagged(),
                get().later(10).origin(minute(["etag: \"b\""])),
                get().later(59).stored().shows(["etag: \"b\""]),
            ],
        ),
        case(
            "200-with-the-same-tag-replaces",
            rule,
            [
                tagged(),
                get().later(10).origin(minute(["etag: \"a\"", "x: 2"])),
                get().later(59).stored_from(1).shows(["x: 2"]),
            ],
        ),
        case("404-is-passed-on", rule, [tagged(), get().later(10).origin(reply(404, PLAIN)), get().fetched()]),
        case(
            "410-replaces",
            rule,
            [tagged(), get().later(10).origin(reply(410, ["cache-control: max-age=60"])), get().later(59).stored()],
        ),
        case(
            "301-replaces",
            rule,
            [
                tagged(),
                get().later(10).origin(reply(301, ["cache-control: max-age=60", "location: /b"])),
                get().later(59).stored().shows(["location: /b"]),
            ],
        ),
        case("503-is-passed-on", rule, [tagged(), get().later(10).origin(reply(503, PLAIN)).fetched()]),
        case(
            "503-leaves-what-is-stored",
            rule,
            [
                tagged(),
                get().later(10).origin(reply(503, PLAIN)).fetched(),
                get().validated_from(0),
                get().later(9).stored_from(0),
            ],
        ),
        case(
            "200-that-must-not-be-stored",
            rule,
            [
                tagged(),
                get().later(10).origin(ok(["cache-control: no-store"])),
                get().fetched().origin_saw_no(["if-none-match"]),
            ],
        ),
    ]
}

/// RFC 9111 section 4.3.2: a client's own condition is judged after the cache's.
fn clients() -> Vec<Case> {
    let rule = "RFC 9111 section 4.3.2";
    let tagged = || stale(&["etag: \"a\"", "last-modified: {-100}"]);
    vec![
        case(
            "client-has-what-is-confirmed",
            rule,
            [
                tagged(),
                get().later(10).with(["if-none-match: \"a\""]).validated().status(304).shows(["etag: \"a\""]),
                get().later(9).stored_from(0),
            ],
        ),
        case(
            "client-has-something-else",
            rule,
            [
                tagged(),
                get().later(10).with(["if-none-match: \"z\""]).origin(not_modified(["etag: \"a\""])).validated(),
            ],
        ),
        case(
            "client-has-it-by-date",
            rule,
            [tagged(), get().later(10).with(["if-modified-since: {-100}"]).validated().status(304)],
        ),
        case(
            "client-has-the-new-one",
            rule,
            [
                tagged(),
                get().later(10).with(["if-none-match: \"b\""]).origin(minute(["etag: \"b\""])).status(304),
                get().later(9).stored_from(1),
            ],
        ),
        case(
            "client-has-neither",
            rule,
            [tagged(), get().later(10).with(["if-none-match: \"z\""]).origin(minute(["etag: \"b\""])), get().stored()],
        ),
        case(
            "client-has-the-first-one-ever",
            rule,
            [
                get().with(["if-none-match: \"a\""]).origin(minute(["etag: \"a\""])).status(304),
                get().stored_from(0).body("answer 0"),
            ],
        ),
        case(
            "client-with-a-condition-gets-an-error",
            "RFC 9110 section 13.2.1",
            [get().with(["if-none-match: \"a\""]).origin(reply(404, ["etag: \"a\""])).fetched()],
        ),
        case(
            "client-that-forces-a-check",
            "RFC 9111 section 5.2.1.4",
            [
                get().origin(minute(["etag: \"a\""])),
                get().with(["cache-control: no-cache"]).validated().origin_saw(["if-none-match: \"a\""]),
            ],
        ),
    ]
}

/// RFC 9111 section 4.3.1: with the tags of all stored variants, and the selecting fields of the request.
fn variants() -> Vec<Case> {
    let rule = "RFC 9111 section 4.3.1";
    let variant =
        |tag: &str| ["cache-control: max-age=10".to_owned(), "vary: foo".to_owned(), format!("etag: \"{tag}\"")];
    let confirmed = |tag: &str| Reply::Proper {
        status: 304,
        fields: variant(tag).to_vec(),
        body: None,
        framing: super::case::Framing::Length,
    };
    vec![
        case(
            "selecting-fields-go-along",
            rule,
            [
                get().with(["foo: 1"]).origin(ok(variant("a"))),
                get().later(10).with(["foo: 1"]).validated().origin_saw(["foo: 1", "if-none-match: \"a\""]),
            ],
        ),
        case(
            "the-requests-own-variant-is-confirmed",
            rule,
            [
                get().with(["foo: 1"]).origin(ok(variant("a"))),
                get().with(["foo: 2"]).origin(ok(variant("b"))),
                get().later(10).with(["foo: 1"]).origin(confirmed("a")).validated_from(0),
                get().with(["foo: 1"]).stored_from(0),
                get().with(["foo: 2"]).origin(confirmed("b")).validated_from(1),
            ],
        ),
        case(
            "another-variant-is-confirmed",
            rule,
            [
                get().with(["foo: 1"]).origin(ok(variant("a"))),
                get().with(["foo: 2"]).origin(ok(variant("b"))),
                get().later(10).with(["foo: 1"]).origin(confirmed("b")).validated_from(1),
            ],
        ),
        case(
            "a-new-variant-is-an-old-one",
            rule,
            [
                get().with(["foo: 1"]).origin(ok(variant("a"))),
                get().with(["foo: 2"]).origin(confirmed("a")).validated_from(0).origin_saw(["if-none-match: \"a\""]),
                get().with(["foo: 2"]).stored_from(0),
            ],
        ),
    ]
}
