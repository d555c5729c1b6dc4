//! Methods other than GET.

use super::case::{Case, PLAIN, Reply, case, get, head, minute, ok, reply, send};

pub(super) const SITES: &[(&str, &str)] = &[];

/// What an origin says to HEAD about a stored answer: its header, without a body.
fn says(lines: &[&str], body: &str) -> Reply {
    ok(lines.iter().copied()).text(body)
}

pub(super) fn cases() -> Vec<Case> {
    // RFC 9110 section 9.2.3: only GET and HEAD are answered from the store; their answers alone are stored (here).
    let passed = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "FOO"].into_iter().flat_map(|method| {
        let name = method.to_lowercase();
        [
            case(
                format!("{name}-goes-to-the-origin"),
                "RFC 9111 section 4",
                [
                    get().origin(minute(PLAIN)),
                    send(method)
                        .content("abc")
                        .origin(minute(PLAIN))
                        .origin_saw_method(method)
                        .origin_saw(["content-length: 3"]),
                ],
            ),
            case(
                format!("{name}-is-not-stored"),
                "RFC 9111 section 3",
                [
                    send(method).content("abc").origin(minute(PLAIN)),
                    send(method).content("abc").origin(minute(PLAIN)),
                    get().fetched(),
                ],
            ),
        ]
    });
    passed.chain(heads()).chain(updates()).chain(posts()).chain(others()).collect()
}

/// RFC 9110 section 9.3.2: HEAD is GET without the content.
fn heads() -> Vec<Case> {
    let rule = "RFC 9111 section 4";
    vec![
        case(
            "head-from-get",
            rule,
            [get().origin(minute(["x-a: 1"])), head().stored_from(0).shows(["x-a: 1", "content-length: 8"])],
        ),
        case(
            "head-from-404",
            rule,
            [
                get().origin(reply(404, ["cache-control: max-age=60"])),
                head().stored_from(0).shows(["content-length: 8"]),
            ],
        ),
        case("head-of-nothing", rule, [head().origin(minute(["x-a: 1"])).origin_saw_method("HEAD").shows(["x-a: 1"])]),
        case("head-stores-no-body", rule, [head().origin(minute(PLAIN)), get().fetched().origin_saw_method("GET")]),
        case(
            "head-of-a-stale-answer",
            rule,
            [get().origin(ok(["cache-control: max-age=10"])), head().later(10).fetched().origin_saw_method("HEAD")],
        ),
        case(
            "head-keeps-the-stored-body",
            rule,
            [get().origin(minute(PLAIN)), head().stored_from(0), get().stored_from(0)],
        ),
        case(
            "head-without-store",
            "RFC 9111 section 5.2.2.5",
            [head().origin(ok(["cache-control: no-store"])), head().fetched()],
        ),
        // RFC 9110 section 14.2: Range is for GET.
        case(
            "head-with-range",
            "RFC 9110 section 14.2",
            [
                get().origin(minute(PLAIN)),
                head().with(["range: bytes=0-1"]).stored_from(0).shows(["content-length: 8"]).hides(["content-range"]),
            ],
        ),
        case(
            "head-only-if-cached",
            "RFC 9111 section 5.2.1.7",
            [head().with(["cache-control: only-if-cached"]).made(504).asks(0)],
        ),
    ]
}

/// RFC 9111 section 4.3.5: a 200 to HEAD about the same representation freshens what is stored; about another, it is
/// stale.
fn updates() -> Vec<Case> {
    let rule = "RFC 9111 section 4.3.5";
    let tagged = || get().origin(ok(["cache-control: max-age=10", "etag: \"a\"", "x-a: 1", "x-b: 1"]));
    let dated = || get().origin(ok(["cache-control: max-age=10", "last-modified: {-100}"]));
    let longer = "cache-control: max-age=60";
    vec![
        case(
            "head-freshens",
            rule,
            [
                tagged(),
                head().later(10).origin(says(&[longer, "etag: \"a\""], "answer 0")),
                get().later(59).stored_from(0).shows(["cache-control: max-age=60", "age: 59"]),
                get().later(1).validated_from(0),
            ],
        ),
        case(
            "head-updates-fields",
            rule,
            [
                tagged(),
                head().later(10).origin(says(&[longer, "etag: \"a\"", "x-a: 2"], "answer 0")),
                get().later(5).stored_from(0).shows(["x-a: 2", "x-b: 1", "content-length: 8"]),
            ],
        ),
        case(
            "head-freshens-by-date",
            rule,
            [
                dated(),
                head().later(10).origin(says(&[longer, "last-modified: {-100}"], "answer 0")),
                get().later(59).stored_from(0),
            ],
        ),
        case(
            "head-freshens-what-has-no-validator",
            rule,
            [
                get().origin(ok(["cache-control: max-age=10", "x-a: 1"])),
                head().later(10).origin(says(&[longer, "x-a: 2"], "answer 0")),
                get().later(5).stored_from(0).shows(["x-a: 2"]),
            ],
        ),
        case(
            "head-freshens-head",
            rule,
            [
                tagged(),
                head().later(10).origin(says(&[longer, "etag: \"a\"", "x-a: 2"], "answer 0")),
                head().later(5).stored_from(0).shows(["x-a: 2"]),
            ],
        ),
        case(
            "head-about-another-tag",
            rule,
            [tagged(), head().later(10).origin(says(&[longer, "etag: \"b\""], "answer 0")), get().fetched()],
        ),
        case(
            "head-about-another-date",
            rule,
            [dated(), head().later(10).origin(says(&[longer, "last-modified: {-50}"], "answer 0")), get().fetched()],
        ),
        case(
            "head-about-another-length",
            rule,
            [tagged(), head().later(10).origin(says(&[longer, "etag: \"a\""], "of another length")), get().fetched()],
        ),
        // While it is fresh nobody asks; a check that a client forces makes it stale as well.
        case(
            "head-that-a-client-forces",
            rule,
            [
                get().origin(minute(["etag: \"a\""])),
                head().later(5).with(["cache-control: no-cache"]).origin(says(&[longer, "etag: \"b\""], "answer 0")),
                get().fetched(),
            ],
        ),
        case(
            "head-error-leaves-what-is-stored",
            rule,
            [tagged(), head().later(10).origin(reply(503, PLAIN)), get().validated_from(0)],
        ),
    ]
}

/// RFC 9110 section 9.3.3: an answer to POST that says for how long, and that it is the URL's own, answers later GETs.
fn posts() -> Vec<Case> {
    let rule = "RFC 9110 section 9.3.3";
    let post = |lines: &[&'static str]| send("POST").content("abc").origin(ok(lines.iter().copied()));
    let fresh = "cache-control: max-age=60";
    vec![
        case(
            "post-of-the-urls-own-answer",
            rule,
            [
                post(&[fresh, "content-location: {path}"]),
                get().later(59).stored_from(0),
                head().stored_from(0),
                get().later(1).fetched(),
            ],
        ),
        case(
            "post-of-the-urls-own-answer-by-url",
            rule,
            [post(&[fresh, "content-location: http://{host}{path}"]), get().stored_from(0)],
        ),
        case(
            "post-replaces-what-is-stored",
            rule,
            [get().origin(minute(PLAIN)), post(&[fresh, "content-location: {path}"]), get().stored_from(1)],
        ),
        case(
            "post-does-not-answer-post",
            rule,
            [post(&[fresh, "content-location: {path}"]), post(&[fresh, "content-location: {path}"])],
        ),
        case("post-of-another-urls-answer", rule, [post(&[fresh, "content-location: {path}/b"]), get().fetched()]),
        case(
            "post-of-another-hosts-answer",
            rule,
            [post(&[fresh, "content-location: http://static.other.test{path}"]), get().fetched()],
        ),
        case(
            "post-without-a-lifetime",
            rule,
            [post(&["content-location: {path}", "last-modified: {-10000}"]), get().fetched()],
        ),
        case(
            "post-that-must-not-be-stored",
            rule,
            [post(&["cache-control: no-store, max-age=60", "content-location: {path}"]), get().fetched()],
        ),
        case(
            "put-of-the-urls-own-answer",
            "RFC 9110 section 9.3.4",
            [send("PUT").content("abc").origin(ok([fresh, "content-location: {path}"])), get().fetched()],
        ),
    ]
}

fn others() -> Vec<Case> {
    vec![
        case(
            "post-is-passed-with-its-content",
            "RFC 9110 section 9.3.3",
            [send("POST")
                .with(["content-type: text/plain", "x-a: 1"])
                .content("abc")
                .origin(reply(201, ["x-b: 2"]))
                .origin_saw(["content-type: text/plain", "x-a: 1", "content-length: 3"])
                .shows(["x-b: 2"])],
        ),
        case(
            "post-with-conditions",
            "RFC 9111 section 4.3.2",
            [
                get().origin(minute(["etag: \"a\""])),
                send("POST")
                    .with(["if-none-match: \"a\""])
                    .content("abc")
                    .fetched()
                    .origin_saw(["if-none-match: \"a\""]),
            ],
        ),
        case(
            "put-with-if-match",
            "RFC 9110 section 13.1.1",
            [
                get().origin(minute(["etag: \"a\""])),
                send("PUT")
                    .with(["if-match: \"b\""])
                    .content("abc")
                    .origin(reply(412, PLAIN))
                    .origin_saw(["if-match: \"b\""]),
                get().stored_from(0),
            ],
        ),
        case(
            "post-cannot-be-answered-when-the-origin-is-gone",
            "RFC 9111 section 4",
            [get().origin(minute(PLAIN)), send("POST").content("abc").origin(Reply::HangUp).made(502)],
        ),
        // A method's name is case-sensitive: this is not GET.
        case(
            "lower-case-get-is-another-method",
            "RFC 9110 section 9.1",
            [get().origin(minute(PLAIN)), send("get").fetched().origin_saw_method("get")],
        ),
    ]
}
