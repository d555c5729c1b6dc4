//! Parts that the origin sends: stored, and used for what they hold.

use super::case::{Case, PLAIN, Reply, Step, case, get, head, minute, reply, send};

pub(super) const SITES: &[(&str, &str)] = &[];

const RULE: &str = "RFC 9111 section 3.3";

pub(super) const BODY: &str = "0123456789";

/// A request for these bytes (of ten), which the origin sends.
pub(super) fn part(from: usize, to: usize, fields: &[&'static str]) -> Step {
    let range = format!("bytes {from}-{to}/10");
    asks(from, to).origin(sent(&range, &BODY[from..=to], fields))
}

pub(super) fn asks(from: usize, to: usize) -> Step {
    get().with([format!("range: bytes={from}-{to}")])
}

pub(super) fn sent(range: &str, body: &str, fields: &[&'static str]) -> Reply {
    let lines = ["cache-control: max-age=60".to_owned(), format!("content-range: {range}")];
    reply(206, lines.into_iter().chain(fields.iter().map(|line| (*line).to_owned()))).text(body)
}

/// These bytes out of the store.
pub(super) fn held(from: usize, to: usize) -> Step {
    asks(from, to)
        .stored_from(0)
        .status(206)
        .body(&BODY[from..=to])
        .shows([format!("content-range: bytes {from}-{to}/10")])
}

pub(super) const TAG: &[&str] = &["etag: \"a\""];

pub(super) fn cases() -> Vec<Case> {
    stored().into_iter().chain(refused()).collect()
}

/// RFC 9111 section 3.3: a cache MAY store a part, and use it for what it holds.
fn stored() -> Vec<Case> {
    vec![
        case("forwarded", "RFC 9110 section 14.2", [part(2, 4, TAG).origin_saw(["range: bytes=0-262143"])]),
        case("same", RULE, [part(2, 4, TAG), held(2, 4)]),
        case("same-without-a-validator", RULE, [part(2, 4, &[]), held(2, 4)]),
        case("within", RULE, [part(2, 6, TAG), held(3, 5)]),
        case("first-byte-of-it", RULE, [part(2, 6, TAG), held(2, 2)]),
        case("last-byte-of-it", RULE, [part(2, 6, TAG), held(6, 6)]),
        case(
            "suffix",
            RULE,
            [
                get()
                    .with(["range: bytes=-4"])
                    .origin(sent("bytes 6-9/10", "6789", TAG))
                    .origin_saw(["range: bytes=-4"]),
                get().with(["range: bytes=-4"]).stored().status(206).body("6789"),
                get().with(["range: bytes=-1"]).stored_from(0).status(206).body("9"),
                held(7, 8),
            ],
        ),
        case(
            "open-end",
            RULE,
            [
                get().with(["range: bytes=6-"]).origin(sent("bytes 6-9/10", "6789", TAG)),
                get().with(["range: bytes=6-"]).stored().status(206).body("6789"),
                get().with(["range: bytes=8-"]).stored_from(0).status(206).body("89"),
                get().with(["range: bytes=-2"]).stored_from(0).status(206).body("89"),
            ],
        ),
        case(
            "end-beyond",
            RULE,
            [
                get().with(["range: bytes=6-99"]).origin(sent("bytes 6-9/10", "6789", TAG)),
                get().with(["range: bytes=6-99"]).stored().status(206).body("6789"),
            ],
        ),
        case("age-of-a-part", "RFC 9111 section 4", [part(2, 4, TAG), held(2, 4).later(9).shows(["age: 9"])]),
        case(
            "fields-of-a-part",
            RULE,
            [part(2, 4, &["etag: \"a\"", "x-a: 1"]), held(2, 4).shows(["x-a: 1", "etag: \"a\""])],
        ),
        case(
            "lifetime-of-a-part",
            "RFC 9111 section 4.2",
            [part(2, 4, TAG), held(2, 4).later(59), asks(2, 4).later(1).validated_from(0).status(206).body("234")],
        ),
        case("if-range-on-a-part", "RFC 9110 section 13.1.5", [part(2, 4, TAG), held(2, 4).with(["if-range: \"a\""])]),
        case(
            "variants-of-parts",
            "RFC 9111 section 4.1",
            [
                part(2, 4, &["etag: \"a\"", "vary: foo"]).with(["foo: 1"]),
                held(2, 4).with(["foo: 1"]),
                part(2, 4, &["etag: \"b\"", "vary: foo"]).with(["foo: 2"]),
            ],
        ),
        case(
            "all-of-it-as-a-part",
            RULE,
            [part(0, 9, TAG), get().stored_from(0).status(200).body(BODY).hides(["content-range"])],
        ),
        case(
            "200-to-a-range",
            "RFC 9110 section 14.2",
            [
                asks(2, 4).origin(minute(TAG.iter().copied()).text(BODY)).status(206).body("234"),
                get().stored_from(0).body(BODY),
                asks(7, 8).stored_from(0).status(206).body("78"),
            ],
        ),
        case("head-is-not-answered-by-a-part", RULE, [part(2, 4, TAG), head().fetched().origin_saw_method("HEAD")]),
    ]
}

/// What is not stored, or not believed.
fn refused() -> Vec<Case> {
    let not_stored = |name: &str, first: Reply| case(name, RULE, [asks(2, 4).origin(first), part(2, 4, TAG)]);
    // Nobody can tell what of it the client asked for, so that it is asked for in the client's own words.
    let unclear = |name: &str, reply: fn() -> Reply| {
        case(name, RULE, [asks(2, 4).origin(reply()).origin(reply()).asks(2), part(2, 4, TAG)])
    };
    vec![
        not_stored("no-store", reply(206, ["cache-control: no-store", "content-range: bytes 2-4/10"]).text("234")),
        not_stored(
            "private",
            reply(206, ["cache-control: private, max-age=60", "content-range: bytes 2-4/10"]).text("234"),
        ),
        // Its bytes cannot be confirmed, so the whole is asked for, or the part again; a 200 answers both.
        case(
            "stale",
            RULE,
            [
                asks(2, 4).origin(reply(206, ["cache-control: max-age=0", "content-range: bytes 2-4/10"]).text("234")),
                asks(2, 4).origin(minute(TAG.iter().copied()).text(BODY)).status(206).body("234"),
            ],
        ),
        unclear("no-content-range", || reply(206, ["cache-control: max-age=60"]).text("234")),
        unclear("content-range-of-another-length", || sent("bytes 2-8/10", "234", TAG)),
        unclear("content-range-backwards", || sent("bytes 4-2/10", "234", TAG)),
        unclear("content-range-beyond-the-end", || sent("bytes 8-10/10", "89!", TAG)),
        unclear("content-range-in-another-unit", || sent("lines 2-4/10", "234", TAG)),
        unclear("content-range-of-nonsense", || sent("2-4", "234", TAG)),
        unclear("cut-short", || sent("bytes 2-4/10", "23", TAG)),
        not_stored("416", reply(416, ["cache-control: max-age=60", "content-range: bytes */10"])),
        case(
            "a-part-is-not-the-whole",
            "RFC 9111 section 3.3",
            [part(2, 4, &[]), get().origin(minute(PLAIN).text(BODY)).status(200).body(BODY)],
        ),
        case(
            "a-part-is-not-a-longer-one",
            "RFC 9111 section 3.3",
            [part(2, 4, &[]), asks(2, 8).origin(sent("bytes 2-8/10", "2345678", &[])).body("2345678")],
        ),
        case(
            "unsafe-methods-end-a-part",
            "RFC 9111 section 4.4",
            [part(2, 4, TAG), send("PUT").content("abc"), part(2, 4, TAG)],
        ),
        case(
            "of-a-404",
            "RFC 9110 section 14.2",
            [asks(2, 4).origin(reply(404, ["cache-control: max-age=60"])), asks(2, 4).stored()],
        ),
        case(
            "heuristic-part",
            "RFC 9111 section 4.2.2",
            [
                asks(2, 4).origin(reply(206, ["last-modified: {-1000}", "content-range: bytes 2-4/10"]).text("234")),
                held(2, 4).later(99),
            ],
        ),
        case(
            "range-with-authorization",
            "RFC 9111 section 3.5",
            [part(2, 4, TAG).with(["authorization: a"]), part(2, 4, TAG)],
        ),
    ]
}
