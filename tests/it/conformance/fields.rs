//! Which fields are stored and passed on, and which end here.

use super::case::{Case, PLAIN, case, get, minute, ok, reply};

pub(super) const SITES: &[(&str, &str)] = &[];

/// RFC 9111 section 3.1: caches MUST include all received fields, also those they do not know.
pub(super) const KEPT: &[(&str, &str)] = &[
    ("Accept-CH", "DPR, Width"),
    ("Accept-Patch", "text/plain"),
    ("Accept-Ranges", "none"),
    ("Access-Control-Allow-Credentials", "true"),
    ("Access-Control-Allow-Headers", "X-A, X-B"),
    ("Access-Control-Allow-Methods", "GET, PUT"),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "X-A"),
    ("Access-Control-Max-Age", "600"),
    ("Allow", "GET, HEAD"),
    ("Alt-Svc", "h3=\":443\"; ma=3600"),
    ("Clear-Site-Data", "\"cache\""),
    ("Content-Digest", "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:"),
    ("Content-Disposition", "attachment; filename=\"a, b.txt\""),
    ("Content-Foo", "bar"),
    ("Content-Language", "de, en"),
    ("Content-Location", "/elsewhere"),
    ("Content-Security-Policy", "default-src 'self' cdn.example.com; img-src *"),
    ("Content-Type", "text/html; charset=\"utf-8\""),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-site"),
    ("Digest", "sha-256=4REjxQ4yrqUVicfSKYNO/cF9zNj5ANbzgDZt3/h3Qxo="),
    ("Link", "</a>; rel=preload, </b>; rel=next"),
    ("NEL", "{\"report_to\": \"a\"}"),
    ("Permissions-Policy", "geolocation=()"),
    ("Pragma", "x-something"),
    ("Public-Key-Pins", "max-age=5"),
    ("Referrer-Policy", "no-referrer"),
    ("Refresh", "5; url=/a"),
    ("Repr-Digest", "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:"),
    ("Retry-After", "120"),
    ("Server", "origin/1.0 (a; b)"),
    ("Server-Timing", "db;dur=53"),
    ("Set-Cookie2", "a=b"),
    ("SourceMap", "/a.map"),
    ("Strict-Transport-Security", "max-age=3600"),
    ("Test-Header", "a"),
    ("Timing-Allow-Origin", "*"),
    ("Tk", "N"),
    ("Warning", "199 - \"from the origin\""),
    ("WWW-Authenticate", "Basic realm=\"a\""),
    ("X-Content-Foo", "bar"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "sameorigin"),
    ("X-Powered-By", "care"),
    ("X-Test-Header", "A b  C"),
    ("X-XSS-Protection", "1; mode=block"),
];

/// RFC 9111 section 3.1 and RFC 9110 section 7.6.1: for one connection, or one proxy, only.
const DROPPED: &[(&str, &str)] = &[
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Authenticate", "Basic realm=\"a\""),
    ("Proxy-Authentication-Info", "a=b"),
    ("Proxy-Authorization", "Basic YTpi"),
    ("Proxy-Connection", "keep-alive"),
    ("TE", "trailers"),
    ("Trailer", "x-late"),
    ("Upgrade", "foo/2"),
];

/// Lines of one field, as sent and as stored.
const VALUES: &[(&str, &[&str])] = &[
    ("empty", &["x-value: "]),
    ("several-lines", &["x-value: c", "x-value: a", "x-value: b", "x-value: a"]),
    ("lists-on-lines", &["x-value: c, d", "x-value: a"]),
    ("quoted-comma", &["x-value: \"a, b\", c"]),
    ("inner-spaces", &["x-value: a   b"]),
    ("all-signs", &["x-value: !#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"]),
    ("all-name-signs", &["x!#$%&'*+-.^_`|~9: a"]),
    ("obs-text", &["x-value: é ü"]),
    ("one-letter-name", &["a: 1"]),
    ("links-on-lines", &["link: </b>; rel=next", "link: </a>; rel=prev"]),
    ("policies-on-lines", &["content-security-policy: a 'self'", "content-security-policy: b 'none'"]),
];

pub(super) fn cases() -> Vec<Case> {
    let rule = "RFC 9111 section 3.1";
    let kept = KEPT.iter().map(|(name, value)| {
        let line = format!("{name}: {value}");
        case(
            name.to_lowercase(),
            rule,
            [get().origin(minute([&line])).shows([&line]), get().later(5).stored().shows([&line])],
        )
    });
    let dropped = DROPPED.iter().map(|(name, value)| {
        case(
            format!("{}-ends-here", name.to_lowercase()),
            rule,
            [
                get()
                    .origin(minute([format!("{name}: {value}"), "x-other: 1".to_owned()]))
                    .shows(["x-other: 1"])
                    .hides([name]),
                get().stored().shows(["x-other: 1"]).hides([name]),
            ],
        )
    });
    let values = VALUES.iter().map(|(name, lines)| {
        let lines = || lines.iter().copied();
        case(
            format!("value-{name}"),
            rule,
            [get().origin(minute(lines())).shows(lines()), get().stored().shows(lines())],
        )
    });
    let long = format!("x-long: {}", "long ".repeat(800).trim());
    let long = case("value-4000-bytes", rule, [get().origin(minute([&long])), get().stored().shows([&long])]);
    kept.chain(dropped)
        .chain(values)
        .chain([long])
        .chain(connection())
        .chain(requests())
        .chain(kept_as_they_are())
        .collect()
}

/// RFC 9110 section 7.6.1: what Connection names ends here, too.
fn connection() -> Vec<Case> {
    let rule = "RFC 9110 section 7.6.1";
    let named = |name: &str, lines: &[&str]| {
        let lines = lines.iter().copied().chain(["x-a: 1", "x-b: 2", "x-c: 3"]);
        case(
            name,
            rule,
            [
                get().origin(minute(lines)).shows(["x-c: 3"]).hides(["x-a", "x-b"]),
                get().stored().shows(["x-c: 3"]).hides(["x-a", "x-b"]),
            ],
        )
    };
    vec![
        named("connection-names-others", &["connection: x-a, x-b"]),
        named("connection-in-another-case", &["Connection: X-A, X-B"]),
        named("connection-on-two-lines", &["connection: x-a", "connection: x-b"]),
        named("connection-with-empty-elements", &["connection: ,x-a,, x-b ,"]),
        named("connection-with-keep-alive", &["connection: keep-alive, x-a, x-b"]),
        named("connection-names-absent-ones", &["connection: x-a, x-b, x-absent"]),
        // Fields for all recipients are never a connection's: naming them must not make private things public.
        case(
            "connection-cannot-name-cache-control",
            rule,
            [
                get().origin(ok(["connection: cache-control", "cache-control: no-store", "last-modified: {-100000}"])),
                get().fetched(),
            ],
        ),
        case(
            "connection-cannot-name-age",
            rule,
            [get().origin(minute(["connection: age", "age: 59"])), get().later(1).fetched()],
        ),
        case(
            "connection-cannot-name-vary",
            rule,
            [
                get().with(["foo: 1"]).origin(minute(["connection: vary", "vary: foo"])),
                get().with(["foo: 2"]).fetched(),
            ],
        ),
    ]
}

/// The same for requests.
fn requests() -> Vec<Case> {
    let rule = "RFC 9110 section 7.6.1";
    vec![
        case(
            "request-fields-pass",
            "RFC 9110 section 5.1",
            [get().with(["x-a: 1", "cookie: a=b", "user-agent: u"]).origin_saw([
                "x-a: 1",
                "cookie: a=b",
                "user-agent: u",
            ])],
        ),
        case(
            "request-lines-pass-in-order",
            "RFC 9110 section 5.3",
            [get().with(["x-a: 2", "x-a: 1"]).origin_saw(["x-a: 2", "x-a: 1"])],
        ),
        // A comma does not make a list of a field that nobody knows.
        case(
            "request-date-is-as-it-was",
            "RFC 9110 section 5.5",
            [get()
                .with(["x-since: Thu, 18 Aug 2050 02:01:18 GMT"])
                .origin_saw(["x-since: Thu, 18 Aug 2050 02:01:18 GMT"])],
        ),
        case(
            "request-strings-are-as-they-were",
            "RFC 9110 section 5.6.4",
            [get()
                .with(["x-a: \"a,  b\", c", "user-agent: a/1 (b, c;  d)"])
                .origin_saw(["x-a: \"a,  b\", c", "user-agent: a/1 (b, c;  d)"])],
        ),
        case(
            "request-connection",
            rule,
            [get().with(["connection: x-a", "x-a: 1", "x-b: 2"]).origin_saw(["x-b: 2"]).origin_saw_no(["x-a"])],
        ),
        case("request-keep-alive", rule, [get().with(["keep-alive: timeout=5"]).origin_saw_no(["keep-alive"])]),
        case("request-te", rule, [get().with(["te: trailers", "connection: te"]).origin_saw_no(["te"])]),
        case(
            "request-proxy-connection",
            rule,
            [get().with(["proxy-connection: keep-alive"]).origin_saw_no(["proxy-connection"])],
        ),
        case(
            "request-proxy-authorization",
            "RFC 9110 section 11.7.2",
            [get().with(["proxy-authorization: Basic YTpi"]).origin_saw_no(["proxy-authorization"])],
        ),
        case(
            "request-via",
            "RFC 9110 section 7.6.3",
            [get().with(["via: 1.0 before"]).origin_saw(["via: 1.0 before", "via: 1.1 nearcast-fra"])],
        ),
    ]
}

/// Fields that a cache uses itself are passed on all the same.
fn kept_as_they_are() -> Vec<Case> {
    let rule = "RFC 9111 section 3.1";
    let rows: &[(&str, &[&str])] = &[
        ("cache-control", &["cache-control: max-age=60, a=\"b\", public"]),
        ("cache-control-on-lines", &["cache-control: max-age=60", "cache-control: public"]),
        ("expires", &["expires: {+3600}"]),
        ("etag", &["cache-control: max-age=60", "etag: W/\"a\""]),
        ("last-modified", &["cache-control: max-age=60", "last-modified: {-100}"]),
        ("date", &["cache-control: max-age=60", "date: {-5}"]),
        ("vary", &["cache-control: max-age=60", "vary: foo,  Bar"]),
        ("content-encoding", &["cache-control: max-age=60", "content-encoding: gzip"]),
    ];
    let mut cases: Vec<Case> = rows
        .iter()
        .map(|(name, lines)| {
            let lines = || lines.iter().copied();
            case(
                format!("{name}-as-it-came"),
                rule,
                [get().origin(ok(lines())).shows(lines()), get().later(5).stored().shows(lines())],
            )
        })
        .collect();
    cases.push(case(
        "content-length",
        rule,
        [get().origin(minute(PLAIN)).shows(["content-length: 8"]), get().stored().shows(["content-length: 8"])],
    ));
    cases.push(case(
        "content-length-of-404",
        rule,
        [get().origin(reply(404, ["cache-control: max-age=60"])), get().stored().shows(["content-length: 8"])],
    ));
    // RFC 9110 section 6.6.1: a recipient with a clock adds a missing Date; nobody changes one.
    cases.push(case(
        "date-added",
        "RFC 9110 section 6.6.1",
        [get().origin(minute(PLAIN)).shows(["date: {0}"]), get().later(5).stored().shows(["date: {0}"])],
    ));
    cases
}
