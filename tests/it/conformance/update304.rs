//! What a 304 does to the stored answer it confirms.

use super::case::{Case, PLAIN, Reply, case, get, minute, not_modified, ok};
use super::fields::KEPT;

pub(super) const SITES: &[(&str, &str)] = &[];

/// A new value for some of the fields of `fields.rs`.
const NEW: &str = "new, \"value\"";

/// Fields that a 304 does not change: RFC 9111 section 3.2.
const UNCHANGED: &[(&str, &str, &str)] = &[
    ("content-length", "", "5000"),
    ("content-encoding", "gzip", "br"),
    ("content-range", "", "bytes 0-1/2"),
    ("connection", "", "x-a"),
    ("keep-alive", "", "timeout=5"),
    ("proxy-authenticate", "", "Basic"),
    ("proxy-authentication-info", "", "a=b"),
    ("proxy-connection", "", "close"),
    ("te", "", "trailers"),
    ("upgrade", "", "foo/2"),
];

/// Stored, stale after 10 s, confirmed by `confirmation`, and asked for once more.
fn renewed(name: &str, first: &[&str], confirmation: Reply, shows: &[&str]) -> Case {
    let short = ["cache-control: max-age=10", "etag: \"a\""];
    case(
        name,
        "RFC 9111 section 3.2",
        [
            get().origin(ok(short.into_iter().chain(first.iter().copied()))),
            get().later(10).origin(confirmation).validated().shows(shows.iter().copied()),
            get().later(9).stored_from(0).shows(shows.iter().copied()),
        ],
    )
}

pub(super) fn cases() -> Vec<Case> {
    let own = ["warning", "pragma", "set-cookie2"];
    let updated = KEPT.iter().filter(|(name, _)| !own.contains(&name.to_lowercase().as_str())).map(|(name, value)| {
        let new = format!("{name}: {NEW}");
        renewed(&name.to_lowercase(), &[&format!("{name}: {value}")], not_modified([&new]), &[&new])
    });
    let unchanged = UNCHANGED.iter().map(|(name, old, new)| {
        let new = not_modified([format!("{name}: {new}"), "x-a: 1".to_owned(), "x-b: 2".to_owned()]);
        match (*name, *old) {
            ("content-length", _) => renewed("content-length-stays", &[], new, &["content-length: 8", "x-b: 2"]),
            (name, "") => {
                let mut case = renewed(&format!("{name}-is-not-added"), &[], new, &["x-b: 2"]);
                case.steps.iter_mut().for_each(|step| step.hides.push(name));
                if name == "connection" {
                    case.steps.iter_mut().for_each(|step| step.hides.push("x-a"));
                }
                case
            }
            (name, old) => {
                let old = format!("{name}: {old}");
                renewed(&format!("{name}-stays"), &[&old], new, &[&old, "x-b: 2"])
            }
        }
    });
    updated.chain(unchanged).chain(rows()).chain(lifetimes()).chain(selected()).collect()
}

fn rows() -> Vec<Case> {
    vec![
        renewed(
            "what-it-omits-stays",
            &["x-a: 1", "content-type: text/plain"],
            not_modified(PLAIN),
            &["x-a: 1", "content-type: text/plain"],
        ),
        renewed("what-is-new-is-added", &["x-a: 1"], not_modified(["x-b: 2"]), &["x-a: 1", "x-b: 2"]),
        renewed("all-lines-are-replaced", &["x-a: 1", "x-a: 2", "x-a: 3"], not_modified(["x-a: 4"]), &["x-a: 4"]),
        renewed(
            "several-lines-take-ones-place",
            &["x-a: 1"],
            not_modified(["x-a: 3", "x-a: 2"]),
            &["x-a: 3", "x-a: 2"],
        ),
        renewed("an-empty-value-counts", &["x-a: 1"], not_modified(["x-a: "]), &["x-a: "]),
        renewed("names-in-another-case", &["X-Aa: 1"], not_modified(["x-aA: 2"]), &["x-aa: 2"]),
        renewed("date", &["date: {0}"], not_modified(["date: {+10}"]), &["date: {+10}"]),
        renewed(
            "last-modified",
            &["last-modified: {-100}"],
            not_modified(["etag: \"a\"", "last-modified: {-50}"]),
            &["last-modified: {-50}"],
        ),
        renewed("etag-stays", &[], not_modified(["etag: \"a\""]), &["etag: \"a\"", "content-length: 8"]),
    ]
}

/// RFC 9111 section 4.3.4: it is as fresh as the 304 says.
fn lifetimes() -> Vec<Case> {
    let rule = "RFC 9111 section 4.3.4";
    let first = || get().origin(ok(["cache-control: max-age=10", "etag: \"a\""]));
    vec![
        case(
            "lifetime-begins-anew",
            rule,
            [first(), get().later(10).validated(), get().later(9).stored_from(0), get().later(1).validated_from(0)],
        ),
        case(
            "lifetime-grows",
            rule,
            [
                first(),
                get().later(10).origin(not_modified(["cache-control: max-age=60"])).validated(),
                get().later(59).stored_from(0).shows(["cache-control: max-age=60"]),
                get().later(1).validated_from(0),
            ],
        ),
        case(
            "lifetime-shrinks",
            rule,
            [
                first(),
                get().later(10).origin(not_modified(["cache-control: max-age=5"])).validated(),
                get().later(4).stored_from(0),
                get().later(1).validated_from(0),
            ],
        ),
        case(
            "lifetime-ends",
            rule,
            [
                first(),
                get().later(10).origin(not_modified(["cache-control: max-age=0"])).validated(),
                get().validated_from(0),
            ],
        ),
        case(
            "lifetime-by-expires",
            rule,
            [
                get().origin(ok(["date: {0}", "expires: {+10}", "etag: \"a\""])),
                get().later(10).origin(not_modified(["date: {+10}", "expires: {+70}"])).validated(),
                get().later(59).stored_from(0).shows(["expires: {+70}"]),
                get().later(1).validated_from(0),
            ],
        ),
        case(
            "lifetime-of-an-old-304",
            rule,
            [
                first(),
                get().later(10).origin(not_modified(["cache-control: max-age=60", "age: 50"])).validated(),
                get().later(9).stored_from(0).shows(["age: 59"]),
                get().later(1).validated_from(0),
            ],
        ),
        case(
            "must-revalidate-from-now-on",
            rule,
            [
                get().origin(ok(["cache-control: max-age=10, stale-if-error=600", "etag: \"a\""])),
                get().later(10).origin(not_modified(["cache-control: max-age=10, must-revalidate"])).validated(),
                get().later(10).origin(super::case::reply(503, PLAIN)).fetched(),
            ],
        ),
    ]
}

/// RFC 9111 section 4.3.4: which stored answer a 304 is about.
fn selected() -> Vec<Case> {
    let rule = "RFC 9111 section 4.3.4";
    vec![
        case(
            "about-another-version",
            rule,
            [
                get().origin(ok(["cache-control: max-age=10", "etag: \"a\""])),
                get()
                    .later(10)
                    .origin(not_modified(["etag: \"b\""]))
                    .origin(minute(["etag: \"b\""]))
                    .asks(2)
                    .origin_saw_no(["if-none-match", "if-modified-since"]),
                get().stored().shows(["etag: \"b\""]),
            ],
        ),
        case(
            "about-another-variant",
            rule,
            [
                get().with(["foo: 1"]).origin(minute(["etag: \"a\"", "vary: foo"])),
                get().with(["foo: 2"]).origin(minute(["etag: \"b\"", "vary: foo"])),
                // One that is not stored yet: the origin may name one that is.
                get()
                    .with(["foo: 3"])
                    .origin(not_modified(["etag: \"a\"", "vary: foo"]))
                    .validated_from(0)
                    .shows(["etag: \"a\""]),
            ],
        ),
        case(
            "by-last-modified",
            rule,
            [
                get().origin(ok(["cache-control: max-age=10", "last-modified: {-100}"])),
                get().later(10).origin(not_modified(["last-modified: {-100}", "x-a: 2"])).validated().shows(["x-a: 2"]),
                get().later(9).stored_from(0).shows(["x-a: 2"]),
            ],
        ),
        case(
            "by-a-weak-tag",
            rule,
            [
                get().origin(ok(["cache-control: max-age=10", "etag: W/\"a\""])),
                get().later(10).origin(not_modified(["etag: W/\"a\"", "x-a: 2"])).validated().shows(["x-a: 2"]),
                get().later(9).stored_from(0).shows(["x-a: 2"]),
            ],
        ),
        case(
            "of-a-stored-404",
            rule,
            [
                get().origin(super::case::reply(404, ["cache-control: max-age=10", "x-a: 1"])),
                get()
                    .later(10)
                    .origin(super::case::reply(404, ["cache-control: max-age=10", "x-a: 2"]))
                    .shows(["x-a: 2"]),
                get().later(9).stored().shows(["x-a: 2"]),
            ],
        ),
        // Nothing was asked on a condition.
        case("out-of-nowhere", "RFC 9110 section 15.4.5", [get().origin(not_modified(["etag: \"a\""])).made(502)]),
    ]
}
