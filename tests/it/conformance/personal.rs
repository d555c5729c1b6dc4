//! What is one client's must not become another's: Authorization, cookies, and fields that an answer sets apart.

use super::case::{Case, PLAIN, case, get, minute, not_modified, ok};

const STRIP: &str = "strip.test";
const STORE: &str = "store.test";

pub(super) const SITES: &[(&str, &str)] =
    &[(STRIP, "set-cookie = \"strip\""), (STORE, "set-cookie = \"store\""), ("bypass.test", "set-cookie = \"bypass\"")];

/// What an answer to a request with Authorization says, and whether it is for others: RFC 9111 section 3.5.
const AUTHORIZED: &[(&str, &[&str], bool)] = &[
    ("max-age", &["cache-control: max-age=60"], false),
    ("expires", &["date: {0}", "expires: {+60}"], false),
    ("heuristic", &["last-modified: {-10000}"], false),
    ("public", &["cache-control: public, max-age=60"], true),
    ("public-upper-case", &["cache-control: PUBLIC, max-age=60"], true),
    ("public-and-expires", &["cache-control: public", "date: {0}", "expires: {+60}"], true),
    ("s-maxage", &["cache-control: s-maxage=60"], true),
    ("s-maxage-and-max-age", &["cache-control: max-age=10, s-maxage=60"], true),
    ("must-revalidate", &["cache-control: max-age=60, must-revalidate"], true),
    ("proxy-revalidate", &["cache-control: max-age=60, proxy-revalidate"], false),
    ("private", &["cache-control: private, max-age=60"], false),
    ("public-and-private", &["cache-control: public, private, max-age=60"], false),
    ("public-and-no-store", &["cache-control: public, no-store, max-age=60"], false),
    ("public-in-a-string", &["cache-control: max-age=60, foo=\"public\""], false),
    ("immutable", &["cache-control: max-age=60, immutable"], false),
];

/// Cache-Control beside `max-age=60`; which of `x-a` and `x-b` later clients do not get (`x-c` they do).
const QUALIFIED: &[(&str, &str, &[&str])] = &[
    ("no-cache", "no-cache=\"x-a\"", &["x-a"]),
    ("no-cache-two", "no-cache=\"x-a, x-b\"", &["x-a", "x-b"]),
    ("no-cache-upper-case", "No-Cache=\"X-A\"", &["x-a"]),
    ("no-cache-without-space", "no-cache=\"x-a,x-b\"", &["x-a", "x-b"]),
    ("no-cache-empty-elements", "no-cache=\" , x-a ,\"", &["x-a"]),
    ("no-cache-twice", "no-cache=\"x-a\", no-cache=\"x-b\"", &["x-a", "x-b"]),
    ("no-cache-token", "no-cache=x-a", &["x-a"]),
    ("no-cache-absent-field", "no-cache=\"x-z\"", &[]),
    ("private", "private=\"x-a\"", &["x-a"]),
    ("private-two", "private=\"x-a, x-b\"", &["x-a", "x-b"]),
    ("private-token", "private=x-b", &["x-b"]),
    ("private-and-no-cache", "private=\"x-a\", no-cache=\"x-b\"", &["x-a", "x-b"]),
];

/// Forms that cannot be read, or are beside the unqualified one: they count as that.
const UNQUALIFIED: &[(&str, &str)] = &[
    ("no-cache-nonsense", "no-cache=\"x a\""),
    ("no-cache-empty", "no-cache=\"\""),
    ("no-cache-both", "no-cache=\"x-a\", no-cache"),
    ("private-nonsense", "private=\"@\""),
    ("private-empty", "private=\"\""),
    ("private-both", "private, private=\"x-a\""),
];

pub(super) fn cases() -> Vec<Case> {
    let authorized = AUTHORIZED.iter().map(|(name, lines, shared)| {
        let first = get().with(["authorization: Basic YTph"]).origin(ok(lines.iter().copied()));
        let second = get().with(["authorization: Basic Yjpi"]).origin(ok(PLAIN));
        let steps = if *shared {
            vec![first, second.stored(), get().stored_from(0)]
        } else {
            vec![first, second, get().fetched()]
        };
        case(format!("authorization-{name}"), "RFC 9111 section 3.5", steps)
    });
    let qualified = QUALIFIED.iter().map(|(name, directive, apart)| {
        let fields = ["x-a: 1", "x-b: 2", "x-c: 3"];
        let control = format!("cache-control: {directive}, max-age=60");
        let left = fields.into_iter().filter(|line| !apart.contains(&&line[..3]));
        let mut later = get().later(5).stored().shows(left);
        later.hides.extend(apart.iter());
        case(
            format!("qualified-{name}"),
            "RFC 9111 section 5.2.2",
            [
                // The client that it was made for gets all of it.
                get().origin(ok(fields.into_iter().map(str::to_owned).chain([control]))).shows(fields),
                later,
            ],
        )
    });
    let unqualified = UNQUALIFIED.iter().map(|(name, directive)| {
        case(
            format!("qualified-{name}"),
            "RFC 9111 section 5.2.2",
            [get().origin(ok([format!("cache-control: {directive}, max-age=60")])), get().fetched()],
        )
    });
    authorized.chain(qualified).chain(unqualified).chain(authorization()).chain(cookies()).chain(apart()).collect()
}

fn authorization() -> Vec<Case> {
    vec![
        case(
            "authorization-goes-to-the-origin",
            "RFC 9110 section 11.6.2",
            [get().with(["authorization: Basic YTph"]).origin_saw(["authorization: Basic YTph"])],
        ),
        case(
            "authorization-must-revalidate-once-stale",
            "RFC 9111 section 3.5",
            [
                get()
                    .with(["authorization: a"])
                    .origin(ok(["cache-control: max-age=60, must-revalidate", "etag: \"a\""])),
                get().later(60).with(["authorization: b"]).validated().origin_saw(["authorization: b"]),
            ],
        ),
        case(
            "authorization-refused",
            "RFC 9111 section 3.5",
            [
                get().origin(super::case::reply(401, ["www-authenticate: Basic realm=\"a\""])),
                get().with(["authorization: a"]).origin(minute(PLAIN)),
                get().origin(super::case::reply(401, PLAIN)).fetched(),
            ],
        ),
    ]
}

/// RFC 9111 section 7.3: Set-Cookie does not by itself forbid to store; each site says what it wants.
fn cookies() -> Vec<Case> {
    let rule = "RFC 9111 section 7.3";
    let cookie = ["set-cookie: a=1", "set-cookie: b=2; path=/"];
    let first = || get().origin(minute(cookie)).shows(cookie);
    let short = ["cache-control: max-age=10", "etag: \"a\""];
    vec![
        case("cookie-bypass-by-default", rule, [first(), get().fetched()]),
        case("cookie-bypass", rule, [first(), get().fetched()]).at("bypass.test"),
        case(
            "cookie-bypass-although-public",
            rule,
            [get().origin(ok(["cache-control: public, max-age=60", "set-cookie: a=1"])), get().fetched()],
        ),
        case("cookie-strip", rule, [first(), get().stored().hides(["set-cookie"])]).at(STRIP),
        case(
            "cookie-strip-of-a-304",
            rule,
            [
                get().origin(ok(short)),
                get().later(10).origin(not_modified(["set-cookie: a=1", "x-a: 1"])).validated(),
                get().stored_from(0).hides(["set-cookie"]).shows(["x-a: 1"]),
            ],
        )
        .at(STRIP),
        case("cookie-store", rule, [first(), get().stored().shows(cookie)]).at(STORE),
        case(
            "cookie-store-although-private",
            "RFC 9111 section 5.2.2.7",
            [get().origin(ok(["cache-control: private, max-age=60", "set-cookie: a=1"])), get().fetched()],
        )
        .at(STORE),
        case(
            "cookie-store-of-a-304",
            "RFC 9111 section 3.2",
            [
                get().origin(ok(short.into_iter().chain(["set-cookie: a=1"]))),
                get().later(10).origin(not_modified(["set-cookie: a=2"])).validated().shows(["set-cookie: a=2"]),
                get().stored_from(0).shows(["set-cookie: a=2"]),
            ],
        )
        .at(STORE),
        case(
            "cookie-of-a-request-changes-nothing",
            "RFC 9111 section 4",
            [
                get().with(["cookie: a=1"]).origin(minute(PLAIN)).origin_saw(["cookie: a=1"]),
                get().with(["cookie: a=2"]).stored(),
                get().stored_from(0),
            ],
        ),
    ]
}

/// What is set apart is not in any later answer.
fn apart() -> Vec<Case> {
    let rule = "RFC 9111 section 5.2.2.4";
    let first = || get().origin(ok(["cache-control: max-age=10, no-cache=\"x-a\"", "etag: \"a\"", "x-a: 1", "x-b: 2"]));
    vec![
        case(
            "set-apart-from-304",
            rule,
            [first(), get().with(["if-none-match: \"a\""]).stored().status(304).hides(["x-a"])],
        ),
        case(
            "set-apart-from-206",
            rule,
            [
                first(),
                get().with(["range: bytes=0-1"]).stored().status(206).body("an").hides(["x-a"]).shows(["x-b: 2"]),
            ],
        ),
        case(
            "set-apart-from-head",
            rule,
            [first(), super::case::head().stored_from(0).hides(["x-a"]).shows(["x-b: 2"])],
        ),
        case(
            "set-apart-from-a-confirmed-answer",
            rule,
            [first(), get().later(10).validated().hides(["x-a"]).shows(["x-b: 2"])],
        ),
    ]
}
