//! Cache-Groups and Cache-Group-Invalidation.

use super::case::{Case, PLAIN, Step, case, get, minute, reply, send};

pub(super) const SITES: &[(&str, &str)] = &[];

/// What a stored answer is in, what a change invalidates, and whether it is hit: RFC 9875.
const PAIRS: &[(&str, &[&str], &[&str], bool)] = &[
    ("same", &["\"a\""], &["\"a\""], true),
    ("another", &["\"a\""], &["\"b\""], false),
    // RFC 9875 section 2: members are compared character by character.
    ("another-case", &["\"a\""], &["\"A\""], false),
    ("prefix", &["\"ab\""], &["\"a\""], false),
    ("one-of-its-groups", &["\"a\", \"b\", \"c\""], &["\"b\""], true),
    ("one-of-the-invalidated", &["\"b\""], &["\"a\", \"b\", \"c\""], true),
    ("none-of-several", &["\"a\", \"b\""], &["\"c\", \"d\""], false),
    ("groups-on-two-lines", &["\"a\"", "\"b\""], &["\"b\""], true),
    ("invalidated-on-two-lines", &["\"b\""], &["\"a\"", "\"b\""], true),
    ("with-parameters", &["\"a\";x=1"], &["\"a\";y"], true),
    ("with-a-comma", &["\"a, b\""], &["\"a, b\""], true),
    ("with-an-escape", &["\"a\\\"b\""], &["\"a\\\"b\""], true),
    ("empty-name", &["\"\""], &["\"\""], true),
    // RFC 9651 section 4.2: what cannot be read as a List of Strings is ignored.
    ("unquoted-groups", &["a"], &["\"a\""], false),
    ("unquoted-invalidation", &["\"a\""], &["a"], false),
    ("trailing-comma", &["\"a\""], &["\"a\","], false),
    ("nothing", &["\"a\""], &[""], false),
];

fn invalidating(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|groups| format!("cache-group-invalidation: {groups}")).collect()
}

fn grouped() -> Step {
    get().to("/in").origin(minute(["cache-groups: \"a\"", "etag: \"1\""]))
}

fn change(status: u16) -> Step {
    send("POST").content("abc").origin(reply(status, invalidating(&["\"a\""])))
}

pub(super) fn cases() -> Vec<Case> {
    let pairs = PAIRS.iter().map(|(name, groups, invalidated, hit)| {
        let groups = groups.iter().map(|groups| format!("cache-groups: {groups}"));
        let change = send("POST").content("abc").origin(reply(200, invalidating(invalidated)));
        let again = if *hit { get().to("/in").fetched() } else { get().to("/in").stored() };
        case(*name, "RFC 9875 section 3", [get().to("/in").origin(minute(groups)), change, again])
    });
    let methods = ["PUT", "DELETE", "PATCH", "FOO"].map(|method| {
        case(
            format!("by-{}", method.to_lowercase()),
            "RFC 9875 section 3",
            [
                grouped(),
                send(method).content("abc").origin(reply(200, invalidating(&["\"a\""]))),
                get().to("/in").fetched(),
            ],
        )
    });
    let statuses = [(201, true), (204, true), (303, true), (400, false), (404, false), (500, false), (503, false)];
    let statuses = statuses.map(|(status, hit)| {
        let again = if hit { get().to("/in").fetched() } else { get().to("/in").stored() };
        case(format!("status-{status}"), "RFC 9875 section 3", [grouped(), change(status), again])
    });
    let rule = "RFC 9875 section 3";
    let others = [
        // It MUST be ignored on answers to safe methods.
        case(
            "not-by-get",
            rule,
            [grouped(), get().origin(reply(200, invalidating(&["\"a\""]))), get().to("/in").stored()],
        ),
        case(
            "not-by-options",
            rule,
            [grouped(), send("OPTIONS").origin(reply(200, invalidating(&["\"a\""]))), get().to("/in").stored()],
        ),
        case(
            "all-of-the-group-and-no-others",
            rule,
            [
                grouped(),
                get().to("/too").origin(minute(["cache-groups: \"b\", \"a\""])),
                get().to("/other").origin(minute(["cache-groups: \"b\""])),
                get().to("/none").origin(minute(PLAIN)),
                change(200),
                get().to("/in").fetched(),
                get().to("/too").fetched(),
                get().to("/other").stored(),
                get().to("/none").stored(),
            ],
        ),
        case(
            "what-is-fetched-later-is-stored",
            rule,
            [grouped(), change(200), grouped(), get().to("/in").stored_from(2)],
        ),
        // RFC 9875 section 2: groups are an origin's own.
        case(
            "not-of-another-host",
            "RFC 9875 section 2",
            [grouped().host("static.other.test"), change(200), get().to("/in").host("static.other.test").stored()],
        ),
        case(
            "passed-on",
            "RFC 9111 section 3.1",
            [
                grouped().shows(["cache-groups: \"a\""]),
                get().to("/in").stored().shows(["cache-groups: \"a\""]),
                change(200).shows(["cache-group-invalidation: \"a\""]),
            ],
        ),
        case(
            "a-304-brings-it-into-a-group",
            "RFC 9111 section 3.2",
            [
                get().to("/in").origin(super::case::ok(["cache-control: max-age=10", "etag: \"1\""])),
                get().to("/in").later(10).origin(super::case::not_modified(["cache-groups: \"a\""])).validated(),
                change(200),
                get().to("/in").fetched(),
            ],
        ),
    ];
    pairs.chain(methods).chain(statuses).chain(others).collect()
}
