//! Which requests are for the same thing.

use super::case::{Case, PLAIN, Step, case, get, minute, send};

pub(super) const SITES: &[(&str, &str)] = &[];

/// Two targets below a case's path, and whether they are one: RFC 9110 section 4.2.3 says what a cache may take for
/// equal; here nothing is, unless a site says so.
const TARGETS: &[(&str, &str, &str, bool)] = &[
    ("same-query", "?a=1", "?a=1", true),
    ("another-query", "?a=1", "?a=2", false),
    ("no-query", "?a=1", "", false),
    ("empty-query", "", "?", false),
    ("query-order", "?a=1&b=2", "?b=2&a=1", false),
    ("query-case", "?a=b", "?a=B", false),
    ("query-twice", "?a=1", "?a=1&a=1", false),
    ("query-encoding", "?a=b", "?a=%62", false),
    ("query-plus", "?a=b+c", "?a=b%20c", false),
    ("query-with-slashes", "?/a", "/a", false),
    ("query-with-question-mark", "?a?b", "?a?b", true),
    ("path-case", "/a", "/A", false),
    ("path-encoding", "/a", "/%61", false),
    ("path-encoding-case", "/%c3%a9", "/%C3%A9", false),
    ("trailing-slash", "/a", "/a/", false),
    ("two-slashes", "/a/b", "/a//b", false),
    ("dot", "/a/b", "/a/./b", false),
    ("dot-dot", "/b", "/a/../b", false),
    ("semicolon", "/a", "/a;b", false),
    ("long-query", LONG, LONG, true),
];

const LONG: &str =
    "?0123456789=0123456789&0123456789=0123456789&0123456789=0123456789&0123456789=0123456789&0123456789=0123456789";

/// Hosts, and whether they are the plain site's first: RFC 9110 section 4.2.3.
const HOSTS: &[(&str, &str, bool)] = &[
    ("host-case", "WWW.cdn.TEST", true),
    ("host-with-port", "www.cdn.test:80", true),
    ("host-and-another", "static.other.test", false),
];

fn at(suffix: &'static str) -> Step {
    get().to(suffix)
}

pub(super) fn cases() -> Vec<Case> {
    let rule = "RFC 9111 section 2";
    let targets = TARGETS.iter().map(|(name, first, second, same)| {
        let second = if *same { at(second).stored_from(0) } else { at(second).origin(minute(PLAIN)) };
        case(*name, rule, [at(first).origin(minute(PLAIN)), second, at(first).stored_from(0)])
    });
    let hosts = HOSTS.iter().map(|(name, host, same)| {
        let second = get().host(host);
        let second = if *same { second.stored_from(0) } else { second.origin(minute(PLAIN)) };
        case(*name, rule, [get().origin(minute(PLAIN)), second, get().stored_from(0)])
    });
    // Fields that clients send as they like, none of which the answer varies on.
    let fields = [
        "user-agent: a",
        "accept: text/html",
        "accept-encoding: gzip",
        "referer: http://a.test/",
        "x-any: 1",
        "dnt: 1",
    ];
    let fields = fields.map(|line| {
        let name = line.split(':').next().unwrap_or_default();
        case(
            format!("not-{name}"),
            rule,
            [get().with([line]).origin(minute(PLAIN)), get().stored_from(0), get().with([line]).stored_from(0)],
        )
    });
    // Fields by which a client could make the origin answer for something else are not forwarded unless keyed.
    let overriding =
        ["x-forwarded-host: evil.test", "x-original-url: /evil", "x-rewrite-url: /evil", "x-http-method-override: PUT"];
    let overriding = overriding.map(|line| {
        let name = line.split(':').next().unwrap_or_default();
        case(
            format!("no-{name}"),
            "RFC 9111 section 7.1",
            [get().with([line]).origin_saw_no([name]).origin(minute(PLAIN))],
        )
    });
    let others = [
        case(
            "the-target-goes-to-the-origin-as-it-came",
            "RFC 9110 section 7.7",
            [
                at("/a%2Fb/%41?c=d%20e&&f").origin(minute(PLAIN)),
                at("/a%2Fb/%41?c=d%20e&&f").stored(),
                at("/a/b/A?c=d%20e&&f").fetched(),
            ],
        ),
        case(
            "get-with-a-body-is-not-shared",
            "RFC 9110 section 9.3.1",
            [
                get().origin(minute(PLAIN)),
                send("POST").content("abc").origin(super::case::reply(403, PLAIN)),
                get().stored_from(0),
            ],
        ),
    ];
    targets.chain(hosts).chain(fields).chain(overriding).chain(others).collect()
}
