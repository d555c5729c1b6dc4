//! Which request an answer was selected for.

use super::case::{Case, PLAIN, Step, case, get, minute};

pub(super) const SITES: &[(&str, &str)] = &[];

/// A name, lines of Vary, fields of two requests, and whether the second may have the first one's answer.
type Pair = (&'static str, Lines, Lines, Lines, bool);
type Lines = &'static [&'static str];

/// RFC 9111 section 4.1.
const PAIRS: &[Pair] = &[
    ("same", &["foo"], &["foo: 1"], &["foo: 1"], true),
    ("different", &["foo"], &["foo: 1"], &["foo: 2"], false),
    ("absent-at-first", &["foo"], &[], &["foo: 1"], false),
    ("absent-later", &["foo"], &["foo: 1"], &[], false),
    ("absent-in-both", &["foo"], &[], &[], true),
    ("absent-is-not-empty", &["foo"], &[], &["foo: "], false),
    ("empty-is-not-absent", &["foo"], &["foo: "], &[], false),
    ("empty-in-both", &["foo"], &["foo: "], &["foo: "], true),
    ("not-named", &["foo"], &["foo: 1", "bar: 1"], &["foo: 1", "bar: 2"], true),
    ("another-case-of-the-value", &["foo"], &["foo: a"], &["foo: A"], false),
    ("a-longer-value", &["foo"], &["foo: a"], &["foo: ab"], false),
    ("another-order-of-lists", &["foo"], &["foo: 1, 2"], &["foo: 2, 1"], false),
    // The names in Vary are case-insensitive, a list, and may stand on several lines.
    ("upper-case-name", &["FOO"], &["foo: 1"], &["foo: 2"], false),
    ("upper-case-field", &["foo"], &["FOO: 1"], &["foo: 1"], true),
    ("spaces-around", &["  foo  "], &["foo: 1"], &["foo: 2"], false),
    ("empty-elements", &[",, foo ,"], &["foo: 1"], &["foo: 2"], false),
    ("empty-vary", &[""], &["foo: 1"], &["foo: 2"], true),
    ("two-same", &["foo, bar"], &["foo: 1", "bar: 1"], &["foo: 1", "bar: 1"], true),
    ("two-in-another-order", &["foo, bar"], &["foo: 1", "bar: 2"], &["bar: 2", "foo: 1"], true),
    ("two-first-differs", &["foo, bar"], &["foo: 1", "bar: 1"], &["foo: 2", "bar: 1"], false),
    ("two-second-differs", &["foo, bar"], &["foo: 1", "bar: 1"], &["foo: 1", "bar: 2"], false),
    ("two-second-absent", &["foo, bar"], &["foo: 1", "bar: 1"], &["foo: 1"], false),
    ("two-values-swapped", &["foo, bar"], &["foo: 1", "bar: 2"], &["foo: 2", "bar: 1"], false),
    ("two-without-space", &["foo,bar"], &["foo: 1", "bar: 1"], &["foo: 1", "bar: 2"], false),
    ("two-lines-first-differs", &["foo", "bar"], &["foo: 1", "bar: 1"], &["foo: 2", "bar: 1"], false),
    ("two-lines-second-differs", &["foo", "bar"], &["foo: 1", "bar: 1"], &["foo: 1", "bar: 2"], false),
    ("two-lines-same", &["foo", "bar"], &["foo: 1", "bar: 1"], &["foo: 1", "bar: 1"], true),
    ("three-same", &["foo, bar, baz"], &["foo: 1", "bar: 2", "baz: 3"], &["foo: 1", "bar: 2", "baz: 3"], true),
    ("three-last-differs", &["foo, bar, baz"], &["foo: 1", "bar: 2", "baz: 3"], &["foo: 1", "bar: 2", "baz: 4"], false),
    ("three-middle-absent-in-both", &["foo, bar, baz"], &["foo: 1", "baz: 3"], &["foo: 1", "baz: 3"], true),
    ("named-twice", &["foo, foo"], &["foo: 1"], &["foo: 1"], true),
    // No names can be made of values.
    ("values-do-not-run-together", &["foo, bar"], &["foo: 1", "bar: 23"], &["foo: 12", "bar: 3"], false),
    // `*` anywhere: no second request ever matches.
    ("star", &["*"], &[], &[], false),
    ("star-star", &["*, *"], &[], &[], false),
    ("star-star-on-lines", &["*", "*"], &[], &[], false),
    ("star-after-nothing", &[", *"], &[], &[], false),
    ("star-after-an-empty-line", &["", "*"], &[], &[], false),
    ("star-before-foo", &["*, foo"], &["foo: 1"], &["foo: 1"], false),
    ("star-after-foo", &["foo, *"], &["foo: 1"], &["foo: 1"], false),
    ("star-on-another-line", &["foo", "*"], &["foo: 1"], &["foo: 1"], false),
    // The ways in which the fields of a request may differ and yet say the same.
    ("lines-and-a-list", &["foo"], &["foo: 1, 2"], &["foo: 1", "foo: 2"], true),
    ("lines-in-another-order", &["foo"], &["foo: 1", "foo: 2"], &["foo: 2", "foo: 1"], false),
    ("spaces-around-the-value", &["foo"], &["foo: 1"], &["foo:   1  "], true),
    ("encoding-order", &["accept-encoding"], &["accept-encoding: gzip, br"], &["accept-encoding: br, gzip"], true),
    ("encoding-case", &["accept-encoding"], &["accept-encoding: gzip"], &["accept-encoding: GZip"], true),
    ("encoding-spaces", &["accept-encoding"], &["accept-encoding: gzip,br"], &["accept-encoding: gzip ,  br"], true),
    ("encoding-quality-one", &["accept-encoding"], &["accept-encoding: gzip"], &["accept-encoding: gzip;q=1.0"], true),
    ("encoding-refused", &["accept-encoding"], &["accept-encoding: gzip"], &["accept-encoding: gzip;q=0"], false),
    ("encoding-another", &["accept-encoding"], &["accept-encoding: gzip"], &["accept-encoding: br"], false),
    ("language-case", &["accept-language"], &["accept-language: en, de"], &["accept-language: eN, De"], true),
    ("language-spaces", &["accept-language"], &["accept-language: en, de"], &["accept-language:  en ,   de"], true),
    ("language-order", &["accept-language"], &["accept-language: en, de"], &["accept-language: de, en"], true),
    (
        "language-preference",
        &["accept-language"],
        &["accept-language: en;q=0.5, de"],
        &["accept-language: en, de;q=0.5"],
        false,
    ),
    ("language-another", &["accept-language"], &["accept-language: en"], &["accept-language: de"], false),
    ("accept-spaces", &["accept"], &["accept: text/html,text/*;q=0.5"], &["accept: text/html , text/*;q=0.5"], true),
    ("accept-order", &["accept"], &["accept: text/html, text/plain"], &["accept: text/plain, text/html"], false),
    ("accept-another", &["accept"], &["accept: text/html"], &["accept: text/plain"], false),
    ("cookie", &["cookie"], &["cookie: a=1"], &["cookie: a=2"], false),
    ("origin", &["origin"], &["origin: http://a.test"], &["origin: http://b.test"], false),
    ("user-agent", &["user-agent"], &["user-agent: a"], &["user-agent: b"], false),
];

fn with(fields: &[&'static str]) -> Step {
    get().with(fields.iter().copied())
}

pub(super) fn cases() -> Vec<Case> {
    let pairs = PAIRS.iter().map(|(name, vary, first, second, same)| {
        let vary = vary.iter().map(|names| format!("vary: {names}"));
        let second = if *same { with(second).later(5).stored_from(0) } else { with(second).fetched() };
        case(*name, "RFC 9111 section 4.1", [with(first).origin(minute(vary)), second])
    });
    pairs.chain(several()).collect()
}

fn several() -> Vec<Case> {
    let rule = "RFC 9111 section 4.1";
    let vary = || minute(["vary: foo"]);
    let mut many: Vec<Step> = (1..=33).map(|value| get().with([format!("foo: {value}")]).origin(vary())).collect();
    many.push(get().with(["foo: 33"]).stored_from(32));
    many.push(get().with(["foo: 2"]).stored_from(1));
    vec![
        case(
            "two-variants-are-kept",
            rule,
            [
                get().with(["foo: 1"]).origin(vary()),
                get().with(["foo: 2"]).origin(vary()),
                get().with(["foo: 1"]).stored_from(0),
                get().with(["foo: 2"]).stored_from(1),
                get().origin(vary()),
                get().stored_from(4),
                get().with(["foo: 1"]).stored_from(0),
            ],
        ),
        case(
            "variants-have-their-own-lifetimes",
            rule,
            [
                get().with(["foo: 1"]).origin(super::case::ok(["cache-control: max-age=10", "vary: foo"])),
                get().with(["foo: 2"]).origin(vary()),
                get().later(10).with(["foo: 2"]).stored_from(1),
                get().with(["foo: 1"]).fetched(),
            ],
        ),
        case(
            "variants-have-their-own-status",
            rule,
            [
                get().with(["foo: 1"]).origin(vary()),
                get().with(["foo: 2"]).origin(super::case::reply(404, ["cache-control: max-age=60", "vary: foo"])),
                get().with(["foo: 1"]).stored_from(0),
                get().with(["foo: 2"]).stored_from(1),
            ],
        ),
        case("more-variants-than-are-kept", rule, many),
        case(
            "star-leaves-nothing",
            rule,
            [get().origin(minute(["vary: *", "etag: \"a\""])), get().fetched().origin_saw_no(["if-none-match"])],
        ),
        case(
            "vary-is-passed-on",
            rule,
            [
                get().with(["foo: 1"]).origin(minute(["vary: Foo, Bar"])).shows(["vary: Foo, Bar"]),
                get().with(["foo: 1"]).stored().shows(["vary: Foo, Bar"]),
            ],
        ),
        case(
            "what-is-keyed-is-what-is-forwarded",
            "RFC 9110 section 12.5.3",
            [
                get().with(["accept-encoding: gzip;q=1.0,  BR"]).origin(minute(["vary: accept-encoding"])),
                get().with(["accept-encoding: br, gzip"]).stored_from(0),
                get().with(["accept-encoding: identity"]).fetched(),
            ],
        ),
        case(
            "a-new-answer-that-varies-otherwise",
            rule,
            [
                get().with(["foo: 1", "bar: 1"]).origin(super::case::ok(["cache-control: max-age=10", "vary: foo"])),
                get().later(10).with(["foo: 1", "bar: 1"]).origin(minute(["vary: bar"])),
                get().with(["foo: 2", "bar: 1"]).stored_from(1),
                get().with(["foo: 1", "bar: 2"]).fetched(),
            ],
        ),
        case(
            "stored-without-vary-matches-all",
            rule,
            [get().with(["foo: 1"]).origin(minute(PLAIN)), get().with(["foo: 2"]).stored_from(0)],
        ),
        // RFC 9111 section 4.1: the stored answer whose fields match is used, though the newest one varies on nothing
        // of it.
        case(
            "head-selects-too",
            rule,
            [
                get().with(["foo: 1"]).origin(vary()),
                super::case::head().with(["foo: 1"]).stored_from(0),
                super::case::head().with(["foo: 2"]).fetched().origin_saw_method("HEAD"),
            ],
        ),
    ]
}
