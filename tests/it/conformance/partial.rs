//! Parts that the origin sends: stored, combined, completed.

use super::case::{Case, PLAIN, Step, case, get, head, minute, reply, send};

pub(super) const SITES: &[(&str, &str)] = &[];

const BODY: &str = "0123456789";

/// A request for these bytes (of ten), which the origin sends.
fn part(from: usize, to: usize, fields: &[&'static str]) -> Step {
    let range = format!("bytes {from}-{to}/10");
    asks(from, to).origin(sent(&range, &BODY[from..=to], fields))
}

fn asks(from: usize, to: usize) -> Step {
    get().with([format!("range: bytes={from}-{to}")])
}

fn sent(range: &str, body: &str, fields: &[&'static str]) -> super::case::Reply {
    let lines = ["cache-control: max-age=60".to_owned(), format!("content-range: {range}")];
    reply(206, lines.into_iter().chain(fields.iter().map(|line| (*line).to_owned()))).text(body)
}

/// These bytes out of the store.
fn held(from: usize, to: usize) -> Step {
    asks(from, to).stored_from(0).status(206).body(&BODY[from..=to]).shows([format!("content-range: bytes {from}-{to}/10")])
}

const TAG: &[&str] = &["etag: \"a\""];

pub(super) fn cases() -> Vec<Case> {
    stored().into_iter().chain(combined()).chain(completed()).chain(refused()).collect()
}

/// RFC 9111 section 3.3: a cache MAY store a part, and use it for what it holds.
fn stored() -> Vec<Case> {
    let rule = "RFC 9111 section 3.3";
    vec![
        case("forwarded", "RFC 9110 section 14.2", [part(2, 4, TAG).origin_saw(["range: bytes=2-4"])]),
        case("same", rule, [part(2, 4, TAG), held(2, 4)]),
        case("same-without-a-validator", rule, [part(2, 4, &[]), held(2, 4)]),
        case("within", rule, [part(2, 6, TAG), held(3, 5)]),
        case("first-byte-of-it", rule, [part(2, 6, TAG), held(2, 2)]),
        case("last-byte-of-it", rule, [part(2, 6, TAG), held(6, 6)]),
        case("suffix", rule, [
            get().with(["range: bytes=-4"]).origin(sent("bytes 6-9/10", "6789", TAG)).origin_saw(["range: bytes=-4"]),
            get().with(["range: bytes=-4"]).stored().status(206).body("6789"),
            get().with(["range: bytes=-1"]).stored_from(0).status(206).body("9"),
            held(7, 8),
        ]),
        case("open-end", rule, [
            get().with(["range: bytes=6-"]).origin(sent("bytes 6-9/10", "6789", TAG)),
            get().with(["range: bytes=6-"]).stored().status(206).body("6789"),
            get().with(["range: bytes=8-"]).stored_from(0).status(206).body("89"),
            get().with(["range: bytes=-2"]).stored_from(0).status(206).body("89"),
        ]),
        case("end-beyond", rule, [
            get().with(["range: bytes=6-99"]).origin(sent("bytes 6-9/10", "6789", TAG)),
            get().with(["range: bytes=6-99"]).stored().status(206).body("6789"),
        ]),
        case("age-of-a-part", "RFC 9111 section 4", [part(2, 4, TAG), held(2, 4).later(9).shows(["age: 9"])]),
        case("fields-of-a-part", rule, [part(2, 4, &["etag: \"a\"", "x-a: 1"]), held(2, 4).shows(["x-a: 1", "etag: \"a\""])]),
        case("lifetime-of-a-part", "RFC 9111 section 4.2", [part(2, 4, TAG), held(2, 4).later(59), part(2, 4, TAG).later(1)]),
        case("condition-on-a-part", "RFC 9110 section 13.1.2", [
            part(2, 4, TAG),
            asks(2, 4).with(["if-none-match: \"a\""]).stored_from(0).status(304),
        ]),
        case("if-range-on-a-part", "RFC 9110 section 13.1.5", [
            part(2, 4, TAG),
            held(2, 4).with(["if-range: \"a\""]),
        ]),
        case("variants-of-parts", "RFC 9111 section 4.1", [
            part(2, 4, &["etag: \"a\"", "vary: foo"]).with(["foo: 1"]),
            held(2, 4).with(["foo: 1"]),
            part(2, 4, &["etag: \"b\"", "vary: foo"]).with(["foo: 2"]),
        ]),
        case("all-of-it-as-a-part", rule, [part(0, 9, TAG), get().stored_from(0).status(200).body(BODY).hides(["content-range"])]),
        case("200-to-a-range", "RFC 9110 section 14.2", [
            asks(2, 4).origin(minute(TAG.iter().copied()).text(BODY)).status(206).body("234"),
            get().stored_from(0).body(BODY),
            asks(7, 8).stored_from(0).status(206).body("78"),
        ]),
        case("head-is-not-answered-by-a-part", rule, [part(2, 4, TAG), head().fetched().origin_saw_method("HEAD")]),
    ]
}

/// RFC 9111 section 3.4: parts are combined only under the same strong validator.
fn combined() -> Vec<Case> {
    let rule = "RFC 9111 section 3.4";
    let dated: &[&str] = &["date: {0}", "last-modified: {-100}"];
    let joined = |name: &str, fields: &[&'static str]| {
        case(name, rule, [part(0, 4, fields), part(5, 9, fields), asks(3, 7).stored_from(0).status(206).body("34567")])
    };
    let apart = |name: &str, first: &[&'static str], second: &[&'static str]| {
        let whole = minute(PLAIN).text("another..!");
        case(name, rule, [part(0, 4, first), part(5, 9, second), get().origin(whole).origin_saw_no(["range"])])
    };
    vec![
        joined("combined-by-tag", TAG),
        joined("combined-by-date", dated),
        case("combined-out-of-order", rule, [part(5, 9, TAG), part(0, 4, TAG), get().stored_from(0).status(200).body(BODY)]),
        case("combined-with-overlap", rule, [part(0, 6, TAG), part(4, 9, TAG), get().stored_from(0).status(200).body(BODY)]),
        case("combined-of-three", rule, [
            part(0, 2, TAG),
            part(7, 9, TAG),
            part(3, 6, TAG),
            get().stored_from(0).status(200).body(BODY).shows(["content-length: 10"]).hides(["content-range"]),
        ]),
        case("newer-fields-count", rule, [
            part(0, 4, &["etag: \"a\"", "x-a: 1"]),
            part(5, 9, &["etag: \"a\"", "x-a: 2"]),
            get().stored_from(0).status(200).body(BODY).shows(["x-a: 2"]),
        ]),
        case("both-parts-are-kept", rule, [part(0, 2, TAG), part(7, 9, TAG), held(0, 2), held(7, 9)]),
        apart("not-by-weak-tags", &["etag: W/\"a\""], &["etag: W/\"a\""]),
        apart("not-without-validators", &[], &[]),
        apart("not-by-weak-dates", &["date: {0}", "last-modified: {0}"], &["date: {0}", "last-modified: {0}"]),
        case("not-under-another-tag", rule, [
            part(0, 4, TAG),
            part(5, 9, &["etag: \"b\""]),
            asks(0, 2).origin(sent("bytes 0-2/10", "abc", &["etag: \"b\""])).body("abc"),
        ]),
        case("not-with-another-length", rule, [
            part(0, 4, TAG),
            asks(5, 9).origin(sent("bytes 5-9/12", "56789", TAG)),
            get().origin(minute(TAG.iter().copied()).text("0123456789ab")),
        ]),
    ]
}

/// RFC 9110 section 13.1.5: the missing bytes, if it is still the same.
fn completed() -> Vec<Case> {
    let rule = "RFC 9111 section 3.4";
    vec![
        case("completed", rule, [
            part(0, 4, TAG),
            get().origin(sent("bytes 5-9/10", "56789", TAG)).status(200).body(BODY).origin_saw(["if-range: \"a\"", "range: bytes=5-"]),
            get().stored_from(0).status(200).body(BODY),
        ]),
        case("completed-at-the-front", rule, [
            part(5, 9, TAG),
            get().origin(sent("bytes 0-4/10", "01234", TAG)).status(200).body(BODY).origin_saw(["if-range: \"a\"", "range: bytes=0-4"]),
        ]),
        case("completed-by-date", rule, [
            part(0, 4, &["date: {0}", "last-modified: {-100}"]),
            get()
                .origin(sent("bytes 5-9/10", "56789", &["date: {0}", "last-modified: {-100}"]))
                .status(200)
                .body(BODY)
                .origin_saw(["if-range: {-100}", "range: bytes=5-"]),
        ]),
        case("changed-meanwhile", rule, [
            part(0, 4, TAG),
            get().origin(minute(["etag: \"b\""]).text("all of it new")).status(200).body("all of it new"),
            get().stored(),
        ]),
        case("changed-although-asked-not-to", rule, [
            part(0, 4, TAG),
            get().origin(sent("bytes 5-9/10", "fghij", &["etag: \"b\""])).origin(minute(["etag: \"b\""]).text("abcdefghij")).asks(2),
        ]),
    ]
}

/// What is not stored, or not believed.
fn refused() -> Vec<Case> {
    let not_stored = |name: &str, first: super::case::Reply| {
        case(name, "RFC 9111 section 3.3", [asks(2, 4).origin(first), part(2, 4, TAG)])
    };
    vec![
        not_stored("no-store", reply(206, ["cache-control: no-store", "content-range: bytes 2-4/10"]).text("234")),
        not_stored("private", reply(206, ["cache-control: private, max-age=60", "content-range: bytes 2-4/10"]).text("234")),
        not_stored("stale", reply(206, ["cache-control: max-age=0", "content-range: bytes 2-4/10"]).text("234")),
        not_stored("no-content-range", reply(206, ["cache-control: max-age=60"]).text("234")),
        not_stored("content-range-of-another-length", sent("bytes 2-8/10", "234", TAG)),
        not_stored("content-range-backwards", sent("bytes 4-2/10", "234", TAG)),
        not_stored("content-range-beyond-the-end", sent("bytes 8-10/10", "89!", TAG)),
        not_stored("content-range-in-another-unit", sent("lines 2-4/10", "234", TAG)),
        not_stored("content-range-of-nonsense", sent("2-4", "234", TAG)),
        not_stored("cut-short", sent("bytes 2-4/10", "23", TAG)),
        not_stored("416", reply(416, ["cache-control: max-age=60", "content-range: bytes */10"])),
        case("a-part-is-not-the-whole", "RFC 9111 section 3.3", [
            part(2, 4, &[]),
            get().origin(minute(PLAIN).text(BODY)).status(200).body(BODY),
        ]),
        case("a-part-is-not-a-longer-one", "RFC 9111 section 3.3", [
            part(2, 4, &[]),
            asks(2, 8).origin(sent("bytes 2-8/10", "2345678", &[])).body("2345678"),
        ]),
        case("unsafe-methods-end-a-part", "RFC 9111 section 4.4", [part(2, 4, TAG), send("PUT").content("abc"), part(2, 4, TAG)]),
        case("of-a-404", "RFC 9110 section 14.2", [
            asks(2, 4).origin(reply(404, ["cache-control: max-age=60"])),
            asks(2, 4).stored(),
        ]),
        case("heuristic-part", "RFC 9111 section 4.2.2", [
            asks(2, 4).origin(reply(206, ["last-modified: {-1000}", "content-range: bytes 2-4/10"]).text("234")),
            held(2, 4).later(99),
        ]),
        case("range-with-authorization", "RFC 9111 section 3.5", [part(2, 4, TAG).with(["authorization: a"]), part(2, 4, TAG)]),
    ]
}
