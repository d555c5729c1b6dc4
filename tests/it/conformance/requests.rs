//! What clients may ask of the cache, in the three modes of a site.

use super::case::{Case, PLAIN, Step, case, get, minute, ok};

/// `limit` is the default.
const MODES: [(&str, &str); 3] = [("limit", "limit.test"), ("honor", "honor.test"), ("ignore", "ignore.test")];

pub(super) const SITES: &[(&str, &str)] = &[
    ("limit.test", "client-revalidation = \"limit\""),
    ("honor.test", "client-revalidation = \"honor\""),
    ("ignore.test", "client-revalidation = \"ignore\""),
];

/// Fields of a request that a fresh answer, 20 of its 60 seconds old, must not be used for: RFC 9111 section 5.2.1.
const FORCING: &[(&str, &[&str])] = &[
    ("no-cache", &["cache-control: no-cache"]),
    ("no-cache-upper-case", &["Cache-Control: NO-CACHE"]),
    ("no-cache-among-others", &["cache-control: a=b, no-cache, no-transform"]),
    ("no-cache-on-another-line", &["cache-control: a", "cache-control: no-cache"]),
    ("pragma", &["pragma: no-cache"]),
    ("pragma-upper-case", &["Pragma: No-Cache"]),
    ("max-age-zero", &["cache-control: max-age=0"]),
    ("max-age-below-the-age", &["cache-control: max-age=19"]),
    ("max-age-quoted", &["cache-control: max-age=\"10\""]),
    ("min-fresh-above-what-is-left", &["cache-control: min-fresh=41"]),
    ("max-age-and-min-fresh", &["cache-control: max-age=10, min-fresh=41"]),
];

/// Fields of a request that change nothing for that answer.
const CONTENT: &[(&str, &[&str])] = &[
    ("max-age-above-the-age", &["cache-control: max-age=21"]),
    ("min-fresh-below-what-is-left", &["cache-control: min-fresh=39"]),
    ("no-store", &["cache-control: no-store"]),
    ("no-transform", &["cache-control: no-transform"]),
    ("max-stale", &["cache-control: max-stale"]),
    ("only-if-cached", &["cache-control: only-if-cached"]),
    ("unknown", &["cache-control: foo, bar=\"baz\""]),
    ("no-cache-in-a-string", &["cache-control: foo=\"no-cache\""]),
    ("name-that-begins-like-no-cache", &["cache-control: no-cachex"]),
    ("empty", &["cache-control: "]),
    ("other-pragma", &["pragma: foo"]),
    ("cookie", &["cookie: a=b"]),
    ("user-agent", &["user-agent: reload"]),
];

/// Fields of a request for an answer that has been stale for 20 s, and whether they take it: RFC 9111 section 5.2.1.2.
const STALE: &[(&str, &str, bool)] = &[
    ("max-stale", "max-stale", true),
    ("max-stale-enough", "max-stale=21", true),
    ("max-stale-just-enough", "max-stale=20", true),
    ("max-stale-not-enough", "max-stale=19", false),
    ("max-stale-zero", "max-stale=0", false),
    ("max-stale-upper-case", "MAX-STALE=600", true),
    ("max-stale-and-only-if-cached", "only-if-cached, max-stale", true),
    ("no-transform-only", "no-transform", false),
];

/// What forbids to serve it all the same.
const FORBIDDING: [&str; 4] = ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=60"];

fn with(fields: &[&'static str]) -> Step {
    get().with(fields.iter().copied())
}

pub(super) fn cases() -> Vec<Case> {
    MODES.into_iter().flat_map(|(mode, host)| of_mode(mode).map(move |case| case.at(host))).chain(plain()).collect()
}

fn of_mode(mode: &'static str) -> impl Iterator<Item = Case> {
    let rule = "RFC 9111 section 5.2.1";
    let forcing = FORCING.iter().map(move |(name, fields)| {
        let first = get().origin(minute(["etag: \"a\""]));
        let asked = with(fields).later(20);
        let steps = match mode {
            "ignore" => vec![first, asked.stored()],
            // Within the same second others get what has just been confirmed; then the next one may.
            "limit" => {
                let again = |step: Step| step.with(["cache-control: no-cache"]);
                vec![first, asked.validated(), again(get()).stored_from(0), again(get().later(1)).validated()]
            }
            _ => vec![first, asked.validated(), with(&["cache-control: no-cache"]).validated()],
        };
        case(format!("{mode}-{name}"), rule, steps)
    });
    let content = CONTENT.iter().map(move |(name, fields)| {
        let first = get().origin(minute(["etag: \"a\""]));
        case(format!("{mode}-{name}-fresh"), rule, [first, with(fields).later(20).stored()])
    });
    let stale = STALE.iter().map(move |(name, directives, taken)| {
        let asked = get().later(80).with([format!("cache-control: {directives}")]);
        let asked = if *taken { asked.stored().shows(["age: 80"]) } else { asked.fetched() };
        case(format!("{mode}-{name}-stale"), "RFC 9111 section 5.2.1.2", [get().origin(minute(PLAIN)), asked])
    });
    let forbidden = FORBIDDING.into_iter().map(move |directive| {
        case(
            format!("{mode}-max-stale-and-{}", directive.replace('=', "-")),
            "RFC 9111 section 4.2.4",
            [
                get().origin(ok([format!("cache-control: max-age=60, {directive}")])),
                get().later(61).with(["cache-control: max-stale"]).fetched(),
            ],
        )
    });
    let cached = [
        case(
            format!("{mode}-only-if-cached-and-nothing-is"),
            "RFC 9111 section 5.2.1.7",
            [get().with(["cache-control: only-if-cached"]).made(504).asks(0)],
        ),
        case(
            format!("{mode}-only-if-cached-and-stale"),
            "RFC 9111 section 5.2.1.7",
            [get().origin(minute(PLAIN)), get().later(60).with(["cache-control: only-if-cached"]).made(504).asks(0)],
        ),
    ];
    forcing.chain(content).chain(stale).chain(forbidden).chain(cached)
}

/// At a site that says nothing.
fn plain() -> Vec<Case> {
    let rule = "RFC 9111 section 5.2.1";
    vec![
        case(
            "only-if-cached",
            "RFC 9111 section 5.2.1.7",
            [
                get().with(["cache-control: only-if-cached"]).made(504).asks(0),
                get().origin(minute(PLAIN)),
                get().with(["cache-control: only-if-cached"]).stored(),
            ],
        ),
        case(
            "only-if-cached-of-another-variant",
            "RFC 9111 section 5.2.1.7",
            [
                get().with(["foo: 1"]).origin(minute(["vary: foo"])),
                get().with(["foo: 2", "cache-control: only-if-cached"]).made(504).asks(0),
            ],
        ),
        case(
            "no-store-is-not-stored",
            "RFC 9111 section 5.2.1.5",
            [get().with(["cache-control: no-store"]).origin(minute(PLAIN)), get().fetched()],
        ),
        case(
            "no-store-upper-case",
            "RFC 9111 section 5.2.1.5",
            [get().with(["cache-control: No-Store"]).origin(minute(PLAIN)), get().fetched()],
        ),
        case(
            "no-store-takes-nothing-away",
            "RFC 9111 section 5.2.1.5",
            [get().origin(minute(PLAIN)), get().with(["cache-control: no-store"]).stored(), get().later(59).stored()],
        ),
        case(
            "no-cache-brings-a-new-answer",
            "RFC 9111 section 5.2.1.4",
            [
                get().origin(minute(PLAIN)),
                get().later(5).with(["cache-control: no-cache"]).origin(minute(PLAIN)),
                get().later(59).stored_from(1),
            ],
        ),
        case(
            "no-cache-of-nothing",
            "RFC 9111 section 5.2.1.4",
            [get().with(["cache-control: no-cache"]).origin(minute(PLAIN)), get().stored()],
        ),
        case(
            "max-age-counts-the-age-it-came-with",
            "RFC 9111 section 5.2.1.1",
            [
                get().origin(ok(["cache-control: max-age=3600", "age: 1800"])),
                get().with(["cache-control: max-age=600"]).fetched(),
            ],
        ),
        case(
            "min-fresh-counts-the-age-it-came-with",
            "RFC 9111 section 5.2.1.3",
            [
                get().origin(ok(["cache-control: max-age=1500", "age: 1000"])),
                get().with(["cache-control: min-fresh=1000"]).fetched(),
            ],
        ),
        case(
            "max-stale-counts-the-age-it-came-with",
            "RFC 9111 section 5.2.1.2",
            [
                get().origin(ok(["cache-control: max-age=1500", "age: 2000"])),
                get().with(["cache-control: max-stale=1000"]).stored(),
            ],
        ),
        case(
            "max-stale-does-not-freshen",
            "RFC 9111 section 5.2.1.2",
            [get().origin(minute(PLAIN)), get().later(80).with(["cache-control: max-stale"]).stored(), get().fetched()],
        ),
        case(
            "one-per-second-for-all",
            rule,
            [
                get().origin(minute(["etag: \"a\""])),
                get().with(["cache-control: no-cache"]).validated(),
                get().with(["cache-control: no-cache"]).stored_from(0),
                get().with(["pragma: no-cache"]).stored_from(0),
                get().with(["cache-control: max-age=0"]).stored_from(0),
                get().later(1).with(["cache-control: max-age=0"]).validated(),
            ],
        ),
    ]
}
